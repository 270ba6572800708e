//! Figures of the journal: `cargo bench -p smbench-journal`.
//!
//! One run prints them all, with their ratios, since figures of different runs on a shared machine
//! do not compare. `SMBENCH_EVENTS` sets the number of events (default 2,000,000).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failure here is a failed run"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use smbench_core::{
    event::{Entry, Recorder},
    ids::ShardId,
};
use smbench_journal::{
    Existing, Journal, JournalWriter, WriterStats, export, import, sample::Sample, verify,
};

fn main() {
    let events = std::env::var("SMBENCH_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000_000usize);
    let dir = tempfile::tempdir().expect("a folder for the journals");
    println!(
        "{events} events of {} bytes on average, encoded frames apart",
        frame_bytes()
    );
    let floor = generate(events);
    for producers in [1, 4] {
        let path = dir.path().join(format!("store-{producers}"));
        let (took, cpu_wait, stats) = record(&path, producers, events);
        println!(
            "record, {producers} producer(s): {:>9} events/s, {} stalls of {:.1} ms in all, \
             {:.1} B/event encoded, {:.1} B/event in blocks, ratio to making events {:.2}, \
             close took {:.0} ms",
            rate(events, took),
            stats.stalls,
            stats.stall_ns as f64 / 1e6,
            stats.raw_bytes as f64 / events as f64,
            stats.stored_bytes as f64 / events as f64,
            took.as_secs_f64() / floor.as_secs_f64(),
            cpu_wait.as_secs_f64() * 1e3,
        );
        let begun = Instant::now();
        let journal = Journal::open(&path).expect("the journal just written");
        let opened = begun.elapsed();
        let disk = journal.size();
        println!(
            "  open: {:.0} ms; on disk {:.1} B/event",
            ms(opened),
            per(disk, events)
        );
        read(&journal, events);
        let bundle = path.with_extension("smbj");
        let begun = Instant::now();
        let report = export(&journal, &bundle, Existing::Keep).expect("a bundle");
        println!(
            "  export: {:>9} events/s; bundle {:.1} B/event, {:.2} of the folder",
            rate(events, begun.elapsed()),
            per(report.bytes, events),
            report.bytes as f64 / disk as f64,
        );
        let begun = Instant::now();
        let journal = Journal::open(&bundle).expect("the bundle just written");
        println!("  open: {:.1} ms", ms(begun.elapsed()));
        read(&journal, events);
        let begun = Instant::now();
        assert!(verify(&journal).expect("a bundle").is_sound());
        println!("  verify: {:>9} events/s", rate(events, begun.elapsed()));
        let begun = Instant::now();
        import(&journal, path.with_extension("back")).expect("a folder");
        println!("  import: {:>9} events/s", rate(events, begun.elapsed()));
    }
    println!("peak resident memory: {}", peak_memory());
}

/// What making the events costs without a journal.
fn generate(events: usize) -> Duration {
    let mut chunk = 0;
    let mut took = Duration::ZERO;
    let entries = batch();
    while chunk < events {
        let begun = Instant::now();
        let mut renumber = Renumber::default();
        for entry in &entries {
            std::hint::black_box(renumber.next(entry));
        }
        took += begun.elapsed();
        chunk += entries.len();
    }
    println!("making events alone: {:>9} events/s", rate(events, took));
    took
}

fn record(path: &Path, producers: u32, events: usize) -> (Duration, Duration, WriterStats) {
    let writer = JournalWriter::create(path, &Sample::meta(producers)).expect("a journal");
    let each = events / producers as usize;
    let entries = batch();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for shard in 0..producers {
            let mut recorder = writer.recorder(ShardId(shard)).expect("a recorder");
            let entries = &entries;
            scope.spawn(move || {
                let mut renumber = Renumber::default();
                for entry in entries.iter().cycle().take(each) {
                    recorder.record(renumber.next(entry)).expect("room");
                }
                recorder.finish(entries[0].before).expect("room");
            });
        }
    });
    let took = begun.elapsed();
    let stats = writer.close().expect("a sound journal");
    (took, begun.elapsed() - took, stats)
}

fn read(journal: &Journal, events: usize) {
    let begun = Instant::now();
    let mut count = 0;
    for shard in journal.shards() {
        for entry in journal.entries(shard).expect("a shard") {
            std::hint::black_box(entry.expect("an event"));
            count += 1;
        }
    }
    println!(
        "  read: {:>9} events/s ({count} events)",
        rate(events, begun.elapsed())
    );
}

/// Events made beforehand, so that making them is not what is measured. Long enough that no
/// compression window sees one twice.
fn batch() -> Vec<Entry> {
    Sample::new(3).take(200_000).collect()
}

/// Gives prepared entries the numbers and times of a long run.
#[derive(Default)]
struct Renumber {
    seq: u64,
    entry: Option<Entry>,
    base: u64,
    last: u64,
}

impl Renumber {
    fn next(&mut self, from: &Entry) -> &Entry {
        if from.seq == 0 {
            self.base = self.last;
        }
        let entry = self.entry.get_or_insert_with(|| from.clone());
        // Takes over the memory of the entry before: copying costs what filling a buffer from a
        // socket costs.
        entry.clone_from(from);
        entry.seq = self.seq;
        entry.now.0 = from.now.0 + self.base;
        self.last = entry.now.0;
        self.seq += 1;
        entry
    }
}

fn frame_bytes() -> usize {
    let entries = batch();
    let bytes: usize = entries
        .iter()
        .map(|entry| match &entry.input {
            smbench_core::event::Input::Received { frame, .. } => frame.bytes.len(),
            _ => 0,
        })
        .sum();
    bytes / entries.len()
}

fn rate(events: usize, took: Duration) -> u64 {
    (events as f64 / took.as_secs_f64()) as u64
}

fn per(bytes: u64, events: usize) -> f64 {
    bytes as f64 / events as f64
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn peak_memory() -> String {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("VmHWM"))?;
            Some(
                line.split_whitespace()
                    .skip(1)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        })
        .unwrap_or_else(|| "unknown".to_owned())
}
