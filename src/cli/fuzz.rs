//! `smbench fuzz`: a journal as the seed of a fuzzer, on any toolchain.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use smbench_journal::fuzz::{Finding, Hunt, Hunted, Seedling};

use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::interrupt;
use crate::journals::{not_rerun, open};
use crate::report::{self, say};

/// Change the events of a journal, and see what the engine makes of it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Journal folder, or bundle
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
    /// How many times
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    runs: u64,
    /// What all changes follow from
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Stop after this time, as 90s, 10m or 2h, however many runs are left
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Folder for what is found (made when something is)
    #[arg(short, long, default_value = "smbench-findings", value_name = "DIR")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `fuzz --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    runs: u64,
    inputs: u64,
    /// Distinct sets of transitions that were walked.
    outcomes: usize,
    /// Transitions that were walked.
    transitions: Vec<&'static str>,
    /// Of those, that the journal does not walk as it is.
    only_changed: Vec<&'static str>,
    findings: Vec<Found<'a>>,
    duration_us: u64,
}

/// A finding, and where its bundle is.
#[derive(Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    bundle: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let journal = open(&args.journal)?;
    let seedling = Seedling::of(&journal).map_err(|error| not_rerun(error, &args.journal))?;
    if seedling.events() == 0 {
        return Err(Failure::environment("the journal holds no event")
            .remedy("name the journal of a run: smbench sim WORKLOAD --bundle run.smbj"));
    }
    let begun = Instant::now();
    let bar = report::progress(args.runs, "{bar:40} {pos}/{len} runs, {elapsed} {msg}");
    let hunt = Hunt {
        seed: args.seed,
        runs: args.runs,
        findings: usize::MAX,
    };
    let hunted = quietly(|| {
        seedling.hunt(&hunt, |so_far| {
            bar.set_position(so_far.runs);
            bar.set_message(format!(
                "{} outcomes, {} findings",
                so_far.outcomes.len(),
                so_far.findings.len()
            ));
            let in_time = args.time.is_none_or(|most| begun.elapsed() < most);
            in_time && !interrupt::is_asked()
        })
    });
    bar.finish_and_clear();
    let findings = write(&seedling, &hunted, &args.out)?;
    let found = !findings.is_empty();
    if args.json {
        report::json(&Told {
            runs: hunted.runs,
            inputs: hunted.inputs,
            outcomes: hunted.outcomes.len(),
            transitions: hunted.walked.rows().collect(),
            only_changed: only_changed(&hunted),
            findings,
            duration_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        })?;
    } else {
        print(&hunted, &findings);
    }
    if interrupt::is_asked() {
        return Err(Failure::interrupted(format!(
            "{} runs were made",
            hunted.runs
        )));
    }
    Ok(Verdict::of(found))
}

/// Panics of the engine are findings: what they say is told with them.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let done = work();
    std::panic::set_hook(usual);
    done
}

fn write<'a>(
    seedling: &Seedling,
    hunted: &'a Hunted,
    out: &Path,
) -> Result<Vec<Found<'a>>, Failure> {
    let mut findings = Vec::new();
    for finding in &hunted.findings {
        let context = || format!("cannot write findings to {}", out.display());
        std::fs::create_dir_all(out).or_environment(context())?;
        let path = out.join(format!("finding-{}.smbj", finding.run));
        let file = File::create(&path).or_environment(context())?;
        let written = quietly(|| seedling.write(&finding.mutations, BufWriter::new(file)));
        written.or_environment(context())?;
        findings.push(Found {
            finding,
            bundle: path.display().to_string(),
        });
    }
    Ok(findings)
}

fn print(hunted: &Hunted, findings: &[Found<'_>]) {
    let rows = hunted.walked.rows().count();
    say!(
        "{} runs, {} events; {} outcomes, {rows} of {} transitions walked",
        hunted.runs,
        hunted.inputs,
        hunted.outcomes.len(),
        smbench_core::engine::Walked::ROWS.len(),
    );
    let only = only_changed(hunted);
    if !only.is_empty() {
        say!("walked by changed runs alone: {}", only.join(", "));
    }
    match findings.len() {
        0 => say!("no finding"),
        1 => say!("FOUND: 1 thing that must not be"),
        several => say!("FOUND: {several} things that must not be"),
    }
    for found in findings {
        say!("  run {}: {}", found.finding.run, found.finding.what);
        for mutation in &found.finding.mutations {
            say!(
                "    {}",
                serde_json::to_string(mutation).unwrap_or_default()
            );
        }
        say!("    smbench show {}", found.bundle);
    }
}

/// Transitions that the journal does not walk as it is.
fn only_changed(hunted: &Hunted) -> Vec<&'static str> {
    hunted.walked.beyond(hunted.unchanged).rows().collect()
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || "say a time like 90s, 10m or 2h".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}
