//! A workload folder as one file, `.smbw`.
//!
//! | part    | bytes                                                                            |
//! |---------|----------------------------------------------------------------------------------|
//! | head    | `SMBWORK1`                                                                       |
//! | content | `workload.json`, `ops.jsonl`, `namespace.jsonl`, `blobs.pack`, one behind the other |
//! | index   | of each of them, in this order: bytes u64, bytes stored u64, how it is stored u8 |
//! | trailer | BLAKE3 of all of it, 32                                                          |
//!
//! Numbers are little-endian. A file is stored as it is (0) or as a zstd stream (1). No name is
//! stored, so none can lead anywhere; and nothing expands to more than [`MAX_RATIO`] times what is
//! stored, unless to no more than [`ALWAYS_BYTES`]: what would is stored as it is.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{FolderError, FolderReader, name};

const HEAD: &[u8; 8] = b"SMBWORK1";
const FILES: [&str; 4] = [
    name::WORKLOAD,
    name::OPERATIONS,
    name::NAMESPACE,
    name::BLOBS,
];
const ENTRY: usize = 17;
const TRAILER: usize = 32;

/// Why a workload could not be packed or unpacked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("{path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// What is to be packed is no workload.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It begins with something else.
    #[error("{path} is no packed workload")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("{path} has a newer format than this program reads")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        what: &'static str,
    },
    /// It would take more room than a workload does.
    #[error("{path} would expand {stored} bytes to {bytes} of {file}")]
    Swollen {
        /// The file.
        path: PathBuf,
        /// Which part of the workload.
        file: &'static str,
        /// Bytes in the file.
        stored: u64,
        /// Bytes that it says they become.
        bytes: u64,
    },
}

impl ArchiveError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// How much was packed or unpacked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Packed {
    /// Operations of the workload; 0 when unpacking.
    pub operations: u64,
    /// Bytes of the folder's files.
    pub bytes: u64,
    /// Bytes of the archive.
    pub stored: u64,
}

/// Whether the file at `path` begins as a packed workload does.
#[must_use]
pub fn is_archive(path: &Path) -> bool {
    let mut head = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(b"SMBWORK")
}

/// Writes the workload folder `from` into the new file `to`. The same folder gives the same bytes.
///
/// # Errors
///
/// [`ArchiveError::Folder`] where `from` is no workload, [`ArchiveError::Io`]; then what is at `to`
/// is of no use.
pub fn pack(from: &Path, to: &Path) -> Result<Packed, ArchiveError> {
    let folder = FolderReader::open(from)?;
    // What cannot be read here could not be read there.
    folder.blobs()?;
    let file = File::create_new(to).map_err(ArchiveError::io(to))?;
    let mut out = Hashing {
        inner: BufWriter::with_capacity(BUFFER, file),
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    let failed = |source| ArchiveError::io(to)(source);
    out.write_all(HEAD).map_err(failed)?;
    let mut index = Vec::new();
    let mut packed = Packed {
        operations: folder.workload().operations,
        ..Packed::default()
    };
    for name in FILES {
        let path = from.join(name);
        let entry = store(&path, &mut out, to)?;
        packed.bytes = packed.bytes.saturating_add(entry.bytes);
        index.extend(entry.to_bytes());
    }
    out.write_all(&index).map_err(failed)?;
    let digest = *out.hasher.finalize().as_bytes();
    out.write_all(&digest).map_err(failed)?;
    packed.stored = out.bytes;
    let file = out.inner.into_inner();
    let file = file.map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(packed)
}

/// Stores a file, compressed where that is no more than allowed.
fn store(path: &Path, out: &mut Hashing, to: &Path) -> Result<Entry, ArchiveError> {
    let mut file = File::open(path).map_err(ArchiveError::io(path))?;
    let (before, begin) = (out.hasher.clone(), out.bytes);
    let mut encoder =
        zstd::stream::write::Encoder::new(&mut *out, LEVEL).map_err(ArchiveError::io(to))?;
    let bytes = copy(&mut file, path, &mut encoder, to)?;
    encoder.finish().map_err(ArchiveError::io(to))?;
    let entry = Entry {
        bytes,
        stored: out.bytes - begin,
        method: ZSTD,
    };
    if entry.is_allowed() {
        return Ok(entry);
    }
    let rewound = out.rewind(before, begin).and_then(|()| file.rewind());
    rewound.map_err(ArchiveError::io(to))?;
    let bytes = copy(&mut file, path, out, to)?;
    Ok(Entry {
        bytes,
        stored: bytes,
        method: PLAIN,
    })
}

fn copy(
    from: &mut File,
    path: &Path,
    to: &mut impl Write,
    target: &Path,
) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0_u64;
    loop {
        let read = from.read(&mut buffer).map_err(ArchiveError::io(path))?;
        let part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            return Ok(bytes);
        }
        to.write_all(part).map_err(ArchiveError::io(target))?;
        bytes = bytes.saturating_add(read as u64);
    }
}

/// Writes the workload that is packed in `from` into the folder `to`, which must be there and empty.
/// Nothing is written before all of `from` is checked. `progress` is told of bytes of `from`: twice
/// its length in the end.
///
/// # Errors
///
/// [`ArchiveError`]; then what is in `to` is of no use.
pub fn unpack(from: &Path, to: &Path, progress: &dyn Fn(u64)) -> Result<Packed, ArchiveError> {
    let file = File::open(from).map_err(ArchiveError::io(from))?;
    let length = file.metadata().map_err(ArchiveError::io(from))?.len();
    let mut input = BufReader::with_capacity(BUFFER, file);
    let index = check(&mut input, from, length, progress)?;
    let content = HEAD.len() as u64;
    input
        .seek(SeekFrom::Start(content))
        .map_err(ArchiveError::io(from))?;
    let mut unpacked = Packed {
        stored: length,
        ..Packed::default()
    };
    for (name, entry) in FILES.into_iter().zip(&index) {
        let path = to.join(name);
        let bytes = restore(&mut input, from, entry, &path)?;
        if bytes != entry.bytes {
            return Err(ArchiveError::Damaged {
                path: from.to_owned(),
                what: "a file in it is not as long as it says",
            });
        }
        progress(entry.stored);
        unpacked.bytes = unpacked.bytes.saturating_add(bytes);
    }
    Ok(unpacked)
}

/// Looks whether all of an archive of `length` bytes is what was written, and gives its index.
fn check(
    input: &mut (impl Read + Seek),
    path: &Path,
    length: u64,
    progress: &dyn Fn(u64),
) -> Result<Vec<Entry>, ArchiveError> {
    let damaged = |what| ArchiveError::Damaged {
        path: path.to_owned(),
        what,
    };
    let mut head = [0; HEAD.len()];
    match input.read_exact(&mut head) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(ArchiveError::io(path)(error));
        }
        Ok(()) if head == *HEAD => {}
        Ok(()) if head.starts_with(b"SMBWORK") && head.last().is_some_and(|it| *it > b'1') => {
            return Err(ArchiveError::Newer {
                path: path.to_owned(),
            });
        }
        _ => {
            return Err(ArchiveError::NotAnArchive {
                path: path.to_owned(),
            });
        }
    }
    let index_bytes = ENTRY * FILES.len();
    let around = (HEAD.len() + index_bytes + TRAILER) as u64;
    let Some(content) = length.checked_sub(around) else {
        return Err(damaged("it is cut short"));
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head);
    let mut left = content;
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let step = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        let part = buffer.get_mut(..step).unwrap_or_default();
        input.read_exact(part).map_err(ArchiveError::io(path))?;
        hasher.update(part);
        left -= step as u64;
        progress(step as u64);
    }
    let mut index = vec![0; index_bytes];
    let mut digest = [0; TRAILER];
    let read = input.read_exact(&mut index);
    read.and_then(|()| input.read_exact(&mut digest))
        .map_err(ArchiveError::io(path))?;
    hasher.update(&index);
    if *hasher.finalize().as_bytes() != digest {
        return Err(damaged(
            "its digest is another one: it is cut short or changed",
        ));
    }
    let entries: Vec<Entry> = index.chunks_exact(ENTRY).map(Entry::of_bytes).collect();
    for (file, entry) in FILES.into_iter().zip(&entries) {
        let as_it_is = entry.method == PLAIN && entry.stored == entry.bytes;
        if !as_it_is && entry.method != ZSTD {
            return Err(damaged("a file in it is stored in no known way"));
        }
        if !as_it_is && !entry.is_allowed() {
            return Err(ArchiveError::Swollen {
                path: path.to_owned(),
                file,
                stored: entry.stored,
                bytes: entry.bytes,
            });
        }
    }
    let stored = entries
        .iter()
        .try_fold(0_u64, |sum, entry| sum.checked_add(entry.stored));
    match stored {
        Some(stored) if stored == content => Ok(entries),
        _ => Err(damaged("its index does not fit its length")),
    }
}

/// Writes a file of the archive; gives its length, of which no more than one byte too many is
/// written.
fn restore(
    input: &mut impl BufRead,
    from: &Path,
    entry: &Entry,
    to: &Path,
) -> Result<u64, ArchiveError> {
    let failed = |path: &Path, source| ArchiveError::io(path)(source);
    let mut stored = input.take(entry.stored);
    let mut out = File::create_new(to).map_err(|error| failed(to, error))?;
    let limit = entry.bytes.saturating_add(1);
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0_u64;
    {
        let mut decoder;
        let reader: &mut dyn Read = match entry.method {
            PLAIN => &mut stored,
            _ => {
                decoder = zstd::stream::read::Decoder::with_buffer(&mut stored)
                    .map_err(|error| failed(from, error))?;
                &mut decoder
            }
        };
        let mut reader = reader.take(limit);
        loop {
            let read = reader
                .read(&mut buffer)
                .map_err(|_| ArchiveError::Damaged {
                    path: from.to_owned(),
                    what: "a file in it does not expand",
                })?;
            let part = buffer.get(..read).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            out.write_all(part).map_err(|error| failed(to, error))?;
            bytes = bytes.saturating_add(read as u64);
        }
    }
    // The next file begins behind all that is stored of this one.
    io::copy(&mut stored, &mut io::sink()).map_err(|error| failed(from, error))?;
    Ok(bytes)
}

/// How one file is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    bytes: u64,
    stored: u64,
    method: u8,
}

impl Entry {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.bytes.to_le_bytes(), self.stored.to_le_bytes()];
        [&numbers.concat()[..], &[self.method]].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
            // There are ENTRY bytes.
            u64::from_le_bytes(field.copied().unwrap_or_default())
        };
        Self {
            bytes: number(0),
            stored: number(8),
            method: bytes.last().copied().unwrap_or(u8::MAX),
        }
    }

    /// Whether so many bytes may become so many.
    fn is_allowed(self) -> bool {
        self.bytes <= self.stored.saturating_mul(MAX_RATIO).max(ALWAYS_BYTES)
    }
}

/// Counts and hashes what goes through.
struct Hashing {
    inner: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hashing {
    /// Goes back to where `bytes` were written and the hasher was `hasher`.
    fn rewind(&mut self, hasher: blake3::Hasher, bytes: u64) -> io::Result<()> {
        self.inner.seek(SeekFrom::Start(bytes))?;
        self.inner.get_ref().set_len(bytes)?;
        (self.hasher, self.bytes) = (hasher, bytes);
        Ok(())
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const LEVEL: i32 = 6;
/// Operations, the most repetitive there are, stay below 100.
const MAX_RATIO: u64 = 256;
const ALWAYS_BYTES: u64 = 16 << 20;
const BUFFER: usize = 1 << 18;

#[cfg(test)]
mod tests;
