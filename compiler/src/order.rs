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

mod access;
mod breaks;
mod handles;
mod keys;
mod linearize;
mod model;
mod wire;

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::OpId,
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
    Inferred {
        edges: edges.write(ops),
        unexplained: line.unexplained,
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
