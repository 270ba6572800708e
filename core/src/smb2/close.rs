//! CLOSE. [MS-SMB2] 2.2.15, 2.2.16.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::FileId;
use super::ser::is_default;
use super::types::{CloseFlags, FileAttributes};
use super::wire::{Source, Writer, raw};

/// CLOSE request. [MS-SMB2] 2.2.15.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloseRequest {
    /// Whether the response tells the attributes.
    pub flags: CloseFlags,
    /// The open to close.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
}

/// CLOSE response. [MS-SMB2] 2.2.16.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CloseResponse {
    /// Whether the rest is filled in.
    pub flags: CloseFlags,
    /// FILETIME.
    pub creation_time: u64,
    /// FILETIME.
    pub last_access_time: u64,
    /// FILETIME.
    pub last_write_time: u64,
    /// FILETIME.
    pub change_time: u64,
    /// Bytes on disk.
    pub allocation_size: u64,
    /// Bytes in the file.
    pub end_of_file: u64,
    /// Attributes.
    pub file_attributes: FileAttributes,
}

raw! {
    RawRequest { structure_size: U16, flags: U16, reserved: U32, file_id: [u8; 16] }
    RawResponse {
        structure_size: U16,
        flags: U16,
        reserved: U32,
        creation_time: U64,
        last_access_time: U64,
        last_write_time: U64,
        change_time: U64,
        allocation_size: U64,
        end_of_file: U64,
        file_attributes: U32,
    }
}

impl CloseRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("CLOSE request", 24, "2.2.15")?;
        Ok(Self {
            flags: CloseFlags::from_bits_retain(raw.flags.get()),
            file_id: FileId::from_bytes(raw.file_id),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 24.into(),
            flags: self.flags.bits().into(),
            reserved: 0.into(),
            file_id: self.file_id.to_bytes(),
        });
    }
}

impl CloseResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("CLOSE response", 60, "2.2.16")?;
        Ok(Self {
            flags: CloseFlags::from_bits_retain(raw.flags.get()),
            creation_time: raw.creation_time.get(),
            last_access_time: raw.last_access_time.get(),
            last_write_time: raw.last_write_time.get(),
            change_time: raw.change_time.get(),
            allocation_size: raw.allocation_size.get(),
            end_of_file: raw.end_of_file.get(),
            file_attributes: FileAttributes::from_bits_retain(raw.file_attributes.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 60.into(),
            flags: self.flags.bits().into(),
            reserved: 0.into(),
            creation_time: self.creation_time.into(),
            last_access_time: self.last_access_time.into(),
            last_write_time: self.last_write_time.into(),
            change_time: self.change_time.into(),
            allocation_size: self.allocation_size.into(),
            end_of_file: self.end_of_file.into(),
            file_attributes: self.file_attributes.bits().into(),
        });
    }
}
