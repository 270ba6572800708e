//! A workload as one file: every verb takes it, nothing is left of it afterwards, and what is not what was
//! written is refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use support::cli::{ModelServer, Ran, Scratch};

const ENVIRONMENT: i32 = 3;
const USAGE: i32 = 2;

/// A workload `w` and the file `w.smbw` of it, and a folder `tmp`.
fn packed(capture: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.compile(capture, "w");
    scratch.run(["pack", "w", "w.smbw"]).expect(0);
    fs::create_dir(scratch.path("tmp")).unwrap();
    scratch
}

/// Runs the binary with `tmp` as the folder for temporary files; nothing may be left there.
#[track_caller]
fn run(scratch: &Scratch, args: &str) -> Ran {
    let ran = scratch.shell(&format!("TMPDIR=$PWD/tmp \"$SMBENCH\" {args}"));
    is_clean(scratch);
    ran
}

#[track_caller]
fn is_clean(scratch: &Scratch) {
    let left: Vec<_> = fs::read_dir(scratch.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn same_files(scratch: &Scratch, a: &str, b: &str) {
    scratch.shell(&format!("diff -r {a} {b}")).expect(0);
}

#[test]
fn every_verb_takes_the_file_for_the_folder() {
    let scratch = packed("leases3_plain.pcap");
    let without = |ran: &Ran, keys: &[&str]| {
        let mut told = ran.expect(0).json();
        for key in keys {
            told.as_object_mut().unwrap().remove(*key).unwrap();
        }
        told
    };
    let both = |args: &str, keys: &[&str]| -> [Value; 2] {
        ["w", "w.smbw"].map(|it| without(&run(&scratch, &args.replace("{}", it)), keys))
    };
    let [a, b] = both("inspect {} --json", &["duration_us"]);
    assert_eq!(a, b);
    let [a, b] = both("inspect {} --why 47 --json", &[]);
    assert_eq!(a, b);
    let timed = ["wall_us", "ops_per_s", "journal", "bundle"];
    let [a, b] = both("sim {} --seed 3 --json --bundle {}.smbj", &timed);
    assert_eq!(a, b);
    let bundle = |name: &str| fs::read(scratch.path(name)).unwrap();
    assert!(bundle("w.smbj") == bundle("w.smbw.smbj"));
    run(&scratch, "slice w --command READ -o slice.a").expect(0);
    run(&scratch, "slice w.smbw --command READ -o slice.b").expect(0);
    same_files(&scratch, "slice.a", "slice.b");
    run(&scratch, "anonymize w --seed 1 -o clean.a").expect(0);
    run(&scratch, "anonymize w.smbw --seed 1 -o clean.b").expect(0);
    same_files(&scratch, "clean.a", "clean.b");
    let server = ModelServer::start(["--share", "s"]);
    let on = format!("--server {} --share s --json", server.address);
    let prepared = run(&scratch, &format!("prepare w.smbw --root r {on}"));
    prepared.expect(0);
    let replayed = run(
        &scratch,
        &format!("replay w.smbw --root r --speed max {on}"),
    );
    let told = replayed.json();
    assert_eq!(told["operations"], 347, "{told:#}");
    // Journals are called after the workload, and not after the file.
    let journal = told["journal"].as_str().unwrap();
    assert!(journal.starts_with("smbench-journals/w-20"), "{journal}");
    run(&scratch, &format!("rerun {journal}")).expect(0);
}

#[test]
fn the_same_folder_gives_the_same_bytes_and_no_file_is_lost_by_it() {
    let scratch = packed("smbclient_dialect_SMB3_11.pcap");
    let first = fs::read(scratch.path("w.smbw")).unwrap();
    scratch.shell("cp -r w v && touch v/ops.jsonl").expect(0);
    fs::write(scratch.path("v/map.json"), "{}").unwrap();
    let told = scratch.run(["pack", "v", "v.smbw", "--json"]);
    told.expect(0).says(&["left out: map.json"]);
    let told = told.json();
    assert_eq!(told["left_out"][0], "map.json");
    assert_eq!(told["packed"], first.len());
    let docs = include_str!("../docs/JSON.md");
    for key in told.as_object().unwrap().keys() {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    assert!(fs::read(scratch.path("v.smbw")).unwrap() == first);
    scratch
        .run(["pack", "v", "w.smbw"])
        .expect(USAGE)
        .says(&["exists", "--force"]);
    scratch.run(["pack", "v", "w.smbw", "--force"]).expect(0);
    scratch.file("notes.txt", "mine");
    for force in [&[][..], &["--force"]] {
        let args = [&["pack", "w", "notes.txt"][..], force].concat();
        scratch
            .run(args)
            .expect(USAGE)
            .says(&["no packed workload"]);
        let args = [&["pack", "w", "v"][..], force].concat();
        scratch.run(args).expect(USAGE);
    }
    assert_eq!(fs::read(scratch.path("notes.txt")).unwrap(), b"mine");
    scratch
        .run(["pack", "w.smbw", "x.smbw"])
        .expect(USAGE)
        .says(&["packed already"]);
    for (from, to) in [("nowhere", "x.smbw"), ("tmp", "x.smbw"), ("w", "no/x.smbw")] {
        scratch.run(["pack", from, to]).expect(ENVIRONMENT);
    }
    // As much as there is room for is no workload.
    let full = scratch.shell("trap '' XFSZ; ulimit -f 1; \"$SMBENCH\" pack w x.smbw");
    full.expect(ENVIRONMENT)
        .says(&["x.smbw", "raise the limit"]);
    let names = scratch.shell("ls -A").out.clone();
    assert_eq!(names, "notes.txt\ntmp\nv\nv.smbw\nw\nw.smbw\n");
}

#[test]
fn what_is_not_what_was_written_is_refused_by_every_verb() {
    let scratch = packed("smbclient_dialect_SMB3_11.pcap");
    let whole = fs::read(scratch.path("w.smbw")).unwrap();
    let verbs = [
        "inspect bad.smbw",
        "sim bad.smbw",
        "slice bad.smbw --command READ -o s",
        "anonymize bad.smbw -o a",
        "prepare bad.smbw --server 127.0.0.1:1 --share s --root r",
        "replay bad.smbw --server 127.0.0.1:1 --share s",
    ];
    let places = [
        0,
        7,
        8,
        200,
        whole.len() / 2,
        whole.len() - 40,
        whole.len() - 1,
    ];
    for at in places {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        for bytes in [&flipped, &whole[..at].to_vec()] {
            scratch.file("bad.smbw", bytes);
            for verb in verbs {
                let ran = run(&scratch, verb);
                ran.expect(ENVIRONMENT).says(&["bad.smbw"]);
                assert!(ran.err.lines().count() > 1, "{at}: no remedy: {ran:#?}");
            }
        }
    }
    for made in ["s", "a", "smbench-journals"] {
        assert!(!scratch.path(made).exists(), "{made}");
    }
    // Sound, and no room for it.
    let ran = scratch.shell("TMPDIR=$PWD/nowhere \"$SMBENCH\" inspect w.smbw");
    ran.expect(ENVIRONMENT).says(&["nowhere", "TMPDIR"]);
    let ran = run(
        &scratch,
        "inspect w.smbw >out; ulimit -f 1; trap '' XFSZ; TMPDIR=$PWD/tmp \"$SMBENCH\" inspect w.smbw",
    );
    ran.expect(ENVIRONMENT).says(&["w.smbw", "raise the limit"]);
}

#[test]
fn nothing_is_left_when_nobody_reads_or_a_signal_comes() {
    let scratch = packed("collab6_seed1.pcap");
    let told = run(&scratch, "inspect w.smbw --dot | head -1");
    assert!(told.out.starts_with("digraph"), "{told:?}");
    // Nobody reads what it says: it cannot come to its end.
    for signal in ["INT", "TERM"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smbench"))
            .args(["inspect", "w.smbw", "--dot"])
            .current_dir(scratch.path(""))
            .env("TMPDIR", scratch.path("tmp"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let is_there = || fs::read_dir(scratch.path("tmp")).unwrap().next().is_some();
        for _ in 0..6_000 {
            if is_there() {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        assert!(is_there());
        let id = child.id();
        scratch.shell(&format!("kill -{signal} {id}")).expect(0);
        let out = child.stdout.take();
        let ended = child.wait_with_output().unwrap();
        drop(out);
        Ran::of(&ended).expect(130);
        is_clean(&scratch);
    }
}
