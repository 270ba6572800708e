//! LOGOFF. [MS-SMB2] 2.2.7, 2.2.8.

use serde::{Deserialize, Serialize};

use super::error::WireError;
use super::wire::{Source, Writer};

/// LOGOFF request. [MS-SMB2] 2.2.7.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogoffRequest {}

impl LogoffRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("LOGOFF request", 4, "2.2.7")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}

/// LOGOFF response. [MS-SMB2] 2.2.8.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogoffResponse {}

impl LogoffResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("LOGOFF response", 4, "2.2.8")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
