//! SET_INFO. [MS-SMB2] 2.2.39, 2.2.40. Typed buffers are in [`crate::fscc`].

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::ser::{hex, is_default};
use super::types::{InfoClass, InfoType, SecurityInformation};
use super::wire::{Source, Writer, len32, raw, to_usize};

/// SET_INFO request. [MS-SMB2] 2.2.39.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetInfoRequest {
    /// File, file system, security or quota.
    pub info_type: InfoType,
    /// Class under that type.
    pub file_info_class: InfoClass,
    /// The information to set.
    #[serde(with = "hex")]
    pub buffer: Vec<u8>,
    /// Parts of the security descriptor.
    #[serde(skip_serializing_if = "is_default")]
    pub additional_information: SecurityInformation,
    /// The open.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
}

raw! {
    RawRequest {
        structure_size: U16,
        info_type: u8,
        file_info_class: u8,
        buffer_length: U32,
        buffer_offset: U16,
        reserved: U16,
        additional_information: U32,
        file_id: [u8; 16],
    }
}

impl SetInfoRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("SET_INFO request", 33, "2.2.39")?;
        let at = usize::from(raw.buffer_offset.get());
        let buffer = match raw.buffer_length.get() {
            0 => &[],
            len => pdu.slice("Buffer", at, to_usize(len))?,
        };
        Ok(Self {
            info_type: InfoType(raw.info_type),
            file_info_class: InfoClass(raw.file_info_class),
            buffer: buffer.to_vec(),
            additional_information: SecurityInformation::from_bits_retain(
                raw.additional_information.get(),
            ),
            file_id: FileId::from_bytes(raw.file_id),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 33.into(),
            info_type: self.info_type.0,
            file_info_class: self.file_info_class.0,
            buffer_length: len32(self.buffer.len()).into(),
            buffer_offset: 96.into(),
            reserved: 0.into(),
            additional_information: self.additional_information.bits().into(),
            file_id: self.file_id.to_bytes(),
        });
        out.bytes(&self.buffer);
    }
}

/// SET_INFO response. [MS-SMB2] 2.2.40.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SetInfoResponse {}

impl SetInfoResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 2]>("SET_INFO response", 2, "2.2.40")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[2, 0]);
    }
}
