//! The writing task of one connection, and what has not left yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::intake::Event;
use super::limits::{Ending, ListenLimits};
use crate::network::io_failure;

/// Answers of one connection that have not left.
#[derive(Debug)]
pub(super) struct Unsent {
    start: Instant,
    bytes: AtomicUsize,
    /// Those of all connections.
    all: Arc<AtomicUsize>,
    /// When bytes left last, or were queued while none were, in milliseconds since `start`.
    moved_ms: AtomicU64,
    less: Notify,
}

impl Unsent {
    pub(super) fn new(start: Instant, all: Arc<AtomicUsize>) -> Self {
        let unsent = Self {
            start,
            bytes: AtomicUsize::new(0),
            all,
            moved_ms: AtomicU64::new(0),
            less: Notify::new(),
        };
        unsent.moved();
        unsent
    }

    fn moved(&self) {
        let ms = self.start.elapsed().as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::SeqCst);
    }

    /// When bytes left last, in milliseconds; none when nothing waits.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let waits = self.bytes.load(Ordering::SeqCst) > 0;
        waits.then(|| self.moved_ms.load(Ordering::SeqCst))
    }

    pub(super) fn add(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::SeqCst) == 0 {
            self.moved();
        }
        self.all.fetch_add(bytes, Ordering::SeqCst);
    }

    fn sub(&self, bytes: usize) {
        self.moved();
        let less = |have: usize| Some(have.saturating_sub(bytes));
        let had = self
            .bytes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        let gone = had.unwrap_or_default().min(bytes); // less once it is forgotten
        self.all.fetch_sub(gone, Ordering::SeqCst);
        self.less.notify_waiters();
    }

    /// What never left is not waited for.
    pub(super) fn forget(&self) {
        let bytes = self.bytes.swap(0, Ordering::SeqCst);
        self.all.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Waits until fewer than `limit` bytes wait.
    pub(super) async fn below(&self, limit: usize) {
        loop {
            let less = self.less.notified();
            if self.bytes.load(Ordering::SeqCst) < limit {
                return;
            }
            less.await;
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Writes until the sender is dropped and everything has left, then closes.
pub(super) async fn run(
    conn: u64,
    mut to: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: Arc<Unsent>,
    limits: Arc<ListenLimits>,
    events: mpsc::Sender<Event>,
) {
    while let Some(mut batch) = frames.recv().await {
        // One write a batch: whatever is queued by now goes out together.
        while batch.len() < BATCH {
            match frames.try_recv() {
                Ok(more) => batch.extend_from_slice(&more),
                Err(_) => break,
            }
        }
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let ending = match timeout(limits.unread_time, to.write(rest)).await {
                Ok(Ok(written)) if written > 0 => {
                    unsent.sub(written);
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Ok(Ok(_)) => Ending::Unread,
                Ok(Err(error)) => Ending::Network(io_failure(&error)),
                Err(_) => Ending::Unread,
            };
            let _ = events.send(Event::Ended(conn, ending)).await;
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Bytes of small frames that are joined into one write.
const BATCH: usize = 128 << 10;
