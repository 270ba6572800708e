//! Information level 0x64 of the SMB 3.1.1 POSIX extensions, of files and of file systems.
//!
//! It is that of smb3_posix_spec, not of [MS-FSCC]: what a directory has of a file and what QUERY_INFO tells of it are
//! the same structure.

use super::directory::DirectoryEntry;
use super::wire::{Cursor, Field, records};
use crate::smb2::WireError;

/// What level 0x64 tells beside what every level does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PosixPart {
    /// Number of the device.
    pub device: u32,
    /// Reserved.
    pub reserved: u32,
    /// Names that the file has.
    pub hard_links: u32,
    /// Permissions, as of chmod.
    pub mode: u32,
    /// Security identifier of the owner. [MS-DTYP] 2.4.2.2
    pub owner: Vec<u8>,
    /// Security identifier of the group.
    pub group: Vec<u8>,
}

/// Bytes of level 0x64 without what is in the identifiers: with the shortest ones it is 16 more.
pub(super) const FIXED: usize = 80;
/// Bytes of a security identifier without sub-authorities.
pub(super) const LEAST_SID: usize = 8;

impl PosixPart {
    /// Bytes of both identifiers.
    pub(super) fn sids_len(&self) -> usize {
        self.owner.len().saturating_add(self.group.len())
    }
}

fn sid(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, WireError> {
    let (revision, count): (u8, u8) = (cursor.get()?, cursor.get()?);
    let rest = usize::from(count).saturating_mul(4).saturating_add(6);
    let mut sid = vec![revision, count];
    sid.extend_from_slice(cursor.take(rest)?);
    Ok(sid)
}

impl DirectoryEntry {
    /// Reads what QUERY_INFO tells at level 0x64; the name stays empty.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when `bytes` ends early.
    pub fn from_posix_info(bytes: &[u8]) -> Result<Self, WireError> {
        let mut entry = Self::default();
        entry.read_posix(&mut Cursor::new(bytes, "PosixInfo"))?;
        Ok(entry)
    }

    /// The bytes of what QUERY_INFO tells at level 0x64.
    #[must_use]
    pub fn to_posix_info(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_posix(&mut out);
        out
    }

    pub(super) fn read_posix(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        self.read_basics(cursor)?;
        self.file_id = cursor.get()?;
        self.posix.device = cursor.get()?;
        self.posix.reserved = cursor.get()?;
        self.posix.hard_links = cursor.get()?;
        self.reparse_tag = cursor.get()?;
        self.posix.mode = cursor.get()?;
        self.posix.owner = sid(cursor)?;
        self.posix.group = sid(cursor)?;
        Ok(())
    }

    pub(super) fn write_posix(&self, out: &mut Vec<u8>) {
        self.write_basics(out);
        self.file_id.write(out);
        self.posix.device.write(out);
        self.posix.reserved.write(out);
        self.posix.hard_links.write(out);
        self.reparse_tag.write(out);
        self.posix.mode.write(out);
        out.extend_from_slice(&self.posix.owner);
        out.extend_from_slice(&self.posix.group);
    }
}

records! {
    /// What level 0x64 tells of a file system, as statvfs does.
    #[derive(Default)]
    FsPosixInfo {
        /// Best size of a transfer, in bytes.
        optimal_transfer_size: u32,
        /// Bytes of a block.
        block_size: u32,
        /// Blocks.
        total_blocks: u64,
        /// Free blocks.
        blocks_available: u64,
        /// Blocks free to the user.
        user_blocks_available: u64,
        /// Files that there may be.
        total_file_nodes: u64,
        /// Files that there may still be.
        free_file_nodes: u64,
        /// Number of the file system.
        file_system_id: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fscc::DirectoryWriter;
    use crate::smb2::{FileAttributes, FileInfoClass, Name};

    fn entry() -> DirectoryEntry {
        let sid = |kind: u8| vec![1, 2, 0, 0, 0, 0, 0, 22, kind, 0, 0, 0, 0xe8, 3, 0, 0];
        DirectoryEntry {
            creation_time: 1,
            end_of_file: 5,
            attributes: FileAttributes::ARCHIVE,
            file_id: 0x4d,
            name: Name::from("a:b"),
            posix: PosixPart {
                device: 9,
                hard_links: 2,
                mode: 0o644,
                owner: sid(1),
                group: sid(2),
                ..PosixPart::default()
            },
            ..DirectoryEntry::default()
        }
    }

    #[test]
    fn entries_and_information_are_the_same_structure() {
        let mut writer = DirectoryWriter::new(FileInfoClass::POSIX, 1000).unwrap();
        assert!(writer.push(&entry()) && writer.push(&entry()));
        let bytes = writer.finish();
        // Next, index, the structure with two identifiers of 16 bytes, the length of the name.
        assert_eq!(bytes[..4], [136, 0, 0, 0][..]);
        assert_eq!(bytes[8..120], entry().to_posix_info()[..]);
        assert_eq!(bytes[60..64], [0x4d, 0, 0, 0]);
        assert_eq!(
            bytes[76..84],
            [2, 0, 0, 0, 0, 0, 0, 0],
            "links, reparse tag"
        );
        assert_eq!(bytes[120..130], *b"\x06\0\0\0a\0:\0b\0");
        let read = DirectoryEntry::decode_list(FileInfoClass::POSIX, &bytes).unwrap();
        assert_eq!(read, [entry(), entry()]);
        let nameless = DirectoryEntry {
            name: Name::default(),
            ..entry()
        };
        let info = nameless.to_posix_info();
        assert_eq!(DirectoryEntry::from_posix_info(&info), Ok(nameless));
        for len in 0..info.len() {
            assert!(DirectoryEntry::from_posix_info(&info[..len]).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let len = 4 + 4 + 112 + 4 + 6;
        for (limit, fits) in [(len, true), (len - 1, false)] {
            let mut writer = DirectoryWriter::new(FileInfoClass::POSIX, limit).unwrap();
            assert_eq!(writer.push(&entry()), fits);
        }
    }
}
