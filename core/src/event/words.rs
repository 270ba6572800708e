//! What answers hold, in the words that people read.

use std::fmt;

use super::{Divergence, HeaderField, NetFailure};
use crate::{
    frame::Digest,
    smb2::{Command, NtStatus},
};

/// An oplock level or lease state, coded as in [`Divergence::Grant`].
#[must_use]
pub fn grant_words(code: u32) -> String {
    if code & LEASE == 0 {
        return match code {
            0 => "none".to_owned(),
            1 => "level II".to_owned(),
            8 => "exclusive".to_owned(),
            9 => "batch".to_owned(),
            other => format!("{other:#x}"),
        };
    }
    // [MS-SMB2] 2.2.13.2.8: read, handle, write caching.
    let letters = [(1, 'R'), (2, 'H'), (4, 'W')];
    let held = letters.iter().filter(|(bit, _)| code & bit != 0);
    let state: String = held.map(|(_, letter)| *letter).collect();
    match state.is_empty() {
        true => "lease none".to_owned(),
        false => format!("lease {state}"),
    }
}

/// A status, as [MS-ERREF] 2.3 names it.
#[must_use]
pub fn status_words(status: NtStatus) -> String {
    let name = status.to_string();
    match name.starts_with("0x") {
        true => name,
        false => format!("STATUS_{name}"),
    }
}

/// A create action. [MS-SMB2] 2.2.14.
#[must_use]
pub fn create_action_words(action: u32) -> String {
    match action {
        0 => "superseded".to_owned(),
        1 => "opened".to_owned(),
        2 => "created".to_owned(),
        3 => "overwritten".to_owned(),
        other => other.to_string(),
    }
}

/// A dialect, as [MS-SMB2] 2.2.3 names it.
#[must_use]
pub fn dialect_words(dialect: u16) -> String {
    match dialect {
        0x0202 => "2.0.2".to_owned(),
        0x0210 => "2.1".to_owned(),
        0x0300 => "3.0".to_owned(),
        0x0302 => "3.0.2".to_owned(),
        0x0311 => "3.1.1".to_owned(),
        0x02ff => "2.???".to_owned(),
        other => format!("{other:#06x}"),
    }
}

impl NetFailure {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Eof => "the server closed it",
            Self::Reset => "the server reset it",
            Self::Refused => "nobody listens there",
            Self::TimedOut => "no answer in time",
            Self::Unreachable => "the server cannot be reached",
            Self::Protocol => "bytes came that are no SMB",
            Self::Local => "this machine has no descriptors, ports or memory for it",
        }
    }
}

impl Divergence {
    /// What was recorded and what was seen, in words; `None` where there is nothing to name.
    #[must_use]
    pub fn words(&self) -> (Option<String>, Option<String>) {
        let both = |recorded: String, seen: String| (Some(recorded), Some(seen));
        match *self {
            Self::Status { recorded, seen } => both(status_words(recorded), status_words(seen)),
            Self::Grant { recorded, seen } | Self::BreakLevel { recorded, seen } => {
                both(grant_words(recorded), grant_words(seen))
            }
            Self::CreateAction { recorded, seen } => {
                both(create_action_words(recorded), create_action_words(seen))
            }
            Self::Size { recorded, seen } => {
                both(format!("{recorded} bytes"), format!("{seen} bytes"))
            }
            Self::Data { recorded, seen } => both(data_words(&recorded), data_words(&seen)),
            Self::Dialect { recorded, seen } => both(dialect_words(recorded), dialect_words(seen)),
            Self::UnexpectedBreak { level, .. } => both(
                "no break".to_owned(),
                format!("break to {}", grant_words(level)),
            ),
            Self::MissingBreak => both("break".to_owned(), "no break".to_owned()),
            Self::ConnectionLost { reason } => (None, Some(reason.words().to_owned())),
            Self::NoResponse => both("an answer".to_owned(), "no answer in time".to_owned()),
            Self::NoCredits => (None, Some("too few credits to go on".to_owned())),
            Self::LoginFailed => (None, Some("the login could not go on".to_owned())),
            Self::BadSignature => (None, Some("a wrong or missing signature".to_owned())),
            Self::Malformed => (None, Some("an answer that cannot be read".to_owned())),
            Self::WrongHeader { field, sent, seen } => {
                let of = |value: u64| match field {
                    HeaderField::Command => u16::try_from(value)
                        .map_or_else(|_| value.to_string(), |it| Command(it).to_string()),
                    HeaderField::Flags => if value == 0 {
                        "no response"
                    } else {
                        "a response"
                    }
                    .to_owned(),
                    HeaderField::SessionId => format!("session {value:#x}"),
                    HeaderField::TreeId => format!("tree {value:#x}"),
                };
                both(of(sent), of(seen))
            }
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self.words() {
            (Some(recorded), Some(seen)) => write!(f, "{name}: recorded {recorded}, seen {seen}"),
            (None, Some(seen)) => write!(f, "{name}: {seen}"),
            (_, None) => f.write_str(name),
        }
    }
}

/// Data by the beginning of its digest: who compares two runs sees the same there.
fn data_words(digest: &Digest) -> String {
    let text = digest.to_string();
    format!("data {}", text.get(..16).unwrap_or(&text))
}

const LEASE: u32 = 0x100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(grant_words(0x107), "lease RHW");
        assert_eq!(grant_words(0x100), "lease none");
        assert_eq!(grant_words(9), "batch");
        assert_eq!(dialect_words(0x311), "3.1.1");
        let status = Divergence::Status {
            recorded: NtStatus(0),
            seen: NtStatus::ACCESS_DENIED,
        };
        let (recorded, seen) = status.words();
        assert_eq!(recorded.as_deref(), Some("STATUS_SUCCESS"));
        assert_eq!(seen.as_deref(), Some("STATUS_ACCESS_DENIED"));
    }
}
