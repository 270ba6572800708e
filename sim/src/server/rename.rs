//! New names: renames and hard links. [MS-FSA] 2.1.5.15.6, 2.1.5.15.12, [MS-FSCC] 2.4.28, 2.4.42, 2.4.43.

use std::collections::BTreeSet;

use smbench_core::smb2::{AccessMask, FileAttributes, FileInfoClass, NtStatus};

use super::answer::{Cx, Stop};
use super::fs::{Child, Found, NodeId};
use super::info::{slice_at, text, u32_at, u64_at};
use super::name::{Path, fold};
use super::notify::Change;
use super::open::OpenId;
use super::waiting::Wait;
use super::{Plant, Server};

/// What becomes of something that has the new name already.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Taken {
    replace: bool,
    /// Whoever has it open goes on with it, and an empty directory makes room for another.
    posix: bool,
    /// Read-only files keep their names.
    read_only_stays: bool,
}

impl Taken {
    /// As a buffer of that class says it, which is at least as long as the flags.
    fn of(class: FileInfoClass, bytes: &[u8]) -> Option<Self> {
        if matches!(class, FileInfoClass::RENAME | FileInfoClass::LINK) {
            return bytes.first().map(|replace| Self {
                replace: *replace != 0,
                ..Self::default()
            });
        }
        u32_at(bytes, 0).map(|flags| Self {
            replace: flags & REPLACE_IF_EXISTS != 0,
            posix: flags & POSIX_SEMANTICS != 0,
            read_only_stays: flags & IGNORE_READONLY_ATTRIBUTE == 0,
        })
    }
}

const REPLACE_IF_EXISTS: u32 = 0x1;
const POSIX_SEMANTICS: u32 = 0x2;
const IGNORE_READONLY_ATTRIBUTE: u32 = 0x40;

/// Names that a file may have.
const MOST_LINKS: usize = 1_024;
const TOO_MANY_LINKS: NtStatus = NtStatus(0xc000_0265);

/// The buffer of a rename or link.
#[derive(Debug)]
struct NewName {
    taken: Taken,
    /// A path from the top of the share; with a colon in front, a stream of the same file.
    name: String,
}

impl NewName {
    fn of(class: FileInfoClass, bytes: &[u8]) -> Result<Self, NtStatus> {
        let short = NtStatus::INFO_LENGTH_MISMATCH;
        let taken = Taken::of(class, bytes).ok_or(short)?;
        let root = u64_at(bytes, 8).ok_or(short)?;
        let name_len = u32_at(bytes, 16).ok_or(short)?;
        let name = slice_at(bytes, 20, name_len).ok_or(NtStatus::INVALID_PARAMETER)?;
        // [MS-SMB2] 3.3.5.21.1: RootDirectory is zero on the wire.
        if root != 0 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let name = text(name).ok_or(NtStatus::OBJECT_NAME_INVALID)?;
        // [MS-FSA] 2.1.5.15.12: with a separator in front the path is of the volume. A CREATE must not have it.
        let name = name.strip_prefix('\\').map(str::to_owned).unwrap_or(name);
        Ok(Self { taken, name })
    }
}

/// Where a new name leads.
#[derive(Debug)]
struct Target {
    parent: NodeId,
    last: String,
    /// What has that name already.
    there: Option<Child>,
}

impl Server {
    /// FileRenameInformation and FileRenameInformationEx.
    pub(super) fn rename(
        &mut self,
        cx: &Cx,
        id: OpenId,
        class: FileInfoClass,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let new = NewName::of(class, bytes)?;
        let open = self.open(id)?;
        let (node, link, stream) = (open.node, open.link, open.stream);
        let (child, posix) = (Child { node, link }, open.posix);
        // [MS-FSA] 2.1.5.15.12 wants DELETE; Samba takes the right to write attributes as well.
        if !open.may(AccessMask::DELETE | AccessMask::WRITE_ATTRIBUTES) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let left = self.fs.node(node)?.link(link).map(|link| link.parent);
        let stream_name = new.name.strip_prefix(':').filter(|_| !posix);
        if let Some(stream_name) = stream_name {
            self.check_parent(cx, left.unwrap_or(node))?;
            return Ok(self.rename_stream(id, stream_name, new.taken.replace)?);
        }
        if stream != node {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let target = self.target(cx, id, &new.name)?;
        let left = left.filter(|left| *left != node);
        let left = left.ok_or(NtStatus::ACCESS_DENIED)?;
        let is_dir = self.fs.node(node)?.is_dir();
        if is_dir && self.open_below(node) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        // As Samba: a file whose streams are open keeps its name.
        let streams = self.streams_of(node).into_iter();
        let mut named = streams.filter(|stream| *stream != node);
        if named.any(|stream| self.is_stream_open(stream)) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        // As Samba: a rename by a handle with a lease waits until nobody else caches the handle
        // under the old name; without one it does not (leases3_plain, frame 270).
        let leased = self.opens.get(&id).is_some_and(|open| open.lease.is_some());
        if leased && self.break_handles(node, Some(id)) {
            return Err(Stop::Wait(Wait::Break(node)));
        }
        // [MS-FSA] 2.1.5.15.12: a directory cannot go into itself.
        if self.fs.is_below(target.parent, node) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let taken = Taken {
            replace: new.taken.replace || self.has(Plant::RenameReplaces),
            ..new.taken
        };
        // Its own name, spelt in another way, is in nobody's way.
        let there = target.there.filter(|there| *there != child);
        self.make_room(cx, &target, there, is_dir, taken)?;
        self.move_name(child, target.parent, &target.last, is_dir)?;
        let own = self.open(id)?.parent_lease;
        for dir in BTreeSet::from([left, target.parent]) {
            self.break_listing(dir, own);
        }
        Ok(())
    }

    /// FileLinkInformation and FileLinkInformationEx: a file gets one more name.
    pub(super) fn link(
        &mut self,
        cx: &Cx,
        id: OpenId,
        class: FileInfoClass,
        bytes: &[u8],
    ) -> Result<(), NtStatus> {
        let new = NewName::of(class, bytes)?;
        let open = self.open(id)?;
        let node = open.node;
        if open.stream != node {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let found = self.fs.node(node)?;
        if found.is_dir() {
            return Err(NtStatus::FILE_IS_A_DIRECTORY);
        }
        if self.is_pending(open) || found.link(open.link).is_none() {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let share = self.shares.get(cx.share);
        if share.is_some_and(|share| share.read_only) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let target = self.target(cx, id, &new.name)?;
        if found.links.len() >= MOST_LINKS {
            return Err(TOO_MANY_LINKS);
        }
        self.check_room(target.last.len())?;
        // It has that name already.
        let is_named = target.there.is_some_and(|there| there.node == node);
        if is_named && new.taken.replace {
            return Ok(());
        }
        self.make_room(cx, &target, target.there, false, new.taken)?;
        let now = self.filetime();
        self.fs.add_link(node, target.parent, &target.last, now);
        self.changed_all(&[(target.parent, &target.last, Change::added(false))]);
        let own = self.open(id)?.parent_lease;
        self.break_listing(target.parent, own);
        Ok(())
    }

    fn target(&self, cx: &Cx, id: OpenId, name: &str) -> Result<Target, NtStatus> {
        let posix = self.open(id)?.posix;
        let path = Path::read(name, posix)?;
        if path.names_data || path.parts.is_empty() {
            return Err(NtStatus::OBJECT_NAME_INVALID);
        }
        let share = self.shares.get(cx.share);
        let share = share.ok_or(NtStatus::NETWORK_NAME_DELETED)?;
        self.check_target(share.root, &path.parts)?;
        Ok(match self.fs.find(share.root, &path.parts, posix)? {
            Found::Free { parent, name } => Target {
                parent,
                last: name,
                there: None,
            },
            Found::Node(there) => {
                let link = self.fs.node(there.node)?.link(there.link);
                Target {
                    parent: link.map_or(there.node, |link| link.parent),
                    last: path.parts.last().cloned().unwrap_or_default(),
                    there: Some(there),
                }
            }
        })
    }

    /// Takes the new name from what has it, if that may be.
    fn make_room(
        &mut self,
        cx: &Cx,
        target: &Target,
        there: Option<Child>,
        is_dir: bool,
        taken: Taken,
    ) -> Result<(), NtStatus> {
        if there.is_some() && !taken.replace {
            return Err(NtStatus::OBJECT_NAME_COLLISION);
        }
        self.check_parent(cx, target.parent)?;
        match there {
            Some(there) => self.replace(cx, there, is_dir, taken),
            None => Ok(()),
        }
    }

    /// As Samba: nothing comes into a directory that the same client has open to delete it.
    fn check_parent(&self, cx: &Cx, parent: NodeId) -> Result<(), NtStatus> {
        let deletes = self.opens_of(parent).into_iter().any(|id| {
            let open = self.opens.get(&id);
            open.is_some_and(|open| open.is_of(cx) && open.may(AccessMask::DELETE))
        });
        if deletes {
            return Err(NtStatus::SHARING_VIOLATION);
        }
        Ok(())
    }

    fn move_name(
        &mut self,
        child: Child,
        parent: NodeId,
        name: &str,
        is_dir: bool,
    ) -> Result<(), NtStatus> {
        let now = self.filetime();
        let link = self.fs.node(child.node)?.link(child.link);
        let old = link.ok_or(NtStatus::FILE_DELETED)?.clone();
        self.fs.rename(child, parent, name, now);
        if self.has(Plant::RenameLosesStream) {
            for stream in self.streams_of(child.node) {
                if stream != child.node && !self.is_stream_open(stream) {
                    self.fs.remove_stream(child.node, stream);
                }
            }
        }
        if old.parent == parent {
            self.changed_all(&[
                (parent, &old.name, Change::renamed_from(is_dir)),
                (parent, name, Change::renamed_to(is_dir)),
            ]);
        } else {
            self.changed_all(&[
                (old.parent, &old.name, Change::removed(is_dir)),
                (parent, name, Change::added(is_dir)),
            ]);
        }
        Ok(())
    }

    /// Makes room for a new name. [MS-FSA] 2.1.5.15.12; as Samba, a target that only other clients
    /// have open loses its name and lives on in their opens.
    fn replace(
        &mut self,
        cx: &Cx,
        target: Child,
        is_dir: bool,
        taken: Taken,
    ) -> Result<(), NtStatus> {
        let found = self.fs.node(target.node)?;
        let empty = found.children.as_ref().is_some_and(|it| it.is_empty());
        let swaps = taken.posix && is_dir && empty && !self.fs.is_root(target.node);
        if (found.is_dir() || is_dir) && !swaps {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let read_only = found.attributes.contains(FileAttributes::READONLY);
        if read_only && taken.read_only_stays {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let own = |id: &OpenId| {
            let open = self.opens.get(id);
            open.is_some_and(|open| open.is_of(cx))
        };
        if !taken.posix && self.opens_by(target).iter().any(own) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.delete_name(target);
        let found = self.fs.node(target.node)?;
        if found.links.is_empty() && !self.is_open(target.node) {
            let now = self.filetime();
            self.fs.remove(target.node, now);
        }
        Ok(())
    }

    fn rename_stream(&mut self, id: OpenId, name: &str, replace: bool) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        let name = name.strip_suffix(":$DATA").unwrap_or(name);
        if stream == node || name.is_empty() || name.contains([':', '\\', '/']) {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if let Some(other) = self.fs.stream(node, name).filter(|other| *other != stream) {
            if !replace {
                return Err(NtStatus::OBJECT_NAME_COLLISION);
            }
            if self.is_stream_open(other) {
                return Err(NtStatus::ACCESS_DENIED);
            }
            self.fs.remove_stream(node, other);
        }
        self.fs.rename_stream(node, stream, name);
        debug_assert!(self.fs.stream(node, &fold(name)).is_some());
        Ok(())
    }

    /// Whether something below a directory is open.
    fn open_below(&self, dir: NodeId) -> bool {
        self.opens
            .values()
            .any(|open| open.node != dir && open.conn.is_some() && self.fs.is_below(open.node, dir))
    }

    /// Tells who watches a directory that it is about to go. [MS-FSA] 2.1.5.15.3.
    pub(super) fn finish_watch(&mut self, open: OpenId) {
        for id in self.waiting.on_open(open) {
            self.finish(id, Err(NtStatus::DELETE_PENDING.into()));
        }
    }
}
