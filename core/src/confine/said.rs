//! What a workload says on its pipes, read as the gate will read it: notes of calls are texts that
//! anybody may have edited, and bytes are what leaves.

use std::collections::BTreeMap;

use super::{
    Pipes, Policy,
    plan::check_call,
    reach::{self, Control},
};
use crate::{
    ids::OpenRef,
    rpc::Conversation,
    smb2::Request,
    workload::{Action, DataRef, Operation},
};

/// What a request says on a pipe.
#[derive(Clone, Copy, Debug)]
pub enum Words<'a> {
    /// It is in the request.
    Own(&'a [u8]),
    /// It is bulk data.
    Data(DataRef),
    /// Nobody knows.
    Unknown,
}

/// The conversations of a workload, as far as a policy lets them through.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    policy: &'a Policy,
    by_open: BTreeMap<OpenRef, Conversation>,
}

impl<'a> Said<'a> {
    /// Nothing has been said yet.
    #[must_use]
    pub const fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            by_open: BTreeMap::new(),
        }
    }

    /// What `op`, which is carried out on a tree of pipes, says there; none where it says nothing.
    #[must_use]
    pub fn words(op: &Operation) -> Option<Words<'_>> {
        let Action::Request(request) = &op.action else {
            return None;
        };
        match request {
            Request::Write(write) if write.length > 0 => {
                let data = op.data.filter(|data| data.len == write.length);
                Some(data.map_or(Words::Unknown, Words::Data))
            }
            Request::Ioctl(ioctl) if !ioctl.input.is_empty() => {
                let speaks = reach::control(ioctl.ctl_code) == Some(Control::Pipe);
                speaks.then_some(Words::Own(&ioctl.input))
            }
            _ => None,
        }
    }

    /// Whether `bytes`, which `op` says, are let through like what was noted of them. Operations come
    /// in their order; what is not sent was not said.
    pub fn is_as_noted(&mut self, op: &Operation, bytes: Option<&[u8]>) -> bool {
        if self.policy.pipes == Pipes::None || check_call(op, self.policy).is_err() {
            return true;
        }
        let (Some(open), Some(bytes)) = (op.open, bytes) else {
            return false;
        };
        let said = self.by_open.entry(open).or_default();
        let pipes = self.policy.pipes;
        said.feed_if(bytes, |call| pipes.refuses(call)).is_ok()
    }
}
