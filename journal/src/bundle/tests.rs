//! Tests of `bundle`: whatever happens to the bytes is seen, and what is left is right.

use smbench_core::{
    event::{Entry, Input, Seal},
    frame::Frame,
    ids::{ConnId, ShardId},
};

use super::*;
use crate::{Journal, JournalError, StoredEntry, sample::Sample, verify::verify};

/// Entries of which some fill a block alone, so that a small file has several blocks.
fn entries(shard: u32, count: usize, large_every: usize) -> Vec<Entry> {
    let mut entries: Vec<_> = Sample::new(11 + u64::from(shard)).take(count).collect();
    for entry in entries.iter_mut().skip(9).step_by(large_every) {
        entry.input = Input::Received {
            conn: ConnId(1),
            frame: Frame {
                bytes: vec![0; 270_000],
                cuts: Vec::new(),
            },
            seal: Seal::Plain,
        };
    }
    entries
}

fn bundle(shards: &[Vec<Entry>]) -> Vec<u8> {
    let meta = Sample::meta(u32::try_from(shards.len()).unwrap());
    let mut writer = BundleWriter::new(Vec::new(), &meta).unwrap();
    writer.attach("ops.jsonl", b"{\"id\":0}\n").unwrap();
    for (shard, entries) in (0u32..).map(ShardId).zip(shards) {
        for entry in entries {
            writer.record(shard, entry).unwrap();
        }
        writer.finish_shard(shard, entries[0].before).unwrap();
    }
    writer.end().unwrap()
}

/// Opens damaged bytes and checks that all that is read was written; gives whether the damage was
/// seen.
fn is_seen(bytes: Vec<u8>, shards: &[Vec<Entry>]) -> bool {
    let Ok(journal) = Journal::from_bundle_bytes(bytes) else {
        return true;
    };
    for shard in journal.shards() {
        let original = &shards[shard.index()];
        for entry in journal.salvage(shard).unwrap().flatten() {
            let seq = usize::try_from(entry.seq).unwrap();
            assert!(entry.matches(&original[seq]), "wrong event {seq}");
        }
    }
    !verify(&journal).unwrap().is_sound()
}

#[test]
fn every_flipped_byte_is_seen() {
    let shards = [entries(0, 40, 25), entries(1, 10, 100)];
    let whole = bundle(&shards);
    assert!(!is_seen(whole.clone(), &shards));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(is_seen(bytes, &shards), "byte {at} of {}", whole.len());
    }
}

#[test]
fn a_flip_anywhere_costs_a_block_at_most() {
    let shards = [entries(0, 40, 10), entries(1, 10, 100)];
    let whole = bundle(&shards);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flipped.smbj");
    // All of the file's head and of the first frames, which hold the metadata; then here and there.
    let places = (0..400).chain((400..whole.len()).step_by(7));
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).unwrap();
        let journal = Journal::open_damaged(&path).unwrap();
        let read: usize = journal
            .shards()
            .map(|shard| journal.salvage(shard).unwrap().flatten().count())
            .sum();
        assert!(read >= 50 - 10, "byte {at}: {read} events");
        assert!(!verify(&journal).unwrap().is_sound(), "byte {at}");
    }
    // What is no bundle is none to it either.
    for text in [&b"hello, this is no journal"[..], b"", &whole[..8]] {
        std::fs::write(&path, text).unwrap();
        Journal::open_damaged(&path).unwrap_err();
    }
}

#[test]
fn every_truncation_leaves_a_prefix() {
    let shards = [entries(0, 40, 15), entries(1, 10, 100)];
    let whole = bundle(&shards);
    let mut opened = 0;
    let mut most = 0;
    for len in 0..whole.len() {
        let journal = match Journal::from_bundle_bytes(whole[..len].to_vec()) {
            Ok(journal) => journal,
            Err(error) => {
                assert!(len < 400, "{len} of {} bytes: {error}", whole.len());
                continue;
            }
        };
        opened += 1;
        let tail = journal.tail().unwrap();
        assert_eq!(tail.from + tail.bytes, len as u64);
        let mut read = 0;
        for shard in journal.shards() {
            let original = &shards[shard.index()];
            for (entry, original) in journal.entries(shard).unwrap().zip(original) {
                assert!(entry.unwrap().matches(original));
                read += 1;
            }
        }
        assert!(
            read >= most,
            "{len} bytes give fewer events than {} do",
            len - 1
        );
        most = read;
        let mut problems = verify(&journal).unwrap().problems;
        let torn = problems.pop().unwrap();
        assert!(torn.starts_with("bundle: "), "{torn}");
        let attachment = problems.iter().all(|text| text.starts_with("attachment"));
        assert!(
            attachment && (read == 0 || problems.is_empty()),
            "{problems:?}"
        );
    }
    assert_eq!(most, 50);
    assert!(opened > 1_000, "{opened}");
}

#[test]
fn damage_in_the_middle_is_named_and_the_rest_is_readable() {
    let shards = [entries(0, 60, 20), entries(1, 30, 100)];
    let whole = bundle(&shards);
    let second = {
        let reader = BundleReader::from_bytes(whole.clone()).unwrap();
        reader.frame_of(0, 10).unwrap()
    };
    for cut_trailer in [false, true] {
        let mut bytes = whole.clone();
        bytes[second + FRAME_HEAD + 5] ^= 0x40;
        if cut_trailer {
            bytes.truncate(whole.len() - 1);
        }
        let journal = Journal::from_bundle_bytes(bytes).unwrap();
        let strict: Vec<_> = journal.entries(ShardId(0)).unwrap().collect();
        assert_eq!(strict.len(), 11);
        let error = strict.last().unwrap().as_ref().unwrap_err();
        let JournalError::Damaged { shard, block, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((*shard, *block), (0, 10));
        let salvaged: Vec<_> = journal.salvage(ShardId(0)).unwrap().collect();
        assert_eq!(salvaged.iter().filter(|entry| entry.is_err()).count(), 1);
        let good: Vec<StoredEntry> = salvaged.into_iter().flatten().collect();
        assert_eq!(good.len(), 40);
        assert_eq!(good[10].seq, 30);
        assert_eq!(journal.entries(ShardId(1)).unwrap().flatten().count(), 30);
    }
}

#[test]
fn a_lost_frame_head_is_a_gap() {
    let shards = [entries(0, 60, 20)];
    let mut bytes = bundle(&shards);
    let second = {
        let reader = BundleReader::from_bytes(bytes.clone()).unwrap();
        reader.frame_of(0, 10).unwrap()
    };
    bytes[second] ^= 1;
    bytes.pop();
    let journal = Journal::from_bundle_bytes(bytes).unwrap();
    let error = journal
        .entries(ShardId(0))
        .unwrap()
        .find_map(Result::err)
        .unwrap();
    assert!(error.to_string().contains("block at event 30"), "{error}");
    assert!(error.to_string().contains("from 10 on"), "{error}");
}

#[test]
fn forged_frames_do_not_panic() {
    // Heads with right checksums and wrong numbers.
    let huge = u32::MAX;
    let mut forged = 0;
    for (kind, count, raw_len) in [
        (KIND_EVENTS, 1, huge),
        (KIND_EVENTS, huge, huge),
        (KIND_EVENTS, 0, 0),
        (KIND_EVENTS, 5, 100),
        (KIND_META, 0, 0),
        (KIND_ATTACHMENT, 0, 0),
        (KIND_INDEX, 1, 1),
        (99, 1, 1),
    ] {
        for first in [0, 1, u64::MAX] {
            let mut bytes = bundle(&[entries(0, 20, 100)]);
            let reader = BundleReader::from_bytes(bytes.clone()).unwrap();
            let at = reader.frame_of(0, 0).unwrap();
            let payload = b"(\xb5/\xfd garbage".to_vec();
            let row = Row {
                kind,
                shard: 0,
                first,
                base: u64::MAX,
                count,
                raw_len,
                stored_len: u32::try_from(payload.len()).unwrap(),
                offset: at as u64,
            };
            bytes.truncate(at);
            bytes.extend_from_slice(&row.head(&payload));
            bytes.extend_from_slice(&payload);
            let Ok(journal) = Journal::from_bundle_bytes(bytes) else {
                continue;
            };
            let report = verify(&journal).unwrap();
            assert!(!report.is_sound());
            forged += 1;
        }
    }
    assert!(forged > 20, "{forged}");
}
