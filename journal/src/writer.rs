//! Takes events from the threads that run engines and gets them onto disk without holding those
//! threads up.
//!
//! A [`ShardRecorder`] encodes an event into its shard's open block, some 100 ns under a lock that
//! nobody else wants. A full block goes to the writer's thread through a bounded channel, and its
//! memory comes back empty. When the channel is full the recorder waits, and the wait is counted:
//! nothing is dropped. Five times a second the thread takes the open blocks too and flushes, so a
//! crash loses at most [`FLUSH_EVERY`] and what the flush itself takes. The first error poisons
//! the journal: every later `record` gives it.
//!
//! Nobody waits for ever. The store has a thread of its own from its making to its end, and a call
//! into it that takes longer than [`STALL_LIMIT`] is a failure like any other: whoever waits gets
//! the error, and the thread is left behind.

mod pulse;
mod thread;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError};
use smbench_core::{
    event::{EffectsDigest, Entry, Recorder},
    ids::{LogicalTime, ShardId},
};

pub(crate) use self::pulse::Pulse;
use self::thread::Writer;
use crate::{
    block::{Block, Event},
    error::JournalError,
    meta::{AttachmentHead, RunMeta},
    store::{self, Store},
};

/// Where blocks end up. Calls come from one thread.
pub(crate) trait Sink: Send {
    /// Stores a block; gives the bytes it takes.
    fn put_block(&mut self, block: &Block) -> Result<u64, JournalError>;
    /// Stores the end of a shard's record.
    fn put_finish(
        &mut self,
        shard: u32,
        count: u64,
        after: EffectsDigest,
    ) -> Result<(), JournalError>;
    /// Stores an attachment's head and its zstd stream.
    fn put_attachment(&mut self, head: &AttachmentHead, packed: &[u8]) -> Result<(), JournalError>;
    /// Makes all that was stored durable.
    fn flush(&mut self) -> Result<(), JournalError>;
}

/// Writes one run's journal into a new sled folder.
#[derive(Debug)]
pub struct JournalWriter {
    shared: Arc<Shared>,
    to_thread: Sender<Message>,
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread is gone, and the store with it.
    gone: Receiver<()>,
    path: PathBuf,
}

/// Records one shard's events. May be dropped without [`Recorder::finish`]: the journal is then
/// unfinished, and as readable as after a crash.
#[derive(Debug)]
pub struct ShardRecorder {
    shared: Arc<Shared>,
    shard: u32,
    to_thread: Sender<Message>,
    empty: Receiver<Vec<u8>>,
    finished: bool,
}

/// What the writing of a journal took. All counts are since its creation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WriterStats {
    /// Events stored.
    pub events: u64,
    /// Blocks stored.
    pub blocks: u64,
    /// Bytes of the events, encoded.
    pub raw_bytes: u64,
    /// Bytes of the blocks as stored, without the store's own overhead.
    pub stored_bytes: u64,
    /// Flushes that made something durable.
    pub flushes: u64,
    /// How often a recorder had to wait for the writer.
    pub stalls: u64,
    /// How long recorders waited for it in all, in nanoseconds.
    pub stall_ns: u64,
    /// Events that could not be stored, because the journal failed before. Every one was, or will
    /// be, answered for by the error that `record` and `close` give.
    pub lost_events: u64,
}

#[derive(Debug)]
struct Shared {
    slots: Vec<Slot>,
    failure: OnceLock<Arc<JournalError>>,
    pulse: Arc<Pulse>,
    /// Nothing more is taken.
    closed: AtomicBool,
    /// The thread is at its end.
    ended: AtomicBool,
    events: AtomicU64,
    blocks: AtomicU64,
    raw_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    flushes: AtomicU64,
    stalls: AtomicU64,
    stall_ns: AtomicU64,
    lost_events: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    open: Mutex<Block>,
    taken: AtomicBool,
    /// Events that survive a crash.
    durable: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Block(Block),
    Finish {
        shard: u32,
        count: u64,
        after: EffectsDigest,
        done: Sender<Result<(), JournalError>>,
    },
    Attach {
        head: AttachmentHead,
        packed: Vec<u8>,
        done: Sender<Result<(), JournalError>>,
    },
    Sync {
        done: Sender<Result<(), JournalError>>,
    },
    Close,
}

impl JournalWriter {
    /// Makes a new journal in the folder `path`, which must be empty or absent. Metadata are
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// [`JournalError::Exists`] when there is something in `path`, [`JournalError::Io`] or
    /// [`JournalError::Store`] when it cannot be written.
    pub fn create(path: impl AsRef<Path>, meta: &RunMeta) -> Result<Self, JournalError> {
        Self::create_raw(path.as_ref(), meta.to_json()?, meta.shards)
    }

    pub(crate) fn create_raw(
        path: &Path,
        meta_json: Vec<u8>,
        shards: u32,
    ) -> Result<Self, JournalError> {
        let folder = path.to_path_buf();
        let mut writer = Self::begin(shards, STALL_LIMIT, move |pulse| {
            Store::create(&folder, &meta_json, Arc::clone(pulse))
        })?;
        writer.path = path.into();
        Ok(writer)
    }

    /// Starts the thread, which makes the store and owns it.
    pub(crate) fn begin<S: Sink + 'static>(
        shards: u32,
        limit: Duration,
        make: impl FnOnce(&Arc<Pulse>) -> Result<S, JournalError> + Send + 'static,
    ) -> Result<Self, JournalError> {
        let slots = (0..shards)
            .map(|shard| Slot {
                open: Mutex::new(Block::new(shard, 0, LogicalTime::ZERO, Vec::new())),
                taken: AtomicBool::new(false),
                durable: AtomicU64::new(0),
            })
            .collect();
        let shared = Arc::new(Shared {
            slots,
            failure: OnceLock::new(),
            pulse: Arc::new(Pulse::new(limit)),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            events: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            raw_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            stall_ns: AtomicU64::new(0),
            lost_events: AtomicU64::new(0),
        });
        let (to_thread, messages) = crossbeam_channel::bounded(CHANNEL_BLOCKS);
        let (give_back, empty) = crossbeam_channel::bounded(CHANNEL_BLOCKS);
        let (alive, gone) = crossbeam_channel::bounded(0);
        let (done, made) = crossbeam_channel::bounded(1);
        let thread = {
            let (shared, empty) = (Arc::clone(&shared), empty.clone());
            std::thread::Builder::new()
                .name("journal".to_owned())
                .spawn(move || {
                    // Dropped last, whatever happens: the store is gone before.
                    let _alive: Sender<()> = alive;
                    match make(&shared.pulse) {
                        Ok(sink) => {
                            // Whoever asked may have given up waiting; then it stops soon.
                            let _ = done.send(Ok(()));
                            Writer::new(sink, shared, messages, give_back, empty).run();
                        }
                        Err(error) => drop(done.send(Err(error))),
                    }
                })
                .map_err(|source| JournalError::Io {
                    action: "starting the journal's thread",
                    path: Default::default(),
                    source,
                })?
        };
        let writer = Self {
            shared,
            to_thread,
            empty,
            thread: Some(thread),
            gone,
            path: PathBuf::new(),
        };
        writer.shared.wait(&made)?;
        Ok(writer)
    }

    /// The recorder of one shard, once.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoShard`] or [`JournalError::ShardTaken`].
    pub fn recorder(&self, shard: ShardId) -> Result<ShardRecorder, JournalError> {
        let slot = self.shared.slot(shard.0)?;
        if slot.taken.swap(true, Ordering::Relaxed) {
            return Err(JournalError::ShardTaken { shard: shard.0 });
        }
        Ok(ShardRecorder {
            shared: Arc::clone(&self.shared),
            shard: shard.0,
            to_thread: self.to_thread.clone(),
            empty: self.empty.clone(),
            finished: false,
        })
    }

    /// Keeps `data` with the journal, under a name of 1 to 255 bytes. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`JournalError::BadName`], or the error of a journal that fails or failed.
    pub fn attach(&self, name: &str, data: &[u8]) -> Result<(), JournalError> {
        let (head, packed) = AttachmentHead::pack(name, data)?;
        self.attach_packed(head, packed)
    }

    pub(crate) fn attach_packed(
        &self,
        head: AttachmentHead,
        packed: Vec<u8>,
    ) -> Result<(), JournalError> {
        self.ask(|done| Message::Attach { head, packed, done })
    }

    /// Makes everything durable that was recorded before the call.
    ///
    /// # Errors
    ///
    /// The error of a journal that fails or failed.
    pub fn sync(&self) -> Result<(), JournalError> {
        for slot in &self.shared.slots {
            let mut open = slot.lock();
            if open.count() > 0 {
                let next = open.successor(self.empty.try_recv().unwrap_or_default());
                let full = std::mem::replace(&mut *open, next);
                self.shared.send(&self.to_thread, Message::Block(full))?;
            }
        }
        self.ask(|done| Message::Sync { done })
    }

    /// How many events of `shard` survive a crash now.
    #[must_use]
    pub fn durable(&self, shard: ShardId) -> u64 {
        self.shared
            .slot(shard.0)
            .map_or(0, |slot| slot.durable.load(Ordering::Acquire))
    }

    /// What the writing took until now.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.shared.stats()
    }

    /// Stores what was recorded, makes it durable and ends the writing. Recorders that are left
    /// give errors.
    ///
    /// # Errors
    ///
    /// The error of a journal that fails or failed.
    pub fn close(mut self) -> Result<WriterStats, JournalError> {
        self.stop();
        self.shared.check()?;
        Ok(self.shared.stats())
    }

    /// Ends the writing and removes what was written.
    pub fn discard(mut self) {
        self.stop();
        store::remove(&self.path);
    }

    fn ask(
        &self,
        message: impl FnOnce(Sender<Result<(), JournalError>>) -> Message,
    ) -> Result<(), JournalError> {
        let (done, answer) = crossbeam_channel::bounded(1);
        self.shared.send(&self.to_thread, message(done))?;
        self.shared.wait(&answer)
    }

    /// Ends the thread, or leaves it behind when its store does not come back.
    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // It fails when the thread is gone or stalled, which `failure` then says.
        let _ = self.shared.send(&self.to_thread, Message::Close);
        while self.gone.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
            if self.shared.is_stalled() {
                return;
            }
        }
        if thread.join().is_err() {
            // Only the store's own end is not guarded inside the thread.
            self.shared.poison(JournalError::Store {
                action: "closing",
                reason: "it panicked".to_owned(),
            });
        }
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Recorder for ShardRecorder {
    type Error = JournalError;

    fn record(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.put(Event {
            seq: entry.seq,
            now: entry.now,
            before: entry.before.short(),
            whole: Some(entry.before),
            input: &entry.input,
        })
    }

    fn finish(&mut self, after: EffectsDigest) -> Result<(), JournalError> {
        if self.finished {
            return Err(JournalError::Finished { shard: self.shard });
        }
        let count = {
            let mut open = self.shared.slot(self.shard)?.lock();
            self.shared.check_open()?;
            let count = open.next_seq();
            if open.count() > 0 {
                let next = open.successor(Vec::new());
                let full = std::mem::replace(&mut *open, next);
                self.shared.send(&self.to_thread, Message::Block(full))?;
            }
            count
        };
        self.finished = true;
        let (done, answer) = crossbeam_channel::bounded(1);
        let message = Message::Finish {
            shard: self.shard,
            count,
            after,
            done,
        };
        self.shared.send(&self.to_thread, message)?;
        self.shared.wait(&answer)
    }
}

impl ShardRecorder {
    /// Records one event.
    pub(crate) fn put(&mut self, event: Event<'_>) -> Result<(), JournalError> {
        if self.finished {
            return Err(JournalError::Finished { shard: self.shard });
        }
        let mut open = self.shared.slot(self.shard)?.lock();
        self.shared.check_open()?;
        open.push(event)?;
        if open.raw().len() > BLOCK_BYTES && open.count() > 1 {
            let last = open.split_last(self.spare());
            let full = std::mem::replace(&mut *open, last);
            self.shared.send(&self.to_thread, Message::Block(full))?;
        }
        if open.raw().len() > BLOCK_BYTES {
            let next = open.successor(self.spare());
            let full = std::mem::replace(&mut *open, next);
            self.shared.send(&self.to_thread, Message::Block(full))?;
        }
        Ok(())
    }

    /// Memory for a block, used before if there is any.
    fn spare(&self) -> Vec<u8> {
        self.empty
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BLOCK_MEMORY))
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Block> {
        // A block is whole between any two of its methods, so a panic elsewhere does not matter.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless a recorder has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Block>> {
        match self.open.try_lock() {
            Ok(open) => Some(open),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Shared {
    fn slot(&self, shard: u32) -> Result<&Slot, JournalError> {
        self.slots.get(shard as usize).ok_or(JournalError::NoShard {
            shard,
            shards: u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        })
    }

    fn check(&self) -> Result<(), JournalError> {
        match self.failure.get() {
            Some(cause) => Err(JournalError::Poisoned {
                cause: Arc::clone(cause),
            }),
            None => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), JournalError> {
        self.check()?;
        if self.closed.load(Ordering::Relaxed) {
            return Err(JournalError::WriterGone);
        }
        Ok(())
    }

    fn gone(&self) -> JournalError {
        self.check().err().unwrap_or(JournalError::WriterGone)
    }

    /// Hands a message to the thread; waits, and counts it, when the channel is full.
    fn send(&self, to_thread: &Sender<Message>, message: Message) -> Result<(), JournalError> {
        let mut message = match to_thread.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message)) => message,
            Err(TrySendError::Disconnected(_)) => return Err(self.gone()),
        };
        let begun = Instant::now();
        let sent = loop {
            match to_thread.send_timeout(message, FLUSH_EVERY) {
                Ok(()) => break Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.is_stalled() => message = back,
                Err(_) => break Err(self.gone()),
            }
        };
        self.stalls.fetch_add(1, Ordering::Relaxed);
        let waited = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stall_ns.fetch_add(waited, Ordering::Relaxed);
        sent
    }

    /// Waits for the thread's answer. A message may come in behind its last look at the channel.
    fn wait(&self, answer: &Receiver<Result<(), JournalError>>) -> Result<(), JournalError> {
        loop {
            match answer.recv_timeout(FLUSH_EVERY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout)
                    if !self.ended.load(Ordering::Acquire) && !self.is_stalled() => {}
                Err(_) => {
                    let late = answer.try_recv();
                    return late.unwrap_or_else(|_| Err(self.gone()));
                }
            }
        }
    }

    /// Whether the store has been at one call for longer than it may; the journal has then failed.
    fn is_stalled(&self) -> bool {
        let Some(seconds) = self.pulse.stalled_s() else {
            return false;
        };
        self.poison(JournalError::Stalled { seconds });
        true
    }

    fn poison(&self, error: JournalError) {
        // The first failure is the one to tell of.
        let _ = self.failure.set(Arc::new(error));
    }

    fn stats(&self) -> WriterStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriterStats {
            events: get(&self.events),
            blocks: get(&self.blocks),
            raw_bytes: get(&self.raw_bytes),
            stored_bytes: get(&self.stored_bytes),
            flushes: get(&self.flushes),
            stalls: get(&self.stalls),
            stall_ns: get(&self.stall_ns),
            lost_events: get(&self.lost_events),
        }
    }
}

/// How long one call into the store may take. A disk that is that slow is one that hangs.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// How often the open blocks are stored and all is flushed.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// A block's events take no more than this, unless there is but one.
const BLOCK_BYTES: usize = 60 << 10;
/// Memory that a block is given: it overshoots by one event before that one is moved.
const BLOCK_MEMORY: usize = 64 << 10;
/// Full blocks that may wait for the thread.
const CHANNEL_BLOCKS: usize = 64;

#[cfg(test)]
mod tests;
