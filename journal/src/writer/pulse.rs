//! How long the store has been at one call: whoever waits for it looks here when to give up.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Beats while calls into the store come back.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    limit: Duration,
    /// When the call that is under way began, in nanoseconds from `born`; 0 without one.
    since_ns: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            born: Instant::now(),
            limit,
            since_ns: AtomicU64::new(0),
        }
    }

    /// Makes a call into the store, which may not come back. Calls come from one thread, none
    /// within another.
    pub(crate) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        let _ending = Ending(self);
        self.since_ns.store(self.now_ns().max(1), Ordering::Release);
        call()
    }

    /// For how many seconds a call has been under way, when that is longer than it may be.
    pub(crate) fn stalled_s(&self) -> Option<u64> {
        let since = self.since_ns.load(Ordering::Acquire);
        let under_way = Duration::from_nanos(self.now_ns().saturating_sub(since));
        (since > 0 && under_way > self.limit).then_some(under_way.as_secs())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The call is over, also by a panic.
struct Ending<'a>(&'a Pulse);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.since_ns.store(0, Ordering::Release);
    }
}
