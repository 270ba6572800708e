//! `smbench compile`: captures -> a workload folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use smbench_compiler::capture::{CaptureError, Duplicate, clocks};
use smbench_compiler::slice::{Filters, SliceOptions};
use smbench_compiler::{
    CompileError, CompileOptions, Compiled, Foresight, Passwords, SessionKeys, Unfit, compile,
};
use smbench_core::workload::{CaptureFile, Workload};

use crate::cli::inspect::{Overview, next_steps};
use crate::cli::place::{NewFolder, Passing};
use crate::cli::slice;
use crate::exit::{ENVIRONMENT, Failure, OrFail, Outcome, Verdict};
use crate::interrupt;
use crate::report::{self, say};
use crate::secrets;

/// Packet captures -> a workload folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Captures (pcap, pcapng, gzip, zstd), merged by time; - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Folder to write (made; must not exist)
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Session keys of encrypted sessions: JSON, or rows of Wireshark's smb2_seskey_list
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Passwords of users that log in within the capture, in lines [DOMAIN\]USER=PASSWORD
    /// (*=PASSWORD for anyone), or one password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Only what this client did: its address (* and ? stand for anything); may be repeated
    #[arg(long, value_name = "ADDR")]
    client: Vec<String>,
    /// Only what was done on this share; may be repeated
    #[arg(long, value_name = "NAME")]
    share: Vec<String>,
    /// With --client or --share: times count from the first packet of the capture, not of what is
    /// kept
    #[arg(long)]
    keep_pcap_times: bool,
    /// Compile connections too that are the same traffic as others, captured before and behind
    /// address translation, a proxy or the end of a tunnel
    #[arg(long)]
    keep_duplicates: bool,
    /// Replace DIR if it is a workload and holds nothing else
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `compile --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    overview: &'a Overview<'a>,
    /// Only of captures whose times were set right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clocks: Vec<Clock<'a>>,
    /// Only where something was captured twice.
    #[serde(skip_serializing_if = "<[Left]>::is_empty")]
    duplicates: &'a [Left],
}

/// A capture whose times were set right.
#[derive(Serialize)]
struct Clock<'a> {
    capture: &'a str,
    added_ns: i64,
}

impl<'a> Clock<'a> {
    fn all(captures: &'a [CaptureFile]) -> Vec<Self> {
        let changed = captures.iter().filter(|it| it.clock_ns != 0);
        let clock = |it: &'a CaptureFile| Self {
            capture: &it.name,
            added_ns: it.clock_ns,
        };
        changed.map(clock).collect()
    }

    fn tell(&self) {
        let Self { capture, added_ns } = self;
        let way = if *added_ns < 0 { "ahead" } else { "behind" };
        let by = report::time(added_ns.unsigned_abs() / 1_000);
        say!("  the clock of {capture} was {way} by {by}: its times were set right");
    }
}

/// A connection that is the same traffic as another and was left out.
#[derive(Serialize)]
struct Left {
    from: String,
    to: String,
    as_from: String,
    as_to: String,
    frames: u64,
}

impl Left {
    fn new(duplicate: &Duplicate) -> Self {
        Self {
            from: duplicate.client.to_string(),
            to: duplicate.server.to_string(),
            as_from: duplicate.of_client.to_string(),
            as_to: duplicate.of_server.to_string(),
            frames: duplicate.frames,
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let folder = NewFolder::at(&args.out, args.force)?;
    let begun = Instant::now();
    let filters = Filters {
        clients: args.client.clone(),
        shares: args.share.clone(),
        ..Filters::default()
    };
    let (workload, duplicates) = if filters.is_empty() {
        compiled(args, folder.path())?
    } else {
        let whole = Passing::beside(&args.out, "whole");
        let (workload, duplicates) = compiled(args, whole.path())?;
        let workload = if workload.coverage.requests() == 0 {
            workload
        } else {
            part(whole.path(), filters, args.keep_pcap_times, folder.path())?
        };
        (workload, duplicates)
    };
    folder.finish()?;
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let overview = Overview::new(&workload, duration_us);
    let clocks = Clock::all(&workload.provenance.captures);
    if args.json {
        report::json(&Told {
            overview: &overview,
            clocks,
            duplicates: &duplicates,
        })?;
    } else {
        overview.print(&args.out);
        clocks.iter().for_each(Clock::tell);
        tell_duplicates(&duplicates);
        overview.commands();
        next_steps(&workload, &args.out);
    }
    if workload.coverage.requests() == 0 {
        return Err(Failure::environment("the capture holds no SMB2 request")
            .remedy("look at `skipped` above: is it encrypted, or SMB1, or cut?"));
    }
    Ok(Verdict::Same)
}

/// Names the first connections that were left out.
fn tell_duplicates(duplicates: &[Left]) {
    for left in duplicates.iter().take(DUPLICATES_SHOWN) {
        let Left {
            from,
            to,
            as_from,
            as_to,
            frames,
        } = left;
        say!(
            "  left out: {from} > {to}, the same traffic as {as_from} > {as_to} ({frames} frames; \
             --keep-duplicates compiles both)"
        );
    }
    if let Some(more) = duplicates.len().checked_sub(DUPLICATES_SHOWN)
        && more > 0
    {
        say!("  left out: {more} more");
    }
}

/// Compiles the whole of the captures into the folder `to`; and what was left out.
fn compiled(args: &Args, to: &Path) -> Result<(Workload, Vec<Left>), Failure> {
    let mut options = options_of(args)?;
    let (inputs, total) = open_inputs(&args.captures)?;
    let bar = report::progress(total, "{bar:40} {bytes}/{total_bytes} {msg}");
    let mut tell = |progress: smbench_compiler::Progress| {
        bar.set_position(progress.bytes);
        bar.set_message(format!("{} operations", progress.operations));
        interrupt::far(format!(
            "{} of {} bytes read, {} operations found",
            progress.bytes,
            if total > 0 {
                total.to_string()
            } else {
                "?".to_owned()
            },
            progress.operations
        ));
    };
    tell(smbench_compiler::Progress::default());
    options.progress = Some(&mut tell);
    let mut compiled = compile(inputs, options, to).map_err(|error| explain(error, args))?;
    if let Some(foresight) = foreseen(&mut compiled, args, to)? {
        // What was open before the captures began goes before everything.
        let mut options = options_of(args)?;
        options.foresight = foresight;
        options.progress = Some(&mut tell);
        let (inputs, _) = open_inputs(&args.captures)?;
        compiled = compile(inputs, options, to).map_err(|error| explain(error, args))?;
    }
    bar.finish_and_clear();
    let duplicates = compiled.stats.duplicates.iter().map(Left::new).collect();
    Ok((compiled.workload, duplicates))
}

fn options_of<'a>(args: &Args) -> Result<CompileOptions<'a>, Failure> {
    let mut options = CompileOptions {
        must_fit: true,
        ..CompileOptions::default()
    };
    options.capture.keep_duplicates = args.keep_duplicates;
    options.capture.clocks_ns = agreed_clocks(args)?;
    if let Some(path) = &args.keys {
        options.keys = secrets::keys(path)?;
    }
    if let Some(path) = &args.password_file {
        options.passwords = secrets::passwords(path)?;
    }
    Ok(options)
}

/// What the folder `of` tells of opens that were there before the captures began, where these can be read again.
fn foreseen(compiled: &mut Compiled, args: &Args, of: &Path) -> Result<Option<Foresight>, Failure> {
    let midway = std::mem::take(&mut compiled.midway);
    if midway.is_empty() || !args.captures.iter().all(|path| is_file(path)) {
        return Ok(None);
    }
    let folder = slice::open(of)?;
    let foresight = Foresight::of(midway, &folder);
    let foresight = foresight.or_environment(format!("cannot read {}", of.display()))?;
    Ok(Some(foresight).filter(|it| !it.is_empty()))
}

/// A pipe can be read only once.
fn is_file(path: &Path) -> bool {
    !is_stdin(path) && path.metadata().is_ok_and(|meta| meta.is_file())
}

/// Cuts out of the workload `whole` what `filters` mean.
fn part(whole: &Path, filters: Filters, keep_times: bool, out: &Path) -> Result<Workload, Failure> {
    let options = SliceOptions {
        filters,
        causes: false,
        keep_times,
        verb: "compile".to_owned(),
    };
    let folder = slice::open(whole)?;
    let sliced = smbench_compiler::slice::slice(&folder, &options, out);
    Ok(sliced.map_err(slice::explain)?.workload)
}

/// What to add to the times of several captures so that their clocks agree.
fn agreed_clocks(args: &Args) -> Result<Vec<i64>, Failure> {
    let paths = &args.captures;
    if paths.len() < 2 {
        return Ok(Vec::new());
    }
    // What is no file is left as it is.
    let again = |path: &PathBuf| -> Option<Box<dyn Read + Send>> {
        let file = is_file(path).then(|| File::open(path).ok())??;
        Some(Box::new(file))
    };
    let inputs = paths.iter().map(again).collect();
    clocks(inputs).map_err(|source| explain(CompileError::Capture { source }, args))
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

type Inputs = Vec<(String, Box<dyn Read + Send>)>;

fn open_inputs(paths: &[PathBuf]) -> Result<(Inputs, u64), Failure> {
    let mut inputs: Inputs = Vec::new();
    let mut total = 0;
    for path in paths {
        if is_stdin(path) {
            inputs.push(("-".to_owned(), Box::new(io::stdin())));
            continue;
        }
        let shown = path.display();
        let file = File::open(path).or_environment(format!("cannot open {shown}"))?;
        let meta = file
            .metadata()
            .or_environment(format!("cannot open {shown}"))?;
        if meta.is_dir() {
            return Err(Failure::environment(format!(
                "{shown} is a folder, not a capture"
            )));
        }
        total += meta.len();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        inputs.push((name, Box::new(file)));
    }
    Ok((inputs, total))
}

fn explain(error: CompileError, args: &Args) -> Failure {
    let unfit = match &error {
        CompileError::Unfit(Unfit::Keys { .. }) => Some((&args.keys, SessionKeys::FORMS)),
        CompileError::Unfit(_) => Some((&args.password_file, Passwords::FORMS)),
        _ => None,
    };
    if let Some((Some(path), forms)) = unfit {
        let context = format!("{} is of no use", path.display());
        return Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context))
            .remedy(forms);
    }
    let names: Vec<String> = args
        .captures
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let no_capture = matches!(
        error,
        CompileError::Capture {
            source: CaptureError::NotACapture { .. } | CaptureError::Empty
        }
    );
    let context = format!("cannot compile {}", names.join(", "));
    let failure = Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context));
    if no_capture {
        return failure
            .remedy("smbench reads pcap and pcapng, plain or compressed by gzip or zstd");
    }
    failure
}

/// Connections left out that are named.
const DUPLICATES_SHOWN: usize = 8;
