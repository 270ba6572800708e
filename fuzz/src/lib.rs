//! What the fuzz targets do with their bytes: one function each, which panics when something that
//! must hold does not.
//!
//! It needs no fuzzer: `tests/corpus.rs` of the root package compiles this very file and replays
//! the corpus with it.

mod confinement;
mod runs;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use smbench_compiler::capture::{CaptureEvent, CaptureOptions, read_capture_with};
use smbench_compiler::{CompileOptions, folder::FolderReader};
use smbench_core::engine::{Engine, Plan, RunConfig};
use smbench_core::event::{Effect, Input, NetFailure, Output};
use smbench_core::frame::Frame;
use smbench_core::ids::LogicalTime;
use smbench_core::smb2::{
    Body, Command, CompressedFrame, HEADER_LEN, Header, Message, PROTOCOL_ID, Pdu, Request,
    Response, TransformHeader,
};
use smbench_core::workload::{Operation, Workload};
use smbench_journal::{Journal, rerun};
use smbench_sim::server::{
    ConnKey, Limits, SeedEntry, Server, ServerConfig, ServerOutput, ShareConfig,
};

pub use confinement::confinement;
pub use runs::{changed_journal, engine_vs_model, journal_mutate};

/// Every message comes back byte for byte, whole and with its bulk cut out.
pub fn smb2_message(data: &[u8]) {
    TransformHeader::decode(data).ok();
    CompressedFrame::decode(data).ok();
    for pdu in Pdu::chain(data).map_while(Result::ok) {
        let Ok(decoded) = Message::decode(pdu) else {
            continue;
        };
        let bulk = decoded.bulk.unwrap_or(0..0);
        let mut again = Vec::new();
        decoded.message.encode(&pdu[bulk.clone()], &mut again);
        assert_eq!(again, pdu, "{:?}", decoded.message);
        let mut cut = pdu.to_vec();
        cut.drain(bulk.clone());
        let detached = Message::decode_detached(&cut, bulk.len());
        assert_eq!(detached.as_ref(), Ok(&decoded.message));
        let mut again = Vec::new();
        decoded.message.encode_detached(&mut again);
        assert_eq!(again, cut, "{:?}", decoded.message);
    }
    let frame = Frame {
        bytes: data.to_vec(),
        cuts: Vec::new(),
    };
    assert_eq!(frame.wire_len(), data.len());
    assert!(frame.pdus().count() <= data.len() / HEADER_LEN + 1);
}

/// A capture is read to its end or refused, in bounded memory, and what is read is told in order.
pub fn capture(data: &[u8]) {
    let options = CaptureOptions {
        memory_bytes: 1 << 20,
        flows: 64,
        ..CaptureOptions::default()
    };
    let mut known = 0_u32;
    let mut tell = |event: CaptureEvent<'_>| match event {
        CaptureEvent::Connection(_) => known += 1,
        CaptureEvent::Frame(info, bytes) => {
            assert!(known > 0, "a frame of no connection");
            assert!(bytes.len() <= info.wire_len);
            assert_eq!(info.complete, bytes.len() == info.wire_len);
            assert!(info.first_frame_no <= info.frame_no);
        }
        _ => {}
    };
    read_capture_with(
        &options,
        vec![Box::new(Cursor::new(data.to_vec()))],
        &mut tell,
    )
    .ok();
}

/// A capture is refused or compiles, and what it compiles to can be read and planned.
pub fn compile(data: &[u8]) {
    let out = scratch("compiled");
    let input: Box<dyn Read + Send> = Box::new(Cursor::new(data.to_vec()));
    let options = CompileOptions::default();
    let compiled = smbench_compiler::compile(vec![("fuzz".to_owned(), input)], options, &out);
    if let Ok(compiled) = compiled {
        let folder = FolderReader::open(&out).unwrap();
        let operations = folder.operations().unwrap().map(|line| line.unwrap());
        let config = RunConfig::default();
        let plan = Plan::build(&compiled.workload, operations, &config, |_| true).unwrap();
        assert_eq!(plan.len() as u64, compiled.workload.operations);
        std::fs::remove_dir_all(&out).unwrap();
    }
}

/// A workload (written as for [`workload`]) is refused, or can be given away: it opens and plans as the
/// original does.
pub fn anonymize(data: &[u8]) {
    let (from, to) = (scratch("named"), scratch("nameless"));
    for folder in [&from, &to] {
        std::fs::remove_dir_all(folder).ok();
    }
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (tables, operations) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    std::fs::create_dir(&from).unwrap();
    for (name, bytes) in [
        ("workload.json", tables),
        ("ops.jsonl", operations),
        ("namespace.jsonl", &[]),
        ("blobs.pack", EMPTY_PACK),
    ] {
        std::fs::write(from.join(name), bytes).unwrap();
    }
    let plan = |folder: &Path| {
        let folder = FolderReader::open(folder).ok()?;
        let operations: Result<Vec<Operation>, _> = folder.operations().ok()?.collect();
        let config = RunConfig::default();
        let built = Plan::build(folder.workload(), operations.ok()?, &config, |_| true);
        built.ok().map(|plan| plan.len())
    };
    let seed = smbench_compiler::anonymize::Seed::from_number(1);
    let done = smbench_compiler::anonymize::anonymize(&from, &to, &seed);
    match (done, plan(&from)) {
        (Ok(_), Some(operations)) => assert_eq!(plan(&to), Some(operations)),
        (Ok(_), None) => {}
        (Err(_), _) => assert!(!to.exists(), "something is left behind"),
    }
}

/// A folder of this process's own.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("smbench-fuzz-{name}-{}", std::process::id()))
}

/// A `blobs.pack` with nothing in it.
const EMPTY_PACK: &[u8] = include_bytes!("../../tests/workloads/m_del/blobs.pack");

/// A workload (its tables in the first line, an operation in each other) is refused, or runs to
/// an end against a server that cannot be reached.
pub fn workload(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(tables)) = lines.next().map(serde_json::from_slice::<Workload>) else {
        return;
    };
    let operations: Vec<Operation> = lines
        .map_while(|line| serde_json::from_slice(line).ok())
        .collect();
    let config = RunConfig::default();
    let Ok(plan) = Plan::build(&tables, operations, &config, |_| true) else {
        return;
    };
    let mut engine = Engine::new(plan, config);
    let mut now = LogicalTime::ZERO;
    let mut input = Some(Input::Start);
    let mut failed = Vec::new();
    for _ in 0..10_000 {
        let Some(next) = input.take() else {
            return;
        };
        engine
            .handle(now, next)
            .unwrap_or_else(|error| panic!("refused a possible input: {error}"));
        let wake = loop {
            match engine.poll() {
                Output::Do(Effect::Connect { conn }) => failed.push(conn),
                Output::Do(_) => {}
                Output::WakeAt(at) => break at,
            }
        };
        input = match (failed.pop(), wake) {
            (Some(conn), _) => Some(Input::ConnectFailed {
                conn,
                reason: NetFailure::Refused,
            }),
            (None, Some(at)) => {
                now = at.max(now);
                Some(Input::Wake)
            }
            (None, None) => None,
        };
    }
}

/// A bundle is refused, or every event of it can be read, and it can be run again.
pub fn journal_bytes(data: &[u8]) {
    let Ok(journal) = Journal::from_bundle_bytes(data.to_vec()) else {
        return;
    };
    for name in journal.attachments().unwrap_or_default() {
        journal.attachment(&name).ok();
    }
    for shard in journal.shards().collect::<Vec<_>>() {
        let entries = journal.entries(shard).into_iter().flatten();
        for (next, entry) in (0..).zip(entries.map_while(Result::ok)) {
            assert_eq!(entry.seq, next, "events out of order");
        }
        journal.salvage(shard).into_iter().flatten().for_each(drop);
    }
    rerun::check(&journal).ok();
}

/// The model server answers whatever comes, on four connections at once. The input is a list of
/// `who u8, milliseconds u8, length u16 little-endian, frame`: `who` has the connection in its two
/// lowest bits, `0x40` for a connection that breaks, and `0x80` for a frame to send as it is; others
/// get the ids that the server gave out last, so that recorded frames work.
pub fn server_frames(data: &[u8]) {
    let mut server = Server::new(server_config());
    let mut clients: [Client; 4] = Default::default();
    let mut now = LogicalTime::ZERO;
    let mut rest = data;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let [who, ms, low, high] = *head;
        let len = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
        let (frame, after) = tail.split_at(len);
        rest = after;
        now = LogicalTime(now.0 + u64::from(ms) * 1_000_000);
        if server.next_wake().is_some_and(|at| at <= now) {
            server.wake(now);
        }
        let client = &mut clients[usize::from(who & 3)];
        let key = *client.key.get_or_insert_with(|| server.connect(now));
        if who & 0x40 != 0 {
            server.disconnect(now, key);
            *client = Client::default();
        } else if who & 0x80 != 0 {
            server.receive(now, key, frame);
        } else {
            server.receive(now, key, &client.addressed(frame));
        }
        answers(&mut server, &mut clients);
    }
    for client in &clients {
        if let Some(key) = client.key {
            server.disconnect(now, key);
        }
    }
    answers(&mut server, &mut clients);
}

/// What a client was given last.
#[derive(Default)]
struct Client {
    key: Option<ConnKey>,
    message_id: u64,
    session: u64,
    tree: u32,
    file: Option<[u8; 16]>,
}

impl Client {
    /// The frame with the ids that the server knows in the place of the recorded ones.
    fn addressed(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut out = frame.to_vec();
        let mut at = 0;
        for pdu in Pdu::chain(frame).map_while(Result::ok) {
            let Ok(header) = Header::decode(pdu) else {
                break;
            };
            out[at + 24..at + 32].copy_from_slice(&self.message_id.to_le_bytes());
            self.message_id += u64::from(header.credit_charge.max(1));
            if header.session_id.0 != 0 && header.session_id.0 != u64::MAX {
                out[at + 40..at + 48].copy_from_slice(&self.session.to_le_bytes());
            }
            if (header.id >> 32) as u32 != u32::MAX {
                out[at + 36..at + 40].copy_from_slice(&self.tree.to_le_bytes());
            }
            let body = Message::decode_lossy(pdu).map(|it| it.message.body);
            if let (Ok(Body::Request(request)), Some(file)) = (body, self.file) {
                self.name_file(&request, file, &mut out[at..]);
            }
            at += pdu.len();
        }
        out
    }

    fn name_file(&self, request: &Request, file: [u8; 16], pdu: &mut [u8]) {
        let related = request
            .file_id()
            .is_none_or(|id| id.to_bytes() == [0xff; 16]);
        if let Some(at) = request.file_id_offset()
            && !related
            && let Some(place) = pdu.get_mut(at..at + 16)
        {
            place.copy_from_slice(&file);
        }
    }
}

/// Takes what the server sends: decodable messages, to clients that exist.
fn answers(server: &mut Server, clients: &mut [Client; 4]) {
    while let Some(output) = server.poll() {
        let (conn, frame) = match output {
            ServerOutput::Send { conn, frame } => (conn, frame),
            ServerOutput::Close { conn } => {
                for client in clients.iter_mut().filter(|it| it.key == Some(conn)) {
                    *client = Client::default();
                }
                continue;
            }
        };
        let client = clients.iter_mut().find(|it| it.key == Some(conn));
        let client = client.unwrap_or_else(|| panic!("an answer to a connection that is gone"));
        if !frame.starts_with(&PROTOCOL_ID) {
            continue;
        }
        for pdu in Pdu::chain(&frame) {
            let pdu = pdu.unwrap_or_else(|error| panic!("the server sends no SMB2: {error}"));
            let message = Message::decode_lossy(pdu);
            let message = message.unwrap_or_else(|error| panic!("{error}")).message;
            match (&message.body, message.header.command) {
                (_, Command::SESSION_SETUP) => client.session = message.header.session_id.0,
                (Body::Response(Response::TreeConnect(_)), _) => {
                    client.tree = (message.header.id >> 32) as u32;
                }
                (Body::Response(Response::Create(_)), _) => {
                    let id = pdu.get(HEADER_LEN + 64..HEADER_LEN + 80);
                    client.file = id.and_then(|id| id.try_into().ok());
                }
                _ => {}
            }
        }
    }
}

fn server_config() -> ServerConfig {
    let files = vec![
        SeedEntry::Dir {
            path: "team".into(),
        },
        SeedEntry::File {
            path: "team\\plan.xlsx".into(),
            data: vec![7; 3_000],
        },
    ];
    // The names that the recorded frames ask for.
    let mut shares = vec![ShareConfig::pipe("IPC$")];
    for name in ["share", "data", "data2"] {
        shares.push(ShareConfig {
            files: files.clone(),
            ..ShareConfig::disk(name)
        });
    }
    ServerConfig {
        shares,
        guest_ok: true,
        trusting: true,
        limits: Limits {
            file_bytes: 1 << 20,
            total_bytes: 4 << 20,
            nodes: 1_000,
            ..Limits::default()
        },
        ..ServerConfig::default()
    }
}
