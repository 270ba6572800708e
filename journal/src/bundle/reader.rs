//! Reads a bundle, by its index or, when that is missing, by walking its frames.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use smbench_core::{event::EffectsDigest, ids::LogicalTime};

use super::{
    FILE_HEAD, FILE_MAGIC, FRAME_HEAD, FRAME_MAGIC, KIND_ATTACHMENT, KIND_END, KIND_EVENTS,
    KIND_INDEX, KIND_META, KIND_PIECE, NO_SHARD, ROW_BYTES, Row, TRAILER, TRAILER_MAGIC, is_sealed,
    take_u32, take_u64,
};
use crate::{
    block::{BlockHead, LoadedBlock, Unpacker},
    entries::NumberedBlock,
    error::{Damage, JournalError, Unread},
    meta::{AttachmentHead, FORMAT},
    reader::TornTail,
};

/// An open bundle. [`crate::Journal`] is the way to read one.
pub struct BundleReader {
    source: Source,
    len: u64,
    rows: Vec<Row>,
    trailer: Option<Trailer>,
    tail: Option<TornTail>,
}

enum Source {
    File { file: Mutex<File>, path: PathBuf },
    Memory(Vec<u8>),
}

#[derive(Clone, Copy)]
struct Trailer {
    index: u64,
    bytes: u64,
    digest: [u8; 32],
}

impl BundleReader {
    /// Opens the bundle in the file `path`.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotAJournal`] when it is none, [`JournalError::UnknownFormat`] when it is
    /// from the future, [`JournalError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let (source, len) = source_of(path.as_ref())?;
        Self::read(source, len, false)
    }

    /// As [`Self::open`], but for a file whose first bytes are damaged.
    pub(crate) fn open_damaged(path: &Path) -> Result<Self, JournalError> {
        let (source, len) = source_of(path)?;
        Self::read(source, len, true)
    }

    /// Opens a bundle that is in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, JournalError> {
        let len = bytes.len() as u64;
        Self::read(Source::Memory(bytes), len, false)
    }

    fn read(source: Source, len: u64, damaged: bool) -> Result<Self, JournalError> {
        let mut reader = Self {
            source,
            len,
            rows: Vec::new(),
            trailer: None,
            tail: None,
        };
        match reader.check_head() {
            Ok(()) => reader.find_parts()?,
            Err(error) if !damaged || matches!(error, JournalError::UnknownFormat { .. }) => {
                return Err(error);
            }
            // Damaged, or something else altogether: that shows in what is behind.
            Err(error) => {
                reader.find_parts()?;
                if reader.rows.is_empty() {
                    return Err(error);
                }
            }
        }
        Ok(reader)
    }

    /// By the index or, when that is missing, by walking.
    fn find_parts(&mut self) -> Result<(), JournalError> {
        let Some(trailer) = self.read_trailer()? else {
            return self.walk();
        };
        self.trailer = Some(trailer);
        match self.read_index(trailer) {
            Ok(rows) => self.rows = rows,
            Err(error) => {
                self.walk()?;
                self.tail = Some(TornTail {
                    shard: None,
                    from: trailer.index,
                    bytes: 0,
                    reason: format!("the index is damaged: {}", error.words()),
                });
            }
        }
        Ok(())
    }

    fn check_head(&self) -> Result<(), JournalError> {
        let not = |reason| JournalError::NotAJournal {
            path: self.path(),
            reason,
        };
        let have = usize::try_from(self.len)
            .unwrap_or(usize::MAX)
            .min(FILE_HEAD);
        let head = self.bytes(0, have)?;
        if !head.starts_with(FILE_MAGIC) {
            return Err(not("it does not begin like a bundle"));
        }
        if head.len() < FILE_HEAD {
            let damage = Damage::Short {
                need: FILE_HEAD as u64,
                have: self.len,
            };
            return Err(JournalError::part("bundle", damage));
        }
        if !is_sealed(&head) {
            return Err(JournalError::part("bundle's first bytes", Damage::Head));
        }
        let version = head.strip_prefix(FILE_MAGIC).and_then(take_u32);
        match version {
            Some((FORMAT, _)) => Ok(()),
            other => Err(JournalError::UnknownFormat {
                got: other.map_or(0, |(got, _)| got),
                known: FORMAT,
            }),
        }
    }

    /// The trailer, when there is a whole one at the end.
    fn read_trailer(&self) -> Result<Option<Trailer>, JournalError> {
        let Some(at) = self.len.checked_sub(TRAILER as u64) else {
            return Ok(None);
        };
        let bytes = self.bytes(at, TRAILER)?;
        if !is_sealed(&bytes) {
            return Ok(None);
        }
        let trailer = bytes.strip_prefix(TRAILER_MAGIC).and_then(|rest| {
            let (index, rest) = take_u64(rest)?;
            let (bytes, rest) = take_u64(rest)?;
            let (digest, _) = rest.split_first_chunk()?;
            Some(Trailer {
                index,
                bytes,
                digest: *digest,
            })
        });
        Ok(trailer.filter(|trailer| trailer.bytes == at))
    }

    fn read_index(&self, trailer: Trailer) -> Result<Vec<Row>, JournalError> {
        let damaged = |damage| JournalError::part("index", damage);
        let (row, crc) = self
            .frame_at(trailer.index)?
            .ok_or_else(|| damaged(Damage::Missing))?;
        let unread = |unread: Unread| unread.part("index");
        let payload = self.payload(&row, crc).map_err(unread)?;
        let chunks = payload.chunks_exact(ROW_BYTES);
        if row.kind != KIND_INDEX || !chunks.remainder().is_empty() {
            return Err(damaged(Damage::Field {
                field: "length",
                got: payload.len() as u64,
            }));
        }
        chunks
            .map(|bytes| Row::parse_row(bytes).ok_or_else(|| damaged(Damage::Missing)))
            .collect()
    }

    /// Finds the frames without an index.
    fn walk(&mut self) -> Result<(), JournalError> {
        let mut at = FILE_HEAD as u64;
        let mut reason = "the trailer is missing";
        while at < self.len {
            if let Some((row, _)) = self.frame_at(at)? {
                at = row.end();
                self.rows.push(row);
                continue;
            }
            // Not a frame: the tail, unless another frame follows. What is missing then shows
            // as a gap.
            match self.find_frame(at.saturating_add(1))? {
                Some(next) => at = next,
                None => {
                    reason = "the last part is incomplete";
                    break;
                }
            }
        }
        // A crash may leave the last frame's head without its payload.
        if let Some(last) = self.rows.last().copied()
            && let Some((row, crc)) = self.frame_at(last.offset)?
        {
            match self.payload(&row, crc) {
                Ok(_) => {}
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Damaged(_)) => {
                    at = last.offset;
                    self.rows.pop();
                    reason = "the last part is incomplete";
                }
            }
        }
        self.tail = Some(TornTail {
            shard: None,
            from: at,
            bytes: self.len.saturating_sub(at),
            reason: reason.to_owned(),
        });
        Ok(())
    }

    /// The frame at `at`, when there is one that ends within the file.
    fn frame_at(&self, at: u64) -> Result<Option<(Row, u32)>, JournalError> {
        if at.saturating_add(FRAME_HEAD as u64) > self.len {
            return Ok(None);
        }
        let head = self.bytes(at, FRAME_HEAD)?;
        let Some(head) = head.first_chunk() else {
            return Ok(None);
        };
        Ok(Row::parse(head, at).filter(|(row, _)| row.end() <= self.len))
    }

    /// The next frame at or behind `at`.
    fn find_frame(&self, mut at: u64) -> Result<Option<u64>, JournalError> {
        while at < self.len {
            let left = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            let window = self.bytes(at, left.min(WINDOW))?;
            for (index, bytes) in window.windows(FRAME_MAGIC.len()).enumerate() {
                let found = at.saturating_add(index as u64);
                if bytes == FRAME_MAGIC && self.frame_at(found)?.is_some() {
                    return Ok(Some(found));
                }
            }
            let step = window.len().saturating_sub(FRAME_MAGIC.len() - 1).max(1);
            at = at.saturating_add(step as u64);
        }
        Ok(None)
    }

    /// A frame's payload, checked.
    fn payload(&self, row: &Row, expected: u32) -> Result<Vec<u8>, Unread> {
        let at = row.offset.saturating_add(FRAME_HEAD as u64);
        let payload = self
            .bytes(at, row.stored_len as usize)
            .map_err(Unread::Failed)?;
        let found = crc32fast::hash(&payload);
        if found == expected {
            Ok(payload)
        } else {
            Err(Damage::Checksum { expected, found }.into())
        }
    }

    /// The payload of a frame that the index tells of.
    fn load(&self, row: &Row) -> Result<Vec<u8>, Unread> {
        let found = self.frame_at(row.offset).map_err(Unread::Failed)?;
        match found {
            Some((head, crc)) if head == *row => self.payload(row, crc),
            Some(_) => Err(Damage::Field {
                field: "frame's offset",
                got: row.offset,
            }
            .into()),
            None => Err(Damage::Missing.into()),
        }
    }

    /// `len` bytes at `at`.
    fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>, JournalError> {
        let failed = |source| JournalError::Io {
            action: "reading bundle",
            path: self.path(),
            source,
        };
        if at.saturating_add(len as u64) > self.len {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match &self.source {
            Source::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; len];
                file.seek(SeekFrom::Start(at)).map_err(failed)?;
                file.read_exact(&mut bytes).map_err(failed)?;
                Ok(bytes)
            }
            Source::Memory(bytes) => usize::try_from(at)
                .ok()
                .and_then(|at| bytes.get(at..at.checked_add(len)?))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn path(&self) -> PathBuf {
        match &self.source {
            Source::File { path, .. } => path.clone(),
            Source::Memory(_) => PathBuf::from("(memory)"),
        }
    }

    fn part(&self, row: &Row, what: &str) -> Result<Vec<u8>, JournalError> {
        self.load(row).map_err(|unread| unread.part(what))
    }

    pub(crate) fn meta_json(&self) -> Result<Vec<u8>, JournalError> {
        let row = self
            .rows
            .iter()
            .find(|row| row.kind == KIND_META)
            .ok_or_else(|| JournalError::part("run metadata", Damage::Missing))?;
        self.part(row, "run metadata")
    }

    pub(crate) fn tail(&self) -> Option<&TornTail> {
        self.tail.as_ref()
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Number of events and final digest of a shard whose record was ended.
    pub(crate) fn finish(&self, shard: u32) -> Option<(u64, EffectsDigest)> {
        self.rows
            .iter()
            .find(|row| row.kind == KIND_END && row.shard == shard)
            .map(|row| (row.first, EffectsDigest(row.base)))
    }

    pub(crate) fn attachments(&self) -> Result<Vec<AttachmentHead>, JournalError> {
        self.rows
            .iter()
            .filter(|row| row.kind == KIND_ATTACHMENT)
            .map(|row| {
                let json = self.part(row, "attachment")?;
                serde_json::from_slice(&json).map_err(JournalError::Meta)
            })
            .collect()
    }

    /// An attachment's zstd stream, unchecked but for its pieces.
    pub(crate) fn attachment_stream(&self, head: &AttachmentHead) -> Result<Vec<u8>, JournalError> {
        let mut rows = self.rows.iter();
        while let Some(row) = rows.find(|row| row.kind == KIND_ATTACHMENT) {
            let json = self.part(row, "attachment")?;
            let found: AttachmentHead =
                serde_json::from_slice(&json).map_err(JournalError::Meta)?;
            if found.name != head.name {
                continue;
            }
            let mut stream = Vec::new();
            let pieces = rows.take_while(|row| row.kind == KIND_PIECE);
            for (index, row) in (0u64..).zip(pieces) {
                let what = format!("attachment {}, piece {index}", head.name);
                if row.first != index {
                    return Err(JournalError::part(what, Damage::Missing));
                }
                stream.extend_from_slice(&self.part(row, &what)?);
            }
            return Ok(stream);
        }
        Err(JournalError::NoAttachment {
            name: head.name.clone(),
        })
    }

    /// The shard's blocks, from the one that holds event `from`.
    pub(crate) fn blocks(&self, shard: u32, from: u64) -> Result<Blocks<'_>, JournalError> {
        let rows: Vec<Row> = self
            .rows
            .iter()
            .filter(|row| row.kind == KIND_EVENTS && row.shard == shard)
            .copied()
            .collect();
        let skip = rows
            .partition_point(|row| row.first <= from)
            .saturating_sub(1);
        Ok(Blocks {
            reader: self,
            rows: rows.into_iter().skip(skip),
            unpacker: Unpacker::new()?,
        })
    }

    /// Where the block that begins with event `first` is in the file.
    #[cfg(test)]
    pub(crate) fn frame_of(&self, shard: u32, first: u64) -> Option<usize> {
        let mut rows = self.rows.iter();
        let row =
            rows.find(|row| (row.kind, row.shard, row.first) == (KIND_EVENTS, shard, first))?;
        usize::try_from(row.offset).ok()
    }

    /// The shards that something is stored of, ascending.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u32> {
        let shards: BTreeSet<u32> = self.rows.iter().map(|row| row.shard).collect();
        shards.into_iter().filter(|shard| *shard != NO_SHARD)
    }

    /// Reads the whole file: what of it is not as written. Nothing is where its digest matches.
    pub(crate) fn check_whole(&self) -> Result<Vec<JournalError>, JournalError> {
        let mut found = Vec::new();
        if let Some(trailer) = self.trailer
            && self.tail.is_none()
        {
            if self.digest(trailer.bytes)? == trailer.digest {
                return Ok(found);
            }
            found.push(JournalError::part("file", Damage::Digest));
        }
        for row in &self.rows {
            if let Err(unread) = self.load(row) {
                found.push(match row.shard {
                    NO_SHARD => unread.part(format!("frame at byte {}", row.offset)),
                    shard => unread.block(shard, row.first),
                });
            }
        }
        if let Some(tail) = &self.tail {
            let damage = Damage::Torn {
                from: tail.from,
                bytes: tail.bytes,
                reason: tail.reason.clone(),
            };
            found.push(JournalError::part("bundle", damage));
        }
        Ok(found)
    }

    /// The digest of the first `bytes` of the file.
    fn digest(&self, bytes: u64) -> Result<[u8; 32], JournalError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            let window = self.bytes(at, left.min(WINDOW))?;
            hasher.update(&window);
            at = at.saturating_add(window.len() as u64);
        }
        Ok(*hasher.finalize().as_bytes())
    }
}

fn source_of(path: &Path) -> Result<(Source, u64), JournalError> {
    let opened = File::open(path).and_then(|file| {
        let len = file.metadata()?.len();
        Ok((file, len))
    });
    let (file, len) = opened.map_err(|source| JournalError::Io {
        action: "opening bundle",
        path: path.into(),
        source,
    })?;
    let source = Source::File {
        file: Mutex::new(file),
        path: path.into(),
    };
    Ok((source, len))
}

/// The blocks of one shard in order.
pub(crate) struct Blocks<'a> {
    reader: &'a BundleReader,
    rows: std::iter::Skip<std::vec::IntoIter<Row>>,
    unpacker: Unpacker,
}

impl Blocks<'_> {
    /// The next block, unpacked into `spare`.
    pub(crate) fn next_block(&mut self, spare: Vec<u8>) -> Option<NumberedBlock> {
        let row = self.rows.next()?;
        let block = self
            .unpack(&row, spare)
            .map_err(|unread| unread.block(row.shard, row.first));
        Some((row.first, block))
    }

    fn unpack(&mut self, row: &Row, mut raw: Vec<u8>) -> Result<LoadedBlock, Unread> {
        let head = BlockHead {
            shard: row.shard,
            first_seq: row.first,
            base: LogicalTime(row.base),
            count: row.count,
            raw_len: row.raw_len,
        };
        head.check()?;
        let payload = self.reader.load(row)?;
        self.unpacker.unpack(&payload, row.raw_len, &mut raw)?;
        Ok(LoadedBlock::new(head, raw))
    }
}

const WINDOW: usize = 1 << 20;
