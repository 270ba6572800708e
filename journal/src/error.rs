//! What can go wrong with a journal, and the difference between "not there" and "damaged".

use std::{io, path::PathBuf, sync::Arc};

use smbench_core::ids::LogicalTime;
use thiserror::Error;

use crate::codec::CodecError;

/// Why a journal could not be written, opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("{action}{}{}", if path.as_os_str().is_empty() { "" } else { " " }, path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The event store failed.
    #[error("{action} in the event store failed: {reason}")]
    Store {
        /// What was being done.
        action: &'static str,
        /// The store's own words.
        reason: String,
    },
    /// The path is neither a journal folder nor a bundle.
    #[error("{} is not a journal: {reason}", path.display())]
    NotAJournal {
        /// The path.
        path: PathBuf,
        /// How that was seen.
        reason: &'static str,
    },
    /// There is something already where a journal was to be created.
    #[error("{} exists already; a journal is never written over", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// What is there is no file, and so nothing to be replaced.
    #[error("{} exists and is no file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// What is there is no bundle, and so not ours to replace.
    #[error("{} exists and is no bundle", path.display())]
    NotABundle {
        /// The path.
        path: PathBuf,
    },
    /// Another process writes the journal.
    #[error("{} is open in another process", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The journal was written by a later version of the format.
    #[error("format version {got} is not known, only versions up to {known}")]
    UnknownFormat {
        /// The version found.
        got: u32,
        /// The latest version this build knows.
        known: u32,
    },
    /// A part is not what was written.
    #[error("shard {shard}, block at event {block}: {damage}")]
    Damaged {
        /// In which shard.
        shard: u32,
        /// The block, named by the sequence number of its first event.
        block: u64,
        /// In what way.
        #[source]
        damage: Damage,
    },
    /// A part that belongs to no shard is not what was written.
    #[error("{what}: {damage}")]
    DamagedPart {
        /// Which part.
        what: String,
        /// In what way.
        #[source]
        damage: Damage,
    },
    /// The journal has no attachment of that name.
    #[error("no attachment named {name}")]
    NoAttachment {
        /// The name.
        name: String,
    },
    /// An attachment's name cannot be stored, or is taken.
    #[error("attachment name {name:?}: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The run has no such shard.
    #[error("no shard {shard}: the run has {shards}")]
    NoShard {
        /// The shard asked for.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// A shard has a recorder already.
    #[error("shard {shard} has a recorder already")]
    ShardTaken {
        /// The shard.
        shard: u32,
    },
    /// An event does not follow the one before.
    #[error("shard {shard}: event {got} recorded where {expected} must follow")]
    OutOfSequence {
        /// The shard.
        shard: u32,
        /// The number that must follow.
        expected: u64,
        /// The number given.
        got: u64,
    },
    /// An event is earlier than the one before.
    #[error("shard {shard}: event {seq} at {} ns, the one before at {} ns", now.0, previous.0)]
    TimeWentBack {
        /// The shard.
        shard: u32,
        /// The event.
        seq: u64,
        /// Its time.
        now: LogicalTime,
        /// The time of the event before.
        previous: LogicalTime,
    },
    /// The shard's record was ended before.
    #[error("shard {shard} is finished: nothing can be recorded any more")]
    Finished {
        /// The shard.
        shard: u32,
    },
    /// An event cannot be encoded.
    #[error("event cannot be encoded")]
    Encode(#[source] CodecError),
    /// An earlier write failed; the journal takes no more events.
    #[error("the journal takes no more events")]
    Poisoned {
        /// The failure.
        #[source]
        cause: Arc<JournalError>,
    },
    /// The disk does not come back: a call into the store is under way for longer than it may.
    #[error("the journal's disk has not answered for {seconds} s")]
    Stalled {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// What was recorded is not where it was recorded.
    #[error("{} was removed or moved while it was written", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// The writer's thread is gone.
    #[error("the journal's writer has stopped")]
    WriterGone,
    /// The metadata cannot be written as JSON, or is not the JSON expected.
    #[error("run metadata")]
    Meta(#[source] serde_json::Error),
}

/// In what way a part of a journal is not what was written.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Damage {
    /// The checksum does not match.
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// As stored.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// A head's own checksum does not match.
    #[error("checksum does not match")]
    Head,
    /// It ends early.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        have: u64,
    },
    /// A number in it makes no sense.
    #[error("{field} is {got}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// It does not decompress.
    #[error("compressed bytes are not valid")]
    Compression,
    /// An event does not decode.
    #[error("event {index} of the block")]
    Event {
        /// Which, from 0.
        index: u32,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// Events are missing before this block.
    #[error("events from {expected} on are missing")]
    Gap {
        /// The first that is missing.
        expected: u64,
    },
    /// The shard's record says it holds more, or fewer, events.
    #[error("the record was ended after {expected} events, {found} are there")]
    Count {
        /// As the end record says.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// It breaks off.
    #[error("{reason}; {bytes} bytes from byte {from} on are lost")]
    Torn {
        /// Where what is lost begins.
        from: u64,
        /// How much that is.
        bytes: u64,
        /// How it was seen.
        reason: String,
    },
    /// The digest over a whole part does not match.
    #[error("BLAKE3 digest does not match")]
    Digest,
    /// It is not there.
    #[error("missing")]
    Missing,
}

/// Why a stored value cannot be had. That it could not be read says nothing of what is stored.
#[derive(Debug)]
pub(crate) enum Unread {
    Damaged(Damage),
    Failed(JournalError),
}

impl From<Damage> for Unread {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl Unread {
    /// As an error, damage by way of `damaged`.
    pub(crate) fn or_failed(self, damaged: impl FnOnce(Damage) -> JournalError) -> JournalError {
        match self {
            Self::Damaged(damage) => damaged(damage),
            Self::Failed(error) => error,
        }
    }

    pub(crate) fn part(self, what: impl Into<String>) -> JournalError {
        self.or_failed(|damage| JournalError::part(what, damage))
    }

    pub(crate) fn block(self, shard: u32, block: u64) -> JournalError {
        self.or_failed(|damage| JournalError::damaged(shard, block, damage))
    }
}

impl JournalError {
    pub(crate) fn damaged(shard: u32, block: u64, damage: Damage) -> Self {
        Self::Damaged {
            shard,
            block,
            damage,
        }
    }

    pub(crate) fn part(what: impl Into<String>, damage: Damage) -> Self {
        Self::DamagedPart {
            what: what.into(),
            damage,
        }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }

    /// Whether what was recorded is not where it was recorded.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Gone { .. } => true,
            Self::Poisoned { cause } => cause.is_gone(),
            _ => false,
        }
    }

    /// Whether this tells of damage, so that reading on (`--salvage`) may still find something.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::DamagedPart { .. } | Self::Meta(_)
        )
    }
}
