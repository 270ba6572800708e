//! `smbench diff`: in what two runs of one workload differ.

use std::path::PathBuf;

use smbench_journal::{Diff, DiffError, DiffOptions, diff_with};

use crate::exit::{Failure, Outcome, USAGE, Verdict};
use crate::journals::{not_rerun, open};
use crate::report::{self, say};

/// In what two runs of one workload differ, causes first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One journal folder, or bundle
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another of the same workload
    #[arg(value_name = "B")]
    b: PathBuf,
    /// How much longer an answer must take to count as timing, in microseconds
    #[arg(long, default_value_t = 1_000, value_name = "US")]
    threshold_us: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let options = DiffOptions {
        threshold_us: args.threshold_us,
        ..DiffOptions::default()
    };
    let found = diff_with(&a, &b, &options).map_err(|error| explain(error, args))?;
    if args.json {
        report::json(&found)?;
    } else {
        print(&found);
    }
    Ok(Verdict::of(!found.same))
}

fn explain(error: DiffError, args: &Args) -> Failure {
    let failure = match error {
        DiffError::Rerun { side: 'a', source } => not_rerun(source, &args.a),
        DiffError::Rerun { source, .. } => not_rerun(source, &args.b),
        other => Failure::new(USAGE, other),
    };
    failure.context("the runs cannot be compared")
}

/// For people.
pub(crate) fn print(found: &Diff) {
    for note in &found.notes {
        say!("note: {note}");
    }
    if found.same {
        say!(
            "same: {} operations compared, {} differ in timing alone",
            found.compared,
            found.timing_only,
        );
        return;
    }
    say!(
        "DIFFERENT: {} causes, {} consequences, {} operations compared, {} differ in timing alone",
        found.causes.len(),
        found.consequences,
        found.compared,
        found.timing_only,
    );
    let mut table = report::table(&[
        "cause",
        "frame",
        "command",
        "path",
        "what",
        "in A",
        "in B",
        "consequences",
    ]);
    for cause in found.causes.iter().take(SHOWN) {
        table.add_row([
            cause.operation.to_string(),
            cause.frame.to_string(),
            cause.command.clone(),
            cause.path.clone().unwrap_or_default(),
            cause.what.to_owned(),
            cause.a.to_string(),
            cause.b.to_string(),
            cause.consequences.to_string(),
        ]);
    }
    table.print();
    if found.causes.len() > SHOWN {
        say!("and {} more causes; see --json", found.causes.len() - SHOWN);
    }
}

const SHOWN: usize = 20;
