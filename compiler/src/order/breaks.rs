//! Rule *break*: trigger, notification, reaction.

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::{ClientId, OpId},
    smb2::{Command, ContextData, Lease, Request},
    workload::{Action, BreakNotice, Operation, Rule},
};

use super::{
    Edges,
    access::{Deed, Facts, NameId},
};
use crate::wire_span::WireSpan;

/// Operations that had to wait for a break: since when.
pub(super) type Triggers = BTreeMap<OpId, u64>;

type LeaseKey = (ClientId, [u8; 16]);

pub(super) fn infer(
    ops: &[Operation],
    spans: &[WireSpan],
    facts: &[Facts],
    edges: &mut Edges,
) -> Triggers {
    let leases = lease_names(ops, facts);
    let mut triggers = Triggers::new();
    for (at, notice) in ops.iter().enumerate() {
        let Action::Break(what) = notice.action else {
            continue;
        };
        let named = facts.get(at).and_then(|facts| facts.name);
        let name = match what {
            BreakNotice::Oplock { .. } => named,
            BreakNotice::Lease { key, .. } => leases.get(&(notice.client, key)).copied(),
        };
        let Some(when) = spans.get(at).map(|span| span.request) else {
            continue;
        };
        if let Some(name) = name {
            trigger(ops, spans, facts, (at, when, name), edges, &mut triggers);
        }
        reactions(ops, facts, (notice, at, name), edges);
    }
    triggers
}

/// Which name each lease is about.
fn lease_names(ops: &[Operation], facts: &[Facts]) -> BTreeMap<LeaseKey, NameId> {
    let mut names = BTreeMap::new();
    for (op, facts) in ops.iter().zip(facts) {
        let (Action::Request(Request::Create(create)), Some(name)) = (&op.action, facts.name)
        else {
            continue;
        };
        for context in &create.contexts {
            if let ContextData::Lease(Lease { key, .. }) = &context.data {
                names.insert((op.client, key.0), name);
            }
        }
    }
    names
}

/// The operation in flight whose conflict made the server break: the last one sent.
fn trigger(
    ops: &[Operation],
    spans: &[WireSpan],
    facts: &[Facts],
    (at, when, name): (usize, u64, NameId),
    edges: &mut Edges,
    triggers: &mut Triggers,
) {
    let conflicts = |facts: &Facts| match facts.deed {
        Deed::Open(_)
        | Deed::Write { .. }
        | Deed::Resize { .. }
        | Deed::Change { .. }
        | Deed::Rename { .. }
        | Deed::Dispose { .. } => facts.name == Some(name),
        _ => false,
    };
    let Some(notice) = ops.get(at) else { return };
    let before = ops
        .iter()
        .zip(spans)
        .zip(facts)
        .take(at)
        .rev()
        .take(LOOK_BACK);
    for ((op, span), facts) in before {
        let in_flight = span.request < when && span.response.is_none_or(|over| over > when);
        if in_flight && conflicts(facts) && op.cmd != Command::OPLOCK_BREAK {
            edges.add(op.id, notice.id, Rule::Break, Milestone::Sent);
            triggers.entry(op.id).or_insert(when);
            return;
        }
    }
}

/// What the client did about the notification: everything on that file until it acknowledged, or
/// closed.
fn reactions(
    ops: &[Operation],
    facts: &[Facts],
    (notice, at, name): (&Operation, usize, Option<NameId>),
    edges: &mut Edges,
) {
    let later = ops.iter().zip(facts).skip(at + 1).take(LOOK_AHEAD);
    for (op, facts) in later.filter(|(op, _)| op.client == notice.client) {
        let ours = acknowledges(op, notice);
        let same_file = name.is_some() && facts.name == name;
        if !(ours || same_file) || !matches!(op.action, Action::Request(_)) {
            continue;
        }
        edges.add(notice.id, op.id, Rule::Break, Milestone::Response);
        if ours || (op.cmd == Command::CLOSE && op.open == notice.open) {
            return;
        }
    }
}

fn acknowledges(op: &Operation, notice: &Operation) -> bool {
    match (&op.action, &notice.action) {
        (Action::Request(Request::OplockBreak(_)), Action::Break(BreakNotice::Oplock { .. })) => {
            op.open.is_some() && op.open == notice.open
        }
        (
            Action::Request(Request::LeaseBreak(ack)),
            Action::Break(BreakNotice::Lease { key, .. }),
        ) => ack.lease_key.0 == *key,
        _ => false,
    }
}

/// How far a trigger may lie behind its notification, in operations.
const LOOK_BACK: usize = 4_096;
/// How far a reaction may lie ahead, in operations.
const LOOK_AHEAD: usize = 4_096;
