//! CANCEL. [MS-SMB2] 2.2.30; it has no response.

use serde::{Deserialize, Serialize};

use super::error::WireError;
use super::wire::{Source, Writer};

/// CANCEL request. [MS-SMB2] 2.2.30.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {}

impl CancelRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("CANCEL request", 4, "2.2.30")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
