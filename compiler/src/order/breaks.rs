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
            BreakNotice::Lease { key, .. } => last_before(&leases, (notice.client, key), at),
        };
        let Some(when) = spans.get(at).map(|span| span.request) else {
            continue;
        };
        let found = name
            .is_some_and(|name| trigger(ops, spans, facts, (at, when, name), edges, &mut triggers));
        if !found {
            sent_last(ops, at, edges);
        }
        reactions(ops, facts, (notice, at, name), edges);
    }
    triggers
}

/// Which name each lease is about, from which operation on: keys are used again.
type LeaseNames = BTreeMap<LeaseKey, Vec<(usize, NameId)>>;

fn last_before(names: &LeaseNames, key: LeaseKey, at: usize) -> Option<NameId> {
    let of_key = names.get(&key)?;
    let later = of_key.partition_point(|(since, _)| *since < at);
    of_key.get(later.checked_sub(1)?).map(|(_, name)| *name)
}

fn lease_names(ops: &[Operation], facts: &[Facts]) -> LeaseNames {
    let mut names = LeaseNames::new();
    for (at, (op, facts)) in ops.iter().zip(facts).enumerate() {
        let (Action::Request(Request::Create(create)), Some(name)) = (&op.action, facts.name)
        else {
            continue;
        };
        for context in &create.contexts {
            if let ContextData::Lease(Lease { key, .. }) = &context.data {
                names
                    .entry((op.client, key.0))
                    .or_default()
                    .push((at, name));
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
) -> bool {
    let conflicts = |facts: &Facts| match facts.deed {
        Deed::Open(_)
        | Deed::Write { .. }
        | Deed::Resize { .. }
        | Deed::Change { .. }
        | Deed::Rename { .. }
        | Deed::Dispose { .. } => facts.name == Some(name),
        _ => false,
    };
    let Some(notice) = ops.get(at) else {
        return false;
    };
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
            edges.add_sent(op.id, notice.id, Rule::Break);
            triggers.entry(op.id).or_insert(when);
            return true;
        }
    }
    false
}

/// Where nothing tells what made the server break: it came after whatever was sent last.
fn sent_last(ops: &[Operation], at: usize, edges: &mut Edges) {
    let requests = |op: &&Operation| matches!(op.action, Action::Request(_));
    let last = ops.iter().take(at).rev().find(requests);
    if let (Some(last), Some(notice)) = (last, ops.get(at)) {
        edges.add_sent(last.id, notice.id, Rule::Break);
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
