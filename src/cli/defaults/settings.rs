//! What variables and a file may set, and how far.

use std::ffi::OsStr;

use clap::Command;

use super::{is_switch, option};
use crate::exit::Failure;
use crate::metrics::parse_address;

/// An option that may have a default from elsewhere.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its long name.
    pub(super) name: &'static str,
    /// The verbs it is taken for; none for all that have it.
    verbs: &'static [&'static str],
    bound: Bound,
}

/// How far a variable or a file may go.
#[derive(Debug)]
enum Bound {
    /// Anywhere: it is no guard.
    None,
    /// To these values.
    Only(&'static [&'static str]),
    /// To this number, or above.
    AtLeast(u32),
    /// To this number, or below.
    AtMost(u32),
    /// To an address that other machines do not reach.
    Loopback,
    /// Nowhere: the option lifts a guard.
    Off,
}

/// Verbs that go to a server. `--share` and `--user` mean something else to others.
const TARGET: &[&str] = &["prepare", "replay"];

/// Every option that a variable or a file may set. A new option is not among them until it is put here.
pub(super) const SETTINGS: &[Setting] = &[
    of(&[], "log", Bound::None),
    of(&[], "json", Bound::None),
    of(&[], "seed", Bound::None),
    of(TARGET, "server", Bound::None),
    of(TARGET, "share", Bound::None),
    of(TARGET, "user", Bound::None),
    of(TARGET, "password-file", Bound::None),
    of(TARGET, "mapping", Bound::None),
    of(TARGET, "root", Bound::None),
    of(&[], "order", Bound::None),
    of(&[], "speed", Bound::None),
    of(&[], "pace", Bound::None),
    of(&[], "ack", Bound::None),
    of(&[], "break-wait", Bound::None),
    of(&[], "timeout", Bound::None),
    of(&[], "threshold-us", Bound::None),
    of(&[], "encrypt", Bound::None),
    of(&[], "signing", Bound::Only(&["required", "always"])),
    of(&[], "min-coverage", Bound::AtLeast(90)),
    of(&[], "fail-on", Bound::Only(&["any"])),
    of(&[], "pipes", Bound::Only(&["none", "query"])),
    of(&[], "wrong-passwords", Bound::Only(&["two"])),
    of(&[], "metrics", Bound::Loopback),
    of(&[], "listen", Bound::None),
    of(&[], "signing-required", Bound::None),
    of(&[], "encrypt-required", Bound::None),
    of(&[], "content-limit", Bound::AtMost(1_024)),
    of(&[], "volume-changes", Bound::Off),
    of(&[], "printers", Bound::Off),
    of(&[], "any-dialect", Bound::Off),
    of(&[], "allow-guest", Bound::Off),
    of(&[], "reuse-root", Bound::Off),
    of(&[], "i-know-this-share-is-mine", Bound::Off),
    of(&[], "beyond-loopback", Bound::Off),
];

const fn of(verbs: &'static [&'static str], name: &'static str, bound: Bound) -> Setting {
    Setting { name, verbs, bound }
}

impl Setting {
    /// Whether it is taken for `verb`, if that has the option.
    pub(super) fn is_of(&self, verb: &str) -> bool {
        self.verbs.is_empty() || self.verbs.contains(&verb)
    }

    /// Whether all that it could do is to lift a guard.
    pub(super) const fn only_lifts(&self) -> bool {
        matches!(self.bound, Bound::Off)
    }

    /// Whether `value` may come from `origin`, which is no command line.
    pub(super) fn check(
        &self,
        command: &Command,
        value: &OsStr,
        origin: &str,
    ) -> Result<(), Failure> {
        let text = value.to_string_lossy();
        let switch = command
            .get_subcommands()
            .find_map(|verb| option(verb, self.name))
            .is_some_and(is_switch);
        if switch && text != "true" && text != "false" {
            return Err(Failure::usage(format!(
                "{origin}: say true or false, not {text}"
            )));
        }
        let number = text.trim().parse::<f64>();
        let (allowed, bound) = match self.bound {
            Bound::None => return Ok(()),
            Bound::Only(values) => (values.contains(&&*text), values.join(" or ")),
            // What is no number is told by clap, as on a command line.
            Bound::AtLeast(least) => (
                number.is_ok_and(|it| it >= f64::from(least)),
                format!("{least} or more"),
            ),
            Bound::AtMost(most) => (
                number.is_ok_and(|it| it <= f64::from(most)),
                format!("{most} or less"),
            ),
            // What is no address is told by clap, too.
            Bound::Loopback => (
                parse_address(&text).map_or(true, |it| it.ip().to_canonical().is_loopback()),
                "a port, or an address of this machine alone".to_owned(),
            ),
            Bound::Off => (text == "false", "false".to_owned()),
        };
        if allowed {
            return Ok(());
        }
        let name = self.name;
        let flag = match switch {
            true => format!("--{name}"),
            false => format!("--{name} {text}"),
        };
        Err(Failure::usage(format!(
            "{origin}: {text} lifts a guard, which a variable or a file cannot"
        ))
        .remedy(format!(
            "it may say {bound}; {flag} is for the command line alone"
        )))
    }
}

/// The setting that is written `key` in a place where names are written as `spell` does it; of `verb` where
/// one is said.
///
/// # Errors
///
/// Usage: there is none, and the nearest.
pub(super) fn find(
    command: &Command,
    key: &str,
    verb: Option<&str>,
    origin: &str,
    spell: impl Fn(&str) -> String,
) -> Result<&'static Setting, Failure> {
    let has = |verb: &str, name: &str| {
        let verb = command.find_subcommand(verb);
        verb.is_some_and(|verb| option(verb, name).is_some())
    };
    let fits = |it: &&Setting| verb.is_none_or(|verb| it.is_of(verb) && has(verb, it.name));
    let mut settings = SETTINGS.iter().filter(fits);
    if let Some(found) = settings.clone().find(|it| spell(it.name) == key) {
        return Ok(found);
    }
    if key == spell("password") {
        let remedy = format!("{} names one", spell("password-file"));
        return Err(
            Failure::usage(format!("{origin}: passwords are read from files alone")).remedy(remedy),
        );
    }
    let verbs = command.get_subcommands();
    let mut options = verbs.flat_map(|verb| verb.get_arguments().filter_map(|it| it.get_long()));
    if let Some(option) = options.find(|it| spell(it) == key) {
        let of = verb.map_or_else(String::new, |verb| format!(" of {verb}"));
        return Err(Failure::usage(format!(
            "{origin}: --{option}{of} is taken from the command line alone"
        )));
    }
    let known = settings.by_ref().map(|it| spell(it.name));
    Err(unknown(
        format!("{origin}: there is no such option"),
        key,
        known,
    ))
}

/// A name that is not known, and the one that is most like it.
pub(super) fn unknown(message: String, name: &str, known: impl Iterator<Item = String>) -> Failure {
    let nearest = known.min_by_key(|it| strsim::damerau_levenshtein(it, name));
    let failure = Failure::usage(message);
    match nearest {
        Some(nearest) => failure.remedy(format!("the nearest is {nearest}")),
        None => failure,
    }
}
