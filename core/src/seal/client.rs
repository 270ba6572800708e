//! When a client signs and encrypts. [MS-SMB2] 3.2.4.1.1, 3.2.4.1.8.

use std::ops::{Deref, DerefMut};

use super::SealError;
use super::conn::{Connection, Demands, Direction, Opened, Sealed, effective_session};
use super::keys::Dialect;
use super::sign::unsign;
use super::wire::{
    FSCTL_VALIDATE_NEGOTIATE_INFO, Header, IOCTL, NEGOTIATE, TREE_CONNECT, is_smb1, pdus, u32_at,
};

/// Whether requests are signed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SigningPolicy {
    /// Only what the protocol always demands: channel binding, VALIDATE_NEGOTIATE_INFO, and
    /// TREE_CONNECT on 3.1.1.
    Off,
    /// What `Off` says, and every request of a session either end demands signing for.
    #[default]
    IfRequired,
    /// Every request of a session that has a key.
    Always,
}

/// Whether requests are encrypted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EncryptPolicy {
    /// Where the server's session or share demands it.
    #[default]
    IfRequired,
    /// Every request of a session that has a cipher key.
    Always,
}

/// The security state of the client end of one connection.
///
/// Everything it knows of the connection itself is in the [`Connection`] it dereferences to.
#[derive(Debug)]
pub struct ClientSecurity {
    conn: Connection,
    signing: SigningPolicy,
    encryption: EncryptPolicy,
}

impl ClientSecurity {
    /// The state of a fresh connection; see [`Connection::new`] for `nonce_seed`.
    #[must_use]
    pub fn new(signing: SigningPolicy, encryption: EncryptPolicy, nonce_seed: u32) -> Self {
        let mut conn = Connection::new(nonce_seed);
        // What was signed is answered signed, and what was encrypted encrypted. [MS-SMB2] 3.3.4.1.1,
        // 3.3.4.1.4.
        conn.demands = Demands {
            signatures: signing == SigningPolicy::Always,
            encryption: encryption == EncryptPolicy::Always,
        };
        Self {
            conn,
            signing,
            encryption,
        }
    }

    /// Seals an outgoing plain message or compound in place: signs its PDUs or encrypts it whole.
    ///
    /// SIGNED flags and signatures that are already there are replaced. SMB1 frames pass through.
    ///
    /// # Errors
    ///
    /// A [`SealError`] when the frame is no sound compound or the nonces are used up.
    pub fn seal(&mut self, frame: &mut Vec<u8>) -> Result<Sealed, SealError> {
        let mut sealed = Sealed::default();
        if is_smb1(frame) {
            return Ok(sealed);
        }
        let ranges = pdus(frame).collect::<Result<Vec<_>, _>>()?;
        let mut session_id = 0;
        let mut encrypt_for = None;
        for (index, range) in ranges.iter().enumerate() {
            let header = Header::read(frame.get(range.clone()).unwrap_or_default())?;
            let own = effective_session(&header, session_id);
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
            session_id = effective_session(&header, session_id);
            if encrypt_for.is_none() && self.wants_signature(&header, session_id, pdu) {
                self.conn.sign(pdu, &header, session_id, &mut sealed)?;
            } else {
                unsign(pdu)?;
            }
            self.conn.note(pdu, &header, session_id)?;
        }
        if let Some(session_id) = encrypt_for {
            self.conn.encrypt(Direction::ToServer, session_id, frame)?;
            sealed.encrypted = true;
        }
        Ok(sealed)
    }

    /// Takes the seal off a received frame. See [`Connection::open`].
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub fn open(&mut self, frame: Vec<u8>) -> Result<Opened, SealError> {
        self.conn.open(Direction::ToClient, frame)
    }

    fn wants_encryption(&self, header: &Header, session_id: u64) -> bool {
        let Some(session) = self.conn.sessions.get(&session_id) else {
            return false;
        };
        session.established
            && session.c2s.is_some()
            && header.command != NEGOTIATE
            && (self.encryption == EncryptPolicy::Always
                || session.encrypt
                || session.encrypted_trees.contains(&header.tree_id))
    }

    fn wants_signature(&self, header: &Header, session_id: u64, pdu: &[u8]) -> bool {
        let Some(session) = self.conn.sessions.get(&session_id) else {
            return false;
        };
        if session.keyless || header.command == NEGOTIATE {
            return false;
        }
        // [MS-SMB2] 3.2.4.1.1, 3.3.5.5: a request that binds a channel is refused unsigned.
        if header.is_binding(pdu) || !session.established {
            return header.is_binding(pdu) && session.session_key().is_some();
        }
        let always = match header.command {
            TREE_CONNECT => self.conn.dialect() == Some(Dialect::SMB311),
            IOCTL => u32_at(pdu, 68) == Some(FSCTL_VALIDATE_NEGOTIATE_INFO),
            _ => false,
        };
        always
            || match self.signing {
                SigningPolicy::Off => false,
                SigningPolicy::IfRequired => session.signing_required,
                SigningPolicy::Always => true,
            }
    }
}

impl Deref for ClientSecurity {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

impl DerefMut for ClientSecurity {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }
}
