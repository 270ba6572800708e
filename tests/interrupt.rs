//! Ctrl-C, and SIGTERM and SIGHUP alike: exit code 130, how far it came is said, what was recorded reruns, and
//! nothing half written is left. Every signal is sent when the command has demonstrably begun.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::cli::{ModelServer, Ran, Scratch, capture};

const INTERRUPTED: i32 = 130;
const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

/// The binary at work, which ends with the value.
struct Running {
    child: Child,
    err: Option<BufReader<std::process::ChildStderr>>,
    said: String,
}

impl Running {
    fn start(scratch: &Scratch, args: &[&str], stdin: Stdio) -> Self {
        // Whoever runs the tests may ignore SIGHUP, as nohup does.
        let mut child = Command::new("env")
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_smbench")])
            .args(args)
            .current_dir(scratch.path(""))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let err = child.stderr.take().map(BufReader::new);
        Self {
            child,
            err,
            said: String::new(),
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Reads stderr up to a line that has `part`.
    fn hear(&mut self, part: &str) {
        let err = self.err.as_mut().unwrap();
        loop {
            let mut line = String::new();
            assert!(
                err.read_line(&mut line).unwrap() > 0,
                "{part:?} never came: {}",
                self.said
            );
            self.said.push_str(&line);
            if line.contains(part) {
                return;
            }
        }
    }

    /// Waits for its end.
    fn end(mut self) -> Ran {
        let mut err = self.err.take().unwrap();
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            err.read_to_string(&mut rest).unwrap();
            rest
        });
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut out).unwrap();
        let status = self.child.wait().unwrap();
        Ran {
            code: status.code(),
            out,
            err: format!("{}{}", self.said, rest.join().unwrap()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for something that has to come.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what} never came"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// What is in a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether something is being written under a name with these parts.
fn is_writing(scratch: &Scratch, parts: &[&str]) -> bool {
    let names = names(&scratch.path(""));
    names
        .iter()
        .any(|name| parts.iter().all(|part| name.contains(part)))
}

#[track_caller]
fn interrupted(ran: &Ran, says: &[&str]) {
    ran.expect(INTERRUPTED).says(&["interrupted"]).says(says);
}

#[test]
fn compiling_leaves_nothing() {
    let bytes = fs::read(capture("collab6_seed1.pcap")).unwrap();
    for signal in SIGNALS {
        for (more, writes) in [
            (&[][..], &[".out.", ".tmp"][..]),
            (&["--share", "data"], &[".out.", ".whole.", ".tmp"]),
            (&["--force"], &[".out.", ".new.", ".tmp"]),
        ] {
            let scratch = Scratch::new();
            if more == ["--force"] {
                scratch.compile("smbclient_files.pcap", "out");
            }
            let before = names(&scratch.path(""));
            let args = [&["compile", "-", "-o", "out"][..], more].concat();
            let mut running = Running::start(&scratch, &args, Stdio::piped());
            // The rest of the capture never comes.
            let mut stdin = running.child.stdin.take().unwrap();
            stdin.write_all(&bytes[..bytes.len() / 2]).unwrap();
            until("a folder", || is_writing(&scratch, writes));
            running.signal(signal);
            let ran = running.end();
            interrupted(&ran, &["bytes read", "operations found", "nothing is left"]);
            assert_eq!(ran.out, "", "{ran:?}");
            assert_eq!(names(&scratch.path("")), before, "{more:?} {ran:?}");
            if more == ["--force"] {
                scratch.run(["inspect", "out"]).expect(0);
            }
        }
    }
}

/// Gives a workload's operations to whoever opens them, whole at first, and half when `is_writing`
/// says so; then tells that it waits, and keeps waiting until the reader is gone.
fn feed(fifo: PathBuf, content: Vec<u8>, pid: u32, is_writing: impl Fn() -> bool) {
    let is_open = |fifo: &Path| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        open.filter_map(|it| fs::read_link(it.path()).ok())
            .any(|it| it == fifo)
    };
    loop {
        let mut pipe = File::options().write(true).open(&fifo).unwrap();
        if is_writing() {
            pipe.write_all(&content[..content.len() / 2]).unwrap();
            std::mem::forget(pipe);
            return;
        }
        pipe.write_all(&content).unwrap();
        drop(pipe);
        until("the end of a reader", || !is_open(&fifo));
    }
}

#[test]
fn slicing_and_anonymizing_leave_nothing() {
    for signal in SIGNALS {
        for (verb, more) in [
            ("slice", &["--command", "CREATE"][..]),
            ("slice", &["--command", "CREATE", "--force"]),
            ("anonymize", &["--map", "map"]),
            ("anonymize", &["--force"]),
        ] {
            let scratch = Scratch::new();
            scratch.compile("leases3_plain.pcap", "work");
            if more.contains(&"--force") {
                scratch.compile("smbclient_files.pcap", "out");
            }
            let operations = scratch.path("work/ops.jsonl");
            let content = fs::read(&operations).unwrap();
            fs::remove_file(&operations).unwrap();
            assert!(
                Command::new("mkfifo")
                    .arg(&operations)
                    .status()
                    .unwrap()
                    .success()
            );
            let before = names(&scratch.path(""));
            // The digest names the workload, which anonymize mixes into its seed.
            let args = [&[verb, "work", "-o", "out"][..], more].concat();
            let running = Running::start(&scratch, &args, Stdio::null());
            let (waits, waiting) = mpsc::channel();
            let (folder, pid) = (scratch.path(""), running.pid());
            let feeder = thread::spawn(move || {
                feed(operations, content, pid, || {
                    names(&folder).iter().any(|it| it.ends_with(".tmp"))
                });
                waits.send(()).unwrap();
            });
            waiting.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(
                is_writing(&scratch, &[".out.", ".tmp"]),
                "{:?}",
                names(&scratch.path(""))
            );
            running.signal(signal);
            let ran = running.end();
            interrupted(&ran, &["nothing is left"]);
            feeder.join().unwrap();
            assert_eq!(ran.out, "", "{ran:?}");
            assert_eq!(names(&scratch.path("")), before, "{verb} {more:?} {ran:?}");
            if more.contains(&"--force") {
                scratch.run(["inspect", "out"]).expect(0);
            }
        }
    }
}

/// A workload that takes long: many pings on one connection.
fn long_workload(scratch: &Scratch, pings: u64) {
    let work = scratch.compile("smbclient_dialect_SMB2_02.pcap", "long");
    let operations = work.join("ops.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&operations)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let tree: serde_json::Value = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|op| op["cmd"] == "TREE_CONNECT")
        .unwrap();
    // What comes then would end the connection.
    lines.truncate(usize::try_from(tree["id"].as_u64().unwrap()).unwrap() + 1);
    let mut ping = tree.clone();
    ping["cmd"] = "ECHO".into();
    ping["do"] = serde_json::json!({"request": {"ECHO": {}}});
    ping["expect"] =
        serde_json::json!({"frame": 1, "status": "SUCCESS", "latency_us": 10, "credits": 1});
    for key in ["tree", "path"] {
        ping.as_object_mut().unwrap().remove(key);
    }
    let first = lines.len() as u64;
    for at in first..first + pings {
        ping["id"] = at.into();
        ping["after"] = serde_json::json!([{"id": if at == first { tree["id"].as_u64().unwrap() } else { at - 1 },
            "rule": "wire", "on": "response"}]);
        lines.push(ping.to_string());
    }
    fs::write(&operations, lines.join("\n") + "\n").unwrap();
    let tables = work.join("workload.json");
    let mut workload: serde_json::Value =
        serde_json::from_slice(&fs::read(&tables).unwrap()).unwrap();
    workload["operations"] = (first + pings).into();
    fs::write(tables, workload.to_string()).unwrap();
}

#[test]
fn simulations_rerun_as_far_as_they_came() {
    let scratch = Scratch::new();
    long_workload(&scratch, 40_000);
    for driver in ["event-loop", "turmoil"] {
        for signal in SIGNALS {
            let journal = format!("{driver}.{signal}");
            let args = [
                "sim",
                "long",
                "--speed",
                "max",
                "--driver",
                driver,
                "--journal",
                &journal,
            ];
            // What tells of it while it is under way.
            let running = if driver == "turmoil" {
                let args = [&args[..], &["--log", "trace"]].concat();
                let mut running = Running::start(&scratch, &args, Stdio::null());
                (0..200).for_each(|_| running.hear("report=Started"));
                running
            } else {
                let args = [&args[..], &["--pcap", "run.pcapng"]].concat();
                let running = Running::start(&scratch, &args, Stdio::null());
                let part = scratch.path(&format!("run.pcapng.{}.part", running.pid()));
                until("a capture", || {
                    part.metadata().is_ok_and(|it| it.len() > 100_000)
                });
                running
            };
            running.signal(signal);
            let ran = running.end();
            interrupted(&ran, &["stopping", "requests were sent", &journal]);
            assert_eq!(ran.out, "", "{ran:?}");
            let again = scratch.run(["rerun", &journal, "--json"]).expect(0).json();
            assert_eq!(again["identical"], true, "{again:#}");
            assert_eq!(again["complete"], false, "{again:#}");
            assert!(again["events"].as_u64().unwrap() > 100, "{again:#}");
            assert!(
                !is_writing(&scratch, &[".part"]),
                "{:?}",
                names(&scratch.path(""))
            );
        }
    }
}

#[test]
fn exporting_and_importing_leave_nothing() {
    let scratch = Scratch::new();
    long_workload(&scratch, 30_000);
    let ran = scratch.run([
        "sim",
        "long",
        "--speed",
        "max",
        "--journal",
        "journal",
        "--bundle",
        "whole.smbj",
        "--json",
    ]);
    assert!(ran.json()["issued"].as_u64().unwrap() > 30_000, "{ran:?}");
    let before = names(&scratch.path(""));
    for (args, writes) in [
        (["export", "journal", "out.smbj"], "out.smbj."),
        (["import", "whole.smbj", "out"], "out"),
    ] {
        for signal in SIGNALS {
            // It may be done before the signal comes: then all is there.
            let out = scratch.path(args[2]);
            let hit = (0..40).any(|_| {
                let running = Running::start(&scratch, &args, Stdio::null());
                until("something written", || {
                    is_writing(&scratch, &[writes]) || out.exists()
                });
                running.signal(signal);
                let ran = running.end();
                let is_whole = out.exists();
                if is_whole {
                    scratch.run(["show", args[2], "--verify"]).expect(0);
                    let removed = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
                    removed.unwrap();
                } else {
                    interrupted(&ran, &["nothing is left"]);
                }
                assert_eq!(names(&scratch.path("")), before, "{args:?} {ran:?}");
                !is_whole
            });
            assert!(hit, "{args:?} was always done before SIG{signal}");
        }
    }
}

#[test]
fn a_replay_says_how_far_it_came_and_reruns() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    for (signal, more) in SIGNALS.into_iter().zip([&[][..], &["--json"], &[]]) {
        let server = ModelServer::start(["--share", "data"]);
        let args = [
            "replay",
            "work",
            "--server",
            &server.address,
            "--share",
            "data",
            "--prepare",
        ];
        // At this speed it takes hours.
        let slow = [
            "--speed",
            "0.001",
            "--log",
            "trace",
            "--journal",
            signal,
            "--bundle",
            "b.smbj",
        ];
        let mut running =
            Running::start(&scratch, &[&args[..], &slow, more].concat(), Stdio::null());
        running.hear("prepared ");
        // The mark of the root is read, and written.
        running.hear("report=Done");
        running.hear("report=Done");
        running.hear("report=Started");
        running.signal(signal);
        let ran = running.end();
        interrupted(
            &ran,
            &["stopping", "requests were sent, of 347 operations", signal],
        );
        if more.is_empty() {
            assert!(
                ran.out.contains("not sent") && ran.out.contains("whose turn did not come"),
                "{ran:?}"
            );
        } else {
            assert!(
                ran.json()["skipped"]["stopped"].as_u64().unwrap() > 300,
                "{ran:?}"
            );
        }
        for journal in [signal, "b.smbj"] {
            let again = scratch.run(["rerun", journal, "--json"]).expect(0).json();
            assert_eq!(again["identical"], true, "{again:#}");
        }
    }
}

#[test]
fn an_interrupted_preparation_is_the_end_of_a_replay() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    for signal in SIGNALS {
        for verb in ["prepare", "replay"] {
            // Somebody who listens, and never answers.
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = silent.local_addr().unwrap().to_string();
            let journal = format!("{verb}.{signal}");
            let args = [
                verb,
                "work",
                "--server",
                &address,
                "--share",
                "data",
                "--root",
                "r",
                "--journal",
                &journal,
            ];
            // Without a root of our own, whose making comes first and is not recorded.
            let more = if verb == "replay" {
                &["--i-know-this-share-is-mine", "--prepare", "--any-dialect"][..]
            } else {
                &["--i-know-this-share-is-mine"]
            };
            let running = Running::start(&scratch, &[&args[..], more].concat(), Stdio::null());
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = silent.accept().unwrap();
                // The first one only sees whether anybody is there.
                let begun = stream.read(&mut [0; 4]).unwrap() > 0;
                held.push(stream);
                if begun {
                    break;
                }
            }
            running.signal(signal);
            let ran = running.end();
            interrupted(&ran, &["stopping", "requests were sent"]);
            assert!(
                !ran.err.contains("prepared ") && ran.out.is_empty(),
                "{ran:?}"
            );
            let prepared = if verb == "replay" {
                format!("{journal}.prepare")
            } else {
                journal.clone()
            };
            scratch.run(["rerun", &prepared]).expect(0);
            assert!(
                verb == "prepare" || !scratch.path(&journal).exists(),
                "a replay began: {ran:?}"
            );
            // Twice: at once, without an orderly end.
            let running = Running::start(&scratch, &[&args[..8], more].concat(), Stdio::null());
            drop(held);
            at_once(running, &silent, signal);
        }
    }
}

fn at_once(mut running: Running, silent: &TcpListener, signal: &str) {
    let mut held = Vec::new();
    loop {
        let (mut stream, _) = silent.accept().unwrap();
        let begun = stream.read(&mut [0; 4]).unwrap() > 0;
        held.push(stream);
        if begun {
            break;
        }
    }
    running.signal(signal);
    running.hear("stopping");
    running.signal(signal);
    let ran = running.end();
    interrupted(&ran, &[]);
    assert!(ran.out.is_empty(), "{ran:?}");
}

#[test]
fn a_server_ends_in_order() {
    let scratch = Scratch::new();
    for signal in SIGNALS {
        let mut running = Running::start(
            &scratch,
            &["serve", "--listen", "127.0.0.1:0"],
            Stdio::null(),
        );
        let mut out = BufReader::new(running.child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line:?}");
        running.signal(signal);
        running.hear("stopping");
        running.hear("served 0 connections");
        let status = running.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn who_is_to_outlive_the_terminal_does() {
    let scratch = Scratch::new();
    let ran = scratch.shell(
        "trap '' HUP; \"$SMBENCH\" serve --listen 127.0.0.1:0 >out 2>&1 & \
         until grep -q listening out; do sleep .01; done; \
         grep SigIgn /proc/$!/status; kill -TERM $!; wait $!",
    );
    ran.expect(0);
    let mask = ran.out.trim().rsplit('\t').next().unwrap();
    let mask = u64::from_str_radix(mask, 16).unwrap();
    assert_eq!(mask & 1, 1, "SIGHUP is number 1: {ran:?}");
}
