//! Reads and hashes captures on threads of their own, ahead of whoever takes them apart.
//!
//! Each input has [`BLOCKS`] blocks that go around: filled and hashed by the thread, read here, and
//! back. Nothing else is shared, so what is read does not depend on who was faster.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// An input that may be read on another thread.
pub(super) type Input = Box<dyn Read + Send>;

/// A block, of which so many bytes are filled.
type Block = (Vec<u8>, usize);

/// An input being read ahead.
pub(super) struct Prefetch {
    full: Receiver<io::Result<Block>>,
    empty: SyncSender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    end: usize,
}

/// The thread that reads an input.
#[derive(Debug)]
pub(super) struct Ahead {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<blake3::Hash>>,
}

#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
    /// Nobody wants to know the hash.
    stop: AtomicBool,
}

impl Ahead {
    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.progress.bytes.load(Ordering::Relaxed)
    }

    /// Waits for the end of the input: its length in bytes and its BLAKE3.
    pub(super) fn finish(mut self) -> (u64, [u8; 32]) {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(hash)) => (self.bytes(), *hash.as_bytes()),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => (0, [0; 32]),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts reading `input`.
///
/// # Errors
///
/// [`io::Error`] when there are no more threads.
pub(super) fn read_ahead(input: Input) -> io::Result<(Prefetch, Ahead)> {
    let (to, full) = sync_channel(BLOCKS);
    let (empty, blocks) = sync_channel(BLOCKS);
    for _ in 0..BLOCKS {
        // There is room for all.
        let _ = empty.try_send(Vec::new());
    }
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    let thread = thread::Builder::new()
        .name("smbench-read".to_owned())
        .spawn(move || fill(input, &blocks, &to, &shared))?;
    let prefetch = Prefetch {
        full,
        empty,
        block: Vec::new(),
        at: 0,
        end: 0,
    };
    let thread = Some(thread);
    Ok((prefetch, Ahead { progress, thread }))
}

/// Fills blocks until the input ends or fails. Where its reader stops before, as one of packed data
/// may, the rest is hashed all the same.
fn fill(
    mut input: Input,
    blocks: &Receiver<Vec<u8>>,
    to: &SyncSender<io::Result<Block>>,
    progress: &Progress,
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    while !progress.stop.load(Ordering::Relaxed) {
        let mut block = blocks.recv().unwrap_or_default();
        block.resize(BLOCK_BYTES, 0);
        let len = match input.read(&mut block) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => {
                // A reader that has stopped does not want to know.
                let _ = to.send(Err(error));
                break;
            }
        };
        hasher.update(block.get(..len).unwrap_or_default());
        let more = u64::try_from(len).unwrap_or(u64::MAX);
        progress.bytes.fetch_add(more, Ordering::Relaxed);
        let _ = to.send(Ok((block, len)));
    }
    hasher.finalize()
}

impl Read for Prefetch {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.at == self.end {
            let Ok(next) = self.full.recv() else {
                return Ok(0); // the input has ended
            };
            let (block, end) = next?;
            let spent = std::mem::replace(&mut self.block, block);
            (self.at, self.end) = (0, end);
            if spent.capacity() > 0 {
                // At the end of the input nobody fills it again.
                let _ = self.empty.try_send(spent);
            }
        }
        let have = self.block.get(self.at..self.end).unwrap_or_default();
        let len = have.len().min(room.len());
        if let (Some(room), Some(have)) = (room.get_mut(..len), have.get(..len)) {
            room.copy_from_slice(have);
        }
        self.at += len;
        Ok(len)
    }
}

/// Blocks of an input under way.
const BLOCKS: usize = 4;
/// Small enough for the processor's cache to hold it until it has been read.
const BLOCK_BYTES: usize = 512 * 1024;
