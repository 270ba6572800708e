//! The text of a file that somebody wrote by hand, in whatever their editor made of it.

use std::borrow::Cow;

use thiserror::Error;

/// A file begins like UTF-16, and then is none.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("it begins with a byte order mark of UTF-16, and is no UTF-16")]
pub(super) struct BadUtf16;

/// The file as it is in UTF-8, its byte order mark taken off. What has none stays as it is.
pub(super) fn unmarked(file: &[u8]) -> Result<Cow<'_, [u8]>, BadUtf16> {
    type Read = fn([u8; 2]) -> u16;
    let (text, read): (_, Read) = match file {
        [0xef, 0xbb, 0xbf, text @ ..] => return Ok(Cow::Borrowed(text)),
        [0xff, 0xfe, text @ ..] => (text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => (text, u16::from_be_bytes),
        text => return Ok(Cow::Borrowed(text)),
    };
    let (pairs, rest) = text.as_chunks();
    let units = pairs.iter().map(|pair| read(*pair));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    match text {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text.into_bytes())),
        _ => Err(BadUtf16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off() {
        let text = "änna=S€cret 😀\r\n";
        let wide: Vec<u16> = text.encode_utf16().collect();
        let little = wide.iter().flat_map(|unit| unit.to_le_bytes());
        let big = wide.iter().flat_map(|unit| unit.to_be_bytes());
        for file in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [0xff, 0xfe].into_iter().chain(little).collect(),
            [0xfe, 0xff].into_iter().chain(big).collect(),
        ] {
            assert_eq!(unmarked(&file).unwrap(), text.as_bytes());
        }
        assert_eq!(unmarked(b"").unwrap(), b"".as_slice());
        assert_eq!(unmarked(b"\xff").unwrap(), b"\xff".as_slice());
        assert_eq!(unmarked(b"\xff\xfea"), Err(BadUtf16));
        assert_eq!(unmarked(b"\xfe\xff\xd8\x00"), Err(BadUtf16));
    }
}
