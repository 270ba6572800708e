//! Breaking oplocks and leases, and their acknowledgements.
//! [MS-SMB2] 3.3.4.6, 3.3.4.7, 3.3.5.22; steps and statuses as Samba's.

use smbench_core::smb2::{
    Body, Command, Header, HeaderFlags, LeaseBreakAck, LeaseBreakFlags, LeaseBreakNotification,
    LeaseBreakResponse, LeaseState, Message, MessageId, NtStatus, OplockBreak, OplockBreakAck,
    OplockLevel, Response, SessionId,
};

use super::answer::{Answer, Cx, Handled};
use super::caching::Holder;
use super::fs::StreamId;
use super::leases::{H, LeaseId, NONE, R, W};
use super::open::OpenId;
use super::session::Session;
use super::waiting::Timer;
use super::{ConnKey, Plant, Server};

impl Server {
    /// Takes caching away: sends the notification that this needs, if any. An open whose client is
    /// gone is closed instead. [MS-SMB2] 3.3.4.6.
    ///
    /// Those that wait are not told: a break alone lets nobody in, and two of them would wake each
    /// other for ever.
    pub(super) fn break_holder(&mut self, holder: Holder, to: LeaseState) {
        match holder {
            Holder::Lease(lease) => self.break_lease(lease, to),
            Holder::Oplock(id) => match self.opens.get(&id) {
                Some(open) if open.conn.is_none() => self.close_open(id),
                Some(_) => self.break_oplock(id, to),
                None => {}
            },
        }
    }

    fn break_oplock(&mut self, id: OpenId, to: LeaseState) {
        let Some(open) = self.opens.get_mut(&id) else {
            return;
        };
        if open.breaking.is_some() || open.oplock == OplockLevel::NONE {
            return;
        }
        // [MS-SMB2] 2.2.23.1: an oplock falls to level II or to none.
        let level = if to.contains(R) && open.oplock != OplockLevel::LEVEL_II {
            OplockLevel::LEVEL_II
        } else {
            OplockLevel::NONE
        };
        // As Samba: the oldest channel hears it. [MS-SMB2] 3.3.4.6
        let session = open.session;
        let channel = self.sessions.get(&session);
        let conn = channel.and_then(Session::first_channel).or(open.conn);
        if open.oplock == OplockLevel::LEVEL_II {
            open.oplock = OplockLevel::NONE; // [MS-SMB2] 3.3.4.6: not acknowledged
        } else {
            open.breaking = Some(level);
            self.set_timer(self.config.break_timeout_ms, Timer::Oplock(id));
        }
        let body = OplockBreak {
            oplock_level: level,
            file_id: self.file_id(id),
        };
        self.notify_break(conn, session, body.into());
    }

    fn break_lease(&mut self, id: LeaseId, to: LeaseState) {
        let stuck = self.has(Plant::LeaseEpochStuck);
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let mut to = to & lease.state;
        if lease.breaking {
            // A stronger break waits until this one is acknowledged.
            to &= lease.required;
            lease.required = to;
            return;
        }
        if lease.state == to {
            return;
        }
        let from = lease.state;
        // [MS-SMB2] 3.3.4.7: only write and handle caching need an acknowledgement.
        let acknowledged = from != R;
        if acknowledged {
            lease.requested = to;
            lease.required = to;
        } else {
            lease.state = NONE;
        }
        lease.epoch = lease.epoch.wrapping_add(u16::from(!stuck));
        self.set_breaking(id, acknowledged);
        self.send_lease_break(id, from, to, acknowledged);
    }

    fn send_lease_break(&mut self, id: LeaseId, from: LeaseState, to: LeaseState, ack: bool) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        let mut flags = LeaseBreakFlags::empty();
        flags.set(LeaseBreakFlags::ACK_REQUIRED, ack);
        let body = LeaseBreakNotification {
            new_epoch: if lease.version == 2 { lease.epoch } else { 0 },
            flags,
            lease_key: id.key,
            current_lease_state: from,
            new_lease_state: to,
            ..LeaseBreakNotification::default()
        };
        // As Samba: the oldest connection of the client hears it, whichever holds the opens.
        // [MS-SMB2] 3.3.4.7
        let held = lease.opens.iter().any(|open| {
            let open = self.opens.get(open);
            open.is_some_and(|open| open.conn.is_some())
        });
        if !held {
            // Nobody is there to tell: its disconnected opens go. [MS-SMB2] 3.3.4.7
            for open in lease.opens.clone() {
                self.close_open(open);
            }
            return;
        }
        let clients = (id.client, ConnKey(0))..=(id.client, ConnKey(u64::MAX));
        let oldest = self.clients.range(clients).find_map(|(_, key)| {
            let valid = |id: &&u64| self.sessions.get(id).is_some_and(|it| it.is_on(*key));
            let session = self.conns.get(key)?.sessions.iter().find(valid)?;
            Some((*key, *session))
        });
        if ack {
            self.set_timer(self.config.break_timeout_ms, Timer::Lease(id));
        }
        let (conn, session) = oldest.unzip();
        self.notify_break(conn, session.unwrap_or_default(), body.into());
    }

    fn notify_break(&mut self, conn: Option<ConnKey>, session: u64, body: Response) {
        let Some(conn) = conn.filter(|conn| self.conns.contains_key(conn)) else {
            self.counters.breaks_undeliverable =
                self.counters.breaks_undeliverable.saturating_add(1);
            return;
        };
        self.counters.breaks = self.counters.breaks.saturating_add(1);
        // [MS-SMB2] 3.3.4.6, 3.3.4.7: message id all ones, no tree; a lease names no session.
        let named = matches!(body, Response::OplockBreak(_));
        let header = Header {
            command: Command::OPLOCK_BREAK,
            flags: HeaderFlags::SERVER_TO_REDIR,
            message_id: MessageId(u64::MAX),
            session_id: SessionId(if named { session } else { 0 }),
            ..Header::default()
        };
        let encrypts = self
            .sessions
            .get(&session)
            .is_some_and(|session| session.encrypt);
        let mut frame = Vec::new();
        Message::new(header, Body::Response(body)).encode(&[], &mut frame);
        self.send(conn, frame, encrypts.then_some(session));
    }

    /// A change of content takes read caching from everyone else. [MS-FSA] 2.1.5.3; as Samba,
    /// nobody waits for it.
    pub(super) fn break_readers(&mut self, id: OpenId) {
        let Some(open) = self.opens.get(&id) else {
            return;
        };
        let (stream, lease) = (open.stream, open.lease);
        if self.has(Plant::NoOplockBreak) || self.held_by_open(id).contains(W) {
            return;
        }
        let file = self.files.get(&stream);
        if file.is_none_or(|file| file.caching.is_free_of(R)) {
            return;
        }
        for holder in self.holders_of(stream) {
            let same = lease.is_some_and(|lease| holder == Holder::Lease(lease));
            if !same && self.held_by(holder).contains(R) {
                self.break_holder(holder, NONE);
            }
        }
        self.review_caching(stream);
    }

    /// A rename or replacement takes handle caching from the others that have the file open.
    /// True when one of them has to be waited for.
    pub(super) fn break_handles(&mut self, stream: StreamId, but: Option<OpenId>) -> bool {
        if self.has(Plant::NoOplockBreak) {
            return false;
        }
        let own = but
            .and_then(|id| self.opens.get(&id))
            .and_then(|open| open.lease);
        let mut wait = false;
        for holder in self.holders_of(stream) {
            let Holder::Lease(lease) = holder else {
                continue;
            };
            let state = self.held_by(holder);
            if own == Some(lease) || !state.contains(H) {
                continue;
            }
            self.break_holder(holder, state & !H);
            wait |= self.leases.get(&lease).is_some_and(|it| it.breaking);
        }
        wait
    }

    /// Acknowledges an oplock's break. [MS-SMB2] 3.3.5.22.1.
    pub(super) fn oplock_ack(&mut self, cx: &Cx, body: &OplockBreakAck) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let ignored = self.has(Plant::AckIgnored);
        let open = self.open_mut(id)?;
        let Some(level) = open.breaking else {
            return Err(NtStatus::INVALID_OPLOCK_PROTOCOL.into());
        };
        let stream = open.stream;
        let answered = match body.oplock_level {
            OplockLevel::NONE => OplockLevel::NONE,
            OplockLevel::LEVEL_II if level == OplockLevel::LEVEL_II => OplockLevel::LEVEL_II,
            // [MS-SMB2] 3.3.5.22.1: more than was offered.
            OplockLevel::LEVEL_II | OplockLevel::EXCLUSIVE | OplockLevel::BATCH => {
                return Err(NtStatus::INVALID_OPLOCK_PROTOCOL.into());
            }
            _ => return Err(NtStatus::INVALID_PARAMETER.into()),
        };
        if !ignored {
            open.oplock = answered;
            open.breaking = None;
            self.clear_timer(Timer::Oplock(id));
            self.touch(stream);
        }
        Ok(Answer::ok(OplockBreak {
            oplock_level: answered,
            file_id: self.file_id(id),
        }))
    }

    /// Acknowledges a lease's break. [MS-SMB2] 3.3.5.22.2.
    pub(super) fn lease_ack(&mut self, cx: &Cx, body: &LeaseBreakAck) -> Handled {
        let conn = self.conns.get(&cx.conn);
        let client = conn.map(|conn| conn.client_guid).unwrap_or_default();
        let id = LeaseId {
            client,
            key: body.lease_key,
        };
        let (unchecked, ignored) = (self.has(Plant::AckUnchecked), self.has(Plant::AckIgnored));
        let lease = self.leases.get_mut(&id);
        let lease = lease.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        if !lease.breaking {
            return Err(NtStatus::UNSUCCESSFUL.into());
        }
        if !lease.requested.contains(body.lease_state) && !unchecked {
            return Err(NtStatus::REQUEST_NOT_ACCEPTED.into());
        }
        if !ignored {
            lease.state = body.lease_state;
            self.note_lease(id);
            self.settle_lease(id);
        }
        Ok(Answer::ok(LeaseBreakResponse {
            lease_key: body.lease_key,
            lease_state: body.lease_state,
            ..LeaseBreakResponse::default()
        }))
    }

    /// After an acknowledgement: done, or the next step down. [MS-SMB2] 3.3.5.22.2.
    fn settle_lease(&mut self, id: LeaseId) {
        self.clear_timer(Timer::Lease(id));
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let (stream, state) = (lease.stream, lease.state);
        let (mut next, mut breaking) = (None, false);
        if lease.required.contains(state) {
            lease.requested = NONE;
            lease.required = NONE;
        } else if state.intersects(W | H) {
            // Windows and Samba go down in steps: read caching stays for one more.
            lease.requested = lease.required | R;
            next = Some((lease.requested, true));
            breaking = true;
        } else {
            lease.state = NONE;
            lease.requested = NONE;
            next = Some((std::mem::take(&mut lease.required), false));
        }
        self.set_breaking(id, breaking);
        if let Some((to, ack)) = next {
            self.send_lease_break(id, state, to, ack);
        }
        self.touch(stream);
    }

    /// Nobody acknowledged: the oplock is taken away. [MS-SMB2] 3.3.6.1.
    pub(super) fn oplock_timed_out(&mut self, id: OpenId) {
        let Some(open) = self.opens.get_mut(&id) else {
            return;
        };
        if open.breaking.take().is_some() {
            open.oplock = OplockLevel::NONE;
            let stream = open.stream;
            self.counters.breaks_timed_out = self.counters.breaks_timed_out.saturating_add(1);
            self.touch(stream);
        }
    }

    /// Nobody acknowledged: the lease is taken away. [MS-SMB2] 3.3.6.5.
    pub(super) fn lease_timed_out(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.breaking {
            lease.state = NONE;
            lease.requested = NONE;
            lease.required = NONE;
            let stream = lease.stream;
            self.set_breaking(id, false);
            self.counters.breaks_timed_out = self.counters.breaks_timed_out.saturating_add(1);
            self.touch(stream);
        }
    }
}
