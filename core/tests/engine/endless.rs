//! Servers that keep a run waiting without silence: for credits, for logins, for answers too late.

use super::{bench::*, desk::*};
use serde_json::{Value, json};
use smbench_core::{
    event::{Divergence, HeaderField, Input, Report, TokenOutcome},
    ids::{ConnId, OpId, SessionRef},
};

/// What is in flight, and is not waited for, gives no credits.
#[test]
fn who_waits_for_credits_in_vain_is_told_so_after_a_time_out() {
    let mut lines = vec![watch(0, 3_600_000_000, &json!({}))];
    lines.extend((1..5).map(|id| echo(id, &json!({}))));
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.interim_with(15, 0, 0, 0);
    while desk.diverged().len() < 4 {
        desk.wake_up();
    }
    let wanting: Vec<_> = (1..5).map(|id| (id, &Divergence::NoCredits)).collect();
    assert_eq!(desk.diverged(), wanting);
    assert_eq!(desk.now / 1_000_000, 1_000);
    // The watch itself is waited for as long as it was recorded to take, and a time-out.
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    assert_eq!(desk.now / 1_000_000, 3_601_000);
}

/// A watch whose end the recording does not have holds the only credit: nobody waits for it.
#[test]
fn what_the_recording_never_ends_gives_no_credits() {
    let mut pending = watch(0, 0, &json!({}));
    pending.as_object_mut().unwrap().remove("expect");
    let waits = json!({ "after": [{ "id": 0, "rule": "name", "on": "interim" }] });
    let mut desk = Desk::idle(&[pending, echo(1, &waits)], config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.interim_with(15, 0, 0, 0);
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(1, &Divergence::NoCredits)]);
    assert_eq!(desk.now / 1_000_000, 1_000);
}

/// A CREATE that is answered after it was given up leaves no handle open.
#[test]
fn a_handle_that_comes_too_late_is_closed() {
    let request = json!({ "path": "\\\\s\\data" });
    let connect = operation(
        1,
        "TREE_CONNECT",
        &request,
        &json!({
            "session": 0, "tree": 0, "after": [{ "id": 0, "rule": "setup" }],
            "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 },
        }),
    );
    let of_tree = json!({ "session": 0, "tree": 0, "after": [{ "id": 1, "rule": "setup" }] });
    let lines = [
        setup(0, "SUCCESS", &json!({})),
        connect,
        create(2, Some(0), "SUCCESS", &of_tree),
        echo(3, &of_tree),
        echo(4, &json!({ "after": [{ "id": 2, "rule": "wire" }] })),
    ];
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.leg(0, SUCCESS);
    desk.answer(
        3,
        1,
        SUCCESS,
        4,
        &[16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(desk.sent.len(), 4);
    desk.now += TIMEOUT_NS / 2;
    desk.answer(ECHO, 3, SUCCESS, 1, &ECHO_BODY);
    while desk.diverged().is_empty() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(2, &Divergence::NoResponse)]);
    desk.answer(CREATE, 2, SUCCESS, 1, &create_body(0, 7));
    let close = &desk.sent.last().unwrap().bytes;
    assert_eq!((close[12], &close[72..88]), (6, &[7; 16][..]));
    // The same once more belongs to nothing.
    assert!(!matches!(desk.reports.last(), Some(Report::Stray { .. })));
    desk.answer(CREATE, 2, SUCCESS, 1, &create_body(0, 7));
    assert_eq!(desk.sent.len(), 6);
    assert!(matches!(desk.reports.last(), Some(Report::Stray { .. })));
}

/// The recording ends before the answer to the watch, but not before its interim response.
#[test]
fn an_interim_response_that_is_waited_for_is_waited_for_no_longer_than_a_time_out() {
    let mut pending = watch(0, 0, &json!({}));
    pending.as_object_mut().unwrap().remove("expect");
    let waits = json!({ "conn": 1, "after": [{ "id": 0, "rule": "name", "on": "interim" }] });
    let lines = [pending, echo(1, &waits)];
    let desk = run(&lines, config(), |_, _| false);
    assert_eq!(desk.diverged()[0], (0, &Divergence::NoResponse));
    // With the interim response there is nothing to be missed.
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.interim(15, 0, 0x77);
    while desk.dials.len() < 2 {
        desk.wake_up();
    }
    desk.tell(Input::Connected { conn: ConnId(1) });
    desk.now += 2 * TIMEOUT_NS;
    desk.tell(Input::Wake);
    assert!(desk.diverged().iter().all(|(op, _)| *op == 1));
}

/// A leg of a login is not answered, on a connection that lives.
#[test]
fn a_login_that_is_not_answered_is_over() {
    let on = |id: u32, after: u32| json!({ "session": 0, "after": [{ "id": after, "rule": "setup" }], "at_us": id });
    let lines = [
        setup(0, "MORE_PROCESSING_REQUIRED", &json!({})),
        setup(1, "SUCCESS", &json!({})),
        echo(2, &on(2, 1)),
        setup(
            3,
            "SUCCESS",
            &json!({ "after": [{ "id": 2, "rule": "wire" }] }),
        ),
        echo(4, &on(4, 3)),
        echo(5, &json!({ "after": [{ "id": 0, "rule": "wire" }] })),
    ];
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.leg(0, MORE);
    desk.tell(Input::TokenReady {
        conn: ConnId(0),
        session: SessionRef(0),
        outcome: TokenOutcome::Ready { len: 4 },
    });
    while desk.diverged().is_empty() {
        desk.now += TIMEOUT_NS / 4;
        desk.tell(Input::Wake);
        // Something comes that belongs to something: the answer to the ECHO.
        let last = desk.sent.last().unwrap();
        if last.bytes[12] == 13 && !desk.drive.machine().is_done() && desk.now < TIMEOUT_NS {
            let response = response_to(last);
            desk.receive(response);
        }
    }
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(1, &Divergence::NoResponse)]);
    let of_the_session: Vec<u32> = (desk.reports.iter())
        .filter_map(|report| match report {
            Report::Cascaded { op: OpId(op), .. } => Some(*op),
            _ => None,
        })
        .collect();
    assert!(
        [2, 3, 4].iter().all(|op| of_the_session.contains(op)),
        "{of_the_session:?}"
    );
}

#[test]
fn a_login_without_end_is_ended() {
    let mut desk = Desk::new(&[setup(0, "SUCCESS", &json!({}))]);
    let mut legs = 0;
    while !desk.drive.machine().is_done() {
        desk.leg(legs, MORE);
        legs += 1;
    }
    assert_eq!(legs, 17);
    assert!(matches!(
        desk.diverged()[..],
        [(0, Divergence::Status { .. })]
    ));
}

#[test]
fn an_answer_to_another_command_has_a_wrong_header() {
    let mut desk = Desk::new(&[
        create(0, Some(0), "SUCCESS", &json!({})),
        echo(
            1,
            &json!({ "open": 0, "after": [{ "id": 0, "rule": "handle" }] }),
        ),
    ]);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    let wrong = Divergence::WrongHeader {
        field: HeaderField::Command,
        sent: CREATE.into(),
        seen: ECHO.into(),
    };
    assert_eq!(desk.diverged(), [(0, &wrong)]);
}

/// What very many operations come to is told in parts: memory holds a part.
#[test]
fn very_much_is_given_up_in_parts() {
    let lines: Vec<Value> = (0..140_000)
        .map(|id| echo(id, &json!({ "conn": id % 2 })))
        .collect();
    let mut desk = Desk::idle(&lines, config());
    let mut most = 0;
    desk.tell(Input::Start);
    desk.tell(Input::Connected { conn: ConnId(0) });
    while !desk.drive.machine().is_done() {
        let before = desk.reports.len();
        if desk.now > TIMEOUT_NS && !desk.dials.is_empty() {
            // One connection is lost by now, with half of them; the other will end the run.
            desk.dials.clear();
            desk.tell(Input::Connected { conn: ConnId(1) });
        } else {
            desk.wake_up();
        }
        most = most.max(desk.reports.len() - before);
    }
    let found = [(0, &Divergence::NoResponse), (1, &Divergence::NoResponse)];
    assert_eq!(desk.diverged(), found);
    assert_eq!(cascades(&desk), 139_998);
    assert!(most < 66_000, "{most} upon one input");
}

/// A request that takes more credits than the server has granted, where nothing is in flight that will bring
/// any, is asked for by an ECHO of the engine's own, once.
#[test]
fn credits_that_are_lacking_are_asked_for_once() {
    let lines = [echo(0, &json!({})), echo(1, &json!({ "charge": 3 }))];
    let mut desk = Desk::new(&lines);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    // Not the request itself, which needs three.
    assert_eq!(desk.sent.len(), 2);
    let asked = &desk.sent[1].bytes;
    assert_eq!((asked[12], asked[14], asked[24]), (13, 3, 1));
    desk.answer(ECHO, 1, SUCCESS, 3, &ECHO_BODY);
    assert_eq!((desk.sent.len(), desk.sent[2].bytes[24]), (3, 2));
    desk.answer(ECHO, 2, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.diverged(), []);
    assert!(desk.drive.machine().is_done());

    let mut desk = Desk::new(&lines);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.diverged(), [(1, &Divergence::NoCredits)]);
    assert_eq!(desk.sent.len(), 2);

    // Nor is it waited for longer than a time-out.
    let mut desk = Desk::new(&lines);
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    while desk.diverged().is_empty() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(1, &Divergence::NoCredits)]);
    assert_eq!(desk.sent.len(), 2);
}
