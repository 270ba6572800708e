//! Human-readable, lossless serde forms: names, letters and hex instead of bare numbers.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

/// True for a value that needs no mention.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A number, or text that stands for one.
pub(crate) enum IntOrText<'a> {
    Int(u64),
    Text(&'a str),
}

impl IntOrText<'_> {
    /// The number: itself, or text of the form `0x…`.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Text(text) => text
                .strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok()),
        }
    }
}

/// What `make` makes of a number or a text; `wrong` is said where it makes nothing.
pub(crate) fn int_or_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    wrong: &'static str,
    make: impl FnOnce(&IntOrText<'_>) -> Option<T>,
) -> Result<T, D::Error> {
    struct Either<F>(F, &'static str);
    impl<T, F: FnOnce(&IntOrText<'_>) -> Option<T>> Visitor<'_> for Either<F> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a name")
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
            (self.0)(&IntOrText::Int(value)).ok_or_else(|| E::custom(self.1))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(&IntOrText::Text(text)).ok_or_else(|| E::custom(self.1))
        }
    }
    deserializer.deserialize_any(Either(make, wrong))
}

/// A text, or something else that is a map: told apart without keeping the map in between.
pub(crate) enum TextOr<T> {
    Text(String),
    Other(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an object")
            }
            fn visit_str<E>(self, text: &str) -> Result<TextOr<T>, E> {
                Ok(TextOr::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<TextOr<T>, E> {
                Ok(TextOr::Text(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Other)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Hex digits, two a byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Bytes of hex digits; none when they are not hex.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(pair.first().and_then(digit)? << 4 | pair.last().and_then(digit)?))
        .collect()
}

/// Flag bits as letters where every bit has one, else as `0x…`.
pub(crate) fn flags_to_text(bits: u64, letters: &[(u64, char)]) -> String {
    let known = letters.iter().fold(0, |known, (bit, _)| known | bit);
    if letters.is_empty() || bits & !known != 0 {
        return format!("{bits:#x}");
    }
    letters
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

/// The reverse of [`flags_to_text`].
pub(crate) fn flags_from_text(value: &IntOrText<'_>, letters: &[(u64, char)]) -> Option<u64> {
    match (value.number(), value) {
        (Some(bits), _) => Some(bits),
        (None, IntOrText::Text(text)) => text.chars().try_fold(0, |bits, letter| {
            letters
                .iter()
                .find(|(_, known)| *known == letter)
                .map(|(bit, _)| bits | bit)
        }),
        (None, IntOrText::Int(_)) => None,
    }
}

/// Deserialises hex digits.
pub(crate) fn hex_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text).ok_or_else(|| de::Error::custom("not hex digits"))
}

/// `#[serde(with = "hex")]` for byte buffers.
pub(crate) mod hex {
    use super::{Deserializer, Serialize, Serializer, hex_bytes, to_hex};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        to_hex(bytes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        hex_bytes(d)
    }
}

/// Declares a numeric newtype whose known values have names.
macro_rules! numbers {
    ($(
        $(#[$doc:meta])*
        $name:ident($int:ty) { $($konst:ident = $value:literal => $text:literal),* $(,)? }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $int);

        impl $name {
            $(
                #[doc = concat!("`", stringify!($value), "`: ", $text, ".")]
                pub const $konst: Self = Self($value);
            )*

            /// The name of a known value.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }

            /// The value of a known name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$konst),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !serializer.is_human_readable() {
                    return self.0.serialize(serializer);
                }
                match self.name() {
                    Some(name) => serializer.serialize_str(name),
                    None if size_of::<$int>() < 4 => self.0.serialize(serializer),
                    None => serializer.collect_str(self),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if !d.is_human_readable() {
                    return <$int>::deserialize(d).map(Self);
                }
                let wrong = concat!("not a ", stringify!($name));
                $crate::smb2::ser::int_or_text(d, wrong, |value| {
                    if let $crate::smb2::ser::IntOrText::Text(text) = value
                        && let Some(known) = Self::from_name(text)
                    {
                        return Some(known);
                    }
                    let number = value.number()?;
                    <$int>::try_from(number).ok().map(Self)
                })
            }
        }
    )*};
}
pub(crate) use numbers;

/// Declares flags that keep unknown bits; serde writes letters where given, else hex.
macro_rules! flags {
    ($(
        $(#[$doc:meta])*
        $name:ident($int:ty) { $($flag:ident = $value:literal $($letter:literal)?),* $(,)? }
    )*) => {$(
        bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
            pub struct $name: $int {
                $(
                    #[doc = concat!("`", stringify!($value), "`: ", stringify!($flag), ".")]
                    const $flag = $value;
                )*
                const _ = !0;
            }
        }

        impl $name {
            const LETTERS: &'static [(u64, char)] = &[$($(($value, $letter),)?)*];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::smb2::ser::flags_to_text(u64::from(self.bits()), Self::LETTERS))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !serializer.is_human_readable() {
                    return self.bits().serialize(serializer);
                }
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if !d.is_human_readable() {
                    return <$int>::deserialize(d).map(Self::from_bits_retain);
                }
                let wrong = concat!("not ", stringify!($name));
                $crate::smb2::ser::int_or_text(d, wrong, |value| {
                    $crate::smb2::ser::flags_from_text(value, Self::LETTERS)
                        .and_then(|bits| <$int>::try_from(bits).ok())
                        .map(Self::from_bits_retain)
                })
            }
        }
    )*};
}
pub(crate) use flags;
