//! The logins of one connection, leg by leg.

use std::collections::BTreeMap;
use std::fmt;

use smbench_core::frame::Frame;
use smbench_core::ids::SessionRef;
use smbench_core::smb2::{Command, Header};
use smbench_live::auth::Handshake;

/// Logins that are under way.
#[derive(Debug, Default)]
pub(super) struct Logins {
    logins: BTreeMap<SessionRef, Login>,
    /// SESSION_SETUP requests that are not answered, by MessageId.
    setups: BTreeMap<u64, SessionRef>,
}

struct Login {
    handshake: Box<dyn Handshake>,
    /// The server's last token that was not yet answered.
    received: Vec<u8>,
    /// The next token, until its frame goes out.
    ready: Option<Vec<u8>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Logins {
    pub(super) fn begin(&mut self, session: SessionRef, handshake: Box<dyn Handshake>) {
        let login = Login {
            handshake,
            received: Vec::new(),
            ready: None,
        };
        self.logins.insert(session, login);
    }

    /// Produces a login's next token and keeps it; gives its length.
    pub(super) fn step(&mut self, session: SessionRef) -> Option<u32> {
        let login = self.logins.get_mut(&session)?;
        let received = std::mem::take(&mut login.received);
        let token = login.handshake.step(&received).ok()?.token;
        let len = u32::try_from(token.len()).ok()?;
        login.ready = Some(token);
        Some(len)
    }

    /// The token that goes out with a login's frame.
    pub(super) fn token_for(&mut self, session: SessionRef, frame: &Frame) -> Option<Vec<u8>> {
        if let Ok(header) = Header::decode(&frame.bytes) {
            self.setups.insert(header.message_id.0, session);
        }
        self.logins.get_mut(&session)?.ready.take()
    }

    /// Keeps the token of a SESSION_SETUP response for the login it belongs to.
    pub(super) fn received(&mut self, pdu: &[u8], token: &[u8]) {
        let header = Header::decode(pdu).ok();
        let header = header.filter(|header| header.command == Command::SESSION_SETUP);
        let session = header.and_then(|header| self.setups.remove(&header.message_id.0));
        if let Some(login) = session.and_then(|session| self.logins.get_mut(&session)) {
            login.received = token.to_vec();
        }
    }
}
