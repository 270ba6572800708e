//! The captures that are compiled: their bytes, and what the record says of them.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use smbench_core::{frame::Digest, workload::CaptureFile};

use super::prefetch::{Ahead, Input, read_ahead};
use crate::capture::{Blocks, CaptureError, CaptureStats, Reading};

/// Names of the inputs, and how far each was read.
pub(super) struct Inputs {
    names: Vec<String>,
    meters: Meters,
}

enum Meters {
    /// Each input is read and hashed by a thread.
    Ahead(Vec<Ahead>),
    /// There are too many inputs for that: whoever reads them has to hash.
    Inline(Vec<Arc<AtomicU64>>),
}

impl Inputs {
    /// Begins to read the inputs.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`] when there are no more threads.
    pub(super) fn start(
        inputs: Vec<(String, Input)>,
    ) -> Result<(Self, Vec<Box<dyn Blocks + Send>>), CaptureError> {
        let (names, inputs): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let mut readers: Vec<Box<dyn Blocks + Send>> = Vec::new();
        let meters = if inputs.len() <= AHEAD_MAX {
            let mut threads = Vec::new();
            for input in inputs {
                let started = read_ahead(input);
                let (reader, thread) = started.map_err(|source| CaptureError::Io { source })?;
                readers.push(Box::new(reader));
                threads.push(thread);
            }
            Meters::Ahead(threads)
        } else {
            let mut meters = Vec::new();
            for input in inputs {
                let bytes = Arc::new(AtomicU64::new(0));
                meters.push(Arc::clone(&bytes));
                readers.push(Box::new(Reading::one_of_many(Metered { input, bytes })));
            }
            Meters::Inline(meters)
        };
        Ok((Self { names, meters }, readers))
    }

    /// Whether whoever reads the inputs has to hash them.
    pub(super) fn hash(&self) -> bool {
        matches!(self.meters, Meters::Inline(_))
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        match &self.meters {
            Meters::Ahead(threads) => threads.iter().map(Ahead::bytes).sum(),
            Meters::Inline(meters) => meters.iter().map(|it| it.load(Ordering::Relaxed)).sum(),
        }
    }

    /// What the record says of the inputs, which have been read to their ends; `clocks_ns` were added
    /// to their times.
    pub(super) fn finish(self, stats: &CaptureStats, clocks_ns: &[i64]) -> Vec<CaptureFile> {
        let read: Vec<(u64, [u8; 32])> = match self.meters {
            Meters::Ahead(threads) => threads.into_iter().map(Ahead::finish).collect(),
            Meters::Inline(meters) => {
                let bytes = meters.iter().map(|it| it.load(Ordering::Relaxed));
                bytes.zip(stats.digests.iter().copied()).collect()
            }
        };
        let clocks = clocks_ns.iter().copied().chain(std::iter::repeat(0));
        let files = self.names.into_iter().zip(read).zip(clocks);
        let file = |((name, (bytes, digest)), clock_ns)| CaptureFile {
            name,
            blake3: Digest(digest).to_string(),
            bytes,
            clock_ns,
        };
        files.map(file).collect()
    }
}

/// Counts what is read of an input.
struct Metered {
    input: Input,
    bytes: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        let more = u64::try_from(len).unwrap_or(u64::MAX);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(len)
    }
}

/// Inputs that are read by threads of their own; more than these are read as they are needed.
const AHEAD_MAX: usize = 4;
