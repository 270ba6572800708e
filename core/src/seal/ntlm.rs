//! NTLM as pure functions: messages, NTLMv2 proofs, session keys, MICs. [MS-NLMP].
//!
//! Both ends: the model server builds CHALLENGE and judges AUTHENTICATE, the compiler derives
//! session keys from captured logins, simulated clients log in without a library. Challenges and
//! session keys are arguments, never drawn here. NTLMv1 is recognised and refused.

mod crypto;
mod message;

use thiserror::Error;

pub use crypto::{
    MicVerdict, SealingKeys, check_mic, exported_session_key, mech_list_mic, nt_owf_v2,
    ntlmv2_proof, verify,
};
pub use message::{
    Authenticate, AuthenticateParams, AvPair, Challenge, ChallengeParams, Negotiate,
    build_anonymous, build_authenticate, build_challenge, build_negotiate, challenge_flags,
    parse_authenticate, parse_av_pairs, parse_challenge, parse_negotiate,
};

/// NegotiateFlags. [MS-NLMP] 2.2.2.5.
pub mod flags {
    /// Strings are UTF-16LE.
    pub const UNICODE: u32 = 0x0000_0001;
    /// The client wants TargetName in CHALLENGE.
    pub const REQUEST_TARGET: u32 = 0x0000_0004;
    /// Message integrity.
    pub const SIGN: u32 = 0x0000_0010;
    /// Confidentiality.
    pub const SEAL: u32 = 0x0000_0020;
    /// NTLM authentication.
    pub const NTLM: u32 = 0x0000_0200;
    /// The client logs in anonymously.
    pub const ANONYMOUS: u32 = 0x0000_0800;
    /// A signature block on every message.
    pub const ALWAYS_SIGN: u32 = 0x0000_8000;
    /// TargetName is a server's name.
    pub const TARGET_TYPE_SERVER: u32 = 0x0002_0000;
    /// NTLM v2 session security.
    pub const EXTENDED_SESSIONSECURITY: u32 = 0x0008_0000;
    /// TargetInfo is there.
    pub const TARGET_INFO: u32 = 0x0080_0000;
    /// Version is there.
    pub const VERSION: u32 = 0x0200_0000;
    /// 128-bit session keys.
    pub const KEY_128: u32 = 0x2000_0000;
    /// The client chooses the session key and sends it encrypted.
    pub const KEY_EXCH: u32 = 0x4000_0000;
    /// 56-bit session keys.
    pub const KEY_56: u32 = 0x8000_0000;
}

/// Why an NTLM message was not understood, or not accepted.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NtlmError {
    /// The message ends early, or a field points outside it.
    #[error("{field} at byte {offset} lies outside a message of {len} bytes")]
    OutOfBounds {
        /// The field.
        field: &'static str,
        /// Where it should start.
        offset: usize,
        /// Length of the whole message.
        len: usize,
    },
    /// Signature or MessageType differ from what was asked for.
    #[error("not an NTLMSSP message of type {want}")]
    NotNtlm {
        /// The type asked for.
        want: u32,
    },
    /// The response is an NTLMv1 one; only NTLMv2 is computed here.
    #[error("an NTLMv1 response")]
    NotV2,
    /// The response does not fit user, domain and password.
    #[error("the response does not fit the password")]
    WrongPassword,
    /// KEY_EXCH is set, and the encrypted session key has not 16 bytes.
    #[error("an encrypted session key of {got} bytes")]
    BadSessionKey {
        /// Its length.
        got: usize,
    },
}
