//! Opens a journal, folder or bundle, and reads it.

use std::{io::Write, path::Path};

use serde::Serialize;
use smbench_core::{event::EffectsDigest, ids::ShardId};

use crate::{
    bundle::BundleReader,
    entries::{Blocks, Entries, StoredEntry},
    error::JournalError,
    meta::{AttachmentHead, RunMeta},
    store::{ShardEnd, StoreReader},
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

/// An open journal. While it is a folder's, nobody can write to it.
pub struct Journal {
    container: Container,
    meta: RunMeta,
    meta_json: Vec<u8>,
    shards: Vec<(u32, ShardEnd)>,
    tails: Vec<TornTail>,
}

enum Container {
    Store(Box<StoreReader>),
    Bundle(Box<BundleReader>),
}

impl Journal {
    /// Opens the journal at `path`: a folder that [`crate::JournalWriter`] made, or a bundle. Which
    /// of the two is seen by content. Nothing is written to it.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotAJournal`] when it is neither, [`JournalError::Busy`] when another
    /// process writes it, [`JournalError::UnknownFormat`] when it is from the future, and damage
    /// to the metadata.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::of(Container::open(path.as_ref(), false)?, |_, error| {
            Err(error)
        })
    }

    /// As [`Self::open`], but metadata that are damaged are made up from what else is there, and a
    /// bundle may begin with damage: for [`Self::salvage`].
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_damaged(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::of(Container::open(path.as_ref(), true)?, |container, error| {
            if !error.is_damage() {
                return Err(error);
            }
            let last = match container {
                Container::Store(store) => store.shards().last(),
                Container::Bundle(bundle) => bundle.shards().last(),
            };
            let shards = last.map_or(0, |last| last.saturating_add(1));
            RunMeta::made_up(shards).to_json()
        })
    }

    /// Opens a bundle that is in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_bundle_bytes(bytes: Vec<u8>) -> Result<Self, JournalError> {
        let bundle = BundleReader::from_bytes(bytes)?;
        Self::of(Container::Bundle(Box::new(bundle)), |_, error| Err(error))
    }

    /// `instead` gives the metadata where they are damaged.
    fn of(
        container: Container,
        instead: impl FnOnce(&Container, JournalError) -> Result<Vec<u8>, JournalError>,
    ) -> Result<Self, JournalError> {
        let stored = match &container {
            Container::Store(store) => store.meta_json(),
            Container::Bundle(bundle) => bundle.meta_json(),
        };
        let meta_json = match stored {
            Err(error) if error.is_damage() => instead(&container, error)?,
            stored => stored?,
        };
        let meta = RunMeta::from_json(&meta_json)?;
        let mut shards = Vec::new();
        let mut tails = Vec::new();
        for shard in 0..meta.shards {
            let end = match &container {
                Container::Store(store) => {
                    let (end, tail) = store.shard_end(shard)?;
                    tails.extend(tail);
                    end
                }
                Container::Bundle(bundle) => ShardEnd {
                    finish: bundle.finish(shard),
                    cut_at: None,
                },
            };
            shards.push((shard, end));
        }
        if let Container::Bundle(bundle) = &container {
            tails.extend(bundle.tail().cloned());
        }
        Ok(Self {
            container,
            meta,
            meta_json,
            shards,
            tails,
        })
    }

    /// Whether there is a folder at `path` that is marked as a journal.
    #[must_use]
    pub fn is_folder(path: impl AsRef<Path>) -> bool {
        StoreReader::is_store(path.as_ref())
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

    /// What whoever reads it should know, in words: that a copy of it is read.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match &self.container {
            Container::Store(store) => store.note(),
            Container::Bundle(_) => None,
        }
    }

    /// Damage that reading the events does not show. A bundle is read once through for it.
    ///
    /// The torn tail of a folder is none, as every run that is killed may leave one; that of a
    /// bundle is, as bundles are written whole.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] when it cannot be read.
    pub fn hidden_damage(&self) -> Result<Vec<JournalError>, JournalError> {
        match &self.container {
            Container::Store(store) => Ok(store.problems()),
            Container::Bundle(bundle) => bundle.check_whole(),
        }
    }

    /// Gives the first of [`Self::hidden_damage`], for who wants none.
    pub(crate) fn refuse_damage(&self) -> Result<(), JournalError> {
        match self.hidden_damage()?.into_iter().next() {
            Some(damage) => Err(damage),
            None => Ok(()),
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
            Container::Store(store) => {
                let cut_at = end.cut_at.filter(|_| !salvage);
                Blocks::Store(Box::new(store.blocks(shard.0, from, cut_at)?))
            }
            Container::Bundle(bundle) => Blocks::Bundle(bundle.blocks(shard.0, from)?),
        };
        let total = end.finish.map(|(count, _)| count.max(from));
        Ok(Entries::new(blocks, shard.0, from, total, salvage))
    }

    /// Bytes it takes on disk (or in memory), all overhead included.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.container {
            Container::Store(store) => store.bytes(),
            Container::Bundle(bundle) => bundle.len(),
        }
    }

    fn end(&self, shard: ShardId) -> Option<&ShardEnd> {
        self.shards
            .iter()
            .find(|(number, _)| *number == shard.0)
            .map(|(_, end)| end)
    }
}

impl Container {
    fn open(path: &Path, damaged: bool) -> Result<Self, JournalError> {
        let about = std::fs::metadata(path).map_err(|source| JournalError::Io {
            action: "opening journal",
            path: path.into(),
            source,
        })?;
        if !about.is_dir() {
            let bundle = if damaged {
                BundleReader::open_damaged(path)?
            } else {
                BundleReader::open(path)?
            };
            return Ok(Self::Bundle(Box::new(bundle)));
        }
        if !StoreReader::is_store(path) {
            return Err(JournalError::NotAJournal {
                path: path.into(),
                reason: "the folder has no journal's marker file",
            });
        }
        Ok(Self::Store(Box::new(StoreReader::open(path)?)))
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
