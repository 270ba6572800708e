//! Answers that are wrong in themselves: told as such, and nothing in them is believed.

use super::desk::*;
use serde_json::json;
use smbench_core::{
    engine::{RunConfig, Speed},
    event::{Divergence, Input, NetFailure, Report, Seal},
    frame::{Content, Cut, Digest, Frame},
    ids::{ConnId, OpId},
    smb2::NtStatus,
};

const STOPPED_ON_SYMLINK: u32 = 0x8000_002d;
const READ: u16 = 8;
const IOCTL: u16 = 11;
const QUERY_DIRECTORY: u16 = 14;
const QUERY_INFO: u16 = 16;

/// An ERROR response with a Symbolic Link Error Response. [MS-SMB2] 2.2.2, 2.2.2.2.1.
fn symlink_error() -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 36, 0, 0, 0];
    body.extend_from_slice(&32_u32.to_le_bytes());
    body.extend_from_slice(b"SYML");
    body.extend_from_slice(&0xa000_000c_u32.to_le_bytes());
    body.extend_from_slice(&[20, 0, 0, 0, 0, 0, 4, 0, 4, 0, 4, 0, 1, 0, 0, 0]);
    body.extend_from_slice(b"b\0\\\0b\0\\\0");
    body
}

#[test]
fn a_symbolic_link_in_the_way_is_another_answer_and_no_wrong_one() {
    let close = operation(
        1,
        "CLOSE",
        &json!({ "flags": "0x0" }),
        &json!({ "open": 0, "after": [{ "id": 0, "rule": "handle" }] }),
    );
    let mut desk = Desk::new(&[create(0, Some(0), "SUCCESS", &json!({})), close]);
    desk.answer(CREATE, 0, STOPPED_ON_SYMLINK, 1, &symlink_error());
    let seen = NtStatus(STOPPED_ON_SYMLINK);
    let status = Divergence::Status {
        recorded: NtStatus::SUCCESS,
        seen,
    };
    assert_eq!(desk.diverged(), [(0, &status)]);
    // It gave no handle: what would use one is a consequence, and nothing else was sent.
    assert_eq!(desk.sent.len(), 1);
    // One that the recording met too is as recorded.
    let mut desk = Desk::new(&[create(0, None, "STOPPED_ON_SYMLINK", &json!({}))]);
    desk.answer(CREATE, 0, STOPPED_ON_SYMLINK, 1, &symlink_error());
    assert_eq!(desk.diverged(), []);
}

/// What came of an answer to one request of `cmd`, whose body ends with four bytes of data that
/// begin at `at` and are `len` bytes long, as it says.
fn judged(cmd: &str, at: u8, len: u32) -> Vec<Divergence> {
    let (command, request, body) = match cmd {
        "QUERY_DIRECTORY" => {
            let request = json!({ "file_information_class": 37, "pattern": "*", "output_buffer_length": 100 });
            (
                QUERY_DIRECTORY,
                request,
                [&[9, 0, at, 0][..], &len.to_le_bytes()].concat(),
            )
        }
        "QUERY_INFO" => {
            let request =
                json!({ "info_type": "file", "file_info_class": 5, "output_buffer_length": 100 });
            (
                QUERY_INFO,
                request,
                [&[9, 0, at, 0][..], &len.to_le_bytes()].concat(),
            )
        }
        _ => {
            let request =
                json!({ "ctl_code": "0x900a8", "max_output_response": 100, "flags": "0x1" });
            let mut body = vec![0; 48];
            body[0] = 49;
            body[32] = at;
            body[36..40].copy_from_slice(&len.to_le_bytes());
            (IOCTL, request, body)
        }
    };
    let line = operation(
        0,
        cmd,
        &request,
        &json!({ "expect": { "frame": 0, "status": "SUCCESS", "latency_us": 10 } }),
    );
    let mut desk = Desk::new(&[line]);
    desk.answer(command, 0, SUCCESS, 1, &[&body[..], b"data"].concat());
    desk.diverged()
        .into_iter()
        .map(|(_, it)| it.clone())
        .collect()
}

#[test]
fn data_that_are_not_where_an_answer_says_are_no_data() {
    for (cmd, at) in [("QUERY_DIRECTORY", 72), ("QUERY_INFO", 72), ("IOCTL", 112)] {
        assert_eq!(judged(cmd, at, 4), [], "{cmd}");
        assert_eq!(judged(cmd, 0, 0), [], "{cmd}: none");
        for (at, len) in [
            (at, 5),
            (at + 1, 4),
            (at - 1, 4),
            (0, 4),
            (255, 4),
            (at, u32::MAX),
        ] {
            assert_eq!(
                judged(cmd, at, len),
                [Divergence::Malformed],
                "{cmd} at {at}, {len}"
            );
        }
    }
}

#[test]
fn a_read_whose_data_are_not_in_its_answer_is_malformed() {
    let digest = Digest::of(b"data");
    let line = operation(
        0,
        "READ",
        &json!({ "length": 4, "offset": 0 }),
        &json!({ "expect": {
            "frame": 0, "status": "SUCCESS", "latency_us": 10, "count": 4,
            "data": { "blake3": digest.to_string(), "len": 4 },
        } }),
    );
    let body = [17, 0, 80, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (cut, found) in [(true, &[][..]), (false, &[(0, &Divergence::Malformed)])] {
        let mut desk = Desk::new(std::slice::from_ref(&line));
        let mut bytes = header(READ, 0, SUCCESS, 1);
        bytes.extend_from_slice(&body);
        let cuts = cut.then_some(Cut {
            at: 80,
            len: 4,
            content: Content::Data(digest),
        });
        let frame = Frame {
            bytes,
            cuts: cuts.into_iter().collect(),
        };
        desk.tell(Input::Received {
            conn: ConnId(0),
            frame,
            seal: Seal::Plain,
        });
        assert_eq!(desk.diverged(), found, "{cut}");
    }
}

/// A connection that the server ends while nothing is asked on it is lost all the same: whoever wants to ask next finds
/// it so, and the rest is a consequence.
#[test]
fn a_connection_lost_while_nothing_was_asked_is_a_divergence() {
    let after =
        |id: u32| json!({ "after": [{ "id": id, "rule": "wire" }], "at_us": 1_000_000 * (id + 1) });
    let lines = [echo(0, &json!({})), echo(1, &after(0)), echo(2, &after(1))];
    let config = RunConfig {
        speed: Speed::Thousandths(1_000),
        ..RunConfig::default()
    };
    let mut desk = Desk::idle(&lines, config);
    desk.tell(Input::Start);
    while desk.dials.is_empty() {
        desk.wake_up();
    }
    desk.tell(Input::Connected { conn: ConnId(0) });
    desk.answer(ECHO, 0, 0, 8, &ECHO_BODY);
    let reason = NetFailure::Eof;
    desk.tell(Input::Closed {
        conn: ConnId(0),
        reason,
    });
    while !desk.drive.machine().is_done() {
        desk.wake_up();
    }
    assert_eq!(
        desk.diverged(),
        [(1, &Divergence::ConnectionLost { reason })]
    );
    let consequences = desk.reports.iter().filter(|it| {
        matches!(
            it,
            Report::Cascaded {
                op: OpId(2),
                cause: OpId(1)
            }
        )
    });
    assert_eq!(consequences.count(), 1, "{:?}", desk.reports);
}
