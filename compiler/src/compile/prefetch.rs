//! Reads and hashes captures on threads of their own, ahead of whoever takes them apart.
//!
//! Each input has up to [`BLOCKS`] blocks that go around: filled and hashed by the thread, taken
//! apart, and back. Nothing else is shared, so what is read does not depend on who was faster.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::capture::{BLOCK_BYTES, Block, Blocks};

/// An input that may be read on another thread.
pub(super) type Input = Box<dyn Read + Send>;

/// An input being read ahead.
pub(super) struct Prefetch {
    full: Receiver<io::Result<Block>>,
    empty: SyncSender<Block>,
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
    /// Waits for the thread to end, but not for an input that says nothing: a thread that waits for
    /// one is left behind.
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let since = Instant::now();
        while !thread.is_finished() {
            if since.elapsed() > PATIENCE {
                return;
            }
            thread::sleep(PAUSE);
        }
        // Whoever gives up a compilation has a failure to tell of already.
        let _ = thread.join();
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
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    let thread = thread::Builder::new()
        .name("smbench-read".to_owned())
        .spawn(move || fill(input, &blocks, &to, &shared))?;
    let thread = Some(thread);
    Ok((Prefetch { full, empty }, Ahead { progress, thread }))
}

/// Fills blocks until the input ends or fails. Where its reader stops before, as one of packed data
/// may, the rest is hashed all the same.
fn fill(
    mut input: Input,
    blocks: &Receiver<Block>,
    to: &SyncSender<io::Result<Block>>,
    progress: &Progress,
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut made = 0;
    for turn in 0_usize.. {
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        // A short capture is not worth the memory of all blocks.
        let enough = BLOCKS.min(BLOCKS_AT_FIRST + turn / MORE_AFTER);
        let mut block = match blocks.try_recv() {
            Ok(block) => block,
            Err(_) if made < enough => {
                made += 1;
                Block::default()
            }
            Err(_) => blocks.recv().unwrap_or_default(),
        };
        match block.fill(&mut input, BLOCK_BYTES) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                // A reader that has stopped does not want to know.
                let _ = to.send(Err(error));
                break;
            }
        }
        hasher.update(block.data());
        let more = u64::try_from(block.data().len()).unwrap_or(u64::MAX);
        progress.bytes.fetch_add(more, Ordering::Relaxed);
        let _ = to.send(Ok(block));
    }
    hasher.finalize()
}

impl Blocks for Prefetch {
    fn next(&mut self) -> io::Result<Option<Block>> {
        self.full.recv().ok().transpose()
    }

    fn give_back(&mut self, spent: Block) {
        // At the end of the input nobody fills it again.
        let _ = self.empty.try_send(spent);
    }
}

/// How long a failure waits for a thread to end.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(1);
/// Blocks of an input under way.
const BLOCKS: usize = 8;
const BLOCKS_AT_FIRST: usize = 4;
/// Blocks read before there is one more.
const MORE_AFTER: usize = 16;
