//! Journals that are read: opening them, and telling what stands in the way.

use std::path::Path;

use smbench_journal::{Journal, JournalError, RerunError};

use crate::exit::{DAMAGED, DEFECT, ENVIRONMENT, Failure};
use crate::report::note;

/// Opens a journal folder or a bundle.
pub(crate) fn open(path: &Path) -> Result<Journal, Failure> {
    opened(Journal::open(path), path)
}

/// Opens one of which nothing but the events may be left.
pub(crate) fn open_damaged(path: &Path) -> Result<Journal, Failure> {
    opened(Journal::open_damaged(path), path)
}

fn opened(journal: Result<Journal, JournalError>, path: &Path) -> Result<Journal, Failure> {
    let journal = journal.map_err(|error| failed(error, path))?;
    if let Some(text) = journal.note() {
        note!("smbench: {text}");
    }
    Ok(journal)
}

/// What a journal's own error means for whoever gave the journal.
pub(crate) fn failed(error: JournalError, path: &Path) -> Failure {
    let shown = path.display();
    let (code, remedy) = match &error {
        _ if error.is_damage() => (
            DAMAGED,
            Some(format!("smbench show --salvage {shown} gives what is left")),
        ),
        JournalError::Busy { .. } => (
            ENVIRONMENT,
            Some("wait until the run that writes it has ended".to_owned()),
        ),
        JournalError::OutOfSequence { .. }
        | JournalError::TimeWentBack { .. }
        | JournalError::Finished { .. }
        | JournalError::NoShard { .. }
        | JournalError::ShardTaken { .. } => (DEFECT, None),
        _ => (ENVIRONMENT, None),
    };
    let said = if code == DAMAGED {
        format!("the journal {shown} is damaged")
    } else {
        format!("the journal {shown}")
    };
    let failure = Failure::new(code, anyhow::Error::from(error).context(said));
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}

/// A journal that cannot be run again.
pub(crate) fn not_rerun(error: RerunError, path: &Path) -> Failure {
    match error {
        RerunError::Journal(error) => failed(error, path),
        error => {
            let context = format!("cannot rerun {}", path.display());
            Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context))
        }
    }
}

/// Says what of a journal is damaged; whether anything is.
pub(crate) fn tell_damage(journal: &Journal, path: &Path) -> Result<bool, Failure> {
    let found = journal
        .hidden_damage()
        .map_err(|error| failed(error, path))?;
    for damage in &found {
        note!("smbench: {} is damaged: {}", path.display(), damage.words());
    }
    Ok(!found.is_empty())
}
