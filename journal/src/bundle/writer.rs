//! Writes a bundle from front to back.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
};

use smbench_core::{
    event::{EffectsDigest, Entry, Recorder},
    ids::{LogicalTime, ShardId},
};

use super::{
    KIND_ATTACHMENT, KIND_END, KIND_EVENTS, KIND_INDEX, KIND_META, KIND_PIECE, NO_SHARD, Row,
    file_head, trailer,
};
use crate::{
    block::{BUNDLE_BLOCK, Block, Event, Packer},
    error::JournalError,
    meta::{AttachmentHead, RunMeta},
};

/// Writes one run's journal as a bundle.
///
/// The bytes follow from the calls alone: no clock, no randomness. Blocks are written when they
/// are full, so with several shards the order of calls shows; [`crate::export`] of the result puts
/// shard after shard. A bundle that is dropped without [`Self::end`] lacks its open blocks.
pub struct BundleWriter<W: Write> {
    out: W,
    hasher: blake3::Hasher,
    offset: u64,
    rows: Vec<Row>,
    shards: BTreeMap<u32, Shard>,
    names: Vec<String>,
    packer: Packer,
    packed: Vec<u8>,
}

/// One shard of a bundle that is being written, as a [`Recorder`].
pub struct BundleShard<'a, W: Write> {
    writer: &'a mut BundleWriter<W>,
    shard: ShardId,
}

struct Shard {
    block: Block,
    finished: bool,
}

impl BundleWriter<BufWriter<File>> {
    /// Begins a bundle in the new file `path`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Exists`] when the file is there, [`JournalError::Io`].
    pub fn create(path: impl AsRef<Path>, meta: &RunMeta) -> Result<Self, JournalError> {
        Self::create_raw(path.as_ref(), &meta.to_json()?)
    }

    pub(crate) fn create_raw(path: &Path, meta_json: &[u8]) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => JournalError::Exists { path: path.into() },
                _ => JournalError::Io {
                    action: "creating bundle",
                    path: path.into(),
                    source,
                },
            })?;
        Self::with_meta_json(BufWriter::new(file), meta_json)
    }

    /// As [`Self::end`], and makes the file durable; gives its length in bytes.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn end_file(self) -> Result<u64, JournalError> {
        let file = self
            .end()?
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(file.metadata().map_err(failed)?.len())
    }
}

impl<W: Write> BundleWriter<W> {
    /// Begins a bundle in `out`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when `out` takes no more.
    pub fn new(out: W, meta: &RunMeta) -> Result<Self, JournalError> {
        Self::with_meta_json(out, &meta.to_json()?)
    }

    fn with_meta_json(out: W, meta_json: &[u8]) -> Result<Self, JournalError> {
        let shards = RunMeta::from_json(meta_json)?.shards;
        let mut writer = Self {
            out,
            hasher: blake3::Hasher::new(),
            offset: 0,
            rows: Vec::new(),
            shards: BTreeMap::new(),
            names: Vec::new(),
            packer: Packer::new(LEVEL)?,
            packed: Vec::new(),
        };
        for shard in 0..shards {
            let block = Block::new(shard, 0, LogicalTime::ZERO, Vec::new());
            let finished = false;
            writer.shards.insert(shard, Shard { block, finished });
        }
        writer.put_bytes(&file_head())?;
        writer.put_part(KIND_META, 0, meta_json)?;
        Ok(writer)
    }

    /// Keeps `data` with the journal, under a name of 1 to 255 bytes.
    ///
    /// # Errors
    ///
    /// [`JournalError::BadName`], [`JournalError::Io`].
    pub fn attach(&mut self, name: &str, data: &[u8]) -> Result<(), JournalError> {
        let (head, packed) = AttachmentHead::pack(name, data)?;
        self.put_attachment(&head, &packed)
    }

    pub(crate) fn put_attachment(
        &mut self,
        head: &AttachmentHead,
        packed: &[u8],
    ) -> Result<(), JournalError> {
        if self.names.contains(&head.name) {
            return Err(JournalError::BadName {
                name: head.name.clone(),
                reason: "is taken",
            });
        }
        self.names.push(head.name.clone());
        let json = serde_json::to_vec(head).map_err(JournalError::Meta)?;
        self.put_part(KIND_ATTACHMENT, 0, &json)?;
        for (index, piece) in (0u64..).zip(packed.chunks(BUNDLE_BLOCK)) {
            self.put_part(KIND_PIECE, index, piece)?;
        }
        Ok(())
    }

    /// Records one event of `shard`.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoShard`], [`JournalError::Finished`], [`JournalError::OutOfSequence`],
    /// [`JournalError::TimeWentBack`], [`JournalError::Encode`], [`JournalError::Io`].
    pub fn record(&mut self, shard: ShardId, entry: &Entry) -> Result<(), JournalError> {
        let event = Event {
            seq: entry.seq,
            now: entry.now,
            before: entry.before.short(),
            whole: Some(entry.before),
            input: &entry.input,
        };
        self.put(shard.0, event)
    }

    pub(crate) fn put(&mut self, shard: u32, event: Event<'_>) -> Result<(), JournalError> {
        let state = self.open_shard(shard)?;
        state.block.push(event)?;
        if state.block.raw().len() >= BUNDLE_BLOCK {
            self.cut_shard(ShardId(shard))?;
        }
        Ok(())
    }

    /// Ends the record of `shard`: `after` is the digest of all its effects.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoShard`], [`JournalError::Finished`], [`JournalError::Io`].
    pub fn finish_shard(
        &mut self,
        shard: ShardId,
        after: EffectsDigest,
    ) -> Result<(), JournalError> {
        self.cut_shard(shard)?;
        let state = self.open_shard(shard.0)?;
        state.finished = true;
        let row = Row {
            kind: KIND_END,
            shard: shard.0,
            first: state.block.next_seq(),
            base: after.0,
            count: 0,
            raw_len: 0,
            stored_len: 0,
            offset: self.offset,
        };
        self.put_frame(row, &[])
    }

    /// Ends a shard's record as if it had `count` events.
    #[cfg(test)]
    pub(crate) fn forge_end(&mut self, shard: u32, count: u64) -> Result<(), JournalError> {
        let row = Row {
            kind: KIND_END,
            shard,
            first: count,
            base: 0,
            count: 0,
            raw_len: 0,
            stored_len: 0,
            offset: self.offset,
        };
        self.put_frame(row, &[])
    }

    /// One shard as a [`Recorder`].
    pub fn shard(&mut self, shard: ShardId) -> BundleShard<'_, W> {
        BundleShard {
            writer: self,
            shard,
        }
    }

    /// Writes the open blocks, the index and the trailer; gives `out` back, flushed.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn end(mut self) -> Result<W, JournalError> {
        let open: Vec<u32> = self
            .shards
            .iter()
            .filter(|(_, state)| !state.finished)
            .map(|(shard, _)| *shard)
            .collect();
        for shard in open {
            self.cut_shard(ShardId(shard))?;
        }
        let index_at = self.offset;
        let mut index = Vec::new();
        for row in &self.rows {
            row.put(&mut index);
        }
        self.put_part(KIND_INDEX, 0, &index)?;
        let digest = *self.hasher.finalize().as_bytes();
        let trailer = trailer(index_at, self.offset, &digest);
        self.out.write_all(&trailer).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }

    /// Writes a shard's open block.
    pub(crate) fn cut_shard(&mut self, shard: ShardId) -> Result<(), JournalError> {
        let state = self.open_shard(shard.0)?;
        if state.block.count() == 0 {
            return Ok(());
        }
        let next = state.block.successor(Vec::new());
        let block = std::mem::replace(&mut state.block, next);
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        self.packer.pack(block.raw(), &mut packed)?;
        let head = block.head();
        let row = Row {
            kind: KIND_EVENTS,
            shard: head.shard,
            first: head.first_seq,
            base: head.base.0,
            count: head.count,
            raw_len: head.raw_len,
            stored_len: u32::try_from(packed.len()).unwrap_or(u32::MAX),
            offset: self.offset,
        };
        self.put_frame(row, &packed)?;
        self.packed = packed;
        if let Some(state) = self.shards.get_mut(&shard.0) {
            // Nothing came in between: the new block is empty and takes the old one's memory.
            state.block = state.block.successor(block.into_raw());
        }
        Ok(())
    }

    fn open_shard(&mut self, shard: u32) -> Result<&mut Shard, JournalError> {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let state = self
            .shards
            .get_mut(&shard)
            .ok_or(JournalError::NoShard { shard, shards })?;
        if state.finished {
            return Err(JournalError::Finished { shard });
        }
        Ok(state)
    }

    /// A frame that belongs to no shard.
    fn put_part(&mut self, kind: u32, first: u64, payload: &[u8]) -> Result<(), JournalError> {
        let Ok(stored_len) = u32::try_from(payload.len()) else {
            return Err(failed(io::Error::other("a part of 4 GiB or more")));
        };
        let row = Row {
            kind,
            shard: NO_SHARD,
            first,
            base: 0,
            count: 0,
            raw_len: stored_len,
            stored_len,
            offset: self.offset,
        };
        self.put_frame(row, payload)
    }

    fn put_frame(&mut self, row: Row, payload: &[u8]) -> Result<(), JournalError> {
        self.put_bytes(&row.head(payload))?;
        self.put_bytes(payload)?;
        self.rows.push(row);
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.out.write_all(bytes).map_err(failed)?;
        self.hasher.update(bytes);
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl<W: Write> Recorder for BundleShard<'_, W> {
    type Error = JournalError;

    fn record(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.writer.record(self.shard, entry)
    }

    fn finish(&mut self, after: EffectsDigest) -> Result<(), JournalError> {
        self.writer.finish_shard(self.shard, after)
    }
}

fn failed(source: io::Error) -> JournalError {
    JournalError::Io {
        action: "writing bundle",
        path: Default::default(),
        source,
    }
}

const LEVEL: i32 = 6;
