//! Transitive reduction: edges that others imply go.
//!
//! Which edges bind depends on how a workload is run (`--order`): set-up and handles always, what
//! one client knew with `client`, everything with `resource`. An edge therefore only goes where a
//! path of edges implies it that bind whenever it does. Three classes, each a part of the next,
//! say so: [`super::edges::class`].
//!
//! A compound is sent as one: whatever a member waits for, all wait for. Of a path
//! `A -> B -> C` the last edge may ask for any milestone of B, since B was sent after A came as
//! far as the first edge asks.
//!
//! Breaks keep all their edges: acknowledgements are recognised by them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use smbench_core::{event::Milestone, ids::OpId, workload::Rule};

use super::{
    edges::{EdgeList, EdgeView, Link, Piece, rank},
    table::{Table, TableView},
};
use crate::paged::{List, ListView};

/// Finds the edges that others imply, and tells of them in pieces of some [`PIECE`] operations.
/// Returns how many edges of each rule stay.
///
/// Of the pieces, which are in the order of the operations, every [`WORKERS`]th is found, from
/// `worker` on: pieces do not need each other.
///
/// `points` are those of [`super::linearize`]; searches go back from each operation no further
/// than to what it waits for, and no more than [`REACH`] compounds, so that the work is linear:
/// beyond that an implied edge may stay.
pub(super) fn implied(
    table: &Table,
    edges: &EdgeList,
    points: &List<u64>,
    worker: usize,
    mut tell: impl FnMut(Piece),
) -> Counts {
    let graph = Graph {
        table: table.view(),
        edges: edges.view(),
        points: points.view(),
    };
    let operations = graph.table.len();
    let mut search = Search::new();
    let mut counts = Counts::default();
    for start in (0..operations).step_by(PIECE).skip(worker).step_by(WORKERS) {
        let all = graph.whole(start)..graph.whole((start + PIECE).min(operations));
        let mut gone = Vec::new();
        let mut group = all.start;
        while group < all.end {
            search.implied(&graph, group, &mut gone);
            group = graph.behind(group);
        }
        gone.sort_unstable();
        counts.add(&graph.edges, all.clone(), &gone);
        tell(Piece {
            behind: OpId(u32::try_from(all.end).unwrap_or(u32::MAX)),
            gone,
        });
    }
    counts
}

/// Edges that stay, by rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts([u64; Rule::ALL.len()]);

impl Counts {
    /// Counts what stays of some operations' edges.
    fn add(&mut self, edges: &EdgeView<'_>, operations: Range<usize>, gone: &[u32]) {
        let mut gone = gone.iter().peekable();
        for op in operations {
            edges.each(op, |at, link, _| {
                if gone.next_if(|gone| **gone == at).is_some() {
                    return;
                }
                let rule = Rule::ALL.iter().position(|rule| *rule == link.rule);
                if let Some(count) = rule.and_then(|rule| self.0.get_mut(rule)) {
                    *count += 1;
                }
            });
        }
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
        self
    }

    pub(crate) fn named(&self) -> BTreeMap<String, u64> {
        let rules = Rule::ALL.iter().zip(self.0);
        rules
            .map(|(rule, count)| (rule.name().to_owned(), count))
            .collect()
    }
}

/// Whether an edge stays whatever implies it.
fn stays(link: &Link) -> bool {
    link.rule == Rule::Break
}

/// An edge into a compound, and its place in the list.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    link: Link,
    at: u32,
    /// That of what it comes from.
    point: u64,
}

/// Edges by the compound that they lead to; an operation alone is a compound of one.
struct Graph<'a> {
    table: TableView<'a>,
    edges: EdgeView<'a>,
    /// The point of each operation.
    points: ListView<'a, u64>,
}

impl Graph<'_> {
    /// The first operation behind a compound, whose members follow each other.
    fn behind(&self, group: usize) -> usize {
        let mut behind = group + 1;
        while self.table.follows(behind) {
            behind += 1;
        }
        behind
    }

    /// The first operation from `op` on that is no later member of a compound.
    fn whole(&self, mut op: usize) -> usize {
        while self.table.follows(op) {
            op += 1;
        }
        op
    }

    /// Tells of each edge into a compound, from others.
    fn each_into(&self, group: u32, mut tell: impl FnMut(Incoming)) {
        let first = group as usize;
        for op in first..self.behind(first) {
            self.edges.each(op, |at, link, point| {
                if self.group_of(link.from) != group {
                    let link = *link;
                    tell(Incoming { link, at, point });
                }
            });
        }
    }

    fn group_of(&self, op: OpId) -> u32 {
        self.table.leader(op).0
    }

    fn point(&self, op: OpId) -> u64 {
        self.points.get(op.index()).unwrap_or(0)
    }

    /// Whether having waited for `known` implies `edge`.
    fn covers(&self, known: &Link, edge: &Link) -> bool {
        let same = known.from == edge.from && rank(known.on) >= rank(edge.on);
        let sent = edge.on == Milestone::Sent;
        same || (sent && self.group_of(known.from) == self.group_of(edge.from))
    }

    /// Whether of two edges into one compound `other` is enough. Of equals the first stays.
    fn outdoes(&self, other: &Incoming, edge: &Incoming) -> bool {
        let key = |it: &Incoming| (!stays(&it.link), it.link.class, it.at);
        let equal = other.link.class == edge.link.class && self.covers(&edge.link, &other.link);
        other.link.class <= edge.link.class
            && key(other) != key(edge)
            && self.covers(&other.link, &edge.link)
            && (!equal || key(other) < key(edge))
    }
}

/// Room for one search after the other.
struct Search {
    seen: Seen,
    next: VecDeque<u32>,
    into: Vec<Incoming>,
    open: Open,
}

impl Search {
    fn new() -> Self {
        Self {
            seen: Seen::new(),
            next: VecDeque::new(),
            into: Vec::new(),
            open: Open::default(),
        }
    }

    /// Finds the edges into `group` that others imply.
    fn implied(&mut self, graph: &Graph<'_>, group: usize, gone: &mut Vec<u32>) {
        let (group, into) = (u32::try_from(group).unwrap_or(u32::MAX), &mut self.into);
        into.clear();
        graph.each_into(group, |edge| into.push(edge));
        if self.into.len() < 2 {
            return;
        }
        for class in 0..=2 {
            let of_class = |edge: &Incoming| edge.link.class == class && !stays(&edge.link);
            if self.into.iter().any(of_class) {
                self.open.fill(graph, &self.into, class, gone);
                self.walk(graph, class, gone);
            }
        }
    }

    fn walk(&mut self, graph: &Graph<'_>, class: u8, gone: &mut Vec<u32>) {
        self.seen.clear();
        self.next.clear();
        let starts = self.into.iter().filter(|edge| edge.link.class <= class);
        self.next
            .extend(starts.map(|edge| graph.group_of(edge.link.from)));
        let mut seen = 0;
        while let (Some(at), Some(least)) = (self.next.pop_front(), self.open.oldest()) {
            if !self.seen.enter(at) || self.open.is_beyond(graph, at, least) {
                continue;
            }
            seen += 1;
            if seen > REACH {
                return;
            }
            let (open, next) = (&mut self.open, &mut self.next);
            graph.each_into(at, |known| {
                if known.link.class > class {
                    return;
                }
                let from = graph.group_of(known.link.from);
                open.cover(graph, from, &known.link, gone);
                if known.point > least {
                    next.push_back(from);
                }
            });
        }
    }
}

/// The compounds that a search has come by, which are no more than [`REACH`].
struct Seen {
    /// Each with the search that came by it; it is at its number, or behind others there.
    slots: Vec<(u32, u32)>,
    search: u32,
}

impl Seen {
    fn new() -> Self {
        Self {
            slots: vec![(0, 0); SEEN],
            search: 0,
        }
    }

    /// Begins a search that has been nowhere.
    fn clear(&mut self) {
        if self.search == u32::MAX {
            *self = Self::new();
        }
        self.search += 1;
    }

    /// Whether the search comes by for the first time.
    fn enter(&mut self, group: u32) -> bool {
        let mut at = group as usize;
        loop {
            let Some(slot) = self.slots.get_mut(at % SEEN) else {
                return false;
            };
            if slot.1 != self.search {
                *slot = (group, self.search);
                return true;
            }
            if slot.0 == group {
                return false;
            }
            at += 1;
        }
    }
}

/// Edges into one compound that nothing implies so far.
#[derive(Default)]
struct Open {
    /// By the compound that they come from.
    edges: Vec<(u32, Incoming)>,
    /// Has a bit for each compound of `edges`, and for others: most that are none of them are told
    /// by it.
    sketch: u64,
    /// All of them come from operations that are in no compound.
    alone: bool,
    left: Vec<bool>,
    /// Places in `edges`, the latest point first.
    by_point: Vec<(u64, u32)>,
    /// All edges into the compound, by the one that they come from.
    all: Vec<(u32, Incoming)>,
}

impl Open {
    /// Takes the edges of a class, but for those that another edge outdoes.
    fn fill(&mut self, graph: &Graph<'_>, into: &[Incoming], class: u8, gone: &mut Vec<u32>) {
        self.all.clear();
        self.all
            .extend(into.iter().map(|it| (graph.group_of(it.link.from), *it)));
        self.all.sort_by_key(|(group, _)| *group);
        self.edges.clear();
        self.sketch = 0;
        for (group, edge) in &self.all {
            if edge.link.class != class || stays(&edge.link) {
                continue;
            }
            let mut mates = range(&self.all, *group);
            if mates.any(|at| {
                let mate = self.all.get(at);
                mate.is_some_and(|(_, other)| graph.outdoes(other, edge))
            }) {
                gone.push(edge.at);
            } else {
                self.edges.push((*group, *edge));
                self.sketch |= sketch(*group);
            }
        }
        let in_compound = |at: usize| graph.table.follows(at) || graph.table.follows(at + 1);
        let mut from = self.edges.iter().map(|(group, _)| *group as usize);
        self.alone = !from.any(in_compound);
        self.left.clear();
        self.left.resize(self.edges.len(), true);
        self.by_point.clear();
        let points = self.edges.iter().map(|(_, edge)| edge.point);
        self.by_point.extend(points.zip(0..));
        self.by_point
            .sort_unstable_by_key(|it| std::cmp::Reverse(*it));
    }

    /// Whether nothing that a compound waits for can imply any of these edges, as all of it lies
    /// before them. What a notification waits for may lie behind it.
    fn is_beyond(&self, graph: &Graph<'_>, group: u32, oldest: u64) -> bool {
        let op = OpId(group);
        let alone = || !graph.table.follows(group as usize + 1);
        let notifies = || graph.table.is_notification(op);
        self.alone && graph.point(op) <= oldest && alone() && !notifies()
    }

    /// The earliest point of what the edges come from.
    fn oldest(&mut self) -> Option<u64> {
        while let Some((point, at)) = self.by_point.last() {
            if self.left.get(*at as usize) == Some(&true) {
                return Some(*point);
            }
            self.by_point.pop();
        }
        None
    }

    /// Takes out the edges that `known` implies, which comes from the compound `from`.
    fn cover(&mut self, graph: &Graph<'_>, from: u32, known: &Link, gone: &mut Vec<u32>) {
        if self.sketch & sketch(from) == 0 {
            return;
        }
        for at in range(&self.edges, from) {
            if let (Some((_, edge)), Some(left)) = (self.edges.get(at), self.left.get_mut(at))
                && *left
                && graph.covers(known, &edge.link)
            {
                gone.push(edge.at);
                *left = false;
            }
        }
    }
}

/// The bit of a compound in a sketch of some.
fn sketch(group: u32) -> u64 {
    1 << (group % 64)
}

/// Where the edges from a compound are.
fn range(edges: &[(u32, Incoming)], group: u32) -> Range<usize> {
    let start = match edges.len() {
        // Looking at each is faster than searching.
        0..=FEW => edges.iter().take_while(|(from, _)| *from < group).count(),
        _ => edges.partition_point(|(from, _)| *from < group),
    };
    let behind = edges.get(start..).unwrap_or_default();
    start..start + behind.iter().take_while(|(from, _)| *from == group).count()
}

/// Edges that are looked at one by one.
const FEW: usize = 8;
/// Compounds looked at for one operation.
const REACH: usize = 256;
/// Room for so many, with few collisions.
const SEEN: usize = 4 * REACH;
/// Operations that are told of at once.
const PIECE: usize = 512;
/// Threads that may search, or settle edges, at once.
pub(crate) const WORKERS: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use smbench_core::{
        ids::ClientId,
        workload::{Action, Edge, Operation, Workload},
    };

    use super::*;
    use crate::{
        order::{
            edges::{Edges, class},
            tests::dice,
        },
        wire_span::WireSpan,
    };

    /// The same with the edges in a list; connections and clients have the same numbers.
    fn reduced(ops: &[Operation], counts: &mut BTreeMap<String, u64>) -> Vec<Operation> {
        let mut table = Table::default();
        let mut points = List::default();
        let mut found = Edges::default();
        for (op, point) in ops.iter().zip(0_u64..) {
            table.push(&Workload::default(), op, WireSpan::default());
            points.push(point);
            for it in &op.after {
                found.add(it.id, op.id, it.rule, it.on);
            }
        }
        table.settle_clients((0..3).map(ClientId).collect());
        let edges = EdgeList::settle(&table, [found, Edges::default()], &points);
        let mut pieces = Vec::new();
        let mut found = Counts::default();
        for worker in 0..WORKERS {
            let tell = |piece| pieces.push(piece);
            found = found.and(implied(&table, &edges, &points, worker, tell));
        }
        pieces.sort_by_key(|piece| piece.behind);
        *counts = found.named();
        let mut cursor = edges.view().cursor(pieces.into_iter());
        let mut ops = ops.to_vec();
        for op in &mut ops {
            op.after = cursor.of(op.id).to_vec();
        }
        ops
    }

    /// A graph of `count` operations by a seed: clients, compounds, rules and milestones mixed.
    fn random(seed: u64, count: u32) -> Vec<Operation> {
        let mut below = dice(seed);
        let mut first = 0;
        let mut ops: Vec<Operation> = Vec::new();
        for id in 0..count {
            let related = id > 0 && below(6) == 0;
            if !related {
                first = id;
            }
            let client = match ops.get(first as usize) {
                Some(leader) if related => leader.client.0,
                _ => below(3),
            };
            let compound =
                serde_json::json!({"first": first, "position": id - first, "related": related});
            let line = serde_json::json!({
                "id": id, "at_us": 0, "client": client, "conn": client, "cmd": "ECHO", "mid": id,
                "frame": id, "do": {"disconnect": {"by_client": true, "reset": false}},
                "compound": compound,
            });
            let mut op: Operation = serde_json::from_value(line).expect("an operation");
            if below(8) > 0 {
                op.action = Action::Smb1Negotiate(Vec::new());
            }
            let mut from = BTreeSet::new();
            for _ in 0..below(5).min(first) {
                from.insert(below(first));
            }
            let rules = Rule::ALL.len();
            for from in from {
                let rule = Rule::ALL[below(u32::try_from(rules).expect("few")) as usize];
                let on = [Milestone::Sent, Milestone::Interim, Milestone::Response];
                op.after.push(Edge {
                    id: OpId(from),
                    rule,
                    on: on[below(3) as usize],
                    inferred: false,
                });
            }
            ops.push(op);
        }
        ops
    }

    /// Everything that each compound comes after with the edges of up to `limit`, but for those
    /// that `without` names: operation and milestone.
    fn closure(
        ops: &[Operation],
        limit: u8,
        without: Option<(OpId, OpId, Milestone)>,
    ) -> Vec<BTreeSet<(u32, u8)>> {
        let leader = |op: &Operation| op.compound.map_or(op.id, |it| it.first);
        let mut known: Vec<BTreeSet<(u32, u8)>> = vec![BTreeSet::new(); ops.len()];
        for op in ops {
            let to = leader(op);
            let disconnect = matches!(op.action, Action::Disconnect(_));
            for edge in &op.after {
                let from = &ops[edge.id.index()];
                let left_out = without == Some((op.id, edge.id, edge.on));
                let class = class(edge.rule, from.client == op.client, disconnect);
                if left_out || class > limit || leader(from) == to {
                    continue;
                }
                let group = leader(from);
                let members = ops.iter().filter(|op| leader(op) == group);
                let mut learnt: BTreeSet<(u32, u8)> = known[group.index()].clone();
                learnt.extend(members.map(|member| (member.id.0, 0)));
                learnt.extend((0..=rank(edge.on)).map(|on| (edge.id.0, on)));
                known[to.index()].extend(learnt);
            }
        }
        known
    }

    #[test]
    fn keeps_every_order_and_no_edge_too_many() {
        let mut dropped = 0;
        for seed in 1..=25 {
            let whole = random(seed, 40);
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for edge in whole.iter().flat_map(|op| &op.after) {
                *counts.entry(edge.rule.name().to_owned()).or_default() += 1;
            }
            let all = counts.values().sum::<u64>();
            let ops = reduced(&whole, &mut counts);
            let left = ops.iter().map(|op| op.after.len() as u64).sum::<u64>();
            dropped += all - left;
            assert_eq!(counts.values().sum::<u64>(), left, "seed {seed}");
            for limit in 0..=2 {
                let before = closure(&whole, limit, None);
                assert_eq!(before, closure(&ops, limit, None), "seed {seed}, {limit}");
            }
            for op in &ops {
                for edge in op.after.iter().filter(|edge| edge.rule != Rule::Break) {
                    let same_client = ops[edge.id.index()].client == op.client;
                    let disconnect = matches!(op.action, Action::Disconnect(_));
                    let limit = class(edge.rule, same_client, disconnect);
                    let group = |op: &Operation| op.compound.map_or(op.id, |it| it.first);
                    if group(&ops[edge.id.index()]) == group(op) {
                        continue;
                    }
                    let without = Some((op.id, edge.id, edge.on));
                    let rest = closure(&ops, limit, without);
                    let same = closure(&ops, limit, None) == rest;
                    assert!(!same, "seed {seed}: {} -> {} is implied", edge.id, op.id);
                }
            }
        }
        assert!(
            dropped > 200,
            "only {dropped} edges were implied: the test sees nothing"
        );
    }
}
