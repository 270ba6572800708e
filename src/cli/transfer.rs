//! `smbench export` and `smbench import`: journal folders and portable bundles.

use std::path::{Path, PathBuf};

use smbench_journal::{JournalError, TransferReport};

use crate::cli::rerun::damaged;
use crate::exit::{Outcome, Verdict};
use crate::report::{self, say};

/// A journal folder -> one portable file.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Journal folder
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
    /// File to write (must not exist)
    #[arg(value_name = "OUT.smbj")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A portable file -> a journal folder.
#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// Bundle
    #[arg(value_name = "IN.smbj")]
    bundle: PathBuf,
    /// Folder to make (must not exist)
    #[arg(value_name = "JOURNAL")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn export(args: &ExportArgs) -> Outcome {
    tell(
        smbench_journal::export(&args.journal, &args.out),
        &args.journal,
        &args.out,
        args.json,
    )
}

pub(crate) fn import(args: &ImportArgs) -> Outcome {
    tell(
        smbench_journal::import(&args.bundle, &args.out),
        &args.bundle,
        &args.out,
        args.json,
    )
}

fn tell(done: Result<TransferReport, JournalError>, from: &Path, to: &Path, json: bool) -> Outcome {
    let done = done.map_err(|error| damaged(error, from))?;
    if json {
        let value = serde_json::json!({
            "from": from.display().to_string(),
            "to": to.display().to_string(),
            "events": done.events,
        });
        report::json(&value)?;
    } else {
        say!("{} events -> {}", done.events, to.display());
    }
    Ok(Verdict::Same)
}
