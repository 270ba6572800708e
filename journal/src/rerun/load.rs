//! What a journal carries of its workload: enough to build the engine that made it.

use std::cell::RefCell;

use smbench_core::{
    engine::{Plan, PlanError, RunConfig},
    frame::Digest,
    ids::{ClientId, ShardId},
    order::{self, Arc},
    workload::{self, Operation, Workload},
};
use thiserror::Error;

use super::EngineVersions;
use crate::{Journal, JournalError};

/// Attachment: `workload.json` of the workload.
pub const WORKLOAD: &str = "workload.json";
/// Attachment: `ops.jsonl` of the workload.
pub const OPS: &str = "ops.jsonl";
/// Attachment: `namespace.jsonl` of the workload, what existed before it. A rerun does without.
pub const NAMESPACE: &str = "namespace.jsonl";
/// Attachment: the shard of each client, a JSON array of numbers. Without it clients are spread
/// as [`partition`] does.
pub const SHARDS: &str = "shards.json";

/// Why a journal cannot be run again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RerunError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal does not carry its workload.
    #[error("the journal does not carry {name}: record the run again with this version of smbench")]
    NoWorkload {
        /// The attachment that is missing.
        name: &'static str,
    },
    /// An attachment is not the JSON it should be.
    #[error("{name}, line {line}: {source}")]
    Json {
        /// The attachment, or `config`.
        name: &'static str,
        /// The line in it, from 1.
        line: usize,
        /// Why it does not parse.
        #[source]
        source: serde_json::Error,
    },
    /// The workload was written by a later version.
    #[error(
        "the workload has format {got}, only formats up to {known} are known: use a newer smbench"
    )]
    UnknownFormat {
        /// The format found.
        got: u32,
        /// The latest one known.
        known: u32,
    },
    /// A number in the workload cannot be true, and would cost memory.
    #[error("the journal speaks of {got} {what}, but its workload explains {possible} at most")]
    Implausible {
        /// Of what.
        what: &'static str,
        /// How many.
        got: u64,
        /// How many there can be.
        possible: u64,
    },
    /// The clients' shards do not fit the workload.
    #[error("{SHARDS} gives shards to {got} clients, the workload has {clients}")]
    Shards {
        /// Clients in the attachment.
        got: usize,
        /// Clients in the workload.
        clients: usize,
    },
    /// The workload contradicts itself.
    #[error("the journal's workload cannot be run: {0}")]
    Plan(#[from] PlanError),
    /// The workload could be run by the engine that did, and cannot be by this one.
    #[error("{engine}, which cannot run the workload: {source}")]
    OtherEnginePlan {
        /// Both.
        engine: EngineVersions,
        /// Why not.
        #[source]
        source: PlanError,
    },
}

/// A journal's workload and configuration, as they were given to its engine.
#[derive(Debug)]
pub struct Recipe {
    /// The workload's tables.
    pub workload: Workload,
    /// The run's configuration.
    pub config: RunConfig,
    /// How many shards the run has.
    pub shards: u32,
    /// Which engine made the run.
    pub(crate) engine: EngineVersions,
    /// The digest that both runs of a diff must share.
    pub(crate) ops_digest: Digest,
    ops: Vec<u8>,
    /// The shard of each client; empty when one shard runs them all.
    shard_of: Vec<u32>,
}

impl Recipe {
    /// Reads what `journal` carries.
    ///
    /// # Errors
    ///
    /// [`RerunError`] when something is missing, damaged, of the future, or implausible.
    pub fn of(journal: &Journal) -> Result<Self, RerunError> {
        let workload = attachment(journal, WORKLOAD)?;
        let workload: Workload = json(WORKLOAD, &workload)?;
        if workload.format > workload::FORMAT {
            return Err(RerunError::UnknownFormat {
                got: workload.format,
                known: workload::FORMAT,
            });
        }
        let meta = journal.meta();
        let config = match &meta.config {
            serde_json::Value::Null => RunConfig::default(),
            value => serde_json::from_value(value.clone()).map_err(|source| RerunError::Json {
                name: "config",
                line: 1,
                source,
            })?,
        };
        let ops = attachment(journal, OPS)?;
        let mut recipe = Self {
            ops_digest: Digest::of(&ops),
            shards: meta.shards,
            engine: EngineVersions::of(journal),
            shard_of: Vec::new(),
            workload,
            config,
            ops,
        };
        recipe.check_size()?;
        if meta.shards > 1 {
            recipe.shard_of = recipe.read_shards(journal)?;
        }
        Ok(recipe)
    }

    /// The lines of `ops.jsonl`, parsed one by one.
    pub fn operations(&self) -> impl Iterator<Item = Result<Operation, RerunError>> + '_ {
        self.lines().map(|(line, bytes)| operation(line, bytes))
    }

    /// The lines that `wanted` asks for, which must ascend; what does not parse is left out.
    pub(crate) fn pick<'a>(
        &'a self,
        mut wanted: impl Iterator<Item = usize> + 'a,
    ) -> impl Iterator<Item = Operation> + 'a {
        let mut next = wanted.next();
        self.lines().filter_map(move |(line, bytes)| {
            if next != Some(line) {
                return None;
            }
            next = wanted.next();
            operation(line, bytes).ok()
        })
    }

    /// Makes the workload ready to run for the clients that `owns` names, showing every operation
    /// to `see` on the way. Operations are not kept.
    ///
    /// # Errors
    ///
    /// [`RerunError::Json`], [`RerunError::Plan`], [`RerunError::OtherEnginePlan`].
    pub fn plan(
        &self,
        owns: impl Fn(ClientId) -> bool,
        mut see: impl FnMut(&Operation),
    ) -> Result<Plan, RerunError> {
        let failed = RefCell::new(None);
        let operations = self.operations().map_while(|op| match op {
            Ok(op) => {
                see(&op);
                Some(op)
            }
            Err(error) => {
                *failed.borrow_mut() = Some(error);
                None
            }
        });
        let plan = Plan::build(&self.workload, operations, &self.config, owns);
        match failed.into_inner() {
            Some(error) => Err(error),
            None => plan.map_err(|source| match self.engine {
                engine if engine.agree() => RerunError::Plan(source),
                engine => RerunError::OtherEnginePlan { engine, source },
            }),
        }
    }

    /// As [`Self::plan`], for the clients of one shard.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub fn plan_of(&self, shard: ShardId, see: impl FnMut(&Operation)) -> Result<Plan, RerunError> {
        let owns = |client: ClientId| {
            self.shard_of
                .get(client.index())
                .is_none_or(|of| *of == shard.0)
        };
        self.plan(owns, see)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let whole = self.ops.strip_suffix(b"\n").unwrap_or(&self.ops);
        let none = whole.is_empty();
        whole
            .split(|byte| *byte == b'\n')
            .enumerate()
            .filter(move |_| !none)
    }

    /// Tables of slots are made as large as the workload says, and an engine for every shard: no
    /// more of them than it can explain.
    fn check_size(&self) -> Result<(), RerunError> {
        let lines = self.lines().count() as u64;
        let opens = lines.saturating_add(self.workload.inferred_opens.len() as u64);
        let shards = (self.workload.clients.len() as u64).max(1);
        for (what, got, possible) in [
            ("opens", u64::from(self.workload.opens), opens),
            ("shards", u64::from(self.shards), shards),
        ] {
            if got > possible {
                return Err(RerunError::Implausible {
                    what,
                    got,
                    possible,
                });
            }
        }
        Ok(())
    }

    fn read_shards(&self, journal: &Journal) -> Result<Vec<u32>, RerunError> {
        let clients = self.workload.clients.len();
        let shard_of: Vec<u32> = match journal.attachment(SHARDS) {
            Ok(bytes) => json(SHARDS, &bytes)?,
            Err(JournalError::NoAttachment { .. }) => {
                let operations: Result<Vec<Operation>, RerunError> = self.operations().collect();
                partition(clients, &operations?, self.shards)
            }
            Err(error) => return Err(error.into()),
        };
        match shard_of.len() {
            got if got == clients => Ok(shard_of),
            got => Err(RerunError::Shards { got, clients }),
        }
    }
}

/// The shard of each client where nothing else is said: clients whose operations wait for each
/// other are together, and these groups are dealt out to `shards` in turn.
#[must_use]
pub fn partition(clients: usize, operations: &[Operation], shards: u32) -> Vec<u32> {
    let arcs: Vec<Arc> = operations
        .iter()
        .flat_map(|op| {
            op.after.iter().map(|edge| Arc {
                from: edge.id,
                to: op.id,
                on: edge.on,
            })
        })
        .collect();
    let client_of = |op: smbench_core::ids::OpId| {
        operations
            .get(op.index())
            .map_or(usize::MAX, |op| op.client.index())
    };
    order::shards(clients, &arcs, client_of)
        .into_iter()
        .map(|group| group % shards.max(1))
        .collect()
}

fn attachment(journal: &Journal, name: &'static str) -> Result<Vec<u8>, RerunError> {
    journal.attachment(name).map_err(|error| match error {
        // It may have been there before the damage.
        JournalError::NoAttachment { .. } => match journal.refuse_damage() {
            Ok(()) => RerunError::NoWorkload { name },
            Err(damage) => RerunError::Journal(damage),
        },
        other => RerunError::Journal(other),
    })
}

fn json<T: serde::de::DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<T, RerunError> {
    serde_json::from_slice(bytes).map_err(|source| RerunError::Json {
        name,
        line: source.line(),
        source,
    })
}

fn operation(line: usize, bytes: &[u8]) -> Result<Operation, RerunError> {
    serde_json::from_slice(bytes).map_err(|source| RerunError::Json {
        name: OPS,
        line: line + 1,
        source,
    })
}
