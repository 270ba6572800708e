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
mod wire;

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::OpId,
    order::{Arc, OrderError, OrderGraph},
    workload::{Edge, Operation, Rule, Workload},
};

use crate::wire_span::WireSpan;

/// What order inference found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inferred {
    /// Edges by rule.
    pub edges: BTreeMap<String, u64>,
    /// Operations whose outcome no order of the overlapping ones explains.
    pub unexplained: u64,
    /// Inferred edges dropped because they contradicted what is known of breaks.
    pub contradictions: u64,
}

/// Fills in `after` of every operation. `spans` run parallel to `ops`.
pub fn infer(workload: &Workload, ops: &mut [Operation], spans: &[WireSpan]) -> Inferred {
    let facts: Vec<access::Facts> = access::read(workload, ops);
    let line = linearize::linearize(ops, spans, &facts);
    let mut edges = Edges {
        points: line.points,
        ..Edges::default()
    };
    wire::infer(ops, spans, &mut edges);
    handles::infer(ops, spans, &mut edges);
    let triggers = breaks::infer(ops, spans, &facts, &mut edges);
    keys::infer(ops, spans, &line.touches, &triggers, &mut edges);
    let points = std::mem::take(&mut edges.points);
    let mut counts = edges.write(ops);
    let contradictions = untangle(ops, &mut counts);
    reduce::reduce(ops, &points, &mut counts);
    Inferred {
        edges: counts,
        unexplained: line.unexplained,
        contradictions,
    }
}

/// Drops inferred edges, and edges from the mere sending of an operation, where they close a
/// circle. Those from sending are the only ones that the points do not keep in order.
fn untangle(ops: &mut [Operation], counts: &mut BTreeMap<String, u64>) -> u64 {
    let leader = |op: &Operation| op.compound.map_or(op.id, |compound| compound.first);
    let leaders: Vec<OpId> = ops.iter().map(leader).collect();
    let mut dropped = 0;
    loop {
        let mut arcs = Vec::new();
        for (op, to) in ops.iter().zip(&leaders) {
            let other = |edge: &&Edge| leaders.get(edge.id.index()) != Some(to);
            let arc = |edge: &Edge| Arc {
                from: edge.id,
                to: *to,
                on: edge.on,
            };
            arcs.extend(op.after.iter().filter(other).map(arc));
            // A member of a compound is sent with its leader.
            if *to != op.id {
                arcs.push(Arc {
                    from: *to,
                    to: op.id,
                    on: Milestone::Sent,
                });
            }
        }
        let Err(OrderError::Cycle { operations }) = OrderGraph::build(ops.len(), &arcs) else {
            return dropped;
        };
        let before = dropped;
        for id in &operations {
            let Some(op) = ops.get_mut(id.index()) else {
                continue;
            };
            op.after.retain(|edge| {
                let weak = edge.inferred || edge.on == Milestone::Sent;
                let keep = !(weak && operations.binary_search(&edge.id).is_ok());
                if !keep && let Some(count) = counts.get_mut(edge.rule.name()) {
                    *count -= 1;
                    dropped += 1;
                }
                keep
            });
        }
        if dropped == before {
            return dropped;
        }
    }
}

/// Edges as they are found, by the operation that waits.
#[derive(Debug, Default)]
struct Edges {
    points: Vec<u64>,
    found: Vec<(OpId, Edge)>,
}

impl Edges {
    fn point(&self, op: OpId) -> u64 {
        self.points.get(op.index()).copied().unwrap_or(u64::MAX)
    }

    /// Adds an edge, unless it goes backwards.
    fn add(&mut self, from: OpId, to: OpId, rule: Rule, on: Milestone) {
        if self.point(from) < self.point(to) {
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

    /// Writes the edges into the operations: of several between the same two the one that says
    /// most, each rule counted.
    fn write(mut self, ops: &mut [Operation]) -> BTreeMap<String, u64> {
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
        for (to, edge) in self.found {
            if let Some(op) = ops.get_mut(to.index()) {
                op.after.push(edge);
            }
            if let Some(count) = counts.get_mut(edge.rule.name()) {
                *count += 1;
            }
        }
        counts
    }
}
