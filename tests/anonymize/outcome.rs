//! How a workload runs against the model server.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use smbench_compiler::folder::{BlobReader, FolderReader};
use smbench_compiler::prepare::synthetic;
use smbench_core::engine::{Plan, RunConfig, Speed};
use smbench_core::event::{EffectsDigest, Recorder, Report};
use smbench_core::frame::Digest;
use smbench_core::ids::LogicalTime;
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::{Entry, EntryKind, Operation};
use smbench_sim::server::{Server, ServerConfig, ShareConfig};
use smbench_sim::{Cast, DriverKind, ModelService, Run, Scenario, simulate};

/// How a workload runs against the model server.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Outcome {
    pub(super) statuses: Vec<(u32, NtStatus)>,
    divergences: Vec<(u32, String)>,
    others: Vec<String>,
}

impl Outcome {
    pub(super) fn of(folder: &Path) -> Self {
        let reader = FolderReader::open(folder).unwrap();
        let operations: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
        let blobs = Arc::new(reader.blobs().unwrap());
        let config = RunConfig {
            speed: Speed::Max,
            ..RunConfig::default()
        };
        let plan = Plan::build(reader.workload(), operations, &config, |_| true).unwrap();
        let outcome = Rc::new(RefCell::new(Self::default()));
        let taker = Rc::clone(&outcome);
        let done = simulate(
            Run {
                plan,
                config,
                cast: Cast::of(reader.workload()),
                scenario: &Scenario::default(),
                server: ModelService::new(model(&reader, &blobs)),
                recorder: Nothing,
                blobs: Pack(Arc::clone(&blobs)),
                tap: None,
            },
            DriverKind::EventLoop,
            move |_: LogicalTime, report: &Report| taker.borrow_mut().report(report),
        );
        done.result.unwrap();
        outcome.take()
    }

    pub(super) fn leave_out(&mut self, operations: &HashSet<u32>) {
        self.statuses.retain(|(op, _)| !operations.contains(op));
        self.divergences.retain(|(op, _)| !operations.contains(op));
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Finished { op, outcome, .. } => self.statuses.push((op.0, outcome.status)),
            Report::Diverged { op, divergence } => {
                self.divergences.push((op.0, divergence.name().to_owned()));
            }
            Report::Started { .. } | Report::Done => {}
            other => self.others.push(format!("{other:?}")),
        }
    }
}

/// The directory queries of a workload.
pub(super) fn listings(folder: &Path) -> HashSet<u32> {
    let operations = FolderReader::open(folder).unwrap().operations().unwrap();
    let operations = operations.map(Result::unwrap);
    let listings = operations.filter(|op| op.cmd == Command::QUERY_DIRECTORY);
    listings.map(|op| op.id.0).collect()
}

/// The model server as `sim` sets it up.
fn model(reader: &FolderReader, blobs: &BlobReader) -> Server {
    let mut shares = BTreeMap::new();
    for tree in reader
        .workload()
        .trees
        .iter()
        .filter(|it| it.share_type != 0)
    {
        let name = tree.share();
        let share = if tree.holds_pipes() {
            ShareConfig::pipe(name)
        } else {
            ShareConfig::disk(name)
        };
        // In the order of appearance: the model numbers its shares.
        shares.insert(name.to_lowercase(), share);
    }
    let mut server = Server::new(ServerConfig {
        shares: shares.into_values().collect(),
        guest_ok: true,
        trusting: true,
        ..ServerConfig::default()
    });
    for entry in reader.namespace().unwrap() {
        let entry: Entry = entry.unwrap();
        match entry.kind {
            EntryKind::Directory => server.mkdir(&entry.share, &entry.path).unwrap(),
            EntryKind::File | EntryKind::Stream => {
                let name = format!("{}\\{}", entry.share, entry.path);
                let mut data = synthetic(&name, 0, u32::try_from(entry.size).unwrap());
                for extent in &entry.content {
                    let at = usize::try_from(extent.offset).unwrap();
                    let known = blobs.get(&extent.data.blake3).unwrap();
                    if let Some(room) = data.get_mut(at..at + known.len()) {
                        room.copy_from_slice(&known);
                    }
                }
                server.put_file(&entry.share, &entry.path, &data).unwrap();
            }
        }
    }
    server
}

struct Pack(Arc<BlobReader>);

impl smbench_core::bulk::Blobs for Pack {
    fn get(&mut self, digest: &Digest, _len: u32) -> Option<Arc<[u8]>> {
        self.0.get(digest).ok().map(Into::into)
    }
}

pub(super) struct Nothing;

impl Recorder for Nothing {
    type Error = Infallible;

    fn record(&mut self, _: &smbench_core::event::Entry) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Infallible> {
        Ok(())
    }
}
