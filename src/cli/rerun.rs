//! `smbench rerun`: a journal again, offline.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use smbench_journal::Journal;
use smbench_journal::rerun::{self, EngineVersions, Mismatch, Rerun};

use crate::exit::{Outcome, Verdict};
use crate::journals::{not_rerun, open};
use crate::report::{self, say};

/// Run a journal again offline, and prove that it does the same.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Journal folder, or bundle
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    events: u64,
    identical: bool,
    verdict: rerun::Verdict,
    complete: bool,
    damage: &'a [String],
    engine: EngineVersions,
    first_mismatch: Option<&'a Mismatch>,
    events_per_s: f64,
    effects_digest: String,
    tail: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let journal = open(&args.journal)?;
    let begun = Instant::now();
    let done = rerun::check(&journal).map_err(|error| not_rerun(error, &args.journal))?;
    let wall = begun.elapsed().as_secs_f64();
    let rate = if wall > 0.0 {
        (done.events as f64 / wall).round()
    } else {
        0.0
    };
    if args.json {
        report::json(&Report {
            events: done.events,
            identical: done.identical,
            verdict: done.verdict,
            complete: done.complete,
            damage: &done.damage,
            engine: done.engine,
            first_mismatch: done.first_mismatch.as_ref(),
            events_per_s: rate,
            effects_digest: done.effects_digest.to_string(),
            tail: tail_of(&journal),
        })?;
    } else {
        tell(&journal, &done, rate);
    }
    Ok(Verdict::of(!done.identical))
}

fn tail_of(journal: &Journal) -> Option<String> {
    let tail = journal.tail()?;
    Some(format!(
        "{} bytes from {} on were cut off: {}",
        tail.bytes, tail.from, tail.reason
    ))
}

fn tell(journal: &Journal, done: &Rerun, rate: f64) {
    for damage in &done.damage {
        say!("DAMAGED: {damage}");
    }
    if let Some(tail) = tail_of(journal).filter(|_| done.damage.is_empty()) {
        say!("torn tail: {tail}");
    }
    if !done.complete {
        say!("the journal has no end: the run was cut short");
    }
    let (events, digest) = (done.events, done.effects_digest);
    match (done.verdict, &done.first_mismatch) {
        (_, Some(mismatch)) => tell_mismatch(mismatch, done),
        (rerun::Verdict::Damaged, None) => {
            say!("{events} events of it give what they gave; nothing is known of the rest");
        }
        (_, None) if events == 0 => say!("nothing was rerun: the journal holds no event"),
        (_, None) => {
            say!("identical: {events} events, {rate:.0} a second, effects {digest}");
        }
    }
}

fn tell_mismatch(mismatch: &Mismatch, done: &Rerun) {
    say!(
        "DIFFERENT from input {} of shard {} on ({} at {})",
        mismatch.seq,
        mismatch.shard,
        mismatch.kind,
        report::time(mismatch.now_ns / 1_000),
    );
    match done.verdict {
        rerun::Verdict::OtherEngineVersion => {
            say!("  {}; that need not be an error", done.engine);
        }
        rerun::Verdict::Nondeterministic => say!("  nondeterministic: {} did both", done.engine),
        rerun::Verdict::Damaged | rerun::Verdict::Identical => {}
    }
    say!(
        "  effects recorded {}, now {}",
        mismatch.expected,
        mismatch.actual
    );
    if let Some(error) = &mismatch.error {
        say!("  the engine says: {error}");
    }
    for effect in mismatch.effects.iter().take(8) {
        say!("  now: {effect:?}");
    }
}
