//! Tests of `store`: damaged values and damaged files.

use std::{fs, path::Path};

use smbench_core::{
    event::{Entry, Recorder},
    ids::ShardId,
};

use super::*;
use crate::{Journal, JournalWriter, sample::Sample, verify::verify_open};

/// Two shards with several blocks each; the second is not finished.
fn journal(path: &Path, events: usize) -> Vec<Vec<Entry>> {
    let writer = JournalWriter::create(path, &Sample::meta(2)).unwrap();
    writer
        .attach("ops.jsonl", b"{\"id\":0}\n".to_vec())
        .unwrap();
    let shards = (0..2u32)
        .map(|shard| {
            let entries: Vec<_> = Sample::new(u64::from(shard)).take(events).collect();
            let mut recorder = writer.recorder(ShardId(shard)).unwrap();
            for entry in &entries {
                recorder.record(entry).unwrap();
            }
            if shard == 0 {
                recorder.finish(entries[0].before).unwrap();
            }
            entries
        })
        .collect();
    writer.close().unwrap();
    shards
}

/// The keys of all values in a tree.
fn keys(tree: &sled::Tree) -> Vec<sled::IVec> {
    tree.iter().keys().collect::<Result<_, _>>().unwrap()
}

/// Everything read is right; gives how many events were read and how many errors.
fn check(journal: &Journal, shards: &[Vec<Entry>]) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    for shard in journal.shards() {
        let Ok(entries) = journal.salvage(shard) else {
            bad += 1;
            continue;
        };
        for entry in entries {
            match entry {
                Ok(entry) => {
                    let seq = usize::try_from(entry.seq).unwrap();
                    assert!(entry.matches(&shards[shard.index()][seq]), "wrong {seq}");
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
    }
    (good, bad)
}

#[test]
fn flips_in_values_are_seen_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 3_000);
    let keys: Vec<Vec<_>> = {
        let store = Store::open(&path).unwrap();
        store.shards.values().map(keys).collect()
    };
    assert!(keys[0].len() > 5 && keys[1].len() > 4, "{keys:?}");
    let mut flips = 0;
    for (shard, keys) in (0u32..).zip(&keys) {
        for (index, key) in keys.iter().enumerate() {
            let original = {
                let store = Store::open(&path).unwrap();
                let tree = store.tree(shard).unwrap();
                let original = tree.get(key).unwrap().unwrap();
                let mut value = original.to_vec();
                let at = (index * 7_919 + 13 * index) % value.len();
                value[at] ^= 1 << (index % 8);
                tree.insert(key, value).unwrap();
                tree.flush().unwrap();
                original
            };
            flips += 1;
            let last = index + 1 == keys.len();
            let journal = Journal::open(&path).unwrap();
            let report = verify_open(&journal).unwrap();
            assert!(!report.is_sound(), "shard {shard}, key {index}");
            let (good, bad) = check(&journal, &shards);
            if last {
                assert_eq!(journal.tail().map(|tail| tail.shard), Some(Some(shard)));
            } else {
                assert_eq!(bad, 1);
                let block = u64::from_be_bytes(key.as_ref().try_into().unwrap());
                let problem = &report.problems[0];
                let name = format!("shard {shard}, block at event {block}:");
                assert!(problem.starts_with(&name), "{problem}");
                assert!(good > 4_000);
            }
            drop(journal);
            let store = Store::open(&path).unwrap();
            let tree = store.tree(shard).unwrap();
            tree.insert(key, original).unwrap();
            tree.flush().unwrap();
        }
    }
    assert!(flips > 10);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(check(&journal, &shards), (6_000, 0));
}

#[test]
fn a_lost_block_is_a_gap_and_a_lost_end_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 3_000);
    let next = {
        let store = Store::open(&path).unwrap();
        let tree = store.tree(0).unwrap();
        let keys = keys(tree);
        tree.remove(&keys[1]).unwrap();
        let last = keys.len() - 2;
        tree.remove(&keys[last]).unwrap();
        u64::from_be_bytes(keys[2].as_ref().try_into().unwrap())
    };
    let journal = Journal::open(&path).unwrap();
    let errors: Vec<_> = journal
        .salvage(ShardId(0))
        .unwrap()
        .filter_map(Result::err)
        .collect();
    assert!(
        matches!(errors[0], JournalError::Damaged { shard: 0, block, damage: Damage::Gap { .. } } if block == next),
        "{errors:?}"
    );
    assert!(
        matches!(
            errors[1],
            JournalError::Damaged {
                damage: Damage::Count {
                    expected: 3_000,
                    ..
                },
                ..
            }
        ),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2);
    assert_eq!(check(&journal, &shards).1, 2);
}

#[test]
fn a_torn_large_event_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let mut entries: Vec<_> = Sample::new(5).take(50).collect();
    let noise = Sample::new(6).noise(250_000);
    entries[49].input = smbench_core::event::Input::Received {
        conn: smbench_core::ids::ConnId(0),
        frame: smbench_core::frame::Frame {
            bytes: noise,
            cuts: Vec::new(),
        },
        seal: smbench_core::event::Seal::Plain,
    };
    let writer = JournalWriter::create(&path, &Sample::meta(1)).unwrap();
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    for entry in &entries {
        recorder.record(entry).unwrap();
    }
    writer.close().unwrap();
    {
        let store = Store::open(&path).unwrap();
        let tree = store.tree(0).unwrap();
        let keys = keys(tree);
        assert!(keys.len() > 4, "one block, one of several pieces");
        for key in &keys {
            assert!(tree.get(key).unwrap().unwrap().len() < 64 << 10);
        }
        tree.remove(keys.last().unwrap()).unwrap();
    }
    let journal = Journal::open(&path).unwrap();
    let tail = journal.tail().unwrap();
    assert_eq!((tail.shard, tail.from), (Some(0), 49));
    let read: Vec<_> = journal.entries(ShardId(0)).unwrap().collect();
    assert_eq!(read.len(), 49);
    assert!(read.iter().all(Result::is_ok));
}

#[test]
fn flips_in_files_never_give_wrong_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 2_000);
    let db = path.join("db");
    let whole = fs::read(&db).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut refused, mut seen, mut harmless, mut left) = (0, 0, 0, 0);
    let mut state = 1u64;
    for round in 0..41u32 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 20).unwrap() % used;
        let mut bytes = whole.clone();
        // The first round only copies.
        if round > 0 {
            bytes[at] ^= 1 << (round % 8);
        }
        let copy = dir.path().join(format!("copy-{round}"));
        copy_folder(&path, &copy);
        fs::write(copy.join("db"), &bytes).unwrap();
        let Ok(journal) = Journal::open(&copy) else {
            refused += 1;
            continue;
        };
        let (good, bad) = check(&journal, &shards);
        let sound = verify_open(&journal).unwrap().is_sound();
        let ended = journal.finish_digest(ShardId(0)).is_some();
        let first = journal.entries(ShardId(0)).map(|all| all.flatten().count());
        // Shard 1 is open: its last blocks may go without a trace, as after a crash. Shard 0 has
        // its end, or is seen not to.
        assert!(
            !sound || !ended || first.is_ok_and(|count| count == 2_000),
            "byte {at}"
        );
        if good == 4_000 && bad == 0 && ended {
            harmless += 1;
        } else {
            assert!(
                round > 0,
                "the copy is not the journal: {good} events, {bad} errors"
            );
            seen += 1;
            left += good;
        }
    }
    println!("40 flips in {used} bytes: {refused} refused, {seen} seen, {harmless} harmless");
    println!("on average {} of 4000 events left", left / seen.max(1));
    assert!(refused + seen > 0);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &to);
        } else {
            fs::copy(item.path(), to).unwrap();
        }
    }
}
