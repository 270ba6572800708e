//! Rule *wire*: what a client knew before it sent.
//!
//! Each client keeps a frontier: what it has learnt and what nothing it has learnt since already
//! implies. A request waits for the whole frontier; its own answer then replaces it. That is the
//! transitive reduction of "had the response before it sent", at the cost of the client's
//! concurrency.

use std::collections::BTreeMap;

use smbench_core::{
    event::Milestone,
    ids::{ClientId, ConnId, OpId},
    workload::Rule,
};

use super::{
    Edges,
    table::{Kind, Row, Table},
};

/// What happens on the wire, in order.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Request(OpId),
    Interim(OpId),
    Response(OpId),
}

pub(super) fn infer(table: &Table, edges: &mut Edges) {
    let mut moments: Vec<(u64, Moment)> = Vec::with_capacity(table.len() * 2);
    for (id, row) in table.rows() {
        let span = row.span();
        moments.push((span.request, Moment::Request(id)));
        moments.extend(span.interim.map(|at| (at, Moment::Interim(id))));
        moments.extend(span.response.map(|at| (at, Moment::Response(id))));
    }
    // A request and what it is answered by never share a count, but the PDUs of one frame do:
    // sorting keeps them in order of their ids.
    moments.sort_by_key(|(at, _)| *at);
    let mut clients: BTreeMap<ClientId, Frontier> = BTreeMap::new();
    let mut last_sent: BTreeMap<ConnId, OpId> = BTreeMap::new();
    let mut answered = vec![false; table.len()];
    for (_, moment) in moments {
        match moment {
            Moment::Request(id) => {
                let Some(row) = table.row(id) else {
                    continue;
                };
                if row.kind == Kind::Break {
                    continue;
                }
                let frontier = clients.entry(table.client_of(row)).or_default();
                for (known, on) in frontier.send(id) {
                    edges.add(known, id, Rule::Wire, on);
                }
                keep_order(table, (id, row), &answered, &mut last_sent, edges);
            }
            Moment::Interim(id) => {
                if let Some(frontier) = clients.get_mut(&table.client(id)) {
                    frontier.learn(id, Milestone::Interim);
                }
            }
            Moment::Response(id) => {
                if let Some(slot) = answered.get_mut(id.index()) {
                    *slot = true;
                }
                if let Some(frontier) = clients.get_mut(&table.client(id)) {
                    frontier.learn(id, Milestone::Response);
                }
            }
        }
    }
}

/// Requests in flight together on one connection go out in the order they did.
fn keep_order(
    table: &Table,
    (id, row): (OpId, &Row),
    answered: &[bool],
    last_sent: &mut BTreeMap<ConnId, OpId>,
    edges: &mut Edges,
) {
    let group = |id: OpId| table.row(id).map_or(id, Row::leader);
    let before = last_sent.insert(row.conn(), id);
    let Some(before) = before.filter(|it| group(*it) != row.leader()) else {
        return;
    };
    let over = answered.get(before.index()).copied().unwrap_or(true);
    if !over {
        edges.add(before, id, Rule::Wire, Milestone::Sent);
    }
}

/// What a client has learnt, without what that implies.
#[derive(Debug, Default)]
struct Frontier {
    known: Vec<(OpId, Milestone, u64)>,
    /// For each request in flight: how much had been learnt when it was sent.
    sent: BTreeMap<OpId, u64>,
    learnt: u64,
}

impl Frontier {
    fn send(&mut self, op: OpId) -> impl Iterator<Item = (OpId, Milestone)> + '_ {
        self.sent.insert(op, self.learnt);
        self.known.iter().map(|(known, on, _)| (*known, *on))
    }

    fn learn(&mut self, op: OpId, on: Milestone) {
        // An interim response implies as much, but an edge that asks for no more is not always to be
        // had: the point of what is pending comes later.
        if on == Milestone::Response
            && let Some(implied) = self.sent.remove(&op)
        {
            self.known
                .retain(|(known, _, at)| *at > implied && *known != op);
        }
        self.learnt += 1;
        self.known.push((op, on, self.learnt));
    }
}
