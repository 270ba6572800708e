//! Tests of `store`: what is damaged in its files, and what that costs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use smbench_core::{
    event::{Entry, Input, Recorder, Seal},
    frame::Frame,
    ids::{ConnId, ShardId},
};

use super::{value::MAGIC, *};
use crate::{Journal, JournalWriter, error::Damage, sample::Sample, verify::verify};

const OPS: &[u8] = b"{\"id\":0}\n";

/// Two shards with several blocks each; the second is not finished.
fn journal(path: &Path, events: usize) -> Vec<Vec<Entry>> {
    let writer = JournalWriter::create(path, &Sample::meta(2)).unwrap();
    writer.attach("ops.jsonl", OPS).unwrap();
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

/// A value in sled's file: where it begins, its tree, its key and its bytes.
struct Spot {
    at: usize,
    tree: u32,
    key: Vec<u8>,
    len: usize,
}

fn db(folder: &Path) -> PathBuf {
    folder.join("db")
}

/// Every copy of every value.
fn spots(folder: &Path) -> Vec<Spot> {
    let bytes = fs::read(db(folder)).unwrap();
    let starts = bytes.windows(MAGIC.len()).enumerate();
    starts
        .filter(|(_, window)| *window == MAGIC)
        .map(|(at, _)| {
            let head = value::head(&bytes[at..]).unwrap();
            head.content(&bytes[at..]).unwrap();
            Spot {
                at,
                tree: head.tree,
                key: head.key.to_vec(),
                len: head.len,
            }
        })
        .collect()
}

/// Changes one bit at each of the places.
fn flip(folder: &Path, places: impl IntoIterator<Item = usize>, bit: usize) {
    let mut bytes = fs::read(db(folder)).unwrap();
    for at in places {
        bytes[at] ^= 1 << (bit % 8);
    }
    fs::write(db(folder), bytes).unwrap();
}

/// The blocks of a shard, by their first events, ascending, each with where its copies lie.
fn blocks_of(spots: &[Spot], shard: u32) -> BTreeMap<u64, Vec<(usize, usize)>> {
    let mut blocks = BTreeMap::<u64, Vec<(usize, usize)>>::new();
    for spot in spots.iter().filter(|spot| spot.tree == shard) {
        if let Some(seq) = blocks::seq_of(&spot.key) {
            blocks.entry(seq).or_default().push((spot.at, spot.len));
        }
    }
    blocks
}

/// Everything read is right; gives how many events of each shard were read and all errors.
fn check(journal: &Journal, shards: &[Vec<Entry>]) -> (Vec<usize>, Vec<JournalError>) {
    let mut errors = Vec::new();
    let counts = journal.shards().map(|shard| {
        let mut count = 0;
        for entry in journal.salvage(shard).unwrap() {
            match entry {
                Ok(entry) => {
                    let seq = usize::try_from(entry.seq).unwrap();
                    assert!(entry.matches(&shards[shard.index()][seq]), "wrong {seq}");
                    count += 1;
                }
                Err(error) => errors.push(error),
            }
        }
        count
    });
    (counts.collect(), errors)
}

#[test]
fn a_flip_in_a_block_costs_that_block_which_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 3_000);
    let spots = spots(&path);
    let mut flips = 0;
    for shard in 0..2 {
        let blocks = blocks_of(&spots, shard);
        assert!(blocks.len() > 4, "{blocks:?}");
        let ends = blocks.keys().skip(1).copied().chain([3_000]);
        for ((seq, copies), end) in blocks.iter().zip(ends) {
            // In the head, in the content, in the checksum at the end.
            let is_last = end == 3_000;
            for within in [20, 200, copies[0].1 - 1] {
                if within == 20 && is_last && shard == 1 {
                    // Without its head it was never there: this record has no end that would know.
                    continue;
                }
                let places: Vec<_> = copies.iter().map(|(at, _)| at + within).collect();
                flip(&path, places.iter().copied(), within);
                let journal = Journal::open(&path).unwrap();
                let report = verify(&journal).unwrap();
                assert!(!report.is_sound(), "shard {shard}, block {seq}");
                let (good, errors) = check(&journal, &shards);
                let cost = usize::try_from(end - seq).unwrap();
                assert_eq!(good.iter().sum::<usize>(), 6_000 - cost, "{errors:?}");
                let named = report.problems.iter().any(|problem| {
                    problem.starts_with(&format!("shard {shard}, block at event {seq}:"))
                        || problem.ends_with(&format!("events from {seq} on are missing"))
                });
                let cut = report.tails.iter().any(|tail| tail.from == *seq);
                assert!(
                    named || (is_last && (cut || shard == 0)),
                    "{seq}: {report:?}"
                );
                flip(&path, places, within);
                flips += 1;
            }
        }
    }
    assert!(flips > 30);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(check(&journal, &shards).0, [3_000, 3_000]);
}

#[test]
fn a_flip_anywhere_costs_a_block_at_most_and_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 2_000);
    let length = fs::read(db(&path)).unwrap().len();
    let blocks: Vec<u64> = blocks_of(&spots(&path), 0).into_keys().collect();
    let largest = blocks.windows(2).map(|pair| pair[1] - pair[0]).max();
    let largest = usize::try_from(largest.unwrap()).unwrap();
    let (mut harmless, mut seen) = (0, 0);
    for (bit, at) in (0..length).step_by(length / 150).enumerate() {
        flip(&path, [at], bit);
        let journal = Journal::open(&path).unwrap();
        let (good, errors) = check(&journal, &shards);
        let report = verify(&journal).unwrap();
        let lost = 4_000 - good.iter().sum::<usize>();
        assert!(lost <= largest, "byte {at}: {lost} events");
        let has_ops = journal.attachment("ops.jsonl").is_ok_and(|ops| ops == OPS);
        assert_eq!(
            report.is_sound(),
            report.problems.is_empty() && report.tails.is_empty()
        );
        if lost > 0 || !errors.is_empty() || !has_ops {
            assert!(!report.is_sound(), "byte {at}");
        }
        assert!(journal.finish_digest(ShardId(0)).is_some(), "byte {at}");
        if report.is_sound() {
            harmless += 1;
        } else {
            seen += 1;
        }
        flip(&path, [at], bit);
    }
    // Between values lie sled's own pages, which nobody needs any more.
    assert!(
        seen > 80 && harmless > 0,
        "{seen} seen, {harmless} harmless"
    );
}

#[test]
fn a_cut_anywhere_leaves_what_comes_before_and_no_sound_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 2_000);
    let whole = fs::read(db(&path)).unwrap();
    let mut most = 0;
    for length in (0..whole.len()).step_by(whole.len() / 100) {
        fs::write(db(&path), &whole[..length]).unwrap();
        let Ok(journal) = Journal::open(&path) else {
            assert!(length < 2_000, "{length}");
            continue;
        };
        let (good, _) = check(&journal, &shards);
        let good = good.iter().sum::<usize>();
        assert!(good >= most, "{length} bytes give {good} events");
        most = good;
        let sound = verify(&journal).unwrap().is_sound();
        // A folder that was cut may look like that of a run that was.
        assert!(!sound || !journal.is_finished() || good == 4_000);
    }
    assert!(most > 3_000, "{most}");
}

#[test]
fn a_lost_block_is_a_gap_and_a_lost_end_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 3_000);
    let blocks = blocks_of(&spots(&path), 0);
    let seqs: Vec<u64> = blocks.keys().copied().collect();
    let (lost, last) = (seqs[1], *seqs.last().unwrap());
    let copies = [&blocks[&lost], &blocks[&last]].into_iter().flatten();
    flip(&path, copies.map(|(at, _)| *at), 0);
    let journal = Journal::open(&path).unwrap();
    let (_, errors) = check(&journal, &shards);
    assert_eq!(errors.len(), 2, "{errors:?}");
    let damage = |error: &JournalError| match error {
        JournalError::Damaged { block, damage, .. } => (*block, damage.clone()),
        other => panic!("{other}"),
    };
    assert_eq!(
        damage(&errors[0]),
        (seqs[2], Damage::Gap { expected: lost })
    );
    let count = Damage::Count {
        expected: 3_000,
        found: last,
    };
    assert_eq!(damage(&errors[1]), (last, count));
}

/// A run of one shard that was not ended, and of which a part was flushed long ago.
fn unfinished(path: &Path, safe: usize, all: usize) -> Vec<Entry> {
    let writer = JournalWriter::create(path, &Sample::meta(1)).unwrap();
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    let entries: Vec<_> = Sample::new(3).take(all).collect();
    for (index, entry) in entries.iter().enumerate() {
        if index == safe {
            writer.sync().unwrap();
        }
        recorder.record(entry).unwrap();
    }
    writer.close().unwrap();
    entries
}

#[test]
fn what_was_promised_is_damage_and_the_rest_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let entries = unfinished(&path, 1_500, 3_000);
    let blocks = blocks_of(&spots(&path), 0);
    let (mut damaged, mut torn) = (0, 0);
    for (seq, copies) in &blocks {
        let places: Vec<_> = copies.iter().map(|(at, _)| at + 100).collect();
        flip(&path, places.iter().copied(), 1);
        let journal = Journal::open(&path).unwrap();
        let read: Result<Vec<_>, _> = journal.entries(ShardId(0)).unwrap().collect();
        match read {
            Err(error) => {
                assert!(error.is_damage() && *seq < 1_500, "{seq}: {error}");
                assert!(journal.tail().is_none());
                damaged += 1;
            }
            Ok(read) => {
                assert!(*seq >= 1_500, "{seq}");
                assert_eq!(read.len() as u64, *seq);
                let mut pairs = read.iter().zip(&entries);
                assert!(pairs.all(|(stored, entry)| stored.matches(entry)));
                assert_eq!(journal.tail().unwrap().from, *seq);
                torn += 1;
            }
        }
        flip(&path, places, 1);
    }
    assert!(damaged > 1 && torn > 1, "{damaged} damaged, {torn} torn");
}

#[test]
fn a_torn_large_event_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let mut entries: Vec<_> = Sample::new(5).take(50).collect();
    entries[49].input = Input::Received {
        conn: ConnId(0),
        frame: Frame {
            bytes: Sample::new(6).noise(250_000),
            cuts: Vec::new(),
        },
        seal: Seal::Plain,
    };
    let writer = JournalWriter::create(&path, &Sample::meta(1)).unwrap();
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    for entry in &entries {
        recorder.record(entry).unwrap();
    }
    writer.close().unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.entries(ShardId(0)).unwrap().flatten().count(), 50);
    assert!(journal.tail().is_none());
    // Its last piece, wherever that is.
    let mut lost = 0;
    for file in scan::files_in(&path).unwrap() {
        let mut bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let head = value::head(&bytes[at..]);
            let is_last = head.is_some_and(|it| it.tree == 0 && it.key == last_piece());
            if is_last {
                bytes[at] ^= 1;
                lost += 1;
            }
        }
        fs::write(&file, bytes).unwrap();
    }
    assert!(lost > 0);
    let journal = Journal::open(&path).unwrap();
    let tail = journal.tail().unwrap();
    assert_eq!((tail.shard, tail.from), (Some(0), 49));
    let read: Vec<_> = journal.entries(ShardId(0)).unwrap().collect();
    assert_eq!(read.len(), 49);
    assert!(read.iter().all(Result::is_ok));
}

/// A block of 250,000 bytes is 62 KiB and six more pieces.
fn last_piece() -> Vec<u8> {
    blocks::piece_key(49, 7 - 1)
}

#[test]
fn metadata_and_ends_are_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 500);
    let spots = spots(&path);
    let places = |key: &str| -> Vec<usize> {
        let of = spots.iter().filter(|it| it.key == key.as_bytes());
        of.map(|it| it.at + 9).collect()
    };
    for name in ["meta", "end/00000"] {
        let both = copies(name);
        for one in &both {
            flip(&path, places(one), 2);
            let journal = Journal::open(&path).unwrap();
            assert!(journal.finish_digest(ShardId(0)).is_some());
            let report = verify(&journal).unwrap();
            assert_eq!(report.problems, [format!("{one}: missing")]);
            flip(&path, places(one), 2);
        }
    }
    for one in copies("meta") {
        flip(&path, places(&one), 2);
    }
    let error = Journal::open(&path).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let journal = Journal::open_damaged(&path).unwrap();
    assert_eq!(check(&journal, &shards).0, [500, 500]);
}

#[test]
fn a_flipped_marker_and_a_lost_attachment_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 500);
    let marker = path.join(MARKER);
    let mut text = fs::read(&marker).unwrap();
    text[3] ^= 4;
    fs::write(&marker, text).unwrap();
    let spots = spots(&path);
    let heads = spots.iter().filter(|it| it.key == b"attachment/ops.jsonl");
    flip(&path, heads.map(|it| it.at + 9), 2);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(check(&journal, &shards).0, [500, 500]);
    let problems = verify(&journal).unwrap().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("attachment ops.jsonl: missing"));
    assert!(problems[1].starts_with("smbench-journal"));
    let error = journal.attachment("ops.jsonl").unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[test]
fn a_lost_piece_of_an_attachment_is_told_and_not_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bundle) = (dir.path().join("j"), dir.path().join("b.smbj"));
    let noise = Sample::new(2).noise(200_000);
    let writer = JournalWriter::create(&path, &Sample::meta(1)).unwrap();
    writer.attach("noise", &noise).unwrap();
    writer.close().unwrap();
    assert!(Journal::open(&path).unwrap().attachment("noise").unwrap() == noise);
    // Of one file in which sled keeps large pages or of another.
    let pieces = [0, 3, 6].map(|index| attachment_piece_key("noise", index));
    for piece in pieces {
        let kept = contents(&path);
        let mut lost = 0;
        for (file, mut bytes) in kept.clone() {
            for at in 0..bytes.len() {
                let head = value::head(&bytes[at..]);
                if head.is_some_and(|it| it.key == piece) {
                    bytes[at] ^= 1;
                    lost += 1;
                }
            }
            fs::write(file, bytes).unwrap();
        }
        assert!(lost > 0);
        let journal = Journal::open(&path).unwrap();
        let problems = verify(&journal).unwrap().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("attachment noise: "),
            "{problems:?}"
        );
        let error = crate::export(&journal, &bundle, crate::Existing::Keep).unwrap_err();
        assert!(error.is_damage() && !bundle.exists(), "{error}");
        for (file, bytes) in kept {
            fs::write(file, bytes).unwrap();
        }
    }
}

#[test]
fn a_damaged_piece_of_an_attachment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    journal(&path, 100);
    let spots = spots(&path);
    let piece = attachment_piece_key("ops.jsonl", 0);
    let pieces: Vec<&Spot> = spots.iter().filter(|it| it.key == piece).collect();
    flip(&path, pieces.iter().map(|it| it.at + it.len - 6), 3);
    let journal = Journal::open(&path).unwrap();
    let problems = verify(&journal).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let named = problems[0].starts_with("attachment/ops.jsonl, piece 0: checksum");
    assert!(named, "{problems:?}");
}

/// The content of every file in a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = scan::files_in(folder).unwrap();
    files
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).unwrap();
            (file, bytes)
        })
        .collect()
}

#[test]
fn reading_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let shards = journal(&path, 2_000);
    let before = contents(&path);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(check(&journal, &shards).0, [2_000, 2_000]);
    assert!(journal.note().is_none());
    drop(journal);
    assert!(contents(&path) == before);
}

#[test]
fn an_older_folder_is_read_from_a_copy_that_is_removed() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/journals/v1/sample"
    ));
    let before = contents(path);
    let journal = Journal::open(path).unwrap();
    let note = journal.note().unwrap().to_owned();
    let (_, copy) = note.rsplit_once(" in ").unwrap();
    assert!(Path::new(copy).is_dir(), "{note}");
    assert_eq!(journal.entries(ShardId(1)).unwrap().flatten().count(), 80);
    drop(journal);
    assert!(!Path::new(copy).exists(), "{note}");
    assert!(contents(path) == before);
}
