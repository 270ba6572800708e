//! Slices of the shipped captures are workloads: they can be run, their order is the order of the
//! whole, and with their causes the model server answers them as recorded.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use smbench_compiler::folder::FolderReader;
use smbench_compiler::slice::{Filters, Selection, SliceOptions, slice};
use smbench_core::engine::{OrderMode, Plan, RunConfig};
use smbench_core::ids::OpId;
use smbench_core::workload::{Action, Operation};
use support::cli::{Scratch, capture};

const CAPTURES: [&str; 3] = [
    "leases3_plain.pcap",
    "collab6_seed1.pcap",
    "smbclient_files.pcap",
];

/// One slice by each filter, and some that combine them.
const CUTS: [&[&str]; 10] = [
    &["--client", "0"],
    &[
        "--client",
        "127.*",
        "--command",
        "create",
        "--command",
        "close",
    ],
    &["--session", "0"],
    &["--share", "data"],
    &["--path", "**\\*.docx"],
    &["--path", "team/**", "--client", "1"],
    &["--command", "READ"],
    &["--command", "OPLOCK_BREAK", "--command", "CHANGE_NOTIFY"],
    &["--from", "30ms", "--to", "0.3"],
    &["--from", "10ms", "--share", "DATA", "--command", "write"],
];

fn operations(dir: &Path) -> (FolderReader, Vec<Operation>) {
    let folder = FolderReader::open(dir).unwrap();
    let operations = folder.operations().unwrap().map(Result::unwrap).collect();
    (folder, operations)
}

/// A slice can be run in every order, and everything it names it has.
fn is_valid(dir: &Path) -> Vec<Operation> {
    let (folder, operations) = operations(dir);
    let workload = folder.workload();
    assert_eq!(workload.operations, operations.len() as u64);
    for order in [
        OrderMode::Resource,
        OrderMode::Client,
        OrderMode::Capture,
        OrderMode::None,
    ] {
        let config = RunConfig {
            order,
            ..RunConfig::default()
        };
        Plan::build(workload, operations.clone(), &config, |_| true).unwrap();
    }
    let blobs = folder.blobs().unwrap();
    let mut used = BTreeMap::new();
    for operation in &operations {
        let read = operation.expect.as_ref().and_then(|it| it.data);
        for data in [operation.data, read].into_iter().flatten() {
            used.insert(data.blake3, data.len);
        }
    }
    for entry in folder.namespace().unwrap() {
        let entry = entry.unwrap();
        assert!(entry.seen_by.index() < operations.len());
        for extent in &entry.content {
            used.insert(extent.data.blake3, extent.data.len);
        }
    }
    for blob in blobs.iter() {
        assert_eq!(
            used.remove(&blob.blake3),
            Some(blob.len),
            "a blob nobody uses"
        );
    }
    assert!(used.is_empty(), "{} blobs are missing", used.len());
    let edges: u64 = workload.coverage.edges.values().sum();
    assert_eq!(
        edges,
        operations
            .iter()
            .map(|it| it.after.len() as u64)
            .sum::<u64>()
    );
    let requests = operations.iter().filter(|it| is_request(it)).count();
    let by_command: u64 = workload.coverage.by_command.values().sum();
    assert_eq!(by_command, requests as u64);
    operations
}

fn is_request(operation: &Operation) -> bool {
    matches!(operation.action, Action::Request(_))
}

#[test]
fn a_slice_by_each_filter_is_a_workload_and_replays_with_its_causes() {
    let scratch = Scratch::new();
    let mut cut = 0;
    for name in CAPTURES {
        scratch.compile(name, name);
        for (at, filters) in CUTS.iter().enumerate() {
            for causes in [&[][..], &["--causes"]] {
                let out = format!("{name}.{at}.{}", causes.len());
                let args = [&["slice", name, "-o", &out, "--json"], *filters, causes].concat();
                let ran = scratch.run(args);
                if ran.code == Some(2) {
                    ran.says(&["there is"]);
                    continue;
                }
                let told = ran.expect(0).json();
                cut += 1;
                let operations = is_valid(&scratch.path(&out));
                assert_eq!(told["lines"], operations.len() as u64);
                let kept = told["kept"].as_object().unwrap().values();
                let kept: u64 = kept.map(|count| count.as_u64().unwrap()).sum();
                assert_eq!(kept, operations.len() as u64);
                let left_out = told["left_out"].as_object().unwrap().values();
                let left_out: u64 = left_out.map(|count| count.as_u64().unwrap()).sum();
                assert_eq!(told["of_operations"], kept + left_out);
                if !causes.is_empty() {
                    let ran = scratch.run(["sim", &out, "--seed", "1", "--speed", "max", "--json"]);
                    let told = ran.expect(0).json();
                    assert_eq!(told["diverged"], serde_json::json!({}));
                    assert_eq!(
                        (&told["cascaded"], &told["unanswered"]),
                        (&0.into(), &0.into())
                    );
                }
            }
        }
    }
    println!("{cut} slices of {} captures", CAPTURES.len());
    assert!(cut > 40, "{cut}");
}

/// For each operation, which others must have been sent before, as the engine sees it.
fn before(operations: &[Operation], own_only: bool) -> Vec<Vec<u64>> {
    let words = operations.len().div_ceil(64);
    let number: BTreeMap<OpId, usize> = operations
        .iter()
        .enumerate()
        .map(|(at, op)| (op.id, at))
        .collect();
    let leader = |at: usize| {
        let op = &operations[at];
        op.compound.map_or(at, |compound| number[&compound.first])
    };
    let mut froms = vec![Vec::new(); operations.len()];
    for (at, op) in operations.iter().enumerate() {
        for edge in &op.after {
            let from = number[&edge.id];
            let binds = !own_only || operations[from].client == op.client;
            if binds && leader(from) != leader(at) {
                froms[leader(at)].push(leader(from));
            }
        }
    }
    let mut sets: Vec<Option<Vec<u64>>> = vec![None; operations.len()];
    for start in 0..operations.len() {
        let mut work = vec![start];
        while let Some(at) = work.last().copied() {
            let missing: Vec<usize> = (froms[at].iter().copied())
                .filter(|from| sets[*from].is_none())
                .collect();
            if !missing.is_empty() {
                assert!(work.len() <= operations.len(), "a circle");
                work.extend(missing);
                continue;
            }
            work.pop();
            let mut set = vec![0; words];
            for from in &froms[at] {
                set[from / 64] |= 1 << (from % 64);
                for (word, other) in set.iter_mut().zip(sets[*from].as_ref().unwrap()) {
                    *word |= other;
                }
            }
            sets[at] = Some(set);
        }
    }
    let sets: Vec<Vec<u64>> = sets.into_iter().map(Option::unwrap).collect();
    (0..operations.len())
        .map(|at| sets[leader(at)].clone())
        .collect()
}

fn has(set: &[u64], at: usize) -> bool {
    set[at / 64] & (1 << (at % 64)) != 0
}

/// The next number of a sequence (SplitMix64).
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut it = *seed;
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (it ^ (it >> 31)) % below
}

fn any_filters(seed: &mut u64, folder: &FolderReader, last_us: u64) -> Filters {
    let mut filters = Filters::default();
    let clients = folder.workload().clients.len() as u64;
    for _ in 0..draw(seed, 3) {
        filters.clients.push(draw(seed, clients).to_string());
    }
    for _ in 0..draw(seed, 4) {
        let commands = ["READ", "WRITE", "CLOSE", "SET_INFO", "QUERY_INFO", "CREATE"];
        let at = draw(seed, commands.len() as u64) as usize;
        filters.commands.push(commands[at].to_owned());
    }
    if draw(seed, 2) == 0 {
        filters.from_us = Some(draw(seed, last_us));
        filters.to_us = Some(filters.from_us.unwrap() + 1 + draw(seed, last_us));
    }
    filters
}

/// Whatever is cut out: what came before what stays so, in the order of all clients and of each,
/// and nothing else comes before anything.
#[test]
fn the_order_of_a_slice_is_that_of_the_whole() {
    let scratch = Scratch::new();
    let mut cut = 0;
    for name in ["leases3_plain.pcap", "collab6_seed1.pcap"] {
        let dir = scratch.compile(name, name);
        let (folder, whole) = operations(&dir);
        let last_us = whole.last().unwrap().at_us;
        let known = [before(&whole, false), before(&whole, true)];
        for seed in 0..12_u64 {
            let mut state = seed;
            let options = SliceOptions {
                filters: any_filters(&mut state, &folder, last_us),
                causes: draw(&mut state, 3) == 0,
                ..SliceOptions::default()
            };
            let Ok(selection) = Selection::of(&folder, &options) else {
                continue;
            };
            cut += 1;
            let part = selection.operations(&folder).unwrap();
            let part: Vec<Operation> = part.map(Result::unwrap).collect();
            assert_eq!(part.len(), selection.len());
            for (own_only, known) in [false, true].into_iter().zip(&known) {
                let cut = before(&part, own_only);
                for (at, later) in part.iter().enumerate() {
                    for (from, earlier) in part.iter().enumerate() {
                        let mut was = has(&known[later.id.index()], earlier.id.index());
                        let is = has(&cut[at], from);
                        if own_only && earlier.client != later.client {
                            was = is;
                        }
                        // Among one's own the rest may come by others.
                        let made_up = is && !was && !own_only;
                        assert!(
                            !made_up && (is || !was),
                            "{name} seed {seed}: {} before {}: was {was}, is {is} ({options:?})",
                            earlier.id,
                            later.id,
                        );
                    }
                }
            }
        }
    }
    println!("{cut} slices");
    assert!(cut > 15, "{cut}");
}

#[test]
fn a_slice_of_everything_is_the_whole_again() {
    let scratch = Scratch::new();
    for name in CAPTURES {
        everything(&scratch, name);
    }
}

fn everything(scratch: &Scratch, name: &str) {
    let dir = scratch.compile(name, name);
    let (folder, whole) = operations(&dir);
    let options = SliceOptions {
        keep_times: true,
        verb: "slice".to_owned(),
        ..SliceOptions::default()
    };
    let out = scratch.path(&format!("{name}.again"));
    slice(&folder, &options, &out).unwrap();
    let (again, part) = operations(&out);
    assert_eq!(part, whole);
    let mut tables = again.into_workload();
    assert_eq!(tables.provenance.history.len(), 1);
    tables.provenance.history.clear();
    assert_eq!(&tables, folder.workload());
    for name in ["namespace.jsonl", "blobs.pack"] {
        // Blobs may stand in another order.
        let len = |dir: &Path| std::fs::metadata(dir.join(name)).unwrap().len();
        assert_eq!(len(&dir), len(&out), "{name}");
    }
}

#[test]
fn times_count_from_what_is_kept() {
    let scratch = Scratch::new();
    let dir = scratch.compile("leases3_plain.pcap", "w");
    let (folder, whole) = operations(&dir);
    let args = ["slice", "w", "--client", "2", "--command", "READ", "-o"];
    scratch.run([&args[..], &["moved"]].concat()).expect(0);
    scratch
        .run([&args[..], &["kept", "--keep-pcap-times"]].concat())
        .expect(0);
    let (moved, part) = operations(&scratch.path("moved"));
    let (kept, same) = operations(&scratch.path("kept"));
    assert_eq!(part[0].at_us, 0);
    let epoch = |folder: &FolderReader| folder.workload().provenance.epoch_ns;
    assert_eq!(epoch(&kept), epoch(&folder));
    let shift = same[0].at_us;
    assert!(shift > 0);
    assert_eq!(epoch(&moved), epoch(&folder) + shift * 1_000);
    for (part, same) in part.iter().zip(&same) {
        assert_eq!(part.at_us + shift, same.at_us);
        let was = whole
            .iter()
            .find(|it| it.frame == same.frame && it.mid == same.mid);
        assert_eq!(was.unwrap().at_us, same.at_us);
    }
    let history = &moved.workload().provenance.history;
    assert!(
        history[0].starts_with("slice --client '2' --command 'READ'"),
        "{history:?}"
    );
    let skipped = &moved.workload().coverage.skipped;
    assert!(
        skipped.contains_key("left out: another client"),
        "{skipped:?}"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_there_is() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    for (filters, says) in [
        (
            &["--client", "10.9.9.9"][..],
            "there is, as client: 10.44.51.21 (0)",
        ),
        (&["--session", "mallory"], "alice"),
        (&["--share", "nope"], "there is, as share: data"),
        (&["--path", "a**b"], "** must be a component of its own"),
        (&["--path", ""], "it is empty"),
        (&["--path", "no\\such"], "at the top of shares: "),
        (&["--command", "OPEN"], "CREATE"),
        (&["--from", "soon"], "a number without unit means seconds"),
        (&["--from", "2s", "--to", "1s"], "--to must be later"),
        (&["--from", "1h"], "times: 0 to "),
        (&[], "--client"),
    ] {
        let args = [&["slice", "w", "-o", "out"], filters].concat();
        scratch.run(args).expect(2).says(&[says]);
        assert!(!scratch.path("out").exists());
    }
    let here = scratch.run(["slice", "w", "-o", "w", "--client", "0"]);
    here.expect(2).says(&["w exists", "--force"]);
    let args = ["slice", "w", "-o", "w", "--command", "READ", "--force"];
    scratch.run(args).expect(0);
    is_valid(&scratch.path("w"));
    let gone = scratch.run(["slice", "nowhere", "-o", "x", "--client", "0"]);
    gone.expect(3);
}

#[test]
fn compile_keeps_the_clients_and_shares_that_it_is_told() {
    let scratch = Scratch::new();
    let from = capture("leases3_plain.pcap");
    let from = from.to_str().unwrap();
    scratch.compile("leases3_plain.pcap", "w");
    let args = [
        "compile",
        from,
        "--client",
        "10.44.51.22",
        "--client",
        "10.44.51.23",
        "-o",
    ];
    let told = scratch.run([&args[..], &["part", "--json"]].concat());
    let told = told.expect(0).json();
    let part = is_valid(&scratch.path("part"));
    assert_eq!(told["clients"], 2);
    let skipped = told["skipped"]["left out: another client"]
        .as_u64()
        .unwrap();
    assert_eq!(
        told["requests_seen"],
        told["operations"].as_u64().unwrap() + skipped
    );
    assert_eq!(part[0].at_us, 0);
    let (folder, _) = operations(&scratch.path("part"));
    let provenance = &folder.workload().provenance;
    assert_eq!(provenance.captures[0].name, "leases3_plain.pcap");
    assert!(provenance.history[0].starts_with("compile --client '10.44.51.22'"));

    let args = [
        "compile",
        from,
        "--share",
        "data",
        "--keep-pcap-times",
        "-o",
        "kept",
    ];
    scratch.run(args).expect(0);
    let (kept, part) = operations(&scratch.path("kept"));
    let (whole, all) = operations(&scratch.path("w"));
    let epoch = |folder: &FolderReader| folder.workload().provenance.epoch_ns;
    assert_eq!(epoch(&kept), epoch(&whole));
    assert!(part[0].at_us > 0);
    let times: Vec<u64> = all.iter().map(|op| op.at_us).collect();
    assert!(part.iter().all(|op| times.contains(&op.at_us)));

    let none = scratch.run(["compile", from, "--client", "1.2.3.4", "-o", "none"]);
    none.expect(2).says(&["there is no client", "10.44.51.21"]);
    let left: Vec<_> = std::fs::read_dir(scratch.path(".")).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");

    let args = ["compile", from, "--share", "data", "-o", "kept", "--force"];
    scratch.run(args).expect(0);
    assert_eq!(is_valid(&scratch.path("kept"))[0].at_us, 0);
}
