//! Captures of our own Samba without their beginning, and what a run of them has to come to.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cli::Scratch;

/// All of them, where there are any.
pub fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/own");
    let mut captures: Vec<PathBuf> = Vec::new();
    for folder in ["office", "scenario", "smbclient", "torture"] {
        for entry in fs::read_dir(own.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "pcap") {
                captures.push(path);
            }
        }
    }
    captures.sort();
    println!("{} captures", captures.len());
    captures
}

/// A capture (pcap, little-endian) without its first 40 % of packets.
pub fn without_its_beginning(path: &Path) -> Vec<u8> {
    without(path, 40)
}

/// A capture without so many percent of its packets, from the first on.
pub fn without(path: &Path, percent: usize) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let mut packets = Vec::new();
    let mut at = 24;
    while let Some(head) = bytes.get(at..at + 16) {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        packets.push(&bytes[at..at + 16 + len]);
        at += 16 + len;
    }
    let skipped = packets.len() * percent / 100;
    let mut cut = bytes[..24].to_vec();
    packets[skipped..]
        .iter()
        .for_each(|packet| cut.extend_from_slice(packet));
    cut
}

/// Compiles what is left to `w`, with the keys that lie beside it; what `compile --json` tells.
pub fn compiled(scratch: &Scratch, path: &Path) -> Value {
    scratch.file("cut.pcap", without_its_beginning(path));
    let keys = path.with_extension("keys.json").display().to_string();
    let keys: &[&str] = if Path::new(&keys).exists() {
        &["--keys", &keys]
    } else {
        &[]
    };
    let args = ["compile", "cut.pcap", "-o", "w", "--force", "--json"];
    scratch.run(args.iter().chain(keys)).expect(0).json()
}

/// Of what was captured nearly all is sent and compared, and hardly any differs.
pub fn judge(name: &str, told: &Value) {
    let number = |key: &str| told[key].as_u64().unwrap();
    let (answers, compared) = (number("with_answer"), number("compared"));
    let (captured, differ) = (number("captured"), compared - number("matched"));
    let sent = number("issued") - number("reconstructed");
    println!(
        "{name}: {sent} of {captured} sent, {compared} of {answers} compared, {differ} differ"
    );
    assert!(captured > 0, "{name}: {told:#}");
    assert!(sent * 100 >= captured * 95, "{name}: sent");
    assert!(compared * 10 >= answers * 9, "{name}: compared");
    assert!(differ * 100 <= compared, "{name}: {told:#}");
}
