use std::fs;

use clap::CommandFactory as _;

use super::settings::SETTINGS;
use super::*;
use crate::cli::Cli;
use crate::exit::{ENVIRONMENT, USAGE};

/// A working directory and an environment.
struct Place(Outside);

impl Place {
    fn new(test: &str, file: Option<&str>) -> Self {
        let name = format!("smbench-defaults-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        if let Some(text) = file {
            fs::write(folder.join(FILE), text).unwrap();
        }
        Self(Outside {
            variables: Vec::new(),
            folder,
        })
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.0.variables.push((name.into(), value.into()));
        self
    }

    fn apply(&self, line: &str) -> Result<Defaulted, Failure> {
        let args = ["smbench"].into_iter().chain(line.split(' '));
        apply(args.map(OsString::from).collect(), &Cli::command(), &self.0)
    }

    /// The command line with its defaults, without `smbench`.
    fn line(&self, line: &str) -> String {
        let args = self.apply(line).unwrap().args;
        let args: Vec<_> = args.iter().skip(1).map(|it| it.to_string_lossy()).collect();
        args.join(" ")
    }

    /// Why a command line is refused.
    fn refused(&self, line: &str) -> String {
        let failure = self.apply(line).unwrap_err();
        assert_eq!(failure.code, USAGE);
        format!("{}; {}", failure.error, failure.remedy.unwrap_or_default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0.folder).ok();
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let file = "timeout = 40\nspeed = 2\nack = 'never'\n[replay]\ntimeout = 50\npace = 'think'\n";
    let place = Place::new("order", Some(file))
        .with("SMBENCH_SPEED", "3")
        .with("SMBENCH_ACK", "immediate");
    assert_eq!(
        place.line("replay DIR --ack recorded"),
        "replay DIR --ack recorded --speed=3 --pace=think --timeout=50"
    );
    assert_eq!(
        place.line("sim DIR"),
        "sim DIR --ack=immediate --speed=3 --timeout=40"
    );
    assert_eq!(place.line("inspect DIR"), "inspect DIR");
    let told = place.apply("sim DIR").unwrap().told().unwrap();
    assert!(
        told.starts_with("defaults: --ack (SMBENCH_ACK), --speed (SMBENCH_SPEED), --timeout (")
    );
    assert_eq!(place.apply("inspect DIR").unwrap().told(), None);
}

#[test]
fn switches_are_set_and_unset() {
    let file = "encrypt = true\njson = false\nsigning_required = true\n";
    let place = Place::new("switches", Some(file));
    assert_eq!(place.line("replay DIR"), "replay DIR --encrypt");
    assert_eq!(place.line("serve"), "serve --signing-required");
    let place = place.with("SMBENCH_ENCRYPT", "false");
    assert_eq!(place.line("replay DIR"), "replay DIR");
    let place = Place::new("switch", None).with("SMBENCH_JSON", "yes");
    assert!(
        place
            .refused("replay DIR")
            .contains("SMBENCH_JSON: say true or false, not yes")
    );
}

#[test]
fn a_default_yields_to_what_excludes_it() {
    let place = Place::new("yields", None).with("SMBENCH_JSON", "true");
    assert_eq!(place.line("inspect DIR --dot"), "inspect DIR --dot");
    assert_eq!(place.line("inspect DIR"), "inspect DIR --json");
    assert_eq!(place.line("inspect DIR --json"), "inspect DIR --json");
}

#[test]
fn options_stay_before_what_is_none() {
    let place = Place::new("behind", None)
        .with("SMBENCH_JSON", "true")
        .with("SMBENCH_LOG", "info");
    assert_eq!(
        place.line("rerun -- -odd"),
        "rerun --json --log=info -- -odd"
    );
    assert_eq!(
        place.line("--log debug rerun A"),
        "--log debug rerun A --json"
    );
    assert_eq!(
        place.line("rerun A --log debug"),
        "rerun A --log debug --json"
    );
}

#[test]
fn help_and_what_runs_nothing_asks_nobody() {
    let place = Place::new("nothing", Some("nonsense")).with("SMBENCH_NONSENSE", "1");
    for line in [
        "--version",
        "help",
        "help replay",
        "replay --help",
        "completions bash",
        "man DIR",
    ] {
        assert_eq!(place.line(line), line);
    }
    assert!(place.apply("replay DIR").is_err());
}

#[test]
fn a_guard_is_lifted_by_a_flag_alone() {
    let lifts = [
        ("pipes", "'all'", "none or query"),
        ("wrong_passwords", "'all'", "two"),
        ("signing", "'off'", "required or always"),
        ("min_coverage", "89.9", "90 or more"),
        ("content_limit", "1025", "1024 or less"),
        (
            "metrics",
            "'0.0.0.0:9464'",
            "a port, or an address of this machine alone",
        ),
        ("volume_changes", "true", "false"),
        ("printers", "true", "false"),
        ("any_dialect", "true", "false"),
        ("allow_guest", "true", "false"),
        ("reuse_root", "true", "false"),
        ("i_know_this_share_is_mine", "true", "false"),
        ("beyond_loopback", "true", "false"),
    ];
    for (key, value, may) in lifts {
        let text = value.trim_matches('\'');
        let in_file = Place::new(key, Some(&format!("{key} = {value}")));
        let variable = format!("SMBENCH_{}", key.to_uppercase());
        let in_variable = Place::new(key, None).with(&variable, text);
        // Whatever the verb: who set it thinks that it holds.
        for (place, origin) in [(&in_file, key), (&in_variable, &variable)] {
            for line in ["replay DIR", "inspect DIR"] {
                let why = place.refused(line);
                let says = format!("{origin}: {text} lifts a guard");
                assert!(why.contains(&says), "{why}");
                assert!(why.contains(&format!("it may say {may};")), "{why}");
                assert!(
                    why.contains(&format!("--{}", key.replace('_', "-"))),
                    "{why}"
                );
            }
        }
    }
}

#[test]
fn a_guard_is_tightened_from_anywhere() {
    let file = "pipes = 'none'\nmin_coverage = 99\nprinters = false\nmetrics = 9464\n[replay]\nsigning = 'always'";
    let place = Place::new("tighter", Some(file));
    assert_eq!(
        place.line("replay DIR"),
        "replay DIR --signing=always --metrics=9464 --min-coverage=99 --pipes=none"
    );
}

#[test]
fn a_name_that_is_not_known_is_an_error_with_the_nearest() {
    let refused = |file: &str| Place::new("names", Some(file)).refused("replay DIR");
    let why = refused("time_out = 3");
    assert!(
        why.contains("time_out: there is no such option; the nearest is timeout"),
        "{why}"
    );
    let why = refused("min-coverage = 99");
    assert!(why.contains("the nearest is min_coverage"), "{why}");
    let why = refused("[repaly]\ntimeout = 3");
    assert!(
        why.contains("[repaly] is no verb that has options; the nearest is replay"),
        "{why}"
    );
    let why = refused("[inspect]\nspeed = 3");
    assert!(
        why.contains("--speed of inspect is taken from the command line alone"),
        "{why}"
    );
    let why = refused("plant = 'x'");
    assert!(
        why.contains("--plant is taken from the command line alone"),
        "{why}"
    );
    let why = refused("timeout = [1]");
    assert!(
        why.contains("timeout: say a text, a number, true or false"),
        "{why}"
    );
    let place = Place::new("names", None).with("SMBENCH_SERVR", "a");
    let why = place.refused("inspect DIR");
    assert!(
        why.contains("SMBENCH_SERVR: there is no such option; the nearest is SMBENCH_SERVER"),
        "{why}"
    );
}

#[test]
fn passwords_come_from_files_of_their_own() {
    let place = Place::new("password", Some("password = 'secret'"));
    let why = place.refused("replay DIR");
    assert!(
        why.contains("passwords are read from files alone; password_file names one"),
        "{why}"
    );
    assert!(!why.contains("secret"));
    let place = Place::new("password", None).with("SMBENCH_PASSWORD", "secret");
    let why = place.refused("replay DIR");
    assert!(
        why.contains("SMBENCH_PASSWORD_FILE names one") && !why.contains("secret"),
        "{why}"
    );
    let place = Place::new("password", Some("password_file = 'p'"));
    assert_eq!(place.line("replay DIR"), "replay DIR --password-file=p");
}

#[test]
fn another_file_is_named_by_a_variable() {
    let place = Place::new("named", Some("timeout = 3"));
    let other = place.0.folder.join("other.toml");
    fs::write(&other, "timeout = 4").unwrap();
    assert_eq!(place.line("sim DIR"), "sim DIR --timeout=3");
    let place = place.with("SMBENCH_CONFIG", other.to_str().unwrap());
    assert_eq!(place.line("sim DIR"), "sim DIR --timeout=4");
    let none = Place::new("none", Some("timeout = 3")).with("SMBENCH_CONFIG", "");
    assert_eq!(none.line("sim DIR"), "sim DIR");
    let missing = Place::new("missing", None).with("SMBENCH_CONFIG", "/nowhere/smbench.toml");
    assert_eq!(missing.apply("sim DIR").unwrap_err().code, ENVIRONMENT);
}

#[test]
fn a_variable_that_is_set_to_nothing_or_for_tests_is_none() {
    let place = Place::new("empty", None)
        .with("SMBENCH_TIMEOUT", "")
        .with("SMBENCH_TEST_SPOIL", "3")
        .with("SMBENCHMARK", "x");
    assert_eq!(place.line("sim DIR"), "sim DIR");
}

#[test]
fn a_value_that_is_none_is_told_with_its_origin() {
    let place = Place::new("blame", None).with("SMBENCH_TIMEOUT", "0");
    let defaulted = place.apply("sim DIR").unwrap();
    let error = Cli::command()
        .try_get_matches_from(&defaulted.args)
        .unwrap_err();
    let blamed = defaulted.blamed(&error);
    assert_eq!(blamed.as_deref(), Some("--timeout is from SMBENCH_TIMEOUT"));
}

#[test]
fn each_setting_is_an_option_and_none_is_called_like_a_verb() {
    let mut command = Cli::command();
    command.build();
    for setting in SETTINGS {
        let mut of = command
            .get_subcommands()
            .filter(|it| setting.is_of(it.get_name()));
        assert!(
            of.any(|it| option(it, setting.name).is_some()),
            "{}",
            setting.name
        );
        assert!(
            command.find_subcommand(setting.name).is_none(),
            "{}",
            setting.name
        );
    }
}

#[test]
fn the_document_has_each_setting() {
    let text = include_str!("../../../docs/CONFIG.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let named = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<String> = named.map(str::to_owned).collect();
    let settings = SETTINGS.iter().map(|it| it.name.replace('-', "_"));
    assert_eq!(documented, settings.collect());
}
