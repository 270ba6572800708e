//! The thread that writes while the capture is read: settled operations as JSON to the spill, new
//! bulk data to the pack.
//!
//! Work goes to it in batches through a channel of [`QUEUE`] places, and the emptied batches come
//! back to be filled again, so that memory is bounded and whoever is faster waits. What it writes
//! depends on the order of the work only.

use std::{
    fmt,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use smbench_core::{
    ids::OpId,
    workload::{DataRef, Operation},
};

use crate::{
    allowance::Allowance,
    folder::{BlobIndex, FolderError, FolderWriter, PackWriter},
    spill::Spill,
};

/// Some work.
#[derive(Debug, Default)]
struct Batch {
    ops: Vec<Item>,
    /// Bytes that they hold.
    weight: usize,
    /// Data for the pack.
    data: Vec<u8>,
    /// Bytes of the frames that all this came from, and what came before.
    seen: u64,
}

/// An operation, and when it was seen.
#[derive(Debug)]
enum Item {
    /// The next.
    Next(Operation, u64),
    /// The next will come late.
    Reserved(OpId),
    /// It comes late.
    Late(Operation, u64),
}

/// What is sent to the thread.
enum Order {
    Work(Batch),
    /// There is no more: the pack gets its index.
    End(BlobIndex),
}

/// The way to the thread.
pub(crate) struct Scribe {
    index: BlobIndex,
    /// The last short data: many write the same again and again, which is not hashed each time.
    last: Vec<u8>,
    last_kept: Option<DataRef>,
    batch: Batch,
    seen: u64,
    to: Option<SyncSender<Order>>,
    back: Receiver<Batch>,
    /// All operations, once they are written.
    spill: Receiver<Spill>,
    thread: Option<JoinHandle<Result<(), FolderError>>>,
}

impl fmt::Debug for Scribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scribe").finish_non_exhaustive()
    }
}

impl Scribe {
    /// Starts the thread, which writes into `folder`.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn start(folder: &FolderWriter, allowed: Allowance) -> Result<Self, FolderError> {
        let pack = folder.pack()?;
        let path = folder.spill();
        let spill = Spill::new(path.clone());
        let (to, orders) = sync_channel(QUEUE);
        let (give_back, back) = sync_channel(QUEUE + 1);
        let (hand_over, all) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("smbench-scribe".to_owned())
            .spawn(move || write(&orders, &give_back, pack, spill, allowed, &hand_over))
            .map_err(FolderError::io(path))?;
        Ok(Self {
            index: BlobIndex::new(),
            last: Vec::new(),
            last_kept: None,
            batch: Batch::default(),
            seen: 0,
            to: Some(to),
            back,
            spill: all,
            thread: Some(thread),
        })
    }

    /// A frame of so many bytes is taken apart.
    pub(crate) fn saw(&mut self, bytes: usize) {
        self.seen = self
            .seen
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Bytes of frames that were.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Hands over the next operation, which was seen at `time_ns` and holds some `weight` bytes.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn operation(
        &mut self,
        op: Operation,
        time_ns: u64,
        weight: usize,
    ) -> Result<(), FolderError> {
        self.item(Item::Next(op, time_ns), weight)
    }

    /// Leaves the next place to an operation that comes late.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn reserve(&mut self, op: OpId) -> Result<(), FolderError> {
        self.item(Item::Reserved(op), 0)
    }

    /// Hands over an operation whose place was left open.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn late(
        &mut self,
        op: Operation,
        time_ns: u64,
        weight: usize,
    ) -> Result<(), FolderError> {
        self.item(Item::Late(op, time_ns), weight)
    }

    fn item(&mut self, item: Item, weight: usize) -> Result<(), FolderError> {
        self.batch.ops.push(item);
        self.batch.weight += weight;
        if self.batch.ops.len() >= BATCH_OPS || self.batch.weight >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    /// Keeps bulk data and says how it is called.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn keep(&mut self, data: &[u8]) -> Result<DataRef, FolderError> {
        if let Some(kept) = self.last_kept.filter(|_| self.last == data) {
            return Ok(kept);
        }
        let kept = self.keep_other(data)?;
        if data.len() <= SHORT {
            self.last.clear();
            self.last.extend_from_slice(data);
            self.last_kept = Some(kept);
        }
        Ok(kept)
    }

    fn keep_other(&mut self, mut data: &[u8]) -> Result<DataRef, FolderError> {
        let (kept, new) = self.index.note(data)?;
        while new && !data.is_empty() {
            let room = BATCH_BYTES.saturating_sub(self.batch.data.len());
            let (part, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
            self.batch.data.extend_from_slice(part);
            data = rest;
            if self.batch.data.len() >= BATCH_BYTES {
                self.send()?;
            }
        }
        Ok(kept)
    }

    fn send(&mut self) -> Result<(), FolderError> {
        let next = self.back.try_recv().unwrap_or_default();
        self.batch.seen = self.seen;
        let batch = std::mem::replace(&mut self.batch, next);
        match &self.to {
            Some(to) if to.send(Order::Work(batch)).is_ok() => Ok(()),
            _ => self.join(),
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn finish(mut self) -> Result<Finishing, FolderError> {
        self.send()?;
        let index = std::mem::replace(&mut self.index, BlobIndex::new());
        if let Some(to) = self.to.take() {
            // Where nobody listens any more, joining tells why.
            let _ = to.send(Order::End(index));
        }
        Ok(Finishing(self))
    }

    fn join(&mut self) -> Result<(), FolderError> {
        self.to = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // Nobody is left to hear of a failure: the folder is given up.
            let _ = thread.join();
        }
    }
}

/// A scribe that has all its work and is busy with the rest.
#[derive(Debug)]
pub(crate) struct Finishing(Scribe);

impl Finishing {
    /// Waits until all operations are there to be read; the pack may still be on its way.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn spill(&mut self) -> Result<Spill, FolderError> {
        match self.0.spill.recv() {
            Ok(spill) => Ok(spill),
            Err(_) => self.0.join().and(Err(FolderError::Stopped)),
        }
    }

    /// Waits for the end: the pack is durable.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when writing has failed.
    pub(crate) fn wait(mut self) -> Result<(), FolderError> {
        self.0.join()
    }
}

fn write(
    orders: &Receiver<Order>,
    back: &SyncSender<Batch>,
    mut pack: PackWriter,
    mut spill: Spill,
    allowed: Allowance,
    hand_over: &SyncSender<Spill>,
) -> Result<(), FolderError> {
    let mut written = 0;
    for order in orders {
        let mut batch = match order {
            Order::Work(batch) => batch,
            Order::End(index) => {
                // Where nobody takes them, compiling has failed.
                let _ = hand_over.send(spill);
                return pack.finish(index);
            }
        };
        pack.append(&batch.data)?;
        written += u64::try_from(batch.data.len()).unwrap_or(u64::MAX);
        batch.data.clear();
        batch.weight = 0;
        for item in batch.ops.drain(..) {
            written += match &item {
                Item::Next(op, time_ns) => spill.push(op, *time_ns)?,
                Item::Reserved(op) => spill.reserve(*op).map(|()| 0)?,
                Item::Late(op, time_ns) => spill.fill(op, *time_ns)?,
            };
        }
        allowed.check(written, batch.seen)?;
        // Where there is no room for it, or nobody, it is not needed.
        let _ = back.try_send(batch);
    }
    Err(FolderError::Stopped)
}

/// Batches under way.
const QUEUE: usize = 4;
const BATCH_OPS: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Data up to this length is short.
const SHORT: usize = 1024;
