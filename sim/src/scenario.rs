//! A scenario: what the network does to a run, as data.
//!
//! ```toml
//! seed = 42
//! latency = { min_us = 500, max_us = 2000 }
//! split = true
//! faults = [
//!     { kind = "hold", at_ms = 30, for_ms = 500, client = 0 },
//!     { kind = "cut", at_ms = 900, conn = 3 },
//! ]
//! ```
//!
//! Scenario, seed, workload and commit name one run. A fault that the drivers do not have is
//! refused by its name, never ignored.

use serde::{Deserialize, Serialize};
use smbench_core::ids::{ClientId, ConnId, LogicalTime};
use thiserror::Error;

/// Why a scenario cannot be run.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ScenarioError {
    /// It is no scenario file.
    #[error("not a scenario: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A kind of fault that is planned but not there yet.
    #[error("faults[{index}]: {kind:?} is not supported yet (there are: {SUPPORTED})")]
    Unsupported {
        /// Its place in the list, from 0.
        index: usize,
        /// Its name.
        kind: &'static str,
    },
    /// A kind of fault nobody knows.
    #[error("faults[{index}]: there is no fault {kind:?} (there are: {SUPPORTED})")]
    UnknownKind {
        /// Its place in the list, from 0.
        index: usize,
        /// Its name.
        kind: String,
    },
    /// A field that the fault needs, or that it does not have.
    #[error("faults[{index}]: {field} {problem} for {kind:?}")]
    Field {
        /// Its place in the list, from 0.
        index: usize,
        /// Its name.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The shortest latency is longer than the longest.
    #[error("latency: min_us {min_us} is more than max_us {max_us}")]
    Latency {
        /// The shortest.
        min_us: u64,
        /// The longest.
        max_us: u64,
    },
}

/// What the network does to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct Scenario {
    /// Seed of everything the network draws by chance.
    pub seed: u64,
    /// One-way delay of a segment.
    pub latency: Latency,
    /// Whether frames are cut into segments, and segments joined, by chance.
    pub split: bool,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// Simulated time after which a run that is not done is given up.
    pub limit: LogicalTime,
}

/// One-way delay of a segment, even between both bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The shortest, in microseconds.
    pub min_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// All connections.
    All,
    /// All connections of a client.
    Client(ClientId),
    /// One connection.
    Conn(ConnId),
}

impl Target {
    /// Whether a connection of a client is meant.
    #[must_use]
    pub fn has(self, conn: ConnId, client: Option<ClientId>) -> bool {
        match self {
            Self::All => true,
            Self::Client(wanted) => client == Some(wanted),
            Self::Conn(wanted) => conn == wanted,
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The client sees its connection reset; what was on its way to it is lost, what was on its
    /// way to the server still arrives, and then the server sees the end.
    Cut {
        /// When.
        at: LogicalTime,
        /// Whose.
        target: Target,
    },
    /// The client's side of the network stands still: it neither sends nor hears, and nothing is
    /// lost.
    Hold {
        /// From when.
        at: LogicalTime,
        /// Until when.
        until: LogicalTime,
        /// Whose.
        target: Target,
    },
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] saying which part of it cannot be run.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        Self::try_from(toml::from_str::<File>(text)?)
    }

    /// The scenario as a file.
    ///
    /// # Errors
    ///
    /// None that a scenario can cause; toml's own if it cannot write.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&File::from(self.clone()))
    }

    /// The same scenario with another seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self {
            seed,
            ..self.clone()
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: Latency::default(),
            split: false,
            faults: Vec::new(),
            limit: LogicalTime(DEFAULT_LIMIT_S * 1_000_000_000),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            min_us: 1_000,
            max_us: 1_000,
        }
    }
}

/// The file's own shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    seed: u64,
    latency: Latency,
    split: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FaultFile>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct FaultFile {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conn: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<u32>,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, toml::Value>,
}

impl TryFrom<File> for Scenario {
    type Error = ScenarioError;

    fn try_from(file: File) -> Result<Self, ScenarioError> {
        let Latency { min_us, max_us } = file.latency;
        if min_us > max_us {
            return Err(ScenarioError::Latency { min_us, max_us });
        }
        let faults = file.faults.into_iter().enumerate();
        let faults: Result<_, _> = faults.map(|(index, fault)| read(index, fault)).collect();
        let default_limit = Self::default().limit;
        Ok(Self {
            seed: file.seed,
            latency: file.latency,
            split: file.split,
            faults: faults?,
            limit: file.limit_ms.map_or(default_limit, millis),
        })
    }
}

impl From<Scenario> for File {
    fn from(scenario: Scenario) -> Self {
        Self {
            seed: scenario.seed,
            latency: scenario.latency,
            split: scenario.split,
            limit_ms: Some(scenario.limit.0 / 1_000_000),
            faults: scenario.faults.iter().map(written).collect(),
        }
    }
}

fn read(index: usize, file: FaultFile) -> Result<Fault, ScenarioError> {
    let planned = PLANNED.iter().find(|kind| **kind == file.kind);
    if let Some(kind) = planned {
        return Err(ScenarioError::Unsupported { index, kind });
    }
    let kind = match file.kind.as_str() {
        "cut" => "cut",
        "hold" => "hold",
        _ => {
            let kind = file.kind;
            return Err(ScenarioError::UnknownKind { index, kind });
        }
    };
    let bad = |field, problem| ScenarioError::Field {
        index,
        kind,
        field,
        problem,
    };
    if !file.rest.is_empty() {
        return Err(bad(
            "kind, at_ms, for_ms, conn and client",
            "are the only fields",
        ));
    }
    let at_ms = file.at_ms.ok_or_else(|| bad("at_ms", "is missing"))?;
    let target = match (file.conn, file.client) {
        (None, None) => Target::All,
        (Some(conn), None) => Target::Conn(ConnId(conn)),
        (None, Some(client)) => Target::Client(ClientId(client)),
        (Some(_), Some(_)) => return Err(bad("conn", "and client exclude each other")),
    };
    let at = millis(at_ms);
    match (kind, file.for_ms) {
        ("cut", None) => Ok(Fault::Cut { at, target }),
        ("cut", Some(_)) => Err(bad("for_ms", "has no meaning")),
        (_, None) => Err(bad("for_ms", "is missing")),
        (_, Some(for_ms)) => Ok(Fault::Hold {
            at,
            until: millis(at_ms.saturating_add(for_ms)),
            target,
        }),
    }
}

fn written(fault: &Fault) -> FaultFile {
    let (kind, at, until, target) = match *fault {
        Fault::Cut { at, target } => ("cut", at, None, target),
        Fault::Hold { at, until, target } => ("hold", at, Some(until), target),
    };
    let (conn, client) = match target {
        Target::All => (None, None),
        Target::Client(client) => (None, Some(client.0)),
        Target::Conn(conn) => (Some(conn.0), None),
    };
    FaultFile {
        kind: kind.to_owned(),
        at_ms: Some(at.0 / 1_000_000),
        for_ms: until.map(|until| until.nanos_since(at) / 1_000_000),
        conn,
        client,
        rest: std::collections::BTreeMap::new(),
    }
}

const fn millis(ms: u64) -> LogicalTime {
    LogicalTime(ms.saturating_mul(1_000_000))
}

const SUPPORTED: &str = "cut, hold";
/// Kinds that the design names and no driver has.
const PLANNED: [&str; 9] = [
    "delay",
    "reorder",
    "partition",
    "crash",
    "restart",
    "lost_ack",
    "slow_disk",
    "credit_starvation",
    "plant",
];
/// A day: longer than any capture that is worth simulating.
const DEFAULT_LIMIT_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was() {
        let text = r#"
            seed = 42
            latency = { min_us = 500, max_us = 2000 }
            split = true
            limit_ms = 5000
            faults = [
                { kind = "hold", at_ms = 30, for_ms = 500, client = 0 },
                { kind = "cut", at_ms = 900, conn = 3 },
                { kind = "cut", at_ms = 950 },
            ]
        "#;
        let scenario = Scenario::from_toml(text).unwrap();
        assert_eq!((scenario.seed, scenario.faults.len()), (42, 3));
        assert_eq!(
            scenario.faults[0],
            Fault::Hold {
                at: millis(30),
                until: millis(530),
                target: Target::Client(ClientId(0)),
            }
        );
        let again = Scenario::from_toml(&scenario.to_toml().unwrap()).unwrap();
        assert_eq!(again, scenario);
        assert_eq!(Scenario::from_toml("").unwrap(), Scenario::default());
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        let of = |text: &str| Scenario::from_toml(text).unwrap_err().to_string();
        let slow = of(r#"faults = [{ kind = "slow_disk", at_ms = 1, by_ms = 9 }]"#);
        assert!(
            slow.contains("slow_disk") && slow.contains("not supported"),
            "{slow}"
        );
        assert!(of(r#"faults = [{ kind = "bogus" }]"#).contains("bogus"));
        assert!(of(r#"faults = [{ kind = "cut" }]"#).contains("at_ms is missing"));
        assert!(of(r#"faults = [{ kind = "hold", at_ms = 1 }]"#).contains("for_ms"));
        assert!(of(r#"faults = [{ kind = "cut", at_ms = 1, x = 1 }]"#).contains("only fields"));
        assert!(
            of(r#"faults = [{ kind = "cut", at_ms = 1, conn = 1, client = 1 }]"#)
                .contains("exclude")
        );
        assert!(of("latency = { min_us = 2, max_us = 1 }").contains("min_us 2"));
        assert!(of("lag = 1").contains("lag"));
    }
}
