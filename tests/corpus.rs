//! Replays the fuzzers' corpus with the fuzzers' own code, on the stable toolchain and without a
//! fuzzer: a crash that was found once stays found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a test stops where it fails"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use smbench_compiler::capture::{CaptureEvent, Direction, read_capture};
use smbench_compiler::{CompileOptions, compile};
use smbench_core::smb2::{Header, PROTOCOL_ID};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = root().join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for path in &files {
        // The name of a file that fails is what one needs to know.
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
    }
    let rounds = rounds();
    for path in &files {
        let whole = fs::read(path).unwrap();
        for round in 0..rounds {
            let bytes = spoiled(&whole, round);
            let done = std::panic::catch_unwind(|| run(&bytes));
            if let Err(panic) = done {
                let found = std::env::temp_dir().join(format!("smbench-{target}-{round}"));
                fs::write(&found, &bytes).unwrap();
                println!("{} of {}: {}", round, path.display(), found.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!(
        "{target}: {} files, each spoiled {rounds} times",
        files.len()
    );
}

/// How often each file is spoiled: few in an ordinary run, as many as asked for by hand.
fn rounds() -> u64 {
    let asked = std::env::var("SMBENCH_TEST_SPOIL").ok();
    asked.map_or(20, |text| text.parse().unwrap())
}

/// The bytes with a few of them changed, cut, doubled or moved: the same for the same round.
fn spoiled(whole: &[u8], round: u64) -> Vec<u8> {
    let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound.max(1)
    };
    let mut bytes = whole.to_vec();
    for _ in 0..=below(6) {
        let at = below(bytes.len());
        let len = below(64).min(bytes.len() - at);
        match below(6) {
            0 | 1 => bytes[at] ^= 1 << below(8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let part = bytes[at..at + len].to_vec();
                let to = below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let word = [0_u32, u32::MAX, 0x8000_0000, below(1 << 20) as u32][below(4)];
                for (slot, byte) in bytes[at..].iter_mut().zip(word.to_le_bytes()) {
                    *slot = byte;
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn messages() {
    replay("smb2_message", fuzz::smb2_message);
}

#[test]
fn captures() {
    replay("capture", fuzz::capture);
}

#[test]
fn compilations() {
    replay("compile", fuzz::compile);
}

#[test]
fn workloads() {
    replay("workload", fuzz::workload);
}

#[test]
fn journals() {
    replay("journal_bytes", fuzz::journal_bytes);
}

/// Journals are spoiled by their events, which a fuzzer of bytes would never get to.
#[test]
fn changed_journals() {
    replay("journal_mutate", fuzz::journal_mutate);
    let folder = root().join("fuzz/corpus/journal_mutate");
    let (mut changed, mut tried) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let whole = fs::read(entry.unwrap().path()).unwrap();
        for seed in 0..rounds() {
            tried += 1;
            if let Some(bytes) = fuzz::changed_journal(&whole, seed) {
                fuzz::journal_mutate(&bytes);
                changed += 1;
            }
        }
    }
    println!("{changed} of {tried} journals were changed");
    assert_eq!(changed, tried);
}

#[test]
fn made_up_workloads() {
    replay("engine_vs_model", fuzz::engine_vs_model);
}

#[test]
fn what_is_given_away() {
    replay("anonymize", fuzz::anonymize);
}

#[test]
fn what_leaves_stays_in_the_root() {
    replay("confinement", fuzz::confinement);
}

#[test]
fn frames_to_the_server() {
    replay("server_frames", fuzz::server_frames);
}

/// No seed of the first corpus is lost. `SMBENCH_TEST_WRITE_CORPUS=1` makes them anew of the captures.
#[test]
fn every_capture_has_its_seeds() {
    for name in [
        "smbclient_dialect_SMB3_11",
        "leases3_plain",
        "collab6_seed1",
    ] {
        seed(name);
    }
    let sample = fs::read(root().join("tests/journals/v1/sample.smbj")).unwrap();
    put("journal_bytes", "sample", &sample);
    put("journal_bytes", "sample_torn", &sample[..sample.len() / 2]);
}

fn seed(name: &str) {
    let path = root().join("tests/captures").join(format!("{name}.pcap"));
    let bytes = fs::read(&path).unwrap();
    put("capture", name, &bytes[..6_000]);
    put("compile", name, &bytes[..20_000]);

    let mut kinds: BTreeMap<(u16, bool), Vec<u8>> = BTreeMap::new();
    let mut script = Vec::new();
    read_capture(vec![Box::new(Cursor::new(bytes.clone()))], &mut |event| {
        let CaptureEvent::Frame(info, frame) = event else {
            return;
        };
        if !frame.starts_with(&PROTOCOL_ID) || !info.complete || frame.len() > 1_500 {
            return;
        }
        let to_server = info.dir == Direction::ClientToServer;
        let command = Header::decode(frame).unwrap().command.0;
        let smallest = kinds.entry((command, to_server)).or_default();
        if smallest.is_empty() || frame.len() < smallest.len() {
            *smallest = frame.to_vec();
        }
        if to_server && script.len() < 16_000 {
            script.extend([(info.conn & 3) as u8, 1]);
            script.extend((frame.len() as u16).to_le_bytes());
            script.extend(frame);
        }
    })
    .unwrap();
    put("server_frames", name, &script);
    for ((command, to_server), frame) in kinds {
        let way = if to_server { "request" } else { "response" };
        put(
            "smb2_message",
            &format!("{name}_{command:02}_{way}"),
            &frame,
        );
    }

    let folder = std::env::temp_dir().join(format!("smbench-seed-{}", std::process::id()));
    let input: Box<dyn std::io::Read + Send> = Box::new(Cursor::new(bytes));
    let inputs = vec![(name.to_owned(), input)];
    let compiled = compile(inputs, CompileOptions::default(), &folder).unwrap();
    let mut lines = serde_json::to_string(&compiled.workload).unwrap();
    for line in fs::read_to_string(folder.join("ops.jsonl"))
        .unwrap()
        .lines()
        .take(30)
    {
        lines.push('\n');
        lines.push_str(line);
    }
    put("workload", name, lines.as_bytes());
    put("anonymize", name, lines.as_bytes());
    fs::remove_dir_all(folder).unwrap();
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder: &Path = &root().join("fuzz/corpus").join(target);
    if std::env::var_os("SMBENCH_TEST_WRITE_CORPUS").is_some() {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
    let kept = fs::metadata(folder.join(name)).map_or(0, |meta| meta.len());
    assert!(kept > 0, "the corpus of {target} has lost {name}");
}
