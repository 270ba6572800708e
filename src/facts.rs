//! Names of the facts that a journal keeps of its run ([`smbench_journal::RunMeta::facts`]).

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
