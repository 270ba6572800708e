//! The `smbench` binary: parse, call, exit code.

mod cli;
mod exit;
mod live_run;
mod load;
mod record;
mod report;
mod tally;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(verdict) => verdict.exit_code(),
        Err(failure) => {
            eprintln!("smbench: {}", exit::chain(&failure.error));
            if let Some(remedy) = failure.remedy {
                eprintln!("  {remedy}");
            }
            ExitCode::from(failure.code)
        }
    }
}
