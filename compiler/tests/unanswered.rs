//! Requests that nobody answers, more than may wait: none is lost, and what is given up is counted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::{env, fs, io::Cursor};

use smbench_compiler::{CompileOptions, compile, folder::FolderReader};
use smbench_core::workload::{Operation, Workload};

/// 60,000 requests in flight. 1,024 may be behind one that waits, 32,768 may be aside; the answer
/// to the first, which is aside, comes last.
#[test]
fn more_requests_than_may_wait() {
    let mut pcap = head();
    let len = u32::try_from(echo(0, false).len()).unwrap();
    for mid in 0..REQUESTS {
        packet(&mut pcap, mid, false, 1 + mid * len, &echo(mid, false));
    }
    for mid in [0, REQUESTS - 1] {
        let seq = if mid == 0 { 1 } else { 1 + len };
        packet(&mut pcap, REQUESTS + mid, true, seq, &echo(mid, true));
    }
    let (ops, workload) = compiled(pcap, "unanswered");
    assert_eq!(ops.len(), REQUESTS as usize);
    for (mid, op) in (0..).zip(&ops) {
        let answered = mid == 0 || mid == u64::from(REQUESTS) - 1;
        assert_eq!((op.mid, op.expect.is_some()), (mid, answered));
        assert_eq!(op.at_us, mid);
    }
    let given_up = "answer no longer waited for: too many requests had none";
    let problems = &workload.coverage.problems;
    assert_eq!(
        problems.get(given_up),
        Some(&u64::from(REQUESTS - 1_024 - 32_768)),
        "{problems:?}"
    );
    assert_eq!(workload.coverage.reencoded_exact, u64::from(REQUESTS));
}

/// Each of 36,000 requests of 250 clients is answered when 5,000 more have been sent: all are aside
/// for a while, more of them than may be at once.
#[test]
fn answers_that_come_late_are_kept() {
    const LATE: u32 = 5_000;
    const CLIENTS: u32 = 250;
    let mut pcap = head();
    let len = u32::try_from(echo(0, false).len()).unwrap();
    let mut send = |micros, at, response| {
        let (client, turn) = (u8::try_from(at % CLIENTS).unwrap(), at / CLIENTS);
        let payload = echo(at, response);
        packet_of(
            client,
            &mut pcap,
            micros,
            response,
            1 + turn * len,
            &payload,
        );
    };
    for at in 0..LATE + LATE_REQUESTS {
        if at < LATE_REQUESTS {
            send(2 * at, at, false);
        }
        if let Some(mid) = at.checked_sub(LATE) {
            send(2 * at + 1, mid, true);
        }
    }
    let (ops, workload) = compiled(pcap, "late");
    assert_eq!(ops.len(), LATE_REQUESTS as usize);
    for (mid, op) in (0..).zip(&ops) {
        assert_eq!((op.mid, op.at_us), (mid, 2 * mid));
        let latency = op.expect.as_ref().map(|it| it.latency_us);
        assert_eq!(latency, Some(2 * u64::from(LATE) + 1), "of request {mid}");
    }
    assert_eq!(
        workload.coverage.problems.len(),
        0,
        "{:?}",
        workload.coverage
    );
}

/// A client with 500 requests in flight: each waits for no more than 128 answers, and it is told
/// that there were more.
#[test]
fn requests_wait_for_a_bounded_number_of_answers() {
    const IN_FLIGHT: u32 = 500;
    let mut pcap = head();
    let len = u32::try_from(echo(0, false).len()).unwrap();
    for at in 0..4 * IN_FLIGHT {
        packet(&mut pcap, 2 * at, false, 1 + at * len, &echo(at, false));
        if let Some(mid) = at.checked_sub(IN_FLIGHT) {
            packet(&mut pcap, 2 * at + 1, true, 1 + mid * len, &echo(mid, true));
        }
    }
    let (ops, workload) = compiled(pcap, "in-flight");
    assert_eq!(ops.len(), 4 * IN_FLIGHT as usize);
    let most = ops.iter().map(|op| op.after.len()).max();
    assert!(most <= Some(129), "{most:?} edges");
    let problem = "answers that later requests do not wait for: a client knew too many";
    let forgotten = u64::from(3 * IN_FLIGHT - 1 - 128);
    assert_eq!(workload.coverage.problems.get(problem), Some(&forgotten));
}

/// What a capture is compiled to.
fn compiled(pcap: Vec<u8>, name: &str) -> (Vec<Operation>, Workload) {
    let out = env::temp_dir().join(format!("smbench-{name}-{}", std::process::id()));
    let inputs = vec![("echo.pcap".to_owned(), Box::new(Cursor::new(pcap)) as _)];
    compile(inputs, CompileOptions::default(), &out).unwrap();
    let reader = FolderReader::open(&out).unwrap();
    let ops = reader.operations().unwrap().map(Result::unwrap);
    // What sets the connection up is not of the capture.
    let ops = ops.filter(|op: &Operation| !op.reconstructed).collect();
    let workload = reader.into_workload();
    fs::remove_dir_all(out).unwrap();
    (ops, workload)
}

const REQUESTS: u32 = 60_000;
const LATE_REQUESTS: u32 = 36_000;

/// The beginning of a capture.
fn head() -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// An ECHO in its transport frame. [MS-SMB2] 2.2.28, 2.2.29.
fn echo(mid: u32, response: bool) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 68, 0xfe, b'S', b'M', b'B', 64, 0];
    frame.resize(4 + 68, 0);
    frame[4 + 12] = 13;
    frame[4 + 14] = 1;
    frame[4 + 16] = u8::from(response);
    frame[4 + 24..4 + 28].copy_from_slice(&mid.to_le_bytes());
    frame[4 + 64] = 4;
    frame
}

/// One packet of the first client, `micros` after the first.
fn packet(pcap: &mut Vec<u8>, micros: u32, from_server: bool, seq: u32, payload: &[u8]) {
    packet_of(0, pcap, micros, from_server, seq, payload);
}

fn packet_of(
    client: u8,
    pcap: &mut Vec<u8>,
    micros: u32,
    from_server: bool,
    seq: u32,
    payload: &[u8],
) {
    let len = u32::try_from(54 + payload.len()).unwrap();
    for word in [1_000, micros, len, len] {
        pcap.extend(word.to_le_bytes());
    }
    pcap.extend([2; 12]);
    pcap.extend([8, 0, 0x45, 0]);
    pcap.extend(u16::try_from(len - 14).unwrap().to_be_bytes());
    pcap.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    let mut ends = [([10, 0, 1, client], 50_000_u16), ([10, 0, 0, 2], 445)];
    if from_server {
        ends.reverse();
    }
    pcap.extend(ends[0].0.iter().chain(&ends[1].0));
    pcap.extend(ends[0].1.to_be_bytes());
    pcap.extend(ends[1].1.to_be_bytes());
    pcap.extend(seq.to_be_bytes());
    pcap.extend([0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    pcap.extend(payload);
}
