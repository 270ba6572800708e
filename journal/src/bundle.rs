//! The portable bundle (`.smbj`): a journal in one file.
//!
//! ```text
//! file    = head frame* index-frame trailer
//! head    = "SMBJ\r\n\x1a\n", format version u32, CRC32 of these u32            16 bytes
//! frame   = "SMBF", kind u32, shard u32, first u64, base u64, count u32,
//!           uncompressed length u32, stored length u32, CRC32 of the payload u32,
//!           CRC32 of these u32                                                  48 bytes
//!           payload
//! trailer = "SMBJEND\n", offset of the index u64, bytes before the trailer u64,
//!           BLAKE3 of those 32, zero u32, CRC32 of these u32                    64 bytes
//! ```
//!
//! Numbers are little-endian. A frame is the metadata (JSON), an attachment's head (JSON) and its
//! pieces, a block of events, or the end of a shard's record (the digest is in `base`). The index
//! repeats the frames' heads with their offsets. A file without its trailer is read by walking the
//! frames, so a bundle that breaks off is readable up to there.

mod reader;
mod writer;

pub(crate) use self::reader::Blocks;
pub use self::{
    reader::BundleReader,
    writer::{BundleShard, BundleWriter},
};

/// A frame's head, and where the frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Row {
    kind: u32,
    shard: u32,
    first: u64,
    base: u64,
    count: u32,
    raw_len: u32,
    stored_len: u32,
    offset: u64,
}

impl Row {
    /// The head of the frame.
    fn head(&self, payload: &[u8]) -> [u8; FRAME_HEAD] {
        let mut head = [0; FRAME_HEAD];
        let fields: [&[u8]; 9] = [
            FRAME_MAGIC,
            &self.kind.to_le_bytes(),
            &self.shard.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.base.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.raw_len.to_le_bytes(),
            &self.stored_len.to_le_bytes(),
            &crc32fast::hash(payload).to_le_bytes(),
        ];
        fill(&mut head, &fields);
        seal(&mut head);
        head
    }

    /// Reads a frame's head; gives the payload's checksum too. `None` when it is none.
    fn parse(head: &[u8; FRAME_HEAD], offset: u64) -> Option<(Self, u32)> {
        if !is_sealed(head) {
            return None;
        }
        let rest = head.strip_prefix(FRAME_MAGIC)?;
        let (row, rest) = Self::take(rest, offset)?;
        let (crc, _) = take_u32(rest)?;
        Some((row, crc))
    }

    /// Appends the row as the index has it.
    fn put(&self, out: &mut Vec<u8>) {
        for number in [self.kind, self.shard] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.first, self.base] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.count, self.raw_len, self.stored_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.offset.to_le_bytes());
    }

    /// Reads a row of the index.
    fn parse_row(bytes: &[u8]) -> Option<Self> {
        let (row, rest) = Self::take(bytes, 0)?;
        let (offset, rest) = take_u64(rest)?;
        rest.is_empty().then_some(Self { offset, ..row })
    }

    fn take(bytes: &[u8], offset: u64) -> Option<(Self, &[u8])> {
        let (kind, rest) = take_u32(bytes)?;
        let (shard, rest) = take_u32(rest)?;
        let (first, rest) = take_u64(rest)?;
        let (base, rest) = take_u64(rest)?;
        let (count, rest) = take_u32(rest)?;
        let (raw_len, rest) = take_u32(rest)?;
        let (stored_len, rest) = take_u32(rest)?;
        let row = Self {
            kind,
            shard,
            first,
            base,
            count,
            raw_len,
            stored_len,
            offset,
        };
        Some((row, rest))
    }

    /// Where the frame ends.
    fn end(&self) -> u64 {
        self.offset
            .saturating_add(FRAME_HEAD as u64)
            .saturating_add(u64::from(self.stored_len))
    }
}

fn file_head() -> [u8; FILE_HEAD] {
    let mut head = [0; FILE_HEAD];
    fill(&mut head, &[FILE_MAGIC, &crate::meta::FORMAT.to_le_bytes()]);
    seal(&mut head);
    head
}

fn trailer(index: u64, bytes: u64, digest: &[u8; 32]) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    let fields: [&[u8]; 4] = [
        TRAILER_MAGIC,
        &index.to_le_bytes(),
        &bytes.to_le_bytes(),
        digest,
    ];
    fill(&mut trailer, &fields);
    seal(&mut trailer);
    trailer
}

fn fill(to: &mut [u8], fields: &[&[u8]]) {
    let bytes = fields.iter().copied().flatten();
    for (slot, byte) in to.iter_mut().zip(bytes) {
        *slot = *byte;
    }
}

/// Puts a checksum of all before it into the last four bytes.
fn seal(bytes: &mut [u8]) {
    if let Some((content, slot)) = bytes.split_last_chunk_mut::<4>() {
        *slot = crc32fast::hash(content).to_le_bytes();
    }
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(content, crc)| crc32fast::hash(content).to_le_bytes() == *crc)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

pub(crate) const FILE_MAGIC: &[u8] = b"SMBJ\r\n\x1a\n";
const FRAME_MAGIC: &[u8] = b"SMBF";
const TRAILER_MAGIC: &[u8] = b"SMBJEND\n";
const FILE_HEAD: usize = 16;
const FRAME_HEAD: usize = 48;
const TRAILER: usize = 64;
const ROW_BYTES: usize = 44;
/// Stands for no shard.
const NO_SHARD: u32 = u32::MAX;
const KIND_META: u32 = 1;
const KIND_ATTACHMENT: u32 = 2;
const KIND_PIECE: u32 = 3;
const KIND_EVENTS: u32 = 4;
const KIND_END: u32 = 5;
const KIND_INDEX: u32 = 6;

#[cfg(test)]
mod tests;
