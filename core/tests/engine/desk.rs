//! An engine on a desk: one client, and the facts and lines that tests are made of.

use serde_json::{Value, json};
use smbench_core::{
    confine::Gate,
    drive::{Drive, NoRecord},
    engine::{Engine, Plan, RunConfig, Speed},
    event::{AuthStep, Divergence, Effect, Input, Output, Report, Seal, TokenOutcome},
    frame::Frame,
    ids::{ClientId, ConnId, LogicalTime, SessionRef},
    smb2::{SessionId, TreeId},
    workload::{Client, Connection, Operation, Principal, Session, Tree, Workload},
};

pub(super) const SUCCESS: u32 = 0;
const PENDING: u32 = 0x103;
pub(super) const CANCELLED: u32 = 0xc000_0120;
pub(super) const SHARING_VIOLATION: u32 = 0xc000_0043;

/// One client, most often on one connection, an engine, and what it ordered.
pub(super) struct Desk {
    connections: u32,
    pub(super) drive: Drive<Engine, NoRecord>,
    pub(super) now: u64,
    pub(super) sent: Vec<Frame>,
    /// On which connection each of them was sent.
    pub(super) sent_on: Vec<ConnId>,
    /// Logins that want a token.
    pub(super) tokens: Vec<(ConnId, SessionRef)>,
    pub(super) reports: Vec<Report>,
    pub(super) logins: Vec<AuthStep>,
    pub(super) closed: bool,
    /// Connections that the engine wants to be opened.
    pub(super) dials: Vec<ConnId>,
    /// Connections that the engine has closed, and whether by a reset.
    pub(super) closes: Vec<(ConnId, bool)>,
    pub(super) wake: Option<LogicalTime>,
}

impl Desk {
    /// An engine whose operations all belong to one session and tree that it is given first.
    pub(super) fn new(lines: &[Value]) -> Self {
        let config = RunConfig {
            speed: Speed::Max,
            ..RunConfig::default()
        };
        let mut desk = Self::idle(lines, config);
        let connections = 0..desk.connections;
        desk.tell(Input::Start);
        for conn in connections.map(ConnId) {
            desk.tell(Input::Connected { conn });
        }
        desk
    }

    /// The same as `config` says, before its start.
    pub(super) fn idle(lines: &[Value], config: RunConfig) -> Self {
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
            capabilities: None,
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
            trees: vec![Tree {
                session: SessionRef(0),
                path: "\\\\s\\data".to_owned(),
                share_type: 1,
                wire_id: TreeId(1),
                inferred: false,
            }],
            opens: 4,
            operations: operations.len() as u64,
            ..Workload::default()
        };
        let plan = Plan::build(&workload, operations, &config, |_| true).unwrap();
        Self {
            connections,
            drive: Drive::new(Engine::new(plan, config), NoRecord, Gate::open()),
            now: 0,
            sent: Vec::new(),
            sent_on: Vec::new(),
            tokens: Vec::new(),
            reports: Vec::new(),
            logins: Vec::new(),
            closed: false,
            dials: Vec::new(),
            closes: Vec::new(),
            wake: None,
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.now += 1_000;
        let (sent, reports, closed) = (&mut self.sent, &mut self.reports, &mut self.closed);
        let (logins, dials, closes) = (&mut self.logins, &mut self.dials, &mut self.closes);
        let (sent_on, tokens) = (&mut self.sent_on, &mut self.tokens);
        let now = LogicalTime(self.now);
        self.drive.take(now, input).unwrap();
        self.wake = loop {
            match self.drive.poll() {
                Output::WakeAt(at) => break at,
                Output::Do(Effect::Send { conn, frame, .. }) => {
                    sent.push(frame);
                    sent_on.push(conn);
                }
                Output::Do(Effect::Report(report)) => reports.push(report),
                Output::Do(Effect::Authenticate {
                    step,
                    conn,
                    session,
                }) => {
                    logins.push(step);
                    tokens.push((conn, session));
                }
                Output::Do(Effect::Close { conn, reset }) => {
                    closes.push((conn, reset));
                    *closed = true;
                }
                Output::Do(Effect::Connect { conn }) => dials.push(conn),
            }
        };
    }

    pub(super) fn wake_up(&mut self) {
        self.now = self.wake.unwrap().0.max(self.now);
        self.tell(Input::Wake);
    }

    /// A response to the MessageId, with so many credits.
    pub(super) fn answer(
        &mut self,
        command: u16,
        mid: u64,
        status: u32,
        credits: u16,
        body: &[u8],
    ) {
        let mut bytes = header(command, mid, status, credits);
        // Session and tree are those of the request, as far as they are not given by the answer.
        let request = self
            .sent
            .iter()
            .find(|sent| sent.bytes.get(24..32) == Some(&mid.to_le_bytes()));
        if let Some(request) = request.filter(|_| !matches!(command, 0 | 1)) {
            let from = if command == 3 { 40 } else { 36 };
            bytes[from..48].copy_from_slice(&request.bytes[from..48]);
        }
        bytes.extend_from_slice(body);
        self.receive(bytes);
    }

    pub(super) fn interim(&mut self, command: u16, mid: u64, async_id: u64) {
        self.interim_with(command, mid, async_id, 1);
    }

    /// The same, granting so many credits.
    pub(super) fn interim_with(&mut self, command: u16, mid: u64, async_id: u64, credits: u16) {
        let mut bytes = header(command, mid, PENDING, credits);
        bytes[16] |= 2;
        bytes[32..40].copy_from_slice(&async_id.to_le_bytes());
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.receive(bytes);
    }

    pub(super) fn receive(&mut self, bytes: Vec<u8>) {
        self.receive_on(ConnId(0), bytes);
    }

    pub(super) fn receive_on(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let frame = Frame {
            bytes,
            cuts: Vec::new(),
        };
        self.tell(Input::Received {
            conn,
            frame,
            seal: Seal::Plain,
        });
    }

    /// One leg of a login: its token, and the answer to it.
    pub(super) fn leg(&mut self, mid: u64, status: u32) {
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

    pub(super) fn diverged(&self) -> Vec<(u32, &Divergence)> {
        let found = self.reports.iter().filter_map(|report| match report {
            Report::Diverged { op, divergence } => Some((op.0, divergence)),
            _ => None,
        });
        found.collect()
    }
}

pub(super) fn header(command: u16, mid: u64, status: u32, credits: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(&[0xfe, b'S', b'M', b'B', 64, 0]);
    bytes[8..12].copy_from_slice(&status.to_le_bytes());
    bytes[12..14].copy_from_slice(&command.to_le_bytes());
    bytes[14..16].copy_from_slice(&credits.to_le_bytes());
    bytes[16] = 1;
    bytes[24..32].copy_from_slice(&mid.to_le_bytes());
    bytes
}

pub(super) fn create_body(oplock: u8, file_id: u8) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[0] = 89;
    body[2] = oplock;
    body[4] = 1;
    body[64..80].fill(file_id);
    body
}

pub(super) fn operation(id: u32, cmd: &str, request: &Value, extra: &Value) -> Value {
    let mut line = json!({
        "id": id, "at_us": id, "client": 0, "conn": 0, "cmd": cmd, "mid": id, "credits": 1,
        "frame": id + 1, "do": { "request": { cmd: request } },
    });
    for (key, value) in extra.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

pub(super) fn echo(id: u32, extra: &Value) -> Value {
    let mut all = json!({ "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 } });
    for (key, value) in extra.as_object().unwrap() {
        all[key] = value.clone();
    }
    operation(id, "ECHO", &json!({}), &all)
}

/// A leg of a login to session 0.
pub(super) fn setup(id: u32, status: &str, extra: &Value) -> Value {
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

pub(super) fn create(id: u32, open: Option<u32>, status: &str, extra: &Value) -> Value {
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

pub(super) const MORE: u32 = 0xc000_0016;
pub(super) const LOGON_FAILURE: u32 = 0xc000_006d;
pub(super) const SESSION_ID: u64 = 0x77;
const SESSION_SETUP: u16 = 1;
pub(super) const ECHO: u16 = 13;
pub(super) const CREATE: u16 = 5;
pub(super) const ECHO_BODY: [u8; 4] = [4, 0, 0, 0];
