//! Messages of a frame, also where the frame is broken or cut.

use smbench_core::smb2::{
    Body, Command, Decoded, HEADER_LEN, Header, Message, Request, Response, WireError,
};

/// One message of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// What there is of it, padding up to the next message included.
    pub(super) bytes: &'a [u8],
    /// Its length on the wire.
    pub(super) wire_len: usize,
    /// It is not the last of its frame.
    pub(super) more: bool,
    /// NextCommand points nowhere.
    pub(super) bad_next: bool,
    /// Its header, or why it has none.
    pub(super) header: Result<Header, &'static str>,
}

impl<'a> Piece<'a> {
    /// The first message of what is left of a frame.
    pub(super) fn new(bytes: &'a [u8], wire_len: usize) -> Self {
        Self {
            bytes,
            wire_len,
            more: false,
            bad_next: false,
            header: header(bytes, wire_len),
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.bytes.len() < self.wire_len
    }

    /// Whether it, or what followed it in its frame, may be a request of which too little is known
    /// to tell what it was about.
    pub(super) fn hides(&self) -> bool {
        let Ok(header) = &self.header else {
            return true;
        };
        let vague = header.next_command != 0 || self.bytes.len() < NAMED;
        self.bad_next || self.is_cut() && vague
    }

    /// Bytes that an operation made of it holds: READ and WRITE data goes elsewhere.
    pub(super) fn weight(&self) -> usize {
        let header = self.header.as_ref().ok();
        let data = header.and_then(|it| Message::bulk_within(it, self.bytes, self.wire_len));
        let known = self.wire_len.min(self.bytes.len() + MADE_UP_MAX);
        known.saturating_sub(data.map_or(0, |data| data.len()))
    }
}

/// A header of which no more than the signature may be cut.
fn header(bytes: &[u8], wire_len: usize) -> Result<Header, &'static str> {
    let is_cut = bytes.len() < wire_len;
    let known = bytes.get(..BEFORE_SIGNATURE);
    let header = match known {
        Some(known) if is_cut && bytes.len() < HEADER_LEN => {
            let mut whole = [0; HEADER_LEN];
            whole[..BEFORE_SIGNATURE].copy_from_slice(known);
            Header::decode(&whole)
        }
        _ => Header::decode(bytes),
    };
    header.map_err(|_| if is_cut { "header cut" } else { "bad header" })
}

/// Walks the messages of a frame of which `bytes` are there and `len` were on the wire.
pub(super) fn pieces(bytes: &[u8], len: usize) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = Some((bytes, len));
    std::iter::from_fn(move || {
        let (bytes, len) = rest.take()?;
        let mut piece = Piece::new(bytes, len);
        // [MS-SMB2] 2.2.1.1: NextCommand counts from the start of this header.
        let next = (piece.header).map_or(0, |header| header.next_command as usize);
        let sound = next >= HEADER_LEN && next < len;
        piece.more = sound;
        piece.bad_next = next != 0 && !sound;
        if sound {
            piece.wire_len = next;
            if let Some((this, behind)) = bytes.split_at_checked(next) {
                piece.bytes = this;
                rest = Some((behind, len - next));
            }
        }
        Some(piece)
    })
}

/// Decodes a message of which only `piece.bytes` are there; what is missing is zero, but never more
/// than [`MADE_UP_MAX`] bytes.
pub(super) fn decode_cut(header: &Header, piece: &Piece<'_>) -> Result<Decoded, WireError> {
    if let Some(message) = without_data(header, piece) {
        let bulk = None;
        return Ok(Decoded { message, bulk });
    }
    let mut padded = piece.bytes.to_vec();
    padded.resize(piece.wire_len.min(padded.len() + MADE_UP_MAX), 0);
    let mut decoded = Message::decode_lossy(&padded)?;
    let whole = |field| whole_contexts(piece.bytes, field);
    match &mut decoded.message.body {
        Body::Request(Request::Create(create)) => create.contexts.truncate(whole(112)),
        Body::Response(Response::Create(create)) => create.contexts.truncate(whole(144)),
        _ => {}
    }
    if header.command == Command::WRITE || header.command == Command::READ {
        decoded.bulk = None;
    }
    Ok(decoded)
}

/// Decodes a WRITE request or a READ response, whose data need not be made up to tell the rest.
fn without_data(header: &Header, piece: &Piece<'_>) -> Option<Message> {
    if header.command != Command::WRITE && header.command != Command::READ {
        return None;
    }
    let data = Message::bulk_within(header, piece.bytes, piece.wire_len)?;
    let behind = piece.wire_len.checked_sub(data.end)?;
    if behind > MADE_UP_MAX {
        return None;
    }
    let before = piece.bytes.get(..data.start).unwrap_or(piece.bytes);
    let mut pdu = before.to_vec();
    pdu.resize(data.start, 0);
    pdu.extend_from_slice(piece.bytes.get(data.end..).unwrap_or_default());
    pdu.resize(data.start + behind, 0);
    Message::decode_detached_lossy(&pdu, data.len()).ok()
}

/// Create contexts that are there to their last byte; `field` is where CreateContextsOffset is.
/// [MS-SMB2] 2.2.13.2.
fn whole_contexts(bytes: &[u8], field: usize) -> usize {
    let u32_at = |at: usize| {
        let field = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
        field.map(|field| u32::from_le_bytes(*field) as usize)
    };
    let mut at = match u32_at(field) {
        Some(at) if at > 0 => at,
        _ => return 0,
    };
    let mut whole = 0;
    loop {
        let (Some(next), Some(data), Some(len)) = (u32_at(at), u32_at(at + 8), u32_at(at + 12))
        else {
            return whole;
        };
        let end = at.saturating_add(data >> 16).saturating_add(len);
        if end > bytes.len() || (len == 0 && at + 20 > bytes.len()) {
            return whole;
        }
        whole += 1;
        if next == 0 {
            return whole;
        }
        at = at.saturating_add(next);
    }
}

/// Where in a header the signature begins. [MS-SMB2] 2.2.1.2.
const BEFORE_SIGNATURE: usize = 48;
/// Where the FileIds of WRITE and IOCTL end. [MS-SMB2] 2.2.21, 2.2.31.
const NAMED: usize = HEADER_LEN + 32;
/// Bytes of a message that are made up at most: without READ and WRITE data few messages are longer,
/// and a length is easily claimed.
const MADE_UP_MAX: usize = 64 * 1024;
