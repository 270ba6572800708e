//! What a list of features asks for and the other tests leave out: docs/COVERAGE.md.

use super::*;

const IPV6: [[u8; 16]; 2] = [[1; 16], [2; 16]];

/// An IPv6 packet: `next` is the header that `body` begins with.
fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(IPV6.concat());
    packet.extend(body);
    packet
}

fn alone(link: u32, packets: &[Vec<u8>], message: &[u8], name: &str) -> Seen {
    let seen = read(vec![pcap(link, packets)]);
    assert_eq!(seen.frames.len(), 1, "{name}: {:?}", seen.stats);
    assert_eq!(seen.frames[0].2, message, "{name}");
    seen
}

#[test]
fn ipv6_with_every_extension_header() {
    let message = smb2(90, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    // Hop by hop, routing, destination options: next, length in eights less one, six bytes.
    let mut body = vec![43, 0, 1, 4, 0, 0, 0, 0];
    body.extend([60, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    body.extend(&segment);
    let packet = ether(0x86dd, &ipv6(0, &body));
    let seen = alone(1, &[packet], &message, "extension headers");
    assert!(seen.events[0].contains("[101:101:101"), "{:?}", seen.events);
}

#[test]
fn ipv6_fragments_come_together_in_any_order() {
    let message = smb2(600, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let fragment = |from: usize, to: usize| {
        let more = u16::from(to != segment.len());
        let place = u16::try_from(from).unwrap() | more;
        let mut body = vec![6, 0];
        body.extend(place.to_be_bytes());
        body.extend(77_u32.to_be_bytes());
        body.extend(&segment[from..to]);
        ether(0x86dd, &ipv6(44, &body))
    };
    let parts = [
        fragment(0, 200),
        fragment(200, 400),
        fragment(400, segment.len()),
    ];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
        let packets = order.map(|part| parts[part].clone());
        alone(1, &packets, &message, "fragments");
    }
}

#[test]
fn bsd_loopback_of_both_byte_orders_and_every_family() {
    let message = smb2(90, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let v4 = ipv4(CLIENT.0, SERVER.0, 6, &segment);
    let v6 = ipv6(6, &segment);
    // 24, 28 and 30 are IPv6 on NetBSD, FreeBSD and macOS.
    for (family, packet) in [(2_u32, &v4), (24, &v6), (28, &v6), (30, &v6)] {
        for head in [family.to_le_bytes(), family.to_be_bytes()] {
            for link in [0, 108] {
                let packet = [&head[..], packet].concat();
                alone(link, &[packet], &message, &format!("{link} {head:?}"));
            }
        }
    }
}

#[test]
fn raw_ip_of_every_number_and_cooked_ipv6_with_vlan() {
    let message = smb2(90, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let v4 = ipv4(CLIENT.0, SERVER.0, 6, &segment);
    let v6 = ipv6(6, &segment);
    for (link, packet) in [(12, &v4), (101, &v6), (228, &v4), (229, &v6)] {
        alone(
            link,
            std::slice::from_ref(packet),
            &message,
            &format!("raw {link}"),
        );
    }
    let cooked = |len: usize, at: usize, kind: u16, body: &[u8]| {
        let mut header = vec![0; len];
        header[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        [&header[..], body].concat()
    };
    let tagged = [&[0, 5, 0x86, 0xdd][..], &v6].concat();
    for (link, len, at) in [(113, 16, 14), (276, 20, 0)] {
        alone(link, &[cooked(len, at, 0x86dd, &v6)], &message, "cooked");
        let packet = cooked(len, at, 0x8100, &tagged);
        alone(link, &[packet], &message, "cooked with a tag");
    }
}

#[test]
fn one_direction_alone() {
    let (first, second) = (smb2(100, true), smb2(80, true));
    let stream = [framed(&first), framed(&second)].concat();
    let seen = ethernet(&[
        down(499, 100, SYN | ACK, &[]),
        down(500, 300, ACK, &stream[..50]),
        down(550, 300, ACK, &stream[50..]),
        down(688, 301, FIN, &[]),
    ]);
    let got: Vec<_> = seen.frames.iter().map(|it| it.2.clone()).collect();
    assert_eq!(got, [first, second]);
    assert_eq!(seen.frames[0].1, Direction::ServerToClient);
    assert!(
        seen.events[0].starts_with("connection 0 10.0.0.1:50000 > 10.0.0.2:445"),
        "{:?}",
        seen.events
    );
}

#[test]
fn resets_of_connections_that_are_half_open() {
    let message = framed(&smb2(64, false));
    let seen = ethernet(&[
        // Refused: nothing of it is SMB.
        up(99, SYN, &[]),
        down(0, 100, RST | ACK, &[]),
        // The server forgot the connection and says so; the client goes on afterwards.
        up(5_000, SYN, &[]),
        down(7_000, 5_001, SYN | ACK, &[]),
        up(5_001, ACK, &message),
        down(7_001, 5_069, RST, &[]),
        up(5_069, ACK, &message),
        up(5_069, RST, &[]),
    ]);
    let closed: Vec<_> = (seen.events.iter())
        .filter(|event| event.starts_with("closed"))
        .collect();
    assert_eq!(closed.len(), 1, "{:?}", seen.events);
    assert!(closed[0].contains("Rst ServerToClient"), "{closed:?}");
    assert_eq!(seen.frames.len(), 1);
    assert!(seen.stats.late_segments > 0);
}

#[test]
fn netbios_sessions_on_their_own_port() {
    let message = smb2(64, false);
    let mut stream = vec![0x81, 0, 0, 68];
    stream.extend([b'A'; 68]);
    stream.extend(framed(&message));
    stream.extend([0x85, 0, 0, 0]); // keep-alive
    stream.extend(framed(&message));
    let to = |src: u16, dst: u16, seq, flags, bytes: &[u8]| {
        ether(
            0x0800,
            &ipv4(CLIENT.0, SERVER.0, 6, &tcp(src, dst, seq, 0, flags, bytes)),
        )
    };
    let from = |seq, bytes: &[u8]| {
        ether(
            0x0800,
            &ipv4(SERVER.0, CLIENT.0, 6, &tcp(139, 2_000, seq, 0, ACK, bytes)),
        )
    };
    let seen = ethernet(&[
        to(2_000, 139, 99, SYN, &[]),
        to(2_000, 139, 100, ACK, &stream[..72]),
        from(900, &[0x82, 0, 0, 0]), // accepted
        to(2_000, 139, 172, ACK, &stream[72..]),
        from(904, &framed(&smb2(70, true))),
    ]);
    assert_eq!(seen.frames.len(), 3, "{:?}", seen.events);
    assert_eq!(
        (seen.stats.netbios_control, seen.stats.skipped_bytes),
        (3, 0)
    );
    assert!(
        seen.events[0].contains("> 10.0.0.2:139"),
        "{:?}",
        seen.events
    );
}

/// Each was looked for among all that have the same addresses and ports.
#[test]
fn connections_in_many_networks_are_found_at_once() {
    let message = framed(&smb2(64, false));
    let mut packets = Vec::new();
    for (outer, inner) in (1..=150_u8).flat_map(|outer| (1..=150_u8).map(move |it| (outer, it))) {
        let segment = tcp(CLIENT.1, SERVER.1, 1, 0, ACK, &message);
        let ip = ipv4(CLIENT.0, SERVER.0, 6, &segment);
        let tagged = [&[0, outer, 0x81, 0, 0, inner, 8, 0], ip.as_slice()].concat();
        packets.push(ether(0x88a8, &tagged));
    }
    let begin = std::time::Instant::now();
    let options = CaptureOptions {
        keep_duplicates: true,
        ..CaptureOptions::default()
    };
    let seen = read_with(&options, vec![pcap(1, &packets)]);
    assert_eq!((seen.frames.len(), seen.stats.smb_flows), (22_500, 22_500));
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}
