//! FLUSH. [MS-SMB2] 2.2.17, 2.2.18.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::ser::is_default;
use super::wire::{Source, Writer, raw};

/// FLUSH request. [MS-SMB2] 2.2.17.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlushRequest {
    /// Reserved; some clients say *full sync* here.
    #[serde(skip_serializing_if = "is_default")]
    pub reserved1: u16,
    /// The open to flush.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
}

raw! {
    RawRequest { structure_size: U16, reserved1: U16, reserved2: U32, file_id: [u8; 16] }
}

impl FlushRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("FLUSH request", 24, "2.2.17")?;
        Ok(Self {
            reserved1: raw.reserved1.get(),
            file_id: FileId::from_bytes(raw.file_id),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 24.into(),
            reserved1: self.reserved1.into(),
            reserved2: 0.into(),
            file_id: self.file_id.to_bytes(),
        });
    }
}

/// FLUSH response. [MS-SMB2] 2.2.18.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlushResponse {}

impl FlushResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("FLUSH response", 4, "2.2.18")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
