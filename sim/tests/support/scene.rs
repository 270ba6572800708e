//! A workload built by hand: clients that log in, work on files of their own, and share one whose
//! oplock breaks. Used by the tests and the benchmark.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use smbench_core::bulk::Blobs;
use smbench_core::engine::{Plan, RunConfig};
use smbench_core::event::{EffectsDigest, Entry, Milestone, Recorder, Report};
use smbench_core::frame::Digest;
use smbench_core::ids::{ClientId, ConnId, LogicalTime, OpId, OpenRef, SessionRef, TreeRef};
use smbench_core::smb2::{
    AccessMask, Capabilities, CloseRequest, Command, CreateDisposition, CreateRequest, Dialect,
    Guid, Name, NegotiateRequest, NtStatus, OplockBreakAck, OplockLevel, ReadRequest, Request,
    SecurityMode, SessionId, SessionSetupRequest, ShareAccess, TreeConnectRequest, TreeId,
    WriteRequest,
};
use smbench_core::workload::{
    Action, BreakNotice, Client, Connection, DataRef, Edge, Expect, Operation, Principal, Rule,
    Session, Tree, Workload,
};
use smbench_sim::server::{Server, ServerConfig};
use smbench_sim::{Cast, DriverKind, ModelService, Run, Scenario, Simulated, simulate};

/// Keeps every entry.
#[derive(Debug, Default)]
pub struct Kept {
    pub entries: Vec<Entry>,
    pub after: Option<EffectsDigest>,
}

impl Kept {
    /// Digest of the record's bytes.
    pub fn digest(&self) -> String {
        let mut bytes = serde_json::to_vec(&self.entries).unwrap();
        bytes.extend(serde_json::to_vec(&self.after).unwrap());
        Digest::of(&bytes)
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Recorder for Kept {
    type Error = Infallible;

    fn record(&mut self, entry: &Entry) -> Result<(), Infallible> {
        self.entries.push(entry.clone());
        Ok(())
    }

    fn finish(&mut self, after: EffectsDigest) -> Result<(), Infallible> {
        self.after = Some(after);
        Ok(())
    }
}

/// Keeps nothing, for measuring.
#[derive(Debug, Default)]
pub struct Nothing;

impl Recorder for Nothing {
    type Error = Infallible;

    fn record(&mut self, _: &Entry) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Infallible> {
        Ok(())
    }
}

/// WRITE data by digest.
#[derive(Clone, Debug, Default)]
pub struct Data(BTreeMap<Digest, Arc<[u8]>>);

impl Blobs for Data {
    fn get(&mut self, digest: &Digest, _: u32) -> Option<Arc<[u8]>> {
        self.0.get(digest).cloned()
    }
}

/// A workload under construction.
#[derive(Debug, Default)]
pub struct Scene {
    pub workload: Workload,
    pub operations: Vec<Operation>,
    pub data: Data,
    /// Recorded time between two operations, in microseconds.
    pub step_us: u64,
    last: Vec<Option<OpId>>,
}

impl Scene {
    /// `clients` that log in and work on `files` files each, one operation every `step_us`.
    pub fn new(clients: u32, files: u32, step_us: u64) -> Self {
        let mut scene = Self {
            step_us,
            ..Self::default()
        };
        scene.workload.format = 1;
        for client in 0..clients {
            scene.join(client);
        }
        for file in 0..files {
            for client in 0..clients {
                scene.file(client, file);
            }
        }
        scene
    }

    /// Client 0 holds a batch oplock on a file that client 1 opens.
    pub fn with_break(mut self) -> Self {
        let (first, second) = (
            OpenRef(self.workload.opens),
            OpenRef(self.workload.opens + 1),
        );
        self.workload.opens += 2;
        let held = self.open(0, "shared.txt", first, OplockLevel::BATCH);
        self.expect(held).action = Some(2);
        let wanted = self.open(1, "shared.txt", second, OplockLevel::LEVEL_II);
        self.after(wanted, held, Rule::Resource, Milestone::Response);
        self.expect(wanted).action = Some(1);
        let to = OplockLevel::LEVEL_II;
        let notice = Action::Break(BreakNotice::Oplock { to });
        let notice = self.push(0, Command::OPLOCK_BREAK, notice, Some(first));
        self.operations[notice.index()].expect = None;
        self.operations[notice.index()].after.clear();
        self.after(notice, wanted, Rule::Break, Milestone::Sent);
        let ack = Request::OplockBreak(OplockBreakAck {
            oplock_level: to,
            ..OplockBreakAck::default()
        });
        let ack = self.request(0, ack, Some(first));
        self.after(ack, notice, Rule::Break, Milestone::Response);
        self.request(0, Request::Close(CloseRequest::default()), Some(first));
        self.request(1, Request::Close(CloseRequest::default()), Some(second));
        self
    }

    pub fn plan(&self, config: &RunConfig) -> Plan {
        let operations = self.operations.iter().cloned();
        Plan::build(&self.workload, operations, config, |_| true).unwrap()
    }

    fn join(&mut self, client: u32) {
        self.workload.clients.push(Client::default());
        self.workload.connections.push(Connection {
            client: ClientId(client),
            from: format!("10.0.0.{client}:50000"),
            to: "10.0.1.1:445".to_owned(),
            at_us: 0,
            dialect: None,
            capabilities: None,
            midstream: false,
        });
        self.workload.principals.push(Principal {
            name: format!("DOMAIN\\user{client}"),
        });
        self.workload.sessions.push(Session {
            principal: client,
            conn: ConnId(client),
            wire_id: SessionId(u64::from(client) + 1),
            flags: 0,
            inferred: false,
        });
        let path = "\\\\server\\share".to_owned();
        self.workload.trees.push(Tree {
            session: SessionRef(client),
            path: path.clone(),
            share_type: 1,
            wire_id: TreeId(1),
            inferred: false,
        });
        self.last.push(None);
        let negotiate = NegotiateRequest {
            security_mode: SecurityMode::SIGNING_ENABLED,
            capabilities: Capabilities::LARGE_MTU,
            client_guid: Guid([client.to_le_bytes()[0]; 16]),
            dialects: vec![Dialect::SMB_2_1, Dialect::SMB_3_0],
            ..NegotiateRequest::default()
        };
        self.request(client, Request::Negotiate(negotiate), None);
        let setup = SessionSetupRequest {
            security_mode: SecurityMode::SIGNING_ENABLED,
            // As recorded; the run's own token may have another length.
            security_buffer_length: 74,
            ..SessionSetupRequest::default()
        };
        self.request(client, Request::SessionSetup(setup), None);
        let connect = TreeConnectRequest {
            path: Name::Text(path),
            ..TreeConnectRequest::default()
        };
        self.request(client, Request::TreeConnect(connect), None);
    }

    fn file(&mut self, client: u32, file: u32) {
        let open = OpenRef(self.workload.opens);
        self.workload.opens += 1;
        let name = format!("client{client}-{file}.dat");
        let create = self.open(client, &name, open, OplockLevel::NONE);
        self.expect(create).action = Some(2);
        let bytes: Vec<u8> = name
            .bytes()
            .cycle()
            .take(300 + file as usize % 900)
            .collect();
        let data = DataRef {
            blake3: Digest::of(&bytes),
            len: u32::try_from(bytes.len()).unwrap(),
        };
        self.data.0.insert(data.blake3, bytes.into());
        let write = WriteRequest {
            length: data.len,
            ..WriteRequest::default()
        };
        let write = self.request(client, Request::Write(write), Some(open));
        self.operations[write.index()].data = Some(data);
        self.expect(write).count = Some(data.len);
        let read = ReadRequest {
            length: data.len,
            ..ReadRequest::default()
        };
        let read = self.request(client, Request::Read(read), Some(open));
        self.expect(read).data = Some(data);
        self.expect(read).count = Some(data.len);
        self.request(client, Request::Close(CloseRequest::default()), Some(open));
    }

    fn open(&mut self, client: u32, name: &str, open: OpenRef, oplock: OplockLevel) -> OpId {
        let create = CreateRequest {
            name: Name::Text(name.to_owned()),
            desired_access: AccessMask::from_bits_retain(0x0012_019f),
            share_access: ShareAccess::from_bits_retain(7),
            create_disposition: CreateDisposition::OPEN_IF,
            requested_oplock_level: oplock,
            ..CreateRequest::default()
        };
        let create = self.request(client, Request::Create(create), Some(open));
        self.expect(create).oplock = Some(oplock);
        create
    }

    pub fn expect(&mut self, op: OpId) -> &mut Expect {
        self.operations[op.index()].expect.as_mut().unwrap()
    }

    fn after(&mut self, op: OpId, id: OpId, rule: Rule, on: Milestone) {
        self.operations[op.index()].after.push(Edge {
            id,
            rule,
            on,
            inferred: false,
        });
    }

    fn request(&mut self, client: u32, request: Request, open: Option<OpenRef>) -> OpId {
        self.push(client, request.command(), Action::Request(request), open)
    }

    fn push(&mut self, client: u32, cmd: Command, action: Action, open: Option<OpenRef>) -> OpId {
        let id = OpId(u32::try_from(self.operations.len()).unwrap());
        let early = [Command::NEGOTIATE, Command::SESSION_SETUP].contains(&cmd);
        self.operations.push(Operation {
            id,
            at_us: u64::from(id.0) * self.step_us,
            client: ClientId(client),
            conn: ConnId(client),
            session: (cmd != Command::NEGOTIATE).then_some(SessionRef(client)),
            tree: (!early).then_some(TreeRef(client)),
            cmd,
            mid: u64::from(id.0),
            charge: u16::from(cmd != Command::NEGOTIATE),
            credits: 8,
            process_id: 0xfeff,
            frame: u64::from(id.0) + 1,
            action,
            open,
            expect: Some(Expect {
                status: NtStatus::SUCCESS,
                ..Expect::default()
            }),
            ..Operation::blank()
        });
        let last = self.last[client as usize].replace(id);
        if let Some(last) = last {
            // A notification is the server's: nothing that the client does waits for it.
            let notice = matches!(self.operations[last.index()].action, Action::Break(_));
            if !notice {
                self.after(id, last, Rule::Wire, Milestone::Response);
            }
        }
        id
    }
}

/// A model server that trusts everybody.
pub fn model(seed: u64) -> ModelService {
    ModelService::new(Server::new(ServerConfig {
        trusting: true,
        seed,
        ..ServerConfig::default()
    }))
}

/// A run of a scene, and the reports that are findings.
pub struct Played {
    pub ended: Simulated<ModelService, Kept, Data>,
    pub findings: Vec<Report>,
}

/// Plays a scene against the model server.
pub fn play(scene: &Scene, config: &RunConfig, scenario: &Scenario, driver: DriverKind) -> Played {
    let findings = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let heard = std::rc::Rc::clone(&findings);
    let run = Run {
        plan: scene.plan(config),
        config: config.clone(),
        cast: Cast::of(&scene.workload),
        scenario,
        server: model(7),
        recorder: Kept::default(),
        blobs: scene.data.clone(),
        tap: None,
    };
    let ended = simulate(run, driver, move |_: LogicalTime, report: &Report| {
        let fine = matches!(
            report,
            Report::Started { .. }
                | Report::Finished { .. }
                | Report::Observed { .. }
                | Report::Done
        );
        if !fine {
            heard.borrow_mut().push(report.clone());
        }
    });
    let findings = findings.take();
    Played { ended, findings }
}
