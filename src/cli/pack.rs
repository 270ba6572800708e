//! `smbench pack`: a workload folder as one file.

use std::path::{Path, PathBuf};

use serde::Serialize;
use smbench_compiler::folder::archive::{self, ArchiveError};
use smbench_compiler::folder::name;

use crate::exit::{ENVIRONMENT, Failure, OrFail, Outcome, Verdict};
use crate::interrupt::{self, Unfinished};
use crate::report::{self, note, say};
use crate::unpacked::is_packed;

/// A workload folder -> one portable file, which every verb takes in place of the folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to write (must not exist)
    #[arg(value_name = "FILE.smbw")]
    out: PathBuf,
    /// Replace the file if it is a packed workload
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    from: String,
    to: String,
    operations: u64,
    /// Of the folder's files.
    bytes: u64,
    /// Of the file.
    packed: u64,
    /// What else lies in the folder.
    left_out: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (from, to) = (args.dir.display(), args.out.display());
    if is_packed(&args.dir) {
        return Err(Failure::usage(format!("{from} is packed already"))
            .remedy("copy it, or name a workload folder"));
    }
    make_room(&args.out, args.force)?;
    let left_out = left_out(&args.dir);
    let mut part = args.out.file_name().unwrap_or_default().to_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let part = args.out.with_file_name(part);
    let unfinished = Unfinished::at(&part);
    let done = archive::pack(&args.dir, &part).map_err(|error| explain(error, args, &part));
    let done = done.and_then(|packed| {
        let context = format!("cannot make {to}");
        interrupt::uninterrupted(|| std::fs::rename(&part, &args.out)).or_environment(context)?;
        Ok(packed)
    });
    let packed = done.inspect_err(|_| {
        std::fs::remove_file(&part).ok();
    })?;
    drop(unfinished);
    if !left_out.is_empty() {
        note!(
            "smbench: no part of the workload, and left out: {}",
            left_out.join(", ")
        );
    }
    if args.json {
        report::json(&Told {
            from: from.to_string(),
            to: to.to_string(),
            operations: packed.operations,
            bytes: packed.bytes,
            packed: packed.stored,
            left_out,
        })?;
    } else {
        let (bytes, stored) = (report::bytes(packed.bytes), report::bytes(packed.stored));
        say!(
            "{} operations, {bytes} -> {to}, {stored}",
            packed.operations
        );
        say!("next: smbench sim {to} --seed 1");
    }
    Ok(Verdict::Same)
}

/// Says what stands in the way of the file.
fn make_room(out: &Path, force: bool) -> Result<(), Failure> {
    let shown = out.display();
    match std::fs::symlink_metadata(out) {
        Err(_) => Ok(()),
        Ok(_) if is_packed(out) && force => Ok(()),
        Ok(_) if is_packed(out) => Err(Failure::usage(format!("{shown} exists"))
            .remedy("name another file, or say --force to replace that one")),
        Ok(_) => Err(
            Failure::usage(format!("{shown} exists and is no packed workload"))
                .remedy("name another file"),
        ),
    }
}

/// What lies in the folder and is no part of the workload, by name.
fn left_out(dir: &Path) -> Vec<String> {
    let parts = [
        name::WORKLOAD,
        name::OPERATIONS,
        name::NAMESPACE,
        name::BLOBS,
    ];
    // What cannot be listed cannot be read either, which is told then.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others: Vec<String> = names.filter(|it| !parts.contains(&it.as_str())).collect();
    others.sort();
    others
}

fn explain(error: ArchiveError, args: &Args, part: &Path) -> Failure {
    let of_target = matches!(&error, ArchiveError::Io { path, .. } if path == part);
    let remedy = match of_target {
        true => "make room there, or name another file",
        false => "name a folder that smbench compile wrote",
    };
    let context = match of_target {
        true => format!("cannot write {}", args.out.display()),
        false => format!("cannot pack {}", args.dir.display()),
    };
    Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context)).remedy(remedy)
}
