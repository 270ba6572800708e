//! Captures that begin in the middle: what they use and nobody saw set up is put before its first use, by every
//! driver, and never compared.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::cli::{Scratch, capture};
use support::own::{self, without, without_its_beginning};

/// Compiles what is left of a capture, and simulates it.
fn simulated(scratch: &Scratch, path: &Path) -> (Value, Value) {
    let compiled = own::compiled(scratch, path);
    let ran = scratch.run(["sim", "w", "--speed", "max", "--json"]);
    (compiled, ran.json())
}

#[test]
fn what_was_not_captured_is_set_up_and_not_compared() {
    let scratch = Scratch::new();
    let (compiled, told) = simulated(&scratch, &capture("smbclient_files.pcap"));
    let made = compiled["inferred"]["reconstructed"].as_u64().unwrap();
    assert!(made >= 3, "{compiled:#}");
    let captured: u64 = compiled["by_command"]
        .as_object()
        .unwrap()
        .values()
        .map(|it| it.as_u64().unwrap())
        .sum();
    assert_eq!(compiled["operations"], captured + made);
    assert_eq!(compiled["requests_seen"], captured);
    let lines = fs::read_to_string(scratch.path("w/ops.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let marked: Vec<&Value> = lines
        .iter()
        .filter(|line| line["reconstructed"] == true)
        .collect();
    assert_eq!(marked.len() as u64, made);
    assert!(marked.iter().all(|line| line.get("expect").is_none()));
    let commands: Vec<&str> = marked
        .iter()
        .map(|line| line["cmd"].as_str().unwrap())
        .collect();
    assert_eq!(
        commands[..3],
        ["NEGOTIATE", "SESSION_SETUP", "TREE_CONNECT"]
    );
    assert_eq!(
        (&told["verdict"], &told["coverage"]),
        (&"as_recorded".into(), &1.0.into())
    );
    assert_eq!(
        (&told["captured"], &told["reconstructed"]),
        (&captured.into(), &made.into())
    );
    let out = scratch
        .run(["sim", "w", "--speed", "max"])
        .expect(0)
        .out
        .clone();
    assert!(
        out.contains("that were not captured set up what others use"),
        "{out}"
    );
    // The other driver, a journal of it, a slice and a copy to give away know them too.
    let args = [
        "sim", "w", "--speed", "max", "--driver", "turmoil", "--bundle", "t.smbj",
    ];
    scratch.run(args).expect(0);
    scratch.run(["rerun", "t.smbj"]).expect(0);
    scratch.run(["anonymize", "w", "-o", "nameless"]).expect(0);
    let told = scratch
        .run(["sim", "nameless", "--speed", "max", "--json"])
        .expect(0)
        .json();
    assert_eq!(told["reconstructed"], made);
    scratch
        .run(["slice", "w", "--causes", "--path", "docs*", "-o", "part"])
        .expect(0);
    let told = scratch
        .run(["sim", "part", "--speed", "max", "--json"])
        .expect(0)
        .json();
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
}

/// The packets of a capture (pcap, little-endian, Ethernet, IPv4) with port 445 at this place of the TCP header.
fn one_direction(path: &Path, port_at: usize) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let mut kept = bytes[..24].to_vec();
    let mut at = 24;
    while let Some(head) = bytes.get(at..at + 16) {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let packet = &bytes[at + 16..at + 16 + len];
        let tcp = 14 + usize::from(packet[14] & 15) * 4;
        if packet[tcp + port_at..tcp + port_at + 2] == 445u16.to_be_bytes() {
            kept.extend_from_slice(&bytes[at..at + 16 + len]);
        }
        at += 16 + len;
    }
    kept
}

/// Places of the ports in a TCP header.
const FROM: usize = 0;
const TO: usize = 2;

/// Answers alone are no workload: that is told, and what is no use is not recommended.
#[test]
fn answers_alone_are_nothing_to_replay() {
    let scratch = Scratch::new();
    let path = capture("leases3_plain.pcap");
    scratch.file("cut.pcap", one_direction(&path, FROM));
    let ran = scratch.run(["compile", "cut.pcap", "-o", "w"]);
    ran.expect(3).says(&["no SMB2 request"]);
    assert!(ran.out.contains("only what the server sent"), "{ran:?}");
    assert!(!ran.out.contains("smbench sim"), "{ran:?}");
}

/// With one direction alone, what answers told shows when it is used: all is sent, and nothing compared.
#[test]
fn requests_alone_are_all_sent() {
    let scratch = Scratch::new();
    let path = capture("leases3_plain.pcap");
    scratch.file("cut.pcap", one_direction(&path, TO));
    let compiled = scratch.run(["compile", "cut.pcap", "-o", "w", "--json"]);
    let compiled = compiled.expect(0).json();
    assert_eq!(compiled["responses"], 0, "{compiled:#}");
    assert!(compiled["inferred"]["ids handed out"].as_u64() > Some(0));
    let whole = scratch.run(["compile", &path.to_string_lossy(), "-o", "all", "--json"]);
    let whole = whole.expect(0).json();
    assert_eq!(compiled["requests_seen"], whole["requests_seen"]);
    let args = ["sim", "w", "--speed", "max", "--bundle", "b.smbj", "--json"];
    let told = scratch.run(args).expect(5).json();
    let number = |key: &str| told[key].as_u64().unwrap();
    assert_eq!((number("with_answer"), number("compared")), (0, 0));
    let sent = number("issued") - number("reconstructed");
    assert!(sent * 100 >= number("compiled") * 98, "{told:#}");
    scratch.run(["rerun", "b.smbj"]).expect(0);
}

/// Of each capture of our own, without its beginning, nearly all is sent and compared, and hardly any differs.
#[test]
fn our_captures_replay_without_their_beginning() {
    for path in own::captures() {
        let scratch = Scratch::new();
        let (_, told) = simulated(&scratch, &path);
        own::judge(&path.file_name().unwrap().to_string_lossy(), &told);
    }
}

/// Without its first 10 % of packets: what compiling tells, and operations as lines.
fn cut_early(scratch: &Scratch, name: &str) -> (Value, Vec<Value>) {
    scratch.file("cut.pcap", without(&capture(name), 10));
    let compiled = scratch.run(["compile", "cut.pcap", "-o", "w", "--json"]);
    let compiled = compiled.expect(0).json();
    let lines = fs::read_to_string(scratch.path("w/ops.jsonl")).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (compiled, lines.collect())
}

fn replays_as_recorded(scratch: &Scratch) {
    let ran = scratch.run(["sim", "w", "--speed", "max", "--json"]);
    let told = ran.expect(0).json();
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(told["compared"], told["with_answer"], "{told:#}");
}

/// Of a login whose second leg is the first thing captured the first one is put before it.
#[test]
fn a_login_that_had_begun_goes_on() {
    let scratch = Scratch::new();
    let (_, lines) = cut_early(&scratch, "smbclient_dialect_SMB3_11.pcap");
    let commands: Vec<_> = lines[..3].iter().map(|it| it["cmd"].as_str()).collect();
    assert_eq!(
        commands,
        [
            Some("NEGOTIATE"),
            Some("SESSION_SETUP"),
            Some("SESSION_SETUP")
        ]
    );
    let made: Vec<_> = lines[..3].iter().map(|it| &it["reconstructed"]).collect();
    assert_eq!(made, [&true.into(), &true.into(), &Value::Null]);
    assert_eq!(lines[1]["session"], lines[2]["session"]);
    replays_as_recorded(&scratch);
}

/// VALIDATE_NEGOTIATE_INFO says what the NEGOTIATE was, and a server ends a connection where it was not.
#[test]
fn what_a_client_says_it_offered_is_offered() {
    for (name, dialects) in [
        ("smbclient_dialect_SMB2_02.pcap", &["2.0.2"][..]),
        ("smbclient_dialect_SMB3_00.pcap", &["2.0.2", "2.1", "3.0"]),
    ] {
        let scratch = Scratch::new();
        let (compiled, lines) = cut_early(&scratch, name);
        let offers = &compiled["inferred"]["offers of connections that were not captured"];
        assert_eq!(offers, 1, "{compiled:#}");
        assert_eq!(lines[0]["reconstructed"], true);
        let offered = &lines[0]["do"]["request"]["NEGOTIATE"]["dialects"];
        assert_eq!(*offered, serde_json::json!(dialects));
        replays_as_recorded(&scratch);
    }
}

/// What was open before the cut is of the file that only it can have kept from others.
#[test]
fn who_had_a_file_open_before_is_known_by_whom_it_kept_out() {
    let scratch = Scratch::new();
    let (compiled, told) = simulated(&scratch, &capture("collab6_seed1.pcap"));
    let files = &compiled["inferred"]["files of opens that were not captured"];
    assert!(files.as_u64() >= Some(3), "{compiled:#}");
    assert_eq!(told["verdict"], "as_recorded", "{told:#}");
    assert_eq!(told["compared"], told["with_answer"]);
    // They are there before the first request that was captured, and name the packet that tells.
    let lines = fs::read_to_string(scratch.path("w/ops.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let name = |line: &Value| line["do"]["request"]["CREATE"]["name"].clone();
    let first = lines.iter().position(|line| line["reconstructed"] != true);
    let held = lines[..first.unwrap()].iter();
    let held: Vec<&Value> = held
        .filter(|line| name(line) == "collab\\notes.txt")
        .collect();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["do"]["request"]["CREATE"]["share"], "");
    let why = scratch.run(["inspect", "w", "--why", &held[0]["id"].to_string()]);
    let packet = format!("packet {} tells", held[0]["frame"]);
    assert!(why.expect(0).out.contains(&packet), "{why:?}");
    // Programs of one host are clients of their own.
    let clients = lines.iter().map(|line| line["client"].as_u64());
    assert!(clients.max().flatten() >= Some(5));
}

/// Names that are the same in a share that somebody was seen to connect to tell which share a tree is of; and a
/// CREATE of which only the end is missing still names its file.
#[test]
fn a_tree_is_of_the_share_whose_names_it_uses() {
    let scratch = Scratch::new();
    let (compiled, told) = simulated(&scratch, &capture("leases3_any_snap256.pcap"));
    let shares = &compiled["inferred"]["shares of trees that were not captured"];
    assert_eq!(shares, 3, "{compiled:#}");
    let tables = fs::read_to_string(scratch.path("w/workload.json")).unwrap();
    let tables: Value = serde_json::from_str(&tables).unwrap();
    let trees = tables["trees"].as_array().unwrap();
    assert!(
        trees
            .iter()
            .all(|tree| tree["path"].as_str().unwrap().ends_with("\\data"))
    );
    assert_eq!(told["cascaded"], 0, "{told:#}");
    assert_eq!(told["compared"], told["with_answer"]);
}

/// Standard input is read once: what is told late comes late, and all is sent.
#[test]
fn what_cannot_be_read_again_is_compiled_once() {
    let scratch = Scratch::new();
    let cut = without_its_beginning(&capture("collab6_seed1.pcap"));
    scratch.file("cut.pcap", cut);
    let ran = Command::new(env!("CARGO_BIN_EXE_smbench"))
        .args(["compile", "-", "-o", "w", "--json"])
        .current_dir(scratch.path("."))
        .stdin(fs::File::open(scratch.path("cut.pcap")).unwrap())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let compiled: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let files = &compiled["inferred"]["files of opens that were not captured"];
    assert!(files.is_null(), "{compiled:#}");
    assert!(compiled["inferred"]["reconstructed"].as_u64() > Some(0));
}
