//! `smbench export` and `smbench import`: journal folders and portable bundles.

use std::path::{Path, PathBuf};

use smbench_journal::{Existing, JournalError, TransferReport, unfinished};

use crate::exit::{OrFail, Outcome, Verdict};
use crate::giveaway::Giveaway;
use crate::interrupt::Unfinished;
use crate::journals::{failed, open};
use crate::report::{self, note, say};

/// A journal folder -> one portable file.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Journal folder
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,
    /// File to write (must not exist)
    #[arg(value_name = "OUT.smbj")]
    out: PathBuf,
    /// Without what it tells about people: as the run of CLEAN, the workload that `anonymize` made of
    /// that of the journal
    #[arg(long, value_name = "CLEAN", requires = "map")]
    anonymize: Option<PathBuf>,
    /// What became of what, as `anonymize --map` has written it
    #[arg(long, value_name = "FILE", requires = "anonymize")]
    map: Option<PathBuf>,
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
    let journal = open(&args.journal)?;
    if let (Some(clean), Some(map)) = (&args.anonymize, &args.map) {
        let giveaway = Giveaway {
            journal: (&journal, &args.journal),
            clean,
            map,
        };
        let done = giveaway.write(&args.out);
        let done = done.map_err(|failure| {
            failure.context(format!("nothing was written to {}", args.out.display()))
        });
        let done = TransferReport {
            events: done?,
            ..TransferReport::default()
        };
        return tell(Ok(done), &args.journal, &args.out, args.json);
    }
    let part = Unfinished::at(unfinished(&args.out));
    let done = smbench_journal::export(&journal, &args.out, Existing::Keep);
    drop(part);
    tell(done, &args.journal, &args.out, args.json)
}

pub(crate) fn import(args: &ImportArgs) -> Outcome {
    let journal = open(&args.bundle)?;
    // Beside its place until it is whole: a half of it would look like a run that was interrupted.
    let beside = args.out.with_file_name(format!(
        ".{}.{}.part",
        args.out.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let to = if args.out.exists() {
        &args.out
    } else {
        &beside
    };
    let part = (to == &beside).then(|| Unfinished::at(&beside));
    let done = smbench_journal::import(&journal, to);
    if done.is_ok() && to == &beside {
        let context = format!("cannot make {}", args.out.display());
        std::fs::rename(&beside, &args.out).or_environment(context)?;
    }
    drop(part);
    tell(done, &args.bundle, &args.out, args.json)
}

fn tell(done: Result<TransferReport, JournalError>, from: &Path, to: &Path, json: bool) -> Outcome {
    let done = done.map_err(|error| {
        let of_source = error.is_damage() || matches!(error, JournalError::Busy { .. });
        let at_fault = if of_source { from } else { to };
        failed(error, at_fault).context(format!("nothing was written to {}", to.display()))
    })?;
    for tail in &done.tails {
        note!(
            "smbench: {} has a torn tail, which is left out: {} bytes from event {} on",
            from.display(),
            tail.bytes,
            tail.from
        );
    }
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
