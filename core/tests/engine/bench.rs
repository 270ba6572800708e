//! Runs against servers that are a function: what silence and its like are tried with.

use super::desk::*;
use serde_json::{Value, json};
use smbench_core::{
    engine::{RunConfig, Speed},
    event::{Divergence, Input, Report, TokenOutcome},
    frame::Frame,
};

/// The time-out of these tests.
pub(super) const TIMEOUT_NS: u64 = 1_000_000_000;

pub(super) fn config() -> RunConfig {
    RunConfig {
        speed: Speed::Max,
        timeout_ms: 1_000,
        ..RunConfig::default()
    }
}

/// Connects, logs in, answers and wakes until the run is done. `answer` is given the number of a
/// frame, over all and on its connection from 0, and says whether it is answered.
pub(super) fn run(
    lines: &[Value],
    config: RunConfig,
    answer: impl Fn(usize, usize) -> bool,
) -> Desk {
    let mut desk = Desk::idle(lines, config);
    desk.tell(Input::Start);
    let mut seen = 0;
    for _ in 0..1_000_000 {
        if desk.drive.machine().is_done() {
            return desk;
        }
        if let Some(conn) = desk.dials.pop() {
            desk.tell(Input::Connected { conn });
        } else if let Some((conn, session)) = desk.tokens.pop() {
            let outcome = TokenOutcome::Ready { len: 4 };
            desk.tell(Input::TokenReady {
                conn,
                session,
                outcome,
            });
        } else if seen < desk.sent.len() {
            let conn = desk.sent_on[seen];
            let before = desk.sent_on[..seen].iter().filter(|it| **it == conn);
            let answered = answer(seen, before.count());
            let response = response_to(&desk.sent[seen]);
            seen += 1;
            if answered && !desk.closes.iter().any(|(closed, _)| *closed == conn) {
                desk.receive_on(conn, response);
            }
        } else {
            assert!(desk.wake.is_some(), "nothing can happen any more");
            desk.wake_up();
        }
    }
    panic!("the run does not end");
}

/// Success, with a credit more than it took.
pub(super) fn response_to(request: &Frame) -> Vec<u8> {
    let command = u16::from_le_bytes([request.bytes[12], request.bytes[13]]);
    let mid = u64::from_le_bytes(request.bytes[24..32].try_into().unwrap());
    let mut bytes = header(command, mid, SUCCESS, 2);
    match command {
        CREATE => bytes.extend(create_body(0, 7)),
        1 => bytes.extend_from_slice(&[9, 0, 0, 0, 72, 0, 0, 0]),
        _ => bytes.extend_from_slice(&ECHO_BODY),
    }
    bytes
}

pub(super) fn cascades(desk: &Desk) -> usize {
    let is = |report: &&Report| matches!(report, Report::Cascaded { .. });
    desk.reports.iter().filter(is).count()
}

pub(super) fn no_responses(desk: &Desk) -> usize {
    let is = |it: &&(u32, &Divergence)| *it.1 == Divergence::NoResponse;
    desk.diverged().iter().filter(is).count()
}

/// `length` ECHOs on a connection, each after the one before it.
pub(super) fn chain(first: u32, conn: u32, length: u32, after: Option<u32>) -> Vec<Value> {
    let before = |id: u32| if id == first { after } else { Some(id - 1) };
    let edge = |id: u32| before(id).map(|id| json!({ "id": id, "rule": "wire" }));
    let line = |id: u32| {
        let after: Vec<Value> = edge(id).into_iter().collect();
        echo(id, &json!({ "conn": conn, "client": conn, "after": after }))
    };
    (first..first + length).map(line).collect()
}

pub(super) fn watch(id: u32, latency_us: u64, extra: &Value) -> Value {
    let expect = json!({ "frame": 0, "status": "CANCELLED", "latency_us": latency_us });
    let mut all = json!({ "expect": expect });
    for (key, value) in extra.as_object().unwrap() {
        all[key] = value.clone();
    }
    let request = json!({ "completion_filter": "0x1", "output_buffer_length": 64 });
    operation(id, "CHANGE_NOTIFY", &request, &all)
}
