//! Servers that send what nobody asked for: it is heard up to a bound, and what is real always.

use super::desk::*;
use serde_json::json;
use smbench_core::{
    engine::{Patience, RunConfig},
    event::{Divergence, Input, NetFailure, Report, Seal},
    frame::Frame,
    ids::{ConnId, OpId},
};

fn received(bytes: Vec<u8>) -> Input {
    Input::Received {
        conn: ConnId(0),
        frame: Frame {
            bytes,
            cuts: Vec::new(),
        },
        seal: Seal::Plain,
    }
}

/// Gives `bytes` to the engine as often as it wants them, at most `most` times; how often.
fn flood(desk: &mut Desk, most: u32, bytes: impl Fn(u32) -> Vec<u8>) -> u32 {
    (0..most)
        .find(|at| {
            let input = received(bytes(*at));
            let wanted = desk.drive.machine().wants(&input);
            if wanted {
                desk.tell(input);
            }
            !wanted
        })
        .unwrap_or(most)
}

fn oplock_break(file_id: u8) -> Vec<u8> {
    let mut bytes = header(18, u64::MAX, SUCCESS, 0);
    bytes.extend_from_slice(&[24, 0, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[file_id; 16]);
    bytes
}

fn lease_break(key: u32, flags: u32) -> Vec<u8> {
    let mut bytes = header(18, u64::MAX, SUCCESS, 0);
    let mut body = [0; 44];
    body[0] = 44;
    body[4..8].copy_from_slice(&flags.to_le_bytes());
    body[8..12].copy_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[test]
fn what_belongs_to_nothing_is_heard_256_times() {
    let stray = |at: u32| {
        let mut bytes = header(ECHO, 1_000 + u64::from(at), SUCCESS, u16::MAX);
        bytes.extend_from_slice(&ECHO_BODY);
        bytes
    };
    let malformed = |_: u32| vec![0xfe; 70];
    let interim = |_: u32| {
        let mut bytes = header(ECHO, 0, 0x103, 1);
        bytes[16] |= 2;
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let again = |_: u32| header(ECHO, 0, SUCCESS, 1);
    type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let floods: [(&str, u32, Frames<'_>); 6] = [
        ("unknown MessageIds", 256, &stray),
        ("no frames", 256, &malformed),
        ("one interim response again and again", 257, &interim),
        ("one answer again and again", 257, &again),
        ("breaks of unknown handles", 256, &|_| oplock_break(9)),
        ("breaks of unknown leases", 256, &|at| lease_break(at, 1)),
    ];
    for (what, heard, bytes) in floods {
        let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({ "conn": 1 }))]);
        assert_eq!(flood(&mut desk, 10_000, bytes), heard, "{what}");
        // What is waited for is wanted all the same, and the other connection has its own share.
        let mut answer = header(ECHO, 0, SUCCESS, 1);
        answer.extend_from_slice(&ECHO_BODY);
        let is_open = heard == 256 || what.contains("interim");
        assert_eq!(
            desk.drive.machine().wants(&received(answer)),
            is_open,
            "{what}"
        );
        let other = Input::Received {
            conn: ConnId(1),
            frame: Frame {
                bytes: oplock_break(9),
                cuts: Vec::new(),
            },
            seal: Seal::Plain,
        };
        assert!(desk.drive.machine().wants(&other), "{what}");
    }
}

/// A journal of a run that was given everything runs again as it ran.
#[test]
fn an_older_run_is_given_everything() {
    let config = RunConfig {
        patience: Patience::Twice,
        ..RunConfig::default()
    };
    let mut desk = Desk::idle(&[echo(0, &json!({}))], config);
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    assert_eq!(flood(&mut desk, 1_000, |_| oplock_break(9)), 1_000);
}

#[test]
fn large_frames_that_belong_to_nothing_are_heard_up_to_a_mebibyte() {
    let large = |at: u32| {
        let mut bytes = header(ECHO, 1_000 + u64::from(at), SUCCESS, 1);
        bytes.resize(300_000, 0);
        bytes
    };
    let mut desk = Desk::new(&[echo(0, &json!({}))]);
    assert_eq!(flood(&mut desk, 10_000, large), 3);
}

/// What is in one frame with an answer cannot be refused: the connection is.
#[test]
fn a_connection_that_hides_a_flood_among_answers_is_lost() {
    let mut desk = Desk::new(&[
        echo(0, &json!({})),
        echo(1, &json!({})),
        echo(2, &json!({})),
        echo(3, &json!({ "conn": 1 })),
    ]);
    let mut one = header(ECHO, 0, SUCCESS, 2);
    one.extend_from_slice(&ECHO_BODY);
    one.resize(72, 0);
    one[20] = 72;
    let mut all = one.repeat(400);
    let last = all.len() - 72;
    all[last + 20] = 0;
    desk.receive(all);
    let reason = NetFailure::Protocol;
    assert_eq!(
        desk.diverged(),
        [(1, &Divergence::ConnectionLost { reason })]
    );
    assert!(desk.reports.contains(&Report::Cascaded {
        op: OpId(2),
        cause: OpId(1)
    }));
    assert_eq!(desk.closes, [(ConnId(0), true)]);
    assert_eq!(desk.sent_on, [ConnId(0), ConnId(1)]);
}

/// Every break of what was granted gets through a flood, as often as it can be broken.
#[test]
fn what_was_granted_can_be_broken_during_a_flood() {
    let notice = json!({
        "id": 2, "at_us": 2, "client": 0, "conn": 0, "cmd": "OPLOCK_BREAK", "mid": 0,
        "frame": 3, "open": 1, "after": [{ "id": 1, "rule": "break" }],
        "do": { "break": { "oplock": { "to": "ii" } } },
    });
    let mut desk = Desk::new(&[
        create(0, Some(0), "SUCCESS", &json!({})),
        create(1, Some(1), "SUCCESS", &json!({})),
        notice,
        echo(3, &json!({ "after": [{ "id": 2, "rule": "wire" }] })),
    ]);
    desk.answer(CREATE, 0, SUCCESS, 9, &create_body(9, 7));
    desk.answer(CREATE, 1, SUCCESS, 1, &create_body(9, 8));
    assert_eq!(flood(&mut desk, 10_000, |_| oplock_break(1)), 256);
    let strays = desk
        .reports
        .iter()
        .filter(|it| matches!(it, Report::Stray { .. }));
    assert_eq!(strays.count(), 256);
    // One that is recorded.
    let recorded = received(oplock_break(8));
    assert!(desk.drive.machine().wants(&recorded));
    desk.tell(recorded);
    assert_eq!(desk.diverged(), []);
    // And one that is not, of what was granted: four times, then never again.
    assert_eq!(flood(&mut desk, 10_000, |_| oplock_break(7)), 4);
    let found = desk.diverged();
    assert_eq!(found.len(), 4);
    let unexpected = |it: &(u32, &Divergence)| matches!(it.1, Divergence::UnexpectedBreak { .. });
    assert!(found.iter().all(unexpected));
}

/// That a session was closed on the server is no answer, and belongs to nobody: it is told to nobody.
/// [MS-SMB2] 2.2.44
#[test]
fn a_notice_of_the_server_is_no_stray() {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    let mut notice = header(0x13, u64::MAX, SUCCESS, 0);
    notice.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0]);
    desk.receive(notice);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.diverged(), []);
    let stray = |it: &Report| matches!(it, Report::Stray { .. });
    assert!(!desk.reports.iter().any(stray));
    // What comes twice is told.
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.reports.iter().filter(|it| stray(it)).count(), 1);
}
