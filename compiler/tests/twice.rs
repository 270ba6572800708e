//! Captures of one network at two places, and of two networks at one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test stops where it fails"
)]

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use serde_json::Value;
use smbench_compiler::capture::clocks;
use smbench_compiler::{CompileOptions, Compiled, compile};

fn capture(name: &str) -> Vec<u8> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    fs::read(captures.join(name)).unwrap()
}

fn input(capture: &[u8]) -> Box<dyn Read + Send> {
    Box::new(Cursor::new(capture.to_vec()))
}

/// Compiles captures and reads the lines.
fn compiled(captures: &[Vec<u8>], options: CompileOptions<'_>) -> (Compiled, String) {
    let inputs = captures.iter().map(|it| ("capture".to_owned(), input(it)));
    // Each test has a thread of its name.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let folder = format!("smbench-twice-{}-{test}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let compiled = compile(inputs.collect(), options, &folder).unwrap();
    let lines = fs::read_to_string(folder.join("ops.jsonl")).unwrap();
    fs::remove_dir_all(folder).unwrap();
    (compiled, lines)
}

#[test]
fn before_and_behind_address_translation_is_compiled_once() {
    let (once, _) = compiled(&[capture("twice/nat.pcap")], CompileOptions::default());
    let workload = &once.workload;
    assert_eq!(workload.coverage.requests_seen, 14);
    assert_eq!(workload.connections.len(), 1);
    assert_eq!(workload.connections[0].to, "10.1.0.9:445");
    let skipped = &workload.coverage.skipped;
    assert_eq!(skipped["connections: the same traffic as another"], 1);
    let frames = "frames: of connections that are the same traffic as others";
    assert_eq!(skipped[frames], 28);
    assert_eq!(once.stats.duplicates.len(), 1);
    let server = once.stats.duplicates[0].server;
    assert_eq!(server.to_string(), "172.17.0.2:445");
    assert!(workload.coverage.problems.is_empty());

    let mut options = CompileOptions::default();
    options.capture.keep_duplicates = true;
    let (both, _) = compiled(&[capture("twice/nat.pcap")], options);
    assert_eq!(both.workload.coverage.requests_seen, 28);
    assert_eq!(both.workload.connections.len(), 2);
}

/// tshark finds 18 requests in one of the VLANs alone, and 12 in the other.
#[test]
fn equal_addresses_in_two_vlans_are_two_connections() {
    let (compiled, lines) = compiled(
        &[capture("twice/two_vlans.pcap")],
        CompileOptions::default(),
    );
    let workload = &compiled.workload;
    assert_eq!(workload.connections.len(), 2);
    assert_eq!(workload.coverage.requests_seen, 30);
    assert_eq!(workload.coverage.responses, 30);
    let of = |conn: &str| {
        let requests = lines.lines().filter(|line| line.contains(conn));
        requests.filter(|line| !line.contains("disconnect")).count()
    };
    assert_eq!((of("\"conn\":0,"), of("\"conn\":1,")), (18, 12));
    assert!(workload.coverage.skipped.is_empty());
    assert!(workload.coverage.problems.is_empty());
}

/// What operations say but for the numbers of packets and, if asked, times.
fn without(lines: &str, times: bool) -> Vec<Value> {
    let lines = lines.lines().map(|line| {
        let mut op: Value = serde_json::from_str(line).unwrap();
        let mut names = vec!["frame"];
        if times {
            names.extend(["at_us", "latency_us", "interim_us"]);
        }
        for name in names {
            op.as_object_mut().unwrap().remove(name);
            if let Some(expect) = op["expect"].as_object_mut() {
                expect.remove(name);
            }
        }
        op
    });
    lines.collect()
}

/// The records of a little-endian pcap of microseconds, and what they are to be.
fn changed(capture: &[u8], change: impl Fn(i64, &[u8]) -> Option<i64>) -> Vec<u8> {
    let (head, mut rest) = capture.split_at(24);
    assert!(head.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]));
    let mut file = head.to_vec();
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let at_us = i64::from(word(0)) * 1_000_000 + i64::from(word(4));
        let len = 16 + word(8) as usize;
        if let Some(at_us) = change(at_us, &rest[16..len]) {
            for word in [at_us / 1_000_000, at_us % 1_000_000] {
                file.extend(u32::try_from(word).unwrap().to_le_bytes());
            }
            file.extend(&rest[8..len]);
        }
        rest = &rest[len..];
    }
    file
}

fn with_clocks(captures: &[Vec<u8>]) -> CompileOptions<'static> {
    let inputs = captures.iter().map(|it| Some(input(it)));
    let mut options = CompileOptions::default();
    options.capture.clocks_ns = clocks(inputs.collect()).unwrap();
    options
}

#[test]
fn both_sides_with_clocks_apart_are_as_one() {
    for name in ["smbclient_dialect_SMB3_11.pcap", "leases3_plain.pcap"] {
        let client = capture(name);
        let (alone, lines) = compiled(std::slice::from_ref(&client), CompileOptions::default());
        for apart_us in [-5_000_000, 5_000_000] {
            let server = changed(&client, |at_us, _| Some(at_us + 50 + apart_us));
            let files = [client.clone(), server];
            let (both, all) = compiled(&files, with_clocks(&files));
            assert_eq!(without(&all, false), without(&lines, false), "{name}");
            assert_eq!(both.workload.connections, alone.workload.connections);
            assert_eq!(
                both.workload.coverage.problems,
                alone.workload.coverage.problems
            );
            let provenance = both.workload.provenance;
            assert_eq!(provenance.epoch_ns, alone.workload.provenance.epoch_ns);
            assert_eq!(provenance.captures[0].clock_ns, 0);
            assert_eq!(provenance.captures[1].clock_ns, -(50 + apart_us) * 1_000);
        }
    }
}

#[test]
fn a_file_for_each_direction_is_one_session() {
    for (name, port) in [
        ("smbclient_dialect_SMB3_11.pcap", 4451_u16),
        ("smbclient_files.pcap", 4451),
    ] {
        let whole = capture(name);
        let (_, lines) = compiled(std::slice::from_ref(&whole), CompileOptions::default());
        for late_us in [-2_000_000, 2_000_000] {
            // Ethernet and IPv4 without options: the port of the server comes first in its segments.
            let is_answer = |packet: &[u8]| packet[34..36] == port.to_be_bytes();
            let up = changed(&whole, |at, packet| (!is_answer(packet)).then_some(at));
            let down = changed(&whole, |at, packet| {
                is_answer(packet).then_some(at + late_us)
            });
            let files = [up, down];
            let (compiled, found) = compiled(&files, with_clocks(&files));
            assert_eq!(without(&found, true), without(&lines, true), "{name}");
            assert!(!compiled.workload.sessions[0].inferred, "{name}");
        }
    }
}
