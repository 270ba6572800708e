//! How a workload is to be replayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that decides a run besides the workload and what the server does.
///
/// It is recorded in the journal: a rerun needs nothing else.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Which order edges bind.
    pub order: OrderMode,
    /// How fast recorded time passes.
    pub speed: Speed,
    /// What recorded time is measured from.
    pub pace: Pace,
    /// How break notifications are acknowledged.
    pub ack: AckMode,
    /// How long a response may take beyond its recorded latency, in milliseconds.
    pub timeout_ms: u32,
    /// How long a recorded break notification is waited for beyond its recorded time, in
    /// milliseconds.
    pub break_wait_ms: u32,
    /// Where each recorded tree path (`\\server\share`) goes; a tree that is not here keeps its
    /// path.
    pub trees: BTreeMap<String, TreeTarget>,
    /// Seed of everything that is drawn by chance.
    pub seed: u64,
}

/// Where a recorded tree goes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeTarget {
    /// The path to connect to, `\\server\share`.
    pub path: String,
    /// A folder below the share that every name is put under; empty for none.
    pub root: String,
}

/// Which order edges bind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderMode {
    /// All of them.
    #[default]
    Resource,
    /// Those within one client.
    Client,
    /// The whole order of the wire: an operation waits for everything answered before it was sent.
    Capture,
    /// Only what cannot run otherwise: set-up and handles.
    None,
}

/// How fast recorded time passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// Recorded times are ignored: an operation goes out as soon as its order allows.
    Max,
    /// Recorded time passes this many thousandths as fast as it did: 1000 is real time.
    Thousandths(u32),
}

impl Default for Speed {
    fn default() -> Self {
        Self::Thousandths(1_000)
    }
}

impl Speed {
    /// A recorded span of `micros` microseconds, in nanoseconds of this run.
    #[must_use]
    pub fn scale(self, micros: u64) -> u64 {
        match self {
            Self::Max => 0,
            Self::Thousandths(speed) => {
                let scaled = u128::from(micros) * 1_000_000 / u128::from(speed.max(1));
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
        }
    }
}

/// What recorded time is measured from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// The start of the run: no drift.
    #[default]
    Absolute,
    /// What the operation waited for: think times are kept, slow servers stretch the run.
    Think,
}

/// How break notifications are acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckMode {
    /// When and as the recording did; at once where the recording has no such break.
    #[default]
    Recorded,
    /// At once.
    Immediate,
    /// Not at all.
    Never,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            order: OrderMode::default(),
            speed: Speed::default(),
            pace: Pace::default(),
            ack: AckMode::default(),
            timeout_ms: 30_000,
            break_wait_ms: 2_000,
            trees: BTreeMap::new(),
            seed: 0,
        }
    }
}
