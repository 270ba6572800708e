//! What a confined run sends and refuses, against a server that grants all it is asked for; and what
//! the gate lets pass when nothing was planned.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod gate;
mod notes;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use smbench_core::bulk::Blobs;
use smbench_core::confine::{Breach, Gate, Pipes, Policy, Refusal, Said, Words};
use smbench_core::drive::{Drive, NoRecord};
use smbench_core::engine::{Engine, Plan, RunConfig, Speed, TreeTarget};
use smbench_core::event::{
    AuthStep, Divergence, Effect, Input, Output, Report, Seal, TokenOutcome,
};
use smbench_core::frame::{Digest, Frame};
use smbench_core::fscc::SymbolicLink;
use smbench_core::ids::{ConnId, LogicalTime};
use smbench_core::smb2::{Body, Command, Message, Request};
use smbench_core::workload::{Operation, Workload};

const LOGON_FAILURE: &str = "LOGON_FAILURE";

/// A line of `ops.jsonl` in the first session and tree; its fields `more` win.
fn line(id: u32, cmd: &str, request: &Value, more: &Value) -> Value {
    let mut line = json!({
        "id": id, "at_us": id, "client": 0, "conn": 0, "session": 0, "tree": 0, "cmd": cmd, "mid": id,
        "charge": 1, "credits": 8, "frame": id, "do": {"request": {cmd: request}},
        "expect": {"frame": id, "status": "SUCCESS", "latency_us": 1},
    });
    if id > 0 {
        line["after"] = json!([{"id": id - 1, "rule": "wire"}]);
    }
    for (key, value) in more.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

fn set_up(path: &str) -> Vec<Value> {
    vec![
        line(
            0,
            "NEGOTIATE",
            &json!({"dialects": ["2.1"]}),
            &json!({"session": null, "tree": null}),
        ),
        line(1, "SESSION_SETUP", &json!({}), &json!({"tree": null})),
        line(2, "TREE_CONNECT", &json!({"path": path}), &json!({})),
    ]
}

fn create(id: u32, name: &str, more: &Value) -> Value {
    let request =
        json!({"name": name, "access": "0x12019f", "share": "rwd", "disposition": "open_if"});
    let mut line = line(id, "CREATE", &request, &json!({"open": id}));
    for (key, value) in more.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

/// How one run went.
struct Ran {
    reports: Vec<Report>,
    requests: Vec<Request>,
    logins: Vec<AuthStep>,
}

impl Ran {
    fn refused(&self) -> Vec<(u32, Refusal)> {
        let refused = self.reports.iter().filter_map(|report| match report {
            Report::Refused { op, why } => Some((op.0, *why)),
            Report::TreeRefused { op } => Some((op.0, Refusal::Tree)),
            _ => None,
        });
        refused.collect()
    }

    fn consequences(&self) -> Vec<(u32, u32)> {
        let of = self.reports.iter().filter_map(|report| match report {
            Report::Cascaded { op, cause } => Some((op.0, cause.0)),
            _ => None,
        });
        of.collect()
    }

    fn names(&self) -> Vec<String> {
        let names = self.requests.iter().filter_map(|request| match request {
            Request::Create(create) => Some(create.name.to_string()),
            _ => None,
        });
        names.collect()
    }
}

struct Data(Vec<Vec<u8>>);

impl Blobs for Data {
    fn get(&mut self, digest: &Digest, _: u32) -> Option<Arc<[u8]>> {
        let found = self.0.iter().find(|data| Digest::of(data) == *digest);
        found.map(|data| data.as_slice().into())
    }
}

/// Runs `lines`; the recorded kind of their share, and the one that it has now.
fn run(lines: &[Value], policy: Policy, kinds: (u8, u8), data: Vec<Vec<u8>>) -> Ran {
    run_with(lines, policy, kinds, data, |_| ())
}

/// The same with a server whose answers `change` changes.
fn run_with(
    lines: &[Value],
    policy: Policy,
    kinds: (u8, u8),
    data: Vec<Vec<u8>>,
    change: impl Fn(&mut [u8]),
) -> Ran {
    let operations = lines
        .iter()
        .map(|line| serde_json::from_value::<Operation>(line.clone()));
    let operations: Vec<Operation> = operations.map(Result::unwrap).collect();
    let path = &lines[2]["do"]["request"]["TREE_CONNECT"]["path"];
    let tables = json!({
        "format": 1, "provenance": {"tool": "", "captures": [], "epoch_ns": 0},
        "clients": [{"address": ""}],
        "connections": [{"client": 0, "from": "", "to": "", "at_us": 0}, {"client": 0, "from": "", "to": "", "at_us": 0}],
        "principals": [{"name": "a"}, {"name": "b"}],
        "sessions": [{"principal": 0, "conn": 0, "wire_id": 7}, {"principal": 1, "conn": 0, "wire_id": 8}],
        "trees": [{"session": 0, "path": path, "share_type": kinds.0, "wire_id": 9}],
        "inferred_opens": [], "opens": 64, "operations": operations.len(),
        "coverage": {"packets": 0, "frames": 0, "requests_seen": 0, "responses": 0, "by_command": {},
            "reencoded_exact": 0, "reencoded_total": 0, "skipped": {}, "inferred": {}, "edges": {}, "problems": {}},
    });
    let workload: Workload = serde_json::from_value(tables).unwrap();
    let config = RunConfig {
        speed: Speed::Max,
        tree_targets: vec![TreeTarget {
            path: "\\\\here\\share".to_owned(),
            root: "mine\\r".to_owned(),
        }],
        policy,
        ..RunConfig::default()
    };
    let gate = Gate::of(&config);
    let plan = Plan::build(&workload, operations, &config, |_| true).unwrap();
    let mut drive = Drive::new(Engine::new(plan, config), NoRecord, gate);
    let (mut data, mut now) = (Data(data), 0);
    let mut inputs = VecDeque::from([Input::Start]);
    let mut ran = Ran {
        reports: Vec::new(),
        requests: Vec::new(),
        logins: Vec::new(),
    };
    while let Some(input) = inputs.pop_front() {
        now += 1_000;
        drive.take(LogicalTime(now), input).unwrap();
        let wake = loop {
            match drive.poll() {
                Output::WakeAt(at) => break at,
                Output::Do(Effect::Connect { conn }) => inputs.push_back(Input::Connected { conn }),
                Output::Do(Effect::Authenticate {
                    conn,
                    session,
                    step,
                }) => {
                    ran.logins.push(step);
                    let outcome = TokenOutcome::Ready { len: 4 };
                    inputs.push_back(Input::TokenReady {
                        conn,
                        session,
                        outcome,
                    });
                }
                Output::Do(Effect::Send { conn, frame, .. }) => {
                    let sent = drive
                        .outgoing(conn, &frame, &mut data, Some(b"1234"))
                        .unwrap();
                    let Body::Request(request) = Message::decode(&sent).unwrap().message.body
                    else {
                        panic!("a response was sent");
                    };
                    let refuses = ran.logins.last() == Some(&AuthStep::BeginRefused);
                    let mut told = answer(conn, &sent, kinds.1, refuses);
                    if let Input::Received { frame, .. } = &mut told {
                        change(&mut frame.bytes);
                    }
                    inputs.push_back(told);
                    ran.requests.push(request);
                }
                Output::Do(Effect::Report(report)) => ran.reports.push(report),
                Output::Do(Effect::Close { .. }) => {}
            }
        };
        if let (true, Some(at)) = (inputs.is_empty(), wake) {
            now = now.max(at.0);
            inputs.push_back(Input::Wake);
        }
    }
    assert_eq!(ran.reports.last(), Some(&Report::Done), "{:?}", ran.reports);
    ran
}

/// What a server answers that grants all, but for logins with a wrong password.
fn answer(conn: ConnId, request: &[u8], kind: u8, refuses: bool) -> Input {
    let mut bytes = request[..64].to_vec();
    let command = bytes[12];
    bytes[8..12].fill(0);
    bytes[14] = 32;
    bytes[16] |= 1;
    bytes[40..48].copy_from_slice(&5_u64.to_le_bytes());
    let mut body = vec![0; 96];
    body[0] = [65, 9, 4, 16, 4, 89][usize::from(command.min(5))];
    if command > 5 {
        body[0] = if command == 8 || command == 9 { 17 } else { 4 };
    }
    match command {
        1 if refuses => {
            bytes[8..12].copy_from_slice(&0xc000_006d_u32.to_le_bytes());
            body = vec![9, 0, 0, 0, 0, 0, 0, 0, 0];
        }
        3 => {
            bytes[36] = 3;
            body[2] = kind;
        }
        5 => body[64] = request[24], // a handle of its own
        _ => {}
    }
    bytes.extend_from_slice(&body);
    let frame = Frame {
        bytes,
        cuts: Vec::new(),
    };
    Input::Received {
        conn,
        frame,
        seal: Seal::Plain,
    }
}

const DISK: u8 = 1;
const PIPE: u8 = 2;
const PRINTER: u8 = 3;

#[test]
fn names_go_below_the_root_and_what_leads_out_is_not_sent() {
    let mut lines = set_up("\\\\s\\data");
    lines.push(create(3, "a\\b", &json!({})));
    lines.push(create(4, "..\\victim", &json!({})));
    lines.push(line(5, "CLOSE", &json!({}), &json!({"open": 4})));
    lines.push(create(6, "srv\\share\\c", &json!({"flags": "0x10000000"})));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(ran.refused(), [(4, Refusal::Name)]);
    assert_eq!(ran.consequences(), [(5, 4)]);
    assert_eq!(ran.names(), ["mine\\r\\a\\b", "mine\\r\\c"]);
    // A share of unknown kind may hold files.
    let ran = run(&lines, Policy::strict(), (0, DISK), vec![]);
    assert_eq!(ran.names(), ["mine\\r\\a\\b", "mine\\r\\c"]);
}

#[test]
fn without_confinement_names_go_where_they_lead() {
    let mut lines = set_up("\\\\s\\data");
    lines.push(create(3, "..\\victim", &json!({})));
    let ran = run(&lines, Policy::default(), (DISK, DISK), vec![]);
    assert_eq!(
        (ran.refused(), ran.names()),
        (vec![], vec!["mine\\r\\..\\victim".to_owned()])
    );
}

/// The number of a file is that of the recorded server; its path is not, and is confined as any other.
#[test]
fn what_was_opened_by_its_number_is_opened_by_its_path() {
    let by_id = |id, path: Option<&str>| {
        let mut line = create(id, "\u{1234}\0\0\0", &json!({}));
        line["do"]["request"]["CREATE"]["options"] = "0x2040".into();
        line["path"] = path.into();
        line
    };
    let mut lines = set_up("\\\\10.1.0.9\\data");
    lines.push(by_id(3, Some("d\\f.txt")));
    lines.push(by_id(4, Some("..\\f.txt")));
    lines.push(by_id(5, None));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(ran.refused(), [(4, Refusal::Name), (5, Refusal::Name)]);
    assert_eq!(ran.names(), ["mine\\r\\d\\f.txt"]);
    let options = ran.requests.iter().filter_map(|request| match request {
        Request::Create(create) => Some(create.create_options.bits()),
        _ => None,
    });
    assert_eq!(options.collect::<Vec<_>>(), [0x40]);
}

/// Where a link leads counts from the folder that it is in: that of the top is not ours.
#[test]
fn what_is_at_the_top_is_made_no_link() {
    let link = SymbolicLink {
        substitute: "victim".into(),
        print: "victim".into(),
        relative: true,
    };
    let input = hex(&link.encode());
    let set = |id, open: Option<u32>| {
        let request = json!({"ctl_code": "SET_REPARSE_POINT", "input": input, "flags": "0x1"});
        line(id, "IOCTL", &request, &json!({"open": open}))
    };
    let mut lines = set_up("\\\\10.1.0.9\\data");
    let mut wanted = Vec::new();
    let names = [
        ("d\\link", true),
        ("a\\..\\b", true),
        ("", false),
        (".", false),
        ("a\\..", false),
        ("@GMT-2023.11.14-22.13.20", false),
    ];
    for (name, goes) in names {
        let id = u32::try_from(lines.len()).unwrap();
        lines.push(create(id, name, &json!({})));
        lines.push(set(id + 1, Some(id)));
        if !goes {
            wanted.push((id + 1, Refusal::Fsctl));
        }
    }
    // Nobody knows what that would be.
    let id = u32::try_from(lines.len()).unwrap();
    lines.push(set(id, None));
    wanted.push((id, Refusal::Fsctl));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(ran.refused(), wanted);
}

#[test]
fn a_share_of_another_kind_is_refused_and_no_breach() {
    for (recorded, now) in [
        (DISK, PIPE),
        (PIPE, DISK),
        (0, PIPE),
        (DISK, PRINTER),
        (PIPE, 0),
    ] {
        let mut lines = set_up("\\\\s\\data");
        lines.push(create(3, "a", &json!({})));
        let ran = run(&lines, Policy::strict(), (recorded, now), vec![]);
        assert_eq!(ran.refused(), [(2, Refusal::Tree)], "{recorded} as {now}");
        assert_eq!(ran.consequences(), [(3, 2)], "{recorded} as {now}");
        assert!(ran.names().is_empty());
    }
}

#[test]
fn nothing_goes_to_printers_or_changes_volumes_unless_a_flag_says_so() {
    let mut lines = set_up("\\\\s\\print");
    lines.push(create(3, "job", &json!({})));
    let ran = run(&lines, Policy::strict(), (PRINTER, PRINTER), vec![]);
    assert_eq!(
        ran.refused(),
        [(2, Refusal::Printer), (3, Refusal::Printer)]
    );
    let policy = Policy {
        printers: true,
        ..Policy::strict()
    };
    let ran = run(&lines, policy, (PRINTER, PRINTER), vec![]);
    assert_eq!(
        (ran.refused(), ran.names()),
        (vec![], vec!["mine\\r\\job".to_owned()])
    );

    let set = |kind: &str, class: u8| {
        let mut lines = set_up("\\\\s\\data");
        lines.push(create(3, "a", &json!({})));
        let request = json!({"info_type": kind, "file_info_class": class, "buffer": "00"});
        lines.push(line(4, "SET_INFO", &request, &json!({"open": 3})));
        lines
    };
    for (kind, class, why) in [
        ("filesystem", 2, Some(Refusal::Volume)),
        ("quota", 0, Some(Refusal::Volume)),
        ("file", 13, None),
        ("file", 31, Some(Refusal::Class)),
        ("file", 10, Some(Refusal::Name)),
    ] {
        let ran = run(&set(kind, class), Policy::strict(), (DISK, DISK), vec![]);
        let expected: Vec<_> = why.map(|why| (4, why)).into_iter().collect();
        assert_eq!(ran.refused(), expected, "{kind} {class}");
    }
    let policy = Policy {
        volume_changes: true,
        ..Policy::strict()
    };
    let ran = run(&set("filesystem", 2), policy, (DISK, DISK), vec![]);
    assert_eq!(ran.refused(), []);
}

#[test]
fn two_wrong_passwords_an_account_are_tried() {
    let mut lines = set_up("\\\\s\\data");
    for id in 3..8 {
        // Users 0, 1, 0, 1, 0.
        let more = json!({
            "tree": null, "principal": (id + 1) % 2,
            "expect": {"frame": id, "status": LOGON_FAILURE, "latency_us": 1},
        });
        lines.push(line(id, "SESSION_SETUP", &json!({}), &more));
    }
    let tried = |policy: Policy| {
        let ran = run(&lines, policy, (DISK, DISK), vec![]);
        let wrong = ran
            .logins
            .iter()
            .filter(|step| **step == AuthStep::BeginRefused);
        (wrong.count(), ran.refused())
    };
    assert_eq!(tried(Policy::strict()), (4, vec![(7, Refusal::Password)]));
    let one = Policy {
        accounts: vec![0, 0],
        ..Policy::strict()
    };
    let late = [5, 6, 7].map(|op| (op, Refusal::Password));
    assert_eq!(
        tried(one),
        (2, late.to_vec()),
        "two users that are one here"
    );
    let all = Policy {
        wrong_passwords: None,
        ..Policy::strict()
    };
    assert_eq!(tried(all), (5, vec![]));
}

/// A PDU of RPC. [C706] 12.6.3.1.
fn rpc(kind: u8, auth: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(16 + body.len()).unwrap();
    let mut pdu = vec![5, 0, kind, 3, 0x10, 0, 0, 0, len, 0, auth, 0, 1, 0, 0, 0];
    pdu.extend_from_slice(body);
    pdu
}

/// Binds context 0 to srvsvc. [MS-SRVS] 1.9.
fn bind(auth: u8) -> Vec<u8> {
    let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(&[
        0xc8, 0x4f, 0x32, 0x4b, 0x70, 0x16, 0xd3, 0x01, 0x12, 0x78, 0x5a, 0x47, 0xbf, 0x6e, 0xe1,
        0x88, 3, 0, 0, 0, 0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00,
        0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0,
    ]);
    body.extend(vec![0; usize::from(auth) * 2]);
    rpc(11, auth, &body)
}

fn call(opnum: u8) -> Vec<u8> {
    rpc(0, 0, &[0, 0, 0, 0, 0, 0, opnum, 0])
}

#[test]
fn calls_that_change_nothing_are_sent_and_others_take_their_answers_along() {
    let mut said = smbench_core::rpc::Conversation::default();
    let pieces = [bind(0), call(15), call(14)];
    let mut lines = set_up("\\\\s\\IPC$");
    lines.push(create(3, "srvsvc", &json!({})));
    for piece in &pieces {
        let id = u32::try_from(lines.len()).unwrap();
        let data = json!({"blake3": Digest::of(piece).to_string(), "len": piece.len()});
        let more = json!({"open": 3, "data": data, "rpc": serde_json::to_value(said.feed(piece)).unwrap()});
        lines.push(line(
            id,
            "WRITE",
            &json!({"length": piece.len(), "offset": 0}),
            &more,
        ));
        let read = json!({"length": 1024, "offset": 0});
        lines.push(line(id + 1, "READ", &read, &json!({"open": 3})));
    }
    lines.push(line(10, "CLOSE", &json!({}), &json!({"open": 3})));
    let ran = |policy| run(&lines, policy, (PIPE, PIPE), pieces.to_vec());
    let query = ran(Policy::strict());
    assert_eq!(query.refused(), [(8, Refusal::RpcCall)], "NetrShareAdd");
    assert_eq!(query.consequences(), [(9, 8)], "its answer");
    let sent = query.requests.iter().map(Request::command);
    assert_eq!(
        sent.filter(|it| *it == Command::CLOSE).count(),
        1,
        "a pipe is closed all the same"
    );
    let all = ran(Policy {
        pipes: Pipes::All,
        ..Policy::strict()
    });
    assert_eq!(all.refused(), []);
    let none = ran(Policy {
        pipes: Pipes::None,
        ..Policy::strict()
    });
    assert_eq!(
        none.refused(),
        [3, 4, 6, 8].map(|op| (op, Refusal::RpcCall))
    );
    assert!(none.names().is_empty());
    // What compiling did not note, nobody knows.
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("rpc");
    }
    let blind = run(&lines, Policy::strict(), (PIPE, PIPE), pieces.to_vec());
    assert_eq!(blind.refused(), [4, 6, 8].map(|op| (op, Refusal::RpcCall)));
}

#[test]
fn recorded_authentication_is_never_sent_over_a_pipe() {
    let piece = bind(8);
    let calls = smbench_core::rpc::Conversation::default().feed(&piece);
    let mut lines = set_up("\\\\s\\IPC$");
    lines.push(create(3, "srvsvc", &json!({})));
    let request = json!({"ctl_code": "PIPE_TRANSCEIVE", "input": hex(&piece), "max_output_response": 1024, "flags": "0x1"});
    let more = json!({"open": 3, "rpc": serde_json::to_value(calls).unwrap()});
    lines.push(line(4, "IOCTL", &request, &more));
    let policy = Policy {
        pipes: Pipes::All,
        ..Policy::strict()
    };
    let ran = run(&lines, policy, (PIPE, PIPE), vec![]);
    assert_eq!(ran.refused(), [(4, Refusal::RpcAuth)]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn ids_of_the_recording_never_leave() {
    let mut lines = set_up("\\\\s\\data");
    let bogus = json!({"tree": null, "raw_tree": 1234, "expect": {"frame": 3, "status": "NETWORK_NAME_DELETED", "latency_us": 1}});
    lines.push(create(3, "a", &bogus));
    lines.push(line(
        4,
        "SESSION_SETUP",
        &json!({"previous_session_id": 77}),
        &json!({"tree": null, "session": 1}),
    ));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(ran.refused(), []);
    assert_eq!(ran.names(), ["mine\\r\\a"]);
    let Some(Request::SessionSetup(setup)) = ran.requests.last() else {
        panic!("{:?}", ran.requests);
    };
    assert_eq!(setup.previous_session_id.0, 0);
}

#[test]
fn compounds_that_servers_read_in_different_ways_are_not_sent() {
    let two = |second: Value, tree: &Value| {
        let mut lines = set_up("\\\\s\\data");
        let mut first = create(3, "a", &json!({}));
        first["compound"] = json!({"first": 3, "position": 0, "related": false});
        let mut second = second;
        second["compound"] = json!({"first": 3, "position": 1, "related": true, "last": true});
        second["after"] = json!([]);
        second["tree"] = tree.clone();
        lines.extend([first, second]);
        run(&lines, Policy::strict(), (DISK, DISK), vec![]).refused()
    };
    let close = || line(4, "CLOSE", &json!({}), &json!({"open": 3}));
    assert_eq!(two(close(), &json!(0)), []);
    let mut other = close();
    other["session"] = json!(1);
    assert_eq!(two(other, &json!(0)), [(4, Refusal::Tree)]);
    // Nothing is before it that it could belong to: it goes out as it was.
    let mut lines = set_up("\\\\s\\data");
    let mut first = create(3, "a", &json!({}));
    first["compound"] = json!({"first": 3, "position": 0, "related": true});
    let last = json!({"compound": {"first": 3, "position": 1, "related": true, "last": true}});
    let second = line(4, "CLOSE", &json!({}), &last);
    lines.extend([first, second]);
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(
        (ran.refused(), ran.names()),
        (vec![], vec!["mine\\r\\a".to_owned()])
    );
    // A share that nobody mapped, and a name in it.
    let mut lines = set_up("\\\\s\\data");
    let path = json!({"path": "\\\\s\\other"});
    let mut connect = line(3, "TREE_CONNECT", &path, &json!({"tree": null}));
    assert_eq!(
        run(
            &[&lines[..], &[connect.clone()]].concat(),
            Policy::strict(),
            (DISK, DISK),
            vec![]
        )
        .refused(),
        [(3, Refusal::Tree)],
        "it was granted, and is in no table"
    );
    connect["expect"]["status"] = json!("BAD_NETWORK_NAME");
    let alone = [&lines[..], &[connect.clone()]].concat();
    assert_eq!(
        run(&alone, Policy::strict(), (DISK, DISK), vec![]).refused(),
        []
    );
    connect["compound"] = json!({"first": 3, "position": 0, "related": false});
    let mut named = create(4, "x", &json!({"tree": null}));
    named["compound"] = json!({"first": 3, "position": 1, "related": true, "last": true});
    named["after"] = json!([]);
    lines.extend([connect, named]);
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert!(
        ran.names().is_empty() && !ran.refused().is_empty(),
        "{:?}",
        ran.refused()
    );
}

#[test]
fn what_cannot_be_read_and_handles_of_the_recording_do_not_leave() {
    let mut lines = set_up("\\\\s\\data");
    let other = json!({"cmd": "CREATE"});
    lines.push(line(3, "CLOSE", &json!({}), &other));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    assert_eq!(
        ran.refused(),
        [(3, Refusal::Unreadable)],
        "a command that is not its own"
    );
    let mut lines = set_up("\\\\s\\data");
    lines.push(line(3, "FLUSH", &json!({"file_id": "11:22"}), &json!({})));
    let ran = run(&lines, Policy::strict(), (DISK, DISK), vec![]);
    let id = ran.requests.last().and_then(Request::file_id).unwrap();
    assert_eq!(id.persistent, u64::MAX - 1);
}

#[test]
fn what_a_workload_was_edited_to_be_is_refused_or_no_workload() {
    let with = |more: Value| {
        let mut lines = set_up("\\\\s\\data");
        lines.push(create(3, "a", &json!({})));
        lines.push(more);
        run(&lines, Policy::strict(), (DISK, DISK), vec![vec![1, 2, 3]]).refused()
    };
    // Less data than it says, and none.
    let write = json!({"length": 4, "offset": 0});
    let data = json!({"open": 3, "data": {"blake3": Digest::of(&[1, 2, 3]).to_string(), "len": 3}});
    let lies = line(4, "WRITE", &write, &data);
    assert_eq!(with(lies), [(4, Refusal::Unreadable)]);
    let none = line(4, "WRITE", &write, &json!({"open": 3}));
    assert_eq!(with(none), [(4, Refusal::Unreadable)]);
    // A tree without its session, or in another one's.
    let homeless = line(4, "FLUSH", &json!({}), &json!({"open": 3, "session": null}));
    assert_eq!(with(homeless), [(4, Refusal::Tree)]);
    // New names of streams stay in their file.
    for (name, refused) in [
        (":a", false),
        (":a:\\..\\..\\victim", true),
        (":a/..", true),
    ] {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut buffer = vec![0; 16];
        buffer.extend(u32::try_from(units.len()).unwrap().to_le_bytes());
        buffer.extend(units);
        let set = json!({"info_type": "file", "file_info_class": 10, "buffer": hex(&buffer)});
        let wanted = if refused {
            vec![(4, Refusal::Name)]
        } else {
            vec![]
        };
        assert_eq!(
            with(line(4, "SET_INFO", &set, &json!({"open": 3}))),
            wanted,
            "{name}"
        );
    }
}
