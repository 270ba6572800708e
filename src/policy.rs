//! What a replay may send besides files below its root. Flags alone lift it: never a file or a
//! variable, which somebody else may have written.

use clap::ValueEnum;
use smbench_core::confine::{Pipes, Policy};

/// What may be sent that reaches more than files.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct PolicyArgs {
    /// Calls on pipes (RPC) that are sent; none with authentication ever is
    #[arg(long, value_enum, default_value_t = PipesArg::Query)]
    pipes: PipesArg,
    /// Also change settings of volumes and quotas, as recorded
    #[arg(long)]
    volume_changes: bool,
    /// Also use printers, as recorded
    #[arg(long)]
    printers: bool,
    /// Recorded logins with a wrong password that are tried; accounts may be locked out by them
    #[arg(long, value_enum, default_value_t = WrongPasswords::Two)]
    wrong_passwords: WrongPasswords,
}

/// Calls on pipes that are sent.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PipesArg {
    /// None: no pipe is opened
    None,
    /// Those that are known to change nothing
    Query,
    /// All
    All,
}

/// Recorded wrong passwords that are tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum WrongPasswords {
    /// At most two for an account
    Two,
    /// All
    All,
}

impl PolicyArgs {
    /// The policy; `accounts` says which recorded users are the same here.
    pub(crate) fn policy(self, accounts: Vec<u32>) -> Policy {
        let strict = Policy::strict();
        Policy {
            pipes: match self.pipes {
                PipesArg::None => Pipes::None,
                PipesArg::Query => Pipes::Query,
                PipesArg::All => Pipes::All,
            },
            volume_changes: self.volume_changes,
            printers: self.printers,
            wrong_passwords: match self.wrong_passwords {
                WrongPasswords::Two => strict.wrong_passwords,
                WrongPasswords::All => None,
            },
            accounts,
            ..strict
        }
    }
}
