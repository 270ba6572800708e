//! The events of one shard, one after the other, whatever they are stored in.

use serde::{Deserialize, Serialize};
use smbench_core::{
    event::{EffectsDigest, Entry, Input},
    ids::LogicalTime,
};

use crate::{
    block::LoadedBlock,
    bundle,
    error::{Damage, JournalError},
    store,
};

/// One event of a journal.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// Its place among the inputs of its shard, from 0.
    pub seq: u64,
    /// When the engine was told.
    pub now: LogicalTime,
    /// Digest of all effects before it: the lowest 32 bits ([`EffectsDigest::short`]).
    pub before: u32,
    /// The whole digest, which every 64th event keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_before: Option<EffectsDigest>,
    /// The fact itself.
    pub input: Input,
}

impl StoredEntry {
    /// Whether this is what a journal keeps of `entry`.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.seq == entry.seq
            && self.now == entry.now
            && self.before == entry.before.short()
            && self.block_before.is_none_or(|whole| whole == entry.before)
            && self.input == entry.input
    }
}

/// The events of one shard in order.
///
/// Without salvage the first damage is the last item. With it, damage is reported once a block
/// and what follows is still read.
pub struct Entries<'a> {
    blocks: Blocks<'a>,
    shard: u32,
    salvage: bool,
    /// The number that must come next, and the first one asked for.
    expected: u64,
    from: u64,
    /// How many events there must be, when the shard's record was ended.
    total: Option<u64>,
    current: Option<LoadedBlock>,
    /// Events were lost and that was said: their absence is no news.
    lost: bool,
    done: bool,
}

/// Blocks of one shard, from one container or the other.
pub(crate) enum Blocks<'a> {
    Store(Box<store::Blocks<'a>>),
    Bundle(bundle::Blocks<'a>),
}

/// Where a block begins, and the block.
pub(crate) type NumberedBlock = (u64, Result<LoadedBlock, JournalError>);

impl Blocks<'_> {
    fn next_block(&mut self, spare: Vec<u8>) -> Option<NumberedBlock> {
        match self {
            Self::Store(blocks) => blocks.next_block(spare),
            Self::Bundle(blocks) => blocks.next_block(spare),
        }
    }
}

impl<'a> Entries<'a> {
    /// `blocks` begin with the block that holds event `from`, or later if that one is missing.
    pub(crate) fn new(
        blocks: Blocks<'a>,
        shard: u32,
        from: u64,
        total: Option<u64>,
        salvage: bool,
    ) -> Self {
        Self {
            blocks,
            shard,
            salvage,
            expected: from,
            from,
            total,
            current: None,
            lost: false,
            done: false,
        }
    }

    fn fail(&mut self, block: u64, damage: Damage) -> JournalError {
        self.done |= !self.salvage;
        self.lost = true;
        JournalError::damaged(self.shard, block, damage)
    }

    /// Loads the next block into `current`; gives an error, or `None` when there is one loaded or
    /// all is done.
    fn load(&mut self, spare: Vec<u8>) -> Option<JournalError> {
        let Some((first_seq, block)) = self.blocks.next_block(spare) else {
            self.done = true;
            let found = self.expected;
            return match self.total {
                Some(expected) if expected != found && !self.lost => {
                    Some(self.fail(found, Damage::Count { expected, found }))
                }
                _ => None,
            };
        };
        let expected = self.expected;
        let ahead = first_seq > expected && !self.lost;
        let gap = ahead || (first_seq < expected && expected != self.from);
        let error = match block {
            Ok(block) => {
                self.expected = block.head().next_seq().max(self.from);
                self.current = Some(block);
                self.lost = false;
                gap.then(|| self.fail(first_seq, Damage::Gap { expected }))
            }
            Err(error) => {
                self.done |= !self.salvage;
                self.lost = true;
                Some(error)
            }
        };
        if self.done {
            self.current = None;
        }
        error
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<StoredEntry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let Some(block) = &mut self.current else {
                if let Some(error) = self.load(Vec::new()) {
                    return Some(Err(error));
                }
                continue;
            };
            match block.next_event() {
                Some(Ok(entry)) if entry.seq < self.from => {}
                Some(Ok(entry)) => return Some(Ok(entry)),
                Some(Err(damage)) => {
                    let first_seq = block.head().first_seq;
                    return Some(Err(self.fail(first_seq, damage)));
                }
                None => {
                    let spare = self.current.take().map(LoadedBlock::into_raw);
                    if let Some(error) = self.load(spare.unwrap_or_default()) {
                        return Some(Err(error));
                    }
                }
            }
        }
        None
    }
}
