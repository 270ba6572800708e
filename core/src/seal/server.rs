//! When a server signs and encrypts. [MS-SMB2] 3.3.4.1.1, 3.3.4.1.4.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use super::SealError;
use super::conn::{Connection, Direction, Opened, Sealed, effective_session};
use super::sign::unsign;
use super::wire::{
    CANCEL, FLAG_SIGNED, Header, LOGOFF, NEGOTIATE, SESSION_SETUP, UNSOLICITED, is_smb1, pdus,
};

/// How a request came, which its response follows.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    signed: bool,
    encrypted: bool,
}

/// The security state of the server end of one connection.
///
/// It learns dialect, signing and encryption from the responses the server itself sends, so there
/// is nothing to configure. What it knows is in the [`Connection`] it dereferences to.
#[derive(Debug)]
pub struct ServerSecurity {
    conn: Connection,
    marks: BTreeMap<u64, Mark>,
    forgotten_marks: u64,
}

impl ServerSecurity {
    /// The state of a fresh connection; see [`Connection::new`] for `nonce_seed`.
    #[must_use]
    pub fn new(nonce_seed: u32) -> Self {
        Self {
            conn: Connection::new(nonce_seed),
            marks: BTreeMap::new(),
            forgotten_marks: 0,
        }
    }

    /// Requests whose signing was forgotten because too many were unanswered.
    #[must_use]
    pub const fn forgotten_requests(&self) -> u64 {
        self.forgotten_marks
    }

    /// Takes the seal off a received frame. See [`Connection::open`].
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub fn open(&mut self, frame: Vec<u8>) -> Result<Opened, SealError> {
        let opened = self.conn.open(Direction::ToServer, frame)?;
        if is_smb1(&opened.plain) {
            return Ok(opened);
        }
        let encrypted = opened.encrypted_for.is_some();
        for range in pdus(&opened.plain) {
            let header = Header::read(opened.plain.get(range?).unwrap_or_default())?;
            if header.command == CANCEL {
                continue; // [MS-SMB2] 3.3.5.16: there is no response to it
            }
            while self.marks.len() >= MAX_MARKS && self.marks.pop_first().is_some() {
                self.forgotten_marks = self.forgotten_marks.saturating_add(1);
            }
            let mark = Mark {
                signed: header.is(FLAG_SIGNED),
                encrypted,
            };
            self.marks.insert(header.message_id, mark);
        }
        Ok(opened)
    }

    /// Seals an outgoing plain response, compound or notification in place.
    ///
    /// Install the session's key before sealing the SESSION_SETUP response that ends its
    /// authentication. `notify` is the session a break notification goes to, which its own header
    /// need not say: [MS-SMB2] 3.3.4.6, 3.3.4.7.
    ///
    /// # Errors
    ///
    /// A [`SealError`] when the frame is no sound compound or the nonces are used up.
    pub fn seal(&mut self, frame: &mut Vec<u8>, notify: Option<u64>) -> Result<Sealed, SealError> {
        let mut sealed = Sealed::default();
        if is_smb1(frame) {
            return Ok(sealed);
        }
        let ranges = pdus(frame).collect::<Result<Vec<_>, _>>()?;
        let mut session_id = 0;
        let (mut encrypt_for, mut logged_off) = (None, None);
        for (index, range) in ranges.iter().enumerate() {
            let header = Header::read(frame.get(range.clone()).unwrap_or_default())?;
            let own = match notify {
                Some(session_id) if header.message_id == UNSOLICITED => session_id,
                _ => effective_session(&header, session_id),
            };
            session_id = if index == 0 { own } else { session_id };
            if self.wants_encryption(&header, own) {
                encrypt_for = Some(session_id);
            }
        }
        for range in ranges {
            let Some(pdu) = frame.get_mut(range) else {
                continue;
            };
            let header = Header::read(pdu)?;
            let own = effective_session(&header, session_id);
            let finishes = header.command == SESSION_SETUP && header.status == 0;
            if finishes {
                self.conn.note(pdu, &header, own)?; // derives the key that signs it
            }
            if encrypt_for.is_none() && self.wants_signature(&header, own) {
                self.conn.sign(pdu, &header, own, &mut sealed)?;
            } else {
                unsign(pdu)?;
            }
            if header.command == LOGOFF && header.status == 0 {
                logged_off = Some(own); // its response still needs the keys
            } else if !finishes {
                self.conn.note(pdu, &header, own)?;
            }
            if !header.is_interim() {
                self.marks.remove(&header.message_id);
            }
        }
        if let Some(session_id) = encrypt_for {
            self.conn.encrypt(Direction::ToClient, session_id, frame)?;
            sealed.encrypted = true;
        }
        if let Some(session_id) = logged_off {
            self.conn.forget(session_id);
        }
        Ok(sealed)
    }

    fn wants_encryption(&self, header: &Header, session_id: u64) -> bool {
        let Some(session) = self.conn.sessions.get(&session_id) else {
            return false;
        };
        let mark = self.marks.get(&header.message_id);
        session.established
            && session.s2c.is_some()
            && header.command != NEGOTIATE
            && (mark.is_some_and(|mark| mark.encrypted)
                || session.encrypted_trees.contains(&header.tree_id)
                || (session.encrypt && header.command != SESSION_SETUP))
    }

    fn wants_signature(&self, header: &Header, session_id: u64) -> bool {
        let Some(session) = self.conn.sessions.get(&session_id) else {
            return false;
        };
        if session.keyless
            || header.command == NEGOTIATE
            || header.is_interim()
            || header.message_id == UNSOLICITED
        {
            return false;
        }
        let final_setup = header.command == SESSION_SETUP && header.status == 0;
        let asked = self
            .marks
            .get(&header.message_id)
            .is_some_and(|mark| mark.signed);
        asked || final_setup || (session.established && session.signing_required)
    }
}

impl Deref for ServerSecurity {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

impl DerefMut for ServerSecurity {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

/// More requests than any credit window leaves unanswered. [MS-SMB2] 3.3.1.2.
const MAX_MARKS: usize = 65_536;
