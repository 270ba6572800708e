//! The ERROR response, which stands in for any other when the status is not success.
//! [MS-SMB2] 2.2.2.

use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::wire::{BODY, Source, Writer, len32, raw, to_usize};

/// ERROR response. [MS-SMB2] 2.2.2.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ErrorResponse {
    /// Number of error contexts in `data`; 0 before dialect 3.1.1.
    pub error_context_count: u8,
    /// Error data or error contexts, raw: a symlink target, a share redirect, a needed length.
    pub data: Vec<u8>,
}

raw! {
    RawError { structure_size: U16, error_context_count: u8, reserved: u8, byte_count: U32 }
}

impl ErrorResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawError = pdu.body("ERROR response", 9, "2.2.2")?;
        let at = BODY.saturating_add(size_of::<RawError>());
        Ok(Self {
            error_context_count: raw.error_context_count,
            data: pdu
                .slice("ErrorData", at, to_usize(raw.byte_count.get()))?
                .to_vec(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawError {
            structure_size: 9.into(),
            error_context_count: self.error_context_count,
            reserved: 0,
            byte_count: len32(self.data.len()).into(),
        });
        // [MS-SMB2] 2.2.2: one byte follows even when ByteCount is zero.
        out.bytes(if self.data.is_empty() {
            &[0]
        } else {
            &self.data
        });
    }
}
