//! Who caches a file: found without a look at all that have it open. [MS-SMB2] 3.3.1.4.

use std::collections::BTreeMap;

use smbench_core::smb2::LeaseState;

use super::Server;
use super::fs::StreamId;
use super::leases::{LeaseId, NONE, lease_of_oplock};
use super::open::OpenId;

/// Who caches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// One open, by its oplock.
    Oplock(OpenId),
    /// All opens of a lease.
    Lease(LeaseId),
}

/// Those that cache one file.
#[derive(Debug, Default)]
pub(super) struct Caching {
    /// By the number of the open that brought it. Who caches nothing any more leaves it late.
    pub(super) holders: BTreeMap<u64, Holder>,
    /// What all of them together cache: never too little, and too much until the next review.
    pub(super) most: LeaseState,
    /// Leases whose break waits for its acknowledgement.
    pub(super) breaking: usize,
}

impl Caching {
    /// Whether none of them caches any of that.
    pub(super) fn is_free_of(&self, state: LeaseState) -> bool {
        !self.most.intersects(state)
    }

    pub(super) fn add(&mut self, number: u64, holder: Holder, state: LeaseState) {
        if state != NONE {
            self.holders.insert(number, holder);
            self.most |= state;
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.holders.remove(&number);
        if self.holders.is_empty() {
            self.most = NONE;
        }
    }
}

impl Server {
    /// Those that cache a file, in the order in which they opened it.
    pub(super) fn holders_of(&self, stream: StreamId) -> Vec<Holder> {
        let file = self.files.get(&stream);
        file.map_or_else(Vec::new, |file| {
            file.caching.holders.values().copied().collect()
        })
    }

    /// What a holder caches; nothing when it is gone.
    pub(super) fn held_by(&self, holder: Holder) -> LeaseState {
        match holder {
            Holder::Oplock(id) => {
                let open = self.opens.get(&id);
                open.map_or(NONE, |open| lease_of_oplock(open.oplock))
            }
            Holder::Lease(id) => self.leases.get(&id).map_or(NONE, |lease| lease.state),
        }
    }

    /// Forgets those that cache nothing any more, after all have been looked at.
    pub(super) fn review_caching(&mut self, stream: StreamId) {
        let Some(file) = self.files.get(&stream) else {
            return;
        };
        let mut most = NONE;
        let mut idle = Vec::new();
        for (number, holder) in &file.caching.holders {
            let state = self.held_by(*holder);
            most |= state;
            if state == NONE {
                idle.push(*number);
            }
        }
        if let Some(file) = self.files.get_mut(&stream) {
            for number in idle {
                file.caching.holders.remove(&number);
            }
            file.caching.most = most;
        }
    }

    /// A lease caches that much now.
    pub(super) fn note_lease(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get(&id)
            && let Some(file) = self.files.get_mut(&lease.stream)
        {
            let (number, state) = (lease.number, lease.state);
            file.caching.add(number, Holder::Lease(id), state);
        }
    }

    /// The break of a lease begins to wait for its acknowledgement, or does so no longer.
    pub(super) fn set_breaking(&mut self, id: LeaseId, breaking: bool) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut lease.breaking, breaking) == breaking {
            return;
        }
        let stream = lease.stream;
        if let Some(file) = self.files.get_mut(&stream) {
            let count = &mut file.caching.breaking;
            *count = if breaking {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        }
    }
}
