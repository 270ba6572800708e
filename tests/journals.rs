//! Journals on bad disks, damaged, of another engine, or still being written: a clear answer, the
//! exit code for it, never a panic or a wait without end, and never a sound verdict.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use smbench_core::event::EffectsDigest;
use smbench_core::ids::ShardId;
use smbench_journal::{BundleWriter, Journal, RunMeta};
use support::cli::{ModelServer, Ran, Scratch};

const DAMAGED: i32 = 1;
const ENVIRONMENT: i32 = 3;
const SMALL: &str = "smbclient_dialect_SMB3_11.pcap";

/// Ends what takes longer than a minute, with 124.
const LIMIT: &str = "timeout -k 5 60 \"$SMBENCH\"";

fn is_there(scratch: &Scratch, name: &str) -> bool {
    scratch.path(name).exists()
}

#[test]
fn a_journal_on_a_full_disk_ends_at_once_and_what_was_recorded_reruns() {
    let scratch = Scratch::new();
    scratch.compile("collab6_seed1.pcap", "w");
    let (mut not_begun, mut cut_short, mut whole, mut most) = (0, 0, 0, 0);
    // Files may not grow beyond so many KiB: a write that fails, without a mount. Below 4 KiB, not
    // even the journal's first page.
    for kib in (1..=121).step_by(5) {
        let ran = scratch.shell(&format!(
            "trap '' XFSZ; ulimit -f {kib}; {LIMIT} sim w --speed max --journal j"
        ));
        if ran.code == Some(0) {
            whole += 1;
        } else {
            ran.expect(ENVIRONMENT)
                .says(&["the journal j", "--journal"]);
        }
        if is_there(&scratch, "j") {
            let again = scratch.run(["rerun", "j", "--json"]).expect(0).json();
            assert_eq!(again["verdict"], "identical", "{again:#}");
            assert_eq!(again["complete"], ran.code == Some(0), "{again:#}");
            let events = again["events"].as_u64().unwrap();
            assert!(events >= most, "{kib} KiB: {events} events, {most} before");
            most = events;
            if ran.code == Some(ENVIRONMENT) {
                ran.says(&["smbench rerun j"]);
                cut_short += 1;
            }
            fs::remove_dir_all(scratch.path("j")).unwrap();
        } else {
            ran.expect(ENVIRONMENT).says(&["was not begun"]);
            not_begun += 1;
        }
    }
    println!("{not_begun} not begun, {cut_short} cut short, {whole} whole");
    assert!(not_begun > 0 && cut_short > 0 && whole > 0 && most > 1_000);
}

#[test]
fn a_live_run_on_a_full_disk_ends_as_environment() {
    let scratch = Scratch::new();
    scratch.compile("collab6_seed1.pcap", "w");
    let server = ModelServer::start(["--share", "s"]);
    let mut cut_short = 0;
    for kib in [44, 48, 52, 56] {
        let ran = scratch.shell(&format!(
            "trap '' XFSZ; ulimit -f {kib}; {LIMIT} replay w --server {} --share s --prepare \
             --speed max --journal j{kib}",
            server.address
        ));
        ran.expect(ENVIRONMENT).says(&["--journal"]);
        let name = format!("j{kib}");
        if is_there(&scratch, &name) {
            let again = scratch.run(["rerun", &name, "--json"]).expect(0).json();
            assert_eq!(again["verdict"], "identical", "{again:#}");
            assert_eq!(again["complete"], false, "{again:#}");
            cut_short += 1;
        }
    }
    assert!(cut_short > 0);
}

#[test]
fn a_journal_that_cannot_be_written_is_read() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.run(["sim", "w", "--journal", "j"]).expect(0);
    // Whoever reads it may write no file at all, not a byte.
    for command in ["rerun j", "show j", "show --verify j", "diff j j"] {
        let ran = scratch.shell(&format!(
            "chmod -R a-w j; trap '' XFSZ; ulimit -f 0; \"$SMBENCH\" {command}"
        ));
        ran.expect(0);
        assert!(ran.err.is_empty(), "{ran:#?}");
    }
    scratch.shell("chmod -R u+w j").expect(0);
}

#[test]
fn an_older_journal_is_read_from_a_copy_that_is_removed() {
    let scratch = Scratch::new();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals/v1/sample");
    let line = format!(
        "mkdir tmp; TMPDIR=$PWD/tmp \"$SMBENCH\" show --verify {}; ls tmp",
        old.display()
    );
    let ran = scratch.shell(&line);
    ran.expect(0).says(&["older format", "a temporary copy"]);
    assert_eq!(ran.out, "sound: 160 events\n");
}

/// A whole bundle of a small run, and a folder of the same.
fn recorded(scratch: &Scratch) -> Vec<u8> {
    scratch.compile(SMALL, "w");
    let args = ["sim", "w", "--journal", "j", "--bundle", "whole.smbj"];
    scratch.run(args).expect(0);
    fs::read(scratch.path("whole.smbj")).unwrap()
}

/// Whatever the verb: no panic, and one of the exit codes of a journal that is not sound.
#[track_caller]
fn is_refused(ran: &Ran, at: usize) {
    assert!(!ran.err.contains("panicked"), "{at}: {ran:#?}");
    let codes = if at < 8 {
        // Without its first bytes it is no journal at all.
        &[DAMAGED, ENVIRONMENT][..]
    } else {
        &[DAMAGED]
    };
    let code = ran.code.unwrap();
    assert!(codes.contains(&code), "{at}: {ran:#?}");
}

#[test]
fn a_bundle_that_is_cut_or_flipped_is_sound_to_no_verb() {
    let scratch = Scratch::new();
    let whole = recorded(&scratch);
    let sound = scratch.run(["show", "--salvage", "whole.smbj"]);
    // A damaged head costs nothing but itself.
    for at in [0, 9, 14] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        scratch.file("bad.smbj", bytes);
        let ran = scratch.run(["show", "--salvage", "bad.smbj"]);
        assert_eq!(ran.expect(DAMAGED).out, sound.out, "{at}");
    }
    let lines: Vec<&str> = sound.expect(0).out.lines().collect();
    let verbs: [&[&str]; 8] = [
        &["rerun", "bad.smbj"],
        &["rerun", "bad.smbj", "--json"],
        &["diff", "whole.smbj", "bad.smbj"],
        &["show", "bad.smbj"],
        &["show", "--verify", "bad.smbj"],
        &["show", "--salvage", "bad.smbj"],
        &["export", "bad.smbj", "out.smbj"],
        &["import", "bad.smbj", "out"],
    ];
    let places = (0..whole.len()).step_by(whole.len() / 12);
    let ends = [1, 63, 65, 200].map(|back| whole.len() - back);
    let mut salvaged = 0;
    for at in places.chain(ends) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        for bytes in [&flipped, &whole[..at].to_vec()] {
            scratch.file("bad.smbj", bytes);
            for verb in verbs {
                let ran = scratch.run(verb);
                is_refused(&ran, at);
                assert!(!ran.out.contains("identical: "), "{at}: {ran:#?}");
                assert!(!ran.out.contains("same: "), "{at}: {ran:#?}");
                if verb[1] == "--salvage" {
                    for line in ran.out.lines() {
                        assert!(lines.contains(&line), "{at}: {line}");
                        salvaged += 1;
                    }
                }
            }
            assert!(!is_there(&scratch, "out.smbj") && !is_there(&scratch, "out"));
        }
    }
    assert!(salvaged > 100, "{salvaged}");
    let left = fs::read_dir(scratch.path("")).unwrap();
    let left = left.map(|item| item.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["bad.smbj", "j", "w", "whole.smbj"]);
}

#[test]
fn a_cut_bundle_says_how_far_it_goes() {
    let scratch = Scratch::new();
    let whole = recorded(&scratch);
    scratch.file("cut.smbj", &whole[..whole.len() - 70]);
    let told = scratch
        .run(["rerun", "cut.smbj", "--json"])
        .expect(1)
        .json();
    assert_eq!(told["verdict"], "damaged", "{told:#}");
    assert_eq!(told["identical"], false, "{told:#}");
    assert!(told["events"].as_u64().unwrap() > 40, "{told:#}");
    assert!(told["tail"].is_string(), "{told:#}");
    let damage = told["damage"][0].as_str().unwrap();
    assert!(damage.contains("bytes from byte"), "{damage}");
    let ran = scratch.run(["rerun", "cut.smbj"]);
    assert!(ran.out.starts_with("DAMAGED: bundle: "), "{ran:#?}");
    let ran = scratch.run(["export", "cut.smbj", "out.smbj"]);
    ran.expect(DAMAGED)
        .says(&["nothing was written", "cut.smbj is damaged", "--salvage"]);
}

#[test]
fn a_flip_in_a_folder_costs_a_block_that_every_verb_names() {
    let scratch = Scratch::new();
    recorded(&scratch);
    let sound = scratch.run(["rerun", "j", "--json"]).json();
    let db = scratch.path("j/db");
    let whole = fs::read(&db).unwrap();
    let (mut harmless, mut seen) = (0, 0);
    // Most of the file are pages that sled has written again elsewhere since.
    for at in (0..whole.len()).step_by(whole.len() / 128) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&db, bytes).unwrap();
        let told = scratch.run(["show", "--verify", "j", "--json"]).json();
        let is_sound = told["sound"].as_bool().unwrap();
        let code = if is_sound { 0 } else { DAMAGED };
        if is_sound && harmless >= 12 {
            continue;
        }
        for verb in [
            &["rerun", "j"][..],
            &["diff", "j", "whole.smbj"],
            &["show", "j"],
            &["show", "--verify", "j"],
            &["show", "--salvage", "j"],
            &["export", "j", "out.smbj"],
        ] {
            scratch.run(verb).expect(code);
        }
        assert_eq!(is_there(&scratch, "out.smbj"), is_sound, "{at}");
        if is_sound {
            fs::remove_file(scratch.path("out.smbj")).unwrap();
            let again = scratch.run(["rerun", "j", "--json"]).json();
            assert_eq!(again["effects_digest"], sound["effects_digest"], "{at}");
            harmless += 1;
        } else {
            assert!(told["report"]["problems"][0].is_string(), "{told:#}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} seen, {harmless} harmless");
}

#[test]
fn a_journal_that_is_being_written_is_not_read() {
    let scratch = Scratch::new();
    recorded(&scratch);
    // As the writer does, another process holds the lock.
    for command in [
        "rerun j",
        "show j",
        "show --verify j",
        "diff j whole.smbj",
        "export j e.smbj",
    ] {
        let ran = scratch.shell(&format!(
            "exec 9<j/smbench-journal; flock -x 9; {LIMIT} {command} 9<&-"
        ));
        ran.expect(ENVIRONMENT)
            .says(&["j is open in another process", "wait until the run"]);
    }
    scratch.run(["rerun", "j"]).expect(0);
    assert!(!is_there(&scratch, "e.smbj"));
}

/// Writes the journal again as another engine would have made it, with other effects at its end.
fn as_if_of(engine: u32, journal: &Journal, to: &Path) {
    let meta = RunMeta {
        engine,
        ..journal.meta().clone()
    };
    let mut bundle = BundleWriter::create(to, &meta).unwrap();
    for name in journal.attachments().unwrap() {
        bundle
            .attach(&name, &journal.attachment(&name).unwrap())
            .unwrap();
    }
    // Without an event there are no effects, and so no other ones.
    bundle.finish_shard(ShardId(0), EffectsDigest(1)).unwrap();
    bundle.end_file().unwrap();
}

#[test]
fn another_engine_version_is_not_called_nondeterministic() {
    let scratch = Scratch::new();
    recorded(&scratch);
    let journal = Journal::open(scratch.path("j")).unwrap();
    let current = journal.meta().engine;
    for (engine, verdict) in [
        (1, "other_engine_version"),
        (current, "nondeterministic"),
        (current + 1, "other_engine_version"),
    ] {
        as_if_of(engine, &journal, &scratch.path("other.smbj"));
        let ran = scratch.run(["rerun", "other.smbj", "--json"]);
        let told = ran.expect(1).json();
        assert_eq!(told["verdict"], verdict, "{told:#}");
        let versions: Value = serde_json::json!({ "recorded": engine, "current": current });
        assert_eq!(told["engine"], versions, "{told:#}");
        let ran = scratch.run(["rerun", "other.smbj"]);
        let words = verdict.replace('_', " ");
        assert!(ran.expect(1).out.contains(&words), "{ran:#?}");
        fs::remove_file(scratch.path("other.smbj")).unwrap();
    }
    let told = scratch.run(["show", "--summary", "j", "--json"]).json();
    assert_eq!(told["meta"]["engine"], current, "{told:#}");
}

#[test]
fn a_journal_that_is_taken_away_is_missed() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    for (name, moved) in [("gone", false), ("moved", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let args = ["replay", "w", "--server", &address, "--share", "s"];
        let how = [
            "--i-know-this-share-is-mine",
            "--timeout",
            "1",
            "--journal",
            name,
        ];
        let child = scratch.start([&args[..], &how].concat());
        let (journal, elsewhere) = (scratch.path(name), scratch.path("elsewhere"));
        // A server that says nothing. Who connects while there is a journal is the run.
        let _connections: Vec<TcpStream> = listener
            .incoming()
            .map(Result::unwrap)
            .take_while(|_| !journal.join("db").exists())
            .collect();
        if moved {
            fs::rename(&journal, &elsewhere).unwrap();
        } else {
            fs::remove_dir_all(&journal).unwrap();
        }
        let ran = Ran::of(&child.wait_with_output().unwrap());
        ran.expect(ENVIRONMENT)
            .says(&["was removed or moved", name]);
        assert!(!ran.err.contains("is kept"), "{ran:#?}");
    }
    // What was recorded until it was missed is where it was moved to.
    let again = scratch
        .run(["rerun", "elsewhere", "--json"])
        .expect(0)
        .json();
    assert_eq!(again["verdict"], "identical", "{again:#}");
}
