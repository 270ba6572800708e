//! Blocks of events as values, and reading them back in order.
//!
//! ```text
//! content = pieces u32, count u32, uncompressed length u32, base time u64, safe u64,
//!           compressed events
//! ```
//!
//! `safe` is how many of the shard's events were flushed when the block was written. In a record
//! that was not ended, what is missing behind that was never promised.

use smbench_core::ids::LogicalTime;

use super::{
    reader::StoreReader,
    value::{take_u32, take_u64},
};
use crate::{
    block::{BlockHead, LoadedBlock, Unpacker},
    entries::NumberedBlock,
    error::{Damage, Unread},
};

/// The blocks of one shard in order.
pub(crate) struct Blocks<'a> {
    pub(super) reader: &'a StoreReader,
    pub(super) shard: u32,
    pub(super) seqs: std::vec::IntoIter<u64>,
    pub(super) unpacker: Unpacker,
}

/// What a block's content begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lead {
    pub(super) head: BlockHead,
    pub(super) pieces: u32,
    pub(super) safe: u64,
}

impl Blocks<'_> {
    /// The next block, unpacked into `spare`.
    pub(crate) fn next_block(&mut self, spare: Vec<u8>) -> Option<NumberedBlock> {
        let seq = self.seqs.next()?;
        let block = self
            .load(seq, spare)
            .map_err(|unread| unread.block(self.shard, seq));
        Some((seq, block))
    }

    fn load(&mut self, seq: u64, mut raw: Vec<u8>) -> Result<LoadedBlock, Unread> {
        let get = |key: &[u8]| {
            let content = self.reader.values.get(self.shard, key)?;
            content.ok_or(Unread::Damaged(Damage::Missing))
        };
        let content = get(&key(seq))?;
        let (lead, payload) = parse(self.shard, seq, &content)?;
        lead.head.check()?;
        if lead.pieces == 0 {
            self.unpacker.unpack(payload, lead.head.raw_len, &mut raw)?;
        } else {
            let mut packed = payload.to_vec();
            for index in 1..=lead.pieces {
                packed.extend_from_slice(&get(&piece_key(seq, index))?);
            }
            self.unpacker.unpack(&packed, lead.head.raw_len, &mut raw)?;
        }
        Ok(LoadedBlock::new(lead.head, raw))
    }
}

/// Fills the first [`HEAD_BYTES`] of `content`.
pub(super) fn put_head(head: &BlockHead, pieces: u32, safe: u64, content: &mut [u8]) {
    let numbers = [pieces, head.count, head.raw_len];
    let bytes = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .chain(head.base.0.to_le_bytes())
        .chain(safe.to_le_bytes());
    for (slot, byte) in content.iter_mut().zip(bytes) {
        *slot = byte;
    }
}

/// Takes a block's content apart: what it begins with, and its compressed events.
pub(super) fn parse(shard: u32, seq: u64, content: &[u8]) -> Result<(Lead, &[u8]), Damage> {
    let taken = || {
        let (pieces, rest) = take_u32(content)?;
        let (count, rest) = take_u32(rest)?;
        let (raw_len, rest) = take_u32(rest)?;
        let (base, rest) = take_u64(rest)?;
        let (safe, payload) = take_u64(rest)?;
        let head = BlockHead {
            shard,
            first_seq: seq,
            base: LogicalTime(base),
            count,
            raw_len,
        };
        Some((Lead { head, pieces, safe }, payload))
    };
    taken().ok_or(Damage::Short {
        need: HEAD_BYTES as u64,
        have: content.len() as u64,
    })
}

/// The key of the block that begins with event `seq`.
pub(super) fn key(seq: u64) -> [u8; SEQ_BYTES] {
    seq.to_be_bytes()
}

/// The key of one of its pieces, from 1.
pub(super) fn piece_key(seq: u64, index: u32) -> Vec<u8> {
    [&seq.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

/// The event that a key begins with, when it is a block's and no piece's.
pub(super) fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Bytes before the compressed events.
pub(super) const HEAD_BYTES: usize = 3 * 4 + 8 + 8;
const SEQ_BYTES: usize = 8;
