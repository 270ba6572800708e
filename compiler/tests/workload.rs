//! Every capture of the shared corpus, compiled and held against what tshark found in it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::Value;
use smbench_compiler::{CompileOptions, Passwords, SessionKeys, compile, folder::FolderReader};
use smbench_core::{
    engine::{Plan, RunConfig},
    smb2::Command,
    workload::{Action, Expect, Operation, Rule, Workload},
};

struct Work {
    folder: PathBuf,
    workload: Workload,
    ops: Vec<Operation>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures")
}

/// Captures with what is expected of them.
fn captures() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    let mut folders = vec![corpus()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let summary = path.with_file_name(format!("expected/{name}.summary.json"));
            if let Ok(summary) = fs::read(summary) {
                found.push((path, serde_json::from_slice(&summary).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Compiles as the oracle was run: with its keys and passwords.
fn work(capture: &Path, summary: &Value, test: &str) -> Work {
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let mut options = CompileOptions::default();
    let args: Vec<&str> = summary["oracle_args"]
        .as_array()
        .map(|args| args.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for pair in args.windows(2) {
        match pair {
            ["--keys", file] => {
                let file = Path::new(file).file_name().unwrap();
                let json = fs::read(capture.with_file_name(file)).unwrap();
                options.keys = SessionKeys::read_list(&json).unwrap();
            }
            ["--nt-password", password] => {
                options.passwords = Passwords::of_everybody(password);
            }
            _ => {}
        }
    }
    let folder = format!("smbench-workload-{}-{test}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let input = Box::new(File::open(capture).unwrap());
    compile(vec![(name, input)], options, &folder).unwrap();
    let reader = FolderReader::open(&folder).unwrap();
    let ops = reader.operations().unwrap().map(Result::unwrap).collect();
    let workload = reader.into_workload();
    Work {
        folder,
        workload,
        ops,
    }
}

/// Nothing is lost where the oracle is exact; its captures with holes are bounds from below.
#[test]
fn corpus_is_compiled_whole() {
    let captures = captures();
    println!("{} captures under {}", captures.len(), corpus().display());
    let mut wrong = Vec::new();
    for (capture, summary) in &captures {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let work = work(capture, summary, "whole");
        let coverage = &work.workload.coverage;
        let requests: u64 = coverage.by_command.values().sum();
        let cut = work.ops.iter().filter(|op| op.cut).count() as u64;
        let want = summary["requests"].as_u64().unwrap();
        let approximate = summary["tcp_reassemble_out_of_order"] == "off";
        println!(
            "{name}: {requests} of {want} requests, {cut} cut, {}/{} exact",
            coverage.reencoded_exact, coverage.reencoded_total
        );
        let all = requests - cut.min(requests) <= want && requests >= want;
        let fine = (all || approximate && requests >= want || KNOWN.contains(&name.as_str()))
            && coverage.reencoded_exact == coverage.reencoded_total
            && coverage.reencoded_total == requests - cut
            && coverage.requests_seen == requests;
        if !fine {
            wrong.push(name.clone());
        }
        if want == requests && cut == 0 {
            let commands = summary["requests_by_cmd"].as_object().unwrap();
            let commands: BTreeMap<String, u64> = commands
                .iter()
                .map(|(command, count)| (command.clone(), count.as_u64().unwrap()))
                .filter(|(_, count)| *count > 0)
                .collect();
            assert_eq!(coverage.by_command, commands, "{name}");
        }
        sound(&work, &name);
    }
    assert!(wrong.is_empty(), "differ from the oracle: {wrong:?}");
}

/// Fuzzed SMB1 with broken lengths: what in it looks like SMB2 is a matter of taste.
const KNOWN: &[&str] = &["zeek__smb_smb1-OSS-fuzz-54883.pcap"];

/// What a workload promises of itself; the engine takes it, so its order has no cycle either.
fn sound(work: &Work, name: &str) {
    let workload = &work.workload;
    let plan = Plan::build(workload, work.ops.clone(), &RunConfig::default(), |_| true);
    assert_eq!(plan.map(|plan| plan.len()), Ok(work.ops.len()), "{name}");
    for (line, op) in work.ops.iter().enumerate() {
        let what = format!("{name}: operation {line}: {op:?}");
        assert_eq!(op.id.index(), line, "{what}");
        let inside = |number: Option<u32>, len: usize| number.is_none_or(|it| (it as usize) < len);
        assert!(op.client.index() < workload.clients.len(), "{what}");
        assert!(op.conn.index() < workload.connections.len(), "{what}");
        assert!(
            inside(op.session.map(|it| it.0), workload.sessions.len()),
            "{what}"
        );
        assert!(
            inside(op.tree.map(|it| it.0), workload.trees.len()),
            "{what}"
        );
        assert!(
            inside(op.open.map(|it| it.0), workload.opens as usize),
            "{what}"
        );
        let before = |other: u32| (other as usize) < line;
        let edges = op.after.iter().map(|edge| edge.id.0);
        assert!(
            { edges }.all(|it| inside(Some(it), work.ops.len())),
            "{what}"
        );
        assert!(op.cancels.is_none_or(|it| before(it.0)), "{what}");
        assert!(op.resume_key_of.is_none_or(|it| before(it.0)), "{what}");
        if let Some(compound) = op.compound {
            let first = line - usize::from(compound.position);
            assert_eq!(compound.first.index(), first, "{what}");
        }
        if let Action::Request(request) = &op.action {
            assert_eq!(request.command(), op.cmd, "{what}");
        }
    }
}

/// Statuses of final responses, where tshark and we see the same requests.
#[test]
fn statuses_are_those_of_the_oracle() {
    let mut ran = 0;
    for (capture, summary) in captures() {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let own = capture.components().any(|part| part.as_os_str() == "own");
        let exact = summary["tcp_reassemble_out_of_order"] != "off";
        if !own || !exact {
            continue;
        }
        let work = work(&capture, &summary, "status");
        let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
        let requests = work
            .ops
            .iter()
            .filter(|op| matches!(op.action, Action::Request(_)));
        for Expect { status, .. } in requests.filter_map(|op| op.expect.as_ref()) {
            *statuses.entry(format!("{:#010x}", status.0)).or_default() += 1;
        }
        let want = summary["final_status"].as_object().unwrap();
        let want: BTreeMap<String, u64> = want
            .iter()
            .map(|(status, count)| (status.clone(), count.as_u64().unwrap()))
            .collect();
        assert_eq!(statuses, want, "{name}");
        ran += 1;
    }
    println!("{ran} captures");
}

/// Without keys encrypted frames are counted by session, and nothing is made up.
#[test]
fn what_stays_encrypted_is_counted() {
    let capture = corpus().join("own/scenario/leases3_enc128gcm.pcap");
    if !capture.exists() {
        return println!("0 captures");
    }
    let work = work(&capture, &Value::Null, "sealed");
    let skipped = &work.workload.coverage.skipped;
    let sealed = skipped
        .iter()
        .filter(|(reason, _)| reason.starts_with("encrypted"));
    let (sessions, frames) = sealed.fold((0, 0), |(n, sum), (_, count)| (n + 1, sum + count));
    println!("{sessions} sessions, {frames} frames");
    assert_eq!(sessions, 4);
    assert!(frames > 600, "{skipped:?}");
    assert!(work.ops.iter().any(|op| op.session.is_some()));
}

/// Two runs over one capture write the same bytes.
#[test]
fn compiling_twice_gives_the_same_folder() {
    let mut ran = 0;
    for name in [
        "own/scenario/leases3_plain.pcap",
        "own/torture/smbtorture_smb2.compound.pcap",
        "public/zeek__smb_smb2_100_small_files.pcap",
    ] {
        let capture = corpus().join(name);
        if !capture.exists() {
            continue;
        }
        let read = |test| {
            let work = work(&capture, &Value::Null, test);
            [
                "workload.json",
                "ops.jsonl",
                "namespace.jsonl",
                "blobs.pack",
            ]
            .map(|file| fs::read(work.folder.join(file)).unwrap())
        };
        assert!(read("once") == read("twice"), "{name}");
        ran += 1;
    }
    println!("{ran} captures");
}

/// A session is its first user's, whoever is named when it is bound or logged in to again; and it
/// lives until those of other clients who name it have heard.
#[test]
fn sessions_that_others_bind_keep_their_user_and_wait_for_them() {
    let capture = corpus().join("own/torture/smbtorture_smb2.session.pcap");
    if !capture.exists() {
        return println!("0 captures");
    }
    let work = work(&capture, &Value::Null, "sessions");
    let workload = FolderReader::open(&work.folder).unwrap().into_workload();
    let name = |principal: u32| workload.principals[principal as usize].name.as_str();
    let mut named = BTreeMap::new();
    for op in &work.ops {
        if let (Some(session), Some(principal)) = (op.session, op.principal) {
            let first = name(workload.sessions[session.index()].principal);
            assert_eq!(op.cmd, Command::SESSION_SETUP);
            *named.entry((first, name(principal.0))).or_default() += 1;
        }
    }
    // Re-authentications as nobody in reauth2 to reauth5, refused logins in bind_invalid_auth.
    let (alice, nobody) = (
        "WORKGROUP\\alice",
        "__NONE__INVALID__NONE__\\__none__invalid__none__",
    );
    assert_eq!(
        named,
        BTreeMap::from([((alice, ""), 4), ((alice, nobody), 2)])
    );
    let mut waiting = 0;
    for end in &work.ops {
        let Action::Disconnect(_) = end.action else {
            continue;
        };
        for edge in end.after.iter().filter(|it| it.rule == Rule::Setup) {
            let visit = &work.ops[edge.id.index()];
            let home = workload.sessions[visit.session.unwrap().index()].conn;
            assert!(home == end.conn && visit.conn != end.conn);
            waiting += u32::from(visit.client != end.client);
        }
    }
    assert!(waiting > 0);
}

/// What was read of a file before it was written is in its entry, and in the pack.
#[test]
fn the_namespace_holds_what_was_found() {
    let capture = corpus().join("public/zeek__smb_smb2_100_small_files.pcap");
    if !capture.exists() {
        return println!("0 captures");
    }
    let work = work(&capture, &Value::Null, "namespace");
    let folder = FolderReader::open(&work.folder).unwrap();
    let blobs = folder.blobs().unwrap();
    let entries: Vec<_> = folder.namespace().unwrap().map(Result::unwrap).collect();
    let mut above: Vec<String> = Vec::new();
    for entry in &entries {
        if let Some((folder, _)) = entry.path.rsplit_once('\\') {
            assert!(above.contains(&folder.to_lowercase()), "{entry:?}");
        }
        above.push(entry.path.to_lowercase());
        for extent in &entry.content {
            let data = blobs.get(&extent.data.blake3).unwrap();
            assert_eq!(data.len(), extent.data.len as usize);
        }
    }
    println!("{} entries", entries.len());
}
