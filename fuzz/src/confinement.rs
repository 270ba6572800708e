//! Nothing that leaves reaches beyond the root, whatever a workload names and whatever the server
//! says of its shares.
//!
//! The oracle here is written for this test alone: it reads frames byte by byte and walks names as
//! servers do, and shares no line with what it checks.

use smbench_core::bulk::NoBlobs;
use smbench_core::confine::{Gate, Policy};
use smbench_core::drive::{Drive, NoRecord};
use smbench_core::engine::{Engine, Plan, RunConfig, Speed, TreeTarget};
use smbench_core::event::{Effect, Input, Output, Seal, TokenOutcome};
use smbench_core::frame::Frame;
use smbench_core::ids::{ClientId, ConnId, LogicalTime, OpId, OpenRef, SessionRef, TreeRef};
use smbench_core::smb2::{
    CreateOptions, CreateRequest, Fsctl, HeaderFlags, InfoClass, InfoType, IoctlRequest, Name,
    NegotiateRequest, QueryDirectoryRequest, Request, SessionId, SessionSetupRequest,
    SetInfoRequest, TreeConnectRequest, TreeId,
};
use smbench_core::workload::{
    Action, Client, Compound, Connection, Edge, Operation, Principal, Rule, Session, Tree, Workload,
};

/// Runs a workload made of `data` with the strictest policy against a server that grants everything,
/// and looks at every frame that leaves.
pub fn confinement(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kinds = [bytes.byte(), bytes.byte()];
    let given = [bytes.byte() % 5, bytes.byte() % 5];
    let mut made = Made::new(kinds);
    while !bytes.0.is_empty() && made.operations.len() < 24 {
        made.add(&mut bytes);
    }
    let target = |tree: usize| TreeTarget {
        path: format!("\\\\here\\share{tree}"),
        root: ROOT.to_owned(),
    };
    let config = RunConfig {
        speed: Speed::Max,
        tree_targets: vec![target(0), target(1)],
        policy: Policy::strict(),
        ..RunConfig::default()
    };
    let gate = Gate::of(&config);
    let plan = Plan::build(&made.workload, made.operations, &config, |_| true).unwrap();
    let engine = Engine::new(plan, config);
    let mut server = Granting {
        drive: Drive::new(engine, NoRecord, gate),
        given,
        trees: Vec::new(),
        now: 0,
    };
    server.serve();
}

/// The bytes that decide.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn some(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }

    /// A name: of few letters that matter, or of any bytes.
    fn name(&mut self) -> Vec<u8> {
        let raw = self.some();
        if raw.first().is_none_or(|first| first % 4 == 0) {
            return raw;
        }
        let letters = "ab.\\/:. \0..\u{ff0e}\u{ff0f}\u{2025}\u{200b}".chars();
        let mut pieces: Vec<String> = letters.map(String::from).collect();
        pieces.push(SNAPSHOT.to_owned());
        let text = raw
            .iter()
            .map(|byte| pieces[usize::from(*byte) % pieces.len()].as_str());
        let text: String = text.collect();
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }
}

/// A workload as `compile` might have made it, or somebody might have edited it.
struct Made {
    workload: Workload,
    operations: Vec<Operation>,
}

impl Made {
    fn new(kinds: [u8; 2]) -> Self {
        let tree = |at: usize| Tree {
            session: SessionRef(0),
            path: ["\\\\s\\one", ""][at].to_owned(),
            share_type: kinds[at] % 5,
            wire_id: TreeId(77),
            inferred: kinds[at] & 0x80 != 0,
        };
        let workload = Workload {
            format: smbench_core::workload::FORMAT,
            clients: vec![Client::default()],
            connections: vec![Connection {
                client: ClientId(0),
                from: String::new(),
                to: String::new(),
                at_us: 0,
                dialect: None,
                capabilities: None,
                midstream: false,
            }],
            principals: vec![Principal::default()],
            sessions: vec![Session {
                principal: 0,
                conn: ConnId(0),
                wire_id: SessionId(99),
                flags: 0,
                inferred: false,
            }],
            trees: vec![tree(0), tree(1)],
            opens: 64,
            ..Workload::default()
        };
        let mut made = Self {
            workload,
            operations: Vec::new(),
        };
        made.push(Request::Negotiate(NegotiateRequest::default()), None);
        made.push(Request::SessionSetup(SessionSetupRequest::default()), None);
        for tree in [TreeRef(0), TreeRef(1)] {
            made.push(
                Request::TreeConnect(TreeConnectRequest::default()),
                Some(tree),
            );
        }
        made
    }

    fn push(&mut self, request: Request, tree: Option<TreeRef>) -> &mut Operation {
        let id = u32::try_from(self.operations.len()).unwrap();
        let before = id.checked_sub(1).map(|before| Edge {
            id: OpId(before),
            rule: Rule::Wire,
            on: smbench_core::event::Milestone::Response,
            inferred: false,
        });
        self.operations.push(Operation {
            id: OpId(id),
            session: (id > 0).then_some(SessionRef(0)),
            tree,
            cmd: request.command(),
            action: Action::Request(request),
            after: before.into_iter().collect(),
            charge: 1,
            credits: 8,
            ..Operation::blank()
        });
        self.operations.last_mut().unwrap()
    }

    fn add(&mut self, bytes: &mut Bytes<'_>) {
        let (how, what) = (bytes.byte(), bytes.byte());
        let open = OpenRef(u32::try_from(self.operations.len()).unwrap());
        let last = self.operations.len().checked_sub(1);
        let request = match how % 5 {
            0 | 1 => Request::Create(CreateRequest {
                name: Name::from_wire(&bytes.name()),
                create_options: CreateOptions::from_bits_retain(u32::from(what & 0x3) << 12),
                ..CreateRequest::default()
            }),
            2 => Request::SetInfo(SetInfoRequest {
                info_type: InfoType([1, 1, 1, 2, 3, 4, 9][usize::from(what) % 7]),
                file_info_class: InfoClass(bytes.byte() % 80),
                buffer: rename(bytes),
                ..SetInfoRequest::default()
            }),
            3 => {
                let known = [
                    0x9_00a4, 0x9_00a4, 0x11_c017, 0x11_0018, 0x14_40f2, 0x9_80c8,
                ];
                let code = known.get(usize::from(what) % 8).copied();
                let any = u32::from(bytes.byte()) << 2 | u32::from(what) << 16;
                Request::Ioctl(IoctlRequest {
                    ctl_code: Fsctl(code.unwrap_or(any)),
                    input: link(bytes),
                    ..IoctlRequest::default()
                })
            }
            _ => Request::QueryDirectory(QueryDirectoryRequest {
                pattern: Name::from_wire(&bytes.name()),
                ..QueryDirectoryRequest::default()
            }),
        };
        let tree = match how >> 3 & 3 {
            0 | 1 => Some(TreeRef(u32::from(how >> 3 & 1))),
            _ => None,
        };
        let creates = matches!(request, Request::Create(_));
        let op = self.push(request, tree);
        if tree.is_none() {
            op.raw_tree = Some(u32::from(what));
        }
        if how & 0x20 != 0 {
            op.flags |= HeaderFlags::DFS;
        }
        op.open = creates.then_some(open);
        // Now and then two go out as one.
        let joins = how & 0xc0 == 0xc0;
        if let (true, Some(first)) = (joins, last.filter(|last| *last > 3)) {
            let compound = |position, last| Compound {
                first: OpId(u32::try_from(first).unwrap()),
                position,
                related: position > 0,
                last,
            };
            if self.operations[first].compound.is_none() {
                self.operations[first].compound = Some(compound(0, false));
                self.operations[first + 1].compound = Some(compound(1, true));
            }
        }
    }
}

/// A buffer that may be that of a rename. [MS-FSCC] 2.4.42.2.
fn rename(bytes: &mut Bytes<'_>) -> Vec<u8> {
    if bytes.byte().is_multiple_of(4) {
        return bytes.some();
    }
    let name = bytes.name();
    let mut buffer = vec![1, 0, 0, 0, 0, 0, 0, 0];
    buffer.extend_from_slice(&[
        u8::from(bytes.byte().is_multiple_of(16)),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    buffer.extend_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
    buffer.extend_from_slice(&name);
    buffer
}

/// A buffer that may be that of a symbolic link. [MS-FSCC] 2.1.2.4.
fn link(bytes: &mut Bytes<'_>) -> Vec<u8> {
    if bytes.byte().is_multiple_of(4) {
        return bytes.some();
    }
    let (target, tag) = (
        bytes.name(),
        [0xa000_000c_u32, 0xa000_0003][usize::from(bytes.byte() & 1)],
    );
    let len = u16::try_from(target.len()).unwrap().to_le_bytes();
    let mut buffer = tag.to_le_bytes().to_vec();
    buffer.extend_from_slice(&[0; 4]);
    for field in [[0, 0], len, [0, 0], len] {
        buffer.extend_from_slice(&field);
    }
    buffer.extend_from_slice(&u32::from(bytes.byte() & 1).to_le_bytes());
    buffer.extend_from_slice(&target);
    buffer
}

/// A server that grants all it is asked for.
struct Granting {
    drive: Drive<Engine, NoRecord>,
    /// The kind of share that each TREE_CONNECT is told.
    given: [u8; 2],
    /// Kinds of the trees that it gave; their ids count from 1.
    trees: Vec<u8>,
    now: u64,
}

impl Granting {
    fn serve(&mut self) {
        let mut inputs = std::collections::VecDeque::from([Input::Start]);
        for _ in 0..1_000 {
            let Some(input) = inputs.pop_front() else {
                return;
            };
            self.now += 1_000;
            self.drive.take(LogicalTime(self.now), input).unwrap();
            let wake = loop {
                match self.drive.poll() {
                    Output::WakeAt(at) => break at,
                    Output::Do(Effect::Connect { conn }) => {
                        inputs.push_back(Input::Connected { conn });
                    }
                    Output::Do(Effect::Authenticate { conn, session, .. }) => {
                        let outcome = TokenOutcome::Ready { len: 4 };
                        inputs.push_back(Input::TokenReady {
                            conn,
                            session,
                            outcome,
                        });
                    }
                    Output::Do(Effect::Send { conn, frame, .. }) => {
                        let sent = self
                            .drive
                            .outgoing(conn, &frame, &mut NoBlobs, Some(b"1234"));
                        let sent = sent.unwrap_or_else(|error| {
                            panic!(
                                "the gate fired: {error}: {:?}",
                                std::error::Error::source(&error)
                            )
                        });
                        let frame = self.answer(&sent);
                        let seal = Seal::Plain;
                        inputs.push_back(Input::Received { conn, frame, seal });
                    }
                    Output::Do(_) => {}
                }
            };
            if let (true, Some(at)) = (inputs.is_empty(), wake) {
                self.now = self.now.max(at.0);
                inputs.push_back(Input::Wake);
            }
        }
        panic!("a run of few operations does not end");
    }

    /// Looks at each request, and answers it.
    fn answer(&mut self, frame: &[u8]) -> Frame {
        let mut out = Vec::new();
        let (mut rest, mut tree_before) = (frame, 0);
        loop {
            let next = usize::try_from(u32_at(rest, 20)).unwrap();
            let (pdu, more) = if next == 0 {
                (rest, &[][..])
            } else {
                rest.split_at(next)
            };
            let named = u32_at(pdu, 36);
            let tree = if named == u32::MAX {
                tree_before
            } else {
                named
            };
            tree_before = tree;
            self.look(pdu, tree);
            let command = u16_at(pdu, 12);
            if command == 3 {
                let kind = self.given[self.trees.len() % 2];
                self.trees.push(kind);
                tree_before = u32::try_from(self.trees.len()).unwrap();
            }
            let start = out.len();
            out.extend_from_slice(&pdu[..64]);
            out[start + 8..start + 12].fill(0);
            out[start + 14] = 32;
            out[start + 16] |= 1;
            out[start + 20..start + 24].fill(0);
            out[start + 36..start + 40].copy_from_slice(&tree_before.to_le_bytes());
            out[start + 40..start + 48].copy_from_slice(&5_u64.to_le_bytes());
            let mut body = vec![0; 96];
            body[0] = [65, 9, 4, 16, 4, 89][usize::from(command).min(5)];
            if command == 3 {
                body[2] = self.trees.last().copied().unwrap();
            }
            out.extend_from_slice(&body);
            if more.is_empty() {
                break;
            }
            let len = u32::try_from(out.len() - start).unwrap();
            out[start + 20..start + 24].copy_from_slice(&len.to_le_bytes());
            rest = more;
        }
        let cuts = Vec::new();
        Frame { bytes: out, cuts }
    }

    /// What must hold of every request.
    fn look(&self, pdu: &[u8], tree: u32) {
        let at = usize::try_from(tree).unwrap().checked_sub(1);
        let kind = at.and_then(|at| self.trees.get(at)).copied();
        let known = tree == 0 || tree == u32::MAX - 1 || kind.is_some();
        assert!(known, "tree {tree:#x} is not of this run");
        assert!([0, 5, u64::MAX, u64::MAX - 1].contains(&u64_at(pdu, 40)));
        let command = u16_at(pdu, 12);
        // A tree may be left, whatever it is of.
        assert!(
            kind != Some(3) || command == 4,
            "command {command} to a printer"
        );
        let pipe = kind == Some(2);
        match command {
            5 => {
                assert_eq!(u32_at(pdu, 16) & 0x1000_0000, 0, "a DFS name");
                assert_eq!(u32_at(pdu, 104) & 0x2000, 0, "an open by file id");
                let name = part(pdu, u16_at(pdu, 108).into(), u16_at(pdu, 110).into());
                assert!(pipe || is_below_root(name), "CREATE {:?}", text(name));
            }
            17 => {
                let buffer = part(pdu, u16_at(pdu, 72).into(), u32_at(pdu, 68));
                look_at_set(pdu[66], pdu[67], buffer, pipe);
            }
            11 => {
                let input = part(pdu, u32_at(pdu, 88), u32_at(pdu, 92));
                look_at_control(u32_at(pdu, 68), input, pipe);
            }
            14 => {
                let name = part(pdu, u16_at(pdu, 88).into(), u16_at(pdu, 90).into());
                let pattern = text(name).unwrap();
                let path = pattern.contains(['\\', '/']);
                assert!(!path || stays_below(&pattern), "pattern {pattern:?}");
            }
            _ => {}
        }
    }
}

fn look_at_set(kind: u8, class: u8, buffer: &[u8], pipe: bool) {
    assert!(kind == 1 || kind == 3, "SET_INFO of type {kind}");
    if kind == 3 {
        return;
    }
    match class {
        10 | 11 | 56 | 57 | 65 | 66 | 72 | 73 => {
            assert!(!pipe);
            assert_eq!(u64_at(buffer, 8), 0, "relative to a handle");
            let name = part(buffer, 20, u32_at(buffer, 16));
            let stream = text(name).is_some_and(|it| it.starts_with(':') && stays_below(&it));
            assert!(stream || is_below_root(name), "new name {:?}", text(name));
        }
        40 => {
            let name = text(part(buffer, 4, u32_at(buffer, 0))).unwrap();
            assert!(
                !name.contains(['\\', '/', ':', '\0']),
                "short name {name:?}"
            );
            assert!(stays_below(&name));
        }
        23 => assert!(pipe),
        4 | 13..=16 | 19 | 20 | 39 | 64 | 71 => {}
        _ => panic!("class {class}"),
    }
}

fn look_at_control(code: u32, input: &[u8], pipe: bool) {
    const HARMLESS: [u32; 38] = [
        0x6_0194, 0x6_01b0, 0x14_01fc, 0x14_0204, 0x14_4064, 0x14_41bb, 0x14_0078, 0x14_01d4,
        0x14_40f2, 0x14_80f2, 0x9_00a8, 0x9_003c, 0x9_0064, 0x9_009c, 0x9_027c, 0x9_40cf, 0x9_0284,
        0x9_0058, 0x9_013c, 0x9_0138, 0x9_002c, 0x9_0060, 0x9_00eb, 0x9_008f, 0x9_0073, 0x9_c040,
        0x9_00c4, 0x9_80c8, 0x9_0194, 0x9_00c0, 0x9_0098, 0x9_00bc, 0x9_00a0, 0x9_c280, 0x9_8208,
        0x9_00ef, 0x9_0117, 0x9_00ac,
    ];
    match code {
        0x11_c017 => assert!(pipe && input.is_empty(), "a call that nobody knows"),
        0x11_400c | 0x11_0018 => assert!(pipe),
        0x9_00a4 => {
            assert!(!pipe);
            assert_eq!(u32_at(input, 0), 0xa000_000c, "a link of another kind");
            assert_eq!(u32_at(input, 16) & 1, 1, "an absolute link");
            for at in [8, 12] {
                let from = 20 + u32::from(u16_at(input, at));
                let target = text(part(input, from, u16_at(input, at + 2).into())).unwrap();
                let rooted = target.starts_with(['\\', '/']) || target.contains(':');
                let up = target.split(['\\', '/']).any(|part| part == "..");
                assert!(!rooted && !up && stays_below(&target), "link to {target:?}");
            }
        }
        _ => assert!(HARMLESS.contains(&code), "FSCTL {code:#x}"),
    }
}

fn is_below_root(name: &[u8]) -> bool {
    let Some(name) = text(name) else { return false };
    let Some(rest) = name.strip_prefix(ROOT) else {
        return false;
    };
    (rest.is_empty() || rest.starts_with(['\\', ':'])) && stays_below(rest)
}

/// Walks as servers do: with one separator or two, with or without what they cut off a component.
fn stays_below(rest: &str) -> bool {
    let cuts: [fn(&str) -> &str; 6] = [
        |part| part,
        |part| if part == SNAPSHOT { "" } else { part },
        |part| part.trim_end_matches(' '),
        |part| part.split('\0').next().unwrap(),
        |part| part.split(':').next().unwrap(),
        |part| {
            part.split('\0')
                .next()
                .unwrap()
                .trim_end_matches([' ', '\u{200b}'])
        },
    ];
    let apart: [&[char]; 3] = [&['\\'], &['\\', '/'], &['\\', '/', '\u{ff0f}']];
    apart.iter().all(|separators| {
        cuts.iter().all(|cut| {
            let mut folders = 0_i32;
            rest.split(|letter| separators.contains(&letter))
                .all(|part| {
                    folders += match cut(part) {
                        "" | "." => 0,
                        ".." | "\u{2025}" | "\u{ff0e}\u{ff0e}" => -1,
                        _ => 1,
                    };
                    folders >= 0
                })
        })
    })
}

/// Servers that keep snapshots take it out of a path. [MS-SMB] 2.2.1.1.1.
const SNAPSHOT: &str = "@GMT-2001.03.30-14.44.00";

fn text(name: &[u8]) -> Option<String> {
    let even = name.len().is_multiple_of(2);
    let units = name
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    String::from_utf16(&units.collect::<Vec<_>>())
        .ok()
        .filter(|_| even)
}

fn part(bytes: &[u8], at: u32, len: u32) -> &[u8] {
    let (at, len) = (usize::try_from(at).unwrap(), usize::try_from(len).unwrap());
    if len == 0 { &[] } else { &bytes[at..at + len] }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

const ROOT: &str = "mine\\r";
