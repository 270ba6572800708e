//! QUERY_INFO. [MS-SMB2] 2.2.37, 2.2.38. Typed buffers are in [`crate::fscc`].

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::query_directory::{decode_output, encode_output};
use super::ser::{hex, is_default};
use super::types::{InfoClass, InfoType, QueryInfoFlags, SecurityInformation};
use super::wire::{Source, Writer, len32, raw, to_usize};

/// QUERY_INFO request. [MS-SMB2] 2.2.37.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryInfoRequest {
    /// File, file system, security or quota.
    pub info_type: InfoType,
    /// Class under that type.
    pub file_info_class: InfoClass,
    /// Bytes the response may hold.
    pub output_buffer_length: u32,
    /// What quotas or attributes to query.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub input: Vec<u8>,
    /// Parts of the security descriptor, or the index of an extended attribute.
    #[serde(skip_serializing_if = "is_default")]
    pub additional_information: SecurityInformation,
    /// How to scan extended attributes.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: QueryInfoFlags,
    /// The open.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
}

raw! {
    RawRequest {
        structure_size: U16,
        info_type: u8,
        file_info_class: u8,
        output_buffer_length: U32,
        input_buffer_offset: U16,
        reserved: U16,
        input_buffer_length: U32,
        additional_information: U32,
        flags: U32,
        file_id: [u8; 16],
    }
}

impl QueryInfoRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("QUERY_INFO request", 41, "2.2.37")?;
        let at = usize::from(raw.input_buffer_offset.get());
        let input = match raw.input_buffer_length.get() {
            0 => &[],
            len => pdu.slice("InputBuffer", at, to_usize(len))?,
        };
        Ok(Self {
            info_type: InfoType(raw.info_type),
            file_info_class: InfoClass(raw.file_info_class),
            output_buffer_length: raw.output_buffer_length.get(),
            input: input.to_vec(),
            additional_information: SecurityInformation::from_bits_retain(
                raw.additional_information.get(),
            ),
            flags: QueryInfoFlags::from_bits_retain(raw.flags.get()),
            file_id: FileId::from_bytes(raw.file_id),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 41.into(),
            info_type: self.info_type.0,
            file_info_class: self.file_info_class.0,
            output_buffer_length: self.output_buffer_length.into(),
            input_buffer_offset: if self.input.is_empty() { 0 } else { 104 }.into(),
            reserved: 0.into(),
            input_buffer_length: len32(self.input.len()).into(),
            additional_information: self.additional_information.bits().into(),
            flags: self.flags.bits().into(),
            file_id: self.file_id.to_bytes(),
        });
        out.bytes(&self.input);
    }
}

/// QUERY_INFO response. [MS-SMB2] 2.2.38.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct QueryInfoResponse {
    /// The information asked for.
    pub output: Vec<u8>,
}

impl QueryInfoResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        decode_output(pdu, "QUERY_INFO response", "2.2.38").map(|output| Self { output })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        encode_output(&self.output, out);
    }
}
