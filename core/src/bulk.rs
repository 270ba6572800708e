//! Takes bulk data and security tokens out of frames, and puts them back in.
//!
//! What is cut: WRITE data in requests, READ data in responses, and the security tokens of
//! NEGOTIATE responses and SESSION_SETUP. [MS-SMB2] 2.2.4, 2.2.5, 2.2.6, 2.2.20, 2.2.21.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    frame::{Content, Cut, Digest, Frame},
    seal::{SealError, is_smb1, pdus},
    smb2::{Command, Header, Message},
};

/// Where WRITE data comes from, and where READ data goes if somebody wants it.
pub trait Blobs {
    /// The bytes with that digest.
    fn get(&mut self, digest: &Digest, len: u32) -> Option<Arc<[u8]>>;

    /// Bytes that a response carried (`--record full`). Nothing by default.
    fn put(&mut self, digest: &Digest, data: &[u8]) {
        let _ = (digest, data);
    }
}

/// No data at all: what is asked for is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlobs;

impl Blobs for NoBlobs {
    fn get(&mut self, _: &Digest, _: u32) -> Option<Arc<[u8]>> {
        None
    }
}

/// Cuts bulk and tokens out of a plain message or compound, and zeroes its signatures.
///
/// `seen` is told every cut: the PDU it was in (still whole), and its bytes.
///
/// # Errors
///
/// [`SealError`] when the frame is no sound compound. SMB1 frames are kept whole.
pub fn detach(
    plain: &[u8],
    mut seen: impl FnMut(&[u8], Content, &[u8]),
) -> Result<Frame, SealError> {
    let mut frame = Frame {
        bytes: Vec::with_capacity(plain.len().min(512)),
        cuts: Vec::new(),
    };
    if is_smb1(plain) {
        frame.bytes.extend_from_slice(plain);
        return Ok(frame);
    }
    for range in pdus(plain) {
        let pdu = plain.get(range?).unwrap_or_default();
        let start = frame.bytes.len();
        match Message::bulk_of(pdu) {
            None => frame.bytes.extend_from_slice(pdu),
            Some(range) => {
                let bulk = pdu.get(range.clone()).unwrap_or_default();
                let command = Header::decode(pdu).map(|header| header.command);
                let content = match command {
                    Ok(Command::NEGOTIATE | Command::SESSION_SETUP) => Content::Token,
                    _ => Content::Data(Digest::of(bulk)),
                };
                seen(pdu, content, bulk);
                frame
                    .bytes
                    .extend_from_slice(pdu.get(..range.start).unwrap_or_default());
                let at = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
                let len = u32::try_from(bulk.len()).unwrap_or(u32::MAX);
                frame.cuts.push(Cut { at, len, content });
                frame
                    .bytes
                    .extend_from_slice(pdu.get(range.end..).unwrap_or_default());
            }
        }
        if let Some(signature) = frame.bytes.get_mut(start + 48..start + 64) {
            signature.fill(0);
        }
    }
    Ok(frame)
}

/// What an outgoing frame lacks. It was looked for before the run: sending zeros in its place would
/// be another workload.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Missing {
    /// Data nobody has, or not with that length.
    #[error("data {digest} of {len} bytes is not there")]
    Data {
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        len: u32,
    },
    /// A security token that is not ready, or has another length.
    #[error("a security token of {len} bytes is not there")]
    Token {
        /// Its length in bytes.
        len: u32,
    },
}

/// Puts everything that was cut back in.
///
/// # Errors
///
/// [`Missing`] for the first stretch that nobody has.
pub fn attach(
    frame: &Frame,
    blobs: &mut impl Blobs,
    token: Option<&[u8]>,
) -> Result<Vec<u8>, Missing> {
    let mut out = Vec::with_capacity(frame.wire_len() + 64);
    let mut done = 0;
    for &Cut { at, len, content } in &frame.cuts {
        let at = to_usize(at).clamp(done, frame.bytes.len());
        out.extend_from_slice(frame.bytes.get(done..at).unwrap_or_default());
        done = at;
        match content {
            Content::Data(digest) => {
                let data = blobs.get(&digest, len);
                let data = data.filter(|data| data.len() == to_usize(len));
                out.extend_from_slice(&data.ok_or(Missing::Data { digest, len })?);
            }
            Content::Token => {
                let token = token.filter(|token| token.len() == to_usize(len));
                out.extend_from_slice(token.ok_or(Missing::Token { len })?);
            }
        }
    }
    out.extend_from_slice(frame.bytes.get(done..).unwrap_or_default());
    Ok(out)
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Arc<[u8]>);

    impl Blobs for One {
        fn get(&mut self, digest: &Digest, _: u32) -> Option<Arc<[u8]>> {
            (*digest == Digest::of(&self.0)).then(|| Arc::clone(&self.0))
        }
    }

    fn write_request(data: &[u8]) -> Vec<u8> {
        let mut pdu = vec![0; 112];
        pdu[..6].copy_from_slice(&[0xFE, b'S', b'M', b'B', 64, 0]);
        pdu[12] = 9;
        pdu[64] = 49;
        pdu[66] = 112;
        pdu[68..72].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        pdu.extend_from_slice(data);
        pdu
    }

    #[test]
    fn a_compound_comes_back_byte_for_byte() {
        let mut whole = write_request(b"some data");
        whole.resize(128, 0);
        whole[20] = 128;
        whole.extend(write_request(b"some data"));
        let mut told = 0;
        let frame = detach(&whole, |_, _, bytes| {
            assert_eq!(bytes, b"some data");
            told += 1;
        })
        .unwrap();
        assert_eq!(
            (frame.cuts.len(), told, frame.bytes.len()),
            (2, 2, whole.len() - 18)
        );
        let back = attach(&frame, &mut One((*b"some data").into()), None);
        assert_eq!(back, Ok(whole));
        let (digest, len) = (Digest::of(b"some data"), 9);
        let missing = Err(Missing::Data { digest, len });
        assert_eq!(attach(&frame, &mut NoBlobs, None), missing);
    }

    #[test]
    fn every_prefix_and_every_wild_field_is_harmless() {
        let whole = write_request(b"0123456789");
        for len in 0..whole.len() {
            let _ = detach(&whole[..len], |_, _, _| ());
        }
        for at in 64..72 {
            let mut wild = whole.clone();
            wild[at] = 0xff;
            let _ = detach(&wild, |_, _, _| ());
        }
    }
}
