//! SESSION_SETUP. [MS-SMB2] 2.2.5, 2.2.6.
//!
//! The security buffers are secrets: they are the bulk of the PDU and never part of the structs.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::SessionId;
use super::ser::is_default;
use super::types::{Capabilities, SecurityMode, SessionFlags, SessionSetupFlags};
use super::wire::{Source, Writer, raw};

/// SESSION_SETUP request. [MS-SMB2] 2.2.5.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSetupRequest {
    /// Binding of a channel.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: SessionSetupFlags,
    /// Signing enabled or required; only the low 8 bits travel.
    pub security_mode: SecurityMode,
    /// Abilities of the client.
    pub capabilities: Capabilities,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub channel: u32,
    /// Length of the security buffer, the bulk.
    pub security_buffer_length: u16,
    /// The session this one replaces.
    #[serde(skip_serializing_if = "is_default")]
    pub previous_session_id: SessionId,
}

raw! {
    RawRequest {
        structure_size: U16,
        flags: u8,
        security_mode: u8,
        capabilities: U32,
        channel: U32,
        security_buffer_offset: U16,
        security_buffer_length: U16,
        previous_session_id: U64,
    }
    RawResponse {
        structure_size: U16,
        session_flags: U16,
        security_buffer_offset: U16,
        security_buffer_length: U16,
    }
}

impl SessionSetupRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("SESSION_SETUP request", 25, "2.2.5")?;
        Ok(Self {
            flags: SessionSetupFlags::from_bits_retain(raw.flags),
            security_mode: SecurityMode::from_bits_retain(u16::from(raw.security_mode)),
            capabilities: Capabilities::from_bits_retain(raw.capabilities.get()),
            channel: raw.channel.get(),
            security_buffer_length: raw.security_buffer_length.get(),
            previous_session_id: SessionId(raw.previous_session_id.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 25.into(),
            flags: self.flags.bits(),
            security_mode: u8::try_from(self.security_mode.bits() & 0xff).unwrap_or_default(),
            capabilities: self.capabilities.bits().into(),
            channel: self.channel.into(),
            security_buffer_offset: 88.into(),
            security_buffer_length: self.security_buffer_length.into(),
            previous_session_id: self.previous_session_id.0.into(),
        });
        out.bulk(u32::from(self.security_buffer_length));
    }
}

/// SESSION_SETUP response. [MS-SMB2] 2.2.6.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionSetupResponse {
    /// Guest, null or encrypting session.
    pub session_flags: SessionFlags,
    /// Length of the security buffer, the bulk.
    pub security_buffer_length: u16,
}

impl SessionSetupResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("SESSION_SETUP response", 9, "2.2.6")?;
        Ok(Self {
            session_flags: SessionFlags::from_bits_retain(raw.session_flags.get()),
            security_buffer_length: raw.security_buffer_length.get(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 9.into(),
            session_flags: self.session_flags.bits().into(),
            security_buffer_offset: 72.into(),
            security_buffer_length: self.security_buffer_length.into(),
        });
        out.bulk(u32::from(self.security_buffer_length));
    }
}
