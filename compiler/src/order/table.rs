//! What order inference knows of each operation: some fifty bytes, so that a workload of millions
//! fits in memory while the operations themselves wait on disk.

use std::{collections::BTreeMap, ops::Range};

use smbench_core::{
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, ContextData, Lease, NtStatus, Request},
    workload::{Action, BreakNotice, Operation, Workload},
};

use super::access::{Facts, NameId, Names, Opening};
use crate::wire_span::WireSpan;

/// What kind of operation it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Kind {
    #[default]
    Request,
    /// The acknowledgement of an oplock break.
    OplockAck,
    Smb1,
    Break,
    Disconnect,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) cmd: Command,
    pub(super) kind: Kind,
    /// Its ids were refused as unknown.
    refused: bool,
    conn: u32,
    session: u32,
    tree: u32,
    open: u32,
    /// The first of its compound, or itself.
    first: u32,
    request: u64,
    /// Messages from the request to the interim and final responses.
    interim: u32,
    response: u32,
}

impl Row {
    pub(super) fn conn(&self) -> ConnId {
        ConnId(self.conn)
    }

    pub(super) fn session(&self) -> Option<SessionRef> {
        some(self.session).map(SessionRef)
    }

    pub(super) fn tree(&self) -> Option<TreeRef> {
        some(self.tree).map(TreeRef)
    }

    pub(super) fn open(&self) -> Option<OpenRef> {
        some(self.open).map(OpenRef)
    }

    /// The operation that names its compound, or itself.
    pub(super) fn leader(&self) -> OpId {
        OpId(self.first)
    }

    /// When it was sent.
    pub(super) fn sent(&self) -> u64 {
        self.request
    }

    pub(super) fn span(&self) -> WireSpan {
        let after = |distance| Some(self.request.saturating_add(some(distance)?.into()));
        WireSpan {
            request: self.request,
            interim: after(self.interim),
            response: after(self.response),
        }
    }

    pub(super) fn is_request(&self) -> bool {
        matches!(self.kind, Kind::Request | Kind::OplockAck)
    }
}

/// Other operations that an operation names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Links {
    pub(super) reclaims: Option<OpenRef>,
    /// The session that a login replaces.
    pub(super) replaces: Option<SessionRef>,
    pub(super) resume_key_of: Option<OpId>,
    pub(super) cancels: Option<OpId>,
}

/// The key of a lease.
pub(super) type LeaseKey = [u8; 16];

/// All operations, by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    facts: Vec<Facts>,
    openings: Vec<Opening>,
    links: BTreeMap<OpId, Links>,
    notices: BTreeMap<OpId, BreakNotice>,
    /// CREATEs that asked for a lease, and which.
    leases: Vec<(OpId, LeaseKey)>,
    /// Acknowledgements of lease breaks.
    lease_acks: BTreeMap<OpId, LeaseKey>,
    /// By connection.
    clients: Vec<ClientId>,
    names: Names,
}

impl Table {
    /// Notes the next operation, which has its final form.
    pub(crate) fn push(&mut self, workload: &Workload, op: &Operation, span: WireSpan) {
        self.reserve();
        self.set(workload, op, span);
    }

    /// Leaves the next place to an operation that [`Table::set`] notes later.
    pub(crate) fn reserve(&mut self) {
        let first = u32::try_from(self.rows.len()).unwrap_or(NONE);
        self.rows.push(Row {
            cmd: Command(0),
            kind: Kind::Request,
            refused: false,
            conn: 0,
            session: NONE,
            tree: NONE,
            open: NONE,
            first,
            request: 0,
            interim: NONE,
            response: NONE,
        });
        self.facts.push(Facts::default());
    }

    /// Notes an operation in its place.
    pub(crate) fn set(&mut self, workload: &Workload, op: &Operation, span: WireSpan) {
        let facts = self.names.facts(workload, op, &mut self.openings);
        if let Some(slot) = self.facts.get_mut(op.id.index()) {
            *slot = facts;
        }
        let since = |at: Option<u64>| {
            let distance = at.map(|at| at.saturating_sub(span.request));
            distance.map_or(NONE, |it| u32::try_from(it).unwrap_or(NONE).min(NONE - 1))
        };
        let status = op.expect.as_ref().map(|expect| expect.status);
        let row = Row {
            cmd: op.cmd,
            kind: self.kind(op),
            refused: status.is_some_and(|status| REFUSALS.contains(&status)),
            conn: op.conn.0,
            session: op.session.map_or(NONE, |it| it.0),
            tree: op.tree.map_or(NONE, |it| it.0),
            open: op.open.map_or(NONE, |it| it.0),
            first: op.compound.map_or(op.id, |compound| compound.first).0,
            request: span.request,
            interim: since(span.interim),
            response: since(span.response),
        };
        if let Some(slot) = self.rows.get_mut(op.id.index()) {
            *slot = row;
        }
        let links = Links {
            reclaims: op.reclaims,
            replaces: op.previous_session,
            resume_key_of: op.resume_key_of,
            cancels: op.cancels,
        };
        if links != Links::default() {
            self.links.insert(op.id, links);
        }
    }

    fn kind(&mut self, op: &Operation) -> Kind {
        match &op.action {
            Action::Request(Request::Create(create)) => {
                let keys = create.contexts.iter().filter_map(|it| match &it.data {
                    ContextData::Lease(Lease { key, .. }) => Some(key.0),
                    _ => None,
                });
                self.leases.extend(keys.map(|key| (op.id, key)));
                Kind::Request
            }
            Action::Request(Request::OplockBreak(_)) => Kind::OplockAck,
            Action::Request(Request::LeaseBreak(ack)) => {
                self.lease_acks.insert(op.id, ack.lease_key.0);
                Kind::Request
            }
            Action::Request(_) => Kind::Request,
            Action::Smb1Negotiate(_) => Kind::Smb1,
            Action::Break(notice) => {
                self.notices.insert(op.id, *notice);
                Kind::Break
            }
            Action::Disconnect(_) => Kind::Disconnect,
        }
    }

    /// Says who the client of each connection is.
    pub(crate) fn settle_clients(&mut self, clients: Vec<ClientId>) {
        self.clients = clients;
    }

    /// The open and the tree that each operation uses, and whether it was not refused as if the
    /// server did not know them.
    pub(crate) fn uses(
        &self,
    ) -> impl Iterator<Item = (Option<OpenRef>, Option<TreeRef>, bool)> + '_ {
        (self.rows.iter()).map(|row| (row.open(), row.tree(), !row.refused))
    }

    /// Takes opens and trees that no server knew from the operations that named them; returns
    /// these operations.
    pub(crate) fn disown(
        &mut self,
        bogus_open: impl Fn(OpenRef) -> bool,
        bogus_tree: impl Fn(TreeRef) -> bool,
    ) -> Vec<OpId> {
        let mut changed = Vec::new();
        for ((row, facts), id) in self.rows.iter_mut().zip(&mut self.facts).zip(0..) {
            let open = row.open().is_some_and(&bogus_open);
            let tree = row.tree().is_some_and(&bogus_tree);
            if open {
                row.open = NONE;
            }
            if tree {
                row.tree = NONE;
            }
            if open || tree {
                facts.disown(open, tree, row.cmd);
                changed.push(OpId(id));
            }
        }
        changed
    }

    /// Forgets what operations do to names and files, when all edges are found.
    pub(super) fn forget_facts(&mut self) {
        self.facts = Vec::new();
        self.openings = Vec::new();
        self.names = Names::default();
        self.leases = Vec::new();
    }

    /// The ids of all operations.
    pub(crate) fn ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..u32::try_from(self.rows.len()).unwrap_or(NONE)).map(OpId)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, op: OpId) -> Option<&Row> {
        self.rows.get(op.index())
    }

    /// What [`Row::leader`] says of the operation at a place.
    pub(super) fn leader_at(&self, at: usize) -> Option<OpId> {
        self.rows.get(at).map(Row::leader)
    }

    /// Every operation, in order.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = (OpId, &Row)> {
        self.rows_in(0..self.rows.len())
    }

    /// The operations before one.
    pub(super) fn before(&self, op: OpId) -> impl DoubleEndedIterator<Item = (OpId, &Row)> {
        self.rows_in(0..op.index())
    }

    /// The operations behind one.
    pub(super) fn behind(&self, op: OpId) -> impl DoubleEndedIterator<Item = (OpId, &Row)> {
        self.rows_in(op.index() + 1..self.rows.len())
    }

    fn rows_in(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = (OpId, &Row)> {
        let first = u32::try_from(range.start).unwrap_or(NONE);
        let rows = self.rows.get(range).unwrap_or_default();
        let last = first.saturating_add(u32::try_from(rows.len()).unwrap_or(NONE));
        (first..last).map(OpId).zip(rows)
    }

    pub(super) fn span(&self, op: OpId) -> Option<WireSpan> {
        self.row(op).map(Row::span)
    }

    pub(super) fn facts(&self, op: OpId) -> Option<&Facts> {
        self.facts.get(op.index())
    }

    pub(super) fn openings(&self) -> &[Opening] {
        &self.openings
    }

    pub(super) fn client_of(&self, row: &Row) -> ClientId {
        let client = self.clients.get(row.conn().index());
        client.copied().unwrap_or_default()
    }

    /// The client that an operation is of.
    pub(crate) fn client(&self, op: OpId) -> ClientId {
        self.row(op)
            .map(|row| self.client_of(row))
            .unwrap_or_default()
    }

    /// The open that an operation uses.
    pub(crate) fn open(&self, op: OpId) -> Option<OpenRef> {
        self.row(op)?.open()
    }

    pub(super) fn links(&self, op: OpId) -> Links {
        self.links.get(&op).copied().unwrap_or_default()
    }

    /// Sessions that logins replace.
    pub(super) fn replaced(&self) -> impl Iterator<Item = SessionRef> + '_ {
        self.links.values().filter_map(|links| links.replaces)
    }

    /// The file that a stream with a name is of.
    pub(super) fn file_of(&self, stream: NameId) -> Option<NameId> {
        self.names.file_of(stream)
    }

    pub(super) fn notices(&self) -> impl Iterator<Item = (OpId, BreakNotice)> + '_ {
        self.notices.iter().map(|(op, notice)| (*op, *notice))
    }

    /// CREATEs that asked for leases.
    pub(super) fn leases(&self) -> &[(OpId, LeaseKey)] {
        &self.leases
    }

    pub(super) fn lease_ack(&self, op: OpId) -> Option<LeaseKey> {
        self.lease_acks.get(&op).copied()
    }
}

fn some(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}

/// Stands for no number: a workload has fewer than 2^32 of anything.
const NONE: u32 = u32::MAX;

/// What a server says to ids that it does not know. [MS-SMB2] 3.3.5.2.9, 3.3.5.2.10, 3.3.5.2.11.
const REFUSALS: [NtStatus; 4] = [
    NtStatus::FILE_CLOSED,
    NtStatus::INVALID_HANDLE,
    NtStatus::NETWORK_NAME_DELETED,
    NtStatus::USER_SESSION_DELETED,
];
