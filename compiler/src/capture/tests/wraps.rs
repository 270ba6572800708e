//! What packets are wrapped in, and what keeps equal addresses apart.

use super::*;

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
