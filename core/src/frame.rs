//! An SMB2 frame as the engine and the journal see it: plain, unsealed, without bulk data.
//!
//! READ and WRITE data leave the frame as length and BLAKE3 digest, security tokens leave it as a
//! length alone. What is left is some 200 bytes a message, and holds nothing secret. Signatures
//! are zeroed. Cutting and mending is the drivers' business.

mod hex;

use serde::{Deserialize, Serialize};

pub(crate) use self::hex::hex_bytes;
use crate::smb2::{HEADER_LEN, Header, WireError};

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

impl Frame {
    /// Its length with its bulk data, in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.bytes.len() + self.cuts.iter().map(|cut| cut.len as usize).sum::<usize>()
    }

    /// The PDUs of the frame: header, bytes from the header on without bulk data, and the cut.
    pub fn pdus(&self) -> Pdus<'_> {
        Pdus {
            frame: self,
            at: 0,
            cut: 0,
            over: false,
        }
    }
}

/// Iterates over the PDUs of a [`Frame`].
#[derive(Clone, Debug)]
pub struct Pdus<'a> {
    frame: &'a Frame,
    at: usize,
    cut: usize,
    over: bool,
}

impl<'a> Iterator for Pdus<'a> {
    type Item = Result<(Header, &'a [u8], Option<&'a Cut>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self
            .frame
            .bytes
            .get(self.at..)
            .filter(|rest| !rest.is_empty())?;
        if self.over {
            return None;
        }
        let header = match Header::decode(rest) {
            Ok(header) => header,
            Err(error) => {
                self.over = true;
                return Some(Err(error));
            }
        };
        // NextCommand counts the bytes of this PDU on the wire: one cut at most lies among them.
        let next = header.next_command as usize;
        let cut = self.frame.cuts.get(self.cut).filter(|cut| {
            let len = if next == 0 { usize::MAX } else { next };
            (cut.at as usize).saturating_sub(self.at) <= len
        });
        let len = match next {
            0 => rest.len(),
            next => next.saturating_sub(cut.map_or(0, |cut| cut.len as usize)),
        };
        if len < HEADER_LEN || len > rest.len() {
            self.over = true;
            let have = rest.len();
            let truncated = WireError::Truncated {
                field: "NextCommand",
                offset: self.at,
                need: len,
                have,
            };
            return Some(Err(truncated));
        }
        self.at += len;
        self.over = next == 0;
        self.cut += usize::from(cut.is_some());
        Some(Ok((header, rest.get(..len).unwrap_or_default(), cut)))
    }
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
