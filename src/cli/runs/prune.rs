//! Which journals go, and that nothing else does.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use smbench_journal::{JournalError, Removable};

use super::{Args, Place, nanoseconds};
use crate::exit::{ENVIRONMENT, Failure, Outcome, Verdict, chain};
use crate::interrupt;
use crate::journals::failed;
use crate::report::{self, note, say};
use crate::results::about::utc;

/// How long ago.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Age(Duration);

impl Age {
    /// Reads a number with its unit.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "say a number with s, m, h, d or w, like 30d".to_owned();
        let (at, _) = text.char_indices().next_back().ok_or_else(wrong)?;
        let (number, unit) = text.split_at(at);
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(wrong()),
        };
        let digits = number.bytes().all(|it| it.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// What `--prune --json` prints.
#[derive(Default, Serialize)]
struct Pruned {
    dry_run: bool,
    /// Deleted, or to be deleted.
    deleted: Vec<Gone>,
    /// Named by the criteria and still there.
    left: Vec<Left>,
    /// Journal folders that no criterion names.
    kept: usize,
    /// Of what was deleted.
    bytes: u64,
}

#[derive(Serialize)]
struct Gone {
    journal: String,
    made_at: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Left {
    journal: String,
    why: String,
}

/// Deletes what every criterion of `args` names, or says what that is.
pub(super) fn run(args: &Args, found: Vec<Place>) -> Outcome {
    let now = SystemTime::now();
    let folders: Vec<Place> = found.into_iter().filter(|it| it.is_folder).collect();
    let goes = |at: usize, place: &Place| {
        // What was made in the future is as new as can be.
        let age = now.duration_since(place.made).unwrap_or_default();
        let many = args.keep.is_none_or(|keep| at >= keep);
        many && args.older_than.is_none_or(|limit| age > limit.0)
    };
    let mut told = Pruned {
        dry_run: args.dry_run,
        ..Pruned::default()
    };
    let mut failure = None;
    for (at, place) in folders.iter().enumerate() {
        if !goes(at, place) {
            told.kept += 1;
            continue;
        }
        match remove(args, place) {
            Ok(bytes) => {
                told.bytes = told.bytes.saturating_add(bytes);
                let gone = Gone {
                    journal: place.path.display().to_string(),
                    made_at: utc(nanoseconds(place.made)),
                    bytes,
                };
                if !args.json {
                    let (verb, size) = (verb(args), report::bytes(bytes));
                    say!("{verb} {} ({}, {size})", gone.journal, gone.made_at);
                }
                told.deleted.push(gone);
            }
            Err(JournalError::Busy { .. }) => told.left.push(Left {
                journal: place.path.display().to_string(),
                why: "it is being written or read".to_owned(),
            }),
            Err(error) => {
                let why = chain(&failed(error, &place.path).error);
                failure.get_or_insert_with(|| why.clone());
                told.left.push(Left {
                    journal: place.path.display().to_string(),
                    why,
                });
            }
        }
        interrupt::far(format!("{} journals were deleted", told.deleted.len()));
    }
    if args.json {
        report::json(&told)?;
    } else {
        for Left { journal, why } in &told.left {
            note!("smbench: left {journal}: {why}");
        }
        let (deleted, kept) = (told.deleted.len(), told.kept);
        let size = report::bytes(told.bytes);
        say!(
            "{} {deleted} of {} journals, {size}; {kept} kept",
            verb(args),
            folders.len()
        );
    }
    match failure {
        None => Ok(Verdict::Same),
        Some(why) => Err(Failure::new(ENVIRONMENT, anyhow::anyhow!(why))
            .context("not all of it could be deleted")
            .remedy("what else lies there, or who may delete there, is yours to settle")),
    }
}

const fn verb(args: &Args) -> &'static str {
    match args.dry_run {
        true => "would delete",
        false => "deleted",
    }
}

fn remove(args: &Args, place: &Place) -> Result<u64, JournalError> {
    // A signal that comes now waits until this one is gone as a whole.
    interrupt::uninterrupted(|| {
        let found = Removable::at(&place.path)?;
        let bytes = found.bytes;
        if !args.dry_run {
            found.remove()?;
        }
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        let days = |days: u64| Ok(Age(Duration::from_secs(days * 86_400)));
        assert_eq!(Age::parse("30d"), days(30));
        assert_eq!(Age::parse("2w"), days(14));
        assert_eq!(Age::parse("48h"), days(2));
        assert_eq!(Age::parse("0s"), days(0));
        for bad in [
            "",
            "d",
            "30",
            "-1d",
            "+1d",
            "1.5d",
            "30 d",
            "30D",
            "1é",
            "99999999999999999w",
        ] {
            assert!(Age::parse(bad).is_err(), "{bad}");
        }
    }
}
