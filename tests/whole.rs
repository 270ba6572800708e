//! Data that a workload's pack lacks, or has otherwise than its digest says, is told before the first
//! request: nothing is ever sent in its place.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use support::cli::Scratch;

const CAPTURE: &str = "smbclient_files.pcap";
const ENVIRONMENT: i32 = 3;

/// The lines of a file, as JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn write_lines(path: &Path, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).unwrap();
}

/// Gives every WRITE that no READ reads back a digest that the pack does not hold; their numbers.
fn take_write_data(work: &Path) -> Vec<u64> {
    let path = work.join("ops.jsonl");
    let mut ops = lines(&path);
    let read: Vec<Value> = (ops.iter())
        .filter(|op| op["cmd"] == "READ")
        .map(|op| op["expect"]["data"]["blake3"].clone())
        .collect();
    let mut changed = Vec::new();
    for op in &mut ops {
        if op["cmd"] == "WRITE" && !read.contains(&op["data"]["blake3"]) {
            let id = op["id"].as_u64().unwrap();
            op["data"]["blake3"] = format!("{id:064x}").into();
            changed.push(id);
        }
    }
    write_lines(&path, &ops);
    changed
}

/// Flips a bit of all data in the pack.
fn damage_pack(work: &Path) {
    let path = work.join("blobs.pack");
    let mut pack = fs::read(&path).unwrap();
    let trailer = pack.len() - 56;
    let index = u64::from_le_bytes(pack[trailer..trailer + 8].try_into().unwrap());
    let index = usize::try_from(index).unwrap();
    pack[8..index].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(&path, pack).unwrap();
}

/// Runs every verb that sends data on `work`, and looks that it ends with `says` before it has
/// spoken to anybody or made a journal.
fn every_verb_says(scratch: &Scratch, work: &str, says: &[&str], verbs: &[&[&str]]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for verb in verbs {
        let mut args = vec![verb[0], work];
        args.extend(&verb[1..]);
        if verb[0] != "sim" {
            args.extend(["--server", &address]);
        }
        let ran = scratch.run(&args);
        ran.expect(ENVIRONMENT).says(says);
        ran.says(&["blobs.pack", "compile its capture again"]);
        assert!(
            listener.accept().is_err(),
            "{verb:?} has spoken to the server"
        );
        assert!(!scratch.path("smbench-journals").exists(), "{verb:?}");
    }
}

const SIM: &[&str] = &["sim", "--speed", "max"];
const REPLAY: &[&str] = &["replay", "--speed", "max"];
const PREPARE_AND_REPLAY: &[&str] = &["replay", "--speed", "max", "--prepare"];
const PREPARE: &[&str] = &["prepare", "--root", "here"];

#[test]
fn data_that_the_pack_lacks_is_told_before_the_first_request() {
    let scratch = Scratch::new();
    let work = scratch.compile(CAPTURE, "work");
    let changed = take_write_data(&work);
    assert!(changed.len() > 2, "{changed:?}");
    let first = format!("operation {} (frame ", changed[0]);
    let count = format!("{} pieces of data in all", changed.len());
    let says = [&first, "does not hold", &count];
    every_verb_says(&scratch, "work", &says, &[SIM, REPLAY, PREPARE_AND_REPLAY]);
}

#[test]
fn data_that_is_damaged_is_told_before_the_first_request() {
    let scratch = Scratch::new();
    let work = scratch.compile(CAPTURE, "work");
    damage_pack(&work);
    let ops = lines(&work.join("ops.jsonl"));
    let first = ops.iter().find(|op| op["cmd"] == "WRITE").unwrap();
    let first = format!("operation {} (frame {})", first["id"], first["frame"]);
    let says = [first.as_str(), "is damaged", "pieces of data in all"];
    every_verb_says(&scratch, "work", &says, &[SIM, REPLAY, PREPARE_AND_REPLAY]);
}

/// What files held before is data as well, wherever it is not made up.
#[test]
fn content_that_the_pack_lacks_is_told_before_anything_is_prepared() {
    let scratch = Scratch::new();
    scratch.compile(CAPTURE, "all");
    let slice = ["slice", "all", "--command", "READ", "-o", "work"];
    scratch.run(slice).expect(0);
    let work = scratch.path("work");
    let path = work.join("namespace.jsonl");
    let mut entries = lines(&path);
    let files = entries.iter_mut().filter(|entry| entry["kind"] == "file");
    let mut names = Vec::new();
    for (at, entry) in files.enumerate() {
        let data = serde_json::json!({ "blake3": format!("{at:064x}"), "len": 1 });
        entry["content"] = serde_json::json!([{ "offset": 0, "data": data }]);
        names.push(entry["path"].as_str().unwrap().to_owned());
    }
    assert!(names.len() > 1, "{names:?}");
    write_lines(&path, &entries);
    let first = names[0].clone();
    let count = format!("{} pieces of data in all", names.len());
    let says = [&first, "begins with data", "does not hold", &count];
    every_verb_says(&scratch, "work", &says, &[SIM, PREPARE, PREPARE_AND_REPLAY]);
}
