//! Proofs and keys. [MS-NLMP] 3.3.2, 3.4.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use rc4::{Rc4, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::message::{Authenticate, parse_av_pairs, utf16};
use super::{NtlmError, flags};
use crate::seal::keys::Secret;

type Key = Zeroizing<[u8; 16]>;

/// NTOWFv2: the key a password gives for a user. [MS-NLMP] 3.3.2.
#[must_use]
pub fn nt_owf_v2(password: &str, user: &str, domain: &str) -> Key {
    let secret = Zeroizing::new(utf16(password));
    let nt_hash: Key = Zeroizing::new(Md4::digest(secret.as_slice()).into());
    let mut name = utf16(&upper(user));
    name.extend(utf16(domain));
    hmac_md5(&*nt_hash, &[&name])
}

/// NTProofStr over the server's challenge and the client's blob. [MS-NLMP] 3.3.2.
#[must_use]
pub fn ntlmv2_proof(owf: &[u8; 16], server_challenge: &[u8; 8], blob: &[u8]) -> Key {
    hmac_md5(owf, &[server_challenge, blob])
}

/// Judges an AUTHENTICATE message and gives the session key both ends now share.
///
/// # Errors
///
/// [`NtlmError::WrongPassword`], [`NtlmError::NotV2`] (also for an anonymous message), or
/// [`NtlmError::BadSessionKey`].
pub fn verify(
    message: &Authenticate<'_>,
    password: &str,
    server_challenge: &[u8; 8],
) -> Result<Secret, NtlmError> {
    // 16 bytes of proof, then a blob of at least 28 bytes. [MS-NLMP] 2.2.2.7, 2.2.2.8
    let parts = message.nt_response.split_at_checked(16);
    let (proof, blob) = parts
        .filter(|(_, blob)| blob.len() >= 28)
        .ok_or(NtlmError::NotV2)?;
    let owf = nt_owf_v2(password, &message.user, &message.domain);
    let want = ntlmv2_proof(&owf, server_challenge, blob);
    if !bool::from(want.as_slice().ct_eq(proof)) {
        return Err(NtlmError::WrongPassword);
    }
    exported_session_key(&owf, proof, message.flags, message.session_key)
}

/// The session key after key exchange. [MS-NLMP] 3.3.2, 3.4.5.1; 3.1.5.1.2 for KEY_EXCH.
///
/// # Errors
///
/// [`NtlmError::BadSessionKey`].
pub fn exported_session_key(
    owf: &[u8; 16],
    proof: &[u8],
    negotiated: u32,
    encrypted: &[u8],
) -> Result<Secret, NtlmError> {
    let base = hmac_md5(owf, &[proof]);
    if negotiated & flags::KEY_EXCH == 0 {
        return Ok(Secret::new(&*base));
    }
    let bad = NtlmError::BadSessionKey {
        got: encrypted.len(),
    };
    let mut key: Key = Zeroizing::new(encrypted.try_into().map_err(|_| bad)?);
    rc4(&base, &mut *key);
    Ok(Secret::new(&*key))
}

/// What the MIC of an AUTHENTICATE message is worth.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MicVerdict {
    /// MsvAvFlags does not announce one.
    Absent,
    /// It is right.
    Valid,
    /// It is announced and wrong or missing.
    Invalid,
}

/// Judges the MIC over the three messages, `authenticate` as it was received.
/// [MS-NLMP] 3.2.5.1.2.
#[must_use]
pub fn check_mic(
    key: &Secret,
    negotiate: &[u8],
    challenge: &[u8],
    authenticate: &[u8],
    parsed: &Authenticate<'_>,
) -> MicVerdict {
    // The client's AV pairs follow 16 bytes of proof and 28 bytes of blob.
    let pairs = parsed.nt_response.get(44..).unwrap_or_default();
    let announced = parse_av_pairs(pairs)
        .any(|pair| pair.id == 6 && pair.value.first().is_some_and(|low| low & AV_FLAG_MIC != 0));
    if !announced {
        return MicVerdict::Absent;
    }
    let (head, tail) = (authenticate.get(..MIC_AT), authenticate.get(MIC_AT + 16..));
    let (Some(head), Some(tail)) = (head, tail) else {
        return MicVerdict::Invalid;
    };
    let have = authenticate.get(MIC_AT..MIC_AT + 16).unwrap_or_default();
    let want = hmac_md5(key.expose(), &[negotiate, challenge, head, &[0; 16], tail]);
    if want.as_slice().ct_eq(have).into() {
        MicVerdict::Valid
    } else {
        MicVerdict::Invalid
    }
}

/// Puts the MIC into a built AUTHENTICATE message with room for one.
pub(super) fn put_mic(key: &[u8], negotiate: &[u8], challenge: &[u8], message: &mut [u8]) {
    let mic = hmac_md5(key, &[negotiate, challenge, message]);
    if let Some(place) = message.get_mut(MIC_AT..MIC_AT + 16) {
        place.copy_from_slice(&*mic);
    }
}

/// The key exchange, client's side: `session_key` encrypted for the server.
pub(super) fn wrap_session_key(owf: &[u8; 16], proof: &[u8], session_key: &[u8; 16]) -> [u8; 16] {
    let base = hmac_md5(owf, &[proof]);
    let mut out = *session_key;
    rc4(&base, &mut out);
    out
}

/// Which end's signature a [`mech_list_mic`] is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SealingKeys {
    /// The client's.
    ClientToServer,
    /// The server's.
    ServerToClient,
}

/// The first GSS MIC of an end over `message`, as SPNEGO's `mechListMIC` needs it.
/// [MS-NLMP] 3.4.4.2, 3.4.5.2, 3.4.5.3, with extended session security and 128-bit keys.
#[must_use]
pub fn mech_list_mic(key: &Secret, end: SealingKeys, negotiated: u32, message: &[u8]) -> [u8; 16] {
    let (sign, seal): (&[u8], &[u8]) = match end {
        SealingKeys::ClientToServer => (
            b"session key to client-to-server signing key magic constant\0",
            b"session key to client-to-server sealing key magic constant\0",
        ),
        SealingKeys::ServerToClient => (
            b"session key to server-to-client signing key magic constant\0",
            b"session key to server-to-client sealing key magic constant\0",
        ),
    };
    let sign_key = md5(&[key.expose(), sign]);
    let strength = if negotiated & flags::KEY_128 != 0 {
        16
    } else if negotiated & flags::KEY_56 != 0 {
        7
    } else {
        5
    };
    let seal_key = md5(&[key.expose().get(..strength).unwrap_or(key.expose()), seal]);
    let sequence = [0; 4];
    let digest = hmac_md5(&*sign_key, &[&sequence, message]);
    let mut mic = [0; 16];
    let mut checksum = [0; 8];
    for (to, from) in checksum.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    if negotiated & flags::KEY_EXCH != 0 {
        rc4(&seal_key, &mut checksum);
    }
    let version = 1_u32.to_le_bytes();
    let bytes = version.iter().chain(&checksum).chain(&sequence);
    for (to, from) in mic.iter_mut().zip(bytes) {
        *to = *from;
    }
    mic
}

fn rc4(key: &[u8; 16], data: &mut [u8]) {
    if let Ok(mut cipher) = Rc4::new_from_slice(key) {
        cipher.apply_keystream(data); // 16 bytes are a key RC4 takes
    }
}

fn md5(parts: &[&[u8]]) -> Key {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> Key {
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else {
        return Zeroizing::default(); // HMAC takes a key of any length
    };
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Upper case as Windows' table has it: letter by letter, never longer than before.
fn upper(name: &str) -> String {
    let one = |letter: char| {
        let mut upper = letter.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(only), None) => only,
            _ => letter,
        }
    };
    name.chars().map(one).collect()
}

/// Where the MIC of an AUTHENTICATE message is, after a Version. [MS-NLMP] 2.2.1.3.
const MIC_AT: usize = 72;
const AV_FLAG_MIC: u8 = 0x2;
