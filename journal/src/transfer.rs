//! From folder to bundle and back, without loss.
//!
//! A bundle's bytes follow from the journal's content alone: not from how a folder's blocks were
//! cut by the clock, nor from the order in which shards were written.

use std::path::Path;

use serde::Serialize;
use smbench_core::ids::{LogicalTime, ShardId};

use crate::{
    block::{Block, Event},
    bundle::BundleWriter,
    entries::StoredEntry,
    error::JournalError,
    reader::{Journal, TornTail},
    store::Store,
    writer::Sink,
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

/// Writes the journal at `from`, folder or bundle, into a new bundle at `to`.
///
/// # Errors
///
/// Those of [`Journal::open`] and of damage; [`JournalError::Exists`] when `to` is there.
pub fn export(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
) -> Result<TransferReport, JournalError> {
    let journal = Journal::open(from)?;
    let mut bundle = BundleWriter::create_raw(to.as_ref(), journal.meta_json())?;
    let mut report = TransferReport {
        tails: journal.tails().to_vec(),
        ..TransferReport::default()
    };
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
    Ok(report)
}

/// Writes the journal at `from`, folder or bundle, into a new folder at `to`.
///
/// # Errors
///
/// Those of [`Journal::open`] and of damage; [`JournalError::Exists`] when `to` is not empty.
pub fn import(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
) -> Result<TransferReport, JournalError> {
    let journal = Journal::open(from)?;
    let shards = u32::try_from(journal.shards().len()).unwrap_or(u32::MAX);
    let mut store = Store::create(to.as_ref(), journal.meta_json(), shards)?;
    let mut report = TransferReport {
        tails: journal.tails().to_vec(),
        ..TransferReport::default()
    };
    for head in journal.attachment_heads()? {
        Store::put_attachment(&store, &head, &journal.attachment_stream(&head)?)?;
        report.attachments += 1;
    }
    for shard in journal.shards() {
        report.events += import_shard(&journal, shard, &mut store)?;
    }
    store.flush()?;
    report.bytes = store.size_on_disk()?;
    Ok(report)
}

fn import_shard(journal: &Journal, shard: ShardId, store: &mut Store) -> Result<u64, JournalError> {
    let mut block = Block::new(shard.0, 0, LogicalTime::ZERO, Vec::new());
    for entry in journal.entries(shard)? {
        block.push(as_event(&entry?))?;
        if block.raw().len() > IMPORT_BLOCK && block.count() > 1 {
            let last = block.split_last(Vec::new());
            store.put_block(&block)?;
            block = last;
        }
    }
    if block.count() > 0 {
        store.put_block(&block)?;
    }
    let count = block.next_seq();
    if let Some(after) = journal.finish_digest(shard) {
        store.put_finish(shard.0, count, after)?;
    }
    Ok(count)
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

const IMPORT_BLOCK: usize = 60 << 10;

#[cfg(test)]
mod tests;
