//! CREATE on a name that is taken: share modes, breaks, overwriting. [MS-FSA] 2.1.5.1.2.

use smbench_core::smb2::{
    AccessMask, CreateAction, CreateDisposition, CreateOptions, FileAttributes, LeaseState,
    NtStatus, OplockLevel, ShareAccess,
};

use super::answer::{Cx, Handled, Stop};
use super::create::{SETTABLE, Want, may_delete};
use super::fs::{NodeId, StreamId};
use super::leases::{H, LeaseId, NONE, R, W, lease_of_oplock, oplock_of_lease};
use super::notify::Change;
use super::open::OpenId;
use super::waiting::Wait;
use super::{Plant, Server};

impl Server {
    pub(super) fn open_existing(&mut self, cx: &Cx, want: &Want<'_>, node: NodeId) -> Handled {
        let options = want.body.create_options;
        let found = self.fs.node(node)?;
        let (node_is_dir, attributes) = (found.is_dir(), found.attributes);
        let is_dir = node_is_dir && want.path.stream.is_empty();
        // [MS-FSA] 2.1.5.1: what is there has to be of the kind that is asked for.
        if is_dir && (options.contains(CreateOptions::NON_DIRECTORY_FILE) || want.path.names_data) {
            return Err(NtStatus::FILE_IS_A_DIRECTORY.into());
        }
        let disposition = self.disposition(want);
        let wants_dir = options.contains(CreateOptions::DIRECTORY_FILE);
        if !is_dir && wants_dir && disposition != CreateDisposition::CREATE {
            return Err(NtStatus::NOT_A_DIRECTORY.into());
        }
        let Some(stream) = self.fs.stream(node, &want.path.stream) else {
            return self.create_stream(cx, want, node);
        };
        if disposition == CreateDisposition::CREATE {
            return Err(NtStatus::OBJECT_NAME_COLLISION.into());
        }
        let overwrite = overwrites(disposition);
        if overwrite {
            check_overwrite(is_dir, attributes, want.body.file_attributes)?;
        }
        if options.contains(CreateOptions::DELETE_ON_CLOSE) {
            may_delete(want.access, attributes)?;
        }
        self.check_pending(node, stream)?;
        self.check_lease(cx, want, Some(stream))?;
        self.settle_conflicts(cx, want, node, stream, overwrite)?;
        let root = self.shares.get(cx.share).map(|share| share.root);
        if options.contains(CreateOptions::DELETE_ON_CLOSE) && root == Some(node) && is_dir {
            return Err(NtStatus::CANNOT_DELETE.into());
        }
        let open = self.grant(cx, want, node, stream)?;
        let mut action = CreateAction::OPENED;
        if overwrite {
            self.overwrite(want, node, stream)?;
            action = CreateAction::OVERWRITTEN;
            if disposition == CreateDisposition::SUPERSEDE {
                action = CreateAction::SUPERSEDED;
            }
        }
        self.create_answer(cx, want, open, action)
    }

    fn disposition(&self, want: &Want<'_>) -> CreateDisposition {
        match want.body.create_disposition {
            CreateDisposition::CREATE if self.has(Plant::CollisionIgnored) => {
                CreateDisposition::OPEN
            }
            disposition => disposition,
        }
    }

    /// The file is there, the named stream is not. [MS-FSA] 2.1.5.1.1.
    fn create_stream(&mut self, cx: &Cx, want: &Want<'_>, node: NodeId) -> Handled {
        if matches!(
            want.body.create_disposition,
            CreateDisposition::OPEN | CreateDisposition::OVERWRITE
        ) {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
        }
        if self.fs.count() >= self.config.limits.nodes {
            return Err(NtStatus::DISK_FULL.into());
        }
        self.check_pending(node, node)?;
        self.check_lease(cx, want, None)?;
        let stream = self.fs.add_stream(node, &want.path.stream)?;
        self.fs.set_allocation(node, stream, want.asked.allocation);
        let open = self.grant(cx, want, node, stream)?;
        self.changed(node, Change::stream_added());
        self.create_answer(cx, want, open, CreateAction::CREATED)
    }

    /// What is to be deleted cannot be opened. [MS-FSA] 2.1.5.1.2.
    fn check_pending(&self, node: NodeId, stream: StreamId) -> Result<(), NtStatus> {
        let pending = |id| self.files.get(&id).is_some_and(|file| file.delete_pending);
        if (pending(node) || pending(stream)) && !self.has(Plant::DeletePendingOpens) {
            return Err(NtStatus::DELETE_PENDING);
        }
        Ok(())
    }

    /// Share modes, and what has to break before they count. [MS-SMB2] 3.3.5.9, [MS-FSA]
    /// 2.1.5.1.2.2, 2.1.5.18; who breaks to what, as Samba.
    ///
    /// The request waits as long as a break is needed, and comes here again after each change.
    fn settle_conflicts(
        &mut self,
        cx: &Cx,
        want: &Want<'_>,
        node: NodeId,
        stream: StreamId,
        overwrite: bool,
    ) -> Result<(), Stop> {
        let mut access = want.access;
        if overwrite {
            access |= AccessMask::WRITE_DATA; // truncating is writing
        }
        let share = want.body.share_access;
        let violation = self.violates(stream, access, share) || self.denies_streams(node, want);
        if !is_stat_open(access) {
            let first = cx.waited.is_none();
            if self.break_for_open(cx, want, stream, (violation, overwrite, first)) {
                return Err(Stop::Wait(Wait::Break(stream)));
            }
        }
        // A break may have closed opens whose clients are gone.
        let still = self.violates(stream, access, share) || self.denies_streams(node, want);
        if violation && still && !self.has(Plant::IgnoreShareMode) {
            return Err(NtStatus::SHARING_VIOLATION.into());
        }
        Ok(())
    }

    fn violates(&mut self, stream: StreamId, access: AccessMask, share: ShareAccess) -> bool {
        let mut found = false;
        for id in self.opens_of(stream) {
            let Some(open) = self.opens.get(&id) else {
                continue;
            };
            if !Self::conflicts((open.access, open.share_access), (access, share)) {
                continue;
            }
            if open.conn.is_none() {
                // [MS-SMB2] 3.3.5.9: a disconnected open does not stand in the way.
                self.close_open(id);
            } else {
                found = true;
            }
        }
        found
    }

    /// Opening a file to delete it opens its streams to delete them, as Samba does.
    fn denies_streams(&self, node: NodeId, want: &Want<'_>) -> bool {
        if !want.path.stream.is_empty() || !want.access.contains(AccessMask::DELETE) {
            return false;
        }
        let streams = self.streams_of(node);
        let mut others = streams.iter().filter(|stream| **stream != node);
        others.any(|stream| {
            let opens = self.files.get(stream).map_or(&[][..], |file| &file.opens);
            opens
                .iter()
                .filter_map(|id| self.opens.get(id))
                .any(|open| !open.share_access.contains(ShareAccess::DELETE))
        })
    }

    /// Breaks what an open conflicts with; true when it has to wait. `how`: there is a sharing
    /// violation, the open overwrites, it is the first attempt.
    fn break_for_open(
        &mut self,
        cx: &Cx,
        want: &Want<'_>,
        stream: StreamId,
        how: (bool, bool, bool),
    ) -> bool {
        let (violation, overwrite, first) = how;
        if self.has(Plant::NoOplockBreak) {
            return false;
        }
        let own = self.lease_asked(cx, want);
        let delaying = if violation { H } else { W };
        let mut wait = false;
        for id in self.opens_of(stream) {
            let Some(open) = self.opens.get(&id) else {
                continue;
            };
            let lease = open.lease;
            if lease.is_some() && (lease == own || is_lease_stat_open(want.access)) {
                continue;
            }
            let have = self.caching(id);
            let was_breaking = self.is_breaking(id);
            let mut to = have & !delaying;
            if overwrite {
                to &= !(H | R);
            }
            if to.contains(have) {
                wait |= lease.is_some() && was_breaking;
                continue;
            }
            if overwrite {
                to &= !(R | W);
            }
            if lease.is_none() || self.has(Plant::BreakTooFar) {
                to &= !(H | W);
                if lease.is_some() {
                    to = NONE;
                }
            }
            self.break_open(id, to);
            let gone = !self.opens.contains_key(&id);
            wait |= !gone && have.intersects(delaying);
            wait |= !gone && lease.is_some() && was_breaking && !first;
        }
        wait && !self.has(Plant::OplockKeptAfterBreak)
    }

    pub(super) fn lease_asked(&self, cx: &Cx, want: &Want<'_>) -> Option<LeaseId> {
        let lease = want
            .asked
            .lease
            .filter(|_| want.oplock == OplockLevel::LEASE)?;
        let conn = self.conns.get(&cx.conn)?;
        Some(LeaseId {
            client: conn.client_guid,
            key: lease.key,
        })
    }

    /// What of the oplock or lease that is asked for can be had. [MS-SMB2] 3.3.5.9, as Samba.
    pub(super) fn grant_oplock(&mut self, id: OpenId, want: &Want<'_>) -> Result<(), NtStatus> {
        let open = self.open(id)?;
        let (client, stream) = (open.client, open.stream);
        let lease = want
            .asked
            .lease
            .filter(|_| want.oplock == OplockLevel::LEASE);
        let own = lease.map(|lease| LeaseId {
            client,
            key: lease.key,
        });
        let mut granted = match &lease {
            Some(lease) => sane(lease.state),
            None => lease_of_oplock(want.oplock),
        };
        let file = self.files.get(&stream);
        if file.is_some_and(|file| !file.locks.is_empty()) {
            granted &= !R; // byte-range locks make cached reads unsafe
        }
        let (mut others, mut plain, mut handle) = (false, false, false);
        let stat = is_stat_open(want.access) && !overwrites(want.body.create_disposition);
        for other in self.opens_of(stream) {
            let Some(found) = self.opens.get(&other) else {
                continue;
            };
            let same = found.lease.is_some() && found.lease == own;
            if other == id || same || stat {
                continue;
            }
            others = true;
            plain |= found.lease.is_none();
            handle |= self.caching(other).contains(H);
        }
        if others {
            granted &= !W;
        }
        let Some((lease, own)) = lease.zip(own) else {
            let level = if handle {
                OplockLevel::NONE
            } else {
                oplock_of_lease(granted)
            };
            self.open_mut(id)?.oplock = level;
            return Ok(());
        };
        if plain {
            granted &= !H;
        }
        self.grant_lease(own, id, stream, &lease, granted);
        let open = self.open_mut(id)?;
        open.oplock = OplockLevel::LEASE;
        open.lease = Some(own);
        Ok(())
    }

    /// Empties a file that is overwritten. [MS-FSA] 2.1.5.1.2.
    fn overwrite(
        &mut self,
        want: &Want<'_>,
        node: NodeId,
        stream: StreamId,
    ) -> Result<(), NtStatus> {
        self.fs.change(node, stream, |data| data.set_size(0))?;
        self.fs.set_allocation(node, stream, want.asked.allocation);
        let now = self.filetime();
        if stream == node {
            let closed: Vec<StreamId> = self
                .streams_of(node)
                .into_iter()
                .filter(|named| *named != node && self.opens_of(*named).is_empty())
                .collect();
            for named in closed {
                self.fs.remove_stream(node, named);
            }
            let found = self.fs.node_mut(node)?;
            let wanted = want.body.file_attributes & SETTABLE;
            found.attributes = wanted | FileAttributes::ARCHIVE;
        }
        let found = self.fs.node_mut(node)?;
        found.times.written = now;
        found.times.changed = now;
        self.changed(node, Change::overwritten());
        Ok(())
    }
}

fn overwrites(disposition: CreateDisposition) -> bool {
    matches!(
        disposition,
        CreateDisposition::SUPERSEDE
            | CreateDisposition::OVERWRITE
            | CreateDisposition::OVERWRITE_IF
    )
}

/// Hidden and system files are overwritten only by those who know. [MS-FSA] 2.1.5.1.2.
fn check_overwrite(
    is_dir: bool,
    have: FileAttributes,
    want: FileAttributes,
) -> Result<(), NtStatus> {
    if is_dir {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    let secret = have & (FileAttributes::HIDDEN | FileAttributes::SYSTEM);
    if have.contains(FileAttributes::READONLY) || !want.contains(secret) {
        return Err(NtStatus::ACCESS_DENIED);
    }
    Ok(())
}

/// Opens that touch attributes alone break nothing. [MS-FSA] 2.1.5.1.2.
fn is_stat_open(access: AccessMask) -> bool {
    let stat = AccessMask::SYNCHRONIZE | AccessMask::READ_ATTRIBUTES | AccessMask::WRITE_ATTRIBUTES;
    stat.contains(access)
}

fn is_lease_stat_open(access: AccessMask) -> bool {
    is_stat_open(access & !AccessMask::READ_CONTROL)
}

/// Lease states that make no sense are granted as none. [MS-SMB2] 3.3.5.9.8.
fn sane(state: LeaseState) -> LeaseState {
    let state = state & (R | W | H);
    if state.contains(R) { state } else { NONE }
}
