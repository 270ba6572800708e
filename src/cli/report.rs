//! `smbench report`: runs that exist, as a page to read.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::{Outcome, Verdict};
use crate::finding::Finding;
use crate::journals::open;
use crate::report::{self, note, say};
use crate::results::{Completeness, Results};
use crate::stalls::Stall;
use crate::tally::Summary;
use crate::verdict::parse_percent;
use crate::{page, ticket};

/// Runs that exist, as a page to read.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Journal folders, or bundles
    #[arg(value_name = "JOURNAL", required = true)]
    journals: Vec<PathBuf>,
    /// The page, one HTML file; default: no page, but what --json, --ticket print
    #[arg(short, long, value_name = "FILE.html", required_unless_present_any = ["json", "ticket"])]
    output: Option<PathBuf>,
    /// Print a summary for a ticket: at most 15 lines of Markdown
    #[arg(long, conflicts_with = "json")]
    ticket: bool,
    /// Least share of the recorded answers that is to be compared, in percent; default: that of the run
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    min_coverage: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Runs<'a> {
    runs: Vec<Told<'a>>,
}

/// What is told of a run.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    run: &'a Summary,
    divergences: &'a [Finding],
    stalls: &'a [Stall],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cautions: &'a [String],
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(output) = &args.output {
        page::check(output)?;
    }
    let bar = report::progress(
        args.journals.len() as u64,
        "{bar:40} {pos}/{len} runs, {elapsed}",
    );
    let mut runs = Vec::new();
    for path in &args.journals {
        let journal = open(path)?;
        runs.push(Results::of(&journal, path, args.min_coverage)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(output) = &args.output {
        page::write(output, &page::of_runs(&runs))?;
    }
    if args.json {
        let told: Vec<Told<'_>> = runs
            .iter()
            .map(|run| Told {
                run: &run.summary,
                divergences: &run.findings,
                stalls: &run.stalls,
                cautions: &run.cautions,
            })
            .collect();
        report::json(&Runs { runs: told })?;
    } else if args.ticket {
        for run in &runs {
            ticket::lines(run).iter().for_each(|line| say!("{line}"));
        }
    } else {
        for run in &runs {
            let lines = report::verdict_lines(&run.summary).join(" ");
            say!("{}: {lines}", run.summary.journal);
            run.cautions.iter().for_each(|it| note!("smbench: {it}"));
        }
        if let Some(output) = &args.output {
            say!("page: {}", output.display());
        }
    }
    let damaged = |run: &Results| run.completeness == Completeness::Damaged;
    Ok(Verdict::of(runs.iter().any(damaged)))
}
