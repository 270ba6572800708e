//! What a client asks for over a pipe: the calls of connection-oriented DCE/RPC. [C706] 12,
//! [MS-RPCE] 2.2.2.
//!
//! Reads what decides which function of which interface is called, and nothing of its arguments.
//! What cannot be read is [`Kind::Unreadable`]; nothing is guessed, since requests are held back by
//! what is read here.
//!
//! | file | holds |
//! |---|---|
//! | `conversation` | the client's side of one open pipe, fed in pieces of any size |
//! | `query` | which calls are known to change nothing, and where it says so |

mod conversation;
pub mod query;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::workload::{is_false, is_zero};

pub use conversation::{Conversation, MAX_CALLS, MAX_CONTEXTS};

/// A UUID, its bytes in the order in which they are written as text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid(pub u128);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            it >> 96,
            it >> 80 & 0xffff,
            it >> 64 & 0xffff,
            it >> 48 & 0xffff,
            it & 0xffff_ffff_ffff
        )
    }
}

/// An interface as a client binds it: `4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0` as text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Interface {
    /// Which.
    pub uuid: Uuid,
    /// Its major version.
    pub major: u16,
    /// Its minor version.
    pub minor: u16,
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.uuid, self.major, self.minor)
    }
}

/// Text that is no [`Interface`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected an interface as UUID:MAJOR.MINOR, such as 4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0"
)]
pub struct BadInterface;

impl FromStr for Interface {
    type Err = BadInterface;

    /// Reads exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, BadInterface> {
        let read = || {
            let (uuid, version) = text.split_once(':')?;
            let (major, minor) = version.split_once('.')?;
            let digits: String = uuid.split('-').collect();
            let it = Self {
                uuid: Uuid(u128::from_str_radix(&digits, 16).ok()?),
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            };
            (it.to_string() == text).then_some(it)
        };
        read().ok_or(BadInterface)
    }
}

impl Serialize for Interface {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// What a client sent over a pipe: a PDU, one interface of a binding, or what cannot be read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Call {
    /// What it is.
    pub kind: Kind,
    /// The presentation context that it defines or uses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context: u16,
    /// The interface bound, or of the function called. None when no binding explains the context,
    /// or more than one do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// The number of the function called; requests alone have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opnum: Option<u16>,
    /// It carries a token or a signature: what was recorded is no good in another run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auth: bool,
    /// It goes on with what was told before: another fragment of a request, or more of its bytes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

/// Kinds of [`Call`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An interface is bound to a context. [C706] 12.6.4.3.
    Bind,
    /// The same on a connection that has one already. [C706] 12.6.4.1.
    AlterContext,
    /// A function is called. [C706] 12.6.4.9.
    Request,
    /// A call is to be cancelled (18), or is no longer of interest (19). [C706] 12.6.4.6, 12.6.4.8.
    Abandon,
    /// A PDU of another type, by its number. [C706] 12.6.4, [MS-RPCE] 2.2.2.
    Other(u8),
    /// The bytes end before they tell what the PDU is.
    Begun,
    /// No RPC, damaged, lost, or beyond the limits here.
    Unreadable,
}

impl Call {
    /// What cannot be read.
    pub const UNREADABLE: Self = Self::of(Kind::Unreadable);

    /// One of a kind that says nothing more.
    const fn of(kind: Kind) -> Self {
        Self {
            kind,
            context: 0,
            interface: None,
            opnum: None,
            auth: false,
            continues: false,
        }
    }
}
