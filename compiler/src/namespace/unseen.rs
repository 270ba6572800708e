//! Folders that are not empty, though nobody showed what is in them.

use std::collections::BTreeSet;

use smbench_core::{
    fscc::upcase,
    ids::OpId,
    workload::{Entry, EntryKind},
};

use super::{
    names::{NOT_FOLLOWED, Names, Slot},
    spent::cost,
};

impl Names {
    /// A folder was not deleted because something is in it.
    pub(super) fn not_empty(&mut self, file: usize, op: OpId) {
        let file = self.real(file);
        if self.filled.contains_key(&file) {
            return;
        }
        if self.spent.has_looked_enough() {
            return self.problem(NOT_FOLLOWED, op);
        }
        if !self.has_content(file) {
            self.filled.insert(file, op);
        }
    }

    /// Whether something is known to be in a folder.
    fn has_content(&mut self, file: usize) -> bool {
        let Some(place) = self.files.get(file).and_then(|it| it.place.as_ref()) else {
            return false;
        };
        let prefix = format!("{}\\", place.key);
        let slots = self.slots.get(place.share);
        let mut below = slots.into_iter().flat_map(|slots| slots.below(&prefix));
        let looked_at = &mut self.spent.looked_at;
        below.any(|(key, slot)| {
            *looked_at = looked_at.saturating_add(cost(key));
            matches!(slot, Slot::There(_))
        })
    }

    /// Puts something into folders that were said to be not empty, where nobody showed what.
    pub(super) fn fill_folders(&mut self) {
        let key = |it: &Entry| (it.share.clone(), upcase(&it.path));
        let mut keys: BTreeSet<(String, String)> = self.entries.iter().flatten().map(key).collect();
        for (file, op) in std::mem::take(&mut self.filled) {
            let entry = self.files.get(file).and_then(|file| file.entry);
            let Some(Some(folder)) = entry.and_then(|entry| self.entries.get(entry)) else {
                self.problem("not empty, though nobody put anything into it", op);
                continue;
            };
            let above = (folder.share.clone(), format!("{}\\", upcase(&folder.path)));
            let next = keys.range(&above..).next();
            if next.is_some_and(|(share, path)| *share == above.0 && path.starts_with(&above.1)) {
                continue;
            }
            let (share, path) = (above.0, format!("{}\\{UNSEEN}", folder.path));
            keys.insert((share.clone(), upcase(&path)));
            self.problem("not empty, though nothing in it was seen", op);
            self.entries.push(Some(Entry {
                share,
                path,
                kind: EntryKind::File,
                size: 0,
                attributes: None,
                times: None,
                content: Vec::new(),
                link: None,
                seen_by: op,
            }));
        }
    }
}

/// Name of what has to be in a folder, where nobody showed what that is.
const UNSEEN: &str = "smbench-unseen";
