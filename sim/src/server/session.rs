//! SESSION_SETUP and LOGOFF: the table of sessions, and their channels. [MS-SMB2] 3.3.5.5, 3.3.5.6.

use std::collections::BTreeMap;

use smbench_core::seal::Secret;
use smbench_core::smb2::{
    LogoffResponse, NtStatus, SecurityMode, SessionFlags, SessionId, SessionSetupFlags,
    SessionSetupRequest, SessionSetupResponse,
};

use super::answer::{Answer, Cx, Handled, Req, Stop};
use super::auth::{Leg, Login, Step, Who};
use super::conn::Terms;
use super::limits::{Limit, may_share};
use super::tree::Tree;
use super::{ConnKey, Server};

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// What the connection that it began on has negotiated.
    pub(super) terms: Terms,
    /// That connection: its channel's signing key is the session's.
    pub(super) began_on: ConnKey,
    /// `Session.ChannelList`, with those that are being bound. [MS-SMB2] 3.3.1.8.
    pub(super) channels: BTreeMap<ConnKey, Channel>,
    /// Authentication has succeeded.
    pub(super) valid: bool,
    /// Who it is; empty for an anonymous login.
    pub(super) user: String,
    pub(super) guest: bool,
    pub(super) anonymous: bool,
    /// Everything has to be encrypted.
    pub(super) encrypt: bool,
    pub(super) trees: BTreeMap<u32, Tree>,
}

/// A connection that a session is used on, or is to be. [MS-SMB2] 3.3.1.14.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Authentication has succeeded on it.
    pub(super) valid: bool,
    /// An authentication that is under way.
    pub(super) login: Option<Login>,
}

impl Session {
    /// Whether requests of the session may come on that connection.
    pub(super) fn is_on(&self, conn: ConnKey) -> bool {
        let channel = self.channels.get(&conn);
        self.valid && channel.is_some_and(|channel| channel.valid)
    }

    /// Whether an authentication on that connection is the session's own: its first one, or another of somebody
    /// who is in.
    fn authenticates_on(&self, conn: ConnKey) -> bool {
        let channel = self.channels.get(&conn);
        channel.is_some_and(|channel| channel.valid || !self.valid)
    }

    /// The oldest channel that can be used.
    pub(super) fn first_channel(&self) -> Option<ConnKey> {
        let mut channels = self.channels.iter().filter(|(_, channel)| channel.valid);
        channels.next().map(|(conn, _)| *conn)
    }

    /// What its SESSION_SETUP response says of it.
    pub(super) fn flags(&self) -> SessionFlags {
        let mut flags = SessionFlags::empty();
        flags.set(SessionFlags::IS_GUEST, self.guest);
        flags.set(SessionFlags::IS_NULL, self.anonymous);
        flags.set(SessionFlags::ENCRYPT_DATA, self.encrypt);
        flags
    }
}

impl Server {
    pub(super) fn session_setup(
        &mut self,
        cx: &Cx,
        req: &Req,
        body: &SessionSetupRequest,
    ) -> Handled {
        let id = req.header.session_id.0;
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        // [MS-SMB2] 3.3.5.5: a dialect, or a client, that cannot encrypt.
        if self.rejects_unencrypted() && conn.seal.cipher().is_none() {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if id != 0 && body.flags.contains(SessionSetupFlags::BINDING) {
            return self.bind(cx, req);
        }
        let id = if id == 0 {
            self.new_session(cx)?
        } else {
            let session = self.sessions.get(&id);
            // [MS-SMB2] 3.3.5.5: the session has to be of this connection.
            let session = session.filter(|session| session.authenticates_on(cx.conn));
            session.ok_or(NtStatus::USER_SESSION_DELETED)?;
            id
        };
        let leg = Leg {
            session: id,
            conn: cx.conn,
        };
        let handled = match self.login_step(leg, &req.bulk) {
            Ok(Step::Continue(token)) => return Ok(to_go_on(id, token)),
            Ok(Step::Done { who, token, key }) => self.logged_in(leg, body, who, token, key),
            Err(status) => Err(status.into()),
        };
        if handled.is_err() {
            // [MS-SMB2] 3.3.5.5.3: a failed authentication takes the session with it, also one
            // that only authenticates again.
            self.end_session(id, Some(cx.conn));
        }
        handled
    }

    /// Whether everything has to be encrypted, which is `EncryptData` and
    /// `RejectUnencryptedAccess` of [MS-SMB2] 3.3.1.5 in one.
    fn rejects_unencrypted(&self) -> bool {
        self.config.encrypt_required && !self.config.trusting
    }

    fn new_session(&mut self, cx: &Cx) -> Result<u64, Stop> {
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        let (own, all) = (conn.sessions.len(), self.sessions.len());
        if !may_share(own, all, self.config.limits.sessions) {
            return Err(self.limited(Limit::Sessions).into());
        }
        let mut id = u64::from(self.rng.id());
        while self.sessions.contains_key(&id) {
            id = u64::from(self.rng.id());
        }
        let session = Session {
            terms: conn.terms,
            began_on: cx.conn,
            channels: BTreeMap::from([(cx.conn, Channel::default())]),
            valid: false,
            user: String::new(),
            guest: false,
            anonymous: false,
            encrypt: false,
            trees: BTreeMap::new(),
        };
        self.sessions.insert(id, session);
        let conn = self.conns.get_mut(&cx.conn).ok_or(Stop::Hangup)?;
        conn.sessions.insert(id);
        Ok(id)
    }

    /// [MS-SMB2] 3.3.5.5.3, from the point where GSS is done.
    fn logged_in(
        &mut self,
        leg: Leg,
        body: &SessionSetupRequest,
        who: Who,
        token: Vec<u8>,
        key: Option<Secret>,
    ) -> Handled {
        let encrypt = self.rejects_unencrypted();
        let both_sign = self.config.signing_required
            && body.security_mode.contains(SecurityMode::SIGNING_REQUIRED);
        // [MS-SMB2] 3.3.5.5.3: guests and anonymous users have no key to encrypt or sign with.
        if key.is_none() && !self.config.trusting && (encrypt || both_sign) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        self.establish(leg, key)?;
        let id = leg.session;
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        session.valid = true;
        session.user = who.user;
        session.guest = who.guest;
        session.anonymous = who.anonymous;
        session.encrypt = encrypt;
        let flags = session.flags();
        let previous = body.previous_session_id.0;
        if previous != 0 && previous != id {
            self.replace_session(previous, id);
        }
        Ok(setup_answer(id, NtStatus::SUCCESS, flags, token))
    }

    /// A channel has authenticated: its keys are made.
    pub(super) fn establish(&mut self, leg: Leg, key: Option<Secret>) -> Result<(), Stop> {
        let conn = self.conns.get_mut(&leg.conn).ok_or(Stop::Hangup)?;
        conn.logged_in = true;
        if let Some(key) = key {
            let installed = conn.seal.install_session_key(leg.session, key);
            installed.map_err(|_| NtStatus::INTERNAL_ERROR)?;
        }
        let channel = self.channel(leg)?;
        channel.valid = true;
        channel.login = None;
        Ok(())
    }

    /// The channel whose authentication a token belongs to.
    pub(super) fn channel(&mut self, leg: Leg) -> Result<&mut Channel, NtStatus> {
        let session = self.sessions.get_mut(&leg.session);
        let channel = session.and_then(|session| session.channels.get_mut(&leg.conn));
        channel.ok_or(NtStatus::USER_SESSION_DELETED)
    }

    /// PreviousSessionId: the client has reconnected. [MS-SMB2] 3.3.5.5.3.
    fn replace_session(&mut self, old: u64, new: u64) {
        let user = |id: u64| self.sessions.get(&id).map(|session| session.user.clone());
        if user(old).is_some() && user(old) == user(new) {
            self.end_session(old, None);
        }
    }

    pub(super) fn logoff(&mut self, cx: &Cx) -> Handled {
        // As Samba: durable opens outlive a LOGOFF too.
        self.end_session(cx.session, Some(cx.conn));
        Ok(Answer::ok(LogoffResponse {}))
    }

    /// Ends a session on all its channels: its requests, opens and trees. Durable opens outlive it, disconnected.
    /// Where it is `answering` the keys are left, which the answer may still need. [MS-SMB2] 3.3.4.12, 3.3.7.1.
    pub(super) fn end_session(&mut self, id: u64, answering: Option<ConnKey>) {
        for open in self.opens_in(id, None) {
            self.abandon(open);
        }
        self.services.end(id, None);
        self.cancel_session(id, None);
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for key in session.channels.into_keys() {
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.sessions.remove(&id);
                if answering != Some(key) {
                    conn.seal.forget(id);
                }
            }
        }
    }

    /// A connection is gone. [MS-SMB2] 3.3.7.1.
    pub(super) fn drop_connection(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.remove(&key) else {
            return;
        };
        self.clients.remove(&(conn.client_guid, key));
        self.drop_waiting(key);
        for id in conn.sessions {
            self.drop_channel(id, key);
        }
    }
}

/// The client has to go on with that token.
pub(super) fn to_go_on(id: u64, token: Vec<u8>) -> Answer {
    let status = NtStatus::MORE_PROCESSING_REQUIRED;
    setup_answer(id, status, SessionFlags::empty(), token)
}

pub(super) fn setup_answer(
    id: u64,
    status: NtStatus,
    flags: SessionFlags,
    token: Vec<u8>,
) -> Answer {
    let body = SessionSetupResponse {
        session_flags: flags,
        security_buffer_length: u16::try_from(token.len()).unwrap_or_default(),
    };
    let mut answer = Answer::with(status, body);
    answer.bulk = token;
    answer.session = Some(SessionId(id));
    answer
}
