//! Contents of a stream: sparse, in chunks, so that a hole costs nothing; below them, if it was
//! loaded from somewhere, what is still as it was there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use smbench_core::smb2::NtStatus;

use super::ranges::Ranges;

/// Bytes of one chunk.
const CHUNK: u64 = 64 * 1024;
/// Bytes that a chunk takes in tables, about.
const AROUND: u64 = 64;

/// Where the content of a file comes from as long as nobody changes it.
pub trait Source: Debug + Send + Sync {
    /// Fills `into` with the bytes from `offset` on. What is asked for lies within the size that
    /// was told when the file was put into the share.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be had; the client's request then fails with UNEXPECTED_IO_ERROR.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Bytes of one stream. Reading a hole gives zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    size: u64,
    stored: u64,
    /// Memory of the chunks, tables too.
    held: u64,
    /// What was written, and nothing below it counts any more.
    chunks: BTreeMap<u64, Vec<u8>>,
    below: Option<Below>,
}

/// What a stream was loaded from.
#[derive(Clone, Debug)]
struct Below {
    source: Arc<dyn Source>,
    /// Where its bytes still count, unless there is a chunk.
    valid: Ranges,
}

impl Data {
    /// A stream with the content of a source of that size; nothing is read now.
    pub(super) fn from_source(source: Arc<dyn Source>, size: u64) -> Self {
        let mut valid = Ranges::default();
        valid.add(0, size);
        Self {
            size,
            below: Some(Below { source, valid }),
            ..Self::default()
        }
    }

    /// Bytes up to the end of file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that were written.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Bytes of memory beside these.
    pub(super) fn around(&self) -> u64 {
        let below = self.below.as_ref().map_or(0, |below| below.valid.count());
        let below = len64(below).saturating_mul(AROUND);
        self.held.saturating_sub(self.stored).saturating_add(below)
    }

    /// Bytes of memory that a write takes, at most.
    pub(super) fn cost_of_write(&self, offset: u64, length: u64) -> u64 {
        let last = offset.saturating_add(length.saturating_sub(1)) / CHUNK;
        let touched = (last - offset / CHUNK).saturating_add(1);
        let there = self.chunks.range(offset / CHUNK..=last);
        let have = there.map(|(_, chunk)| cost(chunk));
        let most = touched.saturating_mul(CHUNK.saturating_add(AROUND));
        most.saturating_sub(have.sum())
    }

    /// Reads up to `len` bytes at `offset`; fewer at the end of file.
    ///
    /// # Errors
    ///
    /// UNEXPECTED_IO_ERROR when they were loaded from somewhere, and cannot be had there.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, NtStatus> {
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
            if !self.chunks.contains_key(&index) {
                self.read_below(at, out.get_mut(before..).unwrap_or_default())?;
            }
            at = at.saturating_add(len64(take));
        }
        Ok(out)
    }

    /// Fills what of `into` still is as it was loaded.
    fn read_below(&self, offset: u64, into: &mut [u8]) -> Result<(), NtStatus> {
        let Some(below) = &self.below else {
            return Ok(());
        };
        let end = offset.saturating_add(len64(into.len()));
        for (start, end) in below.valid.within(offset, end) {
            let (from, to) = (to_usize(start - offset), to_usize(end - offset));
            if let Some(part) = into.get_mut(from..to) {
                let read = below.source.read_at(start, part);
                read.map_err(|_| UNEXPECTED_IO_ERROR)?;
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`, and moves the end of file behind them if need be.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; chunks before the one that failed are written.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NtStatus> {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (index, within) = (at / CHUNK, to_usize(at % CHUNK));
            let take = to_usize(CHUNK - at % CHUNK).min(rest.len());
            let (now, later) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            let end = within.saturating_add(take);
            self.load(index, take)?;
            self.change_chunk(index, |chunk| {
                if chunk.len() < end {
                    chunk.resize(end, 0);
                }
                if let Some(room) = chunk.get_mut(within..end) {
                    room.copy_from_slice(now);
                }
            });
            rest = later;
            at = at.saturating_add(len64(take));
            self.size = self.size.max(at);
        }
        Ok(())
    }

    /// Makes a chunk of what is below it, unless it is overwritten as a whole.
    fn load(&mut self, index: u64, take: usize) -> Result<(), NtStatus> {
        let start = index.saturating_mul(CHUNK);
        let end = start.saturating_add(CHUNK);
        let below = self.below.as_ref();
        let any = below.is_some_and(|below| below.valid.within(start, end).next().is_some());
        if self.chunks.contains_key(&index) || !any || len64(take) == CHUNK {
            return Ok(());
        }
        let len = self.size.saturating_sub(start).min(CHUNK);
        let loaded = self.read(start, len)?;
        self.change_chunk(index, |chunk| *chunk = loaded);
        Ok(())
    }

    fn change_chunk(&mut self, index: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let old = self.chunks.get(&index);
        let (stored, held) = old.map_or((0, 0), |chunk| (len64(chunk.len()), cost(chunk)));
        let chunk = self.chunks.entry(index).or_default();
        change(chunk);
        self.stored = (self.stored.saturating_sub(stored)).saturating_add(len64(chunk.len()));
        self.held = (self.held.saturating_sub(held)).saturating_add(cost(chunk));
    }

    fn remove_chunk(&mut self, index: u64) {
        if let Some(chunk) = self.chunks.remove(&index) {
            self.stored = self.stored.saturating_sub(len64(chunk.len()));
            self.held = self.held.saturating_sub(cost(&chunk));
        }
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
                self.remove_chunk(index);
            } else if let Some(chunk) = self.chunks.get_mut(&index) {
                let to = to.min(chunk.len());
                if let Some(room) = chunk.get_mut(from..to) {
                    room.fill(0);
                }
            }
        }
        if let Some(below) = &mut self.below {
            below.valid.remove(start, end);
        }
    }

    /// Sets the end of file; what lies behind is forgotten.
    pub(super) fn set_size(&mut self, size: u64) {
        if size < self.size {
            let keep = size.div_ceil(CHUNK);
            while let Some(last) = self.chunks.last_key_value().map(|(index, _)| *index) {
                if last < keep {
                    break;
                }
                self.remove_chunk(last);
            }
            let last = size / CHUNK;
            if self.chunks.contains_key(&last) {
                let len = to_usize(size % CHUNK);
                self.change_chunk(last, |chunk| {
                    chunk.truncate(len);
                    chunk.shrink_to_fit();
                });
            }
            if let Some(below) = &mut self.below {
                below.valid.remove(size, u64::MAX);
            }
        }
        self.size = size;
    }

    /// Ranges that hold data, as (offset, length), between `start` and `end`.
    pub(super) fn allocated(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let end = end.min(self.size);
        let mut found = Ranges::default();
        // Whole chunks count as allocated, as whole clusters do on a disk.
        let mut allocate = |from: u64, to: u64| {
            let from = (from / CHUNK).saturating_mul(CHUNK).max(start);
            let to = to.div_ceil(CHUNK).saturating_mul(CHUNK).min(end);
            found.add(from, to);
        };
        for (index, chunk) in self.chunks.range(start / CHUNK..) {
            let base = index.saturating_mul(CHUNK);
            if base >= end {
                break;
            }
            if !chunk.is_empty() {
                allocate(base, base.saturating_add(1));
            }
        }
        if let Some(below) = &self.below {
            for (from, to) in below.valid.within(start, end) {
                allocate(from, to);
            }
        }
        let ranges = found.within(start, end);
        ranges.map(|(from, to)| (from, to - from)).collect()
    }
}

fn cost(chunk: &Vec<u8>) -> u64 {
    len64(chunk.capacity()).saturating_add(AROUND)
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

const UNEXPECTED_IO_ERROR: NtStatus = NtStatus(0xc000_00e9);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_data_reads_as_written() {
        let mut data = Data::default();
        data.write(200_000, b"abc").unwrap();
        assert_eq!(data.size(), 200_003);
        assert_eq!(data.read(199_999, 10).unwrap(), b"\0abc");
        assert_eq!(data.allocated(0, u64::MAX), [(196_608, 3_395)]);
        data.zero(200_001, 200_002);
        assert_eq!(data.read(200_000, 3).unwrap(), b"a\0c");
        data.set_size(200_001);
        data.set_size(300_000);
        assert_eq!(data.read(200_000, 3).unwrap(), b"a\0\0");
        data.write(65_530, &[7; 20]).unwrap();
        assert_eq!(data.read(65_530, 20).unwrap(), [7; 20]);
        data.zero(0, 300_000);
        assert_eq!(data.read(65_530, 20).unwrap(), [0; 20]);
    }

    /// A file of bytes that follow from their place.
    #[derive(Debug)]
    struct Pattern;

    fn byte(at: u64) -> u8 {
        at.to_le_bytes()[0] ^ at.to_le_bytes()[2] | 1
    }

    impl Source for Pattern {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            assert!(offset + len64(into.len()) <= 500_000, "beyond the file");
            let places = offset..;
            into.iter_mut()
                .zip(places)
                .for_each(|(to, at)| *to = byte(at));
            Ok(())
        }
    }

    /// What is loaded late reads as if it had been loaded at once, whatever is done to it.
    #[test]
    fn what_lies_below_shows_until_it_is_changed() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..200 {
            let mut data = Data::from_source(Arc::new(Pattern), 500_000);
            let mut plain: Vec<u8> = (0..500_000).map(byte).collect();
            for _ in 0..8 {
                let (at, len) = (below(600_000), below(150_000));
                let end = to_usize(at + len);
                match below(3) {
                    0 => {
                        data.write(at, &vec![0x80; to_usize(len)]).unwrap();
                        if len > 0 {
                            plain.resize(plain.len().max(end), 0);
                            plain[to_usize(at)..end].fill(0x80);
                        }
                    }
                    1 => {
                        data.zero(at, at + len);
                        let end = end.min(plain.len());
                        let start = to_usize(at).min(end);
                        plain[start..end].fill(0);
                    }
                    _ => {
                        data.set_size(at);
                        plain.resize(to_usize(at), 0);
                    }
                }
                assert_eq!(data.size(), len64(plain.len()));
            }
            assert!(data.read(0, u64::MAX).unwrap() == plain);
            let held: u64 = data.chunks.values().map(cost).sum();
            let stored: usize = data.chunks.values().map(Vec::len).sum();
            assert_eq!((data.held, data.stored), (held, len64(stored)));
        }
    }

    #[test]
    fn a_write_costs_what_it_stores_and_no_more_than_was_told() {
        let mut data = Data::default();
        for offset in [1 << 39, 0, 70_000, 65_535, 1] {
            let told = data.cost_of_write(offset, 10);
            let before = data.held;
            data.write(offset, &[1; 10]).unwrap();
            assert!(data.held - before <= told, "{offset}");
        }
        assert!(data.held < 5 * (CHUNK + AROUND));
        assert_eq!(Data::from_source(Arc::new(Pattern), 1 << 40).stored(), 0);
    }
}
