//! New numbers for what stays.

use smbench_core::{
    ids::{ClientId, ConnId, OpId, OpenRef, PrincipalRef, SessionRef, TreeRef},
    workload::{Compound, Operation, Workload},
};

use super::{index::Index, keep::Kept};

/// Old numbers to new ones, table by table.
#[derive(Debug)]
pub(super) struct Remap {
    ops: Numbers,
    clients: Numbers,
    conns: Numbers,
    principals: Numbers,
    sessions: Numbers,
    trees: Numbers,
    opens: Numbers,
}

/// New numbers by old ones.
#[derive(Debug)]
struct Numbers(Vec<u32>);

impl Numbers {
    /// Numbers what is used, in order.
    fn of(used: &[bool]) -> Self {
        let mut next = 0;
        let number = |used: &bool| {
            if !used {
                return GONE;
            }
            let number = next;
            next += 1;
            number
        };
        Self(used.iter().map(number).collect())
    }

    fn get(&self, old: u32) -> Option<u32> {
        let new = self.0.get(old as usize).copied();
        new.filter(|new| *new != GONE)
    }

    /// The new number; of what stays there is one.
    fn to(&self, old: u32) -> u32 {
        self.get(old).unwrap_or_default()
    }

    fn len(&self) -> u32 {
        let used = self.0.iter().filter(|new| **new != GONE).count();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// The items of a table that stay.
    fn keep<'a, T>(&'a self, table: &'a [T]) -> impl Iterator<Item = &'a T> + 'a {
        let both = table.iter().zip(&self.0);
        both.filter(|(_, new)| **new != GONE).map(|(item, _)| item)
    }
}

impl Remap {
    /// Numbers what operations that stay use, and what that belongs to.
    pub(super) fn new(index: &Index, kept: &Kept, workload: &Workload) -> Self {
        let mut clients = vec![false; workload.clients.len()];
        let mut conns = vec![false; workload.connections.len()];
        let mut principals = vec![false; workload.principals.len()];
        let mut sessions = vec![false; workload.sessions.len()];
        let mut trees = vec![false; workload.trees.len()];
        let mut opens = vec![false; workload.opens as usize];
        let stays: Vec<bool> = index.ids().map(|op| kept.has(op)).collect();
        for (line, _) in index.lines.iter().zip(&stays).filter(|(_, stays)| **stays) {
            mark(&mut conns, Some(line.conn.index()));
            mark(&mut clients, Some(line.client.index()));
            mark(&mut sessions, line.session.map(SessionRef::index));
            mark(&mut sessions, line.previous_session.map(SessionRef::index));
            mark(&mut principals, line.principal.map(PrincipalRef::index));
            mark(&mut trees, line.tree.map(TreeRef::index));
            mark(&mut opens, line.open.map(OpenRef::index));
            mark(&mut opens, line.reclaims.map(OpenRef::index));
        }
        for inferred in &workload.inferred_opens {
            if opens.get(inferred.open.index()) == Some(&true) {
                mark(&mut trees, inferred.tree.map(TreeRef::index));
            }
        }
        for (tree, used) in workload.trees.iter().zip(&trees) {
            mark(&mut sessions, used.then_some(tree.session.index()));
        }
        for (session, used) in workload.sessions.iter().zip(&sessions) {
            mark(&mut conns, used.then_some(session.conn.index()));
            mark(&mut principals, used.then_some(session.principal as usize));
        }
        for (conn, used) in workload.connections.iter().zip(&conns) {
            mark(&mut clients, used.then_some(conn.client.index()));
        }
        Self {
            ops: Numbers::of(&stays),
            clients: Numbers::of(&clients),
            conns: Numbers::of(&conns),
            principals: Numbers::of(&principals),
            sessions: Numbers::of(&sessions),
            trees: Numbers::of(&trees),
            opens: Numbers::of(&opens),
        }
    }

    /// The new number of an operation; none when it is left out.
    pub(super) fn op(&self, old: OpId) -> Option<OpId> {
        self.ops.get(old.0).map(OpId)
    }

    /// Puts new numbers into an operation that stays. Its edges must be those among what stays.
    pub(super) fn operation(&self, op: &mut Operation) {
        op.id = OpId(self.ops.to(op.id.0));
        op.client = ClientId(self.clients.to(op.client.0));
        op.conn = ConnId(self.conns.to(op.conn.0));
        op.session = op.session.map(|it| SessionRef(self.sessions.to(it.0)));
        op.tree = op.tree.map(|it| TreeRef(self.trees.to(it.0)));
        op.open = op.open.map(|it| OpenRef(self.opens.to(it.0)));
        op.reclaims = op.reclaims.map(|it| OpenRef(self.opens.to(it.0)));
        let previous = op.previous_session;
        op.previous_session = previous.map(|it| SessionRef(self.sessions.to(it.0)));
        let principal = op.principal;
        op.principal = principal.map(|it| PrincipalRef(self.principals.to(it.0)));
        op.resume_key_of = op.resume_key_of.map(|it| OpId(self.ops.to(it.0)));
        op.cancels = op.cancels.map(|it| OpId(self.ops.to(it.0)));
        op.compound = op.compound.map(|it| Compound {
            first: OpId(self.ops.to(it.first.0)),
            ..it
        });
        for edge in &mut op.after {
            edge.id = OpId(self.ops.to(edge.id.0));
        }
    }

    /// The tables of `workload` with what stays; provenance and coverage as they were.
    pub(super) fn tables(&self, workload: &Workload) -> Workload {
        let connections = self.conns.keep(&workload.connections).cloned();
        let connections = connections.map(|mut it| {
            it.client = ClientId(self.clients.to(it.client.0));
            it
        });
        let sessions = self.sessions.keep(&workload.sessions).cloned();
        let sessions = sessions.map(|mut it| {
            it.principal = self.principals.to(it.principal);
            it.conn = ConnId(self.conns.to(it.conn.0));
            it
        });
        let trees = self.trees.keep(&workload.trees).cloned().map(|mut it| {
            it.session = SessionRef(self.sessions.to(it.session.0));
            it
        });
        let inferred = workload.inferred_opens.iter().filter_map(|it| {
            let mut it = it.clone();
            it.open = OpenRef(self.opens.get(it.open.0)?);
            it.tree = it.tree.map(|tree| TreeRef(self.trees.to(tree.0)));
            Some(it)
        });
        Workload {
            format: workload.format,
            provenance: workload.provenance.clone(),
            clients: self.clients.keep(&workload.clients).cloned().collect(),
            connections: connections.collect(),
            principals: self
                .principals
                .keep(&workload.principals)
                .cloned()
                .collect(),
            sessions: sessions.collect(),
            trees: trees.collect(),
            inferred_opens: inferred.collect(),
            opens: self.opens.len(),
            operations: u64::from(self.ops.len()),
            coverage: workload.coverage.clone(),
        }
    }
}

fn mark(used: &mut [bool], at: Option<usize>) {
    if let Some(slot) = at.and_then(|at| used.get_mut(at)) {
        *slot = true;
    }
}

const GONE: u32 = u32::MAX;
