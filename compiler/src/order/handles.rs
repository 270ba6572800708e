//! Rules *handle* and *setup*: what must exist before it can be used.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use smbench_core::{
    event::Milestone,
    ids::{ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::Command,
    workload::Rule,
};

use super::{
    access::Deed,
    edges::Edges,
    table::{Kind, Row, TableView},
};
use crate::{map::Map, opens::Scope, paged::List};

/// What has been set up so far.
#[derive(Debug, Default)]
struct Known {
    negotiated: BTreeMap<ConnId, OpId>,
    sessions: BTreeMap<SessionRef, OpId>,
    bound: BTreeMap<(ConnId, SessionRef), OpId>,
    homes: BTreeMap<SessionRef, ConnId>,
    /// SESSION_SETUPs from other connections to sessions of this one.
    visits: BTreeMap<ConnId, Vec<OpId>>,
    trees: BTreeMap<TreeRef, OpId>,
    /// By open: the CREATE that made it.
    made_by: List<Option<OpId>>,
    /// Who used an open, until it is closed.
    used_by: Map<OpenRef, Vec<OpId>>,
    /// Sessions that a login replaces.
    replaced: BTreeMap<SessionRef, Replaced>,
}

#[derive(Debug, Default)]
struct Replaced {
    /// Who used it, and when that was answered.
    used_by: BinaryHeap<Reverse<(u64, OpId)>>,
    by: Option<OpId>,
}

pub(super) fn infer(table: &TableView<'_>, edges: &mut Edges) {
    let replaced = table.replaced().map(|it| (it, Replaced::default()));
    let mut known = Known {
        made_by: List::new(table.scratch()),
        replaced: replaced.collect(),
        ..Known::default()
    };
    for (id, row) in table.rows() {
        known.set_up(id, &row, edges);
        known.visit(id, &row, table, edges);
        known.use_handle(id, &row, table, edges);
        known.replace_session(id, &row, table, edges);
    }
}

impl Known {
    fn set_up(&mut self, id: OpId, row: &Row, edges: &mut Edges) {
        let waits = |from: Option<&OpId>, edges: &mut Edges| {
            if let Some(from) = from {
                edges.add(*from, id, Rule::Setup, Milestone::Response);
            }
        };
        let conn = row.conn();
        match (row.kind, row.cmd, row.session()) {
            (Kind::Break | Kind::Disconnect, ..) => {}
            (_, Command::NEGOTIATE, _) => {
                waits(self.negotiated.get(&conn), edges);
                self.negotiated.insert(conn, id);
            }
            (_, Command::SESSION_SETUP, Some(session)) => {
                waits(self.negotiated.get(&conn), edges);
                waits(self.bound.get(&(conn, session)), edges);
                waits(self.sessions.get(&session), edges);
                self.sessions.insert(session, id);
                self.bound.insert((conn, session), id);
            }
            (_, Command::TREE_CONNECT, Some(session)) => {
                waits(self.sessions.get(&session), edges);
                if let Some(tree) = row.tree() {
                    self.trees.insert(tree, id);
                }
            }
            (_, _, Some(session)) => {
                match row.tree().and_then(|tree| self.trees.get(&tree)) {
                    Some(tree) => waits(Some(tree), edges),
                    None => waits(self.sessions.get(&session), edges),
                }
                let bound = self.bound.get(&(conn, session));
                if bound != self.sessions.get(&session) {
                    waits(bound, edges);
                }
            }
            _ => waits(self.negotiated.get(&conn), edges),
        }
    }

    /// A login that replaces a session ends what is done in it. [MS-SMB2] 3.3.5.5.3
    fn replace_session(&mut self, id: OpId, row: &Row, table: &TableView<'_>, edges: &mut Edges) {
        let sent = row.span().request;
        let session = row.session().and_then(|it| self.replaced.get_mut(&it));
        if let Some(session) = session.filter(|_| row.is_request()) {
            let by = session.by.filter(|by| {
                let response = table.span(*by).and_then(|span| span.response);
                response.is_some_and(|at| at < sent)
            });
            if let Some(by) = by {
                edges.add(by, id, Rule::Setup, Milestone::Response);
            }
            let response = row.span().response;
            session.used_by.extend(response.map(|at| Reverse((at, id))));
        }
        let replaces = table.links(id).replaces;
        let Some((old, session)) = replaces.and_then(|it| Some((it, self.replaced.get_mut(&it)?)))
        else {
            return;
        };
        while let Some(Reverse((at, user))) = session.used_by.peek().copied()
            && at < sent
        {
            session.used_by.pop();
            edges.add(user, id, Rule::Setup, Milestone::Response);
        }
        // Only the last leg does it.
        let ends = table.facts(id).map(|facts| facts.deed);
        if ends == Some(Deed::End(Scope::Session(old))) {
            session.by = Some(id);
        }
    }

    /// A session ends with its last connection ([MS-SMB2] 3.3.7.1): that waits for others who were
    /// answered while it was there, of whatever client, as binding names sessions across clients.
    fn visit(&mut self, id: OpId, row: &Row, table: &TableView<'_>, edges: &mut Edges) {
        let conn = row.conn();
        match (row.kind, row.cmd, row.session()) {
            (Kind::Disconnect, ..) => {
                let ends = row.span().request;
                for visit in self.visits.remove(&conn).unwrap_or_default() {
                    let answered = table.span(visit).and_then(|span| span.response);
                    if answered.is_some_and(|at| at < ends) {
                        edges.add(visit, id, Rule::Setup, Milestone::Response);
                    }
                }
            }
            (Kind::Break, ..) => {}
            (_, Command::SESSION_SETUP, Some(session)) => {
                let home = *self.homes.entry(session).or_insert(conn);
                if home != conn {
                    self.visits.entry(home).or_default().push(id);
                }
            }
            _ => {}
        }
    }

    fn made_by(&mut self, open: OpenRef) -> Option<OpId> {
        self.made_by.get(open.index())?
    }

    fn use_handle(&mut self, id: OpId, row: &Row, table: &TableView<'_>, edges: &mut Edges) {
        let links = table.links(id);
        if let Some(by) = links.reclaims.and_then(|open| self.made_by(open)) {
            edges.add(by, id, Rule::Handle, Milestone::Response);
        }
        if let Some(key_from) = links.resume_key_of {
            edges.add(key_from, id, Rule::Handle, Milestone::Response);
        }
        if let Some(target) = links.cancels {
            edges.add(target, id, Rule::Handle, Milestone::Sent);
        }
        let Some(open) = row.open().filter(|_| row.is_request()) else {
            return;
        };
        if row.cmd == Command::CREATE {
            self.made_by.put(open.index(), Some(id));
            self.used_by.remove(&open);
            return;
        }
        let Some(by) = self.made_by(open) else {
            return;
        };
        edges.add(by, id, Rule::Handle, Milestone::Response);
        if row.cmd != Command::CLOSE {
            self.used_by.entry(open).or_default().push(id);
            return;
        }
        let sent = row.span().request;
        for user in self.used_by.remove(&open).unwrap_or_default() {
            let answered = table.span(user).and_then(|span| span.response);
            if answered.is_some_and(|at| at < sent) {
                edges.add(user, id, Rule::Handle, Milestone::Response);
            }
        }
    }
}
