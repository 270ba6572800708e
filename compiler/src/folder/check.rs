//! Whether a pack has all that is wanted of it, and as its digests say: on all processors.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use smbench_core::workload::DataRef;

use super::FolderError;
use crate::threads::joined;

/// Why data cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The pack has none with that digest.
    Missing,
    /// The pack has it with another length, in bytes.
    Length(u32),
    /// What the pack has at this byte is other data.
    Damaged(u64),
}

/// Data of a pack, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Its place in what was asked for.
    pub(super) index: usize,
    pub(super) data: DataRef,
    /// Where it begins in the pack.
    pub(super) offset: u64,
}

/// Reads all of `wanted` and gives what is damaged. `progress` is told of bytes that were read.
pub(super) fn damaged(
    path: &Path,
    mut wanted: Vec<Wanted>,
    progress: &(impl Fn(u64) + Sync),
) -> Result<Vec<(usize, Fault)>, FolderError> {
    wanted.sort_unstable_by_key(|it| it.offset);
    let pieces = pieces(&wanted);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Fault)>, FolderError> {
        let file = File::open(path).map_err(FolderError::io(path))?;
        let mut reader = Reader {
            file: BufReader::with_capacity(READ_BYTES, file),
            at: 0,
            buffer: vec![0; READ_BYTES],
        };
        let mut found = Vec::new();
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            for it in *piece {
                let same = reader.is_as_told(it).map_err(FolderError::io(path))?;
                if !same {
                    found.push((it.index, Fault::Damaged(it.offset)));
                }
                progress(it.data.len.into());
            }
        }
        Ok(found)
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let found = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.min(pieces.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let found = workers.into_iter().map(joined);
        found.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(found.concat())
}

/// Stretches of some [`PIECE_BYTES`] each.
fn pieces(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let mut pieces = Vec::new();
    let mut rest = wanted;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|it| {
            let room = bytes < PIECE_BYTES;
            bytes += u64::from(it.data.len);
            room
        });
        let (piece, behind) = rest.split_at(fits.count());
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

struct Reader {
    file: BufReader<File>,
    at: u64,
    buffer: Vec<u8>,
}

impl Reader {
    fn is_as_told(&mut self, it: &Wanted) -> std::io::Result<bool> {
        if self.at != it.offset {
            self.file.seek(SeekFrom::Start(it.offset))?;
        }
        let mut hasher = blake3::Hasher::new();
        let mut left = u64::from(it.data.len);
        while left > 0 {
            let step = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let part = self.buffer.get_mut(..step).unwrap_or_default();
            self.file.read_exact(part)?;
            hasher.update(part);
            left -= step as u64;
        }
        self.at = it.offset + u64::from(it.data.len);
        Ok(*hasher.finalize().as_bytes() == it.data.blake3.0)
    }
}

/// Bytes read at once.
const READ_BYTES: usize = 1 << 18;
/// Bytes that one worker takes at once.
const PIECE_BYTES: u64 = 8 << 20;
