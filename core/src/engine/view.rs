//! Fields of responses that the engine needs, read in place.
//!
//! The codec decodes everything; the engine reads a dozen fields of a message that it may see half
//! a million times a second. Offsets count from the start of the PDU.

use crate::smb2::{FileId, HEADER_LEN};

/// A response PDU whose bulk data may have been cut out.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl View<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(super) fn file_id(self, at: usize) -> Option<FileId> {
        self.array(at).map(FileId::from_bytes)
    }

    pub(super) fn key(self, at: usize) -> Option<[u8; 16]> {
        self.array(at)
    }

    /// StructureSize of the body.
    pub(super) fn structure_size(self) -> Option<u16> {
        self.u16(HEADER_LEN)
    }

    /// The lease key and state in a CREATE response's `RqLs` context. [MS-SMB2] 2.2.14.2.10.
    pub(super) fn lease(self) -> Option<([u8; 16], u32)> {
        let mut at = self.u32(HEADER_LEN + 80)? as usize;
        for _ in 0..MAX_CONTEXTS {
            let next = self.u32(at)? as usize;
            let name_at = at.checked_add(usize::from(self.u16(at + 4)?))?;
            let data_at = at.checked_add(usize::from(self.u16(at + 10)?))?;
            if self.u16(at + 6)? == 4 && self.array(name_at)? == *b"RqLs" {
                return Some((self.key(data_at)?, self.u32(data_at.checked_add(16)?)?));
            }
            if next == 0 {
                return None;
            }
            at = at.checked_add(next)?;
        }
        None
    }
}

const MAX_CONTEXTS: usize = 64;

/// Offsets into a CREATE response. [MS-SMB2] 2.2.14.
pub(super) mod create {
    use super::HEADER_LEN;

    pub(in crate::engine) const OPLOCK: usize = HEADER_LEN + 2;
    pub(in crate::engine) const ACTION: usize = HEADER_LEN + 4;
    pub(in crate::engine) const END_OF_FILE: usize = HEADER_LEN + 48;
    pub(in crate::engine) const FILE_ID: usize = HEADER_LEN + 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lease_behind_another_context_and_ends_on_loops() {
        let mut pdu = vec![0; HEADER_LEN + 88];
        let first = pdu.len();
        let contexts_at = u32::try_from(first).expect("small").to_le_bytes();
        pdu[HEADER_LEN + 80..HEADER_LEN + 84].copy_from_slice(&contexts_at);
        pdu.extend_from_slice(&[24, 0, 0, 0, 16, 0, 4, 0, 0, 0, 24, 0, 0, 0, 0, 0]);
        pdu.extend_from_slice(b"MxAc\0\0\0\0");
        pdu.extend_from_slice(&[0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 24, 0, 32, 0, 0, 0]);
        pdu.extend_from_slice(b"RqLs\0\0\0\0");
        pdu.extend_from_slice(&[7; 16]);
        pdu.extend_from_slice(&[3, 0, 0, 0]);
        assert_eq!(View(&pdu).lease(), Some(([7; 16], 3)));
        pdu[first + 24 + 16] = b'X';
        assert_eq!(View(&pdu).lease(), None);
        pdu[first] = 0;
        pdu[first + 1] = 255;
        assert_eq!(View(&pdu).lease(), None, "beyond the end");
    }
}
