//! Sessions: who logs in, on which connection, and what opens their frames.

use smbench_core::{
    ids::{ConnId, PrincipalRef, SessionRef},
    seal::{encrypt::transform, ntlm, spnego},
    smb2::{Command, Header, Message, SessionId, SessionSetupFlags, SessionSetupRequest},
    workload::{Principal, Session},
};

use super::{Dissector, index, seal_direction, state::SessionState};
use crate::capture::{Direction, FrameInfo};

impl Dissector {
    /// The session that the wire calls `id` on a connection; one that nobody has seen begin is
    /// inferred.
    pub(super) fn session_of(&mut self, conn: usize, id: SessionId) -> Option<SessionRef> {
        if id.0 == 0 {
            return None;
        }
        self.conns.get(conn)?;
        if let Some(known) = self.known_session(conn, id) {
            return Some(known);
        }
        self.infer("sessions");
        let session = self.new_session(conn, true);
        self.name_session(conn, session, id);
        Some(session)
    }

    /// The session that a connection, or else its server, calls `id`.
    pub(super) fn known_session(&self, conn: usize, id: SessionId) -> Option<SessionRef> {
        let it = self.conns.get(conn)?;
        let here = it.sessions.get(&id.0).copied();
        here.or_else(|| self.state.by_id.get(&(it.server, id.0)).copied())
    }

    pub(super) fn new_session(&mut self, conn: usize, inferred: bool) -> SessionRef {
        let session = SessionRef(index(self.workload.sessions.len()));
        self.workload.sessions.push(Session {
            principal: 0, // settled at the end
            conn: ConnId(index(conn)),
            wire_id: SessionId(0),
            flags: 0,
            inferred,
        });
        self.state.sessions.push(SessionState::default());
        session
    }

    /// The wire calls a session `id` from now on.
    pub(super) fn name_session(&mut self, conn: usize, session: SessionRef, id: SessionId) {
        if let Some(entry) = self.workload.sessions.get_mut(session.index())
            && entry.wire_id.0 == 0
        {
            entry.wire_id = id;
        }
        if let Some(it) = self.conns.get_mut(conn) {
            it.sessions.insert(id.0, session);
            self.state.by_id.insert((it.server, id.0), session);
        }
    }

    pub(super) fn session_id(&self, session: Option<SessionRef>) -> SessionId {
        session
            .and_then(|session| self.workload.sessions.get(session.index()))
            .map(|session| session.wire_id)
            .unwrap_or_default()
    }

    /// The session that a SESSION_SETUP request works on. [MS-SMB2] 3.3.5.5.
    pub(super) fn session_of_setup(
        &mut self,
        conn: usize,
        id: SessionId,
        setup: Option<&SessionSetupRequest>,
    ) -> Option<SessionRef> {
        if id.0 == 0 {
            return Some(self.new_session(conn, false));
        }
        let session = self.session_of(conn, id);
        let binding = setup.is_some_and(|it| it.flags.contains(SessionSetupFlags::BINDING));
        if let (true, Some(session), Some(it)) = (binding, session, self.conns.get_mut(conn)) {
            it.sessions.insert(id.0, session);
        }
        session
    }

    /// The session that a SESSION_SETUP replaces.
    pub(super) fn previous_session(&self, conn: usize, id: SessionId) -> Option<SessionRef> {
        let server = self.conns.get(conn)?.server;
        self.state.by_id.get(&(server, id.0)).copied()
    }

    /// Looks into the security token of a SESSION_SETUP request for who logs in; says so if that is
    /// somebody else than the session's user, who logged in first.
    pub(super) fn token_sent(
        &mut self,
        conn: usize,
        header: &Header,
        session: SessionRef,
        token: &[u8],
    ) -> Option<PrincipalRef> {
        let inner = spnego::parse(token).and_then(|token| token.inner());
        let login = inner.map(ntlm::parse_authenticate)?.ok()?;
        let name = match (login.domain.as_str(), login.user.as_str()) {
            (_, "") => String::new(),
            ("", user) => user.to_owned(),
            (domain, user) => format!("{domain}\\{user}"),
        };
        let principal = self.principal(name);
        let state = self.state.session(session);
        let first = state.map_or(principal, |it| *it.principal.get_or_insert(principal));
        let unsealer = self.conns.get_mut(conn).and_then(|it| it.unsealer.as_mut());
        if let Some(unsealer) = unsealer {
            unsealer.login(&mut self.secrets, header.session_id.0, &login);
        }
        (principal != first).then_some(PrincipalRef(principal))
    }

    /// Looks into the security token of a SESSION_SETUP response for a challenge.
    pub(super) fn token_received(&mut self, conn: usize, header: &Header, token: &[u8]) {
        let unsealer = self.conns.get_mut(conn).and_then(|it| it.unsealer.as_mut());
        let inner = spnego::parse(token).and_then(|token| token.inner());
        if let (Some(unsealer), Some(inner)) = (unsealer, inner) {
            unsealer.challenge(header.session_id.0, inner);
        }
    }

    /// The number of a user.
    pub(super) fn principal(&mut self, name: String) -> u32 {
        let next = index(self.workload.principals.len());
        let number = *self.state.principals.entry(name.clone()).or_insert(next);
        if number == next {
            self.workload.principals.push(Principal { name });
        }
        number
    }

    /// Lets the connection's seal learn from frames that tell about keys.
    pub(super) fn learn(&mut self, conn: usize, dir: Direction, bytes: &[u8]) {
        if self.secrets.is_empty() {
            return;
        }
        let Ok(header) = Header::decode(bytes) else {
            return;
        };
        let telling = matches!(
            header.command,
            Command::NEGOTIATE | Command::SESSION_SETUP | Command::TREE_CONNECT | Command::LOGOFF
        );
        if !telling {
            return;
        }
        if header.command == Command::SESSION_SETUP && dir == Direction::ClientToServer {
            self.lend(conn, &header, bytes);
        }
        let unsealer = self.conns.get_mut(conn).and_then(|it| it.unsealer.as_mut());
        if let Some(unsealer) = unsealer {
            unsealer.note(seal_direction(dir), bytes);
            let id = header.session_id.0;
            if header.command == Command::SESSION_SETUP && unsealer.export(id).is_some() {
                self.keyed.insert(id, conn);
            }
        }
    }

    /// Gives the keys of a session to the connection that is being bound to it.
    fn lend(&mut self, conn: usize, header: &Header, bytes: &[u8]) {
        let Ok(decoded) = Message::decode_lossy(bytes) else {
            return;
        };
        use smbench_core::smb2::{Body, Request};
        let Body::Request(Request::SessionSetup(setup)) = decoded.message.body else {
            return;
        };
        if !setup.flags.contains(SessionSetupFlags::BINDING) {
            return;
        }
        let id = header.session_id.0;
        // One that was set up before the capture may have keys from a file.
        let known = self.keyed.get(&id).and_then(|at| self.conns.get(*at));
        let others = known
            .into_iter()
            .chain(self.conns.iter().rev().take(OTHERS));
        let base = others
            .filter_map(|it| it.unsealer.as_ref())
            .find_map(|it| it.export(id));
        let unsealer = self.conns.get_mut(conn).and_then(|it| it.unsealer.as_mut());
        if let (Some(base), Some(unsealer)) = (base, unsealer) {
            unsealer.bind(id, base);
        }
    }

    /// The plain frame inside an encrypted one, when its keys are known.
    pub(super) fn unseal(
        &mut self,
        conn: usize,
        info: &FrameInfo,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let unsealer = self.conns.get_mut(conn)?.unsealer.as_mut()?;
        let opened = unsealer.open(&mut self.secrets, seal_direction(info.dir), bytes);
        opened.ok().filter(|_| info.complete)
    }

    /// Counts a frame that stays closed.
    pub(super) fn sealed(&mut self, bytes: &[u8]) {
        match transform(bytes) {
            Ok(head) => *self.sealed.entry(head.session_id).or_default() += 1,
            Err(_) => self.skip("bad transform header"),
        }
    }
}

/// The latest connections, of which one may have the keys of a session that was set up unseen.
const OTHERS: usize = 256;
