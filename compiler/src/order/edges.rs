//! Edges while they are found, and all of them once they are settled.
//!
//! What is found is a list in no order. Settled edges lie by the operation that waits, eight bytes
//! each, with one place an operation that says where its own begin.

use std::ops::Range;

use smbench_core::{
    event::Milestone,
    ids::OpId,
    workload::{Edge, Rule},
};

use super::table::{Kind, Table};

/// An edge, without the operation that waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) from: OpId,
    pub(super) rule: Rule,
    pub(super) on: Milestone,
    /// In which orders it binds; see [`class`].
    pub(super) class: u8,
}

impl Link {
    pub(super) fn new(from: OpId, rule: Rule, on: Milestone) -> Self {
        let class = UNKNOWN;
        Self {
            from,
            rule,
            on,
            class,
        }
    }

    fn edge(self) -> Edge {
        Edge {
            id: self.from,
            rule: self.rule,
            on: self.on,
            inferred: self.rule == Rule::Outcome,
        }
    }

    /// Of several edges between the same two, the one that says most comes first.
    fn rank(self) -> (u8, u8) {
        let milestone = match self.on {
            Milestone::Response => 0,
            Milestone::Interim => 1,
            Milestone::Sent => 2,
        };
        (milestone, weakness(self.rule))
    }
}

/// How little an edge by a rule says, next to one by another.
pub(crate) const fn weakness(rule: Rule) -> u8 {
    match rule {
        Rule::Handle => 0,
        Rule::Setup => 1,
        Rule::Break => 2,
        Rule::Name => 3,
        Rule::Resource => 4,
        Rule::Outcome => 5,
        Rule::Wire => 6,
    }
}

/// Edges as they are found, each with the operation that waits.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Once they are known.
    points: Option<Vec<u64>>,
    found: Vec<(OpId, Link)>,
}

impl Edges {
    /// Takes edges only that go forward.
    pub(super) fn forward(points: Vec<u64>) -> Self {
        Self {
            points: Some(points),
            found: Vec::new(),
        }
    }

    /// Drops the edges that go backwards.
    pub(super) fn keep_forward(&mut self, points: &[u64]) {
        self.found
            .retain(|(to, link)| is_forward(points, link.from, *to));
    }

    /// Adds an edge, unless it goes backwards.
    pub(super) fn add(&mut self, from: OpId, to: OpId, rule: Rule, on: Milestone) {
        let points = self.points.as_deref();
        if points.is_none_or(|points| is_forward(points, from, to)) {
            self.found.push((to, Link::new(from, rule, on)));
        }
    }

    /// Adds an edge from the sending of an operation, whose point may lie behind what waits for it:
    /// a break comes while the operation that made the server break is in flight.
    pub(super) fn add_sent(&mut self, from: OpId, to: OpId, rule: Rule) {
        self.found
            .push((to, Link::new(from, rule, Milestone::Sent)));
    }

    pub(super) fn into_parts(self) -> (Vec<u64>, Vec<(OpId, Link)>) {
        (self.points.unwrap_or_default(), self.found)
    }

    pub(super) fn into_found(self) -> Vec<(OpId, Link)> {
        self.found
    }
}

fn is_forward(points: &[u64], from: OpId, to: OpId) -> bool {
    let point = |op: OpId| points.get(op.index()).copied().unwrap_or(u64::MAX);
    point(from) < point(to)
}

/// In which orders an edge binds: 0 in all, 1 with `client` and more, 2 with `resource` and more.
/// What the plan of a run makes of it is `engine::plan`'s `binds`.
pub(super) fn class(rule: Rule, same_client: bool, disconnect: bool) -> u8 {
    let structural = matches!(rule, Rule::Handle | Rule::Setup | Rule::Break);
    match same_client {
        true if structural || disconnect => 0,
        true => 1,
        false => 2,
    }
}

/// All edges, by the operation that waits, then by the one waited for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct EdgeList {
    /// Where the edges of each operation begin, and where the last end.
    starts: Vec<u32>,
    links: Vec<Link>,
}

impl EdgeList {
    /// Puts found edges in order; of several between the same two the one that says most stays.
    pub(super) fn settle(table: &Table, found: &[&[(OpId, Link)]]) -> Self {
        let all = || found.iter().copied().flatten();
        let mut starts = vec![0_u32; table.len() + 1];
        let mut total = 0_usize;
        for (to, _) in all() {
            if let Some(count) = starts.get_mut(to.index() + 1) {
                *count += 1;
                total += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let nothing = Link::new(OpId(0), Rule::Wire, Milestone::Sent);
        let mut links = vec![nothing; total];
        for (to, link) in all() {
            let Some(place) = starts
                .get_mut(to.index())
                .filter(|_| to.index() < table.len())
            else {
                continue;
            };
            if let Some(slot) = links.get_mut(*place as usize) {
                *slot = *link;
            }
            *place += 1;
        }
        let mut list = Self { starts, links };
        list.tidy(table);
        list
    }

    /// Sorts the edges of each operation, whose place says where they end, and drops those that
    /// say no more than another.
    fn tidy(&mut self, table: &Table) {
        let (mut begin, mut kept) = (0, 0);
        for (to, row) in table.rows() {
            let Some(place) = self.starts.get_mut(to.index()) else {
                return;
            };
            let end = std::mem::replace(place, count(kept)) as usize;
            if let Some(own) = self.links.get_mut(begin..end) {
                own.sort_unstable_by_key(|link| (link.from, link.rank()));
            }
            let client = table.client_of(row);
            let mut last = None;
            for at in begin..end {
                let Some(mut link) = self.links.get(at).copied() else {
                    break;
                };
                if last.replace(link.from) == Some(link.from) {
                    continue;
                }
                let from = table.row(link.from);
                let same_client = from.is_some_and(|from| table.client_of(from) == client);
                link.class = class(link.rule, same_client, row.kind == Kind::Disconnect);
                if let Some(slot) = self.links.get_mut(kept) {
                    *slot = link;
                }
                kept += 1;
            }
            begin = end;
        }
        if let Some(end) = self.starts.last_mut() {
            *end = count(kept);
        }
        self.links.truncate(kept);
    }

    /// How many operations there are.
    pub(super) fn operations(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Where the edges of some operations are.
    pub(super) fn range(&self, operations: Range<usize>) -> Range<usize> {
        let place = |op: usize| self.starts.get(op).or(self.starts.last());
        let place = |op: usize| place(op).map_or(0, |place| *place as usize);
        place(operations.start)..place(operations.end)
    }

    pub(super) fn links(&self, range: Range<usize>) -> &[Link] {
        self.links.get(range).unwrap_or_default()
    }

    /// The edges of one operation.
    pub(super) fn of(&self, op: OpId) -> &[Link] {
        self.links(self.range(op.index()..op.index() + 1))
    }

    /// Drops the edges that `keep` refuses.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(OpId, &Link) -> bool) {
        let mut kept = 0;
        for (op, id) in (0..self.operations()).zip(0..) {
            let range = self.range(op..op + 1);
            if let Some(place) = self.starts.get_mut(op) {
                *place = count(kept);
            }
            for at in range {
                let Some(link) = self.links.get(at).copied() else {
                    break;
                };
                if keep(OpId(id), &link) {
                    if let Some(slot) = self.links.get_mut(kept) {
                        *slot = link;
                    }
                    kept += 1;
                }
            }
        }
        if let Some(end) = self.starts.last_mut() {
            *end = count(kept);
        }
        self.links.truncate(kept);
    }

    /// The edges that stay; `gone` tells in pieces which do not.
    pub(crate) fn cursor<I: Iterator<Item = Piece>>(&self, gone: I) -> EdgeCursor<'_, I> {
        EdgeCursor {
            list: self,
            pieces: gone,
            known: 0,
            gone: Vec::new().into_iter(),
            next_gone: None,
        }
    }
}

/// Which edges of some operations go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Piece {
    /// It is about the operations before this one, as far as earlier pieces were not.
    pub(super) behind: OpId,
    /// Places in the list, ascending.
    pub(super) gone: Vec<u32>,
}

/// See [`EdgeList::cursor`].
pub(crate) struct EdgeCursor<'a, I> {
    list: &'a EdgeList,
    pieces: I,
    /// Operations before this one are known.
    known: u32,
    gone: std::vec::IntoIter<u32>,
    next_gone: Option<u32>,
}

impl<'a, I: Iterator<Item = Piece>> EdgeCursor<'a, I> {
    /// What `op` waits for; operations must be asked for in ascending order.
    pub(crate) fn of(&mut self, op: OpId) -> impl Iterator<Item = Edge> + use<'_, 'a, I> {
        while op.0 >= self.known
            && let Some(piece) = self.pieces.next()
        {
            self.known = piece.behind.0;
            self.gone = piece.gone.into_iter();
            self.next_gone = self.gone.next();
        }
        let range = self.list.range(op.index()..op.index() + 1);
        let links = self.list.links(range.clone());
        range.zip(links).filter_map(move |(at, link)| {
            let at = count(at);
            while self.next_gone.is_some_and(|gone| gone < at) {
                self.next_gone = self.gone.next();
            }
            (self.next_gone != Some(at)).then(|| link.edge())
        })
    }
}

/// A place in a list of fewer than 2^32 edges.
fn count(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The class of an edge before all are settled.
const UNKNOWN: u8 = u8::MAX;
