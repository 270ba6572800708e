//! `smbench runs`: the runs of a folder of journals, and which of them go.

mod prune;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use smbench_journal::{Journal, JournalError, about_folder};

use self::prune::Age;
use crate::exit::{Failure, OrFail, Outcome, Verdict, chain};
use crate::interrupt;
use crate::journals::failed;
use crate::record::JOURNALS;
use crate::report::{self, say};
use crate::results::about::utc;
use crate::results::{Completeness, Results};
use crate::verdict::percent;

/// The runs of a folder of journals, with what they came to.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("criterion").multiple(true)))]
pub(crate) struct Args {
    /// Folder of journals and bundles
    #[arg(value_name = "DIR", default_value = JOURNALS)]
    dir: PathBuf,
    /// Delete journal folders in DIR: those that every criterion names
    #[arg(long, requires = "criterion")]
    prune: bool,
    /// All but the N newest
    #[arg(long, value_name = "N", requires = "prune", group = "criterion")]
    keep: Option<usize>,
    /// Those made longer ago than this: a number with s, m, h, d or w, like 30d
    #[arg(long, value_name = "AGE", requires = "prune", value_parser = Age::parse, group = "criterion")]
    older_than: Option<Age>,
    /// Delete nothing, and say what would be
    #[arg(long, requires = "prune")]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listed {
    runs: Vec<Run>,
}

/// A run, in a line.
#[derive(Serialize)]
struct Run {
    /// Where it lies.
    journal: String,
    state: State,
    /// What is wrong, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// When the journal was made here: UTC.
    made_at: String,
    /// Bytes on disk.
    bytes: u64,
    #[serde(flatten)]
    told: Option<Told>,
}

/// What a journal tells of its run.
#[derive(Serialize)]
struct Told {
    verb: String,
    /// When the run began: UTC; empty of simulations.
    started_at: String,
    /// Digest of the workload.
    workload: String,
    captures: Vec<String>,
    server: String,
    /// What it comes to; null where the journal is damaged, or could not be followed.
    verdict: Option<&'static str>,
    coverage: Option<f64>,
    /// What differs and is no consequence of another difference.
    differences: u64,
    p99_us: u64,
}

/// What can be had of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The whole run.
    Complete,
    /// The run up to where its record ends.
    CutShort,
    /// Nothing yet: a run records in it.
    BeingWritten,
    /// Less than was recorded.
    Damaged,
    /// Not what this version of the program makes of it.
    NotFollowed,
    /// Nothing.
    Unreadable,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::CutShort => "cut short",
            Self::BeingWritten => "being written",
            Self::Damaged => "damaged",
            Self::NotFollowed => "not followed",
            Self::Unreadable => "unreadable",
        })
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let found = find(&args.dir)?;
    if args.prune {
        return prune::run(args, found);
    }
    let bar = report::progress(found.len() as u64, "{bar:40} {pos}/{len} runs, {elapsed}");
    let mut runs = Vec::new();
    for place in found {
        interrupt::far(format!("{} runs were looked at", runs.len()));
        runs.push(place.read());
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        report::json(&Listed { runs })?;
    } else {
        print(&runs, &args.dir);
    }
    Ok(Verdict::Same)
}

/// A journal that was found, and not looked into.
struct Place {
    path: PathBuf,
    made: SystemTime,
    bytes: u64,
    is_folder: bool,
}

/// Journal folders and bundles in `dir`, newest first. Links are not followed.
fn find(dir: &Path) -> Result<Vec<Place>, Failure> {
    if Journal::is_folder(dir) {
        let shown = dir.display();
        return Err(
            Failure::usage(format!("{shown} is one journal, and no folder of them"))
                .remedy(format!("smbench report {shown} --ticket tells of one run")),
        );
    }
    let context = || format!("cannot read {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        // Nobody has run anything here yet.
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && dir == Path::new(JOURNALS) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => {
            let failure = Err(error).or_environment(context());
            return failure.map_err(|it: Failure| it.remedy("name a folder that holds journals"));
        }
        Ok(entries) => entries,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.or_environment(context())?;
        found.extend(place(&entry.path()));
    }
    found.sort_by(|a, b| (b.made, &a.path).cmp(&(a.made, &b.path)));
    Ok(found)
}

/// The journal at `path`, if there is one. What vanishes meanwhile is none.
fn place(path: &Path) -> Option<Place> {
    let about = std::fs::symlink_metadata(path).ok()?;
    if about.is_dir() {
        let folder = about_folder(path).ok()?;
        return Some(Place {
            path: path.to_owned(),
            made: folder.made,
            bytes: folder.bytes,
            is_folder: true,
        });
    }
    let is_bundle = about.is_file() && path.extension().is_some_and(|it| it == "smbj");
    is_bundle.then(|| Place {
        path: path.to_owned(),
        made: about.modified().unwrap_or(UNIX_EPOCH),
        bytes: about.len(),
        is_folder: false,
    })
}

impl Place {
    /// Runs the journal again, and keeps a line of it.
    fn read(self) -> Run {
        let (state, why, told) = match Journal::open(&self.path) {
            Err(JournalError::Busy { .. }) => (State::BeingWritten, None, None),
            Err(error) => {
                let state = match error.is_damage() {
                    true => State::Damaged,
                    false => State::Unreadable,
                };
                let why = chain(&failed(error, &self.path).error);
                (state, Some(why), None)
            }
            Ok(journal) => self.told(&journal),
        };
        Run {
            journal: self.path.display().to_string(),
            state,
            why,
            made_at: utc(nanoseconds(self.made)),
            bytes: self.bytes,
            told,
        }
    }

    fn told(&self, journal: &Journal) -> (State, Option<String>, Option<Told>) {
        let results = match Results::of(journal, &self.path, None) {
            Ok(results) => results,
            Err(failure) => return (State::Unreadable, Some(chain(&failure.error)), None),
        };
        let state = match results.completeness {
            Completeness::Whole => State::Complete,
            Completeness::CutShort => State::CutShort,
            Completeness::Damaged => State::Damaged,
            Completeness::NotFollowed => State::NotFollowed,
        };
        let is_sound = matches!(state, State::Complete | State::CutShort);
        let Results { about, summary, .. } = &results;
        let told = Told {
            verb: about.verb.clone(),
            started_at: about.started_at.clone(),
            workload: about.workload.clone(),
            captures: about.captures.clone(),
            server: about.server.clone(),
            verdict: is_sound.then_some(summary.verdict),
            coverage: summary.coverage,
            differences: summary.found.values().sum(),
            p99_us: summary.latency_us.p99,
        };
        (state, results.cautions.first().cloned(), Some(told))
    }
}

/// Prints the runs, newest first: in a line when, what and which; what ran and how it went below that.
fn print(runs: &[Run], dir: &Path) {
    if runs.is_empty() {
        say!("no runs in {}", dir.display());
    }
    for run in runs {
        let name = Path::new(&run.journal).file_name().unwrap_or_default();
        let verdict = run.told.as_ref().and_then(|it| it.verdict);
        let verdict = match (verdict.map(|it| it.replace('_', " ")), run.state) {
            (Some(verdict), State::Complete) => verdict,
            (Some(verdict), state) => format!("{state}: {verdict}"),
            (None, state) => state.to_string(),
        };
        let minute = run.made_at.get(..MINUTE).unwrap_or(&run.made_at);
        say!("{minute}  {verdict:12}  {}", name.to_string_lossy());
        let size = report::bytes(run.bytes);
        match &run.told {
            Some(told) => {
                let of = match told.captures.as_slice() {
                    [] => String::new(),
                    captures => format!(" of {}", captures.join(", ")),
                };
                let on = match told.server.as_str() {
                    "" => String::new(),
                    server => format!(" on {server}"),
                };
                say!(
                    "  {}{of}{on}: {} compared, {} differ, p99 {}; {size}",
                    told.verb,
                    told.coverage.map_or("nothing".to_owned(), percent),
                    told.differences,
                    report::time(told.p99_us),
                );
            }
            None => say!("  {size}"),
        }
        if let Some(why) = &run.why {
            say!("  {why}");
        }
    }
}

/// Letters of a time up to its minute.
const MINUTE: usize = "2026-11-30 19:58".len();

/// Since 1970; 0 before.
fn nanoseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
