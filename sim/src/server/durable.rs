//! Durable handles: granting, outliving a connection, reclaiming.
//! [MS-SMB2] 3.3.5.9.6, 3.3.5.9.7, 3.3.5.9.10, 3.3.5.9.12, 3.3.7.1.

use smbench_core::smb2::create_context::DurableResponse;
use smbench_core::smb2::{
    ContextData, ContextTag, CreateAction, CreateContext, CreateRequest, Guid, NtStatus,
    OplockLevel,
};

use super::answer::{Cx, Handled};
use super::create::Asked;
use super::leases::H;
use super::limits::Limit;
use super::open::{Open, OpenId};
use super::waiting::Timer;
use super::{Plant, Server};

/// What makes an open durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Durable {
    pub(super) timeout_ms: u64,
    /// With version 2: the create that made it.
    pub(super) create_guid: Option<Guid>,
}

/// Longest time a version 2 handle may ask for, as Samba's.
const LONGEST_MS: u64 = 300_000;

impl Server {
    /// Durability is for files whose opens nobody can have missed: a batch oplock, or a lease
    /// with handle caching. [MS-SMB2] 3.3.5.9.6, 3.3.5.9.10.
    pub(super) fn grant_durable(
        &mut self,
        id: OpenId,
        asked: &Asked,
    ) -> Result<Option<Durable>, NtStatus> {
        let default = self.config.durable_timeout_ms;
        let durable = match asked.durable_v2 {
            Some(v2) => Durable {
                timeout_ms: match v2.timeout {
                    0 => default,
                    asked => u64::from(asked).min(LONGEST_MS),
                },
                create_guid: Some(v2.create_guid),
            },
            None if asked.durable => Durable {
                timeout_ms: default,
                create_guid: None,
            },
            None => return Ok(None),
        };
        if !self.keeps_handle(id) {
            return Ok(None);
        }
        self.open_mut(id)?.durable = Some(durable);
        Ok(Some(durable))
    }

    fn keeps_handle(&self, id: OpenId) -> bool {
        self.opens.get(&id).is_some_and(|open| {
            let batch = open.oplock == OplockLevel::BATCH && open.breaking.is_none();
            let lease = open.lease.is_some() && self.held_by_open(id).contains(H);
            !open.is_dir && (batch || lease)
        })
    }

    /// Whether an open outlives its connection. [MS-SMB2] 3.3.7.1.
    pub(super) fn can_survive(&self, id: OpenId) -> bool {
        let survives = |open: &Open| open.durable.is_some() && !open.delete_on_close;
        let durable = self.opens.get(&id).is_some_and(survives);
        durable && self.keeps_handle(id) && !self.has(Plant::DurableForgotten)
    }

    /// Ends what a client that is gone has open: disconnects it where it is durable, or closes it.
    pub(super) fn abandon(&mut self, id: OpenId) {
        if !self.can_survive(id) {
            return self.close_open(id);
        }
        if self.disconnected >= self.config.limits.disconnected {
            self.limited(Limit::Disconnected);
            return self.close_open(id);
        }
        self.detach(id);
    }

    /// Leaves an open without connection, until its time is up.
    fn detach(&mut self, id: OpenId) {
        self.unwatch(id);
        let Some(open) = self.opens.get_mut(&id) else {
            return;
        };
        let (volatile, timeout) = (open.volatile, open.durable.map_or(0, |d| d.timeout_ms));
        let (session, stream) = (open.session, open.stream);
        if let Some(conn) = open.conn.take() {
            self.unattach(conn, session, id);
            self.disconnected = self.disconnected.saturating_add(1);
            if let Some(file) = self.files.get_mut(&stream) {
                file.disconnected = file.disconnected.saturating_add(1);
            }
        }
        self.volatile.remove(&volatile);
        self.set_timer(timeout, Timer::Durable(id));
    }

    /// Reclaims an open. [MS-SMB2] 3.3.5.9.7, 3.3.5.9.12.
    pub(super) fn reconnect(&mut self, cx: &Cx, body: &CreateRequest, asked: &Asked) -> Handled {
        // [MS-SMB2] 3.3.5.9.7: a reconnect goes with no other durable context.
        let both = asked.reconnect.is_some() && asked.reconnect_v2.is_some();
        if both || asked.durable_v2.is_some() {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let v1 = asked.reconnect.map(|old| old.file_id.persistent);
        let v2 = asked.reconnect_v2.map(|old| old.file_id.persistent);
        let id: OpenId = v1.or(v2).unwrap_or_default();
        let session = self.sessions.get(&cx.session);
        let user = session
            .map(|session| session.user.clone())
            .unwrap_or_default();
        let conn = self.conns.get(&cx.conn);
        let client = conn.map(|conn| conn.client_guid).unwrap_or_default();
        let anyone = self.has(Plant::DurableWrongClient);
        let open = self.opens.get(&id).filter(|open| open.conn.is_none());
        let open = open.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        let durable = open.durable.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        let guid = asked.reconnect_v2.map(|old| old.create_guid);
        if durable.create_guid.is_some() && guid.is_some() && guid != durable.create_guid {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
        }
        if open.user != user && !anyone {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if let Some(lease) = open.lease {
            // [MS-SMB2] 3.3.5.9.7: the same lease, the same client, the same name.
            let key = asked.lease.map(|lease| lease.key);
            if (key != Some(lease.key) || lease.client != client) && !anyone {
                return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
            }
            let name = self.name_in_share(cx, body).unwrap_or_default();
            if !name.eq_ignore_ascii_case(&self.open_path(id)) && !anyone {
                return Err(NtStatus::INVALID_PARAMETER.into());
            }
        } else if asked.lease.is_some() && body.requested_oplock_level == OplockLevel::LEASE {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
        }
        let volatile = self.new_volatile(id);
        let open = self.open_mut(id)?;
        open.volatile = volatile;
        open.conn = Some(cx.conn);
        open.session = cx.session;
        open.tree = cx.tree;
        open.share = cx.share;
        let stream = open.stream;
        self.attach(cx.conn, cx.session, id);
        self.disconnected = self.disconnected.saturating_sub(1);
        if let Some(file) = self.files.get_mut(&stream) {
            file.disconnected = file.disconnected.saturating_sub(1);
        }
        self.clear_timer(Timer::Durable(id));
        let mut contexts = Vec::new();
        if asked.durable && asked.reconnect.is_some() {
            contexts.push(CreateContext {
                tag: ContextTag::DHNQ,
                data: ContextData::DurableResponse(DurableResponse {}),
            });
        }
        contexts.extend(self.lease_context(id, asked.lease.as_ref()));
        self.created(id, CreateAction::OPENED, contexts)
    }

    /// Path of an open as CREATE would name it.
    pub(super) fn open_path(&self, id: OpenId) -> String {
        let Some(open) = self.opens.get(&id) else {
            return String::new();
        };
        let path = self.fs.path(open.node, open.link);
        if open.stream == open.node {
            return path;
        }
        let named = self.fs.node(open.node).ok().and_then(|node| {
            let mut named = node.named.iter();
            named.find(|named| named.id == open.stream)
        });
        format!("{path}:{}", named.map_or("", |named| &named.name))
    }
}
