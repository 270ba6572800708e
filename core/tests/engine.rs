//! The engine on its own: facts in by hand, orders out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

use serde_json::{Value, json};
use smbench_core::{
    engine::{Engine, EngineError, Plan, RunConfig, Speed, feed},
    event::{
        AuthStep, Divergence, Effect, EffectsDigest, Input, Report, Seal, SkipReason, TokenOutcome,
    },
    frame::Frame,
    ids::{ClientId, ConnId, LogicalTime, OpId, PrincipalRef, SessionRef},
    smb2::{NtStatus, SessionId},
    workload::{Client, Connection, Operation, Principal, Session, Tree, Workload},
};

const SUCCESS: u32 = 0;
const PENDING: u32 = 0x103;
const CANCELLED: u32 = 0xc000_0120;
const SHARING_VIOLATION: u32 = 0xc000_0043;

/// One client, most often on one connection, an engine, and what it ordered.
struct Desk {
    engine: Engine,
    digest: EffectsDigest,
    now: u64,
    sent: Vec<Frame>,
    reports: Vec<Report>,
    logins: Vec<AuthStep>,
    closed: bool,
    wake: Option<LogicalTime>,
}

impl Desk {
    /// An engine whose operations all belong to one session and tree that it is given first.
    fn new(lines: &[Value]) -> Self {
        let operations: Vec<Operation> = lines
            .iter()
            .map(|line| serde_json::from_value(line.clone()).unwrap())
            .collect();
        let connections = 1 + operations.iter().map(|op| op.conn.0).max().unwrap();
        let connection = |conn| Connection {
            client: (operations.iter().find(|op| op.conn.0 == conn))
                .map_or(ClientId(0), |op| op.client),
            from: String::new(),
            to: String::new(),
            at_us: 0,
            dialect: None,
            midstream: false,
        };
        let clients = 1 + operations.iter().map(|op| op.client.0).max().unwrap();
        let workload = Workload {
            format: 1,
            clients: vec![Client::default(); clients as usize],
            connections: (0..connections).map(connection).collect(),
            principals: vec![Principal::default(); 2],
            sessions: vec![Session {
                principal: 0,
                conn: ConnId(0),
                wire_id: SessionId(0),
                flags: 0,
                inferred: false,
            }],
            trees: Vec::<Tree>::new(),
            opens: 4,
            operations: operations.len() as u64,
            ..Workload::default()
        };
        let config = RunConfig {
            speed: Speed::Max,
            ..RunConfig::default()
        };
        let plan = Plan::build(&workload, operations, &config, |_| true).unwrap();
        let mut desk = Self {
            engine: Engine::new(plan, config),
            digest: EffectsDigest::default(),
            now: 0,
            sent: Vec::new(),
            reports: Vec::new(),
            logins: Vec::new(),
            closed: false,
            wake: None,
        };
        desk.tell(Input::Start);
        for conn in (0..connections).map(ConnId) {
            desk.tell(Input::Connected { conn });
        }
        desk
    }

    fn tell(&mut self, input: Input) {
        self.now += 1_000;
        let (sent, reports, closed) = (&mut self.sent, &mut self.reports, &mut self.closed);
        let logins = &mut self.logins;
        let now = LogicalTime(self.now);
        self.wake = feed(
            &mut self.engine,
            now,
            input,
            &mut self.digest,
            |effect| match effect {
                Effect::Send { frame, .. } => sent.push(frame),
                Effect::Report(report) => reports.push(report),
                Effect::Authenticate { step, .. } => logins.push(step),
                Effect::Close { .. } => *closed = true,
                _ => {}
            },
        )
        .unwrap();
    }

    fn wake_up(&mut self) {
        self.now = self.wake.unwrap().0.max(self.now);
        self.tell(Input::Wake);
    }

    /// A response to the MessageId, with so many credits.
    fn answer(&mut self, command: u16, mid: u64, status: u32, credits: u16, body: &[u8]) {
        let mut bytes = header(command, mid, status, credits);
        bytes.extend_from_slice(body);
        self.receive(bytes);
    }

    fn interim(&mut self, command: u16, mid: u64, async_id: u64) {
        let mut bytes = header(command, mid, PENDING, 1);
        bytes[16] |= 2;
        bytes[32..40].copy_from_slice(&async_id.to_le_bytes());
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.receive(bytes);
    }

    fn receive(&mut self, bytes: Vec<u8>) {
        let frame = Frame {
            bytes,
            cuts: Vec::new(),
        };
        self.tell(Input::Received {
            conn: ConnId(0),
            frame,
            seal: Seal::Plain,
        });
    }

    /// One leg of a login: its token, and the answer to it.
    fn leg(&mut self, mid: u64, status: u32) {
        self.tell(Input::TokenReady {
            conn: ConnId(0),
            session: SessionRef(0),
            outcome: TokenOutcome::Ready { len: 4 },
        });
        let mut bytes = header(SESSION_SETUP, mid, status, 1);
        bytes[40..48].copy_from_slice(&SESSION_ID.to_le_bytes());
        bytes.extend_from_slice(&[9, 0, 0, 0, 72, 0, 0, 0]);
        self.receive(bytes);
    }

    fn diverged(&self) -> Vec<(u32, &Divergence)> {
        let found = self.reports.iter().filter_map(|report| match report {
            Report::Diverged { op, divergence } => Some((op.0, divergence)),
            _ => None,
        });
        found.collect()
    }
}

fn header(command: u16, mid: u64, status: u32, credits: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(&[0xfe, b'S', b'M', b'B', 64, 0]);
    bytes[8..12].copy_from_slice(&status.to_le_bytes());
    bytes[12..14].copy_from_slice(&command.to_le_bytes());
    bytes[14..16].copy_from_slice(&credits.to_le_bytes());
    bytes[16] = 1;
    bytes[24..32].copy_from_slice(&mid.to_le_bytes());
    bytes
}

fn create_body(oplock: u8, file_id: u8) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[0] = 89;
    body[2] = oplock;
    body[4] = 1;
    body[64..80].fill(file_id);
    body
}

fn operation(id: u32, cmd: &str, request: &Value, extra: &Value) -> Value {
    let mut line = json!({
        "id": id, "at_us": id, "client": 0, "conn": 0, "cmd": cmd, "mid": id, "credits": 1,
        "frame": id + 1, "do": { "request": { cmd: request } },
    });
    for (key, value) in extra.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

fn echo(id: u32, extra: &Value) -> Value {
    let mut all = json!({ "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 } });
    for (key, value) in extra.as_object().unwrap() {
        all[key] = value.clone();
    }
    operation(id, "ECHO", &json!({}), &all)
}

/// A leg of a login to session 0.
fn setup(id: u32, status: &str, extra: &Value) -> Value {
    let request = json!({
        "security_mode": "0x1", "capabilities": "0x0", "security_buffer_length": 4,
    });
    let mut all = json!({
        "session": 0, "after": [{ "id": id.saturating_sub(1), "rule": "setup" }],
        "expect": { "frame": 0, "status": status, "latency_us": 10 },
    });
    if id == 0 {
        all["after"] = json!([]);
    }
    for (key, value) in extra.as_object().unwrap() {
        all[key] = value.clone();
    }
    operation(id, "SESSION_SETUP", &request, &all)
}

fn create(id: u32, open: Option<u32>, status: &str, extra: &Value) -> Value {
    let request = json!({ "name": "a", "access": "0x1", "share": "rwd", "disposition": "open" });
    let mut all = json!({ "expect": { "frame": 0, "status": status, "latency_us": 10 } });
    if let Some(open) = open {
        all["open"] = json!(open);
    }
    for (key, value) in extra.as_object().unwrap() {
        all[key] = value.clone();
    }
    operation(id, "CREATE", &request, &all)
}

const MORE: u32 = 0xc000_0016;
const LOGON_FAILURE: u32 = 0xc000_006d;
const SESSION_ID: u64 = 0x77;
const SESSION_SETUP: u16 = 1;
const ECHO: u16 = 13;
const CREATE: u16 = 5;
const ECHO_BODY: [u8; 4] = [4, 0, 0, 0];

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
    assert!(desk.engine.is_done() && desk.closed);
    assert_eq!(desk.diverged(), []);
}

#[test]
fn a_server_that_grants_no_credits_is_told_and_ends_the_run() {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    desk.answer(ECHO, 0, SUCCESS, 0, &ECHO_BODY);
    assert_eq!(desk.diverged(), [(1, &Divergence::NoCredits)]);
    assert!(desk.engine.is_done());
}

#[test]
fn a_response_that_does_not_come_times_out_and_gives_its_credit_back() {
    let mut desk = Desk::new(&[echo(0, &json!({})), echo(1, &json!({}))]);
    desk.wake_up();
    assert_eq!(desk.diverged(), [(0, &Divergence::NoResponse)]);
    assert_eq!(desk.sent.len(), 2);
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
    assert!(desk.engine.is_done());
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
    assert!(desk.engine.is_done());
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
    assert!(desk.engine.is_done());

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
    assert!(desk.engine.is_done());
}

#[test]
fn time_cannot_go_back() {
    let mut desk = Desk::new(&[echo(0, &json!({}))]);
    let error = desk.engine.handle(LogicalTime(1), Input::Wake).unwrap_err();
    assert!(matches!(error, EngineError::TimeWentBack { .. }), "{error}");
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
