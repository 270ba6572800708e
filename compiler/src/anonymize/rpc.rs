//! RPC over pipes: calls stay calls of the same functions, without what they are about.
//!
//! [C706] 12.6 and [MS-RPCE] 2.2.2. Headers and bindings stay; texts get pseudonyms of their
//! length; of the rest of a call's arguments only small numbers stay; security trailers are
//! replaced. What is no RPC is replaced as bytes.

use super::{Scrub, policy, tally::Kind, words::fold};

impl Scrub {
    /// What was written to, or read from, a pipe.
    pub(super) fn rpc(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((pdu, behind)) = fragment(rest) else {
                self.tally
                    .lossy("pipe data that is no RPC: replaced as bytes");
                out.extend(self.buffer("pipe", rest));
                break;
            };
            self.pdu(pdu, &mut out);
            rest = behind;
        }
        out
    }

    fn pdu(&mut self, pdu: &[u8], out: &mut Vec<u8>) {
        let (header, body) = pdu.split_at_checked(HEADER).unwrap_or((pdu, &[]));
        out.extend_from_slice(header);
        let kind = header.get(2).copied().unwrap_or_default();
        let flags = header.get(3).copied().unwrap_or_default();
        let auth_len = half(header, 10);
        let trailer = match auth_len {
            0 => 0,
            len => len.saturating_add(TRAILER).min(body.len()),
        };
        let (body, trailer) = body
            .split_at_checked(body.len().saturating_sub(trailer))
            .unwrap_or((body, &[]));
        let sealed = trailer.get(1).is_some_and(|level| *level >= PRIVACY);
        match kind {
            REQUEST | RESPONSE | FAULT => {
                let object = kind == REQUEST && flags & HAS_OBJECT != 0;
                let (head, stub) = body.split_at_checked(8).unwrap_or((body, &[]));
                out.extend_from_slice(head);
                let object = if object { 16 } else { 0 };
                let (object, stub) = stub.split_at_checked(object).unwrap_or((stub, &[]));
                out.extend(self.key.bytes("rpc object", object));
                if sealed {
                    out.extend(self.buffer("sealed rpc", stub));
                } else {
                    self.stub(stub, out);
                }
            }
            BIND | ALTER => {
                let end = bindings_end(body).min(body.len());
                out.extend_from_slice(body.get(..end).unwrap_or_default());
                out.resize(out.len().saturating_add(body.len() - end), 0);
            }
            BIND_ACK | ALTER_ACK => self.bind_ack(body, out),
            _ => out.extend(self.buffer("rpc", body)),
        }
        let (head, token) = trailer.split_at_checked(TRAILER).unwrap_or((trailer, &[]));
        out.extend_from_slice(head);
        out.extend(self.buffer("rpc token", token));
    }

    /// Sizes, group, the pipe's name, and results.
    fn bind_ack(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (head, rest) = body.split_at_checked(10).unwrap_or((body, &[]));
        let (name, results) = rest
            .split_at_checked(half(head, 8).min(rest.len()))
            .unwrap_or((rest, &[]));
        out.extend_from_slice(head);
        let text = String::from_utf8_lossy(name);
        let bare = text
            .trim_end_matches('\0')
            .rsplit('\\')
            .next()
            .unwrap_or_default();
        if policy::is_known_pipe(&fold(bare)) {
            out.extend_from_slice(name);
        } else {
            out.extend(self.buffer("pipe name", name));
        }
        self.stub(results, out);
    }

    /// Arguments: texts, small numbers, and all else.
    fn stub(&mut self, stub: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while at < stub.len() {
            let rest = stub.get(at..).unwrap_or_default();
            let len = text_len(rest);
            if len >= SHORTEST_TEXT {
                let (text, _) = rest
                    .split_at_checked(len.saturating_mul(2))
                    .unwrap_or((rest, &[]));
                at += text.len();
                self.text(text, out);
                // Texts end anywhere; numbers begin at multiples of four.
                let odd = at % 4;
                if odd != 0 {
                    let pad = stub.get(at..).unwrap_or_default();
                    let pad = pad.get(..4 - odd).unwrap_or(pad);
                    out.extend(pad.iter().map(|_| 0));
                    at += pad.len();
                }
                continue;
            }
            let word = rest.get(..4).unwrap_or(rest);
            at += word.len();
            let number = <[u8; 4]>::try_from(word).map(u32::from_le_bytes);
            if number.is_ok_and(is_plain) || word.iter().all(|byte| *byte == 0) {
                out.extend_from_slice(word);
            } else {
                self.tally.replaced(Kind::Buffers, word.len());
                let made = self.key.bytes("rpc argument", word);
                out.extend(made.iter().map(|byte| byte | 1));
            }
        }
    }

    /// A text of an argument, as long as it was.
    fn text(&mut self, wire: &[u8], out: &mut Vec<u8>) {
        let units = wire
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes(unit.try_into().unwrap_or_default()));
        let text: String = char::decode_utf16(units)
            .map(|it| it.unwrap_or('x'))
            .collect();
        let mut made = String::new();
        for piece in text.split_inclusive(['\\', '.', '$']) {
            let bare = piece.trim_end_matches(['\\', '.', '$']);
            let known = policy::is_known_pipe(&fold(bare)) || policy::is_known_share(&fold(piece));
            if known {
                made.push_str(bare);
            } else {
                made.push_str(&self.word(Kind::RpcTexts, bare));
            }
            made.push_str(piece.get(bare.len()..).unwrap_or_default());
        }
        out.extend(made.encode_utf16().flat_map(u16::to_le_bytes));
    }
}

/// The first fragment of `bytes`, and what follows it.
fn fragment(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let version = bytes.first().copied()?;
    let len = half(bytes, 8);
    if version != 5 || len < HEADER || bytes.len() < HEADER {
        return None;
    }
    bytes.split_at_checked(len)
}

/// Where the list of interfaces of a binding ends.
fn bindings_end(body: &[u8]) -> usize {
    let contexts = body.get(8).copied().unwrap_or_default();
    let mut end = 12_usize;
    for _ in 0..contexts {
        let transfers = body.get(end.saturating_add(2)).copied().unwrap_or_default();
        end = end.saturating_add(24 + 20 * usize::from(transfers));
    }
    end
}

/// Number of UTF-16 units of an alphabet at the start of `bytes`.
fn text_len(bytes: &[u8]) -> usize {
    bytes
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes(unit.try_into().unwrap_or_default()))
        .take_while(|unit| matches!(unit, 0x20..=0x7e | 0xa0..=0x52f))
        .count()
}

/// Counts, levels, referents and access rights, but no text and no part of an id.
fn is_plain(number: u32) -> bool {
    number < 0x0020_0000
        || number == u32::MAX
        || (number.trailing_zeros() >= 24 && number >> 24 <= 0x80)
}

fn half(bytes: &[u8], at: usize) -> usize {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.map_or(0, |field| usize::from(u16::from_le_bytes(*field)))
}

const HEADER: usize = 16;
const TRAILER: usize = 8;
const SHORTEST_TEXT: usize = 3;
/// Stubs are encrypted from this level on. [MS-RPCE] 2.2.1.1.8.
const PRIVACY: u8 = 6;
const HAS_OBJECT: u8 = 0x80;
const REQUEST: u8 = 0;
const RESPONSE: u8 = 2;
const FAULT: u8 = 3;
const BIND: u8 = 11;
const BIND_ACK: u8 = 12;
const ALTER: u8 = 14;
const ALTER_ACK: u8 = 15;

#[cfg(test)]
mod tests {
    use super::super::testing::scrub;

    fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
        out.extend((16 + u16::try_from(body.len()).unwrap()).to_le_bytes());
        out.extend([0, 0, 1, 0, 0, 0]);
        out.extend(body);
        out
    }

    #[test]
    fn a_call_keeps_its_shape_and_loses_its_texts() {
        let mut it = scrub();
        let mut body = vec![0, 0, 0, 0, 0, 0, 15, 0];
        body.extend(0x0002_0000_u32.to_le_bytes());
        for count in [8_u32, 0, 8] {
            body.extend(count.to_le_bytes());
        }
        body.extend("\\\\FS01x\0".encode_utf16().flat_map(u16::to_le_bytes));
        body.extend(0xdead_beef_u32.to_le_bytes());
        let call = pdu(0, &body);
        it.rpc(&call);
        it.seal();
        let made = it.rpc(&call);
        assert_eq!(made.len(), call.len());
        assert_eq!(made[..40], call[..40]);
        let text: Vec<u8> = "FS01".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!made.windows(8).any(|it| it == text));
        assert_ne!(made[call.len() - 4..], call[call.len() - 4..]);
    }

    #[test]
    fn bindings_stay_and_garbage_goes() {
        let mut it = scrub();
        it.seal();
        let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0];
        body.extend([0, 0, 1, 0]);
        body.extend([0x77; 40]);
        let bind = pdu(11, &body);
        assert_eq!(it.rpc(&bind), bind);
        let garbage = b"this is no RPC at all".to_vec();
        let made = it.rpc(&garbage);
        assert_eq!(made.len(), garbage.len());
        assert_ne!(made, garbage);
        for cut in 0..bind.len() {
            assert_eq!(it.rpc(&bind[..cut]).len(), cut);
        }
    }
}
