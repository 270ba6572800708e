//! How the driver waits for a moment.

use std::future::Future;

use tokio::time::Instant;

/// A way to wait.
pub trait Timer {
    /// Returns at `deadline` or, being late, after it; never before.
    ///
    /// Dropping the future must be safe: the driver does so whenever something else happens first.
    fn sleep_until(&mut self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// tokio's timer: whole milliseconds, under the control of a simulator.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep_until(&mut self, deadline: Instant) -> impl Future<Output = ()> + Send {
        tokio::time::sleep_until(deadline)
    }
}

#[cfg(feature = "sockets")]
pub use precise::PreciseTimer;

#[cfg(feature = "sockets")]
mod precise {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    use super::Timer;

    /// A timerfd: late by microseconds, where tokio's timer ticks in whole milliseconds.
    #[derive(Debug)]
    pub struct PreciseTimer {
        fd: AsyncFd<OwnedFd>,
    }

    impl PreciseTimer {
        /// A timer of the current runtime, which must have I/O enabled.
        ///
        /// # Errors
        ///
        /// When the operating system grants no timer descriptor.
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe, and an OwnedFd keeps the promise"
            )]
            let fd = AsyncFd::new(fd)?;
            Ok(Self { fd })
        }

        fn arm(&self, deadline: Instant) -> io::Result<()> {
            let left = deadline.saturating_duration_since(Instant::now());
            let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            // Zero would disarm it.
            let nanos = i64::from(left.subsec_nanos()).max(i64::from(left.as_secs() == 0));
            let value = Timespec {
                tv_sec: seconds,
                tv_nsec: nanos,
            };
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let spec = Itimerspec {
                it_interval: zero,
                it_value: value,
            };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
            Ok(())
        }
    }

    impl Timer for PreciseTimer {
        async fn sleep_until(&mut self, deadline: Instant) {
            while Instant::now() < deadline {
                let waited = match self.arm(deadline) {
                    Ok(()) => self.fd.readable().await,
                    Err(error) => Err(error),
                };
                match waited {
                    Ok(mut ready) => {
                        let mut count = [0; 8];
                        // Nothing to read yet: the readiness was an earlier deadline's.
                        let _ = rustix::io::read(self.fd.get_ref(), &mut count);
                        ready.clear_ready();
                    }
                    // Descriptors do not fail after they worked; if one does, be late, not wrong.
                    Err(_) => tokio::time::sleep_until(deadline).await,
                }
            }
        }
    }
}

#[cfg(all(test, feature = "sockets"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_precise_timer_is_never_early_and_survives_cancelling() {
        let mut timer = PreciseTimer::new().unwrap();
        for micros in [0, 150, 900, 2_300] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            timer.sleep_until(deadline).await;
            assert!(Instant::now() >= deadline);
        }
        let far = Instant::now() + Duration::from_secs(3600);
        let near = Instant::now() + Duration::from_millis(2);
        assert!(
            tokio::time::timeout_at(near, timer.sleep_until(far))
                .await
                .is_err()
        );
        timer
            .sleep_until(Instant::now() + Duration::from_micros(300))
            .await;
    }
}
