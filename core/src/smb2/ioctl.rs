//! IOCTL. [MS-SMB2] 2.2.31, 2.2.32. Typed views of the buffers are in `ioctl_payload`.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::header::FileId;
use super::ser::{hex, is_default};
use super::types::{Fsctl, IoctlFlags};
use super::wire::{Source, Writer, len32, raw, to_usize};

/// IOCTL request. [MS-SMB2] 2.2.31.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IoctlRequest {
    /// The function.
    pub ctl_code: Fsctl,
    /// The open it acts on.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// Input buffer.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub input: Vec<u8>,
    /// Input bytes the response may hold.
    #[serde(skip_serializing_if = "is_default")]
    pub max_input_response: u32,
    /// Output buffer; clients send none.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub output: Vec<u8>,
    /// Output bytes the response may hold.
    pub max_output_response: u32,
    /// FSCTL or IOCTL.
    pub flags: IoctlFlags,
}

/// IOCTL response. [MS-SMB2] 2.2.32.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IoctlResponse {
    /// The function.
    pub ctl_code: Fsctl,
    /// The open it acted on.
    pub file_id: FileId,
    /// Input buffer, echoed by some functions.
    pub input: Vec<u8>,
    /// Output buffer.
    pub output: Vec<u8>,
    /// Reserved.
    pub flags: u32,
}

raw! {
    RawRequest {
        structure_size: U16,
        reserved: U16,
        ctl_code: U32,
        file_id: [u8; 16],
        input_offset: U32,
        input_count: U32,
        max_input_response: U32,
        output_offset: U32,
        output_count: U32,
        max_output_response: U32,
        flags: U32,
        reserved2: U32,
    }
    RawResponse {
        structure_size: U16,
        reserved: U16,
        ctl_code: U32,
        file_id: [u8; 16],
        input_offset: U32,
        input_count: U32,
        output_offset: U32,
        output_count: U32,
        flags: U32,
        reserved2: U32,
    }
}

const REQUEST_BUFFER: u32 = 120;
const RESPONSE_BUFFER: u32 = 112;

fn buffer<'a>(
    pdu: &Source<'a>,
    field: &'static str,
    at: U32,
    count: U32,
) -> Result<&'a [u8], WireError> {
    match count.get() {
        0 => Ok(&[]),
        count => pdu.slice(field, to_usize(at.get()), to_usize(count)),
    }
}

impl IoctlRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("IOCTL request", 57, "2.2.31")?;
        Ok(Self {
            ctl_code: Fsctl(raw.ctl_code.get()),
            file_id: FileId::from_bytes(raw.file_id),
            input: buffer(pdu, "Input", raw.input_offset, raw.input_count)?.to_vec(),
            max_input_response: raw.max_input_response.get(),
            output: buffer(pdu, "Output", raw.output_offset, raw.output_count)?.to_vec(),
            max_output_response: raw.max_output_response.get(),
            flags: IoctlFlags::from_bits_retain(raw.flags.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let behind_input = REQUEST_BUFFER
            .saturating_add(len32(self.input.len()))
            .next_multiple_of(8);
        out.put(&RawRequest {
            structure_size: 57.into(),
            reserved: 0.into(),
            ctl_code: self.ctl_code.0.into(),
            file_id: self.file_id.to_bytes(),
            input_offset: REQUEST_BUFFER.into(),
            input_count: len32(self.input.len()).into(),
            max_input_response: self.max_input_response.into(),
            output_offset: if self.output.is_empty() {
                REQUEST_BUFFER
            } else {
                behind_input
            }
            .into(),
            output_count: len32(self.output.len()).into(),
            max_output_response: self.max_output_response.into(),
            flags: self.flags.bits().into(),
            reserved2: 0.into(),
        });
        out.bytes(&self.input);
        if !self.output.is_empty() {
            out.align8();
            out.bytes(&self.output);
        }
    }
}

impl IoctlResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("IOCTL response", 49, "2.2.32")?;
        Ok(Self {
            ctl_code: Fsctl(raw.ctl_code.get()),
            file_id: FileId::from_bytes(raw.file_id),
            input: buffer(pdu, "Input", raw.input_offset, raw.input_count)?.to_vec(),
            output: buffer(pdu, "Output", raw.output_offset, raw.output_count)?.to_vec(),
            flags: raw.flags.get(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let behind_input = RESPONSE_BUFFER
            .saturating_add(len32(self.input.len()))
            .next_multiple_of(8);
        out.put(&RawResponse {
            structure_size: 49.into(),
            reserved: 0.into(),
            ctl_code: self.ctl_code.0.into(),
            file_id: self.file_id.to_bytes(),
            input_offset: RESPONSE_BUFFER.into(),
            input_count: len32(self.input.len()).into(),
            output_offset: behind_input.into(),
            output_count: len32(self.output.len()).into(),
            flags: self.flags.into(),
            reserved2: 0.into(),
        });
        out.bytes(&self.input);
        if !self.output.is_empty() {
            out.align8();
            out.bytes(&self.output);
        }
    }
}
