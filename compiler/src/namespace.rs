//! What had to exist on the server before the recording began.

use smbench_core::workload::{Entry, Expect, Operation, Workload};

use crate::dissect::Count;

/// Listens to the answers of a capture in their order.
#[derive(Debug, Default)]
pub(crate) struct Namespace {}

impl Namespace {
    pub(crate) fn answered(
        &mut self,
        _workload: &Workload,
        _op: &Operation,
        _create: Option<&Operation>,
        _expect: &Expect,
    ) {
    }

    pub(crate) fn finish(self, _workload: &Workload) -> (Vec<Entry>, Vec<(Count, u64)>) {
        (Vec::new(), Vec::new())
    }
}
