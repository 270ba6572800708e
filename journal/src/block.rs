//! A run of events of one shard as bytes: the unit that is compressed, checksummed and stored.
//!
//! ```text
//! block = event*                 compressed with zstd, head and checksum beside it
//! event = length u32 LE, that many bytes of `codec`
//! ```
//!
//! An event's number is its place, its time counts from the event before. Every
//! [`CHECKPOINT`]th event keeps the whole digest of the effects before it, the others its lowest
//! 32 bits. Checkpoints follow the event's number, not the cutting into blocks, because blocks are
//! cut by size here and by the clock there.

use smbench_core::{
    event::{EffectsDigest, Input},
    ids::LogicalTime,
};

use crate::{
    codec,
    entries::StoredEntry,
    error::{Damage, JournalError},
};

/// The largest event that a journal holds, in encoded bytes: twice the largest SMB2 message.
pub const MAX_EVENT_BYTES: usize = codec::MAX_BYTES;

/// One event on its way into a journal.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) seq: u64,
    pub(crate) now: LogicalTime,
    pub(crate) before: u32,
    /// The whole digest, when it is known.
    pub(crate) whole: Option<EffectsDigest>,
    pub(crate) input: &'a Input,
}

/// What is stored in the clear beside a block's compressed events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BlockHead {
    pub(crate) shard: u32,
    pub(crate) first_seq: u64,
    /// Time of the event before the first: what the first's time counts from.
    pub(crate) base: LogicalTime,
    pub(crate) count: u32,
    pub(crate) raw_len: u32,
}

/// A block that takes events.
#[derive(Debug)]
pub(crate) struct Block {
    shard: u32,
    first_seq: u64,
    base: LogicalTime,
    last: LogicalTime,
    count: u32,
    raw: Vec<u8>,
    /// Where the last event begins, and the time it counts from.
    tail: (usize, LogicalTime),
}

impl Block {
    /// An empty block that takes event `first_seq` next, after an event at `base`.
    pub(crate) fn new(shard: u32, first_seq: u64, base: LogicalTime, mut raw: Vec<u8>) -> Self {
        raw.clear();
        Self {
            shard,
            first_seq,
            base,
            last: base,
            count: 0,
            raw,
            tail: (0, base),
        }
    }

    /// Appends an event. On an error the block is as before.
    pub(crate) fn push(&mut self, event: Event<'_>) -> Result<(), JournalError> {
        let expected = self.next_seq();
        if event.seq != expected {
            return Err(JournalError::OutOfSequence {
                shard: self.shard,
                expected,
                got: event.seq,
            });
        }
        let Some(delta_ns) = codec::delta(self.last, event.now) else {
            return Err(JournalError::TimeWentBack {
                shard: self.shard,
                seq: event.seq,
                now: event.now,
                previous: self.last,
            });
        };
        let before_high = event
            .whole
            .filter(|_| event.seq.is_multiple_of(CHECKPOINT))
            .map(|whole| high(whole.0));
        let start = self.raw.len();
        self.raw.extend_from_slice(&[0; LENGTH_BYTES]);
        let encoded = codec::encode(
            delta_ns,
            event.before,
            before_high,
            event.input,
            &mut self.raw,
        );
        if let Err(error) = encoded {
            self.raw.truncate(start);
            return Err(JournalError::Encode(error));
        }
        let body = start.saturating_add(LENGTH_BYTES);
        let length = u32::try_from(self.raw.len().saturating_sub(body)).unwrap_or(u32::MAX);
        if let Some(slot) = self.raw.get_mut(start..body) {
            slot.copy_from_slice(&length.to_le_bytes());
        }
        self.tail = (start, self.last);
        self.last = event.now;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Moves the last event into a block of its own, which is made in `raw`.
    pub(crate) fn split_last(&mut self, mut raw: Vec<u8>) -> Self {
        let (start, base) = self.tail;
        raw.clear();
        raw.extend_from_slice(self.raw.get(start..).unwrap_or_default());
        self.raw.truncate(start);
        self.count = self.count.saturating_sub(1);
        let last = std::mem::replace(&mut self.last, base);
        Self {
            shard: self.shard,
            first_seq: self.next_seq(),
            base,
            last,
            count: 1,
            raw,
            tail: (0, base),
        }
    }

    /// The empty block that follows this one.
    pub(crate) fn successor(&self, raw: Vec<u8>) -> Self {
        Self::new(self.shard, self.next_seq(), self.last, raw)
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }

    pub(crate) fn shard(&self) -> u32 {
        self.shard
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub(crate) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    pub(crate) fn head(&self) -> BlockHead {
        BlockHead {
            shard: self.shard,
            first_seq: self.first_seq,
            base: self.base,
            count: self.count,
            raw_len: u32::try_from(self.raw.len()).unwrap_or(u32::MAX),
        }
    }
}

impl BlockHead {
    /// Refuses numbers that no writer writes.
    pub(crate) fn check(&self) -> Result<(), Damage> {
        let field = |field, got| Err(Damage::Field { field, got });
        if self.raw_len as usize > MAX_RAW {
            return field("uncompressed length", u64::from(self.raw_len));
        }
        if self.count == 0 || u64::from(self.count) * MIN_EVENT > u64::from(self.raw_len) {
            return field("event count", u64::from(self.count));
        }
        if self.first_seq.checked_add(u64::from(self.count)).is_none() {
            return field("first event", self.first_seq);
        }
        Ok(())
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }
}

/// A stored block, uncompressed.
#[derive(Debug)]
pub(crate) struct LoadedBlock {
    head: BlockHead,
    raw: Vec<u8>,
    at: usize,
    index: u32,
    now: LogicalTime,
}

impl LoadedBlock {
    pub(crate) fn new(head: BlockHead, raw: Vec<u8>) -> Self {
        Self {
            head,
            raw,
            at: 0,
            index: 0,
            now: head.base,
        }
    }

    pub(crate) fn head(&self) -> &BlockHead {
        &self.head
    }

    /// The memory of a block that was read through, to be used again.
    pub(crate) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// The next event; `None` at the end. After an error the rest of the block is lost.
    pub(crate) fn next_event(&mut self) -> Option<Result<StoredEntry, Damage>> {
        if self.index >= self.head.count {
            let left = self.raw.len().saturating_sub(self.at) as u64;
            self.at = self.raw.len();
            return (left > 0).then_some(Err(Damage::Field {
                field: "bytes after the last event",
                got: left,
            }));
        }
        let entry = self.decode_next();
        match &entry {
            Ok(entry) => {
                self.now = entry.now;
                self.index += 1;
            }
            Err(_) => {
                self.index = self.head.count;
                self.at = self.raw.len();
            }
        }
        Some(entry)
    }

    fn decode_next(&mut self) -> Result<StoredEntry, Damage> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let short = |need: usize| Damage::Short {
            need: need as u64,
            have: rest.len() as u64,
        };
        let (length, rest) = rest
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or_else(|| short(LENGTH_BYTES))?;
        let length = u32::from_le_bytes(*length) as usize;
        let bytes = rest.get(..length).ok_or_else(|| short(length))?;
        let decoded = codec::decode(bytes).map_err(|source| Damage::Event {
            index: self.index,
            source,
        })?;
        self.at = self.at.saturating_add(LENGTH_BYTES).saturating_add(length);
        let now = self
            .now
            .0
            .checked_add(decoded.delta_ns)
            .ok_or(Damage::Field {
                field: "time step",
                got: decoded.delta_ns,
            })?;
        Ok(StoredEntry {
            seq: self.head.first_seq.saturating_add(u64::from(self.index)),
            now: LogicalTime(now),
            before: decoded.before,
            block_before: decoded
                .before_high
                .map(|high| EffectsDigest(u64::from(high) << 32 | u64::from(decoded.before))),
            input: decoded.input,
        })
    }
}

/// Compresses blocks, one after the other, with working memory of its own.
pub(crate) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
}

impl Packer {
    pub(crate) fn new(level: i32) -> Result<Self, JournalError> {
        let compressor = zstd::bulk::Compressor::new(level).map_err(|source| JournalError::Io {
            action: "preparing compression",
            path: Default::default(),
            source,
        })?;
        Ok(Self { compressor })
    }

    /// Appends `raw`, compressed, to `out`.
    pub(crate) fn pack(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), JournalError> {
        let packed = self
            .compressor
            .compress(raw)
            .map_err(|source| JournalError::Io {
                action: "compressing",
                path: Default::default(),
                source,
            })?;
        out.extend_from_slice(&packed);
        Ok(())
    }
}

/// Undoes [`Packer::pack`].
pub(crate) struct Unpacker {
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl Unpacker {
    pub(crate) fn new() -> Result<Self, JournalError> {
        let decompressor = zstd::bulk::Decompressor::new().map_err(|source| JournalError::Io {
            action: "preparing decompression",
            path: Default::default(),
            source,
        })?;
        Ok(Self { decompressor })
    }

    /// Decompresses `packed` into `raw`, whose old content is lost. It must give `raw_len` bytes.
    pub(crate) fn unpack(
        &mut self,
        packed: &[u8],
        raw_len: u32,
        raw: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        let raw_len = raw_len as usize;
        raw.clear();
        raw.reserve(raw_len.min(MAX_RAW));
        self.decompressor
            .decompress_to_buffer(packed, raw)
            .map_err(|_| Damage::Compression)?;
        if raw.len() != raw_len {
            return Err(Damage::Short {
                need: raw_len as u64,
                have: raw.len() as u64,
            });
        }
        Ok(())
    }
}

fn high(digest: u64) -> u32 {
    // The upper half fits by construction.
    u32::try_from(digest >> 32).unwrap_or_default()
}

/// How many events lie between two that keep the whole digest.
pub(crate) const CHECKPOINT: u64 = 64;
/// A bundle's block is cut when it reaches this many bytes; the event that crosses the line stays.
pub(crate) const BUNDLE_BLOCK: usize = 256 << 10;
const LENGTH_BYTES: usize = 4;
/// Bytes of the smallest event: its length, three numbers and a kind.
const MIN_EVENT: u64 = 8;
const MAX_RAW: usize = MAX_EVENT_BYTES + BUNDLE_BLOCK + LENGTH_BYTES;
