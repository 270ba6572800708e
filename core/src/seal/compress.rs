//! Takes compression off frames. [MS-SMB2] 2.2.42, 3.1.4.4; algorithms of [MS-XCA] and LZ4 blocks.
//!
//! Only decompression: captures of compressed traffic have to be read, and nothing here compresses.
//! Output grows with what the input really gives and never beyond what the caller allows: a frame
//! of a few bytes cannot make it take a lot of memory. Which algorithms are crates' and which are
//! ours, and why: ARCHITECTURE.md, *Decisions*.

mod huffman;

use super::SealError;
use super::wire::{array_at, is_compressed, slice_at, u16_at, u32_at};

/// The plain message or compound in a compressed frame, at most `limit` bytes of it.
///
/// # Errors
///
/// [`SealError::NotSmb`] when there is no compression transform header, [`SealError::TooLong`]
/// when it announces more than `limit` bytes, [`SealError::BadCompression`] when what follows is
/// not what it announces.
pub fn decompress(frame: &[u8], limit: usize) -> Result<Vec<u8>, SealError> {
    if !is_compressed(frame) {
        let got = array_at(frame, 0).map_or(0, u32::from_be_bytes);
        return Err(SealError::NotSmb {
            want: "a compression transform header",
            got,
        });
    }
    let field = "compression transform header";
    let short = SealError::Truncated {
        field,
        need: 16,
        have: frame.len(),
    };
    let size = to_usize(u32_at(frame, 4).ok_or(short)?);
    let algorithm = u16_at(frame, 8).ok_or(short)?;
    let chained = u16_at(frame, 10).ok_or(short)? & FLAG_CHAINED != 0;
    let offset = to_usize(u32_at(frame, 12).ok_or(short)?);
    let bad = SealError::BadCompression { algorithm };
    let mut out = Vec::new();
    if chained {
        check(size, limit)?;
        chain(frame.get(8..).unwrap_or_default(), size, &mut out)?;
    } else {
        let rest = frame.get(16..).unwrap_or_default();
        let (plain, packed) = rest.split_at_checked(offset).ok_or(bad)?;
        let whole = size.checked_add(offset).ok_or(bad)?;
        check(whole, limit)?;
        out.extend_from_slice(plain);
        expand(algorithm, packed, whole, &mut out)
            .filter(|()| out.len() == whole)
            .ok_or(bad)?;
    }
    Ok(out)
}

fn check(size: usize, limit: usize) -> Result<(), SealError> {
    if size > limit {
        Err(SealError::TooLong { got: size })
    } else {
        Ok(())
    }
}

/// The payloads of a chained frame. [MS-SMB2] 2.2.42.2.
fn chain(mut rest: &[u8], size: usize, out: &mut Vec<u8>) -> Result<(), SealError> {
    while !rest.is_empty() {
        let algorithm = u16_at(rest, 0).unwrap_or(u16::MAX);
        let bad = SealError::BadCompression { algorithm };
        let len = to_usize(u32_at(rest, 4).ok_or(bad)?);
        let mut payload = slice_at(rest, 8, len).ok_or(bad)?;
        rest = rest.get(8_usize.saturating_add(len)..).unwrap_or_default();
        let end = if matches!(algorithm, LZNT1 | LZ77 | LZ77_HUFFMAN | LZ4) {
            let original = to_usize(u32_at(payload, 0).ok_or(bad)?);
            payload = payload.get(4..).ok_or(bad)?;
            out.len()
                .checked_add(original)
                .filter(|end| *end <= size)
                .ok_or(bad)?
        } else {
            size
        };
        expand(algorithm, payload, end, out).ok_or(bad)?;
        if matches!(algorithm, LZNT1 | LZ77 | LZ77_HUFFMAN | LZ4) && out.len() != end {
            return Err(bad);
        }
    }
    let bad = SealError::BadCompression { algorithm: NONE };
    if out.len() == size { Ok(()) } else { Err(bad) }
}

/// Expands one payload until `out` has `end` bytes, or the payload ends; never beyond `end`.
fn expand(algorithm: u16, from: &[u8], end: usize, out: &mut Vec<u8>) -> Option<()> {
    // A match may look back into what this payload gave, not into what came before it.
    let start = out.len();
    match algorithm {
        NONE => room(out, end, from.len()).map(|()| out.extend_from_slice(from)),
        LZNT1 => lznt1(from, end, out),
        LZ77 => lz77(from, start, end, out),
        LZ77_HUFFMAN => huffman::expand(from, start, end, out),
        PATTERN_V1 => {
            let count = to_usize(u32_at(from, 4)?);
            room(out, end, count)?;
            out.resize(out.len().checked_add(count)?, *from.first()?);
            Some(())
        }
        LZ4 => lz4(from, end, out),
        _ => None,
    }
}

fn room(out: &[u8], end: usize, more: usize) -> Option<()> {
    (out.len().checked_add(more)? <= end).then_some(())
}

/// Appends `len` bytes from `distance` bytes back, which may overlap what is being appended.
fn copy(out: &mut Vec<u8>, start: usize, end: usize, distance: usize, len: usize) -> Option<()> {
    room(out, end, len)?;
    let mut from = out
        .len()
        .checked_sub(distance)
        .filter(|from| *from >= start)?;
    if distance == 0 {
        return None;
    }
    let mut left = len;
    while left > 0 {
        let part = left.min(distance);
        out.extend_from_within(from..from.checked_add(part)?);
        from = from.checked_add(part)?;
        left = left.saturating_sub(part);
    }
    Some(())
}

/// [MS-XCA] 2.5.
fn lznt1(from: &[u8], end: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0_usize;
    while out.len() < end {
        let Some(header) = u16_at(from, at).filter(|header| *header != 0) else {
            break;
        };
        let len = usize::from(header & 0xfff).saturating_add(1);
        let chunk = slice_at(from, at.checked_add(2)?, len)?;
        at = at.checked_add(2)?.checked_add(len)?;
        if header & 0x8000 == 0 {
            room(out, end, len)?;
            out.extend_from_slice(chunk);
        } else {
            lznt1_chunk(chunk, end, out)?;
        }
    }
    Some(())
}

fn lznt1_chunk(chunk: &[u8], end: usize, out: &mut Vec<u8>) -> Option<()> {
    let (start, mut at) = (out.len(), 0_usize);
    while at < chunk.len() {
        let flags = *chunk.get(at)?;
        at = at.saturating_add(1);
        for bit in 0..8 {
            if at >= chunk.len() {
                break;
            }
            if flags >> bit & 1 == 0 {
                room(out, end, 1)?;
                out.push(*chunk.get(at)?);
                at = at.saturating_add(1);
                continue;
            }
            let token = u16_at(chunk, at)?;
            at = at.saturating_add(2);
            // The further into the chunk, the more of the 16 bits say how far back.
            let (mut mask, mut shift) = (0x0fff_u16, 12);
            let mut position = out.len().checked_sub(start)?.checked_sub(1)?;
            while position >= 0x10 && shift > 4 {
                (mask, shift, position) = (mask >> 1, shift - 1, position >> 1);
            }
            let len = usize::from(token & mask).saturating_add(3);
            copy(
                out,
                start,
                end,
                usize::from(token >> shift).saturating_add(1),
                len,
            )?;
        }
    }
    Some(())
}

/// [MS-XCA] 2.4.4.
fn lz77(from: &[u8], start: usize, end: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input { from, at: 0 };
    let (mut flags, mut count, mut nibble) = (0_u32, 0_u32, None);
    while out.len() < end {
        if count == 0 {
            let Some(next) = input.u32() else { break };
            (flags, count) = (next, 32);
        }
        count -= 1;
        if flags >> count & 1 == 0 {
            let Some(byte) = input.byte() else { break };
            out.push(byte);
            continue;
        }
        let Some(token) = input.u16() else { break };
        let mut len = usize::from(token & 7);
        if len == 7 {
            let half = match nibble.take() {
                Some(high) => usize::from(high),
                None => {
                    let both = input.byte()?;
                    nibble = Some(both >> 4);
                    usize::from(both & 15)
                }
            };
            len = if half == 15 {
                input.long(22)?.checked_add(15)?
            } else {
                half
            };
            len = len.checked_add(7)?;
        }
        let distance = usize::from(token >> 3).saturating_add(1);
        copy(out, start, end, distance, len.checked_add(3)?)?;
    }
    Some(())
}

/// One LZ4 block, which has to give just what is left.
fn lz4(from: &[u8], end: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    // No block expands further: what announces more is refused before there is room for it.
    let most = from.len().checked_mul(LZ4_RATIO)?;
    (end.checked_sub(start)? <= most).then_some(())?;
    out.resize(end, 0);
    let whole = lz4_flex::block::decompress_into(from, out.get_mut(start..)?);
    let whole = whole.is_ok_and(|len| start.checked_add(len) == Some(end));
    if !whole {
        out.truncate(start);
    }
    whole.then_some(())
}

/// Bytes being read.
struct Input<'a> {
    from: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.from.get(self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let value = u16_at(self.from, self.at)?;
        self.at = self.at.saturating_add(2);
        Some(value)
    }

    fn u32(&mut self) -> Option<u32> {
        let value = u32_at(self.from, self.at)?;
        self.at = self.at.saturating_add(4);
        Some(value)
    }

    /// The rest of a long match length: one byte, or 255 and two, or 255, 0, 0 and four, which
    /// then say the whole length, of which `said` is already counted.
    fn long(&mut self, said: usize) -> Option<usize> {
        match self.byte()? {
            255 => {
                let whole = match self.u16()? {
                    0 => to_usize(self.u32()?),
                    short => usize::from(short),
                };
                whole.checked_sub(said)
            }
            byte => Some(usize::from(byte)),
        }
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const FLAG_CHAINED: u16 = 1;
const NONE: u16 = 0;
const LZNT1: u16 = 1;
const LZ77: u16 = 2;
const LZ77_HUFFMAN: u16 = 3;
const PATTERN_V1: u16 = 4;
const LZ4: u16 = 5;
/// A byte of an LZ4 block gives 255 bytes at most.
const LZ4_RATIO: usize = 255;

#[cfg(test)]
mod tests;
