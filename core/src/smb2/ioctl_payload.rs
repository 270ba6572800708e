//! Typed views of IOCTL buffers. [MS-SMB2] 2.2.31, [MS-FSCC] 2.3.
//!
//! A view is given only when it writes exactly the bytes it was read from; the rest is raw.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::header::Guid;
use super::text::Name;
use super::types::{Capabilities, Dialect, Fsctl, SecurityMode};
use super::wire::{len16, len32, raw, to_usize};

/// One range a server copies itself. [MS-SMB2] 2.2.31.1.1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CopyChunk {
    /// First byte in the source.
    pub source_offset: u64,
    /// First byte in the target.
    pub target_offset: u64,
    /// Bytes.
    pub length: u32,
}

/// A range of a file. [MS-FSCC] 2.3.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FileRange {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Input of an IOCTL request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IoctlInput {
    /// SRV_COPYCHUNK and SRV_COPYCHUNK_WRITE. [MS-SMB2] 2.2.31.1.
    CopyChunk {
        /// Says which open is the source.
        source_key: [u8; 24],
        /// The ranges.
        chunks: Vec<CopyChunk>,
    },
    /// VALIDATE_NEGOTIATE_INFO. [MS-SMB2] 2.2.31.4.
    ValidateNegotiate {
        /// Abilities the client said it had.
        capabilities: Capabilities,
        /// The client.
        client_guid: Guid,
        /// Signing as the client said.
        security_mode: SecurityMode,
        /// Dialects the client offered.
        dialects: Vec<Dialect>,
    },
    /// LMR_REQUEST_RESILIENCY. [MS-SMB2] 2.2.31.3.
    Resiliency {
        /// Milliseconds to keep the open.
        timeout: u32,
    },
    /// DFS_GET_REFERRALS. [MS-DFSC] 2.2.2.
    DfsReferral {
        /// Highest referral version the client reads.
        max_referral_level: u16,
        /// The path, with its terminator when one was sent.
        path: Name,
    },
    /// SET_ZERO_DATA. [MS-FSCC] 2.3.71.
    SetZeroData {
        /// First byte to clear.
        offset: u64,
        /// First byte not to clear.
        beyond: u64,
    },
    /// QUERY_ALLOCATED_RANGES. [MS-FSCC] 2.3.52.
    QueryAllocatedRanges(FileRange),
    /// Anything else.
    Raw(Vec<u8>),
}

/// Output of an IOCTL response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IoctlOutput {
    /// SRV_REQUEST_RESUME_KEY. [MS-SMB2] 2.2.32.3.
    ResumeKey {
        /// Stands for the open in a copy.
        key: [u8; 24],
    },
    /// SRV_COPYCHUNK and SRV_COPYCHUNK_WRITE: what was done, or the limits. [MS-SMB2] 2.2.32.1.
    CopyChunk {
        /// Ranges written.
        chunks_written: u32,
        /// Bytes of an unfinished range.
        chunk_bytes_written: u32,
        /// Bytes in all.
        total_bytes_written: u32,
    },
    /// VALIDATE_NEGOTIATE_INFO. [MS-SMB2] 2.2.32.6.
    ValidateNegotiate {
        /// Abilities of the server.
        capabilities: Capabilities,
        /// The server.
        server_guid: Guid,
        /// Signing at the server.
        security_mode: SecurityMode,
        /// The dialect chosen.
        dialect: Dialect,
    },
    /// QUERY_ALLOCATED_RANGES. [MS-FSCC] 2.3.53.
    AllocatedRanges(Vec<FileRange>),
    /// Anything else.
    Raw(Vec<u8>),
}

raw! {
    RawCopyChunks { source_key: [u8; 24], count: U32, reserved: U32 }
    RawCopyChunk { source_offset: U64, target_offset: U64, length: U32, reserved: U32 }
    RawValidate { capabilities: U32, guid: [u8; 16], security_mode: U16, dialect: U16 }
    RawResiliency { timeout: U32, reserved: U32 }
    RawRange { offset: U64, length: U64 }
    RawResumeKey { key: [u8; 24], context_length: U32, context: U32 }
    RawCopied { chunks_written: U32, chunk_bytes_written: U32, total_bytes_written: U32 }
}

impl From<&RawRange> for FileRange {
    fn from(raw: &RawRange) -> Self {
        Self {
            offset: raw.offset.get(),
            length: raw.length.get(),
        }
    }
}

impl IoctlInput {
    /// Reads the input of a request; what does not fit its function is raw.
    #[must_use]
    pub fn parse(function: Fsctl, bytes: &[u8]) -> Self {
        Self::typed(function, bytes)
            .filter(|typed| typed.encode() == bytes)
            .unwrap_or_else(|| Self::Raw(bytes.to_vec()))
    }

    fn typed(function: Fsctl, bytes: &[u8]) -> Option<Self> {
        match function {
            Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE => {
                let (raw, rest) = RawCopyChunks::ref_from_prefix(bytes).ok()?;
                let count = to_usize(raw.count.get());
                let chunks = rest
                    .chunks_exact(size_of::<RawCopyChunk>())
                    .take(count)
                    .filter_map(|chunk| {
                        let raw = RawCopyChunk::ref_from_bytes(chunk).ok()?;
                        Some(CopyChunk {
                            source_offset: raw.source_offset.get(),
                            target_offset: raw.target_offset.get(),
                            length: raw.length.get(),
                        })
                    });
                Some(Self::CopyChunk {
                    source_key: raw.source_key,
                    chunks: chunks.collect(),
                })
            }
            Fsctl::VALIDATE_NEGOTIATE_INFO => {
                let (raw, rest) = RawValidate::ref_from_prefix(bytes).ok()?;
                let number = |pair: &[u8]| u16::from_le_bytes(pair.try_into().unwrap_or_default());
                Some(Self::ValidateNegotiate {
                    capabilities: Capabilities::from_bits_retain(raw.capabilities.get()),
                    client_guid: Guid(raw.guid),
                    security_mode: SecurityMode::from_bits_retain(raw.security_mode.get()),
                    // The fourth field counts the dialects in a request.
                    dialects: rest
                        .chunks_exact(2)
                        .map(|pair| Dialect(number(pair)))
                        .collect(),
                })
            }
            Fsctl::LMR_REQUEST_RESILIENCY => {
                let raw = RawResiliency::ref_from_bytes(bytes).ok()?;
                Some(Self::Resiliency {
                    timeout: raw.timeout.get(),
                })
            }
            Fsctl::DFS_GET_REFERRALS => {
                let (level, path) = U16::ref_from_prefix(bytes).ok()?;
                let path = Name::from_wire(path);
                Some(Self::DfsReferral {
                    max_referral_level: level.get(),
                    path,
                })
            }
            Fsctl::SET_ZERO_DATA => {
                let raw = RawRange::ref_from_bytes(bytes).ok()?;
                Some(Self::SetZeroData {
                    offset: raw.offset.get(),
                    beyond: raw.length.get(),
                })
            }
            Fsctl::QUERY_ALLOCATED_RANGES => {
                let raw = RawRange::ref_from_bytes(bytes).ok()?;
                Some(Self::QueryAllocatedRanges(raw.into()))
            }
            _ => None,
        }
    }

    /// The wire bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::CopyChunk { source_key, chunks } => {
                let head = RawCopyChunks {
                    source_key: *source_key,
                    count: len32(chunks.len()).into(),
                    reserved: 0.into(),
                };
                out.extend_from_slice(head.as_bytes());
                for chunk in chunks {
                    let raw = RawCopyChunk {
                        source_offset: chunk.source_offset.into(),
                        target_offset: chunk.target_offset.into(),
                        length: chunk.length.into(),
                        reserved: 0.into(),
                    };
                    out.extend_from_slice(raw.as_bytes());
                }
            }
            Self::ValidateNegotiate {
                capabilities,
                client_guid,
                security_mode,
                dialects,
            } => {
                let raw = RawValidate {
                    capabilities: capabilities.bits().into(),
                    guid: client_guid.0,
                    security_mode: security_mode.bits().into(),
                    dialect: len16(dialects.len()).into(),
                };
                out.extend_from_slice(raw.as_bytes());
                for dialect in dialects {
                    out.extend_from_slice(&dialect.0.to_le_bytes());
                }
            }
            Self::Resiliency { timeout } => {
                let raw = RawResiliency {
                    timeout: (*timeout).into(),
                    reserved: 0.into(),
                };
                out.extend_from_slice(raw.as_bytes());
            }
            Self::DfsReferral {
                max_referral_level,
                path,
            } => {
                out.extend_from_slice(&max_referral_level.to_le_bytes());
                path.write_to(&mut out);
            }
            Self::SetZeroData { offset, beyond } => put_range(*offset, *beyond, &mut out),
            Self::QueryAllocatedRanges(range) => put_range(range.offset, range.length, &mut out),
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
        out
    }
}

impl IoctlOutput {
    /// Reads the output of a response; what does not fit its function is raw.
    #[must_use]
    pub fn parse(function: Fsctl, bytes: &[u8]) -> Self {
        Self::typed(function, bytes)
            .filter(|typed| typed.encode() == bytes)
            .unwrap_or_else(|| Self::Raw(bytes.to_vec()))
    }

    fn typed(function: Fsctl, bytes: &[u8]) -> Option<Self> {
        match function {
            Fsctl::SRV_REQUEST_RESUME_KEY => {
                let raw = RawResumeKey::ref_from_bytes(bytes).ok()?;
                Some(Self::ResumeKey { key: raw.key })
            }
            Fsctl::SRV_COPYCHUNK | Fsctl::SRV_COPYCHUNK_WRITE => {
                let raw = RawCopied::ref_from_bytes(bytes).ok()?;
                Some(Self::CopyChunk {
                    chunks_written: raw.chunks_written.get(),
                    chunk_bytes_written: raw.chunk_bytes_written.get(),
                    total_bytes_written: raw.total_bytes_written.get(),
                })
            }
            Fsctl::VALIDATE_NEGOTIATE_INFO => {
                let raw = RawValidate::ref_from_bytes(bytes).ok()?;
                Some(Self::ValidateNegotiate {
                    capabilities: Capabilities::from_bits_retain(raw.capabilities.get()),
                    server_guid: Guid(raw.guid),
                    security_mode: SecurityMode::from_bits_retain(raw.security_mode.get()),
                    dialect: Dialect(raw.dialect.get()),
                })
            }
            Fsctl::QUERY_ALLOCATED_RANGES => {
                let ranges = bytes.chunks_exact(size_of::<RawRange>());
                let ranges = ranges.filter_map(|range| RawRange::ref_from_bytes(range).ok());
                Some(Self::AllocatedRanges(ranges.map(FileRange::from).collect()))
            }
            _ => None,
        }
    }

    /// The wire bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::ResumeKey { key } => {
                let raw = RawResumeKey {
                    key: *key,
                    context_length: 0.into(),
                    context: 0.into(),
                };
                out.extend_from_slice(raw.as_bytes());
            }
            Self::CopyChunk {
                chunks_written,
                chunk_bytes_written,
                total_bytes_written,
            } => {
                let raw = RawCopied {
                    chunks_written: (*chunks_written).into(),
                    chunk_bytes_written: (*chunk_bytes_written).into(),
                    total_bytes_written: (*total_bytes_written).into(),
                };
                out.extend_from_slice(raw.as_bytes());
            }
            Self::ValidateNegotiate {
                capabilities,
                server_guid,
                security_mode,
                dialect,
            } => {
                let raw = RawValidate {
                    capabilities: capabilities.bits().into(),
                    guid: server_guid.0,
                    security_mode: security_mode.bits().into(),
                    dialect: dialect.0.into(),
                };
                out.extend_from_slice(raw.as_bytes());
            }
            Self::AllocatedRanges(ranges) => {
                ranges
                    .iter()
                    .for_each(|range| put_range(range.offset, range.length, &mut out));
            }
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
        out
    }
}

fn put_range(offset: u64, length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(
        RawRange {
            offset: offset.into(),
            length: length.into(),
        }
        .as_bytes(),
    );
}
