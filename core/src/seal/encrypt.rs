//! The encryption transform: one header, one message or compound. [MS-SMB2] 2.2.41, 3.1.4.3.

use aes::{Aes128, Aes256};
use aes_gcm::aead::array::Array;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ccm::Ccm;
use ccm::consts::{U11, U16};

use super::SealError;
use super::keys::{Cipher, Secret};
use super::wire::{TRANSFORM_LEN, array_at, is_encrypted, put, slice_at, u16_at, u32_at, u64_at};

type Ccm128 = Ccm<Aes128, U16, U11>;
type Ccm256 = Ccm<Aes256, U16, U11>;

/// A cipher key with its schedule, for one direction of one session.
#[derive(Clone)]
pub struct CipherKey(Kind);

#[derive(Clone)]
enum Kind {
    Ccm128(Box<Ccm128>),
    Gcm128(Box<Aes128Gcm>),
    Ccm256(Box<Ccm256>),
    Gcm256(Box<Aes256Gcm>),
}

impl std::fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CipherKey({:?})", self.cipher())
    }
}

impl CipherKey {
    /// Prepares `key`.
    ///
    /// # Errors
    ///
    /// [`SealError::BadKeyLength`] unless `key` has [`Cipher::key_len`] bytes.
    pub fn new(cipher: Cipher, key: &Secret) -> Result<Self, SealError> {
        let bad = |_| SealError::BadKeyLength {
            what: "cipher",
            want: cipher.key_len(),
            got: key.len(),
        };
        let bytes = key.expose();
        Ok(Self(match cipher {
            Cipher::Aes128Ccm => {
                Kind::Ccm128(Box::new(Ccm128::new_from_slice(bytes).map_err(bad)?))
            }
            Cipher::Aes128Gcm => {
                Kind::Gcm128(Box::new(Aes128Gcm::new_from_slice(bytes).map_err(bad)?))
            }
            Cipher::Aes256Ccm => {
                Kind::Ccm256(Box::new(Ccm256::new_from_slice(bytes).map_err(bad)?))
            }
            Cipher::Aes256Gcm => {
                Kind::Gcm256(Box::new(Aes256Gcm::new_from_slice(bytes).map_err(bad)?))
            }
        }))
    }

    /// Which cipher the key is for.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        match self.0 {
            Kind::Ccm128(_) => Cipher::Aes128Ccm,
            Kind::Gcm128(_) => Cipher::Aes128Gcm,
            Kind::Ccm256(_) => Cipher::Aes256Ccm,
            Kind::Gcm256(_) => Cipher::Aes256Gcm,
        }
    }

    /// Replaces a plain message or compound by its encrypted frame, transform header first.
    ///
    /// `nonce` must never come twice with one key; 12 of its bytes count, 11 with CCM.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLong`] above 2^32 - 1 bytes; `frame` is then unchanged.
    pub fn seal(
        &self,
        session_id: u64,
        nonce: [u8; 12],
        frame: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let too_long = SealError::TooLong { got: frame.len() };
        let size = u32::try_from(frame.len()).map_err(|_| too_long)?;
        let mut header = [0_u8; TRANSFORM_LEN];
        put(&mut header, 0, &[0xFD, b'S', b'M', b'B']);
        let used = slice_at(&nonce, 0, self.cipher().nonce_len()).unwrap_or_default();
        put(&mut header, 20, used);
        put(&mut header, 36, &size.to_le_bytes());
        put(&mut header, 42, &1_u16.to_le_bytes());
        put(&mut header, 44, &session_id.to_le_bytes());
        frame.splice(0..0, header);
        let (head, body) = frame.split_at_mut_checked(TRANSFORM_LEN).ok_or(too_long)?;
        let aad = head.get(20..).unwrap_or_default();
        let tag = self.encrypt(&nonce, aad, body).ok_or(too_long)?;
        put(head, 4, &tag);
        Ok(())
    }

    /// Replaces an encrypted frame by the plain message or compound in it.
    ///
    /// # Errors
    ///
    /// As [`transform`], and [`SealError::BadTag`]; what `frame` holds is then unspecified.
    pub fn open(&self, frame: &mut Vec<u8>) -> Result<(), SealError> {
        let info = transform(frame)?;
        let bad = SealError::BadTag {
            session_id: info.session_id,
        };
        let (head, body) = frame.split_at_mut_checked(TRANSFORM_LEN).ok_or(bad)?;
        let tag: [u8; 16] = array_at(head, 4).ok_or(bad)?;
        let nonce: [u8; 12] = array_at(head, 20).ok_or(bad)?;
        let aad = head.get(20..).unwrap_or_default();
        self.decrypt(&nonce, aad, body, tag).ok_or(bad)?;
        frame.drain(..TRANSFORM_LEN);
        Ok(())
    }

    fn encrypt(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8]) -> Option<[u8; 16]> {
        let short: [u8; 11] = array_at(nonce, 0)?;
        let body = InOutBuf::from(body);
        let tag = match &self.0 {
            Kind::Ccm128(key) => key.encrypt_inout_detached(&Array(short), aad, body),
            Kind::Ccm256(key) => key.encrypt_inout_detached(&Array(short), aad, body),
            Kind::Gcm128(key) => key.encrypt_inout_detached(&Array(*nonce), aad, body),
            Kind::Gcm256(key) => key.encrypt_inout_detached(&Array(*nonce), aad, body),
        };
        tag.ok().map(Into::into)
    }

    fn decrypt(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8], tag: [u8; 16]) -> Option<()> {
        let short: [u8; 11] = array_at(nonce, 0)?;
        let (body, tag) = (InOutBuf::from(body), Array(tag));
        match &self.0 {
            Kind::Ccm128(key) => key.decrypt_inout_detached(&Array(short), aad, body, &tag),
            Kind::Ccm256(key) => key.decrypt_inout_detached(&Array(short), aad, body, &tag),
            Kind::Gcm128(key) => key.decrypt_inout_detached(&Array(*nonce), aad, body, &tag),
            Kind::Gcm256(key) => key.decrypt_inout_detached(&Array(*nonce), aad, body, &tag),
        }
        .ok()
    }
}

/// What a transform header says in clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transform {
    /// The session whose key encrypted the frame.
    pub session_id: u64,
    /// Length of the plain message or compound in bytes.
    pub original_size: u32,
}

/// Reads the transform header a frame starts with. [MS-SMB2] 3.2.5.1.1.
///
/// # Errors
///
/// [`SealError::NotSmb`] when there is none, [`SealError::Truncated`] when the frame ends in it or
/// nothing follows, [`SealError::BadTransform`] when OriginalMessageSize is not the length of what
/// follows or Flags is not 1.
pub fn transform(frame: &[u8]) -> Result<Transform, SealError> {
    if !is_encrypted(frame) {
        let got = array_at(frame, 0).map_or(0, u32::from_be_bytes);
        return Err(SealError::NotSmb {
            want: "a transform header",
            got,
        });
    }
    let field = "transform header";
    let short = SealError::Truncated {
        field,
        need: TRANSFORM_LEN,
        have: frame.len(),
    };
    let read = || Some((u32_at(frame, 36)?, u16_at(frame, 42)?, u64_at(frame, 44)?));
    let (original_size, flags, session_id) = read().ok_or(short)?;
    if flags != 1 {
        return Err(SealError::BadTransform {
            field: "Flags",
            got: u64::from(flags),
        });
    }
    let have = frame.len().saturating_sub(TRANSFORM_LEN);
    if usize::try_from(original_size) != Ok(have) {
        let got = u64::from(original_size);
        return Err(SealError::BadTransform {
            field: "OriginalMessageSize",
            got,
        });
    }
    Ok(Transform {
        session_id,
        original_size,
    })
}
