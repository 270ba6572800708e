//! The happens-before graph at run time: flat successor lists and counters.
//!
//! An edge says that an operation may be issued once another has come so far. The graph is built
//! once, checked for cycles with Kahn's method, and then only read; progress lives in
//! [`Progress`]. petgraph names the operations of a cycle where there is one.
//!
//! Ten million operations and thirty million edges take four bytes an edge and eight an operation.

use std::collections::BTreeMap;

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};
use thiserror::Error;

use crate::{event::Milestone, ids::OpId};

/// What is wrong with a set of edges.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OrderError {
    /// Operations that wait for each other.
    #[error("operations wait for each other: {}", list(.operations))]
    Cycle {
        /// One cycle's operations, ascending.
        operations: Vec<OpId>,
    },
    /// An edge to or from an operation that is not in the workload.
    #[error("operation {op} is named by an edge, but there are only {operations} operations")]
    Dangling {
        /// The operation named.
        op: OpId,
        /// How many there are.
        operations: usize,
    },
    /// More operations or edges than ids.
    #[error("{count} edges are more than the graph can hold")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// One edge: `to` may be issued once `from` has reached `on`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arc {
    /// The operation waited for.
    pub from: OpId,
    /// The operation that waits.
    pub to: OpId,
    /// How far `from` must have come.
    pub on: Milestone,
}

/// The graph: for every operation, who waits for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OrderGraph {
    starts: Vec<u32>,
    targets: Vec<u32>,
    in_degree: Vec<u32>,
}

/// What is still waited for.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    left: Vec<u32>,
}

impl OrderGraph {
    /// Builds the graph over `operations` operations. Duplicate edges are kept (they cost a
    /// counter), edges from an operation to itself are dropped.
    ///
    /// # Errors
    ///
    /// [`OrderError`] when an edge leaves the workload, when there are too many, or when
    /// operations wait for each other.
    pub fn build(operations: usize, arcs: &[Arc]) -> Result<Self, OrderError> {
        let mut builder = OrderBuilder::default();
        for arc in arcs {
            builder.push(*arc);
        }
        builder.build(operations)
    }

    /// The operations that wait for `op` to reach exactly `on`.
    pub fn waiting(&self, op: OpId, on: Milestone) -> impl Iterator<Item = OpId> + '_ {
        self.targets_of(op).iter().filter_map(move |&packed| {
            let (to, at) = unpack(packed);
            (at == on).then_some(to)
        })
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_degree.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_degree.is_empty()
    }

    /// A fresh count of what is waited for.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            left: self.in_degree.clone(),
        }
    }

    fn targets_of(&self, op: OpId) -> &[u32] {
        let at = op.index();
        let range = match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&from), Some(&to)) => from as usize..to as usize,
            _ => 0..0,
        };
        self.targets.get(range).unwrap_or_default()
    }

    /// Counts the edges of each operation, and makes room for them.
    fn count(&mut self, operations: usize, arcs: &[Packed]) -> Result<(), OrderError> {
        for arc in arcs {
            let (from, to) = (arc.from, arc.to());
            for op in [from, to] {
                if op.index() >= operations {
                    return Err(OrderError::Dangling { op, operations });
                }
            }
            if from == to {
                continue;
            }
            if let Some(start) = self.starts.get_mut(from.index() + 1) {
                *start += 1;
            }
            if let Some(degree) = self.in_degree.get_mut(to.index()) {
                *degree += 1;
            }
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.targets = vec![0; sum as usize];
        Ok(())
    }

    /// Places the edges; `starts` is where the next one of each operation goes, and is put back.
    fn place(&mut self, arcs: &[Packed]) {
        for arc in arcs.iter().filter(|arc| arc.from != arc.to()) {
            let Some(slot) = self.starts.get_mut(arc.from.index()) else {
                continue;
            };
            if let Some(target) = self.targets.get_mut(*slot as usize) {
                *target = arc.to_on;
            }
            *slot += 1;
        }
        // Each start has moved to the next operation's.
        let mut before = 0;
        for start in &mut self.starts {
            before = std::mem::replace(start, before);
        }
    }

    /// Whether nothing waits for itself.
    ///
    /// What goes around has to come back: a cycle has an edge to an earlier operation, and lies
    /// within operations that such edges span without a gap. Kahn's method looks at those alone.
    fn is_acyclic(&self) -> bool {
        let mut spans: Vec<(u32, u32)> = Vec::new();
        for from in (0..).take(self.len()) {
            let earlier = self.targets_of(OpId(from)).iter().map(|it| unpack(*it).0.0);
            spans.extend(earlier.filter(|to| *to < from).map(|to| (to, from)));
        }
        spans.sort_unstable();
        let mut spans = spans.into_iter().peekable();
        while let Some((first, mut last)) = spans.next() {
            while let Some((_, end)) = spans.next_if(|(start, _)| *start <= last) {
                last = last.max(end);
            }
            if !self.is_acyclic_within(first, last) {
                return false;
            }
        }
        true
    }

    /// Kahn's method on the operations from `first` to `last`: whoever is never released is on a
    /// cycle, or behind one.
    fn is_acyclic_within(&self, first: u32, last: u32) -> bool {
        let inside = |op: u32| {
            let targets = self.targets_of(OpId(op)).iter();
            let targets = targets.map(|packed| unpack(*packed).0.0);
            targets.filter(|to| (first..=last).contains(to))
        };
        let place = |op: u32| (op - first) as usize;
        let mut left = vec![0u32; place(last) + 1];
        for to in (first..=last).flat_map(inside) {
            if let Some(left) = left.get_mut(place(to)) {
                *left += 1;
            }
        }
        let free = |op: &u32| left.get(place(*op)) == Some(&0);
        let mut ready: Vec<u32> = (first..=last).filter(free).collect();
        let mut done = 0;
        while let Some(op) = ready.pop() {
            done += 1;
            for to in inside(op) {
                let Some(left) = left.get_mut(place(to)) else {
                    continue;
                };
                *left -= 1;
                if *left == 0 {
                    ready.push(to);
                }
            }
        }
        done == left.len()
    }

    /// The operations of one cycle; none when there is none.
    fn cycle(&self) -> Vec<OpId> {
        let mut progress = self.progress();
        let mut ready: Vec<OpId> = progress.roots().collect();
        while let Some(op) = ready.pop() {
            for &packed in self.targets_of(op) {
                let (to, _) = unpack(packed);
                if progress.release(to) {
                    ready.push(to);
                }
            }
        }
        progress.one_cycle(self)
    }
}

/// One edge in eight bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    from: OpId,
    to_on: u32,
}

impl Packed {
    fn to(self) -> OpId {
        unpack(self.to_on).0
    }
}

/// Collects the edges of an [`OrderGraph`].
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderBuilder {
    arcs: Vec<Packed>,
    /// An operation of a number that no graph can have.
    beyond: Option<OpId>,
}

impl OrderBuilder {
    pub(crate) fn push(&mut self, arc: Arc) {
        if arc.to.0 > TARGET_MASK {
            self.beyond = self.beyond.or(Some(arc.to));
            return;
        }
        self.arcs.push(Packed {
            from: arc.from,
            to_on: pack(arc.to, arc.on),
        });
    }

    /// As [`OrderGraph::build`].
    pub(crate) fn build(self, operations: usize) -> Result<OrderGraph, OrderError> {
        let count = self.arcs.len();
        let fits = |n: usize| u32::try_from(n).is_ok_and(|n| n <= TARGET_MASK);
        if !fits(count) || !fits(operations) {
            return Err(OrderError::TooMany { count });
        }
        if let Some(op) = self.beyond {
            return Err(OrderError::Dangling { op, operations });
        }
        let mut graph = OrderGraph {
            starts: vec![0; operations + 1],
            targets: Vec::new(),
            in_degree: vec![0; operations],
        };
        graph.count(operations, &self.arcs)?;
        graph.place(&self.arcs);
        drop(self.arcs);
        if graph.is_acyclic() {
            return Ok(graph);
        }
        Err(OrderError::Cycle {
            operations: graph.cycle(),
        })
    }
}

impl Progress {
    /// The operations that wait for nothing.
    pub fn roots(&self) -> impl Iterator<Item = OpId> + '_ {
        (0u32..)
            .zip(&self.left)
            .filter(|(_, left)| **left == 0)
            .map(|(op, _)| OpId(op))
    }

    /// One thing less that `op` waits for; whether that was the last.
    pub fn release(&mut self, op: OpId) -> bool {
        match self.left.get_mut(op.index()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                *left == 0
            }
            _ => false,
        }
    }

    /// How many things `op` waits for.
    #[must_use]
    pub fn waits_for(&self, op: OpId) -> u32 {
        self.left.get(op.index()).copied().unwrap_or(0)
    }

    fn one_cycle(&self, order: &OrderGraph) -> Vec<OpId> {
        let stuck = |op: OpId| self.waits_for(op) > 0;
        let mut graph = DiGraphMap::<u32, ()>::new();
        for from in (0..).map(OpId).take(order.len()).filter(|op| stuck(*op)) {
            let targets = order.targets_of(from).iter().map(|it| unpack(*it).0);
            for to in targets.filter(|to| stuck(*to)) {
                graph.add_edge(from.0, to.0, ());
            }
        }
        let mut cycle: Vec<OpId> = kosaraju_scc(&graph)
            .into_iter()
            .filter(|component| component.len() > 1)
            .min_by_key(Vec::len)
            .unwrap_or_default()
            .into_iter()
            .map(OpId)
            .collect();
        cycle.sort_unstable();
        cycle
    }
}

/// The connected components of the graph's clients: the shards that never wait for each other.
///
/// `client_of` gives the client of each operation. Returns the shard of each client, numbered
/// from 0 by the lowest client in it.
#[must_use]
pub fn shards(clients: usize, arcs: &[Arc], client_of: impl Fn(OpId) -> usize) -> Vec<u32> {
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(clients);
    for arc in arcs {
        let (from, to) = (client_of(arc.from), client_of(arc.to));
        if from < clients && to < clients {
            sets.union(from, to);
        }
    }
    let mut numbers = BTreeMap::new();
    (0..clients)
        .map(|client| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(sets.find(client)).or_insert(next)
        })
        .collect()
}

const TARGET_BITS: u32 = 30;
const TARGET_MASK: u32 = (1 << TARGET_BITS) - 1;

fn pack(to: OpId, on: Milestone) -> u32 {
    let tag = match on {
        Milestone::Sent => 0,
        Milestone::Interim => 1,
        Milestone::Response => 2,
    };
    to.0 | tag << TARGET_BITS
}

fn unpack(packed: u32) -> (OpId, Milestone) {
    let on = match packed >> TARGET_BITS {
        0 => Milestone::Sent,
        1 => Milestone::Interim,
        _ => Milestone::Response,
    };
    (OpId(packed & TARGET_MASK), on)
}

fn list(operations: &[OpId]) -> String {
    let shown: Vec<String> = operations.iter().take(8).map(ToString::to_string).collect();
    let more = operations.len().saturating_sub(8);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arc(from: u32, to: u32) -> Arc {
        Arc {
            from: OpId(from),
            to: OpId(to),
            on: Milestone::Response,
        }
    }

    #[test]
    fn releases_in_order_of_milestones() {
        let sent = Arc {
            on: Milestone::Sent,
            ..arc(0, 1)
        };
        let graph = OrderGraph::build(3, &[sent, arc(0, 2), arc(1, 2)]).expect("acyclic");
        assert_eq!(
            graph.waiting(OpId(0), Milestone::Sent).collect::<Vec<_>>(),
            [OpId(1)]
        );
        assert_eq!(
            graph
                .waiting(OpId(0), Milestone::Response)
                .collect::<Vec<_>>(),
            [OpId(2)]
        );
        let mut progress = graph.progress();
        assert_eq!(progress.roots().collect::<Vec<_>>(), [OpId(0)]);
        assert!(progress.release(OpId(1)));
        assert!(!progress.release(OpId(2)));
        assert!(progress.release(OpId(2)));
        assert!(!progress.release(OpId(2)), "nothing left to release");
    }

    #[test]
    fn names_the_operations_of_a_cycle() {
        let arcs = [arc(0, 1), arc(1, 2), arc(2, 3), arc(3, 1), arc(3, 4)];
        let error = OrderGraph::build(5, &arcs).expect_err("a cycle");
        assert_eq!(
            error,
            OrderError::Cycle {
                operations: vec![OpId(1), OpId(2), OpId(3)]
            }
        );
        assert_eq!(error.to_string(), "operations wait for each other: 1, 2, 3");
    }

    #[test]
    fn survives_a_chain_of_a_hundred_and_fifty_thousand() {
        let arcs: Vec<Arc> = (0..150_000).map(|at| arc(at, at + 1)).collect();
        assert_eq!(
            OrderGraph::build(150_001, &arcs).expect("acyclic").len(),
            150_001
        );
        let mut ring = arcs;
        ring.push(arc(150_000, 0));
        assert!(matches!(
            OrderGraph::build(150_001, &ring),
            Err(OrderError::Cycle { .. })
        ));
    }

    #[test]
    fn finds_cycles_across_overlapping_spans_and_clears_what_only_looks_so() {
        // 5 waits for 2 and 3 for 0, but nothing leads back down across them.
        let harmless = [arc(5, 2), arc(3, 0), arc(0, 1), arc(1, 4)];
        assert!(OrderGraph::build(6, &harmless).is_ok());
        // Up from 0 to 5, down by way of 3 and 2.
        let ring = [arc(0, 5), arc(5, 2), arc(2, 3), arc(3, 0)];
        assert_eq!(
            OrderGraph::build(6, &ring).expect_err("a cycle"),
            OrderError::Cycle {
                operations: [0, 2, 3, 5].map(OpId).to_vec()
            }
        );
    }

    #[test]
    fn refuses_edges_out_of_the_workload() {
        let error = OrderGraph::build(2, &[arc(0, 7)]).expect_err("dangling");
        assert_eq!(
            error,
            OrderError::Dangling {
                op: OpId(7),
                operations: 2
            }
        );
    }

    #[test]
    fn groups_clients_that_wait_for_each_other() {
        let client_of = |op: OpId| op.index();
        assert_eq!(shards(4, &[arc(1, 3)], client_of), [0, 1, 2, 1]);
    }
}
