//! One SMB2 message: header, body, and what of its layout is unusual.
//!
//! The big or secret buffer of a PDU, its *bulk*, is never part of a [`Message`]: the data of a
//! WRITE request or READ response, and the security buffers of NEGOTIATE and SESSION_SETUP.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};

use super::body::Body;
use super::error::WireError;
use super::header::{Command, HEADER_LEN, Header};
use super::quirks::Quirks;
use super::wire::{BODY, Source, Writer, read_at, to_usize};

/// One SMB2 message, without its bulk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
    /// Where the recorded layout was not the canonical one.
    pub quirks: Quirks,
}

/// A decoded PDU.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// The message.
    pub message: Message,
    /// Where in the PDU the bulk lies.
    pub bulk: Option<Range<usize>>,
}

impl Message {
    /// A message with canonical layout.
    #[must_use]
    pub fn new(header: Header, body: Body) -> Self {
        Self {
            header,
            body,
            quirks: Quirks::default(),
        }
    }

    /// Decodes one PDU, as [`super::Pdu::chain`] gives it: with the padding up to the next header.
    /// Encoding gives the same bytes again.
    ///
    /// # Errors
    ///
    /// Those of [`Header::decode`]. A body that does not parse is kept as opaque bytes.
    pub fn decode(pdu: &[u8]) -> Result<Decoded, WireError> {
        let header = Header::decode(pdu)?;
        let bulk = bulk_range(&header, pdu, pdu.len());
        let source = Source::attached(pdu, bulk.clone().unwrap_or(0..0));
        Ok(Decoded {
            message: Self::verified(header, &source),
            bulk,
        })
    }

    /// Decodes like [`Message::decode`] without asking whether encoding gives the same bytes:
    /// quirks stay empty.
    ///
    /// # Errors
    ///
    /// Those of [`Header::decode`].
    pub fn decode_lossy(pdu: &[u8]) -> Result<Decoded, WireError> {
        Ok(Self::decode_rest(Header::decode(pdu)?, pdu))
    }

    /// Decodes like [`Message::decode_lossy`] a PDU whose header is known.
    #[must_use]
    pub fn decode_rest(header: Header, pdu: &[u8]) -> Decoded {
        let bulk = bulk_range(&header, pdu, pdu.len());
        let source = Source::attached(pdu, bulk.clone().unwrap_or(0..0));
        let body = Body::decode(&header, &source);
        Decoded {
            message: Self::new(header, body),
            bulk,
        }
    }

    /// Decodes a PDU whose `bulk_len` bytes of bulk have been cut out and closed up.
    ///
    /// # Errors
    ///
    /// Those of [`Header::decode`], and [`WireError::BadValue`] when the PDU does not speak of
    /// `bulk_len` bytes of bulk.
    pub fn decode_detached(pdu: &[u8], bulk_len: usize) -> Result<Self, WireError> {
        let (header, source) = Self::detached_source(pdu, bulk_len)?;
        Ok(Self::verified(header, &source))
    }

    /// Decodes like [`Message::decode_detached`] without verification: quirks stay empty.
    ///
    /// # Errors
    ///
    /// Those of [`Message::decode_detached`].
    pub fn decode_detached_lossy(pdu: &[u8], bulk_len: usize) -> Result<Self, WireError> {
        let (header, source) = Self::detached_source(pdu, bulk_len)?;
        Ok(Self::new(header, Body::decode(&header, &source)))
    }

    /// Appends the PDU to `out`. `bulk` is what [`Decoded::bulk`] pointed at, and as long as the
    /// body says; empty for messages without bulk.
    pub fn encode(&self, bulk: &[u8], out: &mut Vec<u8>) {
        if self.quirks.is_empty() {
            self.canonical(Some(bulk), out);
            return;
        }
        let start = out.len();
        if let Some(at) = self.encode_detached(out) {
            let at = start.saturating_add(at).min(out.len());
            out.splice(at..at, bulk.iter().copied());
        }
    }

    /// Appends the PDU without its bulk to `out`, and says where, counted from the PDU's start,
    /// the bulk belongs.
    pub fn encode_detached(&self, out: &mut Vec<u8>) -> Option<usize> {
        let start = out.len();
        let bulk_at = self.canonical(None, out);
        self.quirks.apply(out, start, bulk_at)
    }

    /// Where in `pdu` its bulk lies, found without decoding the body; none when there is no bulk.
    #[must_use]
    pub fn bulk_of(pdu: &[u8]) -> Option<Range<usize>> {
        let header = Header::decode(pdu).ok()?;
        Self::bulk_within(&header, pdu, pdu.len())
    }

    /// As [`Message::bulk_of`], of a PDU of `total` bytes that has this header and of which `pdu` is
    /// the beginning.
    #[must_use]
    pub fn bulk_within(header: &Header, pdu: &[u8], total: usize) -> Option<Range<usize>> {
        bulk_range(header, pdu, total)
    }

    fn detached_source(pdu: &[u8], bulk_len: usize) -> Result<(Header, Source<'_>), WireError> {
        let header = Header::decode(pdu)?;
        let total = pdu.len().saturating_add(bulk_len);
        let bulk = bulk_range(&header, pdu, total).unwrap_or(0..0);
        if bulk.len() != bulk_len {
            let got = u64::try_from(bulk.len()).unwrap_or(u64::MAX);
            return Err(WireError::BadValue {
                field: "bulk",
                offset: BODY,
                got,
                section: "2.2",
            });
        }
        Ok((header, Source::detached(pdu, bulk)))
    }

    fn verified(header: Header, source: &Source<'_>) -> Self {
        let mut message = Self::new(header, Body::decode(&header, source));
        let (before, behind) = source.halves();
        let mut again = Vec::with_capacity(before.len().saturating_add(behind.len()));
        let again_bulk = message.canonical(None, &mut again);
        let bulk = source.bulk();
        let bulk_at = (!bulk.is_empty()).then_some(bulk.start);
        message.quirks = Quirks::between(&again, again_bulk, (before, behind), bulk_at);
        message
    }

    /// Writes the canonical layout, with or without bulk.
    fn canonical(&self, bulk: Option<&[u8]>, out: &mut Vec<u8>) -> Option<usize> {
        self.header.encode(out);
        // The writer counts from the header, which is already there.
        let mut writer = Writer::resume(out, HEADER_LEN, bulk);
        self.body.encode(&mut writer);
        // [MS-SMB2] 3.2.4.1.4, 3.3.4.1.3: PDUs of a compound begin at multiples of 8.
        if self.header.next_command != 0 {
            writer.align8();
        }
        writer.bulk_at()
    }
}

/// Where the bulk lies in a PDU of `total` bytes, of which `pdu` holds at least the fixed part.
fn bulk_range(header: &Header, pdu: &[u8], total: usize) -> Option<Range<usize>> {
    let field16 = |at: usize| {
        read_at::<U16>(pdu, "", BODY.saturating_add(at))
            .ok()
            .map(|v| v.get())
    };
    let field32 = |at: usize| {
        read_at::<U32>(pdu, "", BODY.saturating_add(at))
            .ok()
            .map(|v| v.get())
    };
    let size = field16(0)?;
    // StructureSize, length of the fixed part, offset and length of the bulk.
    let (fixed, at, len) = match (header.command, header.is_response(), size) {
        (Command::WRITE, false, 49) => (48, usize::from(field16(2)?), to_usize(field32(4)?)),
        (Command::READ, true, 17) => (16, usize::from(field16(2)? & 0xff), to_usize(field32(4)?)),
        (Command::SESSION_SETUP, false, 25) => {
            (24, usize::from(field16(12)?), usize::from(field16(14)?))
        }
        (Command::SESSION_SETUP, true, 9) if !super::body::is_error(header, size) => {
            (8, usize::from(field16(4)?), usize::from(field16(6)?))
        }
        (Command::NEGOTIATE, true, 65) => {
            (64, usize::from(field16(56)?), usize::from(field16(58)?))
        }
        _ => return None,
    };
    let end = at.checked_add(len)?;
    (len > 0 && at >= BODY.saturating_add(fixed) && end <= total).then_some(at..end)
}
