//! Reading and writing little-endian wire structures at known offsets.
//!
//! A [`Source`] is one PDU, whole or with its bulk cut out; a [`Writer`] is its mirror. Both count
//! *logical* offsets, those of the whole PDU, so that one decoder and one encoder serve both forms.

use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::WireError;

/// A fixed wire structure that can be read in place.
pub(crate) trait Wire: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {}
impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned> Wire for T {}

/// Declares fixed wire structures: packed, little-endian, read in place.
macro_rules! raw {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
            zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $ty),* }
    )*};
}
pub(crate) use raw;

/// One PDU as the decoders see it.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    /// Where the bulk lies, in logical offsets; empty when there is none.
    bulk: Range<usize>,
    detached: bool,
}

impl<'a> Source<'a> {
    /// A whole PDU. `bulk` must lie inside `bytes`.
    pub(crate) fn attached(bytes: &'a [u8], bulk: Range<usize>) -> Self {
        Self {
            bytes,
            bulk,
            detached: false,
        }
    }

    /// A PDU whose `bulk` has been cut out. `bulk.start` must not lie behind `bytes`.
    pub(crate) fn detached(bytes: &'a [u8], bulk: Range<usize>) -> Self {
        Self {
            bytes,
            bulk,
            detached: true,
        }
    }

    /// Length of the whole PDU, bulk included.
    pub(crate) fn len(&self) -> usize {
        if self.detached {
            self.bytes.len().saturating_add(self.bulk.len())
        } else {
            self.bytes.len()
        }
    }

    /// Where the bulk lies in the whole PDU; empty when there is none.
    pub(crate) fn bulk(&self) -> Range<usize> {
        self.bulk.clone()
    }

    /// The bytes before and behind the bulk.
    pub(crate) fn halves(&self) -> (&'a [u8], &'a [u8]) {
        if self.bulk.is_empty() {
            return (self.bytes, &[]);
        }
        let skip = if self.detached {
            self.bulk.start
        } else {
            self.bulk.end
        };
        (
            self.bytes.get(..self.bulk.start).unwrap_or(self.bytes),
            self.bytes.get(skip..).unwrap_or(&[]),
        )
    }

    /// `len` bytes at logical `offset`; they may not touch the bulk.
    pub(crate) fn slice(
        &self,
        field: &'static str,
        offset: usize,
        len: usize,
    ) -> Result<&'a [u8], WireError> {
        let have = self.len().saturating_sub(offset);
        if len > have {
            return Err(WireError::Truncated {
                field,
                offset,
                need: len,
                have,
            });
        }
        let end = offset.saturating_add(len);
        if len > 0 && offset < self.bulk.end && end > self.bulk.start {
            let got = u64::try_from(offset).unwrap_or(u64::MAX);
            return Err(WireError::BadValue {
                field,
                offset,
                got,
                section: "2.2",
            });
        }
        let cut = if self.detached && offset >= self.bulk.end {
            self.bulk.len()
        } else {
            0
        };
        self.bytes
            .get(offset.saturating_sub(cut)..end.saturating_sub(cut))
            .ok_or(WireError::Truncated {
                field,
                offset,
                need: len,
                have,
            })
    }

    /// Every byte from logical `offset` to the end; empty when there is none.
    pub(crate) fn rest(&self, field: &'static str, offset: usize) -> Result<&'a [u8], WireError> {
        self.slice(field, offset, self.len().saturating_sub(offset))
    }

    /// The fixed structure at logical `offset`.
    pub(crate) fn fixed<T: Wire>(
        &self,
        field: &'static str,
        offset: usize,
    ) -> Result<&'a T, WireError> {
        let need = size_of::<T>();
        let bytes = self.slice(field, offset, need)?;
        T::ref_from_bytes(bytes).map_err(|_| WireError::Truncated {
            field,
            offset,
            need,
            have: bytes.len(),
        })
    }

    /// The body's fixed structure, which begins behind the header with its StructureSize.
    pub(crate) fn body<T: Wire>(
        &self,
        field: &'static str,
        structure_size: u16,
        section: &'static str,
    ) -> Result<&'a T, WireError> {
        let got = self.structure_size()?;
        if got != structure_size {
            let got = u64::from(got);
            return Err(WireError::BadValue {
                field,
                offset: BODY,
                got,
                section,
            });
        }
        self.fixed(field, BODY)
    }

    /// The StructureSize of the body.
    pub(crate) fn structure_size(&self) -> Result<u16, WireError> {
        let raw = self.fixed::<[u8; 2]>("StructureSize", BODY)?;
        Ok(u16::from_le_bytes(*raw))
    }
}

/// Where a body begins: right behind the header.
pub(crate) const BODY: usize = 64;

/// Writes one PDU to the end of a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// The bulk to put in place, or none to leave it out and remember its place.
    bulk: Option<&'a [u8]>,
    bulk_at: Option<usize>,
    /// Bytes of bulk left out so far.
    left_out: usize,
}

impl<'a> Writer<'a> {
    /// A PDU of which the last `written` bytes of `out` are there; without `bulk` the bulk is
    /// left out.
    pub(crate) fn resume(out: &'a mut Vec<u8>, written: usize, bulk: Option<&'a [u8]>) -> Self {
        let start = out.len().saturating_sub(written);
        Self {
            out,
            start,
            bulk,
            bulk_at: None,
            left_out: 0,
        }
    }

    /// Logical offset of the next byte.
    pub(crate) fn pos(&self) -> usize {
        self.out
            .len()
            .saturating_sub(self.start)
            .saturating_add(self.left_out)
    }

    /// Where the bulk belongs, once it was written or left out.
    pub(crate) fn bulk_at(&self) -> Option<usize> {
        self.bulk_at
    }

    /// Appends a fixed structure.
    pub(crate) fn put<T: Wire>(&mut self, value: &T) {
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Appends bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends zeros up to the next multiple of 8.
    pub(crate) fn align8(&mut self) {
        let pad = self.pos().next_multiple_of(8).saturating_sub(self.pos());
        self.zeros(pad);
    }

    /// Appends `count` zeros.
    pub(crate) fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len().saturating_add(count), 0);
    }

    /// Puts the bulk of `len` bytes here; nothing is recorded when it is empty.
    pub(crate) fn bulk(&mut self, len: u32) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len == 0 {
            return;
        }
        self.bulk_at = Some(self.pos());
        match self.bulk {
            Some(bytes) => self.out.extend_from_slice(bytes),
            None => self.left_out = self.left_out.saturating_add(len),
        }
    }

    /// Overwrites what was written at logical `offset`, not across the bulk.
    pub(crate) fn set<T: Wire>(&mut self, offset: usize, value: &T) {
        let behind = self.bulk_at.is_some_and(|bulk| offset >= bulk);
        let cut = if behind { self.left_out } else { 0 };
        let at = self.start.saturating_add(offset).saturating_sub(cut);
        if let Some(room) = self.out.get_mut(at..at.saturating_add(size_of::<T>())) {
            room.copy_from_slice(value.as_bytes());
        }
    }

    /// The buffer, with everything written so far.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }
}

/// A length as a 16-bit field; what comes from the wire always fits.
pub(crate) fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// A length as a 32-bit field; what comes from the wire always fits.
pub(crate) fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A 32-bit field as an offset or length in memory.
pub(crate) fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A fixed structure at the start of `bytes`, for structures inside buffers.
pub(crate) fn read_at<'a, T: Wire>(
    bytes: &'a [u8],
    field: &'static str,
    offset: usize,
) -> Result<&'a T, WireError> {
    let need = size_of::<T>();
    let have = bytes.len().saturating_sub(offset);
    bytes
        .get(offset..offset.saturating_add(need))
        .and_then(|room| T::ref_from_bytes(room).ok())
        .ok_or(WireError::Truncated {
            field,
            offset,
            need,
            have,
        })
}

/// `len` bytes at `offset` of `bytes`, for structures inside buffers.
pub(crate) fn slice_at<'a>(
    bytes: &'a [u8],
    field: &'static str,
    offset: usize,
    len: usize,
) -> Result<&'a [u8], WireError> {
    let have = bytes.len().saturating_sub(offset);
    offset
        .checked_add(len)
        .and_then(|end| bytes.get(offset..end))
        .ok_or(WireError::Truncated {
            field,
            offset,
            need: len,
            have,
        })
}
