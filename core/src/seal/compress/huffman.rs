//! LZ77+Huffman. [MS-XCA] 2.2.4.

use super::{Input, copy};

/// Expands a whole stream: blocks of 64 KiB, each with its own table of code lengths.
pub(super) fn expand(from: &[u8], start: usize, end: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input { from, at: 0 };
    while out.len() < end {
        let lengths = from.get(input.at..input.at.checked_add(TABLE)?)?;
        input.at = input.at.checked_add(TABLE)?;
        let codes = Codes::new(lengths)?;
        let stop = out.len().saturating_add(BLOCK).min(end);
        block(&codes, &mut input, start, (stop, end), out)?;
    }
    Some(())
}

fn block(
    codes: &Codes,
    input: &mut Input<'_>,
    start: usize,
    (stop, end): (usize, usize),
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut bits = Bits::new(input);
    // A match may run over the end of its block, never over the end of the whole.
    while out.len() < stop {
        let symbol = codes.symbol(&mut bits)?;
        let Some(matched) = symbol.checked_sub(256) else {
            out.push(u8::try_from(symbol).ok()?);
            continue;
        };
        let mut len = usize::from(matched % 16);
        if len == 15 {
            len = bits.input.long(15)?.checked_add(15)?;
        }
        let width = u32::from(matched / 16);
        let distance = usize::try_from(bits.peek(width) + (1 << width)).ok()?;
        bits.skip(width);
        copy(out, start, end, distance, len.checked_add(3)?)?;
    }
    Some(())
}

/// Canonical codes: for each length the first code and where its symbols begin.
struct Codes {
    /// Symbols by length, then by value.
    symbols: Vec<u16>,
    /// For lengths 1 to 15: how many codes, and the number of symbols with shorter ones.
    counts: [u32; 16],
}

impl Codes {
    fn new(table: &[u8]) -> Option<Self> {
        let length = |symbol: u16| {
            let pair = table.get(usize::from(symbol / 2)).copied().unwrap_or(0);
            if symbol.is_multiple_of(2) {
                pair & 15
            } else {
                pair >> 4
            }
        };
        let mut counts = [0_u32; 16];
        let mut symbols = Vec::with_capacity(SYMBOLS.into());
        for wanted in 1..16_u8 {
            symbols.extend((0..SYMBOLS).filter(|symbol| length(*symbol) == wanted));
            let before: u32 = counts.iter().sum();
            let count = u32::try_from(symbols.len()).ok()?.checked_sub(before)?;
            *counts.get_mut(usize::from(wanted))? = count;
        }
        // Kraft's inequality: more codes than fit are no code.
        let used: u64 = (1..16)
            .zip(counts.iter().skip(1))
            .map(|(n, c)| u64::from(*c) << (15 - n))
            .sum();
        (used <= 1 << 15).then_some(Self { symbols, counts })
    }

    fn symbol(&self, bits: &mut Bits<'_, '_>) -> Option<u16> {
        let (mut first, mut index) = (0_u32, 0_u32);
        for length in 1..16_u32 {
            let count = *self.counts.get(usize::try_from(length).ok()?)?;
            let code = bits.peek(length);
            if code.checked_sub(first)? < count {
                bits.skip(length);
                let at = usize::try_from(index + (code - first)).ok()?;
                return self.symbols.get(at).copied();
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }
}

/// The bit stream: 16-bit words, high bits first, read ahead of the bytes between them.
struct Bits<'i, 'f> {
    input: &'i mut Input<'f>,
    next: u32,
    extra: u32,
}

impl<'i, 'f> Bits<'i, 'f> {
    fn new(input: &'i mut Input<'f>) -> Self {
        let high = u32::from(input.u16().unwrap_or(0));
        let low = u32::from(input.u16().unwrap_or(0));
        Self {
            input,
            next: high << 16 | low,
            extra: 16,
        }
    }

    const fn peek(&self, width: u32) -> u32 {
        if width == 0 {
            0
        } else {
            self.next >> (32 - width)
        }
    }

    /// Takes up to 15 bits. Beyond the end of the input there are zeros.
    fn skip(&mut self, width: u32) {
        self.next <<= width;
        if self.extra >= width {
            self.extra -= width;
        } else {
            let short = width - self.extra;
            self.next |= u32::from(self.input.u16().unwrap_or(0)) << short;
            self.extra = 16 - short;
        }
    }
}

const TABLE: usize = 256;
const BLOCK: usize = 65_536;
const SYMBOLS: u16 = 512;
