//! The engine on its own: facts in by hand, orders out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod bench;
mod desk;
mod endless;
mod load;
mod rows;
mod silence;
mod unsolicited;
mod wrong;

use desk::*;
use serde_json::json;
use smbench_core::{
    drive::DriveError,
    engine::EngineError,
    event::{AuthStep, Divergence, Input, Report, SkipReason},
    ids::{ConnId, LogicalTime, OpId, PrincipalRef},
    smb2::NtStatus,
};

#[test]
fn credits_bound_what_is_in_flight() {
    let mut desk = Desk::new(&[
        echo(0, &json!({})),
        echo(1, &json!({})),
        echo(2, &json!({})),
    ]);
    assert_eq!(desk.sent.len(), 1, "a connection begins with one credit");
    desk.answer(ECHO, 0, SUCCESS, 2, &ECHO_BODY);
    assert_eq!(desk.sent.len(), 3);
    desk.answer(ECHO, 2, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    assert!(desk.drive.machine().is_done() && desk.closed);
    assert_eq!(desk.diverged(), []);
}

#[test]
fn a_server_that_grants_no_credits_is_told_and_ends_the_run() {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    desk.answer(ECHO, 0, SUCCESS, 0, &ECHO_BODY);
    assert_eq!(desk.diverged(), [(1, &Divergence::NoCredits)]);
    assert!(desk.drive.machine().is_done());
}

#[test]
fn a_response_that_does_not_come_times_out_and_gives_its_credit_back() {
    let lines: Vec<_> = (0..4).map(|id| echo(id, &json!({}))).collect();
    let mut desk = Desk::new(&lines);
    desk.answer(ECHO, 0, SUCCESS, 2, &ECHO_BODY);
    desk.now += 20_000_000_000;
    desk.answer(ECHO, 2, SUCCESS, 0, &ECHO_BODY);
    assert_eq!(desk.sent.len(), 3);
    while desk.diverged().is_empty() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(1, &Divergence::NoResponse)]);
    assert_eq!(desk.sent.len(), 4);
}

#[test]
fn a_cancel_takes_the_async_id_and_no_message_id() {
    let notify = operation(
        0,
        "CHANGE_NOTIFY",
        &json!({ "completion_filter": "0x1", "output_buffer_length": 64 }),
        &json!({ "expect": { "frame": 0, "status": "CANCELLED", "latency_us": 10 } }),
    );
    let cancel = operation(
        1,
        "CANCEL",
        &json!({}),
        &json!({ "cancels": 0, "after": [{ "id": 0, "rule": "handle", "on": "interim" }] }),
    );
    let mut desk = Desk::new(&[notify, cancel]);
    assert_eq!(desk.sent.len(), 1);
    desk.interim(15, 0, 0x77);
    assert_eq!(desk.sent.len(), 2);
    let cancel = &desk.sent[1].bytes;
    assert_eq!(
        (cancel[12], cancel[16] & 2),
        (12, 2),
        "an asynchronous CANCEL"
    );
    assert_eq!(cancel[32..40], 0x77_u64.to_le_bytes());
    desk.answer(15, 0, CANCELLED, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(desk.diverged(), []);
    assert!(desk.drive.machine().is_done());
}

#[test]
fn a_grant_where_the_recording_has_none_diverges_and_the_run_goes_on() {
    let mut desk = Desk::new(&[
        create(0, None, "SHARING_VIOLATION", &json!({})),
        echo(1, &json!({ "after": [{ "id": 0, "rule": "wire" }] })),
    ]);
    desk.answer(CREATE, 0, SUCCESS, 2, &create_body(0, 7));
    let recorded = NtStatus(SHARING_VIOLATION);
    let seen = NtStatus(SUCCESS);
    assert_eq!(
        desk.diverged(),
        [(0, &Divergence::Status { recorded, seen })]
    );
    // No session is held here, so the handle cannot be closed; what comes next goes on.
    assert_eq!(desk.sent.last().unwrap().bytes[12], 13);
}

#[test]
fn what_needs_a_handle_that_was_not_given_is_a_cascade() {
    let close = operation(
        1,
        "CLOSE",
        &json!({}),
        &json!({
            "open": 0, "after": [{ "id": 0, "rule": "handle" }],
            "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 },
        }),
    );
    let mut desk = Desk::new(&[create(0, Some(0), "SUCCESS", &json!({})), close]);
    desk.answer(
        CREATE,
        0,
        SHARING_VIOLATION,
        1,
        &[9, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    assert!(desk.reports.contains(&Report::Cascaded {
        op: OpId(1),
        cause: OpId(0)
    }));
    assert!(desk.drive.machine().is_done());
}

#[test]
fn a_recorded_break_that_does_not_come_is_missed_once() {
    let notice = json!({
        "id": 1, "at_us": 1, "client": 0, "conn": 0, "cmd": "OPLOCK_BREAK", "mid": 0, "frame": 2,
        "open": 0, "after": [{ "id": 0, "rule": "break", "on": "response" }],
        "do": { "break": { "oplock": { "to": "none" } } },
    });
    let ack = operation(
        2,
        "OPLOCK_BREAK",
        &json!({ "oplock_level": "none" }),
        &json!({
            "open": 0, "after": [{ "id": 1, "rule": "break" }],
            "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 },
        }),
    );
    let lines = [create(0, Some(0), "SUCCESS", &json!({})), notice, ack];
    let mut desk = Desk::new(&lines);
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(9, 7));
    desk.wake_up();
    assert_eq!(desk.diverged(), [(1, &Divergence::MissingBreak)]);
    assert!(desk.reports.contains(&Report::Cascaded {
        op: OpId(2),
        cause: OpId(1)
    }));
    assert!(desk.drive.machine().is_done());

    let mut desk = Desk::new(&lines);
    desk.answer(CREATE, 0, SUCCESS, 1, &create_body(9, 7));
    let mut bytes = header(18, u64::MAX, SUCCESS, 0);
    bytes.extend_from_slice(&[24, 0, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[7; 16]);
    desk.receive(bytes);
    let other = Divergence::BreakLevel {
        recorded: 0,
        seen: 1,
    };
    assert_eq!(desk.diverged(), [(1, &other)]);
    let ack = &desk.sent[1].bytes;
    assert_eq!(
        (ack[12], ack[66]),
        (18, 1),
        "it acknowledges the level that came"
    );
    assert_eq!(ack[72..88], [7; 16], "of the handle of this run");
}

/// When a server does not know that a notification arrived, it tells another connection.
#[test]
fn a_connection_ends_once_the_server_knows_that_a_notification_arrived() {
    let closes_after = |recorded_us: u64, other_conn: u32| {
        let notice = json!({
            "id": 2, "at_us": 2, "client": 0, "conn": 0, "cmd": "OPLOCK_BREAK", "mid": 0,
            "frame": 2, "open": 0, "after": [{ "id": 0, "rule": "break" }],
            "do": { "break": { "oplock": { "to": "none" } } },
        });
        let end = json!({
            "id": 3, "at_us": 2 + recorded_us, "client": 0, "conn": 0, "cmd": 65535, "mid": 0,
            "frame": 3, "after": [{ "id": 2, "rule": "wire" }],
            "do": { "disconnect": { "by_client": true, "reset": false } },
        });
        let other = json!({ "conn": other_conn, "after": [{ "id": 3, "rule": "wire" }] });
        let mut desk = Desk::new(&[
            create(0, Some(0), "SUCCESS", &json!({})),
            echo(1, &json!({ "conn": other_conn })),
            notice,
            end,
            echo(4, &other),
        ]);
        desk.answer(CREATE, 0, SUCCESS, 2, &create_body(9, 7));
        let mut bytes = header(18, u64::MAX, SUCCESS, 0);
        bytes.extend_from_slice(&[24, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[7; 16]);
        desk.receive(bytes);
        let since = desk.now;
        while !desk.closed {
            desk.wake_up();
        }
        (desk.now - since) / 1_000_000
    };
    assert_eq!(closes_after(1_000_000, 1), 500);
    assert_eq!(
        closes_after(20_000, 1),
        20,
        "no later than in the recording"
    );
    assert_eq!(
        closes_after(1_000_000, 0),
        0,
        "there is no other connection"
    );
}

#[test]
fn who_waits_for_the_end_of_a_connection_waits_as_in_the_recording() {
    let waits = |recorded_us: u64| {
        let end = json!({
            "id": 1, "at_us": 1, "client": 0, "conn": 0, "cmd": 65535, "mid": 0,
            "frame": 3, "after": [{ "id": 0, "rule": "wire" }],
            "do": { "disconnect": { "by_client": true, "reset": false } },
        });
        let after = json!([{ "id": 1, "rule": "resource" }]);
        let waiter = json!({ "at_us": 1 + recorded_us, "conn": 1, "after": after });
        let mut desk = Desk::new(&[echo(0, &json!({})), end, echo(2, &waiter)]);
        desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
        assert!(desk.closed);
        let since = desk.now;
        while desk.wake.is_some() {
            desk.wake_up();
        }
        desk.tell(Input::Connected { conn: ConnId(1) });
        assert_eq!(desk.sent.len(), 2);
        (desk.now - since) / 1_000_000
    };
    assert_eq!(waits(0), 5);
    assert_eq!(waits(30_000), 30);
    assert_eq!(waits(7_000_000), 100);
}

/// Servers of several processes say that they watch a folder before all of them know.
#[test]
fn who_changes_a_watched_folder_waits_as_in_the_recording() {
    let waits = |client: u32, recorded_us: u64| {
        let notify = operation(
            0,
            "CHANGE_NOTIFY",
            &json!({ "completion_filter": "0x1", "output_buffer_length": 64 }),
            &json!({ "expect": { "frame": 0, "status": "CANCELLED", "latency_us": 10 } }),
        );
        let after = json!([{ "id": 0, "rule": "name", "on": "interim" }]);
        let waiter = json!({
            "at_us": recorded_us, "client": client, "conn": client, "after": after,
        });
        let mut desk = Desk::new(&[notify, echo(1, &waiter)]);
        let since = desk.now;
        desk.interim(15, 0, 0x77);
        loop {
            let conn = ConnId(client);
            desk.tell(Input::Connected { conn });
            if desk.sent.len() == 2 {
                break;
            }
            desk.wake_up();
        }
        (desk.now - since) / 1_000_000
    };
    assert_eq!(waits(0, 30_000), 0, "one client needs no such wait");
    assert_eq!(waits(1, 0), 0);
    assert_eq!(waits(1, 30_000), 30);
    assert_eq!(waits(1, 7_000_000), 100);
}

#[test]
fn stopping_leaves_the_rest_out_and_ends() {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    desk.tell(Input::Stop);
    let left_out = Report::Skipped {
        op: OpId(1),
        why: SkipReason::Stopped,
    };
    assert!(desk.reports.contains(&left_out));
    desk.answer(ECHO, 0, SUCCESS, 1, &ECHO_BODY);
    assert!(desk.drive.machine().is_done());
}

#[test]
fn time_cannot_go_back() {
    let mut desk = Desk::new(&[echo(0, &json!({}))]);
    let error = desk.drive.take(LogicalTime(1), Input::Wake).unwrap_err();
    let DriveError::Machine { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(source, EngineError::TimeWentBack { .. }),
        "{source}"
    );
}

#[test]
fn a_login_is_for_whom_its_last_token_names() {
    let mut desk = Desk::new(&[
        setup(0, "MORE_PROCESSING_REQUIRED", &json!({})),
        setup(1, "SUCCESS", &json!({})),
        setup(2, "MORE_PROCESSING_REQUIRED", &json!({})),
        setup(3, "SUCCESS", &json!({ "principal": 1 })),
        setup(4, "SUCCESS", &json!({})),
    ]);
    for (mid, status) in [
        (0, MORE),
        (1, SUCCESS),
        (2, MORE),
        (3, SUCCESS),
        (4, SUCCESS),
    ] {
        desk.leg(mid, status);
    }
    let more = AuthStep::Continue;
    let other = AuthStep::BeginAs(PrincipalRef(1));
    assert_eq!(
        desk.logins,
        [AuthStep::Begin, more, other, more, AuthStep::Begin]
    );
    assert_eq!(desk.diverged(), []);
}

/// Only what says that name or password are wrong is brought about by a wrong password; other
/// refusals are about the request. [MS-SMB2] 3.3.5.5.
#[test]
fn a_login_that_was_refused_for_another_reason_begins_with_the_right_password() {
    for (status, wrong) in [
        ("LOGON_FAILURE", true),
        ("ACCOUNT_LOCKED_OUT", true),
        ("ACCESS_DENIED", false),
        ("REQUEST_NOT_ACCEPTED", false),
        ("USER_SESSION_DELETED", false),
    ] {
        let desk = Desk::new(&[setup(0, status, &json!({}))]);
        let begun = if wrong {
            AuthStep::BeginRefused
        } else {
            AuthStep::Begin
        };
        assert_eq!(desk.logins, [begun], "{status}");
    }
}

/// A session outlives a binding that failed ([MS-SMB2] 3.2.5.3.3), and what is recorded of a
/// session that a failed re-authentication ended (3.3.5.5.3) can be asked of this server too.
#[test]
fn a_login_that_fails_as_recorded_leaves_the_session_to_what_was_recorded_of_it() {
    let after = |id: u32| json!({ "session": 0, "after": [{ "id": id - 1, "rule": "wire" }] });
    let mut desk = Desk::new(&[
        setup(0, "SUCCESS", &json!({})),
        setup(1, "MORE_PROCESSING_REQUIRED", &json!({})),
        setup(2, "LOGON_FAILURE", &json!({})),
        echo(3, &after(3)),
    ]);
    for (mid, status) in [(0, SUCCESS), (1, MORE), (2, LOGON_FAILURE)] {
        desk.leg(mid, status);
    }
    let last = desk.sent.last().unwrap();
    assert_eq!(last.bytes[12..14], ECHO.to_le_bytes());
    assert_eq!(last.bytes[40..48], SESSION_ID.to_le_bytes());
    assert_eq!(desk.diverged(), []);
    // One that fails against the recording takes with it what needs the session.
    let mut desk = Desk::new(&[
        setup(0, "SUCCESS", &json!({})),
        setup(1, "SUCCESS", &json!({})),
        echo(2, &after(2)),
    ]);
    desk.leg(0, SUCCESS);
    desk.leg(1, LOGON_FAILURE);
    assert_eq!(desk.sent.len(), 2);
    let cascaded = |it: &Report| matches!(it, Report::Cascaded { op: OpId(2), .. });
    assert!(desk.reports.iter().any(cascaded));
}
