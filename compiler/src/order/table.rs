//! What order inference knows of each operation: some seventy bytes, most of which wait on disk, as
//! the operations themselves do, where there are many.

use std::{collections::BTreeMap, sync::Arc};

use smbench_core::{
    ids::{ClientId, ConnId, OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, ContextData, Lease, NtStatus, Request},
    workload::{Action, BreakNotice, Operation, Workload},
};

use super::access::{Facts, NameId, Names};
use crate::{
    paged::{Bytes, List, ListView, Record, Scratch},
    wire_span::WireSpan,
};

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

const KINDS: [Kind; 5] = [
    Kind::Request,
    Kind::OplockAck,
    Kind::Smb1,
    Kind::Break,
    Kind::Disconnect,
];

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
    times: Times,
}

/// When an operation was on the wire, in few bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    request: u64,
    /// Messages from the request to the interim and final responses.
    interim: u32,
    response: u32,
}

impl Times {
    fn new(span: WireSpan) -> Self {
        let since = |at: Option<u64>| {
            let distance = at.map(|at| at.saturating_sub(span.request));
            distance.map_or(NONE, |it| u32::try_from(it).unwrap_or(NONE).min(NONE - 1))
        };
        Self {
            request: span.request,
            interim: since(span.interim),
            response: since(span.response),
        }
    }

    pub(super) fn span(self) -> WireSpan {
        let after = |distance| Some(self.request.saturating_add(some(distance)?.into()));
        WireSpan {
            request: self.request,
            interim: after(self.interim),
            response: after(self.response),
        }
    }
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

    pub(super) fn times(&self) -> Times {
        self.times
    }

    pub(super) fn span(&self) -> WireSpan {
        self.times.span()
    }

    pub(super) fn is_request(&self) -> bool {
        matches!(self.kind, Kind::Request | Kind::OplockAck)
    }
}

impl Record for Row {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cmd.0.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, u8::from(self.refused)]);
        out.extend_from_slice(&self.times.request.to_le_bytes());
        let times = [self.times.interim, self.times.response];
        let refs = [self.conn, self.session, self.tree, self.open];
        let fields = times.into_iter().chain(refs);
        out.extend(fields.flat_map(u32::to_le_bytes));
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        let cmd = u16::from_le_bytes([from.u8(), from.u8()]);
        let kind = from.u8();
        Self {
            cmd: Command(cmd),
            kind: (KINDS.into_iter().find(|it| *it as u8 == kind)).unwrap_or_default(),
            refused: from.u8() != 0,
            times: Times {
                request: from.u64(),
                interim: from.u32(),
                response: from.u32(),
            },
            conn: from.u32(),
            session: from.u32(),
            tree: from.u32(),
            open: from.u32(),
        }
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

impl Record for (OpId, LeaseKey) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.0.write(out);
        out.extend_from_slice(&self.1);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        (OpId(from.u32()), from.take())
    }
}

/// All operations, by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: List<Row>,
    facts: List<Facts>,
    /// Has a bit for each operation: whether it is in a compound with the one before.
    follows: Vec<u64>,
    links: BTreeMap<OpId, Links>,
    notices: BTreeMap<OpId, BreakNotice>,
    /// CREATEs that asked for a lease, and which.
    leases: List<(OpId, LeaseKey)>,
    /// Acknowledgements of lease breaks.
    lease_acks: BTreeMap<OpId, LeaseKey>,
    /// By connection.
    clients: Vec<ClientId>,
    names: Names,
    scratch: Option<Arc<Scratch>>,
}

impl Table {
    /// An empty one; what there is no room for waits in `scratch`.
    pub(crate) fn new(scratch: &Arc<Scratch>) -> Self {
        Self {
            rows: List::new(Some(scratch)),
            facts: List::new(Some(scratch)),
            leases: List::new(Some(scratch)),
            names: Names::new(scratch),
            scratch: Some(Arc::clone(scratch)),
            ..Self::default()
        }
    }

    /// Where lists as long as this one may wait.
    pub(super) fn scratch(&self) -> Option<&Arc<Scratch>> {
        self.scratch.as_ref()
    }

    /// Notes the next operation, which has its final form.
    pub(crate) fn push(&mut self, workload: &Workload, op: &Operation, span: WireSpan) {
        self.reserve();
        self.set(workload, op, span);
    }

    /// Leaves the next place to an operation that [`Table::set`] notes later.
    pub(crate) fn reserve(&mut self) {
        self.follows.resize(self.rows.len() / 64 + 1, 0);
        self.rows.push(Row {
            cmd: Command(0),
            kind: Kind::Request,
            refused: false,
            conn: 0,
            session: NONE,
            tree: NONE,
            open: NONE,
            times: Times::new(WireSpan::default()),
        });
        self.facts.push(Facts::default());
    }

    /// Notes an operation in its place.
    pub(crate) fn set(&mut self, workload: &Workload, op: &Operation, span: WireSpan) {
        let facts = self.names.facts(workload, op);
        if let Some(slot) = self.facts.get_mut(op.id.index()) {
            *slot = facts;
        }
        let status = op.expect.as_ref().map(|expect| expect.status);
        let row = Row {
            cmd: op.cmd,
            kind: self.kind(op),
            refused: status.is_some_and(|status| REFUSALS.contains(&status)),
            conn: op.conn.0,
            session: op.session.map_or(NONE, |it| it.0),
            tree: op.tree.map_or(NONE, |it| it.0),
            open: op.open.map_or(NONE, |it| it.0),
            times: Times::new(span),
        };
        if let Some(slot) = self.rows.get_mut(op.id.index()) {
            *slot = row;
        }
        if op.compound.is_some_and(|it| it.first != op.id)
            && let Some(word) = self.follows.get_mut(op.id.index() / 64)
        {
            *word |= 1 << (op.id.index() % 64);
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
                keys.for_each(|key| self.leases.push((op.id, key)));
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
    pub(crate) fn each_use(&self, mut tell: impl FnMut(Option<OpenRef>, Option<TreeRef>, bool)) {
        for row in self.rows.view().iter(0..self.rows.len()) {
            tell(row.open(), row.tree(), !row.refused);
        }
    }

    /// Takes opens and trees that no server knew from the operations that named them; returns
    /// these operations.
    pub(crate) fn disown(
        &mut self,
        bogus_open: impl Fn(OpenRef) -> bool,
        bogus_tree: impl Fn(TreeRef) -> bool,
    ) -> Vec<OpId> {
        let mut changed = Vec::new();
        for (at, id) in (0..self.rows.len()).zip(0..) {
            let Some(row) = self.rows.get(at) else {
                break;
            };
            let open = row.open().is_some_and(&bogus_open);
            let tree = row.tree().is_some_and(&bogus_tree);
            if !open && !tree {
                continue;
            }
            if let Some(row) = self.rows.get_mut(at) {
                row.open = if open { NONE } else { row.open };
                row.tree = if tree { NONE } else { row.tree };
            }
            if let Some(facts) = self.facts.get_mut(at) {
                facts.disown(open, tree, row.cmd);
            }
            changed.push(OpId(id));
        }
        changed
    }

    /// Forgets what operations do to names and files, when all edges are found.
    pub(super) fn forget_facts(&mut self) {
        self.facts = List::default();
        self.names = Names::default();
        self.leases = List::default();
    }

    /// The table as one thread reads it.
    pub(crate) fn view(&self) -> TableView<'_> {
        TableView {
            table: self,
            rows: self.rows.view(),
            facts: self.facts.view(),
        }
    }
}

/// An operation, and who does it on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) op: OpId,
    pub(crate) client: ClientId,
    pub(crate) open: Option<OpenRef>,
}

/// A [`Table`] as one thread reads it.
pub(crate) struct TableView<'a> {
    table: &'a Table,
    rows: ListView<'a, Row>,
    facts: ListView<'a, Facts>,
}

impl TableView<'_> {
    /// The ids of all operations.
    pub(super) fn ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..u32::try_from(self.rows.len()).unwrap_or(NONE)).map(OpId)
    }

    /// See [`Table::scratch`].
    pub(super) fn scratch(&self) -> Option<&Arc<Scratch>> {
        self.table.scratch()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, op: OpId) -> Option<Row> {
        self.rows.get(op.index())
    }

    /// The first of the compound that an operation is in, which may be itself.
    #[inline]
    pub(super) fn leader(&self, op: OpId) -> OpId {
        if !self.follows(op.index()) {
            return op;
        }
        // In steps of 64, as compounds may be long.
        let (mut word, mut bits) = (op.0 / 64, u64::MAX >> (63 - op.0 % 64));
        loop {
            let follows = self.table.follows.get(word as usize);
            let leads = !follows.copied().unwrap_or_default() & bits;
            if leads != 0 {
                return OpId(word * 64 + leads.ilog2());
            }
            match word.checked_sub(1) {
                Some(before) => (word, bits) = (before, u64::MAX),
                None => return OpId(0),
            }
        }
    }

    /// Whether it is the server's notification of a break.
    pub(super) fn is_notification(&self, op: OpId) -> bool {
        self.table.notices.contains_key(&op)
    }

    /// Whether an operation is in a compound with the one before.
    #[inline]
    pub(super) fn follows(&self, at: usize) -> bool {
        let word = self.table.follows.get(at / 64).copied().unwrap_or_default();
        word >> (at % 64) & 1 != 0
    }

    /// Every operation, in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = (OpId, Row)> + '_ {
        self.rows_from(0)
    }

    /// The operations from a place on.
    pub(super) fn rows_from(&self, first: usize) -> impl Iterator<Item = (OpId, Row)> + '_ {
        let id = u32::try_from(first).unwrap_or(NONE);
        let rows = self.rows.iter(first..self.rows.len());
        (id..).map(OpId).zip(rows)
    }

    /// The operations before one, the last first.
    pub(super) fn before(&self, op: OpId) -> impl Iterator<Item = (OpId, Row)> + '_ {
        let before = (0..op.0).rev().map(OpId);
        before.map_while(|op| Some((op, self.row(op)?)))
    }

    /// The operations behind one.
    pub(super) fn behind(&self, op: OpId) -> impl Iterator<Item = (OpId, Row)> + '_ {
        self.rows_from(op.index() + 1)
    }

    pub(super) fn span(&self, op: OpId) -> Option<WireSpan> {
        self.row(op).map(|row| row.span())
    }

    pub(super) fn facts(&self, op: OpId) -> Option<Facts> {
        self.facts.get(op.index())
    }

    pub(super) fn client_of(&self, row: &Row) -> ClientId {
        let client = self.table.clients.get(row.conn().index());
        client.copied().unwrap_or_default()
    }

    /// Every operation, with the client that it is of and the open that it uses.
    pub(crate) fn uses(&self) -> impl Iterator<Item = Use> + '_ {
        self.rows().map(|(op, row)| Use {
            op,
            client: self.client_of(&row),
            open: row.open(),
        })
    }

    /// The client that an operation is of.
    pub(super) fn client(&self, op: OpId) -> ClientId {
        self.row(op)
            .map(|row| self.client_of(&row))
            .unwrap_or_default()
    }

    pub(super) fn links(&self, op: OpId) -> Links {
        self.table.links.get(&op).copied().unwrap_or_default()
    }

    /// Sessions that logins replace.
    pub(super) fn replaced(&self) -> impl Iterator<Item = SessionRef> + '_ {
        self.table.links.values().filter_map(|links| links.replaces)
    }

    /// The file that a stream with a name is of.
    pub(super) fn file_of(&self, stream: NameId) -> Option<NameId> {
        self.table.names.file_of(stream)
    }

    pub(super) fn notices(&self) -> impl Iterator<Item = (OpId, BreakNotice)> + '_ {
        self.table.notices.iter().map(|(op, notice)| (*op, *notice))
    }

    /// CREATEs that asked for leases.
    pub(super) fn leases(&self) -> ListView<'_, (OpId, LeaseKey)> {
        self.table.leases.view()
    }

    pub(super) fn lease_ack(&self, op: OpId) -> Option<LeaseKey> {
        self.table.lease_acks.get(&op).copied()
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
