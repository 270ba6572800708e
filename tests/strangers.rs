//! Captures of clients and servers that are not ours: what differs from Samba is as it was recorded.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::cli::Scratch;

/// A capture that was published; none where they are not at hand.
fn public(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/public");
    Some(folder.join(name)).filter(|path| path.exists())
}

/// One that was made by hand of what went wrong.
fn trial(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/trials");
    folder.join(name)
}

fn simulated(scratch: &Scratch, path: &Path) -> Value {
    let path = path.to_string_lossy();
    scratch.run(["compile", &path, "-o", "w", "--force", "--json"]);
    let ran = scratch.run(["sim", "w", "--speed", "max", "--json"]);
    ran.json()
}

/// A server that leases directories: grants, breaks, epochs and acknowledgements are as recorded.
#[test]
fn directories_are_leased_where_the_recorded_server_did() {
    for name in [
        "suricata-verify__smb2-delete_input.pcap",
        "suricata-verify__smb-length-5786_input.pcap",
    ] {
        let Some(path) = public(name) else { return };
        let scratch = Scratch::new();
        let told = simulated(&scratch, &path);
        assert_eq!(told["found"]["another_grant"], Value::Null, "{told:#}");
        assert_eq!(told["cascaded"], 0, "{told:#}");
        assert!(told["compared"].as_u64() > Some(80), "{told:#}");
    }
}

/// A server that answers FILE_CLOSED to what is related to a CREATE that failed.
#[test]
fn what_follows_a_failed_create_is_answered_as_recorded() {
    let Some(path) = public("zeek__smb_smb2_100_small_files.pcap") else {
        return;
    };
    let scratch = Scratch::new();
    let told = simulated(&scratch, &path);
    let differ = told["divergences"].as_array().unwrap();
    let related = |it: &&Value| it["recorded"] == "STATUS_FILE_CLOSED";
    assert_eq!(differ.iter().filter(related).count(), 0, "{told:#}");
    assert!(told["compared"].as_u64() > Some(400), "{told:#}");
}

/// Files whose CLOSE was refused to whoever had written to them: a matter of rights.
#[test]
fn what_users_were_not_allowed_is_refused_and_told() {
    let Some(path) = public("suricata-verify__smb2-01_smb2-peter.pcap") else {
        return;
    };
    let scratch = Scratch::new();
    let told = simulated(&scratch, &path);
    assert_eq!(
        (&told["verdict"], &told["compared"]),
        (&"as_recorded".into(), &232.into())
    );
    let told = scratch.run(["inspect", "w", "--json"]).expect(0).json();
    let denied = told["denied"].as_array().unwrap();
    assert!(denied.iter().all(|it| it["what"] == "CLOSE"), "{told:#}");
    assert!(denied.iter().any(|it| it["frame"] == 138), "{told:#}");
}

/// A server that answers with the level of a lease and no lease: what it granted nobody knows.
#[test]
fn a_lease_that_is_not_told_is_not_compared() {
    let Some(path) = public("zeek__krb_smb2_krb.pcap") else {
        return;
    };
    let scratch = Scratch::new();
    let told = simulated(&scratch, &path);
    assert_eq!(told["found"]["another_grant"], Value::Null, "{told:#}");
    assert_eq!(told["compared"], told["matched"], "{told:#}");
    assert!(told["compared"].as_u64() >= Some(40), "{told:#}");
}

/// Directory information classes that older servers did not have.
#[test]
fn listings_of_every_class_are_answered() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("F8_listing_classes.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(
        (&told["compared"], &told["matched"]),
        (&12.into(), &12.into())
    );
}

/// FileRenameInformationEx, FileDispositionInformationEx, a hard link, an open by the number of a file.
#[test]
fn renames_deletions_and_links_are_done_as_asked() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("B40_renames_deletes_ex.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(
        (&told["compared"], &told["matched"]),
        (&33.into(), &33.into())
    );
}

/// SMB 3.1.1 POSIX extensions: names with colons, whose case matters; level 0x64.
#[test]
fn posix_extensions_are_answered() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("B6_posix.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(
        (&told["compared"], &told["matched"]),
        (&15.into(), &15.into())
    );
}

/// Names that Unicode folds and an upcase table does not are several files.
#[test]
fn names_are_compared_by_an_upcase_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/trials");
    let path = folder.join("B17_case.pcap");
    if !path.exists() {
        return;
    }
    let scratch = Scratch::new();
    let told = simulated(&scratch, &path);
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(told["compared"], 27);
}

/// Versions of files are views that a recording has; which of them there are is answered as it was recorded, for the
/// given-away workload too.
#[test]
fn previous_versions_are_there_and_enumerated_as_recorded() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("B9_snapshots.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    let ran = scratch.run(["sim", "w", "--speed", "max"]);
    let words = "not compared: 2 that the model does not compute";
    assert!(ran.out.contains(words), "{ran:?}");
    let ticket = scratch.run(["sim", "w", "--speed", "max", "--ticket"]);
    let words = "2 answers were copied from the recording";
    assert!(ticket.out.contains(words), "{ticket:?}");
    let counts = |told: &Value| {
        let count = |key: &str| told[key].as_u64().unwrap();
        (count("compared"), count("answered_from_recording"))
    };
    assert_eq!(counts(&told), (17, 2), "{told:#}");
    scratch.run(["anonymize", "w", "-o", "clean"]).expect(0);
    let given = scratch
        .run(["sim", "clean", "--speed", "max", "--json"])
        .json();
    assert_eq!(
        (&given["verdict"], counts(&given)),
        (&told["verdict"], (17, 2))
    );
    scratch
        .run(["slice", "w", "--client", "0", "-o", "part"])
        .expect(0);
    let part = scratch
        .run(["sim", "part", "--speed", "max", "--json"])
        .json();
    assert_eq!(
        (&part["verdict"], counts(&part)),
        (&told["verdict"], (17, 2))
    );
    // What came back is there whole, or it is no workload.
    let path = scratch.path("w/ops.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("\"output\":").unwrap();
    let (digest, rest) = rest.split_once("\"len\":").unwrap();
    let edited = format!("{before}\"output\":{digest}\"len\":4{rest}");
    std::fs::write(&path, edited).unwrap();
    let ran = scratch.run(["sim", "w", "--speed", "max"]);
    ran.expect(3).says(&["bytes that came back"]);
}

/// Symbolic links stop who does not ask for them; with their namespace alone, and in a slice too.
#[test]
fn links_are_answered_as_recorded() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("B34_symlink_errors.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(told["compared"], 15);
    scratch
        .run(["slice", "w", "-o", "s", "--path", "link2"])
        .expect(0);
    let told = scratch.run(["sim", "s", "--speed", "max", "--json"]).json();
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    scratch
        .run(["anonymize", "w", "-o", "a", "--seed", "1"])
        .expect(0);
    let told = scratch.run(["sim", "a", "--speed", "max", "--json"]).json();
    assert_eq!(told["compared"], 15, "{told:#}");
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
}

/// Names begin with server and share, and one is at a link of DFS.
#[test]
fn names_of_dfs_are_answered_as_recorded() {
    let scratch = Scratch::new();
    let told = simulated(&scratch, &trial("B12_dfs.pcap"));
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(
        (&told["issued"], &told["compared"]),
        (&13.into(), &13.into())
    );
    scratch
        .run(["anonymize", "w", "-o", "a", "--seed", "1"])
        .expect(0);
    let told = scratch.run(["sim", "a", "--speed", "max", "--json"]).json();
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
}
