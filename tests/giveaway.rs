//! Journals that are given away: nothing of an original is in them, they rerun, and they tell of the run what
//! the original told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use smbench_core::confine::Gate;
use smbench_core::drive::Drive;
use smbench_core::engine::Engine;
use smbench_core::event::{EffectsDigest, Entry, Input, Output};
use smbench_core::frame::Content;
use smbench_core::ids::ShardId;
use smbench_journal::rerun::Recipe;
use smbench_journal::{BundleWriter, Journal};
use support::cli::{ModelServer, Scratch};

/// A workload, and what `anonymize` makes of it: `w`, `clean`, `map.json`.
fn anonymized(capture: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.compile(capture, "w");
    let args = "anonymize w -o clean --seed 5 --map map.json";
    scratch.run(args.split(' ')).expect(0);
    scratch
}

fn export(scratch: &Scratch, from: &str, to: &str) {
    let args = ["--anonymize", "clean", "--map", "map.json"];
    scratch
        .run([&["export", from, to][..], &args].concat())
        .expect(0);
}

/// Everything that a journal holds, unpacked.
struct Unpacked {
    /// Metadata.
    texts: Vec<u8>,
    /// What the server sent.
    frames: Vec<u8>,
    digests: BTreeSet<[u8; 32]>,
}

fn content(scratch: &Scratch, name: &str) -> Unpacked {
    let journal = Journal::open(scratch.path(name)).unwrap();
    let texts = serde_json::to_vec(journal.meta()).unwrap();
    let (mut frames, mut digests) = (Vec::new(), BTreeSet::new());
    for stored in journal.entries(ShardId(0)).unwrap() {
        if let Input::Received { frame, .. } = stored.unwrap().input {
            frames.extend(&frame.bytes);
            let data = frame.cuts.iter().filter_map(|cut| match cut.content {
                Content::Data(digest) => Some(digest.0),
                Content::Token => None,
            });
            digests.extend(data);
        }
    }
    Unpacked {
        texts,
        frames,
        digests,
    }
}

/// What a journal takes along is the anonymized workload, in which `tests/anonymize` finds nothing.
fn has_the_clean_workload(scratch: &Scratch, name: &str) {
    let journal = Journal::open(scratch.path(name)).unwrap();
    let names = journal.attachments().unwrap();
    assert_eq!(names, ["ops.jsonl", "workload.json"]);
    for name in names {
        let clean = fs::read(scratch.path("clean").join(&name)).unwrap();
        assert!(journal.attachment(&name).unwrap() == clean, "{name}");
    }
}

/// What of an original is looked for in a journal.
struct Secrets {
    words: BTreeSet<String>,
    keys: BTreeSet<Vec<u8>>,
    digests: BTreeSet<[u8; 32]>,
}

impl Secrets {
    /// Words of the map, and those of `more`; lease keys and digests of the workload.
    fn of(scratch: &Scratch, more: &[&str]) -> Self {
        let map: Value =
            serde_json::from_slice(&fs::read(scratch.path("map.json")).unwrap()).unwrap();
        let mut words: BTreeSet<String> = ["users", "shares", "addresses", "words"]
            .iter()
            .flat_map(|kind| map[kind].as_object().unwrap().keys())
            .map(|word| word.to_lowercase())
            .collect();
        words.extend(more.iter().map(|it| (*it).to_owned()));
        words.retain(|word| word.chars().count() >= 4);
        let operations =
            |folder: &str| fs::read_to_string(scratch.path(folder).join("ops.jsonl")).unwrap();
        let (mut keys, mut digests, mut clean) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for line in operations("w").lines() {
            gather(
                &serde_json::from_str(line).unwrap(),
                &mut keys,
                &mut digests,
            );
        }
        for line in operations("clean").lines() {
            gather(
                &serde_json::from_str(line).unwrap(),
                &mut BTreeSet::new(),
                &mut clean,
            );
        }
        // Zeros stay zeros.
        let digests = digests.difference(&clean).copied().collect();
        Self {
            words,
            keys,
            digests,
        }
    }

    fn found(&self, content: &Unpacked) -> Vec<String> {
        let holds = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).any(|it| it == needle);
        let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
        let (texts, frames) = (lower(&content.texts), lower(&content.frames));
        let mut found = Vec::new();
        for word in &self.words {
            let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let in_texts = holds(&texts, word.as_bytes());
            let in_frames =
                holds(&frames, &wide) || word.len() >= 7 && holds(&frames, word.as_bytes());
            if in_texts || in_frames {
                found.push(word.clone());
            }
        }
        for key in &self.keys {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            if holds(&content.frames, key) || holds(&texts, hex.as_bytes()) {
                found.push(hex);
            }
        }
        let digests = content.digests.intersection(&self.digests);
        found.extend(digests.map(|digest| format!("{digest:?}")));
        found
    }
}

fn gather(value: &Value, keys: &mut BTreeSet<Vec<u8>>, digests: &mut BTreeSet<[u8; 32]>) {
    let bytes = |text: &str| -> Option<Vec<u8>> {
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
            .collect()
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str().and_then(bytes)) {
                    ("key" | "parent_key", Some(key)) if key.len() == 16 => drop(keys.insert(key)),
                    ("blake3", Some(digest)) => {
                        digests.insert(digest.try_into().unwrap());
                    }
                    _ => gather(value, keys, digests),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| gather(it, keys, digests)),
        _ => {}
    }
}

/// What is told of a run: all but where it lies and what its effects hash to.
fn told(scratch: &Scratch, name: &str) -> Value {
    let told = scratch.run(["report", name, "--json"]).expect(0).json();
    let mut run = told["runs"][0].clone();
    for (key, value) in run.as_object_mut().unwrap() {
        if matches!(key.as_str(), "journal" | "effects_digest" | "root") {
            *value = Value::Null;
        }
    }
    for item in ["divergences", "stalls"] {
        for it in run[item].as_array_mut().unwrap() {
            it["path"] = Value::Null;
        }
    }
    run
}

#[test]
fn simulated_runs_are_given_away_without_a_word_and_tell_the_same() {
    for capture in [
        "leases3_plain.pcap",
        "smbclient_files.pcap",
        "smbclient_dialect_SMB2_02.pcap",
    ] {
        let scratch = anonymized(capture);
        let plant = ["--plant", "ignore-share-mode"];
        for (name, more) in [("a", &[][..]), ("b", &plant)] {
            let args = ["sim", "w", "--speed", "max", "--journal", name];
            scratch.run([&args[..], more].concat());
            export(&scratch, name, &format!("{name}.smbj"));
        }
        let secrets = Secrets::of(&scratch, &[capture]);
        assert!(secrets.words.len() > 2, "{capture}");
        for name in ["a", "b"] {
            let given = format!("{name}.smbj");
            has_the_clean_workload(&scratch, &given);
            let found = secrets.found(&content(&scratch, &given));
            assert!(found.is_empty(), "{capture}, {name}: {found:#?}");
            // The search finds what is there.
            let there = secrets.found(&content(&scratch, name));
            assert!(there.len() > 2, "{capture}, {name}: {there:#?}");
            let again = scratch.run(["rerun", &given, "--json"]).expect(0).json();
            assert_eq!(again["verdict"], "identical");
            assert_eq!(again["complete"], true);
            assert_eq!(
                told(&scratch, &given),
                told(&scratch, name),
                "{capture}, {name}"
            );
            scratch.run(["show", "--verify", &given]).expect(0);
            scratch.run(["show", &given]).expect(0);
        }
        let diff = |a: &str, b: &str| {
            let told = scratch.run(["diff", a, b, "--json"]).json();
            let causes = told["causes"].as_array().unwrap().clone();
            let part =
                |it: &Value| [&it["operation"], &it["what"], &it["a"], &it["b"]].map(Clone::clone);
            causes.iter().map(part).collect::<Vec<_>>()
        };
        assert_eq!(diff("a.smbj", "b.smbj"), diff("a", "b"), "{capture}");
        // Listings have the names of the anonymized workload.
        let map = fs::read(scratch.path("map.json")).unwrap();
        let map: Value = serde_json::from_slice(&map).unwrap();
        let frames = ["a", "a.smbj"].map(|name| content(&scratch, name).frames);
        let holds = |frames: &[u8], word: &str| {
            let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
            frames.windows(wide.len()).any(|it| it == wide)
        };
        let words = map["words"].as_object().unwrap().iter();
        let listed: Vec<_> = words
            .filter(|(word, _)| word.len() >= 4 && holds(&frames[0], word))
            .map(|(word, made)| (word, holds(&frames[1], made.as_str().unwrap())))
            .collect();
        println!("{capture}: {listed:?}");
        assert!(listed.iter().any(|(_, is_there)| *is_there), "{capture}");
        // It is a run of the anonymized workload, and is compared with others of it.
        scratch
            .run("sim clean --speed max --bundle c.smbj".split(' '))
            .expect(0);
        scratch.run(["diff", "a.smbj", "c.smbj"]).expect(0);
    }
}

/// The captures that ship, and the small ones of the shared set where it is there.
#[test]
fn runs_of_all_small_captures_are_given_away_and_tell_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut captures = Vec::new();
    for folder in [
        "tests/captures",
        "../shared/captures/own",
        "../shared/captures/public",
    ] {
        // The shared set need not be there.
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let small = entry.metadata().unwrap().len() <= 32 << 10;
            if small && (name.ends_with(".pcap") || name.ends_with(".pcapng")) {
                captures.push(entry.path());
            }
        }
    }
    captures.sort();
    let (mut given, mut events) = (0, 0);
    for capture in captures {
        let scratch = Scratch::new();
        let path = capture.to_string_lossy();
        if scratch.run(["compile", &path, "-o", "w"]).code != Some(0) {
            continue;
        }
        let args = "anonymize w -o clean --map map.json";
        scratch.run(args.split(' ')).expect(0);
        let args = "sim w --speed max --plant ignore-share-mode --journal j --min-coverage 0";
        scratch.run(args.split(' '));
        export(&scratch, "j", "given.smbj");
        let told_again = told(&scratch, "given.smbj");
        assert_eq!(told_again, told(&scratch, "j"), "{path}");
        given += 1;
        events += told_again["issued"].as_u64().unwrap();
    }
    println!("{given} runs of {events} requests");
    assert!(given >= 5 && events > 100);
}

#[test]
fn the_same_journal_and_map_give_the_same_bytes_and_a_packed_workload_does() {
    let scratch = anonymized("leases3_plain.pcap");
    scratch
        .run("sim w --speed max --journal j".split(' '))
        .expect(0);
    scratch.run("pack clean clean.smbw".split(' ')).expect(0);
    export(&scratch, "j", "a.smbj");
    let args = "export j b.smbj --anonymize clean.smbw --map map.json --json";
    let told = scratch.run(args.split(' ')).expect(0).json();
    assert!(told["events"].as_u64().unwrap() > 300, "{told:#}");
    let bytes = |name: &str| fs::read(scratch.path(name)).unwrap();
    assert!(bytes("a.smbj") == bytes("b.smbj"));
}

#[test]
fn a_live_run_is_given_away_without_server_share_root_time_and_command_line() {
    let scratch = anonymized("leases3_plain.pcap");
    let server = ModelServer::start(["--share", "quarterly"]);
    let replay = format!(
        "replay w --server {} --share quarterly --root falcon\\run --prepare --speed max --journal j",
        server.address
    );
    let ran = scratch.run(replay.split(' '));
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    export(&scratch, "j", "given.smbj");
    let secrets = Secrets::of(&scratch, &["127.0.0.1", "quarterly", "falcon", "--server"]);
    has_the_clean_workload(&scratch, "given.smbj");
    let found = secrets.found(&content(&scratch, "given.smbj"));
    assert!(found.is_empty(), "{found:#?}");
    let there = secrets.found(&content(&scratch, "j"));
    for word in ["127.0.0.1", "quarterly", "falcon", "--server"] {
        assert!(there.iter().any(|it| it == word), "{word}");
    }
    let summary = scratch
        .run("show --summary given.smbj --json".split(' '))
        .json();
    assert_eq!(
        summary["meta"]["started_unix_ns"],
        Value::Null,
        "{summary:#}"
    );
    let facts = summary["meta"]["facts"].as_object().unwrap();
    let names: Vec<&String> = facts.keys().collect();
    assert_eq!(names, ["server", "verb"], "{facts:?}");
    scratch.run(["rerun", "given.smbj"]).expect(0);
    assert_eq!(told(&scratch, "given.smbj"), told(&scratch, "j"));
    // A preparation is a run of nothing that was recorded.
    let args = "export j.prepare p.smbj --anonymize clean --map map.json";
    scratch
        .run(args.split(' '))
        .expect(3)
        .says(&["is no run of the workload"]);
}

#[test]
fn what_does_not_belong_together_is_refused_and_nothing_is_written() {
    let scratch = anonymized("smbclient_dialect_SMB3_11.pcap");
    scratch.compile("leases3_plain.pcap", "v");
    scratch
        .run("anonymize v -o other --map other.json".split(' '))
        .expect(0);
    scratch
        .run("sim w --speed max --journal j --bundle j.smbj".split(' '))
        .expect(0);
    scratch
        .run("sim v --speed max --journal k".split(' '))
        .expect(0);
    let older = r#"{"users":{},"shares":{},"addresses":{},"words":{}}"#;
    scratch.file("older.json", older);
    scratch.file("text.json", "no map");
    scratch.file("there.smbj", "mine");
    let whole = fs::read(scratch.path("j.smbj")).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    scratch.file("bad.smbj", flipped);
    other_answer(&scratch, "j.smbj", "changed.smbj");
    for (args, code, says) in [
        ("j x.smbj --anonymize clean", 2, "--map"),
        ("j x.smbj --map map.json", 2, "--anonymize"),
        ("j x.smbj --anonymize nowhere --map map.json", 3, "nowhere"),
        (
            "j x.smbj --anonymize clean --map nowhere.json",
            3,
            "nowhere.json",
        ),
        ("j x.smbj --anonymize clean --map text.json", 3, "is no map"),
        (
            "j x.smbj --anonymize clean --map older.json",
            3,
            "of which workload",
        ),
        (
            "j x.smbj --anonymize w --map map.json",
            3,
            "is not the workload",
        ),
        (
            "j x.smbj --anonymize other --map map.json",
            3,
            "is not the workload",
        ),
        (
            "j x.smbj --anonymize other --map other.json",
            3,
            "is no run of",
        ),
        (
            "k x.smbj --anonymize clean --map map.json",
            3,
            "is no run of",
        ),
        (
            "j there.smbj --anonymize clean --map map.json",
            3,
            "exists already",
        ),
        (
            "bad.smbj x.smbj --anonymize clean --map map.json",
            1,
            "damaged",
        ),
        (
            "changed.smbj x.smbj --anonymize clean --map map.json",
            3,
            "does not run again",
        ),
    ] {
        let ran = scratch.run(format!("export {args}").split(' '));
        ran.expect(code).says(&[says]);
        assert!(!scratch.path("x.smbj").exists(), "{args}");
    }
    assert_eq!(fs::read(scratch.path("there.smbj")).unwrap(), b"mine");
    let left = scratch.shell("ls -A | grep -c part").out.clone();
    assert_eq!(left.trim(), "0");
}

/// A server says of a pipe's share what it is in an answer of no known form: without it the run would send
/// nothing to that share.
#[test]
fn a_run_that_would_go_another_way_is_refused_by_the_event() {
    let scratch = anonymized("smbclient_dialect_SMB3_11.pcap");
    let server = ModelServer::start(["--share", "s"]);
    let replay = format!(
        "replay w --server {} --share s --prepare --speed max --journal j --min-coverage 0",
        server.address
    );
    let ran = scratch.run(replay.split(' '));
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    export(&scratch, "j", "given.smbj");
    misshapen(&scratch, "j", "odd.smbj");
    let again = scratch
        .run(["rerun", "odd.smbj", "--json"])
        .expect(0)
        .json();
    assert_eq!(again["verdict"], "identical", "{again:#}");
    let args = "export odd.smbj x.smbj --anonymize clean --map map.json";
    let told = scratch.run(args.split(' '));
    told.expect(3).says(&[
        "nothing was written to x.smbj",
        "odd.smbj cannot be anonymized",
        "an answer to TREE_CONNECT",
        "give that away",
    ]);
    assert!(!scratch.path("x.smbj").exists());
}

/// The journal of a run whose server gives the answers about pipes' shares a length that they do not have.
fn misshapen(scratch: &Scratch, from: &str, to: &str) {
    let journal = Journal::open(scratch.path(from)).unwrap();
    let recipe = Recipe::of(&journal).unwrap();
    let plan = recipe.plan(|_| true, |_| {}).unwrap();
    let mut bundle = BundleWriter::create(scratch.path(to), journal.meta()).unwrap();
    for name in journal.attachments().unwrap() {
        bundle
            .attach(&name, &journal.attachment(&name).unwrap())
            .unwrap();
    }
    let engine = Engine::new(plan, recipe.config.clone());
    let mut drive = Drive::new(engine, bundle.shard(ShardId(0)), Gate::open());
    let mut changed = 0;
    for stored in journal.entries(ShardId(0)).unwrap() {
        let stored = stored.unwrap();
        let mut input = stored.input;
        if let Input::Received { frame, .. } = &mut input {
            let of_pipe = frame.bytes[12] == 3 && frame.bytes.get(66) == Some(&2);
            if of_pipe {
                frame.bytes[64] = 17;
                changed += 1;
            }
        }
        drive.take(stored.now, input).unwrap();
        while let Output::Do(_) = drive.poll() {}
    }
    drive.finish().unwrap();
    drop(drive);
    bundle.end_file().unwrap();
    assert!(changed > 0);
}

/// The same journal, with another status in one answer.
fn other_answer(scratch: &Scratch, from: &str, to: &str) {
    let journal = Journal::open(scratch.path(from)).unwrap();
    let mut bundle = BundleWriter::create(scratch.path(to), journal.meta()).unwrap();
    for name in journal.attachments().unwrap() {
        bundle
            .attach(&name, &journal.attachment(&name).unwrap())
            .unwrap();
    }
    let mut changed = false;
    for stored in journal.entries(ShardId(0)).unwrap() {
        let stored = stored.unwrap();
        let mut input = stored.input;
        if let Input::Received { frame, .. } = &mut input
            && stored.seq > 10
            && !changed
        {
            frame.bytes[11] ^= 0xc0;
            changed = true;
        }
        let short = EffectsDigest(u64::from(stored.before));
        let entry = Entry {
            seq: stored.seq,
            now: stored.now,
            before: stored.block_before.unwrap_or(short),
            input,
        };
        bundle.record(ShardId(0), &entry).unwrap();
    }
    let after = journal.finish_digest(ShardId(0)).unwrap();
    bundle.finish_shard(ShardId(0), after).unwrap();
    bundle.end_file().unwrap();
    assert!(changed);
}
