//! Journals of every format version ever released must open, and give what they always gave.
//!
//! Each is a bundle in `tests/journals/vN/` or a folder in it, with the NDJSON of its events beside
//! it. They are never changed; a new version adds a folder. Of folders there are two formats: that
//! of `v1/sample` is the first. `SMBENCH_WRITE_SAMPLE=1` makes the sample of the
//! current version where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failure here is a failed test"
)]

use std::{fs, path::PathBuf};

use smbench_core::{
    event::{Input, NetFailure, TokenOutcome},
    frame::{Content, Cut},
    ids::{ConnId, SessionRef, ShardId},
};
use smbench_journal::{
    BundleWriter, FORMAT, Journal, RunMeta, import, sample::Sample, verify, write_ndjson,
};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/journals"))
}

fn ndjson(journal: &Journal) -> String {
    let mut lines = Vec::new();
    write_ndjson(journal, &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

#[test]
fn every_released_format_opens() {
    write_sample();
    let mut count = 0;
    for version in fs::read_dir(folder()).unwrap() {
        let version = version.unwrap().path();
        if !version.is_dir() {
            continue;
        }
        for file in fs::read_dir(&version).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "ndjson") {
                continue;
            }
            // A bundle, or the folder of the same journal.
            let journal = Journal::open(&path).unwrap();
            let expected = fs::read_to_string(path.with_extension("ndjson")).unwrap();
            assert!(ndjson(&journal) == expected, "{}", path.display());
            assert_eq!(journal.meta().engine, 1, "{}", path.display());
            let report = verify(&journal).unwrap();
            assert!(
                report.is_sound(),
                "{}: {:?}",
                path.display(),
                report.problems
            );
            for name in journal.attachments().unwrap() {
                journal.attachment(&name).unwrap();
            }
            let dir = tempfile::tempdir().unwrap();
            import(&journal, dir.path().join("store")).unwrap();
            let store = Journal::open(dir.path().join("store")).unwrap();
            assert!(ndjson(&store) == expected, "{}", path.display());
            count += 1;
        }
    }
    println!("{count} stored journals opened");
    assert!(count >= 2);
}

#[test]
fn the_sample_has_every_kind_of_event() {
    let text = fs::read_to_string(folder().join("v1/sample.ndjson")).unwrap();
    for kind in [
        "start",
        "connected",
        "connect_failed",
        "closed",
        "received",
        "token_ready",
        "wake",
        "completed",
        "stop",
    ] {
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "{kind}");
    }
}

/// Makes the sample of the current version when asked to, and never over one that is there.
fn write_sample() {
    let dir = folder().join(format!("v{FORMAT}"));
    let path = dir.join("sample.smbj");
    if std::env::var_os("SMBENCH_WRITE_SAMPLE").is_none() || path.exists() {
        return;
    }
    fs::create_dir_all(&dir).unwrap();
    let meta = RunMeta {
        commit: Some("0000000000000000000000000000000000000000".to_owned()),
        started_unix_ns: Some(1_700_000_000_000_000_000),
        facts: [("dialect".to_owned(), "3.1.1".to_owned())].into(),
        ..Sample::meta(2)
    };
    let mut writer = BundleWriter::create(&path, &meta).unwrap();
    writer
        .attach("ops.jsonl", b"{\"id\":0}\n{\"id\":1}\n")
        .unwrap();
    writer.attach("workload.json", b"{\"format\":1}\n").unwrap();
    for shard in [ShardId(0), ShardId(1)] {
        let mut sample = Sample::new(u64::from(shard.0) + 1);
        for (index, mut entry) in sample.by_ref().take(80).enumerate() {
            let conn = ConnId(3);
            match index {
                70 => {
                    entry.input = Input::ConnectFailed {
                        conn,
                        reason: NetFailure::Refused,
                    };
                }
                71 => {
                    entry.input = Input::Closed {
                        conn,
                        reason: NetFailure::TimedOut,
                    };
                }
                72 => {
                    entry.input = Input::TokenReady {
                        conn,
                        session: SessionRef(1),
                        outcome: TokenOutcome::Failed,
                    };
                }
                79 => entry.input = Input::Stop,
                _ => {
                    if let Input::Received { frame, .. } = &mut entry.input
                        && index % 10 == 3
                    {
                        frame.cuts.push(Cut {
                            at: 64,
                            len: 7,
                            content: Content::Token,
                        });
                    }
                }
            }
            writer.record(shard, &entry).unwrap();
        }
        writer.finish_shard(shard, sample.after()).unwrap();
    }
    writer.end_file().unwrap();
    let journal = Journal::open(&path).unwrap();
    fs::write(path.with_extension("ndjson"), ndjson(&journal)).unwrap();
}
