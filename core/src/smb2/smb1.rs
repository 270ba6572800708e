//! The one SMB1 message an SMB2 connection may begin with: NEGOTIATE. [MS-SMB2] 3.3.5.3.1,
//! [MS-CIFS] 2.2.4.52.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::U16;

use super::error::WireError;
use super::ser::hex;
use super::wire::{len16, read_at, slice_at};

/// The first four bytes of an SMB1 header.
pub const SMB1_PROTOCOL_ID: [u8; 4] = *b"\xffSMB";

const HEADER: usize = 32;
const COM_NEGOTIATE: u8 = 0x72;

/// An SMB1 NEGOTIATE request, kept whole.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smb1Negotiate {
    /// The dialect strings, such as `NT LM 0.12` and `SMB 2.???`.
    pub dialects: Vec<String>,
    /// The frame, from its protocol id on. This is what [`Smb1Negotiate::encode`] writes.
    #[serde(with = "hex")]
    pub raw: Vec<u8>,
}

impl Smb1Negotiate {
    /// A NEGOTIATE request that offers `dialects`, with the flags Windows sets.
    #[must_use]
    pub fn new(dialects: &[&str]) -> Self {
        let mut raw = Vec::new();
        raw.extend_from_slice(&SMB1_PROTOCOL_ID);
        raw.push(COM_NEGOTIATE);
        // Status; canonical, case-insensitive paths; Unicode, NT status, extended security, long
        // names; process id 0xfeff; no tree, user or multiplex id.
        raw.extend_from_slice(&[0, 0, 0, 0, 0x18, 0x53, 0xc8]);
        raw.extend_from_slice(&[0; 12]);
        raw.extend_from_slice(&[0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0]);
        raw.push(0);
        let length: usize = dialects
            .iter()
            .map(|dialect| dialect.len().saturating_add(2))
            .sum();
        raw.extend_from_slice(&len16(length).to_le_bytes());
        for dialect in dialects {
            raw.push(2);
            raw.extend_from_slice(dialect.as_bytes());
            raw.push(0);
        }
        Self {
            dialects: dialects
                .iter()
                .map(|dialect| (*dialect).to_owned())
                .collect(),
            raw,
        }
    }

    /// Whether `frame` begins with an SMB1 header.
    #[must_use]
    pub fn is_smb1(frame: &[u8]) -> bool {
        frame.starts_with(&SMB1_PROTOCOL_ID)
    }

    /// Reads an SMB1 NEGOTIATE request.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] when it is not SMB1, not NEGOTIATE, or a response;
    /// [`WireError::Truncated`] when the dialects end early.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let section = "3.3.5.3.1";
        let bad = |field, offset, got| {
            Err(WireError::BadValue {
                field,
                offset,
                got,
                section,
            })
        };
        let header = slice_at(frame, "SMB1 header", 0, HEADER)?;
        if !Self::is_smb1(header) {
            return bad(
                "ProtocolId",
                0,
                header.first().copied().unwrap_or_default().into(),
            );
        }
        let command = header.get(4).copied().unwrap_or_default();
        if command != COM_NEGOTIATE {
            return bad("Command", 4, command.into());
        }
        let flags = header.get(9).copied().unwrap_or_default();
        if flags & 0x80 != 0 {
            return bad("Flags.Reply", 9, flags.into());
        }
        let words = usize::from(*read_at::<u8>(frame, "WordCount", HEADER)?).saturating_mul(2);
        let at = HEADER.saturating_add(1).saturating_add(words);
        let count = read_at::<U16>(frame, "ByteCount", at)?.get();
        let bytes = slice_at(frame, "Dialects", at.saturating_add(2), usize::from(count))?;
        let dialects = bytes
            .split(|byte| *byte == 0)
            .filter_map(|dialect| dialect.strip_prefix(&[2]))
            .map(|dialect| String::from_utf8_lossy(dialect).into_owned())
            .collect();
        Ok(Self {
            dialects,
            raw: frame.to_vec(),
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.raw);
    }

    /// Whether the client speaks SMB2: it offers `SMB 2.002` or `SMB 2.???`.
    #[must_use]
    pub fn offers_smb2(&self) -> bool {
        self.dialects
            .iter()
            .any(|dialect| dialect == "SMB 2.002" || is_wildcard(dialect))
    }

    /// Whether the client speaks a dialect above 2.0.2: it offers `SMB 2.???`.
    #[must_use]
    pub fn offers_wildcard(&self) -> bool {
        self.dialects.iter().any(|dialect| is_wildcard(dialect))
    }
}

fn is_wildcard(dialect: &str) -> bool {
    dialect == "SMB 2.???"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_build_is_what_we_read() {
        let built = Smb1Negotiate::new(&["NT LM 0.12", "SMB 2.002", "SMB 2.???"]);
        let mut frame = Vec::new();
        built.encode(&mut frame);
        assert_eq!(Smb1Negotiate::decode(&frame).unwrap(), built);
        assert!(built.offers_smb2() && built.offers_wildcard());
        assert!(!Smb1Negotiate::new(&["NT LM 0.12"]).offers_smb2());
        for len in 0..frame.len() {
            assert!(Smb1Negotiate::decode(&frame[..len]).is_err());
        }
    }
}
