//! Loading a long workload into an engine that is ready to run, against a bare `serde_json` walk
//! over the same lines.
//!
//! `cargo bench -p smbench-compiler --bench load -- N` loads N operations (1,000,000 without N; a
//! gigabyte of disk is about 2.3 million). They are those of a recorded office of 20 people, over
//! and over, every time with other clients, connections, sessions, trees, opens, names and data.
//! Three processes are measured one by one, so that each has its own peak of memory.
//!
//! The goal: 10,000,000 operations in 10 s and 2 GiB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark may stop at the first surprise"
)]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde::de::IgnoredAny;
use smbench_compiler::{CompileOptions, compile, folder::FolderReader, folder::FolderWriter};
use smbench_core::{
    engine::{Engine, RunConfig},
    frame::Digest,
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Name, Request},
    workload::{Action, DataRef, Entry, Operation, Workload},
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args: Vec<&str> = args.into_iter().filter(|it| *it != "--bench").collect();
    match args.as_slice() {
        ["walk", folder] => walk(Path::new(folder)),
        ["load", folder] => load(Path::new(folder)),
        [] => measure(1_000_000),
        [count] => measure(count.parse().expect("a number of operations")),
        _ => panic!("one argument: the number of operations"),
    }
}

fn measure(count: u32) {
    let scratch =
        Scratch(std::env::temp_dir().join(format!("smbench-load-{}", std::process::id())));
    let Some(block) = Block::compiled(&scratch.0.join("block")) else {
        println!("no captures beside the repository: nothing to measure");
        return;
    };
    let folder = scratch.0.join("work");
    let begun = Instant::now();
    block.repeated(count, &folder);
    let bytes = fs::metadata(folder.join("ops.jsonl")).unwrap().len();
    println!(
        "{count} operations, {:.2} GB, {} bytes each; made in {:.0} s; {} processors",
        bytes as f64 / 1e9,
        bytes / u64::from(count),
        begun.elapsed().as_secs_f64(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let walk = part("walk", &folder);
    let load = part("load", &folder);
    let each = |measured: &Measured| measured.seconds * 1e9 / f64::from(count);
    let cpu = |measured: &Measured| measured.cpu * 1e9 / f64::from(count);
    println!(
        "bare walk: {:.2} s, {:.0} ns an operation on one thread ({:.0} ns of processor time)",
        walk.seconds,
        each(&walk),
        cpu(&walk),
    );
    println!(
        "load: {:.2} s, {:.0} operations/s, {:.0} ns an operation ({:.0} ns of processor time), \
         {:.2} x the walk, {:.2} x its processor time",
        load.seconds,
        f64::from(count) / load.seconds,
        each(&load),
        cpu(&load),
        load.seconds / walk.seconds,
        load.cpu / walk.cpu,
    );
    let peak = load.peak_kib as f64 * 1024.0;
    println!(
        "      resident peak {:.0} MiB, {:.0} bytes an operation",
        peak / (1 << 20) as f64,
        peak / f64::from(count)
    );
    let share = f64::from(count) / GOAL_OPERATIONS;
    println!(
        "of the goal for {count}: {:.2} x the time, {:.2} x the memory",
        load.seconds / (GOAL_SECONDS * share),
        peak / (GOAL_BYTES * share)
    );
}

struct Measured {
    seconds: f64,
    cpu: f64,
    peak_kib: u64,
}

/// Runs a part of this in a process of its own.
fn part(what: &str, folder: &Path) -> Measured {
    let me = std::env::current_exe().unwrap();
    let out = Command::new(me).arg(what).arg(folder).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|it| it.parse::<f64>().unwrap());
    let mut next = || numbers.next().unwrap();
    Measured {
        seconds: next(),
        cpu: next(),
        peak_kib: next() as u64,
    }
}

fn tell(begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    // User and system time in ticks of 10 ms, behind the name. proc(5)
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|it| it.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak
        .and_then(|rest| rest.trim().split(' ').next())
        .unwrap_or("0");
    println!("{seconds} {} {kib}", (ticks(12) + ticks(13)) / 100.0);
}

/// Every line as JSON, and nothing made of it.
fn walk(folder: &Path) {
    let begun = Instant::now();
    let mut input =
        BufReader::with_capacity(1 << 18, File::open(folder.join("ops.jsonl")).unwrap());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).unwrap() > 0 {
        std::hint::black_box(serde_json::from_slice::<IgnoredAny>(&line).unwrap());
        line.clear();
    }
    tell(begun);
}

fn load(folder: &Path) {
    let begun = Instant::now();
    let reader = FolderReader::open(folder).unwrap();
    let config = RunConfig::default();
    let loaded = reader.plan(&config).unwrap();
    std::hint::black_box(loaded.digest);
    let engine = Engine::new(loaded.plan, config);
    tell(begun);
    std::hint::black_box(engine.unsettled());
}

/// What is repeated.
struct Block {
    workload: Workload,
    operations: Vec<Operation>,
    span_us: u64,
}

impl Block {
    fn compiled(folder: &Path) -> Option<Self> {
        let capture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/captures/own/office/office20_15s.pcap");
        let input = Box::new(File::open(capture).ok()?) as Box<dyn std::io::Read + Send>;
        let inputs = vec![("office20_15s.pcap".to_owned(), input)];
        let compiled = compile(inputs, CompileOptions::default(), folder).unwrap();
        let reader = FolderReader::open(folder).unwrap();
        let operations: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
        let ends = operations
            .iter()
            .map(|op| op.at_us + op.expect.as_ref().map_or(0, |it| it.latency_us));
        Some(Self {
            workload: compiled.workload,
            span_us: ends.max().unwrap() + 1_000,
            operations,
        })
    }

    /// Writes a workload of `count` operations.
    fn repeated(&self, count: u32, target: &Path) {
        let len = self.operations.len() as u32;
        let rounds = count.div_ceil(len);
        let folder = FolderWriter::create(target).unwrap();
        folder.blobs().unwrap().finish().unwrap();
        folder.namespace(Vec::<Entry>::new()).unwrap();
        let all = (0..rounds).flat_map(|round| self.operations.iter().map(move |op| (round, op)));
        let moved = all
            .take(count as usize)
            .map(|(round, op)| self.moved(op, round));
        folder.operations(moved).unwrap();
        folder.finish(&self.tables(rounds, count)).unwrap();
    }

    fn tables(&self, rounds: u32, count: u32) -> Workload {
        let one = &self.workload;
        let mut all = Workload {
            clients: Vec::new(),
            connections: Vec::new(),
            sessions: Vec::new(),
            trees: Vec::new(),
            inferred_opens: Vec::new(),
            opens: one.opens * rounds,
            operations: count.into(),
            ..one.clone()
        };
        for round in 0..rounds {
            let by = Shift { one, round };
            all.clients.extend(one.clients.iter().cloned());
            all.connections
                .extend(one.connections.iter().cloned().map(|mut it| {
                    it.client = by.client(it.client);
                    it
                }));
            all.sessions
                .extend(one.sessions.iter().cloned().map(|mut it| {
                    it.conn = by.conn(it.conn);
                    it
                }));
            all.trees.extend(one.trees.iter().cloned().map(|mut it| {
                it.session = by.session(it.session);
                it
            }));
        }
        all
    }

    fn moved(&self, op: &Operation, round: u32) -> Operation {
        let by = Shift {
            one: &self.workload,
            round,
        };
        let before = self.operations.len() as u32 * round;
        let id = |id: OpId| OpId(id.0 + before);
        let mut op = op.clone();
        op.id = id(op.id);
        op.at_us += self.span_us * u64::from(round);
        op.client = by.client(op.client);
        op.conn = by.conn(op.conn);
        op.session = op.session.map(|it| by.session(it));
        op.previous_session = op.previous_session.map(|it| by.session(it));
        op.tree = op.tree.map(|it| by.tree(it));
        op.open = op.open.map(|it| by.open(it));
        op.reclaims = op.reclaims.map(|it| by.open(it));
        op.resume_key_of = op.resume_key_of.map(id);
        op.cancels = op.cancels.map(id);
        if let Some(compound) = &mut op.compound {
            compound.first = id(compound.first);
        }
        for edge in &mut op.after {
            edge.id = id(edge.id);
        }
        if let Action::Request(Request::Create(create)) = &mut op.action
            && let Name::Text(name) = &mut create.name
            && !name.is_empty()
        {
            *name = format!("{name}{round}");
        }
        if let Some(path) = &mut op.path {
            *path = format!("{path}{round}");
        }
        let seen = op.expect.as_mut().and_then(|expect| expect.data.as_mut());
        for DataRef { blake3, .. } in op.data.as_mut().into_iter().chain(seen) {
            let other = [&blake3.0[..], &round.to_le_bytes()].concat();
            *blake3 = Digest::of(&other);
        }
        op
    }
}

/// Numbers of the tables, as far on as so many rounds take them.
struct Shift<'a> {
    one: &'a Workload,
    round: u32,
}

impl Shift<'_> {
    fn by(&self, number: u32, len: usize) -> u32 {
        number + len as u32 * self.round
    }

    fn client(&self, it: ClientId) -> ClientId {
        ClientId(self.by(it.0, self.one.clients.len()))
    }

    fn conn(&self, it: ConnId) -> ConnId {
        ConnId(self.by(it.0, self.one.connections.len()))
    }

    fn session(&self, it: SessionRef) -> SessionRef {
        SessionRef(self.by(it.0, self.one.sessions.len()))
    }

    fn tree(&self, it: TreeRef) -> TreeRef {
        TreeRef(self.by(it.0, self.one.trees.len()))
    }

    fn open(&self, it: OpenRef) -> OpenRef {
        OpenRef(self.by(it.0, self.one.opens as usize))
    }
}

/// A folder that goes when this does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const GOAL_OPERATIONS: f64 = 1e7;
const GOAL_SECONDS: f64 = 10.0;
const GOAL_BYTES: f64 = (2u64 << 30) as f64;
