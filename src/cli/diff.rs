//! `smbench diff`: in what two runs of one workload differ.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use smbench_journal::{Cause, Diff, DiffError, DiffOptions, Journal, diff_with};

use crate::compare::{self, Compared};
use crate::criteria::{Checked, CriteriaArgs};
use crate::exit::{Failure, Outcome, USAGE, Verdict};
use crate::finding::Finding;
use crate::journals::{not_rerun, open};
use crate::outputs::FileArgs;
use crate::page::{self, Pair};
use crate::report::{self, note, say, time};
use crate::results::Results;

/// In what two runs of one workload differ, causes first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Two journal folders, or bundles, of the same workload; with --against, one or more of side A
    #[arg(value_name = "JOURNAL", required = true)]
    runs: Vec<PathBuf>,
    /// Runs of side B: what differs is told of the first of each side, answer times of all of them
    #[arg(long, value_name = "JOURNAL", num_args = 1..)]
    against: Vec<PathBuf>,
    /// How much longer an answer must take to count as timing, in microseconds
    #[arg(long, default_value_t = 1_000, value_name = "US")]
    threshold_us: u64,
    /// Also write a page to read: one HTML file, that works offline
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    criteria: CriteriaArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `diff` tells.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    diff: &'a Diff,
    /// Further runs whose answers differ from those of the first run of side A.
    #[serde(skip_serializing_if = "<[Other]>::is_empty")]
    others: &'a [Other],
    /// Answer times, A and B.
    times: &'a [Compared],
    /// What was asked to hold, B against A.
    #[serde(skip_serializing_if = "<[Checked]>::is_empty")]
    thresholds: &'a [Checked],
    /// Causes that rules allow, by operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<&'a Finding>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (left, right) = args.sides()?;
    let mut criteria = args.criteria.read()?;
    args.report.as_deref().map_or(Ok(()), page::check)?;
    args.files.check()?;
    args.files
        .refuse_twice(&[("report", args.report.as_ref())])?;
    let a: Vec<Journal> = left
        .iter()
        .map(|path| open(path))
        .collect::<Result<_, _>>()?;
    let b: Vec<Journal> = right
        .iter()
        .map(|path| open(path))
        .collect::<Result<_, _>>()?;
    let (Some(first), Some(second)) = (a.first(), b.first()) else {
        return Err(Failure::usage("nothing to compare"));
    };
    let options = DiffOptions {
        threshold_us: args.threshold_us,
        ..DiffOptions::default()
    };
    let explained = |error| explain(error, left, right);
    let found = diff_with(first, second, &options).map_err(explained)?;
    same_workload(first, &a, left)?;
    same_workload(first, &b, right)?;
    let others = others(first, (&a, left), (&b, right), &options)?;
    let read = |journals: &[Journal], paths: &[PathBuf]| -> Result<Vec<Results>, Failure> {
        let pairs = journals.iter().zip(paths);
        pairs
            .map(|(journal, path)| Results::of(journal, path, None))
            .collect()
    };
    let (a, mut b) = (read(&a, left)?, read(&b, right)?);
    let times = compare::times(&a, &b);
    let (Some(one), Some(other)) = (a.first(), b.first_mut()) else {
        return Err(Failure::defect("a journal that was read is gone"));
    };
    other.against(one, &found);
    criteria.apply(other);
    args.files.write(other)?;
    if let Some(path) = &args.report {
        let causes = other.findings.iter().filter(|it| it.cause.is_none());
        let pair = Pair {
            a: one,
            b: other,
            diff: &found,
            findings: &causes.collect::<Vec<_>>(),
            times: &times,
            runs: (left.len(), right.len()),
        };
        page::write(path, &page::of_pair(&pair))?;
    }
    for run in a.iter().chain(&b) {
        for caution in &run.cautions {
            note!("smbench: {}: {caution}", run.summary.journal);
        }
    }
    let Some(other) = b.first() else {
        return Err(Failure::defect("a journal that was read is gone"));
    };
    if args.json {
        report::json(&Told {
            diff: &found,
            others: &others,
            times: &times,
            thresholds: &other.thresholds,
            allowed: other
                .findings
                .iter()
                .filter(|it| it.allowed.is_some())
                .collect(),
        })?;
    } else {
        print(&found);
        for finding in other.findings.iter().filter(|it| it.allowed.is_some()) {
            let why = finding.allowed.as_deref().unwrap_or_default();
            say!("  allowed: operation {}: {why}", finding.operation);
        }
        for other in &others {
            let Other {
                journal, causes, ..
            } = other;
            say!(
                "  {journal} differs from the first run of side A too: {causes} causes; compare them alone"
            );
        }
        print_times(&times);
        other.thresholds.iter().for_each(|it| say!("  {it}"));
        if let Some(path) = &args.report {
            say!("report:   {}", path.display());
        }
        args.files.print();
    }
    // Runs of side B of which nothing is told here but that they differ.
    if others.iter().any(|it| it.side == 'b') {
        return Ok(Verdict::Diverged);
    }
    Ok(criteria.verdict(&other.summary, &other.thresholds))
}

/// A further run whose answers differ from those of the first run of side A.
#[derive(Serialize)]
struct Other {
    /// `a` or `b`.
    side: char,
    journal: String,
    /// Operations that ended otherwise without anything different before.
    causes: u64,
}

/// Those of the further runs of both sides that differ from `first`.
fn others(
    first: &Journal,
    (a, left): (&[Journal], &[PathBuf]),
    (b, right): (&[Journal], &[PathBuf]),
    options: &DiffOptions,
) -> Result<Vec<Other>, Failure> {
    let sides = [('a', a, left), ('b', b, right)];
    let further = sides.into_iter().flat_map(|(side, journals, paths)| {
        let pairs = journals.iter().zip(paths).skip(1);
        pairs.map(move |(journal, path)| (side, journal, path))
    });
    let mut others = Vec::new();
    for (side, journal, path) in further {
        let paths = std::slice::from_ref(path);
        let found =
            diff_with(first, journal, options).map_err(|error| explain(error, left, paths))?;
        if !found.same {
            others.push(Other {
                side,
                journal: path.display().to_string(),
                causes: found.causes.len() as u64,
            });
        }
    }
    Ok(others)
}

impl Args {
    /// The journals of side A, and those of side B.
    fn sides(&self) -> Result<(&[PathBuf], &[PathBuf]), Failure> {
        if !self.against.is_empty() {
            return Ok((&self.runs, &self.against));
        }
        match self.runs.split_at_checked(1) {
            Some((a, b)) if b.len() == 1 => Ok((a, b)),
            _ => Err(Failure::usage(format!(
                "{} journals are named, and nothing says which are of side B",
                self.runs.len()
            ))
            .remedy("name two, or several of each side: smbench diff A1 A2 --against B1 B2")),
        }
    }
}

/// Answer times of another workload say nothing.
fn same_workload(first: &Journal, others: &[Journal], paths: &[PathBuf]) -> Result<(), Failure> {
    let other = others.iter().zip(paths);
    let mut other = other.filter(|(it, _)| it.meta().workload != first.meta().workload);
    match other.next() {
        None => Ok(()),
        Some((_, path)) => Err(Failure::usage(format!(
            "{} is of another workload than the first journal",
            path.display()
        ))
        .remedy("replay one workload several times, and compare those journals")),
    }
}

fn explain(error: DiffError, a: &[PathBuf], b: &[PathBuf]) -> Failure {
    let first = |paths: &[PathBuf]| paths.first().cloned().unwrap_or_default();
    let failure = match error {
        DiffError::Rerun { side: 'a', source } => not_rerun(source, Path::new(&first(a))),
        DiffError::Rerun { source, .. } => not_rerun(source, Path::new(&first(b))),
        other => Failure::new(USAGE, other),
    };
    failure.context("the runs cannot be compared")
}

/// Answer times, A against B.
fn print_times(times: &[Compared]) {
    if times.is_empty() {
        return;
    }
    let mut table = report::table(&[
        "command", "n", "p50 A", "p50 B", "p99 A", "p99 B", "B over A", "95 %",
    ]);
    for it in times.iter().take(SHOWN) {
        let p99 = |us: Option<u64>| us.map(time).unwrap_or_default();
        table.add_row([
            it.command.clone(),
            it.b.count.to_string(),
            time(it.a.p50_us),
            time(it.b.p50_us),
            p99(it.a.p99_us),
            p99(it.b.p99_us),
            it.ratio.map(|it| format!("{it:.2} ×")).unwrap_or_default(),
            it.ratio_95
                .map(|(low, high)| format!("{low:.2}–{high:.2}"))
                .unwrap_or_default(),
        ]);
    }
    table.print();
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
    let alone = found
        .uncompared
        .iter()
        .filter(|(why, _)| why.ends_with("_only"));
    let alone: Vec<String> = alone
        .map(|(why, count)| format!("{count} ended {}", why.replace('_', " ")))
        .collect();
    if !alone.is_empty() {
        say!("DIFFERENT: of the operations {}", alone.join(" and "));
    }
    if found.causes.is_empty() {
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
pub(crate) fn words(value: &Value) -> String {
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
