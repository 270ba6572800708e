//! What is there already and is not ours stays, whatever is asked to be written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use support::cli::{Scratch, capture};

const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
/// Shipped, and compiled in a moment.
const CAPTURE: &str = "leases3_plain.pcap";

#[test]
fn a_workload_that_holds_something_else_is_not_replaced() {
    let scratch = Scratch::new();
    let verbs: [(&str, &[&str]); 3] = [
        ("compile", &[]),
        ("slice", &["--client", "0"]),
        ("anonymize", &[]),
    ];
    scratch.compile(CAPTURE, "w");
    for (verb, more) in verbs {
        let other = scratch.compile(CAPTURE, verb);
        fs::write(other.join("notes.txt"), "mine").unwrap();
        fs::create_dir(other.join("runs")).unwrap();
        let from = match verb {
            "compile" => capture(CAPTURE).display().to_string(),
            _ => "w".to_owned(),
        };
        let args = [&[verb, &from, "-o", verb, "--force"], more].concat();
        let ran = scratch.run(&args);
        ran.expect(USAGE)
            .says(&[verb, "notes.txt", "no part of a workload"]);
        assert_eq!(fs::read(other.join("notes.txt")).unwrap(), b"mine");
        assert!(other.join("runs").is_dir());
        // With nothing of anybody else in it, it is.
        fs::remove_file(other.join("notes.txt")).unwrap();
        fs::remove_dir(other.join("runs")).unwrap();
        scratch.run(&args).expect(0);
    }
}

#[test]
fn a_file_that_is_no_bundle_is_not_replaced_by_one() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "w");
    let bytes = "mine, and longer than any head that tells what a file is: the rest follows here";
    scratch.file("mine", bytes);
    let mut run = 0;
    let mut sim = |flag: &str, path: &str| {
        run += 1;
        let journal = format!("j{run}");
        scratch.run([
            "sim",
            "w",
            "--speed",
            "max",
            "--journal",
            &journal,
            flag,
            path,
        ])
    };
    for (flag, what) in [("--bundle", "no bundle"), ("--pcap", "no capture of ours")] {
        let ran = sim(flag, "mine");
        ran.expect(ENVIRONMENT).says(&["mine", what, flag]);
        assert_eq!(fs::read(scratch.path("mine")).unwrap(), bytes.as_bytes());
        // What it wrote itself it writes again, and an empty file is nobody's work.
        scratch.file("new", "");
        sim(flag, "new").expect(0);
        sim(flag, "new").expect(0);
        fs::remove_file(scratch.path("new")).unwrap();
    }
    // A capture that somebody recorded is no capture of ours.
    let recorded = fs::read(capture(CAPTURE)).unwrap();
    scratch.file("recorded.pcap", &recorded);
    sim("--pcap", "recorded.pcap").expect(ENVIRONMENT);
    assert_eq!(fs::read(scratch.path("recorded.pcap")).unwrap(), recorded);
    let ran = scratch.run(["sim", "w", "--bundle", "one", "--pcap", "one"]);
    ran.expect(USAGE).says(&["--bundle", "--pcap", "one"]);
}
