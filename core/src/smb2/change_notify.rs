//! CHANGE_NOTIFY. [MS-SMB2] 2.2.35, 2.2.36. Typed records are in [`crate::fscc`].

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::query_directory::{decode_output, encode_output};
use super::ser::is_default;
use super::types::{ChangeNotifyFlags, CompletionFilter};
use super::wire::{Source, Writer, raw};

/// CHANGE_NOTIFY request. [MS-SMB2] 2.2.35.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeNotifyRequest {
    /// Watch the tree or the directory.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: ChangeNotifyFlags,
    /// Bytes the response may hold.
    pub output_buffer_length: u32,
    /// The directory.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// Changes to wait for.
    pub completion_filter: CompletionFilter,
}

raw! {
    RawRequest {
        structure_size: U16,
        flags: U16,
        output_buffer_length: U32,
        file_id: [u8; 16],
        completion_filter: U32,
        reserved: U32,
    }
}

impl ChangeNotifyRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("CHANGE_NOTIFY request", 32, "2.2.35")?;
        Ok(Self {
            flags: ChangeNotifyFlags::from_bits_retain(raw.flags.get()),
            output_buffer_length: raw.output_buffer_length.get(),
            file_id: FileId::from_bytes(raw.file_id),
            completion_filter: CompletionFilter::from_bits_retain(raw.completion_filter.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 32.into(),
            flags: self.flags.bits().into(),
            output_buffer_length: self.output_buffer_length.into(),
            file_id: self.file_id.to_bytes(),
            completion_filter: self.completion_filter.bits().into(),
            reserved: 0.into(),
        });
    }
}

/// CHANGE_NOTIFY response. [MS-SMB2] 2.2.36.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ChangeNotifyResponse {
    /// FILE_NOTIFY_INFORMATION records; empty says *look yourself*.
    pub output: Vec<u8>,
}

impl ChangeNotifyResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        decode_output(pdu, "CHANGE_NOTIFY response", "2.2.36").map(|output| Self { output })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        encode_output(&self.output, out);
    }
}
