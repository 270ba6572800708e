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

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    ops::{ControlFlow, Range},
};

use smbench_core::{event::Milestone, ids::OpId, workload::Rule};

use super::{
    edges::{EdgeList, EdgeView, Link, Piece, rank},
    table::{Table, TableView},
};
use crate::{
    map::Set,
    paged::{List, ListView},
};

/// Finds the edges that others imply, and tells of them in pieces of some [`PIECE`] operations.
/// Returns how many edges of each rule stay.
///
/// Of the pieces, which are in the order of the operations, every [`WORKERS`]th is found, from
/// `worker` on: pieces do not need each other.
///
/// `points` are those of [`super::linearize`]; searches go back from each operation no further
/// than to what it waits for, and look at no more than [`REACH`] compounds and [`LOOKS`] edges, so
/// that the work is linear: beyond that an implied edge may stay.
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
    /// The compound that it comes from.
    group: u32,
    link: Link,
    at: u32,
    /// That of what it comes from.
    point: u64,
}

impl Incoming {
    /// By what it comes from; of several from one operation those that bind more often come first,
    /// then those that say more, then those that stay. So an edge that outdoes another one from the
    /// same operation comes before it.
    fn order(&self) -> (u32, OpId, u8, Reverse<u8>, bool, u32) {
        let Link {
            from, on, class, ..
        } = self.link;
        (
            self.group,
            from,
            class,
            Reverse(rank(on)),
            !stays(&self.link),
            self.at,
        )
    }

    /// The first by this of those from one compound outdoes all others that ask for no more than
    /// that it was sent.
    fn as_sent(&self) -> (u8, bool, bool, u32) {
        let only_sent = self.link.on == Milestone::Sent;
        (self.link.class, only_sent, !stays(&self.link), self.at)
    }
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

    /// Tells of each edge into a compound, from others, until `tell` has enough; it hears of each
    /// member too.
    fn each_into(
        &self,
        group: u32,
        mut tell: impl FnMut(Option<Incoming>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut op = group as usize;
        loop {
            tell(None)?;
            self.edges.each_until(op, |at, link, point| {
                let (link, from) = (*link, self.group_of(link.from));
                if from == group {
                    return ControlFlow::Continue(());
                }
                let group = from;
                tell(Some(Incoming {
                    group,
                    link,
                    at,
                    point,
                }))
            })?;
            op += 1;
            if !self.table.follows(op) {
                return ControlFlow::Continue(());
            }
        }
    }

    fn group_of(&self, op: OpId) -> u32 {
        self.table.leader(op).0
    }

    fn point(&self, op: OpId) -> u64 {
        self.points.get(op.index()).unwrap_or(0)
    }

    /// Whether having waited for `known` implies `edge`, which comes from the same compound.
    fn covers(known: &Link, edge: &Link) -> bool {
        edge.on == Milestone::Sent || known.from == edge.from && rank(known.on) >= rank(edge.on)
    }
}

/// Room for one search after the other.
struct Search {
    /// The compounds that it has looked at, no more than [`REACH`] and one.
    seen: Set<u32>,
    next: VecDeque<u32>,
    /// The edges into the compound, by what they come from; see [`Incoming::order`].
    into: Vec<Incoming>,
    open: Open,
}

impl Search {
    fn new() -> Self {
        Self {
            seen: Set::default(),
            next: VecDeque::new(),
            into: Vec::new(),
            open: Open::default(),
        }
    }

    /// Finds the edges into `group` that others imply.
    fn implied(&mut self, graph: &Graph<'_>, group: usize, gone: &mut Vec<u32>) {
        let (group, into) = (u32::try_from(group).unwrap_or(u32::MAX), &mut self.into);
        into.clear();
        let _ = graph.each_into(group, |edge| {
            into.extend(edge);
            ControlFlow::Continue(())
        });
        if self.into.len() < 2 {
            return;
        }
        self.into.sort_unstable_by_key(Incoming::order);
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
        self.next.extend(starts.map(|edge| edge.group));
        let mut looks = 0;
        while let (Some(at), Some(least)) = (self.next.pop_front(), self.open.oldest()) {
            // What lies beyond is not looked at, so it is not counted: there may be any number of it.
            if self.open.is_beyond(graph, at, least) || !self.seen.insert(at) {
                continue;
            }
            if self.seen.len() > REACH {
                return;
            }
            let (open, next) = (&mut self.open, &mut self.next);
            let looked = graph.each_into(at, |known| {
                looks += 1;
                if let Some(known) = known.filter(|known| known.link.class <= class) {
                    looks += open.cover(&known, gone);
                    if known.point > least {
                        next.push_back(known.group);
                    }
                }
                if looks > LOOKS {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            if looked.is_break() {
                return;
            }
        }
    }
}

/// Edges into one compound that nothing implies so far.
#[derive(Default)]
struct Open {
    /// By the compound that they come from.
    edges: Vec<Incoming>,
    /// Has a bit for each compound of `edges`, and for others: most that are none of them are told
    /// by it.
    sketch: u64,
    /// All of them come from operations that are in no compound.
    alone: bool,
    left: Vec<bool>,
    /// Places in `edges`, the latest point first.
    by_point: Vec<(u64, u32)>,
}

impl Open {
    /// Takes the edges of a class, but for those that another edge outdoes: one that binds whenever
    /// they do, and [covers](Graph::covers) them. Of equals the first stays.
    fn fill(&mut self, graph: &Graph<'_>, into: &[Incoming], class: u8, gone: &mut Vec<u32>) {
        self.edges.clear();
        self.sketch = 0;
        for mates in into.chunk_by(|one, other| one.group == other.group) {
            let strongest = mates.iter().min_by_key(|edge| edge.as_sent());
            let strongest = strongest.map(|edge| edge.at);
            let (mut from, mut highest) = (None, None);
            for edge in mates {
                if from.replace(edge.link.from) != Some(edge.link.from) {
                    highest = None;
                }
                let rank = Some(rank(edge.link.on));
                let outdone = match edge.link.on {
                    Milestone::Sent => strongest != Some(edge.at),
                    _ => highest >= rank,
                };
                highest = highest.max(rank);
                if edge.link.class != class || stays(&edge.link) {
                    continue;
                }
                if outdone {
                    gone.push(edge.at);
                } else {
                    self.edges.push(*edge);
                    self.sketch |= sketch(edge.group);
                }
            }
        }
        let in_compound = |at: usize| graph.table.follows(at) || graph.table.follows(at + 1);
        let mut from = self.edges.iter().map(|edge| edge.group as usize);
        self.alone = !from.any(in_compound);
        self.left.clear();
        self.left.resize(self.edges.len(), true);
        self.by_point.clear();
        let points = self.edges.iter().map(|edge| edge.point);
        self.by_point.extend(points.zip(0..));
        self.by_point.sort_unstable_by_key(|it| Reverse(*it));
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

    /// Takes out the edges that `known` implies; how many were looked at.
    fn cover(&mut self, known: &Incoming, gone: &mut Vec<u32>) -> usize {
        if self.sketch & sketch(known.group) == 0 {
            return 0;
        }
        let range = range(&self.edges, known.group);
        for at in range.clone() {
            if let (Some(edge), Some(left)) = (self.edges.get(at), self.left.get_mut(at))
                && *left
                && Graph::covers(&known.link, &edge.link)
            {
                gone.push(edge.at);
                *left = false;
            }
        }
        range.len()
    }
}

/// The bit of a compound in a sketch of some.
fn sketch(group: u32) -> u64 {
    1 << (group % 64)
}

/// Where the edges from a compound are.
fn range(edges: &[Incoming], group: u32) -> Range<usize> {
    let start = match edges.len() {
        // Looking at each is faster than searching.
        0..=FEW => edges.iter().take_while(|edge| edge.group < group).count(),
        _ => edges.partition_point(|edge| edge.group < group),
    };
    let behind = edges.get(start..).unwrap_or_default();
    start..start + behind.iter().take_while(|edge| edge.group == group).count()
}

/// Edges that are looked at one by one.
const FEW: usize = 8;
/// Compounds looked at for one operation.
const REACH: usize = 256;
/// Edges and members of them that are looked at, and comparisons: as many edges as rule *wire* gives
/// so many operations at most.
const LOOKS: usize = 128 * REACH;
/// Operations that are told of at once.
const PIECE: usize = 512;
/// Threads that may search, or settle edges, at once.
pub(crate) const WORKERS: usize = 2;
