//! Just enough of a file server to say whether an outcome makes sense now.
//!
//! Names, who has what open in which way, deletion marks and sizes: what decides most statuses of
//! shared files. What is unknown contradicts nothing. Rules: [MS-FSA] 2.1.5.1.

mod ends;
mod sharing;
mod streams;

use std::collections::{BTreeSet, VecDeque};

use smbench_core::{
    ids::{OpId, OpenRef},
    smb2::NtStatus,
};

use self::sharing::conflict;
use super::{
    access::{Deed, Facts, NOT_TOLD, NameId, Opening},
    table::{Row, TableView},
};
use crate::{
    map::Map,
    opens::{Home, Opens},
};

/// A file or folder, whatever its name is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct FileNo(u32);

/// Something two operations can conflict about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    /// Whether a name exists, and what it names.
    Name(NameId),
    /// What a folder contains.
    Children(NameId),
    /// Who has a file open, and how.
    Share(FileNo),
    /// What is in a file.
    Data(FileNo),
}

/// One thing an operation touches, and whether it changes it.
pub(super) type Touch = (Key, bool);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum NameState {
    #[default]
    Unknown,
    Absent,
    Present(FileNo),
}

#[derive(Clone, Debug, Default)]
struct File {
    holders: Vec<Holder>,
    /// Somebody else may hold it too, whose open is not in the capture or is one too many.
    strangers: bool,
    delete: Option<bool>,
    size: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    open: OpenRef,
    access: u32,
    share: u32,
    delete_on_close: bool,
    /// Its connection or session has ended. Whoever it is in the way of ends it.
    /// [MS-SMB2] 3.3.4.6, 3.3.4.7
    detached: bool,
    name: NameId,
    parent: Option<NameId>,
    /// It has a stream of this file open, not the file.
    by_stream: bool,
}

/// What an open is of.
#[derive(Clone, Copy, Debug)]
struct Held {
    file: FileNo,
    /// The file of a stream.
    stream_of: Option<FileNo>,
    durable: bool,
}

impl File {
    /// One open more. Of very many the last are not told apart: each step looks at all.
    fn held_by(&mut self, holder: Holder) {
        if self.holders.len() < HOLDERS {
            self.holders.push(holder);
        } else {
            self.strangers = true;
        }
    }
}

/// A CREATE.
#[derive(Clone, Copy)]
struct Asked<'a> {
    it: &'a Opening,
    row: &'a Row,
    name: NameId,
    parent: Option<NameId>,
    /// The file of the stream that is asked for.
    file: Option<NameId>,
    /// What it is to go on with.
    reclaims: Option<OpenRef>,
}

enum Undo {
    Name(NameId, NameState),
    File(FileNo, File),
    Open(OpenRef, Option<(Held, Home)>),
    /// A file was not there before.
    New(FileNo),
    /// Nobody can use a file any more, unless this is taken back.
    Gone(FileNo),
}

/// The state of the shares at one point of the order.
#[derive(Default)]
pub(super) struct Model {
    names: Map<NameId, NameState>,
    files: Vec<File>,
    /// Places in `files` that are free again.
    free: Vec<FileNo>,
    opens: Opens<Held>,
    /// Streams that were seen, by the name of their file.
    streams: Map<NameId, BTreeSet<NameId>>,
    undo: VecDeque<Undo>,
    /// Steps that were forgotten, before those in `undo`.
    forgotten: usize,
    touches: Vec<Touch>,
    /// Files that were gone for good with the last commit.
    gone: Vec<FileNo>,
}

impl Model {
    /// Carries out an operation as recorded; whether its outcome makes sense.
    pub(super) fn apply(&mut self, op: OpId, table: &TableView<'_>) -> bool {
        self.touches.clear();
        let (Some(facts), Some(row)) = (table.facts(op), table.row(op)) else {
            return true;
        };
        match facts.deed {
            Deed::Nothing => true,
            Deed::Open(opening) => {
                let Some(name) = facts.name else {
                    return true;
                };
                self.open(&Asked {
                    it: &opening,
                    row: &row,
                    name,
                    parent: facts.parent,
                    file: table.file_of(name),
                    reclaims: table.links(op).reclaims,
                })
            }
            Deed::Close(open) => self.close(open),
            Deed::End(scope) => self.end(scope),
            Deed::Read {
                open,
                offset,
                asked,
                got,
                at_end,
            } => self.read(open, offset, asked, got, at_end),
            Deed::Write { open, end, done } => self.grow(open, end, done),
            Deed::Resize { open, size, done } => self.resize(open, size, done),
            Deed::Change { open, done } => self.change(open, done),
            Deed::Look { open } => self.look(open),
            Deed::Rename { .. } => self.rename(&facts),
            Deed::Dispose { open, delete, done } => self.dispose(open, delete, done),
            Deed::List { .. } => {
                self.touches
                    .extend(facts.name.map(|name| (Key::Children(name), false)));
                true
            }
        }
    }

    /// What the last applied operation touched.
    pub(super) fn touches(&self) -> &[Touch] {
        &self.touches
    }

    /// Files that nobody can use any more since the last commit.
    pub(super) fn gone_files(&self) -> &[FileNo] {
        &self.gone
    }

    /// A mark to [`Model::roll_back`] to.
    pub(super) fn mark(&self) -> usize {
        self.forgotten + self.undo.len()
    }

    /// Forgets how to go back.
    pub(super) fn commit(&mut self) {
        self.forget(self.mark());
    }

    /// Forgets how to go back behind `mark`.
    pub(super) fn forget(&mut self, mark: usize) {
        let steps = mark.saturating_sub(self.forgotten).min(self.undo.len());
        self.gone.clear();
        for step in self.undo.drain(..steps) {
            if let Undo::Gone(file) = step {
                self.free.push(file);
                self.gone.push(file);
            }
        }
        self.forgotten += steps;
    }

    /// Takes back everything since `mark`.
    pub(super) fn roll_back(&mut self, mark: usize) {
        while self.mark() > mark {
            match self.undo.pop_back() {
                Some(Undo::Name(name, old)) => {
                    self.names.insert(name, old);
                }
                Some(Undo::File(file, old)) => {
                    if let Some(slot) = self.files.get_mut(file.0 as usize) {
                        *slot = old;
                    }
                }
                Some(Undo::Open(open, old)) => {
                    self.opens.set(open, old);
                }
                Some(Undo::New(file)) => self.free.push(file),
                Some(Undo::Gone(_)) => {}
                None => return,
            }
        }
    }

    fn open(&mut self, asked: &Asked<'_>) -> bool {
        let (it, name) = (asked.it, asked.name);
        if let Some(old) = asked.reclaims {
            return self.reclaim(asked, old);
        }
        for path in [asked.parent, asked.file].into_iter().flatten() {
            self.touches.push((Key::Name(path), false));
        }
        let state = self.state(name);
        match it.status {
            NtStatus::OBJECT_NAME_NOT_FOUND => {
                self.touches.push((Key::Name(name), false));
                self.learn(name, NameState::Absent);
                !matches!(state, NameState::Present(_))
            }
            NtStatus::OBJECT_NAME_COLLISION => {
                self.touches.push((Key::Name(name), false));
                if state == NameState::Unknown {
                    self.new_file(name, true);
                }
                state != NameState::Absent
            }
            NtStatus::SHARING_VIOLATION => {
                let file = self.existing(name);
                self.touches.push((Key::Name(name), false));
                self.touches.push((Key::Share(file), false));
                state != NameState::Absent && self.violates(file, it)
            }
            NtStatus::DELETE_PENDING => {
                let file = self.existing(name);
                self.touches.push((Key::Share(file), false));
                let of_file = self.touch_file_of_stream(asked);
                [Some(file), of_file]
                    .into_iter()
                    .filter_map(|file| self.file(file?))
                    .any(|file| file.delete != Some(false) || file.strangers)
            }
            status if status.is_error() => {
                self.touch_file_of_stream(asked);
                self.touches.push((Key::Name(name), false));
                if let NameState::Present(file) = state {
                    self.touches.push((Key::Share(file), false));
                }
                true
            }
            _ => self.opened(asked, state),
        }
    }

    fn opened(&mut self, asked: &Asked<'_>, state: NameState) -> bool {
        let (it, name) = (asked.it, asked.name);
        let created = it.action == Some(CREATED);
        let fits_name = match state {
            NameState::Unknown => true,
            NameState::Absent => created,
            NameState::Present(_) => !created,
        };
        let file = if created {
            self.new_file(name, false)
        } else {
            self.existing(name)
        };
        self.touches.push((Key::Name(name), created));
        self.touches.push((Key::Share(file), true));
        if created {
            let folder = asked.parent.filter(|_| asked.file.is_none());
            self.touches
                .extend(folder.map(|parent| (Key::Children(parent), true)));
        }
        let (stream_of, file_fits) = self.stream_opened(asked, created);
        let rewritten = matches!(it.action, Some(SUPERSEDED | OVERWRITTEN));
        self.touches.push((Key::Data(file), created || rewritten));
        let file_fits = file_fits
            && self.file(file).is_none_or(|known| {
                let sizes = known.size.zip(it.size);
                let same_size = sizes.is_none_or(|(known, seen)| known == seen);
                let mut whole = known.holders.iter().filter(|held| !held.by_stream);
                known.delete != Some(true)
                    && (it.directory || rewritten || same_size)
                    && !whole.any(|held| conflict(held, it))
            });
        self.save_file(file);
        if let Some(slot) = self.files.get_mut(file.0 as usize) {
            slot.size = it.size;
            slot.delete = slot.delete.or(Some(false));
            asked.holder().into_iter().for_each(|it| slot.held_by(it));
        }
        if let Some(open) = it.open {
            let held = Held {
                file,
                stream_of,
                durable: it.durable,
            };
            self.set_open(open, Some((held, asked.home())));
        }
        fits_name && file_fits
    }

    fn close(&mut self, open: OpenRef) -> bool {
        if let Some((held, _)) = self.set_open(open, None) {
            self.leave(held.file, open);
            held.stream_of
                .into_iter()
                .for_each(|of| self.leave(of, open));
        }
        true
    }

    /// Takes down what an open is from now on; what it was.
    fn set_open(&mut self, open: OpenRef, now: Option<(Held, Home)>) -> Option<(Held, Home)> {
        let was = self.opens.set(open, now);
        self.undo.push_back(Undo::Open(open, was));
        was
    }

    /// The file of an open.
    fn file_of(&self, open: OpenRef) -> Option<FileNo> {
        self.opens.get(open).map(|held| held.file)
    }

    /// One open of a file less: the last takes along what is to be deleted.
    fn leave(&mut self, file: FileNo, open: OpenRef) {
        self.save_file(file);
        self.touches.push((Key::Share(file), true));
        let Some(slot) = self.files.get_mut(file.0 as usize) else {
            return;
        };
        let Some(at) = slot.holders.iter().position(|holder| holder.open == open) else {
            return;
        };
        let holder = slot.holders.remove(at);
        if holder.delete_on_close {
            slot.delete = Some(true);
        }
        let gone = slot.delete == Some(true) && slot.holders.iter().all(|it| it.detached);
        let for_good = gone && slot.holders.is_empty();
        if gone {
            self.touches.push((Key::Name(holder.name), true));
            self.touches
                .extend(holder.parent.map(|parent| (Key::Children(parent), true)));
            self.gone(holder.name);
        }
        if for_good {
            self.undo.push_back(Undo::Gone(file));
        }
    }

    fn read(&mut self, open: OpenRef, offset: u64, asked: u32, got: u32, at_end: bool) -> bool {
        let Some(file) = self.file_of(open) else {
            return true;
        };
        self.touches.push((Key::Data(file), false));
        let Some(size) = self.file(file).and_then(|file| file.size) else {
            return true;
        };
        let left = size.saturating_sub(offset);
        match got {
            _ if at_end => left == 0,
            NOT_TOLD => true,
            got => u64::from(got) == left.min(u64::from(asked)),
        }
    }

    fn grow(&mut self, open: OpenRef, end: u64, done: bool) -> bool {
        self.with_data(open, done, |file| {
            file.size = file.size.map(|size| size.max(end));
        })
    }

    fn resize(&mut self, open: OpenRef, size: u64, done: bool) -> bool {
        self.with_data(open, done, |file| file.size = Some(size))
    }

    fn change(&mut self, open: OpenRef, done: bool) -> bool {
        self.with_data(open, done, |_| {})
    }

    fn with_data(&mut self, open: OpenRef, done: bool, change: impl FnOnce(&mut File)) -> bool {
        let Some(file) = self.file_of(open) else {
            return true;
        };
        self.touches.push((Key::Data(file), done));
        if done {
            self.save_file(file);
            if let Some(slot) = self.files.get_mut(file.0 as usize) {
                change(slot);
            }
        }
        true
    }

    fn look(&mut self, open: OpenRef) -> bool {
        if let Some(file) = self.file_of(open) {
            self.touches.push((Key::Data(file), false));
        }
        true
    }

    fn dispose(&mut self, open: OpenRef, delete: bool, done: bool) -> bool {
        let Some(file) = self.file_of(open) else {
            return true;
        };
        self.touches.push((Key::Share(file), done));
        if done {
            self.save_file(file);
            if let Some(slot) = self.files.get_mut(file.0 as usize) {
                slot.delete = Some(delete);
            }
        }
        true
    }

    fn rename(&mut self, facts: &Facts) -> bool {
        let Deed::Rename {
            open,
            to,
            to_parent,
            done,
            denied,
        } = facts.deed
        else {
            return true;
        };
        let Some(file) = self.file_of(open) else {
            return true;
        };
        let target = self.state(to);
        self.touches.push((Key::Share(file), done));
        self.touches.push((Key::Name(to), done));
        let mut replaced = None;
        let in_the_way = match target {
            NameState::Present(other) if other != file => {
                self.touches.push((Key::Share(other), done));
                let holders = self.file(other).map(|it| it.holders.as_slice());
                let holders = holders.unwrap_or_default();
                replaced = holders.is_empty().then_some(other);
                holders.iter().any(|it| !it.detached)
            }
            _ => false,
        };
        if !done {
            // A target that somebody has open cannot be replaced, and a file not be moved while one
            // of its streams is open. [MS-FSA] 2.1.5.15.11
            let streams = || self.has_open_streams(file);
            return !denied || in_the_way || target == NameState::Unknown || streams();
        }
        for parent in [facts.parent, to_parent].into_iter().flatten() {
            self.touches.push((Key::Children(parent), true));
        }
        let Some(from) = self.name_of(file, open) else {
            return true;
        };
        if from != to {
            self.touches.push((Key::Name(from), true));
            self.gone(from);
            self.learn(to, NameState::Present(file));
            self.forget_streams(to);
            self.undo.extend(replaced.map(Undo::Gone));
        }
        self.save_file(file);
        if let Some(slot) = self.files.get_mut(file.0 as usize) {
            for holder in &mut slot.holders {
                holder.name = to;
                holder.parent = to_parent;
            }
        }
        !in_the_way
    }

    fn name_of(&self, file: FileNo, open: OpenRef) -> Option<NameId> {
        let holders = &self.file(file)?.holders;
        holders
            .iter()
            .find(|holder| holder.open == open)
            .map(|holder| holder.name)
    }

    fn violates(&self, file: FileNo, it: &Opening) -> bool {
        self.file(file).is_some_and(|file| {
            file.strangers || file.holders.iter().any(|holder| conflict(holder, it))
        })
    }

    fn state(&self, name: NameId) -> NameState {
        self.names.get(&name).copied().unwrap_or_default()
    }

    fn learn(&mut self, name: NameId, state: NameState) {
        let old = self.names.insert(name, state).unwrap_or_default();
        self.undo.push_back(Undo::Name(name, old));
    }

    fn file(&self, file: FileNo) -> Option<&File> {
        self.files.get(file.0 as usize)
    }

    /// The file of that name, a new one when nothing is known of it.
    fn existing(&mut self, name: NameId) -> FileNo {
        match self.state(name) {
            NameState::Present(file) => file,
            NameState::Unknown => self.new_file(name, true),
            NameState::Absent => self.new_file(name, false),
        }
    }

    fn new_file(&mut self, name: NameId, strangers: bool) -> FileNo {
        let next = || FileNo(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        let file = self.free.pop().unwrap_or_else(next);
        let new = File {
            strangers,
            ..File::default()
        };
        match self.files.get_mut(file.0 as usize) {
            Some(slot) => *slot = new,
            None => self.files.push(new),
        }
        self.undo.push_back(Undo::New(file));
        self.learn(name, NameState::Present(file));
        file
    }

    fn save_file(&mut self, file: FileNo) {
        if let Some(old) = self.file(file).cloned() {
            self.undo.push_back(Undo::File(file, old));
        }
    }
}

/// Opens of one file that are told apart.
const HOLDERS: usize = 512;
const SUPERSEDED: u32 = 0;
const CREATED: u32 = 2;
const OVERWRITTEN: u32 = 3;
