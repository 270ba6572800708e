//! What a recorded server answered to requests that the model does not compute.

use std::collections::BTreeMap;

use smbench_core::confine::created_path;
use smbench_core::function::Function;
use smbench_core::ids::OpenRef;
use smbench_core::smb2::{NtStatus, Request};
use smbench_core::workload::{Action, Operation};
use smbench_sim::server::RecordedFunction;

use crate::exit::Failure;
use crate::load::Loaded;

/// Recorded answers, in the order of their requests.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub(crate) answers: Vec<RecordedFunction>,
    /// Paths of opens, as they were opened.
    paths: BTreeMap<OpenRef, String>,
    /// Information that was refused as not known, and how; none where it was known elsewhere.
    refused: BTreeMap<Function, Option<NtStatus>>,
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
        self.note_known(function, expect.status);
        let trees = &loaded.workload().trees;
        let tree = operation.tree.and_then(|tree| trees.get(tree.index()));
        let Some(tree) = tree.filter(|_| !function.is_modelled()) else {
            return Ok(());
        };
        let output = match expect.output {
            Some(output) => loaded.told(output, operation)?,
            None => Vec::new(),
        };
        let path = operation.open.and_then(|open| self.paths.get(&open));
        self.answers.push(RecordedFunction {
            share: tree.share().to_owned(),
            path: path.cloned().unwrap_or_default(),
            function,
            status: expect.status,
            output,
        });
        Ok(())
    }

    fn note_known(&mut self, function: Function, status: NtStatus) {
        if function.is_information() {
            let unknown = [NtStatus::INVALID_INFO_CLASS, NtStatus::NOT_SUPPORTED];
            let how = self.refused.entry(function).or_insert(Some(status));
            *how = how.filter(|_| unknown.contains(&status));
        }
    }

    /// Information that was refused whenever it was asked for or set.
    pub(crate) fn unknown(&self) -> BTreeMap<Function, NtStatus> {
        let all = self.refused.iter();
        all.filter_map(|(function, how)| Some((*function, (*how)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::smb2::{FileInfoClass, InfoType, QueryInfoRequest};

    use super::*;

    #[test]
    fn information_that_was_never_known_is_not() {
        let query = |class: u8| {
            let request = QueryInfoRequest {
                info_type: InfoType::FILE,
                file_info_class: FileInfoClass(class).into(),
                ..QueryInfoRequest::default()
            };
            Function::of(&request.into())
        };
        let refused = NtStatus::INVALID_INFO_CLASS;
        let mut functions = Functions::default();
        for (class, status) in [
            (60, refused),
            (60, refused),
            (61, refused),
            (61, NtStatus::SUCCESS),
            (62, NtStatus::SUCCESS),
            (62, refused),
            (63, NtStatus::ACCESS_DENIED),
            (64, NtStatus::NOT_SUPPORTED),
        ] {
            functions.note_known(query(class), status);
        }
        let want = [(query(60), refused), (query(64), NtStatus::NOT_SUPPORTED)];
        assert_eq!(functions.unknown(), BTreeMap::from(want));
    }
}
