//! Edges while they are found, and all of them once they are settled.
//!
//! What is found lies in no order. Settled edges lie by the operation that waits, eight bytes each,
//! [`PAGE`] operations to a page; each has a place, a number that is larger than those before.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use smbench_core::{
    event::Milestone,
    ids::OpId,
    workload::{Edge, Rule},
};

use super::{
    reduce::WORKERS,
    table::{Kind, Row, Table, TableView},
};
use crate::{
    paged::{Bins, Bytes, Held, List, ListView, Page, Pages, Record, Scratch, View},
    threads::{in_turns, joined},
};

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

    /// It is from the mere sending of an operation, whose point may lie behind what waits for it: a
    /// break comes while the operation that made the server break is in flight.
    pub(super) fn may_go_back(self) -> bool {
        self.rule == Rule::Break && self.on == Milestone::Sent
    }

    /// Of several edges between the same two, the one that says most comes first.
    fn rank(self) -> (u8, u8) {
        (u8::MAX - rank(self.on), weakness(self.rule))
    }
}

/// How much the milestone that an edge asks for says.
pub(super) fn rank(on: Milestone) -> u8 {
    match on {
        Milestone::Sent => 0,
        Milestone::Interim => 1,
        Milestone::Response => 2,
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

impl Record for Link {
    fn write(&self, out: &mut Vec<u8>) {
        self.from.0.write(out);
        let rule = Rule::ALL.iter().position(|it| *it == self.rule);
        let rule = rule
            .and_then(|it| u8::try_from(it).ok())
            .unwrap_or_default();
        out.extend_from_slice(&[rule << 4 | rank(self.on), self.class]);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        let id = OpId(from.u32());
        let (kind, class) = (from.u8(), from.u8());
        let rule = Rule::ALL.get(usize::from(kind >> 4));
        Self {
            from: id,
            rule: rule.copied().unwrap_or(Rule::Wire),
            on: match kind & 15 {
                0 => Milestone::Sent,
                1 => Milestone::Interim,
                _ => Milestone::Response,
            },
            class,
        }
    }
}

/// An edge, with the operation that waits.
impl Record for (OpId, Link) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        (OpId(from.u32()), Link::read(from))
    }
}

/// Edges as they are found.
#[derive(Debug, Default)]
pub(super) struct Edges(Bins<(OpId, Link)>);

impl Edges {
    pub(super) fn new(scratch: Option<&Arc<Scratch>>) -> Self {
        Self(Bins::new(scratch))
    }

    /// Adds an edge, which counts unless it goes backwards.
    pub(super) fn add(&mut self, from: OpId, to: OpId, rule: Rule, on: Milestone) {
        self.push(to, Link::new(from, rule, on));
    }

    pub(super) fn push(&mut self, to: OpId, link: Link) {
        self.0.add(to.index() / PAGE, (to, link));
    }
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

/// The edges of [`PAGE`] operations, by the operation that waits, then by the one waited for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct EdgePage {
    /// The place of the first.
    base: u32,
    /// Where the edges of each operation begin on this page, and where the last end.
    starts: Vec<u32>,
    links: Vec<Link>,
    /// The point of what each is from.
    points: Vec<u64>,
}

impl EdgePage {
    /// Puts edges to where they belong.
    fn sorted(found: &[(OpId, Link)]) -> Self {
        let mut starts = vec![0_u32; PAGE + 1];
        for (to, _) in found {
            if let Some(count) = starts.get_mut(to.index() % PAGE + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let nothing = Link::new(OpId(0), Rule::Wire, Milestone::Sent);
        let mut links = vec![nothing; found.len()];
        for (to, link) in found {
            let Some(place) = starts.get_mut(to.index() % PAGE) else {
                continue;
            };
            if let Some(slot) = links.get_mut(*place as usize) {
                *slot = *link;
            }
            *place += 1;
        }
        Self {
            base: 0,
            starts,
            points: Vec::with_capacity(links.len()),
            links,
        }
    }

    /// Sorts the edges of each operation, whose place says where they end, and drops those that go
    /// back or say no more than another. Whether there may be circles.
    fn tidy(
        &mut self,
        table: &TableView<'_>,
        points: &ListView<'_, u64>,
        rows: impl Iterator<Item = (OpId, Row)>,
    ) -> bool {
        let point = |op: OpId| points.get(op.index()).unwrap_or(u64::MAX);
        let (mut begin, mut kept) = (0, 0);
        let mut may_circle = false;
        // In this order: what is zipped takes no row too many.
        for (place, (to, row)) in self.starts.iter_mut().take(PAGE).zip(rows) {
            let end = std::mem::replace(place, count(kept)) as usize;
            if let Some(own) = self.links.get_mut(begin..end) {
                own.sort_unstable_by_key(|link| (link.from, link.rank()));
            }
            let (client, to_point) = (table.client_of(&row), point(to));
            // A member of a compound is sent with its leader.
            let leader = table.leader(to);
            let sent_point = if leader == to {
                to_point
            } else {
                point(leader)
            };
            may_circle |= sent_point > to_point;
            let mut last = None;
            for at in begin..end {
                let Some(mut link) = self.links.get(at).copied() else {
                    break;
                };
                if last == Some(link.from) {
                    continue;
                }
                let from_point = point(link.from);
                if from_point >= to_point && !link.may_go_back() {
                    continue;
                }
                may_circle |= from_point >= sent_point && table.leader(link.from) != leader;
                last = Some(link.from);
                self.points.push(from_point);
                let same_client = table.client(link.from) == client;
                link.class = class(link.rule, same_client, row.kind == Kind::Disconnect);
                if let Some(slot) = self.links.get_mut(kept) {
                    *slot = link;
                }
                kept += 1;
            }
            begin = end;
        }
        // Behind the last operation there are no edges.
        for start in &mut self.starts {
            *start = (*start).min(count(kept));
        }
        if let Some(end) = self.starts.last_mut() {
            *end = count(kept);
        }
        self.links.truncate(kept);
        may_circle
    }

    /// The edges of one operation of this page, each with the point of what it is from, and the
    /// place of the first.
    #[inline]
    fn of(&self, op: usize) -> (u32, impl Iterator<Item = (&Link, u64)>) {
        let at = op % PAGE;
        let bounds = self.starts.get(at).zip(self.starts.get(at + 1));
        let (begin, end) = bounds.map_or((0, 0), |(begin, end)| (*begin, *end));
        let range = begin as usize..end as usize;
        let links = self.links.get(range.clone()).unwrap_or_default();
        let points = self.points.get(range).unwrap_or_default();
        (self.base + begin, links.iter().zip(points.iter().copied()))
    }

    /// Drops the edges of one operation that `keep` refuses.
    fn retain(&mut self, op: usize, mut keep: impl FnMut(&Link) -> bool) {
        let at = op % PAGE;
        let Some((begin, end)) = self.starts.get(at).zip(self.starts.get(at + 1)) else {
            return;
        };
        let (begin, end) = (*begin, *end);
        let own = begin as usize..end as usize;
        let links = self.links.get(own.clone()).unwrap_or_default();
        let stays: Vec<bool> = links.iter().map(&mut keep).collect();
        let gone = count(stays.iter().filter(|stays| !**stays).count());
        let mut places = 0..self.links.len();
        let stays_at = |place: Option<usize>| {
            let own = place.and_then(|place| stays.get(place.checked_sub(own.start)?));
            own.copied().unwrap_or(true)
        };
        self.links.retain(|_| stays_at(places.next()));
        let mut places = 0..self.points.len();
        self.points.retain(|_| stays_at(places.next()));
        for start in self.starts.iter_mut().skip(at + 1) {
            *start -= gone;
        }
    }
}

impl Page for EdgePage {
    fn weight(&self) -> usize {
        let edge = size_of::<Link>() + size_of::<u64>();
        size_of_val(self.starts.as_slice()) + self.links.capacity() * edge
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.base.write(out);
        for start in &self.starts {
            start.write(out);
        }
        for (link, point) in self.links.iter().zip(&self.points) {
            link.write(out);
            point.write(out);
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let mut from = Bytes::new(bytes);
        let base = from.u32();
        let mut starts = Vec::with_capacity(PAGE + 1);
        starts.extend((0..=PAGE).map(|_| from.u32()));
        let count = starts.last().map_or(0, |last| *last as usize);
        let edges = (0..count).map(|_| (Link::read(&mut from), from.u64()));
        let (links, points) = edges.unzip();
        Self {
            base,
            starts,
            links,
            points,
        }
    }
}

/// All edges.
#[derive(Debug, Default)]
pub(crate) struct EdgeList {
    pages: Pages<EdgePage>,
    /// Not every edge leads from an earlier point to a later one.
    may_circle: bool,
}

impl EdgeList {
    /// Puts found edges in order; those that go backwards are dropped, and of several between the
    /// same two the one that says most stays. Pages do not need each other, so this runs on several
    /// threads.
    pub(super) fn settle(table: &Table, found: [Edges; 2], points: &List<u64>) -> Self {
        let found = Mutex::new(found);
        let mut edges = Self {
            pages: Pages::new(table.scratch(), ROOM),
            may_circle: false,
        };
        thread::scope(|scope| {
            let (pages, workers) = in_turns(scope, WORKERS, UNDER_WAY, |worker, to| {
                // Who does not listen has panicked.
                settled(table, &found, points, worker, |page| drop(to.send(page)));
            });
            let mut base = 0;
            for (mut page, may_circle) in pages {
                page.base = base;
                base += count(page.links.len());
                edges.pages.push(page);
                edges.may_circle |= may_circle;
            }
            workers.into_iter().for_each(joined);
        });
        edges
    }

    /// Whether there may be circles: not where every edge leads from an earlier point to a later
    /// one, and no compound is sent as one.
    pub(super) fn may_circle(&self) -> bool {
        self.may_circle
    }

    /// Drops those edges of some operations that `keep` refuses.
    pub(super) fn retain(&mut self, of: &[OpId], mut keep: impl FnMut(&Link) -> bool) {
        for op in of {
            if let Some(page) = self.pages.get_mut(op.index() / PAGE) {
                page.retain(op.index(), &mut keep);
            }
        }
    }

    /// The edges as one thread reads them.
    pub(crate) fn view(&self) -> EdgeView<'_> {
        EdgeView(self.pages.view(ROOM))
    }
}

/// Settles the edges of every [`WORKERS`]th page, from `worker` on; tells of each whether there may
/// be circles.
fn settled(
    table: &Table,
    found: &Mutex<[Edges; 2]>,
    points: &List<u64>,
    worker: usize,
    mut tell: impl FnMut((EdgePage, bool)),
) {
    let (table, points) = (table.view(), points.view());
    let mut unsorted = Vec::new();
    for bin in (worker..table.len().div_ceil(PAGE)).step_by(WORKERS) {
        unsorted.clear();
        for found in &mut *found.lock().unwrap_or_else(PoisonError::into_inner) {
            found.0.take(bin, &mut unsorted);
        }
        let mut page = EdgePage::sorted(&unsorted);
        let may_circle = page.tidy(&table, &points, table.rows_from(bin * PAGE));
        tell((page, may_circle));
    }
}

/// An [`EdgeList`] as one thread reads it.
pub(crate) struct EdgeView<'a>(View<'a, EdgePage>);

impl<'a> EdgeView<'a> {
    /// The page that has the edges of an operation.
    #[inline]
    fn page(&self, op: usize) -> Option<Held<'a, EdgePage>> {
        self.0.get(op / PAGE)
    }

    /// Tells of each edge of an operation, its place, and the point of what it is from.
    #[inline]
    pub(super) fn each(&self, op: usize, mut tell: impl FnMut(u32, &Link, u64)) {
        let _ = self.each_until(op, |place, link, point| {
            tell(place, link, point);
            ControlFlow::Continue(())
        });
    }

    /// The same, until `tell` has enough.
    #[inline]
    pub(super) fn each_until(
        &self,
        op: usize,
        mut tell: impl FnMut(u32, &Link, u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(page) = self.page(op) {
            let (first, links) = page.of(op);
            for (place, (link, point)) in (first..).zip(links) {
                tell(place, link, point)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The edges that stay; `gone` tells in pieces which do not.
    pub(crate) fn cursor<I: Iterator<Item = Piece>>(self, gone: I) -> EdgeCursor<'a, I> {
        EdgeCursor {
            edges: self,
            pieces: gone,
            known: 0,
            gone: Vec::new().into_iter(),
            next_gone: None,
            left: Vec::new(),
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

/// See [`EdgeView::cursor`].
pub(crate) struct EdgeCursor<'a, I> {
    edges: EdgeView<'a>,
    pieces: I,
    /// Operations before this one are known.
    known: u32,
    gone: std::vec::IntoIter<u32>,
    next_gone: Option<u32>,
    /// Room for what is left of an operation's.
    left: Vec<Edge>,
}

impl<I: Iterator<Item = Piece>> EdgeCursor<'_, I> {
    /// What `op` waits for; operations must be asked for in ascending order.
    pub(crate) fn of(&mut self, op: OpId) -> &[Edge] {
        while op.0 >= self.known
            && let Some(piece) = self.pieces.next()
        {
            self.known = piece.behind.0;
            self.gone = piece.gone.into_iter();
            self.next_gone = self.gone.next();
        }
        let Self {
            gone,
            next_gone,
            left,
            ..
        } = self;
        left.clear();
        self.edges.each(op.index(), |at, link, _| {
            while next_gone.is_some_and(|gone| gone < at) {
                *next_gone = gone.next();
            }
            if *next_gone != Some(at) {
                left.push(link.edge());
            }
        });
        left
    }
}

/// A place in a list of fewer than 2^32 edges.
fn count(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The class of an edge before all are settled.
const UNKNOWN: u8 = u8::MAX;
/// Operations whose edges are on one page.
const PAGE: usize = 512;
/// Pages that are in memory.
const ROOM: usize = 48;
/// Pages of each thread that may wait.
const UNDER_WAY: usize = 4;
