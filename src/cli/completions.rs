//! `smbench completions`: what a shell needs for completing our command lines.

use clap_complete::Shell;

use crate::exit::{Outcome, Verdict};
use crate::terminal;

/// Print what a shell needs for completing smbench's command lines.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell it is for
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script of the shell for `command`.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "smbench", &mut script);
    terminal::ours(&script);
    Ok(Verdict::Same)
}
