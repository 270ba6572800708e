//! Names and the files behind them, at the moment of the recording that was reached.
//!
//! Answers come in the order of the wire, which is not the order in which a server did things:
//! what overlapped may have happened the other way round. A [`Slot`] therefore remembers since when
//! it says what it says, and what was there before; `found`, `made`, `missing` and `renamed` ask
//! whether they overlapped with that.

use std::{collections::BTreeMap, sync::Arc};

use smbench_core::{
    fscc::upcase,
    ids::OpId,
    workload::{Entry, EntryKind, Times},
};

use super::{
    files::{File, Files},
    links::Uncovered,
    place::{Place, odd_name, odd_path},
    slots::Slots,
    spent::{Spent, cost},
};
use crate::{map::Map, wire_span::WireSpan};

/// What shows that something exists, or does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    pub(super) op: OpId,
    pub(super) span: WireSpan,
    /// Whether it is a folder, where known.
    pub(super) directory: Option<bool>,
    /// It is more likely to be a folder than not.
    pub(super) likely_folder: bool,
    pub(super) size: Option<u64>,
    pub(super) attributes: Option<u32>,
    pub(super) times: Option<Times>,
    /// The server spelt the name.
    pub(super) exact: bool,
}

impl Proof {
    fn answered(&self) -> u64 {
        self.span.response.unwrap_or(u64::MAX)
    }

    /// The same operation, without what it told.
    fn bare(&self) -> Self {
        Self {
            op: self.op,
            span: self.span,
            exact: self.exact,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    There(usize),
    Absent {
        since: u64,
        /// What was there until then.
        was: Option<usize>,
    },
}

/// What did not fit: how often, and the first operation that showed it.
pub(super) type Problems = BTreeMap<&'static str, (u64, OpId)>;

/// All names of all shares.
#[derive(Debug, Default)]
pub(super) struct Names {
    shares: Vec<String>,
    share_numbers: Map<String, usize>,
    pub(super) slots: Vec<Slots<Slot>>,
    pub(super) files: Files,
    /// What was there; none for what turned out to have been made.
    pub(super) entries: Vec<Option<Entry>>,
    /// Where it was.
    initial: Map<(usize, String), usize>,
    /// Folders that could not be deleted for what is in them, which nobody showed.
    pub(super) filled: BTreeMap<usize, OpId>,
    pub(super) uncovered: Uncovered,
    problems: Problems,
    pub(super) spent: Spent,
}

impl Names {
    pub(super) fn problem(&mut self, what: &'static str, op: OpId) {
        self.problems.entry(what).or_insert((0, op)).0 += 1;
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
            self.slots.push(Slots::default());
        }
        number
    }

    /// Number of a share that is known by that name in lower case.
    pub(super) fn number_of(&self, name: &str) -> Option<usize> {
        self.share_numbers.get(name).copied()
    }

    /// Share of a file.
    pub(super) fn share_of(&self, file: usize) -> Option<usize> {
        let place = self.files.get(self.real(file))?.place.as_ref()?;
        Some(place.share)
    }

    /// Path of a file, as it is now.
    pub(super) fn path_of(&self, file: usize) -> &str {
        let place = self
            .files
            .get(self.real(file))
            .and_then(|file| file.place.as_ref());
        place.map_or("", |place| place.path.as_str())
    }

    /// The place that a request names; none for names that are not taken, which are counted.
    pub(super) fn place(&mut self, share: usize, name: &str, dfs: bool, op: OpId) -> Option<Place> {
        let place = Place::of(share, name, dfs)?;
        let takes = self.takes(odd_path(&place.path), name, op);
        takes.then_some(place)
    }

    /// The place that a request names with POSIX semantics.
    pub(super) fn posix_place(&mut self, share: usize, name: &str, op: OpId) -> Option<Place> {
        let path = name.trim_matches('\\');
        let takes = self.takes(odd_path(path), name, op);
        takes.then(|| Place::exact(share, path))
    }

    /// Whether a file has a name of POSIX extensions.
    pub(super) fn is_posix(&self, file: usize) -> bool {
        let place = self.files.get(self.real(file)).map(|file| &file.place);
        place.is_some_and(|place| place.as_ref().is_some_and(Place::is_posix))
    }

    /// Whether a name in a folder is taken; counted if not.
    pub(super) fn takes_inside(&mut self, name: &str, op: OpId) -> bool {
        self.takes(odd_name(name), name, op)
    }

    pub(super) fn takes(&mut self, odd: Option<&'static str>, name: &str, op: OpId) -> bool {
        self.spent.tell(name);
        let odd = odd.or(self.spent.is_full().then_some(TOO_MANY));
        if let Some(odd) = odd {
            self.problem(odd, op);
        }
        odd.is_none()
    }

    /// Where a rename of `file` to `name` leads; none when that cannot be said, or is not taken.
    pub(super) fn target(&mut self, file: usize, name: &str, op: OpId) -> Option<Place> {
        let from = self.files.get(self.real(file))?.place.as_ref()?;
        if from.is_posix() {
            return self.posix_place(from.share, name, op);
        }
        if !name.starts_with(':') {
            return self.place(from.share, name, false, op);
        }
        // A stream is renamed within its file. [MS-FSCC] 2.4.42
        let base = if from.is_stream() {
            from.above()?.path
        } else {
            from.path.clone()
        };
        self.place(from.share, &format!("{base}{name}"), false, op)
    }

    /// Something exists.
    pub(super) fn found(&mut self, place: &Place, proof: &Proof) -> usize {
        self.parents(place, proof);
        self.found_inside(place, proof)
    }

    /// Something exists, in a folder of which is known that the same operation showed it.
    pub(super) fn found_inside(&mut self, place: &Place, proof: &Proof) -> usize {
        let (since, was) = match self.slot(place) {
            Some(Slot::There(file)) => {
                self.learn(file, proof);
                self.spell(file, place, proof);
                return file;
            }
            None => return self.first_seen(place, proof),
            Some(Slot::Absent { since, was }) => (since, was),
        };
        if proof.span.request >= since {
            self.problem("there again, though nobody made it", proof.op);
            return self.appear(place, proof);
        }
        // It overlaps the disappearance, so it came first.
        match was.map(|file| self.real(file)) {
            Some(file) => {
                if self.files.get(file).is_some_and(|it| it.doomed) {
                    self.set_slot(place, Slot::There(file));
                }
                file
            }
            None => self.appear(place, proof),
        }
    }

    /// Something was made that was not there.
    pub(super) fn made(&mut self, place: &Place, proof: &Proof) -> usize {
        self.bring(place, proof);
        self.parents(place, proof);
        self.touch_above(place);
        if let Some(Slot::There(file)) = self.slot(place)
            && let Some(known) = self.files.get(file)
        {
            let overlaps = proof.span.request < known.shown;
            if overlaps && !known.made {
                // An overlapping operation found what this one made.
                self.disown(file);
                return file;
            }
            if !overlaps && !known.is_going() {
                self.problem("made, though it was there", proof.op);
            }
            self.files.delete(file);
        }
        let file = self.appear(place, proof);
        if let Some(file) = self.files.get_mut(file) {
            file.made = true;
        }
        file
    }

    /// Who makes a stream makes its file too, where there is none. A file that is as old as its
    /// last change is new.
    fn bring(&mut self, place: &Place, proof: &Proof) {
        let new = proof.times.is_some_and(|it| it.created == it.written);
        let base = place.above().filter(|_| place.is_stream());
        let Some(base) = base.filter(|base| self.at(base).is_none()) else {
            return;
        };
        let absent = matches!(self.slot(&base), Some(Slot::Absent { since, .. })
            if proof.span.request >= since);
        if new || absent {
            self.made(&base, &proof.bare());
        }
    }

    /// A name leads nowhere, though the folder that it is in exists.
    pub(super) fn missing(&mut self, place: &Place, proof: &Proof) {
        let gone = |above| matches!(self.slot(&above), Some(Slot::Absent { .. }));
        if !place.is_stream() && !place.above().is_some_and(gone) {
            self.parents(place, &proof.bare());
        }
        self.gone(place, proof);
    }

    /// The folder that a name is in does not exist, or is no folder.
    pub(super) fn no_path(&mut self, place: &Place, proof: &Proof) {
        let above = place.above().filter(|_| !place.is_stream());
        let Some(above) = above else {
            return self.gone(place, proof);
        };
        if let Some(Slot::There(file)) = self.slot(&above) {
            match self.files.get(file).and_then(|it| it.folder) {
                Some(false) => return,
                None => {
                    let proof = Proof {
                        directory: Some(false),
                        ..proof.bare()
                    };
                    return self.learn(file, &proof);
                }
                Some(true) => {}
            }
        }
        self.gone(&above, proof);
    }

    fn gone(&mut self, place: &Place, proof: &Proof) {
        let mut was = None;
        match self.slot(place) {
            Some(Slot::There(file)) => {
                let known = self.files.get(file);
                let going = known.is_some_and(File::is_going);
                if !going && known.is_some_and(|it| proof.span.request < it.shown) {
                    return; // looked for before it was made
                }
                if !going {
                    self.problem("gone, though nobody deleted it", proof.op);
                }
                was = Some(file);
            }
            Some(Slot::Absent { .. }) => return,
            None => {}
        }
        let since = proof.answered();
        self.set_slot(place, Slot::Absent { since, was });
    }

    /// One open of a file is closed; the last one deletes what is doomed.
    pub(super) fn closed(&mut self, file: usize, span: WireSpan) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.opens = known.opens.saturating_sub(1);
        if !known.doomed || known.opens > 0 {
            return;
        }
        if let Some(place) = known.place.clone()
            && matches!(self.slot(&place), Some(Slot::There(there)) if self.real(there) == file)
        {
            let since = span.response.unwrap_or(u64::MAX);
            let was = Some(file);
            self.set_slot(&place, Slot::Absent { since, was });
            self.touch_above(&place);
            self.files.delete(file);
        }
    }

    /// A file has a new name, and so has everything below it.
    pub(super) fn renamed(&mut self, file: usize, to: &Place, replaces: bool, proof: &Proof) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.leaving = false;
        let Some(from) = known.place.clone().filter(|from| from != to) else {
            return;
        };
        self.parents(to, &proof.bare());
        self.taken(file, to, replaces, proof);
        let since = proof.answered();
        if matches!(self.slot(&from), Some(Slot::There(there)) if self.real(there) == file) {
            let was = Some(file);
            self.set_slot(&from, Slot::Absent { since, was });
        }
        self.touch_above(&from);
        self.touch_above(to);
        self.settle(file, to.clone(), since);
        if self.spent.has_looked_enough() {
            return self.problem(NOT_FOLLOWED, proof.op);
        }
        let separators: &[char] = if from.is_posix() {
            &['\\']
        } else {
            &['\\', ':']
        };
        for &separator in separators {
            self.move_below(&from, separator, to, since);
        }
    }

    /// What is below a file that has moved moves along.
    fn move_below(&mut self, from: &Place, separator: char, to: &Place, since: u64) {
        let prefix = format!("{}{separator}", from.key);
        let slots = self.slots.get(from.share);
        let below = slots.into_iter().flat_map(|slots| slots.below(&prefix));
        let below: Vec<(Arc<str>, Slot)> =
            below.map(|(key, slot)| (Arc::clone(key), slot)).collect();
        for (key, slot) in below {
            self.spent.looked_at = self.spent.looked_at.saturating_add(cost(&key));
            let child = match slot {
                Slot::There(child) => Some(child),
                Slot::Absent { .. } => None,
            };
            if let Some(slots) = self.slots.get_mut(from.share) {
                slots.set(&key, Slot::Absent { since, was: child });
            }
            let Some(child) = child else { continue };
            let old = self.path_of(child).to_owned();
            let rest = old.get(from.path.len()..).unwrap_or_default();
            let place = to.elsewhere(&format!("{}{rest}", to.path));
            self.settle(child, place, since);
        }
    }

    /// What is at the target of a rename: the renamed file itself, seen there before the rename's
    /// answer, or something that is replaced.
    fn taken(&mut self, file: usize, to: &Place, replaces: bool, proof: &Proof) {
        let Some(Slot::There(other)) = self.slot(to) else {
            return;
        };
        let other = self.real(other);
        let Some(known) = self.files.get(other).filter(|_| other != file) else {
            return;
        };
        if proof.span.request < known.shown && !known.made && !replaces {
            self.disown(other);
            let opens = self.files.get(other).map_or(0, |it| it.opens);
            if let Some(other) = self.files.get_mut(other) {
                other.same_as = Some(file);
            }
            if let Some(file) = self.files.get_mut(file) {
                file.opens = file.opens.saturating_add(opens);
            }
            return;
        }
        if !replaces && !known.is_going() {
            self.problem("renamed to a name that was taken", proof.op);
        }
        self.files.delete(other);
    }

    /// Everything that was there, folders before what is in them, and what did not fit.
    pub(super) fn finish(mut self) -> (Vec<Entry>, Problems) {
        self.find_uncovered();
        self.files.give_content(&mut self.entries);
        self.fill_folders();
        let mut entries: Vec<Entry> = self.entries.into_iter().flatten().collect();
        entries.sort_by_cached_key(|entry| {
            // A folder's name and a separator sort before everything that goes on otherwise.
            let path = entry.path.to_lowercase().replace('\\', "\u{1}");
            (entry.share.to_lowercase(), path)
        });
        (entries, self.problems)
    }

    /// The file that a number stands for.
    pub(super) fn real(&self, mut file: usize) -> usize {
        while let Some(same) = self.files.get(file).and_then(|it| it.same_as) {
            file = same;
        }
        file
    }

    /// The file that is at a place now.
    pub(super) fn at(&self, place: &Place) -> Option<usize> {
        match self.slot(place)? {
            Slot::There(file) => Some(file),
            Slot::Absent { .. } => None,
        }
    }

    /// The folder that something is in, or the file that a stream is of, if one is there now.
    pub(super) fn above(&self, place: &Place) -> Option<usize> {
        let slots = self.slots.get(place.share)?;
        match slots.get(place.key_above()?)? {
            Slot::There(file) => Some(file),
            Slot::Absent { .. } => None,
        }
    }

    pub(super) fn slot(&self, place: &Place) -> Option<Slot> {
        self.slots.get(place.share)?.get(&place.key)
    }

    fn set_slot(&mut self, place: &Place, slot: Slot) {
        if let Some(slots) = self.slots.get_mut(place.share)
            && slots.set(&place.key, slot)
        {
            self.spent.kept = self.spent.kept.saturating_add(cost(&place.key));
        }
    }

    /// Puts a file at a place.
    fn settle(&mut self, file: usize, place: Place, shown: u64) {
        self.set_slot(&place, Slot::There(file));
        if let Some(file) = self.files.get_mut(file) {
            file.place = Some(place);
            file.shown = shown;
        }
    }

    /// A file that was not there at the beginning.
    fn appear(&mut self, place: &Place, proof: &Proof) -> usize {
        let file = self.files.add(File {
            folder: proof.directory,
            ..File::default()
        });
        self.settle(file, place.clone(), proof.answered());
        file
    }

    /// What is in something that exists: its folder exists, or the file of the stream.
    fn parents(&mut self, place: &Place, proof: &Proof) {
        let proof = if place.is_stream() {
            // Attributes and times are the file's. [MS-FSA] 2.1.5.1
            Proof {
                size: None,
                ..*proof
            }
        } else {
            Proof {
                directory: Some(true),
                ..proof.bare()
            }
        };
        if let Some(file) = self.above(place) {
            self.learn(file, &proof);
        } else if let Some(above) = place.above() {
            self.found(&above, &proof);
        }
    }

    /// Something is seen for the first time, and nobody made it.
    fn first_seen(&mut self, place: &Place, proof: &Proof) -> usize {
        let mut was = place.clone();
        if let Some(above) = place.above()
            && let Some(folder) = self.at(&above)
        {
            let folder = self.real(folder);
            let entry = self.files.get(folder).and_then(|folder| folder.entry);
            let Some(Some(entry)) = entry.and_then(|entry| self.entries.get(entry)) else {
                self.problem(
                    "found in a folder that was made, though nobody put it there",
                    proof.op,
                );
                return self.appear(place, proof);
            };
            // The folder may have had another name.
            let rest = place.path.get(above.path.len()..).unwrap_or_default();
            was = place.elsewhere(&format!("{}{rest}", entry.path));
            if let Some(odd) = odd_path(&was.path) {
                self.problem(odd, proof.op);
                return self.appear(place, proof);
            }
        }
        let number = self.entries.len();
        if self
            .initial
            .insert((was.share, was.key.clone()), number)
            .is_some()
        {
            self.problem("two files had one name", proof.op);
            return self.appear(place, proof);
        }
        let stream = place.is_stream();
        self.entries.push(Some(Entry {
            share: self.shares.get(place.share).cloned().unwrap_or_default(),
            path: was.path,
            kind: match (stream, proof.likely_folder) {
                (true, _) => EntryKind::Stream,
                (false, true) => EntryKind::Directory,
                (false, false) => EntryKind::File,
            },
            size: 0,
            attributes: None,
            times: None,
            content: Vec::new(),
            link: None,
            seen_by: proof.op,
        }));
        let file = self.files.add(File {
            entry: Some(number),
            ..File::default()
        });
        self.settle(file, place.clone(), proof.answered());
        self.learn(file, proof);
        file
    }

    /// Takes over how the server spells a name.
    fn spell(&mut self, file: usize, place: &Place, proof: &Proof) {
        let entry = self.files.get(file).and_then(|file| file.entry);
        if let Some(Some(entry)) = entry.and_then(|entry| self.entries.get_mut(entry))
            && proof.exact
            && entry.path != place.path
            && !place.is_posix()
            && upcase(&entry.path) == place.key
        {
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
            let key = place.elsewhere(&entry.path).key;
            self.initial.remove(&(place.share, key));
        }
    }
}

const TOO_MANY: &str = "name that is not kept: there are too many, in folders too deep";
pub(super) const NOT_FOLLOWED: &str =
    "folder of which is not told what is in it: there were too many and too large";
