//! What a run may reach: nothing outside its root, and nothing that is no file.
//!
//! Planning refuses what a recorded request would reach beyond that, and says why ([`Refusal`]). The
//! [`Gate`] looks at every frame that leaves, knowing nothing of the plan: when it has to stop one,
//! planning was wrong, and the run ends.
//!
//! | file    | holds                                                            |
//! |---------|------------------------------------------------------------------|
//! | `name`  | recorded names: resolved under every reading, put below a root   |
//! | `reach` | what classes of SET_INFO and FSCTLs reach                        |
//! | `plan`  | requests confined or refused before the run                      |
//! | `said`  | calls on pipes as they are, against what was noted of them       |
//! | `gate`  | frames looked at as they leave                                   |

mod gate;
mod name;
mod plan;
mod reach;
mod said;

use serde::{Deserialize, Serialize};

use crate::ids::OpId;

pub use self::{
    gate::{Breach, Gate},
    name::{MAX_DEPTH, MAX_UNITS, NameError, RecordedName, below_share},
    plan::{created_path, is_dfs},
    reach::is_inner_link,
    said::{Said, Words},
};
pub(crate) use self::{
    gate::{NO_FILE, NO_SESSION, NO_TREE},
    name::leads_down,
    plan::{Confined, Ground, confine},
};

/// What a run may send. The default sends all that was recorded: runs on a model, and journals from
/// before there was a policy.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Nothing outside the root; what follows counts only with this.
    pub confined: bool,
    /// Which calls on pipes are sent.
    pub pipes: Pipes,
    /// Settings of volumes and quotas are sent.
    pub volume_changes: bool,
    /// Printers are printed on.
    pub printers: bool,
    /// How many recorded wrong passwords are tried for one account; none for all.
    pub wrong_passwords: Option<u32>,
    /// The account of this run that each recorded user logs in to, by number; one that is not here
    /// has an account of its own.
    pub accounts: Vec<u32>,
    /// Calls on pipes that are not what was noted of them, ascending: none of them is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misnoted: Vec<OpId>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            confined: false,
            pipes: Pipes::All,
            volume_changes: true,
            printers: true,
            wrong_passwords: None,
            accounts: Vec::new(),
            misnoted: Vec::new(),
        }
    }
}

impl Policy {
    /// For a server that others use too: files below the root alone.
    #[must_use]
    pub fn strict() -> Self {
        Self {
            confined: true,
            pipes: Pipes::Query,
            volume_changes: false,
            printers: false,
            wrong_passwords: Some(WRONG_PASSWORDS),
            accounts: Vec::new(),
            misnoted: Vec::new(),
        }
    }
}

/// Which calls on pipes are sent. None that carries authentication ever is: its recorded token would
/// be a failed logon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pipes {
    /// No pipe is opened.
    None,
    /// Calls that are known to change nothing.
    Query,
    /// All.
    #[default]
    All,
}

/// Why an operation is not sent: it would reach what its run may not reach. No divergence.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// A name that leads, or may lead, out of the root; or an open by a recorded file id.
    Name,
    /// A class of SET_INFO that is not known to stay inside.
    Class,
    /// An FSCTL that is not known to stay inside, or a link that leads out.
    Fsctl,
    /// A share that is of another kind here than in the recording, or is not to be used.
    Tree,
    /// A call on a pipe that is not known to change nothing.
    RpcCall,
    /// A call on a pipe that carries authentication.
    RpcAuth,
    /// A setting of a volume or its quotas.
    Volume,
    /// Something for a printer.
    Printer,
    /// One more recorded wrong password for an account.
    Password,
    /// A request that cannot be read, or compounds that servers read in different ways.
    Unreadable,
}

impl Refusal {
    /// The name it is counted under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Class => "class",
            Self::Fsctl => "fsctl",
            Self::Tree => "tree",
            Self::RpcCall => "rpc_call",
            Self::RpcAuth => "rpc_auth",
            Self::Volume => "volume",
            Self::Printer => "printer",
            Self::Password => "password",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Recorded wrong passwords that are tried for an account: fewer than any usual lock-out.
const WRONG_PASSWORDS: u32 = 2;
