//! Names of the facts that a journal keeps of its run ([`smbench_journal::RunMeta::facts`]).

use std::ffi::OsString;
use std::sync::OnceLock;

use crate::verdict::DEFAULT_COVERAGE;

/// The verb that recorded it.
pub(crate) const VERB: &str = "verb";
/// The server's address.
pub(crate) const SERVER: &str = "server";
/// Users that logged in.
pub(crate) const USERS: &str = "users";
/// The command line, as a shell would read it. It holds no secrets: those are in files.
pub(crate) const COMMAND: &str = "command";
/// Least coverage that was asked for, in percent, where it is not the usual one.
pub(crate) const MIN_COVERAGE: &str = "min_coverage";

/// The fact of a least coverage, 0 to 1; none of the usual one.
pub(crate) fn min_coverage(share: f64) -> Option<(&'static str, String)> {
    let usual = (share - DEFAULT_COVERAGE).abs() < f64::EPSILON;
    (!usual).then(|| (MIN_COVERAGE, format!("{}", share * 100.0)))
}

static GIVEN: OnceLock<String> = OnceLock::new();

/// Keeps the command line, with what variables and files have put there.
pub(crate) fn given(args: &[OsString]) {
    let mut words = args.iter();
    let program = words.next().map(std::path::Path::new);
    let program = program
        .and_then(std::path::Path::file_name)
        .unwrap_or_default();
    let words = std::iter::once(program).chain(words.map(OsString::as_os_str));
    let quoted: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    GIVEN.get_or_init(|| quoted.join(" "));
}

/// The command line, as a shell reads it.
pub(crate) fn command() -> String {
    GIVEN.get().cloned().unwrap_or_default()
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-:=".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
