//! The happens-before graph as far as a diff needs it: who happened right before whom.

use std::{cmp::Reverse, collections::BinaryHeap};

use smbench_core::{
    smb2::{Command, Request},
    workload::{Action, Operation},
};

use super::Fields;

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// For every operation those right before it, by all rules; and what of it is compared.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Where each operation's list in `edges` ends.
    ends: Vec<u32>,
    edges: Vec<u32>,
    fields: Vec<u8>,
    /// Edges that lead to an earlier line: of two overlapping operations the one sent later was
    /// carried out first (rule *outcome*).
    backward: u64,
    /// Edges beyond what can be held.
    pub(super) ignored: u64,
}

impl Graph {
    /// Takes the next operation.
    pub(super) fn add(&mut self, op: &Operation) {
        let at = u32::try_from(self.ends.len()).unwrap_or(NONE);
        let full = self.edges.len() > (u32::MAX / 2) as usize;
        for edge in &op.after {
            if full {
                self.ignored += 1;
                continue;
            }
            self.backward += u64::from(edge.id.0 >= at);
            self.edges.push(edge.id.0);
        }
        // Related members of a compound share the fate of the one before. [MS-SMB2] 3.3.5.2.7.2.
        let related = op.compound.is_some_and(|it| it.related && it.position > 0);
        if let Some(before) = at.checked_sub(1).filter(|_| related && !full) {
            self.edges.push(before);
        }
        self.ends
            .push(u32::try_from(self.edges.len()).unwrap_or(NONE));
        let expect = op.expect.as_ref();
        let folder = op.cmd == Command::CREATE
            && expect
                .and_then(|it| it.attributes)
                .is_some_and(|bits| bits & ATTRIBUTE_DIRECTORY != 0);
        let login = op.cmd == Command::SESSION_SETUP;
        self.fields
            .push((u8::from(folder) * FOLDER) | (u8::from(login) * LOGIN));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The operations in an order in which every edge leads forward; that of the workload, as far
    /// as it does. What is on a cycle, which no sound workload has, comes last.
    pub(super) fn order(&self) -> Vec<u32> {
        let all = 0..u32::try_from(self.len()).unwrap_or(NONE);
        if self.backward == 0 {
            return all.collect();
        }
        let mut waits: Vec<u32> = all.clone().map(|at| count(self.before(at))).collect();
        let mut after: Vec<Vec<u32>> = vec![Vec::new(); self.len()];
        for at in all.clone() {
            for before in self.before(at) {
                if let Some(list) = after.get_mut(before as usize) {
                    list.push(at);
                }
            }
        }
        let free = |at: &u32| waits.get(*at as usize) == Some(&0);
        let mut ready: BinaryHeap<Reverse<u32>> = all.clone().filter(free).map(Reverse).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(at)) = ready.pop() {
            order.push(at);
            for next in after.get(at as usize).into_iter().flatten() {
                if let Some(left) = waits.get_mut(*next as usize) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        ready.push(Reverse(*next));
                    }
                }
            }
        }
        let stuck = |at: &u32| waits.get(*at as usize).is_some_and(|left| *left > 0);
        order.extend(all.filter(stuck));
        order
    }

    /// The operations right before `at`.
    pub(super) fn before(&self, at: u32) -> impl Iterator<Item = u32> + '_ {
        let at = at as usize;
        let end = self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or(0, |end| *end as usize);
        self.edges
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .copied()
    }

    pub(super) fn fields(&self, at: u32) -> Fields {
        let bits = self.fields.get(at as usize).copied().unwrap_or(0);
        Fields {
            free_size: bits & FOLDER != 0,
            login: bits & LOGIN != 0,
        }
    }

    /// How many operations happened before `at`.
    pub(super) fn ancestors(&self, at: u32) -> u64 {
        let mut seen = vec![0u64; self.len().div_ceil(64)];
        let mut open: Vec<u32> = self.before(at).collect();
        let mut count = 0;
        while let Some(op) = open.pop() {
            let Some(word) = seen.get_mut(op as usize / 64) else {
                continue;
            };
            let bit = 1 << (op % 64);
            if *word & bit == 0 {
                *word |= bit;
                count += 1;
                open.extend(self.before(op));
            }
        }
        count
    }
}

fn count(items: impl Iterator<Item = u32>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// The name that an operation works on.
pub(crate) fn path_of(op: &Operation) -> Option<String> {
    let named = match &op.action {
        Action::Request(Request::Create(create)) => Some(create.name.to_string()),
        Action::Request(Request::TreeConnect(connect)) => Some(connect.path.to_string()),
        _ => None,
    };
    op.path.clone().or(named)
}

const FOLDER: u8 = 1;
const LOGIN: u8 = 2;
const ATTRIBUTE_DIRECTORY: u32 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_ancestor_once() {
        let graph = Graph {
            ends: vec![0, 1, 2, 4],
            edges: vec![0, 0, 1, 2],
            fields: vec![0; 4],
            backward: 0,
            ignored: 0,
        };
        assert_eq!(graph.before(3).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(graph.ancestors(3), 3);
        assert_eq!(graph.ancestors(0), 0);
        assert_eq!(graph.before(9).count(), 0);
    }

    #[test]
    fn an_edge_to_an_earlier_line_still_leads_forward() {
        // 0 waits for 2, which waits for 1.
        let graph = Graph {
            ends: vec![1, 1, 2, 3],
            edges: vec![2, 1, 0],
            fields: vec![0; 4],
            backward: 1,
            ignored: 0,
        };
        assert_eq!(graph.order(), [1, 2, 0, 3]);
        assert_eq!(graph.ancestors(3), 3);
    }
}
