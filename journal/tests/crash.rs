//! Kills a recording process at random points: what it was told to be durable must be there, and
//! what is there must be a prefix without gaps.
//!
//! `SMBENCH_CRASHES` sets the number of kills (default 12).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failure here is a failed test"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use smbench_core::{
    event::{Entry, Input, Recorder, Seal},
    frame::Frame,
    ids::{ConnId, ShardId},
};
use smbench_journal::{Journal, JournalError, JournalWriter, sample::Sample};

const DIR: &str = "SMBENCH_CRASH_DIR";
const SHARDS: u32 = 2;

/// The entries of one shard, some of them too large for a block.
fn entries(shard: u32) -> impl Iterator<Item = Entry> {
    Sample::new(u64::from(shard)).map(move |mut entry| {
        if entry.seq % 997 == 500 {
            entry.input = Input::Received {
                conn: ConnId(shard),
                frame: Frame {
                    bytes: Sample::new(entry.seq).noise(200_000),
                    cuts: Vec::new(),
                },
                seal: Seal::Encrypted,
            };
        }
        entry
    })
}

/// The process that is killed: this test, run by the other one.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let writer = JournalWriter::create(Path::new(&dir), &Sample::meta(SHARDS)).unwrap();
    let mut shards: Vec<_> = (0..SHARDS)
        .map(|shard| (writer.recorder(ShardId(shard)).unwrap(), entries(shard)))
        .collect();
    let mut out = std::io::stdout();
    for round in 0u64.. {
        let said = writeln!(
            out,
            "durable {} {}",
            writer.durable(ShardId(0)),
            writer.durable(ShardId(1)),
        );
        if said.and_then(|()| out.flush()).is_err() {
            return;
        }
        for (recorder, entries) in &mut shards {
            for entry in entries.take(150) {
                recorder.record(&entry).unwrap();
            }
        }
        if round % 5 == 4 {
            writer.sync().unwrap();
        }
    }
}

#[test]
fn killed_at_random_points() {
    let crashes = std::env::var("SMBENCH_CRASHES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12u64);
    let mut state = u64::from(std::process::id());
    let (mut torn, mut events, mut promised) = (0, 0, 0);
    for _ in 0..crashes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Half of the kills come early, where the folder is being made.
        let lines = if state >> 63 == 0 { 3 } else { 120 };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let durable = kill_after(&path, (state >> 33) % lines);
        let Some(durable) = durable else {
            // Killed before it said that there is a journal: any clear answer will do.
            let _ = Journal::open(&path);
            continue;
        };
        let journal = Journal::open(&path).unwrap();
        assert!(!journal.is_finished());
        torn += journal.tails().len();
        for shard in journal.shards() {
            let read: Vec<_> = journal
                .entries(shard)
                .unwrap()
                .collect::<Result<_, JournalError>>()
                .unwrap();
            let there = read.len() as u64;
            let least = durable[shard.index()];
            assert!(there >= least, "{there} events, {least} were durable");
            for (stored, entry) in read.iter().zip(entries(shard.0)) {
                assert!(stored.matches(&entry), "event {} is wrong", entry.seq);
            }
            events += there;
            promised += least;
        }
    }
    println!("{crashes} kills: {events} events there, {promised} promised, {torn} torn tails");
    assert!(promised > 0);
}

/// Runs the child, kills it after so many lines, and gives the numbers it said last.
fn kill_after(path: &Path, lines: u64) -> Option<[u64; 2]> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut last = None;
    let mut seen = 0;
    let mut killed = false;
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    if lines == 0 {
        child.kill().unwrap();
    }
    // What was said before the kill counts, so the pipe is read to its end.
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some((_, numbers)) = line
            .strip_suffix('\n')
            .and_then(|line| line.split_once("durable "))
        {
            let (first, second) = numbers.split_once(' ').unwrap();
            last = Some([first.parse().unwrap(), second.parse().unwrap()]);
            seen += 1;
            if seen >= lines && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    last
}
