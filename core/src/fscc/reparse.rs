//! Symbolic links: the buffer of their reparse point, and the error that tells of one. [MS-FSCC]
//! 2.1.2, [MS-SMB2] 2.2.2.2.1

use super::wire::Cursor;
use crate::smb2::wire::{len32, to_usize};
use crate::smb2::{ErrorResponse, Name, WireError};

/// What a reparse point is, and how long its data: the head of its buffer. [MS-FSCC] 2.1.2.2
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReparseHead {
    /// ReparseTag.
    pub tag: u32,
    /// Bytes of data that follow.
    pub data_len: u16,
}

impl ReparseHead {
    /// Reads the head of `buffer`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] where it has less than eight bytes.
    pub fn decode(buffer: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(buffer, "REPARSE_DATA_BUFFER");
        let head = Self {
            tag: cursor.get()?,
            data_len: cursor.get()?,
        };
        let _reserved: u16 = cursor.get()?;
        Ok(head)
    }
}

/// A symbolic link. [MS-FSCC] 2.1.2.4
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SymbolicLink {
    /// Where it leads.
    pub substitute: Name,
    /// The same, for people.
    pub print: Name,
    /// It is relative to the folder that the link is in.
    pub relative: bool,
}

impl SymbolicLink {
    /// Reads the buffer of a reparse point, and the reserved field in its head; none for one that is
    /// no symbolic link.
    ///
    /// # Errors
    ///
    /// [`WireError`] where the buffer ends early.
    fn read(buffer: &[u8]) -> Result<Option<(Self, u16)>, WireError> {
        let mut cursor = Cursor::new(buffer, "symbolic link");
        if cursor.get::<u32>()? != SYMLINK_TAG {
            return Ok(None);
        }
        let (_data_len, reserved): (u16, u16) = (cursor.get()?, cursor.get()?);
        let (substitute_at, substitute_len): (u16, u16) = (cursor.get()?, cursor.get()?);
        let (print_at, print_len): (u16, u16) = (cursor.get()?, cursor.get()?);
        let flags: u32 = cursor.get()?;
        let paths = cursor.rest();
        let name = |at: u16, len: u16| {
            let mut cursor = Cursor::new(paths, "path of a symbolic link");
            cursor.take(at.into())?;
            Ok::<_, WireError>(Name::from_wire(cursor.take(len.into())?))
        };
        let link = Self {
            substitute: name(substitute_at, substitute_len)?,
            print: name(print_at, print_len)?,
            relative: flags & RELATIVE != 0,
        };
        Ok(Some((link, reserved)))
    }

    /// Reads the buffer of a reparse point; none for one that is no symbolic link.
    ///
    /// # Errors
    ///
    /// [`WireError`] where the buffer ends early.
    pub fn decode(buffer: &[u8]) -> Result<Option<Self>, WireError> {
        Ok(Self::read(buffer)?.map(|(link, _)| link))
    }

    /// The buffer of its reparse point.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.write(0)
    }

    fn write(&self, reserved: u16) -> Vec<u8> {
        let (substitute, print) = (self.substitute.to_wire(), self.print.to_wire());
        let (at, len) = (short(substitute.len()), short(print.len()));
        let data_len = short(PATHS_AT - HEAD + substitute.len() + print.len());
        let mut out = SYMLINK_TAG.to_le_bytes().to_vec();
        for field in [data_len, reserved, 0, at, at, len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&u32::from(self.relative).to_le_bytes());
        out.extend_from_slice(&substitute);
        out.extend_from_slice(&print);
        out
    }
}

/// Why a CREATE stopped: a symbolic link on its path. [MS-SMB2] 2.2.2.2.1
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SymlinkError {
    /// Bytes at the end of the path that were not looked at, the separator before them among them.
    pub unparsed_bytes: u16,
    /// The link.
    pub link: SymbolicLink,
}

impl SymlinkError {
    /// Reads what an ERROR response of STOPPED_ON_SYMLINK tells, in an error context or not; none where
    /// it tells nothing, as some servers do.
    ///
    /// # Errors
    ///
    /// [`WireError`] where its data ends early.
    pub fn decode(error: &ErrorResponse) -> Result<Option<Self>, WireError> {
        let mut data = Cursor::new(&error.data, "error data");
        for _ in 0..error.error_context_count {
            // [MS-SMB2] 2.2.2.1: each begins at a multiple of 8.
            let (len, id): (u32, u32) = (data.get()?, data.get()?);
            let context = data.take(to_usize(len))?;
            if id == ERROR_ID_DEFAULT {
                return Self::decode_data(context);
            }
            let gap = to_usize(len)
                .next_multiple_of(8)
                .saturating_sub(to_usize(len));
            data.take(gap.min(data.rest().len()))?;
        }
        match error.error_context_count {
            0 if !error.data.is_empty() => Self::decode_data(&error.data),
            _ => Ok(None),
        }
    }

    fn decode_data(data: &[u8]) -> Result<Option<Self>, WireError> {
        let mut cursor = Cursor::new(data, "symbolic link error");
        let (_len, tag): (u32, u32) = (cursor.get()?, cursor.get()?);
        if tag != ERROR_TAG {
            return Ok(None);
        }
        let read = SymbolicLink::read(cursor.rest())?;
        Ok(read.map(|(link, unparsed_bytes)| Self {
            unparsed_bytes,
            link,
        }))
    }

    /// The ERROR response; `in_context` as dialect 3.1.1 has it. [MS-SMB2] 2.2.2.1
    #[must_use]
    pub fn encode(&self, in_context: bool) -> ErrorResponse {
        let link = self.link.write(self.unparsed_bytes);
        let len = len32(link.len().saturating_add(size_of::<u32>()));
        let mut data = Vec::new();
        if in_context {
            data.extend_from_slice(&len.saturating_add(4).to_le_bytes());
            data.extend_from_slice(&ERROR_ID_DEFAULT.to_le_bytes());
        }
        data.extend_from_slice(&len.to_le_bytes());
        data.extend_from_slice(&ERROR_TAG.to_le_bytes());
        data.extend_from_slice(&link);
        ErrorResponse {
            error_context_count: in_context.into(),
            data,
        }
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// IO_REPARSE_TAG_SYMLINK. [MS-FSCC] 2.1.2.1
pub const SYMLINK_TAG: u32 = 0xa000_000c;
/// IO_REPARSE_TAG_DFS: a link of a namespace of DFS. [MS-FSCC] 2.1.2.1
pub const DFS_TAG: u32 = 0x8000_000a;
/// SYMLINK_FLAG_RELATIVE.
const RELATIVE: u32 = 1;
/// Bytes before the data of a reparse point, and before the paths of a symbolic link.
const HEAD: usize = 8;
const PATHS_AT: usize = 20;
/// SMB2_ERROR_ID_DEFAULT. [MS-SMB2] 2.2.2.1
const ERROR_ID_DEFAULT: u32 = 0;
/// SymLinkErrorTag, `SYML`.
const ERROR_TAG: u32 = 0x4c4d_5953;

#[cfg(test)]
mod tests {
    use super::*;

    fn link(substitute: &str, print: &str, relative: bool) -> SymbolicLink {
        SymbolicLink {
            substitute: substitute.into(),
            print: print.into(),
            relative,
        }
    }

    #[test]
    fn links_come_back_and_no_prefix_of_one_panics() {
        for link in [
            link("..\\dest", "..\\dest", true),
            link("\\??\\C:\\dest", "C:\\dest", false),
            SymbolicLink::default(),
        ] {
            let buffer = link.encode();
            let head = ReparseHead::decode(&buffer).unwrap();
            assert_eq!(
                (head.tag, usize::from(head.data_len) + HEAD),
                (SYMLINK_TAG, buffer.len())
            );
            assert_eq!(SymbolicLink::decode(&buffer), Ok(Some(link.clone())));
            for in_context in [false, true] {
                let told = SymlinkError {
                    unparsed_bytes: 6,
                    link: link.clone(),
                };
                let error = told.encode(in_context);
                assert_eq!(SymlinkError::decode(&error), Ok(Some(told)));
                for len in 1..error.data.len() {
                    let mut cut = error.clone();
                    cut.data.truncate(len);
                    assert!(SymlinkError::decode(&cut).is_err(), "{len}");
                }
            }
        }
        assert_eq!(
            SymbolicLink::decode(&[3, 0, 0, 0xa0, 0, 0]),
            Ok(None),
            "a junction"
        );
    }

    /// A share redirect before it, and its padding.
    #[test]
    fn other_contexts_are_passed_over_and_no_data_tells_nothing() {
        let told = SymlinkError {
            unparsed_bytes: 0,
            link: link("dest", "dest", true),
        };
        let mut error = told.encode(true);
        let mut before = vec![3, 0, 0, 0, 0x52, 0x64, 0x72, 0x53, 1, 2, 3, 0, 0, 0, 0, 0];
        before.append(&mut error.data);
        error.data = before;
        error.error_context_count = 2;
        assert_eq!(SymlinkError::decode(&error), Ok(Some(told)));
        assert_eq!(SymlinkError::decode(&ErrorResponse::default()), Ok(None));
    }

    /// Read by hand, field by field, as [MS-SMB2] 2.2.2.2.1 has them.
    #[test]
    fn fields_are_where_the_specification_has_them() {
        let told = SymlinkError {
            unparsed_bytes: 0x22,
            link: link("ab", "c", true),
        };
        let expected = [
            &[0x1e, 0, 0, 0][..],
            b"SYML",
            &[0x0c, 0, 0, 0xa0, 0x12, 0, 0x22, 0],
            &[0, 0, 4, 0, 4, 0, 2, 0],
            &[1, 0, 0, 0],
            &[b'a', 0, b'b', 0, b'c', 0],
        ];
        assert_eq!(told.encode(false).data, expected.concat());
    }
}
