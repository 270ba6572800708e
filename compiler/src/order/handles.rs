//! Rules *handle* and *setup*: what must exist before it can be used.

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::{ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::Command,
    workload::{Action, Operation, Rule},
};

use super::Edges;
use crate::wire_span::WireSpan;

/// What has been set up so far.
#[derive(Debug, Default)]
struct Known {
    negotiated: BTreeMap<ConnId, OpId>,
    sessions: BTreeMap<SessionRef, OpId>,
    bound: BTreeMap<(ConnId, SessionRef), OpId>,
    trees: BTreeMap<TreeRef, OpId>,
    opens: BTreeMap<OpenRef, Handle>,
}

#[derive(Debug)]
struct Handle {
    by: OpId,
    used_by: Vec<OpId>,
}

pub(super) fn infer(ops: &[Operation], spans: &[WireSpan], edges: &mut Edges) {
    let mut known = Known::default();
    for op in ops {
        known.set_up(op, edges);
        known.use_handle(op, spans, edges);
    }
}

impl Known {
    fn set_up(&mut self, op: &Operation, edges: &mut Edges) {
        let id = op.id;
        let waits = |from: Option<&OpId>, edges: &mut Edges| {
            if let Some(from) = from {
                edges.add(*from, id, Rule::Setup, Milestone::Response);
            }
        };
        match (&op.action, op.cmd, op.session) {
            (Action::Break(_) | Action::Disconnect(_), ..) => {}
            (_, Command::NEGOTIATE, _) => {
                waits(self.negotiated.get(&op.conn), edges);
                self.negotiated.insert(op.conn, id);
            }
            (_, Command::SESSION_SETUP, Some(session)) => {
                waits(self.negotiated.get(&op.conn), edges);
                waits(self.bound.get(&(op.conn, session)), edges);
                waits(self.sessions.get(&session), edges);
                self.sessions.insert(session, id);
                self.bound.insert((op.conn, session), id);
            }
            (_, Command::TREE_CONNECT, Some(session)) => {
                waits(self.sessions.get(&session), edges);
                if let Some(tree) = op.tree {
                    self.trees.insert(tree, id);
                }
            }
            (_, _, Some(session)) => {
                match op.tree.and_then(|tree| self.trees.get(&tree)) {
                    Some(tree) => waits(Some(tree), edges),
                    None => waits(self.sessions.get(&session), edges),
                }
                let bound = self.bound.get(&(op.conn, session));
                if bound != self.sessions.get(&session) {
                    waits(bound, edges);
                }
            }
            _ => waits(self.negotiated.get(&op.conn), edges),
        }
    }

    fn use_handle(&mut self, op: &Operation, spans: &[WireSpan], edges: &mut Edges) {
        let id = op.id;
        if let Some(handle) = op.reclaims.and_then(|open| self.opens.get(&open)) {
            edges.add(handle.by, id, Rule::Handle, Milestone::Response);
        }
        if let Some(key_from) = op.resume_key_of {
            edges.add(key_from, id, Rule::Handle, Milestone::Response);
        }
        if let Some(target) = op.cancels {
            edges.add(target, id, Rule::Handle, Milestone::Sent);
        }
        let (Some(open), Action::Request(_)) = (op.open, &op.action) else {
            return;
        };
        if op.cmd == Command::CREATE {
            self.opens.insert(
                open,
                Handle {
                    by: id,
                    used_by: Vec::new(),
                },
            );
            return;
        }
        let Some(handle) = self.opens.get_mut(&open) else {
            return;
        };
        edges.add(handle.by, id, Rule::Handle, Milestone::Response);
        if op.cmd != Command::CLOSE {
            handle.used_by.push(id);
            return;
        }
        let sent = spans.get(id.index()).map_or(u64::MAX, |span| span.request);
        for user in handle.used_by.drain(..) {
            let answered = spans.get(user.index()).and_then(|span| span.response);
            if answered.is_some_and(|at| at < sent) {
                edges.add(user, id, Rule::Handle, Milestone::Response);
            }
        }
    }
}
