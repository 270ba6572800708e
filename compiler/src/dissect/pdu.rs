//! Messages of a frame, also where the frame is broken or cut.

use smbench_core::smb2::{Command, Decoded, HEADER_LEN, Header, Message, WireError};

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
}

impl Piece<'_> {
    pub(super) fn is_cut(&self) -> bool {
        self.bytes.len() < self.wire_len
    }
}

/// Walks the messages of a frame of which `bytes` are there and `len` were on the wire.
pub(super) fn pieces(bytes: &[u8], len: usize) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = Some((bytes, len));
    std::iter::from_fn(move || {
        let (bytes, len) = rest.take()?;
        let next = Header::decode(bytes).map_or(0, |header| header.next_command as usize);
        // [MS-SMB2] 2.2.1.1: NextCommand counts from the start of this header.
        let sound = next >= HEADER_LEN && next < len;
        let mut piece = Piece {
            bytes,
            wire_len: len,
            more: sound,
            bad_next: next != 0 && !sound,
        };
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

/// Decodes a message of which only `piece.bytes` are there; what is missing is zero.
pub(super) fn decode_cut(header: &Header, piece: &Piece<'_>) -> Result<Decoded, WireError> {
    let fixed = match (header.command, header.is_response()) {
        (Command::WRITE, false) => HEADER_LEN + 48,
        (Command::READ, true) => HEADER_LEN + 16,
        _ => usize::MAX,
    };
    // What says how much data there was is there: the data is not needed.
    if piece.bytes.len() >= fixed {
        return Message::decode_lossy(piece.bytes);
    }
    let mut padded = piece.bytes.to_vec();
    padded.resize(piece.wire_len.min(LONGEST), 0);
    Message::decode_lossy(&padded)
}

/// Messages that are longer carry data, which is not made up.
const LONGEST: usize = 1 << 20;
