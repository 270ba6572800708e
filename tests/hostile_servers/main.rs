//! Servers that mean harm, or are broken: every run against one ends within bounds of time, memory and
//! disk, as no defect of ours, and its journal reruns identically.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops where it fails"
)]

mod behaviours;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::cli::{Ran, Scratch};

use self::behaviours::{HOSTILE, SILENT};
use self::server::{Behaviour, Frame, Peer, Server, quiet};

/// A hostile server: its name, what it does with a new connection, and with a frame.
type Hostile = (&'static str, fn(&mut Peer) -> io::Result<()>, Behaviour);

const TIMEOUT_S: u64 = 1;
/// How long a run may take against any of them.
const LONGEST: Duration = Duration::from_secs(30);
const MOST_MEMORY_KIB: u64 = 700 << 10;
const MOST_JOURNAL_BYTES: u64 = 64 << 20;

/// What became of a run.
struct Ended {
    ran: Ran,
    took: Duration,
    peak_kib: u64,
    journal: String,
}

/// Replays `work` against `server`.
fn replay(scratch: &Scratch, work: &str, server: &Server, name: &str) -> Ended {
    let journal = format!("{name}.journal");
    let timeout = TIMEOUT_S.to_string();
    let begun = Instant::now();
    let told = scratch.path(&format!("{name}.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_smbench"));
    // Nobody reads what it says before its end, and that may be more than fits into a pipe.
    command.stdout(fs::File::create(&told).unwrap());
    command.stderr(Stdio::piped()).current_dir(scratch.path(""));
    command.args([
        "replay",
        work,
        "--server",
        &server.address,
        "--share",
        "data",
        "--root",
        "here",
        "--i-know-this-share-is-mine",
        "--any-dialect",
        "--speed",
        "max",
        "--timeout",
        &timeout,
        "--journal",
        &journal,
        "--json",
    ]);
    let mut child = command.spawn().unwrap();
    let peak_kib = peak_until_end(&mut child, begun, name);
    let took = begun.elapsed();
    let mut output = child.wait_with_output().unwrap();
    output.stdout = fs::read(told).unwrap();
    Ended {
        ran: Ran::of(&output),
        took,
        peak_kib,
        journal,
    }
}

/// Waits for the end; the most memory that was seen in use.
fn peak_until_end(child: &mut Child, begun: Instant, name: &str) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if begun.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("{name}: no end after {LONGEST:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    peak
}

fn bytes_below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| {
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            bytes_below(&entry.path())
        } else {
            about.len()
        }
    });
    bytes.sum()
}

/// Fails unless a run has ended as every run has to.
fn check(scratch: &Scratch, name: &str, ended: &Ended) {
    let Ended { ran, .. } = ended;
    assert!(!ran.err.contains("panicked"), "{name}: {ran:#?}");
    assert!(matches!(ran.code, Some(1 | 3)), "{name}: {ran:#?}");
    assert!(
        ended.peak_kib < MOST_MEMORY_KIB,
        "{name}: {} KiB",
        ended.peak_kib
    );
    let journal = scratch.path(&ended.journal);
    let bytes = bytes_below(&journal);
    assert!(
        bytes < MOST_JOURNAL_BYTES,
        "{name}: a journal of {bytes} bytes"
    );
    let rerun = scratch.run(["rerun", &ended.journal, "--json"]);
    assert_eq!(rerun.code, Some(0), "{name}: {rerun:#?}");
    assert_eq!(rerun.json()["identical"], true, "{name}");
    assert_eq!(rerun.json()["complete"], true, "{name}");
    println!(
        "{name}: exit {:?} after {:.1} s, {} MiB, journal {} KiB",
        ran.code,
        ended.took.as_secs_f64(),
        ended.peak_kib >> 10,
        bytes >> 10,
    );
}

/// Runs `each` on all of `servers`, a few at a time: they wait for most of their time.
fn for_each(servers: &[Hostile], each: impl Fn(&Hostile) + Sync) {
    let next = Mutex::new(servers.iter());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let server = next.lock().unwrap().next();
                    let Some(server) = server else { return };
                    each(server);
                }
            });
        }
    });
}

#[test]
fn every_hostile_server_ends_the_run_within_bounds() {
    let scratch = Scratch::new();
    scratch.compile("collab6_seed1.pcap", "work");
    assert!(HOSTILE.len() >= 20);
    for_each(HOSTILE, |(name, greet, answer)| {
        let server = Server::start(*greet, *answer);
        let ended = replay(&scratch, "work", &server, name);
        check(&scratch, name, &ended);
    });
}

/// Two captures: six clients that wait for each other, and one with a connection after the other.
#[test]
fn a_silent_server_ends_a_replay_within_three_time_outs() {
    let scratch = Scratch::new();
    for (work, capture) in [
        ("six", "collab6_seed1.pcap"),
        ("files", "smbclient_files.pcap"),
        ("dialect", "smbclient_dialect_SMB2_02.pcap"),
    ] {
        scratch.compile(capture, work);
        for_each(SILENT, |(name, greet, answer)| {
            let server = Server::start(*greet, *answer);
            let name = format!("{work}, {name}");
            let ended = replay(&scratch, work, &server, &name);
            check(&scratch, &name, &ended);
            let summary: Value = serde_json::from_str(&ended.ran.out).unwrap();
            let took_us = summary["wall_us"].as_u64().unwrap();
            // A second for a busy machine.
            let limit_us = (3 * TIMEOUT_S + 1) * 1_000_000;
            assert!(took_us <= limit_us, "{name}: {took_us} us");
        });
    }
}

/// The same of preparing, which is no replay to the user but ends in an error.
#[test]
fn a_silent_server_ends_a_preparation_within_three_time_outs() {
    let scratch = Scratch::new();
    let work = scratch.compile("smbclient_files.pcap", "work");
    let folder = |at: u32| {
        format!("{{\"share\":\"data\",\"path\":\"d{at}\",\"kind\":\"directory\",\"seen_by\":0}}\n")
    };
    let folders: String = (0..40).map(folder).collect();
    fs::write(work.join("namespace.jsonl"), folders).unwrap();
    for_each(SILENT, |(name, greet, answer)| {
        let server = Server::start(*greet, *answer);
        let journal = format!("{name}.journal");
        let begun = Instant::now();
        let address = &server.address;
        let args = [
            "prepare", "work", "--server", address, "--share", "data", "--root", "here",
        ];
        let more = ["--timeout", "1", "--journal", &journal];
        let ran = scratch.run(args.iter().chain(&more));
        ran.expect(3);
        assert!(
            !ran.err.contains("must be able to"),
            "of rights nobody spoke: {ran:#?}"
        );
        let took = begun.elapsed();
        assert!(
            took < Duration::from_secs(3 * TIMEOUT_S + 2),
            "{name}: {took:?}"
        );
    });
}

#[test]
fn who_refuses_to_negotiate_is_said_to() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "work");
    let server = Server::start(quiet, |peer, frame| {
        let mut response = peer.response_to(frame);
        response[8..12].copy_from_slice(&0xc000_0022_u32.to_le_bytes());
        peer.send(&response)
    });
    let args = [
        "replay",
        "work",
        "--server",
        &server.address,
        "--share",
        "data",
    ];
    let ran = scratch.run(args);
    ran.expect(3).says(&["refuses NEGOTIATE", "ACCESS_DENIED"]);
    assert!(!ran.err.contains("dialect"), "{ran:#?}");
}

/// A program that is stopped for longer than a time-out hears first what has come meanwhile.
#[test]
fn who_is_held_up_hears_first_what_has_come() {
    fn answer(peer: &mut Peer, frame: &Frame) -> io::Result<()> {
        if frame.in_all == 40 {
            fs::write(std::env::temp_dir().join(marker()), "").unwrap();
            thread::sleep(Duration::from_millis(700));
        }
        peer.answer(frame)
    }
    fn marker() -> String {
        format!("smbench-held-up-{}", std::process::id())
    }
    let signal = |signal: &str, child: &Child| {
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "work");
    let marked = std::env::temp_dir().join(marker());
    fs::remove_file(&marked).ok();
    let server = Server::start(quiet, answer);
    let address = &server.address;
    let mut child = scratch.start([
        "replay",
        "work",
        "--server",
        address,
        "--share",
        "data",
        "--root",
        "here",
        "--i-know-this-share-is-mine",
        "--any-dialect",
        "--speed",
        "max",
        "--timeout",
        "1",
        "--json",
    ]);
    let begun = Instant::now();
    while !marked.exists() {
        assert!(
            begun.elapsed() < LONGEST,
            "the server was not asked so much"
        );
        thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(&marked).unwrap();
    signal("-STOP", &child);
    // The answer comes after 0.7 s, the time-out after 1 s: both while it is stopped.
    thread::sleep(Duration::from_secs(2));
    signal("-CONT", &child);
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child.wait().unwrap();
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["diverged"]["no_response"], Value::Null, "{out}");
    assert_eq!(summary["cascaded"], 0, "{out}");
}
