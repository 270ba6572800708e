//! The namespace in memory: directories, files, streams, attributes, times.
//!
//! It knows nothing of opens or sharing: whoever changes it has asked before.

mod paths;

use std::collections::BTreeMap;

use smbench_core::smb2::{FileAttributes, NtStatus};

use super::data::{Data, len64};
use super::name::fold;

/// Number of a file or directory; also the id of its unnamed stream.
pub(super) type NodeId = u64;
/// Number of a stream: what opens, locks and leases hang on.
pub(super) type StreamId = u64;
/// Number of a name of a file, which opens are of ([MS-FSA] 2.1.1.6, Link): that of the file for its first one.
pub(super) type LinkId = u64;

/// A name of a file or directory.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// The directory that it is in; the root is in itself.
    pub(super) parent: NodeId,
    pub(super) name: String,
}

/// What a directory has under a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Child {
    pub(super) node: NodeId,
    pub(super) link: LinkId,
}

impl Child {
    /// Something by the first of its names.
    pub(super) fn only(node: NodeId) -> Self {
        Self { node, link: node }
    }
}

/// A named stream.
#[derive(Clone, Debug)]
pub(super) struct NamedStream {
    pub(super) id: StreamId,
    pub(super) name: String,
    pub(super) data: Data,
    pub(super) allocated: u64,
}

/// The four times of a file, FILETIME each. [MS-FSCC] 2.4.7.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Times {
    pub(super) created: u64,
    pub(super) accessed: u64,
    pub(super) written: u64,
    pub(super) changed: u64,
}

/// A file or directory.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its names: one for a directory; none when it has lost the last one, and lives as long as it is open.
    pub(super) links: Vec<Link>,
    /// Children by folded name; none for a file. Of names that differ in case alone, as POSIX extensions make them,
    /// all but one have themselves behind that (see [`case_key`]).
    pub(super) children: Option<BTreeMap<String, Child>>,
    pub(super) data: Data,
    /// AllocationSize asked for; what is reported is never below the size.
    pub(super) allocated: u64,
    pub(super) named: Vec<NamedStream>,
    pub(super) attributes: FileAttributes,
    pub(super) times: Times,
    /// Permissions, where POSIX extensions gave them.
    pub(super) mode: Option<u32>,
    /// Extended attributes: name, value.
    pub(super) eas: Vec<(Vec<u8>, Vec<u8>)>,
    /// Security descriptor as it was set.
    pub(super) security: Option<Vec<u8>>,
    /// The buffer of its reparse point. [MS-FSCC] 2.1.2
    pub(super) reparse: Option<Vec<u8>>,
}

impl Node {
    pub(super) fn is_dir(&self) -> bool {
        self.children.is_some()
    }

    /// One of its names.
    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.iter().find(|link| link.id == id)
    }

    /// Bytes of its extended attributes and its security descriptor.
    fn extras(&self) -> u64 {
        let security = self.security.as_ref().map_or(0, Vec::len);
        let reparse = self.reparse.as_ref().map_or(0, Vec::len);
        len64(security)
            .saturating_add(len64(reparse))
            .saturating_add(super::file_info::ea_size(&self.eas).into())
    }

    /// Bytes of what it is beside its content.
    fn cost(&self) -> u64 {
        let cost = |name: &str, data: &Data| cost_of(name).saturating_add(data.around());
        let links = self.links.iter().map(|link| cost_of(&link.name));
        let links = links.fold(0, u64::saturating_add);
        let own = self.data.around().saturating_add(self.extras());
        let own = own.saturating_add(links.max(ENTRY));
        let named = self
            .named
            .iter()
            .map(|named| cost(&named.name, &named.data));
        named.fold(own, u64::saturating_add)
    }

    /// Attributes as they are reported: never none. [MS-FSCC] 2.6.
    pub(super) fn reported_attributes(&self) -> FileAttributes {
        let mut attributes = self.attributes;
        if self.is_dir() {
            attributes.insert(FileAttributes::DIRECTORY);
        }
        if self.reparse.is_some() {
            attributes.insert(FileAttributes::REPARSE_POINT);
        }
        if attributes.is_empty() {
            attributes = FileAttributes::NORMAL;
        }
        attributes
    }
}

/// Where a path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// To something that is there, by one of its names.
    Node(Child),
    /// To a name that is free in an existing directory.
    Free { parent: NodeId, name: String },
}

/// The namespaces of all shares.
#[derive(Debug, Default)]
pub(super) struct Fs {
    nodes: BTreeMap<NodeId, Node>,
    /// Named streams and their files.
    owners: BTreeMap<StreamId, NodeId>,
    next: u64,
    /// Names beside the first one of each file.
    more_links: usize,
    total: u64,
    /// What names, attributes and tables take.
    around: u64,
    /// Reparse points there are.
    reparse_points: usize,
}

impl Fs {
    pub(super) fn count(&self) -> usize {
        let named = self.nodes.len().saturating_add(self.owners.len());
        named.saturating_add(self.more_links)
    }

    /// Bytes of content stored.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of memory held: content, names, attributes, tables.
    pub(super) fn held(&self) -> u64 {
        self.total.saturating_add(self.around)
    }

    /// The same, worked out again.
    #[cfg(test)]
    pub(super) fn held_again(&self) -> u64 {
        let all = self.nodes.values().map(|node| {
            let named = node.named.iter().map(|named| named.data.stored());
            node.cost() + node.data.stored() + named.sum::<u64>()
        });
        all.sum()
    }

    /// The cost of a file or stream, and what hangs on it, goes from one sum to another.
    fn recount(&mut self, before: u64, after: u64) {
        self.around = self.around.saturating_sub(before).saturating_add(after);
    }

    /// Gives a file its extended attributes and its security descriptor.
    pub(super) fn set_extras(
        &mut self,
        id: NodeId,
        eas: Vec<(Vec<u8>, Vec<u8>)>,
        security: Option<Vec<u8>>,
    ) -> Result<(), NtStatus> {
        let node = self.node_mut(id)?;
        let before = node.extras();
        node.eas = eas;
        node.security = security;
        let after = node.extras();
        self.recount(before, after);
        Ok(())
    }

    /// Gives a file a reparse point, or takes it.
    pub(super) fn set_reparse(
        &mut self,
        id: NodeId,
        reparse: Option<Vec<u8>>,
    ) -> Result<(), NtStatus> {
        let node = self.node_mut(id)?;
        let before = node.extras();
        let had = usize::from(node.reparse.is_some());
        let has = usize::from(reparse.is_some());
        node.reparse = reparse;
        let after = node.extras();
        self.recount(before, after);
        self.reparse_points = self.reparse_points.saturating_sub(had).saturating_add(has);
        Ok(())
    }

    pub(super) fn node(&self, id: NodeId) -> Result<&Node, NtStatus> {
        self.nodes.get(&id).ok_or(NtStatus::FILE_DELETED)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, NtStatus> {
        self.nodes.get_mut(&id).ok_or(NtStatus::FILE_DELETED)
    }

    fn id(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.last()
    }

    /// The number that was given last, to a file, stream or name; later ones are larger.
    pub(super) fn last(&self) -> u64 {
        // Inode numbers as a file system gives them: not small, not dense with handles.
        self.next.saturating_mul(8).saturating_add(0x0010_0000)
    }

    /// Makes a root or a child; the caller has made sure that the name is free.
    pub(super) fn add(
        &mut self,
        parent: Option<NodeId>,
        name: &str,
        is_dir: bool,
        now: u64,
    ) -> NodeId {
        let id = self.id();
        let times = Times {
            created: now,
            accessed: now,
            written: now,
            changed: now,
        };
        let node = Node {
            links: vec![Link {
                id,
                parent: parent.unwrap_or(id),
                name: name.to_owned(),
            }],
            children: is_dir.then(BTreeMap::new),
            data: Data::default(),
            allocated: 0,
            named: Vec::new(),
            attributes: FileAttributes::empty(),
            times,
            mode: None,
            eas: Vec::new(),
            security: None,
            reparse: None,
        };
        self.recount(0, node.cost());
        self.nodes.insert(id, node);
        if let Some(parent) = parent {
            self.enter(parent, name, Child::only(id), now);
        }
        id
    }

    /// Puts a name into a directory.
    fn enter(&mut self, parent: NodeId, name: &str, child: Child, now: u64) {
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.times.written = now;
            parent.times.changed = now;
            if let Some(children) = &mut parent.children {
                let key = fold(name);
                let key = match children.contains_key(&key) {
                    true => case_key(&key, name),
                    false => key,
                };
                children.insert(key, child);
            }
        }
    }

    /// Gives a file one more name; the caller has made sure that it is free.
    pub(super) fn add_link(&mut self, id: NodeId, parent: NodeId, name: &str, now: u64) {
        let link = self.id();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.links.push(Link {
            id: link,
            parent,
            name: name.to_owned(),
        });
        node.times.changed = now;
        self.more_links = self.more_links.saturating_add(1);
        self.recount(0, cost_of(name));
        self.enter(parent, name, Child { node: id, link }, now);
    }

    /// The stream of a file with that name; the unnamed one for an empty name.
    pub(super) fn stream(&self, node: NodeId, name: &str) -> Option<StreamId> {
        let found = self.nodes.get(&node)?;
        if name.is_empty() {
            return Some(node);
        }
        let folded = fold(name);
        let mut named = found.named.iter();
        named
            .find(|stream| fold(&stream.name) == folded)
            .map(|stream| stream.id)
    }

    /// Makes a named stream.
    pub(super) fn add_stream(&mut self, node: NodeId, name: &str) -> Result<StreamId, NtStatus> {
        let id = self.id();
        self.node_mut(node)?.named.push(NamedStream {
            id,
            name: name.to_owned(),
            data: Data::default(),
            allocated: 0,
        });
        self.owners.insert(id, node);
        self.recount(0, cost_of(name));
        Ok(id)
    }

    /// Forgets a named stream.
    pub(super) fn remove_stream(&mut self, node: NodeId, stream: StreamId) {
        if let Some(found) = self.nodes.get_mut(&node) {
            let gone = found.named.iter().find(|named| named.id == stream);
            let (data, cost) = gone.map_or((0, 0), |named| {
                let around = named.data.around();
                (
                    named.data.stored(),
                    cost_of(&named.name).saturating_add(around),
                )
            });
            self.total = self.total.saturating_sub(data);
            self.around = self.around.saturating_sub(cost);
            found.named.retain(|named| named.id != stream);
        }
        self.owners.remove(&stream);
    }

    /// The content of a stream; none for a directory's unnamed one.
    pub(super) fn data(&self, node: NodeId, stream: StreamId) -> Option<&Data> {
        let found = self.nodes.get(&node)?;
        if stream == node {
            return (!found.is_dir()).then_some(&found.data);
        }
        let mut named = found.named.iter();
        named
            .find(|named| named.id == stream)
            .map(|named| &named.data)
    }

    /// Changes the content of a stream and keeps account of the bytes stored.
    pub(super) fn change<T>(
        &mut self,
        node: NodeId,
        stream: StreamId,
        change: impl FnOnce(&mut Data) -> T,
    ) -> Result<T, NtStatus> {
        let found = self.nodes.get_mut(&node).ok_or(NtStatus::FILE_DELETED)?;
        let data = if stream == node {
            Some(&mut found.data)
        } else {
            let mut named = found.named.iter_mut();
            named
                .find(|named| named.id == stream)
                .map(|named| &mut named.data)
        };
        let data = data.ok_or(NtStatus::FILE_DELETED)?;
        let (stored, around) = (data.stored(), data.around());
        let out = change(data);
        let (now, around_now) = (data.stored(), data.around());
        self.total = self.total.saturating_sub(stored).saturating_add(now);
        self.recount(around, around_now);
        Ok(out)
    }

    /// AllocationSize as reported: at least the size, in whole clusters.
    pub(super) fn allocation(&self, node: NodeId, stream: StreamId) -> u64 {
        let Some(found) = self.nodes.get(&node) else {
            return 0;
        };
        let asked = if stream == node {
            found.allocated
        } else {
            let mut named = found.named.iter();
            let named = named.find(|named| named.id == stream);
            named.map_or(0, |named| named.allocated)
        };
        let size = self.data(node, stream).map_or(0, Data::size);
        round_up(asked.max(size))
    }

    /// Sets the AllocationSize asked for.
    pub(super) fn set_allocation(&mut self, node: NodeId, stream: StreamId, bytes: u64) {
        let Some(found) = self.nodes.get_mut(&node) else {
            return;
        };
        if stream == node {
            found.allocated = bytes;
        } else if let Some(named) = found.named.iter_mut().find(|named| named.id == stream) {
            named.allocated = bytes;
        }
    }

    /// Takes a name out of its directory; what it named lives on, be it without one.
    pub(super) fn remove_link(&mut self, id: NodeId, link: LinkId, now: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(at) = node.links.iter().position(|it| it.id == link) else {
            return;
        };
        let gone = node.links.remove(at);
        node.times.changed = now;
        if node.links.is_empty() {
            self.recount(cost_of(&gone.name), ENTRY);
        } else {
            self.more_links = self.more_links.saturating_sub(1);
            self.recount(cost_of(&gone.name), 0);
        }
        self.leave(&gone, now);
    }

    /// Takes a file's names out of their directories and forgets it, streams included.
    pub(super) fn remove(&mut self, id: NodeId, now: u64) {
        let Some(node) = self.nodes.remove(&id) else {
            return;
        };
        let named = node.named.iter().map(|named| named.data.stored());
        let stored = named.fold(node.data.stored(), u64::saturating_add);
        self.total = self.total.saturating_sub(stored);
        self.recount(node.cost(), 0);
        let links = usize::from(node.reparse.is_some());
        self.reparse_points = self.reparse_points.saturating_sub(links);
        for stream in &node.named {
            self.owners.remove(&stream.id);
        }
        let more = node.links.len().saturating_sub(1);
        self.more_links = self.more_links.saturating_sub(more);
        for link in &node.links {
            self.leave(link, now);
        }
    }

    fn leave(&mut self, link: &Link, now: u64) {
        if let Some(parent) = self.nodes.get_mut(&link.parent) {
            parent.times.written = now;
            parent.times.changed = now;
            if let Some(children) = &mut parent.children {
                let key = fold(&link.name);
                let own = |child: &Child| child.link == link.id;
                match children.get(&key).is_some_and(own) {
                    true => children.remove(&key),
                    false => children.remove(&case_key(&key, &link.name)),
                };
            }
        }
    }

    /// Moves a name; the caller has made sure that the new one is free.
    pub(super) fn rename(&mut self, child: Child, parent: NodeId, name: &str, now: u64) {
        let Some(node) = self.nodes.get_mut(&child.node) else {
            return;
        };
        let Some(link) = node.links.iter_mut().find(|it| it.id == child.link) else {
            return;
        };
        let new = Link {
            id: link.id,
            parent,
            name: name.to_owned(),
        };
        let old = std::mem::replace(link, new);
        node.times.changed = now;
        self.recount(cost_of(&old.name), cost_of(name));
        self.leave(&old, now);
        self.enter(parent, name, child, now);
    }

    /// Gives a named stream another name; the caller has made sure that it is free.
    pub(super) fn rename_stream(&mut self, node: NodeId, stream: StreamId, name: &str) {
        let found = self.nodes.get_mut(&node);
        let mut named = found.into_iter().flat_map(|node| &mut node.named);
        if let Some(named) = named.find(|named| named.id == stream) {
            let old = std::mem::replace(&mut named.name, name.to_owned());
            self.recount(cost_of(&old), cost_of(name));
        }
    }
}

/// The key of a name beside one that is found by the same `key`. No name has a NUL in it.
fn case_key(key: &str, name: &str) -> String {
    format!("{key}\0{name}")
}

/// Bytes of a file or stream of that name: its entry, its name, and its name as it is found by.
fn cost_of(name: &str) -> u64 {
    len64(name.len()).saturating_mul(2).saturating_add(ENTRY)
}

/// Bytes of an entry in the tables.
const ENTRY: u64 = 512;

/// Up to a whole cluster.
pub(super) fn round_up(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(4_096).unwrap_or(u64::MAX)
}
