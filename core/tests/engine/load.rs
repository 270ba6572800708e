//! What is under way, as the engine tells who looks on.

use super::desk::*;
use serde_json::json;
use smbench_core::{
    engine::{Load, RunConfig, Speed},
    event::Input,
    ids::ConnId,
};

#[test]
fn what_flies_and_what_waits_is_told() {
    let lines = [0, 1, 2].map(|op| echo(op, &json!({})));
    let config = RunConfig {
        speed: Speed::Max,
        ..RunConfig::default()
    };
    let mut desk = Desk::idle(&lines, config);
    let load = |desk: &Desk| desk.drive.machine().load();
    let idle = Load {
        unsettled: 3,
        ..Load::default()
    };
    assert_eq!(load(&desk), idle);
    desk.tell(Input::Start);
    assert_eq!(load(&desk), Load { queued: 3, ..idle });
    desk.tell(Input::Connected { conn: ConnId(0) });
    // The connection's one credit is with the first.
    let first = Load {
        connections: 1,
        in_flight: 1,
        queued: 2,
        ..idle
    };
    assert_eq!(load(&desk), first);
    desk.answer(ECHO, 0, SUCCESS, 5, &ECHO_BODY);
    let rest = Load {
        in_flight: 2,
        queued: 0,
        credits: 3,
        unsettled: 2,
        ..first
    };
    assert_eq!(load(&desk), rest);
    desk.answer(ECHO, 1, SUCCESS, 1, &ECHO_BODY);
    desk.answer(ECHO, 2, SUCCESS, 1, &ECHO_BODY);
    assert_eq!(load(&desk), Load::default());
}
