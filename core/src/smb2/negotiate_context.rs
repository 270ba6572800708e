//! Negotiate contexts of dialect 3.1.1. [MS-SMB2] 2.2.3.1, 2.2.4.1.

use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use super::error::WireError;
use super::ser::{flags, hex, is_default, numbers};
use super::text::Name;
use super::wire::{Source, Writer, len16, raw, read_at};

numbers! {
    /// Preauthentication hash. [MS-SMB2] 2.2.3.1.1.
    HashAlgorithm(u16) { SHA_512 = 1 => "SHA-512" }

    /// Cipher. [MS-SMB2] 2.2.3.1.2.
    Cipher(u16) {
        AES_128_CCM = 1 => "AES-128-CCM",
        AES_128_GCM = 2 => "AES-128-GCM",
        AES_256_CCM = 3 => "AES-256-CCM",
        AES_256_GCM = 4 => "AES-256-GCM",
    }

    /// Compression algorithm. [MS-SMB2] 2.2.3.1.3.
    CompressionAlgorithm(u16) {
        NONE = 0 => "none",
        LZNT1 = 1 => "LZNT1",
        LZ77 = 2 => "LZ77",
        LZ77_HUFFMAN = 3 => "LZ77+Huffman",
        PATTERN_V1 = 4 => "Pattern_V1",
        LZ4 = 5 => "LZ4",
    }

    /// RDMA transform. [MS-SMB2] 2.2.3.1.6.
    RdmaTransform(u16) {
        NONE = 0 => "none",
        ENCRYPTION = 1 => "encryption",
        SIGNING = 2 => "signing",
    }

    /// Signing algorithm. [MS-SMB2] 2.2.3.1.7.
    SigningAlgorithm(u16) {
        HMAC_SHA256 = 0 => "HMAC-SHA256",
        AES_CMAC = 1 => "AES-CMAC",
        AES_GMAC = 2 => "AES-GMAC",
    }
}

flags! {
    /// Flags of a compression context. [MS-SMB2] 2.2.3.1.3.
    CompressionFlags(u32) { CHAINED = 0x1 }

    /// Flags of a transport context. [MS-SMB2] 2.2.3.1.5.
    TransportFlags(u32) { ACCEPT_TRANSPORT_LEVEL_SECURITY = 0x1 }
}

/// One negotiate context. [MS-SMB2] 2.2.3.1.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NegotiateContext {
    /// Hashes for preauthentication integrity. [MS-SMB2] 2.2.3.1.1.
    PreauthIntegrity {
        /// Hashes offered, or the one chosen.
        hash_algorithms: Vec<HashAlgorithm>,
        /// Random bytes.
        #[serde(with = "hex")]
        salt: Vec<u8>,
    },
    /// Ciphers. [MS-SMB2] 2.2.3.1.2.
    Encryption {
        /// Ciphers in order of preference, or the one chosen.
        ciphers: Vec<Cipher>,
    },
    /// Compression. [MS-SMB2] 2.2.3.1.3.
    Compression {
        /// Whether payloads may be chained.
        #[serde(default, skip_serializing_if = "is_default")]
        flags: CompressionFlags,
        /// Algorithms in order of preference.
        algorithms: Vec<CompressionAlgorithm>,
    },
    /// The server's name as the client knows it. [MS-SMB2] 2.2.3.1.4.
    Netname(Name),
    /// Security below SMB. [MS-SMB2] 2.2.3.1.5.
    Transport {
        /// Flags.
        flags: TransportFlags,
    },
    /// RDMA transforms. [MS-SMB2] 2.2.3.1.6.
    Rdma {
        /// Transforms offered.
        transforms: Vec<RdmaTransform>,
    },
    /// Signing algorithms. [MS-SMB2] 2.2.3.1.7.
    Signing {
        /// Algorithms in order of preference, or the one chosen.
        algorithms: Vec<SigningAlgorithm>,
    },
    /// A context of another type, or one whose data is not laid out as its type says.
    Raw {
        /// ContextType.
        kind: u16,
        /// Its data.
        #[serde(with = "hex")]
        data: Vec<u8>,
    },
}

raw! {
    RawContext { kind: U16, data_length: U16, reserved: U32 }
    RawPreauth { hash_count: U16, salt_length: U16 }
    RawCompression { count: U16, padding: U16, flags: U32 }
    RawRdma { count: U16, reserved1: U16, reserved2: U32 }
}

/// ContextType of the POSIX extensions; its data is the GUID that is also the tag of their create context.
pub const POSIX_EXTENSIONS: u16 = 0x100;

impl NegotiateContext {
    /// ContextType.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::PreauthIntegrity { .. } => 1,
            Self::Encryption { .. } => 2,
            Self::Compression { .. } => 3,
            Self::Netname(_) => 5,
            Self::Transport { .. } => 6,
            Self::Rdma { .. } => 7,
            Self::Signing { .. } => 8,
            Self::Raw { kind, .. } => *kind,
        }
    }

    /// Reads the data of a context; what does not fit its type is kept raw.
    #[must_use]
    pub fn from_data(kind: u16, data: &[u8]) -> Self {
        let mut again = Vec::with_capacity(data.len());
        match Self::typed(kind, data) {
            Some(typed) => {
                typed.write_data(&mut again);
                if again == data {
                    typed
                } else {
                    Self::Raw {
                        kind,
                        data: data.to_vec(),
                    }
                }
            }
            None => Self::Raw {
                kind,
                data: data.to_vec(),
            },
        }
    }

    fn typed(kind: u16, data: &[u8]) -> Option<Self> {
        Some(match kind {
            1 => {
                let raw: &RawPreauth = read_at(data, "preauth", 0).ok()?;
                let ids = data.get(4..)?;
                let split = usize::from(raw.hash_count.get()).checked_mul(2)?;
                let (ids, salt) = ids.split_at_checked(split)?;
                Self::PreauthIntegrity {
                    hash_algorithms: list(ids, HashAlgorithm),
                    salt: salt.to_vec(),
                }
            }
            2 => Self::Encryption {
                ciphers: list(data.get(2..)?, Cipher),
            },
            3 => {
                let raw: &RawCompression = read_at(data, "compression", 0).ok()?;
                Self::Compression {
                    flags: CompressionFlags::from_bits_retain(raw.flags.get()),
                    algorithms: list(data.get(8..)?, CompressionAlgorithm),
                }
            }
            5 => Self::Netname(Name::from_wire(data)),
            6 => {
                let flags: &U32 = read_at(data, "transport", 0).ok()?;
                Self::Transport {
                    flags: TransportFlags::from_bits_retain(flags.get()),
                }
            }
            7 => Self::Rdma {
                transforms: list(data.get(8..)?, RdmaTransform),
            },
            8 => Self::Signing {
                algorithms: list(data.get(2..)?, SigningAlgorithm),
            },
            _ => return None,
        })
    }

    /// Appends the context's data to `out`.
    pub fn write_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::PreauthIntegrity {
                hash_algorithms,
                salt,
            } => {
                let raw = RawPreauth {
                    hash_count: len16(hash_algorithms.len()).into(),
                    salt_length: len16(salt.len()).into(),
                };
                out.extend_from_slice(raw.as_bytes());
                ids(hash_algorithms, |id| id.0, out);
                out.extend_from_slice(salt);
            }
            Self::Encryption { ciphers } => {
                out.extend_from_slice(&len16(ciphers.len()).to_le_bytes());
                ids(ciphers, |id| id.0, out);
            }
            Self::Compression { flags, algorithms } => {
                let raw = RawCompression {
                    count: len16(algorithms.len()).into(),
                    padding: 0.into(),
                    flags: flags.bits().into(),
                };
                out.extend_from_slice(raw.as_bytes());
                ids(algorithms, |id| id.0, out);
            }
            Self::Netname(name) => name.write_to(out),
            Self::Transport { flags } => out.extend_from_slice(&flags.bits().to_le_bytes()),
            Self::Rdma { transforms } => {
                let count = len16(transforms.len()).into();
                let raw = RawRdma {
                    count,
                    reserved1: 0.into(),
                    reserved2: 0.into(),
                };
                out.extend_from_slice(raw.as_bytes());
                ids(transforms, |id| id.0, out);
            }
            Self::Signing { algorithms } => {
                out.extend_from_slice(&len16(algorithms.len()).to_le_bytes());
                ids(algorithms, |id| id.0, out);
            }
            Self::Raw { data, .. } => out.extend_from_slice(data),
        }
    }
}

/// Reads `count` contexts from logical `offset` on; each begins at a multiple of 8.
pub(crate) fn decode_list(
    pdu: &Source<'_>,
    offset: usize,
    count: u16,
) -> Result<Vec<NegotiateContext>, WireError> {
    let mut at = offset;
    let mut contexts = Vec::new();
    for _ in 0..count {
        let raw: &RawContext = pdu.fixed("NegotiateContext", at)?;
        let data_at = at.saturating_add(size_of::<RawContext>());
        let len = usize::from(raw.data_length.get());
        let data = pdu.slice("NegotiateContext.Data", data_at, len)?;
        contexts.push(NegotiateContext::from_data(raw.kind.get(), data));
        at = data_at
            .saturating_add(len)
            .saturating_sub(offset)
            .next_multiple_of(8);
        at = at.saturating_add(offset);
    }
    Ok(contexts)
}

/// Writes contexts, each at a multiple of 8, without padding behind the last.
pub(crate) fn encode_list(contexts: &[NegotiateContext], out: &mut Writer<'_>) {
    for (index, context) in contexts.iter().enumerate() {
        if index > 0 {
            out.align8();
        }
        let at = out.pos();
        out.zeros(size_of::<RawContext>());
        let start = out.pos();
        context.write_data(out.buffer());
        let data_length = len16(out.pos().saturating_sub(start)).into();
        let kind = context.kind().into();
        out.set(
            at,
            &RawContext {
                kind,
                data_length,
                reserved: 0.into(),
            },
        );
    }
}

fn list<T>(bytes: &[u8], make: impl Fn(u16) -> T) -> Vec<T> {
    let number = |pair: &[u8]| u16::from_le_bytes(pair.try_into().unwrap_or_default());
    bytes
        .chunks_exact(2)
        .map(|pair| make(number(pair)))
        .collect()
}

fn ids<T>(values: &[T], number: impl Fn(&T) -> u16, out: &mut Vec<u8>) {
    for value in values {
        out.extend_from_slice(&number(value).to_le_bytes());
    }
}
