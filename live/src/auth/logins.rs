//! The logins of one connection, leg by leg: the same for every driver.

use std::collections::BTreeMap;
use std::fmt;

use smbench_core::event::AuthStep;
use smbench_core::ids::{ConnId, SessionRef};
use smbench_core::seal::pdus;
use smbench_core::smb2::{Command, Header};

use super::{AuthError, Authenticator, Begin, Handshake};

/// A login in progress.
pub struct Login {
    /// What produces its tokens.
    pub handshake: Box<dyn Handshake>,
    /// The server's last token that was not yet answered.
    pub received: Vec<u8>,
    /// Our next token, until its frame goes out.
    ready: Option<Vec<u8>>,
    /// Nothing more is expected of the server but its agreement.
    pub done: bool,
}

impl fmt::Debug for Login {
    /// Tokens are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// Logins that are under way on a connection.
#[derive(Debug, Default)]
pub struct Logins {
    /// The security token of the NEGOTIATE response.
    hint: Vec<u8>,
    logins: BTreeMap<SessionRef, Login>,
    /// SESSION_SETUP requests in flight, by MessageId.
    setups: BTreeMap<u64, SessionRef>,
}

impl Logins {
    /// Carries out the engine's order to begin a login or to go on with it; the length of the token
    /// that waits to go out.
    ///
    /// # Errors
    ///
    /// [`AuthError`] when it cannot begin or go on.
    pub fn authenticate(
        &mut self,
        with: &mut impl Authenticator,
        conn: ConnId,
        session: SessionRef,
        step: AuthStep,
    ) -> Result<u32, AuthError> {
        if let Some(begin) = Begin::of(step) {
            let login = Login {
                handshake: with.begin(conn, session, begin)?,
                received: self.hint.clone(),
                ready: None,
                done: false,
            };
            self.logins.insert(session, login);
        }
        self.step(session)
    }

    /// Produces a login's next token and keeps it.
    fn step(&mut self, session: SessionRef) -> Result<u32, AuthError> {
        let none = AuthError::BadToken {
            what: "no login is in progress",
        };
        let long = AuthError::BadToken {
            what: "our token is longer than a request",
        };
        let login = self.logins.get_mut(&session).ok_or(none)?;
        let step = login.handshake.step(&std::mem::take(&mut login.received))?;
        login.done = step.done;
        let len = u32::try_from(step.token.len()).map_err(|_| long)?;
        login.ready = Some(step.token);
        Ok(len)
    }

    /// The token that waits to go out.
    pub fn take_token(&mut self, session: SessionRef) -> Option<Vec<u8>> {
        self.logins.get_mut(&session)?.ready.take()
    }

    /// Remembers whose login the SESSION_SETUP requests of an outgoing frame belong to.
    pub fn sent(&mut self, plain: &[u8], session: SessionRef) {
        for header in headers(plain) {
            if header.command == Command::SESSION_SETUP {
                self.setups.insert(header.message_id.0, session);
            }
        }
    }

    /// Keeps the token of a response, `pdu`, for the login it belongs to.
    pub fn received(&mut self, pdu: &[u8], token: &[u8]) {
        let Ok(header) = Header::decode(pdu) else {
            return; // no response, as the engine will say
        };
        if header.command == Command::NEGOTIATE {
            self.hint = token.to_vec();
            return;
        }
        let session = self.setups.get(&header.message_id.0);
        if let Some(login) = session.and_then(|session| self.logins.get_mut(session)) {
            login.received = token.to_vec();
        }
    }

    /// A SESSION_SETUP was answered for good: whose it was.
    pub fn answered(&mut self, message_id: u64) -> Option<SessionRef> {
        self.setups.remove(&message_id)
    }

    /// Ends a login.
    pub fn end(&mut self, session: SessionRef) -> Option<Login> {
        self.logins.remove(&session)
    }
}

/// The headers of a plain frame.
pub(crate) fn headers(plain: &[u8]) -> impl Iterator<Item = Header> + '_ {
    messages(plain).map(|(header, _)| header)
}

/// The messages of a plain frame: each header, and the bytes from it on.
pub(crate) fn messages(plain: &[u8]) -> impl Iterator<Item = (Header, &[u8])> + '_ {
    let ranges = pdus(plain).filter_map(Result::ok);
    ranges.filter_map(|range| {
        let pdu = plain.get(range)?;
        Some((Header::decode(pdu).ok()?, pdu))
    })
}
