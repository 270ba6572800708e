//! What a connection's own messages say about how to seal it.
//!
//! [`Connection`] is fed every plain PDU of both directions (`note_*`) or every raw frame
//! (`open`), and keeps dialect, algorithms, pre-authentication hashes, sessions and their keys. It
//! takes no decision: [`super::client`] and [`super::server`] do. An observer who sees both
//! directions of a capture needs nothing else.
//!
//! | message                        | what is learnt                         | [MS-SMB2]         |
//! |--------------------------------|----------------------------------------|-------------------|
//! | NEGOTIATE request              | chain restarts with it                 | 3.2.4.2.2.2       |
//! | NEGOTIATE response             | dialect, cipher, signing, chain        | 3.2.5.2           |
//! | SESSION_SETUP request          | the session's chain                    | 3.2.4.2.3         |
//! | SESSION_SETUP, more processing | the session's chain, its id            | 3.2.5.3.1         |
//! | SESSION_SETUP, success         | keys are due; guest, null, encrypt     | 3.2.5.3.1         |
//! | SESSION_SETUP, failure         | the unfinished session is gone         | 3.2.5.3           |
//! | TREE_CONNECT response          | whether the share wants encryption     | 3.2.5.5           |
//! | TREE_DISCONNECT, LOGOFF        | tree, session gone                     | 3.2.5.4, 3.2.5.8  |

use std::collections::BTreeMap;

use super::SealError;
use super::compress::decompress;
use super::encrypt::{CipherKey, transform};
use super::keys::{Cipher, Dialect, PreauthHash, Secret, SigningAlgorithm};
pub use super::session::SessionBase;
use super::session::{Algorithms, Session};
use super::sign::SigningKey;
use super::wire::{
    FLAG_RELATED, FLAG_SIGNED, Header, NEGOTIATE, SESSION_SETUP, STATUS_USER_SESSION_DELETED,
    UNSOLICITED, is_compressed, is_encrypted, is_smb1, pdus,
};

mod learn;

/// Which way a frame travels.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Responses and notifications.
    ToClient,
}

/// What the seal of a received frame was worth. Later variants are worse.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// It was encrypted, and its tag was right.
    Encrypted,
    /// Every PDU was signed, and every signature was right.
    Signed,
    /// Some PDU was not signed, and none had to be.
    Unsigned,
    /// PDU number `pdu` was signed, and no key to verify it is installed.
    Unchecked {
        /// Position in the compound, from 0.
        pdu: u32,
    },
    /// PDU number `pdu` had to be signed and was not. [MS-SMB2] 3.2.5.1.3, 3.3.5.2.4.
    MissingSignature {
        /// Position in the compound, from 0.
        pdu: u32,
    },
    /// PDU number `pdu` had to be encrypted and was not. [MS-SMB2] 3.3.5.2.9, 3.3.5.2.11.
    MissingEncryption {
        /// Position in the compound, from 0.
        pdu: u32,
    },
    /// The signature of PDU number `pdu` is wrong.
    BadSignature {
        /// Position in the compound, from 0.
        pdu: u32,
    },
}

impl Verdict {
    /// Whether the specification lets the receiver process the frame.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(
            self,
            Self::Encrypted | Self::Signed | Self::Unsigned | Self::Unchecked { .. }
        )
    }
}

/// A received frame with its seal taken off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The plain message or compound; SIGNED flags and signatures are as they were received.
    pub plain: Vec<u8>,
    /// The session named by the transform header, when there was one.
    pub encrypted_for: Option<u64>,
    /// Whether it was compressed.
    pub compressed: bool,
    /// What the seal was worth.
    pub verdict: Verdict,
}

/// How an outgoing frame was sealed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sealed {
    /// The whole frame was encrypted.
    pub encrypted: bool,
    /// PDUs that were signed.
    pub signed: u32,
    /// PDUs that should have been signed, but for want of a key.
    pub unsigned_without_key: u32,
}

/// A SESSION_SETUP request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Setup {
    chain: PreauthHash,
    signing_required: bool,
}

/// The security state of one connection, as both ends and every observer can know it.
#[derive(Debug)]
pub struct Connection {
    dialect: Option<Dialect>,
    cipher: Option<Cipher>,
    signing: SigningAlgorithm,
    client_mode: u16,
    server_mode: u16,
    server_capabilities: u32,
    offered: PreauthHash,
    chain: PreauthHash,
    pub(super) sessions: BTreeMap<u64, Session>,
    setups: BTreeMap<u64, Setup>,
    forgotten_setups: u64,
    nonce_seed: u32,
    pub(super) demands: Demands,
}

/// What this end demands of every session that has the keys for it, besides what was negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demands {
    pub(super) signatures: bool,
    pub(super) encryption: bool,
}

impl Connection {
    /// A connection nothing is known of.
    ///
    /// `nonce_seed` ends every nonce of this end (three of its bytes with CCM): it must differ
    /// between the channels of one session, and does not matter to an observer.
    #[must_use]
    pub fn new(nonce_seed: u32) -> Self {
        Self {
            dialect: None,
            cipher: None,
            signing: SigningAlgorithm::HmacSha256,
            client_mode: 0,
            server_mode: 0,
            server_capabilities: 0,
            offered: PreauthHash::default(),
            chain: PreauthHash::default(),
            sessions: BTreeMap::new(),
            setups: BTreeMap::new(),
            forgotten_setups: 0,
            nonce_seed,
            demands: Demands::default(),
        }
    }

    /// The negotiated dialect; `None` before it is, and after only a wildcard answer.
    #[must_use]
    pub const fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The negotiated cipher.
    #[must_use]
    pub const fn cipher(&self) -> Option<Cipher> {
        self.cipher
    }

    /// The negotiated signing algorithm.
    #[must_use]
    pub const fn signing_algorithm(&self) -> SigningAlgorithm {
        self.signing
    }

    /// Capabilities of the NEGOTIATE response. [MS-SMB2] 2.2.4.
    #[must_use]
    pub const fn server_capabilities(&self) -> u32 {
        self.server_capabilities
    }

    /// Whether the server's NEGOTIATE response demands signing.
    #[must_use]
    pub const fn server_requires_signing(&self) -> bool {
        self.server_mode & SIGNING_REQUIRED != 0
    }

    /// SESSION_SETUP requests dropped unanswered because too many were waiting.
    #[must_use]
    pub const fn forgotten_setups(&self) -> u64 {
        self.forgotten_setups
    }

    /// Whether the session's SESSION_SETUP has succeeded on this connection.
    #[must_use]
    pub fn is_established(&self, session_id: u64) -> bool {
        self.sessions
            .get(&session_id)
            .is_some_and(|session| session.established)
    }

    /// Whether keys are there to sign for the session.
    #[must_use]
    pub fn has_keys(&self, session_id: u64) -> bool {
        self.sessions
            .get(&session_id)
            .is_some_and(|session| session.signing.is_some())
    }

    /// Whether the session as a whole wants encryption.
    #[must_use]
    pub fn encrypts_session(&self, session_id: u64) -> bool {
        self.sessions
            .get(&session_id)
            .is_some_and(|session| session.encrypt)
    }

    /// `Session.ApplicationKey`, what named-pipe protocols ask for. [MS-SMB2] 3.2.4.2.3.
    #[must_use]
    pub fn application_key(&self, session_id: u64) -> Option<&Secret> {
        self.sessions.get(&session_id)?.application.as_ref()
    }

    /// Gives the key the authentication of a session ended with (the whole of it).
    ///
    /// May come before or after the successful SESSION_SETUP response. When it comes after a signed
    /// one, that signature is judged now, and the verdict returned. A session that has keys keeps
    /// them.
    ///
    /// # Errors
    ///
    /// [`SealError::NotNegotiated`] before NEGOTIATE.
    pub fn install_session_key(
        &mut self,
        session_id: u64,
        key: Secret,
    ) -> Result<Option<Verdict>, SealError> {
        let algorithms = self.algorithms()?;
        let session = self.sessions.entry(session_id).or_default();
        if session.signing.is_some() {
            return Ok(None);
        }
        session.gss_key = Some(key);
        session.settle(algorithms)?;
        let Some(signer) = &session.signing else {
            return Ok(None);
        };
        let Some(response) = session.unverified.take() else {
            return Ok(None);
        };
        let good = signer.verify(&response)?;
        Ok(Some(if good {
            Verdict::Signed
        } else {
            Verdict::BadSignature { pdu: 0 }
        }))
    }

    /// Says that the authentication of a session gave no key, as with an anonymous user or a server
    /// that asks for no proof. Nothing of the session can then be signed or encrypted, whatever
    /// either end demands. A session that has keys keeps them.
    pub fn without_session_key(&mut self, session_id: u64) {
        if let Some(session) = self.sessions.get_mut(&session_id)
            && session.session_key().is_none()
        {
            session.keyless = true;
        }
    }

    /// Gives the two cipher keys of a session, known from elsewhere; `cipher` overrules what was
    /// negotiated, as a capture may begin after that.
    ///
    /// # Errors
    ///
    /// [`SealError::BadKeyLength`].
    pub fn install_cipher_keys(
        &mut self,
        session_id: u64,
        cipher: Cipher,
        client_to_server: &Secret,
        server_to_client: &Secret,
    ) -> Result<(), SealError> {
        let c2s = CipherKey::new(cipher, client_to_server)?;
        let s2c = CipherKey::new(cipher, server_to_client)?;
        let session = self.sessions.entry(session_id).or_default();
        session.c2s = Some(c2s);
        session.s2c = Some(s2c);
        Ok(())
    }

    /// Gives the signing key of a session, known from elsewhere.
    ///
    /// # Errors
    ///
    /// [`SealError::BadKeyLength`].
    pub fn install_signing_key(
        &mut self,
        session_id: u64,
        algorithm: SigningAlgorithm,
        key: &Secret,
    ) -> Result<(), SealError> {
        let key = SigningKey::new(algorithm, key)?;
        self.sessions.entry(session_id).or_default().signing = Some(key);
        Ok(())
    }

    /// What another connection needs to become a channel of this session.
    #[must_use]
    pub fn export(&self, session_id: u64) -> Option<SessionBase> {
        let session = self.sessions.get(&session_id)?;
        if let Some(base) = &session.base {
            return Some(base.clone()); // its own key is the channel's alone
        }
        Some(SessionBase {
            dialect: self.dialect?,
            signing: session.signing.clone()?,
            c2s: session.c2s.clone(),
            s2c: session.s2c.clone(),
            encrypt: session.encrypt,
            signing_required: session.signing_required,
        })
    }

    /// Prepares to bind this connection to a session of another one. Call it before the
    /// SESSION_SETUP request with the binding flag is sealed (client) or opened (server).
    ///
    /// # Errors
    ///
    /// [`SealError::NotNegotiated`] when the dialects differ. [MS-SMB2] 3.3.5.5.
    pub fn bind(&mut self, session_id: u64, base: SessionBase) -> Result<(), SealError> {
        if self.dialect != Some(base.dialect) {
            return Err(SealError::NotNegotiated {
                what: "the session's dialect",
            });
        }
        self.sessions.entry(session_id).or_default().base = Some(base);
        Ok(())
    }

    /// Whether the connection already is, or is becoming, a channel of the session.
    #[must_use]
    pub fn is_bound(&self, session_id: u64) -> bool {
        let session = self.sessions.get(&session_id);
        session.is_some_and(|session| session.established || session.base.is_some())
    }

    /// Drops a session and its keys. A LOGOFF response does so by itself.
    pub fn forget(&mut self, session_id: u64) {
        self.sessions.remove(&session_id);
    }

    /// Takes the seal off a received frame, judges it, and learns from what is inside.
    ///
    /// # Errors
    ///
    /// Any [`SealError`] when the frame is not readable: no key, wrong tag, bad structure. What was
    /// learnt before stays. SMB1 frames pass through as [`Verdict::Unsigned`].
    pub fn open(&mut self, direction: Direction, mut frame: Vec<u8>) -> Result<Opened, SealError> {
        if is_smb1(&frame) {
            let (encrypted_for, compressed, verdict) = (None, false, Verdict::Unsigned);
            return Ok(Opened {
                plain: frame,
                encrypted_for,
                compressed,
                verdict,
            });
        }
        let mut encrypted_for = None;
        if is_encrypted(&frame) {
            let session_id = transform(&frame)?.session_id;
            let session = self.sessions.get(&session_id);
            let key = session.and_then(|session| match direction {
                Direction::ToServer => session.c2s.as_ref(),
                Direction::ToClient => session.s2c.as_ref(),
            });
            let none = SealError::NoKey {
                session_id,
                what: "cipher",
            };
            key.ok_or(none)?.open(&mut frame)?;
            encrypted_for = Some(session_id);
        }
        let compressed = is_compressed(&frame);
        if compressed {
            frame = decompress(&frame, MAX_PLAIN)?;
        }
        let mut verdict = Verdict::Signed;
        let mut session_id = encrypted_for.unwrap_or(0);
        for (index, range) in pdus(&frame).enumerate() {
            let pdu = frame.get(range?).unwrap_or_default();
            let header = Header::read(pdu)?;
            session_id = effective_session(&header, session_id);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let found = self.examine(pdu, &header, session_id, index, encrypted_for.is_some())?;
            verdict = verdict.max(found);
        }
        if encrypted_for.is_some() {
            verdict = Verdict::Encrypted;
        }
        Ok(Opened {
            plain: frame,
            encrypted_for,
            compressed,
            verdict,
        })
    }

    /// Judges and notes one PDU, in the order its command asks for.
    fn examine(
        &mut self,
        pdu: &[u8],
        header: &Header,
        session_id: u64,
        index: u32,
        encrypted: bool,
    ) -> Result<Verdict, SealError> {
        // The final response is signed with a key that it completes the derivation of.
        let first = header.is_response() && header.command == SESSION_SETUP && header.status == 0;
        if first {
            self.note(pdu, header, session_id)?;
        }
        let verdict = if encrypted {
            Verdict::Encrypted
        } else {
            self.judge(pdu, header, session_id, index)?
        };
        if first
            && matches!(verdict, Verdict::Unchecked { .. })
            && let Some(session) = self.sessions.get_mut(&session_id)
        {
            session.unverified = Some(pdu.to_vec());
        }
        if !first {
            self.note(pdu, header, session_id)?;
        }
        Ok(verdict)
    }

    fn judge(
        &self,
        pdu: &[u8],
        header: &Header,
        session_id: u64,
        index: u32,
    ) -> Result<Verdict, SealError> {
        let session = self.sessions.get(&session_id);
        if header.is(FLAG_SIGNED) {
            let judged = session.map(|session| session.verify(pdu, header));
            // [MS-SMB2] 3.3.5.2.4: who does not find the session has no key to sign its answer with.
            let homeless = header.is_response() && header.status == STATUS_USER_SESSION_DELETED;
            match judged.transpose()?.flatten() {
                Some(true) => {}
                Some(false) if homeless => return Ok(Verdict::Unchecked { pdu: index }),
                Some(false) => return Ok(Verdict::BadSignature { pdu: index }),
                None => return Ok(Verdict::Unchecked { pdu: index }),
            }
        }
        let Some(session) = session.filter(|session| session.established && !session.keyless)
        else {
            return Ok(if header.is(FLAG_SIGNED) {
                Verdict::Signed
            } else {
                Verdict::Unsigned
            });
        };
        let excepted = matches!(header.command, NEGOTIATE | SESSION_SETUP)
            || (header.is_response() && header.status == STATUS_USER_SESSION_DELETED)
            || header.is_interim()
            || header.message_id == UNSOLICITED;
        let wants_encryption = self.demands.encryption
            || session.encrypt
            || session.encrypted_trees.contains(&header.tree_id);
        let wants_signature = self.demands.signatures || session.signing_required;
        Ok(if wants_encryption && session.c2s.is_some() && !excepted {
            Verdict::MissingEncryption { pdu: index }
        } else if header.is(FLAG_SIGNED) {
            Verdict::Signed
        } else if wants_signature && !excepted {
            Verdict::MissingSignature { pdu: index }
        } else {
            Verdict::Unsigned
        })
    }

    fn algorithms(&self) -> Result<Algorithms, SealError> {
        let dialect = self
            .dialect
            .ok_or(SealError::NotNegotiated { what: "a dialect" })?;
        Ok(Algorithms {
            dialect,
            cipher: self.cipher,
            signing: self.signing,
        })
    }

    /// Encrypts a plain frame for a session in one direction.
    pub(super) fn encrypt(
        &mut self,
        direction: Direction,
        session_id: u64,
        frame: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let none = SealError::NoKey {
            session_id,
            what: "cipher",
        };
        let session = self.sessions.get_mut(&session_id).ok_or(none)?;
        let nonce = session.nonce(session_id, self.nonce_seed)?;
        let key = match direction {
            Direction::ToServer => session.c2s.as_ref(),
            Direction::ToClient => session.s2c.as_ref(),
        };
        key.ok_or(none)?.seal(session_id, nonce, frame)
    }

    /// Signs one PDU if the session has a key, and says so in `sealed`.
    pub(super) fn sign(
        &self,
        pdu: &mut [u8],
        header: &Header,
        session_id: u64,
        sealed: &mut Sealed,
    ) -> Result<(), SealError> {
        let session = self
            .sessions
            .get(&session_id)
            .filter(|session| !session.keyless);
        match session.and_then(|session| session.signing_key(pdu, header)) {
            Some(key) => {
                key.sign(pdu)?;
                sealed.signed = sealed.signed.saturating_add(1);
            }
            None => {
                super::sign::unsign(pdu)?;
                sealed.unsigned_without_key = sealed.unsigned_without_key.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// The session a PDU belongs to; a related one may leave it to its predecessor.
/// [MS-SMB2] 3.2.4.1.4.
pub(super) const fn effective_session(header: &Header, previous: u64) -> u64 {
    if header.is(FLAG_RELATED) && header.session_id == u64::MAX {
        previous
    } else {
        header.session_id
    }
}

const SIGNING_REQUIRED: u16 = 0x2;
/// The longest message the transport can carry plain, and nobody sends a longer one compressed.
const MAX_PLAIN: usize = 0x00FF_FFFF;
