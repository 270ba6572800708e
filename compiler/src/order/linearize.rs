//! Gives every operation its point: a moment between request and response at which the server can
//! have carried it out.
//!
//! Operations that did not overlap keep their order. Where they did, the search of Wing and Gong
//! (1993) tries them in the order of their responses and goes back where an outcome makes no
//! sense, up to [`WINDOW`] operations and [`PATIENCE`] tries. What no order explains is taken as
//! it came, and counted.

use std::{
    collections::{BTreeSet, VecDeque},
    iter::Peekable,
};

use smbench_core::ids::OpId;

use super::{
    access::Deed,
    model::{FileNo, Model, Touch},
    table::{Row, TableView},
};
use crate::{opens::Scope, paged::List};

/// In the order of their responses.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Item {
    end: u64,
    op: OpId,
    begin: u64,
}

/// An operation in its place of the order.
pub(super) struct Placed<'a> {
    pub(super) op: OpId,
    /// What it touches, which depends on all before it.
    pub(super) touches: &'a [Touch],
    /// Files that nobody can use any more.
    pub(super) gone: &'a [FileNo],
}

/// Finds the order of the operations that touch names or files, and tells it; the point of each
/// operation of the table, and how many no order explains.
pub(super) fn linearize(
    table: &TableView<'_>,
    mut tell: impl FnMut(Placed<'_>),
) -> (List<u64>, u64) {
    let mut points = List::new(table.scratch());
    for (_, row) in table.rows() {
        let span = row.span();
        points.push(span.response.unwrap_or(span.request) << POINT_BITS);
    }
    let mut last = 0;
    // Requests come in the order of their ids.
    let items = table.rows().filter_map(|(id, row)| item(table, id, &row));
    let unexplained = Search::new(table, items).run(|item, placed| {
        let point = (last + 1).max(item.begin << POINT_BITS);
        last = point;
        if let Some(slot) = points.get_mut(item.op.index()) {
            *slot = point;
        }
        tell(placed);
    });
    (points, unexplained)
}

impl<'a> Placed<'a> {
    fn new(item: Item, touches: &'a [Touch], gone: &'a [FileNo]) -> Self {
        let op = item.op;
        Self { op, touches, gone }
    }
}

fn item(table: &TableView<'_>, op: OpId, row: &Row) -> Option<Item> {
    let span = row.span();
    let end = match table.facts(op)?.deed {
        Deed::Nothing => return None,
        // It is over when it is over; nothing answers it.
        Deed::End(Scope::Conn(_)) => span.response.unwrap_or(span.request),
        // Waiting for changes begins with the interim response.
        Deed::List { .. } => span.interim.or(span.response)?,
        _ => span.response?,
    };
    Some(Item {
        op,
        begin: span.request,
        end,
    })
}

/// One choice of the search.
struct Choice {
    candidates: Vec<Item>,
    next: usize,
    mark: usize,
}

struct Search<'a, I: Iterator> {
    table: &'a TableView<'a>,
    model: Model,
    /// Operations that are still to come, in the order of their requests.
    coming: Peekable<I>,
    /// Others that are still to be taken.
    left: BTreeSet<Item>,
    /// Operations that were taken, one for each choice, and what each touches.
    taken: VecDeque<(Item, Vec<Touch>)>,
    choices: VecDeque<Choice>,
    /// Lists to be used again.
    spare: Vec<Vec<Item>>,
    spare_touches: Vec<Vec<Touch>>,
    unexplained: u64,
    tries: u32,
    /// Operations to be taken as they come, after a search that failed.
    greedy: u32,
}

impl<'a, I: Iterator<Item = Item>> Search<'a, I> {
    fn new(table: &'a TableView<'a>, coming: I) -> Self {
        Self {
            table,
            model: Model::default(),
            coming: coming.peekable(),
            left: BTreeSet::new(),
            taken: VecDeque::new(),
            choices: VecDeque::new(),
            spare: Vec::new(),
            spare_touches: Vec::new(),
            unexplained: 0,
            tries: 0,
            greedy: 0,
        }
    }

    /// Tells of each operation in the order that is found; how many no order explains.
    fn run(mut self, mut tell: impl FnMut(Item, Placed<'_>)) -> u64 {
        loop {
            let candidates = self.candidates();
            if candidates.is_empty() {
                break;
            }
            if self.greedy > 0 {
                self.take_as_it_comes(&candidates, &mut tell);
                self.spare.push(candidates);
                continue;
            }
            let mark = self.model.mark();
            self.choices.push_back(Choice {
                candidates,
                next: 0,
                mark,
            });
            if !self.advance() {
                self.give_up();
            } else if self.choices.len() > WINDOW {
                self.settle(&mut tell);
            }
        }
        while !self.choices.is_empty() {
            self.settle(&mut tell);
        }
        self.unexplained
    }

    /// The first choice is final.
    fn settle(&mut self, tell: &mut impl FnMut(Item, Placed<'_>)) {
        let settled = self.choices.pop_front();
        self.spare.extend(settled.map(|choice| choice.candidates));
        let next = self.choices.front().map(|choice| choice.mark);
        self.model.forget(next.unwrap_or(self.model.mark()));
        if let Some((item, touches)) = self.taken.pop_front() {
            let gone = self.model.gone_files();
            tell(item, Placed::new(item, &touches, gone));
            self.spare_touches.push(touches);
        }
    }

    /// Takes the next candidate that makes sense, going back where there is none.
    fn advance(&mut self) -> bool {
        while let Some(choice) = self.choices.back_mut() {
            let candidate = choice.candidates.get(choice.next).copied();
            choice.next += 1;
            let mark = choice.mark;
            self.tries += 1;
            let Some(candidate) = candidate.filter(|_| self.tries < PATIENCE) else {
                let spent = self.choices.pop_back();
                self.spare.extend(spent.map(|choice| choice.candidates));
                if self.choices.is_empty() {
                    return false;
                }
                self.untake();
                continue;
            };
            if self.fits(candidate) {
                self.take(candidate);
                if self.choices.len() == 1 {
                    self.tries = 0;
                }
                return true;
            }
            self.model.roll_back(mark);
        }
        false
    }

    /// Nothing within the window makes sense of what comes: it is taken as it comes.
    fn give_up(&mut self) {
        self.choices.clear();
        self.tries = 0;
        self.greedy = GREEDY;
    }

    fn take_as_it_comes(&mut self, candidates: &[Item], tell: &mut impl FnMut(Item, Placed<'_>)) {
        let mark = self.model.mark();
        let mut chosen = None;
        for candidate in candidates {
            if self.fits(*candidate) {
                chosen = Some(*candidate);
                break;
            }
            self.model.roll_back(mark);
        }
        let Some(chosen) = chosen.or_else(|| candidates.first().copied()) else {
            return;
        };
        self.model.roll_back(mark);
        self.unexplained += u64::from(!self.fits(chosen));
        self.model.commit();
        self.left.remove(&chosen);
        self.greedy -= 1;
        let (touches, gone) = (self.model.touches(), self.model.gone_files());
        tell(chosen, Placed::new(chosen, touches, gone));
    }

    fn fits(&mut self, candidate: Item) -> bool {
        self.model.apply(candidate.op, self.table)
    }

    fn take(&mut self, candidate: Item) {
        let mut touches = self.spare_touches.pop().unwrap_or_default();
        touches.clear();
        touches.extend_from_slice(self.model.touches());
        self.taken.push_back((candidate, touches));
        self.left.remove(&candidate);
    }

    fn untake(&mut self) {
        if let Some((item, touches)) = self.taken.pop_back() {
            self.spare_touches.push(touches);
            self.left.insert(item);
        }
        if let Some(choice) = self.choices.back() {
            self.model.roll_back(choice.mark);
        }
    }

    /// Those that may come next: nothing that is left was over before they began. The first
    /// [`WIDTH`] of them, in the order of their responses.
    fn candidates(&mut self) -> Vec<Item> {
        let mut soonest = self.left.first().map_or(u64::MAX, |it| it.end);
        while let Some(item) = self.coming.next_if(|it| it.begin <= soonest) {
            soonest = soonest.min(item.end);
            self.left.insert(item);
        }
        let mut found = self.spare.pop().unwrap_or_default();
        found.clear();
        let begun = self.left.iter().filter(|it| it.begin <= soonest);
        found.extend(begun.take(WIDTH));
        found
    }
}

/// How far the search goes back, in operations.
const WINDOW: usize = 24;
/// How many operations may come next: with any number in flight each step would take as long.
const WIDTH: usize = 128;
/// How many candidates it tries before it gives up on a window.
const PATIENCE: u32 = 20_000;
/// How many operations are taken as they come after that.
const GREEDY: u32 = 32;
/// Room between two counts of the wire for the points of operations.
const POINT_BITS: u32 = 20;
