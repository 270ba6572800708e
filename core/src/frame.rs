//! An SMB2 frame as the engine and the journal see it: plain, unsealed, without bulk data.
//!
//! READ and WRITE data leave the frame as length and BLAKE3 digest, security tokens leave it as a
//! length alone. What is left is some 200 bytes a message, and holds nothing secret. Signatures
//! are zeroed. Cutting and mending is the drivers' business; `Frame::detach` and
//! `Frame::attach` do it for all of them.

mod hex;

use serde::{Deserialize, Serialize};

pub(crate) use self::hex::hex_bytes;

/// BLAKE3 digest of bulk data.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }
}

/// One plain SMB2 PDU or compound chain, with its bulk data cut out.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The bytes that are left, in wire order. `NextCommand` fields keep their wire values, so
    /// they count the bytes that were cut.
    #[serde(with = "crate::frame::hex_bytes")]
    pub bytes: Vec<u8>,
    /// What was cut, by ascending position.
    pub cuts: Vec<Cut>,
}

/// A stretch of bytes that is not in the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Where it belongs: an offset into [`Frame::bytes`], before which it is inserted.
    pub at: u32,
    /// Its length in bytes.
    pub len: u32,
    /// What it was, or where to get it.
    pub content: Content,
}

/// What stands in for the bytes of a [`Cut`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// READ or WRITE data: its digest. On its way out the driver fetches the blob by it.
    Data(Digest),
    /// A security token. Its bytes never leave the driver.
    Token,
}
