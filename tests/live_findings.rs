//! Findings at a live server: what a client does in a changed journal is done to a server that is there, and
//! where that hangs, disconnects or answers otherwise than the model, it is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use smbench_core::event::{EffectsDigest, Entry};
use smbench_core::ids::ShardId;
use smbench_journal::enact::Script;
use smbench_journal::fuzz::{Mutation, Seedling, mutations};
use smbench_journal::rerun::NAMESPACE;
use smbench_journal::{BundleWriter, Journal};
use support::cli::{ModelServer, Ran, Scratch};

/// A workload, and the journal of a simulation of it.
struct Bench {
    scratch: Scratch,
    seedling: Seedling,
}

impl Bench {
    fn new(capture: &str, more: &[&str]) -> Self {
        Self::edited(capture, more, |_| {})
    }

    /// Of a workload whose lines are edited.
    fn edited(capture: &str, more: &[&str], mut edit: impl FnMut(&mut Value)) -> Self {
        let scratch = Scratch::new();
        let lines = scratch.compile(capture, "w").join("ops.jsonl");
        let text = std::fs::read_to_string(&lines).unwrap();
        let edited = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            edit(&mut line);
            line.to_string() + "\n"
        });
        let edited: String = edited.collect();
        std::fs::write(&lines, edited).unwrap();
        let sim = ["sim", "w", "--speed", "max", "--bundle", "seed.smbj"];
        let ran = scratch.run([&sim[..], more].concat());
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        let journal = Journal::open(scratch.path("seed.smbj")).unwrap();
        let seedling = Seedling::of(&journal).unwrap();
        Self { scratch, seedling }
    }

    /// Writes the journal with these changes.
    fn change(&self, name: &str, changes: &[Mutation]) {
        let bundle = self.seedling.write(changes, Vec::new()).unwrap();
        self.scratch.file(name, bundle);
    }

    fn prepare(&self, server: &ModelServer, root: &str) {
        let to = ["--server", &server.address, "--share", "s", "--root", root];
        self.scratch
            .run([&["prepare", "w"][..], &to].concat())
            .expect(0);
    }

    /// Plays a journal to a server, in a root that is made for it.
    fn play(&self, server: &ModelServer, journal: &str, root: &str, more: &[&str]) -> Ran {
        self.prepare(server, root);
        self.play_in(server, journal, root, more)
    }

    fn play_in(&self, server: &ModelServer, journal: &str, root: &str, more: &[&str]) -> Ran {
        let more = [&["--timeout", "3"], more].concat();
        self.play_at(&server.address, journal, root, &more)
    }
}

/// A healthy server: whatever the journal's server, network and user do, nothing is found.
#[test]
fn a_healthy_server_gives_no_finding() {
    let runs = std::env::var("SMBENCH_SPOIL").map_or(6, |text| text.parse().unwrap());
    let mut compared = 0;
    for (capture, more) in [
        ("leases3_plain.pcap", &[][..]),
        ("smbclient_files.pcap", &[]),
        ("collab6_seed1.pcap", &["--ack", "immediate"]),
    ] {
        let bench = Bench::new(capture, more);
        for seed in 0..runs {
            // A server remembers durable handles, and whose leases are on what.
            let server = ModelServer::start(["--share", "s"]);
            let changes = mutations(seed, bench.seedling.events());
            bench.change("changed.smbj", &changes);
            let ran = bench.play(&server, "changed.smbj", &format!("r{seed}"), &["--json"]);
            let ok = matches!(ran.code, Some(0 | 5));
            assert!(ok, "{capture} {seed}: {changes:?}: {ran:#?}");
            let told = ran.json();
            assert_eq!(told["findings"], json!([]), "{capture} {seed}");
            compared += told["compared"].as_u64().unwrap();
        }
    }
    assert!(compared > 0);
}

/// What a policy refuses is not sent, and the rest is compared all the same, though its MessageIds are others than
/// the journal's.
#[test]
fn what_is_refused_is_left_out() {
    let mut refused = 0;
    let bench = Bench::edited("smbclient_files.pcap", &[], |line| {
        let granted = line["expect"]["status"] == "SUCCESS";
        if refused == 0 && line["cmd"] == "CREATE" && granted {
            refused = line["id"].as_u64().unwrap();
            line["do"]["request"]["CREATE"]["name"] = json!("..\\..\\elsewhere");
        }
    });
    assert!(refused > 0);
    bench.change("f.smbj", &[]);
    let server = ModelServer::start(["--share", "s"]);
    let ran = bench.play(&server, "f.smbj", "r", &["--json"]);
    ran.expect(0)
        .says(&["not sent: 1 that may lead out of the root"]);
    let told = ran.json();
    assert_eq!(told["verdict"], "as_model", "{told:#}");
    let [requests, issued, compared] =
        ["requests", "issued", "compared"].map(|key| told[key].as_u64().unwrap());
    assert_eq!(issued, requests - 1, "{told:#}");
    // All but the service behind a pipe, and what the CREATE would have given is used by nobody in the journal.
    assert_eq!(compared, issued - 1, "{told:#}");
}

/// What is written to a pipe is in no journal: pipes are left alone, and that is said.
#[test]
fn calls_that_are_in_no_journal_are_not_made() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/public");
    let capture = shared.join("BruteShark__PCAPNG_Examples_SMB_-_NTLMSSP_Windows_10.pcapng");
    if !capture.exists() {
        println!("no {}", capture.display());
        return;
    }
    let scratch = Scratch::new();
    let capture = capture.to_string_lossy();
    scratch.run(["compile", &capture, "-o", "all"]).expect(0);
    let slice = ["slice", "all", "--client", "3", "-o", "w"];
    scratch.run(slice).expect(0);
    let sim = ["sim", "w", "--speed", "max", "--bundle", "f.smbj"];
    scratch.run(sim).expect(0);
    let server = ModelServer::start(["--share", "s"]);
    let to = ["--server", &server.address, "--share", "s", "--root", "r"];
    scratch.run([&["prepare", "w"][..], &to].concat()).expect(0);
    let play = ["replay", "--from-journal", "f.smbj", "--any-dialect"];
    let ran = scratch.run([&play[..], &to].concat());
    ran.expect(0)
        .says(&["pipes are left alone: what 2 requests write"]);
}

/// What is wrong with a server shows in a changed journal as it does in any.
#[test]
fn a_planted_bug_is_told_with_its_operation() {
    let bench = Bench::new("leases3_plain.pcap", &[]);
    let server = ModelServer::start(["--share", "s", "--plant", "ignore-share-mode"]);
    // Cut long after the bug has shown.
    bench.change("changed.smbj", &[Mutation::EndEarly { event: 200 }]);
    let told = bench.play(&server, "changed.smbj", "r", &["--json"]);
    let told = told.expect(1).json();
    assert_eq!(told["verdict"], "diverged", "{told:#}");
    let first = told["findings"].as_array().unwrap().iter();
    let mut first = first.filter(|it| it["operation"] == 26);
    let wanted = json!({
        "kind": "status", "operation": 26, "command": "CREATE", "path": "team\\report.docx", "client": 2,
        "connection": 2, "frame": 169, "model": "STATUS_SHARING_VIOLATION", "seen": "STATUS_SUCCESS",
    });
    assert_eq!(first.next(), Some(&wanted), "{told:#}");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/JSON.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, docs) = docs.split_once("## replay --from-journal").unwrap();
    let inner = wanted.as_object().unwrap().keys();
    for key in told.as_object().unwrap().keys().chain(inner) {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    // As it says, so it can be done again.
    let again = told["again"].as_str().unwrap();
    let again = again.replace("smbench ", "\"$SMBENCH\" ");
    let told = bench.scratch.shell(&again).expect(1).json();
    assert_eq!(told["verdict"], "diverged");
    let plain = bench.play(&server, "changed.smbj", "plain", &[]);
    let out = &plain.expect(1).out;
    for part in [
        "FOUND: ",
        "frame 169, client 2, connection 2, operation 26: CREATE team\\report.docx",
        "status: STATUS_SHARING_VIOLATION → STATUS_SUCCESS",
        "again:   smbench replay --from-journal changed.smbj ",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
}

/// A server that ends a connection upon an acknowledgement that it did not ask for: no plain replay sends one,
/// a client that was sent a forged break does.
#[test]
fn a_server_that_disconnects_is_told() {
    let bench = Bench::new("leases3_plain.pcap", &[]);
    let server = ModelServer::start(["--share", "s"]);
    bench.change("plain.smbj", &[]);
    bench.change("forged.smbj", &[bench.forged_break()]);
    let fault = Between::start(&server, |link, frame| {
        let Some(key) = is(frame, OPLOCK_BREAK).then(|| key_of(frame)) else {
            return Act::Pass;
        };
        let mut notified = link.notified.lock().unwrap();
        let left = notified.entry(key).or_default();
        *left -= 1;
        match *left < 0 {
            true => Act::Cut,
            false => Act::Pass,
        }
    });
    bench.prepare(&server, "plain");
    let healthy = bench.play_at(&fault.address, "plain.smbj", "plain", &["--json"]);
    assert_eq!(healthy.expect(0).json()["verdict"], "as_model");
    // The leases of the run before are still held.
    let server = ModelServer::start(["--share", "s"]);
    let fault = fault.before(&server);
    bench.prepare(&server, "forged");
    let told = bench.play_at(&fault.address, "forged.smbj", "forged", &["--json"]);
    let told = told.expect(1).json();
    let first = &told["findings"][0];
    assert_eq!(first["kind"], "disconnect", "{told:#}");
    assert_eq!(first["command"], "OPLOCK_BREAK", "{told:#}");
    let seen = first["seen"].as_str().unwrap();
    assert!(seen.starts_with("the server "), "{told:#}");
}

/// A server that leaves a request unanswered is waited for no longer than a few time-outs.
#[test]
fn a_server_that_hangs_is_told() {
    let bench = Bench::new("smbclient_files.pcap", &[]);
    let server = ModelServer::start(["--share", "s"]);
    bench.change("changed.smbj", &[Mutation::Duplicate { event: 40 }]);
    let fault = Between::start(&server, |_, frame| match is(frame, QUERY_DIRECTORY) {
        true => Act::Swallow,
        false => Act::Pass,
    });
    bench.prepare(&server, "r");
    let ran = bench.play_at(&fault.address, "changed.smbj", "r", &["--timeout", "1"]);
    let out = &ran.expect(1).out;
    for part in [
        "hang: no answer in 1 s; model: STATUS_SUCCESS",
        "QUERY_DIRECTORY",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
}

/// A server that answers nothing after the first requests.
#[test]
fn a_server_that_falls_silent_is_left_alone() {
    let bench = Bench::new("collab6_seed1.pcap", &[]);
    let server = ModelServer::start(["--share", "s"]);
    bench.change("changed.smbj", &[]);
    let fault = Between::start(&server, |_, frame| {
        // Each connection of the journal changes a file, none of those that look at the root does.
        match is(frame, CHANGE_NOTIFY) || is(frame, SET_INFO) || is(frame, LOCK) {
            true => Act::Silence,
            false => Act::Pass,
        }
    });
    bench.prepare(&server, "r");
    let more = ["--timeout", "1", "--json"];
    let told = bench.play_at(&fault.address, "changed.smbj", "r", &more);
    let told = told.expect(1).json();
    let findings = told["findings"].as_array().unwrap();
    let hangs = findings.iter().filter(|it| it["kind"] == "hang").count();
    assert!((1..=4).contains(&hangs), "{told:#}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy() {
    let bench = Bench::new("smbclient_dialect_SMB3_11.pcap", &[]);
    let server = ModelServer::start(["--share", "s"]);
    bench.change("f.smbj", &[]);
    bench.prepare(&server, "r");
    let in_root = |journal: &str, more: &[&str]| bench.play_in(&server, journal, "r", more);
    in_root("nowhere.smbj", &[])
        .expect(3)
        .says(&["nowhere.smbj"]);
    // A workload is no journal.
    in_root("w", &[]).expect(3).says(&["w"]);
    let both = in_root("f.smbj", &["w"]);
    both.expect(2).says(&["leave the folder out"]);
    let prepare = in_root("f.smbj", &["--prepare"]);
    prepare.expect(2).says(&["smbench prepare"]);
    let record = in_root("f.smbj", &["--bundle", "again.smbj"]);
    record.expect(2).says(&["leave --journal and --bundle out"]);
    for more in [
        ["--speed", "max"],
        ["--order", "none"],
        ["--ack", "never"],
        ["--pace", "think"],
        ["--min-coverage", "1"],
    ] {
        in_root("f.smbj", &more).expect(2).says(&[more[0]]);
    }
    let to = ["--server", &server.address];
    bench
        .scratch
        .run([&["replay"][..], &to].concat())
        .expect(2)
        .says(&["DIR"]);
    // A root of another workload, one that is not there, and one that was used.
    bench.scratch.compile("smbclient_files.pcap", "other");
    let other = ["--share", "s", "--root", "other"];
    let other = [&["prepare", "other"][..], &to, &other].concat();
    bench.scratch.run(other).expect(0);
    let wrong = bench.play_in(&server, "f.smbj", "other", &[]);
    wrong
        .expect(3)
        .says(&["another workload", "smbench prepare"]);
    let absent = bench.play_in(&server, "f.smbj", "absent", &[]);
    absent
        .expect(3)
        .says(&["no prepared root", "smbench prepare"]);
    in_root("f.smbj", &[]).expect(0);
    in_root("f.smbj", &[]).expect(3).says(&["--reuse-root"]);
    // Damaged, of an older version, and empty.
    let mut bytes = std::fs::read(bench.scratch.path("f.smbj")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.scratch.file("damaged.smbj", bytes);
    in_root("damaged.smbj", &[]).expect(1).says(&["damaged"]);
    bench.without_namespace("older.smbj");
    let older = in_root("older.smbj", &[]);
    older.expect(3).says(&["record the run again"]);
    bench.change("empty.smbj", &[Mutation::EndEarly { event: 0 }]);
    let stopped = [Mutation::Stop { event: 1 }];
    bench.change("stopped.smbj", &stopped);
    let stopped = in_root("stopped.smbj", &["--reuse-root"]);
    stopped.expect(3).says(&["sends nothing"]);
    let nobody = ModelServer::start(["--share", "other"]);
    let none = bench.play_in(&nobody, "f.smbj", "r", &[]);
    none.expect(3).says(&["no such share", "--share"]);
}

impl Bench {
    fn play_at(&self, address: &str, journal: &str, root: &str, more: &[&str]) -> Ran {
        let words = ["replay", "--from-journal", journal];
        let to = ["--server", address, "--share", "s", "--root", root];
        self.scratch.run([&words[..], &to, more].concat())
    }

    /// Requests of the engine in the journal with these changes.
    fn requests(&self, changes: &[Mutation]) -> u64 {
        let bundle = self.seedling.write(changes, Vec::new()).unwrap();
        let journal = Journal::from_bundle_bytes(bundle).unwrap();
        Script::of(&journal).unwrap().requests
    }

    /// A forged break that the client acknowledges, besides all that it does anyway.
    fn forged_break(&self) -> Mutation {
        let usual = self.requests(&[]);
        // From the end on: the client goes on as it did.
        let events = (0..self.seedling.events()).rev();
        let forged = events.flat_map(|event| {
            [true, false].map(|lease| Mutation::ForgeBreak {
                event,
                key: 0,
                lease,
            })
        });
        let mut forged = forged.filter(|it| self.requests(std::slice::from_ref(it)) > usual);
        forged.next().unwrap()
    }

    /// Writes the journal as an older version would have.
    fn without_namespace(&self, to: &str) {
        let journal = Journal::open(self.scratch.path("seed.smbj")).unwrap();
        let mut bundle = BundleWriter::create(self.scratch.path(to), journal.meta()).unwrap();
        for name in journal.attachments().unwrap() {
            if name != NAMESPACE {
                bundle
                    .attach(&name, &journal.attachment(&name).unwrap())
                    .unwrap();
            }
        }
        for stored in journal.entries(ShardId(0)).unwrap() {
            let stored = stored.unwrap();
            let short = EffectsDigest(u64::from(stored.before));
            let entry = Entry {
                seq: stored.seq,
                now: stored.now,
                before: stored.block_before.unwrap_or(short),
                input: stored.input,
            };
            bundle.record(ShardId(0), &entry).unwrap();
        }
        bundle.end_file().unwrap();
    }
}

/// What becomes of a client's frame on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Pass,
    /// It never arrives.
    Swallow,
    /// It never arrives, nor does anything after it.
    Silence,
    /// Its connection ends.
    Cut,
}

/// What has gone over a connection.
#[derive(Clone, Default)]
struct Link {
    /// Breaks that the server has told of and that were not acknowledged, by lease or handle.
    notified: Arc<Mutex<BTreeMap<Vec<u8>, i64>>>,
}

type Fault = Arc<dyn Fn(&mut Link, &[u8]) -> Act + Send + Sync>;

/// A model server with a fault: what is between it and its clients.
struct Between {
    address: String,
    fault: Fault,
}

impl Between {
    /// `fault` is asked about every frame of a client.
    fn start(
        server: &ModelServer,
        fault: impl Fn(&mut Link, &[u8]) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::with(server, Arc::new(fault))
    }

    /// The same fault before another server.
    fn before(&self, server: &ModelServer) -> Self {
        Self::with(server, Arc::clone(&self.fault))
    }

    fn with(server: &ModelServer, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, faulty) = (server.address.clone(), Arc::clone(&fault));
        // It ends with the test.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&to).unwrap();
                let (down, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let mut link = Link::default();
                let notified = Arc::clone(&link.notified);
                thread::spawn(move || {
                    forward(&down, &back, |frame| {
                        if notifies(frame) {
                            *notified.lock().unwrap().entry(key_of(frame)).or_default() += 1;
                        }
                        Act::Pass
                    })
                    .ok();
                    back.shutdown(Shutdown::Both).ok();
                });
                let fault = Arc::clone(&faulty);
                thread::spawn(move || {
                    forward(&client, &server, |frame| fault(&mut link, frame)).ok();
                    client.shutdown(Shutdown::Both).ok();
                    server.shutdown(Shutdown::Both).ok();
                });
            }
        });
        Self { address, fault }
    }
}

/// Forwards frames until the connection ends.
fn forward(
    mut from: &TcpStream,
    mut to: &TcpStream,
    mut fault: impl FnMut(&[u8]) -> Act,
) -> io::Result<()> {
    let mut silent = false;
    loop {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let len = u32::from_be_bytes([0, frame[1], frame[2], frame[3]]);
        frame.resize(4 + usize::try_from(len).unwrap(), 0);
        from.read_exact(&mut frame[4..])?;
        match fault(&frame[4..]) {
            _ if silent => {}
            Act::Pass => to.write_all(&frame)?,
            Act::Swallow => {}
            Act::Silence => silent = true,
            Act::Cut => return Ok(()),
        }
    }
}

/// Whether a frame begins with such a message.
fn is(frame: &[u8], command: u8) -> bool {
    frame.starts_with(&[0xfe, b'S', b'M', b'B']) && frame.get(12) == Some(&command)
}

/// Whether it is a break notification.
fn notifies(frame: &[u8]) -> bool {
    is(frame, OPLOCK_BREAK) && frame.get(24..32) == Some(&[0xff; 8])
}

/// The lease or handle that a notification or an acknowledgement names.
fn key_of(frame: &[u8]) -> Vec<u8> {
    frame[72..88].to_vec()
}

const LOCK: u8 = 0x0a;
const QUERY_DIRECTORY: u8 = 0x0e;
const CHANGE_NOTIFY: u8 = 0x0f;
const SET_INFO: u8 = 0x11;
const OPLOCK_BREAK: u8 = 0x12;
