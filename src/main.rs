//! The `smbench` binary: parse, call, exit code.

mod cli;
mod exit;
mod finding;
mod histogram;
mod identity;
mod interrupt;
mod journals;
mod live_run;
mod load;
mod pipes;
mod policy;
mod preflight;
mod record;
mod recorded;
mod report;
mod rights;
mod root;
mod secrets;
mod stalls;
mod tally;
mod target;
mod terminal;
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
            if let Some(remedy) = failure.remedy {
                note!("  {remedy}");
            }
            ExitCode::from(failure.code)
        }
    }
}
