//! The keys and flags of one session on one connection.

use std::collections::BTreeSet;

use super::SealError;
use super::encrypt::CipherKey;
use super::keys::{Cipher, Dialect, PreauthHash, Purpose, Secret, SigningAlgorithm, derive};
use super::sign::SigningKey;
use super::wire::{Header, SESSION_SETUP};

/// What the first channel of a session lends to the others. [MS-SMB2] 3.2.4.2.3.2.
#[derive(Clone, Debug)]
pub struct SessionBase {
    pub(super) dialect: Dialect,
    pub(super) signing: SigningKey,
    pub(super) c2s: Option<CipherKey>,
    pub(super) s2c: Option<CipherKey>,
    pub(super) encrypt: bool,
    pub(super) signing_required: bool,
}

/// What a connection negotiated, as far as keys depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithms {
    pub(super) dialect: Dialect,
    pub(super) cipher: Option<Cipher>,
    pub(super) signing: SigningAlgorithm,
}

/// A session, from the first SESSION_SETUP response that names it to its LOGOFF.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The chain so far while authenticating, the final one afterwards. 3.1.1 only.
    pub(super) preauth: PreauthHash,
    pub(super) gss_key: Option<Secret>,
    /// Set when this connection is a further channel of the session.
    pub(super) base: Option<SessionBase>,
    /// SESSION_SETUP has succeeded.
    pub(super) established: bool,
    /// Guest, anonymous, or no key from the login: nothing is signed or encrypted.
    /// [MS-SMB2] 3.2.5.3.1.
    pub(super) keyless: bool,
    pub(super) signing_required: bool,
    /// SMB2_SESSION_FLAG_ENCRYPT_DATA.
    pub(super) encrypt: bool,
    /// Trees with SMB2_SHAREFLAG_ENCRYPT_DATA.
    pub(super) encrypted_trees: BTreeSet<u32>,
    pub(super) signing: Option<SigningKey>,
    pub(super) c2s: Option<CipherKey>,
    pub(super) s2c: Option<CipherKey>,
    pub(super) application: Option<Secret>,
    /// The signed final response that came before the key that can verify it.
    pub(super) unverified: Option<Vec<u8>>,
    next_nonce: u64,
}

impl Session {
    /// Derives the keys once both the key and the final pre-authentication hash are known.
    ///
    /// Keys are made once: a re-authentication does not change them. [MS-SMB2] 3.2.5.3.2.
    pub(super) fn settle(&mut self, algorithms: Algorithms) -> Result<(), SealError> {
        if !self.established || self.keyless || self.signing.is_some() {
            return Ok(());
        }
        let Some(gss_key) = &self.gss_key else {
            return Ok(());
        };
        let Algorithms {
            dialect,
            cipher,
            signing,
        } = algorithms;
        let make = |purpose| derive(dialect, purpose, gss_key, &self.preauth, cipher);
        let signing = SigningKey::new(signing, &make(Purpose::Signing))?;
        if let Some(base) = &self.base {
            // A channel signs with a key of its own and encrypts with the session's.
            self.c2s.clone_from(&base.c2s);
            self.s2c.clone_from(&base.s2c);
            self.encrypt = base.encrypt;
            self.signing_required |= base.signing_required;
        } else if let (true, Some(cipher)) = (dialect.is_3x(), cipher) {
            // Keys installed by hand stay.
            if self.c2s.is_none() {
                self.c2s = Some(CipherKey::new(cipher, &make(Purpose::ClientToServer))?);
            }
            if self.s2c.is_none() {
                self.s2c = Some(CipherKey::new(cipher, &make(Purpose::ServerToClient))?);
            }
        }
        self.application = Some(make(Purpose::Application));
        self.signing = Some(signing);
        Ok(())
    }

    /// The key that signs a PDU.
    ///
    /// | PDU                                       | key                  | [MS-SMB2]            |
    /// |-------------------------------------------|----------------------|----------------------|
    /// | SESSION_SETUP request that binds          | `Session.SigningKey` | 3.3.5.2.4            |
    /// | SESSION_SETUP response other than success | `Session.SigningKey` | 3.3.4.1.1            |
    /// | everything else                           | `Channel.SigningKey` | 3.3.4.1.1, 3.3.5.2.4 |
    ///
    /// The two are one on the connection that the session began on.
    pub(super) fn signing_key(&self, pdu: &[u8], header: &Header) -> Option<&SigningKey> {
        let refusing =
            header.command == SESSION_SETUP && header.is_response() && header.status != 0;
        if refusing || header.is_binding(pdu) {
            self.session_key()
        } else {
            self.signing.as_ref()
        }
    }

    /// Whether a signature is right; `None` while its key is not known.
    ///
    /// Samba signs with the channel's key once there is one, whatever the status: both are taken.
    pub(super) fn verify(&self, pdu: &[u8], header: &Header) -> Result<Option<bool>, SealError> {
        let Some(key) = self.signing_key(pdu, header) else {
            return Ok(None);
        };
        if key.verify(pdu)? {
            return Ok(Some(true));
        }
        let setup = header.command == SESSION_SETUP && header.is_response();
        match self.signing.as_ref().filter(|_| setup) {
            Some(channel) => channel.verify(pdu).map(Some),
            None => Ok(Some(false)),
        }
    }

    /// `Session.SigningKey`, on whichever channel. [MS-SMB2] 3.2.1.3.
    pub(super) fn session_key(&self) -> Option<&SigningKey> {
        let lent = self.base.as_ref().map(|base| &base.signing);
        lent.or(self.signing.as_ref())
    }

    /// The next nonce of this end: a counter, then the connection's seed.
    pub(super) fn nonce(&mut self, session_id: u64, seed: u32) -> Result<[u8; 12], SealError> {
        let count = self.next_nonce;
        self.next_nonce = count
            .checked_add(1)
            .ok_or(SealError::NonceExhausted { session_id })?;
        let mut nonce = [0; 12];
        let bytes = count.to_le_bytes().into_iter().chain(seed.to_le_bytes());
        for (to, from) in nonce.iter_mut().zip(bytes) {
            *to = from;
        }
        Ok(nonce)
    }
}
