//! OPLOCK_BREAK: notifications, acknowledgements and responses, for oplocks and leases.
//! [MS-SMB2] 2.2.23, 2.2.24, 2.2.25.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::header::{FileId, Guid};
use super::ser::is_default;
use super::types::{AccessMask, LeaseBreakFlags, LeaseState, OplockLevel, ShareAccess};
use super::wire::{Source, Writer, raw};

/// Acknowledges the break of an oplock. [MS-SMB2] 2.2.24.1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OplockBreakAck {
    /// The level the client falls back to.
    pub oplock_level: OplockLevel,
    /// The open.
    #[serde(skip_serializing_if = "is_default")]
    pub file_id: FileId,
}

/// An oplock's break: the notification (message id `u64::MAX`) or the response to its
/// acknowledgement. [MS-SMB2] 2.2.23.1, 2.2.25.1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OplockBreak {
    /// The level to fall back to.
    pub oplock_level: OplockLevel,
    /// The open.
    pub file_id: FileId,
}

/// Acknowledges the break of a lease. [MS-SMB2] 2.2.24.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseBreakAck {
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: u32,
    /// The lease.
    pub lease_key: Guid,
    /// The state the client falls back to.
    pub lease_state: LeaseState,
    /// Reserved.
    #[serde(skip_serializing_if = "is_default")]
    pub lease_duration: u64,
}

/// Answers a [`LeaseBreakAck`]. [MS-SMB2] 2.2.25.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseBreakResponse {
    /// Reserved.
    pub flags: u32,
    /// The lease.
    pub lease_key: Guid,
    /// The state that holds now.
    pub lease_state: LeaseState,
    /// Reserved.
    pub lease_duration: u64,
}

/// Tells a client that its lease breaks. [MS-SMB2] 2.2.23.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseBreakNotification {
    /// Epoch of a v2 lease.
    pub new_epoch: u16,
    /// Whether an acknowledgement is required.
    pub flags: LeaseBreakFlags,
    /// The lease.
    pub lease_key: Guid,
    /// The state so far.
    pub current_lease_state: LeaseState,
    /// The state to fall back to.
    pub new_lease_state: LeaseState,
    /// Reserved.
    pub break_reason: u32,
    /// Reserved.
    pub access_mask_hint: AccessMask,
    /// Reserved.
    pub share_mask_hint: ShareAccess,
}

raw! {
    RawOplock {
        structure_size: U16,
        oplock_level: u8,
        reserved: u8,
        reserved2: U32,
        file_id: [u8; 16],
    }
    RawLease {
        structure_size: U16,
        reserved: U16,
        flags: U32,
        lease_key: [u8; 16],
        lease_state: U32,
        lease_duration: U64,
    }
    RawNotification {
        structure_size: U16,
        new_epoch: U16,
        flags: U32,
        lease_key: [u8; 16],
        current_lease_state: U32,
        new_lease_state: U32,
        break_reason: U32,
        access_mask_hint: U32,
        share_mask_hint: U32,
    }
}

macro_rules! oplock {
    ($name:ident, $field:literal, $section:literal) => {
        impl $name {
            pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
                let raw: &RawOplock = pdu.body($field, 24, $section)?;
                Ok(Self {
                    oplock_level: OplockLevel(raw.oplock_level),
                    file_id: FileId::from_bytes(raw.file_id),
                })
            }

            pub(crate) fn encode(&self, out: &mut Writer<'_>) {
                out.put(&RawOplock {
                    structure_size: 24.into(),
                    oplock_level: self.oplock_level.0,
                    reserved: 0,
                    reserved2: 0.into(),
                    file_id: self.file_id.to_bytes(),
                });
            }
        }
    };
}

oplock!(OplockBreakAck, "OPLOCK_BREAK acknowledgement", "2.2.24.1");
oplock!(OplockBreak, "OPLOCK_BREAK notification", "2.2.23.1");

macro_rules! lease {
    ($name:ident, $field:literal, $section:literal) => {
        impl $name {
            pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
                let raw: &RawLease = pdu.body($field, 36, $section)?;
                Ok(Self {
                    flags: raw.flags.get(),
                    lease_key: Guid(raw.lease_key),
                    lease_state: LeaseState::from_bits_retain(raw.lease_state.get()),
                    lease_duration: raw.lease_duration.get(),
                })
            }

            pub(crate) fn encode(&self, out: &mut Writer<'_>) {
                out.put(&RawLease {
                    structure_size: 36.into(),
                    reserved: 0.into(),
                    flags: self.flags.into(),
                    lease_key: self.lease_key.0,
                    lease_state: self.lease_state.bits().into(),
                    lease_duration: self.lease_duration.into(),
                });
            }
        }
    };
}

lease!(LeaseBreakAck, "lease break acknowledgement", "2.2.24.2");
lease!(LeaseBreakResponse, "lease break response", "2.2.25.2");

impl LeaseBreakNotification {
    pub(crate) fn decode(pdu: &Source<'_>) -> Result<Self, WireError> {
        let raw: &RawNotification = pdu.body("lease break notification", 44, "2.2.23.2")?;
        Ok(Self {
            new_epoch: raw.new_epoch.get(),
            flags: LeaseBreakFlags::from_bits_retain(raw.flags.get()),
            lease_key: Guid(raw.lease_key),
            current_lease_state: LeaseState::from_bits_retain(raw.current_lease_state.get()),
            new_lease_state: LeaseState::from_bits_retain(raw.new_lease_state.get()),
            break_reason: raw.break_reason.get(),
            access_mask_hint: AccessMask::from_bits_retain(raw.access_mask_hint.get()),
            share_mask_hint: ShareAccess::from_bits_retain(raw.share_mask_hint.get()),
        })
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        out.put(&RawNotification {
            structure_size: 44.into(),
            new_epoch: self.new_epoch.into(),
            flags: self.flags.bits().into(),
            lease_key: self.lease_key.0,
            current_lease_state: self.current_lease_state.bits().into(),
            new_lease_state: self.new_lease_state.bits().into(),
            break_reason: self.break_reason.into(),
            access_mask_hint: self.access_mask_hint.bits().into(),
            share_mask_hint: self.share_mask_hint.bits().into(),
        });
    }
}
