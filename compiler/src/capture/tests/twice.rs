//! The same traffic at two places of a network, and traffic that only looks like it.

use super::*;

type End = ([u8; 4], u16);

/// Where a connection was captured, and how.
#[derive(Clone, Copy)]
struct Leg {
    client: End,
    server: End,
    /// First sequence numbers of both.
    seqs: (u32, u32),
    /// When each message passes, after its time, in microseconds: requests and answers.
    delay_us: (u32, u32),
    /// Bytes of a segment.
    size: usize,
    vlan: Option<u8>,
    /// Whether it ends with FINs.
    ends: bool,
}

const FRONT: Leg = Leg {
    client: CLIENT,
    server: SERVER,
    seqs: (1000, 9000),
    delay_us: (0, 20),
    size: 1460,
    vlan: None,
    ends: true,
};

/// Behind address translation, on the same machine: answers are seen here first.
const BEHIND: Leg = Leg {
    server: ([172, 17, 0, 2], 445),
    delay_us: (10, 10),
    ..FRONT
};

/// Behind a proxy, which has a connection of its own.
const PROXIED: Leg = Leg {
    client: ([10, 0, 0, 7], 33_000),
    server: ([10, 0, 0, 8], 445),
    seqs: (77_000, 3_000_000_000),
    delay_us: (900, 400),
    size: 50,
    ..FRONT
};

/// A message at a time, in microseconds; whether it is a request.
type Message = (u32, bool, Vec<u8>);

fn message(len: usize, is_request: bool, mid: u64, session: u64) -> Vec<u8> {
    let mut bytes = smb2(len, !is_request);
    bytes[24..32].copy_from_slice(&mid.to_le_bytes());
    bytes[40..48].copy_from_slice(&session.to_le_bytes());
    bytes
}

/// NEGOTIATE, a login of two legs, and `count` exchanges, one each two milliseconds from `start_us` on.
fn talk(start_us: u32, session: u64, count: u32) -> Vec<Message> {
    let mut messages = Vec::new();
    for n in 0..3 + count {
        let at = start_us + n * 2_000;
        let (asks, answers) = match n {
            0 => (0, 0),
            1 => (0, session),
            _ => (session, session),
        };
        let len = 100 + n as usize * 7;
        messages.push((at, true, message(len, true, n.into(), asks)));
        messages.push((at + 500, false, message(len + 3, false, n.into(), answers)));
    }
    messages
}

/// The packets of a connection with their times.
fn packets(leg: Leg, messages: &[Message]) -> Vec<(u32, Vec<u8>)> {
    let (mut seq, mut ack) = leg.seqs;
    let packet = |is_up: bool, seq, ack, flags, payload: &[u8]| {
        let (src, dst) = if is_up {
            (leg.client, leg.server)
        } else {
            (leg.server, leg.client)
        };
        let ip = ipv4(
            src.0,
            dst.0,
            6,
            &tcp(src.1, dst.1, seq, ack, flags, payload),
        );
        match leg.vlan {
            Some(id) => ether(0x8100, &[&[0, id, 8, 0][..], &ip].concat()),
            None => ether(0x0800, &ip),
        }
    };
    let (first, last) = (messages[0].0 - 100, messages.last().unwrap().0 + 2_000);
    let mut all = vec![
        (first + leg.delay_us.0, packet(true, seq, 0, SYN, &[])),
        (
            first + 30 + leg.delay_us.1,
            packet(false, ack, seq + 1, SYN | ACK, &[]),
        ),
    ];
    (seq, ack) = (seq + 1, ack + 1);
    for (at, is_up, bytes) in messages {
        for part in framed(bytes).chunks(leg.size) {
            let len = u32::try_from(part.len()).unwrap();
            if *is_up {
                all.push((at + leg.delay_us.0, packet(true, seq, ack, ACK, part)));
                seq = seq.wrapping_add(len);
            } else {
                all.push((at + leg.delay_us.1, packet(false, ack, seq, ACK, part)));
                ack = ack.wrapping_add(len);
            }
        }
    }
    if leg.ends {
        all.push((last + leg.delay_us.0, packet(true, seq, ack, FIN, &[])));
        all.push((
            last + 30 + leg.delay_us.1,
            packet(false, ack, seq + 1, FIN, &[]),
        ));
    }
    all
}

/// A capture of several connections.
fn capture(connections: &[Vec<(u32, Vec<u8>)>]) -> Vec<u8> {
    let mut all = connections.concat();
    all.sort_by_key(|(at, _)| *at);
    let mut file = pcap(1, &[]);
    for (at, packet) in &all {
        let len = u32::try_from(packet.len()).unwrap();
        for word in [1000 + at / 1_000_000, at % 1_000_000, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

fn kept(file: Vec<u8>) -> Seen {
    let options = CaptureOptions {
        keep_duplicates: true,
        ..CaptureOptions::default()
    };
    read_with(&options, vec![file])
}

/// The connection in front is told as if it were alone, and so many are left out.
fn told_once(legs: &[Vec<(u32, Vec<u8>)>], messages: &[Message]) {
    let alone = read(vec![capture(&legs[..1])]);
    assert_eq!(alone.frames.len(), messages.len());
    let both = capture(legs);
    let every = kept(both.clone());
    assert_eq!(every.stats.smb_flows, legs.len() as u64);
    assert_eq!(every.frames.len(), messages.len() * legs.len());
    assert_eq!(every.stats.duplicates, []);
    let seen = read(vec![both]);
    assert_eq!(seen.frames, alone.frames);
    let sorted = |seen: &Seen| {
        let mut events = seen.events.clone();
        events.sort();
        events
    };
    assert_eq!(sorted(&seen), sorted(&alone));
    assert_eq!(seen.stats.duplicates.len(), legs.len() - 1);
    for duplicate in &seen.stats.duplicates {
        assert_eq!(duplicate.frames, messages.len() as u64);
        let of = (duplicate.of_client, duplicate.of_server);
        let front = |end: End| std::net::SocketAddr::from(end);
        assert_eq!(of, (front(CLIENT), front(SERVER)));
    }
    assert!(seen.stats.problems.is_empty(), "{:?}", seen.stats.problems);
}

/// Nothing is left out, and all is told in the order of the packets.
fn told_each(connections: &[Vec<(u32, Vec<u8>)>]) {
    let file = capture(connections);
    let (seen, every) = (read(vec![file.clone()]), kept(file));
    assert_eq!(seen.events, every.events);
    assert_eq!(seen.infos, every.infos);
    assert_eq!(seen.frames, every.frames);
    assert_eq!(seen.stats, every.stats);
}

#[test]
fn before_and_behind_address_translation() {
    let messages = talk(1000, 0x400_0000_0019, 10);
    told_once(
        &[FRONT, BEHIND].map(|leg| packets(leg, &messages)),
        &messages,
    );
}

#[test]
fn before_and_behind_a_proxy() {
    let messages = talk(1000, 5, 10);
    told_once(
        &[FRONT, PROXIED].map(|leg| packets(leg, &messages)),
        &messages,
    );
    // It speaks from a port of its own as a client does, to a port that is not SMB's.
    let front = Leg {
        server: (SERVER.0, 8445),
        ..FRONT
    };
    let legs = [front, PROXIED].map(|leg| packets(leg, &messages));
    let seen = read(vec![capture(&legs)]);
    assert_eq!(seen.stats.duplicates.len(), 1);
}

#[test]
fn at_three_places() {
    let messages = talk(1000, 5, 10);
    let legs = [FRONT, BEHIND, PROXIED].map(|leg| packets(leg, &messages));
    told_once(&legs, &messages);
}

#[test]
fn in_two_networks_of_a_router_and_with_and_without_a_tag() {
    let messages = talk(1000, 5, 10);
    for (one, other) in [(Some(3), Some(4)), (None, Some(4)), (Some(3), None)] {
        let front = Leg { vlan: one, ..FRONT };
        let behind = Leg {
            vlan: other,
            delay_us: (10, 10),
            ..FRONT
        };
        told_once(
            &[front, behind].map(|leg| packets(leg, &messages)),
            &messages,
        );
    }
}

/// Nothing but a NEGOTIATE: only what has other addresses may be somebody else.
#[test]
fn a_connection_without_a_session_is_a_copy_in_another_network_only() {
    let messages = talk(1000, 0, 0)[..2].to_vec();
    let tagged = Leg {
        vlan: Some(3),
        delay_us: (10, 10),
        ..FRONT
    };
    told_once(
        &[FRONT, tagged].map(|leg| packets(leg, &messages)),
        &messages,
    );
    told_each(&[FRONT, BEHIND].map(|leg| packets(leg, &messages)));
    let mut other = messages.clone();
    other[1].2[90] ^= 1;
    told_each(&[packets(FRONT, &messages), packets(tagged, &other)]);
}

#[test]
fn two_pairs_that_begin_with_the_same_frames() {
    let (one, other) = (talk(1000, 5, 10), talk(1100, 6, 10));
    let second = |leg: Leg| Leg {
        client: ([10, 0, 0, 9], 40_000),
        ..leg
    };
    let legs = [
        packets(FRONT, &one),
        packets(BEHIND, &one),
        packets(second(FRONT), &other),
        packets(second(BEHIND), &other),
    ];
    let seen = read(vec![capture(&legs)]);
    assert_eq!(seen.frames.len(), one.len() + other.len());
    assert_eq!(seen.stats.duplicates.len(), 2);
    for duplicate in &seen.stats.duplicates {
        assert_eq!(duplicate.client, duplicate.of_client);
        assert_eq!(duplicate.of_server, std::net::SocketAddr::from(SERVER));
    }
}

/// As where the second tap began to capture later, among answers that were under way.
#[test]
fn a_copy_that_begins_later() {
    let messages = talk(1000, 5, 30);
    let whole = packets(FRONT, &messages);
    for lost in 5..30 {
        let mirrored = Leg {
            delay_us: (10, 30),
            ..BEHIND
        };
        for behind in [mirrored, PROXIED] {
            let later = packets(behind, &messages).split_off(lost);
            let seen = read(vec![capture(&[whole.clone(), later])]);
            assert_eq!(seen.frames.len(), messages.len(), "without {lost}");
            assert_eq!(seen.stats.duplicates.len(), 1);
        }
    }
}

#[test]
fn one_direction_of_both() {
    let messages = talk(1000, 5, 10);
    let requests = |leg: Leg| {
        let mut all = packets(leg, &messages);
        let server = leg.server.0;
        all.retain(|(_, packet)| packet[30..34] == server);
        all
    };
    let seen = read(vec![capture(&[FRONT, BEHIND].map(requests))]);
    assert_eq!(seen.frames.len(), messages.len() / 2);
    assert_eq!(seen.stats.duplicates.len(), 1);
}

#[test]
fn what_only_the_copy_has_is_counted() {
    let messages = talk(1000, 5, 60);
    let mut front = packets(FRONT, &messages);
    let mut behind = packets(BEHIND, &messages);
    front.remove(40);
    behind.remove(60);
    let seen = read(vec![capture(&[front, behind])]);
    assert_eq!(seen.frames.len(), messages.len() - 1);
    assert_eq!(seen.stats.duplicates[0].frames, messages.len() as u64 - 1);
    assert_eq!(seen.stats.problems[problem::ONLY_IN_COPY], 1);
}

#[test]
fn one_after_the_other_is_no_copy() {
    for ends in [true, false] {
        for count in [0, 1, 10] {
            let first = talk(1000, 5, count);
            let pause = first.last().unwrap().0 + 3_000;
            let second = talk(pause, 5, count);
            let front = Leg { ends, ..FRONT };
            let again = Leg { ends, ..PROXIED };
            told_each(&[packets(front, &first), packets(again, &second)]);
            let other_seqs = Leg { ends, ..FRONT };
            if ends {
                told_each(&[packets(front, &first), packets(other_seqs, &second)]);
            }
        }
    }
}

/// With the same sequence numbers, as where the capture itself is played again.
#[test]
fn the_same_packets_again_are_played_twice_or_come_late() {
    let messages = talk(1000, 5, 10);
    let once = packets(FRONT, &messages);
    let later = |by_us: u32| {
        let again = once.iter().map(|(at, packet)| (at + by_us, packet.clone()));
        vec![once.clone(), again.collect()]
    };
    let file = capture(&later(2_000_000));
    let seen = read(vec![file]);
    assert_eq!(
        (seen.frames.len(), seen.stats.smb_flows),
        (messages.len() * 2, 2)
    );
    assert_eq!(seen.stats.duplicates, []);
    // Two taps: within moments after it has ended.
    let file = capture(&later(500_000));
    let seen = read(vec![file]);
    assert_eq!(
        (seen.frames.len(), seen.stats.smb_flows),
        (messages.len(), 1)
    );
    let bytes: usize = messages.iter().map(|(.., bytes)| bytes.len() + 4).sum();
    assert_eq!(seen.stats.retransmitted_bytes, bytes as u64);
}

#[test]
fn clients_that_do_the_same_are_no_copies() {
    let client = |n: u8| Leg {
        client: ([10, 0, 0, n], 50_000),
        ..FRONT
    };
    let connections: Vec<_> = (1..=40_u8)
        .map(|n| packets(client(n), &talk(1000 + u32::from(n) * 13, n.into(), 5)))
        .collect();
    told_each(&connections);
    // Nor are those that never log in, nor a second channel of a session.
    let silent = |at| talk(at, 0, 0)[..4].to_vec();
    told_each(&[
        packets(FRONT, &silent(1000)),
        packets(BEHIND, &silent(1010)),
    ]);
    let mut channel = talk(1010, 5, 10);
    for (_, is_request, bytes) in &mut channel {
        *bytes.last_mut().unwrap() ^= u8::from(*is_request); // what it binds, reads and writes
    }
    told_each(&[
        packets(FRONT, &talk(1000, 5, 10)),
        packets(BEHIND, &channel),
    ]);
}

/// A frame of its own among the first ones, wherever its bytes differ.
#[test]
fn another_byte_makes_another_connection() {
    let messages = talk(1000, 5, 10);
    for at in 0..3 {
        for byte in [70, 99] {
            let mut other = messages.clone();
            other[at].2[byte] ^= 1;
            told_each(&[packets(FRONT, &messages), packets(BEHIND, &other)]);
        }
    }
}

#[test]
fn what_waits_is_bounded_and_in_order() {
    // A connection that begins as another one and never goes on, while a third moves much data.
    let first = talk(1000, 5, 10);
    let begins = talk(1010, 5, 0)[..1].to_vec();
    let quiet = Leg {
        ends: false,
        ..BEHIND
    };
    let other = Leg {
        client: ([10, 0, 0, 9], 40_000),
        ..FRONT
    };
    let mut busy = talk(900, 9, 0);
    let bulk = (0..40).map(|n| {
        (
            8_000 + n * 10,
            true,
            message(1 << 19, true, 9 + u64::from(n), 9),
        )
    });
    busy.extend(bulk);
    told_each(&[
        packets(FRONT, &first),
        packets(quiet, &begins),
        packets(
            Leg {
                size: 32_000,
                ..other
            },
            &busy,
        ),
    ]);
}

/// Thousands of connections begin with the same frame at once.
#[test]
fn a_storm_of_connections_is_told_as_it_is() {
    let ends = |n: u16| Leg {
        client: ([10, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]], 50_000),
        ends: n.is_multiple_of(2),
        ..FRONT
    };
    let storm: Vec<_> = (0..6_000_u16)
        .map(|n| {
            packets(
                ends(n),
                &talk(1000 + u32::from(n), 0, 0)[..2 + usize::from(n % 5)],
            )
        })
        .collect();
    told_each(&storm);
}

/// What the captures of this repository tell does not depend on it.
#[test]
fn captures_without_copies_are_told_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "pcap") {
            let file = std::fs::read(&path).unwrap();
            let (seen, every) = (read(vec![file.clone()]), kept(file));
            assert_eq!(seen.infos, every.infos, "{}", path.display());
            assert_eq!(seen.events, every.events, "{}", path.display());
            assert_eq!(seen.stats, every.stats, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
}

/// A stranger could make a connection be compared with any number of others.
#[test]
fn no_more_than_64_copies_of_a_connection_are_left_out() {
    let messages: Vec<Message> = (0..4)
        .map(|n| {
            (
                1_000 + 10 * n,
                n % 2 == 0,
                message(100, n % 2 == 0, n.into(), 7),
            )
        })
        .collect();
    let legs: Vec<_> = (0..80_u16)
        .map(|n| {
            let client = (CLIENT.0, CLIENT.1 + n);
            let delay = 100 * u32::from(n);
            let leg = Leg {
                client,
                delay_us: (delay, delay),
                ends: false,
                ..FRONT
            };
            packets(leg, &messages)
        })
        .collect();
    let seen = read(vec![capture(&legs)]);
    // The next is one of its own, and those behind it are its copies.
    assert_eq!(seen.frames.len(), 2 * messages.len());
    assert_eq!(seen.stats.duplicates.len(), 80 - 2);
}
