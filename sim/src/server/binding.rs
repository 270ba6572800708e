//! Channels: a session on more than one connection. [MS-SMB2] 3.3.5.5, 3.3.5.5.3, 3.3.7.1.
//!
//! | a SESSION_SETUP that binds                                       | is refused with         |
//! |------------------------------------------------------------------|-------------------------|
//! | to a session that there is not                                   | USER_SESSION_DELETED    |
//! | where the session signs with GMAC, and the channel would not     | REQUEST_OUT_OF_SEQUENCE |
//! | where the channel would sign with GMAC, and the session does not | NOT_SUPPORTED           |
//! | on 2.x, or where sessions have one channel                       | REQUEST_NOT_ACCEPTED    |
//! | on another dialect or cipher, or unsigned                        | INVALID_PARAMETER       |
//! | of another client                                                | USER_SESSION_DELETED    |
//! | before the session's own authentication is over                  | REQUEST_NOT_ACCEPTED    |
//! | of a guest or an anonymous user                                  | NOT_SUPPORTED           |
//! | on the connection that the session began on                      | REQUEST_NOT_ACCEPTED    |
//! | on another one that is a channel already                         | ACCESS_DENIED           |
//! | as another user, or with a wrong signature                       | ACCESS_DENIED           |
//! | as the 33rd channel                                              | INSUFFICIENT_RESOURCES  |
//!
//! The specification does not say in which order they are looked at, nor what becomes of signing algorithms:
//! here it is as with Windows and Samba. A binding that fails leaves the session as it was.

use smbench_core::seal::{Secret, binds};
use smbench_core::smb2::{Dialect, HeaderFlags, NtStatus, SigningAlgorithm};

use super::answer::{Cx, Handled, Req};
use super::auth::{Leg, Step, Who};
use super::limits::Limit;
use super::session::{Session, setup_answer, to_go_on};
use super::{ConnKey, Server};

impl Server {
    /// A SESSION_SETUP with SMB2_SESSION_FLAG_BINDING.
    pub(super) fn bind(&mut self, cx: &Cx, req: &Req) -> Handled {
        let leg = Leg {
            session: req.header.session_id.0,
            conn: cx.conn,
        };
        let handled = match self.binding_step(leg, req) {
            Ok(Step::Continue(token)) => return Ok(to_go_on(leg.session, token)),
            Ok(Step::Done { who, token, key }) => self.bound(leg, &who, token, key),
            Err(status) => Err(status.into()),
        };
        if handled.is_err() {
            self.give_up_binding(leg);
        }
        handled
    }

    fn binding_step(&mut self, leg: Leg, req: &Req) -> Result<Step, NtStatus> {
        let signed = req.header.flags.contains(HeaderFlags::SIGNED) || self.config.trusting;
        let is_new = self.check_binding(leg, signed)?;
        if is_new {
            let most = self.config.limits.channels_per_session;
            let session = self.sessions.get_mut(&leg.session);
            let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
            if session.channels.len() >= most {
                return Err(self.limited(Limit::Channels));
            }
            session.channels.entry(leg.conn).or_default();
            if let Some(conn) = self.conns.get_mut(&leg.conn) {
                conn.sessions.insert(leg.session);
            }
        }
        self.login_step(leg, &req.bulk)
    }

    /// Whether the connection may become a channel of the session: the table above. True when it has not begun to.
    fn check_binding(&self, leg: Leg, signed: bool) -> Result<bool, NtStatus> {
        let session = self.sessions.get(&leg.session);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        let conn = self.conns.get(&leg.conn);
        let new = conn.map(|conn| conn.terms).unwrap_or_default();
        let old = session.terms;
        if new.signing != old.signing {
            if old.signing == SigningAlgorithm::AES_GMAC {
                return Err(NtStatus::REQUEST_OUT_OF_SEQUENCE);
            }
            if new.signing == SigningAlgorithm::AES_GMAC {
                return Err(NtStatus::NOT_SUPPORTED);
            }
        }
        if !self.config.multi_channel || new.dialect < Dialect::SMB_3_0 {
            return Err(NtStatus::REQUEST_NOT_ACCEPTED);
        }
        if new.dialect != old.dialect || new.cipher != old.cipher || !signed {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if new.client != old.client {
            return Err(NtStatus::USER_SESSION_DELETED);
        }
        if !session.valid {
            return Err(NtStatus::REQUEST_NOT_ACCEPTED);
        }
        if session.guest || session.anonymous {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        match session.channels.get(&leg.conn) {
            // As Windows and Samba, which check the signature with the channel's key where there is one: a
            // client signs a binding with the session's.
            Some(channel) if channel.valid && leg.conn != session.began_on => {
                Err(NtStatus::ACCESS_DENIED)
            }
            Some(channel) if channel.valid => Err(NtStatus::REQUEST_NOT_ACCEPTED),
            channel => Ok(channel.is_none()),
        }
    }

    /// The channel's authentication is over: it has to show the session's user. [MS-SMB2] 3.3.5.5.3.
    fn bound(&mut self, leg: Leg, who: &Who, token: Vec<u8>, key: Option<Secret>) -> Handled {
        let session = self.sessions.get(&leg.session);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        let keyless = key.is_none() && !self.config.trusting;
        let other = who.guest || who.anonymous || !who.user.eq_ignore_ascii_case(&session.user);
        // As Windows: whoever that is, it is not the session's.
        if keyless || other {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let flags = session.flags();
        self.establish(leg, key)?;
        Ok(setup_answer(leg.session, NtStatus::SUCCESS, flags, token))
    }

    /// A binding has failed: what was there before stays.
    fn give_up_binding(&mut self, leg: Leg) {
        let Some(session) = self.sessions.get_mut(&leg.session) else {
            return;
        };
        let begun = session.channels.get(&leg.conn);
        if session.valid && begun.is_some_and(|channel| !channel.valid) {
            session.channels.remove(&leg.conn);
            if let Some(conn) = self.conns.get_mut(&leg.conn) {
                conn.sessions.remove(&leg.session);
            }
        }
    }

    /// Gives a connection the session's keys, where a frame wants to bind it: the request is signed with the
    /// session's, not the channel's. [MS-SMB2] 3.3.5.2.4.
    pub(super) fn lend_keys(&mut self, key: ConnKey, frame: &[u8]) {
        let Some(id) = binds(frame).filter(|_| !self.config.trusting) else {
            return;
        };
        let session = self.sessions.get(&id).filter(|session| session.valid);
        let first = session.and_then(Session::first_channel);
        let base = first.and_then(|first| self.conns.get(&first)?.seal.export(id));
        let conn = self.conns.get_mut(&key);
        if let (Some(base), Some(conn)) = (base, conn)
            && !conn.seal.is_bound(id)
        {
            // On another dialect it has no key to check the signature with, and is refused anyway.
            let _: Result<(), _> = conn.seal.bind(id, base);
        }
    }

    /// A channel is gone. The session goes with its last one; opens stay with the others.
    /// [MS-SMB2] 3.3.7.1.
    pub(super) fn drop_channel(&mut self, id: u64, key: ConnKey) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.channels.remove(&key);
        let Some(next) = session.first_channel() else {
            return self.end_session(id, None);
        };
        for open in self.opens_in(id, None) {
            let Some(moved) = self.opens.get_mut(&open) else {
                continue;
            };
            if moved.conn != Some(key) {
                continue;
            }
            moved.conn = Some(next);
            let watched = usize::from(moved.watch.is_some());
            self.attach(next, id, open);
            if let Some(conn) = self.conns.get_mut(&next) {
                conn.watches = conn.watches.saturating_add(watched);
            }
        }
    }
}
