//! Histograms of times.

use hdrhistogram::Histogram;

/// One of microseconds, to so many digits (at most 5). More than an hour counts as an hour.
pub(crate) fn of_times(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, digits).unwrap_or_else(|_| {
        Histogram::new(digits).unwrap_or_else(|_| unreachable!("{digits} digits are fine"))
    })
}
