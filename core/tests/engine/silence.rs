//! Servers that say nothing: what is given up, when, and that the run ends.

use super::{bench::*, desk::*};
use serde_json::{Value, json};
use smbench_core::{
    engine::{OrderMode, Pace, Patience, RunConfig, Speed},
    event::{Divergence, Input, NetFailure, Report},
    ids::ConnId,
};

#[test]
fn a_request_is_given_up_a_time_out_after_its_recorded_latency() {
    let given_up = |latency_us: u64, speed: Speed, patience: Patience| {
        let expect = json!({ "frame": 0, "status": "SUCCESS", "latency_us": latency_us });
        let lines = [echo(0, &json!({ "expect": expect }))];
        let config = RunConfig {
            speed,
            patience,
            ..config()
        };
        let desk = run(&lines, config, |_, _| false);
        assert_eq!(desk.diverged(), [(0, &Divergence::NoResponse)]);
        desk.now / 1_000_000
    };
    let (max, once) = (Speed::Max, Patience::Once);
    assert_eq!(given_up(10, max, once), 1_000);
    assert_eq!(given_up(400_000, max, once), 1_400);
    assert_eq!(given_up(60_000_000, max, once), 61_000);
    // What a response waits for comes later at a lower speed, and the server is never faster.
    assert_eq!(given_up(400_000, Speed::Thousandths(500), once), 1_800);
    assert_eq!(given_up(400_000, Speed::Thousandths(2_000), once), 1_400);
    assert_eq!(given_up(10, max, Patience::Twice), 2_000);
    assert_eq!(given_up(60_000_000, max, Patience::Twice), 61_000);
}

#[test]
fn a_silent_connection_is_lost_as_a_whole() {
    // The first answer gives credits for two more; three wait, and four come later.
    let mut lines: Vec<Value> = (0..6).map(|id| echo(id, &json!({}))).collect();
    lines.extend(chain(6, 0, 4, Some(5)));
    let desk = run(&lines, config(), |_, on_conn| on_conn == 0);
    assert_eq!(desk.diverged(), [(1, &Divergence::NoResponse)]);
    assert_eq!(cascades(&desk), 8);
    assert_eq!(desk.closes, [(ConnId(0), true)]);
    assert_eq!(desk.now / 1_000_000, 1_000);

    // As before this was so: each by itself, one time-out after the other.
    let config = RunConfig {
        patience: Patience::Twice,
        ..config()
    };
    let desk = run(&lines, config, |_, on_conn| on_conn == 0);
    assert_eq!((no_responses(&desk), cascades(&desk)), (9, 0));
}

#[test]
fn a_connection_that_says_something_is_not_lost() {
    let mut desk = Desk::new(&[
        echo(0, &json!({})),
        echo(1, &json!({})),
        echo(2, &json!({})),
    ]);
    desk.answer(ECHO, 0, SUCCESS, 2, &ECHO_BODY);
    desk.now += 20_000_000_000;
    desk.answer(ECHO, 2, SUCCESS, 1, &ECHO_BODY);
    while desk.diverged().is_empty() {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(1, &Divergence::NoResponse)]);
    assert_eq!(desk.closes, [(ConnId(0), false)], "it is closed at the end");
}

#[test]
fn an_answer_after_all_grants_no_credit_twice() {
    let lines: Vec<Value> = (0..6).map(|id| echo(id, &json!({}))).collect();
    let mut desk = Desk::new(&lines);
    desk.answer(ECHO, 0, SUCCESS, 2, &ECHO_BODY);
    assert_eq!(desk.sent.len(), 3);
    desk.now += 20_000_000_000;
    desk.answer(ECHO, 2, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.sent.len(), 4);
    while desk.diverged().is_empty() {
        desk.wake_up();
    }
    assert_eq!(desk.sent.len(), 5, "what is given up gives its credit back");
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(desk.sent.len(), 5);
    let last = desk.reports.last();
    assert!(
        !matches!(last, Some(Report::Stray { .. })),
        "it is late, and not nobody's"
    );
}

#[test]
fn a_pending_watch_says_nothing_about_its_connection() {
    let mut desk = Desk::new(&[
        watch(0, 10, &json!({})),
        echo(1, &json!({ "after": [{ "id": 0, "rule": "wire" }] })),
    ]);
    desk.interim(15, 0, 0x77);
    while desk.sent.len() < 2 {
        desk.wake_up();
    }
    assert_eq!(desk.diverged(), [(0, &Divergence::NoResponse)]);
    assert_eq!(desk.closes, []);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    assert!(desk.drive.machine().is_done());
}

/// A CREATE that waits for a break may take longer than a time-out, and its connection lives. But
/// interim responses alone do not keep one.
#[test]
fn a_pending_request_keeps_its_connection_once() {
    let lines = [
        create(0, Some(0), "SUCCESS", &json!({})),
        create(
            1,
            Some(1),
            "SUCCESS",
            &json!({ "after": [{ "id": 0, "rule": "wire" }] }),
        ),
        create(
            2,
            Some(2),
            "SUCCESS",
            &json!({ "after": [{ "id": 1, "rule": "wire" }] }),
        ),
    ];
    let pending = |ends: bool| {
        let mut desk = Desk::new(&lines);
        for mid in 0..3 {
            if desk.sent.len() <= mid {
                break;
            }
            let mid = u64::try_from(mid).unwrap();
            desk.interim(CREATE, mid, mid + 1);
            let given_up = desk.diverged().len();
            while desk.diverged().len() == given_up {
                desk.wake_up();
            }
            if ends {
                desk.answer(CREATE, mid, SUCCESS, 1, &create_body(0, 7));
            }
        }
        (no_responses(&desk), cascades(&desk))
    };
    assert_eq!(pending(true), (3, 0), "late, but they come");
    assert_eq!(pending(false), (2, 1));
}

/// Whatever a server does before it falls silent, and whoever waits for whom: three time-outs.
#[test]
fn a_silent_server_ends_a_run_within_three_time_outs() {
    let many: Vec<Value> = (0..200)
        .flat_map(|conn| chain(conn * 5, conn, 5, None))
        .collect();
    let queue: Vec<Value> = (0..5_000).map(|id| echo(id, &json!({}))).collect();
    let line: Vec<Value> = (0..50)
        .flat_map(|conn| chain(conn * 4, conn, 4, (conn * 4).checked_sub(1)))
        .collect();
    let logins: Vec<Value> = (0..20)
        .flat_map(|conn| {
            let first = conn * 5;
            let on = json!({ "conn": conn, "client": conn, "after": [] });
            let mut lines = vec![setup(first, "SUCCESS", &on)];
            lines.extend(chain(first + 1, conn, 4, Some(first)));
            for line in &mut lines {
                line["session"] = json!(0);
            }
            lines
        })
        .collect();
    let watches: Vec<Value> = (0..20)
        .flat_map(|conn| {
            let first = conn * 5;
            let mut lines = vec![watch(first, 10, &json!({ "conn": conn, "client": conn }))];
            lines.extend(chain(first + 1, conn, 4, Some(first)));
            lines[1]["after"][0]["on"] = json!("interim");
            lines
        })
        .collect();
    type Server = fn(usize, usize) -> bool;
    let servers: [(&str, Server); 5] = [
        ("says nothing", |_, _| false),
        ("answers the first request of each connection", |_, nth| {
            nth == 0
        }),
        ("answers three requests of each connection", |_, nth| {
            nth < 3
        }),
        ("answers seven requests", |nth, _| nth < 7),
        ("answers every other request", |nth, _| {
            nth.is_multiple_of(2) && nth < 40
        }),
    ];
    let with = |order: OrderMode, speed: Speed, pace: Pace| RunConfig {
        order,
        speed,
        pace,
        ..config()
    };
    let real = Speed::Thousandths(1_000);
    let configs = [
        ("max", with(OrderMode::Resource, Speed::Max, Pace::Absolute)),
        (
            "in real time",
            with(OrderMode::Resource, real, Pace::Absolute),
        ),
        (
            "with think times",
            with(OrderMode::Resource, real, Pace::Think),
        ),
        (
            "as captured",
            with(OrderMode::Capture, Speed::Max, Pace::Absolute),
        ),
        (
            "by client",
            with(OrderMode::Client, Speed::Max, Pace::Absolute),
        ),
        (
            "unordered",
            with(OrderMode::None, Speed::Max, Pace::Absolute),
        ),
    ];
    for (name, lines) in [
        ("many", &many),
        ("queue", &queue),
        ("line", &line),
        ("logins", &logins),
        ("watches", &watches),
    ] {
        for ((does, server), (how, config)) in
            (servers.iter()).flat_map(|server| configs.iter().map(move |config| (server, config)))
        {
            let desk = run(lines, config.clone(), *server);
            let took_ms = desk.now / 1_000_000;
            assert!(
                took_ms <= 3_000,
                "{name}, {how}: a server that {does}: {took_ms} ms"
            );
            // Without an order, what needs a session is left out before there is one.
            let found = no_responses(&desk) > 0 || config.order == OrderMode::None;
            assert!(found, "{name}, {how}: a server that {does}");
        }
    }
}

#[test]
fn connections_that_cannot_be_opened_end_a_run_within_three_time_outs() {
    let line: Vec<Value> = (0..50)
        .flat_map(|conn| chain(conn * 2, conn, 2, (conn * 2).checked_sub(1)))
        .collect();
    let mut desk = Desk::idle(&line, config());
    desk.tell(Input::Start);
    while !desk.drive.machine().is_done() {
        let conn = desk.dials.pop().unwrap();
        desk.now += TIMEOUT_NS;
        let reason = NetFailure::TimedOut;
        desk.tell(Input::ConnectFailed { conn, reason });
    }
    assert!(desk.now <= 3 * TIMEOUT_NS, "{} ms", desk.now / 1_000_000);
    // Who is refused at once tries the others.
    let mut desk = Desk::idle(&line, config());
    desk.tell(Input::Start);
    let mut dialled = 0;
    while let Some(conn) = desk.dials.pop() {
        dialled += 1;
        let reason = NetFailure::Refused;
        desk.tell(Input::ConnectFailed { conn, reason });
    }
    assert!(desk.drive.machine().is_done());
    assert_eq!(dialled, 50);
}

/// A connection that dies now and then is no reason to give up a server that is there.
#[test]
fn a_server_that_is_there_between_silences_keeps_its_run() {
    let line: Vec<Value> = (0..12)
        .flat_map(|conn| chain(conn * 2, conn, 2, (conn * 2).checked_sub(1)))
        .collect();
    let mut desk = Desk::idle(&line, config());
    desk.tell(Input::Start);
    let mut seen = 0;
    while !desk.drive.machine().is_done() {
        if let Some(conn) = desk.dials.pop() {
            desk.tell(Input::Connected { conn });
        } else if seen < desk.sent.len() {
            let conn = desk.sent_on[seen];
            // Slow, but there; every third connection dies with its second request.
            desk.now += TIMEOUT_NS / 2;
            let second = desk.sent_on[..seen].contains(&conn);
            if !(second && conn.0.is_multiple_of(3)) {
                let response = response_to(&desk.sent[seen]);
                desk.receive_on(conn, response);
            }
            seen += 1;
        } else {
            desk.wake_up();
        }
    }
    assert_eq!((no_responses(&desk), cascades(&desk)), (4, 0));
    assert_eq!(desk.sent.len(), 24);
}

fn notice(id: u32, conn: u32, after: &Value) -> Value {
    json!({
        "id": id, "at_us": id, "client": conn, "conn": conn, "cmd": "OPLOCK_BREAK", "mid": 0,
        "frame": id + 1, "open": 0, "after": after,
        "do": { "break": { "oplock": { "to": "none" } } },
    })
}

/// Notifications one after the other, to a client whose connection is lost.
#[test]
fn a_notification_that_cannot_come_is_not_waited_for() {
    let mut lines = vec![create(0, Some(0), "SUCCESS", &json!({}))];
    for id in 1..40 {
        lines.push(notice(id, 0, &json!([{ "id": id - 1, "rule": "break" }])));
    }
    let desk = run(&lines, config(), |_, _| false);
    assert_eq!(desk.diverged(), [(0, &Divergence::NoResponse)]);
    assert_eq!(cascades(&desk), 39);
    assert_eq!(desk.now / 1_000_000, 1_000);
    // Where the connection lives, each is waited for, no longer than a time-out.
    let desk = run(&lines, config(), |_, _| true);
    assert_eq!(desk.diverged().len(), 39);
    assert_eq!(desk.now / 1_000_000, 39_000);
}

/// A server that breaks nothing is no silent one, however long it is waited for notifications.
#[test]
fn missing_notifications_end_no_run() {
    let mut lines = vec![create(0, Some(0), "SUCCESS", &json!({}))];
    for id in (1..60).step_by(2) {
        lines.push(notice(id, 0, &json!([{ "id": id - 1, "rule": "break" }])));
        lines.push(echo(
            id + 1,
            &json!({ "after": [{ "id": id, "rule": "wire" }] }),
        ));
    }
    let desk = run(&lines, config(), |_, _| true);
    assert_eq!(desk.diverged().len(), 30);
    assert_eq!(cascades(&desk), 0);
}

/// A silent server with a client that has lost its connection, and others who wait for breaks.
#[test]
fn silence_goes_on_while_notifications_are_waited_for() {
    let mut lines = chain(0, 0, 1, None);
    lines.push(create(
        1,
        Some(0),
        "SUCCESS",
        &json!({ "conn": 1, "client": 1 }),
    ));
    lines.push(notice(
        2,
        1,
        &json!([{ "id": 0, "rule": "wire" }, { "id": 1, "rule": "break" }]),
    ));
    for id in 3..40 {
        lines.push(notice(id, 1, &json!([{ "id": id - 1, "rule": "break" }])));
    }
    let desk = run(&lines, config(), |_, nth| nth == 0);
    assert!(desk.drive.machine().is_done());
    let created = desk.sent_on.contains(&ConnId(1));
    assert!(created);
    // Only the CREATE is answered: the other connection is lost after a time-out.
    let mut desk = Desk::idle(&lines, config());
    desk.tell(Input::Start);
    for conn in [0, 1].map(ConnId) {
        desk.tell(Input::Connected { conn });
    }
    let create = desk
        .sent_on
        .iter()
        .position(|conn| *conn == ConnId(1))
        .unwrap();
    let response = response_to(&desk.sent[create]);
    desk.receive_on(ConnId(1), response);
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    assert!(desk.now <= 3 * TIMEOUT_NS, "{} ms", desk.now / 1_000_000);
}
