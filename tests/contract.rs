//! The machine-readable contract: what `--json` prints, what the exit code says, and what a journal
//! proves, on captures that ship with the project.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use smbench_core::event::{EffectsDigest, Entry, Input};
use smbench_core::ids::ShardId;
use smbench_journal::{BundleWriter, Journal};

use support::cli::{ModelServer, Ran, Scratch, capture};

const SMALL: &str = "smbclient_dialect_SMB3_11.pcap";
const WORKLOAD: &[&str] = &[
    "format",
    "captures",
    "frames",
    "requests_seen",
    "operations",
    "responses",
    "by_command",
    "reencoded_exact",
    "reencoded_total",
    "skipped",
    "inferred",
    "clients",
    "sessions",
    "trees",
    "files",
    "edges",
    "duration_us",
];
const RUN: &[&str] = &[
    "operations",
    "issued",
    "matched",
    "diverged",
    "cascaded",
    "unanswered",
    "ops_per_s",
    "latency_us",
    "late_us",
    "late_by",
    "journal",
    "effects_digest",
];
const RERUN: &[&str] = &[
    "events",
    "identical",
    "verdict",
    "complete",
    "damage",
    "engine",
    "first_mismatch",
    "events_per_s",
    "effects_digest",
];
const DIFF: &[&str] = &["same", "compared", "causes", "consequences", "timing_only"];

#[track_caller]
fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no {key:?} in {value:#}");
    }
}

#[track_caller]
fn number(value: &Value, key: &str) -> u64 {
    let found = value[key].as_u64();
    found.unwrap_or_else(|| panic!("{key} is no number in {value:#}"))
}

/// 0 where nothing diverged, 1 where something did: and the summary says the same.
#[track_caller]
fn run_summary(ran: &Ran) -> Value {
    let told = ran.json();
    has(&told, RUN);
    has(&told["latency_us"], &["p50", "p90", "p99", "max"]);
    has(&told["late_us"], &["p50", "p99", "max"]);
    has(
        &told["late_by"],
        &["causality", "credits", "server", "replayer"],
    );
    let diverged = !told["diverged"].as_object().unwrap().is_empty() || told["cascaded"] != 0;
    assert_eq!(ran.code, Some(i32::from(diverged)), "{ran:#?}");
    assert!(!ran.err.contains("panicked"), "{ran:#?}");
    assert!(number(&told, "matched") <= number(&told, "issued"));
    assert!(number(&told, "issued") <= number(&told, "operations"));
    told
}

#[test]
fn compile_and_inspect_tell_the_same() {
    let scratch = Scratch::new();
    for name in [SMALL, "leases3_plain.pcap", "collab6_seed1.pcap"] {
        let from = capture(name);
        let args = ["compile", from.to_str().unwrap(), "-o", name, "--json"];
        let mut compiled = scratch.run(args).expect(0).json();
        let mut inspected = scratch.run(["inspect", name, "--json"]).expect(0).json();
        has(&compiled, WORKLOAD);
        assert_eq!(compiled["captures"], serde_json::json!([name]));
        assert_eq!(compiled["reencoded_exact"], compiled["reencoded_total"]);
        let commands = compiled["by_command"].as_object().unwrap().values();
        let sum: u64 = commands.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, number(&compiled, "operations"));
        for told in [&mut compiled, &mut inspected] {
            told["duration_us"].take();
        }
        // What `compile` tells, `inspect` tells too, and more.
        for (key, value) in compiled.as_object().unwrap() {
            assert_eq!(value, &inspected[key], "{key}");
        }
        scratch.run(["inspect", name]).expect(0);
    }
}

/// The model server holds of a file what a preparation would write, not as many bytes as it has.
#[test]
fn a_simulation_holds_no_long_files_in_memory() {
    let scratch = Scratch::new();
    let work = scratch.compile(SMALL, "work");
    let before = scratch.run(["sim", "work", "--seed", "7", "--json"]);
    let long = r#"{"share":"data2","path":"long","kind":"file","size":1099511627776,"seen_by":0}"#;
    let namespace = work.join("namespace.jsonl");
    let mut lines = fs::read_to_string(&namespace).unwrap();
    lines.push_str(long);
    lines.push('\n');
    fs::write(&namespace, lines).unwrap();
    let begun = std::time::Instant::now();
    let ran = scratch.run(["sim", "work", "--seed", "7", "--json"]);
    assert_eq!(ran.code, before.code, "{}", ran.err);
    assert_eq!(ran.json()["matched"], before.json()["matched"]);
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[test]
fn a_simulation_is_recorded_rerun_and_carried_around() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let args = ["sim", "w", "--seed", "7", "--journal", "j"];
    let ran = scratch.run([&args[..], &["--bundle", "b.smbj", "--json"]].concat());
    let told = run_summary(&ran);
    has(&told, &["seed", "sim_time_us", "steps"]);
    assert_eq!((&told["seed"], &told["journal"]), (&7.into(), &"j".into()));

    let digest = &told["effects_digest"];
    let mut events = Vec::new();
    for journal in ["j", "b.smbj"] {
        let again = scratch.run(["rerun", journal, "--json"]).expect(0).json();
        has(&again, RERUN);
        assert_eq!(again["identical"], true);
        assert!(again["first_mismatch"].is_null());
        assert_eq!(&again["effects_digest"], digest);
        events.push(number(&again, "events"));
        let lines = scratch.run(["show", journal, "--json"]);
        lines.expect(0);
        let objects = lines.out.lines().map(serde_json::from_str::<Value>);
        assert!(objects.map(Result::unwrap).count() > 300);
    }
    assert_eq!(events[0], events[1]);

    let told = scratch
        .run(["export", "j", "e.smbj", "--json"])
        .expect(0)
        .json();
    assert_eq!(number(&told, "events"), events[0]);
    let told = scratch
        .run(["import", "e.smbj", "i", "--json"])
        .expect(0)
        .json();
    assert_eq!(number(&told, "events"), events[0]);
    scratch.run(["export", "i", "i.smbj"]).expect(0);
    let bytes = |name| fs::read(scratch.path(name)).unwrap();
    assert!(
        bytes("b.smbj") == bytes("e.smbj"),
        "bundle and export differ"
    );
    assert!(bytes("e.smbj") == bytes("i.smbj"), "import loses something");

    let told = scratch.run(["diff", "j", "i", "--json"]).expect(0).json();
    has(&told, DIFF);
    assert_eq!(told["same"], true);
}

#[test]
fn a_replay_over_tcp_is_recorded_and_rerun() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    let server = ModelServer::start(["--share", "data"]);
    let args = [
        "replay",
        "w",
        "--server",
        &server.address,
        "--share",
        "data",
    ];
    let more = [
        "--prepare",
        "--speed",
        "max",
        "--journal",
        "j",
        "--bundle",
        "b.smbj",
        "--json",
    ];
    let told = run_summary(&scratch.run([&args[..], &more].concat()));
    assert_eq!(told["issued"], 40, "{told:#}");
    assert_eq!(told["cascaded"], 0, "{told:#}");
    assert_eq!(told["unanswered"], 0, "{told:#}");
    for journal in ["j", "b.smbj"] {
        let again = scratch.run(["rerun", journal, "--json"]).expect(0).json();
        assert_eq!(again["identical"], true, "{again:#}");
        assert_eq!(again["effects_digest"], told["effects_digest"]);
    }
    // Once more, onto the same share: the same answers.
    let more = ["--prepare", "--speed", "max", "--journal", "k", "--json"];
    run_summary(&scratch.run([&args[..], &more].concat()));
    let told = scratch.run(["diff", "j", "k", "--json"]).expect(0).json();
    has(&told, DIFF);
    assert_eq!(told["causes"], serde_json::json!([]));
}

#[test]
fn users_log_in_with_ntlm() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    let password = scratch.file("password", "*=pass word=1\n");
    let lines = scratch.file("lines", "other=no\nalice=pass word=1\n");
    let user = ["--share", "data", "--user", "alice", "--password-file"];
    let server = |more: &[&str]| {
        let args = user.into_iter().chain([password.to_str().unwrap()]);
        ModelServer::start(args.chain(more.iter().copied()))
    };
    for (more, file) in [
        (&[][..], &lines),
        (&["--signing-required"][..], &lines),
        (&["--encrypt-required"][..], &lines),
    ] {
        let server = server(more);
        let args = ["replay", "w", "--server", &server.address, "--speed", "max"];
        let login = user.into_iter().chain([file.to_str().unwrap()]);
        let args = args.into_iter().chain(login);
        let told = run_summary(&scratch.run(args.chain(["--prepare", "--json"])));
        assert_eq!(told["issued"], 40, "{more:?} {told:#}");
        assert_eq!(told["cascaded"], 0, "{more:?} {told:#}");
        let journal = told["journal"].as_str().unwrap();
        scratch.run(["rerun", journal]).expect(0);
        // No journal ever holds a password.
        let export = ["export", journal, "secret.smbj"];
        scratch.run(export).expect(0);
        let shown = scratch.run(["show", "secret.smbj", "--json"]).out;
        assert!(!shown.contains("pass word"));
        fs::remove_file(scratch.path("secret.smbj")).unwrap();
    }
}

#[test]
fn a_changed_input_byte_is_found_by_its_place() {
    let scratch = Scratch::new();
    for name in [SMALL, "leases3_plain.pcap"] {
        scratch.compile(name, "w");
        scratch.run(["sim", "w", "--seed", "1", "--bundle", "b.smbj"]);
        let journal = Journal::open(scratch.path("b.smbj")).unwrap();
        let changeable: Vec<u64> = journal
            .entries(ShardId(0))
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| is_created(&entry.input))
            .map(|entry| entry.seq)
            .collect();
        assert!(changeable.len() >= 5, "{changeable:?}");
        for seq in [changeable[0], changeable[changeable.len() / 2]] {
            let path = scratch.path("changed.smbj");
            change_status(&journal, seq, &path);
            let ran = scratch.run(["rerun", "changed.smbj", "--json"]);
            let told = ran.expect(1).json();
            has(&told, RERUN);
            assert_eq!(told["identical"], false, "{told:#}");
            assert_eq!(told["verdict"], "nondeterministic", "{told:#}");
            assert_eq!(told["first_mismatch"]["seq"], seq, "{told:#}");
            let ran = scratch.run(["rerun", "changed.smbj"]);
            ran.expect(1);
            assert!(ran.out.contains(&format!("input {seq} ")), "{ran:#?}");
            fs::remove_file(path).unwrap();
        }
        drop(journal);
        fs::remove_dir_all(scratch.path("w")).unwrap();
        fs::remove_file(scratch.path("b.smbj")).unwrap();
    }
}

/// A successful CREATE response.
fn is_created(input: &Input) -> bool {
    let Input::Received { frame, .. } = input else {
        return false;
    };
    frame.bytes.get(8..14) == Some(&[0, 0, 0, 0, 5, 0])
}

/// The same journal, but the answer `seq` has STATUS_OBJECT_NAME_NOT_FOUND for one byte's sake.
fn change_status(journal: &Journal, seq: u64, to: &Path) {
    let mut bundle = BundleWriter::create(to, journal.meta()).unwrap();
    for name in journal.attachments().unwrap() {
        let data = journal.attachment(&name).unwrap();
        bundle.attach(&name, &data).unwrap();
    }
    for stored in journal.entries(ShardId(0)).unwrap() {
        let stored = stored.unwrap();
        let short = EffectsDigest(u64::from(stored.before));
        let mut entry = Entry {
            seq: stored.seq,
            now: stored.now,
            before: stored.block_before.unwrap_or(short),
            input: stored.input,
        };
        if entry.seq == seq
            && let Input::Received { frame, .. } = &mut entry.input
        {
            // The highest byte of the status: from success to an error.
            frame.bytes[11] ^= 0xc0;
        }
        bundle.record(ShardId(0), &entry).unwrap();
    }
    let after = journal.finish_digest(ShardId(0)).unwrap();
    bundle.finish_shard(ShardId(0), after).unwrap();
    bundle.end_file().unwrap();
}

#[test]
fn a_planted_bug_is_named_by_diff() {
    let scratch = Scratch::new();
    for name in ["collab6_seed1.pcap", "leases3_plain.pcap"] {
        let work = scratch.compile(name, name);
        for (bundle, plant) in [("plain", None), ("planted", Some("ignore-share-mode"))] {
            let bundle = format!("{name}.{bundle}.smbj");
            let args = ["sim", name, "--speed", "max", "--json", "--bundle", &bundle];
            let plant = plant.into_iter().flat_map(|plant| ["--plant", plant]);
            run_summary(&scratch.run(args.into_iter().chain(plant)));
        }
        let (a, b) = (format!("{name}.plain.smbj"), format!("{name}.planted.smbj"));
        let told = scratch.run(["diff", &a, &b, "--json"]).expect(1).json();
        has(&told, DIFF);
        assert_eq!(told["same"], false);
        let causes = told["causes"].as_array().unwrap();
        let operations: Vec<Value> = fs::read_to_string(work.join("ops.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for cause in causes {
            has(cause, &["operation", "what", "a", "b", "frame"]);
        }
        // The first cause is an open that a share mode refused, in the recording too.
        let first = &causes[0];
        assert_eq!(first["a"], "SHARING_VIOLATION", "{first:#}");
        assert_eq!(first["b"], "SUCCESS", "{first:#}");
        let at = usize::try_from(number(first, "operation")).unwrap();
        let recorded = &operations[at]["expect"]["status"];
        let violation = smbench_core::smb2::NtStatus::SHARING_VIOLATION;
        let as_stored = serde_json::to_value(violation).unwrap();
        assert_eq!(recorded, &as_stored, "{:#}", operations[at]);
        assert_eq!(first["frame"], operations[at]["frame"]);
    }
}
