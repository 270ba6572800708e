//! `blobs.pack`: bulk data, each once, found by its BLAKE3.
//!
//! | part    | bytes                                                                      |
//! |---------|----------------------------------------------------------------------------|
//! | head    | `SMBBLOB1`                                                                 |
//! | data    | the blobs, one behind the other                                            |
//! | index   | an entry a blob, by digest: digest 32, offset u64, length u32              |
//! | trailer | offset of the index u64, entries u64, BLAKE3 of the index 32, `1BOLBBMS`   |
//!
//! Numbers are little-endian, offsets count from the start of the file.

use std::{
    collections::hash_map,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use smbench_core::{frame::Digest, workload::DataRef};

use super::{
    FolderError,
    check::{self, Fault, Wanted},
};
use crate::map::Map;

const HEAD: &[u8; 8] = b"SMBBLOB1";
const TAIL: &[u8; 8] = b"1BOLBBMS";
const ENTRY: usize = 44;
const TRAILER: usize = 56;

/// Which data is in a pack, and where.
#[derive(Debug)]
pub(crate) struct BlobIndex {
    at: u64,
    places: Map<[u8; 32], (u64, u32)>,
}

impl BlobIndex {
    /// Of a pack without data.
    pub(crate) fn new() -> Self {
        Self {
            at: HEAD.len() as u64,
            places: Map::default(),
        }
    }

    /// Gives data its name, and says whether it is new and has to be written.
    ///
    /// # Errors
    ///
    /// [`FolderError::TooLong`] above 4 GiB.
    pub(crate) fn note(&mut self, data: &[u8]) -> Result<(DataRef, bool), FolderError> {
        let long = FolderError::TooLong { got: data.len() };
        let len = u32::try_from(data.len()).map_err(|_| long)?;
        let blake3 = Digest::of(data);
        let entry = self.places.entry(blake3.0);
        let new = matches!(entry, hash_map::Entry::Vacant(_));
        if new {
            entry.or_insert((self.at, len));
            self.at = self.at.saturating_add(u64::from(len));
        }
        Ok((DataRef { blake3, len }, new))
    }

    /// Writes the index and the trailer.
    fn write(mut self, out: &mut impl Write) -> io::Result<()> {
        let mut entries: Vec<_> = self.places.drain().collect();
        entries.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        let mut write = |bytes: &[u8]| {
            hasher.update(bytes);
            out.write_all(bytes)
        };
        for (digest, (offset, len)) in &entries {
            write(digest)?;
            write(&offset.to_le_bytes())?;
            write(&len.to_le_bytes())?;
        }
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let digest = hasher.finalize();
        let parts: [&[u8]; 4] = [
            &self.at.to_le_bytes(),
            &count.to_le_bytes(),
            digest.as_bytes(),
            TAIL,
        ];
        out.write_all(&parts.concat())
    }
}

/// Writes the data of a pack, one blob behind the other.
#[derive(Debug)]
pub(crate) struct PackWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl PackWriter {
    /// Begins the pack `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn create(path: &Path) -> Result<Self, FolderError> {
        let file = File::create_new(path).map_err(FolderError::io(path))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(HEAD).map_err(FolderError::io(path))?;
        Ok(Self {
            path: path.to_owned(),
            out,
        })
    }

    /// Appends data that the index found to be new, whole or in parts.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), FolderError> {
        let written = self.out.write_all(data);
        written.map_err(FolderError::io(&self.path))
    }

    /// Writes the index and makes the pack durable.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn finish(mut self, index: BlobIndex) -> Result<(), FolderError> {
        let written = index.write(&mut self.out);
        written.map_err(FolderError::io(&self.path))?;
        let file = self.out.into_inner().map_err(|it| it.into_error());
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(FolderError::io(&self.path))
    }
}

/// Writes a pack, streaming; only the index is kept in memory.
#[derive(Debug)]
pub struct BlobWriter {
    pack: PackWriter,
    index: BlobIndex,
}

impl BlobWriter {
    /// Begins the pack `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        Ok(Self {
            pack: PackWriter::create(path)?,
            index: BlobIndex::new(),
        })
    }

    /// Keeps `data` and says how it is called; data seen before is not written again.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::TooLong`] above 4 GiB.
    pub fn put(&mut self, data: &[u8]) -> Result<DataRef, FolderError> {
        let (kept, new) = self.index.note(data)?;
        if new {
            self.pack.append(data)?;
        }
        Ok(kept)
    }

    /// Number of different blobs so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.places.is_empty()
    }

    /// Writes the index and makes the pack durable.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub fn finish(self) -> Result<(), FolderError> {
        self.pack.finish(self.index)
    }
}

/// Reads a pack; may be shared between threads.
#[derive(Debug)]
pub struct BlobReader {
    path: PathBuf,
    file: Mutex<File>,
    /// By digest.
    index: Vec<([u8; 32], u64, u32)>,
}

impl BlobReader {
    /// Opens a pack and reads its index.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::BadPack`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let io = || FolderError::io(path);
        let mut file = File::open(path).map_err(io())?;
        let size = file.metadata().map_err(io())?.len();
        let bad = |byte, what| FolderError::BadPack {
            path: path.to_owned(),
            byte,
            what,
        };
        let mut head = [0; 8];
        let mut trailer = [0; TRAILER];
        let at = size.checked_sub(TRAILER as u64).filter(|at| *at >= 8);
        let at = at.ok_or_else(|| bad(size, "too short for a pack"))?;
        file.read_exact(&mut head).map_err(io())?;
        file.seek(SeekFrom::Start(at)).map_err(io())?;
        file.read_exact(&mut trailer).map_err(io())?;
        if head != *HEAD {
            return Err(bad(0, "this is no pack"));
        }
        if !trailer.ends_with(TAIL) {
            return Err(bad(at, "no trailer: the pack was not finished"));
        }
        let start = u64_at(&trailer, 0);
        let count = u64_at(&trailer, 8);
        let fits = count.checked_mul(ENTRY as u64) == at.checked_sub(start) && start >= 8;
        let len = usize::try_from(at.saturating_sub(start)).ok();
        let len = len.filter(|_| fits);
        let len = len.ok_or_else(|| bad(at, "the trailer contradicts the length of the file"))?;
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(start)).map_err(io())?;
        file.read_exact(&mut bytes).map_err(io())?;
        if trailer.get(16..48) != Some(blake3::hash(&bytes).as_bytes().as_slice()) {
            return Err(bad(start, "the index is damaged"));
        }
        let index: Vec<_> = bytes.chunks_exact(ENTRY).map(entry).collect();
        let inside = |(_, offset, len): &([u8; 32], u64, u32)| {
            *offset >= 8 && offset.saturating_add(u64::from(*len)) <= start
        };
        if !index.iter().all(inside) {
            return Err(bad(start, "the index points outside the data"));
        }
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            index,
        })
    }

    /// The data with that digest, verified.
    ///
    /// # Errors
    ///
    /// [`FolderError::NoBlob`], [`FolderError::BadPack`] when the data is not what its digest says,
    /// [`FolderError::Io`].
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, FolderError> {
        let none = || FolderError::NoBlob {
            path: self.path.clone(),
            digest: *digest,
        };
        let (offset, len) = self.place(digest).ok_or_else(none)?;
        let mut data = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.seek(SeekFrom::Start(offset));
            let read = read.and_then(|_| file.read_exact(&mut data));
            read.map_err(FolderError::io(&self.path))?;
        }
        if Digest::of(&data) != *digest {
            return Err(FolderError::BadPack {
                path: self.path.clone(),
                byte: offset,
                what: "data that does not fit its digest",
            });
        }
        Ok(data)
    }

    /// What of `wanted` cannot be had, by its place there, ascending: all of it is looked up, read
    /// and hashed, on all processors. `progress` is told how many bytes more were read.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub fn check(
        &self,
        wanted: &[DataRef],
        progress: &(impl Fn(u64) + Sync),
    ) -> Result<Vec<(usize, Fault)>, FolderError> {
        let (mut found, mut there) = (Vec::new(), Vec::new());
        for (index, &data) in wanted.iter().enumerate() {
            match self.place(&data.blake3) {
                None => found.push((index, Fault::Missing)),
                Some((_, len)) if len != data.len => found.push((index, Fault::Length(len))),
                Some((offset, _)) => there.push(Wanted {
                    index,
                    data,
                    offset,
                }),
            }
        }
        found.extend(check::damaged(&self.path, there, progress)?);
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found)
    }

    /// Offset and length of the data with that digest.
    fn place(&self, digest: &Digest) -> Option<(u64, u32)> {
        let found = self.index.binary_search_by(|entry| entry.0.cmp(&digest.0));
        let (_, offset, len) = self.index.get(found.ok()?)?;
        Some((*offset, *len))
    }

    /// Whether there is data with that digest.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.place(digest).is_some()
    }

    /// Every blob: digest and length in bytes.
    pub fn iter(&self) -> impl Iterator<Item = DataRef> + '_ {
        self.index.iter().map(|(digest, _, len)| DataRef {
            blake3: Digest(*digest),
            len: *len,
        })
    }
}

fn entry(bytes: &[u8]) -> ([u8; 32], u64, u32) {
    let digest = bytes.first_chunk().copied().unwrap_or_default();
    let len = bytes.last_chunk().copied().unwrap_or_default();
    (digest, u64_at(bytes, 32), u32::from_le_bytes(len))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u64::from_le_bytes(field.copied().unwrap_or_default())
}
