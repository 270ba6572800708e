//! READ. [MS-SMB2] 2.2.19, 2.2.20. The data of a response is the bulk of the PDU.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::FileId;
use super::ser::{hex, is_default};
use super::types::{Channel, ReadFlags};
use super::wire::{Source, Writer, len16, raw};

/// READ request. [MS-SMB2] 2.2.19.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadRequest {
    /// Where the client would like the data in the response.
    #[serde(skip_serializing_if = "is_default")]
    pub padding: u8,
    /// Flags; reserved before dialect 3.0.2.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: ReadFlags,
    /// Bytes to read.
    pub length: u32,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// The open to read from.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// Fewer bytes than this are an error.
    #[serde(skip_serializing_if = "is_default")]
    pub minimum_count: u32,
    /// RDMA or not.
    #[serde(skip_serializing_if = "is_default")]
    pub channel: Channel,
    /// Bytes the client will read after these.
    #[serde(skip_serializing_if = "is_default")]
    pub remaining_bytes: u32,
    /// RDMA buffer descriptors.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub channel_info: Vec<u8>,
}

/// READ response. [MS-SMB2] 2.2.20.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadResponse {
    /// Length of the data, the bulk.
    pub length: u32,
    /// Bytes that went through RDMA.
    pub data_remaining: u32,
    /// Flags in dialect 3.1.1, else reserved.
    pub flags: u32,
}

raw! {
    RawRequest {
        structure_size: U16,
        padding: u8,
        flags: u8,
        length: U32,
        offset: U64,
        file_id: [u8; 16],
        minimum_count: U32,
        channel: U32,
        remaining_bytes: U32,
        channel_info_offset: U16,
        channel_info_length: U16,
    }
    RawResponse {
        structure_size: U16,
        data_offset: u8,
        reserved: u8,
        length: U32,
        data_remaining: U32,
        flags: U32,
    }
}

const BUFFER: u16 = 112;

impl ReadRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("READ request", 49, "2.2.19")?;
        let (at, len) = (raw.channel_info_offset.get(), raw.channel_info_length.get());
        let info = match len {
            0 => &[],
            _ => pdu.slice("ReadChannelInfo", usize::from(at), usize::from(len))?,
        };
        Ok(Self {
            padding: raw.padding,
            flags: ReadFlags::from_bits_retain(raw.flags),
            length: raw.length.get(),
            offset: raw.offset.get(),
            file_id: FileId::from_bytes(raw.file_id),
            minimum_count: raw.minimum_count.get(),
            channel: Channel(raw.channel.get()),
            remaining_bytes: raw.remaining_bytes.get(),
            channel_info: info.to_vec(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let empty = self.channel_info.is_empty();
        out.put(&RawRequest {
            structure_size: 49.into(),
            padding: self.padding,
            flags: self.flags.bits(),
            length: self.length.into(),
            offset: self.offset.into(),
            file_id: self.file_id.to_bytes(),
            minimum_count: self.minimum_count.into(),
            channel: self.channel.0.into(),
            remaining_bytes: self.remaining_bytes.into(),
            channel_info_offset: if empty { 0 } else { BUFFER }.into(),
            channel_info_length: len16(self.channel_info.len()).into(),
        });
        // [MS-SMB2] 2.2.19: the buffer is at least one byte long.
        out.bytes(if empty { &[0] } else { &self.channel_info });
    }
}

impl ReadResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("READ response", 17, "2.2.20")?;
        Ok(Self {
            length: raw.length.get(),
            data_remaining: raw.data_remaining.get(),
            flags: raw.flags.get(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 17.into(),
            data_offset: 80,
            reserved: 0,
            length: self.length.into(),
            data_remaining: self.data_remaining.into(),
            flags: self.flags.into(),
        });
        out.bulk(self.length);
    }
}
