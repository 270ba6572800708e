//! Infers what happened before what: the edges of the order graph.
//!
//! Every operation first gets a *point*, one moment between its request and its response at which
//! the server can have carried it out, such that all outcomes make sense in that order
//! ([`linearize`], after Wing and Gong). Edges then follow rule by rule, and each goes from an
//! earlier point to a later one, so the graph has no cycle by construction.
//!
//! | rule     | file      | edge                                                                |
//! |----------|-----------|---------------------------------------------------------------------|
//! | wire     | `wire`    | what a client knew before it sent this; requests in flight together |
//! |          |           | keep the order in which they were sent                              |
//! | handle   | `handles` | CREATE before use, use before CLOSE                                 |
//! | setup    | `handles` | NEGOTIATE, SESSION_SETUP, TREE_CONNECT before what needs them       |
//! |          |           | a login that replaces a session after what was done in it           |
//! | break    | `breaks`  | trigger, notification, acknowledgement                              |
//! | resource | `keys`    | conflicting use of an open file or its data, ordered on the wire    |
//! | name     | `keys`    | conflicting use of a name, ordered on the wire                      |
//! | outcome  | `keys`    | the same, overlapping on the wire: the points tell                  |
//!
//! In the end `reduce` drops what other edges imply.

mod access;
mod breaks;
mod handles;
mod keys;
mod linearize;
mod model;
mod reduce;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::BTreeMap, thread};

use smbench_core::{
    event::Milestone,
    ids::OpId,
    order::{Arc, OrderError, OrderGraph},
    workload::{Edge, Rule},
};

pub(crate) use table::Table;

/// What order inference found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Inferred {
    /// The edges.
    pub(crate) edges: EdgeList,
    /// Edges by rule.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Operations whose outcome no order of the overlapping ones explains.
    pub(crate) unexplained: u64,
    /// Inferred edges dropped because they contradicted what is known of breaks.
    pub(crate) contradictions: u64,
}

/// Infers the edges between the operations of `table`.
///
/// What does not depend on each other runs on two threads.
pub(crate) fn infer(table: &Table) -> Inferred {
    let (line, mut edges) = thread::scope(|scope| {
        let line = scope.spawn(|| linearize::linearize(table));
        let mut edges = Edges::default();
        wire::infer(table, &mut edges);
        handles::infer(table, &mut edges);
        (joined(line), edges)
    });
    edges.know(line.points(table));
    let triggers = breaks::infer(table, &mut edges);
    let mut keys = keys::Keys::new(table, &triggers);
    let unexplained = line.walk(table, |op, touches| keys.touched(op, touches, &mut edges));
    drop((keys, line));
    let points = std::mem::take(&mut edges.points).unwrap_or_default();
    let (mut edges, mut counts) = edges.settle();
    let (cycle, mut implied) = if table.len() <= AT_ONCE {
        thread::scope(|scope| {
            let cycle = scope.spawn(|| cycle(table, &edges));
            let implied = reduce::implied(table, &edges, &points);
            (joined(cycle), implied)
        })
    } else {
        let cycle = cycle(table, &edges);
        (cycle, reduce::implied(table, &edges, &points))
    };
    let mut contradictions = 0;
    if cycle.is_some() {
        contradictions = untangle(table, &mut edges, &mut counts, cycle);
        implied = reduce::implied(table, &edges, &points);
    }
    reduce::remove(&implied, &mut edges, &mut counts);
    Inferred {
        edges,
        counts,
        unexplained,
        contradictions,
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Edges by the operation that waits, then by the one waited for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct EdgeList(Vec<(OpId, Edge)>);

impl EdgeList {
    /// The edges of each operation; operations must be asked for in ascending order.
    pub(crate) fn cursor(&self) -> EdgeCursor<'_> {
        EdgeCursor { rest: &self.0 }
    }

    /// Drops the edges that `keep` refuses.
    fn retain(&mut self, mut keep: impl FnMut(OpId, &Edge) -> bool) {
        self.0.retain(|(to, edge)| keep(*to, edge));
    }
}

/// See [`EdgeList::cursor`].
#[derive(Debug)]
pub(crate) struct EdgeCursor<'a> {
    rest: &'a [(OpId, Edge)],
}

impl<'a> EdgeCursor<'a> {
    /// What `op` waits for.
    pub(crate) fn of(&mut self, op: OpId) -> impl Iterator<Item = &'a Edge> + use<'a> {
        let before = self.rest.iter().take_while(|(to, _)| *to < op).count();
        let rest = self.rest.get(before..).unwrap_or_default();
        let own = rest.iter().take_while(|(to, _)| *to == op).count();
        let (own, rest) = rest.split_at_checked(own).unwrap_or_default();
        self.rest = rest;
        own.iter().map(|(_, edge)| edge)
    }
}

/// Drops inferred edges, and edges from the mere sending of an operation, where they close a
/// circle. Those from sending are the only ones that the points do not keep in order.
fn untangle(
    table: &Table,
    edges: &mut EdgeList,
    counts: &mut BTreeMap<String, u64>,
    mut found: Option<Vec<OpId>>,
) -> u64 {
    let mut dropped = 0;
    while let Some(operations) = found {
        let before = dropped;
        edges.retain(|to, edge| {
            let on_circle = |op: &OpId| operations.binary_search(op).is_ok();
            let weak = edge.inferred || edge.on == Milestone::Sent;
            let keep = !(weak && on_circle(&to) && on_circle(&edge.id));
            if !keep && let Some(count) = counts.get_mut(edge.rule.name()) {
                *count -= 1;
                dropped += 1;
            }
            keep
        });
        if dropped == before {
            break;
        }
        found = cycle(table, edges);
    }
    dropped
}

/// Operations that wait for each other, if there are any.
fn cycle(table: &Table, edges: &EdgeList) -> Option<Vec<OpId>> {
    let arcs = arcs(table, edges);
    match OrderGraph::build(table.len(), &arcs) {
        Err(OrderError::Cycle { operations }) => Some(operations),
        _ => None,
    }
}

/// The edges as a plan has them: a compound is sent as one.
fn arcs(table: &Table, edges: &EdgeList) -> Vec<Arc> {
    let leader = |op: OpId| table.row(op).map_or(op, table::Row::leader);
    let mut cursor = edges.cursor();
    let mut arcs = Vec::with_capacity(edges.0.len());
    for (id, row) in table.rows() {
        let to = row.leader();
        let others = cursor.of(id).filter(|edge| leader(edge.id) != to);
        arcs.extend(others.map(|edge| Arc {
            from: edge.id,
            to,
            on: edge.on,
        }));
        // A member of a compound is sent with its leader.
        if to != id {
            arcs.push(Arc {
                from: to,
                to: id,
                on: Milestone::Sent,
            });
        }
    }
    arcs
}

/// Edges as they are found, by the operation that waits.
#[derive(Debug, Default)]
struct Edges {
    /// Once they are known.
    points: Option<Vec<u64>>,
    found: Vec<(OpId, Edge)>,
}

impl Edges {
    /// Drops the edges that go backwards, and accepts no more of them.
    fn know(&mut self, points: Vec<u64>) {
        self.found
            .retain(|(to, edge)| is_forward(&points, edge.id, *to));
        self.points = Some(points);
    }

    /// Adds an edge, unless it goes backwards.
    fn add(&mut self, from: OpId, to: OpId, rule: Rule, on: Milestone) {
        let points = self.points.as_deref();
        if points.is_none_or(|points| is_forward(points, from, to)) {
            let inferred = rule == Rule::Outcome;
            self.found.push((
                to,
                Edge {
                    id: from,
                    rule,
                    on,
                    inferred,
                },
            ));
        }
    }

    /// Adds an edge from the sending of an operation, whose point may lie behind what waits for it:
    /// a break comes while the operation that made the server break is in flight.
    fn add_sent(&mut self, from: OpId, to: OpId, rule: Rule) {
        let on = Milestone::Sent;
        self.found.push((
            to,
            Edge {
                id: from,
                rule,
                on,
                inferred: false,
            },
        ));
    }

    /// Sorts the edges: of several between the same two the one that says most, each rule counted.
    fn settle(mut self) -> (EdgeList, BTreeMap<String, u64>) {
        let mut counts: BTreeMap<String, u64> = Rule::ALL
            .iter()
            .map(|rule| (rule.name().to_owned(), 0))
            .collect();
        let rank = |edge: &Edge| {
            let milestone = match edge.on {
                Milestone::Response => 0,
                Milestone::Interim => 1,
                Milestone::Sent => 2,
            };
            let rule = match edge.rule {
                Rule::Handle => 0,
                Rule::Setup => 1,
                Rule::Break => 2,
                Rule::Name => 3,
                Rule::Resource => 4,
                Rule::Outcome => 5,
                Rule::Wire => 6,
            };
            (milestone, rule)
        };
        self.found
            .sort_unstable_by_key(|(to, edge)| (*to, edge.id, rank(edge)));
        self.found.dedup_by_key(|(to, edge)| (*to, edge.id));
        self.found.shrink_to_fit();
        for (_, edge) in &self.found {
            if let Some(count) = counts.get_mut(edge.rule.name()) {
                *count += 1;
            }
        }
        (EdgeList(self.found), counts)
    }
}

fn is_forward(points: &[u64], from: OpId, to: OpId) -> bool {
    let point = |op: OpId| points.get(op.index()).copied().unwrap_or(u64::MAX);
    point(from) < point(to)
}

/// Above this many operations, graphs are made one after the other: for memory, not speed.
const AT_ONCE: usize = 1 << 17;
