//! Histograms of times, and what is told of them.

use hdrhistogram::Histogram;
use serde::Serialize;

/// One of microseconds, to so many digits (at most 5). More than an hour counts as an hour.
pub(crate) fn of_times(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, digits).unwrap_or_else(|_| {
        Histogram::new(digits).unwrap_or_else(|_| unreachable!("{digits} digits are fine"))
    })
}

/// Quantiles of answer times, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50: u64,
    /// 90 %.
    pub(crate) p90: u64,
    /// 99 %.
    pub(crate) p99: u64,
    /// Longest.
    pub(crate) max: u64,
}

/// Quantiles of lateness, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Late {
    /// Median.
    pub(crate) p50: u64,
    /// 99 %.
    pub(crate) p99: u64,
    /// Longest.
    pub(crate) max: u64,
}

/// What lateness was due to, summed, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LateBy {
    /// Operations that had to come first.
    pub(crate) causality: u64,
    /// Credits.
    pub(crate) credits: u64,
    /// Connection, login, reconnect.
    pub(crate) server: u64,
    /// The replayer itself.
    pub(crate) replayer: u64,
    /// Recorded breaks that were waited for and did not come.
    pub(crate) breaks: u64,
}
