//! Tests of `transfer`, and of reading back what was written, in both containers.

use std::{fs, path::PathBuf};

use smbench_core::{
    event::{EffectsDigest, Entry, Input, Recorder, Seal},
    frame::Frame,
    ids::{ConnId, ShardId},
};

use super::*;
use crate::{
    JournalWriter, Kind, RunMeta,
    error::Damage,
    sample::Sample,
    verify::{stats, verify},
};

struct Run {
    shards: Vec<(Vec<Entry>, EffectsDigest)>,
}

impl Run {
    fn new(shards: u64, events: usize) -> Self {
        let shards = (0..shards)
            .map(|shard| {
                let mut sample = Sample::new(7 + shard);
                let entries = sample.by_ref().take(events).collect();
                (entries, sample.after())
            })
            .collect();
        Self { shards }
    }

    /// Puts events of every size from nothing to 3 MiB in between.
    fn with_large_ones() -> Self {
        let mut run = Self::new(1, 400);
        let sizes = [0, 61_000, 62_000, 63_500, 65_536, 130_000, 1 << 20, 3 << 20];
        let (entries, _) = &mut run.shards[0];
        for (index, size) in sizes.into_iter().enumerate() {
            let noise = Sample::new(3).noise(size);
            entries[20 + index * 45].input = Input::Received {
                conn: ConnId(9),
                frame: Frame {
                    bytes: noise,
                    cuts: Vec::new(),
                },
                seal: Seal::Plain,
            };
        }
        run
    }

    fn meta(&self) -> RunMeta {
        Sample::meta(u32::try_from(self.shards.len()).unwrap())
    }

    fn store(&self, path: &Path) {
        let writer = JournalWriter::create(path, &self.meta()).unwrap();
        writer.attach("workload.json", b"{}").unwrap();
        writer.attach("ops.jsonl", &attachment()).unwrap();
        for (shard, (entries, after)) in (0u32..).zip(&self.shards) {
            let mut recorder = writer.recorder(ShardId(shard)).unwrap();
            for entry in entries {
                recorder.record(entry).unwrap();
            }
            recorder.finish(*after).unwrap();
        }
        let stats = writer.close().unwrap();
        assert_eq!(stats.events, self.events());
        assert_eq!(stats.lost_events, 0);
    }

    fn bundle(&self, path: &Path) {
        let mut writer = BundleWriter::create(path, &self.meta()).unwrap();
        writer.attach("ops.jsonl", &attachment()).unwrap();
        writer.attach("workload.json", b"{}").unwrap();
        for (shard, (entries, after)) in (0u32..).zip(&self.shards) {
            let mut recorder = writer.shard(ShardId(shard));
            for entry in entries {
                recorder.record(entry).unwrap();
            }
            recorder.finish(*after).unwrap();
        }
        writer.end_file().unwrap();
    }

    fn check(&self, path: &Path) {
        let journal = Journal::open(path).unwrap();
        assert!(journal.is_finished());
        assert!(journal.tails().is_empty());
        assert_eq!(journal.shards().len(), self.shards.len());
        assert_eq!(journal.attachment("ops.jsonl").unwrap(), attachment());
        assert_eq!(journal.attachment("workload.json").unwrap(), b"{}");
        assert_eq!(
            journal.attachments().unwrap(),
            ["ops.jsonl", "workload.json"]
        );
        assert_eq!(journal.meta().seed, 42);
        for (shard, (entries, after)) in (0u32..).zip(&self.shards) {
            let shard = ShardId(shard);
            assert_eq!(journal.finish_digest(shard), Some(*after));
            let mut read = journal.entries(shard).unwrap();
            for entry in entries {
                let stored = read.next().unwrap().unwrap();
                assert!(stored.matches(entry), "{stored:?} is not {entry:?}");
                assert_eq!(stored.block_before.is_some(), entry.seq.is_multiple_of(64));
            }
            assert!(read.next().is_none());
            for from in [1, 63, 300, entries.len() as u64 - 1] {
                let mut read = journal.entries_from(shard, from).unwrap();
                assert_eq!(read.next().unwrap().unwrap().seq, from);
                assert_eq!(read.count() as u64, entries.len() as u64 - from - 1);
            }
            let mut behind = journal.entries_from(shard, entries.len() as u64).unwrap();
            assert!(behind.next().is_none());
        }
        let report = verify(&journal).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.stats.events, self.events());
    }

    fn events(&self) -> u64 {
        self.shards
            .iter()
            .map(|(entries, _)| entries.len() as u64)
            .sum()
    }
}

/// Larger than a piece, in either container, once compressed.
fn attachment() -> Vec<u8> {
    Sample::new(4).noise(600_000)
}

fn open(path: &Path) -> Journal {
    Journal::open(path).unwrap()
}

fn paths(dir: &tempfile::TempDir) -> [PathBuf; 4] {
    ["a", "b.smbj", "c", "d.smbj"].map(|name| dir.path().join(name))
}

#[test]
fn a_store_becomes_a_bundle_and_back() {
    for run in [
        Run::new(1, 2_000),
        Run::new(3, 5_000),
        Run::with_large_ones(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let [store, bundle, store2, bundle2] = paths(&dir);
        run.store(&store);
        run.check(&store);
        let report = export(&open(&store), &bundle, Existing::Keep).unwrap();
        assert_eq!((report.events, report.attachments), (run.events(), 2));
        run.check(&bundle);
        import(&open(&bundle), &store2).unwrap();
        run.check(&store2);
        export(&open(&store2), &bundle2, Existing::Keep).unwrap();
        assert_eq!(fs::read(&bundle).unwrap(), fs::read(&bundle2).unwrap());
    }
}

#[test]
fn a_bundle_is_the_same_whichever_way_it_came_about() {
    let run = Run::new(2, 3_000);
    let dir = tempfile::tempdir().unwrap();
    let [store, exported, _, direct] = paths(&dir);
    run.store(&store);
    export(&open(&store), &exported, Existing::Keep).unwrap();
    run.bundle(&direct);
    assert_eq!(fs::read(&exported).unwrap(), fs::read(&direct).unwrap());
    let again = dir.path().join("again.smbj");
    export(&open(&direct), &again, Existing::Keep).unwrap();
    assert_eq!(fs::read(&again).unwrap(), fs::read(&direct).unwrap());
}

#[test]
fn an_unfinished_run_stays_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let [store, bundle, store2, bundle2] = paths(&dir);
    let writer = JournalWriter::create(&store, &Sample::meta(2)).unwrap();
    let mut recorder = writer.recorder(ShardId(1)).unwrap();
    for entry in Sample::new(1).take(100) {
        recorder.record(&entry).unwrap();
    }
    writer.close().unwrap();
    export(&open(&store), &bundle, Existing::Keep).unwrap();
    import(&open(&bundle), &store2).unwrap();
    export(&open(&store2), &bundle2, Existing::Keep).unwrap();
    for path in [&store, &bundle, &store2, &bundle2] {
        let journal = Journal::open(path).unwrap();
        assert!(!journal.is_finished());
        assert_eq!(journal.finish_digest(ShardId(1)), None);
        assert_eq!(journal.entries(ShardId(0)).unwrap().count(), 0);
        assert_eq!(journal.entries(ShardId(1)).unwrap().count(), 100);
    }
}

#[test]
fn empty_runs_are_journals() {
    let dir = tempfile::tempdir().unwrap();
    let [store, bundle, ..] = paths(&dir);
    let writer = JournalWriter::create(&store, &Sample::meta(1)).unwrap();
    let after = EffectsDigest(5);
    writer.recorder(ShardId(0)).unwrap().finish(after).unwrap();
    writer.close().unwrap();
    export(&open(&store), &bundle, Existing::Keep).unwrap();
    for (path, kind) in [(&store, Kind::Store), (&bundle, Kind::Bundle)] {
        let stats = stats(&open(path)).unwrap();
        assert_eq!((stats.kind, stats.events), (kind, 0));
        assert_eq!(stats.shards[0].finish, Some(after));
    }
}

#[test]
fn nothing_is_written_over_and_nothing_else_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let [store, bundle, ..] = paths(&dir);
    Run::new(1, 5).bundle(&bundle);
    let error = BundleWriter::create(&bundle, &Sample::meta(1))
        .err()
        .unwrap();
    assert!(matches!(error, JournalError::Exists { .. }));
    fs::create_dir(&store).unwrap();
    let not_one = |path: &Path| {
        let error = Journal::open(path).unwrap_err();
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
    };
    not_one(&store);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    fs::write(store.join("file"), "x").unwrap();
    not_one(&store.join("file"));
    let error = JournalWriter::create(&store, &Sample::meta(1)).unwrap_err();
    assert!(matches!(error, JournalError::Exists { .. }));
    let error = Journal::open(dir.path().join("none")).unwrap_err();
    assert!(matches!(error, JournalError::Io { .. }));
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let [store, ..] = paths(&dir);
    let writer = JournalWriter::create(&store, &Sample::meta(1)).unwrap();
    let error = Journal::open(&store).unwrap_err();
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
    writer.close().unwrap();
    Journal::open(&store).unwrap();
}

#[test]
fn many_may_read_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let [store, ..] = paths(&dir);
    Run::new(1, 50).store(&store);
    let (first, second) = (open(&store), open(&store));
    for journal in [first, second] {
        assert_eq!(journal.entries(ShardId(0)).unwrap().count(), 50);
    }
}

#[test]
fn a_future_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [store, ..] = paths(&dir);
    let json = br#"{"format":2,"strange":true}"#.to_vec();
    let writer = JournalWriter::create_raw(&store, json, 1).unwrap();
    writer.close().unwrap();
    let error = Journal::open(&store).unwrap_err();
    assert!(matches!(
        error,
        JournalError::UnknownFormat { got: 2, known: 1 }
    ));
}

/// Everything in the folder but `except`.
fn beside(dir: &tempfile::TempDir, except: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir.path()).unwrap();
    items
        .map(|item| item.unwrap().path())
        .filter(|path| path != except)
        .collect()
}

#[test]
fn damage_is_not_carried_over_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [_, whole, store, bundle] = paths(&dir);
    Run::new(2, 3_000).bundle(&whole);
    let bytes = fs::read(&whole).unwrap();
    fs::remove_file(&whole).unwrap();
    let damaged = dir.path().join("damaged.smbj");
    let step = bytes.len() / 60;
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        for bytes in [&flipped, &bytes[..at].to_vec()] {
            fs::write(&damaged, bytes).unwrap();
            let Ok(journal) = Journal::open(&damaged) else {
                continue;
            };
            let error = export(&journal, &bundle, Existing::Keep).unwrap_err();
            assert!(error.is_damage(), "byte {at}: {error}");
            let error = import(&journal, &store).unwrap_err();
            assert!(error.is_damage(), "byte {at}: {error}");
            assert!(beside(&dir, &damaged).is_empty(), "byte {at}");
        }
    }
}

#[test]
fn what_shows_only_on_the_way_leaves_nothing_either() {
    // An end that tells of more events than there are, under right checksums.
    let dir = tempfile::tempdir().unwrap();
    let [forged, bundle, store, _] = paths(&dir);
    let mut writer = BundleWriter::create(&forged, &Sample::meta(1)).unwrap();
    let entry = Sample::new(1).next_entry();
    writer.record(ShardId(0), &entry).unwrap();
    writer.cut_shard(ShardId(0)).unwrap();
    writer.forge_end(0, 7).unwrap();
    writer.end_file().unwrap();
    let journal = open(&forged);
    for done in [
        export(&journal, &bundle, Existing::Keep),
        import(&journal, &store),
    ] {
        let error = done.unwrap_err();
        let JournalError::Damaged { damage, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(damage, Damage::Count { .. }), "{damage}");
    }
    assert!(beside(&dir, &forged).is_empty());
}

#[test]
fn a_bundle_that_is_there_is_kept_until_the_next_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let [store, bundle, ..] = paths(&dir);
    Run::new(1, 300).store(&store);
    fs::write(&bundle, "mine").unwrap();
    let error = export(&open(&store), &bundle, Existing::Keep).unwrap_err();
    assert!(matches!(error, JournalError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&bundle).unwrap(), b"mine");
    // What is no bundle is never replaced; an empty file is nobody's work.
    let error = can_export(&bundle, Existing::Replace).unwrap_err();
    assert!(matches!(error, JournalError::NotABundle { .. }), "{error}");
    assert_eq!(fs::read(&bundle).unwrap(), b"mine");
    fs::write(&bundle, "").unwrap();
    export(&open(&store), &bundle, Existing::Replace).unwrap();
    can_export(&bundle, Existing::Replace).unwrap();
    export(&open(&store), &bundle, Existing::Replace).unwrap();
    assert_eq!(open(&bundle).entries(ShardId(0)).unwrap().count(), 300);
    // What is no file is never replaced.
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let error = can_export(&folder, Existing::Keep).unwrap_err();
    assert!(matches!(error, JournalError::Exists { .. }), "{error}");
    let error = can_export(&folder, Existing::Replace).unwrap_err();
    assert!(matches!(error, JournalError::NotAFile { .. }), "{error}");
    let error = can_export(dir.path().join("none/a.smbj"), Existing::Keep).unwrap_err();
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}
