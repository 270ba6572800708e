//! File system information. [MS-FSCC] 2.5.

use super::wire::{Cursor, Field, put_name32, records};
use crate::smb2::wire::{len32, to_usize};
use crate::smb2::{Guid, Name, WireError};

records! {
    /// FileFsSizeInformation. [MS-FSCC] 2.5.8.
    #[derive(Default)]
    FsSizeInfo {
        /// Allocation units.
        total_allocation_units: u64,
        /// Units free to the user.
        available_allocation_units: u64,
        /// Sectors in a unit.
        sectors_per_allocation_unit: u32,
        /// Bytes in a sector.
        bytes_per_sector: u32,
    }

    /// FileFsFullSizeInformation. [MS-FSCC] 2.5.4.
    #[derive(Default)]
    FsFullSizeInfo {
        /// Allocation units.
        total_allocation_units: u64,
        /// Units free to the user.
        caller_available_allocation_units: u64,
        /// Units free.
        actual_available_allocation_units: u64,
        /// Sectors in a unit.
        sectors_per_allocation_unit: u32,
        /// Bytes in a sector.
        bytes_per_sector: u32,
    }

    /// FileFsDeviceInformation. [MS-FSCC] 2.5.10.
    #[derive(Default)]
    FsDeviceInfo {
        /// 7 is a disk.
        device_type: u32,
        /// Removable, read-only, remote and so on.
        characteristics: u32,
    }

    /// FileFsObjectIdInformation. [MS-FSCC] 2.5.6.
    FsObjectIdInfo {
        /// The volume.
        object_id: Guid,
        /// Whatever the server adds.
        extended_info: [u8; 48],
    }

    /// FileFsSectorSizeInformation. [MS-FSCC] 2.5.7.
    #[derive(Default)]
    FsSectorSizeInfo {
        /// Bytes.
        logical_bytes_per_sector: u32,
        /// Bytes written at once.
        physical_bytes_per_sector_for_atomicity: u32,
        /// Bytes to write for speed.
        physical_bytes_per_sector_for_performance: u32,
        /// Bytes the file system takes for atomic.
        effective_physical_bytes_per_sector_for_atomicity: u32,
        /// Aligned, no seek penalty, trim.
        flags: u32,
        /// Bytes.
        byte_offset_for_sector_alignment: u32,
        /// Bytes.
        byte_offset_for_partition_alignment: u32,
    }
}

/// FileFsVolumeInformation. [MS-FSCC] 2.5.9.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FsVolumeInfo {
    /// FILETIME.
    pub creation_time: u64,
    /// Serial number.
    pub serial_number: u32,
    /// 1: the file system knows object ids.
    pub supports_objects: u8,
    /// Reserved.
    pub reserved: u8,
    /// Label.
    pub label: Name,
}

impl FsVolumeInfo {
    /// Length of everything before the label.
    pub const FIXED_LEN: usize = 18;

    /// Reads the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when `bytes` ends early.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes, "FsVolumeInfo");
        let (creation_time, serial_number) = (cursor.get()?, cursor.get()?);
        let len: u32 = cursor.get()?;
        let (supports_objects, reserved) = (cursor.get()?, cursor.get()?);
        let label = Name::from_wire(cursor.take(to_usize(len))?);
        Ok(Self {
            creation_time,
            serial_number,
            supports_objects,
            reserved,
            label,
        })
    }

    /// Appends the wire bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.creation_time.write(out);
        self.serial_number.write(out);
        len32(self.label.wire_len()).write(out);
        self.supports_objects.write(out);
        self.reserved.write(out);
        self.label.write_to(out);
    }
}

/// FileFsAttributeInformation. [MS-FSCC] 2.5.1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FsAttributeInfo {
    /// What the file system can do.
    pub attributes: u32,
    /// Longest name of a path component, in characters.
    pub maximum_component_name_length: u32,
    /// `NTFS` and so on.
    pub file_system_name: Name,
}

impl FsAttributeInfo {
    /// Length of everything before the name.
    pub const FIXED_LEN: usize = 12;

    /// Reads the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when `bytes` ends early.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes, "FsAttributeInfo");
        Ok(Self {
            attributes: cursor.get()?,
            maximum_component_name_length: cursor.get()?,
            file_system_name: cursor.name32()?,
        })
    }

    /// Appends the wire bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.attributes.write(out);
        self.maximum_component_name_length.write(out);
        put_name32(&self.file_system_name, out);
    }
}
