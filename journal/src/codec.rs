//! The bytes of one event: the only module that names bincode.
//!
//! bincode is unmaintained (RUSTSEC-2025-0141) and pinned, so everything that would have to change
//! with it is here. Record types live in [`v1`], apart from the types of `core`, so that those may
//! change without changing what is on disk.

mod v1;

use bincode::{
    Decode, Encode, config,
    error::{DecodeError, EncodeError},
};
use smbench_core::{event::Input, ids::LogicalTime};
use thiserror::Error;

use self::v1::EventV1;

/// Why an event could not be encoded or decoded.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are no event.
    #[error("not an event: {0}")]
    Malformed(String),
    /// The bytes hold an event and then something else.
    #[error("event takes {used} of {len} bytes")]
    Trailing {
        /// Bytes the event takes.
        used: usize,
        /// Bytes there are.
        len: usize,
    },
    /// The event is larger than a journal can hold.
    #[error("event of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The event holds a value that this format version cannot express.
    #[error("{what} cannot be expressed in format version 1")]
    Unsupported {
        /// Which value.
        what: &'static str,
    },
}

/// One event as the codec sees it: its number is its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Decoded {
    /// Nanoseconds since the event before.
    pub(crate) delta_ns: u64,
    /// Digest of the effects before it, lowest 32 bits.
    pub(crate) before: u32,
    /// The upper 32 bits of that digest, where they are kept.
    pub(crate) before_high: Option<u32>,
    pub(crate) input: Input,
}

/// Appends one event to `out`. On an error `out` may have grown; the caller truncates it.
pub(crate) fn encode(
    delta_ns: u64,
    before: u32,
    before_high: Option<u32>,
    input: &Input,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = out.len();
    let record = EventV1::new(delta_ns, before, before_high, input)?;
    // Encoding never meets the limit: bincode counts it while decoding only.
    bincode::encode_into_std_write(&record, out, config::standard())
        .map_err(|error: EncodeError| CodecError::Malformed(error.to_string()))?;
    let bytes = out.len().saturating_sub(start);
    let claim = bytes.saturating_add(record.cuts().saturating_mul(CUT_CLAIM_BYTES));
    if bytes > MAX_BYTES || claim > LARGE_CLAIM {
        return Err(CodecError::TooLarge {
            bytes: claim,
            max: MAX_BYTES,
        });
    }
    Ok(())
}

/// Decodes one event that fills `bytes` to the last.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, CodecError> {
    // The limit bounds what false lengths can make bincode allocate, so it follows the input's
    // size. An honest event claims at most CUT_CLAIM_BYTES for 3 bytes of input.
    let standard = config::standard();
    let result = if bytes.len() <= SMALL {
        bincode::decode_from_slice(bytes, standard.with_limit::<SMALL_CLAIM>())
    } else if bytes.len() <= MEDIUM {
        bincode::decode_from_slice(bytes, standard.with_limit::<MEDIUM_CLAIM>())
    } else if bytes.len() <= MAX_BYTES {
        bincode::decode_from_slice(bytes, standard.with_limit::<LARGE_CLAIM>())
    } else {
        return Err(CodecError::TooLarge {
            bytes: bytes.len(),
            max: MAX_BYTES,
        });
    };
    let (record, used): (EventV1<'_>, usize) =
        result.map_err(|error: DecodeError| CodecError::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(CodecError::Trailing {
            used,
            len: bytes.len(),
        });
    }
    Ok(record.upgrade())
}

/// Nanoseconds from `previous` to `now`; `None` when time went back.
pub(crate) fn delta(previous: LogicalTime, now: LogicalTime) -> Option<u64> {
    now.0.checked_sub(previous.0)
}

/// The largest event in encoded bytes.
pub(crate) const MAX_BYTES: usize = 32 << 20;
/// What one cut claims while it is decoded; more than its size in memory.
const CUT_CLAIM_BYTES: usize = 64;
const SMALL: usize = 4 << 10;
const SMALL_CLAIM: usize = 128 << 10;
const MEDIUM: usize = 64 << 10;
const MEDIUM_CLAIM: usize = 2 << 20;
const LARGE_CLAIM: usize = 64 << 20;

#[cfg(test)]
mod tests;
