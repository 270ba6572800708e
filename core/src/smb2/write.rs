//! WRITE. [MS-SMB2] 2.2.21, 2.2.22. The data of a request is the bulk of the PDU.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::FileId;
use super::ser::{hex, is_default};
use super::types::{Channel, WriteFlags};
use super::wire::{Source, Writer, len16, raw};

/// WRITE request. [MS-SMB2] 2.2.21.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteRequest {
    /// Length of the data, the bulk.
    pub length: u32,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// The open to write to.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// RDMA or not.
    #[serde(skip_serializing_if = "is_default")]
    pub channel: Channel,
    /// Bytes the client will write after these.
    #[serde(skip_serializing_if = "is_default")]
    pub remaining_bytes: u32,
    /// RDMA buffer descriptors.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub channel_info: Vec<u8>,
    /// Flags.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: WriteFlags,
}

/// WRITE response. [MS-SMB2] 2.2.22.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WriteResponse {
    /// Bytes written.
    pub count: u32,
    /// Reserved.
    pub remaining: u32,
}

raw! {
    RawRequest {
        structure_size: U16,
        data_offset: U16,
        length: U32,
        offset: U64,
        file_id: [u8; 16],
        channel: U32,
        remaining_bytes: U32,
        channel_info_offset: U16,
        channel_info_length: U16,
        flags: U32,
    }
    RawResponse {
        structure_size: U16,
        reserved: U16,
        count: U32,
        remaining: U32,
        channel_info_offset: U16,
        channel_info_length: U16,
    }
}

const BUFFER: u16 = 112;

impl WriteRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("WRITE request", 49, "2.2.21")?;
        let (at, len) = (raw.channel_info_offset.get(), raw.channel_info_length.get());
        let info = match len {
            0 => &[],
            _ => pdu.slice("WriteChannelInfo", usize::from(at), usize::from(len))?,
        };
        Ok(Self {
            length: raw.length.get(),
            offset: raw.offset.get(),
            file_id: FileId::from_bytes(raw.file_id),
            channel: Channel(raw.channel.get()),
            remaining_bytes: raw.remaining_bytes.get(),
            channel_info: info.to_vec(),
            flags: WriteFlags::from_bits_retain(raw.flags.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let info = len16(self.channel_info.len());
        let empty = info == 0;
        out.put(&RawRequest {
            structure_size: 49.into(),
            data_offset: BUFFER.saturating_add(info).into(),
            length: self.length.into(),
            offset: self.offset.into(),
            file_id: self.file_id.to_bytes(),
            channel: self.channel.0.into(),
            remaining_bytes: self.remaining_bytes.into(),
            channel_info_offset: if empty { 0 } else { BUFFER }.into(),
            channel_info_length: info.into(),
            flags: self.flags.bits().into(),
        });
        out.bytes(&self.channel_info);
        out.bulk(self.length);
    }
}

impl WriteResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("WRITE response", 17, "2.2.22")?;
        Ok(Self {
            count: raw.count.get(),
            remaining: raw.remaining.get(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 17.into(),
            reserved: 0.into(),
            count: self.count.into(),
            remaining: self.remaining.into(),
            channel_info_offset: 0.into(),
            channel_info_length: 0.into(),
        });
    }
}
