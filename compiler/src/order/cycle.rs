//! Operations that wait for each other, and how that is mended.
//!
//! All edges but those from the mere sending of an operation lead from an earlier point to a later
//! one. A circle has to come back, so it lies where such an edge spans: only operations between
//! the two ends of edges that go back are looked at, by Kahn's method.

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::OpId,
    order::{Arc, OrderError, OrderGraph},
    workload::Rule,
};

use super::{
    edges::{EdgeList, EdgeView},
    table::TableView,
};
use crate::paged::ListView;

/// A place in the order of the points.
type Place = (u64, OpId);

/// Drops inferred edges, and edges from the mere sending of an operation, where they close a
/// circle. Those from sending are the only ones that the points do not keep in order. Returns how
/// many it were.
pub(super) fn untangle(
    table: &TableView<'_>,
    edges: &mut EdgeList,
    points: &ListView<'_, u64>,
) -> u64 {
    let mut dropped = 0;
    if !edges.may_circle() {
        return dropped;
    }
    while let Some(operations) = find(table, &edges.view(), points) {
        let before = dropped;
        edges.retain(&operations, |link| {
            let on_circle = operations.binary_search(&link.from).is_ok();
            let weak = link.rule == Rule::Outcome || link.on == Milestone::Sent;
            let keep = !(weak && on_circle);
            dropped += u64::from(!keep);
            keep
        });
        if dropped == before {
            break;
        }
    }
    dropped
}

/// Operations that wait for each other, ascending, if there are any.
fn find(
    table: &TableView<'_>,
    edges: &EdgeView<'_>,
    points: &ListView<'_, u64>,
) -> Option<Vec<OpId>> {
    let place = |op: OpId| -> Place { (points.get(op.index()).unwrap_or(0), op) };
    let mut back: Vec<(Place, Place)> = Vec::new();
    each_arc(table, edges, |arc, may_go_back| {
        if may_go_back {
            let (from, to) = (place(arc.from), place(arc.to));
            if from > to {
                back.push((to, from));
            }
        }
    });
    if back.is_empty() {
        return None;
    }
    let spans = merged(back);
    let inside = |op: OpId| {
        let place = place(op);
        let later = spans.partition_point(|(from, _)| *from <= place);
        let span = later.checked_sub(1).and_then(|at| spans.get(at));
        span.is_some_and(|(_, to)| *to >= place)
    };
    let nodes: Vec<OpId> = table.ids().filter(|op| inside(*op)).collect();
    let numbers: BTreeMap<OpId, u32> = nodes.iter().copied().zip(0..).collect();
    let number = |op: OpId| numbers.get(&op).copied().map(OpId);
    let mut arcs = Vec::new();
    each_arc(table, edges, |arc, _| {
        if let (Some(from), Some(to)) = (number(arc.from), number(arc.to)) {
            arcs.push(Arc { from, to, ..arc });
        }
    });
    match OrderGraph::build(nodes.len(), &arcs) {
        Err(OrderError::Cycle { operations }) => {
            let real = |op: &OpId| nodes.get(op.index()).copied();
            Some(operations.iter().filter_map(real).collect())
        }
        _ => None,
    }
}

/// Spans that do not meet, ascending.
fn merged(mut spans: Vec<(Place, Place)>) -> Vec<(Place, Place)> {
    spans.sort_unstable();
    let mut merged: Vec<(Place, Place)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// The edges as a plan has them, where a compound is sent as one; and of each whether it may go back.
fn each_arc(table: &TableView<'_>, edges: &EdgeView<'_>, mut tell: impl FnMut(Arc, bool)) {
    for id in table.ids() {
        let to = table.leader(id);
        edges.each(id.index(), |_, link, _| {
            if table.leader(link.from) != to {
                let arc = Arc {
                    from: link.from,
                    to,
                    on: link.on,
                };
                tell(arc, to != id || link.may_go_back());
            }
        });
        // A member of a compound is sent with its leader.
        if to != id {
            let arc = Arc {
                from: to,
                to: id,
                on: Milestone::Sent,
            };
            tell(arc, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::{
        ids::ClientId,
        workload::{Operation, Workload},
    };

    use super::*;
    use crate::{
        order::{
            edges::{Edges, Link},
            table::Table,
            tests::dice,
        },
        paged::List,
        wire_span::WireSpan,
    };

    /// Operations in compounds of up to four, points, and edges by a seed: forward ones of any
    /// kind, and some from sending that go back.
    fn random(seed: u64, operations: u32) -> (Table, List<u64>, EdgeList) {
        let mut below = dice(seed);
        let mut table = Table::default();
        let mut points = List::default();
        let mut first = 0;
        for id in 0..operations {
            if id - first >= 4 || below(3) > 0 {
                first = id;
            }
            let line = serde_json::json!({
                "id": id, "at_us": 0, "client": 0, "conn": 0, "cmd": "ECHO", "mid": id, "frame": id,
                "do": {"smb1_negotiate": ""},
                "compound": {"first": first, "position": id - first, "related": false},
            });
            let op: Operation = serde_json::from_value(line).expect("an operation");
            table.push(&Workload::default(), &op, WireSpan::default());
            points.push(u64::from(id) * 4 + u64::from(below(12)));
        }
        table.settle_clients(vec![ClientId(0)]);
        let mut found = Edges::default();
        let mut point = |op: u32| points.get(op as usize);
        for to in 0..operations {
            for _ in 0..below(4) {
                let from = below(operations).abs_diff(below(4) * 3).min(operations - 1);
                let forward = point(from) < point(to);
                let on = match below(3) {
                    _ if !forward => Milestone::Sent,
                    0 => Milestone::Interim,
                    _ => Milestone::Response,
                };
                if (forward || below(12) == 0) && from != to {
                    // Of those that go back, only edges from what made a server break are kept.
                    let rule = if forward { Rule::Wire } else { Rule::Break };
                    found.push(OpId(to), Link::new(OpId(from), rule, on));
                }
            }
        }
        let edges = EdgeList::settle(&table, [found, Edges::default()], &points);
        (table, points, edges)
    }

    #[test]
    fn circles_are_found_where_the_whole_graph_has_them() {
        let mut circles = 0;
        for seed in 1..=400 {
            let (table, points, mut edges) = random(seed, 24);
            let (table, points) = (table.view(), points.view());
            let mut arcs = Vec::new();
            each_arc(&table, &edges.view(), |arc, _| arcs.push(arc));
            let whole = OrderGraph::build(table.len(), &arcs);
            let found = find(&table, &edges.view(), &points);
            assert_eq!(found.is_some(), whole.is_err(), "seed {seed}: {whole:?}");
            assert!(edges.may_circle() || found.is_none(), "seed {seed}");
            circles += u32::from(found.is_some());
            untangle(&table, &mut edges, &points);
            // What is left has no edge that could go.
            let left = find(&table, &edges.view(), &points).unwrap_or_default();
            let weak = |op: &OpId| {
                let mut weak = false;
                edges.view().each(op.index(), |_, link, _| {
                    weak |= link.on == Milestone::Sent && left.contains(&link.from);
                });
                weak
            };
            assert!(!left.iter().any(weak), "seed {seed}: {left:?}");
        }
        assert!((40..360).contains(&circles), "{circles} circles in 400");
    }
}
