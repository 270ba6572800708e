//! Captures of the same connections by machines whose clocks are apart.

use super::*;

/// Packets of a connection with their times, as they pass a place.
#[derive(Clone)]
struct Passing(Vec<(i64, bool, Vec<u8>)>);

/// `count` exchanges from `at_us` on, one each `step_us`; `seq` is the first number of both sides.
fn passing(port: u16, at_us: i64, step_us: i64, count: u32, seq: u32) -> Passing {
    let mut all = Vec::new();
    let (mut up, mut down) = (seq, seq.wrapping_mul(7));
    let mut packet = |at, is_up: bool, seq, ack, flags, payload: &[u8]| {
        let segment = if is_up {
            tcp(port, 445, seq, ack, flags, payload)
        } else {
            tcp(445, port, seq, ack, flags, payload)
        };
        all.push((at, is_up, segment));
    };
    packet(at_us - 100, true, up, 0, SYN, &[]);
    packet(at_us - 70, false, down, up + 1, SYN | ACK, &[]);
    packet(at_us - 40, true, up + 1, down + 1, ACK, &[]);
    (up, down) = (up + 1, down + 1);
    for n in 0..count {
        let at = at_us + i64::from(n) * step_us;
        let mut asks = smb2(100, false);
        asks[24..28].copy_from_slice(&n.to_le_bytes());
        let asks = framed(&asks);
        packet(at, true, up, down, ACK, &asks);
        up = up.wrapping_add(104);
        let mut answers = smb2(80, true);
        answers[24..28].copy_from_slice(&n.to_le_bytes());
        packet(at + 300, false, down, up, ACK, &framed(&answers));
        down = down.wrapping_add(84);
        packet(at + 340, true, up, down, ACK, &[]);
    }
    Passing(all)
}

impl Passing {
    /// A capture by a machine whose clock is ahead by `ahead_us`, which sees requests so much later
    /// and answers so much earlier.
    fn seen(&self, server: [u8; 4], ahead_us: i64, nearer_us: i64) -> Vec<u8> {
        let packets = self.0.iter().map(|(at, is_up, segment)| {
            let (src, dst, way) = if *is_up {
                (CLIENT.0, server, nearer_us)
            } else {
                (server, CLIENT.0, -nearer_us)
            };
            (
                at + way + ahead_us,
                ether(0x0800, &ipv4(src, dst, 6, segment)),
            )
        });
        let mut packets: Vec<_> = packets.collect();
        packets.sort_by_key(|(at, _)| *at);
        let mut file = pcap(1, &[]);
        for (at, packet) in packets {
            let at = u64::try_from(START_US + at).unwrap();
            let len = u32::try_from(packet.len()).unwrap();
            let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
            for word in [
                seconds.try_into().unwrap(),
                micros.try_into().unwrap(),
                len,
                len,
            ] {
                file.extend(u32::to_le_bytes(word));
            }
            file.extend(packet);
        }
        file
    }

    fn one_way(&self, up: bool) -> Self {
        let packets = self.0.iter().filter(|(_, is_up, _)| *is_up == up);
        Self(packets.cloned().collect())
    }

    fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0[range].to_vec())
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

const START_US: i64 = 1_700_000_000_000_000;

fn told(files: &[Vec<u8>]) -> Vec<i64> {
    let inputs = files.iter().map(|file| {
        let input: Box<dyn Read + Send> = Box::new(Cursor::new(file.clone()));
        Some(input)
    });
    clocks(inputs.collect()).unwrap()
}

/// The files merged with their clocks set right.
fn merged(files: &[Vec<u8>]) -> Seen {
    let options = CaptureOptions {
        clocks_ns: told(files),
        ..CaptureOptions::default()
    };
    read_with(&options, files.to_vec())
}

fn times(seen: &Seen) -> Vec<(u64, u64)> {
    let infos = seen.infos.iter();
    infos
        .map(|info| (info.first_time_ns, info.time_ns))
        .collect()
}

#[test]
fn both_ends_of_a_connection() {
    let passing = passing(50_000, 0, 2_000, 40, 1000);
    let client = passing.seen(SERVER.0, 0, 0);
    let alone = read(vec![client.clone()]);
    for ahead_us in [-5_000_000, -700, 700, 5_000_000, 250_000_000] {
        let server = passing.seen(SERVER.0, ahead_us, 50);
        let files = [client.clone(), server];
        assert_eq!(told(&files), [0, -ahead_us * 1000]);
        let both = merged(&files);
        assert_eq!(both.events, alone.events);
        assert_eq!(both.frames, alone.frames);
        assert_eq!(both.stats.late_segments, 0);
        let last = |seen: &Seen| seen.stats.last_time_ns.unwrap();
        assert!(last(&both).abs_diff(last(&alone)) <= 50_000);
        // The other way round the other one's clock counts.
        let files = [files[1].clone(), files[0].clone()];
        assert_eq!(told(&files), [0, ahead_us * 1000]);
    }
}

#[test]
fn clocks_that_agree_are_left_alone() {
    let passing = passing(50_000, 0, 2_000, 40, 1000);
    let front = passing.seen(SERVER.0, 0, 0);
    for nearer_us in [0, 10, 140] {
        let behind = passing.seen(SERVER.0, 0, nearer_us);
        assert_eq!(told(&[front.clone(), behind]), [0, 0]);
    }
    // One file a direction.
    let ways = [true, false].map(|up| passing.one_way(up).seen(SERVER.0, 0, 0));
    assert_eq!(told(&ways), [0, 0]);
    // One file after the other.
    let middle = passing.0.len() / 2;
    let parts = [0..middle, middle..passing.0.len()];
    let parts = parts.map(|part| passing.part(part).seen(SERVER.0, 0, 0));
    assert_eq!(told(&parts), [0, 0]);
    // Others that have nothing in common.
    let other = super::clocks::passing(50_001, 0, 2_000, 40, 5_000_000);
    assert_eq!(
        told(&[front.clone(), other.seen(SERVER.0, 9_000_000, 0)]),
        [0, 0]
    );
    assert_eq!(told(&[front]), [0]);
    assert_eq!(told(&[]), [0; 0]);
}

#[test]
fn a_file_for_each_direction() {
    let passing = passing(50_000, 0, 2_000, 400, 1000);
    let plain = read(vec![passing.seen(SERVER.0, 0, 0)]);
    for late_us in [-2_000_000, 2_000_000, 40_000] {
        let up = passing.one_way(true).seen(SERVER.0, 0, 0);
        let down = passing.one_way(false).seen(SERVER.0, late_us, 0);
        let files = [up, down];
        let clock = told(&files)[1] / 1000;
        assert!((clock + late_us).abs() <= 300, "{clock}, not {}", -late_us);
        let seen = merged(&files);
        assert_eq!(seen.events, plain.events);
        assert_eq!(seen.frames, plain.frames);
        for (one, other) in times(&seen).iter().zip(times(&plain)) {
            assert!(one.1.abs_diff(other.1) <= 300_000, "{one:?} {other:?}");
        }
    }
}

/// Loss and repetition in either, and a file that began long before the other.
#[test]
fn a_part_of_it_is_enough() {
    let before = passing(40_000, -60_000_000, 9_000, 3_000, 9_000_000);
    let shared = passing(50_000, 0, 2_000, 300, 1000);
    let mut random = Random(3);
    let mut lossy = |of: &Passing| {
        let mut packets = of.0.clone();
        packets.retain(|_| random.below(20) > 0);
        let again: Vec<_> = (packets.iter())
            .filter(|_| random.below(20) == 0)
            .map(|(at, is_up, segment)| (at + 200_000, *is_up, segment.clone()))
            .collect();
        packets.extend(again);
        Passing(packets)
    };
    let client = lossy(&before.and(shared.clone())).seen(SERVER.0, 0, 0);
    let server = lossy(&shared).seen(SERVER.0, -7_000_000, 30);
    let clock = told(&[client, server])[1];
    assert!((clock - 7_000_000_000).abs() <= 50_000, "{clock}");
    let up = lossy(&shared.one_way(true)).seen(SERVER.0, 0, 0);
    let down = lossy(&shared.one_way(false)).seen(SERVER.0, -7_000_000, 0);
    let clock = told(&[up, down])[1];
    assert!((clock - 7_000_000_000).abs() <= 2_000_000, "{clock}");
}

#[test]
fn behind_address_translation_and_over_a_third() {
    let one = passing(50_000, 0, 2_000, 40, 1000);
    let other = passing(50_001, 500, 2_000, 40, 3_000_000);
    let both = Passing([one.0.clone(), other.0.clone()].concat());
    let files = [
        one.seen(SERVER.0, 0, 0),
        other.seen(SERVER.0, 8_000_000, 100),
        // Has to do with both, under other addresses.
        both.seen([172, 17, 0, 2], 3_000_000, 50),
    ];
    assert_eq!(told(&files), [0, -8_000_000_000, -3_000_000_000]);
}

/// One long capture in files: what is played again and again in it is not the same traffic.
#[test]
fn what_is_played_again_tells_nothing() {
    let play = passing(50_000, 0, 2_000, 40, 1000);
    let plays = |range: std::ops::Range<i64>| {
        let again = range.flat_map(|n| {
            let play = play.0.iter();
            play.map(move |(at, is_up, segment)| (at + n * 200_000, *is_up, segment.clone()))
        });
        Passing(again.collect())
    };
    for servers in [[SERVER.0, SERVER.0], [SERVER.0, [172, 17, 0, 2]]] {
        let files = [
            plays(0..10).seen(servers[0], 0, 0),
            plays(10..20).seen(servers[1], 0, 0),
        ];
        assert_eq!(told(&files), [0, 0]);
    }
}

#[test]
fn clocks_that_are_minutes_apart_are_left_alone() {
    let passing = passing(50_000, 0, 2_000, 40, 1000);
    let files = [0, 3_600_000_000].map(|ahead| passing.seen(SERVER.0, ahead, 0));
    assert_eq!(told(&files), [0, 0]);
}

#[test]
fn what_cannot_be_read_twice_keeps_its_clock() {
    let passing = passing(50_000, 0, 2_000, 40, 1000);
    let [one, other] = [0, 5_000_000].map(|ahead| passing.seen(SERVER.0, ahead, 0));
    let input = |file: Vec<u8>| Some(Box::new(Cursor::new(file)) as Box<dyn Read + Send>);
    let clocks = clocks(vec![None, input(one), None, input(other)]).unwrap();
    assert_eq!(clocks, [0, 0, 0, -5_000_000_000]);
}
