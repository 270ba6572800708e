//! Memory for frames on their way in, shared by all connections of a listener or driver.
//!
//! A frame is charged for what has arrived of it, not for what its header claims. When memory is
//! scarce, frames that hardly move are given up, and the oldest one never waits: so whoever goes on
//! sending gets through, and what is held stays below the limit and one frame.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The memory there is.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    scarce: Duration,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    begun: u64,
    /// Frames that are not complete, the oldest first.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// When it had last moved on by [`STRIDE`]; none while it has bytes and waits for memory.
    moved: Option<Instant>,
    /// Bytes since then.
    stride: usize,
    give_up: Arc<Notify>,
}

impl Room {
    pub(crate) fn new(limit: usize, scarce: Duration) -> Self {
        Self(Arc::new(Shared {
            limit,
            scarce,
            state: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// A frame begins.
    pub(crate) fn begin(&self) -> Lease {
        let give_up = Arc::new(Notify::new());
        let mut state = self.0.state();
        state.begun += 1;
        let id = state.begun;
        let open = Open {
            moved: Some(Instant::now()),
            stride: 0,
            give_up: Arc::clone(&give_up),
        };
        state.open.insert(id, open);
        drop(state);
        Lease {
            room: Arc::clone(&self.0),
            id,
            bytes: 0,
            give_up,
        }
    }

    /// Bytes held now.
    #[cfg(feature = "sockets")]
    pub(crate) fn held(&self) -> usize {
        self.0.state().held
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one frame holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    room: Arc<Shared>,
    id: u64,
    bytes: usize,
    give_up: Arc<Notify>,
}

impl Lease {
    /// Takes memory for `bytes` more that have begun to come; waits until there is some.
    pub(crate) async fn charge(&mut self, bytes: usize) {
        let room = Arc::clone(&self.room);
        loop {
            let freed = room.freed.notified();
            if self.try_charge(bytes) {
                return;
            }
            tokio::select! {
                biased;
                () = freed => {}
                () = sleep(room.scarce / 8) => {}
            }
        }
    }

    fn try_charge(&mut self, bytes: usize) -> bool {
        let (room, now) = (Arc::clone(&self.room), Instant::now());
        let mut state = room.state();
        let oldest = state.open.first_key_value().map(|(id, _)| *id);
        // Long frames leave some memory to short ones, which then hardly ever wait.
        let long = self.bytes + bytes > SHORT;
        let limit = room.limit - if long { room.limit / 8 } else { 0 };
        let fits = state.held + bytes <= limit || oldest == Some(self.id);
        if fits {
            state.held += bytes;
            self.bytes += bytes;
        }
        for (id, open) in &mut state.open {
            if *id == self.id {
                open.moved = fits.then_some(open.moved.unwrap_or(now));
            } else if !fits && open.moved.is_some_and(|at| now - at >= room.scarce) {
                open.give_up.notify_one();
            }
        }
        fits
    }

    /// Bytes came.
    pub(crate) fn moved(&self, bytes: usize) {
        if let Some(open) = self.room.state().open.get_mut(&self.id) {
            open.stride += bytes;
            if open.stride >= STRIDE {
                open.stride = 0;
                open.moved = Some(Instant::now());
            }
        }
    }

    /// Waits until the frame has to be given up, because others need the memory.
    pub(crate) fn given_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let give_up = Arc::clone(&self.give_up);
        async move { give_up.notified().await }
    }

    /// The frame is complete: it holds its bytes until the service has taken it.
    pub(crate) fn complete(&self) {
        self.room.state().open.remove(&self.id);
        self.room.freed.notify_waiters(); // another one is the oldest now
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.held -= self.bytes;
        state.open.remove(&self.id);
        drop(state);
        self.room.freed.notify_waiters();
    }
}

/// Bytes of a frame that is short.
const SHORT: usize = 64 << 10;
/// Bytes by which a frame has to move on while memory is scarce.
const STRIDE: usize = 256 << 10;
