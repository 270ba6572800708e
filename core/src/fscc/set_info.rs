//! Typed views of SET_INFO buffers. [MS-FSCC] 2.4.
//!
//! A view is given only when it writes exactly the bytes it was read from; the rest is raw.

use super::file_info::{BasicInfo, ModeInfo, PositionInfo};
use super::wire::{Cursor, Field, entries, link};
use crate::smb2::wire::len16;
use crate::smb2::{FileInfoClass, InfoClass, InfoType, Name, WireError};

/// What a SET_INFO request sets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SetInfoPayload {
    /// FileRenameInformation. [MS-FSCC] 2.4.42.2.
    FileRename(RenameInfo),
    /// FileRenameInformationEx: the first byte holds flags. [MS-FSCC] 2.4.43.
    FileRenameEx(RenameInfo),
    /// FileLinkInformation. [MS-FSCC] 2.4.28.2.
    FileLink(RenameInfo),
    /// FileLinkInformationEx: the first byte holds flags, as of FileRenameInformationEx.
    FileLinkEx(RenameInfo),
    /// FileDispositionInformation: delete on close. [MS-FSCC] 2.4.11.
    FileDisposition {
        /// Not 0: delete.
        delete_pending: u8,
        /// Whatever follows; some clients send four bytes.
        tail: Vec<u8>,
    },
    /// FileDispositionInformationEx. [MS-FSCC] 2.4.12.
    FileDispositionEx {
        /// 1: delete; further bits say how.
        flags: u32,
    },
    /// FileEndOfFileInformation. [MS-FSCC] 2.4.14.
    FileEndOfFile {
        /// Bytes the file shall have.
        end_of_file: u64,
    },
    /// FileAllocationInformation. [MS-FSCC] 2.4.4.
    FileAllocation {
        /// Bytes on disk.
        allocation_size: u64,
    },
    /// FileBasicInformation. [MS-FSCC] 2.4.7.
    FileBasic(BasicInfo),
    /// FilePositionInformation. [MS-FSCC] 2.4.40.
    FilePosition(PositionInfo),
    /// FileModeInformation. [MS-FSCC] 2.4.31.
    FileMode(ModeInfo),
    /// FileFullEaInformation. [MS-FSCC] 2.4.16.
    FullEa(Vec<EaEntry>),
    /// Anything else.
    Raw(Vec<u8>),
}

/// A new name for a file. [MS-FSCC] 2.4.42.2.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RenameInfo {
    /// Not 0: replaces a file of that name.
    pub replace: u8,
    /// Reserved; the rest of the flags in FileRenameInformationEx.
    pub reserved: [u8; 7],
    /// Zero: the name is relative to the share.
    pub root_directory: u64,
    /// The new path.
    pub name: Name,
    /// Whatever follows the name; clients pad.
    pub tail: Vec<u8>,
}

impl RenameInfo {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
        let replace = cursor.get()?;
        let reserved = cursor.fixed()?;
        let root_directory = cursor.get()?;
        let name = cursor.name32()?;
        Ok(Self {
            replace,
            reserved,
            root_directory,
            name,
            tail: cursor.rest().to_vec(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.replace.write(out);
        out.extend_from_slice(&self.reserved);
        self.root_directory.write(out);
        super::wire::put_name32(&self.name, out);
        out.extend_from_slice(&self.tail);
    }
}

/// One extended attribute. [MS-FSCC] 2.4.16.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EaEntry {
    /// 0x80: the reader must know it.
    pub flags: u8,
    /// Name, in the server's code page; at most 255 bytes.
    pub name: Vec<u8>,
    /// Value; empty removes the attribute.
    pub value: Vec<u8>,
}

impl EaEntry {
    /// Reads the list of attributes that is `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when an entry leads out of `bytes` or nowhere.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        let read = |entry| {
            let mut cursor = Cursor::new(entry, "EaEntry");
            let _next: u32 = cursor.get()?;
            let flags = cursor.get()?;
            let (name_len, value_len): (u8, u16) = (cursor.get()?, cursor.get()?);
            let name = cursor.take(usize::from(name_len))?.to_vec();
            let _terminator: u8 = cursor.get()?;
            Ok(Self {
                flags,
                name,
                value: cursor.take(usize::from(value_len))?.to_vec(),
            })
        };
        entries(bytes, "EaEntry", 9)
            .map(|entry| entry.and_then(read))
            .collect()
    }

    /// Appends a list of attributes to `out`, each at a multiple of 4 from the first.
    pub fn encode_list(list: &[Self], out: &mut Vec<u8>) {
        let mut last = None;
        for entry in list {
            last = Some(link(out, last, 4));
            entry.flags.write(out);
            u8::try_from(entry.name.len()).unwrap_or(u8::MAX).write(out);
            len16(entry.value.len()).write(out);
            out.extend_from_slice(&entry.name);
            out.push(0);
            out.extend_from_slice(&entry.value);
        }
    }
}

impl SetInfoPayload {
    /// Reads the buffer of a SET_INFO request.
    #[must_use]
    pub fn parse(info_type: InfoType, class: InfoClass, bytes: &[u8]) -> Self {
        let raw = || Self::Raw(bytes.to_vec());
        if info_type != InfoType::FILE {
            return raw();
        }
        match Self::typed(FileInfoClass(class.0), bytes) {
            Ok(Some(typed)) if typed.encode() == bytes => typed,
            _ => raw(),
        }
    }

    fn typed(class: FileInfoClass, bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut cursor = Cursor::new(bytes, "SetInfo");
        Ok(Some(match class {
            FileInfoClass::RENAME => Self::FileRename(RenameInfo::read(&mut cursor)?),
            FileInfoClass::RENAME_EX => Self::FileRenameEx(RenameInfo::read(&mut cursor)?),
            FileInfoClass::LINK => Self::FileLink(RenameInfo::read(&mut cursor)?),
            FileInfoClass::LINK_EX => Self::FileLinkEx(RenameInfo::read(&mut cursor)?),
            FileInfoClass::DISPOSITION => Self::FileDisposition {
                delete_pending: cursor.get()?,
                tail: cursor.rest().to_vec(),
            },
            FileInfoClass::DISPOSITION_EX => Self::FileDispositionEx {
                flags: cursor.get()?,
            },
            FileInfoClass::END_OF_FILE => Self::FileEndOfFile {
                end_of_file: cursor.get()?,
            },
            FileInfoClass::ALLOCATION => Self::FileAllocation {
                allocation_size: cursor.get()?,
            },
            FileInfoClass::BASIC => Self::FileBasic(cursor.get()?),
            FileInfoClass::POSITION => Self::FilePosition(cursor.get()?),
            FileInfoClass::MODE => Self::FileMode(cursor.get()?),
            FileInfoClass::FULL_EA => Self::FullEa(EaEntry::decode_list(bytes)?),
            _ => return Ok(None),
        }))
    }

    /// The wire bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::FileRename(info)
            | Self::FileRenameEx(info)
            | Self::FileLink(info)
            | Self::FileLinkEx(info) => {
                info.write(&mut out);
            }
            Self::FileDisposition {
                delete_pending,
                tail,
            } => {
                delete_pending.write(&mut out);
                out.extend_from_slice(tail);
            }
            Self::FileDispositionEx { flags } => flags.write(&mut out),
            Self::FileEndOfFile { end_of_file: size }
            | Self::FileAllocation {
                allocation_size: size,
            } => size.write(&mut out),
            Self::FileBasic(info) => info.encode(&mut out),
            Self::FilePosition(info) => info.encode(&mut out),
            Self::FileMode(info) => info.encode(&mut out),
            Self::FullEa(list) => EaEntry::encode_list(list, &mut out),
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
        out
    }

    /// The class that goes with this payload; none when it is raw.
    #[must_use]
    pub fn class(&self) -> Option<FileInfoClass> {
        Some(match self {
            Self::FileRename(_) => FileInfoClass::RENAME,
            Self::FileRenameEx(_) => FileInfoClass::RENAME_EX,
            Self::FileLink(_) => FileInfoClass::LINK,
            Self::FileLinkEx(_) => FileInfoClass::LINK_EX,
            Self::FileDisposition { .. } => FileInfoClass::DISPOSITION,
            Self::FileDispositionEx { .. } => FileInfoClass::DISPOSITION_EX,
            Self::FileEndOfFile { .. } => FileInfoClass::END_OF_FILE,
            Self::FileAllocation { .. } => FileInfoClass::ALLOCATION,
            Self::FileBasic(_) => FileInfoClass::BASIC,
            Self::FilePosition(_) => FileInfoClass::POSITION,
            Self::FileMode(_) => FileInfoClass::MODE,
            Self::FullEa(_) => FileInfoClass::FULL_EA,
            Self::Raw(_) => return None,
        })
    }
}
