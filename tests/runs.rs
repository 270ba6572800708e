//! Journals that are kept: what they are called, how they are listed, and which of them are deleted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::cli::{ModelServer, Scratch};

const SMALL: &str = "smbclient_dialect_SMB3_11.pcap";

/// The journals below `smbench-journals`, by name.
fn journals(scratch: &Scratch) -> Vec<String> {
    let found = fs::read_dir(scratch.path("smbench-journals")).unwrap();
    let mut found: Vec<String> = found
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

/// What stands before and behind the time in a name, which is checked.
fn around_time(name: &str) -> (String, String) {
    let digits = name.find("-20").unwrap() + 1;
    let (before, rest) = name.split_at(digits);
    let (time, behind) = rest.split_at(16);
    for (at, letter) in time.chars().enumerate() {
        match at {
            8 => assert_eq!(letter, 'T', "{name}"),
            15 => assert_eq!(letter, 'Z', "{name}"),
            _ => assert!(letter.is_ascii_digit(), "{name}"),
        }
    }
    (before.to_owned(), behind.to_owned())
}

#[test]
fn simulations_are_named_by_workload_time_and_seed_and_have_the_same_bytes() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "monday noon");
    let mut bundles = Vec::new();
    for turn in 0..3 {
        let bundle = format!("{turn}.smbj");
        let args = ["sim", "monday noon", "--seed", "7", "--speed", "max"];
        let told = scratch.run([&args[..], &["--json", "--bundle", &bundle]].concat());
        let told = told.expect(0).json();
        assert!(scratch.path(told["journal"].as_str().unwrap()).is_dir());
        bundles.push(fs::read(scratch.path(&bundle)).unwrap());
    }
    assert!(bundles.iter().all(|it| *it == bundles[0]));
    let names = journals(&scratch);
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        let (before, behind) = around_time(name);
        assert_eq!(before, "monday_noon-");
        assert!(behind.starts_with("-sim-seed7"), "{name}");
        let again = format!("smbench-journals/{name}");
        scratch.run(["export", &again, "e.smbj"]).expect(0);
        assert_eq!(fs::read(scratch.path("e.smbj")).unwrap(), bundles[0]);
        fs::remove_file(scratch.path("e.smbj")).unwrap();
    }
}

#[test]
fn a_run_that_has_no_place_for_its_journal_is_not_begun() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    scratch.file("smbench-journals", "in the way");
    let told = scratch.run(["sim", "w", "--speed", "max"]);
    told.expect(3).says(&["cannot make smbench-journals"]);
    fs::remove_file(scratch.path("smbench-journals")).unwrap();
    std::os::unix::fs::symlink("/proc/self", scratch.path("smbench-journals")).unwrap();
    let told = scratch.run(["sim", "w", "--speed", "max"]);
    told.expect(3).says(&["was not begun", "--journal"]);
}

#[test]
fn a_replay_and_its_preparation_are_named_by_the_server() {
    let scratch = Scratch::new();
    scratch.compile(SMALL, "w");
    let server = ModelServer::start(["--share", "s"]);
    let args = ["replay", ".", "--share", "s", "--prepare", "--speed", "max"];
    let args = [&args[..], &["--server", &server.address]].concat();
    // From inside the workload, which is called by its folder all the same.
    let line = format!("cd w && \"$SMBENCH\" {}", args.join(" "));
    let ran = scratch.shell(&line);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    fs::rename(
        scratch.path("w/smbench-journals"),
        scratch.path("smbench-journals"),
    )
    .unwrap();
    let names = journals(&scratch);
    let parts: Vec<(String, String)> = names.iter().map(|it| around_time(it)).collect();
    assert!(parts.iter().all(|(before, _)| before == "w-"), "{names:?}");
    let mut behind: Vec<&str> = parts.iter().map(|(_, behind)| behind.as_str()).collect();
    behind.sort_unstable();
    assert_eq!(behind, ["-127.0.0.1", "-127.0.0.1-prepare"], "{names:?}");
}

/// A folder `d` of journals: whole, diverged, cut short, damaged, being none at all.
fn shelf() -> Scratch {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    fs::create_dir(scratch.path("d")).unwrap();
    let sim = |more: &[&str], code: i32| {
        let args = ["sim", "w", "--speed", "max"];
        scratch.run([&args[..], more].concat()).expect(code);
    };
    sim(&["--journal", "d/whole", "--bundle", "d/whole.smbj"], 0);
    let planted = ["--plant", "ignore-share-mode", "--journal", "d/planted"];
    sim(&planted, 1);
    sim(&["--journal", "d/damaged"], 0);
    // A bit of an event, somewhere in the middle.
    let db = scratch.path("d/damaged/db");
    let mut bytes = fs::read(&db).unwrap();
    let at = (0..bytes.len())
        .step_by(512)
        .find(|at| {
            let mut flipped = bytes.clone();
            flipped[*at] ^= 4;
            fs::write(&db, flipped).unwrap();
            scratch.run(["rerun", "d/damaged"]).code == Some(1)
        })
        .unwrap();
    bytes[at] ^= 4;
    fs::write(&db, bytes).unwrap();
    // Files may not grow beyond so many KiB: the least that is enough for the beginning of the run.
    let cut = |kib: &u32| {
        fs::remove_dir_all(scratch.path("d/cut")).ok();
        let sim = "\"$SMBENCH\" sim w --speed max --journal d/cut";
        let ran = scratch.shell(&format!("trap '' XFSZ; ulimit -f {kib}; {sim}"));
        ran.code == Some(3) && scratch.path("d/cut").exists()
    };
    assert!((8..80).any(|kib| cut(&kib)));
    scratch
        .shell(
            "mkdir d/plain && echo x > d/plain/x && echo x > d/notes.txt && echo x > d/bad.smbj && \
             mkdir out && cp -r d/whole out/linked && ln -s ../out/linked d/link",
        )
        .expect(0);
    scratch
}

/// All files below the scratch folder, but for what `smbench` makes in passing.
fn tree(scratch: &Scratch) -> String {
    scratch.shell("find d out | sort").expect(0).out.clone()
}

#[test]
fn runs_are_listed_with_what_they_came_to_whatever_state_they_are_in() {
    let scratch = shelf();
    let told = scratch.run(["runs", "d", "--json"]).expect(0).json();
    let runs = told["runs"].as_array().unwrap();
    let of = |name: &str| {
        let path = format!("d/{name}");
        let mut found = runs.iter().filter(|it| it["journal"] == path.as_str());
        let run = found.next().unwrap_or_else(|| panic!("{name}: {told:#}"));
        assert!(found.next().is_none());
        run
    };
    assert_eq!(runs.len(), 6, "{told:#}");
    for (name, state, verdict, differences) in [
        ("whole", "complete", json!("as_recorded"), json!(0)),
        ("whole.smbj", "complete", json!("as_recorded"), json!(0)),
        ("planted", "complete", json!("diverged"), json!(1)),
        // Its verdict is that of as much as is there.
        ("cut", "cut_short", Value::Null, json!(0)),
    ] {
        let run = of(name);
        assert_eq!(run["state"], state, "{run:#}");
        let much = run["coverage"].as_f64() >= Some(0.9);
        let verdict = match verdict {
            Value::Null if much => json!("as_recorded"),
            Value::Null => json!("inconclusive"),
            verdict => verdict,
        };
        assert_eq!(run["verdict"], verdict, "{run:#}");
        assert_eq!(run["differences"], differences, "{run:#}");
        assert_eq!(run["verb"], "sim");
        assert_eq!(run["captures"], json!(["leases3_plain.pcap"]));
        assert!(run["bytes"].as_u64().unwrap() > 1_000, "{run:#}");
        assert!(
            name == "cut" || run["p99_us"].as_u64().unwrap() > 0,
            "{run:#}"
        );
    }
    let docs = include_str!("../docs/JSON.md");
    let keys = runs.iter().flat_map(|it| it.as_object().unwrap().keys());
    for key in keys {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    // As `report` has them.
    let again = scratch.run(["report", "d/planted", "--json"]).json();
    let (run, again) = (of("planted"), &again["runs"][0]);
    assert_eq!(run["coverage"], again["coverage"]);
    assert_eq!(run["p99_us"], again["latency_us"]["p99"]);
    let damaged = of("damaged");
    assert_eq!(damaged["state"], "damaged");
    assert_eq!(damaged["verdict"], json!(null), "{damaged:#}");
    assert!(damaged["why"].is_string());
    let bad = of("bad.smbj");
    assert!(bad["state"] == "damaged" || bad["state"] == "unreadable");
    assert!(bad["why"].is_string() && bad["verdict"].is_null());
    let table = scratch.run(["runs", "d"]);
    table.expect(0).shows(&[
        "whole.smbj",
        "as recorded",
        "diverged",
        "cut short: inconclusive",
        "damaged",
    ]);
    assert!(!table.out.contains("link") && !table.out.contains("notes"));
    let held = "exec 9<d/whole/smbench-journal; flock -x 9; \"$SMBENCH\" runs d 9<&-";
    let held = scratch.shell(held);
    held.expect(0).shows(&["being written", "diverged"]);
}

#[test]
fn a_folder_without_runs_is_no_error_unless_it_was_named() {
    let scratch = Scratch::new();
    scratch.run(["runs"]).expect(0).shows(&["no runs"]);
    let told = scratch.run(["runs", "--json"]).expect(0).json();
    assert_eq!(told, json!({ "runs": [] }));
    scratch
        .run(["runs", "nowhere"])
        .expect(3)
        .says(&["nowhere"]);
    scratch.compile(SMALL, "w");
    scratch.run(["sim", "w", "--speed", "max"]).expect(0);
    scratch
        .run(["runs"])
        .expect(0)
        .shows(&["w-20", "as recorded"]);
    let one = journals(&scratch).remove(0);
    let one = format!("smbench-journals/{one}");
    let told = scratch.run(["runs", &one]);
    told.expect(2).says(&["one journal", "smbench report"]);
}

#[test]
fn pruning_wants_a_criterion_and_says_what_it_would_do() {
    let scratch = shelf();
    let before = tree(&scratch);
    for wrong in [
        &["--prune"][..],
        &["--keep", "1"],
        &["--older-than", "1d"],
        &["--dry-run"],
        &["--prune", "--dry-run"],
        &["--prune", "--keep", "-1"],
        &["--prune", "--keep", "many"],
        &["--prune", "--older-than", "30"],
        &["--prune", "--older-than", "d"],
    ] {
        scratch.run([&["runs", "d"][..], wrong].concat()).expect(2);
    }
    scratch
        .run(["runs", "w", "--prune", "--keep", "0"])
        .expect(0);
    let args = ["runs", "d", "--prune", "--keep", "1", "--dry-run", "--json"];
    let told = scratch.run(args).expect(0).json();
    let docs = include_str!("../docs/JSON.md");
    for key in told.as_object().unwrap().keys() {
        assert!(docs.contains(&format!("`{key}`")), "{key}");
    }
    assert_eq!(told["dry_run"], true);
    assert_eq!(told["kept"], 1);
    assert_eq!(told["deleted"].as_array().unwrap().len(), 3, "{told:#}");
    assert!(told["bytes"].as_u64().unwrap() > 3_000);
    let young = scratch.run(["runs", "d", "--prune", "--older-than", "1d"]);
    young
        .expect(0)
        .shows(&["deleted 0 of 4 journals", "4 kept"]);
    assert_eq!(tree(&scratch), before);
}

#[test]
fn pruning_deletes_journals_that_nobody_uses_and_nothing_else() {
    let scratch = shelf();
    // Twenty days ago; what is older than that is named by both criteria.
    scratch
        .shell("touch -d '20 days ago' d/planted/smbench-journal d/cut/smbench-journal")
        .expect(0);
    let prune = |more: &[&str]| scratch.run([&["runs", "d", "--prune"][..], more].concat());
    prune(&["--keep", "3", "--older-than", "10d"]).expect(0);
    let left = |name: &str| scratch.path(&format!("d/{name}")).exists();
    // Only the oldest was beyond the three newest.
    assert_eq!(usize::from(left("planted")) + usize::from(left("cut")), 1);
    assert!(left("whole") && left("damaged"));
    let held =
        "exec 9<d/whole/smbench-journal; flock -x 9; \"$SMBENCH\" runs d --prune --keep 0 9<&-";
    let held = scratch.shell(held);
    held.expect(0).says(&["left d/whole", "being written"]);
    held.shows(&["deleted 2 of 3 journals"]);
    fs::write(scratch.path("d/whole/mine.txt"), "x").unwrap();
    let told = prune(&["--keep", "0"]);
    told.expect(3)
        .says(&["left d/whole", "no part of a journal"]);
    fs::remove_file(scratch.path("d/whole/mine.txt")).unwrap();
    scratch.run(["rerun", "d/whole"]).expect(0);
    let linked = scratch.shell("find out | sort").out.clone();
    prune(&["--keep", "0"])
        .expect(0)
        .shows(&["deleted d/whole"]);
    assert!(!left("whole"));
    for name in ["plain/x", "notes.txt", "bad.smbj", "whole.smbj", "link"] {
        assert!(left(name), "{name}");
    }
    assert_eq!(scratch.shell("find out | sort").out, linked);
    scratch.run(["rerun", "out/linked"]).expect(0);
}
