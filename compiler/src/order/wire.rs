//! Rule *wire*: what a client knew before it sent.
//!
//! Each client keeps a frontier: what it has learnt and what nothing it has learnt since already
//! implies. A request waits for the whole frontier; its own answer then replaces it. That is the
//! transitive reduction of "had the response before it sent", at the cost of the client's
//! concurrency, up to [`MOST`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use smbench_core::{event::Milestone, ids::OpId, workload::Rule};

use super::{
    edges::Edges,
    table::{Kind, Row, TableView},
};

/// An answer that is still to come: when, to which operation, and what it is.
type Answer = Reverse<(u64, OpId, Milestone)>;

/// Finds the edges; returns how many answers were forgotten though nothing implied them, because
/// a client had more than [`MOST`] of these.
pub(super) fn infer(table: &TableView<'_>, edges: &mut Edges) -> u64 {
    let mut rule = Wire {
        table,
        clients: Vec::new(),
        last_sent: Vec::new(),
    };
    // Requests come in the order of their ids. Answers wait here for their time; of several at one
    // count, the PDUs of one frame, that of the first operation comes first.
    let mut answers: BinaryHeap<Answer> = BinaryHeap::new();
    for (id, row) in table.rows() {
        let span = row.span();
        while let Some(Reverse((at, op, on))) = answers.peek().copied()
            && at <= span.request
        {
            answers.pop();
            rule.learn(op, on);
        }
        rule.send(id, &row, edges);
        let interim = span.interim.map(|at| (at, id, Milestone::Interim));
        let response = span.response.map(|at| (at, id, Milestone::Response));
        answers.extend([interim, response].into_iter().flatten().map(Reverse));
    }
    // What nobody sent after makes no edge.
    rule.clients.iter().map(|client| client.forgotten).sum()
}

/// What each client knows.
struct Wire<'a> {
    table: &'a TableView<'a>,
    /// By client.
    clients: Vec<Frontier>,
    /// By connection.
    last_sent: Vec<Option<Sent>>,
}

impl Wire<'_> {
    fn send(&mut self, id: OpId, row: &Row, edges: &mut Edges) {
        if row.kind == Kind::Break {
            return;
        }
        let frontier = slot(&mut self.clients, self.table.client_of(row).index());
        if let Some(frontier) = frontier {
            let known = frontier.send(id);
            // A compound is sent as one: what its first member waits for, all wait for.
            if self.table.leader(id) == id {
                known.for_each(|(known, on)| edges.add(known, id, Rule::Wire, on));
            }
        }
        self.keep_order(id, row, edges);
    }

    fn learn(&mut self, id: OpId, on: Milestone) {
        if let Some(frontier) = self.clients.get_mut(self.table.client(id).index()) {
            frontier.learn(id, on);
        }
    }

    /// Requests in flight together on one connection go out in the order they did.
    fn keep_order(&mut self, id: OpId, row: &Row, edges: &mut Edges) {
        let span = row.span();
        let this = Sent {
            op: id,
            leader: self.table.leader(id),
            over: span.response,
        };
        let last = slot(&mut self.last_sent, row.conn().index());
        let before = last.and_then(|last| last.replace(this));
        let Some(before) = before.filter(|it| it.leader != this.leader) else {
            return;
        };
        if before.over.is_none_or(|over| over > span.request) {
            edges.add(before.op, id, Rule::Wire, Milestone::Sent);
        }
    }
}

/// A request, and when its answer came.
#[derive(Clone, Copy, Debug)]
struct Sent {
    op: OpId,
    leader: OpId,
    over: Option<u64>,
}

/// A place in a list that is made longer where it has to be.
fn slot<T: Default>(list: &mut Vec<T>, at: usize) -> Option<&mut T> {
    if list.len() <= at {
        list.resize_with(at + 1, T::default);
    }
    list.get_mut(at)
}

/// What a client has learnt, without what that implies.
#[derive(Debug, Default)]
struct Frontier {
    known: Vec<(OpId, Milestone, u64)>,
    /// For each request in flight: how much had been learnt when it was sent.
    sent: BTreeMap<OpId, u64>,
    learnt: u64,
    forgotten: u64,
}

impl Frontier {
    fn send(&mut self, op: OpId) -> impl Iterator<Item = (OpId, Milestone)> + '_ {
        self.sent.insert(op, self.learnt);
        self.known.iter().map(|(known, on, _)| (*known, *on))
    }

    fn learn(&mut self, op: OpId, on: Milestone) {
        // An interim response implies as much, but an edge that asks for no more is not always to be
        // had: the point of what is pending comes later.
        if on == Milestone::Response
            && let Some(implied) = self.sent.remove(&op)
        {
            self.known
                .retain(|(known, _, at)| *at > implied && *known != op);
        }
        self.learnt += 1;
        if self.known.len() >= MOST {
            // What was sent since then waits for it.
            self.known.remove(0);
            self.forgotten += 1;
        }
        self.known.push((op, on, self.learnt));
    }
}

/// Answers that one request waits for by this rule. With as many requests in flight each of the next
/// waits for as many answers: that is a product which strangers could choose.
const MOST: usize = 128;
