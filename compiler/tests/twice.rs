//! Captures of one network at two places, and of two networks at one: made by hand, see
//! `tests/captures/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test stops where it fails"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use smbench_compiler::{CompileOptions, Compiled, compile};

/// Compiles captures of the folder `twice` and reads the lines.
fn compiled(names: &[&str], options: CompileOptions<'_>) -> (Compiled, String) {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/twice");
    let inputs = names.iter().map(|name| {
        let file = File::open(captures.join(name)).unwrap();
        ((*name).to_owned(), Box::new(file) as Box<dyn Read + Send>)
    });
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
    let (once, _) = compiled(&["nat.pcap"], CompileOptions::default());
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
    let (both, _) = compiled(&["nat.pcap"], options);
    assert_eq!(both.workload.coverage.requests_seen, 28);
    assert_eq!(both.workload.connections.len(), 2);
}

/// tshark finds 18 requests in one of the VLANs alone, and 12 in the other.
#[test]
fn equal_addresses_in_two_vlans_are_two_connections() {
    let (compiled, lines) = compiled(&["two_vlans.pcap"], CompileOptions::default());
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
