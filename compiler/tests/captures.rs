//! Every capture of the shared corpus, held against what tshark found in it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;
use smbench_compiler::capture::{CaptureEvent, Direction, FrameKind, read_capture};

/// SMB2 counts are exact where the oracle's are, at least as high where it lost data, and at most
/// as high where messages are sealed. The oracle counts SMB1 per `AndX` part and in datagrams too,
/// so that count is a bound from above.
#[test]
fn corpus_matches_the_oracle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    println!("{} captures under {}", files.len(), root.display());
    let mut wrong = Vec::new();
    for (capture, summary) in &files {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let expected: Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
        let approximate = expected["tcp_reassemble_out_of_order"] == "off";
        let counts = count(capture, approximate);
        let number = |field: &str| expected[field].as_u64().unwrap();
        let want = (number("requests"), number("responses"));
        let got = (counts.requests, counts.responses);
        let fine = if counts.sealed > 0 {
            got.0 <= want.0 && got.1 <= want.1
        } else if approximate {
            got.0 >= want.0 && got.1 >= want.1
        } else {
            got == want
        };
        let smb1_fine = counts.smb1 <= number("smb1_messages")
            && (counts.smb1 > 0) == (number("smb1_messages") > 0);
        if got != want {
            println!("{name}: {got:?}, oracle {want:?}, sealed {}", counts.sealed);
        }
        let agrees = fine && smb1_fine && counts.wrong_way == 0;
        if !agrees && !KNOWN.contains(&name.as_str()) {
            println!("  {name}: {counts:?}");
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "differ from the oracle: {wrong:?}");
}

/// Fuzzed SMB1 with broken lengths: where frames begin in it is a matter of taste.
const KNOWN: &[&str] = &["zeek__smb_smb1-OSS-fuzz-54883.pcap"];

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    responses: u64,
    smb1: u64,
    sealed: u64,
    wrong_way: u64,
    gaps: u64,
    problems: BTreeMap<&'static str, u64>,
}

/// Parts of messages count only where the oracle had to take parts as well.
fn count(capture: &Path, parts: bool) -> Counts {
    let mut counts = Counts::default();
    let input = Box::new(File::open(capture).unwrap());
    let stats = read_capture(vec![input], &mut |event| {
        let CaptureEvent::Frame(info, payload) = event else {
            return;
        };
        if !info.complete && !parts {
            return;
        }
        match info.kind {
            FrameKind::Smb1 => counts.smb1 += 1,
            FrameKind::Smb2 => walk(payload, info.dir, &mut counts),
            FrameKind::Transform | FrameKind::Compressed => counts.sealed += 1,
        }
    })
    .unwrap();
    counts.problems = stats.problems;
    counts.gaps = stats.gaps;
    counts
}

fn walk(mut message: &[u8], dir: Direction, counts: &mut Counts) {
    while message.len() >= 20 && message.starts_with(b"\xfeSMB") {
        let response = message[16] & 1 != 0;
        if response {
            counts.responses += 1;
        } else {
            counts.requests += 1;
        }
        counts.wrong_way += u64::from(response != (dir == Direction::ServerToClient));
        let Some(next) = message.get(20..24) else {
            return;
        };
        let next = u32::from_le_bytes(next.try_into().unwrap()) as usize;
        if next == 0 || next > message.len() {
            return;
        }
        message = &message[next..];
    }
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, PathBuf)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let summary = folder.join("expected").join(format!("{name}.summary.json"));
        if summary.exists() {
            files.push((path, summary));
        }
    }
}
