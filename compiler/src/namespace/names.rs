//! Names and the files behind them, at the moment of the recording that was reached.

use std::collections::{BTreeMap, HashMap};

use smbench_core::{
    ids::OpId,
    workload::{Entry, EntryKind, Extent},
};

use crate::wire_span::WireSpan;

/// A name in a share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    share: usize,
    /// As it was written.
    path: String,
    /// In lower case: servers do not tell case apart. [MS-FSA] 2.1.5.1
    key: String,
}

impl Place {
    /// A path that is known to be clean.
    pub(super) fn plain(share: usize, path: &str) -> Self {
        Self {
            share,
            path: path.to_owned(),
            key: path.to_lowercase(),
        }
    }

    /// The place that a request names; none for snapshots. With `dfs` the path begins with server
    /// and share. [MS-SMB2] 3.3.5.9
    pub(super) fn of(share: usize, name: &str, dfs: bool) -> Option<Self> {
        let mut name = name.trim_matches('\\');
        if dfs {
            name = name.splitn(3, '\\').nth(2).unwrap_or_default();
        }
        if name.starts_with("@GMT-") {
            return None;
        }
        let folder = name.rfind('\\').map_or(0, |at| at + 1);
        let colon = name.get(folder..)?.find(':').map(|at| at + folder);
        let Some(colon) = colon else {
            return Some(Self::plain(share, name));
        };
        // file:stream:$TYPE; the unnamed stream is the file itself. [MS-FSCC] 2.1.5
        let (base, stream) = name.split_at_checked(colon)?;
        let stream = stream.get(1..)?.split(':').next().unwrap_or_default();
        Some(match stream {
            "" => Self::plain(share, base),
            stream => Self::plain(share, &format!("{base}:{stream}")),
        })
    }

    /// The file that a stream belongs to, or the folder that something is in; none for the root.
    fn above(&self) -> Option<Self> {
        let cut = |path: &str| {
            let folder = path.rfind('\\').map_or(0, |at| at + 1);
            let name = path.get(folder..).unwrap_or_default();
            let end = match name.find(':') {
                Some(colon) => folder + colon,
                None => folder.saturating_sub(1),
            };
            path.get(..end).unwrap_or_default().to_owned()
        };
        let above = Self {
            share: self.share,
            path: cut(&self.path),
            key: cut(&self.key),
        };
        (!above.path.is_empty()).then_some(above)
    }

    fn is_stream(&self) -> bool {
        let name = self.path.rsplit('\\').next().unwrap_or_default();
        name.contains(':')
    }
}

/// What shows that something exists, or does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    pub(super) op: OpId,
    pub(super) span: WireSpan,
    /// Whether it is a folder, where known.
    pub(super) directory: Option<bool>,
    pub(super) size: Option<u64>,
    pub(super) attributes: Option<u32>,
    /// The server spelt the name.
    pub(super) exact: bool,
}

impl Proof {
    fn answered(&self) -> u64 {
        self.span.response.unwrap_or(u64::MAX)
    }
}

/// A file, folder or stream.
#[derive(Debug, Default)]
struct File {
    place: Option<Place>,
    /// Its entry, when it was there before the recording.
    entry: Option<usize>,
    /// Its kind, size and attributes are still to be learnt.
    unsized_: bool,
    unsure_kind: bool,
    /// Deleted when its last open is closed.
    doomed: bool,
    opens: u32,
    /// Ranges that the recording changed: start to end, apart from each other.
    written: BTreeMap<u64, u64>,
    /// Place in the sequence of messages of what last showed or changed its name.
    changed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    There(usize),
    Absent { since: u64 },
}

/// All names of all shares.
#[derive(Debug, Default)]
pub(super) struct Names {
    shares: Vec<String>,
    share_numbers: HashMap<String, usize>,
    slots: Vec<BTreeMap<String, Slot>>,
    files: Vec<File>,
    /// What was there; none for what turned out to have been made.
    entries: Vec<Option<Entry>>,
    /// Where it was.
    initial: HashMap<(usize, String), usize>,
    problems: BTreeMap<&'static str, u64>,
}

impl Names {
    pub(super) fn problem(&mut self, what: &'static str) {
        *self.problems.entry(what).or_default() += 1;
    }

    /// Number of a share.
    pub(super) fn share(&mut self, name: &str) -> usize {
        let next = self.shares.len();
        let number = *self
            .share_numbers
            .entry(name.to_lowercase())
            .or_insert(next);
        if number == next {
            self.shares.push(name.to_owned());
            self.slots.push(BTreeMap::new());
        }
        number
    }

    /// Path of a file, as it is now.
    pub(super) fn path_of(&self, file: usize) -> &str {
        let place = self.files.get(file).and_then(|file| file.place.as_ref());
        place.map_or("", |place| place.path.as_str())
    }

    /// Where a rename of `file` to `name` leads; none when that cannot be said.
    pub(super) fn target(&self, file: usize, name: &str) -> Option<Place> {
        let from = self.files.get(file)?.place.as_ref()?;
        if !name.starts_with(':') {
            return Place::of(from.share, name, false);
        }
        // A stream is renamed within its file. [MS-FSCC] 2.4.42
        let base = if from.is_stream() {
            from.above()?.path
        } else {
            from.path.clone()
        };
        Place::of(from.share, &format!("{base}{name}"), false)
    }

    /// Something exists.
    pub(super) fn found(&mut self, place: &Place, proof: &Proof) -> usize {
        self.parents(place, proof);
        match self.slot(place) {
            Some(Slot::There(file)) => {
                self.learn(file, place, proof);
                file
            }
            Some(Slot::Absent { since }) => {
                // What overlaps the disappearance may have come first.
                if proof.span.request >= since {
                    self.problem("there again, though nobody made it");
                }
                self.appear(place, proof)
            }
            None => self.first_seen(place, proof),
        }
    }

    /// Something was made that was not there.
    pub(super) fn made(&mut self, place: &Place, proof: &Proof) -> usize {
        self.parents(place, proof);
        if let Some(Slot::There(file)) = self.slot(place) {
            let known = self.files.get(file);
            let overlaps = known.is_some_and(|it| proof.span.request < it.changed);
            if overlaps && known.is_some_and(|it| it.entry.is_some()) {
                // An overlapping operation found what this one made.
                self.disown(file);
                return file;
            }
            if !overlaps && !known.is_some_and(|it| it.doomed) {
                self.problem("made, though it was there");
            }
        }
        self.appear(place, proof)
    }

    /// Something does not exist.
    pub(super) fn missing(&mut self, place: &Place, proof: &Proof) {
        let since = proof.answered();
        match self.slot(place) {
            Some(Slot::There(file)) => {
                let known = self.files.get(file);
                if known.is_some_and(|it| proof.span.request < it.changed && !it.doomed) {
                    return; // looked for before it was made
                }
                if !known.is_some_and(|it| it.doomed) {
                    self.problem("gone, though nobody deleted it");
                }
                self.set_slot(place, Slot::Absent { since });
            }
            Some(Slot::Absent { .. }) => {}
            None => self.set_slot(place, Slot::Absent { since }),
        }
    }

    pub(super) fn opened(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file) {
            file.opens = file.opens.saturating_add(1);
        }
    }

    /// The file will be deleted, or no longer will.
    pub(super) fn doom(&mut self, file: usize, doomed: bool) {
        if let Some(file) = self.files.get_mut(file) {
            file.doomed = doomed;
        }
    }

    /// One open of a file is closed; the last one deletes what is doomed.
    pub(super) fn closed(&mut self, file: usize, span: WireSpan) {
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.opens = known.opens.saturating_sub(1);
        if !known.doomed || known.opens > 0 {
            return;
        }
        if let Some(place) = known.place.clone()
            && matches!(self.slot(&place), Some(Slot::There(there)) if there == file)
        {
            let since = span.response.unwrap_or(u64::MAX);
            self.set_slot(&place, Slot::Absent { since });
        }
    }

    /// A file has a new name, and so has everything below it.
    pub(super) fn renamed(&mut self, file: usize, to: &Place, proof: &Proof) {
        let from = self.files.get(file).and_then(|file| file.place.clone());
        let Some(from) = from.filter(|from| from != to) else {
            return;
        };
        self.parents(to, proof);
        let since = proof.answered();
        self.set_slot(&from, Slot::Absent { since });
        self.settle(file, to.clone(), since);
        for separator in ['\\', ':'] {
            let prefix = format!("{}{separator}", from.key);
            let below: Vec<(String, Slot)> = self
                .slots
                .get(from.share)
                .map(|slots| {
                    let from = slots.range(prefix.clone()..);
                    let inside = from.take_while(|(key, _)| key.starts_with(&prefix));
                    inside.map(|(key, slot)| (key.clone(), *slot)).collect()
                })
                .unwrap_or_default();
            for (key, slot) in below {
                if let Some(slots) = self.slots.get_mut(from.share) {
                    slots.insert(key.clone(), Slot::Absent { since });
                }
                let Slot::There(child) = slot else { continue };
                let old = self.path_of(child).to_owned();
                let rest = old.get(from.path.len()..).unwrap_or_default();
                let place = Place::plain(to.share, &format!("{}{rest}", to.path));
                self.settle(child, place, since);
            }
        }
    }

    /// A range of a file was changed by the recording.
    pub(super) fn write(&mut self, file: usize, start: u64, end: u64) {
        let Some(written) = self.files.get_mut(file).map(|file| &mut file.written) else {
            return;
        };
        let (mut start, mut end) = (start, end);
        while let Some((&from, &to)) = written.range(..=end).next_back()
            && to >= start
        {
            written.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        if start < end {
            written.insert(start, end);
        }
    }

    /// A READ showed content; it tells about the beginning what nobody had changed.
    pub(super) fn showed(&mut self, file: usize, extent: Extent) {
        let Some(known) = self.files.get(file) else {
            return;
        };
        let end = extent.offset.saturating_add(extent.data.len.into());
        let before = known.written.range(..end).next_back();
        let changed = before.is_some_and(|(_, to)| *to > extent.offset);
        let untouched = known.written.is_empty();
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        let Some(Some(entry)) = entry else { return };
        if changed || extent.data.len == 0 {
            return;
        }
        if untouched {
            entry.size = entry.size.max(end);
        }
        let at = entry
            .content
            .partition_point(|other| other.offset < extent.offset);
        let ends = |other: &Extent| other.offset.saturating_add(other.data.len.into());
        let previous = at.checked_sub(1).and_then(|at| entry.content.get(at));
        let next = entry.content.get(at);
        let fits = previous.is_none_or(|it| ends(it) <= extent.offset)
            && next.is_none_or(|it| it.offset >= end)
            && end <= entry.size;
        if fits {
            entry.content.insert(at, extent);
        }
    }

    /// Everything that was there, folders before what is in them, and what did not fit.
    pub(super) fn finish(self) -> (Vec<Entry>, BTreeMap<&'static str, u64>) {
        let mut entries: Vec<Entry> = self.entries.into_iter().flatten().collect();
        entries.sort_by_cached_key(|entry| {
            // A folder's name and a separator sort before everything that goes on otherwise.
            let path = entry.path.to_lowercase().replace('\\', "\u{1}");
            (entry.share.to_lowercase(), path)
        });
        (entries, self.problems)
    }

    fn slot(&self, place: &Place) -> Option<Slot> {
        self.slots.get(place.share)?.get(&place.key).copied()
    }

    fn set_slot(&mut self, place: &Place, slot: Slot) {
        if let Some(slots) = self.slots.get_mut(place.share) {
            slots.insert(place.key.clone(), slot);
        }
    }

    /// Puts a file at a place.
    fn settle(&mut self, file: usize, place: Place, changed: u64) {
        self.set_slot(&place, Slot::There(file));
        if let Some(file) = self.files.get_mut(file) {
            file.place = Some(place);
            file.changed = changed;
        }
    }

    /// A file that was not there at the beginning.
    fn appear(&mut self, place: &Place, proof: &Proof) -> usize {
        let file = self.files.len();
        self.files.push(File::default());
        self.settle(file, place.clone(), proof.answered());
        file
    }

    /// What is in something that exists: its folder exists, or the file of the stream.
    fn parents(&mut self, place: &Place, proof: &Proof) {
        let Some(above) = place.above() else { return };
        let stream = place.is_stream();
        if let Some(Slot::There(file)) = self.slot(&above) {
            if !stream {
                self.is_folder(file);
            }
            return;
        }
        let proof = Proof {
            directory: (!stream).then_some(true),
            size: None,
            attributes: None,
            exact: proof.exact,
            ..*proof
        };
        self.found(&above, &proof);
    }

    fn is_folder(&mut self, file: usize) {
        let entry = self.files.get(file).and_then(|file| file.entry);
        if let Some(Some(entry)) = entry.and_then(|entry| self.entries.get_mut(entry)) {
            entry.kind = EntryKind::Directory;
            entry.size = 0;
            entry.content.clear();
        }
    }

    /// Something is seen for the first time, and nobody made it.
    fn first_seen(&mut self, place: &Place, proof: &Proof) -> usize {
        let mut was = place.clone();
        if let Some(above) = place.above()
            && let Some(Slot::There(folder)) = self.slot(&above)
        {
            let entry = self.files.get(folder).and_then(|folder| folder.entry);
            let Some(Some(entry)) = entry.and_then(|entry| self.entries.get(entry)) else {
                self.problem("found in a folder that was made, though nobody put it there");
                return self.appear(place, proof);
            };
            // The folder may have had another name.
            let rest = place.path.get(above.path.len()..).unwrap_or_default();
            was = Place::plain(place.share, &format!("{}{rest}", entry.path));
        }
        let number = self.entries.len();
        if self
            .initial
            .insert((was.share, was.key.clone()), number)
            .is_some()
        {
            self.problem("two files had one name");
            return self.appear(place, proof);
        }
        let directory = proof.directory.unwrap_or(false);
        self.entries.push(Some(Entry {
            share: self.shares.get(place.share).cloned().unwrap_or_default(),
            path: was.path,
            kind: match (place.is_stream(), directory) {
                (true, _) => EntryKind::Stream,
                (false, true) => EntryKind::Directory,
                (false, false) => EntryKind::File,
            },
            size: proof.size.filter(|_| !directory).unwrap_or_default(),
            attributes: proof.attributes,
            content: Vec::new(),
            seen_by: proof.op,
        }));
        let file = self.files.len();
        self.files.push(File {
            entry: Some(number),
            unsized_: proof.size.is_none(),
            unsure_kind: proof.directory.is_none(),
            ..File::default()
        });
        self.settle(file, place.clone(), proof.answered());
        file
    }

    /// Learns what an earlier proof did not tell.
    fn learn(&mut self, file: usize, place: &Place, proof: &Proof) {
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        let Some(Some(entry)) = entry else { return };
        if let Some(directory) = proof.directory.filter(|_| known.unsure_kind) {
            known.unsure_kind = false;
            if entry.kind != EntryKind::Stream && directory {
                entry.kind = EntryKind::Directory;
                entry.size = 0;
            }
        }
        if let Some(size) = proof
            .size
            .filter(|_| known.unsized_ && known.written.is_empty())
        {
            known.unsized_ = false;
            if entry.kind != EntryKind::Directory {
                entry.size = entry.size.max(size);
            }
        }
        entry.attributes = entry.attributes.or(proof.attributes);
        if proof.exact && entry.path != place.path && entry.path.to_lowercase() == place.key {
            entry.path.clone_from(&place.path);
        }
    }

    /// An entry that was made after all.
    fn disown(&mut self, file: usize) {
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        if let Some(entry) = known.entry.take()
            && let Some(entry) = self.entries.get_mut(entry)
            && let Some(entry) = entry.take()
            && let Some(place) = &known.place
        {
            self.initial
                .remove(&(place.share, entry.path.to_lowercase()));
        }
    }
}
