//! TREE_CONNECT. [MS-SMB2] 2.2.9, 2.2.10.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::ser::{hex, is_default};
use super::text::Name;
use super::types::{AccessMask, ShareCapabilities, ShareFlags, ShareType, TreeConnectFlags};
use super::wire::{Source, Writer, len16, raw};

/// TREE_CONNECT request. [MS-SMB2] 2.2.9.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeConnectRequest {
    /// Flags; reserved before dialect 3.1.1.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: TreeConnectFlags,
    /// `\\server\share`.
    pub path: Name,
    /// With [`TreeConnectFlags::EXTENSION_PRESENT`]: the bytes between the fixed part and the
    /// path. [MS-SMB2] 2.2.9.1.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub extension: Vec<u8>,
    /// With [`TreeConnectFlags::EXTENSION_PRESENT`]: the bytes behind the path.
    #[serde(with = "hex", skip_serializing_if = "is_default")]
    pub contexts: Vec<u8>,
}

raw! {
    RawRequest { structure_size: U16, flags: U16, path_offset: U16, path_length: U16 }
    RawResponse {
        structure_size: U16,
        share_type: u8,
        reserved: u8,
        share_flags: U32,
        capabilities: U32,
        maximal_access: U32,
    }
}

const BUFFER: usize = 72;

impl TreeConnectRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("TREE_CONNECT request", 9, "2.2.9")?;
        let flags = TreeConnectFlags::from_bits_retain(raw.flags.get());
        let (at, len) = (
            usize::from(raw.path_offset.get()),
            usize::from(raw.path_length.get()),
        );
        let path = Name::from_wire(pdu.slice("PathName", at, len)?);
        if !flags.contains(TreeConnectFlags::EXTENSION_PRESENT) {
            return Ok(Self {
                flags,
                path,
                ..Self::default()
            });
        }
        let extension = pdu.slice("TreeConnectExtension", BUFFER, at.saturating_sub(BUFFER))?;
        let contexts = pdu.rest("TreeConnectContexts", at.saturating_add(len))?;
        Ok(Self {
            flags,
            path,
            extension: extension.to_vec(),
            contexts: contexts.to_vec(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 9.into(),
            flags: self.flags.bits().into(),
            path_offset: len16(BUFFER.saturating_add(self.extension.len())).into(),
            path_length: len16(self.path.wire_len()).into(),
        });
        out.bytes(&self.extension);
        self.path.write_to(out.buffer());
        out.bytes(&self.contexts);
    }
}

/// TREE_CONNECT response. [MS-SMB2] 2.2.10.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TreeConnectResponse {
    /// Disk, pipe or printer.
    pub share_type: ShareType,
    /// Properties of the share.
    pub share_flags: ShareFlags,
    /// Abilities of the share.
    pub capabilities: ShareCapabilities,
    /// What this user may do on the share's root.
    pub maximal_access: AccessMask,
}

impl TreeConnectResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawResponse = pdu.body("TREE_CONNECT response", 16, "2.2.10")?;
        Ok(Self {
            share_type: ShareType(raw.share_type),
            share_flags: ShareFlags::from_bits_retain(raw.share_flags.get()),
            capabilities: ShareCapabilities::from_bits_retain(raw.capabilities.get()),
            maximal_access: AccessMask::from_bits_retain(raw.maximal_access.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawResponse {
            structure_size: 16.into(),
            share_type: self.share_type.0,
            reserved: 0,
            share_flags: self.share_flags.bits().into(),
            capabilities: self.capabilities.bits().into(),
            maximal_access: self.maximal_access.bits().into(),
        });
    }
}
