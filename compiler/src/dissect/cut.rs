//! Answers of which only the beginning was captured: what was made up to decode them tells nothing.

use smbench_core::smb2::{Body, Header, Message, Response, WireError};

use super::pdu::{Piece, decode_cut};

/// A response and its bulk data.
type Known<'a> = (Response, Option<&'a [u8]>);

/// A response, no more of it than was captured; none when it is cut before what matters in it.
pub(super) fn response<'a>(
    header: &Header,
    piece: &Piece<'a>,
) -> Result<Option<Known<'a>>, WireError> {
    let decoded = if piece.is_cut() {
        decode_cut(header, piece)?
    } else {
        Message::decode_rest(*header, piece.bytes)
    };
    let Body::Response(body) = decoded.message.body else {
        return Ok(None);
    };
    let body = if piece.is_cut() {
        as_captured(body, piece.bytes)
    } else {
        Some(body)
    };
    let bulk = decoded.bulk.and_then(|range| piece.bytes.get(range));
    Ok(body.map(|body| (body, bulk)))
}

/// An answer of which `bytes` were captured, with no more in it than they tell; none when they end
/// before what matters in it.
fn as_captured(mut body: Response, bytes: &[u8]) -> Option<Response> {
    let needed = match &mut body {
        Response::Negotiate(_) => DIALECT_END,
        Response::SessionSetup(_) => SESSION_FLAGS_END,
        Response::TreeConnect(_) => SHARE_TYPE_END,
        Response::Create(_) => OPLOCK_LEVEL_END,
        Response::Close(_) => CLOSE_END,
        Response::Read(_) | Response::Write(_) => COUNT_END,
        Response::Ioctl(it) => shorten(&mut it.output, bytes, IOCTL_OUTPUT)?,
        Response::QueryInfo(it) => shorten(&mut it.output, bytes, OUTPUT)?,
        Response::QueryDirectory(it) => {
            let needed = shorten(&mut it.output, bytes, OUTPUT)?;
            keep_whole_entries(&mut it.output);
            needed
        }
        Response::OplockBreak(_) => OPLOCK_BREAK_END,
        Response::LeaseBreakNotification(_) => LEASE_BREAK_END,
        Response::Opaque(_) => return None,
        Response::Error(it) => {
            it.data.truncate(bytes.len().saturating_sub(ERROR_DATA_AT));
            0
        }
        _ => 0,
    };
    (bytes.len() >= needed).then_some(body)
}

/// Cuts off what was made up of a buffer whose offset stands at `field`; where the buffer begins.
fn shorten(output: &mut Vec<u8>, bytes: &[u8], field: usize) -> Option<usize> {
    let offset = bytes.get(field..)?.first_chunk::<2>()?;
    let start = usize::from(u16::from_le_bytes(*offset));
    output.truncate(bytes.len().saturating_sub(start));
    Some(start)
}

/// Cuts off the last entry of a list, each of which begins with the distance to the next, unless
/// all of it is there. [MS-FSCC] 2.4
fn keep_whole_entries(list: &mut Vec<u8>) {
    let (mut last, mut end) = (0, 0);
    while let Some(next) = list.get(end..).and_then(<[u8]>::first_chunk::<4>) {
        let next = u32::from_le_bytes(*next) as usize;
        if next == 0 || next > list.len() - end {
            break;
        }
        last = end;
        end += next;
    }
    list.truncate(end);
    if let Some(next) = list.get_mut(last..last + 4) {
        next.fill(0);
    }
}

// Ends of fields that matter. [MS-SMB2] 2.2.4, 2.2.6, 2.2.10, 2.2.14, 2.2.16, 2.2.20, 2.2.22, 2.2.23
const DIALECT_END: usize = 64 + 6;
const SESSION_FLAGS_END: usize = 64 + 4;
const SHARE_TYPE_END: usize = 64 + 3;
const OPLOCK_LEVEL_END: usize = 64 + 3;
const CLOSE_END: usize = 64 + 60;
const COUNT_END: usize = 64 + 8;
const OPLOCK_BREAK_END: usize = 64 + 24;
const LEASE_BREAK_END: usize = 64 + 44;
// Where offsets of buffers stand. [MS-SMB2] 2.2.32, 2.2.34, 2.2.38
const IOCTL_OUTPUT: usize = 64 + 32;
const OUTPUT: usize = 64 + 2;
/// Where the data of an ERROR response begins. [MS-SMB2] 2.2.2
const ERROR_DATA_AT: usize = 64 + 8;

#[cfg(test)]
mod tests {
    use smbench_core::smb2::{QueryDirectoryResponse, ReadResponse};

    use super::*;

    /// Three entries of 16 bytes; the last does not say where it ends.
    fn listing() -> Vec<u8> {
        let entry = |next: u32, fill: u8| [&next.to_le_bytes()[..], &[fill; 12]].concat();
        [entry(16, 1), entry(16, 2), entry(0, 3)].concat()
    }

    #[test]
    fn of_a_cut_listing_the_whole_entries_are_kept() {
        let mut bytes = vec![0; 64];
        bytes.extend([9, 0, 72, 0, 48, 0, 0, 0]);
        bytes.extend(listing());
        for (captured, entries) in [
            (120, 2),
            (119, 2),
            (104, 2),
            (103, 1),
            (88, 1),
            (87, 0),
            (72, 0),
        ] {
            let mut output = listing();
            output[captured - 72..].fill(0); // made up
            let answer = Response::QueryDirectory(QueryDirectoryResponse { output });
            let Some(Response::QueryDirectory(kept)) = as_captured(answer, &bytes[..captured])
            else {
                panic!("nothing of {captured} bytes");
            };
            let mut whole = listing();
            whole.truncate(entries * 16);
            if let Some(last) = entries.checked_sub(1) {
                whole[last * 16..][..4].fill(0);
            }
            assert_eq!(kept.output, whole, "of {captured} bytes");
        }
    }

    #[test]
    fn half_a_field_tells_nothing() {
        let read = |captured: usize| {
            let answer = Response::Read(ReadResponse {
                length: 34_464,
                ..ReadResponse::default()
            });
            as_captured(answer, &vec![0; captured]).is_some()
        };
        assert!(read(72));
        assert!(!read(71));
    }
}
