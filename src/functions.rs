//! What a recorded server answered to requests that the model does not compute.

use std::collections::BTreeMap;

use smbench_core::confine::created_path;
use smbench_core::function::Function;
use smbench_core::ids::OpenRef;
use smbench_core::smb2::Request;
use smbench_core::workload::{Action, Operation};
use smbench_sim::server::RecordedFunction;

use crate::exit::{Failure, OrFail};
use crate::load::Loaded;

/// Recorded answers, in the order of their requests.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub(crate) answers: Vec<RecordedFunction>,
    /// Paths of opens, as they were opened.
    paths: BTreeMap<OpenRef, String>,
}

impl Functions {
    /// Notes how the next operation was answered.
    pub(crate) fn note(&mut self, loaded: &Loaded, operation: &Operation) -> Result<(), Failure> {
        let (Action::Request(request), Some(expect)) = (&operation.action, &operation.expect)
        else {
            return Ok(());
        };
        if let (Request::Create(_), Some(open)) = (request, operation.open) {
            let path = created_path(operation).unwrap_or_default();
            self.paths.insert(open, path.trim_matches('\\').to_owned());
        }
        let function = Function::of(request);
        let trees = &loaded.workload().trees;
        let tree = operation.tree.and_then(|tree| trees.get(tree.index()));
        let Some(tree) = tree.filter(|_| !function.is_modelled()) else {
            return Ok(());
        };
        let output = match expect.output {
            Some(output) => loaded.blobs.get(&output.blake3),
            None => Ok(Vec::new()),
        };
        let path = operation.open.and_then(|open| self.paths.get(&open));
        self.answers.push(RecordedFunction {
            share: tree.share().to_owned(),
            path: path.cloned().unwrap_or_default(),
            function,
            status: expect.status,
            output: output.or_environment("cannot read what was answered")?,
        });
        Ok(())
    }
}
