//! What goes and what stays, of graphs by a seed and of some by hand.

use std::collections::BTreeSet;

use smbench_core::{
    ids::ClientId,
    workload::{Action, Edge, Operation, Workload},
};

use super::*;
use crate::{
    order::{
        edges::{Edges, class},
        tests::dice,
    },
    wire_span::WireSpan,
};

/// The same with the edges in a list; connections and clients have the same numbers.
fn reduced(ops: &[Operation], counts: &mut BTreeMap<String, u64>) -> Vec<Operation> {
    let mut table = Table::default();
    let mut points = List::default();
    let mut found = Edges::default();
    for (op, point) in ops.iter().zip(0_u64..) {
        table.push(&Workload::default(), op, WireSpan::default());
        points.push(point);
        for it in &op.after {
            found.add(it.id, op.id, it.rule, it.on);
        }
    }
    table.settle_clients((0..3).map(ClientId).collect());
    let edges = EdgeList::settle(&table, [found, Edges::default()], &points);
    let mut pieces = Vec::new();
    let mut found = Counts::default();
    for worker in 0..WORKERS {
        let tell = |piece| pieces.push(piece);
        found = found.and(implied(&table, &edges, &points, worker, tell));
    }
    pieces.sort_by_key(|piece| piece.behind);
    *counts = found.named();
    let mut cursor = edges.view().cursor(pieces.into_iter());
    let mut ops = ops.to_vec();
    for op in &mut ops {
        op.after = cursor.of(op.id).to_vec();
    }
    ops
}

/// A graph of `count` operations by a seed: clients, compounds, rules and milestones mixed.
fn random(seed: u64, count: u32) -> Vec<Operation> {
    let mut below = dice(seed);
    let mut first = 0;
    let mut ops: Vec<Operation> = Vec::new();
    for id in 0..count {
        let related = id > 0 && below(6) == 0;
        if !related {
            first = id;
        }
        let client = match ops.get(first as usize) {
            Some(leader) if related => leader.client.0,
            _ => below(3),
        };
        let compound =
            serde_json::json!({"first": first, "position": id - first, "related": related});
        let line = serde_json::json!({
            "id": id, "at_us": 0, "client": client, "conn": client, "cmd": "ECHO", "mid": id,
            "frame": id, "do": {"disconnect": {"by_client": true, "reset": false}},
            "compound": compound,
        });
        let mut op: Operation = serde_json::from_value(line).expect("an operation");
        if below(8) > 0 {
            op.action = Action::Smb1Negotiate(Vec::new());
        }
        let mut from = BTreeSet::new();
        for _ in 0..below(5).min(first) {
            from.insert(below(first));
        }
        let rules = Rule::ALL.len();
        for from in from {
            let rule = Rule::ALL[below(u32::try_from(rules).expect("few")) as usize];
            let on = [Milestone::Sent, Milestone::Interim, Milestone::Response];
            op.after.push(Edge {
                id: OpId(from),
                rule,
                on: on[below(3) as usize],
                inferred: false,
            });
        }
        ops.push(op);
    }
    ops
}

/// Everything that each compound comes after with the edges of up to `limit`, but for those
/// that `without` names: operation and milestone.
fn closure(
    ops: &[Operation],
    limit: u8,
    without: Option<(OpId, OpId, Milestone)>,
) -> Vec<BTreeSet<(u32, u8)>> {
    let leader = |op: &Operation| op.compound.map_or(op.id, |it| it.first);
    let mut known: Vec<BTreeSet<(u32, u8)>> = vec![BTreeSet::new(); ops.len()];
    for op in ops {
        let to = leader(op);
        let disconnect = matches!(op.action, Action::Disconnect(_));
        for edge in &op.after {
            let from = &ops[edge.id.index()];
            let left_out = without == Some((op.id, edge.id, edge.on));
            let class = class(edge.rule, from.client == op.client, disconnect);
            if left_out || class > limit || leader(from) == to {
                continue;
            }
            let group = leader(from);
            let members = ops.iter().filter(|op| leader(op) == group);
            let mut learnt: BTreeSet<(u32, u8)> = known[group.index()].clone();
            learnt.extend(members.map(|member| (member.id.0, 0)));
            learnt.extend((0..=rank(edge.on)).map(|on| (edge.id.0, on)));
            known[to.index()].extend(learnt);
        }
    }
    known
}

/// `count` operations of one client that wait for nothing.
fn free(count: u32) -> Vec<Operation> {
    let line = |id: u32| {
        serde_json::json!({
            "id": id, "at_us": 0, "client": 0, "conn": 0, "cmd": "READ", "mid": id,
            "frame": id, "do": {"smb1_negotiate": ""},
        })
    };
    let ops = (0..count).map(|id| serde_json::from_value(line(id)).expect("an operation"));
    ops.collect()
}

fn waits(op: &mut Operation, from: u32, rule: Rule) {
    op.after.push(Edge {
        id: OpId(from),
        rule,
        on: Milestone::Response,
        inferred: false,
    });
}

/// A CLOSE after thousands of READs and one answer that came later: all READs lie before that
/// answer, so none of them is looked at, however many they are.
#[test]
fn any_number_of_operations_may_lie_beyond() {
    let mut ops = free(5_000);
    for read in 0..4_998 {
        waits(&mut ops[4_999], read, Rule::Handle);
    }
    waits(&mut ops[4_999], 4_998, Rule::Wire);
    let left = reduced(&ops, &mut BTreeMap::new());
    assert_eq!(left, ops);
}

#[test]
fn keeps_every_order_and_no_edge_too_many() {
    let mut dropped = 0;
    for seed in 1..=25 {
        let whole = random(seed, 40);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for edge in whole.iter().flat_map(|op| &op.after) {
            *counts.entry(edge.rule.name().to_owned()).or_default() += 1;
        }
        let all = counts.values().sum::<u64>();
        let ops = reduced(&whole, &mut counts);
        let left = ops.iter().map(|op| op.after.len() as u64).sum::<u64>();
        dropped += all - left;
        assert_eq!(counts.values().sum::<u64>(), left, "seed {seed}");
        for limit in 0..=2 {
            let before = closure(&whole, limit, None);
            assert_eq!(before, closure(&ops, limit, None), "seed {seed}, {limit}");
        }
        for op in &ops {
            for edge in op.after.iter().filter(|edge| edge.rule != Rule::Break) {
                let same_client = ops[edge.id.index()].client == op.client;
                let disconnect = matches!(op.action, Action::Disconnect(_));
                let limit = class(edge.rule, same_client, disconnect);
                let group = |op: &Operation| op.compound.map_or(op.id, |it| it.first);
                if group(&ops[edge.id.index()]) == group(op) {
                    continue;
                }
                let without = Some((op.id, edge.id, edge.on));
                let rest = closure(&ops, limit, without);
                let same = closure(&ops, limit, None) == rest;
                assert!(!same, "seed {seed}: {} -> {} is implied", edge.id, op.id);
            }
        }
    }
    assert!(
        dropped > 200,
        "only {dropped} edges were implied: the test sees nothing"
    );
}
