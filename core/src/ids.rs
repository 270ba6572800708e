//! Numbers with a meaning.
//!
//! Ids that SMBench chooses are `u32` indexes, dense from 0, into the workload's tables. Ids that
//! the wire carries live beside the codec in [`crate::smb2`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the start of the run; never wall-clock time.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogicalTime(pub u64);

impl LogicalTime {
    /// The start of the run.
    pub const ZERO: Self = Self(0);

    /// Time after `micros` microseconds; saturates.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// Whole microseconds since the start of the run.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// This time plus `nanos` nanoseconds; saturates.
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to this time; 0 when `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

macro_rules! index_id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into its table.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

index_id! {
    /// One operation of a workload: its line in `ops.jsonl`, from 0.
    OpId,
    /// One client host.
    ClientId,
    /// One transport connection of a client.
    ConnId,
    /// One authenticated session as the workload names it (not the wire's SessionId).
    SessionRef,
    /// One user as the workload names it.
    PrincipalRef,
    /// One tree connect as the workload names it (not the wire's TreeId).
    TreeRef,
    /// One open of a file as the workload names it (not the wire's FileId).
    OpenRef,
    /// One shard of a run: an engine and its journal tree.
    ShardId,
}
