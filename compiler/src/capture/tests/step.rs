//! The two directions of a connection, mixed up.

use super::*;

fn client(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = tcp(CLIENT.1, SERVER.1, seq, ack, flags, payload);
    ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
}

/// A connection and so many exchanges on it, in segments of `size`; each message has a length of its
/// own.
fn exchanges(count: usize, size: usize) -> Vec<Vec<u8>> {
    let mut packets = vec![up(99, SYN, &[]), down(499, 100, SYN | ACK, &[])];
    let (mut seq, mut ack) = (100_u32, 500_u32);
    for n in 0..count {
        for part in framed(&smb2(70 + 2 * n, false)).chunks(size) {
            packets.push(client(seq, ack, ACK, part));
            seq += u32::try_from(part.len()).unwrap();
        }
        for part in framed(&smb2(71 + 2 * n, true)).chunks(size) {
            packets.push(down(ack, seq, ACK, part));
            ack += u32::try_from(part.len()).unwrap();
        }
    }
    packets.push(client(seq, ack, FIN, &[]));
    packets.push(down(ack, seq + 1, FIN, &[]));
    packets
}

#[test]
fn an_answer_before_its_request_comes_after_it() {
    let mut packets = exchanges(1, 1000);
    packets.swap(2, 3);
    let seen = ethernet(&packets);
    assert_eq!(
        seen.events[1..],
        [
            "frame 0 ClientToServer 70",
            "frame 0 ServerToClient 71",
            "closed 0 Fin ClientToServer",
        ]
    );
    let places: Vec<_> = seen.infos.iter().map(|info| info.frame_no).collect();
    assert_eq!(places, [4, 3], "each has its own packet");
    assert_eq!(seen.stats.problems[problem::OUT_OF_STEP], 1);
    assert_eq!(seen.stats.gaps, 0);
}

#[test]
fn any_disorder_near_by_gives_the_same_frames_in_the_same_order() {
    let ordered = exchanges(30, 60);
    let expected = ethernet(&ordered).frames;
    assert_eq!(expected.len(), 60);
    let mut random = Random(11);
    for round in 0..200 {
        let mut packets = ordered.clone();
        for near in packets[2..].chunks_mut(2 + round % 6) {
            for at in (1..near.len()).rev() {
                near.swap(at, random.below(at + 1));
            }
        }
        let seen = ethernet(&packets);
        assert_eq!(seen.frames, expected, "round {round}");
        assert_eq!(seen.stats.gaps, 0, "round {round}");
    }
}

#[test]
fn what_a_lost_packet_answered_is_still_in_its_place() {
    let ordered = exchanges(60, 1000);
    let expected = ethernet(&ordered).frames;
    for lost in 2..ordered.len() - 2 {
        let mut packets = ordered.clone();
        packets.remove(lost);
        let seen = ethernet(&packets);
        let mut left = expected.clone();
        left.remove(lost - 2);
        assert_eq!(seen.frames, left, "packet {lost}");
        assert!(seen.stats.problems.is_empty(), "{:?}", seen.stats.problems);
    }
}

/// As captures are that have only one direction from some time on.
#[test]
fn what_is_never_captured_is_not_waited_for_long() {
    let mut packets = exchanges(600, 1000);
    let mut from_client = 0;
    packets.retain(|packet| {
        from_client += usize::from(packet[26..30] == CLIENT.0);
        packet[26..30] != CLIENT.0 || from_client < 5
    });
    let seen = ethernet(&packets);
    let answers = seen
        .frames
        .iter()
        .filter(|frame| frame.1 == Direction::ServerToClient);
    assert_eq!(answers.count(), 600);
    let first = seen
        .infos
        .iter()
        .position(|info| info.frame_no > 20)
        .unwrap();
    assert!(first > 10, "they do not wait for the end");
}
