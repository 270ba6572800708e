//! Rules *resource*, *name* and *outcome*: conflicting operations keep their order.
//!
//! In the order that the points give, whoever changes something waits for everybody who used it
//! since it was last changed, and whoever uses it waits for the last change (the rule of ROOT and
//! ARTC, SOSP 2013). Two operations of one client need no such edge: the *wire* rule has it, or
//! they were in flight together and stay so.

use std::collections::VecDeque;

use smbench_core::{
    event::Milestone,
    ids::{ClientId, OpId},
    workload::Rule,
};

use super::{
    breaks::Triggers,
    edges::Edges,
    model::{Key, Touch},
    table::{Kind, Table},
};
use crate::{map::Map, wire_span::WireSpan};

#[derive(Debug, Default)]
struct Users {
    writer: Option<OpId>,
    readers: Vec<OpId>,
    /// Writers before the last one, as far as they may be asked for.
    past: VecDeque<OpId>,
}

impl Users {
    /// Before `op`, `before` used the key. Where that may have been an answer to `op`, whoever
    /// changed it earlier came before.
    fn relate(&self, pairs: &Pairs<'_>, before: OpId, op: OpId, key: Key, edges: &mut Edges) {
        let mut earlier = self
            .writer
            .into_iter()
            .chain(self.past.iter().rev().copied());
        let mut from = Some(before);
        while let Some(candidate) = from {
            if pairs.relate(candidate, op, key, edges) {
                return;
            }
            from = earlier.find(|writer| *writer != candidate);
        }
    }

    fn changed_by(&mut self, op: OpId) {
        self.past.extend(self.writer.replace(op));
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }
}

/// Conflicts, from one operation to the next in the order of the points.
pub(super) struct Keys<'a> {
    pairs: Pairs<'a>,
    users: Map<Key, Users>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(table: &'a Table, triggers: &'a Triggers) -> Self {
        Self {
            pairs: Pairs { table, triggers },
            users: Map::default(),
        }
    }

    /// Takes the next operation, and what it touches.
    pub(super) fn touched(&mut self, op: OpId, touches: &[Touch], edges: &mut Edges) {
        for (key, changes) in touches {
            let users = self.users.entry(*key).or_default();
            if *changes {
                let readers = std::mem::take(&mut users.readers);
                let last = users.writer.filter(|_| readers.is_empty());
                for before in readers.into_iter().chain(last) {
                    users.relate(&self.pairs, before, op, *key, edges);
                }
                users.changed_by(op);
            } else {
                if let Some(writer) = users.writer {
                    users.relate(&self.pairs, writer, op, *key, edges);
                }
                users.readers.push(op);
            }
        }
    }
}

struct Pairs<'a> {
    table: &'a Table,
    triggers: &'a Triggers,
}

impl Pairs<'_> {
    /// `from` must stay before `to`. False where it may have been an answer to `to`.
    fn relate(&self, from: OpId, to: OpId, key: Key, edges: &mut Edges) -> bool {
        let (Some(before), Some(after)) = (self.table.row(from), self.table.row(to)) else {
            return true;
        };
        let one_client = self.table.client_of(before) == self.table.client_of(after);
        // Nothing answers the end of a connection, so rule wire knows nothing of it.
        if from == to || one_client && before.kind != Kind::Disconnect {
            return true;
        }
        let (first, second) = (before.span(), after.span());
        let rule = match key {
            Key::Name(_) | Key::Children(_) => Rule::Name,
            Key::Share(_) | Key::Data(_) => Rule::Resource,
        };
        let known_before = |at: Option<u64>| at.is_some_and(|at| at < second.request);
        if known_before(first.response) || (first.response.is_none() && first.interim.is_none()) {
            edges.add(from, to, rule, Milestone::Response);
        } else if known_before(first.interim) {
            edges.add(from, to, rule, Milestone::Interim);
        } else if self.may_have_waited_for(from, self.table.client_of(after), &second) {
            return true;
        } else if !self.may_have_answered_to(&first, to, &second) {
            edges.add(from, to, Rule::Outcome, Milestone::Response);
        } else {
            return false;
        }
        true
    }

    /// Whether `from` made the server break, and the second is of a client that was told of it
    /// before: it may be the answer that `from` waited for. An edge to it would be a deadlock.
    fn may_have_waited_for(&self, from: OpId, client: ClientId, second: &WireSpan) -> bool {
        let told = self.triggers.get(&from);
        told.into_iter()
            .flatten()
            .any(|it| it.client == client && second.request > it.when)
    }

    /// Whether `first` may only have happened because `to` was waiting: for a break, or for
    /// whatever the server announced by an interim response. Such an edge would be a deadlock.
    fn may_have_answered_to(&self, first: &WireSpan, to: OpId, second: &WireSpan) -> bool {
        let since_break = self
            .triggers
            .get(&to)
            .and_then(|told| told.first())
            .is_some_and(|since| first.request > since.when);
        let while_pending = second.interim.is_some_and(|since| first.request > since)
            || (second.interim.is_some() && first.request > second.request);
        since_break || while_pending
    }
}

/// How many earlier writers of a key are remembered.
const PAST: usize = 16;
