//! Headers of encrypted and compressed frames. [MS-SMB2] 2.2.41, 2.2.42.
//!
//! Only the layout is read and written here; ciphers are [`crate::seal`]'s business.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::error::WireError;
use super::header::SessionId;
use super::negotiate_context::CompressionAlgorithm;
use super::wire::{len32, raw, read_at, slice_at, to_usize};

/// The first four bytes of an encrypted frame.
pub const TRANSFORM_ID: [u8; 4] = *b"\xfdSMB";
/// The first four bytes of a compressed frame.
pub const COMPRESSION_ID: [u8; 4] = *b"\xfcSMB";
/// Length of a transform header in bytes.
pub const TRANSFORM_LEN: usize = 52;

/// Header of an encrypted frame; the ciphertext follows. [MS-SMB2] 2.2.41.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TransformHeader {
    /// Authentication tag.
    pub signature: [u8; 16],
    /// Nonce: 11 bytes for CCM, 12 for GCM, then zeros.
    pub nonce: [u8; 16],
    /// Length of the plaintext in bytes.
    pub original_message_size: u32,
    /// Reserved.
    pub reserved: u16,
    /// 1: encrypted. In dialect 3.0, the algorithm.
    pub flags: u16,
    /// The session whose keys were used.
    pub session_id: SessionId,
}

raw! {
    RawTransform {
        protocol_id: [u8; 4],
        signature: [u8; 16],
        nonce: [u8; 16],
        original_message_size: U32,
        reserved: U16,
        flags: U16,
        session_id: U64,
    }
    RawCompression { protocol_id: [u8; 4], original_size: U32 }
    RawPayload { algorithm: U16, flags: U16, length: U32 }
}

impl TransformHeader {
    /// Reads the header at the start of `frame`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] below 52 bytes, [`WireError::BadValue`] for another protocol id.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let raw: &RawTransform = read_at(frame, "transform header", 0)?;
        expect_id(raw.protocol_id, TRANSFORM_ID, "2.2.41")?;
        Ok(Self {
            signature: raw.signature,
            nonce: raw.nonce,
            original_message_size: raw.original_message_size.get(),
            reserved: raw.reserved.get(),
            flags: raw.flags.get(),
            session_id: SessionId(raw.session_id.get()),
        })
    }

    /// Appends the 52 bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let raw = RawTransform {
            protocol_id: TRANSFORM_ID,
            signature: self.signature,
            nonce: self.nonce,
            original_message_size: self.original_message_size.into(),
            reserved: self.reserved.into(),
            flags: self.flags.into(),
            session_id: self.session_id.0.into(),
        };
        out.extend_from_slice(raw.as_bytes());
    }
}

/// A compressed frame. [MS-SMB2] 2.2.42.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CompressedFrame {
    /// One compressed part behind an uncompressed one. [MS-SMB2] 2.2.42.1.
    Unchained {
        /// Length of the compressed part once it is decompressed.
        original_size: u32,
        /// The algorithm.
        algorithm: CompressionAlgorithm,
        /// 0: not chained.
        flags: u16,
        /// Length of the uncompressed part.
        offset: u32,
        /// The uncompressed part, then the compressed one.
        data: Vec<u8>,
    },
    /// Payloads one after the other. [MS-SMB2] 2.2.42.2.
    Chained {
        /// Length of the whole message once it is decompressed.
        original_size: u32,
        /// The payloads.
        payloads: Vec<CompressedPayload>,
    },
}

/// One payload of a chained frame. [MS-SMB2] 2.2.42.2.1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompressedPayload {
    /// The algorithm; [`CompressionAlgorithm::NONE`] for a payload as it is.
    pub algorithm: CompressionAlgorithm,
    /// 1 in the first payload, 0 in the others.
    pub flags: u16,
    /// Length once decompressed; only LZNT1, LZ77, LZ77+Huffman and LZ4 say it.
    pub original_size: Option<u32>,
    /// The payload, without OriginalPayloadSize.
    pub data: Vec<u8>,
}

/// A payload of one repeated byte. [MS-SMB2] 2.2.42.2.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PatternV1 {
    /// The byte.
    pub pattern: u8,
    /// How often it occurs.
    pub repetitions: u32,
}

impl PatternV1 {
    /// Reads the data of a [`CompressionAlgorithm::PATTERN_V1`] payload.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] below 8 bytes.
    pub fn decode(data: &[u8]) -> Result<Self, WireError> {
        let bytes = *read_at::<[u8; 8]>(data, "PatternV1", 0)?;
        let [pattern, _, _, _, repetitions @ ..] = bytes;
        Ok(Self {
            pattern,
            repetitions: u32::from_le_bytes(repetitions),
        })
    }

    /// The eight bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 8] {
        let [a, b, c, d] = self.repetitions.to_le_bytes();
        [self.pattern, 0, 0, 0, a, b, c, d]
    }
}

/// Set in the first payload header of a chained frame. [MS-SMB2] 2.2.42.2.1.
const CHAINED: u16 = 1;

impl CompressedFrame {
    /// Reads a compressed frame; [`CompressedFrame::encode`] gives the same bytes again.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] when a payload ends early, [`WireError::BadValue`] for another
    /// protocol id, or when a payload is too short for its original size.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let head = size_of::<RawCompression>();
        let raw: &RawCompression = read_at(frame, "compression header", 0)?;
        expect_id(raw.protocol_id, COMPRESSION_ID, "2.2.42")?;
        let original_size = raw.original_size.get();
        let first: &RawPayload = read_at(frame, "compression header", head)?;
        let behind = head.saturating_add(size_of::<RawPayload>());
        if first.flags.get() & CHAINED == 0 {
            return Ok(Self::Unchained {
                original_size,
                algorithm: CompressionAlgorithm(first.algorithm.get()),
                flags: first.flags.get(),
                offset: first.length.get(),
                data: frame.get(behind..).unwrap_or_default().to_vec(),
            });
        }
        let mut payloads = Vec::new();
        let mut rest = frame.get(head..).unwrap_or_default();
        while !rest.is_empty() {
            let (payload, behind) = CompressedPayload::decode(rest)?;
            payloads.push(payload);
            rest = behind;
        }
        Ok(Self::Chained {
            original_size,
            payloads,
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = |original_size: u32| RawCompression {
            protocol_id: COMPRESSION_ID,
            original_size: original_size.into(),
        };
        match self {
            Self::Unchained {
                original_size,
                algorithm,
                flags,
                offset,
                data,
            } => {
                out.extend_from_slice(head(*original_size).as_bytes());
                let raw = RawPayload {
                    algorithm: algorithm.0.into(),
                    flags: (*flags).into(),
                    length: (*offset).into(),
                };
                out.extend_from_slice(raw.as_bytes());
                out.extend_from_slice(data);
            }
            Self::Chained {
                original_size,
                payloads,
            } => {
                out.extend_from_slice(head(*original_size).as_bytes());
                payloads.iter().for_each(|payload| payload.encode(out));
            }
        }
    }
}

impl CompressedPayload {
    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (raw, rest) = RawPayload::ref_from_prefix(bytes).map_err(|_| WireError::Truncated {
            field: "compression payload header",
            offset: 0,
            need: size_of::<RawPayload>(),
            have: bytes.len(),
        })?;
        let algorithm = CompressionAlgorithm(raw.algorithm.get());
        let len = to_usize(raw.length.get());
        let payload = slice_at(rest, "compression payload", 0, len)?;
        let behind = rest.get(len..).unwrap_or_default();
        let (original_size, data) = if says_size(algorithm) {
            let size = read_at::<U32>(payload, "OriginalPayloadSize", 0)?.get();
            (Some(size), payload.get(4..).unwrap_or_default())
        } else {
            (None, payload)
        };
        let payload = Self {
            algorithm,
            flags: raw.flags.get(),
            original_size,
            data: data.to_vec(),
        };
        Ok((payload, behind))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let size = if self.original_size.is_some() { 4 } else { 0 };
        let raw = RawPayload {
            algorithm: self.algorithm.0.into(),
            flags: self.flags.into(),
            length: len32(self.data.len().saturating_add(size)).into(),
        };
        out.extend_from_slice(raw.as_bytes());
        if let Some(size) = self.original_size {
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(&self.data);
    }
}

/// [MS-SMB2] 2.2.42.2.1: OriginalPayloadSize is there for the LZ algorithms only.
fn says_size(algorithm: CompressionAlgorithm) -> bool {
    matches!(
        algorithm,
        CompressionAlgorithm::LZNT1
            | CompressionAlgorithm::LZ77
            | CompressionAlgorithm::LZ77_HUFFMAN
            | CompressionAlgorithm::LZ4
    )
}

fn expect_id(got: [u8; 4], expected: [u8; 4], section: &'static str) -> Result<(), WireError> {
    if got == expected {
        return Ok(());
    }
    let got = u64::from(u32::from_be_bytes(got));
    Err(WireError::BadValue {
        field: "ProtocolId",
        offset: 0,
        got,
        section,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chained() -> CompressedFrame {
        let payload = |algorithm, flags, original_size, data: &[u8]| CompressedPayload {
            algorithm,
            flags,
            original_size,
            data: data.to_vec(),
        };
        let pattern = PatternV1 {
            pattern: 7,
            repetitions: 4096,
        }
        .encode();
        CompressedFrame::Chained {
            original_size: 5000,
            payloads: vec![
                payload(CompressionAlgorithm::NONE, 1, None, b"header"),
                payload(CompressionAlgorithm::PATTERN_V1, 0, None, &pattern),
                payload(CompressionAlgorithm::LZ77, 0, Some(898), b"squeezed"),
            ],
        }
    }

    #[test]
    fn compressed_frames_come_back() {
        let unchained = CompressedFrame::Unchained {
            original_size: 4096,
            algorithm: CompressionAlgorithm::LZNT1,
            flags: 0,
            offset: 80,
            data: vec![9; 300],
        };
        for frame in [chained(), unchained] {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(CompressedFrame::decode(&bytes).unwrap(), frame);
            for len in 0..bytes.len() {
                if let Ok(short) = CompressedFrame::decode(&bytes[..len]) {
                    let mut again = Vec::new();
                    short.encode(&mut again);
                    assert_eq!(again, bytes[..len]);
                }
            }
        }
    }

    #[test]
    fn a_transform_header_comes_back() {
        let header = TransformHeader {
            signature: [1; 16],
            nonce: [2; 16],
            original_message_size: 300,
            reserved: 0,
            flags: 1,
            session_id: SessionId(0x1_0000_0007),
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), TRANSFORM_LEN);
        assert_eq!(TransformHeader::decode(&bytes).unwrap(), header);
        assert!(TransformHeader::decode(&bytes[..51]).is_err());
        bytes[0] = 0xfe;
        assert!(TransformHeader::decode(&bytes).is_err());
    }
}
