//! Gives every operation its point: a moment between request and response at which the server can
//! have carried it out.
//!
//! Operations that did not overlap keep their order. Where they did, the search of Wing and Gong
//! (1993) tries them in the order of their responses and goes back where an outcome makes no
//! sense, up to [`WINDOW`] operations and [`PATIENCE`] tries. What no order explains is taken as
//! it came, and counted.

use std::collections::VecDeque;

use smbench_core::{ids::OpId, smb2::Command, workload::Operation};

use super::{
    access::{Deed, Facts},
    model::{Model, Touch},
};
use crate::wire_span::WireSpan;

/// The order that was found.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The point of each operation.
    pub(super) points: Vec<u64>,
    /// Operations that touch names or files, in order, with what they touch.
    pub(super) touches: Vec<(OpId, Vec<Touch>)>,
    /// Operations that no order explains.
    pub(super) unexplained: u64,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    op: OpId,
    begin: u64,
    end: u64,
}

pub(super) fn linearize(ops: &[Operation], spans: &[WireSpan], facts: &[Facts]) -> Line {
    let mut items: Vec<Item> = ops
        .iter()
        .zip(spans)
        .zip(facts)
        .filter_map(|((op, span), facts)| item(op, span, facts))
        .collect();
    items.sort_unstable_by_key(|item| item.begin);
    let mut search = Search::new(&items, facts);
    search.run();
    let order = search.order;
    let mut line = Line {
        points: points(ops, spans, &items, &order),
        ..Line::default()
    };
    // Once more, straight through: what each operation touches depends on the whole order.
    let mut model = Model::default();
    for item in order.iter().filter_map(|at| items.get(*at)) {
        let Some(facts) = facts.get(item.op.index()) else {
            continue;
        };
        if !model.apply(facts) {
            line.unexplained += 1;
        }
        model.commit();
        line.touches.push((item.op, model.touches().to_vec()));
    }
    line
}

fn item(op: &Operation, span: &WireSpan, facts: &Facts) -> Option<Item> {
    let end = match facts.deed {
        Deed::Nothing => return None,
        // It is over when it is over; nothing answers it.
        Deed::HangUp(_) if op.cmd != Command::LOGOFF => span.response.unwrap_or(span.request),
        // Waiting for changes begins with the interim response.
        Deed::List { .. } => span.interim.or(span.response)?,
        _ => span.response?,
    };
    Some(Item {
        op: op.id,
        begin: span.request,
        end: end.max(span.request),
    })
}

fn points(ops: &[Operation], spans: &[WireSpan], items: &[Item], order: &[usize]) -> Vec<u64> {
    let mut points: Vec<u64> = ops
        .iter()
        .zip(spans)
        .map(|(_, span)| span.response.unwrap_or(span.request) << POINT_BITS)
        .collect();
    let mut last = 0;
    for item in order.iter().filter_map(|at| items.get(*at)) {
        let point = (last + 1).max(item.begin << POINT_BITS);
        last = point;
        if let Some(slot) = points.get_mut(item.op.index()) {
            *slot = point;
        }
    }
    points
}

/// One choice of the search.
struct Choice {
    candidates: Vec<usize>,
    next: usize,
    mark: usize,
}

struct Search<'a> {
    items: &'a [Item],
    facts: &'a [Facts],
    model: Model,
    used: Vec<bool>,
    first: usize,
    order: Vec<usize>,
    choices: VecDeque<Choice>,
    tries: u32,
    /// Operations to be taken as they come, after a search that failed.
    greedy: u32,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item], facts: &'a [Facts]) -> Self {
        Self {
            items,
            facts,
            model: Model::default(),
            used: vec![false; items.len()],
            first: 0,
            order: Vec::with_capacity(items.len()),
            choices: VecDeque::new(),
            tries: 0,
            greedy: 0,
        }
    }

    fn run(&mut self) {
        while self.order.len() < self.items.len() {
            let candidates = self.candidates();
            if self.greedy > 0 {
                self.take_as_it_comes(&candidates);
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
                self.choices.pop_front();
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
                self.choices.pop_back();
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

    fn take_as_it_comes(&mut self, candidates: &[usize]) {
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

    fn fits(&mut self, candidate: usize) -> bool {
        let item = self.items.get(candidate);
        let facts = item.and_then(|item| self.facts.get(item.op.index()));
        facts.is_none_or(|facts| self.model.apply(facts))
    }

    fn take(&mut self, candidate: usize) {
        self.order.push(candidate);
        if let Some(used) = self.used.get_mut(candidate) {
            *used = true;
        }
        while self.used.get(self.first).copied().unwrap_or(false) {
            self.first += 1;
        }
    }

    fn untake(&mut self) {
        if let Some(candidate) = self.order.pop() {
            if let Some(used) = self.used.get_mut(candidate) {
                *used = false;
            }
            self.first = self.first.min(candidate);
        }
        if let Some(choice) = self.choices.back() {
            self.model.roll_back(choice.mark);
        }
    }

    /// Those that may come next: nothing that is left was over before they began. In the order of
    /// their responses.
    fn candidates(&self) -> Vec<usize> {
        let mut found: Vec<(u64, usize)> = Vec::new();
        let mut soonest = u64::MAX;
        for (at, item) in self.items.iter().enumerate().skip(self.first) {
            if self.used.get(at).copied().unwrap_or(true) {
                continue;
            }
            if item.begin > soonest {
                break;
            }
            soonest = soonest.min(item.end);
            found.push((item.end, at));
        }
        found.retain(|(_, at)| {
            self.items
                .get(*at)
                .is_some_and(|item| item.begin <= soonest)
        });
        found.sort_unstable();
        found.into_iter().map(|(_, at)| at).collect()
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
