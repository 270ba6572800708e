//! Rule *break*: trigger, notification, reaction.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::{
    event::Milestone,
    ids::{ClientId, OpId},
    smb2::Command,
    workload::{BreakNotice, Rule},
};

use super::{
    access::{Deed, Facts, NameId},
    edges::{Edges, Link},
    table::{Kind, LeaseKey, Row, TableView},
};

/// Operations that had to wait for breaks, with who was told of these.
pub(super) type Triggers = BTreeMap<OpId, Told>;

/// Who was told of a break, and when first.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(BTreeMap<ClientId, u64>);

impl Told {
    /// Notifications come in the order of the wire.
    fn tell(&mut self, client: ClientId, when: u64) {
        self.0.entry(client).or_insert(when);
    }

    /// When the first was told.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.values().min().copied()
    }

    /// When a client was.
    pub(super) fn when(&self, client: ClientId) -> Option<u64> {
        self.0.get(&client).copied()
    }
}

pub(super) fn infer(table: &TableView<'_>, edges: &mut Edges) -> Triggers {
    let leases = lease_names(table);
    let mut triggers = Triggers::new();
    for (id, what) in table.notices() {
        let (Some(row), Some(facts)) = (table.row(id), table.facts(id)) else {
            continue;
        };
        let name = match what {
            BreakNotice::Oplock { .. } => facts.name,
            BreakNotice::Lease { key, .. } => {
                last_before(&leases, (table.client_of(&row), key), id)
            }
        };
        let notice = Notice {
            id,
            row: &row,
            name,
            key: match what {
                BreakNotice::Oplock { .. } => None,
                BreakNotice::Lease { key, .. } => Some(key),
            },
        };
        if !notice.trigger(table, edges, &mut triggers) {
            notice.sent_last(table, edges);
        }
        notice.reactions(table, edges);
    }
    triggers
}

/// Which name each lease is about, from which operation on: keys are used again.
type LeaseNames = BTreeMap<(ClientId, LeaseKey), Vec<(OpId, NameId)>>;

fn last_before(names: &LeaseNames, key: (ClientId, LeaseKey), at: OpId) -> Option<NameId> {
    let of_key = names.get(&key)?;
    let later = of_key.partition_point(|(since, _)| *since < at);
    of_key.get(later.checked_sub(1)?).map(|(_, name)| *name)
}

/// The names of the leases that break.
fn lease_names(table: &TableView<'_>) -> LeaseNames {
    let broken = table.notices().filter_map(|(_, notice)| match notice {
        BreakNotice::Lease { key, .. } => Some(key),
        BreakNotice::Oplock { .. } => None,
    });
    let broken: BTreeSet<LeaseKey> = broken.collect();
    let mut names = LeaseNames::new();
    let leases = table.leases();
    let asked = leases.iter(0..leases.len());
    for (op, key) in asked.filter(|(_, key)| broken.contains(key)) {
        if let Some(name) = table.facts(op).and_then(|facts| facts.name) {
            let of_key = names.entry((table.client(op), key)).or_default();
            of_key.push((op, name));
        }
    }
    for of_key in names.values_mut() {
        of_key.sort_by_key(|(op, _)| *op);
    }
    names
}

/// One break notification.
struct Notice<'a> {
    id: OpId,
    row: &'a Row,
    /// What it is about, when known.
    name: Option<NameId>,
    /// Of a lease.
    key: Option<LeaseKey>,
}

impl Notice<'_> {
    /// Finds the operation in flight whose conflict made the server break: the last one sent.
    fn trigger(&self, table: &TableView<'_>, edges: &mut Edges, triggers: &mut Triggers) -> bool {
        let Some(name) = self.name else {
            return false;
        };
        let when = self.row.span().request;
        let conflicts = |facts: &Facts| match facts.deed {
            Deed::Open(_)
            | Deed::Write { .. }
            | Deed::Resize { .. }
            | Deed::Change { .. }
            | Deed::Rename { .. }
            | Deed::Dispose { .. } => facts.name == Some(name),
            _ => false,
        };
        let before = table.before(self.id).take(LOOK_BACK);
        for (id, row) in before {
            let span = row.span();
            let in_flight = span.request < when && span.response.is_none_or(|over| over > when);
            if in_flight
                && row.cmd != Command::OPLOCK_BREAK
                && table.facts(id).is_some_and(|facts| conflicts(&facts))
            {
                edges.push(self.id, Link::new(id, Rule::Break, Milestone::Sent));
                let client = table.client_of(self.row);
                triggers.entry(id).or_default().tell(client, when);
                return true;
            }
        }
        false
    }

    /// Where nothing tells what made the server break: it came after whatever was sent last.
    fn sent_last(&self, table: &TableView<'_>, edges: &mut Edges) {
        let mut before = table.before(self.id).take(LOOK_BACK);
        if let Some((last, _)) = before.find(|(_, row)| row.is_request()) {
            edges.push(self.id, Link::new(last, Rule::Break, Milestone::Sent));
        }
    }

    /// What the client did about the notification: everything on that file until it acknowledged,
    /// or closed. What it did behind [`REACTIONS`] of these comes after those by rule *wire*.
    fn reactions(&self, table: &TableView<'_>, edges: &mut Edges) {
        let client = table.client_of(self.row);
        let later = table.behind(self.id).take(LOOK_AHEAD);
        let mut found = 0;
        for (id, row) in later.filter(|(_, row)| table.client_of(row) == client) {
            if !row.is_request() {
                continue;
            }
            let ours = self.is_acknowledged_by(table, id, &row);
            let same_file =
                self.name.is_some() && table.facts(id).is_some_and(|it| it.name == self.name);
            if !ours && !same_file {
                continue;
            }
            let is_last = ours || (row.cmd == Command::CLOSE && row.open() == self.row.open());
            if is_last || found < REACTIONS {
                edges.add(self.id, id, Rule::Break, Milestone::Response);
                found += 1;
            }
            if is_last {
                return;
            }
        }
    }

    fn is_acknowledged_by(&self, table: &TableView<'_>, id: OpId, row: &Row) -> bool {
        match self.key {
            None => {
                let open = row.open();
                row.kind == Kind::OplockAck && open.is_some() && open == self.row.open()
            }
            Some(key) => row.cmd == Command::OPLOCK_BREAK && table.lease_ack(id) == Some(key),
        }
    }
}

/// How far a trigger may lie behind its notification, in operations.
const LOOK_BACK: usize = 4_096;
/// How far a reaction may lie ahead, in operations.
const LOOK_AHEAD: usize = 4_096;
/// Reactions to one notification, beside the acknowledgement: these edges are never reduced.
const REACTIONS: usize = 64;
