//! Renaming. [MS-FSA] 2.1.5.15.11, [MS-FSCC] 2.4.42.2.

use std::collections::BTreeSet;

use smbench_core::smb2::{AccessMask, NtStatus};

use super::answer::{Cx, Stop};
use super::fs::{Found, NodeId};
use super::info::{slice_at, text, u32_at, u64_at};
use super::name::{Path, fold};
use super::notify::Change;
use super::open::OpenId;
use super::waiting::Wait;
use super::{Plant, Server};

impl Server {
    pub(super) fn rename(&mut self, cx: &Cx, id: OpenId, bytes: &[u8]) -> Result<(), Stop> {
        let short = NtStatus::INFO_LENGTH_MISMATCH;
        let replace = *bytes.first().ok_or(short)? != 0;
        let root = u64_at(bytes, 8).ok_or(short)?;
        let name_len = u32_at(bytes, 16).ok_or(short)?;
        let name = slice_at(bytes, 20, name_len).ok_or(NtStatus::INVALID_PARAMETER)?;
        // [MS-SMB2] 3.3.5.21.1: RootDirectory is zero on the wire.
        if root != 0 {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let name = text(name).ok_or(NtStatus::OBJECT_NAME_INVALID)?;
        let open = self.open(id)?;
        let (node, stream) = (open.node, open.stream);
        // [MS-FSA] 2.1.5.15.11 wants DELETE; Samba takes the right to write attributes as well.
        if !open.may(AccessMask::DELETE | AccessMask::WRITE_ATTRIBUTES) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let parent = self.fs.node(node)?.parent;
        if let Some(stream_name) = name.strip_prefix(':') {
            self.check_parent(cx, parent)?;
            return Ok(self.rename_stream(id, stream_name, replace)?);
        }
        if stream != node {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let path = Path::parse(&name)?;
        if path.names_data || path.parts.is_empty() {
            return Err(NtStatus::OBJECT_NAME_INVALID.into());
        }
        let share = self
            .shares
            .get(cx.share)
            .ok_or(NtStatus::NETWORK_NAME_DELETED)?;
        let found = self.fs.find(share.root, &path.parts)?;
        let found_node = self.fs.node(node)?;
        if found_node.parent == node {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let is_dir = found_node.is_dir();
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
        let (parent, last, target) = match found {
            Found::Free { parent, name } => (parent, name, None),
            Found::Node(target) => {
                let last = path.parts.last().cloned().unwrap_or_default();
                (self.fs.node(target)?.parent, last, Some(target))
            }
        };
        // [MS-FSA] 2.1.5.15.11: a directory cannot go into itself.
        if self.fs.is_below(parent, node) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let allowed = replace || self.has(Plant::RenameReplaces);
        let target = target.filter(|target| *target != node);
        if target.is_some() && !allowed {
            return Err(NtStatus::OBJECT_NAME_COLLISION.into());
        }
        self.check_parent(cx, parent)?;
        if let Some(target) = target {
            self.replace(cx, target, is_dir)?;
        }
        let left = self.fs.node(node)?.parent;
        self.move_name(node, parent, &last, is_dir)?;
        let own = self.open(id)?.parent_lease;
        for dir in BTreeSet::from([left, parent]) {
            self.break_listing(dir, own);
        }
        Ok(())
    }

    /// As Samba: nothing comes into a directory that the same client has open to delete it.
    fn check_parent(&self, cx: &Cx, parent: NodeId) -> Result<(), NtStatus> {
        let deletes = self.opens_of(parent).into_iter().any(|id| {
            let open = self.opens.get(&id);
            open.is_some_and(|open| open.conn == Some(cx.conn) && open.may(AccessMask::DELETE))
        });
        if deletes {
            return Err(NtStatus::SHARING_VIOLATION);
        }
        Ok(())
    }

    fn move_name(
        &mut self,
        node: NodeId,
        parent: NodeId,
        name: &str,
        is_dir: bool,
    ) -> Result<(), NtStatus> {
        let now = self.filetime();
        let found = self.fs.node(node)?;
        let (old_parent, old_name) = (found.parent, found.name.clone());
        self.fs.rename(node, parent, name, now);
        if self.has(Plant::RenameLosesStream) {
            for stream in self.streams_of(node) {
                if stream != node && !self.is_stream_open(stream) {
                    self.fs.remove_stream(node, stream);
                }
            }
        }
        if old_parent == parent {
            self.changed_all(&[
                (parent, Some(&old_name), Change::renamed_from(is_dir)),
                (parent, Some(name), Change::renamed_to(is_dir)),
            ]);
        } else {
            self.changed_all(&[
                (old_parent, Some(&old_name), Change::removed(is_dir)),
                (parent, Some(name), Change::added(is_dir)),
            ]);
        }
        Ok(())
    }

    /// Makes room for a rename. [MS-FSA] 2.1.5.15.11; as Samba, a target that only other clients
    /// have open loses its name and lives on in their opens.
    fn replace(&mut self, cx: &Cx, target: NodeId, is_dir: bool) -> Result<(), NtStatus> {
        if self.fs.node(target)?.is_dir() || is_dir {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let streams = self.streams_of(target).into_iter();
        let opens: Vec<OpenId> = streams.flat_map(|stream| self.opens_of(stream)).collect();
        let own = |id: &OpenId| {
            let open = self.opens.get(id);
            open.is_some_and(|open| open.conn == Some(cx.conn))
        };
        if opens.iter().any(own) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.changed(target, Change::removed(false));
        let now = self.filetime();
        if opens.is_empty() {
            self.fs.remove(target, now);
        } else {
            self.fs.orphan(target, now);
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
