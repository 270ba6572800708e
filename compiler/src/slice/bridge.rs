//! The order among what stays, where what lay between is left out.
//!
//! A before B before C, and B goes: then C still waits for A. It waits until A has come as far as
//! B had to wait for, which is all that is sure: B can have been sent at once, and C upon that. The
//! rule of such an edge is the weakest on its way; between two clients, the weakest of the steps
//! from one client to another. Of these edges only those stay that no others imply, as far as a
//! short search tells.
//!
//! Compounds are sent as one: whoever waits for a member of one that is left out waits for
//! whatever the compound waited for.

use std::{collections::BTreeMap, rc::Rc};

use smbench_core::{
    event::Milestone,
    ids::OpId,
    workload::{Edge, Rule},
};

use super::{SliceError, index::Index, keep::Kept};
use crate::{
    map::{Map, Set},
    order::weakness,
};

/// The order among what stays.
#[derive(Debug)]
pub(super) struct Bridged {
    /// Edges of each operation, by its old number; none of what is left out.
    edges: Vec<Vec<Edge>>,
    /// Edges that stand for a way through what is left out.
    pub(super) made: u64,
    /// Ways that were given up, as there were too many.
    pub(super) given_up: u64,
}

impl Bridged {
    pub(super) fn after(&self, op: OpId) -> &[Edge] {
        self.edges
            .get(op.index())
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// A way from something that stays, through what is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Way {
    from: OpId,
    on: Milestone,
    weakest: Rule,
    /// The weakest rule of a step between clients.
    across: Option<Rule>,
    inferred: bool,
}

/// Finds the order among what stays.
pub(super) fn bridge(index: &Index, kept: &Kept) -> Result<Bridged, SliceError> {
    let mut builder = Builder {
        index,
        kept,
        out: Bridged {
            edges: vec![Vec::new(); index.len()],
            made: 0,
            given_up: 0,
        },
        ways: Map::default(),
        waiting: vec![0; index.len()],
        room: ROOM.saturating_add(index.edges().saturating_mul(FEW)),
    };
    if kept.count == index.len() {
        for op in index.ids() {
            builder.write(op, index.after(op).to_vec());
        }
        return Ok(builder.out);
    }
    let order = builder.order()?;
    for leader in order {
        if kept.has(leader) {
            builder.stays(leader);
        } else {
            builder.goes(leader);
        }
    }
    Ok(builder.out)
}

struct Builder<'a> {
    index: &'a Index,
    kept: &'a Kept,
    out: Bridged,
    /// Ways to each compound that is left out and still waited for.
    ways: Map<OpId, Rc<[Way]>>,
    /// How many edges of later operations lead from each compound.
    waiting: Vec<u32>,
    /// How many ways may still be gathered; behind that, [`FEW`] for each compound.
    room: usize,
}

impl Builder<'_> {
    /// Compounds in an order that all edges follow; counts who waits for whom.
    fn order(&mut self) -> Result<Vec<OpId>, SliceError> {
        let count = self.index.len();
        let mut left = vec![0_u32; count];
        for (from, to) in arcs(self.index) {
            bump(&mut self.waiting, from);
            bump(&mut left, to);
        }
        let mut starts = vec![0_usize; count + 1];
        let mut sum = 0;
        for (start, waiting) in starts.iter_mut().zip(self.waiting.iter().chain([&0])) {
            *start = sum;
            sum += *waiting as usize;
        }
        let mut targets = vec![OpId(0); sum];
        let mut next = starts.clone();
        for (from, to) in arcs(self.index) {
            if let Some(at) = next.get_mut(from.index()) {
                if let Some(slot) = targets.get_mut(*at) {
                    *slot = to;
                }
                *at += 1;
            }
        }
        let leads = |op: &OpId| self.index.leader(*op) == *op;
        let free = |op: &OpId| left.get(op.index()) == Some(&0);
        let mut order: Vec<OpId> = self.index.ids().filter(leads).filter(free).collect();
        let leaders = self.index.ids().filter(leads).count();
        let mut at = 0;
        while let Some(op) = order.get(at).copied() {
            at += 1;
            let range = starts.get(op.index()).zip(starts.get(op.index() + 1));
            let range = range.map_or(0..0, |(from, to)| *from..*to);
            for to in targets.get(range).unwrap_or_default() {
                if let Some(left) = left.get_mut(to.index()) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        order.push(*to);
                    }
                }
            }
        }
        if order.len() < leaders {
            let stuck = left.iter().position(|left| *left > 0).unwrap_or_default();
            let op = OpId(u32::try_from(stuck).unwrap_or(u32::MAX));
            return Err(SliceError::Circle { op });
        }
        Ok(order)
    }

    fn members(&self, leader: OpId) -> Vec<OpId> {
        let members = self.index.members.get(&leader).cloned();
        members.unwrap_or_else(|| vec![leader])
    }

    /// A compound is left out: the ways to it are the ways to whoever waits for it.
    fn goes(&mut self, leader: OpId) {
        let mut ways: Vec<Way> = Vec::new();
        let mut same: Option<Rc<[Way]>> = None;
        let mut sources = 0;
        for member in self.members(leader) {
            for edge in self.edges(member) {
                let before = ways.len();
                self.reach(member, &edge, &mut ways);
                sources += 1;
                let found = ways.get(before..).unwrap_or_default();
                let known = self.ways.get(&self.index.leader(edge.id));
                same = known.filter(|known| known[..] == *found).cloned();
            }
        }
        let shared = same.filter(|_| sources == 1);
        self.release(leader);
        if self.waiting.get(leader.index()) == Some(&0) {
            return;
        }
        let ways = shared.unwrap_or_else(|| {
            self.gather(&mut ways);
            self.prune(leader, &mut ways, &BTreeMap::new());
            ways.into()
        });
        self.ways.insert(leader, ways);
    }

    /// A compound stays: what its members wait for.
    fn stays(&mut self, leader: OpId) {
        for member in self.members(leader) {
            let mut direct: BTreeMap<OpId, Edge> = BTreeMap::new();
            let mut ways: Vec<Way> = Vec::new();
            for edge in self.index.after(member) {
                if self.kept.has(edge.id) {
                    direct.insert(edge.id, *edge);
                } else if self.index.leader(edge.id) != leader {
                    self.reach(member, edge, &mut ways);
                }
            }
            self.gather(&mut ways);
            ways.retain(|way| {
                let known = direct.get(&way.from);
                known.is_none_or(|edge| edge.on < way.on) && self.index.leader(way.from) != leader
            });
            self.prune(member, &mut ways, &direct);
            self.out.made += u64::try_from(ways.len()).unwrap_or(u64::MAX);
            for way in ways {
                direct.insert(way.from, self.edge(member, &way));
            }
            self.write(member, direct.into_values().collect());
        }
        self.release(leader);
    }

    /// Of several ways from one operation the one that says most; of too many those from the latest.
    fn gather(&mut self, ways: &mut Vec<Way>) {
        merge(ways);
        let few = ways.len().min(FEW);
        match self.room.checked_sub(ways.len()) {
            Some(room) => self.room = room,
            None => {
                let gone = ways.drain(..ways.len() - few).count();
                self.out.given_up += u64::try_from(gone).unwrap_or(u64::MAX);
            }
        }
    }

    fn write(&mut self, op: OpId, edges: Vec<Edge>) {
        if let Some(slot) = self.out.edges.get_mut(op.index()) {
            *slot = edges;
        }
    }

    /// Edges of an operation from outside its compound.
    fn edges(&self, op: OpId) -> Vec<Edge> {
        let leader = self.index.leader(op);
        let outside = |edge: &&Edge| self.index.leader(edge.id) != leader;
        self.index
            .after(op)
            .iter()
            .filter(outside)
            .copied()
            .collect()
    }

    /// The ways that end with `edge` to `to`.
    fn reach(&self, to: OpId, edge: &Edge, ways: &mut Vec<Way>) {
        let crosses = !self.one_client(edge.id, to);
        if self.kept.has(edge.id) {
            ways.push(Way {
                from: edge.id,
                on: edge.on,
                weakest: edge.rule,
                across: crosses.then_some(edge.rule),
                inferred: edge.inferred,
            });
            return;
        }
        let known = self.ways.get(&self.index.leader(edge.id));
        ways.extend(known.into_iter().flat_map(|ways| ways.iter()).map(|way| {
            let across = match (way.across, crosses) {
                (Some(rule), true) => Some(weaker(rule, edge.rule)),
                (None, true) => Some(edge.rule),
                (known, false) => known,
            };
            Way {
                weakest: weaker(way.weakest, edge.rule),
                across,
                inferred: way.inferred || edge.inferred,
                ..*way
            }
        }));
    }

    fn one_client(&self, a: OpId, b: OpId) -> bool {
        let client = |op| self.index.line(op).map(|line| line.client);
        client(a) == client(b)
    }

    fn edge(&self, to: OpId, way: &Way) -> Edge {
        let rule = match way.across {
            Some(rule) if !self.one_client(way.from, to) => rule,
            _ => way.weakest,
        };
        Edge {
            id: way.from,
            rule,
            on: way.on,
            inferred: way.inferred,
        }
    }

    /// Nobody who comes before `leader` is waited for by it any more.
    fn release(&mut self, leader: OpId) {
        for member in self.members(leader) {
            for edge in self.edges(member) {
                let from = self.index.leader(edge.id);
                if let Some(waiting) = self.waiting.get_mut(from.index()) {
                    *waiting = waiting.saturating_sub(1);
                    if *waiting == 0 {
                        self.ways.remove(&from);
                    }
                }
            }
        }
    }

    /// Drops ways to `to` from what another of them, or an edge, already waits for. What one client
    /// did stays in order by its own operations alone, since `--order client` knows no others.
    fn prune(&self, to: OpId, ways: &mut Vec<Way>, direct: &BTreeMap<OpId, Edge>) {
        if ways.is_empty() || ways.len() + direct.len() < 2 {
            return;
        }
        let mut open: Map<OpId, Milestone> = ways.iter().map(|it| (it.from, it.on)).collect();
        let lowest = ways.iter().map(|way| way.from).min().unwrap_or_default();
        let ends = ways.iter().map(|way| way.from);
        let ends = ends.chain(direct.keys().copied());
        let mut work: Vec<(OpId, bool)> = ends.map(|op| (op, self.one_client(op, to))).collect();
        // The latest first: they imply most.
        work.sort_unstable();
        let mut visits = VISITS + 4 * work.len();
        let mut looks = LOOKS * visits;
        let mut seen = Set::default();
        while let Some((op, own)) = work.pop() {
            if visits == 0 || !seen.insert((self.index.leader(op), own)) {
                continue;
            }
            visits -= 1;
            for member in self.members(self.index.leader(op)) {
                for edge in self.out.after(member) {
                    let Some(left) = looks.checked_sub(1) else {
                        break;
                    };
                    looks = left;
                    let of_client = self.one_client(edge.id, to);
                    let implied = open.get(&edge.id).is_some_and(|on| *on <= edge.on);
                    if implied && (own || !of_client) {
                        open.remove(&edge.id);
                    }
                    if edge.id >= lowest {
                        work.push((edge.id, own && of_client));
                    }
                }
            }
        }
        ways.retain(|way| open.contains_key(&way.from));
    }
}

/// All edges, from compound to compound.
fn arcs(index: &Index) -> impl Iterator<Item = (OpId, OpId)> + '_ {
    index.ids().flat_map(move |op| {
        let to = index.leader(op);
        let froms = index
            .after(op)
            .iter()
            .map(move |edge| index.leader(edge.id));
        froms
            .filter(move |from| *from != to)
            .map(move |from| (from, to))
    })
}

fn bump(counts: &mut [u32], op: OpId) {
    if let Some(count) = counts.get_mut(op.index()) {
        *count += 1;
    }
}

/// Of several ways from one operation the one that says most.
fn merge(ways: &mut Vec<Way>) {
    let rank = |way: &Way| (way.from, std::cmp::Reverse(way.on), weakness(way.weakest));
    ways.sort_by_key(rank);
    ways.dedup_by(|other, first| {
        let same = other.from == first.from;
        if same && other.on == first.on && !other.inferred {
            first.inferred = false;
        }
        same
    });
}

fn weaker(a: Rule, b: Rule) -> Rule {
    if weakness(a) >= weakness(b) { a } else { b }
}

/// Operations that a search for implied edges visits at least, and edges of each of them on average.
const VISITS: usize = 64;
const LOOKS: usize = 16;
/// Ways that are gathered in any case, and for each edge behind that.
const ROOM: usize = 4 << 20;
const FEW: usize = 64;
