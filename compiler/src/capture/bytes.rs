//! Total reads of fixed-width integers from a slice.

/// Big-endian `u16` at `at`.
#[inline]
pub(super) fn be_u16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

/// Big-endian `u32` at `at`.
#[inline]
pub(super) fn be_u32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}

/// Little-endian `u16` at `at`.
#[inline]
pub(super) fn le_u16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_le_bytes)
}

/// Little-endian `u32` at `at`.
#[inline]
pub(super) fn le_u32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

/// Little-endian `u64` at `at`.
#[inline]
pub(super) fn le_u64(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?
        .first_chunk()
        .copied()
        .map(u64::from_le_bytes)
}
