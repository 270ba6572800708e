//! The gate alone: what it lets pass when nothing was planned.

use super::*;

/// A request as bytes, without anybody's plan.
fn request(session: u64, tree: u8, line: &Value) -> Vec<u8> {
    let op: Operation = serde_json::from_value(line.clone()).unwrap();
    let mut bytes = Vec::new();
    let mut op = op;
    let ids = smbench_core::workload::WireIds::default();
    smbench_core::workload::rebuild(&mut op, &ids, &mut bytes);
    bytes[36..40].copy_from_slice(&u32::from(tree).to_le_bytes());
    bytes[40..48].copy_from_slice(&session.to_le_bytes());
    bytes
}

#[test]
fn gate_and_engine_take_the_same_answers_for_the_last() {
    let mut lines = set_up("\\\\s\\data");
    lines.push(create(3, "a", &json!({})));
    // STATUS_PENDING is interim in an asynchronous header alone. [MS-SMB2] 3.2.5.1.5.
    let ran = run_with(&lines, Policy::strict(), (DISK, DISK), vec![], |bytes| {
        if bytes[12] == 3 {
            bytes[8..12].copy_from_slice(&0x103_u32.to_le_bytes());
        }
    });
    assert_eq!(ran.names(), ["mine\\r\\a"]);
}

#[test]
fn the_gate_knows_nothing_of_plans() {
    let roots = [("\\\\here\\share", "mine\\r")];
    let mut gate = Gate::confined(Policy::strict(), roots);
    let conn = ConnId(0);
    let mut pass = |bytes: &[u8]| gate.pass(conn, bytes);
    let make = |name: &str| create(9, name, &json!({}));
    // Neither the session nor the tree is of this run.
    assert!(matches!(
        pass(&request(5, 3, &make("mine\\r\\a"))),
        Err(Breach::ForeignId { .. })
    ));
    let login = request(0, 0, &line(1, "SESSION_SETUP", &json!({}), &json!({})));
    assert_eq!(pass(&login), Ok(()));
    let learn = |gate: &mut Gate, sent: &[u8], kind: u8| {
        let Input::Received { frame, .. } = answer(conn, sent, kind, false) else {
            unreachable!()
        };
        gate.received(conn, &frame);
    };
    learn(&mut gate, &login, 0);
    let connect = |path: &str| {
        request(
            5,
            0,
            &line(2, "TREE_CONNECT", &json!({"path": path}), &json!({})),
        )
    };
    let tree = connect("\\\\HERE\\Share");
    assert_eq!(gate.pass(conn, &tree), Ok(()));
    assert!(matches!(
        gate.pass(conn, &request(5, 3, &make("mine\\r\\a"))),
        Err(Breach::ForeignId { .. })
    ));
    learn(&mut gate, &tree, DISK);
    for (name, inside) in [
        ("mine\\r", true),
        ("mine\\r\\a\\..\\b", true),
        ("mine\\r:s", true),
        ("mine", false),
        ("mine\\smbench.json", false),
        ("mine\\r2", false),
        ("mine\\r\\..\\x", false),
        ("mine/r/x", false),
        ("MINE\\R\\x", false),
        ("", false),
        ("x", false),
    ] {
        let passed = gate.pass(conn, &request(5, 3, &make(name)));
        assert_eq!(passed.is_ok(), inside, "{name:?}: {passed:?}");
    }
    // Folders above the root may be made, and no more.
    let mut maker = gate.clone().making_roots();
    let folder = |access: &str, options: &str| {
        let request =
            json!({"name": "mine", "access": access, "disposition": "open_if", "options": options});
        line(9, "CREATE", &request, &json!({}))
    };
    assert_eq!(
        maker.pass(conn, &request(5, 3, &folder("0x100080", "0x1"))),
        Ok(())
    );
    for (access, options) in [
        ("0x110080", "0x1"),
        ("0x100080", "0x1001"),
        ("0x100080", "0x0"),
    ] {
        assert!(
            maker
                .pass(conn, &request(5, 3, &folder(access, options)))
                .is_err()
        );
    }
    // A share that nobody mapped has no root.
    let other = connect("\\\\here\\other");
    assert_eq!(gate.pass(conn, &other), Ok(()), "it is only connected to");
    learn(&mut gate, &other, DISK);
    assert!(
        gate.pass(conn, &request(5, 3, &make("mine\\r\\a")))
            .is_err()
    );
    assert_eq!(gate.pass(conn, b"\xfeSMB"), Err(Breach::Unreadable));
    let mut smb1 = b"\xffSMB\x72".to_vec();
    smb1.resize(40, 0);
    assert_eq!(gate.pass(conn, &smb1), Ok(()), "NEGOTIATE");
    smb1[4] = 0xa2;
    assert_eq!(
        gate.pass(conn, &smb1),
        Err(Breach::Unreadable),
        "NT_CREATE_ANDX"
    );
}

/// A server whose answer to a login does not say that it is an answer gives a session all the same: the engine goes on
/// with it and tells of the header, and what is then sent is no defect.
#[test]
fn a_session_that_an_answer_without_its_flag_gives_was_given() {
    let mut lines = set_up("\\\\s\\data");
    lines.push(create(3, "a", &json!({})));
    // SMB2_FLAGS_SERVER_TO_REDIR. [MS-SMB2] 2.2.1.2.
    let ran = run_with(&lines, Policy::strict(), (DISK, DISK), vec![], |bytes| {
        if bytes[12] == 1 {
            bytes[16] &= !1;
        }
    });
    assert_eq!(ran.names(), ["mine\\r\\a"]);
}
