//! What opens encrypted captures: session keys from a file, and passwords of users.

mod uat;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use smbench_core::{
    seal::{
        Cipher, Connection, SealError, Secret, SessionBase,
        conn::Direction,
        encrypt::{CipherKey, transform},
        ntlm,
    },
    smb2::SessionId,
};
use thiserror::Error;

/// Keys of one session.
#[derive(Clone, Debug, Default)]
pub struct SessionKeys {
    /// The session on the wire.
    pub session_id: SessionId,
    /// What the authentication ended with, whole.
    pub session_key: Option<Secret>,
    /// The cipher of the two keys below; none: the negotiated one, else what fits.
    pub cipher: Option<Cipher>,
    /// What the client encrypts with.
    pub client_to_server: Option<Secret>,
    /// What the server encrypts with.
    pub server_to_client: Option<Secret>,
}

/// Why a key file was not understood. Never holds a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Not a JSON list of objects with text fields.
    #[error("line {line}, column {column}: not a list of session keys")]
    NotAList {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A field that is not hex of the right length.
    #[error("entry {entry}: {field} is not {want}")]
    BadField {
        /// The entry, from 0.
        entry: usize,
        /// The field.
        field: &'static str,
        /// What it should be.
        want: &'static str,
    },
    /// A row that is none of Wireshark's `smb2_seskey_list`.
    #[error("line {line}: {reason}")]
    BadRow {
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing in it, in either form.
    #[error("it is empty")]
    Empty,
}

#[derive(Deserialize)]
struct Line {
    session_id: String,
    session_key: Option<String>,
    full_session_key: Option<String>,
    c2s_key: Option<String>,
    s2c_key: Option<String>,
    cipher: Option<String>,
}

impl SessionKeys {
    /// Reads a key file of either form, told apart by its first character: [`Self::read_list`]'s
    /// JSON begins with a bracket, everything else is rows of Wireshark's `smb2_seskey_list`.
    ///
    /// A row is `sesid,seskey,s2ckey,c2skey` in hex, the session id as its bytes are on the wire;
    /// fields may be quoted or empty, `#` begins a comment.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; [`KeysError::Empty`] when there is no key at all.
    pub fn read(file: &[u8]) -> Result<Vec<Self>, KeysError> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let keys = match file.trim_ascii_start().first() {
            Some(b'[' | b'{') => Self::read_list(file)?,
            _ => uat::read(file)?,
        };
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(keys)
    }

    /// Reads a key file: a JSON list of objects with `session_id` (hex of the eight bytes as they
    /// are on the wire) and any of `session_key`, `full_session_key`, `c2s_key`, `s2c_key` (hex),
    /// `cipher` (number of SMB2_ENCRYPTION_CAPABILITIES, [MS-SMB2] 2.2.3.1.2).
    ///
    /// # Errors
    ///
    /// [`KeysError`].
    pub fn read_list(json: &[u8]) -> Result<Vec<Self>, KeysError> {
        let lines: Vec<Line> = serde_json::from_slice(json).map_err(|e| KeysError::NotAList {
            line: e.line(),
            column: e.column(),
        })?;
        lines.iter().enumerate().map(Self::from_line).collect()
    }

    fn from_line((entry, line): (usize, &Line)) -> Result<Self, KeysError> {
        let key = |field, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let bytes = hex(text).filter(|bytes| matches!(bytes.len(), 16 | 32));
                let want = "32 or 64 hex digits";
                bytes
                    .map(|bytes| Some(Secret::new(&bytes)))
                    .ok_or(KeysError::BadField { entry, field, want })
            }
        };
        let id = hex(&line.session_id).and_then(|bytes| bytes.try_into().ok());
        let id = id.ok_or(KeysError::BadField {
            entry,
            field: "session_id",
            want: "16 hex digits",
        })?;
        let whole = key("full_session_key", &line.full_session_key)?;
        let cipher = line.cipher.as_ref().and_then(|text| text.parse().ok());
        Ok(Self {
            session_id: SessionId(u64::from_le_bytes(id)),
            session_key: match whole {
                Some(whole) => Some(whole),
                None => key("session_key", &line.session_key)?,
            },
            cipher: cipher.and_then(Cipher::from_wire),
            client_to_server: key("c2s_key", &line.c2s_key)?,
            server_to_client: key("s2c_key", &line.s2c_key)?,
        })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

/// All that may open something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    keys: HashMap<u64, Vec<SessionKeys>>,
    /// By user in lower case; `*` for everybody else.
    passwords: BTreeMap<String, Secret>,
}

impl Secrets {
    pub(crate) fn new(keys: &[SessionKeys], passwords: &[(String, Secret)]) -> Self {
        let mut secrets = Self::default();
        for key in keys {
            let list = secrets.keys.entry(key.session_id.0).or_default();
            list.push(key.clone());
        }
        for (user, password) in passwords {
            let user = user.to_lowercase();
            secrets.passwords.insert(user, password.clone());
        }
        secrets
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.passwords.is_empty()
    }

    /// The session key that a login ended with, when a password is known that fits.
    fn session_key(&self, login: &ntlm::Authenticate<'_>, challenge: &[u8; 8]) -> Option<Secret> {
        let named = self.passwords.get(&login.user.to_lowercase());
        let passwords = named.into_iter().chain(self.passwords.get("*"));
        passwords
            .filter_map(|password| std::str::from_utf8(password.expose()).ok())
            .find_map(|password| ntlm::verify(login, password, challenge).ok())
    }
}

/// Takes the encryption off one connection's frames.
#[derive(Debug)]
pub(crate) struct Unsealer {
    conn: Connection,
    /// Server challenges of logins under way, by session.
    challenges: HashMap<u64, [u8; 8]>,
    /// Sessions whose given keys have been tried in vain, and how often.
    tried: HashMap<u64, u32>,
    /// Sessions whose session key is already in.
    installed: BTreeSet<u64>,
}

impl Unsealer {
    pub(crate) fn new() -> Self {
        Self {
            conn: Connection::new(0),
            challenges: HashMap::new(),
            tried: HashMap::new(),
            installed: BTreeSet::new(),
        }
    }

    /// Learns from a plain frame. One that is out of order teaches nothing.
    pub(crate) fn note(&mut self, direction: Direction, frame: &[u8]) {
        let _ = self.conn.open(direction, frame.to_vec());
    }

    /// The server asked `session_id` to prove itself.
    pub(crate) fn challenge(&mut self, session_id: u64, token: &[u8]) {
        if let Ok(challenge) = ntlm::parse_challenge(token) {
            self.challenges
                .insert(session_id, challenge.server_challenge);
        }
    }

    /// The client proved itself.
    pub(crate) fn login(
        &mut self,
        secrets: &Secrets,
        session_id: u64,
        login: &ntlm::Authenticate<'_>,
    ) {
        let challenge = self.challenges.remove(&session_id);
        let key = challenge.and_then(|challenge| secrets.session_key(login, &challenge));
        if let Some(key) = key {
            // Without a dialect the capture lacks what keys are derived from.
            let _ = self.conn.install_session_key(session_id, key);
        }
    }

    /// What another connection needs to become a channel of the session.
    pub(crate) fn export(&self, session_id: u64) -> Option<SessionBase> {
        self.conn.export(session_id)
    }

    /// Makes this connection a channel of another one's session.
    pub(crate) fn bind(&mut self, session_id: u64, base: SessionBase) {
        let _ = self.conn.bind(session_id, base);
    }

    /// The plain frame inside an encrypted one.
    pub(crate) fn open(
        &mut self,
        secrets: &Secrets,
        direction: Direction,
        frame: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let session_id = transform(frame)?.session_id;
        let error = match self.conn.open(direction, frame.to_vec()) {
            Ok(opened) => return Ok(opened.plain),
            Err(error @ (SealError::NoKey { .. } | SealError::BadTag { .. })) => error,
            Err(error) => return Err(error),
        };
        let tries = self.tried.entry(session_id).or_default();
        if *tries >= TRIES {
            return Err(error);
        }
        *tries += 1;
        for keys in secrets.keys.get(&session_id).into_iter().flatten() {
            if self.try_keys(keys, direction, frame) {
                self.tried.remove(&session_id);
                return self
                    .conn
                    .open(direction, frame.to_vec())
                    .map(|opened| opened.plain);
            }
        }
        Err(error)
    }

    fn try_keys(&mut self, keys: &SessionKeys, direction: Direction, frame: &[u8]) -> bool {
        let id = keys.session_id.0;
        if let Some(key) = &keys.session_key
            && self.installed.insert(id)
            && self.conn.install_session_key(id, key.clone()).is_ok()
            && self.conn.open(direction, frame.to_vec()).is_ok()
        {
            return true;
        }
        // Where one key alone is known, the other direction stays closed.
        let given = (&keys.client_to_server, &keys.server_to_client);
        let (c2s, s2c) = match given {
            (Some(c2s), Some(s2c)) => (c2s, s2c),
            (Some(key), None) | (None, Some(key)) => (key, key),
            (None, None) => return false,
        };
        let known = keys.cipher.or(self.conn.cipher());
        let fits =
            |cipher: &Cipher| cipher.key_len() == c2s.len() && known.is_none_or(|it| it == *cipher);
        for cipher in CIPHERS.into_iter().filter(fits) {
            // Wireshark's test suite names the two the other way round.
            for (c2s, s2c) in [(c2s, s2c), (s2c, c2s)] {
                let key = match direction {
                    Direction::ToServer => c2s,
                    Direction::ToClient => s2c,
                };
                let mut copy = frame.to_vec();
                let opens = CipherKey::new(cipher, key).and_then(|key| key.open(&mut copy));
                if opens.is_ok() {
                    return self.conn.install_cipher_keys(id, cipher, c2s, s2c).is_ok();
                }
            }
        }
        false
    }
}

/// A session whose keys have failed so often has other keys.
const TRIES: u32 = 8;
const CIPHERS: [Cipher; 4] = [
    Cipher::Aes128Gcm,
    Cipher::Aes128Ccm,
    Cipher::Aes256Gcm,
    Cipher::Aes256Ccm,
];
