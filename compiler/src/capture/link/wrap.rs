//! Headers around packets: what capturing machines put before them, PPP, SNAP, GRE and tunnels over
//! UDP.
//!
//! A header is taken off, and what follows it named; nothing here looks further. `None` stands for
//! a header that is cut, or that carries no packet.

use super::{
    ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MPLS, ETHERTYPE_NSH, ETHERTYPE_PPP,
    Network, Span,
};
use crate::capture::bytes::{be_u16, be_u32, le_u16, le_u32};

/// What comes behind a header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inner {
    /// IP of either version.
    Ip,
    Ethernet,
    /// What this type of Ethernet stands for.
    Other(u16),
    /// A packet of a link of this type.
    Link(u32),
}

/// What macOS says of a packet: length of all that, and the link type, at bytes 0 and 8.
pub(super) fn pktap(span: Span<'_>) -> Option<(Inner, Span<'_>)> {
    let header = le_u32(span.data, 0)? as usize;
    let link = u16::try_from(le_u32(span.data, 8)?).ok()?;
    Some((Inner::Link(link.into()), span.after(header)?))
}

/// Linux netfilter: four bytes, then attributes in the byte order of the capturing machine, each
/// with its length and type, until the one that is the packet.
pub(super) fn nflog(span: Span<'_>) -> Option<(Inner, Span<'_>)> {
    const PAYLOAD: u16 = 9;
    let mut rest = span.after(4)?;
    for _ in 0..ATTRIBUTES_MAX {
        let (mut len, mut kind) = (le_u16(rest.data, 0)?, le_u16(rest.data, 2)?);
        // Types are small numbers.
        if kind > 0xff {
            (len, kind) = (len.swap_bytes(), kind.swap_bytes());
        }
        if len < 4 {
            return None;
        }
        if kind == PAYLOAD {
            return Some((Inner::Ip, rest.after(4)?));
        }
        rest = rest.after(usize::from(len).next_multiple_of(4))?;
    }
    None
}

/// PPP with or without the address and control of HDLC, and Cisco's use of these. RFC 1661 2,
/// RFC 1662 3.1. The Ethernet type of what it carries, and the length of its header.
pub(super) fn ppp(span: Span<'_>) -> Option<(u16, usize)> {
    let at = match span.data {
        [0x0f | 0x8f, 0, ..] => return Some((be_u16(span.data, 2)?, 4)),
        [0xff, 3, ..] => 2,
        [3, ..] => 1, // the address says the direction and has been taken off
        _ => 0,
    };
    // A protocol of one byte is odd, the first of two is even. RFC 1661 2.
    let (protocol, header) = match *span.data.get(at)? {
        odd if odd & 1 != 0 => (u16::from(odd), at + 1),
        _ => (be_u16(span.data, at)?, at + 2),
    };
    match protocol {
        0x0021 => Some((ETHERTYPE_IPV4, header)),
        0x0057 => Some((ETHERTYPE_IPV6, header)),
        0x0281 | 0x0283 => Some((ETHERTYPE_MPLS, header)),
        _ => None,
    }
}

/// IEEE 802.2 with SNAP (RFC 1042), also as bridges translate it (802.1H). The Ethernet type of what
/// it carries, and the length of its header.
pub(super) fn snap(span: Span<'_>) -> Option<(u16, usize)> {
    match span.data {
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => Some((be_u16(span.data, 6)?, 8)),
        [6, 6, 3, ..] => Some((ETHERTYPE_IPV4, 3)),
        _ => None,
    }
}

/// A packet in a tunnel, and the network that this makes.
///
/// What mirrors traffic (ERSPAN, TZSP) makes none: there the network is that of the mirrored packet.
pub(super) type Carried<'a> = (Inner, Option<Network>, Span<'a>);

/// RFC 2784, RFC 2890; version 1 carries PPP (RFC 2637 4.1); ERSPAN types I to III
/// (draft-foschiano-erspan).
pub(super) fn gre(span: Span<'_>) -> Option<Carried<'_>> {
    let (flags, kind) = (be_u16(span.data, 0)?, be_u16(span.data, 2)?);
    let optional = |bit: u16| if flags & bit == 0 { 0 } else { 4 };
    let (sum, key, sequence) = (optional(0x8000), optional(0x2000), optional(0x1000));
    match flags & 0x0007 {
        0 => {}
        1 if kind == ETHERTYPE_PPP => {
            let body = span.after(4 + key + sequence + optional(0x0080))?;
            // Its key counts bytes, and names the call for one way only.
            let network = Some(Network::Between(0));
            return Some((Inner::Other(ETHERTYPE_PPP), network, body));
        }
        _ => return None,
    }
    let body = span.after(4 + sum + key + sequence)?;
    let mirrored = |header: usize| {
        let network = match header {
            0 => None,
            _ => Some(Network::Vlan(be_u16(body.data, 0)? & 0x0fff)),
        };
        Some((Inner::Ethernet, network, body.after(header)?))
    };
    let inner = match kind {
        0x88be => return mirrored(if sequence > 0 { 8 } else { 0 }),
        0x22eb => {
            let has_platform = be_u16(body.data, 10)? & 1 != 0;
            return mirrored(if has_platform { 20 } else { 12 });
        }
        BRIDGED => Inner::Ethernet,
        kind => Inner::Other(kind),
    };
    let number = match key {
        0 => 0,
        _ => be_u32(span.data, 4 + sum)?,
    };
    Some((inner, Some(Network::Between(number)), body))
}

/// VXLAN (RFC 7348), VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe), GENEVE (RFC 8926) and TZSP by their
/// ports.
pub(super) fn udp(span: Span<'_>) -> Option<Carried<'_>> {
    let port = be_u16(span.data, 2)?;
    let body = span.after(8)?;
    let first = be_u16(body.data, 0)?;
    let has_number = first & 0x0800 != 0;
    let (inner, header) = match port {
        4789 | 8472 if has_number => (Inner::Ethernet, 8),
        4790 if has_number => {
            let names_next = first & 0x0400 != 0;
            let next = if names_next { *body.data.get(3)? } else { 3 };
            (next_protocol(next)?, 8)
        }
        6081 if first >> 14 == 0 => {
            let options = usize::from((first >> 8) & 0x3f) * 4;
            match be_u16(body.data, 2)? {
                BRIDGED => (Inner::Ethernet, 8 + options),
                kind => (Inner::Other(kind), 8 + options),
            }
        }
        37008 => {
            let (inner, span) = tzsp(body)?;
            return Some((inner, None, span));
        }
        _ => return None,
    };
    let network = Network::Vni(be_u32(body.data, 4)? >> 8);
    Some((inner, Some(network), body.after(header)?))
}

/// Network service header. RFC 8300 2.2.
pub(super) fn nsh(span: Span<'_>) -> Option<(Inner, Span<'_>)> {
    let words = usize::from(be_u16(span.data, 0)? & 0x3f);
    let inner = match next_protocol(*span.data.get(3)?)? {
        Inner::Other(ETHERTYPE_NSH) => return None, // not one in another
        inner => inner,
    };
    Some((inner, span.after(words * 4)?))
}

/// The numbers that VXLAN-GPE and NSH share.
fn next_protocol(number: u8) -> Option<Inner> {
    match number {
        1 | 2 => Some(Inner::Ip),
        3 => Some(Inner::Ethernet),
        4 => Some(Inner::Other(ETHERTYPE_NSH)),
        5 => Some(Inner::Other(ETHERTYPE_MPLS)),
        _ => None,
    }
}

/// TaZmen Sniffer Protocol: version, type, protocol, then tags until the one that is the last.
fn tzsp(span: Span<'_>) -> Option<(Inner, Span<'_>)> {
    const PADDING: u8 = 0;
    const END: u8 = 1;
    let &[1, 0 | 1, high, low, ..] = span.data else {
        return None;
    };
    let inner = match u16::from_be_bytes([high, low]) {
        1 => Inner::Link(ETHERNET),
        18 => Inner::Link(105),  // 802.11
        119 => Inner::Link(119), // 802.11 behind a header of Prism
        127 => Inner::Link(163), // 802.11 behind a header of AVS
        _ => return None,
    };
    let mut rest = span.after(4)?;
    loop {
        rest = match *rest.data {
            [END, ..] => return Some((inner, rest.after(1)?)),
            [PADDING, ..] => rest.after(1)?,
            [_, len, ..] => rest.after(2 + usize::from(len))?,
            _ => return None,
        };
    }
}

/// Ethernet in something else.
const BRIDGED: u16 = 0x6558;
/// Attributes before a packet; netfilter has fewer.
const ATTRIBUTES_MAX: usize = 64;
