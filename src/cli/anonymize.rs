//! `smbench anonymize`: a workload without what it tells about people.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use smbench_compiler::anonymize::{AnonymizeError, Count, Kind, Mapping, Seed, Tally, anonymize};

use crate::cli::place::NewFolder;
use crate::exit::{ENVIRONMENT, Failure, OrFail, Outcome, Verdict};
use crate::interrupt::Unfinished;
use crate::report::{self, say};
use crate::unpacked::WorkloadPlace;

/// A workload without what it tells about people, for giving it away.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder to write (made; must not exist)
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Number that pseudonyms and data are drawn with, for doing the same again. Default: chance
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also write what became of what, as JSON that you alone can read. Keep it to yourself
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Replace OUT if it is a workload and holds nothing else
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints: see docs/JSON.md.
#[derive(Serialize)]
struct Told<'a> {
    operations: u64,
    replaced: BTreeMap<Kind, Count>,
    kept: &'a BTreeMap<&'static str, u64>,
    lossy: &'a BTreeMap<&'static str, u64>,
    duration_us: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let seed = match args.seed {
        Some(number) => Seed::from_number(number),
        None => drawn()?,
    };
    if let Some(map) = &args.map {
        refuse_inside(map, &args.out)?;
        refuse_inside(map, &args.dir)?;
    }
    let begun = Instant::now();
    let place = WorkloadPlace::of(&args.dir)?;
    let same = same_place(&args.dir, &args.out);
    let folder = (!same).then(|| NewFolder::at(&args.out, args.force));
    let folder = folder.transpose()?;
    // Onto itself it is refused.
    let out = folder.as_ref().map_or(args.out.as_path(), NewFolder::path);
    // Before the work: a bad path fails at once.
    let map = args.map.as_deref().map(secret_file).transpose()?;
    let half_map = args.map.as_ref().map(Unfinished::at);
    let done = anonymize(place.path(), out, &seed).map_err(|error| explain(error, args));
    let done = done.inspect_err(|_| {
        if let Some(path) = &args.map {
            std::fs::remove_file(path).ok();
        }
    })?;
    if let (Some(file), Some(path)) = (map, &args.map) {
        write_map(file, &done.mapping)
            .or_environment(format!("cannot write {}", path.display()))?;
    }
    drop(half_map);
    if let Some(folder) = folder {
        folder.finish()?;
    }
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let operations = done.workload.operations;
    if args.json {
        report::json(&told(&done.tally, operations, duration_us))?;
    } else {
        print(&done.tally, operations, args);
    }
    Ok(Verdict::Same)
}

fn told(tally: &Tally, operations: u64, duration_us: u64) -> Told<'_> {
    Told {
        operations,
        replaced: Kind::ALL
            .into_iter()
            .map(|kind| (kind, count(tally, kind)))
            .collect(),
        kept: &tally.kept,
        lossy: &tally.lossy,
        duration_us,
    }
}

fn count(tally: &Tally, kind: Kind) -> Count {
    tally.replaced.get(&kind).copied().unwrap_or_default()
}

fn print(tally: &Tally, operations: u64, args: &Args) {
    say!("workload {} of {operations} operations", args.out.display());
    let mut table = report::table(&["replaced", "places", "bytes"]);
    for kind in Kind::ALL {
        let Count { places, bytes } = count(tally, kind);
        table.add_row([
            kind.name().to_owned(),
            places.to_string(),
            bytes.to_string(),
        ]);
    }
    table.print();
    for (title, reasons) in [
        ("left in the clear", &tally.kept),
        ("may replay otherwise", &tally.lossy),
    ] {
        if reasons.is_empty() {
            continue;
        }
        let mut table = report::table(&[title, "places"]);
        for (reason, places) in reasons {
            table.add_row([(*reason).to_owned(), places.to_string()]);
        }
        table.print();
    }
    if let Some(map) = &args.map {
        say!(
            "{} says what became of what: keep it to yourself",
            map.display()
        );
    }
}

fn drawn() -> Result<Seed, Failure> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.or_environment("the system gives no random bytes")
        .map_err(|failure| failure.remedy("name a seed: --seed N"))?;
    Ok(Seed::from_bytes(bytes))
}

/// The mapping must not travel with a workload.
fn refuse_inside(map: &Path, folder: &Path) -> Result<(), Failure> {
    let parent = match map.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if same_place(parent, folder) || parent == folder || parent.starts_with(folder) {
        return Err(Failure::usage(format!(
            "{} lies in a workload: who gets that would get the mapping",
            map.display()
        ))
        .remedy("name a file outside of it"));
    }
    Ok(())
}

fn same_place(one: &Path, other: &Path) -> bool {
    let real = one.canonicalize().ok().zip(other.canonicalize().ok());
    real.is_some_and(|(one, other)| one == other)
}

fn secret_file(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .or_environment(format!("cannot make {}", path.display()))
        .map_err(|failure| failure.remedy("name a file that does not exist"))
}

fn write_map(mut file: File, mapping: &Mapping) -> Result<(), std::io::Error> {
    let mut json = serde_json::to_vec_pretty(mapping)?;
    json.push(b'\n');
    file.write_all(&json)?;
    file.sync_all()
}

fn explain(error: AnonymizeError, args: &Args) -> Failure {
    if matches!(error, AnonymizeError::SamePlace { .. }) {
        return Failure::usage(error).remedy("name another folder");
    }
    let context = format!("cannot anonymize {}", args.dir.display());
    Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context))
        .remedy("name a folder that smbench compile wrote")
}
