//! What was noted of calls on pipes, and what they are.

use super::*;

#[test]
fn calls_that_are_not_what_was_noted_of_them_are_refused() {
    let note = |piece: &[u8]| {
        let calls = smbench_core::rpc::Conversation::default().feed(piece);
        serde_json::to_value(calls).unwrap()
    };
    let harmless = json!([{"kind": "request", "interface": "4b324fc8-1670-01d3-1278-5a47bf6ee188:3.0", "opnum": 15}]);
    let two = [call(15), call(14)].concat();
    // What is said, and what was noted of it: by the bytes of a WRITE or of an FSCTL.
    let told = [
        (bind(0), note(&bind(0)), false),
        (call(14), harmless.clone(), true),
        (two, harmless.clone(), true),
        (rpc(0, 8, &[0; 16]), harmless.clone(), true),
        (call(15), harmless, false),
    ];
    for by_write in [true, false] {
        let mut lines = set_up("\\\\s\\IPC$");
        lines.push(create(3, "srvsvc", &json!({})));
        for (id, (piece, note, _)) in (4..).zip(&told) {
            let data = json!({"blake3": Digest::of(piece).to_string(), "len": piece.len()});
            lines.push(if by_write {
                let more = json!({"open": 3, "data": data, "rpc": note});
                line(id, "WRITE", &json!({"length": piece.len(), "offset": 0}), &more)
            } else {
                let request = json!({"ctl_code": "PIPE_TRANSCEIVE", "input": hex(piece), "max_output_response": 1024, "flags": "0x1"});
                line(id, "IOCTL", &request, &json!({"open": 3, "rpc": note}))
            });
        }
        let mut policy = Policy::strict();
        let before = policy.clone();
        let mut said = Said::new(&before);
        for line in &lines {
            let op: Operation = serde_json::from_value(line.clone()).unwrap();
            let noted = match Said::words(&op) {
                None => true,
                Some(Words::Own(bytes)) => said.is_as_noted(&op, Some(bytes)),
                Some(Words::Data(data)) => {
                    let (piece, ..) = (told.iter())
                        .find(|(piece, ..)| Digest::of(piece) == data.blake3)
                        .unwrap();
                    said.is_as_noted(&op, Some(piece))
                }
                Some(Words::Unknown) => said.is_as_noted(&op, None),
            };
            if !noted {
                policy.misnoted.push(op.id);
            }
        }
        let refused = (4..).zip(&told).filter(|(_, (.., refused))| *refused);
        let refused: Vec<_> = refused.map(|(id, _)| (id, Refusal::RpcCall)).collect();
        let pieces = told.iter().map(|(piece, ..)| piece.clone()).collect();
        let ran = run(&lines, policy, (PIPE, PIPE), pieces);
        assert_eq!(ran.refused(), refused, "{by_write}");
    }
}

#[test]
fn what_is_said_on_a_pipe_is_said_in_its_order() {
    let pieces = [bind(0), call(15)];
    let mut said = smbench_core::rpc::Conversation::default();
    let mut lines = set_up("\\\\s\\IPC$");
    lines.push(create(3, "srvsvc", &json!({})));
    // The binding waits for something that comes later, and nobody wrote that the call waits for it.
    for (id, piece, after) in [(4, &pieces[0], 6), (5, &pieces[1], 3)] {
        let data = json!({"blake3": Digest::of(piece).to_string(), "len": piece.len()});
        let note = serde_json::to_value(said.feed(piece)).unwrap();
        let after = json!([{"id": 3, "rule": "handle"}, {"id": after, "rule": "resource"}]);
        let more = json!({"open": 3, "data": data, "rpc": note, "after": after});
        let request = json!({"length": piece.len(), "offset": 0});
        lines.push(line(id, "WRITE", &request, &more));
    }
    let after = json!({"after": [{"id": 3, "rule": "wire"}]});
    lines.push(line(6, "ECHO", &json!({}), &after));
    let ran = run(&lines, Policy::strict(), (PIPE, PIPE), pieces.to_vec());
    assert_eq!(ran.refused(), []);
    let sent = ran.requests.iter().map(Request::command);
    assert_eq!(sent.filter(|it| *it == Command::WRITE).count(), 2);
}

/// What is said on one of two pipes would be taken for what was said on the other.
#[test]
fn a_handle_that_a_server_gives_twice_is_not_believed() {
    let mut other = bind(0);
    other[32] ^= 1; // another interface
    let mut lines = set_up("\\\\s\\IPC$");
    lines.push(create(3, "srvsvc", &json!({})));
    lines.push(create(4, "wkssvc", &json!({})));
    let mut said = [(); 2].map(|()| smbench_core::rpc::Conversation::default());
    let told = [(bind(0), 3), (other, 4), (call(15), 3)];
    for (id, (piece, open)) in (5..).zip(&told) {
        let data = json!({"blake3": Digest::of(piece).to_string(), "len": piece.len()});
        let note = serde_json::to_value(said[open - 3].feed(piece)).unwrap();
        let more = json!({"open": open, "data": data, "rpc": note});
        let request = json!({"length": piece.len(), "offset": 0});
        lines.push(line(id, "WRITE", &request, &more));
    }
    lines.push(line(8, "CLOSE", &json!({}), &json!({"open": 3})));
    // One that was closed may be given again.
    lines.push(create(9, "srvsvc", &json!({})));
    lines.push(line(10, "CLOSE", &json!({}), &json!({"open": 9})));
    let pieces = told.iter().map(|(piece, _)| piece.clone()).collect();
    let ran = run_with(&lines, Policy::strict(), (PIPE, PIPE), pieces, |bytes| {
        if bytes[12] == 5 {
            bytes[128] = 7;
        }
    });
    let found = ran.reports.iter().filter_map(|report| match report {
        Report::Diverged { op, divergence } => {
            (*divergence == Divergence::Malformed).then_some(op.0)
        }
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), [4]);
    assert_eq!(ran.refused(), []);
    let sent = ran.requests.iter().map(Request::command);
    assert_eq!(sent.filter(|it| *it == Command::WRITE).count(), 2);
}
