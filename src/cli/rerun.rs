//! `smbench rerun`: a journal again, offline.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use smbench_journal::rerun::Mismatch;
use smbench_journal::{Journal, JournalError, RerunError, rerun};

use crate::exit::{ENVIRONMENT, Failure, OrFail, Outcome, Verdict};
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
    complete: bool,
    first_mismatch: Option<&'a Mismatch>,
    events_per_s: f64,
    effects_digest: String,
    tail: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let journal = open(&args.journal)?;
    let begun = Instant::now();
    let done = rerun::check(&journal).map_err(|error| explain(error, &args.journal))?;
    let wall = begun.elapsed().as_secs_f64();
    let rate = if wall > 0.0 {
        (done.events as f64 / wall).round()
    } else {
        0.0
    };
    let tail = journal.tail().map(|tail| {
        format!(
            "{} bytes from {} on were cut off: {}",
            tail.bytes, tail.from, tail.reason
        )
    });
    if args.json {
        report::json(&Report {
            events: done.events,
            identical: done.identical,
            complete: done.complete,
            first_mismatch: done.first_mismatch.as_ref(),
            events_per_s: rate,
            effects_digest: done.effects_digest.to_string(),
            tail,
        })?;
        return Ok(Verdict::of(!done.identical));
    }
    if let Some(tail) = tail {
        say!("torn tail: {tail}");
    }
    if !done.complete {
        say!("the journal has no end: the run was cut short");
    }
    match &done.first_mismatch {
        None => say!(
            "identical: {} events, {rate:.0} a second, effects {}",
            done.events,
            done.effects_digest
        ),
        Some(mismatch) => tell(mismatch),
    }
    Ok(Verdict::of(!done.identical))
}

fn tell(mismatch: &Mismatch) {
    say!(
        "DIFFERENT from input {} of shard {} on ({} at {} us)",
        mismatch.seq,
        mismatch.shard,
        mismatch.kind,
        mismatch.now_ns / 1_000,
    );
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

/// Opens a journal folder or a bundle, explaining what stands in the way.
pub(crate) fn open(path: &Path) -> Result<Journal, Failure> {
    Journal::open(path).map_err(|error| damaged(error, path))
}

/// A journal that cannot be read.
pub(crate) fn damaged(error: JournalError, path: &Path) -> Failure {
    let is_damage = error.is_damage();
    let context = format!("cannot read the journal {}", path.display());
    let failure = Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context));
    if is_damage {
        return failure.remedy("smbench show --salvage reads what is not damaged");
    }
    failure
}

/// A journal that cannot be rerun.
pub(crate) fn explain(error: RerunError, path: &Path) -> Failure {
    let context = format!("cannot rerun {}", path.display());
    Err::<(), _>(error)
        .or_environment(context)
        .err()
        .unwrap_or_else(|| Failure::usage("rerun"))
}
