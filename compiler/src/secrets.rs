//! What opens encrypted captures: session keys from a file, and passwords of users.
//!
//! | file | holds |
//! |---|---|
//! | `text` | byte order marks of files that people wrote |
//! | `passwords` | password files, for all verbs |
//! | `uat` | rows of Wireshark's table of session keys |

mod passwords;
mod text;
mod uat;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

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

pub use self::passwords::{Account, Passwords, PasswordsError};

/// Keys of one session.
#[derive(Clone, Debug, Default)]
pub struct SessionKeys {
    /// The session on the wire, or its bytes the other way round: tshark prints the id as a number,
    /// and has its bytes in the table of keys, so what a file has may be either.
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
    /// A byte order mark, and no text behind it.
    #[error("it begins with a byte order mark of UTF-16, and is no UTF-16")]
    BadUtf16,
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
    /// What a key file is, to be told where nothing of it fits.
    pub const FORMS: &str = "a line is sesid,seskey,s2ckey,c2skey in hex, what is not known left empty; \
        sesid is as tshark prints it (0x...) or as its bytes are on the wire";

    /// Reads a key file of either form, told apart by its first character: [`Self::read_list`]'s
    /// JSON begins with a bracket, everything else is rows of Wireshark's `smb2_seskey_list`.
    ///
    /// A row is `sesid,seskey,s2ckey,c2skey` in hex, the session id as its bytes are on the wire or
    /// as tshark prints it; fields may be quoted or empty, `#` begins a comment.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; [`KeysError::Empty`] when there is no key at all.
    pub fn read(file: &[u8]) -> Result<Vec<Self>, KeysError> {
        let file = text::unmarked(file).map_err(|_| KeysError::BadUtf16)?;
        let keys = match file.trim_ascii_start().first() {
            Some(b'[' | b'{') => Self::read_list(&file)?,
            _ => uat::read(&file)?,
        };
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(keys)
    }

    /// Reads a key file: a JSON list of objects with `session_id` (hex) and any of `session_key`, `full_session_key`, `c2s_key`, `s2c_key` (hex),
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
        let id = session_id(&line.session_id).ok_or(KeysError::BadField {
            entry,
            field: "session_id",
            want: "16 hex digits",
        })?;
        let whole = key("full_session_key", &line.full_session_key)?;
        let cipher = line.cipher.as_ref().and_then(|text| text.parse().ok());
        Ok(Self {
            session_id: id,
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

/// A session id as bytes, or as a number behind `0x`, of which zeros in front may be missing.
fn session_id(text: &str) -> Option<SessionId> {
    if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok().map(SessionId);
    }
    let bytes = hex(text)?.try_into().ok()?;
    Some(SessionId(u64::from_le_bytes(bytes)))
}

/// Bytes in hex, with or without `0x` in front and colons, hyphens or spaces between them.
fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text
        .strip_prefix("0x")
        .or(text.strip_prefix("0X"))
        .unwrap_or(text);
    let text: String = text.chars().filter(|it| !SEPARATORS.contains(it)).collect();
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

/// All that may open something, and whether it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    keys: HashMap<u64, Vec<SessionKeys>>,
    passwords: Passwords,
    /// Whether a key has opened something.
    key_fits: bool,
    /// Whether a password was a login's.
    password_fits: bool,
    /// NTLM logins that were tried, and whether there was a password for them.
    logins: BTreeMap<String, bool>,
}

/// Keys or passwords of which none was good for anything.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Unfit {
    /// None of the passwords is one of those that users logged in with.
    #[error(
        "no line is the password of a login in the capture; {}",
        Found("logins by NTLM", logins)
    )]
    Passwords {
        /// Who logged in, and whether there was a line for them.
        logins: Vec<(String, bool)>,
    },
    /// None of the keys opens one of the encrypted sessions.
    #[error(
        "no line opens a session of the capture; {}",
        Found("encrypted sessions", sessions)
    )]
    Keys {
        /// Sessions that stay closed, and whether there was a line for them.
        sessions: Vec<(String, bool)>,
    },
}

/// What there is in a capture, and whether a line was for it.
struct Found<'a>(&'static str, &'a [(String, bool)]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, found) = self;
        if found.is_empty() {
            return write!(f, "there are no {what}");
        }
        write!(f, "there are, as {what}: ")?;
        for (at, (name, is_meant)) in found.iter().take(SHOWN).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let meant = if *is_meant { " (by another line)" } else { "" };
            write!(f, "{comma}{name}{meant}")?;
        }
        match found.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Secrets {
    pub(crate) fn new(keys: &[SessionKeys], passwords: &Passwords) -> Self {
        let mut secrets = Self {
            passwords: passwords.clone(),
            ..Self::default()
        };
        for key in keys {
            // Whichever way round the id was written: the key itself proves that it is the one.
            let id = key.session_id.0;
            for id in BTreeSet::from([id, id.swap_bytes()]) {
                secrets.keys.entry(id).or_default().push(key.clone());
            }
        }
        secrets
    }

    /// What of it was good for nothing, where it could have been good for something: a capture
    /// without logins proves no password wrong, one without `closed` sessions no key.
    pub(crate) fn unfit(&self, closed: impl Iterator<Item = u64>) -> Option<Unfit> {
        let closed: BTreeSet<u64> = closed.collect();
        if !self.keys.is_empty() && !self.key_fits && !closed.is_empty() {
            let closed = closed.into_iter();
            let sessions = closed.map(|id| (format!("{id:#018x}"), self.keys.contains_key(&id)));
            let sessions = sessions.collect();
            return Some(Unfit::Keys { sessions });
        }
        let tried = !self.logins.is_empty() || !closed.is_empty();
        if !self.passwords.is_empty() && !self.password_fits && tried {
            let logins = self.logins.clone().into_iter().collect();
            return Some(Unfit::Passwords { logins });
        }
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.passwords.is_empty()
    }

    /// The session key that a login ended with, when a password is known that fits.
    fn session_key(
        &mut self,
        login: &ntlm::Authenticate<'_>,
        challenge: &[u8; 8],
    ) -> Option<Secret> {
        if login.is_anonymous() || self.passwords.is_empty() {
            return None;
        }
        let account = Account::of_login(&login.domain, &login.user);
        let mut passwords = self.passwords.of(&account).peekable();
        let is_meant = passwords.peek().is_some();
        let key = passwords
            .filter_map(|password| std::str::from_utf8(password.expose()).ok())
            .find_map(|password| ntlm::verify(login, password, challenge).ok());
        self.password_fits |= key.is_some();
        self.logins.insert(account.to_string(), is_meant);
        key
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
        secrets: &mut Secrets,
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
        secrets: &mut Secrets,
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
            if self.try_keys(session_id, keys, direction, frame) {
                secrets.key_fits = true;
                self.tried.remove(&session_id);
                return self
                    .conn
                    .open(direction, frame.to_vec())
                    .map(|opened| opened.plain);
            }
        }
        Err(error)
    }

    fn try_keys(
        &mut self,
        id: u64,
        keys: &SessionKeys,
        direction: Direction,
        frame: &[u8],
    ) -> bool {
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
/// Logins and sessions that an error names.
const SHOWN: usize = 8;
/// What people put between bytes in hex.
const SEPARATORS: &[char] = &[':', '-', ' '];
const CIPHERS: [Cipher; 4] = [
    Cipher::Aes128Gcm,
    Cipher::Aes128Ccm,
    Cipher::Aes256Gcm,
    Cipher::Aes256Ccm,
];
