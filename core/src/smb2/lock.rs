//! LOCK. [MS-SMB2] 2.2.26, 2.2.27.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::FileId;
use super::ser::is_default;
use super::types::LockFlags;
use super::wire::{BODY, Source, Writer, len16, raw};

/// LOCK request. [MS-SMB2] 2.2.26.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockRequest {
    /// LockSequenceNumber (low 4 bits) and LockSequenceIndex; reserved in 2.0.2.
    #[serde(skip_serializing_if = "is_default")]
    pub lock_sequence: u32,
    /// The open that holds the locks.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
    /// Ranges to lock or unlock.
    pub locks: Vec<LockElement>,
}

/// One range of a LOCK request. [MS-SMB2] 2.2.26.1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockElement {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Shared, exclusive, unlock.
    pub flags: LockFlags,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub reserved: u32,
}

raw! {
    RawRequest { structure_size: U16, lock_count: U16, lock_sequence: U32, file_id: [u8; 16] }
    RawElement { offset: U64, length: U64, flags: U32, reserved: U32 }
}

impl LockRequest {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawRequest = pdu.body("LOCK request", 48, "2.2.26")?;
        let size = size_of::<RawElement>();
        let need = usize::from(raw.lock_count.get()).saturating_mul(size);
        let locks = pdu.slice("Locks", BODY.saturating_add(size), need)?;
        let locks = locks.chunks_exact(size).filter_map(|element| {
            let raw: &RawElement = super::wire::read_at(element, "Locks", 0).ok()?;
            Some(LockElement {
                offset: raw.offset.get(),
                length: raw.length.get(),
                flags: LockFlags::from_bits_retain(raw.flags.get()),
                reserved: raw.reserved.get(),
            })
        });
        Ok(Self {
            lock_sequence: raw.lock_sequence.get(),
            file_id: FileId::from_bytes(raw.file_id),
            locks: locks.collect(),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawRequest {
            structure_size: 48.into(),
            lock_count: len16(self.locks.len()).into(),
            lock_sequence: self.lock_sequence.into(),
            file_id: self.file_id.to_bytes(),
        });
        for lock in &self.locks {
            out.put(&RawElement {
                offset: lock.offset.into(),
                length: lock.length.into(),
                flags: lock.flags.bits().into(),
                reserved: lock.reserved.into(),
            });
        }
    }
}

/// LOCK response. [MS-SMB2] 2.2.27.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LockResponse {}

impl LockResponse {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        pdu.body::<[u8; 4]>("LOCK response", 4, "2.2.27")
            .map(|_| Self {})
    }

    pub(crate) fn encode(self, out: &mut Writer<'_>) {
        out.bytes(&[4, 0, 0, 0]);
    }
}
