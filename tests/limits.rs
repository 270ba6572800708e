//! Limits of the process are an environment like any other: said with what to do, and nothing half
//! is left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use support::cli::{Ran, Scratch, capture};

const ENVIRONMENT: i32 = 3;
const CAPTURE: &str = "leases3_plain.pcap";

/// Verbs that write, by what they need, and `out` for what they write.
const WRITERS: [&str; 9] = [
    "compile capture -o out",
    "slice w --client 0 -o out",
    "anonymize w -o out",
    "sim w --speed max --journal out",
    "sim w --speed max --journal out --driver turmoil",
    "sim w --speed max --journal kept.j --bundle out",
    "sim w --speed max --journal kept.j --pcap out",
    "export j out",
    "import j.smbj out",
];

/// Verbs that read a journal.
const READERS: [&str; 5] = [
    "rerun j",
    "show j --verify",
    "show j --salvage",
    "diff j j",
    "report j -o page.html",
];

fn prepared() -> Scratch {
    let scratch = Scratch::new();
    fs::copy(capture(CAPTURE), scratch.path("capture")).unwrap();
    scratch.compile(CAPTURE, "w");
    let sim = [
        "sim",
        "w",
        "--speed",
        "max",
        "--journal",
        "j",
        "--bundle",
        "j.smbj",
    ];
    scratch.run(sim).expect(0);
    scratch
}

/// Names in the folder, but for a journal that a run was recorded in.
fn names(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path(".")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kept.j")
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_no_end() {
    let scratch = prepared();
    let before = names(&scratch);
    for command in WRITERS {
        for kib in [0, 1, 4] {
            fs::remove_dir_all(scratch.path("kept.j")).ok();
            // SIGXFSZ would end the process: nobody keeps it from that here.
            let ran = scratch.shell(&format!("ulimit -f {kib}; exec \"$SMBENCH\" {command}"));
            ran.expect(ENVIRONMENT).says(&["ulimit -f"]);
            // A journal is kept, as far as it goes.
            if command.starts_with("sim") && scratch.path("out").is_dir() {
                fs::remove_dir_all(scratch.path("out")).unwrap();
            }
            assert_eq!(names(&scratch), before, "{command} with {kib} KiB");
        }
    }
}

#[test]
fn too_few_open_files_are_an_error_and_no_panic() {
    let scratch = prepared();
    let before = names(&scratch);
    let mut failed = 0;
    for command in WRITERS {
        for files in 5..24 {
            fs::remove_dir_all(scratch.path("kept.j")).ok();
            let ran = scratch.shell(&format!("ulimit -n {files}; exec \"$SMBENCH\" {command}"));
            failed += usize::from(failed_for_want_of_files(&ran));
            let out = scratch.path("out");
            fs::remove_dir_all(&out).ok();
            fs::remove_file(&out).ok();
            assert_eq!(names(&scratch), before, "{command} with {files} files");
        }
    }
    assert!(failed > WRITERS.len(), "{failed}");
}

#[test]
fn too_few_open_files_do_not_make_a_journal_a_damaged_one() {
    let scratch = prepared();
    for command in READERS {
        let mut failed = 0;
        for files in 5..24 {
            let ran = scratch.shell(&format!("ulimit -n {files}; exec \"$SMBENCH\" {command}"));
            failed += usize::from(failed_for_want_of_files(&ran));
        }
        assert!(failed > 0, "{command}");
    }
}

/// Whether it failed; that it did so for nothing else is checked.
fn failed_for_want_of_files(ran: &Ran) -> bool {
    // 127: the loader found no library.
    if matches!(ran.code, Some(0 | 127)) {
        return false;
    }
    ran.expect(ENVIRONMENT).says(&["ulimit -n"]);
    true
}

#[test]
fn files_without_an_end_fill_no_memory() {
    let scratch = prepared();
    // Were they read whole, they would not fit.
    let limited =
        |command: &str| scratch.shell(&format!("ulimit -v 8000000; exec \"$SMBENCH\" {command}"));
    for command in [
        "compile capture --keys /dev/zero -o out",
        "compile capture --password-file /dev/zero -o out",
        "sim w --scenario /dev/zero",
        "replay w --mapping /dev/zero",
        "replay w --server 127.0.0.1:1 --share s --user u --password-file /dev/zero",
        "serve --listen 127.0.0.1:0 --password-file /dev/zero",
    ] {
        limited(command)
            .expect(ENVIRONMENT)
            .says(&["/dev/zero has more than 16 MiB"]);
    }
    for (name, what) in [
        ("ops.jsonl", "a line is longer than 128 MiB"),
        ("namespace.jsonl", "a line is longer than 128 MiB"),
        ("workload.json", "it is larger than 1024 MiB"),
    ] {
        fs::remove_dir_all(scratch.path("w")).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(scratch.compile(CAPTURE, "w").join(name));
        file.unwrap().set_len(16 << 30).unwrap();
        for command in [
            "sim w --journal out",
            "inspect w",
            "slice w --client 0 -o out",
        ] {
            if command.starts_with("slice") && name == "namespace.jsonl" {
                continue; // it reads of it what it needs
            }
            let ran = limited(command);
            ran.expect(ENVIRONMENT).says(&[name, what]);
        }
    }
}
