//! Names that a capture, a folder or a command line holds never speak to the terminal: whatever verb
//! prints them, in whatever form, they are shown.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::Path;

use support::cli::{ModelServer, Ran, Scratch, capture};

/// What a terminal obeys, what ends a line, and what turns the direction of reading.
const HOSTILE: &str = "\u{1b}[31m\u{1b}]0;t\u{7}\r\n\t\u{8}\u{7f}\u{80}\u{9b}2J\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\
    \u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\nforged";

/// What of it a file server takes for letters.
const SERVED: &str = "\u{7f}\u{80}\u{9b}2J\u{9f}\u{2028}\u{2029}\u{202e}\u{2066}";

/// Fails where anything but the end of a line is left of it; gives all that was printed.
#[track_caller]
fn tame(ran: &Ran) -> String {
    assert!(matches!(ran.code, Some(0..=4)), "{ran:?}");
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    let all = format!("{}\n{}", ran.out, ran.err);
    let bad =
        |letter: &char| *letter != '\n' && HOSTILE.contains(*letter) && !letter.is_ascii_graphic();
    let found: Vec<char> = all
        .chars()
        .filter(|it| it.is_control() && *it != '\n' || bad(it))
        .collect();
    assert!(found.is_empty(), "{found:?} in {ran:?}");
    // What follows the end of a line within a name begins no line.
    assert!(
        !all.lines()
            .any(|line| line.trim_start().starts_with("forged")),
        "{ran:?}"
    );
    all
}

/// Like [`tame`], and the name is shown.
#[track_caller]
fn shown(ran: &Ran) {
    let all = tame(ran);
    // By the way out, or by an error that quotes it.
    let is_there =
        all.contains(r"\u001b[") || all.contains(r"\u{1b}[") || all.contains(r"\u009b2J");
    assert!(is_there, "the name is not there: {ran:?}");
}

/// A workload in which every name of a file, a share, a user and a client is hostile.
fn hostile_workload(scratch: &Scratch, name: &str, hostile: &str) {
    let work = scratch.compile("leases3_plain.pcap", name);
    // As JSON has it: what is below U+0020 in escapes, the rest as it is.
    let text = serde_json::to_string(hostile).unwrap();
    let hostile = &text[1..text.len() - 1];
    let mut changed = 0;
    for file in ["ops.jsonl", "namespace.jsonl", "workload.json"] {
        let path = work.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        for part in ["team", "report", "alice", r"1\\data", r#""share":"data"#] {
            changed += text.matches(part).count();
            text = text.replace(part, &format!("{part}{hostile}"));
        }
        fs::write(&path, text).unwrap();
    }
    assert!(changed > 100, "{changed} names were changed");
}

#[test]
fn verbs_that_read_a_workload_show_names_and_no_more() {
    let scratch = Scratch::new();
    let b42 = capture("trials/B42_control_characters.pcap");
    let b42 = b42.to_str().unwrap();
    tame(scratch.run(["compile", b42, "-o", "b42"]).expect(0));
    tame(
        scratch
            .run(["compile", b42, "-o", "again", "--json"])
            .expect(0),
    );
    hostile_workload(&scratch, "work", HOSTILE);
    for work in ["b42", "work"] {
        shown(scratch.run(["inspect", work]).expect(0));
        shown(scratch.run(["inspect", work, "--json"]).expect(0));
        shown(scratch.run(["inspect", work, "--dot"]).expect(0));
        let operations = fs::read_to_string(scratch.path(work).join("ops.jsonl")).unwrap();
        let mut whys = 0;
        for (at, line) in operations.lines().enumerate() {
            if line.contains(r"\u001b") && whys < 9 {
                whys += 1;
                let at = at.to_string();
                shown(scratch.run(["inspect", work, "--why", &at]).expect(0));
                shown(
                    scratch
                        .run(["inspect", work, "--why", &at, "--json"])
                        .expect(0),
                );
            }
        }
        assert!(whys > 0, "no name in the operations of {work}");
        let part = format!("{work}.part");
        tame(
            scratch
                .run([
                    "slice",
                    work,
                    "--command",
                    "CREATE",
                    "--causes",
                    "-o",
                    &part,
                ])
                .expect(0),
        );
        shown(&scratch.run(["slice", work, "--share", HOSTILE, "-o", "none"]));
        let anonymous = format!("{work}.anonymous");
        tame(
            scratch
                .run(["anonymize", work, "-o", &anonymous, "--seed", "1"])
                .expect(0),
        );
    }
}

#[test]
fn runs_and_what_is_told_of_them_show_names_and_no_more() {
    let scratch = Scratch::new();
    hostile_workload(&scratch, "work", HOSTILE);
    let run = ["sim", "work", "--speed", "max", "--log", "trace"];
    shown(&scratch.run(run));
    hostile_workload(&scratch, "served", SERVED);
    let run = ["sim", "served", "--speed", "max", "--log", "trace"];
    tame(&scratch.run([&run[..], &["--journal", "a"]].concat()));
    let planted = ["--plant", "ignore-share-mode", "--journal", "b"];
    shown(&scratch.run([&run[..], &planted].concat()));
    shown(
        &scratch.run(
            [
                &run[..],
                &["--driver", "turmoil", "--plant", "ignore-share-mode"],
            ]
            .concat(),
        ),
    );
    shown(scratch.run(["diff", "a", "b"]).expect(1));
    shown(scratch.run(["diff", "a", "b", "--json"]).expect(1));
    for more in [&[][..], &["--json"], &["--salvage"]] {
        let ran = scratch.run([&["show", "b"][..], more].concat());
        if more != ["--salvage"] {
            shown(ran.expect(0));
        } else {
            tame(ran.expect(0));
        }
    }
    tame(&scratch.run(["show", "b", "--summary"]));
    tame(&scratch.run(["show", "b", "--verify"]));
    tame(scratch.run(["rerun", "b"]).expect(0));
    tame(scratch.run(["export", "b", "b.smbj"]).expect(0));
    tame(scratch.run(["import", "b.smbj", "c"]).expect(0));
}

#[test]
fn replays_show_names_and_no_more() {
    let scratch = Scratch::new();
    hostile_workload(&scratch, "work", HOSTILE);
    let server = ModelServer::start(["--share", "share", "--plant", "ignore-share-mode"]);
    let target = [
        "--server",
        &server.address,
        "--share",
        "share",
        "--log",
        "trace",
    ];
    let replay = ["replay", "work", "--speed", "max"];
    tame(&scratch.run([&replay[..], &target].concat()));
    tame(&scratch.run([&replay[..], &target, &["--prepare", "--json"]].concat()));
    tame(&scratch.run([&["prepare", "work", "--root", HOSTILE][..], &target].concat()));
    let users = scratch.file(
        "m.toml",
        format!(
            "users = {{ {} = 'x' }}",
            serde_json::to_string("nope").unwrap()
        ),
    );
    let mapping = ["--mapping", users.to_str().unwrap()];
    shown(&scratch.run([&replay[..], &target, &mapping].concat()));
}

/// A file name on a command line came from somewhere too: `smbench compile *.pcap`.
#[test]
fn errors_show_paths_and_no_more() {
    let scratch = Scratch::new();
    let path = HOSTILE;
    let folder = scratch.path(path);
    for args in [
        &["compile", path, "-o", "out"][..],
        &["inspect", path],
        &["slice", path, "--command", "READ", "-o", "out"],
        &["anonymize", path, "-o", "out"],
        &["prepare", path, "--server", "127.0.0.1:1"],
        &["replay", path, "--server", "127.0.0.1:1"],
        &["sim", path],
        &["rerun", path],
        &["diff", path, path],
        &["show", path],
        &["show", path, "--salvage"],
        &["show", path, "--verify"],
        &["export", path, "out.smbj"],
        &["import", path, "out"],
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--share",
            &format!("s={path}"),
        ],
        &["serve", "--plant", path],
        &["serve", "--user", "u", "--password-file", path],
        &[
            "demo",
            "--out",
            &format!("{}/x", scratch.file("file", "").display()),
        ],
    ] {
        let ran = scratch.run(args);
        if args[0] == "demo" {
            tame(&ran);
        } else {
            shown(&ran);
        }
        assert!(ran.code != Some(0), "{ran:?}");
    }
    // Files that are there, but are not what they should be.
    fs::write(&folder, "no capture").unwrap();
    for args in [
        &["compile", path, "-o", "out"][..],
        &["rerun", path],
        &["show", path, "--verify"],
    ] {
        shown(&scratch.run(args));
    }
    fs::remove_file(&folder).unwrap();
    scratch.compile("smbclient_files.pcap", path);
    shown(scratch.run(["inspect", path]).expect(0));
    damage(&folder.join("ops.jsonl"));
    shown(&scratch.run(["inspect", path]));
    shown(&scratch.run(["sim", path]));
    // What the parser of arguments says keeps the lines that it has.
    for args in [
        &["inspect", "w", path][..],
        &["sim", "w", "--seed", path],
        &[path],
    ] {
        let ran = scratch.run(args);
        assert!(ran.err.contains(r"\u009b"), "{ran:?}");
        assert!(
            !ran.err.chars().any(|it| it.is_control() && it != '\n'),
            "{ran:?}"
        );
    }
}

fn damage(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, &text[..text.len() / 2]).unwrap();
}
