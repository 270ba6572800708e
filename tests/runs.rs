//! Journals that are kept: what they are called, how they are listed, and which of them are deleted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

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
