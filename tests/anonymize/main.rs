//! Nothing of an original survives `anonymize`, and the result replays as the original does.
//!
//! What must not survive is gathered here, from the JSON and the blobs of the original, without
//! help of the code under test. What may is read from the lists of docs/ANONYMIZE.md. The captures
//! are those that ship, and the smaller ones of the shared set where it is there; all of them with
//! `SMBENCH_TEST_ALL_CAPTURES=1`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod outcome;
mod secrets;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use outcome::{Outcome, listings};
use secrets::{FILES, Secrets};
use serde_json::Value;
use smbench_compiler::anonymize::{Seed, anonymize};
use smbench_compiler::{CompileOptions, SessionKeys, compile};
use smbench_core::workload::Workload;
use support::cli::{Scratch, capture};

#[test]
fn no_original_survives() {
    let scratch = Scratch::new();
    let (mut files, mut words, mut windows) = (0, 0, 0);
    for path in captures() {
        let Some((original, clean)) = both(&scratch, &path) else {
            continue;
        };
        let secrets = Secrets::of(&original);
        let survivors = secrets.survivors(&clean);
        assert!(survivors.is_empty(), "{}: {survivors:#?}", path.display());
        // The search finds what is there.
        let found = secrets.survivors(&original);
        let blind = found.is_empty() && secrets.words.len() + secrets.windows.len() > 0;
        assert!(!blind, "{}", path.display());
        files += 1;
        words += secrets.words.len();
        windows += secrets.windows.len();
    }
    println!("{files} captures, {words} words and {windows} windows of data, none survives");
    assert!(files >= 8 && words > 100 && windows > 1_000);
}

#[test]
fn it_replays_with_the_same_divergences() {
    let scratch = Scratch::new();
    let (mut files, mut operations) = (0, 0);
    for path in captures() {
        let Some((original, clean)) = both(&scratch, &path) else {
            continue;
        };
        let (mut before, mut after) = (Outcome::of(&original), Outcome::of(&clean));
        if path.ends_with(ORDER_OF_NAMES) {
            let listings = listings(&original);
            before.leave_out(&listings);
            after.leave_out(&listings);
        }
        assert_eq!(before, after, "{}", path.display());
        files += 1;
        operations += before.statuses.len();
    }
    println!("{files} captures, {operations} answers, each as before");
    assert!(files >= 8 && operations > 1_500);
}

#[test]
fn the_same_seed_gives_the_same_folder_and_no_seed_another() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    for (out, seed) in [
        ("a", Some("7")),
        ("b", Some("7")),
        ("c", Some("8")),
        ("d", None),
        ("e", None),
    ] {
        let mut args = vec!["anonymize", "work", "-o", out];
        args.extend(seed.map(|seed| ["--seed", seed]).into_iter().flatten());
        scratch.run(args).expect(0);
    }
    let bytes = |folder: &str| FILES.map(|file| fs::read(scratch.path(folder).join(file)).unwrap());
    assert_eq!(bytes("a"), bytes("b"));
    let different: BTreeSet<_> = ["a", "c", "d", "e"].map(bytes).into_iter().collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn the_mapping_is_secret_and_whole() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    let told = scratch
        .run([
            "anonymize",
            "work",
            "-o",
            "clean",
            "--map",
            "map.json",
            "--json",
        ])
        .expect(0)
        .json();
    assert!(
        told["replaced"]["names"]["places"].as_u64() > Some(100),
        "{told}"
    );
    assert_eq!(told["replaced"]["sids"]["places"], 0);
    let path = scratch.path("map.json");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let map: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let workload: Workload =
        serde_json::from_slice(&fs::read(scratch.path("clean/workload.json")).unwrap()).unwrap();
    let users: Vec<&str> = map["users"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        workload
            .principals
            .iter()
            .all(|it| users.contains(&it.name.as_str()))
    );
    assert_eq!(map["shares"]["data"], workload.trees[0].share());
    assert!(map["addresses"]["10.44.51.10"].is_string());
    let team = map["words"]["team"].as_str().unwrap();
    assert!(
        fs::read_to_string(scratch.path("clean/ops.jsonl"))
            .unwrap()
            .contains(team)
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "work");
    let refused = |args: &[&str], code, says: &str| {
        scratch
            .run(["anonymize"].iter().chain(args))
            .expect(code)
            .says(&[says]);
    };
    refused(&["work", "-o", "work"], 2, "is the original");
    refused(&["work", "-o", "work", "--force"], 2, "is the original");
    refused(&["nowhere", "-o", "x"], 3, "is no workload folder");
    refused(
        &["work", "-o", "x", "--map", "x/map.json"],
        2,
        "lies in a workload",
    );
    refused(
        &["work", "-o", "x", "--map", "work/map.json"],
        2,
        "lies in a workload",
    );
    scratch.file("there.json", "mine");
    refused(
        &["work", "-o", "x", "--map", "there.json"],
        3,
        "cannot make",
    );
    assert!(!scratch.path("x").exists());
    scratch.run(["anonymize", "work", "-o", "x"]).expect(0);
    refused(&["work", "-o", "x"], 2, "exists");
    scratch
        .run(["anonymize", "work", "-o", "x", "--force"])
        .expect(0);
}

/// A capture's workload and the one made anonymous; none where it holds no request.
fn both(scratch: &Scratch, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let (original, clean) = (scratch.path("original"), scratch.path("clean"));
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut options = CompileOptions::default();
    let keys = [
        format!("{name}.keys.json"),
        name.replace(".pcap", ".keys.json"),
    ];
    if let Some(keys) = keys
        .iter()
        .find_map(|it| fs::read(path.with_file_name(it)).ok())
    {
        options.keys = SessionKeys::read_list(&keys).unwrap();
    }
    let input: Box<dyn std::io::Read + Send> = Box::new(fs::File::open(path).unwrap());
    let compiled = compile(vec![(name, input)], options, &original).ok()?;
    if compiled.workload.operations == 0 {
        fs::remove_dir_all(&original).unwrap();
        return None;
    }
    anonymize(&original, &clean, &Seed::from_number(1)).unwrap();
    Some((original, clean))
}

/// The captures that ship, and those of the shared set.
fn captures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(capture("").as_path(), &mut found);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let mut shared = Vec::new();
    for folder in ["own", "public"] {
        gather(&root.join(folder), &mut shared);
    }
    if std::env::var_os("SMBENCH_TEST_ALL_CAPTURES").is_none() {
        shared.retain(|path| fs::metadata(path).unwrap().len() <= 32 << 10);
    }
    found.extend(shared);
    found.sort();
    found
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            gather(&path, found);
        } else if [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
}

/// Its listings are read in parts while names are deleted, so the order of names matters.
const ORDER_OF_NAMES: &str = "smbtorture_smb2.dir.pcap";
