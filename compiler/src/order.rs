//! Infers what happened before what: the edges of the order graph.
//!
//! Every operation first gets a *point*, one moment between its request and its response at which
//! the server can have carried it out, such that all outcomes make sense in that order
//! ([`linearize`], after Wing and Gong). Edges then follow rule by rule, and each goes from an
//! earlier point to a later one, so the graph has no cycle by construction.
//!
//! | rule     | file      | edge                                                                |
//! |----------|-----------|---------------------------------------------------------------------|
//! | wire     | `wire`    | what a client knew before it sent this; requests in flight together |
//! |          |           | keep the order in which they were sent                              |
//! | handle   | `handles` | CREATE before use, use before CLOSE                                 |
//! | setup    | `handles` | NEGOTIATE, SESSION_SETUP, TREE_CONNECT before what needs them       |
//! |          |           | a login that replaces a session after what was done in it           |
//! | break    | `breaks`  | trigger, notification, acknowledgement                              |
//! | resource | `keys`    | conflicting use of an open file or its data, ordered on the wire    |
//! | name     | `keys`    | conflicting use of a name, ordered on the wire                      |
//! | outcome  | `keys`    | the same, overlapping on the wire: the points tell                  |
//!
//! `linearize` tells `keys` what each operation touches, in the order of the points, as soon as that
//! is final: from thread to thread, by `relay`. `edges` puts edges in order, `cycle` looks for circles, and in the end `reduce` drops
//! what other edges imply.

mod access;
mod breaks;
mod cycle;
mod edges;
mod handles;
mod keys;
mod linearize;
mod model;
mod reduce;
mod relay;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::thread;

use self::edges::Edges;
pub(crate) use self::{
    edges::{EdgeCursor, EdgeList, Piece, weakness},
    reduce::{Counts, WORKERS},
    table::{Table, TableView, Use},
};
use crate::{paged::List, threads::joined};

/// What order inference found.
#[derive(Debug, Default)]
pub(crate) struct Inferred {
    /// The edges, also those that others imply.
    pub(crate) edges: EdgeList,
    /// The point of each operation.
    points: List<u64>,
    /// Operations whose outcome no order of the overlapping ones explains.
    unexplained: u64,
    /// Inferred edges dropped because they contradicted what is known of breaks.
    contradictions: u64,
    /// Answers that later requests of their client do not wait for, as there were too many.
    forgotten: u64,
}

impl Inferred {
    /// What did not fit, and how often.
    pub(crate) fn problems(&self) -> Vec<(&'static str, u64)> {
        let mut problems = vec![
            ("outcomes that no order explains", self.unexplained),
            (
                "inferred edges that contradict a break",
                self.contradictions,
            ),
            (
                "answers that later requests do not wait for: a client knew too many",
                self.forgotten,
            ),
        ];
        problems.retain(|(_, count)| *count > 0);
        problems
    }

    /// Finds the edges that others imply, and tells of them in pieces. There are [`WORKERS`] parts
    /// of this work, whose pieces take turns. Returns how many edges of each rule stay.
    pub(crate) fn implied(&self, table: &Table, worker: usize, tell: impl FnMut(Piece)) -> Counts {
        reduce::implied(table, &self.edges, &self.points, worker, tell)
    }
}

/// Infers the edges between the operations of `table`, which forgets what only this needs.
///
/// What does not depend on each other runs on several threads.
pub(crate) fn infer(table: &mut Table) -> Inferred {
    let Found {
        points,
        unexplained,
        forgotten,
        edges,
    } = found(table);
    table.forget_facts();
    let mut edges = EdgeList::settle(table, edges, &points);
    let contradictions = cycle::untangle(&table.view(), &mut edges, &points.view());
    Inferred {
        edges,
        points,
        unexplained,
        contradictions,
        forgotten,
    }
}

/// What the rules find.
struct Found {
    points: List<u64>,
    unexplained: u64,
    forgotten: u64,
    edges: [Edges; 2],
}

fn found(table: &Table) -> Found {
    thread::scope(|scope| {
        let (mut relay, placements) = relay::relay();
        let points = scope.spawn(move || {
            let view = table.view();
            linearize::linearize(&view, |placed| relay.tell(&placed))
        });
        let by_wire = scope.spawn(|| {
            let view = table.view();
            let mut found = Edges::new(table.scratch());
            let forgotten = wire::infer(&view, &mut found);
            handles::infer(&view, &mut found);
            (found, forgotten)
        });
        let view = table.view();
        let mut by_order = Edges::new(table.scratch());
        let triggers = breaks::infer(&view, &mut by_order);
        let mut keys = keys::Keys::new(&view, &triggers);
        placements.each(|placed| {
            keys.touched(placed.op, placed.touches, &mut by_order);
            placed.gone.iter().for_each(|file| keys.forget(*file));
        });
        let (points, unexplained) = joined(points);
        let (by_wire, forgotten) = joined(by_wire);
        Found {
            points,
            unexplained,
            forgotten,
            edges: [by_wire, by_order],
        }
    })
}
