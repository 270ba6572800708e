//! Secrets, the negotiated algorithms, key derivation and the pre-authentication hash.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// Key material: wiped when dropped, never shown by `Debug`, never serialised.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes themselves. Do not log, print or store them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first 16 bytes, right-padded with zeros: `Session.SessionKey` of [MS-SMB2] 3.2.1.3.
    #[must_use]
    pub fn session_key(&self) -> Zeroizing<[u8; 16]> {
        let mut key = Zeroizing::new([0; 16]);
        for (to, from) in key.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A negotiated dialect number. [MS-SMB2] 2.2.4.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dialect(pub u16);

impl Dialect {
    /// SMB 2.0.2.
    pub const SMB202: Self = Self(0x0202);
    /// SMB 2.1.
    pub const SMB210: Self = Self(0x0210);
    /// SMB 3.0.
    pub const SMB300: Self = Self(0x0300);
    /// SMB 3.0.2.
    pub const SMB302: Self = Self(0x0302);
    /// SMB 3.1.1.
    pub const SMB311: Self = Self(0x0311);
    /// The answer to a multi-protocol NEGOTIATE: not a dialect yet. [MS-SMB2] 3.3.5.3.1.
    pub const WILDCARD: Self = Self(0x02FF);

    /// Whether it belongs to the SMB 3.x family.
    #[must_use]
    pub const fn is_3x(self) -> bool {
        self.0 >= 0x0300
    }
}

/// A cipher by its number in SMB2_ENCRYPTION_CAPABILITIES. [MS-SMB2] 2.2.3.1.2.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cipher {
    /// AES-128-CCM (1).
    Aes128Ccm,
    /// AES-128-GCM (2).
    Aes128Gcm,
    /// AES-256-CCM (3).
    Aes256Ccm,
    /// AES-256-GCM (4).
    Aes256Gcm,
}

impl Cipher {
    /// The cipher with that number; `None` for 0 ("no common cipher") and unknown numbers.
    #[must_use]
    pub const fn from_wire(id: u16) -> Option<Self> {
        Some(match id {
            1 => Self::Aes128Ccm,
            2 => Self::Aes128Gcm,
            3 => Self::Aes256Ccm,
            4 => Self::Aes256Gcm,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Aes128Ccm => 1,
            Self::Aes128Gcm => 2,
            Self::Aes256Ccm => 3,
            Self::Aes256Gcm => 4,
        }
    }

    /// Key length in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
            Self::Aes256Ccm | Self::Aes256Gcm => 32,
        }
    }

    /// How many bytes of the transform header's Nonce are used. [MS-SMB2] 2.2.41.
    #[must_use]
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes256Ccm => 11,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }
}

/// A signing algorithm by its number in SMB2_SIGNING_CAPABILITIES. [MS-SMB2] 2.2.3.1.7.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SigningAlgorithm {
    /// HMAC-SHA256 (0), the only one of 2.0.2 and 2.1.
    HmacSha256,
    /// AES-128-CMAC (1), the one of 3.0 and 3.0.2 and the default of 3.1.1.
    AesCmac,
    /// AES-128-GMAC (2), 3.1.1 only.
    AesGmac,
}

impl SigningAlgorithm {
    /// The algorithm with that number.
    #[must_use]
    pub const fn from_wire(id: u16) -> Option<Self> {
        Some(match id {
            0 => Self::HmacSha256,
            1 => Self::AesCmac,
            2 => Self::AesGmac,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::HmacSha256 => 0,
            Self::AesCmac => 1,
            Self::AesGmac => 2,
        }
    }

    /// What a dialect signs with when nothing else was negotiated. [MS-SMB2] 3.1.4.1.
    #[must_use]
    pub const fn default_of(dialect: Dialect) -> Self {
        if dialect.is_3x() {
            Self::AesCmac
        } else {
            Self::HmacSha256
        }
    }
}

/// The keys of SMB 3.x that are derived from a session key. [MS-SMB2] 3.1.4.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// `SigningKey`.
    Signing,
    /// `ApplicationKey`.
    Application,
    /// What the client encrypts with: the client's `EncryptionKey`, the server's `DecryptionKey`.
    ClientToServer,
    /// What the server encrypts with: the server's `EncryptionKey`, the client's `DecryptionKey`.
    ServerToClient,
}

impl Purpose {
    /// Label and, before 3.1.1, context; both with their terminating zero.
    const fn label(self, dialect: Dialect) -> (&'static [u8], &'static [u8]) {
        if dialect.0 >= Dialect::SMB311.0 {
            return match self {
                Self::Signing => (b"SMBSigningKey\0", b""),
                Self::Application => (b"SMBAppKey\0", b""),
                Self::ClientToServer => (b"SMBC2SCipherKey\0", b""),
                Self::ServerToClient => (b"SMBS2CCipherKey\0", b""),
            };
        }
        match self {
            Self::Signing => (b"SMB2AESCMAC\0", b"SmbSign\0"),
            Self::Application => (b"SMB2APP\0", b"SmbRpc\0"),
            Self::ClientToServer => (b"SMB2AESCCM\0", b"ServerIn \0"),
            Self::ServerToClient => (b"SMB2AESCCM\0", b"ServerOut\0"),
        }
    }
}

/// Derives one key of a session. [MS-SMB2] 3.1.4.2.
///
/// `gss_key` is the whole key the authentication gave (`Session.FullSessionKey`). `preauth` counts
/// for 3.1.1 only. `cipher` sets the length of the two cipher keys; the signing and application
/// keys are 16 bytes and come from the first 16 bytes of `gss_key` always. On 2.0.2 and 2.1 nothing
/// is derived: the session key itself signs.
#[must_use]
pub fn derive(
    dialect: Dialect,
    purpose: Purpose,
    gss_key: &Secret,
    preauth: &PreauthHash,
    cipher: Option<Cipher>,
) -> Secret {
    let short = gss_key.session_key();
    if !dialect.is_3x() {
        return Secret::new(&*short);
    }
    let wide = matches!(purpose, Purpose::ClientToServer | Purpose::ServerToClient)
        && cipher.is_some_and(|cipher| cipher.key_len() == 32);
    let (label, context) = purpose.label(dialect);
    let context = if dialect.0 >= Dialect::SMB311.0 {
        preauth.get()
    } else {
        context
    };
    if wide {
        Secret::new(&*kdf::<32>(gss_key.expose(), label, context))
    } else {
        Secret::new(&*kdf::<16>(&*short, label, context))
    }
}

/// SP800-108 in counter mode over HMAC-SHA256, with r = 32 and L = 8·`N` bits, `N` ≤ 32.
///
/// `label` is given with its terminating zero; the separator zero is added here.
#[must_use]
pub fn kdf<const N: usize>(key: &[u8], label: &[u8], context: &[u8]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 32, "one block of HMAC-SHA256") };
    let bits = u32::try_from(N).unwrap_or(32).saturating_mul(8);
    let mut out = Zeroizing::new([0; N]);
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return out; // HMAC takes a key of any length
    };
    mac.update(&1_u32.to_be_bytes());
    mac.update(label);
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits.to_be_bytes());
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
    out
}

/// The SHA-512 chain of 3.1.1's pre-authentication integrity. [MS-SMB2] 3.2.5.2, 3.3.5.4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PreauthHash([u8; 64]);

impl Default for PreauthHash {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl PreauthHash {
    /// Chains one whole message: header, body, signature included, transport framing excluded.
    pub fn update(&mut self, message: &[u8]) {
        let mut hash = Sha512::new();
        hash.update(self.0);
        hash.update(message);
        self.0 = hash.finalize().into();
    }

    /// The chain's value.
    #[must_use]
    pub const fn get(&self) -> &[u8; 64] {
        &self.0
    }
}
