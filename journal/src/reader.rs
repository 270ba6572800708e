//! Opens a journal, folder or bundle, and reads it.

use std::{io::Write, path::Path};

use serde::Serialize;
use smbench_core::{event::EffectsDigest, ids::ShardId};

use crate::{
    bundle::BundleReader,
    entries::{Blocks, Entries, StoredEntry},
    error::JournalError,
    meta::{AttachmentHead, RunMeta},
    store::{ShardEnd, Store},
};

/// What a journal is kept in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A sled folder.
    Store,
    /// A bundle: one file.
    Bundle,
}

/// The end of a journal whose writer did not get to the end. What is complete before it is read,
/// the rest is not.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TornTail {
    /// The shard it is in; absent when a bundle's end is torn.
    pub shard: Option<u32>,
    /// Where it begins: an event's number in a shard, else a byte offset into the file.
    pub from: u64,
    /// Bytes that are cut.
    pub bytes: u64,
    /// How it was seen.
    pub reason: String,
}

/// An open journal. It stays locked against other processes while it is a folder's.
pub struct Journal {
    container: Container,
    meta: RunMeta,
    meta_json: Vec<u8>,
    shards: Vec<(u32, ShardEnd)>,
    tails: Vec<TornTail>,
}

enum Container {
    Store(Box<Store>),
    Bundle(Box<BundleReader>),
}

impl Journal {
    /// Opens the journal at `path`: a folder that [`crate::JournalWriter`] made, or a bundle. Which
    /// of the two is seen by content.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotAJournal`] when it is neither, [`JournalError::Busy`] when another
    /// process has it open, [`JournalError::UnknownFormat`] when it is from the future, and damage
    /// to the metadata.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let about = std::fs::metadata(path).map_err(|source| JournalError::Io {
            action: "opening journal",
            path: path.into(),
            source,
        })?;
        if !about.is_dir() {
            return Self::from_bundle(BundleReader::open(path)?);
        }
        if !Store::is_store(path) {
            return Err(JournalError::NotAJournal {
                path: path.into(),
                reason: "the folder has no journal's marker file",
            });
        }
        let store = Store::open(path)?;
        let meta_json = store.meta_json()?;
        let meta = RunMeta::from_json(&meta_json)?;
        let mut shards = Vec::new();
        let mut tails = Vec::new();
        for shard in 0..meta.shards.min(MAX_SHARDS) {
            if !store.has_shard(shard) {
                // Reading it tells of that.
                shards.push((shard, ShardEnd::default()));
                continue;
            }
            let (end, tail) = store.shard_end(shard)?;
            shards.push((shard, end));
            tails.extend(tail);
        }
        Ok(Self {
            container: Container::Store(Box::new(store)),
            meta,
            meta_json,
            shards,
            tails,
        })
    }

    /// Opens a bundle that is in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bundle_bytes(bytes: Vec<u8>) -> Result<Self, JournalError> {
        Self::from_bundle(BundleReader::from_bytes(bytes)?)
    }

    fn from_bundle(bundle: BundleReader) -> Result<Self, JournalError> {
        let meta_json = bundle.meta_json()?;
        let meta = RunMeta::from_json(&meta_json)?;
        let shards = (0..meta.shards.min(MAX_SHARDS))
            .map(|shard| {
                let end = ShardEnd {
                    finish: bundle.finish(shard),
                    cut_at: None,
                };
                (shard, end)
            })
            .collect();
        let tails = bundle.tail().cloned().into_iter().collect();
        Ok(Self {
            container: Container::Bundle(Box::new(bundle)),
            meta,
            meta_json,
            shards,
            tails,
        })
    }

    /// What it is kept in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.container {
            Container::Store(_) => Kind::Store,
            Container::Bundle(_) => Kind::Bundle,
        }
    }

    /// What it says about its run.
    #[must_use]
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    pub(crate) fn meta_json(&self) -> &[u8] {
        &self.meta_json
    }

    pub(crate) fn bundle(&self) -> Option<&BundleReader> {
        match &self.container {
            Container::Store(_) => None,
            Container::Bundle(bundle) => Some(bundle),
        }
    }

    /// Its shards, ascending.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = ShardId> {
        self.shards.iter().map(|(shard, _)| ShardId(*shard))
    }

    /// The digest of all effects of a shard; `None` when the run did not come to its end.
    #[must_use]
    pub fn finish_digest(&self, shard: ShardId) -> Option<EffectsDigest> {
        self.end(shard)?.finish.map(|(_, digest)| digest)
    }

    /// How many events a shard has, when its record was ended; else that takes reading them.
    #[must_use]
    pub fn event_count(&self, shard: ShardId) -> Option<u64> {
        self.end(shard)?.finish.map(|(count, _)| count)
    }

    /// Whether every shard's record was ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shards.iter().all(|(_, end)| end.finish.is_some())
    }

    /// What was cut off the end: at most one a shard.
    #[must_use]
    pub fn tails(&self) -> &[TornTail] {
        &self.tails
    }

    /// The first of [`Self::tails`].
    #[must_use]
    pub fn tail(&self) -> Option<&TornTail> {
        self.tails.first()
    }

    /// The names of what is kept with the journal, ascending.
    ///
    /// # Errors
    ///
    /// When they cannot be read or are damaged.
    pub fn attachments(&self) -> Result<Vec<String>, JournalError> {
        let heads = self.attachment_heads()?;
        Ok(heads.into_iter().map(|head| head.name).collect())
    }

    /// What is kept with the journal under `name`.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoAttachment`]; or when it cannot be read or is damaged.
    pub fn attachment(&self, name: &str) -> Result<Vec<u8>, JournalError> {
        let heads = self.attachment_heads()?;
        let head = heads.iter().find(|head| head.name == name).ok_or_else(|| {
            JournalError::NoAttachment {
                name: name.to_owned(),
            }
        })?;
        head.unpack(&self.attachment_stream(head)?)
    }

    pub(crate) fn attachment_heads(&self) -> Result<Vec<AttachmentHead>, JournalError> {
        let mut heads = match &self.container {
            Container::Store(store) => store.attachments(),
            Container::Bundle(bundle) => bundle.attachments(),
        }?;
        heads.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(heads)
    }

    pub(crate) fn attachment_stream(&self, head: &AttachmentHead) -> Result<Vec<u8>, JournalError> {
        match &self.container {
            Container::Store(store) => store.attachment_stream(head),
            Container::Bundle(bundle) => bundle.attachment_stream(head),
        }
    }

    /// The events of a shard in order. Damage is the last item.
    ///
    /// # Errors
    ///
    /// [`JournalError::NoShard`], or when the store cannot be read.
    pub fn entries(&self, shard: ShardId) -> Result<Entries<'_>, JournalError> {
        self.read(shard, 0, false)
    }

    /// The events of a shard from number `seq` on.
    ///
    /// # Errors
    ///
    /// As [`Self::entries`].
    pub fn entries_from(&self, shard: ShardId, seq: u64) -> Result<Entries<'_>, JournalError> {
        self.read(shard, seq, false)
    }

    /// The events of a shard that can still be read: damage is an item, and reading goes on behind
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Self::entries`].
    pub fn salvage(&self, shard: ShardId) -> Result<Entries<'_>, JournalError> {
        self.read(shard, 0, true)
    }

    fn read(&self, shard: ShardId, from: u64, salvage: bool) -> Result<Entries<'_>, JournalError> {
        let end = self.end(shard).ok_or(JournalError::NoShard {
            shard: shard.0,
            shards: self.meta.shards,
        })?;
        let blocks = match &self.container {
            Container::Store(store) => Blocks::Store(Box::new(store.blocks(shard.0, from, end)?)),
            Container::Bundle(bundle) => Blocks::Bundle(bundle.blocks(shard.0, from)?),
        };
        let total = end.finish.map(|(count, _)| count.max(from));
        Ok(Entries::new(blocks, shard.0, from, total, salvage))
    }

    /// Bytes it takes on disk (or in memory), all overhead included.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn size(&self) -> Result<u64, JournalError> {
        match &self.container {
            Container::Store(store) => store.size_on_disk(),
            Container::Bundle(bundle) => Ok(bundle.len()),
        }
    }

    fn end(&self, shard: ShardId) -> Option<&ShardEnd> {
        self.shards
            .iter()
            .find(|(number, _)| *number == shard.0)
            .map(|(_, end)| end)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("kind", &self.kind())
            .field("meta", &self.meta)
            .field("shards", &self.shards)
            .field("tails", &self.tails)
            .finish_non_exhaustive()
    }
}

/// Writes every event of the journal as one line of JSON, shard after shard; gives their number.
///
/// # Errors
///
/// Damage, or an `out` that takes no more.
pub fn write_ndjson(journal: &Journal, out: &mut dyn Write) -> Result<u64, JournalError> {
    #[derive(Serialize)]
    struct Line {
        shard: ShardId,
        #[serde(flatten)]
        entry: StoredEntry,
    }
    let failed = |source| JournalError::Io {
        action: "writing NDJSON",
        path: Default::default(),
        source,
    };
    let mut count = 0u64;
    for shard in journal.shards() {
        for entry in journal.entries(shard)? {
            let line = Line {
                shard,
                entry: entry?,
            };
            let mut line = serde_json::to_vec(&line).map_err(JournalError::Meta)?;
            line.push(b'\n');
            out.write_all(&line).map_err(failed)?;
            count += 1;
        }
    }
    Ok(count)
}

/// More than any run has: keeps damaged metadata from costing memory.
const MAX_SHARDS: u32 = 65_536;
