//! Raw offsets of the SMB2 header and total readers over them. [MS-SMB2] 2.2.1.

use std::ops::Range;

use super::SealError;

pub(super) const HEADER_LEN: usize = 64;
pub(super) const TRANSFORM_LEN: usize = 52;

pub(super) const OFF_STATUS: usize = 8;
pub(super) const OFF_COMMAND: usize = 12;
pub(super) const OFF_FLAGS: usize = 16;
pub(super) const OFF_NEXT: usize = 20;
pub(super) const OFF_MESSAGE_ID: usize = 24;
pub(super) const OFF_TREE_ID: usize = 36;
pub(super) const OFF_SESSION_ID: usize = 40;
pub(super) const OFF_SIGNATURE: usize = 48;

/// Flags of a SESSION_SETUP request. [MS-SMB2] 2.2.5.
const OFF_SETUP_FLAGS: usize = 66;
const SESSION_FLAG_BINDING: u8 = 0x1;

pub(super) const FLAG_RESPONSE: u32 = 0x1;
pub(super) const FLAG_ASYNC: u32 = 0x2;
pub(super) const FLAG_RELATED: u32 = 0x4;
pub(super) const FLAG_SIGNED: u32 = 0x8;

pub(super) const NEGOTIATE: u16 = 0;
pub(super) const SESSION_SETUP: u16 = 1;
pub(super) const LOGOFF: u16 = 2;
pub(super) const TREE_CONNECT: u16 = 3;
pub(super) const TREE_DISCONNECT: u16 = 4;
pub(super) const IOCTL: u16 = 11;
pub(super) const CANCEL: u16 = 12;

pub(super) const STATUS_PENDING: u32 = 0x0000_0103;
pub(super) const STATUS_MORE_PROCESSING_REQUIRED: u32 = 0xC000_0016;
pub(super) const STATUS_USER_SESSION_DELETED: u32 = 0xC000_0203;
pub(super) const FSCTL_VALIDATE_NEGOTIATE_INFO: u32 = 0x0014_0204;

/// MessageId of an unsolicited break notification. [MS-SMB2] 2.2.23.
pub(super) const UNSOLICITED: u64 = u64::MAX;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array_at(bytes, at)?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array_at(bytes, at)?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(array_at(bytes, at)?))
}

pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// `len` bytes at `at`, or `None` when they are not all there.
pub(super) fn slice_at(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// Overwrites the bytes at `at`; false when they are not all there.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> bool {
    let Some(end) = at.checked_add(value.len()) else {
        return false;
    };
    match bytes.get_mut(at..end) {
        Some(place) => {
            place.copy_from_slice(value);
            true
        }
        None => false,
    }
}

/// The fields of one header that sealing looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) status: u32,
    pub(super) command: u16,
    pub(super) flags: u32,
    pub(super) message_id: u64,
    pub(super) tree_id: u32,
    pub(super) session_id: u64,
}

impl Header {
    /// Reads the header a PDU starts with.
    pub(super) fn read(pdu: &[u8]) -> Result<Self, SealError> {
        check_smb2(pdu)?;
        let short = SealError::Truncated {
            field: "header",
            need: HEADER_LEN,
            have: pdu.len(),
        };
        let read = || {
            Some(Self {
                status: u32_at(pdu, OFF_STATUS)?,
                command: u16_at(pdu, OFF_COMMAND)?,
                flags: u32_at(pdu, OFF_FLAGS)?,
                message_id: u64_at(pdu, OFF_MESSAGE_ID)?,
                tree_id: u32_at(pdu, OFF_TREE_ID)?,
                session_id: u64_at(pdu, OFF_SESSION_ID)?,
            })
        };
        if pdu.len() < HEADER_LEN {
            Err(short)
        } else {
            read().ok_or(short)
        }
    }

    pub(super) const fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn is_response(&self) -> bool {
        self.is(FLAG_RESPONSE)
    }

    /// Whether `pdu`, which starts with this header, is a request to make this connection a channel
    /// of an existing session: SMB2_SESSION_FLAG_BINDING. [MS-SMB2] 2.2.5.
    pub(super) fn is_binding(&self, pdu: &[u8]) -> bool {
        let flags = pdu.get(OFF_SETUP_FLAGS).copied().unwrap_or(0);
        self.command == SESSION_SETUP && !self.is_response() && flags & SESSION_FLAG_BINDING != 0
    }

    /// An interim response: asynchronous and pending. [MS-SMB2] 3.3.4.2.
    pub(super) const fn is_interim(&self) -> bool {
        self.is_response() && self.is(FLAG_ASYNC) && self.status == STATUS_PENDING
    }
}

/// The session that a plain frame's first PDU asks to make its connection a channel of, if it is such a
/// SESSION_SETUP request. [MS-SMB2] 2.2.5: SMB2_SESSION_FLAG_BINDING.
#[must_use]
pub fn binds(frame: &[u8]) -> Option<u64> {
    let header = Header::read(frame).ok()?;
    header.is_binding(frame).then_some(header.session_id)
}

fn magic(bytes: &[u8]) -> u32 {
    array_at(bytes, 0).map_or(0, u32::from_be_bytes)
}

fn check_smb2(pdu: &[u8]) -> Result<(), SealError> {
    match magic(pdu) {
        0xFE53_4D42 => Ok(()),
        0xFC53_4D42 => Err(SealError::Compressed),
        got => Err(SealError::NotSmb {
            want: "an SMB2 header",
            got,
        }),
    }
}

/// Whether the frame starts with a transform header. [MS-SMB2] 2.2.41.
#[must_use]
pub fn is_encrypted(frame: &[u8]) -> bool {
    magic(frame) == 0xFD53_4D42
}

/// Whether the frame starts with a compression transform header. [MS-SMB2] 2.2.42.
#[must_use]
pub fn is_compressed(frame: &[u8]) -> bool {
    magic(frame) == 0xFC53_4D42
}

/// Whether the frame is an SMB1 one, as in a multi-protocol NEGOTIATE. [MS-SMB2] 3.3.5.3.1.
#[must_use]
pub fn is_smb1(frame: &[u8]) -> bool {
    magic(frame) == 0xFF53_4D42
}

/// The PDUs of a plain compound, as byte ranges of it. See [`pdus`].
#[derive(Clone, Debug)]
pub struct Pdus<'a> {
    frame: &'a [u8],
    at: usize,
    done: bool,
}

/// Splits a plain compound along `NextCommand`. [MS-SMB2] 3.2.4.1.4.
///
/// Each range covers a header, its body and the padding before the next header, which is exactly
/// what a signature covers. The iterator ends after the first error.
#[must_use]
pub fn pdus(frame: &[u8]) -> Pdus<'_> {
    Pdus {
        frame,
        at: 0,
        done: false,
    }
}

impl Pdus<'_> {
    fn step(&mut self) -> Result<Range<usize>, SealError> {
        let rest = self.frame.get(self.at..).unwrap_or_default();
        check_smb2(rest)?;
        let short = SealError::Truncated {
            field: "header",
            need: HEADER_LEN,
            have: rest.len(),
        };
        let next = u32_at(rest, OFF_NEXT).ok_or(short)?;
        if rest.len() < HEADER_LEN {
            return Err(short);
        }
        let start = self.at;
        let len = match usize::try_from(next) {
            Ok(0) => {
                self.done = true;
                rest.len()
            }
            Ok(len) if len >= HEADER_LEN && len < rest.len() => len,
            _ => {
                return Err(SealError::BadCompound {
                    offset: start,
                    next,
                    len: self.frame.len(),
                });
            }
        };
        self.at = start.saturating_add(len);
        Ok(start..self.at)
    }
}

impl Iterator for Pdus<'_> {
    type Item = Result<Range<usize>, SealError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step();
        self.done |= item.is_err();
        Some(item)
    }
}
