//! Resets: which end a connection, and which do not.

use super::*;

/// `up` that acknowledges up to `ack`.
fn up_to(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = tcp(CLIENT.1, SERVER.1, seq, ack, flags, payload);
    ether(0x0800, &ipv4(CLIENT.0, SERVER.0, 6, &segment))
}

/// A connection with a request of the client (100..204) and an answer (500..584), then `packets`.
fn after_an_exchange(packets: &[Vec<u8>]) -> Seen {
    let mut all = vec![
        up_to(99, 0, SYN, &[]),
        down(499, 100, SYN | ACK, &[]),
        up_to(100, 500, ACK, &framed(&smb2(100, false))),
        down(500, 204, ACK, &framed(&smb2(80, true))),
    ];
    all.extend_from_slice(packets);
    ethernet(&all)
}

fn ends(seen: &Seen) -> (usize, &str, Option<u64>) {
    let end = seen.events.last().map_or("", String::as_str);
    let vain = seen.stats.problems.get(problem::VAIN_RESET);
    (seen.frames.len(), end, vain.copied())
}

const BY_CLIENT: &str = "closed 0 Rst ClientToServer";
const BY_SERVER: &str = "closed 0 Rst ServerToClient";
const OPEN: &str = "closed 0 End ClientToServer";

#[test]
fn a_reset_where_the_next_byte_is_due_ends_a_connection() {
    let late = up_to(204, 584, ACK, &framed(&smb2(70, false)));
    for (reset, by) in [
        (up_to(204, 0, RST, &[]), BY_CLIENT),
        (up_to(204, 584, RST | ACK, b"out of memory"), BY_CLIENT),
        (down(584, 204, RST | ACK, &[]), BY_SERVER),
    ] {
        let seen = after_an_exchange(&[reset, late.clone()]);
        assert_eq!(ends(&seen), (2, by, None));
        assert_eq!(seen.stats.late_segments, 1);
    }
}

#[test]
fn a_reset_that_is_acknowledged_ends_a_connection_of_which_bytes_are_missing() {
    // The client has had 50 bytes that were not captured.
    let seen = after_an_exchange(&[up_to(204, 634, ACK, &[]), down(634, 204, RST, &[])]);
    assert_eq!(ends(&seen), (2, BY_SERVER, None));
}

#[test]
fn a_reset_that_is_old_or_far_away_ends_nothing() {
    let more = [
        up_to(204, 584, ACK, &framed(&smb2(70, false))),
        down(584, 278, ACK, &framed(&smb2(70, true))),
    ];
    let far = 204 + 900_000_000;
    for reset in [
        up_to(far, 584, RST, &[]),
        up_to(204_u32.wrapping_sub(far), 584, RST | ACK, &[]),
        up_to(150, 584, RST | ACK, &[]),
        // It acknowledges what never was.
        up_to(far, far, RST | ACK, b"boo"),
    ] {
        let seen = after_an_exchange(&[&[reset][..], &more].concat());
        assert_eq!(ends(&seen), (4, OPEN, Some(1)));
        assert_eq!((seen.stats.gaps, seen.stats.out_of_order_segments), (0, 0));
    }
}

#[test]
fn of_a_reset_within_the_window_what_follows_tells() {
    let reset = up_to(1000, 0, RST, &[]);
    let answer = down(584, 204, ACK, &framed(&smb2(70, true)));
    let again = up_to(204, 658, ACK, &framed(&smb2(70, false)));
    // Its sender goes on, the other side has asked it what that was.
    let goes_on = [
        reset.clone(),
        down(584, 204, ACK, &[]),
        answer.clone(),
        again.clone(),
    ];
    assert_eq!(ends(&after_an_exchange(&goes_on)), (4, OPEN, Some(1)));
    // It says the same where the next byte is due.
    let exact = [
        reset.clone(),
        down(584, 204, ACK, &[]),
        up_to(204, 0, RST, &[]),
        again,
    ];
    assert_eq!(ends(&after_an_exchange(&exact)), (2, BY_CLIENT, None));
    // It says no more; what the other side says was under way.
    let silent = [reset.clone(), answer];
    assert_eq!(ends(&after_an_exchange(&silent)), (3, BY_CLIENT, None));
    // Its port is used again.
    let seen = after_an_exchange(&[reset, up_to(70_000, 0, SYN, &[])]);
    assert!(
        seen.events.contains(&BY_CLIENT.to_owned()),
        "{:?}",
        seen.events
    );
}

#[test]
fn bytes_before_a_reset_may_come_after_it() {
    let message = framed(&smb2(200, false));
    let seen = after_an_exchange(&[
        up_to(408, 584, RST | ACK, &[]),
        up_to(204, 584, ACK, &message[..100]),
        up_to(304, 584, ACK, &message[100..]),
        up_to(408, 584, ACK, &message),
    ]);
    assert_eq!(ends(&seen), (3, BY_CLIENT, None));
}
