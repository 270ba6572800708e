//! Rules *resource*, *name* and *outcome*: conflicting operations keep their order.
//!
//! In the order that the points give, whoever changes something waits for everybody who used it
//! since it was last changed, and whoever uses it waits for the last change (the rule of ROOT and
//! ARTC, SOSP 2013). Two operations of one client need no such edge: the *wire* rule has it, or
//! they were in flight together and stay so.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::{
    event::Milestone,
    ids::{ClientId, OpId},
    workload::Rule,
};

use super::{
    breaks::{Told, Triggers},
    edges::Edges,
    model::{FileNo, Key, Touch},
    table::{Kind, TableView, Times},
};
use crate::{map::Map, wire_span::WireSpan};

/// An operation that uses a key.
#[derive(Clone, Copy, Debug)]
struct User {
    op: OpId,
    client: ClientId,
    /// It is the end of a connection.
    hangs_up: bool,
    times: Times,
}

impl User {
    fn new(table: &TableView<'_>, op: OpId) -> Option<Self> {
        let row = table.row(op)?;
        Some(Self {
            op,
            client: table.client_of(&row),
            hangs_up: row.kind == Kind::Disconnect,
            times: row.times(),
        })
    }
}

#[derive(Debug, Default)]
struct Users {
    writer: Option<User>,
    readers: Vec<User>,
    /// How many readers there may be before those are forgotten that need not be known.
    enough: u32,
    /// Writers before the last one, as far as they may be asked for; most have none.
    #[expect(
        clippy::box_collection,
        reason = "one word for none, of which there are many"
    )]
    past: Option<Box<VecDeque<OpId>>>,
}

impl Users {
    /// Before `op`, `before` used the key. Where that may have been an answer to `op`, whoever
    /// changed it earlier came before.
    fn relate(&self, pairs: &Pairs<'_>, before: User, op: &User, key: Key, edges: &mut Edges) {
        if pairs.relate(&before, op, key, edges) {
            return;
        }
        let last = self.writer.filter(|it| it.op != before.op);
        if last.is_some_and(|last| pairs.relate(&last, op, key, edges)) {
            return;
        }
        let mut from = last.unwrap_or(before).op;
        for earlier in self.past.iter().flat_map(|past| past.iter().rev().copied()) {
            if earlier == from {
                continue;
            }
            from = earlier;
            let user = User::new(pairs.table, earlier);
            if user.is_none_or(|user| pairs.relate(&user, op, key, edges)) {
                return;
            }
        }
    }

    fn changed_by(&mut self, op: User) {
        let Some(last) = self.writer.replace(op) else {
            return;
        };
        let past = self.past.get_or_insert_default();
        past.push_back(last.op);
        if past.len() > PAST {
            past.pop_front();
        }
    }

    fn read_by(&mut self, op: User) {
        if self.readers.len() >= MANY.max(self.enough as usize) {
            self.forget_superseded();
            self.enough = u32::try_from(self.readers.len() * 2).unwrap_or(u32::MAX);
        }
        if self.readers.is_empty() {
            // Most have no second one.
            self.readers.reserve_exact(1);
        }
        self.readers.push(op);
    }

    /// Forgets old readers whose client read it again after they were answered: whoever waits for
    /// that waits for them.
    fn forget_superseded(&mut self) {
        let mut sent: BTreeMap<ClientId, u64> = BTreeMap::new();
        let mut place = self.readers.len();
        let mut keep = vec![true; place];
        for (reader, keep) in self.readers.iter().zip(&mut keep).rev() {
            place -= 1;
            let span = reader.times.span();
            let last = sent.entry(reader.client).or_default();
            let superseded = span.response.is_some_and(|at| at < *last);
            *keep = !superseded || place + RECENT >= self.readers.len();
            *last = span.request.max(*last);
        }
        let mut keep = keep.into_iter();
        self.readers.retain(|_| keep.next().unwrap_or(true));
    }
}

/// Conflicts, from one operation to the next in the order of the points.
pub(super) struct Keys<'a> {
    pairs: Pairs<'a>,
    users: Map<Key, Users>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(table: &'a TableView<'a>, triggers: &'a Triggers) -> Self {
        Self {
            pairs: Pairs { table, triggers },
            users: Map::default(),
        }
    }

    /// Takes the next operation, and what it touches.
    pub(super) fn touched(&mut self, op: OpId, touches: &[Touch], edges: &mut Edges) {
        let user = (!touches.is_empty()).then(|| User::new(self.pairs.table, op));
        let Some(op) = user.flatten() else {
            return;
        };
        for (key, changes) in touches {
            let users = self.users.entry(*key).or_default();
            if *changes {
                let readers = std::mem::take(&mut users.readers);
                let last = users.writer.filter(|_| readers.is_empty());
                for before in readers.into_iter().chain(last) {
                    users.relate(&self.pairs, before, &op, *key, edges);
                }
                users.changed_by(op);
            } else {
                if let Some(writer) = users.writer {
                    users.relate(&self.pairs, writer, &op, *key, edges);
                }
                users.read_by(op);
            }
        }
    }

    /// Forgets a file that nobody can use any more.
    pub(super) fn forget(&mut self, file: FileNo) {
        self.users.remove(&Key::Share(file));
        self.users.remove(&Key::Data(file));
    }
}

struct Pairs<'a> {
    table: &'a TableView<'a>,
    triggers: &'a Triggers,
}

impl Pairs<'_> {
    /// `from` must stay before `to`. False where it may have been an answer to `to`.
    fn relate(&self, from: &User, to: &User, key: Key, edges: &mut Edges) -> bool {
        let one_client = from.client == to.client;
        // Nothing answers the end of a connection, so rule wire knows nothing of it.
        if from.op == to.op || one_client && !from.hangs_up {
            return true;
        }
        let (first, second) = (from.times.span(), to.times.span());
        let rule = match key {
            Key::Name(_) | Key::Children(_) => Rule::Name,
            Key::Share(_) | Key::Data(_) => Rule::Resource,
        };
        let known_before = |at: Option<u64>| at.is_some_and(|at| at < second.request);
        if known_before(first.response) || (first.response.is_none() && first.interim.is_none()) {
            edges.add(from.op, to.op, rule, Milestone::Response);
        } else if known_before(first.interim) {
            edges.add(from.op, to.op, rule, Milestone::Interim);
        } else if self.may_have_waited_for(from.op, to.client, &second) {
            return true;
        } else if !self.may_have_answered_to(&first, to.op, &second) {
            edges.add(from.op, to.op, Rule::Outcome, Milestone::Response);
        } else {
            return false;
        }
        true
    }

    /// Whether `from` made the server break, and the second is of a client that was told of it
    /// before: it may be the answer that `from` waited for. An edge to it would be a deadlock.
    fn may_have_waited_for(&self, from: OpId, client: ClientId, second: &WireSpan) -> bool {
        let told = self.triggers.get(&from).and_then(|it| it.when(client));
        told.is_some_and(|when| second.request > when)
    }

    /// Whether `first` may only have happened because `to` was waiting: for a break, or for
    /// whatever the server announced by an interim response. Such an edge would be a deadlock.
    fn may_have_answered_to(&self, first: &WireSpan, to: OpId, second: &WireSpan) -> bool {
        let told = self.triggers.get(&to).and_then(Told::first);
        let since_break = told.is_some_and(|since| first.request > since);
        let while_pending = second.interim.is_some_and(|since| first.request > since)
            || (second.interim.is_some() && first.request > second.request);
        since_break || while_pending
    }
}

/// How many earlier writers of a key are remembered.
const PAST: usize = 16;
/// How many readers of a key are remembered in any case.
const MANY: usize = 64;
/// How many of the last are remembered whatever comes after them.
const RECENT: usize = 16;
