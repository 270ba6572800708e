//! `smbench inspect`: what a workload holds, and why it is ordered as it is.

mod calls;
mod dot;
mod replayable;
mod survey;
mod tables;
mod why;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use smbench_compiler::folder::FolderReader;
use smbench_core::ids::OpId;
use smbench_core::workload::{Action, Operation, Workload};
use smbench_journal::Journal;
use smbench_journal::rerun::Recipe;

use self::replayable::lacks;
use self::survey::Survey;
use crate::cli::slice::{FilterArgs, counted, open};
use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::journals;
use crate::page::{self, Capture};
use crate::report::{self, say};
use crate::results::rows::Rows;
use crate::rights::{self, Fact, Rights};
use crate::stalls::{self, Stall, Waits};
use crate::unpacked::WorkloadPlace;

/// What a workload holds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote; or the journal of a run of it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Explain what this operation waits for
    #[arg(long, value_name = "OP", conflicts_with = "dot")]
    why: Option<u32>,
    /// How many of the hottest files to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print the order graph for Graphviz, of a slice if filters say which
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// With --dot: also what happened before the slice
    #[arg(long, requires = "dot")]
    causes: bool,
    /// With --dot: how many operations may be drawn
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    limit: usize,
    #[command(flatten)]
    filters: FilterArgs,
    /// Also write a page to read: one HTML file, that works offline
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["why", "dot"])]
    report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The machine-readable contract of `compile` and `inspect`.
#[derive(Serialize)]
pub(crate) struct Overview<'a> {
    format: u32,
    captures: Vec<&'a str>,
    packets: u64,
    frames: u64,
    requests_seen: u64,
    operations: u64,
    events: u64,
    responses: u64,
    by_command: &'a BTreeMap<String, u64>,
    reencoded_exact: u64,
    reencoded_total: u64,
    skipped: &'a BTreeMap<String, u64>,
    inferred: &'a BTreeMap<String, u64>,
    problems: &'a BTreeMap<String, u64>,
    clients: usize,
    connections: usize,
    sessions: usize,
    trees: usize,
    files: u32,
    edges: &'a BTreeMap<String, u64>,
    duration_us: u64,
    /// What cannot be replayed, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacks: Vec<String>,
}

impl<'a> Overview<'a> {
    /// Of a workload; `duration_us` is how long it took to make or to read.
    pub(crate) fn new(workload: &'a Workload, duration_us: u64) -> Self {
        let coverage = &workload.coverage;
        let captured = coverage.requests();
        let made = coverage.inferred.get("reconstructed").copied().unwrap_or(0);
        let requests = captured + made;
        Self {
            format: workload.format,
            captures: workload
                .provenance
                .captures
                .iter()
                .map(|it| it.name.as_str())
                .collect(),
            packets: coverage.packets,
            frames: coverage.frames,
            requests_seen: coverage.requests_seen,
            operations: requests,
            events: workload.operations.saturating_sub(requests),
            responses: coverage.responses,
            by_command: &coverage.by_command,
            reencoded_exact: coverage.reencoded_exact,
            reencoded_total: coverage.reencoded_total,
            skipped: &coverage.skipped,
            inferred: &coverage.inferred,
            problems: &coverage.problems,
            clients: workload.clients.len(),
            connections: workload.connections.len(),
            sessions: workload.sessions.len(),
            trees: workload.trees.len(),
            files: workload.opens,
            edges: &coverage.edges,
            duration_us,
            lacks: lacks(workload),
        }
    }

    /// For people.
    pub(crate) fn print(&self, dir: &Path) {
        let dir = dir.display();
        say!("workload {dir} (format {})", self.format);
        say!(
            "  {} packets -> {} SMB frames -> {} requests, {} responses -> {} operations, {} events",
            self.packets,
            self.frames,
            self.requests_seen,
            self.responses,
            self.operations,
            self.events,
        );
        say!(
            "  {} clients, {} connections, {} sessions, {} trees, {} opens",
            self.clients,
            self.connections,
            self.sessions,
            self.trees,
            self.files,
        );
        say!(
            "  {} of {} complete requests come back byte for byte",
            self.reencoded_exact,
            self.reencoded_total,
        );
        for what in &self.lacks {
            say!("  NOTE: {what}");
        }
        counted("order edges by rule", self.edges);
        counted("skipped", self.skipped);
        counted("inferred", self.inferred);
        counted("problems", self.problems);
    }

    /// Prints the requests by command.
    pub(crate) fn commands(&self) {
        if self.by_command.is_empty() {
            return;
        }
        let mut commands = report::table(&["command", "operations"]);
        for (command, count) in self.by_command {
            commands.add_row([command.clone(), count.to_string()]);
        }
        commands.print();
    }
}

/// Prints what can be done with the workload `dir` next.
pub(crate) fn next_steps(workload: &Workload, dir: &Path) {
    if workload.coverage.requests() == 0 {
        return;
    }
    let dir = dir.display();
    say!("next: smbench sim {dir} --seed 1");
    say!("  or: smbench replay {dir} --prepare --server HOST --share NAME --password-file F");
}

/// What `inspect --json` prints: what `compile` does, and more.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    overview: Overview<'a>,
    #[serde(flatten)]
    survey: survey::Told,
    /// What took far longer than others of its kind.
    stalls: Vec<Stall>,
    /// What users were not allowed to do.
    denied: Vec<Fact>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let begun = std::time::Instant::now();
    if let Some(path) = &args.report {
        page::check(path)?;
    }
    let place = WorkloadPlace::of(&args.dir)?;
    let source = Source::open(place.path())?;
    let filters = args.filters.filters()?;
    if args.dot {
        dot::print(source.folder()?, filters, args.causes, args.limit)?;
        return Ok(Verdict::Same);
    }
    if !filters.is_empty() {
        return Err(Failure::usage("only --dot looks at a part of a workload")
            .remedy("cut the part out: smbench slice DIR -o PART, then inspect PART"));
    }
    if let Some(op) = args.why {
        why::why(source.folder()?, OpId(op), args.json)?;
        return Ok(Verdict::Same);
    }
    let workload = source.workload();
    let (mut survey, mut waits) = (Survey::new(workload), Waits::default());
    let mut rights = Rights::default();
    let mut rows = args.report.is_some().then(|| Rows::of(workload));
    for operation in source.operations()? {
        let operation = operation?;
        if let (Action::Request(_), Some(expect)) = (&operation.action, &operation.expect) {
            waits.add(operation.id, operation.cmd, expect.latency_us);
        }
        survey.add(workload, &operation);
        rights.note(workload, &operation);
        if let Some(rows) = &mut rows {
            rows.add(&operation);
        }
    }
    let stalls = stalls::stalls(&waits, &Waits::default(), || source.operations())?;
    source.whole()?;
    let told = survey.tell(workload, args.top);
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let overview = Overview::new(workload, duration_us);
    if let (Some(path), Some(rows)) = (&args.report, &rows) {
        let capture = Capture {
            workload,
            rows,
            stalls: &stalls,
            lacks: &overview.lacks,
        };
        page::write(path, &page::of_capture(&capture))?;
    }
    if args.json {
        report::json(&Inspected {
            overview,
            survey: told,
            stalls,
            denied: rights.told(),
        })?;
        return Ok(Verdict::Same);
    }
    overview.print(&args.dir);
    tables::print(&told, workload);
    stalls::print(&stalls);
    rights::print(&rights.told());
    if let Some(path) = &args.report {
        say!("report: {}", path.display());
    }
    if let Source::Folder(_) = source {
        next_steps(workload, &args.dir);
    }
    Ok(Verdict::Same)
}

/// What is inspected: a folder, or what a journal has kept of one.
enum Source {
    Folder(Box<FolderReader>),
    Journal(Box<Recipe>, PathBuf),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path.is_file() || Journal::is_folder(path) {
            let journal = journals::open(path)?;
            let recipe = Recipe::of(&journal).map_err(|error| journals::not_rerun(error, path))?;
            return Ok(Self::Journal(Box::new(recipe), path.to_owned()));
        }
        Ok(Self::Folder(Box::new(open(path)?)))
    }

    fn workload(&self) -> &Workload {
        match self {
            Self::Folder(folder) => folder.workload(),
            Self::Journal(recipe, _) => &recipe.workload,
        }
    }

    fn operations(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Operation, Failure>> + '_>, Failure> {
        Ok(match self {
            Self::Folder(folder) => Box::new(read(folder)?),
            Self::Journal(recipe, path) => Box::new(
                recipe
                    .operations()
                    .map(|it| it.map_err(|error| journals::not_rerun(error, path))),
            ),
        })
    }

    /// The folder, for what a journal does not keep.
    fn folder(&self) -> Result<&FolderReader, Failure> {
        match self {
            Self::Folder(folder) => Ok(folder),
            Self::Journal(..) => Err(Failure::usage("a journal has no order graph to look at")
                .remedy("name the workload folder")),
        }
    }

    /// Whether what was not looked at can be read too.
    fn whole(&self) -> Result<(), Failure> {
        match self {
            Self::Folder(folder) => whole(folder).map_err(|failure| failure.remedy(REMEDY)),
            Self::Journal(..) => Ok(()),
        }
    }
}

/// The operations of a folder, one after the other.
fn read(
    folder: &FolderReader,
) -> Result<impl Iterator<Item = Result<Operation, Failure>>, Failure> {
    const WHAT: &str = "cannot read the operations of the workload";
    let again = |failure: Failure| failure.remedy(REMEDY);
    let operations = folder.operations().or_environment(WHAT).map_err(again)?;
    Ok(operations.map(move |operation| operation.or_environment(WHAT).map_err(again)))
}

/// Whether what was not looked at can be read too.
fn whole(folder: &FolderReader) -> Result<(), Failure> {
    let namespace = folder.namespace();
    let read = namespace.and_then(|mut entries| entries.try_for_each(|entry| entry.map(drop)));
    read.or_environment("cannot read the namespace of the workload")?;
    let blobs = folder.blobs().map(drop);
    blobs.or_environment("cannot read the data of the workload")
}

const REMEDY: &str = "compile its capture again: smbench compile CAPTURE -o DIR";
