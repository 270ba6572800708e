//! The table of leases. [MS-SMB2] 3.3.1.11, 3.3.1.12.

use std::collections::BTreeSet;

use smbench_core::smb2::{Guid, LeaseState, NtStatus, OplockLevel};

use super::answer::Cx;
use super::create::Want;
use super::fs::StreamId;
use super::open::OpenId;
use super::waiting::Timer;
use super::{Plant, Server};

/// A lease's name: client and key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct LeaseId {
    pub(super) client: Guid,
    pub(super) key: Guid,
}

/// A lease.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) stream: StreamId,
    /// That of its first open.
    pub(super) number: u64,
    pub(super) state: LeaseState,
    /// A break waits for its acknowledgement.
    pub(super) breaking: bool,
    /// What the notification asked for.
    pub(super) requested: LeaseState,
    /// What it has to come down to in the end; breaks go in steps.
    pub(super) required: LeaseState,
    pub(super) epoch: u16,
    /// 1 or 2.
    pub(super) version: u8,
    pub(super) opens: BTreeSet<OpenId>,
}

/// No caching.
pub(super) const NONE: LeaseState = LeaseState::empty();
/// Read caching.
pub(super) const R: LeaseState = LeaseState::READ;
/// Handle caching.
pub(super) const H: LeaseState = LeaseState::HANDLE;
/// Write caching.
pub(super) const W: LeaseState = LeaseState::WRITE;

/// What an oplock allows to cache, as a lease would say it.
pub(super) fn lease_of_oplock(level: OplockLevel) -> LeaseState {
    match level {
        OplockLevel::BATCH => R | W | H,
        OplockLevel::EXCLUSIVE => R | W,
        OplockLevel::LEVEL_II => R,
        _ => NONE,
    }
}

/// The oplock that allows to cache just that.
pub(super) fn oplock_of_lease(state: LeaseState) -> OplockLevel {
    if state == R | W | H {
        OplockLevel::BATCH
    } else if state == R | W {
        OplockLevel::EXCLUSIVE
    } else if state == R | H || state == R {
        OplockLevel::LEVEL_II
    } else {
        OplockLevel::NONE
    }
}

impl Server {
    /// What an open may cache.
    pub(super) fn held_by_open(&self, id: OpenId) -> LeaseState {
        let Some(open) = self.opens.get(&id) else {
            return NONE;
        };
        match open.lease.and_then(|lease| self.leases.get(&lease)) {
            Some(lease) => lease.state,
            None => lease_of_oplock(open.oplock),
        }
    }

    /// A lease key belongs to one file. [MS-SMB2] 3.3.5.9.8, 3.3.5.9.11.
    pub(super) fn check_lease(
        &self,
        cx: &Cx,
        want: &Want<'_>,
        stream: Option<StreamId>,
    ) -> Result<(), NtStatus> {
        let id = self.lease_asked(cx, want);
        match id.and_then(|id| self.leases.get(&id)) {
            Some(lease) if Some(lease.stream) != stream => Err(NtStatus::INVALID_PARAMETER),
            _ => Ok(()),
        }
    }

    /// Grants a lease to an open, or raises the one there is. [MS-SMB2] 3.3.5.9.8.
    ///
    /// As Samba: raised only to a proper superset, when all of it can be granted, and not while
    /// it breaks.
    pub(super) fn grant_lease(
        &mut self,
        id: LeaseId,
        open: OpenId,
        stream: StreamId,
        wanted: &smbench_core::smb2::Lease,
        granted: LeaseState,
    ) {
        let stuck = self.has(Plant::LeaseEpochStuck);
        let step = u16::from(!stuck);
        let number = self.opens.get(&open).map_or(0, |open| open.number);
        let lease = self.leases.entry(id).or_insert_with(|| Lease {
            stream,
            number,
            state: granted,
            breaking: false,
            requested: NONE,
            required: NONE,
            epoch: wanted.epoch.wrapping_add(1),
            version: wanted.version,
            opens: BTreeSet::new(),
        });
        let superset = wanted.state.contains(lease.state);
        if superset && granted == wanted.state && granted != lease.state && !lease.breaking {
            lease.state = granted;
            lease.epoch = lease.epoch.wrapping_add(step);
        }
        lease.opens.insert(open);
        self.note_lease(id);
    }

    /// An open leaves its lease, which goes with the last.
    pub(super) fn leave_lease(&mut self, id: LeaseId, open: OpenId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.opens.remove(&open);
        if !lease.opens.is_empty() {
            return;
        }
        let (stream, number) = (lease.stream, lease.number);
        self.set_breaking(id, false);
        if let Some(file) = self.files.get_mut(&stream) {
            file.caching.remove(number);
        }
        self.leases.remove(&id);
        self.clear_timer(Timer::Lease(id));
    }
}
