//! Reads a journal's folder, without sled and without writing to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use smbench_core::event::EffectsDigest;

use super::{
    ATTACHMENT, MARKER, MARKER_TEXT, RUN_TREE,
    blocks::{self, Blocks},
    copies, end_key, io_error, not_locked,
    scan::{Place, Values},
    v1,
    value::take_u64,
};
use crate::{
    block::Unpacker,
    error::{Damage, JournalError, Unread},
    meta::AttachmentHead,
    reader::TornTail,
    temporary::TemporaryFolder,
};

/// A folder that is being read.
pub(crate) struct StoreReader {
    pub(super) values: Values,
    /// Damage that reading events and attachments does not show.
    problems: Vec<(String, Damage)>,
    note: Option<String>,
    bytes: u64,
    /// Held for its lock.
    _marker: File,
    /// What a folder of format 1 was read into; gone with the reader.
    _temporary: Option<TemporaryFolder>,
}

/// How one shard's record ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ShardEnd {
    /// Number of events and final digest, when the record was ended.
    pub(crate) finish: Option<(u64, EffectsDigest)>,
    /// Blocks from this one on are a torn tail.
    pub(crate) cut_at: Option<u64>,
}

impl StoreReader {
    /// Whether `path` is a folder that [`super::Store::create`] made.
    pub(crate) fn is_store(path: &Path) -> bool {
        path.join(MARKER).is_file()
    }

    /// Opens a folder; it stays locked against writers.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let name = path.join(MARKER);
        let marker = File::open(&name).map_err(io_error("opening", &name))?;
        marker
            .try_lock_shared()
            .map_err(|error| not_locked(error, path))?;
        let text = std::fs::read(&name).map_err(io_error("reading", &name))?;
        let (mut note, mut temporary) = (None, None);
        if text == v1::MARKER_TEXT {
            let folder = v1::read_into_temporary(path)?;
            note = Some(format!(
                "{} has an older format: a temporary copy of it is read, in {}",
                path.display(),
                folder.path().display()
            ));
            temporary = Some(folder);
        }
        let from = temporary.as_ref().map_or(path, TemporaryFolder::path);
        let values = Values::of(from)?;
        let mut reader = Self {
            bytes: values.bytes,
            values,
            problems: Vec::new(),
            note,
            _marker: marker,
            _temporary: temporary,
        };
        reader.find_problems(&text)?;
        Ok(reader)
    }

    fn find_problems(&mut self, marker: &[u8]) -> Result<(), JournalError> {
        let mut problems = Vec::new();
        if marker != MARKER_TEXT && marker != v1::MARKER_TEXT {
            problems.push((MARKER.to_owned(), Damage::Digest));
        }
        for (key, place) in self.values.in_tree(RUN_TREE) {
            if let Some(damage) = &place.damage {
                problems.push((words(key), damage.clone()));
            }
        }
        let kept: BTreeSet<&[u8]> = self.values.in_tree(RUN_TREE).map(|(key, _)| key).collect();
        let names = kept.iter().filter_map(|key| std::str::from_utf8(key).ok());
        let originals = names.map(|name| name.strip_suffix("/copy").unwrap_or(name));
        let ends = originals.filter(|name| name.starts_with("end/"));
        let copied: BTreeSet<&str> = ends.chain(["meta"]).collect();
        for key in copied.into_iter().flat_map(copies) {
            if !kept.contains(key.as_bytes()) {
                problems.push((key, Damage::Missing));
            }
        }
        problems.extend(self.attachment_problems()?);
        self.problems = problems;
        Ok(())
    }

    /// Damage that reading events and attachments does not show.
    pub(crate) fn problems(&self) -> Vec<JournalError> {
        let problems = self.problems.iter();
        problems
            .map(|(what, damage)| JournalError::part(what, damage.clone()))
            .collect()
    }

    /// What whoever reads it should know.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    pub(crate) fn meta_json(&self) -> Result<Vec<u8>, JournalError> {
        self.get_copied("meta")?
            .ok_or_else(|| JournalError::part("run metadata", Damage::Missing))
    }

    /// The shards that something is stored of, ascending.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u32> {
        self.values.trees().filter(|tree| *tree != RUN_TREE)
    }

    /// The heads of all attachments, by name.
    pub(crate) fn attachments(&self) -> Result<Vec<AttachmentHead>, JournalError> {
        let mut heads = Vec::new();
        for (name, has_head) in self.attachment_names() {
            let json = self.get_run(&super::attachment_key(&name))?;
            match json.filter(|_| has_head) {
                Some(json) => {
                    heads.push(serde_json::from_slice(&json).map_err(JournalError::Meta)?)
                }
                None => {
                    let what = format!("attachment {name}");
                    return Err(JournalError::part(what, Damage::Missing));
                }
            }
        }
        Ok(heads)
    }

    /// The names of all attachments of which anything is there, and whether their heads are.
    fn attachment_names(&self) -> BTreeMap<String, bool> {
        let mut names = BTreeMap::new();
        for (key, _) in self.values.in_tree(RUN_TREE) {
            let Some(name) = key.strip_prefix(ATTACHMENT) else {
                continue;
            };
            let (name, is_head) = match name.iter().position(|byte| *byte == 0) {
                Some(end) => (name.get(..end).unwrap_or_default(), false),
                None => (name, true),
            };
            *names.entry(words(name)).or_default() |= is_head;
        }
        names
    }

    /// Attachments that are not there whole, though each value that is there is.
    fn attachment_problems(&self) -> Result<Vec<(String, Damage)>, JournalError> {
        let lost = |name: &str, has_head: bool| {
            if !has_head {
                return Ok(Some(Damage::Missing));
            }
            let json = match self.values.get(RUN_TREE, &super::attachment_key(name)) {
                Ok(json) => json.unwrap_or_default(),
                // That is told of the value itself.
                Err(Unread::Damaged(_)) => return Ok(None),
                Err(Unread::Failed(error)) => return Err(error),
            };
            let Ok(head) = serde_json::from_slice::<AttachmentHead>(&json) else {
                return Ok(None);
            };
            let have = (0u32..)
                .map_while(|index| {
                    let key = super::attachment_piece_key(name, index);
                    Some(self.values.place(RUN_TREE, &key)?.content_len as u64)
                })
                .sum();
            Ok((have != head.stored).then_some(Damage::Short {
                need: head.stored,
                have,
            }))
        };
        let mut problems = Vec::new();
        for (name, has_head) in self.attachment_names() {
            if let Some(damage) = lost(&name, has_head)? {
                problems.push((format!("attachment {name}"), damage));
            }
        }
        Ok(problems)
    }

    /// An attachment's zstd stream, unchecked.
    pub(crate) fn attachment_stream(&self, head: &AttachmentHead) -> Result<Vec<u8>, JournalError> {
        let mut stream = Vec::new();
        for index in 0u32.. {
            match self.get_run(&super::attachment_piece_key(&head.name, index))? {
                Some(piece) => stream.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(stream)
    }

    /// The shard's blocks up to its torn tail, from the one that holds event `from`.
    pub(crate) fn blocks(
        &self,
        shard: u32,
        from: u64,
        cut_at: Option<u64>,
    ) -> Result<Blocks<'_>, JournalError> {
        let seqs: Vec<u64> = self
            .shard_blocks(shard)
            .map(|(seq, _)| seq)
            .filter(|seq| cut_at.is_none_or(|cut| *seq < cut))
            .collect();
        let skip = seqs.partition_point(|seq| *seq <= from).saturating_sub(1);
        Ok(Blocks {
            reader: self,
            shard,
            seqs: seqs.get(skip..).unwrap_or_default().to_vec().into_iter(),
            unpacker: Unpacker::new()?,
        })
    }

    /// Is the shard's record ended, is its tail torn?
    pub(crate) fn shard_end(
        &self,
        shard: u32,
    ) -> Result<(ShardEnd, Option<TornTail>), JournalError> {
        let end = match self.get_copied(&end_key(shard)) {
            // Both copies damaged: `problems` tells, and the record has no end.
            Err(error) if error.is_damage() => None,
            end => end?,
        };
        let finish = end.and_then(|end| {
            let (count, rest) = take_u64(&end)?;
            let (after, _) = take_u64(rest)?;
            Some((count, EffectsDigest(after)))
        });
        if finish.is_some() {
            let end = ShardEnd {
                finish,
                cut_at: None,
            };
            return Ok((end, None));
        }
        let tail = self.torn_tail(shard)?;
        let cut_at = tail.as_ref().map(|tail| tail.from);
        Ok((ShardEnd { finish, cut_at }, tail))
    }

    /// What is not whole behind what was promised to last.
    fn torn_tail(&self, shard: u32) -> Result<Option<TornTail>, JournalError> {
        let leads = self
            .shard_blocks(shard)
            .filter_map(|(seq, place)| Some(blocks::parse(shard, seq, &place.lead).ok()?.0));
        let promised = leads.map(|lead| lead.safe).max().unwrap_or_default();
        let mut expected = 0;
        let mut torn = None;
        for (seq, place) in self.shard_blocks(shard) {
            let trouble = if seq > expected {
                Some((expected, Damage::Gap { expected }))
            } else {
                let damage = self.block_damage(shard, seq, place)?;
                damage.map(|damage| (seq, damage))
            };
            let lead = blocks::parse(shard, seq, &place.lead);
            expected = lead.map_or(seq, |(lead, _)| lead.head.next_seq());
            torn = trouble.filter(|(from, _)| *from >= promised);
            if torn.is_some() {
                break;
            }
        }
        let Some((from, damage)) = torn else {
            return Ok(None);
        };
        let behind = self.values.in_tree(shard).filter(|(key, _)| {
            let seq = key.get(..8).and_then(blocks::seq_of);
            seq.is_none_or(|seq| seq >= from)
        });
        Ok(Some(TornTail {
            shard: Some(shard),
            from,
            bytes: behind.map(|(_, place)| place.len as u64).sum(),
            reason: damage.to_string(),
        }))
    }

    fn block_damage(
        &self,
        shard: u32,
        seq: u64,
        place: &Place,
    ) -> Result<Option<Damage>, JournalError> {
        if place.damage.is_some() {
            return Ok(place.damage.clone());
        }
        let (lead, _) = match blocks::parse(shard, seq, &place.lead) {
            Ok(parsed) => parsed,
            Err(damage) => return Ok(Some(damage)),
        };
        for index in 1..=lead.pieces {
            match self.values.get(shard, &blocks::piece_key(seq, index)) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Ok(Some(Damage::Short {
                        need: u64::from(lead.pieces),
                        have: u64::from(index - 1),
                    }));
                }
                Err(Unread::Damaged(damage)) => return Ok(Some(damage)),
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Bytes of all files in the folder.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn shard_blocks(&self, shard: u32) -> impl Iterator<Item = (u64, &Place)> {
        let values = self.values.in_tree(shard);
        values.filter_map(|(key, place)| Some((blocks::seq_of(key)?, place)))
    }

    fn get_run(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let content = self.values.get(RUN_TREE, key);
        content.map_err(|unread| unread.part(words(key)))
    }

    /// The first whole one of a value and its copy.
    fn get_copied(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let [first, second] = copies(key).map(|key| self.get_run(key.as_bytes()));
        match (first, second) {
            (Ok(Some(content)), _) | (_, Ok(Some(content))) => Ok(Some(content)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(None), Ok(None)) => Ok(None),
        }
    }
}

/// A key for people.
fn words(key: &[u8]) -> String {
    match key.split_last_chunk() {
        Some((name, index)) if name.last() == Some(&0) => {
            let name = name.get(..name.len() - 1).unwrap_or_default();
            let index = u32::from_be_bytes(*index);
            format!("{}, piece {index}", String::from_utf8_lossy(name))
        }
        _ => String::from_utf8_lossy(key).into_owned(),
    }
}
