//! A connection as packets: Ethernet II, IPv4 or IPv6, TCP.

use std::net::{IpAddr, SocketAddr};
use std::ops::BitOr;

use crate::tap::Direction;

/// Flags of a TCP header. RFC 9293 3.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const FIN: Self = Self(0x01);
    pub(super) const SYN: Self = Self(0x02);
    pub(super) const RST: Self = Self(0x04);
    pub(super) const PSH: Self = Self(0x08);
    pub(super) const ACK: Self = Self(0x10);

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One side of a connection.
#[derive(Debug)]
struct Side {
    address: SocketAddr,
    /// Sequence number of what it sends next.
    next: u32,
    /// Its next IPv4 identification.
    id: u16,
    /// Segments with data that the other side has not acknowledged.
    unacknowledged: u32,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Flow {
    client: Side,
    server: Side,
}

impl Flow {
    /// A connection before its first packet, with the initial sequence numbers of both sides.
    pub(super) const fn new(client: SocketAddr, server: SocketAddr, isns: (u32, u32)) -> Self {
        const fn side(address: SocketAddr, next: u32) -> Side {
            Side {
                address,
                next,
                id: 1,
                unacknowledged: 0,
            }
        }
        Self {
            client: side(client, isns.0),
            server: side(server, isns.1),
        }
    }

    /// Bytes of the stream that a segment holds at most.
    pub(super) const fn segment_len(&self) -> usize {
        if self.client.address.is_ipv4() {
            1_460
        } else {
            1_440
        }
    }

    /// Segments that went `to` a side and that it has not acknowledged.
    pub(super) const fn unacknowledged(&self, to: Direction) -> u32 {
        match to {
            Direction::Up => self.client.unacknowledged,
            Direction::Down => self.server.unacknowledged,
        }
    }

    /// Appends the next packet that goes `to` a side.
    pub(super) fn packet(&mut self, to: Direction, flags: Flags, data: &[u8], out: &mut Vec<u8>) {
        let max_segment = u16::try_from(self.segment_len()).unwrap_or(u16::MAX);
        let (from, to) = match to {
            Direction::Up => (&mut self.client, &mut self.server),
            Direction::Down => (&mut self.server, &mut self.client),
        };
        let seq = from.next;
        let ack = if flags.has(Flags::ACK) { to.next } else { 0 };
        let counts = u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        from.next = seq.wrapping_add(len).wrapping_add(counts);
        from.unacknowledged += u32::from(!data.is_empty());
        if flags.has(Flags::ACK) {
            to.unacknowledged = 0;
        }
        let (src, dst) = (from.address, to.address);
        let options = if flags.has(Flags::SYN) {
            syn_options(max_segment)
        } else {
            Vec::new()
        };
        ethernet(src, dst, out);
        let segment = 20 + options.len() + data.len();
        ip(src.ip(), dst.ip(), from.id, segment, out);
        from.id = from.id.wrapping_add(1);
        let start = out.len();
        out.extend(src.port().to_be_bytes());
        out.extend(dst.port().to_be_bytes());
        out.extend(seq.to_be_bytes());
        out.extend(ack.to_be_bytes());
        let words = u8::try_from((20 + options.len()) / 4).unwrap_or(5);
        out.extend([words << 4, flags.0]);
        out.extend(WINDOW.to_be_bytes());
        out.extend([0; 4]); // checksum, urgent pointer
        out.extend_from_slice(&options);
        out.extend_from_slice(data);
        let tcp = out.get(start..).unwrap_or_default();
        let checksum = checksum(&[&pseudo_header(src.ip(), dst.ip(), segment), tcp]);
        put(out, start + 16, checksum);
    }
}

/// Maximum segment size, window scale, selective acknowledgements permitted.
fn syn_options(max_segment: u16) -> Vec<u8> {
    let [high, low] = max_segment.to_be_bytes();
    vec![2, 4, high, low, 1, 3, 3, WINDOW_SCALE, 1, 1, 4, 2]
}

fn ethernet(src: SocketAddr, dst: SocketAddr, out: &mut Vec<u8>) {
    for address in [dst, src] {
        // Locally administered, one for each host.
        let tail = match address.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                [a, b, c, d]
            }
        };
        out.extend([2, 0]);
        out.extend(tail);
    }
    let kind: u16 = if src.is_ipv4() { 0x0800 } else { 0x86dd };
    out.extend(kind.to_be_bytes());
}

fn ip(src: IpAddr, dst: IpAddr, id: u16, segment: usize, out: &mut Vec<u8>) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let start = out.len();
            let total = u16::try_from(20 + segment).unwrap_or(u16::MAX);
            out.extend([0x45, 0]);
            out.extend(total.to_be_bytes());
            out.extend(id.to_be_bytes());
            out.extend([0x40, 0, HOPS, TCP, 0, 0]); // do not fragment
            out.extend(src.octets());
            out.extend(dst.octets());
            let checksum = checksum(&[out.get(start..).unwrap_or_default()]);
            put(out, start + 10, checksum);
        }
        (src, dst) => {
            out.extend([0x60, 0, 0, 0]);
            out.extend(u16::try_from(segment).unwrap_or(u16::MAX).to_be_bytes());
            out.extend([TCP, HOPS]);
            out.extend(octets(src));
            out.extend(octets(dst));
        }
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What the checksum covers besides the segment. RFC 9293 3.1, RFC 8200 8.1.
fn pseudo_header(src: IpAddr, dst: IpAddr, segment: usize) -> Vec<u8> {
    let len = u32::try_from(segment).unwrap_or(u32::MAX).to_be_bytes();
    let mut header = Vec::with_capacity(40);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.extend(src.octets());
            header.extend(dst.octets());
        }
        (src, dst) => {
            header.extend(octets(src));
            header.extend(octets(dst));
        }
    }
    header.extend(len);
    header.extend([0, 0, 0, TCP]);
    header
}

/// RFC 1071. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                [high] => u16::from_be_bytes([*high, 0]),
                _ => 0,
            };
            sum += u64::from(word);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn put(out: &mut [u8], at: usize, value: u16) {
    for (to, from) in out.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *to = from;
    }
}

const HOPS: u8 = 64;
const TCP: u8 = 6;
const WINDOW: u16 = u16::MAX;
/// 8 MiB in flight. RFC 7323 2.
const WINDOW_SCALE: u8 = 7;
