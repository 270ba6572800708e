//! Contents of a stream: sparse, in chunks, so that a hole costs nothing.

use std::collections::BTreeMap;

/// Bytes of one chunk.
const CHUNK: u64 = 64 * 1024;

/// Bytes of one stream. Reading a hole gives zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    size: u64,
    stored: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl Data {
    /// Bytes up to the end of file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory held.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Reads up to `len` bytes at `offset`; fewer at the end of file.
    pub(super) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let end = offset.saturating_add(len).min(self.size);
        let mut out = Vec::with_capacity(to_usize(end.saturating_sub(offset)));
        let mut at = offset;
        while at < end {
            let (index, within) = (at / CHUNK, to_usize(at % CHUNK));
            let take = to_usize((CHUNK - at % CHUNK).min(end - at));
            let before = out.len();
            if let Some(chunk) = self.chunks.get(&index) {
                let have = chunk.get(within..).unwrap_or_default();
                out.extend_from_slice(have.get(..take).unwrap_or(have));
            }
            out.resize(before.saturating_add(take), 0);
            at = at.saturating_add(len64(take));
        }
        out
    }

    /// Writes `bytes` at `offset`, and moves the end of file behind them if need be.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (index, within) = (at / CHUNK, to_usize(at % CHUNK));
            let take = to_usize(CHUNK - at % CHUNK).min(rest.len());
            let (now, later) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            let chunk = self.chunks.entry(index).or_default();
            let end = within.saturating_add(take);
            if chunk.len() < end {
                self.stored = self
                    .stored
                    .saturating_add(len64(end.saturating_sub(chunk.len())));
                chunk.resize(end, 0);
            }
            if let Some(room) = chunk.get_mut(within..end) {
                room.copy_from_slice(now);
            }
            rest = later;
            at = at.saturating_add(len64(take));
        }
        self.size = self.size.max(at);
    }

    /// Makes the range read as zeros, and frees what it held; the end of file stays.
    pub(super) fn zero(&mut self, start: u64, end: u64) {
        let end = end.min(self.size);
        let touched: Vec<u64> = self
            .chunks
            .range(start / CHUNK..)
            .map(|(index, _)| *index)
            .take_while(|index| index.saturating_mul(CHUNK) < end)
            .collect();
        for index in touched {
            let base = index.saturating_mul(CHUNK);
            let from = to_usize(start.saturating_sub(base));
            let to = to_usize(end.saturating_sub(base).min(CHUNK));
            if from == 0 && to_usize(CHUNK) == to {
                let gone = self
                    .chunks
                    .remove(&index)
                    .map_or(0, |chunk| len64(chunk.len()));
                self.stored = self.stored.saturating_sub(gone);
            } else if let Some(chunk) = self.chunks.get_mut(&index) {
                let to = to.min(chunk.len());
                if let Some(room) = chunk.get_mut(from..to) {
                    room.fill(0);
                }
            }
        }
    }

    /// Sets the end of file; what lies behind is forgotten.
    pub(super) fn set_size(&mut self, size: u64) {
        if size < self.size {
            let keep = size.div_ceil(CHUNK);
            self.chunks.split_off(&keep);
            if let Some(chunk) = self.chunks.get_mut(&(size / CHUNK)) {
                chunk.truncate(to_usize(size % CHUNK));
            }
            self.stored = self.chunks.values().map(|chunk| len64(chunk.len())).sum();
        }
        self.size = size;
    }

    /// Ranges that hold data, as (offset, length), between `start` and `end`.
    pub(super) fn allocated(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let end = end.min(self.size);
        let mut out: Vec<(u64, u64)> = Vec::new();
        for (index, chunk) in self.chunks.range(start / CHUNK..) {
            let base = index.saturating_mul(CHUNK);
            // Whole chunks count as allocated, as whole clusters do on a disk.
            let (from, to) = (base.max(start), base.saturating_add(CHUNK).min(end));
            if base >= end || from >= to || chunk.is_empty() {
                continue;
            }
            match out.last_mut() {
                Some((at, len)) if at.saturating_add(*len) == from => *len = to.saturating_sub(*at),
                _ => out.push((from, to.saturating_sub(from))),
            }
        }
        out
    }
}

/// A length in memory as a 64-bit number.
pub(super) fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A length in memory as a 32-bit number; what is sent always fits.
pub(super) fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A 64-bit number as a length in memory.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A 32-bit number as a length in memory.
pub(super) fn len_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_data_reads_as_written() {
        let mut data = Data::default();
        data.write(200_000, b"abc");
        assert_eq!(data.size(), 200_003);
        assert_eq!(data.read(199_999, 10), b"\0abc");
        assert_eq!(data.allocated(0, u64::MAX), [(196_608, 3_395)]);
        data.zero(200_001, 200_002);
        assert_eq!(data.read(200_000, 3), b"a\0c");
        data.set_size(200_001);
        data.set_size(300_000);
        assert_eq!(data.read(200_000, 3), b"a\0\0");
        data.write(65_530, &[7; 20]);
        assert_eq!(data.read(65_530, 20), [7; 20]);
        data.zero(0, 300_000);
        assert_eq!(data.read(65_530, 20), [0; 20]);
    }
}
