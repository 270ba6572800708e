//! Directory entries, in every form QUERY_DIRECTORY asks for. [MS-FSCC] 2.4.

use super::posix::{self, PosixPart};
use super::wire::{Cursor, Field, entries, link, put_name32};
use crate::smb2::wire::{len32, to_usize};
use crate::smb2::{FileAttributes, FileInfoClass, Guid, Name, WireError};

/// One entry of a directory. A class that lacks a field reads it as its default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DirectoryEntry {
    /// Where to go on; mostly 0.
    pub file_index: u32,
    /// FILETIME.
    pub creation_time: u64,
    /// FILETIME.
    pub last_access_time: u64,
    /// FILETIME.
    pub last_write_time: u64,
    /// FILETIME.
    pub change_time: u64,
    /// Bytes in the file.
    pub end_of_file: u64,
    /// Bytes on disk.
    pub allocation_size: u64,
    /// Attributes.
    pub attributes: FileAttributes,
    /// Size of the extended attributes, or the reparse tag of a reparse point.
    pub ea_size: u32,
    /// Reparse tag, where a class has a field for it.
    pub reparse_tag: u32,
    /// 8.3 name.
    pub short_name: ShortName,
    /// Reserved; with Apple's extensions, the Unix mode.
    pub reserved: u32,
    /// Number of the file.
    pub file_id: u64,
    /// 128-bit number of the file.
    pub file_id_128: Guid,
    /// What POSIX extensions add, at their level.
    pub posix: PosixPart,
    /// The name.
    pub name: Name,
}

/// The room of an 8.3 name; Apple's extensions put other things there, so all of it is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ShortName {
    /// Length of the name in bytes, as sent.
    pub length: u8,
    /// Reserved.
    pub reserved: u8,
    /// The name, or something else.
    pub room: [u8; SHORT_NAME_ROOM],
}

impl ShortName {
    /// The name; empty when there is none.
    #[must_use]
    pub fn name(&self) -> Name {
        let len = usize::from(self.length).min(SHORT_NAME_ROOM);
        Name::from_wire(self.room.get(..len).unwrap_or_default())
    }

    /// An 8.3 name; what does not fit into 24 bytes is no 8.3 name and gives none.
    #[must_use]
    pub fn new(name: &Name) -> Self {
        let wire = name.to_wire();
        let mut short = Self::default();
        if let Some(room) = short.room.get_mut(..wire.len()) {
            room.copy_from_slice(&wire);
            short.length = u8::try_from(wire.len()).unwrap_or_default();
        }
        short
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(Self {
            length: cursor.get()?,
            reserved: cursor.get()?,
            room: cursor.fixed()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.length.write(out);
        self.reserved.write(out);
        out.extend_from_slice(&self.room);
    }
}

/// What a class has between the common part and the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Shape {
    times: bool,
    ea_size: bool,
    short_name: bool,
    id: Id,
}

/// Which numbers of the file a class has. The first kinds have them behind the short name, the extended ones, which
/// come with a field for the reparse tag, before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Id {
    None,
    Padded16,
    Padded32,
    Extended {
        of_64: bool,
        of_128: bool,
    },
    /// Level 0x64 of the POSIX extensions has its own order of all fields.
    Posix,
}

const EXTENDED: Id = Id::Extended {
    of_64: false,
    of_128: true,
};
const EXTENDED_64: Id = Id::Extended {
    of_64: true,
    of_128: false,
};
const EXTENDED_ALL: Id = Id::Extended {
    of_64: true,
    of_128: true,
};

const SHORT_NAME_ROOM: usize = 24;

fn shape(class: FileInfoClass) -> Option<Shape> {
    let shape = |times, ea_size, short_name, id| {
        Some(Shape {
            times,
            ea_size,
            short_name,
            id,
        })
    };
    match class {
        FileInfoClass::POSIX => shape(false, false, false, Id::Posix),
        FileInfoClass::NAMES => shape(false, false, false, Id::None),
        FileInfoClass::DIRECTORY => shape(true, false, false, Id::None),
        FileInfoClass::FULL_DIRECTORY => shape(true, true, false, Id::None),
        FileInfoClass::BOTH_DIRECTORY => shape(true, true, true, Id::None),
        FileInfoClass::ID_BOTH_DIRECTORY => shape(true, true, true, Id::Padded16),
        FileInfoClass::ID_FULL_DIRECTORY => shape(true, true, false, Id::Padded32),
        FileInfoClass::ID_EXTD_DIRECTORY => shape(true, true, false, EXTENDED),
        FileInfoClass::ID_EXTD_BOTH_DIRECTORY => shape(true, true, true, EXTENDED),
        FileInfoClass::ID_64_EXTD_DIRECTORY => shape(true, true, false, EXTENDED_64),
        FileInfoClass::ID_64_EXTD_BOTH_DIRECTORY => shape(true, true, true, EXTENDED_64),
        FileInfoClass::ID_ALL_EXTD_DIRECTORY => shape(true, true, false, EXTENDED_ALL),
        FileInfoClass::ID_ALL_EXTD_BOTH_DIRECTORY => shape(true, true, true, EXTENDED_ALL),
        _ => None,
    }
}

impl Shape {
    /// Length of everything before the name.
    fn fixed_len(self) -> usize {
        let times = if self.times { 52 } else { 0 };
        let ea_size = if self.ea_size { 4 } else { 0 };
        let short_name = if self.short_name { 26 } else { 0 };
        let id = match self.id {
            Id::None => 0,
            Id::Padded16 => 10,
            Id::Padded32 => 12,
            Id::Extended { of_64, of_128 } => {
                4 + if of_64 { 8 } else { 0 } + if of_128 { 16 } else { 0 }
            }
            Id::Posix => posix::FIXED + 2 * posix::LEAST_SID,
        };
        12 + times + ea_size + short_name + id
    }

    /// Whether the short name stands behind the numbers.
    fn ends_with_short_name(self) -> bool {
        self.short_name && matches!(self.id, Id::Extended { .. })
    }
}

impl DirectoryEntry {
    /// Whether `class` is one of directory entries that can be read and written.
    #[must_use]
    pub fn supports(class: FileInfoClass) -> bool {
        shape(class).is_some()
    }

    /// Bytes of an entry without its name; none for a class that is not
    /// [supported](DirectoryEntry::supports).
    #[must_use]
    pub fn fixed_len(class: FileInfoClass) -> Option<usize> {
        shape(class).map(Shape::fixed_len)
    }

    /// Reads the list of entries that is `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] for a class that is not [supported](DirectoryEntry::supports), or
    /// when an entry leads nowhere; [`WireError::Truncated`] when one leads out of `bytes`.
    pub fn decode_list(class: FileInfoClass, bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        Self::list(class, bytes)?.collect()
    }

    /// Reads the list of entries that is `bytes`, one after the other; an error is the last.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] for a class that is not [supported](DirectoryEntry::supports); of
    /// each entry those of [`DirectoryEntry::decode_list`].
    pub fn list(
        class: FileInfoClass,
        bytes: &[u8],
    ) -> Result<impl Iterator<Item = Result<Self, WireError>>, WireError> {
        let Some(shape) = shape(class) else {
            let (field, got) = ("FileInformationClass", u64::from(class.0));
            return Err(WireError::BadValue {
                field,
                offset: 0,
                got,
                section: "2.2.33",
            });
        };
        let list = entries(bytes, "DirectoryEntry", shape.fixed_len());
        Ok(list.map(move |entry| Self::read(shape, entry?)))
    }

    /// Times, sizes and attributes, which stand one behind the other in every class that tells them.
    pub(super) fn read_basics(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        self.creation_time = cursor.get()?;
        self.last_access_time = cursor.get()?;
        self.last_write_time = cursor.get()?;
        self.change_time = cursor.get()?;
        self.end_of_file = cursor.get()?;
        self.allocation_size = cursor.get()?;
        self.attributes = cursor.get()?;
        Ok(())
    }

    pub(super) fn write_basics(&self, out: &mut Vec<u8>) {
        self.creation_time.write(out);
        self.last_access_time.write(out);
        self.last_write_time.write(out);
        self.change_time.write(out);
        self.end_of_file.write(out);
        self.allocation_size.write(out);
        self.attributes.write(out);
    }

    fn read(shape: Shape, bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes, "DirectoryEntry");
        let _next: u32 = cursor.get()?;
        let mut entry = Self {
            file_index: cursor.get()?,
            ..Self::default()
        };
        if shape.id == Id::Posix {
            entry.read_posix(&mut cursor)?;
            entry.name = cursor.name32()?;
            return Ok(entry);
        }
        if shape.times {
            entry.read_basics(&mut cursor)?;
        }
        let name_len: u32 = cursor.get()?;
        if shape.ea_size {
            entry.ea_size = cursor.get()?;
        }
        if shape.short_name && !shape.ends_with_short_name() {
            entry.short_name = ShortName::read(&mut cursor)?;
        }
        match shape.id {
            Id::None | Id::Posix => {}
            Id::Padded16 => {
                entry.reserved = u32::from(cursor.get::<u16>()?);
                entry.file_id = cursor.get()?;
            }
            Id::Padded32 => {
                entry.reserved = cursor.get()?;
                entry.file_id = cursor.get()?;
            }
            Id::Extended { of_64, of_128 } => {
                entry.reparse_tag = cursor.get()?;
                if of_64 {
                    entry.file_id = cursor.get()?;
                }
                if of_128 {
                    entry.file_id_128 = cursor.get()?;
                }
            }
        }
        if shape.ends_with_short_name() {
            entry.short_name = ShortName::read(&mut cursor)?;
        }
        entry.name = Name::from_wire(cursor.take(to_usize(name_len))?);
        Ok(entry)
    }

    fn write(&self, shape: Shape, out: &mut Vec<u8>) {
        self.file_index.write(out);
        if shape.id == Id::Posix {
            self.write_posix(out);
            return put_name32(&self.name, out);
        }
        if shape.times {
            self.write_basics(out);
        }
        len32(self.name.wire_len()).write(out);
        if shape.ea_size {
            self.ea_size.write(out);
        }
        if shape.short_name && !shape.ends_with_short_name() {
            self.short_name.write(out);
        }
        match shape.id {
            Id::None | Id::Posix => {}
            Id::Padded16 => {
                u16::try_from(self.reserved & 0xffff)
                    .unwrap_or_default()
                    .write(out);
                self.file_id.write(out);
            }
            Id::Padded32 => {
                self.reserved.write(out);
                self.file_id.write(out);
            }
            Id::Extended { of_64, of_128 } => {
                self.reparse_tag.write(out);
                if of_64 {
                    self.file_id.write(out);
                }
                if of_128 {
                    self.file_id_128.write(out);
                }
            }
        }
        if shape.ends_with_short_name() {
            self.short_name.write(out);
        }
        self.name.write_to(out);
    }
}

/// Writes entries, each at a multiple of 8, until the client's buffer is full.
#[derive(Clone, Debug)]
pub struct DirectoryWriter {
    shape: Shape,
    limit: usize,
    out: Vec<u8>,
    last: Option<usize>,
}

impl DirectoryWriter {
    /// A list of `class` in at most `limit` bytes; none for a class that is not
    /// [supported](DirectoryEntry::supports).
    #[must_use]
    pub fn new(class: FileInfoClass, limit: usize) -> Option<Self> {
        shape(class).map(|shape| Self {
            shape,
            limit,
            out: Vec::new(),
            last: None,
        })
    }

    /// Appends an entry, and says whether there was room for it.
    pub fn push(&mut self, entry: &DirectoryEntry) -> bool {
        let mut len = self.shape.fixed_len().saturating_add(entry.name.wire_len());
        if self.shape.id == Id::Posix {
            let least = 2 * posix::LEAST_SID;
            len = (len - least).saturating_add(entry.posix.sids_len());
        }
        if self.out.len().next_multiple_of(8).saturating_add(len) > self.limit {
            return false;
        }
        self.last = Some(link(&mut self.out, self.last, 8));
        entry.write(self.shape, &mut self.out);
        true
    }

    /// No entry was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The list.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> DirectoryEntry {
        DirectoryEntry {
            file_index: 1,
            creation_time: 2,
            end_of_file: 3,
            attributes: FileAttributes::ARCHIVE,
            ea_size: 4,
            reparse_tag: 0xa000_000c,
            short_name: ShortName::new(&Name::from("A~1.TXT")),
            file_id: 0x0102_0304,
            file_id_128: Guid([7; 16]),
            name: Name::from("a b.text"),
            ..DirectoryEntry::default()
        }
    }

    /// [MS-FSCC] 2.4.17 to 2.4.24: the reparse tag, the numbers, the short name.
    #[test]
    fn extended_classes_have_the_short_name_behind_the_numbers() {
        let short = ShortName::new(&Name::from("A~1.TXT"));
        for (class, of_64, of_128, has_short) in [
            (60, false, true, false),
            (63, false, true, true),
            (78, true, false, false),
            (79, true, false, true),
            (80, true, true, false),
            (81, true, true, true),
        ] {
            let class = FileInfoClass(class);
            let mut writer = DirectoryWriter::new(class, 1000).unwrap();
            assert!(writer.push(&entry()) && writer.push(&entry()));
            let bytes = writer.finish();
            let mut want = vec![4, 0, 0, 0, 0x0c, 0, 0, 0xa0];
            if of_64 {
                want.extend_from_slice(&[4, 3, 2, 1, 0, 0, 0, 0]);
            }
            if of_128 {
                want.extend_from_slice(&[7; 16]);
            }
            if has_short {
                want.extend_from_slice(&[14, 0]);
                want.extend_from_slice(&short.room);
            }
            want.extend_from_slice(&entry().name.to_wire());
            assert_eq!(bytes.get(64..64 + want.len()), Some(&want[..]), "{class}");
            let read = DirectoryEntry::decode_list(class, &bytes).unwrap();
            let expected = DirectoryEntry {
                file_id: if of_64 { entry().file_id } else { 0 },
                file_id_128: if of_128 {
                    Guid([7; 16])
                } else {
                    Guid::default()
                },
                short_name: if has_short {
                    short
                } else {
                    ShortName::default()
                },
                ..entry()
            };
            assert_eq!(read, [expected.clone(), expected], "{class}");
        }
    }
}
