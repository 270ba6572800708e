//! The README's session, run as it is printed: each command, and each line of what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::samba::{Options, PrivateSamba};

/// A command of a block, and what it says there.
#[derive(Debug)]
struct Step {
    command: String,
    says: Vec<String>,
}

/// The steps of all `console` blocks.
fn steps(text: &str) -> Vec<Step> {
    let (mut steps, mut inside, mut goes_on) = (Vec::<Step>::new(), false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            (inside, goes_on) = (line == "```console", false);
            continue;
        }
        if !inside {
            continue;
        }
        let begins = line.strip_prefix("$ ");
        let part = begins.or(goes_on.then_some(line));
        match part {
            Some(part) => {
                goes_on = part.ends_with('\\');
                let part = part.trim_end_matches('\\').trim();
                match steps.last_mut().filter(|_| begins.is_none()) {
                    Some(step) => step.command = format!("{} {part}", step.command),
                    None => steps.push(Step {
                        command: part.to_owned(),
                        says: Vec::new(),
                    }),
                }
            }
            None => steps.last_mut().unwrap().says.push(line.to_owned()),
        }
    }
    steps
}

/// A line without what differs from run to run: numbers with a unit or of a clock, digests, widths.
fn steady(line: &str) -> Vec<String> {
    // Nothing of these lines but what they are is the same twice.
    for speed in [" answers/s; answer time p50 ", "identical: "] {
        if line.contains(speed) {
            return vec![speed.to_owned()];
        }
    }
    let words = line.split_whitespace();
    words
        .map(|word| {
            let varies = word.contains("smbench-journals/")
                || word.starts_with("smbench-")
                || word.chars().all(|it| it.is_ascii_hexdigit()) && word.len() > 8;
            if varies {
                "#".to_owned()
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// Whether what was said has the lines of the README, in their order. `...` at the end of a line stands for
/// the rest of it, `[...]` for lines.
fn check(step: &Step, out: &str) {
    let mut said = out.lines().map(steady);
    for wanted in step.says.iter().filter(|line| !line.is_empty()) {
        if wanted.trim_start().starts_with('[') {
            continue;
        }
        let (wanted, open) = match wanted.strip_suffix(" ...") {
            Some(begin) => (begin, true),
            None => (wanted.as_str(), false),
        };
        let wanted = steady(wanted);
        let found = said.find(|line| {
            if open {
                line.starts_with(&wanted)
            } else {
                *line == wanted
            }
        });
        assert!(found.is_some(), "{}: no {wanted:?} in\n{out}", step.command);
    }
}

#[test]
fn the_session_of_the_readme_is_as_printed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(here.join("README.md")).unwrap();
    let server = PrivateSamba::start(&Options::default());
    let server = server.unwrap_or_else(|why| panic!("Samba did not start: {why}"));
    let scratch = support::cli::Scratch::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_smbench")).parent().unwrap();
    std::os::unix::fs::symlink(here.join("tests"), scratch.path("tests")).unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let steps = steps(&readme);
    assert!(steps.len() >= 8, "{steps:#?}");
    for step in &steps {
        let run = Command::new("bash")
            .args(["-c", &step.command])
            .current_dir(scratch.path(""))
            .env("PATH", &path)
            .env("host", server.host())
            .env("port", server.port().to_string())
            .env("share", server.share())
            .env("user", server.user())
            .env("password_file", server.password_file())
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr),
        );
        assert!(
            matches!(run.status.code(), Some(0 | 1)),
            "{}: {out}{err}",
            step.command
        );
        check(step, &out);
    }
}

/// What the server does not offer is told before anything is sent, with what helps.
#[test]
fn what_a_server_does_not_offer_is_told_first() {
    let start = |extra: &str, signing: &'static str| {
        let options = Options {
            guest: false,
            signing,
            extra: vec![extra.to_owned()],
            ..Options::default()
        };
        PrivateSamba::start(&options).unwrap_or_else(|why| panic!("Samba did not start: {why}"))
    };
    let scratch = support::cli::Scratch::new();
    scratch.compile("smbclient_dialect_SMB3_11.pcap", "w");
    let replay = |server: &PrivateSamba, more: &[&str]| {
        let address = format!("{}:{}", server.host(), server.port());
        let password = server.password_file();
        let mut words = vec![
            "replay",
            "w",
            "--prepare",
            "--speed",
            "max",
            "--share",
            "data",
        ];
        words.extend(["--server", &address, "--user", server.user()]);
        words.extend(["--password-file", password.to_str().unwrap()]);
        words.extend(more);
        scratch.run(&words)
    };
    let old = start("server max protocol = SMB2_10", "auto");
    let told = replay(&old, &[]);
    told.expect(3).says(&[
        "does not offer dialect 3.1.1",
        "2.1 instead",
        "--any-dialect",
    ]);
    let told = replay(&old, &["--any-dialect", "--encrypt"]);
    told.expect(3).says(&["offers no encryption", "--encrypt"]);
    let went_on = replay(&old, &["--any-dialect"]);
    assert!(went_on.expect(1).out.contains("3.1.1 → 2.1"), "{went_on:?}");
    let strict = start("server min protocol = SMB2_02", "mandatory");
    let told = replay(&strict, &["--signing", "off"]);
    told.expect(3).says(&["demands signing", "--signing off"]);
    replay(&strict, &[]).expect(0);
}
