//! Which edges small stories give: each client has a connection, a session and a tree.

use serde_json::{Value, json};
use smbench_core::{
    ids::{ClientId, OpId},
    workload::{Edge, Operation, Rule, Tree, Workload},
};

use super::{Piece, Table, WORKERS, infer};
use crate::wire_span::WireSpan;

/// Operations one after the other, none overlapping.
struct Story {
    workload: Workload,
    table: Table,
    clients: u32,
    at: u64,
}

impl Story {
    fn new(clients: u32) -> Self {
        let tree = |session| {
            let path = "\\\\s\\data";
            json!({"session": session, "path": path, "share_type": 1, "wire_id": 1})
        };
        let trees = (0..clients).map(|it| serde_json::from_value::<Tree>(tree(it)).unwrap());
        let workload = Workload {
            trees: trees.collect(),
            ..Workload::default()
        };
        Self {
            workload,
            table: Table::default(),
            clients,
            at: 0,
        }
    }

    /// `client` does something; `more` goes over what an operation usually is.
    fn does(&mut self, client: u32, cmd: &str, request: Value, status: &str, more: Value) -> OpId {
        let id = self.at / 2;
        let mut op = json!({
            "id": id, "at_us": 0, "client": client, "conn": client, "session": client,
            "tree": client, "cmd": cmd, "mid": id, "frame": id,
            "do": {"request": {cmd: request}},
            "expect": {"frame": id, "status": status, "latency_us": 1},
        });
        merge(&mut op, more);
        self.push(op, true)
    }

    fn push(&mut self, op: Value, answered: bool) -> OpId {
        let op: Operation = serde_json::from_value(op).unwrap();
        self.at += 2;
        let span = WireSpan {
            request: self.at - 1,
            interim: None,
            response: answered.then_some(self.at),
        };
        self.table.push(&self.workload, &op, span);
        op.id
    }

    fn opens(&mut self, client: u32, path: &str, open: u32) -> OpId {
        self.creates(client, path, open, json!({}))
    }

    fn creates(&mut self, client: u32, path: &str, open: u32, more: Value) -> OpId {
        let request = json!({"name": path, "access": "0x10001", "share": "rwd",
                             "disposition": "open"});
        let mut about = json!({"open": open, "expect": {"action": 1, "size": 0}});
        merge(&mut about, more);
        self.does(client, "CREATE", request, "SUCCESS", about)
    }

    /// Opens so that a connection that ends does not end the open.
    fn opens_durably(&mut self, client: u32, path: &str, open: u32) -> OpId {
        let durable = json!({"do": {"request": {"CREATE": {"contexts": [{"DHnQ": {}}]}}},
                             "expect": {"oplock": "batch"}});
        self.creates(client, path, open, durable)
    }

    /// Asks for an open to go on: granted when there is a new number for it.
    fn reclaims(&mut self, client: u32, path: &str, old: u32, new: Option<u32>) -> OpId {
        let request = json!({"name": path, "access": "0x0", "share": "",
                             "disposition": "supersede", "contexts": [{"DHnC": {}}]});
        match new {
            Some(open) => {
                let more = json!({"open": open, "reclaims": old, "expect": {"action": 1}});
                self.does(client, "CREATE", request, "SUCCESS", more)
            }
            None => {
                let more = json!({"reclaims": old});
                self.does(client, "CREATE", request, "OBJECT_NAME_NOT_FOUND", more)
            }
        }
    }

    fn closes(&mut self, client: u32, open: u32) -> OpId {
        let request = json!({"flags": "0x0"});
        self.does(client, "CLOSE", request, "SUCCESS", json!({"open": open}))
    }

    fn renames(&mut self, client: u32, open: u32, to: &str, status: &str) -> OpId {
        let mut buffer = vec![0; 16];
        let units: Vec<u8> = to.encode_utf16().flat_map(u16::to_le_bytes).collect();
        buffer.extend(u32::try_from(units.len()).unwrap().to_le_bytes());
        buffer.extend(units);
        let hex: String = buffer.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = json!({"info_type": "file", "file_info_class": 10, "buffer": hex});
        self.does(client, "SET_INFO", request, status, json!({"open": open}))
    }

    fn logs_in_instead_of(&mut self, client: u32, old: u32) -> OpId {
        let request = json!({"security_mode": "0x1", "capabilities": "0x0",
                             "security_buffer_length": 0});
        let more = json!({"tree": null, "previous_session": old});
        self.does(client, "SESSION_SETUP", request, "SUCCESS", more)
    }

    fn hangs_up(&mut self, client: u32) -> OpId {
        let id = self.at / 2;
        let op = json!({
            "id": id, "at_us": 0, "client": client, "conn": client, "cmd": 65535, "mid": 0,
            "frame": id, "do": {"disconnect": {"by_client": true, "reset": false}},
        });
        self.push(op, false)
    }

    fn ends(mut self) -> Ordered {
        self.table
            .settle_clients((0..self.clients).map(ClientId).collect());
        ordered(&mut self.table)
    }
}

/// Numbers by a seed, each below the limit asked for.
pub(super) fn dice(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state % u64::from(limit)).expect("below a u32")
    }
}

/// Puts `more` over `value`, objects into objects.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(value), Value::Object(more)) => {
            for (key, more) in more {
                merge(value.entry(key).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

/// What was inferred of a story.
struct Ordered {
    /// By operation: what it waits for.
    after: Vec<Vec<Edge>>,
    unexplained: u64,
}

fn ordered(table: &mut Table) -> Ordered {
    let inferred = infer(table);
    let mut pieces = Vec::new();
    for worker in 0..WORKERS {
        inferred.implied(table, worker, |piece| pieces.push(piece));
    }
    pieces.sort_by_key(|piece: &Piece| piece.behind);
    let mut cursor = inferred.edges.view().cursor(pieces.into_iter());
    let ids = table.view().ids();
    Ordered {
        after: ids.map(|op| cursor.of(op).to_vec()).collect(),
        unexplained: inferred.unexplained,
    }
}

/// What `op` waits for, and why.
fn after(ordered: &Ordered, op: OpId) -> Vec<(OpId, Rule)> {
    let edges = ordered.after[op.index()].iter();
    edges.map(|edge| (edge.id, edge.rule)).collect()
}

#[test]
fn a_file_is_not_moved_while_a_stream_of_it_is_open() {
    let mut story = Story::new(2);
    let stream = story.creates(0, "f:s", 0, json!({"expect": {"action": 2}}));
    let file = story.opens(1, "f", 1);
    let refused = story.renames(1, 1, "g", "ACCESS_DENIED");
    let left = story.closes(0, 0);
    let moved = story.renames(1, 1, "g", "SUCCESS");
    let inferred = story.ends();
    assert_eq!(after(&inferred, file), [(stream, Rule::Name)]);
    assert!(after(&inferred, left).contains(&(refused, Rule::Resource)));
    assert!(after(&inferred, moved).contains(&(left, Rule::Resource)));
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn a_stream_goes_with_its_file_and_the_main_stream_is_the_file() {
    let mut story = Story::new(2);
    story.opens(0, "f:s:$DATA", 0);
    story.closes(0, 0);
    let delete = json!({"do": {"request": {"CREATE": {"options": "0x1000"}}}});
    story.creates(0, "F::$DATA", 1, delete);
    let gone = story.closes(0, 1);
    let request = json!({"name": "f:s", "access": "0x1", "share": "rwd", "disposition": "open"});
    let status = "OBJECT_NAME_NOT_FOUND";
    let missed = story.does(1, "CREATE", request, status, json!({}));
    let inferred = story.ends();
    assert_eq!(after(&inferred, missed), [(gone, Rule::Name)]);
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn a_durable_open_is_reclaimed_once_its_connection_has_ended() {
    let mut story = Story::new(2);
    story.opens_durably(0, "f", 0);
    let early = story.reclaims(1, "f", 0, None);
    let ended = story.hangs_up(0);
    let reclaimed = story.reclaims(1, "another name", 0, Some(1));
    let closed = story.closes(1, 1);
    let inferred = story.ends();
    assert!(after(&inferred, ended).contains(&(early, Rule::Resource)));
    assert!(after(&inferred, reclaimed).contains(&(ended, Rule::Resource)));
    assert_eq!(after(&inferred, closed), [(reclaimed, Rule::Handle)]);
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn one_client_waits_for_the_end_of_its_own_connection() {
    let mut story = Story::new(2);
    story.opens_durably(0, "f", 0);
    let ended = story.hangs_up(0);
    let reclaimed = story.reclaims(1, "f", 0, Some(1));
    story.table.settle_clients(vec![ClientId(0); 2]);
    let inferred = ordered(&mut story.table);
    assert!(after(&inferred, reclaimed).contains(&(ended, Rule::Resource)));
}

#[test]
fn a_login_that_replaces_a_session_waits_for_it_and_ends_it() {
    let mut story = Story::new(2);
    let opened = story.opens_durably(0, "f", 0);
    let other = story.opens(0, "g", 1);
    let login = story.logs_in_instead_of(1, 0);
    let request = json!({"name": "f", "access": "0x0", "share": "", "disposition": "open",
                         "contexts": [{"DHnC": {}}]});
    let more = json!({"reclaims": 0});
    let late = story.does(0, "CREATE", request, "USER_SESSION_DELETED", more);
    let reclaimed = story.reclaims(1, "f", 0, Some(2));
    // Nobody has it open any more.
    story.creates(
        1,
        "g",
        3,
        json!({"do": {"request": {"CREATE": {"share": ""}}}}),
    );
    let inferred = story.ends();
    assert_eq!(after(&inferred, other), [(opened, Rule::Wire)]);
    assert_eq!(after(&inferred, login), [(other, Rule::Setup)]);
    assert!(after(&inferred, late).contains(&(login, Rule::Setup)));
    assert!(after(&inferred, reclaimed).contains(&(login, Rule::Setup)));
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn a_durable_open_that_nobody_reclaims_is_in_nobodys_way() {
    let mut story = Story::new(2);
    let alone = json!({"do": {"request": {"CREATE": {"share": "", "contexts": [{"DHnQ": {}}]}}},
                       "expect": {"oplock": "batch"}});
    story.creates(0, "f", 0, alone);
    let ended = story.hangs_up(0);
    let other = story.opens(1, "f", 1);
    let lost = story.reclaims(1, "f", 0, None);
    let inferred = story.ends();
    assert!(after(&inferred, other).contains(&(ended, Rule::Resource)));
    assert_eq!(after(&inferred, lost).last(), Some(&(other, Rule::Wire)));
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn what_is_deleted_on_close_may_go_with_the_connection() {
    let mut story = Story::new(2);
    let durable = json!({"do": {"request": {"CREATE": {"options": "0x1000",
                                                       "contexts": [{"DHnQ": {}}]}}},
                         "expect": {"oplock": "batch", "action": 2}});
    story.creates(0, "f", 0, durable);
    let ended = story.hangs_up(0);
    let made = story.creates(1, "f", 1, json!({"expect": {"action": 2}}));
    let inferred = story.ends();
    assert_eq!(after(&inferred, made), [(ended, Rule::Name)]);
    assert_eq!(inferred.unexplained, 0);
}

#[test]
fn readers_that_read_again_need_not_be_waited_for() {
    let mut story = Story::new(2);
    let mut last = OpId(0);
    for open in 0..400 {
        story.opens(1, "f", open);
        last = story.closes(1, open);
    }
    let delete = json!({"do": {"request": {"CREATE": {"options": "0x1000"}}}});
    let opened = story.creates(0, "f", 400, delete);
    let deletion = story.closes(0, 400);
    let ordered = story.ends();
    assert_eq!(after(&ordered, opened), [(last, Rule::Resource)]);
    // All 400 found the name before it went, and the last of them came after the others.
    assert_eq!(after(&ordered, deletion), [(opened, Rule::Handle)]);
}

#[test]
fn files_that_are_gone_are_forgotten_and_new_ones_are_not_taken_for_them() {
    let mut story = Story::new(2);
    let mut deletions = Vec::new();
    for open in 0..40 {
        let made = json!({"do": {"request": {"CREATE": {"options": "0x1000"}}},
                          "expect": {"action": 2}});
        story.creates(open % 2, "f", open, made);
        deletions.push(story.closes(open % 2, open));
    }
    let ordered = story.ends();
    assert_eq!(ordered.unexplained, 0);
    // Whoever makes it again waits for the other's deletion, and for nothing more by that name.
    for deletion in deletions.windows(2) {
        let made = OpId(deletion[1].0 - 1);
        let by_name = after(&ordered, made).into_iter();
        let by_name: Vec<_> = by_name.filter(|it| it.1 != Rule::Wire).collect();
        assert_eq!(by_name, [(deletion[0], Rule::Name)], "{made}");
    }
}

#[test]
fn pipes_of_one_name_have_nothing_in_common() {
    let mut story = Story::new(2);
    for tree in &mut story.workload.trees {
        tree.share_type = 2;
    }
    let call = json!({"length": 100, "offset": 0});
    for open in 0..4 {
        let client = open % 2;
        story.opens(client, "srvsvc", open);
        story.does(
            client,
            "WRITE",
            call.clone(),
            "SUCCESS",
            json!({"open": open}),
        );
    }
    let ordered = story.ends();
    assert_eq!(ordered.unexplained, 0, "the size is no file's");
    assert_eq!(
        after(&ordered, OpId(2)),
        [],
        "it does not wait for the other client's"
    );
}

#[test]
fn a_read_that_asks_for_more_than_there_is_tells_of_no_end() {
    for (minimum_count, unexplained) in [(10, 0), (0, 1)] {
        let mut story = Story::new(1);
        let size = json!({"expect": {"size": 100}});
        story.creates(0, "f", 0, size);
        let read = json!({"length": 5, "offset": 0, "minimum_count": minimum_count});
        story.does(0, "READ", read, "END_OF_FILE", json!({"open": 0}));
        assert_eq!(story.ends().unexplained, unexplained);
    }
}
