//! Gives every operation its point: a moment between request and response at which the server can
//! have carried it out.
//!
//! Operations that did not overlap keep their order. Where they did, the search of Wing and Gong
//! (1993) tries them in the order of their responses and goes back where an outcome makes no
//! sense, up to [`WINDOW`] operations and [`PATIENCE`] tries. What no order explains is taken as
//! it came, and counted.

use std::collections::VecDeque;

use smbench_core::ids::OpId;

use super::{
    access::{Deed, Scope},
    model::{Model, Touch},
    table::{Row, Table},
};

/// The order that was found: operations that touch names or files.
#[derive(Debug, Default)]
pub(super) struct Line {
    items: Vec<Item>,
    order: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    op: OpId,
    begin: u64,
    end: u64,
}

pub(super) fn linearize(table: &Table) -> Line {
    let items = table.rows().filter_map(|(id, row)| item(table, id, row));
    let mut items: Vec<Item> = items.collect();
    items.sort_unstable_by_key(|item| item.begin);
    let mut search = Search::new(&items, table);
    search.run();
    let order = search.order;
    Line { items, order }
}

impl Line {
    /// The point of each operation of the table.
    pub(super) fn points(&self, table: &Table) -> Vec<u64> {
        let own = |row: &Row| {
            let span = row.span();
            span.response.unwrap_or(span.request) << POINT_BITS
        };
        let mut points: Vec<u64> = table.rows().map(|(_, row)| own(row)).collect();
        let mut last = 0;
        for item in self.in_order() {
            let point = (last + 1).max(item.begin << POINT_BITS);
            last = point;
            if let Some(slot) = points.get_mut(item.op.index()) {
                *slot = point;
            }
        }
        points
    }

    /// Goes through the operations in their order and tells what each touches, which depends on
    /// all before it. Returns how many no order explains.
    pub(super) fn walk(&self, table: &Table, mut touched: impl FnMut(OpId, &[Touch])) -> u64 {
        let mut unexplained = 0;
        let mut model = Model::default();
        for item in self.in_order() {
            if !model.apply(item.op, table) {
                unexplained += 1;
            }
            model.commit();
            touched(item.op, model.touches());
        }
        unexplained
    }

    fn in_order(&self) -> impl Iterator<Item = &Item> {
        (self.order.iter()).filter_map(|at| self.items.get(*at as usize))
    }
}

fn item(table: &Table, op: OpId, row: &Row) -> Option<Item> {
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
        end: end.max(span.request),
    })
}

/// One choice of the search.
struct Choice {
    candidates: Vec<u32>,
    next: usize,
    mark: usize,
}

struct Search<'a> {
    items: &'a [Item],
    table: &'a Table,
    model: Model,
    /// Operations before `frontier` that are still to be taken, ascending.
    left: Vec<u32>,
    frontier: usize,
    order: Vec<u32>,
    choices: VecDeque<Choice>,
    /// Lists of candidates to be used again.
    spare: Vec<Vec<u32>>,
    tries: u32,
    /// Operations to be taken as they come, after a search that failed.
    greedy: u32,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item], table: &'a Table) -> Self {
        Self {
            items,
            table,
            model: Model::default(),
            left: Vec::new(),
            frontier: 0,
            order: Vec::with_capacity(items.len()),
            choices: VecDeque::new(),
            spare: Vec::new(),
            tries: 0,
            greedy: 0,
        }
    }

    fn run(&mut self) {
        while self.order.len() < self.items.len() {
            let candidates = self.candidates();
            if self.greedy > 0 {
                self.take_as_it_comes(&candidates);
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
                let settled = self.choices.pop_front();
                self.spare.extend(settled.map(|choice| choice.candidates));
            }
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

    fn take_as_it_comes(&mut self, candidates: &[u32]) {
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
        self.fits(chosen);
        self.model.commit();
        self.take(chosen);
        self.greedy -= 1;
    }

    fn fits(&mut self, candidate: u32) -> bool {
        let item = self.items.get(candidate as usize);
        item.is_none_or(|item| self.model.apply(item.op, self.table))
    }

    fn take(&mut self, candidate: u32) {
        self.order.push(candidate);
        if let Ok(at) = self.left.binary_search(&candidate) {
            self.left.remove(at);
        }
    }

    fn untake(&mut self) {
        if let Some(candidate) = self.order.pop()
            && let Err(at) = self.left.binary_search(&candidate)
        {
            self.left.insert(at, candidate);
        }
        if let Some(choice) = self.choices.back() {
            self.model.roll_back(choice.mark);
        }
    }

    /// Those that may come next: nothing that is left was over before they began. In the order of
    /// their responses.
    fn candidates(&mut self) -> Vec<u32> {
        let mut soonest = u64::MAX;
        for item in self
            .left
            .iter()
            .filter_map(|at| self.items.get(*at as usize))
        {
            soonest = soonest.min(item.end);
        }
        while let Some(item) = self
            .items
            .get(self.frontier)
            .filter(|it| it.begin <= soonest)
        {
            soonest = soonest.min(item.end);
            self.left
                .push(u32::try_from(self.frontier).unwrap_or(u32::MAX));
            self.frontier += 1;
        }
        let begin = |at: &u32| self.items.get(*at as usize).map_or(u64::MAX, |it| it.begin);
        let end = |at: &u32| self.items.get(*at as usize).map_or(u64::MAX, |it| it.end);
        let mut found = self.spare.pop().unwrap_or_default();
        found.clear();
        found.extend(self.left.iter().filter(|at| begin(at) <= soonest));
        found.sort_unstable_by_key(|at| (end(at), *at));
        found
    }
}

/// How far the search goes back, in operations.
const WINDOW: usize = 24;
/// How many candidates it tries before it gives up on a window.
const PATIENCE: u32 = 20_000;
/// How many operations are taken as they come after that.
const GREEDY: u32 = 32;
/// Room between two counts of the wire for the points of operations.
const POINT_BITS: u32 = 20;
