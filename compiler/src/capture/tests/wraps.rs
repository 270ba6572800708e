//! What packets are wrapped in, and what keeps equal addresses apart.

use super::*;

/// A message, and an IPv4 packet that carries it.
fn carried() -> (Vec<u8>, Vec<u8>) {
    let message = smb2(90, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    (message, ipv4(CLIENT.0, SERVER.0, 6, &segment))
}

/// An IPv6 packet that carries the same.
fn carried_by_ipv6() -> Vec<u8> {
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&smb2(90, false)));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(segment.len()).unwrap().to_be_bytes());
    packet.extend([6, 64]);
    packet.extend([7; 32]);
    packet.extend(segment);
    packet
}

fn udp(port: u16, body: &[u8]) -> Vec<u8> {
    let mut datagram = vec![9, 9];
    datagram.extend(port.to_be_bytes());
    datagram.extend(u16::try_from(8 + body.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(body);
    ether(0x0800, &ipv4([1; 4], [2; 4], 17, &datagram))
}

fn gre(head: &[u8], inner: &[u8]) -> Vec<u8> {
    ether(0x0800, &ipv4([1; 4], [2; 4], 47, &[head, inner].concat()))
}

fn with(head: &[u8], inner: &[u8]) -> Vec<u8> {
    [head, inner].concat()
}

/// An 802.3 frame: a length where Ethernet has a type.
fn snap(oui: u8, inner: &[u8]) -> Vec<u8> {
    let llc = with(&[0xaa, 0xaa, 3, 0, 0, oui, 8, 0], inner);
    ether(u16::try_from(llc.len()).unwrap(), &llc)
}

/// What Linux netfilter logs, in either byte order.
fn nflog(inner: &[u8], big: bool) -> Vec<u8> {
    let short = |value: u16| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let attribute = |kind: u16, body: &[u8]| {
        let mut bytes = short(u16::try_from(4 + body.len()).unwrap()).to_vec();
        bytes.extend(short(kind));
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let head = [2, 0, 0, 5];
    let parts = [
        &head[..],
        &attribute(1, &[8, 0, 1, 0]),
        &attribute(10, b"prefix\0"), // its length is no multiple of four
        &attribute(9, inner),
    ];
    parts.concat()
}

fn pktap(link: u32, inner: &[u8]) -> Vec<u8> {
    let mut packet = 108_u32.to_le_bytes().to_vec();
    packet.extend(1_u32.to_le_bytes());
    packet.extend(link.to_le_bytes());
    packet.resize(108, 0);
    packet.extend(inner);
    packet
}

fn tzsp(protocol: u16, inner: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 0];
    packet.extend(protocol.to_be_bytes());
    packet.extend([0, 0x0a, 1, 0xd0, 0x29, 2, 0, 90, 1]); // padding, two tags, the end
    packet.extend(inner);
    udp(37008, &packet)
}

/// The message in a packet of each of these comes out.
fn each(cases: &[(&str, u32, Vec<u8>)]) {
    let (message, _) = carried();
    for (name, link, packet) in cases {
        let seen = read(vec![pcap(*link, std::slice::from_ref(packet))]);
        assert_eq!(seen.frames.len(), 1, "{name}: {:?}", seen.stats);
        assert_eq!(seen.frames[0].2, message, "{name}");
        // Cut anywhere, it is something that is counted.
        for len in 0..packet.len() {
            let cut = read(vec![pcap(*link, &[packet[..len].to_vec()])]);
            let stats = &cut.stats;
            let unused = stats.malformed_packets + stats.non_ip_packets + stats.non_tcp_packets;
            assert_eq!(stats.segments + unused, 1, "{name} of {len} bytes");
        }
    }
}

#[test]
fn links_of_other_kinds() {
    let (_, ip) = carried();
    let ip6 = carried_by_ipv6();
    let eth = ether(0x0800, &ip);
    each(&[
        ("ppp", 9, with(&[0, 0x21], &ip)),
        ("ppp of ipv6", 9, with(&[0, 0x57], &ip6)),
        ("ppp with a short protocol", 9, with(&[0x21], &ip)),
        ("ppp in hdlc", 9, with(&[0xff, 3, 0, 0x21], &ip)),
        ("ppp serial", 50, with(&[0xff, 3, 0, 0x21], &ip)),
        ("cisco on ppp serial", 50, with(&[0x0f, 0, 8, 0], &ip)),
        ("cisco hdlc", 104, with(&[0x0f, 0, 8, 0], &ip)),
        ("ppp with direction", 204, with(&[1, 0xff, 3, 0, 0x21], &ip)),
        ("ppp of pppd", 166, with(&[0, 3, 0, 0x21], &ip)),
        ("ppp with mpls", 9, with(&[2, 0x81, 0, 0, 1, 9], &ip)),
        (
            "pppoe alone",
            51,
            with(&[0x11, 0, 0, 7, 0, 90, 0, 0x21], &ip),
        ),
        ("nflog", 239, nflog(&ip, false)),
        ("nflog of ipv6, big-endian", 239, nflog(&ip6, true)),
        ("pktap", 258, pktap(1, &eth)),
        ("pktap of raw ip", 258, pktap(12, &ip)),
        (
            "pktap of loopback",
            258,
            pktap(0, &with(&[2, 0, 0, 0], &ip)),
        ),
    ]);
}

#[test]
fn headers_between_ethernet_and_ip() {
    let (_, ip) = carried();
    let ip6 = carried_by_ipv6();
    let pppoe = |protocol: &[u8], inner: &[u8]| {
        let session = with(&[0x11, 0, 0, 7, 0, 90], protocol);
        ether(0x8864, &with(&session, inner))
    };
    let llc = with(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip);
    let tagged = [&[0, 5, 0, 120][..], &llc].concat();
    let cooked = [&[0; 14][..], &[0, 4], &llc].concat();
    each(&[
        ("snap", 1, snap(0, &ip)),
        ("snap of a bridge", 1, snap(0xf8, &ip)),
        ("snap with a tag", 1, ether(0x8100, &tagged)),
        ("snap in linux cooked", 113, cooked),
        ("llc of ip", 1, ether(120, &with(&[6, 6, 3], &ip))),
        ("vn-tag", 1, ether(0x8926, &with(&[0, 1, 0, 2, 8, 0], &ip))),
        (
            "vn-tag and vlan",
            1,
            ether(0x8926, &with(&[0, 1, 0, 2, 0x81, 0, 0, 5, 8, 0], &ip)),
        ),
        (
            "e-tag",
            1,
            ether(0x893f, &with(&[0, 1, 0, 2, 0, 3, 8, 0], &ip)),
        ),
        ("pppoe", 1, pppoe(&[0, 0x21], &ip)),
        ("pppoe of ipv6", 1, pppoe(&[0, 0x57], &ip6)),
        ("pppoe with a short protocol", 1, pppoe(&[0x21], &ip)),
    ]);
}

#[test]
fn tunnels_of_other_kinds() {
    let (_, ip) = carried();
    let ip6 = carried_by_ipv6();
    let eth = ether(0x0800, &ip);
    let gpe = |flags: u8, next: u8, inner: &[u8]| {
        udp(4790, &with(&[flags, 0, 0, next, 0, 0, 9, 0], inner))
    };
    let geneve = |kind: [u8; 2], options: &[u8], inner: &[u8]| {
        let words = u8::try_from(options.len() / 4).unwrap();
        let head = [words, 0, kind[0], kind[1], 0, 0, 9, 0];
        udp(6081, &[&head[..], options, inner].concat())
    };
    let nsh = |next: u8, inner: &[u8]| {
        let head = [0x0f, 0xc2, 2, next, 0, 0, 1, 255];
        with(&head, inner)
    };
    each(&[
        (
            "gre with ppp",
            1,
            gre(&[0, 0, 0x88, 0x0b, 0xff, 3, 0, 0x21], &ip),
        ),
        (
            "pptp: key, sequence and acknowledgement",
            1,
            gre(
                &[
                    0x30, 0x81, 0x88, 0x0b, 0, 99, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0x21,
                ],
                &ip,
            ),
        ),
        (
            "pptp without acknowledgement",
            1,
            gre(
                &[
                    0x30, 1, 0x88, 0x0b, 0, 99, 0, 7, 0, 0, 0, 1, 0xff, 3, 0, 0x57,
                ],
                &ip6,
            ),
        ),
        ("gpe of ipv4", 1, gpe(0x0c, 1, &ip)),
        ("gpe of ipv6", 1, gpe(0x0c, 2, &ip6)),
        ("gpe of ethernet", 1, gpe(0x0c, 3, &eth)),
        ("gpe that names nothing", 1, gpe(0x08, 0, &eth)),
        ("gpe of nsh", 1, gpe(0x0c, 4, &nsh(1, &ip))),
        ("gpe of nsh of ethernet", 1, gpe(0x0c, 4, &nsh(3, &eth))),
        ("gpe of mpls", 1, gpe(0x0c, 5, &with(&[0, 0, 1, 9], &ip))),
        ("nsh", 1, ether(0x894f, &nsh(2, &ip6))),
        ("geneve of ethernet", 1, geneve([0x65, 0x58], &[], &eth)),
        ("geneve of ipv4, options", 1, geneve([8, 0], &[7; 8], &ip)),
        ("geneve of ipv6", 1, geneve([0x86, 0xdd], &[], &ip6)),
        ("tzsp", 1, tzsp(1, &eth)),
    ]);
}

#[test]
fn headers_within_themselves_end() {
    let (_, ip) = carried();
    let mut nested = ether(0x894f, &[]);
    let mut pktaps = Vec::new();
    for _ in 0..2_000 {
        nested.extend([0x0f, 0xc2, 2, 3, 0, 0, 1, 255]);
        nested.extend(ether(0x894f, &[]));
        pktaps = pktap(258, &pktaps);
    }
    nested.extend(ip);
    let seen = read(vec![pcap(1, &[nested])]);
    assert_eq!((seen.stats.segments, seen.stats.non_ip_packets), (0, 1));
    let seen = read(vec![pcap(258, &[pktaps])]);
    assert_eq!(seen.stats.segments, 0);
}

#[test]
fn what_is_not_read_has_a_number() {
    let (_, ip) = carried();
    let packets = [
        (127, ip.clone()),
        (1, tzsp(18, &ip)),
        (258, pktap(127, &ip)),
        (105, ip.clone()),
    ];
    let files = packets.map(|(link, packet)| pcap(link, &[packet]));
    let seen = read(files.to_vec());
    assert_eq!(seen.frames.len(), 0);
    let unknown: Vec<_> = seen.stats.unknown_links.into_iter().collect();
    assert_eq!(unknown, [(105, 2), (127, 2)]);
}

/// A connection that sends `answer` for `request`; `wrap` puts each packet into its network.
fn exchange(seqs: u32, answer: &[u8], wrap: impl Fn(bool, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let request = framed(&smb2(100, false));
    let [first, last] = [100_u32, 204].map(|it| it + seqs);
    let up = |seq, ack, flags, payload: &[u8]| {
        let segment = tcp(CLIENT.1, SERVER.1, seq, ack, flags, payload);
        wrap(true, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
    };
    let down = |seq, ack, flags, payload: &[u8]| {
        let segment = tcp(SERVER.1, CLIENT.1, seq, ack, flags, payload);
        wrap(false, &ipv4(SERVER.0, CLIENT.0, 6, &segment))
    };
    let answer = framed(answer);
    let end = 900 + u32::try_from(answer.len()).unwrap();
    vec![
        up(first - 1, 0, SYN, &[]),
        down(899, first, SYN | ACK, &[]),
        up(first, 900, ACK, &request),
        down(900, last, ACK, &answer),
        up(last, end, FIN, &[]),
        down(end, last + 1, FIN, &[]),
        up(last + 1, end + 1, ACK, &[]),
    ]
}

fn vlan(id: u8, packet: &[u8]) -> Vec<u8> {
    ether(0x8100, &with(&[0x20, id, 8, 0], packet))
}

fn vxlan(number: u8, packet: &[u8]) -> Vec<u8> {
    let inner = ether(0x0800, packet);
    udp(4789, &with(&[8, 0, 0, 0, 0, 0, number, 0], &inner))
}

/// Packets of several lists in turns.
fn in_turns(lists: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let turn = |at| lists.iter().filter_map(move |list| list.get(at).cloned());
    (0..lists[0].len()).flat_map(turn).collect()
}

#[test]
fn equal_addresses_in_two_networks_are_two_connections() {
    let keyed = |key: u8, packet: &[u8]| gre(&[0x20, 0, 8, 0, 0, 0, 0, key], packet);
    let between = |host: u8, packet: &[u8]| ether(0x0800, &ipv4([1; 4], [host; 4], 4, packet));
    type Wrap<'a> = &'a dyn Fn(u8, &[u8]) -> Vec<u8>;
    let networks: [(&str, Wrap<'_>); 4] = [
        ("vlan", &vlan),
        ("vxlan", &vxlan),
        ("gre", &keyed),
        ("ip in ip", &between),
    ];
    for (name, wrap) in networks {
        // The same numbers in both, as two machines of one image have.
        let one = exchange(0, &smb2(80, true), |_, packet| wrap(3, packet));
        let other = exchange(0, &smb2(90, true), |_, packet| wrap(4, packet));
        let seen = ethernet(&in_turns(&[one, other]));
        let frames: Vec<_> = (seen.frames.iter())
            .map(|(conn, dir, bytes)| (*conn, *dir, bytes.len()))
            .collect();
        let (up, down) = (Direction::ClientToServer, Direction::ServerToClient);
        let expected = [(0, up, 100), (1, up, 100), (0, down, 80), (1, down, 90)];
        assert_eq!(frames, expected, "{name}");
        let closed = seen.events.iter().filter(|it| it.contains("Fin"));
        assert_eq!(closed.count(), 2, "{name}");
        assert_eq!(seen.stats.late_segments, 0, "{name}");
    }
}

#[test]
fn a_network_for_each_direction_is_one_connection() {
    let untagged = |packet: &[u8]| ether(0x0800, packet);
    let plain = exchange(0, &smb2(80, true), |_, packet| untagged(packet));
    let expected = ethernet(&plain).events;
    let one_way_tagged = exchange(0, &smb2(80, true), |is_up, packet| {
        if is_up {
            vlan(3, packet)
        } else {
            untagged(packet)
        }
    });
    let tags = exchange(0, &smb2(80, true), |is_up, packet| {
        vlan(3 + u8::from(is_up), packet)
    });
    let tunnel_there = exchange(0, &smb2(80, true), |is_up, packet| {
        if is_up {
            ether(0x0800, &ipv4([1; 4], [2; 4], 4, packet))
        } else {
            untagged(packet)
        }
    });
    let priority = exchange(0, &smb2(80, true), |is_up, packet| {
        if is_up {
            vlan(0, packet)
        } else {
            untagged(packet)
        }
    });
    for packets in [one_way_tagged, tags, tunnel_there, priority] {
        assert_eq!(ethernet(&packets).events, expected);
    }
    // Both ways of two connections: which belong together, the numbers tell.
    let ways = |client: u8, server: u8, seqs, len| {
        exchange(seqs, &smb2(len, true), move |is_up, packet| {
            vlan(if is_up { client } else { server }, packet)
        })
    };
    let seen = ethernet(&in_turns(&[ways(3, 4, 0, 80), ways(5, 6, 0x5000_0000, 90)]));
    let conns: Vec<_> = seen.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(conns, [0, 1, 0, 1], "{:?}", seen.events);
}

#[test]
fn fragments_of_two_networks_keep_apart() {
    let message = smb2(600, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let mut other = segment.clone();
    other[400..].fill(0xee);
    let part = |id: u8, segment: &[u8], from: usize, to: usize| {
        let more = if to == segment.len() { 0 } else { 0x2000 };
        let place = u16::try_from(from / 8).unwrap() | more;
        let total = u16::try_from(20 + to - from).unwrap();
        let body = &segment[from..to];
        vlan(id, &ipv4_raw(CLIENT.0, SERVER.0, place, total, 6, body))
    };
    let end = segment.len();
    let seen = ethernet(&[
        part(3, &segment, 0, 320),
        part(4, &other, 0, 320),
        part(4, &other, 320, end),
        part(3, &segment, 320, end),
    ]);
    assert_eq!(seen.frames.len(), 2, "{:?}", seen.stats);
    assert_eq!(seen.frames[1].2, message);
    assert_ne!(seen.frames[0].2, message);
}

#[test]
fn the_last_acknowledgement_is_no_loss() {
    let mut packets = exchange(0, &smb2(80, true), |_, packet| ether(0x0800, packet));
    let seen = ethernet(&packets);
    assert_eq!(seen.stats.late_segments, 0);
    // Nor is anything that comes again, be it the beginning.
    packets.extend(packets.clone());
    let again = ethernet(&packets);
    assert_eq!((again.events, again.stats.late_segments), (seen.events, 0));
    // Bytes that are new are.
    packets.push(up(204, ACK, &[5; 10]));
    assert_eq!(ethernet(&packets).stats.late_segments, 1);
}

/// What a proxy is told and tells, then SMB; in segments of at most `size` bytes.
fn through_proxy(port: u16, words: &[(bool, &[u8])], size: usize) -> Seen {
    let (request, answer) = (framed(&smb2(100, false)), framed(&smb2(80, true)));
    let mut packets = Vec::new();
    let (mut client, mut server) = (100_u32, 500_u32);
    let send = |from: (u16, u16), seq: &mut u32, ack: u32, bytes: &[u8]| -> Vec<Vec<u8>> {
        let part = |part: &[u8]| {
            let segment = tcp(from.0, from.1, *seq, ack, ACK, part);
            *seq += u32::try_from(part.len()).unwrap();
            let ends = if from.1 == port {
                (CLIENT.0, SERVER.0)
            } else {
                (SERVER.0, CLIENT.0)
            };
            ether(0x0800, &ipv4(ends.0, ends.1, 6, &segment))
        };
        bytes.chunks(size).map(part).collect()
    };
    let syn = tcp(CLIENT.1, port, 99, 0, SYN, &[]);
    packets.push(ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &syn)));
    let exchange = [(true, request.as_slice()), (false, answer.as_slice())];
    for (is_up, bytes) in words.iter().chain(&exchange) {
        packets.extend(if *is_up {
            send((CLIENT.1, port), &mut client, server, bytes)
        } else {
            send((port, CLIENT.1), &mut server, client, bytes)
        });
    }
    ethernet(&packets)
}

#[test]
fn smb_behind_a_proxy() {
    let socks5: &[(bool, &[u8])] = &[
        (true, &[5, 2, 0, 2]),
        (false, &[5, 2]),
        (true, b"\x01\x04anna\x07Secret1"),
        (false, &[1, 0]),
        (true, &[5, 1, 0, 1, 10, 1, 0, 9, 1, 0xbd]),
        (false, &[5, 0, 0, 1, 10, 1, 0, 9, 1, 0xbd]),
    ];
    let socks4: &[(bool, &[u8])] = &[
        (true, b"\x04\x01\x01\xbd\x0a\x01\x00\x09anna\0"),
        (false, &[0, 0x5a, 1, 0xbd, 10, 1, 0, 9]),
    ];
    let connect: &[(bool, &[u8])] = &[
        (true, b"CONNECT nas:445 HTTP/1.1\r\nHost: nas:445\r\n\r\n"),
        (false, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
        (
            true,
            b"CONNECT nas:445 HTTP/1.1\r\nHost: nas:445\r\nX: y\r\n\r\n",
        ),
        (false, b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ];
    let proxy: &[(bool, &[u8])] = &[(true, b"PROXY TCP4 10.0.0.1 10.0.0.2 50000 445\r\n")];
    let proxy2: &[(bool, &[u8])] = &[(
        true,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbd",
    )];
    for (port, words) in [
        (1080, socks5),
        (1080, socks4),
        (3128, connect),
        (8445, proxy),
        (8445, proxy2),
    ] {
        for size in [1000, 21, 13] {
            let seen = through_proxy(port, words, size);
            let name = format!("{port}, segments of {size}: {:?}", seen.events);
            let messages: Vec<_> = seen.frames.iter().map(|it| it.2.clone()).collect();
            assert_eq!(messages, [smb2(100, false), smb2(80, true)], "{name}");
            assert!(
                seen.events[0].contains("10.0.0.1:50000 > 10.0.0.2"),
                "{name}"
            );
            let said: usize = words.iter().map(|(_, bytes)| bytes.len()).sum();
            let counted = (seen.stats.proxy_bytes, seen.stats.skipped_bytes);
            assert_eq!(counted, (said.try_into().unwrap(), 0), "{name}");
        }
    }
}

/// A page that holds SMB, asked for by itself or from a proxy.
#[test]
fn other_things_behind_a_proxy_are_let_go() {
    let page = [
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        framed(&smb2(100, true)),
    ]
    .concat();
    let get: &[(bool, &[u8])] = &[(true, b"GET / HTTP/1.1\r\n\r\n"), (false, &page)];
    assert_eq!(through_proxy(8080, get, 1000).frames.len(), 0);
    let tls = [0x17; 20_000];
    let other: &[(bool, &[u8])] = &[
        (true, b"CONNECT host:443 HTTP/1.1\r\n\r\n"),
        (false, b"HTTP/1.1 200 OK\r\n\r\n"),
        (true, &tls),
        (false, &tls),
    ];
    let seen = through_proxy(3128, other, 1000);
    assert_eq!(seen.frames.len(), 0, "{:?}", seen.events);
    assert!(seen.stats.non_smb_segments > 0);
}
