//! SESSION_SETUP and LOGOFF: the table of sessions. [MS-SMB2] 3.3.5.5, 3.3.5.6.

use std::collections::BTreeMap;

use smbench_core::seal::Secret;
use smbench_core::smb2::{
    LogoffResponse, NtStatus, SecurityMode, SessionFlags, SessionId, SessionSetupFlags,
    SessionSetupRequest, SessionSetupResponse,
};

use super::answer::{Answer, Cx, Handled, Req, Stop};
use super::auth::{Login, Step};
use super::limits::{Limit, may_share};
use super::tree::Tree;
use super::{ConnKey, Server};

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: ConnKey,
    /// Authentication has succeeded.
    pub(super) valid: bool,
    /// Who it is; empty for an anonymous login.
    pub(super) user: String,
    pub(super) guest: bool,
    pub(super) anonymous: bool,
    /// Everything has to be encrypted.
    pub(super) encrypt: bool,
    /// An authentication that is under way.
    pub(super) login: Option<Login>,
    pub(super) trees: BTreeMap<u32, Tree>,
}

impl Server {
    pub(super) fn session_setup(
        &mut self,
        cx: &Cx,
        req: &Req,
        body: &SessionSetupRequest,
    ) -> Handled {
        let id = req.header.session_id.0;
        if body.flags.contains(SessionSetupFlags::BINDING) {
            return Err(self.refuse_binding(id).into());
        }
        let conn = self.conns.get(&cx.conn).ok_or(Stop::Hangup)?;
        // [MS-SMB2] 3.3.5.5: a dialect, or a client, that cannot encrypt.
        if self.rejects_unencrypted() && conn.seal.cipher().is_none() {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let id = if id == 0 {
            self.new_session(cx)?
        } else {
            let session = self.sessions.get(&id);
            // [MS-SMB2] 3.3.5.5: the session has to be of this connection.
            let session = session.filter(|session| session.conn == cx.conn);
            session.ok_or(NtStatus::USER_SESSION_DELETED)?;
            id
        };
        let handled = match self.login_step(id, &req.bulk) {
            Ok(Step::Continue(token)) => {
                let status = NtStatus::MORE_PROCESSING_REQUIRED;
                return Ok(setup_answer(id, status, SessionFlags::empty(), token));
            }
            Ok(Step::Done { token, key }) => self.logged_in(cx, id, body, token, key),
            Err(status) => Err(status.into()),
        };
        if handled.is_err() {
            // [MS-SMB2] 3.3.5.5.3: a failed authentication takes the session with it, also one
            // that only authenticates again.
            self.end_session(id);
        }
        handled
    }

    /// Whether everything has to be encrypted, which is `EncryptData` and
    /// `RejectUnencryptedAccess` of [MS-SMB2] 3.3.1.5 in one.
    fn rejects_unencrypted(&self) -> bool {
        self.config.encrypt_required && !self.config.trusting
    }

    /// Multichannel is not offered in NEGOTIATE, so binding is refused. [MS-SMB2] 3.3.5.5.
    fn refuse_binding(&self, id: u64) -> NtStatus {
        match self.sessions.get(&id) {
            None => NtStatus::USER_SESSION_DELETED,
            Some(_) => NtStatus::REQUEST_NOT_ACCEPTED,
        }
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
            conn: cx.conn,
            valid: false,
            user: String::new(),
            guest: false,
            anonymous: false,
            encrypt: false,
            login: None,
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
        cx: &Cx,
        id: u64,
        body: &SessionSetupRequest,
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
        let conn = self.conns.get_mut(&cx.conn).ok_or(Stop::Hangup)?;
        conn.logged_in = true;
        if let Some(key) = key {
            let installed = conn.seal.install_session_key(id, key);
            installed.map_err(|_| NtStatus::INTERNAL_ERROR)?;
        }
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        session.valid = true;
        session.login = None;
        session.encrypt = encrypt;
        let mut flags = SessionFlags::empty();
        flags.set(SessionFlags::IS_GUEST, session.guest);
        flags.set(SessionFlags::IS_NULL, session.anonymous);
        flags.set(SessionFlags::ENCRYPT_DATA, encrypt);
        let previous = body.previous_session_id.0;
        if previous != 0 && previous != id {
            self.replace_session(previous, id);
        }
        Ok(setup_answer(id, NtStatus::SUCCESS, flags, token))
    }

    /// PreviousSessionId: the client has reconnected. [MS-SMB2] 3.3.5.5.3.
    fn replace_session(&mut self, old: u64, new: u64) {
        let user = |id: u64| self.sessions.get(&id).map(|session| session.user.clone());
        if user(old).is_some() && user(old) == user(new) {
            self.end_session(old);
        }
    }

    pub(super) fn logoff(&mut self, cx: &Cx) -> Handled {
        // As Samba: durable opens outlive a LOGOFF too.
        self.end_session(cx.session);
        Ok(Answer::ok(LogoffResponse {}))
    }

    /// Ends a session: its requests, opens and trees. Durable opens outlive it, disconnected.
    /// [MS-SMB2] 3.3.4.12, 3.3.7.1.
    pub(super) fn end_session(&mut self, id: u64) {
        for open in self.opens_in(id, None) {
            self.abandon(open);
        }
        self.services.end(id, None);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let conn = session.conn;
        self.cancel_session(conn, id, None);
        self.sessions.remove(&id);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.sessions.remove(&id);
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
            self.end_session(id);
        }
    }
}

fn setup_answer(id: u64, status: NtStatus, flags: SessionFlags, token: Vec<u8>) -> Answer {
    let body = SessionSetupResponse {
        session_flags: flags,
        security_buffer_length: u16::try_from(token.len()).unwrap_or_default(),
    };
    let mut answer = Answer::with(status, body);
    answer.bulk = token;
    answer.session = Some(SessionId(id));
    answer
}
