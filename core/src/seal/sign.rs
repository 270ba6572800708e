//! Signatures of single PDUs. [MS-SMB2] 3.1.4.1, 3.1.5.1.
//!
//! A compound is signed PDU by PDU, padding included; splitting it is [`super::pdus`]'s work.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use cmac::{Cmac, Mac};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use hmac::Hmac;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::SealError;
use super::keys::{Secret, SigningAlgorithm};
use super::wire::{
    CANCEL, FLAG_RESPONSE, FLAG_SIGNED, HEADER_LEN, Header, OFF_FLAGS, OFF_SIGNATURE, put,
};

/// A signing key with its schedule, ready for many messages.
#[derive(Clone)]
pub struct SigningKey(Kind);

#[derive(Clone)]
enum Kind {
    Hmac(Box<Hmac<Sha256>>),
    Cmac(Box<Cmac<Aes128>>),
    Gmac(Box<(Aes128, GHash)>),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm())
    }
}

impl SigningKey {
    /// Prepares `key`.
    ///
    /// # Errors
    ///
    /// [`SealError::BadKeyLength`] unless `key` has 16 bytes (HMAC-SHA256 takes any length).
    pub fn new(algorithm: SigningAlgorithm, key: &Secret) -> Result<Self, SealError> {
        let bad = |_| SealError::BadKeyLength {
            what: "signing",
            want: 16,
            got: key.len(),
        };
        let bytes = key.expose();
        Ok(Self(match algorithm {
            SigningAlgorithm::HmacSha256 => {
                Kind::Hmac(Box::new(Hmac::new_from_slice(bytes).map_err(bad)?))
            }
            SigningAlgorithm::AesCmac => {
                Kind::Cmac(Box::new(Cmac::new_from_slice(bytes).map_err(bad)?))
            }
            SigningAlgorithm::AesGmac => {
                let aes = Aes128::new_from_slice(bytes).map_err(bad)?;
                let mut hash_key = ghash::Key::default();
                aes.encrypt_block(&mut hash_key);
                Kind::Gmac(Box::new((aes, GHash::new(&hash_key))))
            }
        }))
    }

    /// Which algorithm the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        match self.0 {
            Kind::Hmac(_) => SigningAlgorithm::HmacSha256,
            Kind::Cmac(_) => SigningAlgorithm::AesCmac,
            Kind::Gmac(_) => SigningAlgorithm::AesGmac,
        }
    }

    /// The signature `pdu` should carry; its Signature field counts as zero, whatever it holds.
    ///
    /// # Errors
    ///
    /// [`SealError::NotSmb`] or [`SealError::Truncated`] when `pdu` has no whole SMB2 header.
    pub fn compute(&self, pdu: &[u8]) -> Result<[u8; 16], SealError> {
        let header = Header::read(pdu)?;
        let (head, body) = pdu.split_at_checked(HEADER_LEN).unwrap_or((pdu, &[]));
        let (fields, _) = head.split_at_checked(OFF_SIGNATURE).unwrap_or((head, &[]));
        let zero = [0_u8; HEADER_LEN - OFF_SIGNATURE];
        Ok(match &self.0 {
            Kind::Hmac(key) => {
                let mut mac = Hmac::clone(key);
                mac.update(fields);
                mac.update(&zero);
                mac.update(body);
                truncate(&mac.finalize().into_bytes())
            }
            Kind::Cmac(key) => {
                let mut mac = Cmac::clone(key);
                mac.update(fields);
                mac.update(&zero);
                mac.update(body);
                truncate(&mac.finalize().into_bytes())
            }
            Kind::Gmac(key) => {
                let (aes, hash) = key.as_ref();
                gmac(aes, hash.clone(), &header, [fields, &zero, body])
            }
        })
    }

    /// Sets the SIGNED flag and the Signature field.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::compute`]; `pdu` is then unchanged.
    pub fn sign(&self, pdu: &mut [u8]) -> Result<(), SealError> {
        let header = Header::read(pdu)?;
        put(pdu, OFF_FLAGS, &(header.flags | FLAG_SIGNED).to_le_bytes());
        let signature = self.compute(pdu)?;
        put(pdu, OFF_SIGNATURE, &signature);
        Ok(())
    }

    /// Whether the Signature field is the right one. Does not look at the SIGNED flag.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::compute`].
    pub fn verify(&self, pdu: &[u8]) -> Result<bool, SealError> {
        let want = self.compute(pdu)?;
        let have = pdu.get(OFF_SIGNATURE..HEADER_LEN).unwrap_or_default();
        Ok(want.as_slice().ct_eq(have).into())
    }
}

/// Clears the SIGNED flag and zeroes the Signature field.
///
/// # Errors
///
/// [`SealError::NotSmb`] or [`SealError::Truncated`] when `pdu` has no whole SMB2 header.
pub fn unsign(pdu: &mut [u8]) -> Result<(), SealError> {
    let header = Header::read(pdu)?;
    put(pdu, OFF_FLAGS, &(header.flags & !FLAG_SIGNED).to_le_bytes());
    put(pdu, OFF_SIGNATURE, &[0; HEADER_LEN - OFF_SIGNATURE]);
    Ok(())
}

/// GMAC (NIST SP800-38D): GCM with nothing to encrypt and the message as additional data.
///
/// Streamed, so that the zeroed Signature field needs no copy of the message: 48 and 64 are
/// multiples of the 16-byte block.
fn gmac(aes: &Aes128, mut hash: GHash, header: &Header, parts: [&[u8]; 3]) -> [u8; 16] {
    let mut bits = 0_u64;
    for part in parts {
        hash.update_padded(part);
        bits = bits.wrapping_add(
            u64::try_from(part.len())
                .unwrap_or(u64::MAX)
                .wrapping_mul(8),
        );
    }
    let mut lengths = ghash::Block::default();
    put(&mut lengths, 0, &bits.to_be_bytes());
    hash.update(&[lengths]);
    // [MS-SMB2] 3.1.4.1: MessageId, then bit 0 for the server and bit 1 for a CANCEL.
    let mut role = u32::from(header.flags & FLAG_RESPONSE != 0);
    if header.command == CANCEL {
        role |= 2;
    }
    let mut mask = aes::Block::default();
    put(&mut mask, 0, &header.message_id.to_le_bytes());
    put(&mut mask, 8, &role.to_le_bytes());
    put(&mut mask, 12, &1_u32.to_be_bytes());
    aes.encrypt_block(&mut mask);
    let mut tag = truncate(&hash.finalize());
    for (byte, key) in tag.iter_mut().zip(mask) {
        *byte ^= key;
    }
    tag
}

fn truncate(mac: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(mac) {
        *to = *from;
    }
    out
}
