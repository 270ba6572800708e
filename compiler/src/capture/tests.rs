//! Hand-made packets through the whole capture layer: streams, holes and connections.

mod clocks;
mod input;
mod links;
mod resets;
mod step;
mod twice;
mod wraps;

use std::io::{Cursor, Read};

use super::*;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 50_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 445);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;

/// What came out, in words that are easy to compare.
#[derive(Debug, Default)]
struct Seen {
    events: Vec<String>,
    /// Payloads of the complete frames, in order, with who sent them.
    frames: Vec<(u32, Direction, Vec<u8>)>,
    infos: Vec<FrameInfo>,
    stats: CaptureStats,
}

fn read(files: Vec<Vec<u8>>) -> Seen {
    read_with(&CaptureOptions::default(), files)
}

fn read_with(options: &CaptureOptions, files: Vec<Vec<u8>>) -> Seen {
    let mut seen = Seen::default();
    let inputs = files
        .into_iter()
        .map(|file| Box::new(Cursor::new(file)) as Box<dyn Read>);
    let stats = read_capture_with(options, inputs.collect(), &mut |event| {
        seen.events.push(match event {
            CaptureEvent::Connection(info) => {
                format!(
                    "connection {} {} > {} midstream {}",
                    info.conn, info.client, info.server, info.midstream
                )
            }
            CaptureEvent::Frame(info, payload) => {
                seen.infos.push(info);
                if info.complete {
                    seen.frames.push((info.conn, info.dir, payload.to_vec()));
                    format!("frame {} {:?} {}", info.conn, info.dir, payload.len())
                } else {
                    format!(
                        "part {} {:?} {} of {}",
                        info.conn,
                        info.dir,
                        payload.len(),
                        info.wire_len
                    )
                }
            }
            CaptureEvent::Gap {
                conn,
                missing_bytes,
                ..
            } => format!("gap {conn} {missing_bytes:?}"),
            CaptureEvent::Closed { conn, how, by, .. } => format!("closed {conn} {how:?} {by:?}"),
        });
    });
    seen.stats = stats.unwrap();
    seen
}

/// An SMB2 message of `len` bytes whose bytes after the header tell their place.
fn smb2(len: usize, response: bool) -> Vec<u8> {
    let mut message = vec![0xfe, b'S', b'M', b'B', 64, 0];
    message.extend((6..len).map(|at| u8::try_from(at % 251).unwrap()));
    message[16] = u8::from(response);
    message
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

fn tcp(src: u16, dst: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(src.to_be_bytes());
    segment.extend(dst.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn ipv4_raw(
    src: [u8; 4],
    dst: [u8; 4],
    frag: u16,
    total: u16,
    protocol: u8,
    body: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(frag.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(body);
    packet
}

fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, body: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + body.len()).unwrap();
    ipv4_raw(src, dst, 0, total, protocol, body)
}

fn ether(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend(kind.to_be_bytes());
    packet.extend(body);
    packet
}

/// Client to server, over plain Ethernet.
fn up(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = tcp(CLIENT.1, SERVER.1, seq, 9000, flags, payload);
    ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
}

/// Server to client, over plain Ethernet.
fn down(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = tcp(SERVER.1, CLIENT.1, seq, ack, flags, payload);
    ether(0x0800, &ipv4(SERVER.0, CLIENT.0, 6, &segment))
}

/// A microsecond pcap; packets are one millisecond apart.
fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    pcap_cut(link, packets, usize::MAX)
}

fn pcap_cut(link: u32, packets: &[Vec<u8>], snaplen: usize) -> Vec<u8> {
    let cut = |packet: &Vec<u8>| {
        let captured = packet.len().min(snaplen);
        (packet[..captured].to_vec(), packet.len())
    };
    pcap_of(link, packets.iter().map(cut))
}

/// A pcap of what was captured of packets, and their lengths on the wire.
fn pcap_of(link: u32, packets: impl Iterator<Item = (Vec<u8>, usize)>) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for (at, (packet, len)) in (0_u32..).zip(packets) {
        let lengths = [packet.len(), len].map(|len| u32::try_from(len).unwrap());
        for word in [1000, at * 1000, lengths[0], lengths[1]] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&packet);
    }
    file
}

/// A pcap of what was captured of segments of one client, and the lengths of their payloads on the
/// wire, which may be more than a datagram has room for.
pub(crate) fn segments(payloads: impl Iterator<Item = (Vec<u8>, usize)>) -> Vec<u8> {
    let mut seq = 1_u32;
    let packets = payloads.map(|(payload, len)| {
        let segment = tcp(CLIENT.1, SERVER.1, seq, 0, ACK, &payload);
        seq = seq.wrapping_add(u32::try_from(len).unwrap());
        // No total length: segmentation offload.
        let packet = ipv4_raw(CLIENT.0, SERVER.0, 0, 0, 6, &segment);
        let len = packet.len() - payload.len() + len;
        (packet, len)
    });
    pcap_of(101, packets)
}

fn ethernet(packets: &[Vec<u8>]) -> Seen {
    read(vec![pcap(1, packets)])
}

#[test]
fn one_exchange() {
    let (request, answer) = (smb2(100, false), smb2(80, true));
    let seen = ethernet(&[
        up(99, SYN, &[]),
        down(499, 100, SYN | ACK, &[]),
        up(100, ACK, &framed(&request)),
        down(500, 204, ACK, &framed(&answer)),
        up(204, FIN, &[]),
        down(584, 205, FIN, &[]),
    ]);
    assert_eq!(
        seen.events,
        [
            "connection 0 10.0.0.1:50000 > 10.0.0.2:445 midstream false",
            "frame 0 ClientToServer 100",
            "frame 0 ServerToClient 80",
            "closed 0 Fin ClientToServer",
        ]
    );
    assert_eq!(seen.frames[0].2, request);
    assert_eq!(seen.frames[1].2, answer);
    assert_eq!(
        (seen.infos[0].frame_no, seen.infos[0].time_ns),
        (3, 1_000_002_000_000)
    );
}

#[test]
fn any_cut_into_segments_gives_the_same_frames() {
    let messages = [smb2(64, false), smb2(300, false), smb2(70, false)];
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect();
    for size in 1..stream.len() {
        let mut packets = vec![up(u32::MAX - 150, SYN, &[])];
        let mut seq = u32::MAX - 149; // wraps inside the second message
        for part in stream.chunks(size) {
            packets.push(up(seq, ACK, part));
            seq = seq.wrapping_add(u32::try_from(part.len()).unwrap());
        }
        let seen = ethernet(&packets);
        let got: Vec<_> = seen.frames.iter().map(|frame| frame.2.clone()).collect();
        assert_eq!(got, messages, "segments of {size}");
    }
}

#[test]
fn any_order_of_segments_gives_the_same_frames() {
    let messages = [smb2(200, false), smb2(90, false)];
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect();
    let mut random = Random(7);
    for _ in 0..200 {
        let mut packets: Vec<_> = (0_u32..)
            .zip(stream.chunks(31))
            .map(|(n, part)| up(100 + n * 31, ACK, part))
            .collect();
        for at in (1..packets.len()).rev() {
            packets.swap(at, random.below(at + 1));
        }
        packets.insert(0, up(99, SYN, &[]));
        let seen = ethernet(&packets);
        let got: Vec<_> = seen.frames.iter().map(|frame| frame.2.clone()).collect();
        assert_eq!(got, messages);
        assert!(seen.infos[0].frame_no <= seen.infos[1].frame_no);
    }
}

#[test]
fn the_first_copy_of_a_byte_wins() {
    let message = smb2(120, false);
    let stream = framed(&message);
    let mut other = stream.clone();
    other.iter_mut().skip(40).for_each(|byte| *byte = 0xee);
    let seen = ethernet(&[
        up(99, SYN, &[]),
        up(100, ACK, &stream[..60]),
        up(140, ACK, &other[40..80]), // 20 of these were seen before
        up(180, ACK, &stream[80..]),
    ]);
    assert_eq!(seen.frames[0].2[..56], message[..56]);
    assert_eq!(seen.frames[0].2[56..76], [0xee; 20]);
    assert_eq!(seen.stats.retransmitted_bytes, 20);
}

#[test]
fn overlaps_that_wait_are_trimmed() {
    let message = smb2(200, false);
    let stream = framed(&message);
    let junk = [0xee; 100];
    let seen = ethernet(&[
        up(99, SYN, &[]),
        up(150, ACK, &stream[50..100]),
        up(120, ACK, &[&stream[20..50], &junk[..80]].concat()), // covers the one before and more
        up(200, ACK, &stream[100..]),
        up(100, ACK, &stream[..20]),
    ]);
    let got = &seen.frames[0].2;
    assert_eq!(got[..96], message[..96]);
    assert_eq!(
        got[96..126],
        junk[..30],
        "bytes 100..130 came first with the overlapping segment"
    );
    assert_eq!(got[126..], message[126..]);
    assert_eq!(seen.stats.out_of_order_segments, 3);
}

#[test]
fn a_lost_segment_cuts_its_frame_and_no_other() {
    let messages = [smb2(400, false), smb2(100, false)];
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect();
    let seen = ethernet(&[
        up(99, SYN, &[]),
        up(100, ACK, &stream[..150]),
        up(350, ACK, &stream[250..]),
        down(9000, 100 + 508, ACK, &[]),
    ]);
    assert_eq!(
        seen.events[1..],
        [
            "gap 0 Some(100)",
            "part 0 ClientToServer 146 of 400",
            "frame 0 ClientToServer 100",
            "closed 0 End ClientToServer"
        ]
    );
    assert_eq!(seen.frames[0].2, messages[1]);
}

#[test]
fn an_acknowledged_hole_does_not_wait_for_the_end() {
    let message = framed(&smb2(100, false));
    let mut packets = vec![up(99, SYN, &[])];
    let len = u32::try_from(message.len()).unwrap();
    for n in 0..100 {
        if n != 1 {
            packets.push(up(100 + n * len, ACK, &message));
            packets.push(down(9000, 100 + (n + 1) * len, ACK, &[]));
        }
    }
    packets.push(up(100 + 100 * len, RST, &[]));
    let seen = ethernet(&packets);
    assert_eq!(seen.frames.len(), 99);
    assert_eq!(seen.stats.gaps, 1);
    let gap = seen
        .events
        .iter()
        .position(|event| event.starts_with("gap"))
        .unwrap();
    assert_eq!(gap, 2, "right after the first frame");
    assert_eq!(seen.events.last().unwrap(), "closed 0 Rst ClientToServer");
}

#[test]
fn a_hole_over_a_boundary_is_searched_past() {
    let messages = [smb2(100, false), smb2(100, false), smb2(100, false)];
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect();
    let seen = ethernet(&[
        up(99, SYN, &[]),
        up(100, ACK, &stream[..80]),
        up(250, ACK, &stream[150..]),
    ]);
    assert_eq!(seen.frames.len(), 1);
    assert_eq!(seen.frames[0].2, messages[2]);
    assert_eq!(seen.stats.skipped_bytes, 58);
    assert!(
        seen.events
            .contains(&"part 0 ClientToServer 76 of 100".to_owned())
    );
}

#[test]
fn snap_length_leaves_parts_and_keeps_step() {
    let stream = [framed(&smb2(1000, false)), framed(&smb2(70, false))].concat();
    let packets = vec![
        up(99, SYN, &[]),
        up(100, ACK, &stream[..1004]),
        up(1104, ACK, &stream[1004..]),
    ];
    let seen = read(vec![pcap_cut(1, &packets, 200)]);
    assert_eq!(
        seen.events[1..],
        [
            "gap 0 Some(858)",
            "part 0 ClientToServer 142 of 1000",
            "frame 0 ClientToServer 70",
            "closed 0 End ClientToServer"
        ]
    );
    assert_eq!(
        (
            seen.stats.gaps,
            seen.stats.gap_bytes,
            seen.stats.cut_packets
        ),
        (1, 858, 1)
    );
}

#[test]
fn a_used_port_is_another_connection() {
    let message = framed(&smb2(64, false));
    let open = |isn: u32| [up(isn, SYN, &[]), up(isn + 1, ACK, &message)];
    let mut packets = open(1000).to_vec();
    packets.push(up(1000, SYN, &[])); // a repeated SYN is not
    packets.extend(open(70_000));
    packets.push(up(70_069, RST, &[]));
    packets.extend(open(500));
    let seen = ethernet(&packets);
    let closed: Vec<_> = seen
        .events
        .iter()
        .filter(|e| e.starts_with("closed"))
        .collect();
    assert_eq!(
        closed,
        [
            "closed 0 Reuse ClientToServer",
            "closed 1 Rst ClientToServer",
            "closed 2 End ClientToServer"
        ]
    );
    assert_eq!(seen.frames.len(), 3);
}

#[test]
fn the_middle_of_a_stream() {
    let stream = [framed(&smb2(300, true)), framed(&smb2(90, true))].concat();
    let seen = ethernet(&[
        down(5200, 1, ACK, &stream[200..]),
        down(5000, 1, ACK, &stream[..200]),
        up(77, ACK, &framed(&smb2(64, false))),
    ]);
    assert_eq!(
        seen.events[0],
        "connection 0 10.0.0.1:50000 > 10.0.0.2:445 midstream true"
    );
    assert_eq!(seen.frames[0].1, Direction::ServerToClient);
    assert!(
        seen.events
            .contains(&"part 0 ServerToClient 196 of 300".to_owned())
    );
    assert_eq!(seen.frames[1].1, Direction::ClientToServer);
}

#[test]
fn smb_on_any_port_and_nothing_else() {
    let http = |from: u16, seq, flags, payload: &[u8]| {
        ether(
            0x0800,
            &ipv4(
                CLIENT.0,
                SERVER.0,
                6,
                &tcp(from, 8080, seq, 0, flags, payload),
            ),
        )
    };
    let seen = ethernet(&[
        http(1, 0, SYN, &[]),
        http(1, 1, ACK, b"GET / HTTP/1.1\r\n\r\n"),
        http(2, 0, SYN, &[]),
        http(2, 1, ACK, &framed(&smb2(64, false))),
    ]);
    assert_eq!(
        seen.events[0],
        "connection 0 10.0.0.1:2 > 10.0.0.2:8080 midstream false"
    );
    assert_eq!(
        (
            seen.stats.flows,
            seen.stats.smb_flows,
            seen.stats.non_smb_flows
        ),
        (2, 1, 1)
    );
}

#[test]
fn netbios_messages_are_passed_over() {
    let mut stream = vec![0x81, 0, 0, 68];
    stream.extend([b'A'; 68]);
    stream.extend([0x85, 0, 0, 0]);
    stream.extend(framed(&smb2(64, false)));
    for size in [1, 3, 7, stream.len()] {
        let mut packets = vec![up(99, SYN, &[])];
        let mut seq = 100;
        for part in stream.chunks(size) {
            packets.push(up(seq, ACK, part));
            seq += u32::try_from(part.len()).unwrap();
        }
        let seen = ethernet(&packets);
        assert_eq!(
            (seen.frames.len(), seen.stats.netbios_control),
            (1, 2),
            "segments of {size}"
        );
        assert_eq!(seen.stats.skipped_bytes, 0);
    }
}

/// A small generator: the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}
