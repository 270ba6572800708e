//! A workload, a scripted server, and the journal of a run: for tests and benches.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::{
    engine::{Engine, Plan, RunConfig, Speed},
    event::{Effect, EffectsDigest, Entry, Input, Milestone, Output, Seal},
    frame::Frame,
    ids::{ClientId, ConnId, LogicalTime, OpId, OpenRef, ShardId},
    smb2::{
        CloseRequest, Command, CreateRequest, Header, HeaderFlags, MessageId, Name, NtStatus,
        Request,
    },
    workload::{Action, Client, Connection, Edge, Expect, Operation, Rule, Workload},
};
use smbench_journal::{
    BundleWriter, Journal, RunMeta,
    rerun::{OPS, WORKLOAD},
};

/// Files that two clients open and close in turn: operation 2n opens, 2n + 1 closes.
pub(crate) struct Scene {
    pub(crate) workload: Workload,
    operations: Vec<Operation>,
}

impl Scene {
    pub(crate) fn new(files: u32) -> Self {
        let connection = |client: u32| Connection {
            client: ClientId(client),
            from: format!("10.0.0.{client}:50000"),
            to: "10.0.0.9:445".to_owned(),
            at_us: 0,
            dialect: None,
            capabilities: None,
            midstream: false,
        };
        let workload = Workload {
            format: 1,
            clients: vec![Client::default(), Client::default()],
            connections: vec![connection(0), connection(1)],
            opens: files,
            operations: u64::from(files) * 2,
            ..Workload::default()
        };
        let operations = (0..files).flat_map(|file| [create(file), close(file)]);
        Self {
            workload,
            operations: operations.collect(),
        }
    }

    pub(crate) fn ops_jsonl(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for op in &self.operations {
            serde_json::to_writer(&mut out, op).unwrap();
            out.push(b'\n');
        }
        out
    }

    /// Runs the scene against `server`; the entries and the digest at the end.
    pub(crate) fn run(
        &self,
        config: &RunConfig,
        server: &mut Server,
    ) -> (Vec<Entry>, EffectsDigest) {
        let operations = self.operations.iter().cloned();
        let plan = Plan::build(&self.workload, operations, config, |_| true).unwrap();
        let mut engine = Engine::new(plan, config.clone());
        let (mut entries, mut digest) = (Vec::new(), EffectsDigest::default());
        let mut scratch = Vec::new();
        let mut now = LogicalTime::ZERO;
        let mut next = VecDeque::from([Input::Start]);
        while let Some(input) = next.pop_front() {
            entries.push(Entry {
                seq: entries.len() as u64,
                now,
                before: digest,
                input: input.clone(),
            });
            engine.handle(now, input).unwrap();
            let wake;
            loop {
                match engine.poll() {
                    Output::Do(effect) => {
                        digest.update(&effect, &mut scratch);
                        match effect {
                            Effect::Connect { conn } => next.push_back(Input::Connected { conn }),
                            Effect::Send { conn, frame, .. } => {
                                next.push_back(server.answer(conn, &frame));
                            }
                            _ => {}
                        }
                    }
                    Output::WakeAt(at) => {
                        wake = at;
                        break;
                    }
                }
            }
            now = now.plus_nanos(server.latency_ns);
            if let Some(at) = wake.filter(|_| next.is_empty()) {
                now = now.max(at);
                next.push_back(Input::Wake);
            }
        }
        assert!(engine.is_done());
        (entries, digest)
    }

    pub(crate) fn journal(&self, config: &RunConfig, run: &(Vec<Entry>, EffectsDigest)) -> Journal {
        let (workload, ops) = (
            serde_json::to_vec(&self.workload).unwrap(),
            self.ops_jsonl(),
        );
        journal(&workload, &ops, config, run)
    }

    pub(crate) fn record(&self, server: &mut Server) -> Journal {
        let config = fast();
        self.journal(&config, &self.run(&config, server))
    }
}

pub(crate) fn journal(
    workload: &[u8],
    ops: &[u8],
    config: &RunConfig,
    run: &(Vec<Entry>, EffectsDigest),
) -> Journal {
    Journal::from_bundle_bytes(bundle(&meta(config), workload, ops, run)).unwrap()
}

pub(crate) fn meta(config: &RunConfig) -> RunMeta {
    RunMeta {
        config: serde_json::to_value(config).unwrap(),
        shards: 1,
        ..RunMeta::default()
    }
}

/// A bundle's bytes.
pub(crate) fn bundle(
    meta: &RunMeta,
    workload: &[u8],
    ops: &[u8],
    (entries, after): &(Vec<Entry>, EffectsDigest),
) -> Vec<u8> {
    let mut bundle = BundleWriter::new(Vec::new(), meta).unwrap();
    bundle.attach(WORKLOAD, workload).unwrap();
    bundle.attach(OPS, ops).unwrap();
    for entry in entries {
        bundle.record(ShardId(0), entry).unwrap();
    }
    bundle.finish_shard(ShardId(0), *after).unwrap();
    bundle.end().unwrap()
}

pub(crate) fn fast() -> RunConfig {
    RunConfig {
        speed: Speed::Max,
        ..RunConfig::default()
    }
}

fn operation(
    id: u32,
    file: u32,
    cmd: Command,
    request: Request,
    after: &[(u32, Rule)],
) -> Operation {
    let client = file % 2;
    Operation {
        id: OpId(id),
        at_us: u64::from(id) * 100,
        client: ClientId(client),
        conn: ConnId(client),
        cmd,
        mid: u64::from(id),
        charge: 1,
        credits: 8,
        frame: 1000 + u64::from(id),
        action: Action::Request(request),
        open: Some(OpenRef(file)),
        after: after
            .iter()
            .map(|(id, rule)| Edge {
                id: OpId(*id),
                rule: *rule,
                on: Milestone::Response,
                inferred: false,
            })
            .collect(),
        expect: Some(Expect {
            frame: 2000 + u64::from(id),
            latency_us: 50,
            ..Expect::default()
        }),
        ..Operation::blank()
    }
}

fn create(file: u32) -> Operation {
    let request = Request::Create(CreateRequest {
        name: Name::Text(format!("team\\f{file}")),
        ..CreateRequest::default()
    });
    // Four files have nothing to do with each other.
    let before = file
        .checked_sub(4)
        .map(|before| (before * 2 + 1, Rule::Resource));
    let before: Vec<(u32, Rule)> = before.into_iter().collect();
    operation(file * 2, file, Command::CREATE, request, &before)
}

fn close(file: u32) -> Operation {
    let request = Request::Close(CloseRequest::default());
    let after = [(file * 2, Rule::Handle)];
    operation(file * 2 + 1, file, Command::CLOSE, request, &after)
}

/// Answers as told, by the number of the CREATE.
#[derive(Default)]
pub(crate) struct Server {
    /// Statuses of CREATEs, by the file's name; success otherwise.
    pub(crate) refuse: BTreeMap<String, NtStatus>,
    latency_ns: u64,
    opens: u64,
}

impl Server {
    pub(crate) fn new(latency_us: u64) -> Self {
        Self {
            latency_ns: latency_us * 1_000,
            ..Self::default()
        }
    }

    pub(crate) fn refusing(name: &str) -> Self {
        let mut server = Self::new(20);
        server.refuse.insert(name.to_owned(), NtStatus(0xc000_0043));
        server
    }

    fn answer(&mut self, conn: ConnId, request: &Frame) -> Input {
        let header = Header::decode(&request.bytes).unwrap();
        let refused = self.refuse.iter().find_map(|(name, status)| {
            let wire = Name::Text(name.clone()).to_wire();
            let named = request.bytes.windows(wire.len()).any(|it| it == wire);
            (header.command == Command::CREATE && named).then_some(*status)
        });
        let body = match (header.command, refused) {
            (_, Some(_)) => vec![9, 0, 0, 0, 0, 0, 0, 0, 0],
            (Command::CREATE, None) => {
                self.opens += 1;
                // [MS-SMB2] 2.2.14
                let mut body = vec![0; 88];
                body[0] = 89;
                body[4] = 1;
                body[64..72].copy_from_slice(&self.opens.to_le_bytes());
                body
            }
            // [MS-SMB2] 2.2.16
            _ => {
                let mut body = vec![0; 60];
                body[0] = 60;
                body
            }
        };
        let response = Header {
            command: header.command,
            status: refused.map_or(0, |status| status.0),
            credits: 8,
            flags: HeaderFlags::SERVER_TO_REDIR,
            message_id: MessageId(header.message_id.0),
            ..Header::default()
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        bytes.extend_from_slice(&body);
        Input::Received {
            conn,
            frame: Frame {
                bytes,
                cuts: Vec::new(),
            },
            seal: Seal::Plain,
        }
    }
}
