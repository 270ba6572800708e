//! From folder to bundle and back, without loss.
//!
//! A bundle's bytes follow from the journal's content alone: not from how a folder's blocks were
//! cut by the clock, nor from the order in which shards were written. What is damaged is not
//! carried over: the copy would look sound. Either all is written or nothing is left.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use smbench_core::event::Recorder;

use crate::{
    block::Event,
    bundle::{BundleWriter, FILE_MAGIC},
    entries::StoredEntry,
    error::JournalError,
    reader::{Journal, TornTail},
    store,
    writer::JournalWriter,
};

/// What was carried over.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct TransferReport {
    /// Events.
    pub events: u64,
    /// Attachments.
    pub attachments: u64,
    /// Bytes of the result on disk.
    pub bytes: u64,
    /// What could not be carried over, because the original breaks off.
    pub tails: Vec<TornTail>,
}

/// What to do about a file that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Leave it, and give [`JournalError::Exists`].
    Keep,
    /// Put the bundle in its place once that is whole, if it is a bundle too, or empty.
    Replace,
}

/// Writes `journal` into a bundle at `to`. It is written beside, and gets its name when it is
/// whole.
///
/// # Errors
///
/// Damage of any kind to the journal; those of [`can_export`].
pub fn export(
    journal: &Journal,
    to: impl AsRef<Path>,
    existing: Existing,
) -> Result<TransferReport, JournalError> {
    let part = Part::beside(to.as_ref(), existing)?;
    journal.refuse_damage()?;
    let mut bundle = BundleWriter::create_raw(&part.path, journal.meta_json())?;
    let mut report = report_of(journal);
    for head in journal.attachment_heads()? {
        bundle.put_attachment(&head, &journal.attachment_stream(&head)?)?;
        report.attachments += 1;
    }
    for shard in journal.shards() {
        for entry in journal.entries(shard)? {
            bundle.put(shard.0, as_event(&entry?))?;
            report.events += 1;
        }
        match journal.finish_digest(shard) {
            Some(after) => bundle.finish_shard(shard, after)?,
            None => bundle.cut_shard(shard)?,
        }
    }
    report.bytes = bundle.end_file()?;
    part.done()?;
    Ok(report)
}

/// Whether [`export`] could write to `to`, without writing anything that stays.
///
/// # Errors
///
/// [`JournalError::Exists`], [`JournalError::NotAFile`], [`JournalError::NotABundle`],
/// [`JournalError::Io`].
pub fn can_export(to: impl AsRef<Path>, existing: Existing) -> Result<(), JournalError> {
    let part = Part::beside(to.as_ref(), existing)?;
    fs::File::create_new(&part.path)
        .map(drop)
        .map_err(|source| part.failed("creating", source))
}

/// Where this process writes the bundle for `to` until it is whole.
#[must_use]
pub fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    to.with_file_name(name)
}

/// Writes `journal` into a new folder at `to`.
///
/// # Errors
///
/// Damage of any kind to the journal; [`JournalError::Exists`] when `to` is not empty; those of
/// [`JournalWriter`].
pub fn import(journal: &Journal, to: impl AsRef<Path>) -> Result<TransferReport, JournalError> {
    journal.refuse_damage()?;
    let meta_json = journal.meta_json().to_vec();
    let writer = JournalWriter::create_raw(to.as_ref(), meta_json, journal.meta().shards)?;
    match fill(journal, &writer) {
        Ok(mut report) => {
            let written = writer.close().and_then(|_| Journal::open(&to));
            report.bytes = written.inspect_err(|_| store::remove(to.as_ref()))?.size();
            Ok(report)
        }
        Err(error) => {
            writer.discard();
            Err(error)
        }
    }
}

fn fill(journal: &Journal, writer: &JournalWriter) -> Result<TransferReport, JournalError> {
    let mut report = report_of(journal);
    for head in journal.attachment_heads()? {
        let stream = journal.attachment_stream(&head)?;
        writer.attach_packed(head, stream)?;
        report.attachments += 1;
    }
    for shard in journal.shards() {
        let mut recorder = writer.recorder(shard)?;
        for entry in journal.entries(shard)? {
            recorder.put(as_event(&entry?))?;
            report.events += 1;
        }
        if let Some(after) = journal.finish_digest(shard) {
            recorder.finish(after)?;
        }
    }
    writer.sync()?;
    Ok(report)
}

fn report_of(journal: &Journal) -> TransferReport {
    TransferReport {
        tails: journal.tails().to_vec(),
        ..TransferReport::default()
    }
}

fn as_event(entry: &StoredEntry) -> Event<'_> {
    Event {
        seq: entry.seq,
        now: entry.now,
        before: entry.before,
        whole: entry.block_before,
        input: &entry.input,
    }
}

/// Whether a file begins like a bundle, whole or not.
fn is_bundle(path: &Path) -> Result<bool, JournalError> {
    let mut head = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_MAGIC.len() as u64).read_to_end(&mut head))
        .map_err(|source| JournalError::Io {
            action: "looking at",
            path: path.into(),
            source,
        })?;
    Ok(head == FILE_MAGIC)
}

/// A file that is written beside the one that it becomes. It is gone with the value.
struct Part<'a> {
    to: &'a Path,
    path: PathBuf,
}

impl<'a> Part<'a> {
    fn beside(to: &'a Path, existing: Existing) -> Result<Self, JournalError> {
        match fs::symlink_metadata(to) {
            Ok(_) if existing == Existing::Keep => {
                return Err(JournalError::Exists { path: to.into() });
            }
            Ok(about) if !about.is_file() => {
                return Err(JournalError::NotAFile { path: to.into() });
            }
            Ok(about) if about.len() > 0 && !is_bundle(to)? => {
                return Err(JournalError::NotABundle { path: to.into() });
            }
            // What stands in the way of looking stands in the way of writing.
            Ok(_) | Err(_) => {}
        }
        let path = unfinished(to);
        Ok(Self { to, path })
    }

    /// Gives the file its name.
    fn done(self) -> Result<(), JournalError> {
        fs::rename(&self.path, self.to).map_err(|source| self.failed("renaming to", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io {
            action,
            path: self.to.into(),
            source,
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // It has its name, or never was, or goes with what failed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
