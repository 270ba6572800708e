//! The sending half of a simulated stream: cuts what is written into segments, and joins segments,
//! by seed.
//!
//! turmoil carries one write as one segment, so without this every frame would arrive alone and
//! whole, which no real network promises.

use std::time::Duration;

use smbench_core::ids::LogicalTime;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::tcp::OwnedWriteHalf;

use crate::weather::{Rng, released};

/// How one direction of a connection treats what is written.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) rng: Rng,
    pub(super) split: bool,
    /// Times in which nothing is sent, from the start of the run.
    pub(super) holds: Vec<(LogicalTime, LogicalTime)>,
    pub(super) start: Instant,
}

impl Pump {
    /// Starts the task that writes; it ends, and closes the stream, when the sender is dropped.
    pub(super) fn start(self, to: OwnedWriteHalf) -> mpsc::UnboundedSender<Vec<u8>> {
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(self.run(to, frames));
        sender
    }

    async fn run(mut self, mut to: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
        while let Some(mut batch) = frames.recv().await {
            if self.split && self.rng.between(0, 3) == 0 {
                sleep(Duration::from_millis(self.rng.between(1, 3))).await;
                while let Ok(more) = frames.try_recv() {
                    batch.extend_from_slice(&more);
                }
            }
            wait_out(&self.holds, self.start).await;
            if self.write(&mut to, &batch).await.is_err() {
                return; // the reader of this connection says why
            }
        }
    }

    async fn write(&mut self, to: &mut OwnedWriteHalf, batch: &[u8]) -> std::io::Result<()> {
        let mut rest = batch;
        let mut left = if self.split { MOST_SEGMENTS } else { 1 };
        while !rest.is_empty() {
            let all = rest.len();
            let len = if left <= 1 {
                all
            } else {
                let drawn = self.rng.between(1, all as u64);
                usize::try_from(drawn).unwrap_or(all)
            };
            let (now, later) = rest.split_at(len.min(all));
            to.write_all(now).await?;
            rest = later;
            left -= 1;
            if !rest.is_empty() && self.rng.between(0, 1) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    }
}

/// Waits until the hold that is on, if any, is over.
pub(super) async fn wait_out(holds: &[(LogicalTime, LogicalTime)], start: Instant) {
    if holds.is_empty() {
        return;
    }
    let now = elapsed(start);
    let free = released(holds, now);
    if free > now {
        sleep_until(start + Duration::from_nanos(free.0)).await;
    }
}

/// Time since the start of the run.
pub(super) fn elapsed(start: Instant) -> LogicalTime {
    let nanos = Instant::now().saturating_duration_since(start).as_nanos();
    LogicalTime(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Segments that one write becomes, at most.
const MOST_SEGMENTS: u64 = 4;
