//! Looks at every byte of a journal, and counts.

use std::collections::BTreeMap;

use serde::Serialize;
use smbench_core::{
    event::{EffectsDigest, Input},
    ids::{LogicalTime, ShardId},
};

use crate::{
    error::JournalError,
    reader::{Journal, Kind, TornTail},
};

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The counts.
    pub stats: Stats,
    /// What was cut off the end.
    pub tails: Vec<TornTail>,
    /// All damage, in words.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether all that was written is there: no damage and nothing cut.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.tails.is_empty()
    }
}

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// What it is kept in.
    pub kind: Kind,
    /// Version of its format.
    pub format: u32,
    /// Bytes on disk, all overhead included.
    pub bytes: u64,
    /// Events in all shards that can be read.
    pub events: u64,
    /// `bytes` by event, attachments included.
    pub bytes_per_event: f64,
    /// By shard, ascending.
    pub shards: Vec<ShardStats>,
    /// Attachments and their sizes in bytes.
    pub attachments: BTreeMap<String, u64>,
}

/// What one shard holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ShardStats {
    /// Which.
    pub shard: ShardId,
    /// Events that can be read.
    pub events: u64,
    /// Time of the last one.
    pub last: LogicalTime,
    /// Bytes of all frames, without what was cut out.
    pub frame_bytes: u64,
    /// Events by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Digest of all effects, when the record was ended.
    pub finish: Option<EffectsDigest>,
}

/// Reads the whole journal, checks all there is to check, and goes on behind damage.
///
/// # Errors
///
/// When it cannot be read.
pub fn verify(journal: &Journal) -> Result<VerifyReport, JournalError> {
    let mut problems: Vec<String> = Vec::new();
    let mut note = |problem: JournalError| {
        if !problem.is_damage() {
            return Err(problem);
        }
        let words = problem.words();
        if !problems.contains(&words) {
            problems.push(words);
        }
        Ok(())
    };
    let stats = collect(journal, &mut note)?;
    for problem in journal.hidden_damage()? {
        note(problem)?;
    }
    Ok(VerifyReport {
        stats,
        tails: journal.tails().to_vec(),
        problems,
    })
}

/// Counts what the journal holds.
///
/// # Errors
///
/// The first damage.
pub fn stats(journal: &Journal) -> Result<Stats, JournalError> {
    collect(journal, &mut |problem| Err(problem))
}

fn collect(
    journal: &Journal,
    problem: &mut dyn FnMut(JournalError) -> Result<(), JournalError>,
) -> Result<Stats, JournalError> {
    let mut shards = Vec::new();
    for shard in journal.shards() {
        shards.push(collect_shard(journal, shard, problem)?);
    }
    let mut attachments = BTreeMap::new();
    match journal.attachment_heads() {
        Ok(heads) => {
            for head in heads {
                let data = journal
                    .attachment_stream(&head)
                    .and_then(|stream| head.unpack(&stream));
                if let Err(error) = data {
                    problem(error)?;
                }
                attachments.insert(head.name, head.bytes);
            }
        }
        Err(error) => problem(error)?,
    }
    let events = shards.iter().map(|shard| shard.events).sum::<u64>();
    let bytes = journal.size();
    Ok(Stats {
        kind: journal.kind(),
        format: journal.meta().format,
        bytes,
        events,
        bytes_per_event: bytes as f64 / events.max(1) as f64,
        shards,
        attachments,
    })
}

fn collect_shard(
    journal: &Journal,
    shard: ShardId,
    problem: &mut dyn FnMut(JournalError) -> Result<(), JournalError>,
) -> Result<ShardStats, JournalError> {
    let mut stats = ShardStats {
        shard,
        events: 0,
        last: LogicalTime::ZERO,
        frame_bytes: 0,
        kinds: BTreeMap::new(),
        finish: journal.finish_digest(shard),
    };
    let entries = match journal.salvage(shard) {
        Ok(entries) => entries,
        Err(error) => {
            problem(error)?;
            return Ok(stats);
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                stats.events += 1;
                stats.last = entry.now;
                *stats.kinds.entry(kind(&entry.input)).or_default() += 1;
                if let Input::Received { frame, .. } = &entry.input {
                    stats.frame_bytes += frame.bytes.len() as u64;
                }
            }
            Err(error) => problem(error)?,
        }
    }
    Ok(stats)
}

fn kind(input: &Input) -> &'static str {
    match input {
        Input::Start => "start",
        Input::Connected { .. } => "connected",
        Input::ConnectFailed { .. } => "connect_failed",
        Input::Closed { .. } => "closed",
        Input::Received { .. } => "received",
        Input::TokenReady { .. } => "token_ready",
        Input::Wake => "wake",
        Input::Completed { .. } => "completed",
        Input::Stop => "stop",
    }
}
