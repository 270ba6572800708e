//! Names in shares, as a tree: what is above and what is below.

use super::{filter::Matcher, index::NameId};
use crate::map::Map;

/// Every name, once. Each knows what it adds to the one above it, so deep ones take no more room
/// than what they add.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: Vec<Node>,
    ids: Map<(Option<NameId>, Box<str>), NameId>,
}

#[derive(Debug)]
struct Node {
    above: Option<NameId>,
    /// A component; of a stream, with its colon; of the top of a share, the share and a separator.
    name: Box<str>,
    /// Whether the filters mean it, where that was asked for.
    is_meant: bool,
    below: Vec<NameId>,
}

impl Node {
    fn is_stream(&self) -> bool {
        self.name.starts_with(':')
    }
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What is at the top of shares.
    pub(super) fn tops(&self) -> impl Iterator<Item = &str> {
        let shares = self.nodes.iter().filter(|node| node.above.is_none());
        let below = shares.flat_map(|share| &share.below);
        below.filter_map(|name| Some(&*self.node(*name)?.name))
    }

    /// Share, a separator and path, in lower case.
    pub(super) fn text(&self, name: NameId) -> String {
        let mut parts = Vec::new();
        let mut at = Some(name);
        while let Some(node) = at.and_then(|at| self.node(at)) {
            parts.push(node);
            at = node.above;
        }
        let mut text = String::new();
        for node in parts.into_iter().rev() {
            if !text.is_empty() && !text.ends_with('\\') && !node.is_stream() {
                text.push('\\');
            }
            text.push_str(&node.name);
        }
        text
    }

    /// Whether the filters mean a name that an operation has.
    pub(super) fn is_meant(&self, name: NameId) -> bool {
        self.node(name).is_some_and(|node| node.is_meant)
    }

    /// The folder of a name; of a stream, its file.
    pub(super) fn above(&self, name: NameId) -> Option<NameId> {
        self.node(name)?.above
    }

    /// A file with its streams, of whichever of them `name` is.
    pub(super) fn file(&self, name: NameId) -> Vec<NameId> {
        let is_stream = |name: NameId| self.node(name).is_some_and(Node::is_stream);
        let above = self.above(name).filter(|_| is_stream(name));
        let file = above.unwrap_or(name);
        let below = self.node(file).into_iter().flat_map(|node| &node.below);
        let streams = below.copied().filter(|name| is_stream(*name));
        std::iter::once(file).chain(streams).collect()
    }

    /// What is in a folder, with everything below that if `deep`.
    pub(super) fn below(&self, folder: NameId, deep: bool) -> Vec<NameId> {
        let below = |name: NameId| self.node(name).map_or(&[][..], |node| &node.below);
        let mut found = below(folder).to_vec();
        let mut at = 0;
        while let Some(name) = found.get(at).copied().filter(|_| deep) {
            found.extend(below(name));
            at += 1;
        }
        found
    }

    /// The name that an operation has, by its key.
    pub(super) fn intern(&mut self, key: &str, matcher: &Matcher) -> NameId {
        let (share, path) = key.split_once('\\').unwrap_or((key, ""));
        let mut name = self.node_of(None, &format!("{share}\\"));
        for component in path.split('\\').filter(|_| !path.is_empty()) {
            let (file, stream) = component.split_at(component.find(':').unwrap_or(component.len()));
            // A stream alone is one of the folder that it is named in.
            if !file.is_empty() || stream.is_empty() {
                name = self.node_of(Some(name), file);
            }
            if !stream.is_empty() {
                name = self.node_of(Some(name), stream);
            }
        }
        if let Some(node) = self.nodes.get_mut(name.index()) {
            node.is_meant = node.is_meant || matcher.path(path);
        }
        name
    }

    fn node_of(&mut self, above: Option<NameId>, name: &str) -> NameId {
        let next = NameId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let id = *self.ids.entry((above, name.into())).or_insert(next);
        if id == next {
            self.nodes.push(Node {
                above,
                name: name.into(),
                is_meant: false,
                below: Vec::new(),
            });
            let above = above.and_then(|above| self.nodes.get_mut(above.index()));
            if let Some(above) = above {
                above.below.push(id);
            }
        }
        id
    }

    fn node(&self, name: NameId) -> Option<&Node> {
        self.nodes.get(name.index())
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

#[cfg(test)]
mod tests {
    use smbench_core::workload::Workload;

    use super::{super::filter::Filters, *};

    #[test]
    fn names_are_a_tree_that_spells_them() {
        let matcher = Matcher::new(&Filters::default(), &Workload::default()).unwrap();
        let mut names = Names::default();
        for key in [
            "data\\",
            "data\\a",
            "data\\a\\b:c",
            "data\\a\\b",
            "data\\x:s\\y",
            "data\\:s",
        ] {
            let name = names.intern(key, &matcher);
            assert_eq!(names.text(name), key);
            assert_eq!(names.intern(key, &matcher), name);
            let above = names.above(name).map(|above| names.text(above));
            assert_eq!(above.as_deref(), parent_of(key), "{key}");
        }
        let of = |names: &mut Names, key: &str| names.intern(key, &matcher);
        let (top, file, stream) = (
            of(&mut names, "data\\"),
            of(&mut names, "data\\a\\b"),
            of(&mut names, "data\\a\\b:c"),
        );
        assert_eq!(names.file(stream), [file, stream]);
        assert_eq!(names.file(file), [file, stream]);
        let of_top = of(&mut names, "data\\:s");
        assert_eq!(names.file(top), [top, of_top]);
        assert_eq!(names.below(top, false).len(), 3);
        assert_eq!(names.below(top, true).len(), names.len() - 1);
    }

    #[test]
    fn a_deep_name_is_no_more_than_its_components() {
        let matcher = Matcher::new(&Filters::default(), &Workload::default()).unwrap();
        let mut names = Names::default();
        let key = format!("data\\{}", ["a"; 100_000].join("\\"));
        let name = names.intern(&key, &matcher);
        assert_eq!(names.len(), 100_001);
        assert_eq!(names.text(name), key);
    }
}
