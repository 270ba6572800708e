//! `smbench slice`: a part of a workload -> a workload folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use smbench_compiler::folder::FolderReader;
use smbench_compiler::slice::{Filters, SliceError, SliceOptions, Sliced, parse_time, slice};

use crate::cli::place::NewFolder;
use crate::exit::{ENVIRONMENT, Failure, OrFail, Outcome, USAGE, Verdict};
use crate::report::{self, say};
use crate::unpacked::WorkloadPlace;

/// A part of a workload -> a workload folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder to write (made; must not exist)
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    filters: FilterArgs,
    /// Keep all that happened before, and what answers depended on: then it replays as recorded
    #[arg(long)]
    causes: bool,
    /// Leave times as they are; otherwise they count from --from, or from what is kept
    #[arg(long)]
    keep_pcap_times: bool,
    /// Replace the folder that -o names if it is a workload and holds nothing else
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Which part of a workload is meant. Different flags must all hold; one flag given several times
/// holds if one of its values does.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    /// Of this client: its address (* and ? stand for anything) or number; may be repeated
    #[arg(long, value_name = "ADDR")]
    client: Vec<String>,
    /// Of this session: its number, its id (0x...) or its user; may be repeated
    #[arg(long, value_name = "SESSION")]
    session: Vec<String>,
    /// On this share; may be repeated
    #[arg(long, value_name = "NAME")]
    share: Vec<String>,
    /// On this path below its share: * and ? within a component, ** for any folders; a name without \ in any folder; may be repeated
    #[arg(long, value_name = "GLOB")]
    path: Vec<String>,
    /// This command, like READ; may be repeated
    #[arg(long, value_name = "COMMAND")]
    command: Vec<String>,
    /// Sent at this time from the start or later: seconds, or like 1.5s, 200ms
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Sent before this time from the start
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl FilterArgs {
    /// The filters; times are checked here, the rest against the workload.
    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        let time = |text: &Option<String>| {
            let read = text.as_deref().map(parse_time).transpose();
            read.map_err(|source| explain(SliceError::from(source)))
        };
        Ok(Filters {
            clients: self.client.clone(),
            sessions: self.session.clone(),
            shares: self.share.clone(),
            paths: self.path.clone(),
            commands: self.command.clone(),
            from_us: time(&self.from)?,
            to_us: time(&self.to)?,
        })
    }
}

/// The machine-readable contract of `slice`.
#[derive(Serialize)]
struct Summary<'a> {
    format: u32,
    of_operations: u64,
    lines: u64,
    operations: u64,
    events: u64,
    by_command: &'a BTreeMap<String, u64>,
    kept: &'a BTreeMap<String, u64>,
    left_out: &'a BTreeMap<String, u64>,
    edges: &'a BTreeMap<String, u64>,
    bridged: u64,
    clients: usize,
    connections: usize,
    sessions: usize,
    trees: usize,
    files: u32,
    namespace: u64,
    derived: u64,
    unmet: &'a BTreeMap<String, u64>,
    blobs: u64,
    moved_us: u64,
    causes: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let out = NewFolder::at(&args.out, args.force)?;
    let options = SliceOptions {
        filters: args.filters.filters()?,
        causes: args.causes,
        keep_times: args.keep_pcap_times,
        verb: "slice".to_owned(),
    };
    if options.filters.is_empty() {
        return Err(Failure::usage("nothing says which part is meant")
            .remedy("name --client, --session, --share, --path, --command, --from or --to"));
    }
    let place = WorkloadPlace::of(&args.dir)?;
    let folder = open(place.path())?;
    let sliced = slice(&folder, &options, out.path()).map_err(explain)?;
    out.finish()?;
    if args.json {
        report::json(&Summary::of(&sliced, args.causes))?;
    } else {
        print(&sliced, args);
    }
    Ok(Verdict::Same)
}

/// Opens a workload folder without reading its operations.
pub(crate) fn open(dir: &Path) -> Result<FolderReader, Failure> {
    let shown = dir.display();
    FolderReader::open(dir)
        .or_environment(format!("cannot read workload {shown}"))
        .map_err(|failure| {
            let remedy = if dir.join(crate::load::WORKLOAD_FILE).is_file() {
                "compile its capture again: smbench compile CAPTURE -o DIR"
            } else {
                "name a folder that smbench compile wrote"
            };
            failure.remedy(remedy)
        })
}

/// A failure to cut, with what to do about it.
pub(crate) fn explain(error: SliceError) -> Failure {
    let code = if error.is_usage() { USAGE } else { ENVIRONMENT };
    let remedy = error.remedy();
    let failure = Failure::new(code, error);
    if remedy.is_empty() {
        return failure;
    }
    failure.remedy(remedy)
}

impl<'a> Summary<'a> {
    fn of(sliced: &'a Sliced, causes: bool) -> Self {
        let workload = &sliced.workload;
        let operations = workload.coverage.requests();
        Self {
            format: workload.format,
            of_operations: sliced.of_operations,
            lines: workload.operations,
            operations,
            events: workload.operations.saturating_sub(operations),
            by_command: &workload.coverage.by_command,
            kept: &sliced.kept,
            left_out: &sliced.left_out,
            edges: &workload.coverage.edges,
            bridged: sliced.bridged,
            clients: workload.clients.len(),
            connections: workload.connections.len(),
            sessions: workload.sessions.len(),
            trees: workload.trees.len(),
            files: workload.opens,
            namespace: sliced.namespace,
            derived: sliced.derived,
            unmet: &sliced.unmet,
            blobs: sliced.blobs,
            moved_us: sliced.moved_us,
            causes,
        }
    }
}

fn print(sliced: &Sliced, args: &Args) {
    let workload = &sliced.workload;
    let out = args.out.display();
    say!(
        "workload {out}: {} of {} operations",
        workload.operations,
        sliced.of_operations
    );
    say!(
        "  {} clients, {} connections, {} sessions, {} trees, {} opens, {} blobs",
        workload.clients.len(),
        workload.connections.len(),
        workload.sessions.len(),
        workload.trees.len(),
        workload.opens,
        sliced.blobs,
    );
    counted("kept", &sliced.kept);
    counted("left out", &sliced.left_out);
    let edges: u64 = workload.coverage.edges.values().sum();
    say!(
        "  {edges} order edges, {} of them past what is left out",
        sliced.bridged
    );
    say!(
        "  {} things exist before, {} of them as the slice itself was answered",
        sliced.namespace,
        sliced.derived
    );
    if sliced.moved_us > 0 {
        say!(
            "  times count from {} s of the capture",
            report::seconds(sliced.moved_us)
        );
    }
    counted("not as recorded", &sliced.unmet);
    if !args.causes {
        say!("  what was left out may have mattered to answers: --causes keeps it");
    }
    say!("next: smbench sim {out} --seed 1");
}

/// Counts in a line, where there are any.
pub(crate) fn counted(title: &str, counts: &BTreeMap<String, u64>) {
    let shown: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if !shown.is_empty() {
        say!("  {title}: {}", shown.join(", "));
    }
}
