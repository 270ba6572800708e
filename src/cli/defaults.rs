//! Defaults for options, from variables and a file: a flag wins over a variable, that over the file.
//!
//! They become flags on the command line before clap reads it, unless the command line has the flag
//! already: so they are checked as flags are. What they may set is [`SETTINGS`]; an option that is not there
//! is taken from the command line alone. Somebody else may have written a variable or a file, so neither
//! lifts a guard: one that tries is an error, whatever the verb.

mod file;
mod settings;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use self::settings::Setting;
use crate::exit::Failure;

/// What variables begin with.
const PREFIX: &str = "SMBENCH_";
/// What variables begin with that are for the tests of this project.
const OF_TESTS: &str = "SMBENCH_TEST_";
/// The variable that names the file; empty for none.
const CONFIG: &str = "SMBENCH_CONFIG";
/// The file that is read where no variable names one: in the working directory alone.
const FILE: &str = "smbench.toml";
/// Verbs that run nothing.
const WITHOUT: &[&str] = &["completions", "help", "man"];

/// Where defaults may come from.
pub(crate) struct Outside {
    /// The environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The working directory.
    pub(crate) folder: PathBuf,
}

impl Outside {
    /// This process's.
    pub(crate) fn here() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            folder: PathBuf::new(),
        }
    }
}

/// A value that somebody gave an option.
struct Given {
    setting: &'static Setting,
    /// Of this verb alone.
    verb: Option<String>,
    value: OsString,
    /// Where it is from, in words.
    origin: String,
}

/// A command line with defaults in it.
#[derive(Debug)]
pub(crate) struct Defaulted {
    /// The command line.
    pub(crate) args: Vec<OsString>,
    /// Options that were added, and where each is from.
    taken: Vec<(&'static str, String)>,
}

impl Defaulted {
    /// What was taken from where, in a line; `None` where nothing was.
    pub(crate) fn told(&self) -> Option<String> {
        let taken = self.taken.iter();
        let taken: Vec<String> = taken
            .map(|(name, from)| format!("--{name} ({from})"))
            .collect();
        (!taken.is_empty()).then(|| format!("defaults: {}", taken.join(", ")))
    }

    /// Where the value is from that clap does not like, if it is none of the command line.
    pub(crate) fn blamed(&self, error: &clap::Error) -> Option<String> {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return None;
        };
        let flag = shown.split([' ', '=']).next()?;
        let name = flag.strip_prefix("--")?;
        let (_, origin) = self.taken.iter().find(|(taken, _)| *taken == name)?;
        Some(format!("{flag} is from {origin}"))
    }
}

/// Every variable that can set something, and the option that it is for.
pub(crate) fn variables_and_options() -> impl Iterator<Item = (String, String)> {
    let settings = settings::SETTINGS.iter().filter(|it| !it.only_lifts());
    let names = settings.map(|it| it.name);
    names.map(|name| (variable_of(name), format!("--{name}")))
}

/// The variable for an option.
fn variable_of(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// Puts the defaults into `args`, a command line of `command`.
///
/// # Errors
///
/// Usage: a key, variable or verb that is not known, a value that is no value, a guard that would be lifted.
/// Environment: a file that cannot be read.
pub(crate) fn apply(
    args: Vec<OsString>,
    command: &Command,
    outside: &Outside,
) -> Result<Defaulted, Failure> {
    let mut whole = command.clone();
    whole.build();
    // Errors are told by the real reading, which sees the defaults too.
    let read = command.clone().ignore_errors(true);
    let matches = read.try_get_matches_from(&args).ok();
    let verb = matches.as_ref().and_then(ArgMatches::subcommand);
    let Some((name, matches)) = verb.filter(|(name, _)| !WITHOUT.contains(name)) else {
        return Ok(Defaulted {
            args,
            taken: Vec::new(),
        });
    };
    let mut given = variables(&whole, outside)?;
    given.extend(file::read(&whole, outside)?);
    let (mut flags, mut taken, mut decided) = (Vec::new(), Vec::new(), BTreeSet::new());
    for it in given {
        let setting = it.setting;
        let applies = setting.is_of(name) && it.verb.as_deref().is_none_or(|of| of == name);
        let Some(verb) = whole.find_subcommand(name).filter(|_| applies) else {
            continue;
        };
        let Some(arg) = option(verb, setting.name) else {
            continue;
        };
        // The first that says something decides, even where it says no more than what is so anyway.
        if !decided.insert(setting.name) || yields(verb, arg, matches) {
            continue;
        }
        let flag = OsString::from(format!("--{}", setting.name));
        match is_switch(arg) {
            true if it.value == "true" => flags.push(flag),
            true => continue,
            false => {
                let parts = [flag.as_os_str(), OsStr::new("="), &it.value];
                flags.push(parts.into_iter().collect());
            }
        }
        taken.push((setting.name, it.origin));
    }
    let mut args = args;
    let end = args
        .iter()
        .position(|arg| arg == "--")
        .unwrap_or(args.len());
    args.splice(end..end, flags);
    Ok(Defaulted { args, taken })
}

/// What the environment gives.
fn variables(command: &Command, outside: &Outside) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    for (variable, value) in &outside.variables {
        let shown = variable.to_string_lossy();
        // What is set to nothing is not set.
        let is_ours = shown.starts_with(PREFIX) && !shown.starts_with(OF_TESTS);
        if !is_ours || value.is_empty() || shown == CONFIG {
            continue;
        }
        let setting = settings::find(command, &shown, None, &shown, variable_of)?;
        setting.check(command, value, &shown)?;
        given.push(Given {
            setting,
            verb: None,
            value: value.clone(),
            origin: shown.into_owned(),
        });
    }
    // In one order, whatever the environment's: it is told.
    given.sort_by(|a, b| a.origin.cmp(&b.origin));
    Ok(given)
}

/// Whether the command line has the option, or one that excludes it.
fn yields(verb: &Command, arg: &Arg, matches: &ArgMatches) -> bool {
    let is_given =
        |arg: &Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excludes = |other: &&Arg| {
        let conflicts = verb.get_arg_conflicts_with(other);
        conflicts.iter().any(|it| it.get_id() == arg.get_id())
    };
    let mut others = verb.get_arguments().filter(|it| is_given(it));
    is_given(arg) || others.any(|it| excludes(&it))
}

/// The option of `verb` that is called `name`.
fn option<'a>(verb: &'a Command, name: &str) -> Option<&'a Arg> {
    verb.get_arguments().find(|it| it.get_long() == Some(name))
}

/// Whether an option takes no value.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

#[cfg(test)]
mod tests;
