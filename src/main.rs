//! The `smbench` binary: parse, call, exit code.

mod cli;
mod compare;
mod criteria;
mod exit;
mod facts;
mod finding;
mod functions;
mod giveaway;
mod histogram;
mod identity;
mod interrupt;
mod journals;
mod live_run;
mod load;
mod losses;
mod metrics;
mod model;
mod outputs;
mod page;
mod pipes;
mod policy;
mod preflight;
mod progress;
mod record;
mod recorded;
mod report;
mod results;
mod rights;
mod root;
mod secrets;
mod small_file;
mod stalls;
mod tally;
mod target;
mod terminal;
mod ticket;
mod unpacked;
mod verdict;

use std::process::ExitCode;

use crate::report::note;

fn main() -> ExitCode {
    let done = cli::run(std::env::args_os());
    interrupt::settle();
    match done {
        Ok(verdict) => verdict.exit_code(),
        Err(failure) => {
            note!("smbench: {}", exit::chain(&failure.error));
            if let Some(advice) = failure.advice() {
                note!("  {advice}");
            }
            ExitCode::from(failure.code)
        }
    }
}
