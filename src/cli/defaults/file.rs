//! `smbench.toml`: `option = value`, for all verbs that have the option, and in tables for one verb.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::{Table, Value};

use super::settings;
use super::{CONFIG, FILE, Given, Outside, WITHOUT};
use crate::exit::{Failure, OrFail, toml_error};
use crate::small_file;

/// What the file gives, verb by verb before what is for all; nothing where there is none.
pub(super) fn read(command: &Command, outside: &Outside) -> Result<Vec<Given>, Failure> {
    let Some(path) = place(outside)? else {
        return Ok(Vec::new());
    };
    let shown = path.display().to_string();
    let text = small_file::text(&path)?;
    let table: Table = toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("{shown}: {}", toml_error(&text, &error))))?;
    let (mut given, mut for_all) = (Vec::new(), Vec::new());
    for (key, value) in &table {
        match value {
            Value::Table(of_verb) => {
                check_verb(command, key, &shown)?;
                for (name, value) in of_verb {
                    given.push(one(command, Some(key), name, value, &shown)?);
                }
            }
            _ => for_all.push(one(command, None, key, value, &shown)?),
        }
    }
    given.append(&mut for_all);
    Ok(given)
}

/// The file to read.
fn place(outside: &Outside) -> Result<Option<PathBuf>, Failure> {
    let mut variables = outside.variables.iter();
    if let Some((_, named)) = variables.find(|(name, _)| name == CONFIG) {
        return Ok((!named.is_empty()).then(|| PathBuf::from(named)));
    }
    let path = outside.folder.join(FILE);
    let owner = match path.metadata() {
        Ok(file) => file.uid(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).or_environment(format!("cannot read {}", path.display())),
    };
    // The owner of what this process shows of itself is who runs it.
    let us = Path::new("/proc/self").metadata();
    let us = us.or_environment("cannot tell who runs this")?.uid();
    match is_ours(owner, us) {
        true => Ok(Some(path)),
        false => Err(Failure::environment(format!(
            "{FILE} in the working directory is user {owner}'s, not yours: it is not read"
        ))
        .remedy(format!("{CONFIG}={FILE} reads it; {CONFIG}= reads none"))),
    }
}

/// Whether what `owner` wrote into a folder where we happen to be may tell us what to do.
fn is_ours(owner: u32, us: u32) -> bool {
    owner == us || owner == 0
}

fn check_verb(command: &Command, name: &str, shown: &str) -> Result<(), Failure> {
    if command.find_subcommand(name).is_some() && !WITHOUT.contains(&name) {
        return Ok(());
    }
    let verbs = command.get_subcommands().map(|it| it.get_name().to_owned());
    let verbs = verbs.filter(|it| !WITHOUT.contains(&it.as_str()));
    let message = format!("{shown}: [{name}] is no verb that has options");
    Err(settings::unknown(message, name, verbs))
}

/// A key and its value.
fn one(
    command: &Command,
    verb: Option<&str>,
    key: &str,
    value: &Value,
    shown: &str,
) -> Result<Given, Failure> {
    let origin = match verb {
        Some(verb) => format!("{shown}: {verb}.{key}"),
        None => format!("{shown}: {key}"),
    };
    let spell = |name: &str| name.replace('-', "_");
    let setting = settings::find(command, key, verb, &origin, spell)?;
    let value: OsString = match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Boolean(it) => it.to_string().into(),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            return Err(Failure::usage(format!(
                "{origin}: say a text, a number, true or false"
            )));
        }
    };
    setting.check(command, &value, &origin)?;
    Ok(Given {
        setting,
        verb: verb.map(str::to_owned),
        value,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_left_in_a_folder_is_not_ours() {
        assert!(is_ours(1_000, 1_000));
        assert!(is_ours(0, 1_000), "the administrator's");
        assert!(!is_ours(1_001, 1_000));
        assert!(!is_ours(1_000, 0), "a user's, for the administrator");
    }
}
