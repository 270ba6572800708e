//! Blocks of a pcapng file: sections, interfaces and the three kinds of packet block.
//!
//! The framing of blocks and the packet blocks are read here, because they are on the hot path and
//! need no options; section and interface headers with their options are `pcap-parser`'s.

use pcap_parser::pcapng::{
    InterfaceDescriptionBlock, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le,
};

use super::bytes::{le_u16, le_u32};
use super::container::{Packet, Record};
use super::stats::{CaptureStats, problem};

/// The section being read: its byte order and its interfaces.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    last_time_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    snaplen: u32,
    resolution: Resolution,
    offset_seconds: i64,
}

impl Section {
    /// Reads the block at the front of `have`.
    pub(super) fn record(
        &mut self,
        have: &[u8],
        packet: &mut Packet,
        stats: &mut CaptureStats,
    ) -> Record {
        let Some(kind) = le_u32(have, 0) else {
            return Record::Need(BLOCK_MIN);
        };
        if kind == SECTION {
            // The byte order of a section is known from inside its first block only.
            match le_u32(have, 8) {
                None => return Record::Need(BLOCK_MIN),
                Some(ORDER) => self.big_endian = false,
                Some(order) if order.swap_bytes() == ORDER => self.big_endian = true,
                Some(_) => return Record::Bad,
            }
        }
        let (Some(kind), Some(len)) = (self.u32(have, 0), self.u32(have, 4)) else {
            return Record::Need(BLOCK_MIN);
        };
        let len = len as usize;
        if len < BLOCK_MIN || !len.is_multiple_of(4) {
            return Record::Bad;
        }
        let known = matches!(kind, SECTION | INTERFACE | ENHANCED | SIMPLE | OBSOLETE);
        if !known {
            stats.other_blocks += 1;
            return Record::Skip(len);
        }
        let Some(block) = have.get(..len) else {
            return Record::Need(len);
        };
        if self.u32(block, len - 4) != Some(u32::try_from(len).unwrap_or_default()) {
            return Record::Bad;
        }
        let set = match kind {
            ENHANCED => self.enhanced(block, packet),
            OBSOLETE => self.obsolete(block, packet),
            SIMPLE => self.simple(block, packet),
            SECTION => {
                self.interfaces.clear();
                return Record::Skip(len);
            }
            _ => {
                self.interface(block, stats);
                return Record::Skip(len);
            }
        };
        if set.is_some() {
            self.last_time_ns = packet.time_ns;
            return Record::Packet(len);
        }
        stats.problem(problem::BAD_BLOCK);
        Record::Skip(len)
    }

    fn interface(&mut self, block: &[u8], stats: &mut CaptureStats) {
        let parsed = if self.big_endian {
            parse_interfacedescriptionblock_be(block)
        } else {
            parse_interfacedescriptionblock_le(block)
        };
        let interface = match parsed {
            Ok((_, block)) => Interface::from_block(&block),
            Err(_) => None,
        };
        if interface.is_none() {
            stats.problem(problem::BAD_BLOCK);
        }
        // A broken one keeps its place: packets name interfaces by number.
        self.interfaces
            .push(interface.unwrap_or(Interface::UNKNOWN));
    }

    fn enhanced(&self, block: &[u8], packet: &mut Packet) -> Option<()> {
        let interface = self.interfaces.get(self.u32(block, 8)? as usize)?;
        let time_ns = interface.time_ns(self.u32(block, 12)?, self.u32(block, 16)?);
        self.packet(block, *interface, time_ns, packet)
    }

    fn obsolete(&self, block: &[u8], packet: &mut Packet) -> Option<()> {
        let id = le_u16(block, 8)?;
        let id = if self.big_endian { id.swap_bytes() } else { id };
        let interface = self.interfaces.get(usize::from(id))?;
        let time_ns = interface.time_ns(self.u32(block, 12)?, self.u32(block, 16)?);
        self.packet(block, *interface, time_ns, packet)
    }

    /// A simple packet has no time of its own: it gets that of the packet before.
    fn simple(&self, block: &[u8], packet: &mut Packet) -> Option<()> {
        let interface = self.interfaces.first()?;
        let wire = self.u32(block, 8)?;
        let snaplen = if interface.snaplen == 0 {
            u32::MAX
        } else {
            interface.snaplen
        };
        let room = block.len().checked_sub(16)?;
        let len = (wire.min(snaplen) as usize).min(room);
        packet.set(self.last_time_ns, interface.link, wire as usize, 12, len);
        Some(())
    }

    /// The two lengths, then the bytes; padding and options after them are left out.
    fn packet(&self, block: &[u8], on: Interface, time_ns: u64, packet: &mut Packet) -> Option<()> {
        let len = self.u32(block, 20)? as usize;
        let wire = self.u32(block, 24)? as usize;
        let fits = len <= block.len().checked_sub(PACKET + 4)?;
        fits.then(|| packet.set(time_ns, on.link, wire, PACKET, len))
    }

    fn u32(&self, have: &[u8], at: usize) -> Option<u32> {
        le_u32(have, at).map(|value| {
            if self.big_endian {
                value.swap_bytes()
            } else {
                value
            }
        })
    }
}

impl Interface {
    const UNKNOWN: Self = Self {
        link: u16::MAX,
        snaplen: 0,
        resolution: Resolution::MICROS,
        offset_seconds: 0,
    };

    fn from_block(block: &InterfaceDescriptionBlock<'_>) -> Option<Self> {
        Some(Self {
            link: u16::try_from(block.linktype.0).ok()?,
            snaplen: block.snaplen,
            // Not the crate's, which knows none of the powers of two.
            resolution: Resolution(block.if_tsresol),
            offset_seconds: block.ts_offset(),
        })
    }

    fn time_ns(&self, high: u32, low: u32) -> u64 {
        let time_ns = self
            .resolution
            .nanos((u64::from(high) << 32) | u64::from(low));
        let offset = self.offset_seconds.unsigned_abs().saturating_mul(NANOS);
        if self.offset_seconds < 0 {
            time_ns.saturating_sub(offset)
        } else {
            time_ns.saturating_add(offset)
        }
    }
}

/// The unit of time stamps as `if_tsresol` says it: a negative power of ten, or of two if the highest
/// bit is set.
#[derive(Clone, Copy, Debug)]
struct Resolution(u8);

impl Resolution {
    const MICROS: Self = Self(6);

    /// How long so many units are, in ns.
    fn nanos(self, ticks: u64) -> u64 {
        let wide = u128::from(ticks);
        let nanos = match (self.0 & 0x80 != 0, u32::from(self.0 & 0x7f)) {
            (true, power) => (wide * u128::from(NANOS)) >> power,
            (false, power @ 0..=9) => wide * 10_u128.pow(9 - power),
            // So fine a unit that 64 bits of it are nothing.
            (false, power) => 10_u128.checked_pow(power - 9).map_or(0, |unit| wide / unit),
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

const NANOS: u64 = 1_000_000_000;
const BLOCK_MIN: usize = 12;
/// Where the bytes of a packet begin in a block with two times and two lengths before them.
const PACKET: usize = 28;
const SECTION: u32 = 0x0a0d_0d0a;
const ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OBSOLETE: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_ten_and_of_two() {
        let second = |resolution: u8, ticks| Resolution(resolution).nanos(ticks);
        assert_eq!(second(0, 3), 3 * NANOS);
        assert_eq!(second(6, 1_234_567), 1_234_567_000);
        assert_eq!(second(9, 5), 5);
        assert_eq!(second(12, 5_999), 5);
        assert_eq!(second(0x80, 3), 3 * NANOS);
        assert_eq!(second(0x80 | 10, 1536), NANOS * 3 / 2);
        assert_eq!(
            second(0x80 | 32, (7 << 32) + (1 << 31)),
            7 * NANOS + NANOS / 2
        );
        assert_eq!(second(0x80 | 63, u64::MAX), 2 * NANOS - 1);
        // No unit is refused, however odd, and none overflows.
        assert_eq!(second(0x80 | 127, u64::MAX), 0);
        assert_eq!(second(127, u64::MAX), 0);
        assert_eq!(second(1, u64::MAX), u64::MAX);
    }
}
