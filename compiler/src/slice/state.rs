//! What must exist before a slice begins.
//!
//! With causes that is what existed before the recording, as far as the slice can see it. Without,
//! what was left out may have made, changed or deleted files before the slice uses them: then what
//! the slice itself was answered tells how they were, and what it does not tell is counted.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use smbench_core::{
    ids::OpId,
    smb2::Command,
    workload::{Coverage, Entry, EntryKind, Operation, Workload},
};

use super::{
    index::{Index, Kind, Line, NameId, key_of},
    keep::Kept,
    names::parent_of,
};
use crate::{map::Set, namespace::Namespace, wire_span::WireSpan};

/// Which names a slice can see, and who saw them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Names in lower case, by key; the first operation that used each.
    used: BTreeMap<String, OpId>,
    /// Folders whose content counts, by key.
    listed: BTreeSet<String>,
    /// Folders that matter with everything below.
    whole: BTreeSet<String>,
    /// Names that what is left out changed before the slice used them, by key.
    changed: BTreeSet<String>,
    /// Reads of a file that the slice made, of what others wrote.
    unread: u64,
    /// Names that the above have, by how they are used.
    known: Set<(NameId, Use)>,
}

/// How a name is used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Use {
    Any,
    Listed,
    Whole,
}

impl Seen {
    pub(super) fn new(index: &Index, kept: &Kept) -> Self {
        let mut seen = Self::default();
        let mut changed: BTreeMap<NameId, OpId> = BTreeMap::new();
        let mut made: BTreeSet<NameId> = BTreeSet::new();
        for (op, line) in index.ids().zip(&index.lines) {
            let names = [line.name, line.renames_to];
            let names = names.into_iter().flatten();
            if kept.has(op) {
                for name in names {
                    seen.uses(index, op, line, name, &changed);
                }
                seen.reads(line, &changed, &mut made);
            } else if line.changes && line.done && alters(line) {
                for name in names {
                    changed.entry(name).or_insert(op);
                }
            }
        }
        seen
    }

    fn uses(
        &mut self,
        index: &Index,
        op: OpId,
        line: &Line,
        name: NameId,
        changed: &BTreeMap<NameId, OpId>,
    ) {
        let text = || index.names.text(name);
        if self.known.insert((name, Use::Any)) {
            self.used.insert(text(), op);
            if changed.contains_key(&name) {
                self.changed.insert(text());
            }
        }
        let lists = matches!(line.cmd, Command::QUERY_DIRECTORY | Command::CHANGE_NOTIFY);
        if lists && self.known.insert((name, Use::Listed)) {
            self.listed.insert(text());
        }
        let moves = line.renames_to.is_some() || line.deletes;
        if moves && self.known.insert((name, Use::Whole)) {
            self.whole.insert(text());
        }
    }

    fn reads(
        &mut self,
        line: &Line,
        changed: &BTreeMap<NameId, OpId>,
        made: &mut BTreeSet<NameId>,
    ) {
        let Some(name) = line.name.filter(|_| line.done) else {
            return;
        };
        match line.cmd {
            Command::CREATE if line.makes => {
                made.insert(name);
            }
            Command::READ if made.contains(&name) && changed.contains_key(&name) => {
                self.unread += 1;
            }
            _ => {}
        }
    }

    /// The operation that shows that a name matters; none when it does not.
    fn by(&self, key: &str) -> Option<OpId> {
        if let Some(op) = self.used.get(key) {
            return Some(*op);
        }
        let used = |key: &str| self.used.get(key).copied();
        let mut above = parent_of(key);
        if let Some(folder) = above.filter(|folder| self.listed.contains(*folder)) {
            return used(folder);
        }
        while let Some(folder) = above {
            if self.whole.contains(folder) {
                return used(folder);
            }
            above = parent_of(folder);
        }
        // A folder of something that is used.
        let below = ['\\', ':'].into_iter().filter_map(|separator| {
            let prefix = format!("{key}{separator}");
            let (next, op) = self.used.range(prefix.clone()..).next()?;
            next.starts_with(&prefix).then_some(*op)
        });
        below.min()
    }
}

/// Whether an operation can have changed what others find.
fn alters(line: &Line) -> bool {
    match line.cmd {
        Command::CREATE => line.makes || line.deletes,
        Command::WRITE | Command::SET_INFO | Command::IOCTL => line.kind == Kind::Request,
        _ => false,
    }
}

/// Listens to a slice as if it were a capture.
#[derive(Debug, Default)]
pub(super) struct Listener {
    namespace: Namespace,
    /// Answers to come, by packet.
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    operations: HashMap<u32, Operation>,
}

impl Listener {
    /// The next operation, with its old numbers.
    pub(super) fn hear(&mut self, workload: &Workload, op: &Operation) {
        while let Some(Reverse((frame, _))) = self.waiting.peek()
            && *frame <= op.frame
        {
            self.answer(workload);
        }
        self.namespace.asked(op);
        if let Some(expect) = &op.expect {
            self.waiting.push(Reverse((expect.frame, op.id.0)));
            self.operations.insert(op.id.0, op.clone());
        }
    }

    fn answer(&mut self, workload: &Workload) {
        let Some(Reverse((_, id))) = self.waiting.pop() else {
            return;
        };
        let Some(op) = self.operations.remove(&id) else {
            return;
        };
        let Some(expect) = &op.expect else { return };
        let place = op.compound.map_or(0, |compound| compound.position);
        let count = |frame: u64| frame.saturating_mul(PLACES).saturating_add(place.into());
        let span = WireSpan {
            request: count(op.frame),
            interim: None,
            response: Some(count(expect.frame)),
        };
        self.namespace.answered(workload, &op, span, expect);
    }

    fn finish(mut self, workload: &Workload) -> (Vec<Entry>, BTreeMap<String, u64>) {
        while !self.waiting.is_empty() {
            self.answer(workload);
        }
        let mut coverage = Coverage::default();
        let entries = self.namespace.finish(&mut coverage);
        let mut problems = BTreeMap::new();
        for (problem, count) in coverage.problems {
            // Old numbers of operations mean nothing in the slice.
            let kind = problem.split(" (first").next().unwrap_or_default();
            *problems.entry(kind.to_owned()).or_default() += count;
        }
        (entries, problems)
    }
}

/// The initial namespace of a slice.
#[derive(Debug, Default)]
pub(super) struct Initial {
    pub(super) entries: Vec<Entry>,
    /// Entries that the slice's own answers tell, other than the workload did.
    pub(super) derived: u64,
    /// What the slice expects and the namespace cannot give, by kind.
    pub(super) unmet: BTreeMap<String, u64>,
}

impl Initial {
    /// Of a slice with causes: what was there, as far as it matters.
    pub(super) fn as_recorded(entries: impl Iterator<Item = Entry>, seen: &Seen) -> Self {
        let mut initial = Self::default();
        for mut entry in entries {
            if let Some(by) = seen.by(&key_of(&entry.share, &entry.path)) {
                entry.seen_by = by;
                initial.entries.push(entry);
            }
        }
        initial
    }

    /// Of a slice without causes: what its answers tell first.
    pub(super) fn as_answered(
        entries: impl Iterator<Item = Entry>,
        seen: &Seen,
        listener: Listener,
        workload: &Workload,
    ) -> Self {
        let (told, problems) = listener.finish(workload);
        let mut initial = Self::default();
        let key = |entry: &Entry| key_of(&entry.share, &entry.path);
        let mut found: BTreeMap<String, Entry> =
            told.into_iter().map(|entry| (key(&entry), entry)).collect();
        let mut known = BTreeSet::new();
        for mut entry in entries {
            let key = key(&entry);
            let Some(by) = seen.by(&key) else { continue };
            let changed = seen.changed.contains(&key);
            match found.get_mut(&key) {
                Some(told) => {
                    if !supplement(told, &entry, changed) {
                        initial.derived += 1;
                    }
                }
                // It was gone, or something else, when the slice came.
                None if changed => {}
                None => {
                    entry.seen_by = by;
                    found.insert(key.clone(), entry);
                }
            }
            known.insert(key);
        }
        let new = found.keys().filter(|key| !known.contains(*key)).count();
        initial.derived += u64::try_from(new).unwrap_or(u64::MAX);
        initial.unmet = problems;
        if seen.unread > 0 {
            let kind = "reads of what operations left out wrote".to_owned();
            initial.unmet.insert(kind, seen.unread);
        }
        // Without that a link is taken to be where the whole name ends that met it.
        let links = found.iter().filter(|(_, entry)| entry.link.is_some());
        let links: BTreeSet<String> = links.map(|(key, _)| key.clone()).collect();
        found.retain(|key, entry| {
            let mut above = parent_of(key);
            while let Some(folder) = above.filter(|folder| !links.contains(*folder)) {
                above = parent_of(folder);
            }
            above.is_none() || entry.link.is_none()
        });
        initial.entries = found.into_values().collect();
        initial.entries.sort_by_cached_key(|entry| {
            // A folder's name and a separator sort before everything that goes on otherwise.
            let path = entry.path.to_lowercase().replace('\\', "\u{1}");
            (entry.share.to_lowercase(), path)
        });
        initial
    }
}

/// Adds to what the slice tells of something what the workload knew; says whether they agree.
fn supplement(told: &mut Entry, known: &Entry, changed: bool) -> bool {
    told.attributes = told.attributes.or(known.attributes);
    told.path.clone_from(&known.path);
    if !changed {
        told.times = told.times.or(known.times);
        // Answers in a workload do not say where a link leads.
        told.link = known.link.clone().or(told.link.take());
    }
    if changed {
        return told.kind == known.kind && told.size == known.size;
    }
    if known.kind != EntryKind::File || told.kind == EntryKind::File {
        told.kind = known.kind;
    }
    if told.kind != EntryKind::Directory {
        told.size = told.size.max(known.size);
        told.content.clone_from(&known.content);
    }
    true
}

/// Members of a compound that can be told apart by time.
const PLACES: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(used: &[&str], listed: &[&str], whole: &[&str]) -> Seen {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        Seen {
            used: used.iter().map(|it| ((*it).to_owned(), OpId(1))).collect(),
            listed: owned(listed),
            whole: owned(whole),
            ..Seen::default()
        }
    }

    #[test]
    fn folders_of_what_is_used_and_content_of_what_is_listed_matter() {
        let seen = seen(&["d\\a\\b", "d\\list", "d\\old"], &["d\\list"], &["d\\old"]);
        for (key, matters) in [
            ("d\\a\\b", true),
            ("d\\a", true),
            ("d\\", false),
            ("d\\ab", false),
            ("d\\list\\x", true),
            ("d\\list\\x\\y", false),
            ("d\\old\\x\\y", true),
            ("d\\other", false),
        ] {
            assert_eq!(seen.by(key).is_some(), matters, "{key}");
        }
    }
}
