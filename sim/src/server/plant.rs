//! Deliberate bugs, switched on by name, each modelled on a class of bug that real servers had.
//!
//! A planted server is what the simulator has to catch. Nothing is planted by default.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

macro_rules! plants {
    ($($variant:ident => $name:literal, $text:literal;)*) => {
        /// A deliberate bug. What rule each one breaks is in [`Plant::description`].
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Plant {
            $(#[doc = $text] $variant,)*
        }

        impl Plant {
            /// Every plant there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on a command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it does wrong, and the rule that it breaks.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

plants! {
    IgnoreShareMode => "ignore-share-mode",
        "A conflicting open is granted in spite of the share modes ([MS-FSA] 2.1.5.1.2.2).";
    NoOplockBreak => "no-oplock-break",
        "A conflicting open does not break oplocks and leases ([MS-SMB2] 3.3.4.6, 3.3.4.7).";
    IgnoreByteRangeLock => "ignore-byte-range-lock",
        "READ and WRITE pass through byte-range locks of others ([MS-FSA] 2.1.4.10).";
    LockOffByOne => "lock-off-by-one",
        "A byte-range lock does not cover its last byte ([MS-FSA] 2.1.5.8).";
    SharedLockExclusive => "shared-lock-exclusive",
        "Two shared byte-range locks exclude each other ([MS-FSA] 2.1.5.8).";
    LeaseEpochStuck => "lease-epoch-stuck",
        "A v2 lease changes without its epoch ([MS-SMB2] 3.3.4.7).";
    BreakTooFar => "break-too-far",
        "A lease break takes read caching away where write caching would do ([MS-SMB2] 3.3.4.7).";
    AckIgnored => "ack-ignored",
        "A break acknowledgement is answered and forgotten ([MS-SMB2] 3.3.5.22).";
    AckUnchecked => "ack-unchecked",
        "A break acknowledgement may raise the state of a lease ([MS-SMB2] 3.3.5.22.2).";
    OplockKeptAfterBreak => "oplock-kept-after-break",
        "An oplock is told to break, and the conflicting open does not wait ([MS-SMB2] 3.3.5.9).";
    StaleRead => "stale-read",
        "The first READ after a WRITE by another open gives the old bytes ([MS-FSA] 2.1.5.3).";
    TornWrite => "torn-write",
        "A WRITE longer than 4096 bytes loses its last byte ([MS-FSA] 2.1.5.4).";
    LostDeleteOnClose => "lost-delete-on-close",
        "The last CLOSE leaves a file that is to be deleted ([MS-FSA] 2.1.5.5).";
    DeletePendingOpens => "delete-pending-opens",
        "A name whose deletion is pending can be opened ([MS-FSA] 2.1.5.1.2).";
    WrongCreateAction => "wrong-create-action",
        "CREATE says *opened* when it created ([MS-SMB2] 2.2.14).";
    CollisionIgnored => "collision-ignored",
        "CREATE with disposition *create* opens what is there ([MS-SMB2] 2.2.13).";
    CreditsLeak => "credits-leak",
        "Every sixteenth response grants one credit less than it took ([MS-SMB2] 3.3.1.2).";
    RenameLosesStream => "rename-loses-stream",
        "A rename leaves the named streams behind ([MS-FSA] 2.1.5.15.11).";
    RenameReplaces => "rename-replaces",
        "A rename replaces its target without being asked to ([MS-FSA] 2.1.5.15.11).";
    DirectoryMissesLast => "directory-misses-last",
        "A directory enumeration leaves out its last entry ([MS-FSA] 2.1.5.6.3).";
    NotifyLost => "notify-lost",
        "Every second change is not told to those that wait ([MS-SMB2] 3.3.4.4).";
    DurableWrongClient => "durable-wrong-client",
        "A durable handle is given to any client that names it ([MS-SMB2] 3.3.5.9.7).";
    DurableForgotten => "durable-forgotten",
        "A durable handle is granted and closed when the connection ends ([MS-SMB2] 3.3.7.1).";
    CompoundErrorLost => "compound-error-lost",
        "A related request runs although its predecessor failed ([MS-SMB2] 3.3.5.2.7.2).";
    TruncateKeepsSize => "truncate-keeps-size",
        "Setting the end of a file to a smaller size does nothing ([MS-FSA] 2.1.5.15.4).";
}

/// A name that is no plant's.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("no planted bug is called {name:?}; there are {}", names())]
pub struct UnknownPlant {
    /// The name asked for.
    pub name: String,
}

fn names() -> String {
    let names: Vec<&str> = Plant::ALL.iter().map(|plant| plant.name()).collect();
    names.join(", ")
}

impl FromStr for Plant {
    type Err = UnknownPlant;

    fn from_str(name: &str) -> Result<Self, UnknownPlant> {
        let found = Self::ALL.iter().find(|plant| plant.name() == name);
        found.copied().ok_or_else(|| UnknownPlant {
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
