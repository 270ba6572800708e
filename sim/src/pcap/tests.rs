//! What is written, read back by hand: structure, sequence numbers, checksums, streams.

#![allow(
    clippy::cast_possible_truncation,
    reason = "small numbers of this test"
)]

use smbench_core::ids::ConnId;

use super::*;

fn link(conn: u32, life: u32) -> LinkId {
    let conn = ConnId(conn);
    LinkId { conn, life }
}

fn tap(split: bool, ends: &[(&str, &str)]) -> PcapTap<Vec<u8>> {
    let ends = ends.iter();
    let ends = ends.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    let config = PcapConfig {
        ends: ends.collect(),
        epoch_ns: 1_700_000_000_000_000_000,
        seed: 5,
        split,
        vantage: Vantage::Server,
    };
    PcapTap::new(Vec::new(), config).unwrap()
}

/// Time and bytes of every packet.
fn packets(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut found, mut kinds) = (0, Vec::new(), Vec::new());
    while at < file.len() {
        let (kind, len) = (word(at), word(at + 4) as usize);
        assert_eq!((len % 4, word(at + len - 4) as usize), (0, len));
        if kind == 6 {
            let time = u64::from(word(at + 12)) << 32 | u64::from(word(at + 16));
            let size = word(at + 20) as usize;
            assert_eq!(size, word(at + 24) as usize);
            found.push((time, file[at + 28..at + 28 + size].to_vec()));
        } else {
            kinds.push(kind);
        }
        at += len;
    }
    assert_eq!(kinds, [0x0a0d_0d0a, 1]);
    found
}

/// Sums to zero over a header or segment with its pseudo header. RFC 1071.
fn sums_up(parts: &[&[u8]]) -> bool {
    let bytes = parts.concat();
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// The streams of both directions by the client's port, each packet checked.
fn streams(file: &[u8]) -> BTreeMap<u16, [Vec<u8>; 2]> {
    let mut streams: BTreeMap<u16, [Vec<u8>; 2]> = BTreeMap::new();
    let mut next: BTreeMap<(u16, bool), u32> = BTreeMap::new();
    let mut last = 0;
    for (time, packet) in packets(file) {
        assert!(time >= last, "time goes back");
        last = time;
        let (segment, pseudo) = match packet[12..14] {
            [8, 0] => {
                let ip = &packet[14..34];
                assert!(sums_up(&[ip]));
                assert_eq!(
                    usize::from(u16::from_be_bytes([ip[2], ip[3]])),
                    packet.len() - 14
                );
                let segment = &packet[34..];
                let len = (segment.len() as u16).to_be_bytes();
                (segment, [&ip[12..20], &[0, 6], &len].concat())
            }
            [0x86, 0xdd] => {
                let segment = &packet[54..];
                let len = (segment.len() as u32).to_be_bytes();
                (segment, [&packet[22..54], &len, &[0, 0, 0, 6]].concat())
            }
            ref other => panic!("{other:?}"),
        };
        assert!(sums_up(&[&pseudo, segment]));
        assert!(packet.len() <= 1_514);
        let word = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        let port = |at: usize| u16::from_be_bytes(segment[at..at + 2].try_into().unwrap());
        let up = port(2) == 445;
        let client = if up { port(0) } else { port(2) };
        let data = &segment[usize::from(segment[12] >> 4) * 4..];
        let flags = segment[13];
        let seq = next.entry((client, up)).or_insert(word(4));
        assert_eq!(*seq, word(4), "a hole or a repetition");
        let counts = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        *seq = seq.wrapping_add(data.len() as u32).wrapping_add(counts);
        if flags & 0x10 != 0 {
            assert_eq!(next[&(client, !up)], word(8), "acknowledges what was sent");
        }
        streams.entry(client).or_default()[usize::from(!up)].extend(data);
    }
    streams
}

fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    let frame = |frame: &Vec<u8>| [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
    frames.iter().flat_map(frame).collect()
}

#[test]
fn streams_come_back_in_both_families_split_or_not() {
    for split in [false, true] {
        let ends = [
            ("10.1.1.1:50000", "10.1.1.9:445"),
            ("[fd00::1]:50001", "[fd00::9]:445"),
        ];
        let mut tap = tap(split, &ends);
        let mut sent: BTreeMap<(u32, bool), Vec<Vec<u8>>> = BTreeMap::new();
        for conn in 0..2 {
            tap.opened(LogicalTime(7), link(conn, 1));
        }
        for round in 0..200_u64 {
            let (conn, up) = (u32::from(round % 3 == 0), round % 5 < 3);
            let len = [0, 1, 64, 700, 1_456, 1_457, 9_000][(round % 7) as usize];
            let frame = vec![round as u8; len];
            let to = if up { Direction::Up } else { Direction::Down };
            // Several in a moment.
            tap.frame(LogicalTime(10 + round / 4), link(conn, 1), to, &frame);
            sent.entry((conn, up)).or_default().push(frame);
        }
        let end = |by, reset| LinkEnd { by, reset };
        tap.closed(LogicalTime(99), link(0, 1), end(Direction::Up, false));
        tap.closed(LogicalTime(99), link(1, 1), end(Direction::Down, true));
        tap.frame(LogicalTime(99), link(1, 1), Direction::Up, b"late");
        let (file, counts) = tap.finish().unwrap();
        assert_eq!(
            (counts.connections, counts.frames, counts.strays),
            (2, 200, 1)
        );
        assert_eq!(counts.packets, packets(&file).len() as u64);
        let streams = streams(&file);
        for (conn, port) in [(0, 50_000), (1, 50_001)] {
            for up in [true, false] {
                let got = &streams[&port][usize::from(!up)];
                assert!(*got == framed(&sent[&(conn, up)]), "{conn} {up} {split}");
            }
        }
    }
}

#[test]
fn times_are_the_runs_from_its_epoch() {
    let mut tap = tap(false, &[("10.1.1.1:50000", "10.1.1.9:445")]);
    tap.opened(LogicalTime(1), link(0, 1));
    tap.frame(
        LogicalTime(u64::from(u32::MAX) + 5),
        link(0, 1),
        Direction::Up,
        b"x",
    );
    let (file, _) = tap.finish().unwrap();
    let epoch = 1_700_000_000_000_000_000;
    let times: Vec<_> = packets(&file).iter().map(|it| it.0 - epoch).collect();
    assert_eq!(times, [1, 1, 1, u64::from(u32::MAX) + 5]);
}

#[test]
fn a_life_and_a_port_used_twice_get_ports_of_their_own() {
    let ends = [("10.1.1.1:50000", "10.1.1.9:445"); 2];
    let mut tap = tap(false, &ends);
    for (at, it) in [(1, link(0, 1)), (2, link(1, 1)), (3, link(0, 2))] {
        tap.opened(LogicalTime(at), it);
        tap.frame(LogicalTime(at), it, Direction::Up, b"frame");
    }
    let (file, _) = tap.finish().unwrap();
    let ports: Vec<_> = streams(&file).into_keys().collect();
    assert_eq!(ports, [49_152, 49_153, 50_000]);
}

#[test]
fn what_cannot_be_written_is_told_once_and_at_the_end() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(PcapTap::new(Full(10), PcapConfig::default()).is_err());
    let mut tap = PcapTap::new(Full(400), PcapConfig::default()).unwrap();
    tap.opened(LogicalTime(1), link(0, 1));
    for _ in 0..9 {
        tap.frame(LogicalTime(2), link(0, 1), Direction::Up, &[0; 100]);
    }
    let error = tap.finish().err().unwrap();
    assert!(
        matches!(error, PcapError::Write { packet: 4, .. }),
        "{error}"
    );

    let mut tap = PcapTap::new(Vec::new(), PcapConfig::default()).unwrap();
    tap.opened(LogicalTime(1), link(0, 1));
    tap.frame(LogicalTime(2), link(0, 1), Direction::Up, &vec![0; 1 << 24]);
    assert!(matches!(tap.finish(), Err(PcapError::TooLong { .. })));
}
