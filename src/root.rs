//! The folder on the server that is ours: whose it is stands in a file in it.
//!
//! Before a replay the mark is read, and says that the folder was prepared for this workload and not
//! used yet; then it is written anew. Both are workloads of a few operations that the engine runs like
//! any other, unrecorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smbench_compiler::prepare::{MARK, Preparation, make_folders, read_marks, write_marks};
use smbench_core::bulk::Blobs;
use smbench_core::confine::{Gate, Policy};
use smbench_core::drive::NoRecord;
use smbench_core::engine::{Engine, Plan, RunConfig, Speed};
use smbench_core::event::{Divergence, Report};
use smbench_core::frame::Digest;
use smbench_core::ids::{LogicalTime, OpId};
use smbench_core::smb2::{Command, NtStatus};
use smbench_live::Watch;

use crate::exit::{Failure, OrFail};
use crate::identity::Logins;
use crate::interrupt;
use crate::live_run::{self, Drive, KnownUsers};
use crate::target::Target;

/// What differed first.
struct First(Option<(OpId, Divergence)>);

impl Watch<Engine> for First {
    fn report(&mut self, _: LogicalTime, report: &Report) {
        if let Report::Diverged { op, divergence } = report {
            self.0.get_or_insert_with(|| (*op, divergence.clone()));
        }
    }
}

/// What [`MARK`] says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Mark {
    /// The version that made the folder.
    smbench: String,
    /// Digest of the workload that it was made for.
    workload: String,
    /// When, in milliseconds since 1970.
    made_unix_ms: u64,
    /// Whether a replay has begun in it.
    used: bool,
}

impl Mark {
    /// Of a folder that is made now.
    pub(crate) fn new(workload: &Digest) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 tells nothing.
        let made = now.map_or(0, |now| now.as_millis());
        Self {
            smbench: env!("CARGO_PKG_VERSION").to_owned(),
            workload: workload.to_string(),
            made_unix_ms: u64::try_from(made).unwrap_or(u64::MAX),
            used: false,
        }
    }

    /// As it is written.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).or_defect("cannot write the mark of a root")
    }
}

/// How the root is to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) target: &'a Target,
    /// Digest of the workload.
    pub(crate) workload: &'a Digest,
    pub(crate) credentials: &'a KnownUsers,
    /// A root that was used is used again.
    pub(crate) reuse: bool,
    /// How long a response may take, in milliseconds.
    pub(crate) timeout_ms: u32,
}

impl Claim<'_> {
    /// Makes sure that the roots are ours, made for this workload and unused; they count as used then.
    pub(crate) fn take(self) -> Result<(), Failure> {
        let folders = self.target.owned();
        if folders.is_empty() {
            return Ok(());
        }
        live_run::reach(self.target)?;
        let mut marks = self.read(&folders)?;
        for ((_, folder), mark) in folders.iter().zip(&marks) {
            self.check(folder, mark)?;
        }
        let Some(mark) = marks.first_mut() else {
            return Err(Failure::defect("a root was not looked at"));
        };
        mark.used = true;
        self.run(write_marks(&folders, &mark.to_bytes()?), mark.to_bytes()?)?;
        Ok(())
    }

    /// Makes the roots, which must not be there yet.
    pub(crate) fn make(self) -> Result<(), Failure> {
        let folders = self.target.owned();
        if folders.is_empty() {
            return Ok(());
        }
        live_run::reach(self.target)?;
        self.run(make_folders(&folders), Vec::new())?;
        Ok(())
    }

    fn read(self, folders: &BTreeSet<(String, String)>) -> Result<Vec<Mark>, Failure> {
        let seen = self.run(read_marks(folders), Vec::new())?;
        let mut marks = Vec::new();
        for ((_, folder), bytes) in folders.iter().zip(&seen) {
            let mark = serde_json::from_slice(bytes);
            marks.push(mark.or_environment(format!("{folder}\\{MARK} is not ours"))?);
        }
        if marks.len() < folders.len() {
            return Err(Failure::environment(
                "the server does not show whose the root is",
            ));
        }
        Ok(marks)
    }

    fn check(self, folder: &str, mark: &Mark) -> Result<(), Failure> {
        if mark.workload != self.workload.to_string() {
            return Err(Failure::environment(format!(
                "the root {folder} was prepared for another workload"
            ))
            .remedy("prepare a root for this one: smbench prepare, or replay --prepare"));
        }
        if mark.used && !self.reuse {
            return Err(Failure::environment(format!(
                "the root {folder} was used by a replay already: its files are no longer as recorded"
            ))
            .remedy("prepare another one (replay --prepare does), or say --reuse-root"));
        }
        Ok(())
    }

    /// Runs a workload of our own; the data that its READs gave.
    fn run(self, preparation: Preparation, data: Vec<u8>) -> Result<Vec<Vec<u8>>, Failure> {
        let Preparation {
            workload,
            operations,
            ..
        } = preparation;
        let config = RunConfig {
            speed: Speed::Max,
            timeout_ms: self.timeout_ms,
            ..RunConfig::default()
        };
        let folders = self.target.owned();
        let plan = Plan::build(&workload, operations.iter().cloned(), &config, |_| true)
            .or_defect("cannot look at the root")?;
        let mut first = First(None);
        let known = self.credentials.first();
        let drive = Drive {
            timeout_ms: config.timeout_ms,
            seed: config.seed,
            machine: Engine::new(plan, config),
            target: self.target,
            credentials: known.clone(),
            blobs: Kept {
                given: BTreeMap::from([(Digest::of(&data), data.into())]),
                seen: Vec::new(),
            },
            recorder: NoRecord,
            signing: Default::default(),
            encryption: Default::default(),
            gate: gate(&folders),
        };
        let driven = drive.finish(&mut first)?;
        interrupt::refuse("only the root was looked after, and nothing of the workload was sent")?;
        // Before anything else: what a guest may not do says nothing of the root.
        Logins::of(&driven.standings, &known).refuse_guests(self.target.allow_guest)?;
        match first.0 {
            None => Ok(driven.blobs.seen),
            Some((op, divergence)) => {
                let command = operations.get(op.index()).map(|op| op.cmd);
                Err(self.explain(command, &divergence))
            }
        }
    }

    fn explain(self, command: Option<Command>, divergence: &Divergence) -> Failure {
        let root = &self.target.root;
        let status = match divergence {
            Divergence::Status { seen, .. } => Some(*seen),
            _ => None,
        };
        let missing = [
            NtStatus::OBJECT_NAME_NOT_FOUND,
            NtStatus::OBJECT_PATH_NOT_FOUND,
        ];
        match (command, status) {
            (Some(Command::CREATE), Some(status)) if missing.contains(&status) => {
                Failure::environment(format!("there is no prepared root {root} on the share"))
                    .remedy(
                        "make it first: smbench prepare with the same options, or replay --prepare",
                    )
            }
            (Some(Command::CREATE), Some(NtStatus::OBJECT_NAME_COLLISION)) => {
                Failure::environment(format!("the root {root} exists already"))
                    .remedy("remove it, or name another --root")
            }
            (Some(Command::TREE_CONNECT), Some(_)) => {
                Failure::environment(format!("the server has no such share: {}", self.shares()))
                    .remedy("name one with --share, or in the --mapping")
            }
            (Some(Command::SESSION_SETUP), _)
                if status.is_some() || *divergence == Divergence::LoginFailed =>
            {
                Failure::environment("the server refuses the login")
                    .remedy("check --user and --password-file")
            }
            _ => {
                let failure =
                    Failure::environment(format!("cannot look at the root {root}: {divergence}"));
                // Who says nothing says nothing of rights.
                match status {
                    Some(NtStatus::ACCESS_DENIED) => {
                        failure.remedy("the user must be able to read and write there")
                    }
                    Some(_) => failure.remedy("name another --root, and prepare it"),
                    None => failure.remedy("see whether the server is well, or raise --timeout"),
                }
            }
        }
    }

    fn shares(self) -> String {
        let owned = self.target.owned();
        let paths: BTreeSet<&str> = owned.iter().map(|(path, _)| path.as_str()).collect();
        paths.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// Lets pass what stays in the owned folders.
pub(crate) fn gate(folders: &BTreeSet<(String, String)>) -> Gate {
    let roots = folders
        .iter()
        .map(|(path, folder)| (path.as_str(), folder.as_str()));
    Gate::confined(Policy::strict(), roots).making_roots()
}

/// Data to write, and data that was read.
struct Kept {
    given: BTreeMap<Digest, Arc<[u8]>>,
    seen: Vec<Vec<u8>>,
}

impl Blobs for Kept {
    fn get(&mut self, digest: &Digest, _len: u32) -> Option<Arc<[u8]>> {
        self.given.get(digest).cloned()
    }

    fn put(&mut self, _digest: &Digest, data: &[u8]) {
        self.seen.push(data.to_vec());
    }
}
