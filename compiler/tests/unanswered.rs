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

/// 60,000 requests in flight. 32,768 may be behind one that waits, 16,384 may be aside; the answer
/// to the first, which is aside, comes last.
#[test]
fn more_requests_than_may_wait() {
    let mut pcap = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        pcap.extend(word.to_le_bytes());
    }
    let len = u32::try_from(echo(0, false).len()).unwrap();
    for mid in 0..REQUESTS {
        packet(&mut pcap, mid, false, 1 + mid * len, &echo(mid, false));
    }
    for mid in [0, REQUESTS - 1] {
        let seq = if mid == 0 { 1 } else { 1 + len };
        packet(&mut pcap, REQUESTS + mid, true, seq, &echo(mid, true));
    }
    let out = env::temp_dir().join(format!("smbench-unanswered-{}", std::process::id()));
    let inputs = vec![("echo.pcap".to_owned(), Box::new(Cursor::new(pcap)) as _)];
    compile(inputs, CompileOptions::default(), &out).unwrap();
    let reader = FolderReader::open(&out).unwrap();
    let ops: Vec<_> = reader.operations().unwrap().map(Result::unwrap).collect();
    let workload = reader.into_workload();
    fs::remove_dir_all(out).unwrap();
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
        Some(&u64::from(REQUESTS - 32_768 - 16_384)),
        "{problems:?}"
    );
    assert_eq!(workload.coverage.reencoded_exact, u64::from(REQUESTS));
}

const REQUESTS: u32 = 60_000;

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

/// One packet, `micros` after the first.
fn packet(pcap: &mut Vec<u8>, micros: u32, from_server: bool, seq: u32, payload: &[u8]) {
    let len = u32::try_from(54 + payload.len()).unwrap();
    for word in [1_000, micros, len, len] {
        pcap.extend(word.to_le_bytes());
    }
    pcap.extend([2; 12]);
    pcap.extend([8, 0, 0x45, 0]);
    pcap.extend(u16::try_from(len - 14).unwrap().to_be_bytes());
    pcap.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    let mut ends = [([10, 0, 0, 1], 50_000_u16), ([10, 0, 0, 2], 445)];
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
