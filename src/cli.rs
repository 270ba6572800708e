//! The command line: one file per verb.

mod anonymize;
mod compile;
mod completions;
mod defaults;
mod demo;
pub(crate) mod diff;
mod fuzz;
mod inspect;
mod man;
mod pack;
mod place;
mod prepare;
mod replay;
mod report;
mod rerun;
mod runs;
mod serve;
mod show;
mod sim;
mod slice;
mod transfer;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use smbench_core::engine::{AckMode, OrderMode, Pace, RunConfig, Speed};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::{Failure, Outcome, USAGE, Verdict};
use crate::report::note;
use crate::terminal::LogLine;
use crate::{facts, interrupt};

/// Compile SMB2/3 captures into workloads; replay, simulate, rerun and diff them.
#[derive(Parser)]
#[command(name = "smbench", version = env!("BUILD_VERSION"), max_term_width = 100)]
struct Cli {
    /// Say more on stderr: error, warn, info, debug, trace, or a tracing filter
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Packet captures -> a workload folder
    Compile(compile::Args),
    /// What a workload holds, and why its operations are ordered as they are
    Inspect(inspect::Args),
    /// A part of a workload -> a workload folder
    Slice(slice::Args),
    /// A workload without what it tells about people, for giving it away
    Anonymize(anonymize::Args),
    /// A workload folder -> one portable file, which every verb takes in place of the folder
    Pack(pack::Args),
    /// Build a workload's initial files on a server
    Prepare(prepare::Args),
    /// Replay a workload against a live server
    Replay(replay::Args),
    /// Replay a workload against the model server, deterministically
    Sim(sim::Args),
    /// Run a journal again offline, and prove that it does the same
    Rerun(rerun::Args),
    /// In what two runs of one workload differ, causes first
    Diff(diff::Args),
    /// Runs that exist, as a page to read
    Report(report::Args),
    /// The runs of a folder of journals, with what they came to
    Runs(runs::Args),
    /// The events of a journal
    Show(show::Args),
    /// Change the events of a journal, and see what the engine makes of it
    Fuzz(fuzz::Args),
    /// A journal folder -> one portable file
    Export(transfer::ExportArgs),
    /// A portable file -> a journal folder
    Import(transfer::ImportArgs),
    /// Put the model server on a real port
    Serve(serve::Args),
    /// The whole path on a capture that ships with the project
    Demo(demo::Args),
    /// Print what a shell needs for completing smbench's command lines
    Completions(completions::Args),
    /// Write manual pages, one a verb
    #[command(hide = true)]
    Man(man::Args),
}

/// Parses and runs.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Outcome {
    let args = args.into_iter().collect();
    let defaulted = defaults::apply(args, &Cli::command(), &defaults::Outside::here())?;
    let cli = match Cli::try_parse_from(&defaulted.args) {
        Ok(cli) => cli,
        Err(error) => {
            if !error.use_stderr() {
                // Help holds nothing from outside.
                error.print().ok();
                return Ok(Verdict::Same);
            }
            let text = error.render().to_string();
            text.trim_end().lines().for_each(|line| note!("{line}"));
            if let Some(origin) = defaulted.blamed(&error) {
                note!("{origin}");
            }
            std::process::exit(i32::from(USAGE));
        }
    };
    facts::given(&defaulted.args);
    // What nobody sees on the command line is told.
    if let Some(told) = defaulted.told() {
        note!("{told}");
    }
    // A server tells of the limits that its clients reach.
    let default = matches!(cli.verb, Verb::Serve(_)).then_some("warn");
    if let Some(filter) = cli.log.as_deref().or(default) {
        log_to_stderr(filter)?;
    }
    interrupt::watch()?;
    match cli.verb {
        Verb::Compile(args) => compile::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Slice(args) => slice::run(&args),
        Verb::Anonymize(args) => anonymize::run(&args),
        Verb::Pack(args) => pack::run(&args),
        Verb::Prepare(args) => prepare::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Rerun(args) => rerun::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Runs(args) => runs::run(&args),
        Verb::Show(args) => show::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Export(args) => transfer::export(&args),
        Verb::Import(args) => transfer::import(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
        Verb::Man(args) => man::run(&args, Cli::command()),
    }
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("--log {filter}: {error}")))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(|| LogLine)
        .with_filter(filter_fn(|it| is_ours(it.target())));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(())
}

/// What other libraries log is nobody's to read, whatever the filter: sspi's has tokens and keys in
/// it, sled's all that a journal holds.
fn is_ours(target: &str) -> bool {
    target.starts_with("smbench")
}

/// How a workload is run, live or simulated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Which order binds
    #[arg(long, value_enum, default_value_t = Order::Resource)]
    pub(crate) order: Order,
    /// `max`, or how many times as fast as recorded
    #[arg(long, default_value = "1", value_parser = parse_speed, value_name = "S")]
    pub(crate) speed: Speed,
    /// What recorded times are measured from
    #[arg(long, value_enum, default_value_t = PaceArg::Absolute)]
    pub(crate) pace: PaceArg,
    /// How break notifications are acknowledged
    #[arg(long, value_enum, default_value_t = Ack::Recorded)]
    pub(crate) ack: Ack,
    /// How long a recorded break of an oplock or lease is waited for that does not come, in milliseconds;
    /// no longer than --timeout
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub(crate) break_wait: u32,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// How long anything may take.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct TimeoutArg {
    /// How long a response may take beyond its recorded time, in seconds. A connection on which
    /// nothing comes for so long while a response is overdue is lost; a server that is silent twice
    /// as long ends the run
    #[arg(
        long,
        default_value_t = Self::default().timeout,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    timeout: u32,
}

impl Default for TimeoutArg {
    fn default() -> Self {
        Self { timeout: 30 }
    }
}

impl TimeoutArg {
    /// In milliseconds; no more than 49 days.
    pub(crate) fn ms(self) -> u32 {
        self.timeout.saturating_mul(1_000)
    }
}

impl RunArgs {
    /// The engine's configuration, without targets.
    pub(crate) fn config(&self, seed: u64) -> RunConfig {
        RunConfig {
            order: match self.order {
                Order::Resource => OrderMode::Resource,
                Order::Client => OrderMode::Client,
                Order::Capture => OrderMode::Capture,
                Order::None => OrderMode::None,
            },
            speed: self.speed,
            pace: match self.pace {
                PaceArg::Absolute => Pace::Absolute,
                PaceArg::Think => Pace::Think,
            },
            ack: match self.ack {
                Ack::Recorded => AckMode::Recorded,
                Ack::Immediate => AckMode::Immediate,
                Ack::Never => AckMode::Never,
            },
            timeout_ms: self.timeout.ms(),
            break_wait_ms: self.break_wait,
            seed,
            ..RunConfig::default()
        }
    }
}

/// Which order binds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Order {
    /// Every edge: across clients too
    Resource,
    /// Only what one client knew
    Client,
    /// The whole order of the wire
    Capture,
    /// Only set-up and handles
    None,
}

/// What recorded times are measured from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PaceArg {
    /// The start of the run
    Absolute,
    /// The answer before
    Think,
}

/// How break notifications are acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Ack {
    /// As and when the recording did
    Recorded,
    /// At once
    Immediate,
    /// Not at all
    Never,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let factor: f64 = text
        .parse()
        .map_err(|_| "say max, or a number like 0.1, 1 or 10".to_owned())?;
    if !(0.001..=1_000_000.0).contains(&factor) {
        return Err("a speed lies between 0.001 and 1000000; or say max".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above to lie within 1 to 10^9"
    )]
    Ok(Speed::Thousandths((factor * 1_000.0).round() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_max_or_bounded_numbers() {
        assert_eq!(parse_speed("max"), Ok(Speed::Max));
        assert_eq!(parse_speed("0.1"), Ok(Speed::Thousandths(100)));
        assert_eq!(parse_speed("10"), Ok(Speed::Thousandths(10_000)));
        for bad in ["0", "-1", "fast", "nan", "1e99"] {
            assert!(parse_speed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
