//! Captures as networks and taps make them: the directions mixed up, packets lost, packets cut.
//! What is still found must be what the whole capture tells.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test stops where it fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smbench_compiler::{CompileOptions, Passwords, compile};

/// Answers before their requests, segments before those that they follow: nothing is lost, not even
/// what takes the order of a login to decrypt.
#[test]
fn neighbours_that_change_places_change_nothing() {
    for capture in captures() {
        let whole = Pcap::read(&capture);
        let expected = found(&whole);
        for seed in 1..=3 {
            let mut random = Random(seed);
            let mut mixed = whole.clone();
            for at in 1..mixed.packets.len() {
                if random.below(10) == 0 {
                    mixed.packets.swap(at - 1, at);
                }
            }
            mixed.order_times(&whole);
            let got = found(&mixed);
            let name = capture.display();
            assert_eq!(got.facts, expected.facts, "{name}, seed {seed}");
            assert_eq!(got.trees, expected.trees, "{name}, seed {seed}");
        }
    }
}

#[test]
fn what_a_lossy_capture_tells_is_true() {
    for capture in captures() {
        let whole = Pcap::read(&capture);
        let expected = found(&whole);
        for (seed, lost) in [(1, 5), (2, 20), (3, 100)] {
            let mut random = Random(seed);
            let mut lossy = whole.clone();
            lossy.packets.retain(|_| random.below(1000) >= lost);
            let got = found(&lossy);
            expected.confirms(&got, &format!("{}, seed {seed}", capture.display()));
        }
    }
}

#[test]
fn what_a_snap_length_cuts_off_is_not_made_up() {
    for capture in captures() {
        let whole = Pcap::read(&capture);
        let expected = found(&whole);
        for snap in (100..400).step_by(11) {
            let mut cut = whole.clone();
            for packet in &mut cut.packets {
                packet.data.truncate(snap);
            }
            let got = found(&cut);
            expected.confirms(&got, &format!("{} at {snap}", capture.display()));
        }
    }
}

/// What a compilation found.
struct Found {
    /// Of each operation, by client, MessageId and command, what its answer told. Break
    /// notifications are told by what they say.
    facts: BTreeMap<(String, u64, String), Vec<BTreeMap<String, Value>>>,
    trees: Vec<String>,
}

impl Found {
    /// Whether everything that `part` tells is told here too.
    fn confirms(&self, part: &Self, what: &str) {
        for (key, all) in &part.facts {
            let known = self.facts.get(key).into_iter().flatten();
            let known: Vec<_> = known.collect();
            assert!(!known.is_empty(), "{what}: {key:?} was never there");
            for (name, value) in all.iter().flatten() {
                // Depends on interim responses that may be lost.
                if name == "credits" {
                    continue;
                }
                let is_known = known.iter().any(|facts| facts.get(name) == Some(value));
                assert!(is_known, "{what}: {key:?} {name} {value}, but {known:?}");
            }
        }
    }
}

fn found(pcap: &Pcap) -> Found {
    // Each test has a thread of its name.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let folder = format!("smbench-mangled-{}-{test}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let options = CompileOptions {
        passwords: Passwords::of_everybody("Passw0rd!"),
        ..CompileOptions::default()
    };
    let input = Box::new(Cursor::new(pcap.bytes()));
    let compiled = compile(vec![("mangled".into(), input)], options, &folder).unwrap();
    let lines = fs::read_to_string(folder.join("ops.jsonl")).unwrap();
    fs::remove_dir_all(folder).unwrap();
    let workload = compiled.workload;
    let cut = lines.matches("\"cut\":true").count() as u64;
    let told = &workload.coverage.problems;
    let told = told.get("request cut: what it lacks is zero");
    assert_eq!(told.copied().unwrap_or_default(), cut);
    let mut facts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in lines.lines() {
        let op: Value = serde_json::from_str(line).unwrap();
        if op["do"]["disconnect"].is_object() {
            continue;
        }
        let conn = usize::try_from(op["conn"].as_u64().unwrap()).unwrap();
        let client = workload.connections[conn].from.clone();
        let command = op["cmd"].as_str().unwrap().to_owned();
        let mut told: BTreeMap<String, Value> = match &op["expect"] {
            Value::Object(expect) => expect.clone().into_iter().collect(),
            _ => BTreeMap::new(),
        };
        // Packets and times are others; of data a part may be known.
        for name in ["frame", "latency_us", "interim_us", "data"] {
            told.remove(name);
        }
        if op["do"]["break"].is_object() {
            told.insert("break".into(), op["do"]["break"].clone());
        }
        let key = (client, op["mid"].as_u64().unwrap(), command);
        facts.entry(key).or_default().push(told);
    }
    for all in facts.values_mut() {
        all.sort_by_key(|told| format!("{told:?}"));
    }
    let mut trees: Vec<_> = workload.trees.into_iter().map(|tree| tree.path).collect();
    trees.sort();
    Found { facts, trees }
}

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.filter(|path| is_whole_pcap(path)).collect();
    all.sort();
    assert!(all.len() >= 7, "{all:?}");
    all
}

/// A capture of one snap length is no measure for another.
fn is_whole_pcap(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pcap") && !path.to_string_lossy().contains("snap")
}

/// A pcap in little-endian order.
#[derive(Clone)]
struct Pcap {
    head: Vec<u8>,
    packets: Vec<Packet>,
}

#[derive(Clone)]
struct Packet {
    time: [u8; 8],
    wire_len: [u8; 4],
    data: Vec<u8>,
}

impl Pcap {
    fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        let (head, mut rest) = file.split_at(24);
        assert!(
            head.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]),
            "{}",
            path.display()
        );
        let mut packets = Vec::new();
        while let Some((record, behind)) = rest.split_at_checked(16) {
            let len = u32::from_le_bytes(record[8..12].try_into().unwrap());
            let (data, behind) = behind.split_at(len as usize);
            packets.push(Packet {
                time: record[..8].try_into().unwrap(),
                wire_len: record[12..].try_into().unwrap(),
                data: data.to_vec(),
            });
            rest = behind;
        }
        let head = head.to_vec();
        Self { head, packets }
    }

    /// Gives the packets the times of another capture's, in their order.
    fn order_times(&mut self, of: &Self) {
        for (packet, of) in self.packets.iter_mut().zip(&of.packets) {
            packet.time = of.time;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = self.head.clone();
        for packet in &self.packets {
            file.extend(packet.time);
            file.extend(u32::try_from(packet.data.len()).unwrap().to_le_bytes());
            file.extend(packet.wire_len);
            file.extend(&packet.data);
        }
        file
    }
}

/// A small generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
