//! Every feature of SMB that a capture can hold, found in the shared corpus: what of it came out.
//!
//! `workload.rs` beside this holds each capture against tshark; here each feature is looked for,
//! so that a corpus without it, or a compiler that loses it, is seen. See docs/COVERAGE.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

use smbench_compiler::{CompileOptions, Passwords, compile, folder::FolderReader};
use smbench_core::{
    smb2::{
        Command, ContextTag, CreateRequest, CreateResponse, FileId, Fsctl, HeaderFlags,
        IoctlRequest, IoctlResponse, Name, NtStatus, Request, Response, WriteRequest,
        WriteResponse,
    },
    workload::{Action, Operation, Workload},
};

#[path = "support/wire.rs"]
mod wire;

use wire::Wire;

/// What is found where: feature, then capture and how often.
type Found = BTreeMap<&'static str, BTreeMap<String, u64>>;

#[test]
fn the_corpus_shows_every_feature() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let mut captures = Vec::new();
    collect(&corpus, &mut captures);
    captures.sort();
    let mut found = Found::new();
    for capture in &captures {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let folder = format!("smbench-coverage-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let options = CompileOptions {
            passwords: Passwords::of_everybody("Passw0rd!"),
            ..CompileOptions::default()
        };
        let input = Box::new(File::open(capture).unwrap());
        compile(vec![(name.clone(), input)], options, &folder).unwrap();
        let reader = FolderReader::open(&folder).unwrap();
        let ops: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
        let workload = reader.into_workload();
        fs::remove_dir_all(&folder).unwrap();
        for (feature, count) in features(&workload, &ops) {
            if count > 0 {
                let by_name = found.entry(feature).or_default();
                by_name.insert(name.clone(), count);
            }
        }
    }
    println!("{} captures", captures.len());
    let all: BTreeSet<&str> = features(&Workload::default(), &[]).into_keys().collect();
    for feature in &all {
        let by_name = found.get(feature).cloned().unwrap_or_default();
        let most = by_name.iter().max_by_key(|(_, count)| **count);
        let total: u64 = by_name.values().sum();
        println!(
            "{feature}: {total} in {} captures, most in {most:?}",
            by_name.len()
        );
    }
    if !captures.is_empty() {
        // Nobody captured these: they are made below.
        let made = ["replay flag", "resume keys"];
        let missing = all
            .iter()
            .filter(|it| !found.contains_key(*it) && !made.contains(it));
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "nowhere in the corpus: {missing:?}");
    }
}

/// A server-side copy and a WRITE that is sent again, in the middle of a session.
#[test]
fn copies_by_resume_key_and_replays_are_kept() {
    let mut wire = Wire::new();
    let none = HeaderFlags::empty();
    for id in [1, 2] {
        let create = CreateRequest {
            name: Name::Text(format!("file{id}")),
            ..CreateRequest::default()
        };
        let created = CreateResponse {
            file_id: FileId::from_bytes([id; 16]),
            ..CreateResponse::default()
        };
        wire.exchange(none, create.into(), &[], Response::Create(created));
    }
    let mut ioctl = |ctl_code, id, input: Vec<u8>, output: Vec<u8>| {
        let file_id = FileId::from_bytes([id; 16]);
        let asked = IoctlRequest {
            ctl_code,
            file_id,
            input,
            ..IoctlRequest::default()
        };
        let got = IoctlResponse {
            ctl_code,
            file_id,
            output,
            ..IoctlResponse::default()
        };
        wire.exchange(none, asked.into(), &[], Response::Ioctl(got));
    };
    let key = [0x5a; 24];
    let told = [&key[..], &[0; 8]].concat();
    ioctl(Fsctl::SRV_REQUEST_RESUME_KEY, 1, Vec::new(), told);
    let chunk = [&key[..], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 24]].concat();
    ioctl(Fsctl::SRV_COPYCHUNK, 2, chunk, vec![0; 12]);
    for flags in [none, HeaderFlags::REPLAY] {
        let write = WriteRequest {
            length: 5,
            file_id: FileId::from_bytes([2; 16]),
            ..WriteRequest::default()
        };
        let written = WriteResponse {
            count: 5,
            ..WriteResponse::default()
        };
        wire.exchange(flags, write.into(), b"again", Response::Write(written));
    }
    let folder = format!("smbench-coverage-{}-made", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let input = Box::new(std::io::Cursor::new(wire.into_pcap()));
    let name = "made.pcap".to_owned();
    compile(vec![(name, input)], CompileOptions::default(), &folder).unwrap();
    let reader = FolderReader::open(&folder).unwrap();
    let ops: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
    let found = features(reader.workload(), &ops);
    fs::remove_dir_all(&folder).unwrap();
    let (made, ops): (Vec<Operation>, Vec<Operation>) =
        ops.into_iter().partition(|op| op.reconstructed);
    let commands: Vec<Command> = made.iter().map(|op| op.cmd).collect();
    let set_up = [
        Command::NEGOTIATE,
        Command::SESSION_SETUP,
        Command::TREE_CONNECT,
    ];
    assert_eq!(commands, set_up);
    assert_eq!(ops.len(), 6);
    let of = |feature| found[feature];
    assert_eq!((of("replay flag"), of("resume keys")), (1, 1));
    assert_eq!((of("sessions inferred"), of("trees inferred")), (0, 0));
    assert_eq!(ops[3].resume_key_of, Some(ops[2].id));
    assert_eq!(ops[4].data, ops[5].data);
    assert!(ops.iter().all(|op| op.expect.is_some()), "{ops:#?}");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "expected" {
            collect(&path, found);
        } else if [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz", ".cap"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
}

/// How often each feature is in a workload.
fn features(workload: &Workload, ops: &[Operation]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    let mut count = |feature, is: &dyn Fn(&Operation) -> bool| {
        counts.insert(feature, ops.iter().filter(|op| is(op)).count() as u64);
    };
    let request = |op: &Operation, is: &dyn Fn(&Request) -> bool| match &op.action {
        Action::Request(request) => is(request),
        _ => false,
    };
    let status =
        |op: &Operation, wanted: NtStatus| op.expect.as_ref().is_some_and(|it| it.status == wanted);
    let context = |op: &Operation, tag: ContextTag| {
        request(
            op,
            &|it| matches!(it, Request::Create(it) if it.contexts.iter().any(|it| it.tag == tag)),
        )
    };
    let fsctl = |op: &Operation, code: Fsctl| {
        request(
            op,
            &|it| matches!(it, Request::Ioctl(it) if it.ctl_code == code),
        )
    };
    let pipe = |op: &Operation| {
        let tree = op.tree.and_then(|it| workload.trees.get(it.index()));
        tree.is_some_and(|it| it.share_type == 2)
    };
    count("SMB1 negotiate", &|op| {
        matches!(op.action, Action::Smb1Negotiate(_))
    });
    count("related compounds", &|op| {
        op.compound.is_some_and(|it| it.related)
    });
    count("unrelated compounds", &|op| {
        op.compound.is_some_and(|it| it.position > 0 && !it.related)
    });
    count("interim responses", &|op| {
        op.expect.as_ref().is_some_and(|it| it.interim_us.is_some())
    });
    count("break notifications", &|op| {
        matches!(op.action, Action::Break(_))
    });
    count("cancels", &|op| op.cancels.is_some());
    count("cancelled", &|op| status(op, NtStatus::CANCELLED));
    count("multi-credit", &|op| op.charge > 1);
    count("several credits at once", &|op| op.credits > 1);
    count("durable requests", &|op| {
        context(op, ContextTag::DHNQ) || context(op, ContextTag::DH2Q)
    });
    count("durable reclaims", &|op| op.reclaims.is_some());
    count("replay flag", &|op| op.flags.contains(HeaderFlags::REPLAY));
    count("leases", &|op| context(op, ContextTag::RQLS));
    count("pipe operations", &|op| {
        pipe(op) && matches!(op.cmd, Command::READ | Command::WRITE)
    });
    count("pipe transceive", &|op| fsctl(op, Fsctl::PIPE_TRANSCEIVE));
    count("DFS referrals", &|op| fsctl(op, Fsctl::DFS_GET_REFERRALS));
    count("validate negotiate", &|op| {
        fsctl(op, Fsctl::VALIDATE_NEGOTIATE_INFO)
    });
    count("interface queries", &|op| {
        fsctl(op, Fsctl::QUERY_NETWORK_INTERFACE_INFO)
    });
    count("resume keys", &|op| op.resume_key_of.is_some());
    count("other IOCTLs", &|op| op.cmd == Command::IOCTL);
    count("unanswered", &|op| {
        matches!(op.action, Action::Request(_)) && op.expect.is_none() && op.cmd != Command::CANCEL
    });
    count("ends of connections", &|op| {
        matches!(op.action, Action::Disconnect(_))
    });
    count("locks", &|op| op.cmd == Command::LOCK);
    count("change notify", &|op| op.cmd == Command::CHANGE_NOTIFY);
    count("replaced sessions", &|op| op.previous_session.is_some());
    counts.extend(of_sessions(workload, ops));
    counts
}

fn of_sessions(workload: &Workload, ops: &[Operation]) -> BTreeMap<&'static str, u64> {
    let mut conns: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut sessions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut bindings = 0;
    let mut logins: BTreeMap<_, u64> = BTreeMap::new();
    for op in ops {
        if let Some(session) = op.session {
            conns.entry(session).or_default().insert(op.conn);
            sessions.entry(op.conn).or_default().insert(session);
        }
        if let (Action::Request(Request::SessionSetup(it)), Some(session)) =
            (&op.action, op.session)
        {
            bindings += u64::from(it.flags.bits() & 1 != 0);
            let done = op.expect.as_ref().map(|it| it.status) == Some(NtStatus::SUCCESS);
            *logins.entry((op.conn, session)).or_default() += u64::from(done);
        }
    }
    let mut trees: BTreeMap<_, u64> = BTreeMap::new();
    for tree in &workload.trees {
        *trees.entry(tree.session).or_default() += 1;
    }
    let several = |counts: &mut dyn Iterator<Item = usize>| counts.filter(|it| *it > 1).count();
    let encrypted = |(what, count): (&String, &u64)| {
        if what.starts_with("encrypted, session") {
            *count
        } else {
            0
        }
    };
    BTreeMap::from([
        (
            "several channels",
            several(&mut conns.values().map(BTreeSet::len)) as u64,
        ),
        (
            "several sessions",
            several(&mut sessions.values().map(BTreeSet::len)) as u64,
        ),
        (
            "several trees",
            trees.values().filter(|it| **it > 1).count() as u64,
        ),
        ("channel bindings", bindings),
        (
            "logins repeated",
            logins.values().filter(|it| **it > 1).count() as u64,
        ),
        (
            "sessions inferred",
            workload.sessions.iter().filter(|it| it.inferred).count() as u64,
        ),
        (
            "trees inferred",
            workload.trees.iter().filter(|it| it.inferred).count() as u64,
        ),
        ("opens inferred", workload.inferred_opens.len() as u64),
        (
            "encrypted and closed",
            workload.coverage.skipped.iter().map(encrypted).sum(),
        ),
    ])
}
