//! The little of SPNEGO that SMB logins need: RFC 4178 in DER, and [MS-SPNG]'s NegTokenInit2.
//!
//! Reading is lenient about what is absent and strict about lengths; nothing allocates by a length
//! that was not checked against the bytes present.

/// DER value of the object identifier of SPNEGO, 1.3.6.1.5.5.2.
const OID_SPNEGO: &[u8] = &[0x2b, 6, 1, 5, 5, 2];
/// DER value of the object identifier of NTLMSSP, 1.3.6.1.4.1.311.2.2.10.
pub const OID_NTLMSSP: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 0x0a];
/// DER value of the object identifier of Kerberos, 1.2.840.113554.1.2.2.
pub const OID_KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];
/// DER value of Microsoft's misspelt Kerberos, 1.2.840.48018.1.2.2.
pub const OID_KERBEROS_MS: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2];

/// `negState` of a NegTokenResp. RFC 4178 4.2.2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NegState {
    /// 0: done.
    AcceptCompleted,
    /// 1: more tokens are to come.
    AcceptIncomplete,
    /// 2: refused.
    Reject,
    /// 3: accepted, if the mechanism list's MIC proves right.
    RequestMic,
}

impl NegState {
    const fn to_wire(self) -> u8 {
        match self {
            Self::AcceptCompleted => 0,
            Self::AcceptIncomplete => 1,
            Self::Reject => 2,
            Self::RequestMic => 3,
        }
    }

    const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::AcceptCompleted,
            1 => Self::AcceptIncomplete,
            2 => Self::Reject,
            3 => Self::RequestMic,
            _ => return None,
        })
    }
}

/// A security token as SESSION_SETUP carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Token<'a> {
    /// An NTLMSSP message without SPNEGO around it.
    Ntlm(&'a [u8]),
    /// A bare Kerberos token (GSS framing with the Kerberos identifier).
    Kerberos(&'a [u8]),
    /// The first token of a negotiation.
    Init(Init<'a>),
    /// Any later token.
    Resp(Resp<'a>),
}

/// NegTokenInit, RFC 4178 4.2.1, or NegTokenInit2, [MS-SPNG] 2.2.1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Init<'a> {
    /// The DER of `mechTypes`, tag and length included: what `mechListMIC` is over.
    pub mech_types: &'a [u8],
    /// The optimistic token of the first mechanism.
    pub mech_token: Option<&'a [u8]>,
}

impl<'a> Init<'a> {
    /// The mechanisms' object identifiers (DER values), most preferred first.
    pub fn mechs(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = take(self.mech_types, SEQUENCE).map_or(&[][..], |(body, _)| body);
        std::iter::from_fn(move || {
            let (oid, after) = take(rest, OID)?;
            rest = after;
            Some(oid)
        })
    }
}

/// NegTokenResp. RFC 4178 4.2.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Resp<'a> {
    /// Whether the negotiation goes on.
    pub state: Option<NegState>,
    /// The chosen mechanism's object identifier (DER value).
    pub mech: Option<&'a [u8]>,
    /// The mechanism's own token.
    pub token: Option<&'a [u8]>,
    /// MIC over the DER of the initiator's `mechTypes`.
    pub mic: Option<&'a [u8]>,
}

impl<'a> Token<'a> {
    /// The mechanism's own token, with SPNEGO taken off.
    #[must_use]
    pub const fn inner(&self) -> Option<&'a [u8]> {
        match self {
            Self::Ntlm(token) | Self::Kerberos(token) => Some(token),
            Self::Init(init) => init.mech_token,
            Self::Resp(resp) => resp.token,
        }
    }
}

/// Reads a security token of either direction; `None` when it is neither raw nor SPNEGO.
#[must_use]
pub fn parse(token: &[u8]) -> Option<Token<'_>> {
    if token.starts_with(b"NTLMSSP\0") {
        return Some(Token::Ntlm(token));
    }
    if let Some((body, _)) = take(token, APPLICATION_0) {
        let (oid, rest) = take(body, OID)?;
        return match oid {
            OID_SPNEGO => parse_init(take(rest, context(0))?.0).map(Token::Init),
            OID_KERBEROS | OID_KERBEROS_MS => Some(Token::Kerberos(token)),
            _ => None,
        };
    }
    if let Some((body, _)) = take(token, context(0)) {
        return parse_init(body).map(Token::Init); // some clients leave the GSS framing out
    }
    parse_resp(take(token, context(1))?.0).map(Token::Resp)
}

fn parse_init(body: &[u8]) -> Option<Init<'_>> {
    let (mut rest, _) = take(body, SEQUENCE)?;
    let mut init = Init::default();
    while let Some((tag, value, after)) = element(rest) {
        rest = after;
        if tag == context(0) {
            init.mech_types = value;
        } else if tag == context(2) {
            init.mech_token = Some(take(value, OCTETS)?.0);
        }
    }
    Some(init)
}

fn parse_resp(body: &[u8]) -> Option<Resp<'_>> {
    let (mut rest, _) = take(body, SEQUENCE)?;
    let mut resp = Resp::default();
    while let Some((tag, value, after)) = element(rest) {
        rest = after;
        if tag == context(0) {
            resp.state = take(value, ENUMERATED)?
                .0
                .first()
                .copied()
                .and_then(NegState::from_wire);
        } else if tag == context(1) {
            resp.mech = Some(take(value, OID)?.0);
        } else if tag == context(2) {
            resp.token = Some(take(value, OCTETS)?.0);
        } else if tag == context(3) {
            resp.mic = Some(take(value, OCTETS)?.0);
        }
    }
    Some(resp)
}

/// The hint a server puts in its NEGOTIATE response. [MS-SPNG] 2.2.1 (NegTokenInit2).
#[must_use]
pub fn neg_token_init2(mechs: &[&[u8]]) -> Vec<u8> {
    let hint = wrap(0x1b, b"not_defined_in_RFC4178@please_ignore");
    let hints = wrap(SEQUENCE, &wrap(context(0), &hint));
    init_token(&mech_types(mechs), &wrap(context(3), &hints))
}

/// A client's first token.
#[must_use]
pub fn neg_token_init(mechs: &[&[u8]], mech_token: &[u8]) -> Vec<u8> {
    init_token(
        &mech_types(mechs),
        &wrap(context(2), &wrap(OCTETS, mech_token)),
    )
}

/// The DER of `mechTypes`, what a `mechListMIC` is over.
#[must_use]
pub fn mech_types(mechs: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = mechs.iter().flat_map(|mech| wrap(OID, mech)).collect();
    wrap(SEQUENCE, &list)
}

/// Any later token of either side.
#[must_use]
pub fn neg_token_resp(resp: &Resp<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(state) = resp.state {
        body.extend(wrap(context(0), &wrap(ENUMERATED, &[state.to_wire()])));
    }
    if let Some(mech) = resp.mech {
        body.extend(wrap(context(1), &wrap(OID, mech)));
    }
    if let Some(token) = resp.token {
        body.extend(wrap(context(2), &wrap(OCTETS, token)));
    }
    if let Some(mic) = resp.mic {
        body.extend(wrap(context(3), &wrap(OCTETS, mic)));
    }
    wrap(context(1), &wrap(SEQUENCE, &body))
}

fn init_token(mech_types: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = wrap(context(0), mech_types);
    body.extend_from_slice(rest);
    let mut framed = wrap(OID, OID_SPNEGO);
    framed.extend(wrap(context(0), &wrap(SEQUENCE, &body)));
    wrap(APPLICATION_0, &framed)
}

const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const APPLICATION_0: u8 = 0x60;

const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One DER element: its tag, its value, what follows. Lengths up to 2^24 - 1.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = digits
                .iter()
                .fold(0, |len, &digit| (len << 8) | usize::from(digit));
            (len, rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

fn take(bytes: &[u8], want: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    (tag == want).then_some((value, rest))
}

/// One DER element. Tokens are far below 2^24 bytes; longer values keep their low 24 bits only.
fn wrap(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len().saturating_add(5));
    out.push(tag);
    let digits = value.len().to_be_bytes();
    match value.len() {
        0..=0x7f => out.extend(digits.iter().rev().take(1)),
        0x80..=0xff => {
            out.push(0x81);
            out.extend(digits.iter().rev().take(1));
        }
        0x100..=0xffff => {
            out.push(0x82);
            out.extend(digits.iter().skip(6));
        }
        _ => {
            out.push(0x83);
            out.extend(digits.iter().skip(5));
        }
    }
    out.extend_from_slice(value);
    out
}
