//! Names on the wire: UTF-16LE, but nobody checks.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ser::{self, TextOr};

/// A UTF-16LE string as sent; what is not valid UTF-16 is kept as bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Name {
    /// Valid UTF-16, without byte-order mark or terminator unless it was sent.
    Text(String),
    /// Bytes that are not UTF-16LE: a lone surrogate or an odd length.
    Raw(Vec<u8>),
}

impl Name {
    /// Reads wire bytes; every input has a name, and [`Name::to_wire`] gives the input back.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        let raw = || Self::Raw(bytes.to_vec());
        if !bytes.len().is_multiple_of(2) {
            return raw();
        }
        let units = bytes
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes(unit.try_into().unwrap_or_default()));
        // Most names are ASCII; looking at all units at once is faster than stopping early.
        if units.clone().fold(0, |all, unit| all | unit) < 0x80 {
            let letters = units.map(|unit| {
                let [low, _] = unit.to_le_bytes();
                low
            });
            return String::from_utf8(letters.collect()).map_or_else(|_| raw(), Self::Text);
        }
        let mut text = String::with_capacity(bytes.len() / 2);
        for unit in char::decode_utf16(units) {
            match unit {
                Ok(letter) => text.push(letter),
                Err(_) => return raw(),
            }
        }
        Self::Text(text)
    }

    /// Appends the wire bytes to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) if text.is_ascii() => {
                out.extend(text.bytes().flat_map(|letter| [letter, 0]));
            }
            Self::Text(text) => {
                for unit in text.encode_utf16() {
                    out.extend_from_slice(&unit.to_le_bytes());
                }
            }
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The wire bytes.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.wire_len());
        self.write_to(&mut out);
        out
    }

    /// Length on the wire, in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        match self {
            Self::Text(text) => text
                .chars()
                .map(char::len_utf16)
                .sum::<usize>()
                .saturating_mul(2),
            Self::Raw(bytes) => bytes.len(),
        }
    }

    /// The text, when it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Raw(_) => None,
        }
    }

    /// Text for people: exact when valid, with replacement characters when not.
    #[must_use]
    pub fn to_lossy(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Raw(bytes) => {
                let units = bytes
                    .chunks_exact(2)
                    .map(|unit| u16::from_le_bytes(unit.try_into().unwrap_or_default()));
                let lossy = char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}'));
                Cow::Owned(lossy.collect())
            }
        }
    }

    /// No bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Raw(bytes) => bytes.is_empty(),
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_lossy())
    }
}

/// The form in JSON of a name that is no text.
#[derive(Deserialize, Serialize)]
struct Raw {
    utf16le: String,
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Raw(bytes) => {
                let utf16le = ser::to_hex(bytes);
                Raw { utf16le }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOr::deserialize(deserializer)? {
            TextOr::Text(text) => Ok(Self::Text(text)),
            // Bytes that turn out to be text become text, so that one name has one form.
            TextOr::Other(Raw { utf16le }) => ser::from_hex(&utf16le)
                .map(|bytes| Self::from_wire(&bytes))
                .ok_or_else(|| serde::de::Error::custom("utf16le is not hex digits")),
        }
    }
}
