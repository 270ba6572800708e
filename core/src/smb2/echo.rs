//! ECHO. [MS-SMB2] 2.2.28, 2.2.29.

use serde::{Deserialize, Serialize};

use super::error::WireError;
use super::wire::{Source, Writer};

/// ECHO request. [MS-SMB2] 2.2.28.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EchoRequest {}

impl EchoRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("ECHO request", 4, "2.2.28")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}

/// ECHO response. [MS-SMB2] 2.2.29.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EchoResponse {}

impl EchoResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("ECHO response", 4, "2.2.29")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
