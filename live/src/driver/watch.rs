//! Who looks on while a run is driven.

use std::time::Duration;

use smbench_core::event::Report;
use smbench_core::ids::LogicalTime;
use tokio::time::Instant;

use crate::Metrics;

/// Looks on while a run is driven, and changes nothing of it.
pub trait Watch<M> {
    /// Hears every report, with the time the engine made it.
    fn report(&mut self, at: LogicalTime, report: &Report);

    /// How long it may go without being shown the run; it is not shown it by default.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Is shown the run as it is now, and at its end.
    fn look(&mut self, sight: &Sight<'_, M>) {
        let _ = sight;
    }
}

/// A run as it is now.
#[derive(Debug)]
pub struct Sight<'a, M> {
    /// What the driver counted so far.
    pub metrics: &'a Metrics,
    /// The engine.
    pub machine: &'a M,
    /// Bytes of frames that have not left.
    pub unsent_bytes: u64,
    /// Frames and ends of connections that the engine has not heard of.
    pub unheard: u64,
}

/// Hears reports and looks at nothing.
pub(super) struct Reports<F>(pub(super) F);

impl<M, F: FnMut(LogicalTime, &Report)> Watch<M> for Reports<F> {
    fn report(&mut self, at: LogicalTime, report: &Report) {
        (self.0)(at, report);
    }
}

/// When a run is shown next.
pub(crate) struct Looks(Option<(Duration, Instant)>);

impl Looks {
    /// The first at once.
    pub(crate) fn every(period: Option<Duration>) -> Self {
        Self(period.map(|period| (period, Instant::now())))
    }

    /// Whether somebody looks at all.
    pub(crate) const fn are_taken(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is time; then it is not for as long as was asked for.
    pub(crate) fn are_due(&mut self) -> bool {
        let Some((period, at)) = &mut self.0 else {
            return false;
        };
        let now = Instant::now();
        let due = *at <= now;
        if due {
            *at = now + *period;
        }
        due
    }

    /// Until it is time, if it ever is.
    pub(crate) async fn wait(&self) {
        match self.0 {
            Some((_, at)) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
