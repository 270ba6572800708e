//! What `compile` says of traffic that was captured twice.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;

use serde_json::json;
use support::cli::{Scratch, capture};

#[test]
fn what_is_left_out_is_named() {
    let scratch = Scratch::new();
    let file = capture("twice/nat.pcap");
    let file = file.to_str().unwrap();
    let ran = scratch.run(["compile", file, "-o", "told"]);
    let line = "left out: 10.1.0.5:50123 > 172.17.0.2:445, the same traffic as \
                10.1.0.5:50123 > 10.1.0.9:445 (28 frames; --keep-duplicates compiles both)";
    assert!(ran.expect(0).out.contains(line), "{ran:#?}");

    let told = scratch.run(["compile", file, "-o", "once", "--json"]);
    let told = told.expect(0).json();
    assert_eq!(told["operations"], 14);
    let left_out = json!([{
        "from": "10.1.0.5:50123", "to": "172.17.0.2:445",
        "as_from": "10.1.0.5:50123", "as_to": "10.1.0.9:445", "frames": 28,
    }]);
    assert_eq!(told["duplicates"], left_out);
    assert!(told["clocks"].is_null());

    let args = ["compile", file, "-o", "both", "--json", "--keep-duplicates"];
    let told = scratch.run(args).expect(0).json();
    assert_eq!(told["operations"], 28);
    assert!(told["duplicates"].is_null());
}

#[test]
fn clocks_that_were_set_right_are_named() {
    let scratch = Scratch::new();
    let whole = fs::read(capture("smbclient_dialect_SMB3_11.pcap")).unwrap();
    let mut late = whole.clone();
    let mut at = 24;
    while at < late.len() {
        let word = |at: usize| u32::from_le_bytes(late[at..at + 4].try_into().unwrap());
        let (seconds, len) = (word(at) + 5, word(at + 8) as usize);
        late[at..at + 4].copy_from_slice(&seconds.to_le_bytes());
        at += 16 + len;
    }
    scratch.file("client.pcap", whole);
    scratch.file("server.pcap", late);
    let args = ["compile", "client.pcap", "server.pcap", "-o"];
    let ran = scratch.run([&args[..], &["told"]].concat());
    let line = "the clock of server.pcap was ahead by 5.00 s: its times were set right";
    assert!(ran.expect(0).out.contains(line), "{ran:#?}");
    let told = scratch.run([&args[..], &["json", "--json"]].concat());
    let clocks = json!([{ "capture": "server.pcap", "added_ns": -5_000_000_000_i64 }]);
    assert_eq!(told.expect(0).json()["clocks"], clocks);

    // What can be read only once is merged as it is.
    let piped = scratch.shell("$SMBENCH compile client.pcap - -o piped --json < server.pcap");
    let told = piped.expect(0).json();
    assert!(told["clocks"].is_null());
    assert_eq!(told["captures"], json!(["client.pcap", "-"]));
}
