//! Names in shares, as a tree: what is above and what is below.

use std::collections::HashMap;

use super::{filter::Matcher, index::NameId};

/// Every name, once.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Share, a separator and path, in lower case.
    pub(super) texts: Vec<Box<str>>,
    meant: Vec<bool>,
    ids: HashMap<Box<str>, NameId>,
    children: Vec<Vec<NameId>>,
}

impl Names {
    pub(super) fn text(&self, name: NameId) -> &str {
        self.texts.get(name.index()).map_or("", |text| text)
    }

    /// Whether the filters mean it.
    pub(super) fn is_meant(&self, name: NameId) -> bool {
        self.meant.get(name.index()).copied().unwrap_or(false)
    }

    /// The folder of a name; of a stream, its file.
    pub(super) fn above(&self, name: NameId) -> Option<NameId> {
        parent_of(self.text(name)).and_then(|above| self.ids.get(above).copied())
    }

    /// A file with its streams, of whichever of them `name` is.
    pub(super) fn file(&self, name: NameId) -> Vec<NameId> {
        let is_stream = |name: NameId| {
            let text = self.text(name);
            text.rsplit('\\').next().is_some_and(|it| it.contains(':'))
        };
        let above = self.above(name).filter(|_| is_stream(name));
        let file = above.unwrap_or(name);
        let below = self.children.get(file.index()).into_iter().flatten();
        let streams = below.copied().filter(|name| is_stream(*name));
        std::iter::once(file).chain(streams).collect()
    }

    /// What is in a folder, with everything below that if `deep`.
    pub(super) fn below(&self, folder: NameId, deep: bool) -> Vec<NameId> {
        let mut found = self
            .children
            .get(folder.index())
            .cloned()
            .unwrap_or_default();
        let mut at = 0;
        while let Some(name) = found.get(at).copied().filter(|_| deep) {
            found.extend(self.children.get(name.index()).into_iter().flatten());
            at += 1;
        }
        found
    }

    pub(super) fn intern(&mut self, key: &str, matcher: &Matcher) -> NameId {
        if let Some(known) = self.ids.get(key) {
            return *known;
        }
        let parent = parent_of(key).map(|parent| self.intern(parent, matcher));
        let id = NameId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let path = key.split_once('\\').map_or("", |(_, path)| path);
        self.texts.push(key.into());
        self.meant.push(matcher.path(path));
        self.children.push(Vec::new());
        self.ids.insert(key.into(), id);
        if let Some(list) = parent.and_then(|it| self.children.get_mut(it.index())) {
            list.push(id);
        }
        id
    }
}

/// The key of the folder that something is in, or of the file of a stream; none for a share.
pub(super) fn parent_of(key: &str) -> Option<&str> {
    let folder = key.rfind('\\')?;
    let name = key.get(folder + 1..)?;
    match name.find(':') {
        Some(colon) => key.get(..folder + 1 + colon),
        // The top of a share has the share as its key, and a separator.
        None if name.is_empty() => None,
        None if key.find('\\') == Some(folder) => key.get(..=folder),
        None => key.get(..folder),
    }
}
