//! SMB2/3 sealing: key derivation, signatures, encryption, NTLM, and who needs which, when.
//!
//! Pure functions and small sans-IO state machines. Nothing here draws randomness, reads a clock or
//! does I/O: nonces, salts and challenges are arguments. Structures are read at their raw offsets
//! in the 64-byte header ([MS-SMB2] 2.2.1), because a signature is over bytes, not over meaning.
//!
//! - [`keys`]: SP800-108 key derivation, pre-authentication hash, the negotiated algorithms.
//! - [`sign`], [`encrypt`]: one PDU, one transform; no state.
//! - [`compress`]: taking compression off.
//! - [`conn`]: what both ends of a connection learn from its NEGOTIATE, SESSION_SETUP and
//!   TREE_CONNECT messages. An observer of a capture uses it directly.
//! - [`client`], [`server`]: `conn` plus the rules of when an end signs and encrypts.
//! - [`ntlm`], [`spnego`]: the login tokens.

pub mod client;
pub mod compress;
pub mod conn;
pub mod encrypt;
pub mod keys;
pub mod ntlm;
pub mod server;
mod session;
pub mod sign;
pub mod spnego;
mod wire;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use client::{ClientSecurity, EncryptPolicy, SigningPolicy};
pub use conn::{Connection, Opened, Sealed, SessionBase, Verdict};
pub use keys::{Cipher, Dialect, PreauthHash, Secret, SigningAlgorithm};
pub use server::ServerSecurity;
pub use wire::{Pdus, binds, is_compressed, is_encrypted, is_smb1, pdus};

/// Why bytes could not be sealed or opened.
///
/// A bad signature is not among them: that is a [`Verdict`], a finding about the peer.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SealError {
    /// A structure ends before its fixed part does.
    #[error("{field}: need {need} bytes, have {have}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes present.
        have: usize,
    },
    /// The first four bytes are not a protocol id this function takes.
    #[error("protocol id {got:#010x} is not {want}")]
    NotSmb {
        /// What was expected.
        want: &'static str,
        /// The four bytes, big endian; 0 when there are fewer.
        got: u32,
    },
    /// `NextCommand` of a compound points outside it or into its own header. [MS-SMB2] 2.2.1.
    #[error("NextCommand {next} at byte {offset} of a compound of {len} bytes")]
    BadCompound {
        /// Where the header with the bad field starts.
        offset: usize,
        /// The field.
        next: u32,
        /// Length of the whole compound.
        len: usize,
    },
    /// The connection has not negotiated what the operation needs.
    #[error("{what} is not negotiated on this connection")]
    NotNegotiated {
        /// What is missing.
        what: &'static str,
    },
    /// No key of that kind is installed for the session.
    #[error("session {session_id:#x} has no {what} key")]
    NoKey {
        /// The wire's SessionId.
        session_id: u64,
        /// Which key.
        what: &'static str,
    },
    /// The authentication tag of an encrypted message does not fit its bytes.
    #[error("session {session_id:#x}: the message does not decrypt")]
    BadTag {
        /// The wire's SessionId.
        session_id: u64,
    },
    /// A key has a length its algorithm does not take.
    #[error("{what}: a key of {got} bytes, want {want}")]
    BadKeyLength {
        /// Which key.
        what: &'static str,
        /// Length wanted.
        want: usize,
        /// Length given.
        got: usize,
    },
    /// A field of the transform header differs from what is allowed. [MS-SMB2] 2.2.41.
    #[error("transform header: {field} is {got:#x}")]
    BadTransform {
        /// The field.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// The nonces of a session's key are used up.
    #[error("session {session_id:#x}: no nonces left")]
    NonceExhausted {
        /// The wire's SessionId.
        session_id: u64,
    },
    /// The frame is a compressed one, where a plain one is wanted. [MS-SMB2] 2.2.42.
    #[error("the frame is compressed")]
    Compressed,
    /// Compressed bytes do not expand to what their header announces.
    #[error("bad data for compression algorithm {algorithm}")]
    BadCompression {
        /// The algorithm's number. [MS-SMB2] 2.2.3.1.3.
        algorithm: u16,
    },
    /// The message is longer than a transform header can say, or than is accepted.
    #[error("a message of {got} bytes is too long")]
    TooLong {
        /// Its length.
        got: usize,
    },
}
