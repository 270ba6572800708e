//! A capture on standard input gives what the same capture as a file gives.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where it fails"
)]

mod support;

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use support::cli::{Scratch, capture};

#[test]
fn a_capture_on_standard_input_is_compiled_as_from_a_file() {
    let scratch = Scratch::new();
    let file = capture("smbclient_dialect_SMB3_11.pcap");
    for (input, stdin, out) in [
        (file.as_os_str(), Stdio::null(), "named"),
        (
            "-".as_ref(),
            Stdio::from(File::open(&file).unwrap()),
            "piped",
        ),
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_smbench"))
            .current_dir(scratch.path(""))
            .arg("compile")
            .arg(input)
            .args(["-o", out])
            .stdin(stdin)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    for name in ["ops.jsonl", "namespace.jsonl", "blobs.pack"] {
        let read = |out: &str| fs::read(scratch.path(out).join(name)).unwrap();
        assert!(read("named") == read("piped"), "{name}");
    }
    let tables = fs::read_to_string(scratch.path("piped").join("workload.json")).unwrap();
    let tables: serde_json::Value = serde_json::from_str(&tables).unwrap();
    assert_eq!(tables["provenance"]["captures"][0]["name"], "-");
}
