//! What was said on recorded pipes: for the model server, whose business a service behind a pipe is not,
//! and to hold it against what was noted of it.

use std::collections::BTreeMap;

use smbench_core::confine::{Policy, Said, Words};
use smbench_core::ids::{OpId, OpenRef};
use smbench_core::smb2::{NtStatus, Request};
use smbench_core::workload::{Action, Operation, Workload};
use smbench_sim::server::{RecordedAnswer, RecordedPipe};

use crate::exit::Failure;
use crate::load::Loaded;

/// The recorded conversations of a workload, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    pub(crate) pipes: Vec<RecordedPipe>,
    by_open: BTreeMap<OpenRef, usize>,
}

impl Conversations {
    /// Notes what the next operation said on a pipe, if it did.
    pub(crate) fn note(&mut self, loaded: &Loaded, operation: &Operation) -> Result<(), Failure> {
        let Action::Request(request) = &operation.action else {
            return Ok(());
        };
        if !is_on_pipe(loaded.workload(), operation) {
            return Ok(());
        }
        if let Request::Create(create) = request {
            if let Some(open) = operation.open {
                self.by_open.insert(open, self.pipes.len());
            }
            self.pipes.push(RecordedPipe {
                name: create.name.to_string(),
                // Where one direction was captured, nobody knows that it was not opened.
                created: operation
                    .expect
                    .as_ref()
                    .map_or(NtStatus::SUCCESS, |it| it.status),
                answers: Vec::new(),
            });
            return Ok(());
        }
        let pipe = operation.open.and_then(|open| self.by_open.get(&open));
        let pipe = pipe.and_then(|at| self.pipes.get_mut(*at));
        let (Some(pipe), Some(expect)) = (pipe, &operation.expect) else {
            return Ok(());
        };
        let data = match expect.data.or(expect.output) {
            Some(data) => loaded.told(data, operation)?,
            None => Vec::new(),
        };
        pipe.answers.push(RecordedAnswer {
            command: operation.cmd,
            status: expect.status,
            data,
        });
        Ok(())
    }
}

/// Calls on pipes that are not what was noted of them, in their order. A workload is text that anybody
/// may edit; what is sent are bytes.
pub(crate) fn misnoted(loaded: &Loaded, policy: &Policy) -> Result<Vec<OpId>, Failure> {
    let workload = loaded.workload();
    let mut found = Vec::new();
    if !workload.trees.iter().any(|tree| tree.holds_pipes()) {
        return Ok(found);
    }
    let mut said = Said::new(policy);
    for operation in loaded.operations()? {
        let operation = operation?;
        if !is_on_pipe(workload, &operation) {
            continue;
        }
        let noted = match Said::words(&operation) {
            None => continue,
            Some(Words::Own(bytes)) => said.is_as_noted(&operation, Some(bytes)),
            Some(Words::Unknown) => said.is_as_noted(&operation, None),
            Some(Words::Data(data)) => match loaded.blobs.get(&data.blake3) {
                Ok(bytes) => said.is_as_noted(&operation, Some(&bytes)),
                // That it is lacking is told of all data together.
                Err(_) => continue,
            },
        };
        if !noted {
            found.push(operation.id);
        }
    }
    Ok(found)
}

fn is_on_pipe(workload: &Workload, operation: &Operation) -> bool {
    let tree = operation
        .tree
        .and_then(|tree| workload.trees.get(tree.index()));
    tree.is_some_and(|tree| tree.holds_pipes())
}
