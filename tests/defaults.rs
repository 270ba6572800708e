//! Defaults from variables and `smbench.toml`, as a user meets them. See docs/CONFIG.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::os::unix::fs::{MetadataExt as _, chown};

use serde_json::Value;
use support::cli::{ModelServer, Ran, Scratch};

const CAPTURE: &str = "leases3_plain.pcap";

/// The configuration that a journal was run with.
fn config(scratch: &Scratch, journal: &str) -> Value {
    scratch
        .run(["show", journal, "--summary", "--json"])
        .expect(0)
        .json()["meta"]["config"]
        .clone()
}

fn sim(scratch: &Scratch, variables: &str, flags: &str, journal: &str) -> Ran {
    scratch.shell(&format!(
        "{variables} $SMBENCH sim work {flags} --journal {journal}"
    ))
}

#[test]
fn a_run_takes_what_it_was_not_told_from_outside() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "work");
    scratch.file(
        "smbench.toml",
        "timeout = 11\nspeed = 'max'\nbreak_wait = 12\n[sim]\nseed = 7\n",
    );
    let ran = sim(&scratch, "SMBENCH_BREAK_WAIT=13", "--timeout 14", "one");
    ran.expect(0).says(&[
        "defaults: --break-wait (SMBENCH_BREAK_WAIT), --seed (smbench.toml: sim.seed), \
         --speed (smbench.toml: speed)",
    ]);
    let one = config(&scratch, "one");
    assert_eq!(one["seed"], 7, "{one}");
    assert_eq!(one["timeout_ms"], 14_000, "{one}");
    assert_eq!(one["break_wait_ms"], 13, "{one}");

    let flags = "--timeout 14 --break-wait 13 --seed 7 --speed max";
    let ran = sim(&scratch, "SMBENCH_CONFIG=", flags, "two");
    assert!(!ran.expect(0).err.contains("defaults"), "{ran:#?}");
    assert_eq!(config(&scratch, "two"), one);
}

#[test]
fn a_server_comes_from_a_variable_and_its_guards_stay() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "work");
    let server = ModelServer::start(["--share", "data"]);
    let variables = format!("SMBENCH_SERVER={} SMBENCH_SPEED=max", server.address);
    let replay = |variables: &str| {
        scratch.shell(&format!(
            "{variables} SMBENCH_SHARE=data $SMBENCH replay work --prepare"
        ))
    };
    for lifted in [
        "SMBENCH_PRINTERS=true",
        "SMBENCH_PIPES=all",
        "SMBENCH_SIGNING=off",
    ] {
        let ran = replay(&format!("{variables} {lifted}"));
        ran.expect(2)
            .says(&["lifts a guard", lifted.split('=').next().unwrap()]);
        assert!(!scratch.path("smbench-journals").exists(), "{ran:#?}");
    }
    let ran = replay(&format!("{variables} SMBENCH_PIPES=none"));
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:#?}");
    ran.says(&["--pipes (SMBENCH_PIPES), --server (SMBENCH_SERVER)"]);
}

#[test]
fn a_value_that_an_option_does_not_take_is_told_with_where_it_is_from() {
    let scratch = Scratch::new();
    scratch.file("smbench.toml", "[sim]\npace = 'slow'\n");
    let ran = scratch.run(["sim", "work"]);
    ran.expect(2)
        .says(&["'slow'", "--pace is from smbench.toml: sim.pace"]);
    scratch.file("smbench.toml", "pace = 'think'\npace = 'think'\n");
    let ran = scratch.run(["sim", "work"]);
    ran.expect(2)
        .says(&["smbench.toml: line 2", "duplicate key"]);
    scratch.run(["sim", "--help"]).expect(0);
}

/// Only an administrator can make a file somebody else's.
#[test]
fn somebody_elses_file_is_not_obeyed() {
    let scratch = Scratch::new();
    let path = scratch.file("smbench.toml", "timeout = 11\n");
    if path.metadata().unwrap().uid() != 0 {
        return;
    }
    chown(&path, Some(12_345), None).unwrap();
    let ran = scratch.run(["rerun", "nothing"]);
    ran.expect(3).says(&[
        "is user 12345's, not yours",
        "SMBENCH_CONFIG=smbench.toml reads it",
    ]);
    let asked = scratch.shell("SMBENCH_CONFIG=smbench.toml $SMBENCH rerun nothing");
    assert!(!asked.expect(3).err.contains("not yours"), "{asked:#?}");
}
