//! Both drivers of `sim` find the same in a workload: the event loop, and `live`'s driver over turmoil.
//!
//! The logins of a simulation prove nothing and give no key, so nothing is signed, also where the
//! recorded client demands it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::cli::{Scratch, capture};

/// Replays a workload under one driver; gives what it found, but for its times.
fn found(scratch: &Scratch, driver: &str, journal: &str) -> Value {
    let args = ["sim", "w", "--speed", "max", "--driver", driver, "--json"];
    let ran = scratch.run([&args[..], &["--journal", journal]].concat());
    // Of the encrypted share there is no password.
    assert!(matches!(ran.code, Some(0 | 1 | 5)), "{ran:#?}");
    let told = ran.json();
    let keys = [
        "operations",
        "issued",
        "matched",
        "diverged",
        "cascaded",
        "skipped",
        "stray",
        "unanswered",
    ];
    keys.map(|key| (key.to_owned(), told[key].clone()))
        .into_iter()
        .collect()
}

/// What a client says that signs where the server demands it.
const RECORDED: &str = "\"security_mode\":\"0x1\"";

/// Compares both drivers on a capture, as it is and with clients that demand signing.
fn compare(path: &Path) {
    let scratch = Scratch::new();
    let mut args = vec!["compile", path.to_str().unwrap(), "-o", "w"];
    let keys = path.with_extension("keys.json");
    if keys.exists() {
        args.extend(["--keys", keys.to_str().unwrap()]);
    }
    scratch.run(args).expect(0);
    let shown = path.display();
    let alike = |signing: &str| {
        let [quick, real] = ["event-loop", "turmoil"].map(|driver| {
            let journal = format!("{driver} {signing}");
            found(&scratch, driver, &journal)
        });
        assert_eq!(quick, real, "{shown}, signing {signing}");
        assert!(
            quick["diverged"].get("bad_signature").is_none(),
            "{shown}, signing {signing}: {quick:#}"
        );
        assert_ne!(quick["issued"], json!(0), "{shown}");
        quick
    };
    let before = alike("as recorded");
    let operations = scratch.path("w").join("ops.jsonl");
    let text = std::fs::read_to_string(&operations).unwrap();
    // NEGOTIATE stays: a client that validates it repeats what was recorded there.
    let lines = text.lines().map(|line| {
        let setup = line.contains("\"SESSION_SETUP\"");
        let mode = if setup {
            "\"security_mode\":\"0x2\""
        } else {
            RECORDED
        };
        line.replace(RECORDED, mode) + "\n"
    });
    let required: String = lines.collect();
    assert_ne!(text, required, "{shown}");
    std::fs::write(&operations, required).unwrap();
    assert_eq!(before, alike("required"), "{shown}");
}

#[test]
fn shipped_captures_give_the_same_under_both() {
    for name in [
        "collab6_seed1.pcap",
        "leases3_plain.pcap",
        "smbclient_dialect_SMB2_02.pcap",
        "smbclient_dialect_SMB3_00.pcap",
        "smbclient_dialect_SMB3_11.pcap",
        "smbclient_encrypted_share.pcap",
        "smbclient_files.pcap",
    ] {
        compare(&capture(name));
    }
}

/// Twenty clients that demand signing, and sessions that are bound and logged in to again.
#[test]
fn shared_captures_give_the_same_under_both() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/own");
    let names = [
        "office/office20_15s.pcap",
        "torture/smbtorture_smb2.session.pcap",
    ];
    let there = names.map(|name| own.join(name));
    let there: Vec<_> = there.iter().filter(|path| path.exists()).collect();
    for path in &there {
        compare(path);
    }
    println!("{} captures of {}", there.len(), names.len());
}
