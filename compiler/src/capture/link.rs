//! Packets to TCP segments: link layers, IP, fragments and tunnels are taken off.
//!
//! `wrap` takes off pseudo headers and tunnels. Nothing here checks a checksum (offloading makes them all wrong in a capture made on the host).
//! Lengths come from the IP headers, so Ethernet padding is no payload and a packet cut by the snap
//! length still tells how long it was. Plain IPv4 is read by hand; IPv6, extension headers and
//! fragments go through etherparse's lax slices.

mod wrap;

use std::net::IpAddr;

use etherparse::{Ipv6ExtensionSlice, LaxIpv4Slice, LaxIpv6Slice, ip_number};

use super::bytes::{be_u16, be_u32};
use super::fragment::{Fragment, Fragments, Key};
use super::stats::CaptureStats;
use wrap::Inner;

/// One TCP segment of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment<'a> {
    pub(super) src: Ip,
    pub(super) dst: Ip,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    /// The VLANs and tunnels that it came through, mixed to a number, as addresses mean something
    /// only within these; 0 for none.
    pub(super) network: u32,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// The captured part of the payload.
    pub(super) payload: &'a [u8],
    /// Length of the payload on the wire.
    pub(super) wire_len: usize,
}

impl Segment<'_> {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;

    /// Whether any of these flags is set.
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// An IPv4 or IPv6 address in two halves; IPv4 is kept in the IPv4-mapped range.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Ip {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl Ip {
    fn v4(address: u32) -> Self {
        Self {
            high: 0,
            low: 0xffff_0000_0000 | u64::from(address),
        }
    }

    fn v6(address: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, low @ ..] = address;
        Self {
            high: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            low: u64::from_be_bytes(low),
        }
    }

    fn mixed(self) -> u32 {
        mix(self.high.rotate_left(1) ^ self.low)
    }

    /// The address in its own family.
    pub(super) fn addr(self) -> IpAddr {
        let wide = (u128::from(self.high) << 64) | u128::from(self.low);
        IpAddr::from(wide.to_be_bytes()).to_canonical()
    }
}

/// Takes packets apart; holds the IP fragments that wait for the rest of their datagram.
#[derive(Default)]
pub(super) struct Dissector {
    fragments: Fragments,
    datagram: Vec<u8>,
}

impl Dissector {
    /// Finds the TCP segment in a packet; everything that is none is counted.
    ///
    /// The segment is written where it is read, field by field: see [`Packet::set`].
    ///
    /// [`Packet::set`]: super::container::Packet::set
    pub(super) fn segment<'a>(
        &'a mut self,
        link: u32,
        data: &'a [u8],
        wire_len: usize,
        segment: &mut Segment<'a>,
        stats: &mut CaptureStats,
    ) -> bool {
        let span = Span {
            data,
            wire: wire_len,
        };
        let mut to = To { segment, stats };
        let mut found = by_link(link, span, 0, &mut to);
        if let Found::Fragment(fragment) = &found {
            to.stats.fragments += 1;
            if !(self.fragments).add(fragment, &mut self.datagram, to.stats) {
                return false;
            }
            let span = Span {
                data: &self.datagram,
                wire: self.datagram.len(),
            };
            let key = fragment.key;
            (to.segment.src, to.segment.dst) = (key.src, key.dst);
            found = transport(key.protocol, span, 0, &mut to);
        }
        let stats = to.stats;
        let counter = match found {
            Found::Segment => {
                stats.segments += 1;
                return true;
            }
            Found::Fragment(_) => &mut stats.dropped_fragments, // a fragment inside a fragment
            Found::UnknownLink(link) => stats.unknown_links.entry(link).or_default(),
            Found::NotIp => &mut stats.non_ip_packets,
            Found::NotTcp => &mut stats.non_tcp_packets,
            Found::Malformed => &mut stats.malformed_packets,
        };
        *counter += 1;
        false
    }

    /// Counts the fragments whose datagram never became whole.
    pub(super) fn finish(&mut self, stats: &mut CaptureStats) {
        self.fragments.finish(stats);
    }
}

enum Found<'a> {
    /// It is where it was asked for.
    Segment,
    Fragment(Fragment<'a>),
    /// The link type is not read, or that of the packet that another carries.
    UnknownLink(u32),
    NotIp,
    NotTcp,
    Malformed,
}

/// Where the segment goes, and what is counted on the way.
struct To<'s, 'a> {
    segment: &'s mut Segment<'a>,
    stats: &'s mut CaptureStats,
}

impl To<'_, '_> {
    /// The segment is in a network of its own within the one it is in so far.
    fn enter(&mut self, network: Network) {
        let (kind, number) = match network {
            Network::Vlan(0) => return, // a priority without a VLAN. IEEE 802.1Q 9.6
            Network::Vlan(id) => (1, id.into()),
            Network::Vni(number) => (2, number),
            Network::Between(key) => {
                // Both ways are the same tunnel.
                let [src, dst] = [self.segment.src, self.segment.dst].map(Ip::mixed);
                (3, src.wrapping_add(dst) ^ key)
            }
        };
        let mixed = mix(u64::from(self.segment.network) << 32 | u64::from(number));
        self.segment.network = mixed.wrapping_add(kind);
    }
}

/// What keeps equal addresses apart.
#[derive(Clone, Copy, Debug)]
enum Network {
    /// A VLAN by its id.
    Vlan(u16),
    /// A virtual network by the number that all its tunnels share.
    Vni(u32),
    /// A tunnel between the two addresses, which may have a key.
    Between(u32),
}

/// A number that tells `word`, in all likelihood, from others.
fn mix(word: u64) -> u32 {
    let [.., a, b, c, d] = (word ^ word >> 32)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Captured bytes and how many there were on the wire.
#[derive(Clone, Copy)]
struct Span<'a> {
    data: &'a [u8],
    wire: usize,
}

impl<'a> Span<'a> {
    /// The rest after `n` bytes; `None` when they were not all captured.
    #[inline]
    fn after(self, n: usize) -> Option<Self> {
        Some(Self {
            data: self.data.get(n..)?,
            wire: self.wire.saturating_sub(n),
        })
    }

    /// The first `n` bytes of the wire.
    #[inline]
    fn first(self, n: usize) -> Self {
        Self {
            data: self.data.get(..n).unwrap_or(self.data),
            wire: n,
        }
    }
}

fn by_link<'a>(link: u32, span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    let inner = match link {
        ETHERNET => return ethernet(span, depth, to),
        LINUX_SLL => be_u16(span.data, 14).map(|kind| (kind, 16)),
        LINUX_SLL2 => be_u16(span.data, 0).map(|kind| (kind, 20)),
        CISCO_HDLC => be_u16(span.data, 2).map(|kind| (kind, 4)),
        PPPOE => Some((ETHERTYPE_PPPOE, 0)),
        RAW | RAW_BSD | RAW_OPENBSD | RAW_IPV4 | RAW_IPV6 => {
            return by_version(span, depth, to);
        }
        // The family's number and byte order are the capturing machine's; the version is not.
        NULL | LOOP => return inside(span.after(4).map(|span| (Inner::Ip, span)), depth, to),
        PPP | PPP_HDLC => Some((ETHERTYPE_PPP, 0)),
        PPP_WITH_DIRECTION | PPP_OF_PPPD => Some((ETHERTYPE_PPP, 1)),
        NFLOG => return inside(wrap::nflog(span), depth, to),
        PKTAP if depth < TUNNELS_MAX => return inside(wrap::pktap(span), depth + 1, to),
        _ => return Found::UnknownLink(link),
    };
    match inner.and_then(|(kind, header)| Some((kind, span.after(header)?))) {
        Some((kind, span)) => by_ethertype(kind, span, depth, to),
        None => Found::Malformed,
    }
}

/// What is behind a header that has been taken off, if it could be.
fn inside<'a>(inner: Option<(Inner, Span<'a>)>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    match inner {
        Some((Inner::Ip, span)) => by_version(span, depth, to),
        Some((Inner::Ethernet, span)) => ethernet(span, depth, to),
        Some((Inner::Other(kind), span)) => by_ethertype(kind, span, depth, to),
        Some((Inner::Link(link), span)) => by_link(link, span, depth, to),
        None => Found::Malformed,
    }
}

#[inline]
fn ethernet<'a>(span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    match (be_u16(span.data, 12), span.after(14)) {
        (Some(kind), Some(span)) => by_ethertype(kind, span, depth, to),
        _ => Found::Malformed,
    }
}

#[inline]
fn by_ethertype<'a>(
    mut kind: u16,
    mut span: Span<'a>,
    depth: u8,
    to: &mut To<'_, 'a>,
) -> Found<'a> {
    for _ in 0..LABELS_MAX {
        let (next, header) = match kind {
            ETHERTYPE_IPV4 => return ipv4(span, depth, to),
            ETHERTYPE_IPV6 => return ipv6(span, depth, to),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                let tag = be_u16(span.data, 0).unwrap_or_default();
                to.enter(Network::Vlan(tag & 0x0fff));
                (be_u16(span.data, 2), 4)
            }
            // VN-tag, and the E-tag of 802.1BR.
            0x8926 => (be_u16(span.data, 4), 6),
            0x893f => (be_u16(span.data, 6), 8),
            // An MPLS label stack ends at the label with the bottom bit.
            ETHERTYPE_MPLS | 0x8848 => match be_u32(span.data, 0) {
                Some(label) if label & 0x100 != 0 => {
                    let inner = span.after(4);
                    return inner.map_or(Found::Malformed, |s| by_version(s, depth, to));
                }
                _ => (Some(kind), 4),
            },
            // RFC 2516 4: six bytes, then the PPP protocol.
            ETHERTYPE_PPPOE => (Some(ETHERTYPE_PPP), 6),
            ETHERTYPE_PPP => match wrap::ppp(span) {
                Some((kind, header)) => (Some(kind), header),
                None => return Found::NotIp,
            },
            ETHERTYPE_NSH if depth < TUNNELS_MAX => {
                return inside(wrap::nsh(span), depth + 1, to);
            }
            // A length: IEEE 802.2 follows. In Linux cooked captures a small number says the same.
            ..=LENGTH_MAX => match wrap::snap(span) {
                Some((kind, header)) => (Some(kind), header),
                None => return Found::NotIp,
            },
            _ => return Found::NotIp,
        };
        match (next, span.after(header)) {
            (Some(next), Some(rest)) => (kind, span) = (next, rest),
            _ => return Found::Malformed,
        }
    }
    Found::NotIp
}

fn by_version<'a>(span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    match span.data.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(span, depth, to),
        Some(6) => ipv6(span, depth, to),
        Some(_) => Found::NotIp,
        None => Found::Malformed,
    }
}

#[inline]
fn ipv4<'a>(span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    let Some(header) = span.data.first_chunk::<20>() else {
        return Found::Malformed;
    };
    let [
        version,
        _,
        len_high,
        len_low,
        _,
        _,
        frag_high,
        frag_low,
        _,
        protocol,
        ..,
    ] = *header;
    let header_len = usize::from(version & 0x0f) * 4;
    if version >> 4 != 4 || header_len < 20 {
        return Found::Malformed;
    }
    if u16::from_be_bytes([frag_high, frag_low]) & 0x3fff != 0 || protocol == AUTHENTICATION {
        return ipv4_with_extras(span, depth, to);
    }
    let total = match usize::from(u16::from_be_bytes([len_high, len_low])) {
        0 => span.wire, // segmentation offload: the length was not yet known to the host
        total => total,
    };
    let (Some(src), Some(dst)) = (be_u32(header, 12), be_u32(header, 16)) else {
        return Found::Malformed;
    };
    to.segment.src = Ip::v4(src);
    to.segment.dst = Ip::v4(dst);
    match span.first(total).after(header_len) {
        Some(inner) => transport(protocol, inner, depth, to),
        None => Found::Malformed,
    }
}

/// IPv4 with an authentication header, or a fragment.
fn ipv4_with_extras<'a>(span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    let Ok((slice, _)) = LaxIpv4Slice::from_slice(span.data) else {
        return Found::Malformed;
    };
    let header = slice.header();
    let ends = (
        Ip::v4(u32::from_be_bytes(header.source())),
        Ip::v4(u32::from_be_bytes(header.destination())),
    );
    let extensions = slice.extensions().auth.map_or(0, |auth| auth.slice().len());
    let Some(inner) = span
        .first(usize::from(header.total_len()))
        .after(header.slice().len() + extensions)
    else {
        return Found::Malformed;
    };
    let protocol = slice.payload_ip_number().0;
    if !slice.is_payload_fragmented() {
        (to.segment.src, to.segment.dst) = ends;
        return transport(protocol, inner, depth, to);
    }
    Found::Fragment(Fragment {
        key: Key {
            network: to.segment.network,
            src: ends.0,
            dst: ends.1,
            id: header.identification().into(),
            protocol,
        },
        offset: usize::from(header.fragments_offset().byte_offset()),
        more: header.more_fragments(),
        data: inner.data,
        whole: inner.data.len() == inner.wire,
    })
}

fn ipv6<'a>(span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    let Ok((slice, _)) = LaxIpv6Slice::from_slice(span.data) else {
        return Found::Malformed;
    };
    let header = slice.header();
    let ends = (Ip::v6(header.source()), Ip::v6(header.destination()));
    let total = match usize::from(header.payload_length()) {
        0 => span.wire, // segmentation offload, or a jumbogram
        len => IPV6_HEADER + len,
    };
    let extensions = slice.extensions().slice().len();
    let Some(inner) = span.first(total).after(IPV6_HEADER + extensions) else {
        return Found::Malformed;
    };
    let protocol = slice.payload().ip_number.0;
    if !slice.is_payload_fragmented() {
        (to.segment.src, to.segment.dst) = ends;
        return transport(protocol, inner, depth, to);
    }
    let fragment = slice
        .extensions()
        .clone()
        .into_iter()
        .find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment),
            _ => None,
        });
    let Some(fragment) = fragment else {
        return Found::Malformed;
    };
    Found::Fragment(Fragment {
        key: Key {
            network: to.segment.network,
            src: ends.0,
            dst: ends.1,
            id: fragment.identification(),
            protocol,
        },
        offset: usize::from(fragment.fragment_offset().byte_offset()),
        more: fragment.more_fragments(),
        data: inner.data,
        whole: inner.data.len() == inner.wire,
    })
}

/// What is in a packet whose addresses are known.
#[inline]
fn transport<'a>(protocol: u8, span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    if protocol != TCP {
        return tunnel(protocol, span, depth, to);
    }
    let Some(header) = span.data.first_chunk::<20>() else {
        return Found::Malformed;
    };
    let [
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        ..,
    ] = *header;
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < 20 {
        return Found::Malformed;
    }
    let segment = &mut *to.segment;
    segment.src_port = u16::from_be_bytes([s0, s1]);
    segment.dst_port = u16::from_be_bytes([d0, d1]);
    segment.seq = u32::from_be_bytes([q0, q1, q2, q3]);
    segment.ack = u32::from_be_bytes([a0, a1, a2, a3]);
    segment.flags = flags;
    // Options cut by the snap length still leave a payload of known length.
    segment.payload = span.data.get(header_len..).unwrap_or_default();
    segment.wire_len = span.wire.saturating_sub(header_len);
    Found::Segment
}

/// Looks into what carries whole packets.
fn tunnel<'a>(protocol: u8, span: Span<'a>, depth: u8, to: &mut To<'_, 'a>) -> Found<'a> {
    if depth >= TUNNELS_MAX {
        return Found::NotTcp;
    }
    let carried = match protocol {
        IPV4_IN_IP | IPV6_IN_IP => Some((Inner::Ip, Some(Network::Between(0)), span)),
        GRE => wrap::gre(span),
        UDP => wrap::udp(span),
        _ => None,
    };
    let Some((inner, network, span)) = carried else {
        return Found::NotTcp;
    };
    if let Some(network) = network {
        to.enter(network);
    }
    to.stats.tunnelled_packets += 1;
    inside(Some((inner, span)), depth + 1, to)
}

// https://www.tcpdump.org/linktypes.html
const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const PPP: u32 = 9;
const RAW_BSD: u32 = 12;
const RAW_OPENBSD: u32 = 14;
const PPP_HDLC: u32 = 50;
const PPPOE: u32 = 51;
const RAW: u32 = 101;
const CISCO_HDLC: u32 = 104;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const PPP_OF_PPPD: u32 = 166;
const PPP_WITH_DIRECTION: u32 = 204;
const RAW_IPV4: u32 = 228;
const RAW_IPV6: u32 = 229;
const NFLOG: u32 = 239;
const PKTAP: u32 = 258;
const LINUX_SLL2: u32 = 276;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_PPP: u16 = 0x880b;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_PPPOE: u16 = 0x8864;
const ETHERTYPE_NSH: u16 = 0x894f;
/// Up to here a type of Ethernet is a length. IEEE 802.3 3.2.6.
const LENGTH_MAX: u16 = 1500;
const IPV6_HEADER: usize = 40;

const TCP: u8 = ip_number::TCP.0;
const UDP: u8 = ip_number::UDP.0;
const GRE: u8 = ip_number::GRE.0;
const IPV4_IN_IP: u8 = ip_number::IPV4.0;
const IPV6_IN_IP: u8 = ip_number::IPV6.0;
const AUTHENTICATION: u8 = ip_number::AUTH.0;

/// Tags and labels in a row before a packet is taken for something else.
const LABELS_MAX: usize = 8;
const TUNNELS_MAX: u8 = 4;
