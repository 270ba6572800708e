//! What no model computes: functions that depend on what is below a file server. Each is answered as it was
//! recorded for the same file, one answer after the other; the last one for ever.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::function::Function;
use smbench_core::smb2::{FileId, NtStatus};

use super::Server;
use super::answer::{Cx, Handled, Req};
use super::recorded::said;

/// A recorded answer to a request that the model does not [compute](Function::is_modelled).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedFunction {
    /// The share, compared without case.
    pub share: String,
    /// Path of the open below the share with backslashes, compared without case; empty where there is no open.
    pub path: String,
    /// What was asked for.
    pub function: Function,
    /// The status.
    pub status: NtStatus,
    /// What came back: the output of an IOCTL, or of a query.
    pub output: Vec<u8>,
}

/// Who is asked (share and path in lower case), and for what.
type Key = (String, String, Function);

/// All recorded answers, in their order.
#[derive(Debug, Default)]
pub(super) struct RecordedFunctions(BTreeMap<Key, VecDeque<(NtStatus, Vec<u8>)>>);

impl RecordedFunctions {
    pub(super) fn of(functions: Vec<RecordedFunction>) -> Self {
        let mut all = Self::default();
        for it in functions {
            let key = (it.share.to_lowercase(), it.path.to_lowercase(), it.function);
            all.0
                .entry(key)
                .or_default()
                .push_back((it.status, it.output));
        }
        all
    }

    fn next(&mut self, key: &Key) -> Option<(NtStatus, Vec<u8>)> {
        let left = self.0.get_mut(key)?;
        match left.len() {
            0 | 1 => left.front().cloned(),
            _ => left.pop_front(),
        }
    }
}

impl Server {
    /// Refuses what the recorded server never knew, though the model does.
    pub(super) fn check_known(&self, cx: &Cx, req: &Req) -> Result<(), NtStatus> {
        let unknown = &self.config.unknown;
        if unknown.is_empty() {
            return Ok(());
        }
        let Some(status) = unknown.get(&Function::of(&req.body)) else {
            return Ok(());
        };
        // What is of no open is refused for that.
        let open = req.file(cx).map(|file| self.find_open(cx, file));
        match open {
            Some(Ok(_)) => Err(*status),
            _ => Ok(()),
        }
    }

    /// Answers what the model does not compute, where it was recorded.
    pub(super) fn as_recorded(&mut self, cx: &Cx, req: &Req) -> Option<Handled> {
        let function = Function::of(&req.body);
        if self.functions.0.is_empty() || function.is_modelled() {
            return None;
        }
        let (path, file_id) = match req.file(cx)? {
            NO_FILE => (String::new(), NO_FILE),
            named => {
                let id = self.find_open(cx, named).ok()?;
                (self.open_path(id).to_lowercase(), self.file_id(id))
            }
        };
        let share = self.shares.get(cx.share)?.name.to_lowercase();
        let (status, output) = self.functions.next(&(share, path, function))?;
        if status.is_error() {
            return Some(Err(status.into()));
        }
        Some(said(req, file_id, status, output))
    }
}

/// The FileId of an IOCTL that is of no file. [MS-SMB2] 2.2.31.
const NO_FILE: FileId = FileId {
    persistent: u64::MAX,
    volatile: u64::MAX,
};
