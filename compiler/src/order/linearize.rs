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
pub(super) struct Line(Vec<OpId>);

#[derive(Clone, Copy, Debug)]
struct Item {
    op: OpId,
    /// Messages from its request to its end.
    lasts: u32,
}

impl Item {
    fn begin(self, table: &Table) -> u64 {
        table.row(self.op).map_or(u64::MAX, Row::sent)
    }

    fn end(self, table: &Table) -> u64 {
        self.begin(table).saturating_add(self.lasts.into())
    }
}

/// Finds the order, and the point of each operation of the table.
pub(super) fn linearize(table: &Table) -> (Line, Vec<u64>) {
    let items = table.rows().filter_map(|(id, row)| item(table, id, row));
    let mut items: Vec<Item> = items.collect();
    items.sort_by_key(|item| item.begin(table));
    let mut search = Search::new(&items, table);
    search.run();
    let order = search.order;
    let in_order = || order.iter().filter_map(|at| items.get(*at as usize));
    let points = points(table, in_order());
    (Line(in_order().map(|item| item.op).collect()), points)
}

fn points<'a>(table: &Table, in_order: impl Iterator<Item = &'a Item>) -> Vec<u64> {
    let own = |row: &Row| {
        let span = row.span();
        span.response.unwrap_or(span.request) << POINT_BITS
    };
    let mut points: Vec<u64> = table.rows().map(|(_, row)| own(row)).collect();
    let mut last = 0;
    for item in in_order {
        let point = (last + 1).max(item.begin(table) << POINT_BITS);
        last = point;
        if let Some(slot) = points.get_mut(item.op.index()) {
            *slot = point;
        }
    }
    points
}

impl Line {
    /// Goes through the operations in their order and tells what each touches, which depends on
    /// all before it. Returns how many no order explains.
    pub(super) fn walk(&self, table: &Table, mut touched: impl FnMut(OpId, &[Touch])) -> u64 {
        let mut unexplained = 0;
        let mut model = Model::default();
        for op in &self.0 {
            if !model.apply(*op, table) {
                unexplained += 1;
            }
            model.commit();
            touched(*op, model.touches());
        }
        unexplained
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
    let lasts = end.saturating_sub(span.request);
    Some(Item {
        op,
        lasts: u32::try_from(lasts).unwrap_or(u32::MAX),
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
                if let Some(first) = self.choices.front() {
                    self.model.forget(first.mark);
                }
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
        let item = |at: &u32| self.items.get(*at as usize);
        let begin = |at: &u32| item(at).map_or(u64::MAX, |it| it.begin(self.table));
        let end = |at: &u32| item(at).map_or(u64::MAX, |it| it.end(self.table));
        let mut soonest = self.left.iter().map(end).min().unwrap_or(u64::MAX);
        let mut frontier = u32::try_from(self.frontier).unwrap_or(u32::MAX);
        while item(&frontier).is_some() && begin(&frontier) <= soonest {
            soonest = soonest.min(end(&frontier));
            self.left.push(frontier);
            frontier += 1;
        }
        self.frontier = frontier as usize;
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
