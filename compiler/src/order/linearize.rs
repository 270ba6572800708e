//! Gives every operation its point: a moment between request and response at which the server can
//! have carried it out.
//!
//! Operations that did not overlap keep their order. Where they did, the search of Wing and Gong
//! (1993) tries them in the order of their responses and goes back where an outcome makes no
//! sense, up to [`WINDOW`] operations and [`PATIENCE`] tries. What no order explains is taken as
//! it came, and counted.

use std::{collections::VecDeque, iter::Peekable, sync::Arc};

use smbench_core::ids::OpId;

use super::{
    access::{Deed, Scope},
    model::{FileNo, Model, Touch},
    table::{Row, TableView},
};
use crate::paged::{List, Scratch};

/// The order that was found: operations that touch names or files.
#[derive(Debug, Default)]
pub(super) struct Line(List<u32>);

#[derive(Clone, Copy, Debug)]
struct Item {
    op: OpId,
    begin: u64,
    end: u64,
}

/// Finds the order, and the point of each operation of the table.
pub(super) fn linearize(
    table: &TableView<'_>,
    scratch: Option<&Arc<Scratch>>,
) -> (Line, List<u64>) {
    let mut points = List::new(scratch);
    for (_, row) in table.rows() {
        let span = row.span();
        points.push(span.response.unwrap_or(span.request) << POINT_BITS);
    }
    let mut line = List::new(scratch);
    let mut last = 0;
    Search::new(table).run(|item| {
        let point = (last + 1).max(item.begin << POINT_BITS);
        last = point;
        if let Some(slot) = points.get_mut(item.op.index()) {
            *slot = point;
        }
        line.push(item.op.0);
    });
    (Line(line), points)
}

impl Line {
    /// Goes through the operations in their order and tells what each touches, which depends on
    /// all before it, and which files nobody can use any more. Returns how many no order explains.
    pub(super) fn walk(
        &self,
        table: &TableView<'_>,
        mut touched: impl FnMut(OpId, &[Touch], &[FileNo]),
    ) -> u64 {
        let mut unexplained = 0;
        let mut model = Model::default();
        let line = self.0.view();
        for op in line.iter(0..line.len()).map(OpId) {
            if !model.apply(op, table) {
                unexplained += 1;
            }
            model.commit();
            touched(op, model.touches(), model.gone_files());
        }
        unexplained
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
    /// Others that are still to be taken, in the same order.
    left: Vec<Item>,
    /// Operations that were taken, one for each choice.
    taken: VecDeque<Item>,
    choices: VecDeque<Choice>,
    /// Lists of candidates to be used again.
    spare: Vec<Vec<Item>>,
    tries: u32,
    /// Operations to be taken as they come, after a search that failed.
    greedy: u32,
}

impl<'a> Search<'a, std::iter::Empty<Item>> {
    /// Requests come in the order of their ids.
    fn new(table: &'a TableView<'a>) -> Search<'a, impl Iterator<Item = Item> + 'a> {
        let items = table.rows();
        Search {
            table,
            model: Model::default(),
            coming: items
                .filter_map(|(id, row)| item(table, id, &row))
                .peekable(),
            left: Vec::new(),
            taken: VecDeque::new(),
            choices: VecDeque::new(),
            spare: Vec::new(),
            tries: 0,
            greedy: 0,
        }
    }
}

impl<I: Iterator<Item = Item>> Search<'_, I> {
    /// Tells of each operation in the order that is found.
    fn run(mut self, mut tell: impl FnMut(Item)) {
        loop {
            let candidates = self.candidates();
            if candidates.is_empty() {
                break;
            }
            if self.greedy > 0 {
                self.take_as_it_comes(&candidates)
                    .into_iter()
                    .for_each(&mut tell);
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
                self.taken.pop_front().into_iter().for_each(&mut tell);
                if let Some(first) = self.choices.front() {
                    self.model.forget(first.mark);
                }
            }
        }
        self.taken.drain(..).for_each(tell);
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

    fn take_as_it_comes(&mut self, candidates: &[Item]) -> Option<Item> {
        let mark = self.model.mark();
        let mut chosen = None;
        for candidate in candidates {
            if self.fits(*candidate) {
                chosen = Some(*candidate);
                break;
            }
            self.model.roll_back(mark);
        }
        let chosen = chosen.or_else(|| candidates.first().copied())?;
        self.model.roll_back(mark);
        self.fits(chosen);
        self.model.commit();
        self.leave(chosen);
        self.greedy -= 1;
        Some(chosen)
    }

    fn fits(&mut self, candidate: Item) -> bool {
        self.model.apply(candidate.op, self.table)
    }

    fn take(&mut self, candidate: Item) {
        self.taken.push_back(candidate);
        self.leave(candidate);
    }

    /// It is no longer to be taken.
    fn leave(&mut self, item: Item) {
        if let Ok(at) = self.place(item) {
            self.left.remove(at);
        }
    }

    fn place(&self, item: Item) -> Result<usize, usize> {
        self.left.binary_search_by_key(&item.op, |left| left.op)
    }

    fn untake(&mut self) {
        if let Some(item) = self.taken.pop_back()
            && let Err(at) = self.place(item)
        {
            self.left.insert(at, item);
        }
        if let Some(choice) = self.choices.back() {
            self.model.roll_back(choice.mark);
        }
    }

    /// Those that may come next: nothing that is left was over before they began. In the order of
    /// their responses.
    fn candidates(&mut self) -> Vec<Item> {
        let ends = self.left.iter().map(|it| it.end);
        let mut soonest = ends.min().unwrap_or(u64::MAX);
        while let Some(item) = self.coming.next_if(|it| it.begin <= soonest) {
            soonest = soonest.min(item.end);
            self.left.push(item);
        }
        let mut found = self.spare.pop().unwrap_or_default();
        found.clear();
        found.extend(self.left.iter().filter(|it| it.begin <= soonest));
        found.sort_unstable_by_key(|it| (it.end, it.op));
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
