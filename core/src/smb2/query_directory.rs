//! QUERY_DIRECTORY. [MS-SMB2] 2.2.33, 2.2.34. Typed entries are in [`crate::fscc`].

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::ser::is_default;
use super::text::Name;
use super::types::{FileInfoClass, QueryDirectoryFlags};
use super::wire::{Source, Writer, len16, len32, raw, to_usize};

/// QUERY_DIRECTORY request. [MS-SMB2] 2.2.33.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryDirectoryRequest {
    /// Form of the entries.
    pub file_information_class: FileInfoClass,
    /// Restart, single entry.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: QueryDirectoryFlags,
    /// Where to go on, with INDEX_SPECIFIED.
    #[serde(skip_serializing_if = "is_default")]
    pub file_index: u32,
    /// The directory.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// Search pattern.
    pub pattern: Name,
    /// Bytes the response may hold.
    pub output_buffer_length: u32,
}

raw! {
    RawRequest {
        structure_size: U16,
        file_information_class: u8,
        flags: u8,
        file_index: U32,
        file_id: [u8; 16],
        file_name_offset: U16,
        file_name_length: U16,
        output_buffer_length: U32,
    }
    RawOutput { structure_size: U16, output_buffer_offset: U16, output_buffer_length: U32 }
}

impl QueryDirectoryRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("QUERY_DIRECTORY request", 33, "2.2.33")?;
        let (at, len) = (raw.file_name_offset.get(), raw.file_name_length.get());
        let pattern = match len {
            0 => &[],
            _ => pdu.slice("FileName", usize::from(at), usize::from(len))?,
        };
        Ok(Self {
            file_information_class: FileInfoClass(raw.file_information_class),
            flags: QueryDirectoryFlags::from_bits_retain(raw.flags),
            file_index: raw.file_index.get(),
            file_id: FileId::from_bytes(raw.file_id),
            pattern: Name::from_wire(pattern),
            output_buffer_length: raw.output_buffer_length.get(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 33.into(),
            file_information_class: self.file_information_class.0,
            flags: self.flags.bits(),
            file_index: self.file_index.into(),
            file_id: self.file_id.to_bytes(),
            file_name_offset: 96.into(),
            file_name_length: len16(self.pattern.wire_len()).into(),
            output_buffer_length: self.output_buffer_length.into(),
        });
        self.pattern.write_to(out.buffer());
    }
}

/// Reads a response that is nothing but an output buffer.
pub(crate) fn decode_output(
    pdu: &Source<'_>,
    field: &'static str,
    section: &'static str,
) -> Result<Vec<u8>, WireError> {
    let raw: &RawOutput = pdu.body(field, 9, section)?;
    let at = usize::from(raw.output_buffer_offset.get());
    match raw.output_buffer_length.get() {
        0 => Ok(Vec::new()),
        len => pdu
            .slice("OutputBuffer", at, to_usize(len))
            .map(<[u8]>::to_vec),
    }
}

/// Writes a response that is nothing but an output buffer.
pub(crate) fn encode_output(output: &[u8], out: &mut Writer<'_>) {
    out.put(&RawOutput {
        structure_size: 9.into(),
        output_buffer_offset: 72.into(),
        output_buffer_length: len32(output.len()).into(),
    });
    out.bytes(output);
}

/// QUERY_DIRECTORY response. [MS-SMB2] 2.2.34.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct QueryDirectoryResponse {
    /// Entries of the class asked for.
    pub output: Vec<u8>,
}

impl QueryDirectoryResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        decode_output(pdu, "QUERY_DIRECTORY response", "2.2.34").map(|output| Self { output })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        encode_output(&self.output, out);
    }
}
