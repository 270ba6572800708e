//! What is known of a file: kind, size, attributes, times, content.
//!
//! The beginning is meant. What an answer tells counts only as long as nobody in the recording had
//! asked for a change; what is known already is compared with it, and a difference is a problem.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::workload::{DataRef, Entry, EntryKind, Extent};

use super::{
    names::{Names, Proof},
    place::Place,
    ranges,
};
use crate::map::Map;

/// A file, folder or stream.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Where it is now.
    pub(super) place: Option<Place>,
    /// Its entry, when it was there before the recording.
    pub(super) entry: Option<usize>,
    /// Whether it is a folder, once that is known.
    pub(super) folder: Option<bool>,
    /// Its size is known.
    pub(super) sized: bool,
    /// Deleted when its last open is closed.
    pub(super) doomed: bool,
    /// A rename was asked for.
    pub(super) leaving: bool,
    /// The recording made it.
    pub(super) made: bool,
    /// What answers tell of a link here tells nothing about the beginning, or it is none.
    pub(super) relinked: bool,
    pub(super) opens: u32,
    /// Ranges that the recording changed: start to end, apart from each other.
    pub(super) written: BTreeMap<u64, u64>,
    /// Ranges that WRITEs changed of which the data was not captured.
    pub(super) made_up: BTreeMap<u64, u64>,
    /// Content of the beginning that READs showed: apart from each other, by offset.
    pub(super) content: BTreeMap<u64, DataRef>,
    /// The recording changed something about it.
    pub(super) touched: bool,
    /// Place in the sequence of messages of what last showed or changed its name.
    pub(super) shown: u64,
    /// The file that this turned out to be.
    pub(super) same_as: Option<usize>,
}

impl File {
    /// Whether its name is about to go.
    pub(super) fn is_going(&self) -> bool {
        self.doomed || self.leaving
    }
}

/// All files, by number.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: Map<usize, File>,
    next: usize,
    /// The last that were deleted and had not been there before the recording.
    deleted: VecDeque<usize>,
}

impl Files {
    pub(super) fn get(&self, number: usize) -> Option<&File> {
        self.known.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut File> {
        self.known.get_mut(&number)
    }

    /// Tells the entries of files what their content was.
    pub(super) fn give_content(&mut self, entries: &mut [Option<Entry>]) {
        for file in self.known.values_mut() {
            let entry = file.entry.and_then(|entry| entries.get_mut(entry));
            if let Some(Some(entry)) = entry {
                let content = std::mem::take(&mut file.content).into_iter();
                entry.content = content
                    .map(|(offset, data)| Extent { offset, data })
                    .collect();
            }
        }
    }

    /// Number of a new one.
    pub(super) fn add(&mut self, file: File) -> usize {
        let number = self.next;
        self.next += 1;
        self.known.insert(number, file);
        number
    }

    /// A file is deleted. Of those that were long ago and tell nothing about the beginning nothing
    /// is kept.
    pub(super) fn delete(&mut self, number: usize) {
        let made = self.get(number).is_some_and(|file| file.entry.is_none());
        if !made {
            return;
        }
        self.deleted.push_back(number);
        if self.deleted.len() > DELETED
            && let Some(oldest) = self.deleted.pop_front()
            && self.get(oldest).is_some_and(|file| file.opens == 0)
        {
            self.known.remove(&oldest);
        }
    }
}

impl Names {
    pub(super) fn opened(&mut self, file: usize) {
        let file = self.real(file);
        if let Some(file) = self.files.get_mut(file) {
            file.opens = file.opens.saturating_add(1);
        }
    }

    /// The file will be deleted, or no longer will.
    pub(super) fn doom(&mut self, file: usize, doomed: bool) {
        let file = self.real(file);
        if let Some(file) = self.files.get_mut(file) {
            file.doomed = doomed;
        }
    }

    /// A rename was asked for, or refused.
    pub(super) fn leave(&mut self, file: usize, leaving: bool) {
        let file = self.real(file);
        if let Some(file) = self.files.get_mut(file) {
            file.leaving = leaving;
        }
    }

    /// The recording changes something about a file. What belongs to a stream is its file's.
    pub(super) fn touch(&mut self, file: usize) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.touched = true;
        let above = known.place.as_ref().filter(|place| place.is_stream());
        if let Some(base) = above
            .and_then(Place::above)
            .and_then(|above| self.at(&above))
        {
            self.touch(base);
        }
    }

    /// Something was put into a folder or taken out of it.
    pub(super) fn touch_above(&mut self, place: &Place) {
        if let Some(above) = self.above(place) {
            self.touch(above);
        }
    }

    /// A range of a file was changed by the recording.
    pub(super) fn write(&mut self, file: usize, start: u64, end: u64) {
        self.touch(file);
        let file = self.real(file);
        let Some(written) = self.files.get_mut(file).map(|file| &mut file.written) else {
            return;
        };
        ranges::add(written, start, end);
    }

    /// Notes whether a WRITE has the bytes that were written then: of one that was cut, zeros stand for them.
    pub(super) fn made_up(&mut self, file: usize, start: u64, end: u64, made_up: bool) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        if made_up {
            ranges::add(&mut known.made_up, start, end);
        } else {
            ranges::remove(&mut known.made_up, start, end);
        }
    }

    /// Whether a range has bytes in it that are made up.
    pub(super) fn is_made_up(&self, file: usize, start: u64, end: u64) -> bool {
        let known = self.files.get(self.real(file));
        known.is_some_and(|known| ranges::touches(&known.made_up, start, end))
    }

    /// The parts of a range that show the beginning and are not known yet: start to end.
    pub(super) fn unknown(&self, file: usize, start: u64, end: u64) -> Vec<(u64, u64)> {
        let Some((known, entry)) = self.beginning(file) else {
            return Vec::new();
        };
        let end = if known.sized {
            end.min(entry.size)
        } else {
            end
        };
        let written = known.written.range(..end).map(|(from, to)| (*from, *to));
        let written = written.filter(|(_, to)| *to > start);
        let seen = known.content.range(..end).rev().map(ends);
        let seen = seen.take_while(|(_, to)| *to > start);
        let mut taken: Vec<(u64, u64)> = seen.chain(written).collect();
        taken.sort_unstable();
        let mut left = Vec::new();
        let mut at = start;
        for (from, to) in taken {
            if from > at {
                left.push((at, from));
            }
            at = at.max(to);
        }
        if at < end {
            left.push((at, end));
        }
        left
    }

    /// A READ showed content that is not known yet; see [`Names::unknown`].
    pub(super) fn showed(&mut self, file: usize, extent: Extent) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        // What nobody wrote was there, or is a hole that somebody's WRITE behind it left: zeros either way.
        let grows = !known.sized;
        let (_, end) = ends((&extent.offset, &extent.data));
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        let Some(Some(entry)) = entry else { return };
        if grows {
            entry.size = entry.size.max(end);
        }
        if end <= entry.size && extent.data.len > 0 {
            known.content.insert(extent.offset, extent.data);
        }
    }

    /// A whole READ of what is known: whether it is the same.
    pub(super) fn showed_again(&mut self, file: usize, extent: Extent, proof: &Proof) {
        let Some((known, _)) = self.beginning(file) else {
            return;
        };
        let before = known.content.get(&extent.offset);
        let before = before.filter(|it| it.len == extent.data.len);
        if before.is_some_and(|it| *it != extent.data) && known.written.is_empty() {
            self.problem("other content, though nobody wrote", proof.op);
        }
    }

    /// A READ told that the file ends at `size`, or at the latest there.
    pub(super) fn ends_at(&mut self, file: usize, size: u64, exactly: bool, proof: &Proof) {
        if exactly {
            let size = Some(size);
            return self.learn(file, &Proof { size, ..*proof });
        }
        let Some((known, entry)) = self.beginning(file) else {
            return;
        };
        if known.written.is_empty() && known.sized && entry.size > size {
            self.problem("other size, though nobody wrote", proof.op);
        }
    }

    fn beginning(&self, file: usize) -> Option<(&File, &Entry)> {
        let known = self.files.get(self.real(file))?;
        let entry = self.entries.get(known.entry?)?.as_ref()?;
        Some((known, entry))
    }

    /// An open told about its file. What is not the size of a stream is its file's.
    pub(super) fn told(&mut self, file: usize, proof: &Proof) {
        let place = self
            .files
            .get(self.real(file))
            .and_then(|it| it.place.as_ref());
        let base = place
            .filter(|place| place.is_stream())
            .and_then(Place::above);
        if let Some(base) = base.and_then(|base| self.at(&base)) {
            let size = None;
            self.learn(base, &Proof { size, ..*proof });
        }
        self.learn(file, proof);
    }

    /// Learns what a proof tells about the beginning.
    pub(super) fn learn(&mut self, file: usize, proof: &Proof) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        let stream = known.place.as_ref().is_some_and(Place::is_stream);
        let directory = proof.directory.filter(|_| !stream);
        let mut odd = None;
        match (known.folder, directory) {
            (None, Some(_)) => known.folder = directory,
            (Some(was), Some(is)) if was != is => odd = Some("both file and folder"),
            _ => {}
        }
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        if let Some(Some(entry)) = entry {
            if let Some(folder) = known.folder.filter(|_| !stream) {
                entry.kind = if folder {
                    EntryKind::Directory
                } else {
                    EntryKind::File
                };
            }
            if entry.kind == EntryKind::Directory {
                entry.size = 0;
                known.content.clear();
            } else if let Some(size) = proof.size.filter(|_| known.written.is_empty()) {
                if !known.sized {
                    known.sized = true;
                    entry.size = entry.size.max(size);
                } else if entry.size != size {
                    odd = Some("other size, though nobody wrote");
                }
            }
            if !known.touched && !stream {
                entry.attributes = entry.attributes.or(proof.attributes);
                entry.times = entry.times.or(proof.times);
            }
        }
        if let Some(odd) = odd {
            self.problem(odd, proof.op);
        }
    }
}

/// How many deleted files are still known.
const DELETED: usize = 4096;

/// Where content is, from and to.
fn ends((offset, data): (&u64, &DataRef)) -> (u64, u64) {
    (*offset, offset.saturating_add(data.len.into()))
}
