//! File formats, link layers, limits and broken input.

use std::io::{Cursor, Write};

use super::*;

#[test]
fn every_link_type_and_tunnel() {
    let message = smb2(90, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let ip = ipv4(CLIENT.0, SERVER.0, 6, &segment);
    let eth = ether(0x0800, &ip);
    let mut ip6 = vec![0x60, 0, 0, 0];
    ip6.extend(u16::try_from(8 + segment.len()).unwrap().to_be_bytes());
    ip6.extend([0, 64]);
    ip6.extend([1; 32]);
    ip6.extend([6, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop options with padding
    ip6.extend(&segment);
    let gre = |kind: u16, flags: u16, between: &[u8], inner: &[u8]| {
        let body = [&flags.to_be_bytes(), &kind.to_be_bytes(), between, inner].concat();
        ether(0x0800, &ipv4([1; 4], [2; 4], 47, &body))
    };
    let udp = |port: u16, body: &[u8]| {
        let mut datagram = vec![9, 9];
        datagram.extend(port.to_be_bytes());
        datagram.extend(u16::try_from(8 + body.len()).unwrap().to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(body);
        ether(0x0800, &ipv4([1; 4], [2; 4], 17, &datagram))
    };
    let sll = |len: usize, at: usize| {
        let mut header = vec![0; len];
        header[at..at + 2].copy_from_slice(&[8, 0]);
        [header, ip.clone()].concat()
    };
    let mut padded = ether(0x0800, &ip);
    padded.extend([0xaa; 30]);
    let cases: Vec<(&str, u32, Vec<u8>)> = vec![
        ("ethernet", 1, eth.clone()),
        ("ethernet with padding", 1, padded),
        (
            "vlan",
            1,
            ether(0x8100, &[&[0, 5, 8, 0], ip.as_slice()].concat()),
        ),
        (
            "qinq",
            1,
            ether(
                0x88a8,
                &[&[0, 5, 0x81, 0, 0, 6, 8, 0], ip.as_slice()].concat(),
            ),
        ),
        (
            "mpls",
            1,
            ether(0x8847, &[&[0, 0, 0, 9, 0, 0, 1, 9], ip.as_slice()].concat()),
        ),
        ("ipv6", 1, ether(0x86dd, &ip6)),
        ("raw", 101, ip.clone()),
        ("raw ipv6", 101, ip6.clone()),
        ("null", 0, [&[2, 0, 0, 0], ip.as_slice()].concat()),
        ("loop", 108, [&[0, 0, 0, 2], ip.as_slice()].concat()),
        ("sll", 113, sll(16, 14)),
        ("sll2", 276, sll(20, 0)),
        ("gre", 1, gre(0x0800, 0, &[], &ip)),
        ("gre with key", 1, gre(0x6558, 0x2000, &[0; 4], &eth)),
        ("erspan 1", 1, gre(0x88be, 0, &[], &eth)),
        ("erspan 2", 1, gre(0x88be, 0x1000, &[0; 12], &eth)),
        ("erspan 3", 1, gre(0x22eb, 0x1000, &[0; 16], &eth)),
        (
            "vxlan",
            1,
            udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], eth.as_slice()].concat()),
        ),
        (
            "geneve",
            1,
            udp(
                6081,
                &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0], eth.as_slice()].concat(),
            ),
        ),
        ("ip in ip", 1, ether(0x0800, &ipv4([1; 4], [2; 4], 4, &ip))),
        (
            "length 0",
            1,
            ether(0x0800, &ipv4_raw(CLIENT.0, SERVER.0, 0, 0, 6, &segment)),
        ),
    ];
    for (name, link, packet) in cases {
        let seen = read(vec![pcap(link, &[packet])]);
        assert_eq!(seen.frames.len(), 1, "{name}: {:?}", seen.stats);
        assert_eq!(seen.frames[0].2, message, "{name}");
    }
}

#[test]
fn fragments_come_together_in_any_order() {
    let message = smb2(600, false);
    let segment = tcp(CLIENT.1, SERVER.1, 100, 0, ACK, &framed(&message));
    let fragment = |from: usize, to: usize| {
        let more = if to == segment.len() { 0 } else { 0x2000 };
        let place = u16::try_from(from / 8).unwrap() | more;
        let total = u16::try_from(20 + to - from).unwrap();
        ether(
            0x0800,
            &ipv4_raw(CLIENT.0, SERVER.0, place, total, 6, &segment[from..to]),
        )
    };
    let parts = [
        fragment(0, 200),
        fragment(200, 400),
        fragment(400, segment.len()),
    ];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
        let seen = ethernet(&order.map(|part| parts[part].clone()));
        assert_eq!(seen.frames[0].2, message);
        assert_eq!(
            (seen.stats.fragments, seen.stats.reassembled_datagrams),
            (3, 1)
        );
    }
    let seen = ethernet(&parts[..2]);
    assert_eq!(seen.stats.dropped_fragments, 2);
}

/// A block with its two lengths.
fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let len = u32::try_from(padded.len() + 12).unwrap();
    let word = |value: u32| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    [&word(kind), &word(len), padded.as_slice(), &word(len)].concat()
}

fn words(values: &[u32], big: bool) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| {
            if big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        })
        .collect()
}

/// A section with an Ethernet interface of microseconds and a raw IP one of nanoseconds.
fn section(big: bool, seq: u32) -> Vec<u8> {
    let short = |value: u16| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let message = framed(&smb2(65, false));
    let segment = tcp(CLIENT.1, SERVER.1, seq, 0, ACK, &message);
    let ip = ipv4(CLIENT.0, SERVER.0, 6, &segment);
    let next = tcp(CLIENT.1, SERVER.1, seq + 69, 0, ACK, &message);
    let next = ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &next));
    let resolution = [
        &short(9),
        &short(1),
        &[9, 0, 0, 0][..],
        &short(0),
        &short(0),
    ]
    .concat();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    [
        block(
            0x0a0d_0d0a,
            &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX], big),
            big,
        ),
        block(
            1,
            &[&short(1), &short(0), words(&[0], big).as_slice()].concat(),
            big,
        ),
        block(
            1,
            &[
                &short(101),
                &short(0),
                words(&[0], big).as_slice(),
                &resolution,
            ]
            .concat(),
            big,
        ),
        block(5, &[0; 12], big),
        block(
            6,
            &[words(&[1, 1, 5, len(&ip), len(&ip)], big), ip].concat(),
            big,
        ),
        block(3, &[words(&[len(&next)], big), next].concat(), big),
    ]
    .concat()
}

#[test]
fn pcapng_of_both_byte_orders_and_two_interfaces() {
    let file = [section(false, 100), section(true, 238)].concat();
    let seen = read(vec![file.clone()]);
    assert_eq!(seen.frames.len(), 4);
    assert_eq!(seen.infos[0].time_ns, (1 << 32) + 5);
    assert_eq!(seen.stats.other_blocks, 2);
    assert!(seen.stats.problems.is_empty(), "{:?}", seen.stats.problems);
    let cut = read(vec![file[..file.len() - 3].to_vec()]);
    assert_eq!(cut.frames.len(), 3);
    assert_eq!(cut.stats.problems[problem::TRUNCATED_FILE], 1);
}

#[test]
fn pcap_of_every_magic() {
    let packet = up(100, ACK, &framed(&smb2(64, false)));
    let len = u32::try_from(packet.len()).unwrap();
    for (magic, big, time_ns) in [
        (0xa1b2_c3d4, false, 7_000_005_000),
        (0xa1b2_c3d4, true, 7_000_005_000),
        (0xa1b2_3c4d, false, 7_000_000_005),
        (0xa1b2_3c4d, true, 7_000_000_005_u64),
    ] {
        let version = if big { 0x0002_0004 } else { 0x0004_0002 };
        let mut file = words(&[magic, version, 0, 0, 65_535, 1, 7, 5, len, len], big);
        file.extend(&packet);
        let seen = read(vec![file]);
        assert_eq!(seen.infos[0].time_ns, time_ns, "{magic:x} {big}");
    }
}

#[test]
fn packed_captures_and_their_digests() {
    let plain = pcap(1, &[up(100, ACK, &framed(&smb2(64, false)))]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let options = CaptureOptions {
        hash: true,
        ..CaptureOptions::default()
    };
    for file in [plain, gzip.clone(), zstd] {
        let seen = read_with(&options, vec![file.clone()]);
        assert_eq!(seen.frames.len(), 1);
        assert_eq!(seen.stats.digests, [*blake3::hash(&file).as_bytes()]);
    }
    let cut = read(vec![gzip[..gzip.len() - 12].to_vec()]);
    assert_eq!(cut.stats.problems[problem::TRUNCATED_FILE], 1);
}

#[test]
fn what_is_no_capture_is_refused() {
    let open = |bytes: &'static [u8]| {
        read_capture(vec![Box::new(Cursor::new(bytes))], &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    assert!(open(b"MZ this is something else").contains("4d, 5a"));
    assert_eq!(open(b""), "the capture is empty");
    assert!(read_capture(Vec::new(), &mut |_| {}).is_err());
}

#[test]
fn a_truncated_file_gives_its_whole_packets() {
    let message = framed(&smb2(64, false));
    let file = pcap(1, &[up(100, ACK, &message), up(168, ACK, &message)]);
    for cut in 1..100 {
        let seen = read(vec![file[..file.len() - cut].to_vec()]);
        assert_eq!(seen.frames.len(), 1);
        assert_eq!(seen.stats.problems[problem::TRUNCATED_FILE], 1);
    }
}

#[test]
fn several_files_are_merged_by_time() {
    let message = framed(&smb2(64, false));
    let packets: Vec<_> = (0..20).map(|n| up(100 + n * 68, ACK, &message)).collect();
    let whole = pcap(1, &packets);
    let (mut even, mut odd) = (whole[..24].to_vec(), whole[..24].to_vec());
    for (n, record) in whole[24..].chunks((whole.len() - 24) / 20).enumerate() {
        if n % 2 == 0 { &mut even } else { &mut odd }.extend(record);
    }
    let (merged, direct) = (read(vec![odd, even]), read(vec![whole]));
    assert_eq!(merged.infos, direct.infos);
    assert_eq!(merged.stats, direct.stats);
    assert_eq!(merged.stats.out_of_order_segments, 0);
}

#[test]
fn large_frames_and_the_memory_limit() {
    let message = smb2(4 << 20, false);
    let stream = framed(&message);
    let mut packets = vec![up(99, SYN, &[])];
    let mut seq = 100;
    for part in stream.chunks(60_000) {
        packets.push(up(seq, ACK, part));
        seq += u32::try_from(part.len()).unwrap();
    }
    packets.push(up(seq, ACK, &framed(&smb2(64, false))));
    let file = pcap(1, &packets);
    let seen = read(vec![file.clone()]);
    assert!(seen.frames[0].2 == message && seen.frames.len() == 2);
    let tight = CaptureOptions {
        memory_bytes: 1 << 20,
        ..CaptureOptions::default()
    };
    let seen = read_with(&tight, vec![file]);
    assert_eq!(seen.frames.len(), 1, "only the small one is whole");
    assert_eq!(seen.stats.partial_frames, 1);
}

#[test]
fn too_many_connections_forget_the_stillest() {
    let message = framed(&smb2(64, false));
    let packets: Vec<_> = (1..=40_u16)
        .map(|port| {
            ether(
                0x0800,
                &ipv4(CLIENT.0, SERVER.0, 6, &tcp(port, 445, 1, 0, ACK, &message)),
            )
        })
        .collect();
    let options = CaptureOptions {
        flows: 8,
        ..CaptureOptions::default()
    };
    let seen = read_with(&options, vec![pcap(1, &packets)]);
    assert_eq!((seen.frames.len(), seen.stats.smb_flows), (40, 40));
    assert_eq!(seen.stats.evicted_flows, 32);
    let closed = seen
        .events
        .iter()
        .filter(|event| event.starts_with("closed"))
        .count();
    assert_eq!(closed, 40);
}

#[test]
fn connections_that_have_ended_are_forgotten_after_many_others() {
    let message = framed(&smb2(64, false));
    let at = |seq, port: u16, flags, payload: &[u8]| {
        let segment = tcp(port, 445, seq, 0, flags, payload);
        ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
    };
    let of = |port, flags, payload: &[u8]| at(1, port, flags, payload);
    let end = |port| [of(port, ACK, &message), at(69, port, RST, &[])];
    let mut packets: Vec<_> = (1..=5_000).flat_map(end).collect();
    // One that is known says no more, one that is forgotten is another connection.
    let more = [message.as_slice(), &message].concat();
    packets.extend([of(5_000, ACK, &more), of(1, ACK, &message)]);
    let seen = ethernet(&packets);
    assert_eq!((seen.frames.len(), seen.stats.smb_flows), (5_001, 5_001));
    assert_eq!((seen.stats.late_segments, seen.stats.evicted_flows), (1, 0));
}

#[test]
fn no_bytes_make_it_panic() {
    let message = framed(&smb2(200, false));
    let packets: Vec<_> = (0..12).map(|n| up(100 + n * 150, ACK, &message)).collect();
    let seeds = [
        pcap(1, &packets),
        pcap(101, &packets),
        [section(false, 1), section(true, 9)].concat(),
    ];
    let mut random = Random(42);
    for round in 0..3000 {
        let mut file = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(24) {
            let at = random.below(file.len());
            file[at] = random.next().to_le_bytes()[3];
        }
        file.truncate(random.below(file.len() * 2).max(1));
        let options = CaptureOptions {
            memory_bytes: random.below(5000),
            flows: 3,
            ..CaptureOptions::default()
        };
        // An error is as good an answer as any; a panic is none.
        let _ = read_capture_with(&options, vec![Box::new(Cursor::new(file))], &mut |_| {});
    }
    for _ in 0..500 {
        let junk: Vec<_> = (0..400).map(|_| random.next().to_le_bytes()[5]).collect();
        for link in [0, 1, 101, 113, 276] {
            read(vec![pcap(
                link,
                &[junk.clone(), ether(0x0800, &junk), ether(0x86dd, &junk)],
            )]);
        }
    }
}
