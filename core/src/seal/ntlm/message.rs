//! The three messages. [MS-NLMP] 2.2.1.

use super::crypto::{nt_owf_v2, ntlmv2_proof, put_mic, wrap_session_key};
use super::{NtlmError, flags};
use crate::seal::keys::Secret;
use crate::seal::wire::{array_at, slice_at, u16_at, u32_at};

/// NEGOTIATE, as far as a server cares. [MS-NLMP] 2.2.1.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Negotiate {
    /// NegotiateFlags.
    pub flags: u32,
}

/// CHALLENGE. [MS-NLMP] 2.2.1.2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge<'a> {
    /// NegotiateFlags.
    pub flags: u32,
    /// TargetName.
    pub target_name: String,
    /// ServerChallenge.
    pub server_challenge: [u8; 8],
    /// TargetInfo, see [`parse_av_pairs`].
    pub target_info: &'a [u8],
}

/// AUTHENTICATE. [MS-NLMP] 2.2.1.3.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authenticate<'a> {
    /// NegotiateFlags.
    pub flags: u32,
    /// LmChallengeResponse.
    pub lm_response: &'a [u8],
    /// NtChallengeResponse.
    pub nt_response: &'a [u8],
    /// DomainName.
    pub domain: String,
    /// UserName.
    pub user: String,
    /// Workstation.
    pub workstation: String,
    /// EncryptedRandomSessionKey.
    pub session_key: &'a [u8],
}

impl Authenticate<'_> {
    /// Whether this is an anonymous login. [MS-NLMP] 3.2.5.1.2.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user.is_empty()
            && self.nt_response.is_empty()
            && (self.lm_response.is_empty() || self.lm_response == [0])
    }
}

/// One AV_PAIR. [MS-NLMP] 2.2.2.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AvPair<'a> {
    /// AvId; 0, the end of the list, is never given out.
    pub id: u16,
    /// Value.
    pub value: &'a [u8],
}

/// The AV pairs up to the end of the list, or to the first that is cut short.
pub fn parse_av_pairs(bytes: &[u8]) -> impl Iterator<Item = AvPair<'_>> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let (id, len) = (u16_at(bytes, at)?, u16_at(bytes, at.saturating_add(2))?);
        let value = slice_at(bytes, at.saturating_add(4), len.into())?;
        at = at.saturating_add(4).saturating_add(len.into());
        (id != 0).then_some(AvPair { id, value })
    })
}

/// Reads NEGOTIATE.
///
/// # Errors
///
/// [`NtlmError::NotNtlm`].
pub fn parse_negotiate(message: &[u8]) -> Result<Negotiate, NtlmError> {
    check(message, 1)?;
    Ok(Negotiate {
        flags: u32_field(message, 12, "NegotiateFlags")?,
    })
}

/// Reads CHALLENGE.
///
/// # Errors
///
/// [`NtlmError::NotNtlm`] or [`NtlmError::OutOfBounds`].
pub fn parse_challenge(message: &[u8]) -> Result<Challenge<'_>, NtlmError> {
    check(message, 2)?;
    let flags = u32_field(message, 20, "NegotiateFlags")?;
    let field = "ServerChallenge";
    let short = NtlmError::OutOfBounds {
        field,
        offset: 24,
        len: message.len(),
    };
    let has_info = flags & flags::TARGET_INFO != 0;
    Ok(Challenge {
        flags,
        target_name: text(buffer(message, 12, "TargetName")?, flags),
        server_challenge: array_at(message, 24).ok_or(short)?,
        target_info: if has_info {
            buffer(message, 40, "TargetInfo")?
        } else {
            &[]
        },
    })
}

/// Reads AUTHENTICATE.
///
/// # Errors
///
/// [`NtlmError::NotNtlm`] or [`NtlmError::OutOfBounds`].
pub fn parse_authenticate(message: &[u8]) -> Result<Authenticate<'_>, NtlmError> {
    check(message, 3)?;
    let flags = u32_field(message, 60, "NegotiateFlags")?;
    Ok(Authenticate {
        flags,
        lm_response: buffer(message, 12, "LmChallengeResponse")?,
        nt_response: buffer(message, 20, "NtChallengeResponse")?,
        domain: text(buffer(message, 28, "DomainName")?, flags),
        user: text(buffer(message, 36, "UserName")?, flags),
        workstation: text(buffer(message, 44, "Workstation")?, flags),
        session_key: buffer(message, 52, "EncryptedRandomSessionKey")?,
    })
}

/// Builds NEGOTIATE without domain and workstation.
#[must_use]
pub fn build_negotiate(flags: u32) -> Vec<u8> {
    let mut out = head(1);
    out.extend_from_slice(&(flags | flags::VERSION).to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&VERSION);
    out
}

/// What a server puts into CHALLENGE.
#[derive(Clone, Copy, Debug)]
pub struct ChallengeParams<'a> {
    /// Flags of the NEGOTIATE it answers.
    pub client_flags: u32,
    /// Eight bytes the client has to answer.
    pub server_challenge: [u8; 8],
    /// NetBIOS name of the server, upper case.
    pub server_name: &'a str,
    /// NetBIOS name of the domain, upper case; the server's own when it is in none.
    pub domain_name: &'a str,
    /// DNS name of the server.
    pub dns_name: &'a str,
    /// MsvAvTimestamp, a FILETIME; clients that see it send a MIC.
    pub filetime: Option<u64>,
}

/// The flags a server answers a client's with. [MS-NLMP] 3.2.5.1.1.
#[must_use]
pub const fn challenge_flags(client: u32) -> u32 {
    const KEPT: u32 = flags::UNICODE
        | flags::SIGN
        | flags::SEAL
        | flags::ALWAYS_SIGN
        | flags::EXTENDED_SESSIONSECURITY
        | flags::KEY_128
        | flags::KEY_56
        | flags::KEY_EXCH;
    (client & KEPT)
        | flags::NTLM
        | flags::REQUEST_TARGET
        | flags::TARGET_TYPE_SERVER
        | flags::TARGET_INFO
        | flags::VERSION
}

/// Builds CHALLENGE. [MS-NLMP] 2.2.1.2, 3.2.5.1.1.
#[must_use]
pub fn build_challenge(params: &ChallengeParams<'_>) -> Vec<u8> {
    let mut info = Vec::new();
    let mut pair = |id: u16, value: &[u8]| {
        info.extend_from_slice(&id.to_le_bytes());
        info.extend_from_slice(&len_u16(value).to_le_bytes());
        info.extend_from_slice(value);
    };
    pair(2, &utf16(params.domain_name));
    pair(1, &utf16(params.server_name));
    pair(3, &utf16(params.dns_name));
    if let Some(filetime) = params.filetime {
        pair(7, &filetime.to_le_bytes());
    }
    pair(0, &[]);
    let name = utf16(params.server_name);
    let mut out = head(2);
    let mut at = 56;
    push_buffer(&mut out, &name, &mut at);
    out.extend_from_slice(&challenge_flags(params.client_flags).to_le_bytes());
    out.extend_from_slice(&params.server_challenge);
    out.extend_from_slice(&[0; 8]);
    push_buffer(&mut out, &info, &mut at);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&name);
    out.extend_from_slice(&info);
    out
}

/// What a client logs in with.
#[derive(Clone, Copy)]
pub struct AuthenticateParams<'a> {
    /// UserName.
    pub user: &'a str,
    /// DomainName.
    pub domain: &'a str,
    /// The password; used, not stored.
    pub password: &'a str,
    /// Workstation.
    pub workstation: &'a str,
    /// Eight bytes that must not be foreseeable by the server.
    pub client_challenge: [u8; 8],
    /// The session key the client chooses.
    pub session_key: [u8; 16],
    /// FILETIME for the blob when the server sent none.
    pub filetime: u64,
}

/// Builds the AUTHENTICATE message that answers `challenge`, and gives the session key.
/// [MS-NLMP] 3.1.5.1.2, NTLMv2 only, with MIC when the server sent a timestamp.
///
/// # Errors
///
/// As [`parse_challenge`].
pub fn build_authenticate(
    params: &AuthenticateParams<'_>,
    negotiate: &[u8],
    challenge: &[u8],
) -> Result<(Vec<u8>, Secret), NtlmError> {
    let parsed = parse_challenge(challenge)?;
    let stamp = parse_av_pairs(parsed.target_info).find(|pair| pair.id == 7);
    let with_mic = stamp.is_some();
    let filetime = stamp.and_then(|pair| array_at(pair.value, 0));
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.extend_from_slice(&filetime.unwrap_or_else(|| params.filetime.to_le_bytes()));
    blob.extend_from_slice(&params.client_challenge);
    blob.extend_from_slice(&[0; 4]);
    for pair in parse_av_pairs(parsed.target_info).filter(|pair| pair.id != 6) {
        blob.extend_from_slice(&pair.id.to_le_bytes());
        blob.extend_from_slice(&len_u16(pair.value).to_le_bytes());
        blob.extend_from_slice(pair.value);
    }
    if with_mic {
        blob.extend_from_slice(&[6, 0, 4, 0, 2, 0, 0, 0]);
    }
    blob.extend_from_slice(&[0; 8]);
    let owf = nt_owf_v2(params.password, params.user, params.domain);
    let proof = ntlmv2_proof(&owf, &parsed.server_challenge, &blob);
    let nt_response = [proof.as_slice(), &blob].concat();
    let exchanged = parsed.flags & flags::KEY_EXCH != 0;
    let wrapped = wrap_session_key(&owf, proof.as_slice(), &params.session_key);
    let sent: &[u8] = if exchanged { &wrapped } else { &[] };
    let key = super::exported_session_key(&owf, proof.as_slice(), parsed.flags, sent)?;
    let fields = Fields {
        // With a timestamp LMv2 is all zero. [MS-NLMP] 3.1.5.1.2
        lm_response: &[0; 24],
        nt_response: &nt_response,
        domain: params.domain,
        user: params.user,
        workstation: params.workstation,
        session_key: sent,
        flags: parsed.flags,
    };
    let mut out = authenticate(&fields);
    if with_mic {
        put_mic(key.expose(), negotiate, challenge, &mut out);
    }
    Ok((out, key))
}

/// Builds an anonymous AUTHENTICATE message. [MS-NLMP] 3.1.5.1.2.
///
/// # Errors
///
/// As [`parse_challenge`].
pub fn build_anonymous(challenge: &[u8]) -> Result<Vec<u8>, NtlmError> {
    let flags = parse_challenge(challenge)?.flags | flags::ANONYMOUS;
    let key: &[u8] = if flags & flags::KEY_EXCH != 0 {
        &[0; 16]
    } else {
        &[]
    };
    Ok(authenticate(&Fields {
        lm_response: &[0],
        nt_response: &[],
        domain: "",
        user: "",
        workstation: "",
        session_key: key,
        flags,
    }))
}

struct Fields<'a> {
    lm_response: &'a [u8],
    nt_response: &'a [u8],
    domain: &'a str,
    user: &'a str,
    workstation: &'a str,
    session_key: &'a [u8],
    flags: u32,
}

fn authenticate(fields: &Fields<'_>) -> Vec<u8> {
    let names = [
        utf16(fields.domain),
        utf16(fields.user),
        utf16(fields.workstation),
    ];
    let [domain, user, workstation] = &names;
    let mut at = 88;
    let mut out = head(3);
    // The order of the payload is free; the proofs last keep short names close to the header.
    let mut lm_at = at + domain.len() + user.len() + workstation.len();
    push_buffer(&mut out, fields.lm_response, &mut lm_at);
    push_buffer(&mut out, fields.nt_response, &mut lm_at);
    for name in &names {
        push_buffer(&mut out, name, &mut at);
    }
    push_buffer(&mut out, fields.session_key, &mut lm_at);
    out.extend_from_slice(&(fields.flags | flags::VERSION).to_le_bytes());
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&[0; 16]);
    for name in &names {
        out.extend_from_slice(name);
    }
    out.extend_from_slice(fields.lm_response);
    out.extend_from_slice(fields.nt_response);
    out.extend_from_slice(fields.session_key);
    out
}

fn head(kind: u32) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&kind.to_le_bytes());
    out
}

fn push_buffer(out: &mut Vec<u8>, value: &[u8], at: &mut usize) {
    let len = len_u16(value).to_le_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&len);
    out.extend_from_slice(&u32::try_from(*at).unwrap_or(u32::MAX).to_le_bytes());
    *at = at.saturating_add(value.len());
}

/// Names and blobs here are far below 64 KiB; a longer one gives a message that peers refuse.
fn len_u16(value: &[u8]) -> u16 {
    u16::try_from(value.len()).unwrap_or(u16::MAX)
}

fn check(message: &[u8], want: u32) -> Result<(), NtlmError> {
    let fits = message.starts_with(SIGNATURE) && u32_at(message, 8) == Some(want);
    if fits {
        Ok(())
    } else {
        Err(NtlmError::NotNtlm { want })
    }
}

fn u32_field(message: &[u8], offset: usize, field: &'static str) -> Result<u32, NtlmError> {
    u32_at(message, offset).ok_or(NtlmError::OutOfBounds {
        field,
        offset,
        len: message.len(),
    })
}

/// The payload a (Len, MaxLen, BufferOffset) triple at `at` points to.
fn buffer<'a>(message: &'a [u8], at: usize, field: &'static str) -> Result<&'a [u8], NtlmError> {
    let triple = || Some((u16_at(message, at)?, u32_at(message, at.checked_add(4)?)?));
    let bad = |offset| NtlmError::OutOfBounds {
        field,
        offset,
        len: message.len(),
    };
    let (len, offset) = triple().ok_or(bad(at))?;
    if len == 0 {
        return Ok(&[]); // the offset then counts for nothing
    }
    let offset = usize::try_from(offset).map_err(|_| bad(at))?;
    slice_at(message, offset, len.into()).ok_or(bad(offset))
}

fn text(bytes: &[u8], negotiated: u32) -> String {
    if negotiated & flags::UNICODE == 0 {
        return bytes.iter().copied().map(char::from).collect();
    }
    let units = bytes.chunks_exact(2).filter_map(|unit| u16_at(unit, 0));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// UTF-16LE without a terminator.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_mul(2));
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    out
}

const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// VERSION: 6.1, NTLMSSP revision 15. [MS-NLMP] 2.2.2.10.
const VERSION: [u8; 8] = [6, 1, 0, 0, 0, 0, 0, 15];
