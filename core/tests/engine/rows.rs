//! Every row of the engine's tables (operations, connections, logins) is walked by a run here, each for a reason
//! that a server, a network, a user or a recording can give.

use std::collections::BTreeSet;

use super::bench::{TIMEOUT_NS, config};
use super::desk::*;
use serde_json::{Value, json};
use smbench_core::{
    engine::{RunConfig, Walked},
    event::{Input, NetFailure, TokenOutcome},
    ids::{ConnId, SessionRef},
};

/// A run, and the rows that it is here for.
type Walk = (fn() -> Desk, &'static [&'static str]);

const WALKS: &[Walk] = &[
    (
        answered,
        &[
            "Waiting Release",
            "Scheduled Due",
            "Queued Issue",
            "InFlight Final",
            "connection Idle Dial",
            "connection Connecting Connected",
            "connection Open HangUp",
        ],
    ),
    (answered_later, &["InFlight Interim", "Pending Final"]),
    (cut, &["InFlight Lose", "connection Open Lose"]),
    (cut_while_pending, &["Pending Lose"]),
    (
        not_to_be_reached,
        &["Queued Skip", "connection Connecting Lose"],
    ),
    (stopped, &["Waiting Skip"]),
    (stopped_between, &["Scheduled Skip"]),
    (silent, &["InFlight Skip", "Pending Skip"]),
    (broken_when_expected, &["Queued Observe"]),
    (broken_early, &["Scheduled Observe"]),
    (broken_before_its_cause_is_answered, &["Waiting Observe"]),
    (
        one_leg_more,
        &[
            "InFlight Repeat",
            "login None Begin",
            "login AwaitingToken Token",
            "login HasToken Send",
            "login InFlight More",
            "login InFlight Repeat",
            "login InFlight Content",
        ],
    ),
    (legs_as_recorded, &["login InFlight Token"]),
    (one_leg_less, &["login Done Absorb"]),
    (logged_in_again, &["login Done Begin"]),
    (no_token, &["login AwaitingToken Fail"]),
    (no_second_token, &["login InFlight Fail"]),
    (nothing_but_an_end, &["connection Idle HangUp"]),
    (ended_unopened, &["connection Connecting HangUp"]),
    (ended_when_lost, &["connection Lost HangUp"]),
];

#[test]
fn every_row_is_walked_by_a_run_that_can_be() {
    let mut all = Walked::default();
    for (run, rows) in WALKS {
        let desk = run();
        assert!(desk.drive.machine().is_done(), "{rows:?}");
        let walked = desk.drive.machine().walked();
        for row in *rows {
            assert!(walked.rows().any(|it| it == *row), "{row}");
        }
        all.add(walked);
    }
    let named: BTreeSet<&str> = WALKS
        .iter()
        .flat_map(|(_, rows)| rows.iter().copied())
        .collect();
    assert_eq!(
        named,
        BTreeSet::from(Walked::ROWS),
        "a row without a run of its own"
    );
    assert_eq!(all.rows().count(), Walked::ROWS.len());
}

fn after(id: u32) -> Value {
    json!({ "after": [{ "id": id, "rule": "wire" }] })
}

fn answered() -> Desk {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &after(0))]);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    desk
}

fn answered_later() -> Desk {
    let mut desk = Desk::new(&[create(0, Some(0), "SUCCESS", &json!({}))]);
    desk.interim(CREATE, 0, 1);
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(0, 7));
    desk
}

fn cut() -> Desk {
    let uses = json!({ "open": 0, "after": [{ "id": 0, "rule": "handle" }], "conn": 0 });
    let close = operation(1, "CLOSE", &json!({ "flags": "0x0" }), &uses);
    let mut desk = Desk::new(&[create(0, Some(0), "SUCCESS", &json!({})), close]);
    lose(&mut desk, NetFailure::Reset);
    to_the_end(desk)
}

fn cut_while_pending() -> Desk {
    let mut desk = Desk::new(&[create(0, Some(0), "SUCCESS", &json!({}))]);
    desk.interim(CREATE, 0, 1);
    lose(&mut desk, NetFailure::Eof);
    to_the_end(desk)
}

fn not_to_be_reached() -> Desk {
    let mut desk = Desk::idle(&[echo(0, &json!({}))], config());
    desk.tell(Input::Start);
    desk.tell(Input::ConnectFailed {
        conn: ConnId(0),
        reason: NetFailure::Refused,
    });
    to_the_end(desk)
}

/// The second request waits for the answer to the first.
fn stopped() -> Desk {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &after(0))]);
    desk.tell(Input::Stop);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk
}

/// At the recorded speed: the second request has its time to come.
fn stopped_between() -> Desk {
    let later = json!({ "at_us": 60_000_000, "after": [{ "id": 0, "rule": "wire" }] });
    let mut desk = in_time(&[echo(0, &json!({})), echo(1, &later)]);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk.tell(Input::Stop);
    to_the_end(desk)
}

/// A server that has taken a request in hand, which took long in the recording, falls silent with three on the
/// wire.
fn silent() -> Desk {
    let mut slow = after(0);
    slow["expect"] = json!({ "frame": 0, "status": "SUCCESS", "latency_us": 900_000 });
    let mut desk = Desk::idle(
        &[
            echo(0, &json!({})),
            create(1, Some(0), "SUCCESS", &slow),
            echo(2, &after(0)),
            echo(3, &after(0)),
        ],
        config(),
    );
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.answer(ECHO, 0, SUCCESS, 4, &ECHO_BODY);
    desk.interim(CREATE, 1, 1);
    desk.now += TIMEOUT_NS;
    to_the_end(desk)
}

/// A CREATE with an oplock, and its break, when `at_us` and `more` say.
fn with_break(at_us: u64, waits_for: u32, more: &[Value]) -> Vec<Value> {
    let mut lines = vec![create(0, Some(0), "SUCCESS", &json!({}))];
    lines.extend(more.iter().cloned());
    let id = lines.len();
    lines.push(json!({
        "id": id, "at_us": at_us, "client": 0, "conn": 0, "cmd": "OPLOCK_BREAK", "mid": 0, "frame": 2,
        "open": 0, "after": [{ "id": waits_for, "rule": "break" }],
        "do": { "break": { "oplock": { "to": "none" } } },
    }));
    lines
}

fn break_it(desk: &mut Desk) {
    let mut bytes = header(18, u64::MAX, SUCCESS, 0);
    bytes.extend_from_slice(&[24, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[7; 16]);
    desk.receive(bytes);
}

fn broken_when_expected() -> Desk {
    let mut desk = Desk::new(&with_break(1, 0, &[]));
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(9, 7));
    break_it(&mut desk);
    desk
}

/// At the recorded speed, by a server that is faster than the recorded one.
fn broken_early() -> Desk {
    let mut desk = in_time(&with_break(60_000_000, 0, &[]));
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(9, 7));
    break_it(&mut desk);
    desk
}

/// What brought the break about in the recording is not answered yet.
fn broken_before_its_cause_is_answered() -> Desk {
    let mut desk = Desk::new(&with_break(2, 1, &[echo(1, &after(0))]));
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(9, 7));
    break_it(&mut desk);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    desk
}

fn one_leg_more() -> Desk {
    let mut desk = Desk::new(&[setup(0, "SUCCESS", &json!({}))]);
    desk.leg(0, MORE);
    desk.leg(1, SUCCESS);
    desk
}

fn two_legs() -> Desk {
    Desk::new(&[
        setup(0, "MORE_PROCESSING_REQUIRED", &json!({})),
        setup(1, "SUCCESS", &json!({})),
    ])
}

fn legs_as_recorded() -> Desk {
    let mut desk = two_legs();
    desk.leg(0, MORE);
    desk.leg(1, SUCCESS);
    desk
}

fn one_leg_less() -> Desk {
    let mut desk = two_legs();
    desk.leg(0, SUCCESS);
    to_the_end(desk)
}

fn logged_in_again() -> Desk {
    let mut desk = Desk::new(&[
        setup(0, "SUCCESS", &json!({})),
        setup(1, "SUCCESS", &json!({})),
    ]);
    desk.leg(0, SUCCESS);
    desk.leg(1, SUCCESS);
    desk
}

fn no_token() -> Desk {
    let mut desk = two_legs();
    no_token_for(&mut desk);
    to_the_end(desk)
}

fn no_second_token() -> Desk {
    let mut desk = two_legs();
    desk.leg(0, MORE);
    no_token_for(&mut desk);
    to_the_end(desk)
}

/// The recorded end of a connection, by its client.
fn end_of(id: u32, conn: u32, after: &Value) -> Value {
    json!({
        "id": id, "at_us": id, "client": 0, "conn": conn, "cmd": 65535, "mid": 0, "frame": id + 1,
        "after": after, "do": { "disconnect": { "by_client": true, "reset": false } },
    })
}

/// A capture that begins in the middle shows of a connection nothing but its end.
fn nothing_but_an_end() -> Desk {
    let mut desk = Desk::idle(&[echo(0, &json!({})), end_of(1, 1, &json!([]))], config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    to_the_end(desk)
}

/// A workload that somebody has edited: the end of the connection waits for nothing that is done on it.
fn ended_unopened() -> Desk {
    let lines = [echo(0, &json!({})), end_of(1, 0, &json!([]))];
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    to_the_end(desk)
}

/// The connection is lost before the client has ended it.
fn ended_when_lost() -> Desk {
    let after = json!([{ "id": 0, "rule": "wire" }]);
    let mut desk = Desk::new(&[echo(0, &json!({})), end_of(1, 0, &after)]);
    lose(&mut desk, NetFailure::Reset);
    to_the_end(desk)
}

/// A desk at the recorded speed, connected.
fn in_time(lines: &[Value]) -> Desk {
    let mut desk = Desk::idle(lines, RunConfig::default());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk
}

fn lose(desk: &mut Desk, reason: NetFailure) {
    let conn = ConnId(0);
    desk.tell(Input::Closed { conn, reason });
}

fn no_token_for(desk: &mut Desk) {
    desk.tell(Input::TokenReady {
        conn: ConnId(0),
        session: SessionRef(0),
        outcome: TokenOutcome::Failed,
    });
}

/// Nothing comes any more.
fn to_the_end(mut desk: Desk) -> Desk {
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    desk
}
