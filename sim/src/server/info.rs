//! Writing little-endian structures of [MS-FSCC], and reading them leniently.

use super::data::{len_of, len32};

/// A growing little-endian buffer.
#[derive(Debug, Default)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }
    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub(super) fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len().saturating_add(count), 0);
        self
    }
    /// Zeros up to a multiple of `unit` bytes.
    pub(super) fn align(&mut self, unit: usize) -> &mut Self {
        let to = self.0.len().next_multiple_of(unit);
        self.0.resize(to, 0);
        self
    }
    /// A 32-bit length in bytes, then the UTF-16 string.
    pub(super) fn counted(&mut self, text: &str) -> &mut Self {
        let wide = utf16(text);
        self.u32(len32(wide.len())).bytes(&wide)
    }
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
    /// Overwrites four bytes that are there.
    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(room) = self.0.get_mut(at..at.saturating_add(4)) {
            room.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// UTF-16LE.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Text of UTF-16LE bytes; none when it is not valid.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes(pair.try_into().unwrap_or_default()));
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Two bytes at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// Four bytes at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Eight bytes at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// `len` bytes at `at`.
pub(super) fn slice_at(bytes: &[u8], at: usize, len: u32) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len_of(len))?)
}
