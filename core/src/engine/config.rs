//! How a workload is to be replayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::confine::Policy;

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
    /// What is given up, and when. Configurations that do not say are of older runs.
    #[serde(default = "Patience::of_older_runs")]
    pub patience: Patience,
    /// How closely answers are looked at. Configurations that do not say are of older runs.
    #[serde(default = "Headers::of_older_runs")]
    pub headers: Headers,
    /// Which recorded grants are compared. Configurations that do not say are of older runs.
    #[serde(default = "Grants::of_older_runs")]
    pub grants: Grants,
    /// How long a recorded break notification is waited for beyond its recorded time, in
    /// milliseconds; no longer than `timeout_ms`.
    pub break_wait_ms: u32,
    /// Where each recorded tree path (`\\server\share`) goes; a tree that is not here keeps its
    /// path.
    pub trees: BTreeMap<String, TreeTarget>,
    /// Where each recorded tree goes, by its number; wins over `trees`.
    pub tree_targets: Vec<TreeTarget>,
    /// What may be sent.
    pub policy: Policy,
    /// Seed of everything that is drawn by chance.
    pub seed: u64,
}

impl RunConfig {
    /// Where a tree of the workload goes, by its number and its recorded path.
    pub(super) fn target(&self, tree: usize, path: &str) -> Option<&TreeTarget> {
        let by_number = self.tree_targets.get(tree);
        by_number.or_else(|| self.trees.get(path))
    }
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
    /// How long a response that took `micros` microseconds may take in this run, in nanoseconds: as
    /// long, since no speed makes a server faster; at a lower speed longer, since what a response
    /// waits for (a change in a watched folder, an unlock) comes later too.
    pub(super) fn stretch(self, micros: u64) -> u64 {
        self.scale(micros).max(micros.saturating_mul(1_000))
    }

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

/// What is given up, and when. It is part of the configuration for the sake of journals made before:
/// they run again as they ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patience {
    /// Most requests after twice the time-out, each by itself, however silent the server is.
    Twice,
    /// A request after its recorded latency and the time-out. A connection on which nothing comes
    /// for a time-out while a request is overdue is lost as a whole, and with a server that does
    /// that on one connection after the other the run is over.
    #[default]
    Once,
}

impl Patience {
    const fn of_older_runs() -> Self {
        Self::Twice
    }
}

/// What the header of an answer has to say. It is part of the configuration for the sake of journals made
/// before: they run again as they ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// The MessageId and the command; an answer to what was given up belongs to nothing.
    Lax,
    /// What [MS-SMB2] 3.2.5.1 asks for: flags, session and tree too. Waiting for a break that does not come
    /// is a lateness of its own.
    #[default]
    Checked,
}

impl Headers {
    const fn of_older_runs() -> Self {
        Self::Lax
    }
}

/// Which recorded grants are compared. It is part of the configuration for the sake of journals made before:
/// they run again as they ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grants {
    /// All: a level LEASE without a lease context as a grant of its own.
    All,
    /// Those that tell what was granted. A level LEASE whose lease context ([MS-SMB2] 2.2.14.2.10) was not
    /// sent, or not captured, does not.
    #[default]
    Told,
}

impl Grants {
    const fn of_older_runs() -> Self {
        Self::All
    }
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
            patience: Patience::default(),
            headers: Headers::default(),
            grants: Grants::default(),
            break_wait_ms: 2_000,
            trees: BTreeMap::new(),
            tree_targets: Vec::new(),
            policy: Policy::default(),
            seed: 0,
        }
    }
}

impl RunConfig {
    /// The time-out, in nanoseconds.
    pub(super) fn timeout_ns(&self) -> u64 {
        u64::from(self.timeout_ms).saturating_mul(NS_PER_MS)
    }

    /// How long a recorded break notification, or the recorded end of a connection by the server,
    /// is waited for, in nanoseconds.
    pub(super) fn break_wait_ns(&self) -> u64 {
        let wait_ns = u64::from(self.break_wait_ms).saturating_mul(NS_PER_MS);
        match self.patience {
            Patience::Twice => wait_ns,
            Patience::Once => wait_ns.min(self.timeout_ns()),
        }
    }
}

const NS_PER_MS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_an_older_run_keeps_its_patience() {
        let older: RunConfig = serde_json::from_str(r#"{"timeout_ms": 1000}"#).expect("older");
        assert_eq!(older.patience, Patience::Twice);
        assert_eq!(older.headers, Headers::Lax);
        assert_eq!(older.grants, Grants::All);
        assert_eq!(older.break_wait_ns(), 2_000_000_000);
        let text = serde_json::to_string(&RunConfig::default()).expect("JSON");
        let newer: RunConfig = serde_json::from_str(&text).expect("newer");
        assert_eq!(newer, RunConfig::default());
        assert_eq!(newer.patience, Patience::Once);
    }

    #[test]
    fn a_response_may_take_as_long_as_recorded_and_longer_at_a_lower_speed() {
        let second = 1_000_000;
        assert_eq!(Speed::Max.stretch(second), 1_000_000_000);
        assert_eq!(Speed::Thousandths(10_000).stretch(second), 1_000_000_000);
        assert_eq!(Speed::Thousandths(500).stretch(second), 2_000_000_000);
    }
}
