//! `smbench diff`: in what two runs of one workload differ.

use std::path::PathBuf;

use serde_json::Value;
use smbench_journal::{Cause, Diff, DiffError, DiffOptions, diff_with};

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
            "same: {} operations compared, {} of them with another timing",
            found.compared,
            found.timing_only,
        );
        return;
    }
    say!(
        "DIFFERENT: {} causes, {} consequences; {} operations compared, {} with another timing alone",
        found.causes.len(),
        found.consequences,
        found.compared,
        found.timing_only,
    );
    for cause in found.causes.iter().take(SHOWN) {
        let Cause {
            operation,
            frame,
            client,
            command,
            what,
            ..
        } = cause;
        let path = cause.path.as_deref().unwrap_or_default();
        say!("  frame {frame}, client {client}, operation {operation}: {command} {path}");
        let led_to = match cause.consequences {
            0 => String::new(),
            1 => "; 1 consequence".to_owned(),
            several => format!("; {several} consequences"),
        };
        say!(
            "    {what}: {} in A, {} in B{led_to}",
            words(&cause.a),
            words(&cause.b)
        );
        if !cause.followed_by.is_empty() {
            let shown = cause
                .followed_by
                .iter()
                .take(SHOWN)
                .map(ToString::to_string);
            let more = if cause.followed_by.len() > SHOWN {
                ", ..."
            } else {
                ""
            };
            say!(
                "    operations {}{more}",
                shown.collect::<Vec<_>>().join(", ")
            );
        }
    }
    if found.causes.len() > SHOWN {
        say!("and {} more causes; see --json", found.causes.len() - SHOWN);
    }
}

/// A value without the marks of JSON.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        Value::Object(map) => match map.get("cascaded_from") {
            Some(cause) => format!("consequence of operation {cause}"),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

const SHOWN: usize = 10;
