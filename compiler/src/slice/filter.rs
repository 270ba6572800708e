//! What of a workload is meant: by client, session, share, path, command and time.

use std::collections::BTreeSet;

use smbench_core::{
    ids::{ClientId, SessionRef, TreeRef},
    smb2::Command,
    workload::Workload,
};
use thiserror::Error;

use super::glob::{Glob, is_like};

/// What of a workload is meant. Empty lists and absent bounds mean everything; items of one list
/// are alternatives, and what is meant must be meant by every list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters {
    /// Addresses (with `*` and `?`), or numbers of clients.
    pub clients: Vec<String>,
    /// Numbers of sessions, ids on the wire (`0x…`), or names of users (with `*` and `?`).
    pub sessions: Vec<String>,
    /// Names of shares (with `*` and `?`).
    pub shares: Vec<String>,
    /// [`Glob`]s of paths below the share.
    pub paths: Vec<String>,
    /// Commands; `DISCONNECT` is the end of a connection.
    pub commands: Vec<String>,
    /// First microsecond, counted as `at_us` is.
    pub from_us: Option<u64>,
    /// First microsecond that is no longer meant.
    pub to_us: Option<u64>,
}

/// A filter that makes no sense.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum FilterError {
    /// A pattern that can match nothing.
    #[error("the pattern {pattern:?} is none: {why}")]
    BadGlob {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Something that the workload does not have.
    #[error("there is no {what} {name:?} in the workload")]
    NoSuch {
        /// What was asked for: `client`, `session`, `share`, `command`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A time that is none.
    #[error("{text:?} is no time: say 90, 1.5s, 200ms, 30us, 2m or 1h from the start")]
    BadTime {
        /// What was written.
        text: String,
    },
    /// A stretch of time without length.
    #[error("nothing lies between {from_us} us and {to_us} us")]
    NoTime {
        /// Its beginning.
        from_us: u64,
        /// Its end.
        to_us: u64,
    },
}

impl FilterError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::BadGlob { .. } => {
                "write a path below the share, like team\\*.docx or team\\**".to_owned()
            }
            Self::NoSuch { what, known, .. } => {
                let shown: Vec<&str> = known.iter().map(String::as_str).take(SHOWN).collect();
                let more = match known.len().saturating_sub(SHOWN) {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                format!("there is, as {what}: {}{more}", shown.join(", "))
            }
            Self::BadTime { .. } => "a number without unit means seconds".to_owned(),
            Self::NoTime { .. } => "--to must be later than --from".to_owned(),
        }
    }
}

/// Reads a time from the start: a number with `us`, `ms`, `s`, `m` or `h`, or of seconds.
/// Gives microseconds.
///
/// # Errors
///
/// [`FilterError::BadTime`].
pub fn parse_time(text: &str) -> Result<u64, FilterError> {
    let bad = || FilterError::BadTime {
        text: text.to_owned(),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("us") => 1,
        Some("ms") => 1_000,
        Some("" | "s") => 1_000_000,
        Some("m" | "min") => 60_000_000,
        Some("h") => 3_600_000_000,
        _ => return Err(bad()),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |digits: &str| match digits {
        "" => Some(0),
        it if it.bytes().all(|byte| byte.is_ascii_digit()) => it.parse::<u64>().ok(),
        _ => None,
    };
    if digits.is_empty() || digits == "." || part.len() > 9 {
        return Err(bad());
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).unwrap_or_default());
    let whole = number(whole).and_then(|it| it.checked_mul(unit));
    let part = number(part)
        .and_then(|it| it.checked_mul(unit))
        .map(|it| it / scale);
    whole
        .zip(part)
        .and_then(|(whole, part)| whole.checked_add(part))
        .ok_or_else(bad)
}

impl Filters {
    /// Whether everything is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The filters as the arguments that make them.
    #[must_use]
    pub fn arguments(&self) -> String {
        let lists = [
            ("client", &self.clients),
            ("session", &self.sessions),
            ("share", &self.shares),
            ("path", &self.paths),
            ("command", &self.commands),
        ];
        let listed = lists
            .iter()
            .flat_map(|(name, list)| list.iter().map(move |it| format!("--{name} '{it}'")));
        let times = [("from", self.from_us), ("to", self.to_us)];
        let times = times
            .iter()
            .filter_map(|(name, at)| at.map(|at| format!("--{name} {at}us")));
        listed.chain(times).collect::<Vec<_>>().join(" ")
    }
}

/// Why an operation is not meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Missed {
    Client,
    Session,
    Share,
    Path,
    Command,
    Time,
}

impl Missed {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "another client",
            Self::Session => "another session",
            Self::Share => "another share",
            Self::Path => "another path",
            Self::Command => "another command",
            Self::Time => "another time",
        }
    }
}

/// [`Filters`] against the tables of one workload.
#[derive(Debug)]
pub(super) struct Matcher {
    clients: Option<Vec<bool>>,
    sessions: Option<Vec<bool>>,
    trees: Option<Vec<bool>>,
    shares: Vec<String>,
    paths: Option<Vec<Glob>>,
    commands: Option<BTreeSet<Command>>,
    from_us: u64,
    pub(super) to_us: u64,
}

/// What is asked about an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) client: ClientId,
    pub(super) session: Option<SessionRef>,
    pub(super) tree: Option<TreeRef>,
    /// The share, where no tree came of a TREE_CONNECT.
    pub(super) share: Option<&'a str>,
    /// Whether its path is meant.
    pub(super) path: bool,
    pub(super) command: Command,
    pub(super) at_us: u64,
}

impl Matcher {
    pub(super) fn new(filters: &Filters, workload: &Workload) -> Result<Self, FilterError> {
        let from_us = filters.from_us.unwrap_or(0);
        let to_us = filters.to_us.unwrap_or(u64::MAX);
        if from_us >= to_us {
            return Err(FilterError::NoTime { from_us, to_us });
        }
        let globs = filters.paths.iter().map(|path| Glob::new(path));
        let globs = globs.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            clients: clients(&filters.clients, workload)?,
            sessions: sessions(&filters.sessions, workload)?,
            trees: shares(&filters.shares, workload)?,
            shares: filters.shares.clone(),
            paths: (!globs.is_empty()).then_some(globs),
            commands: commands(&filters.commands)?,
            from_us,
            to_us,
        })
    }

    /// Whether a path, in lower case, is meant.
    pub(super) fn path(&self, path: &str) -> bool {
        let globs = self.paths.as_ref();
        globs.is_none_or(|globs| globs.iter().any(|glob| glob.matches(path)))
    }

    /// Whether paths tell anything apart.
    pub(super) const fn by_path(&self) -> bool {
        self.paths.is_some()
    }

    /// Why an operation is not meant; none where it is.
    pub(super) fn missed(&self, asked: &Asked<'_>) -> Option<Missed> {
        let told = |list: &Option<Vec<bool>>, at: Option<usize>| match list {
            None => true,
            Some(list) => at.and_then(|at| list.get(at).copied()).unwrap_or(false),
        };
        let share = asked.share.is_some_and(|share| {
            let mut patterns = self.shares.iter();
            patterns.any(|pattern| is_like(pattern, share))
        });
        if !told(&self.clients, Some(asked.client.index())) {
            Some(Missed::Client)
        } else if !told(&self.sessions, asked.session.map(SessionRef::index)) {
            Some(Missed::Session)
        } else if !told(&self.trees, asked.tree.map(TreeRef::index)) && !share {
            Some(Missed::Share)
        } else if !asked.path {
            Some(Missed::Path)
        } else if !self
            .commands
            .as_ref()
            .is_none_or(|set| set.contains(&asked.command))
        {
            Some(Missed::Command)
        } else if !(self.from_us..self.to_us).contains(&asked.at_us) {
            Some(Missed::Time)
        } else {
            None
        }
    }
}

/// Which items of a table the names mean; each must mean one.
fn resolve<T>(
    what: &'static str,
    names: &[String],
    table: &[T],
    means: impl Fn(&str, usize, &T) -> bool,
    shown: impl Fn(usize, &T) -> String,
) -> Result<Option<Vec<bool>>, FilterError> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut meant = vec![false; table.len()];
    for name in names {
        let mut any = false;
        for ((at, item), slot) in table.iter().enumerate().zip(&mut meant) {
            if means(name, at, item) {
                *slot = true;
                any = true;
            }
        }
        if !any {
            let mut known: Vec<String> = Vec::new();
            for (at, item) in table.iter().enumerate() {
                let text = shown(at, item);
                if !text.is_empty() && !known.contains(&text) && known.len() <= KNOWN {
                    known.push(text);
                }
            }
            return Err(FilterError::NoSuch {
                what,
                name: name.clone(),
                known,
            });
        }
    }
    Ok(Some(meant))
}

fn clients(names: &[String], workload: &Workload) -> Result<Option<Vec<bool>>, FilterError> {
    resolve(
        "client",
        names,
        &workload.clients,
        |name, at, client| match name.parse::<usize>() {
            Ok(number) => number == at,
            Err(_) => is_like(name, &client.address),
        },
        |at, client| format!("{} ({at})", client.address),
    )
}

fn sessions(names: &[String], workload: &Workload) -> Result<Option<Vec<bool>>, FilterError> {
    let user = |principal: u32| {
        let index = usize::try_from(principal).unwrap_or(usize::MAX);
        let found = workload.principals.get(index);
        found.map_or("", |it| it.name.as_str())
    };
    resolve(
        "session",
        names,
        &workload.sessions,
        |name, at, session| {
            if let Ok(number) = name.parse::<usize>() {
                return number == at;
            }
            let wire = name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"));
            if let Some(id) = wire.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                return session.wire_id.0 == id;
            }
            let full = user(session.principal);
            let short = full.rsplit('\\').next().unwrap_or_default();
            !full.is_empty() && (is_like(name, full) || is_like(name, short))
        },
        |at, session| match user(session.principal) {
            "" => format!("{at}"),
            name => format!("{at} ({name})"),
        },
    )
}

fn shares(names: &[String], workload: &Workload) -> Result<Option<Vec<bool>>, FilterError> {
    resolve(
        "share",
        names,
        &workload.trees,
        |name, _, tree| !tree.path.is_empty() && is_like(name, tree.share()),
        |_, tree| tree.share().to_owned(),
    )
}

fn commands(names: &[String]) -> Result<Option<BTreeSet<Command>>, FilterError> {
    let known = || {
        let named = (0..=MAX_COMMAND).map(|number| Command(number).to_string());
        named.chain(["DISCONNECT".to_owned()])
    };
    let find = |name: &String| {
        let wanted = name.to_uppercase();
        let number = known().position(|it| it == wanted);
        let number = number.and_then(|at| u16::try_from(at).ok());
        match number {
            Some(number) if number <= MAX_COMMAND => Ok(Command(number)),
            Some(_) => Ok(DISCONNECT),
            None => Err(FilterError::NoSuch {
                what: "command",
                name: name.clone(),
                known: known().collect(),
            }),
        }
    };
    let set = names.iter().map(find).collect::<Result<BTreeSet<_>, _>>()?;
    Ok((!names.is_empty()).then_some(set))
}

/// The end of a connection is no command.
pub(super) const DISCONNECT: Command = Command(u16::MAX);
/// OPLOCK_BREAK. [MS-SMB2] 2.2.1.2
const MAX_COMMAND: u16 = 0x12;
/// Names a remedy shows.
const SHOWN: usize = 12;
/// Names that are looked for at most.
const KNOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, want) in [
            ("0", 0),
            ("90", 90_000_000),
            ("1.5s", 1_500_000),
            (".5", 500_000),
            ("200ms", 200_000),
            ("0.25ms", 250),
            ("30us", 30),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
        ] {
            assert_eq!(parse_time(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "s",
            "1x",
            "-1",
            "1.2.3",
            "1e3",
            "99999999999999999999",
            ".",
            "1 s",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_are_told_as_arguments() {
        let filters = Filters {
            clients: vec!["10.0.0.1".to_owned()],
            paths: vec!["team\\**".to_owned(), "x".to_owned()],
            from_us: Some(5),
            ..Filters::default()
        };
        let told = "--client '10.0.0.1' --path 'team\\**' --path 'x' --from 5us";
        assert_eq!(filters.arguments(), told);
        assert!(Filters::default().is_empty() && !filters.is_empty());
    }
}
