//! CREATE on a name that is taken: share modes, breaks, overwriting. [MS-FSA] 2.1.5.1.2.

use smbench_core::smb2::{
    AccessMask, CreateAction, CreateDisposition, CreateOptions, FileAttributes, LeaseState,
    NtStatus, OplockLevel, ShareAccess,
};

use super::answer::{Cx, Handled, Stop};
use super::caching::Holder;
use super::create::{SETTABLE, Want, may_delete};
use super::fs::{Child, NodeId, StreamId};
use super::leases::{H, LeaseId, NONE, R, W, lease_of_oplock, oplock_of_lease};
use super::limits::Limit;
use super::notify::Change;
use super::open::{Mode, OpenId};
use super::waiting::Wait;
use super::{Plant, Server};

impl Server {
    pub(super) fn open_existing(&mut self, cx: &Cx, want: &Want<'_>, child: Child) -> Handled {
        let node = child.node;
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
            return self.create_stream(cx, want, child);
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
        self.check_pending(child, stream)?;
        self.check_lease(cx, want, Some(stream))?;
        self.settle_conflicts(cx, want, node, stream, overwrite)?;
        let root = self.shares.get(cx.share).map(|share| share.root);
        if options.contains(CreateOptions::DELETE_ON_CLOSE) && root == Some(node) && is_dir {
            return Err(NtStatus::CANNOT_DELETE.into());
        }
        let open = self.grant(cx, want, child, stream)?;
        let mut action = CreateAction::OPENED;
        if overwrite {
            self.overwrite(want, child, stream)?;
            self.break_above(open);
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
    fn create_stream(&mut self, cx: &Cx, want: &Want<'_>, child: Child) -> Handled {
        let node = child.node;
        if matches!(
            want.body.create_disposition,
            CreateDisposition::OPEN | CreateDisposition::OVERWRITE
        ) {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
        }
        let named = self.fs.node(node)?.named.len();
        if named >= self.config.limits.streams_per_file {
            return Err(self.limited(Limit::Nodes).into());
        }
        self.check_room(want.path.stream.len())?;
        self.check_pending(child, node)?;
        self.check_lease(cx, want, None)?;
        let stream = self.fs.add_stream(node, &want.path.stream)?;
        self.fs.set_allocation(node, stream, want.asked.allocation);
        let open = self.grant(cx, want, child, stream)?;
        self.changed(child, Change::stream_added());
        self.create_answer(cx, want, open, CreateAction::CREATED)
    }

    /// What is to be deleted cannot be opened. [MS-FSA] 2.1.5.1.2.
    fn check_pending(&self, child: Child, stream: StreamId) -> Result<(), NtStatus> {
        let pending = |id, of| {
            let file = self.files.get(&id);
            file.is_some_and(|file| file.pending.contains(&of))
        };
        let named = stream != child.node;
        let pending = pending(child.node, child.link) || (named && pending(stream, stream));
        if pending && !self.has(Plant::DeletePendingOpens) {
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
        let want = Mode::new(access, share);
        let Some(file) = self.files.get(&stream) else {
            return false;
        };
        if !file.modes().any(|have| have.conflicts(want)) {
            return false;
        }
        if file.disconnected == 0 {
            return true;
        }
        let mut found = false;
        for id in self.opens_of(stream) {
            let Some(open) = self.opens.get(&id) else {
                continue;
            };
            if !open.mode().conflicts(want) {
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
            let file = self.files.get(stream);
            file.is_some_and(|file| file.modes().any(|mode| !mode.allows_delete()))
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
        let kept = self.has(Plant::OplockKeptAfterBreak);
        let own = self.lease_asked(cx, want);
        let passes = is_lease_stat_open(want.access);
        let delaying = if violation { H } else { W };
        let concerned = if overwrite { R | W | H } else { delaying };
        let Some(file) = self.files.get(&stream) else {
            return false;
        };
        if file.caching.is_free_of(concerned) && file.caching.breaking == 0 {
            return false;
        }
        // Who waits was let wait by a break that is still on: nothing else has to be looked at.
        let mine = own.and_then(|own| self.leases.get(&own));
        let mine = usize::from(mine.is_some_and(|lease| lease.breaking));
        if !first && !passes && file.caching.breaking > mine {
            return !kept;
        }
        let mut wait = false;
        for holder in self.holders_of(stream) {
            let lease = match holder {
                Holder::Lease(lease) => self.leases.get(&lease).map(|it| (lease, it.breaking)),
                Holder::Oplock(_) => None,
            };
            if lease.is_some_and(|(lease, _)| Some(lease) == own || passes) {
                continue;
            }
            let have = self.held_by(holder);
            let was_breaking = lease.is_some_and(|(_, breaking)| breaking);
            let mut to = have & !delaying;
            if overwrite {
                to &= !(H | R);
            }
            if to.contains(have) {
                wait |= was_breaking;
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
            self.break_holder(holder, to);
            let there = match holder {
                Holder::Lease(lease) => self.leases.contains_key(&lease),
                Holder::Oplock(id) => self.opens.contains_key(&id),
            };
            wait |= there && (have.intersects(delaying) || (was_breaking && !first));
        }
        self.review_caching(stream);
        wait && !kept
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
        let stat = is_stat_open(want.access) && !overwrites(want.body.create_disposition);
        let file = self.files.get(&stream).ok_or(NtStatus::FILE_CLOSED)?;
        if !file.locks.is_empty() {
            granted &= !R; // byte-range locks make cached reads unsafe
        }
        let in_lease = own.and_then(|own| self.leases.get(&own));
        let with_it = in_lease
            .map_or(0, |lease| lease.opens.len())
            .saturating_add(1);
        // This open is one of them, and has no lease yet.
        let others = !stat && file.count() > with_it;
        let plain = !stat && file.unleased > 1;
        let handle = !stat && !file.caching.is_free_of(H) && {
            let mut holders = self.holders_of(stream).into_iter();
            holders.any(|holder| self.held_by(holder).contains(H))
        };
        if others {
            granted &= !W;
        }
        let Some((lease, own)) = lease.zip(own) else {
            let level = if handle {
                OplockLevel::NONE
            } else {
                oplock_of_lease(granted)
            };
            let open = self.open_mut(id)?;
            open.oplock = level;
            let number = open.number;
            if let Some(file) = self.files.get_mut(&stream) {
                let state = lease_of_oplock(level);
                file.caching.add(number, Holder::Oplock(id), state);
            }
            return Ok(());
        };
        if plain {
            granted &= !H;
        }
        self.grant_lease(own, id, stream, &lease, granted);
        let open = self.open_mut(id)?;
        open.oplock = OplockLevel::LEASE;
        open.lease = Some(own);
        if let Some(file) = self.files.get_mut(&stream) {
            file.unleased = file.unleased.saturating_sub(1);
        }
        Ok(())
    }

    /// Empties a file that is overwritten. [MS-FSA] 2.1.5.1.2.
    fn overwrite(
        &mut self,
        want: &Want<'_>,
        child: Child,
        stream: StreamId,
    ) -> Result<(), NtStatus> {
        let node = child.node;
        self.fs.change(node, stream, |data| data.set_size(0))?;
        self.fs.set_allocation(node, stream, want.asked.allocation);
        let now = self.filetime();
        if stream == node {
            let closed: Vec<StreamId> = self
                .streams_of(node)
                .into_iter()
                .filter(|named| *named != node && !self.is_stream_open(*named))
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
        self.changed(child, Change::overwritten());
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
pub(super) fn sane(state: LeaseState) -> LeaseState {
    let state = state & (R | W | H);
    if state.contains(R) { state } else { NONE }
}
