//! Leases of directories: what a directory lists is cached as long as nobody else changes it.
//! [MS-SMB2] 3.3.5.9.11, [MS-FSA] 2.1.4.12 with PARENT_OBJECT; what changes a listing, and when, as Samba 4.22.
//!
//! | what                                               | when                | told to                    |
//! |----------------------------------------------------|---------------------|----------------------------|
//! | an entry is made, replaced or overwritten          | at its CREATE       | the directory it is in     |
//! | an entry gets another name                         | at SET_INFO         | the old and the new one    |
//! | size, times, attributes or EAs of an entry are set | at SET_INFO         | the directory it is in     |
//! | an entry is written to                             | at the CLOSE        | the directory it is in     |
//! | an entry is deleted                                | with its last CLOSE | the directory it was in    |
//!
//! Whoever changes something and names a lease as that of the directory above (ParentLeaseKey) knows of the
//! change: this lease of its client stays. Nobody waits for such a break.

use smbench_core::smb2::{Capabilities, Guid, Lease, LeaseFlags, NtStatus, OplockLevel};

use super::answer::Cx;
use super::caching::Holder;
use super::create::Want;
use super::create_existing::sane;
use super::fs::{Child, NodeId};
use super::leases::{H, LeaseId, NONE, R, W};
use super::open::OpenId;
use super::{Plant, Server};

impl Want<'_> {
    /// The lease that it names as that of the directory above.
    pub(super) fn parent_lease(&self, client: Guid) -> Option<LeaseId> {
        let lease = self.asked.lease.filter(|lease| lease.version == 2)?;
        let key = lease.parent_key;
        let named = lease.flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET);
        named.then_some(LeaseId { client, key })
    }
}

impl Server {
    /// Grants a directory's lease: reading and handle caching, whoever else has it open.
    /// [MS-SMB2] 3.3.5.9.11, [MS-FSA] 2.1.5.18.2.
    pub(super) fn grant_directory_lease(
        &mut self,
        cx: &Cx,
        id: OpenId,
        want: &Want<'_>,
    ) -> Result<(), NtStatus> {
        let conn = self.conns.get(&cx.conn);
        let able = conn.is_some_and(|conn| {
            let capabilities = conn.server_capabilities;
            capabilities.contains(Capabilities::DIRECTORY_LEASING)
        });
        let asked = want.asked.lease.filter(|lease| lease.version == 2);
        let (Some(own), Some(asked), true) = (self.lease_asked(cx, want), asked, able) else {
            return Ok(());
        };
        let state = sane(asked.state & !W);
        let wanted = Lease { state, ..asked };
        let stream = self.open(id)?.stream;
        self.grant_lease(own, id, stream, &wanted, state);
        let open = self.open_mut(id)?;
        open.oplock = OplockLevel::LEASE;
        open.lease = Some(own);
        if let Some(file) = self.files.get_mut(&stream) {
            file.unleased = file.unleased.saturating_sub(1);
        }
        Ok(())
    }

    /// An open changed what the directory above its file lists.
    pub(super) fn break_above(&mut self, by: OpenId) {
        let own = self.opens.get(&by).and_then(|open| open.parent_lease);
        if let Some(child) = self.child_of(by) {
            self.break_listing_above(child, own);
        }
    }

    /// What the directory above a file lists changed; `own` is the lease of who knows.
    pub(super) fn break_listing_above(&mut self, child: Child, own: Option<LeaseId>) {
        let found = self.fs.node(child.node).ok();
        let above = found.and_then(|node| node.link(child.link).map(|link| link.parent));
        if let Some(above) = above.filter(|above| *above != child.node) {
            self.break_listing(above, own);
        }
    }

    /// What a directory lists changed: nobody but `own` has it cached any more.
    pub(super) fn break_listing(&mut self, dir: NodeId, own: Option<LeaseId>) {
        let file = self.files.get(&dir);
        let free = file.is_none_or(|file| file.caching.is_free_of(R | H));
        if free || self.has(Plant::NoOplockBreak) {
            return;
        }
        for holder in self.holders_of(dir) {
            let knows = own.is_some_and(|own| holder == Holder::Lease(own));
            if !knows && self.held_by(holder).intersects(R | H) {
                self.break_holder(holder, NONE);
            }
        }
        self.review_caching(dir);
    }
}
