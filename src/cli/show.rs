//! `smbench show`: the events of a journal.

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use smbench_core::ids::{LogicalTime, OpId};
use smbench_journal::show::{Filter, Line};
use smbench_journal::{RunMeta, show, verify};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::journals::{failed, not_rerun, open, open_damaged, tell_damage};
use crate::report::{self, note, say};
use crate::terminal::{Lines, printable};

/// The events of a journal.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Journal folder, or bundle
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Only events of this client; may be repeated
    #[arg(long, value_name = "N")]
    client: Vec<u32>,
    /// Only events about this operation; may be repeated
    #[arg(long, value_name = "OP")]
    op: Vec<u32>,
    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    kind: Vec<String>,
    /// Only events upon which something diverged, or could not run because of that
    #[arg(long)]
    diverged: bool,
    /// Not before this time, in microseconds of the run
    #[arg(long, value_name = "US")]
    from_us: Option<u64>,
    /// Not after this time, in microseconds of the run
    #[arg(long, value_name = "US")]
    to_us: Option<u64>,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What the journal is, instead of what is in it
    #[arg(long)]
    summary: bool,
    /// Look at every byte, and say what is damaged
    #[arg(long)]
    verify: bool,
    /// Read around damage, as NDJSON
    #[arg(long)]
    salvage: bool,
    /// Print JSON: an object with --summary and --verify, else one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    meta: &'a RunMeta,
    finished: bool,
    shards: usize,
    events: u64,
    bytes: u64,
    attachments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.verify {
        return check(args);
    }
    if args.summary {
        return summary(args);
    }
    if args.salvage {
        return salvage(args);
    }
    let journal = open(&args.journal)?;
    let filter = Filter {
        clients: args.client.clone(),
        operations: args.op.iter().copied().map(OpId).collect(),
        kinds: args.kind.clone(),
        from: args.from_us.map(LogicalTime::from_micros),
        to: args.to_us.map(LogicalTime::from_micros),
        from_seq: None,
        diverged: args.diverged,
    };
    let mut out = Lines::begin();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut broken = None;
    let shown = show(&journal, &filter, |line| {
        if left == 0 || broken.is_some() {
            return false;
        }
        left -= 1;
        let written = if args.json {
            json_line(&mut out, line)
        } else {
            text_lines(&mut out, line)
        };
        broken = written.err();
        broken.is_none()
    });
    // What was shown is shown also where the rest cannot be.
    let ended = broken.map_or_else(|| out.end(), Err);
    let shown = shown.map_err(|error| not_rerun(error, &args.journal))?;
    if !is_wanted(ended)? {
        return Ok(Verdict::Same);
    }
    for text in &shown.notes {
        note!("smbench: {text}");
    }
    if let Some(count) = shown.operations
        && let Some(op) = args.op.iter().find(|op| **op as usize >= count)
    {
        return Err(Failure::usage(format!("there is no operation {op}"))
            .remedy(format!("the workload has {count}, and counts from 0")));
    }
    Ok(Verdict::of(tell_damage(&journal, &args.journal)?))
}

/// Kinds of events.
const KINDS: [&str; 9] = [
    "start",
    "connected",
    "connect_failed",
    "closed",
    "received",
    "token_ready",
    "wake",
    "completed",
    "stop",
];

fn json_line(out: &mut Lines, value: &impl Serialize) -> io::Result<()> {
    out.line(&serde_json::to_string(value)?)
}

/// An event takes several lines; what is recorded in it makes no more of them.
fn text_lines(out: &mut Lines, line: &Line) -> io::Result<()> {
    let mut line = line.clone();
    let recorded = line
        .did
        .iter_mut()
        .flat_map(|did| [&mut did.path, &mut did.detail]);
    for text in recorded.flatten() {
        *text = printable(text).into_owned();
    }
    let text = line.to_string();
    text.lines().try_for_each(|line| out.line(line))
}

fn summary(args: &Args) -> Outcome {
    let journal = open(&args.journal)?;
    let events = journal
        .shards()
        .filter_map(|shard| journal.event_count(shard))
        .sum();
    let attachments = journal
        .attachments()
        .map_err(|error| failed(error, &args.journal))?;
    let summary = Summary {
        meta: journal.meta(),
        finished: journal.is_finished(),
        shards: journal.shards().len(),
        events,
        bytes: journal.size(),
        attachments,
    };
    let verdict = Verdict::of(tell_damage(&journal, &args.journal)?);
    if args.json {
        report::json(&summary)?;
        return Ok(verdict);
    }
    say!(
        "{} events in {} shards, {} bytes, {}",
        summary.events,
        summary.shards,
        summary.bytes,
        if summary.finished {
            "finished"
        } else {
            "cut short"
        },
    );
    say!(
        "written by smbench {}, engine version {}, seed {}",
        summary.meta.tool_version,
        summary.meta.engine,
        summary.meta.seed
    );
    if let Some(started) = summary.meta.started_unix_ns.and_then(date) {
        say!("  date: {started}");
    }
    for (name, value) in &summary.meta.facts {
        say!("  {name}: {value}");
    }
    let options = summary.meta.config.as_object().into_iter().flatten();
    let options = options.filter(|(_, value)| value.is_string() || value.is_number());
    let options: Vec<String> = options
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    say!("  options: {}", options.join(", "));
    say!("attachments: {}", summary.attachments.join(", "));
    Ok(verdict)
}

/// A time of the wall clock, in UTC.
fn date(unix_ns: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(unix_ns.into()).ok()?;
    at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

fn check(args: &Args) -> Outcome {
    let journal = open_damaged(&args.journal)?;
    let found = verify(&journal).map_err(|error| failed(error, &args.journal))?;
    let sound = found.is_sound();
    if args.json {
        report::json(&serde_json::json!({ "sound": sound, "report": found }))?;
        return Ok(Verdict::of(!sound));
    }
    say!(
        "{}: {} events",
        if sound { "sound" } else { "DAMAGED" },
        found.stats.events
    );
    for tail in &found.tails {
        say!(
            "  torn tail from {}: {} bytes cut, {}",
            tail.from,
            tail.bytes,
            tail.reason
        );
    }
    for problem in &found.problems {
        say!("  {problem}");
    }
    Ok(Verdict::of(!sound))
}

/// Whether anybody wants the rest; `smbench show | head` does not.
fn is_wanted(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).or_environment("cannot write to standard output"),
        Ok(()) => Ok(true),
    }
}

fn salvage(args: &Args) -> Outcome {
    let journal = open_damaged(&args.journal)?;
    let mut out = Lines::begin();
    let mut lost = false;
    for shard in journal.shards().collect::<Vec<_>>() {
        let entries = journal
            .salvage(shard)
            .map_err(|error| failed(error, &args.journal))?;
        for entry in entries {
            match entry {
                Ok(entry) => {
                    if !is_wanted(json_line(&mut out, &entry))? {
                        return Ok(Verdict::Same);
                    }
                }
                Err(error) if !error.is_damage() => return Err(failed(error, &args.journal)),
                Err(error) => {
                    lost = true;
                    note!("smbench: {}", error.words());
                }
            }
        }
    }
    if !is_wanted(out.end())? {
        return Ok(Verdict::Same);
    }
    lost |= !journal.tails().is_empty();
    lost |= tell_damage(&journal, &args.journal)?;
    Ok(Verdict::of(lost))
}
