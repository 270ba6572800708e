//! What a journal is called where nobody names it: after the workload, the time, and where it ran.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::exit::{Failure, OrFail};

/// What tells one run from another in the name of its journal.
#[derive(Clone, Debug)]
pub(crate) struct RunName {
    /// The workload, by its folder or file.
    workload: String,
    /// The server, or what else is known of where it ran.
    place: String,
}

impl RunName {
    /// Of a live run of `verb` against `server`.
    pub(crate) fn live(workload: &str, server: &str, verb: &str) -> Self {
        let server = match part(server, LONGEST_SERVER) {
            empty if empty.is_empty() => "server".to_owned(),
            named => named,
        };
        let place = match verb {
            "replay" => server,
            _ => format!("{server}-{verb}"),
        };
        Self::of(workload, place)
    }

    /// Of a simulation.
    pub(crate) fn simulated(workload: &str, seed: u64) -> Self {
        Self::of(workload, format!("sim-seed{seed}"))
    }

    fn of(workload: &str, place: String) -> Self {
        Self {
            workload: workload.to_owned(),
            place,
        }
    }

    /// The name, at most 160 bytes of `A-Za-z0-9._-`, for a run that began `at`.
    fn at(&self, at: SystemTime) -> String {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        // A clock before 1970 or behind 9999 is told by no digits.
        let moment = OffsetDateTime::from(at).format(format).unwrap_or_default();
        // Windows takes what stands before the first dot for the whole name: `con.x` is its console.
        let workload = part(&self.workload, LONGEST_WORKLOAD).replace('.', "_");
        let workload = match workload.as_str() {
            "" => "workload",
            named => named,
        };
        format!("{workload}-{moment}-{}", self.place)
    }

    /// Makes a folder of that name in `parent` that was not there; a number is appended where it was.
    pub(crate) fn claim(&self, parent: &Path) -> Result<PathBuf, Failure> {
        let name = self.at(SystemTime::now());
        let context = || {
            format!(
                "cannot make a folder for the journal in {}",
                parent.display()
            )
        };
        for number in 1..=MOST_OF_A_NAME {
            let path = match number {
                1 => parent.join(&name),
                _ => parent.join(format!("{name}-{number}")),
            };
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| path).or_environment(context()),
            }
        }
        Err(Failure::environment(format!(
            "{}: {name} is taken",
            context()
        )))
    }
}

/// `text` in letters that every file system takes as they are, and no option begins with; empty where
/// nothing is left.
fn part(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        let safe = letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        match safe {
            true => out.push(letter),
            false if out.ends_with('_') => {}
            false => out.push('_'),
        }
        if out.len() == longest {
            break;
        }
    }
    out.trim_matches(['.', '-', '_']).to_owned()
}

/// Bytes.
const LONGEST_WORKLOAD: usize = 48;
const LONGEST_SERVER: usize = 64;
/// Runs of one name in one second.
const MOST_OF_A_NAME: u32 = 100_000;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn named(workload: &str, server: &str) -> String {
        let at = UNIX_EPOCH + Duration::from_secs(1_796_068_680);
        RunName::live(workload, server, "replay").at(at)
    }

    #[test]
    fn a_journal_is_named_by_workload_time_and_place() {
        assert_eq!(
            named("work", "filer.example"),
            "work-20261130T195800Z-filer.example"
        );
        let at = UNIX_EPOCH + Duration::from_secs(1_796_068_680);
        let simulated = RunName::simulated("work", 7).at(at);
        assert_eq!(simulated, "work-20261130T195800Z-sim-seed7");
        let prepared = RunName::live("work", "filer.example", "prepare").at(at);
        assert_eq!(prepared, "work-20261130T195800Z-filer.example-prepare");
    }

    #[test]
    fn a_name_is_safe_and_short_whatever_it_is_made_of() {
        let long = "x".repeat(4_000);
        for text in [
            "",
            "..",
            "-rf",
            ".hidden",
            "a/b\\c:d*e",
            "con.x",
            "Büro\n\u{202e}\0",
            "fe80::1%eth0",
            "日本語",
            "trailing.",
            long.as_str(),
        ] {
            let name = named(text, text);
            let safe = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
            assert!(name.chars().all(safe), "{name}");
            assert!(name.len() <= 160, "{name}");
            assert!(
                name.starts_with(|it: char| it.is_ascii_alphanumeric()),
                "{name}"
            );
            assert!(!name.split('-').next().unwrap().contains('.'), "{name}");
        }
        assert!(named("日本語", "s").starts_with("workload-"));
        assert!(named("w", "fe80::1").ends_with("-fe80_1"));
    }

    #[test]
    fn no_folder_is_taken_twice() {
        let parent = std::env::temp_dir().join(format!("smbench-names-{}", std::process::id()));
        std::fs::create_dir_all(&parent).unwrap();
        let name = RunName::simulated("w", 1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (name, parent) = (name.clone(), parent.clone());
                std::thread::spawn(move || {
                    (0..8)
                        .map(|_| name.claim(&parent).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let made = threads.into_iter().flat_map(|it| it.join().unwrap());
        let made: std::collections::BTreeSet<PathBuf> = made.collect();
        std::fs::remove_dir_all(&parent).unwrap();
        assert_eq!(made.len(), 32);
    }
}
