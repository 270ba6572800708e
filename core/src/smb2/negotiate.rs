//! NEGOTIATE. [MS-SMB2] 2.2.3, 2.2.4. The security buffer of a response is the bulk of the PDU.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::Guid;
use super::negotiate_context::{NegotiateContext, decode_list, encode_list};
use super::ser::is_default;
use super::types::{Capabilities, Dialect, SecurityMode};
use super::wire::{BODY, Source, Writer, len16, len32, raw, to_usize};

/// NEGOTIATE request. [MS-SMB2] 2.2.3.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NegotiateRequest {
    /// Signing enabled or required.
    pub security_mode: SecurityMode,
    /// Abilities of the client.
    pub capabilities: Capabilities,
    /// The client.
    pub client_guid: Guid,
    /// ClientStartTime; without dialect 3.1.1 only, and zero.
    #[serde(skip_serializing_if = "is_default")]
    pub client_start_time: u64,
    /// Dialects offered.
    pub dialects: Vec<Dialect>,
    /// Contexts; with dialect 3.1.1 only.
    #[serde(skip_serializing_if = "is_default")]
    pub contexts: Vec<NegotiateContext>,
}

/// NEGOTIATE response. [MS-SMB2] 2.2.4.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NegotiateResponse {
    /// Signing enabled or required.
    pub security_mode: SecurityMode,
    /// The dialect chosen.
    pub dialect_revision: Dialect,
    /// The server.
    pub server_guid: Guid,
    /// Abilities of the server.
    pub capabilities: Capabilities,
    /// Largest QUERY_INFO, SET_INFO, QUERY_DIRECTORY or CHANGE_NOTIFY buffer, in bytes.
    pub max_transact_size: u32,
    /// Largest READ, in bytes.
    pub max_read_size: u32,
    /// Largest WRITE, in bytes.
    pub max_write_size: u32,
    /// FILETIME at the server.
    pub system_time: u64,
    /// FILETIME of the server's start; zero.
    pub server_start_time: u64,
    /// Length of the security buffer, the bulk.
    pub security_buffer_length: u16,
    /// Reserved, where dialect 3.1.1 counts the contexts.
    pub reserved: u16,
    /// Reserved, where dialect 3.1.1 says where the contexts are.
    pub reserved2: u32,
    /// Contexts; with dialect 3.1.1 only.
    pub contexts: Vec<NegotiateContext>,
}

raw! {
    RawRequest {
        structure_size: U16,
        dialect_count: U16,
        security_mode: U16,
        reserved: U16,
        capabilities: U32,
        client_guid: [u8; 16],
        context_offset: U32,
        context_count: U16,
        reserved2: U16,
    }
    RawResponse {
        structure_size: U16,
        security_mode: U16,
        dialect_revision: U16,
        context_count: U16,
        server_guid: [u8; 16],
        capabilities: U32,
        max_transact_size: U32,
        max_read_size: U32,
        max_write_size: U32,
        system_time: U64,
        server_start_time: U64,
        security_buffer_offset: U16,
        security_buffer_length: U16,
        context_offset: U32,
    }
}

impl NegotiateRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("NEGOTIATE request", 36, "2.2.3")?;
        let at = BODY.saturating_add(size_of::<RawRequest>());
        let len = usize::from(raw.dialect_count.get()).saturating_mul(2);
        let number = |pair: &[u8]| u16::from_le_bytes(pair.try_into().unwrap_or_default());
        let dialects: Vec<Dialect> = pdu
            .slice("Dialects", at, len)?
            .chunks_exact(2)
            .map(|pair| Dialect(number(pair)))
            .collect();
        let mut client_start_time = 0;
        let mut contexts = Vec::new();
        // [MS-SMB2] 2.2.3: the eight bytes are a union; dialect 3.1.1 says which.
        if dialects.contains(&Dialect::SMB_3_1_1) {
            let offset = to_usize(raw.context_offset.get());
            contexts = decode_list(pdu, offset, raw.context_count.get())?;
        } else {
            client_start_time = u64::from(raw.context_offset.get())
                | u64::from(raw.context_count.get()) << 32
                | u64::from(raw.reserved2.get()) << 48;
        }
        Ok(Self {
            security_mode: SecurityMode::from_bits_retain(raw.security_mode.get()),
            capabilities: Capabilities::from_bits_retain(raw.capabilities.get()),
            client_guid: Guid(raw.client_guid),
            client_start_time,
            dialects,
            contexts,
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let at = BODY.saturating_add(size_of::<RawRequest>());
        let behind = at.saturating_add(self.dialects.len().saturating_mul(2));
        let low = |shift: u32, mask: u64| self.client_start_time >> shift & mask;
        let (mut context_offset, mut context_count, mut reserved2) = (
            u32::try_from(low(0, 0xffff_ffff)).unwrap_or_default(),
            u16::try_from(low(32, 0xffff)).unwrap_or_default(),
            u16::try_from(low(48, 0xffff)).unwrap_or_default(),
        );
        let modern = self.dialects.contains(&Dialect::SMB_3_1_1);
        if modern {
            let some = !self.contexts.is_empty();
            context_offset = if some {
                len32(behind.next_multiple_of(8))
            } else {
                0
            };
            (context_count, reserved2) = (len16(self.contexts.len()), 0);
        }
        out.put(&RawRequest {
            structure_size: 36.into(),
            dialect_count: len16(self.dialects.len()).into(),
            security_mode: self.security_mode.bits().into(),
            reserved: 0.into(),
            capabilities: self.capabilities.bits().into(),
            client_guid: self.client_guid.0,
            context_offset: context_offset.into(),
            context_count: context_count.into(),
            reserved2: reserved2.into(),
        });
        for dialect in &self.dialects {
            out.put(&U16::new(dialect.0));
        }
        if modern && !self.contexts.is_empty() {
            out.align8();
            encode_list(&self.contexts, out);
        }
    }
}

const BUFFER: usize = 128;

impl NegotiateResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("NEGOTIATE response", 65, "2.2.4")?;
        let dialect_revision = Dialect(raw.dialect_revision.get());
        let modern = dialect_revision == Dialect::SMB_3_1_1;
        let (count, offset) = (raw.context_count.get(), raw.context_offset.get());
        let contexts = if modern {
            decode_list(pdu, to_usize(offset), count)?
        } else {
            Vec::new()
        };
        Ok(Self {
            security_mode: SecurityMode::from_bits_retain(raw.security_mode.get()),
            dialect_revision,
            server_guid: Guid(raw.server_guid),
            capabilities: Capabilities::from_bits_retain(raw.capabilities.get()),
            max_transact_size: raw.max_transact_size.get(),
            max_read_size: raw.max_read_size.get(),
            max_write_size: raw.max_write_size.get(),
            system_time: raw.system_time.get(),
            server_start_time: raw.server_start_time.get(),
            security_buffer_length: raw.security_buffer_length.get(),
            reserved: if modern { 0 } else { count },
            reserved2: if modern { 0 } else { offset },
            contexts,
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let modern = self.dialect_revision == Dialect::SMB_3_1_1;
        let some = modern && !self.contexts.is_empty();
        let behind = BUFFER.saturating_add(usize::from(self.security_buffer_length));
        let context_offset = if some {
            len32(behind.next_multiple_of(8))
        } else {
            self.reserved2
        };
        out.put(&RawResponse {
            structure_size: 65.into(),
            security_mode: self.security_mode.bits().into(),
            dialect_revision: self.dialect_revision.0.into(),
            context_count: if some {
                len16(self.contexts.len())
            } else {
                self.reserved
            }
            .into(),
            server_guid: self.server_guid.0,
            capabilities: self.capabilities.bits().into(),
            max_transact_size: self.max_transact_size.into(),
            max_read_size: self.max_read_size.into(),
            max_write_size: self.max_write_size.into(),
            system_time: self.system_time.into(),
            server_start_time: self.server_start_time.into(),
            security_buffer_offset: 128.into(),
            security_buffer_length: self.security_buffer_length.into(),
            context_offset: context_offset.into(),
        });
        out.bulk(u32::from(self.security_buffer_length));
        if some {
            out.align8();
            encode_list(&self.contexts, out);
        }
    }
}
