//! Following names: down from a root to what they name, and up from that to what it is called.

use std::collections::BTreeMap;

use smbench_core::smb2::NtStatus;

use super::{Child, Found, Fs, LinkId, NodeId, case_key};
use crate::server::name::fold;

impl Fs {
    /// Follows names from a root. [MS-FSA] 2.1.5.1, phase 6.
    ///
    /// # Errors
    ///
    /// OBJECT_PATH_NOT_FOUND when a directory on the way is not there or no directory.
    pub(in crate::server) fn find(
        &self,
        root: NodeId,
        parts: &[String],
        posix: bool,
    ) -> Result<Found, NtStatus> {
        let Some((last, dirs)) = parts.split_last() else {
            return Ok(Found::Node(Child::only(root)));
        };
        let mut at = root;
        for part in dirs {
            let children = self.node(at)?.children.as_ref();
            let child = children.and_then(|children| self.child(children, part, posix));
            at = child.ok_or(NtStatus::OBJECT_PATH_NOT_FOUND)?.node;
        }
        let children = self.node(at)?.children.as_ref();
        let children = children.ok_or(NtStatus::OBJECT_PATH_NOT_FOUND)?;
        Ok(match self.child(children, last, posix) {
            Some(child) => Found::Node(child),
            None => Found::Free {
                parent: at,
                name: last.clone(),
            },
        })
    }

    /// What a directory has under a name; with `posix` under exactly that one.
    fn child(&self, children: &BTreeMap<String, Child>, name: &str, posix: bool) -> Option<Child> {
        let fits = |child: &&Child| {
            let node = self.nodes.get(&child.node);
            let link = node.and_then(|node| node.link(child.link));
            !posix || link.is_some_and(|link| link.name == name)
        };
        let key = fold(name);
        let others = || {
            let behind = case_key(&key, "");
            let others = children.range(behind.clone()..);
            let mut others = others.take_while(|(other, _)| other.starts_with(&behind));
            others.find_map(|(_, child)| Some(child).filter(fits))
        };
        children.get(&key).filter(fits).or_else(others).copied()
    }

    /// The first reparse point on the way, and how many of the names lead to it.
    pub(in crate::server) fn reparse_on(
        &self,
        root: NodeId,
        parts: &[String],
    ) -> Option<(NodeId, usize)> {
        if self.reparse_points == 0 {
            return None;
        }
        let mut at = root;
        for (index, part) in parts.iter().enumerate() {
            let children = self.nodes.get(&at)?.children.as_ref()?;
            at = self.child(children, part, false)?.node;
            if self.nodes.get(&at)?.reparse.is_some() {
                return Some((at, index.saturating_add(1)));
            }
        }
        None
    }

    /// The directory that something is in, by its first name; none for a root, and for what has lost its name.
    pub(in crate::server) fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.nodes.get(&id)?.links.first()?.parent;
        (parent != id).then_some(parent)
    }

    /// Whether something is the top of a share.
    pub(in crate::server) fn is_root(&self, id: NodeId) -> bool {
        let link = self.nodes.get(&id).and_then(|node| node.links.first());
        link.is_some_and(|link| link.parent == id)
    }

    /// A directory, and what it is in, up to the root.
    pub(in crate::server) fn up_from(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(Some(id), |at| self.parent(*at))
    }

    /// Whether `id` is `above` or lies below it.
    pub(in crate::server) fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        self.up_from(id).any(|at| at == above)
    }

    /// The path of the directory `id` relative to `above`, with backslashes; none when it is not below it.
    pub(in crate::server) fn path_below(&self, id: NodeId, above: NodeId) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        let mut at = id;
        while at != above {
            let link = self.nodes.get(&at)?.links.first()?;
            if link.parent == at {
                return None;
            }
            parts.push(&link.name);
            at = link.parent;
        }
        parts.reverse();
        Some(parts.join("\\"))
    }

    /// Path of a name from the root of the share, without a leading backslash; that of another of its names where
    /// it is gone.
    pub(in crate::server) fn path(&self, id: NodeId, link: LinkId) -> String {
        let node = self.nodes.get(&id);
        let named = node.and_then(|node| node.link(link).or(node.links.first()));
        let Some(link) = named else {
            return String::new();
        };
        let root = self.up_from(link.parent).last().unwrap_or(link.parent);
        let dir = self.path_below(link.parent, root).unwrap_or_default();
        if dir.is_empty() {
            link.name.clone()
        } else {
            format!("{dir}\\{}", link.name)
        }
    }
}
