//! A value that tells by itself what it is, wherever it lies.
//!
//! ```text
//! value = magic, tree u32, key length u32, content length u32, key, CRC32 of these u32,
//!         content, CRC32 of all before u32
//! ```
//!
//! Numbers are little-endian. The first checksum says that there is a value, and which; the second
//! that it is what was written.

use crate::error::Damage;

/// The part before the content, as found.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Head<'a> {
    pub(super) tree: u32,
    pub(super) key: &'a [u8],
    /// Bytes of the whole value.
    pub(super) len: usize,
    content: std::ops::Range<usize>,
}

/// Makes a value in `out`, whose old content is lost.
pub(super) fn seal(tree: u32, key: &[u8], content: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&tree.to_le_bytes());
    for part in [key, content] {
        // `put` refuses what is longer than `head` takes.
        let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
    }
    for part in [key, content] {
        out.extend_from_slice(part);
        let crc = crc32fast::hash(out);
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

/// The head of the value that `bytes` begin with. `None` where there is none.
pub(super) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (tree, rest) = take_u32(rest)?;
    let (key_len, rest) = take_u32(rest)?;
    let (content_len, rest) = take_u32(rest)?;
    let (key_len, content_len) = (key_len as usize, content_len as usize);
    if key_len > MAX_KEY || content_len > MAX_CONTENT {
        return None;
    }
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (crc, _) = take_u32(rest)?;
    let sealed = FIELDS + key_len;
    let is_head = crc32fast::hash(bytes.get(..sealed)?) == crc;
    let start = sealed + CRC;
    is_head.then_some(Head {
        tree,
        key,
        len: start + content_len + CRC,
        content: start..start + content_len,
    })
}

impl Head<'_> {
    /// Bytes of the content.
    pub(super) fn content_len(&self) -> usize {
        self.content.len()
    }

    /// The content of the value that `bytes` begin with, whose head this is.
    pub(super) fn content<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
        let short = Damage::Short {
            need: self.len as u64,
            have: bytes.len() as u64,
        };
        let sealed = bytes.get(..self.content.end).ok_or(short.clone())?;
        let stored = bytes.get(self.content.end..).and_then(take_u32);
        let (expected, _) = stored.ok_or(short.clone())?;
        let found = crc32fast::hash(sealed);
        if expected == found {
            sealed.get(self.content.clone()).ok_or(short)
        } else {
            Err(Damage::Checksum { expected, found })
        }
    }
}

pub(super) fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

pub(super) fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// Begins every value. Bytes that are seldom in what zstd gives, and never in JSON.
pub(super) const MAGIC: &[u8; 8] = b"\xff\xfeSMBJv2";
/// No content is longer; sled keeps what is over 64 KiB in files of their own.
pub(super) const MAX_CONTENT: usize = 1 << 20;
/// No value is longer.
pub(super) const MAX_VALUE: usize = FIELDS + MAX_KEY + CRC + MAX_CONTENT + CRC;
const FIELDS: usize = MAGIC.len() + 3 * 4;
const CRC: usize = 4;
const MAX_KEY: usize = 512;
