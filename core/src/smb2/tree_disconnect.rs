//! TREE_DISCONNECT. [MS-SMB2] 2.2.11, 2.2.12.

use serde::{Deserialize, Serialize};

use super::error::WireError;
use super::wire::{Source, Writer};

/// TREE_DISCONNECT request. [MS-SMB2] 2.2.11.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeDisconnectRequest {}

impl TreeDisconnectRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("TREE_DISCONNECT request", 4, "2.2.11")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}

/// TREE_DISCONNECT response. [MS-SMB2] 2.2.12.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TreeDisconnectResponse {}

impl TreeDisconnectResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("TREE_DISCONNECT response", 4, "2.2.12")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
