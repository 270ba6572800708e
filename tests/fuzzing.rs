//! Journals as seeds of a fuzzer, on the stable toolchain: what holds in every run holds whatever is done to
//! the events of one, and a fault planted in a copy of the engine is found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use smbench_core::drive::{Machine, NoRecord};
use smbench_core::engine::{Engine, EngineError, RunConfig, Walked};
use smbench_core::event::{Effect, Input, Output, Report};
use smbench_core::ids::LogicalTime;
use smbench_journal::Journal;
use smbench_journal::fuzz::{Hunt, Hunted, Mutation, Seedling, mutations};
use support::cli::{ModelServer, Scratch};

/// The journal of a simulated run.
fn seedling(scratch: &Scratch, capture: &str, more: &[&str]) -> Seedling {
    let name = capture.trim_end_matches(".pcap");
    if !scratch.path(name).exists() {
        scratch.compile(capture, name);
    }
    let args = ["sim", name, "--speed", "max", "--bundle", "seed.smbj"];
    let ran = scratch.run([&args[..], more].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    Seedling::of(&Journal::open(scratch.path("seed.smbj")).unwrap()).unwrap()
}

fn hunt(seedling: &Seedling, seed: u64, runs: u64) -> Hunted {
    let hunt = Hunt {
        seed,
        runs,
        findings: 5,
    };
    seedling.hunt(&hunt, |_| true)
}

#[test]
fn nothing_that_comes_breaks_an_engine() {
    let scratch = Scratch::new();
    let runs = std::env::var("SMBENCH_TEST_SPOIL").map_or(100, |text| text.parse().unwrap());
    for (capture, more) in [
        ("smbclient_dialect_SMB3_11.pcap", &[][..]),
        ("leases3_plain.pcap", &[]),
        (
            "leases3_plain.pcap",
            &["--ack", "immediate", "--plant", "no-oplock-break"],
        ),
        ("smbclient_files.pcap", &[]),
        ("collab6_seed1.pcap", &[]),
    ] {
        let seedling = seedling(&scratch, capture, more);
        let unchanged = seedling.play(&[]);
        assert_eq!(unchanged.violation, None, "{capture} {more:?}");
        let hunted = hunt(&seedling, 1, runs);
        println!(
            "{capture}: {} runs, {} inputs, {} outcomes, {} rows",
            hunted.runs,
            hunted.inputs,
            hunted.outcomes.len(),
            hunted.walked.rows().count(),
        );
        for finding in &hunted.findings {
            println!("  {finding:#?}");
        }
        assert!(hunted.findings.is_empty(), "{capture}");
    }
}

/// The journal of a live replay, which is confined: nothing that comes makes the gate fire.
#[test]
fn nothing_that_comes_makes_the_gate_fire() {
    let runs = std::env::var("SMBENCH_SPOIL").map_or(60, |text| text.parse().unwrap());
    for capture in ["smbclient_files.pcap", "leases3_plain.pcap"] {
        let scratch = Scratch::new();
        scratch.compile(capture, "w");
        let server = ModelServer::start(["--share", "s"]);
        let to = [
            "--server",
            &server.address,
            "--share",
            "s",
            "--speed",
            "max",
        ];
        let record = ["--prepare", "--bundle", "live.smbj"];
        let ran = scratch.run([&["replay", "w"][..], &to, &record].concat());
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        let journal = Journal::open(scratch.path("live.smbj")).unwrap();
        let seedling = Seedling::of(&journal).unwrap();
        let config: RunConfig = serde_json::from_value(journal.meta().config.clone()).unwrap();
        assert!(config.policy.confined);
        let hunted = hunt(&seedling, 1, runs);
        assert!(
            hunted.findings.is_empty(),
            "{capture}: {:#?}",
            hunted.findings
        );
        // A share that is given with the status of what is to come, and is none: no answer is interim but an
        // asynchronous one.
        for event in 0..seedling.events().min(40) {
            let status = 0x103;
            let played = seedling.play(&[Mutation::Status { event, status }]);
            assert_eq!(played.violation, None, "{capture}: pending at {event}");
        }
    }
}

/// What is wrong with a copy of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// Credits that a server grants are not taken.
    CreditsLost,
    /// The end of an operation is told twice.
    EndsTwice,
    /// The engine does not say when it wants to be woken.
    WakeForgotten,
    /// A request goes out with the MessageId of the one before.
    MessageIdReused,
    /// A break is acknowledged twice.
    AcknowledgedTwice,
    /// Something is kept of every input.
    NeverForgets,
}

/// An engine with a fault.
struct Faulty {
    engine: Engine,
    fault: Fault,
    again: Option<Effect>,
    last_mid: Option<[u8; 8]>,
    sent: u32,
    kept: usize,
}

impl Machine for Faulty {
    type Error = EngineError;

    fn handle(&mut self, now: LogicalTime, mut input: Input) -> Result<(), EngineError> {
        self.kept += 16 * usize::from(self.fault == Fault::NeverForgets);
        if let (Fault::CreditsLost, Input::Received { frame, .. }) = (self.fault, &mut input)
            && let Some(credits) = frame.bytes.get_mut(14..16)
        {
            credits.fill(0);
        }
        self.engine.handle(now, input)
    }

    fn poll(&mut self) -> Output {
        if let Some(effect) = self.again.take() {
            return Output::Do(effect);
        }
        let mut output = self.engine.poll();
        match (self.fault, &mut output) {
            (Fault::EndsTwice, Output::Do(effect @ Effect::Report(Report::Finished { .. }))) => {
                self.again = Some(effect.clone());
            }
            (Fault::WakeForgotten, Output::WakeAt(at)) => *at = None,
            (Fault::MessageIdReused, Output::Do(Effect::Send { frame, .. })) => {
                self.sent += 1;
                let mid = frame.bytes.get(24..32).map(|mid| mid.try_into().unwrap());
                if let (7, Some(last)) = (self.sent, self.last_mid) {
                    frame.bytes[24..32].copy_from_slice(&last);
                }
                self.last_mid = mid;
            }
            (Fault::AcknowledgedTwice, Output::Do(effect @ Effect::Send { .. })) => {
                let Effect::Send { frame, .. } = &*effect else {
                    return output;
                };
                let acknowledges = frame.bytes.get(12..14) == Some(&[0x12, 0]);
                self.again = acknowledges.then(|| effect.clone());
                if let Some(Effect::Send { frame, .. }) = &mut self.again {
                    // A request of its own, as far as MessageIds go.
                    frame.bytes[24..32].copy_from_slice(&(1_u64 << 40).to_le_bytes());
                    frame.bytes[6..8].fill(0);
                }
            }
            _ => {}
        }
        output
    }

    fn wants(&self, input: &Input) -> bool {
        self.engine.wants(input)
    }

    fn held(&self) -> usize {
        self.engine.held() + self.kept
    }
}

#[test]
fn a_fault_in_a_copy_of_the_engine_is_found() {
    let scratch = Scratch::new();
    let small = seedling(&scratch, "smbclient_files.pcap", &[]);
    let leases = seedling(&scratch, "leases3_plain.pcap", &["--ack", "immediate"]);
    for (fault, seedling, told) in [
        (Fault::CreditsLost, &small, "starves"),
        (Fault::EndsTwice, &small, "ends twice"),
        (Fault::WakeForgotten, &small, "does not end"),
        (Fault::MessageIdReused, &small, "uses MessageId"),
        (Fault::AcknowledgedTwice, &leases, "acknowledged more often"),
        (Fault::NeverForgets, &small, "than the"),
    ] {
        // Short: a few runs of one seed.
        let mut found = None;
        for run in 0..20 {
            let changes = mutations(run, seedling.events());
            let played = seedling.play_on(&changes, NoRecord, |engine| Faulty {
                engine,
                fault,
                again: None,
                last_mid: None,
                sent: 0,
                kept: 0,
            });
            found = found.or(played.violation.map(|it| (run, it.to_string())));
        }
        let (run, what) = found.unwrap_or_else(|| panic!("{fault:?} is not found"));
        println!("{fault:?}: run {run}: {what}");
        assert!(what.contains(told), "{fault:?}: {what}");
    }
}

/// A stop while a folder's watch is on its way: the engine asked for a wake that it did not take, again and
/// again.
#[test]
fn a_run_that_is_stopped_sleeps() {
    let scratch = Scratch::new();
    let seedling = seedling(&scratch, "leases3_plain.pcap", &[]);
    for event in 0..seedling.events() {
        let played = seedling.play(&[Mutation::Stop { event }]);
        assert_eq!(played.violation, None, "stopped at {event}");
    }
}

#[test]
fn the_verb_tells_the_same_of_the_same_seed() {
    let scratch = Scratch::new();
    drop(seedling(&scratch, "smbclient_dialect_SMB3_11.pcap", &[]));
    let told = |seed: &str| {
        let args = [
            "fuzz",
            "seed.smbj",
            "--runs",
            "200",
            "--json",
            "--seed",
            seed,
        ];
        let mut told = scratch.run(args).expect(0).json();
        assert!(told["duration_us"].take().is_u64());
        told
    };
    let one = told("1");
    assert_eq!(one, told("1"));
    assert_ne!(one["inputs"], told("2")["inputs"]);
    assert_eq!(
        (&one["runs"], &one["findings"]),
        (&200.into(), &serde_json::json!([]))
    );
    assert!(one["outcomes"].as_u64().unwrap() > 1, "{one}");
    let out = scratch
        .run(["fuzz", "seed.smbj", "--runs", "10"])
        .expect(0)
        .out
        .clone();
    assert!(out.contains("no finding"), "{out}");
    let quick = scratch.run([
        "fuzz",
        "seed.smbj",
        "--runs",
        "1000000000",
        "--time",
        "1s",
        "--json",
    ]);
    assert!(quick.expect(0).json()["runs"].as_u64().unwrap() < 1_000_000_000);
    scratch
        .run(["fuzz", "seed.smbj", "--time", "soon"])
        .expect(2)
        .says(&["90s, 10m or 2h"]);
    scratch.run(["fuzz", "nowhere"]).expect(3);
}

/// What is found is a bundle that shows it again, with the fewest changes.
#[test]
fn a_finding_is_a_bundle() {
    let scratch = Scratch::new();
    let seedling = seedling(&scratch, "leases3_plain.pcap", &[]);
    let changes = [
        Mutation::Status {
            event: 9,
            status: 0xc000_0022,
        },
        Mutation::Cut {
            event: 60,
            reset: true,
        },
    ];
    let bundle = seedling.write(&changes, Vec::new()).unwrap();
    let path = scratch.file("finding.smbj", bundle);
    let path = path.to_str().unwrap();
    let told = scratch.run(["rerun", path, "--json"]).expect(0).json();
    assert_eq!(
        (&told["identical"], &told["complete"]),
        (&true.into(), &true.into())
    );
    let shown = scratch
        .run(["show", path, "--kind", "closed"])
        .expect(0)
        .out
        .clone();
    assert!(shown.contains("closed"), "{shown}");
}

/// Which rows only changes walk is told; that every row is walked by a test is shown in `core`.
#[test]
fn what_only_changes_walk_is_told() {
    let scratch = Scratch::new();
    let journal = seedling(&scratch, "leases3_plain.pcap", &[]);
    let alone = journal.play(&[]).machine.unwrap();
    let alone: Vec<&str> = alone.rows().collect();
    let args = ["fuzz", "seed.smbj", "--runs", "150", "--seed", "3"];
    let told = scratch.run([&args[..], &["--json"]].concat());
    let told = told.expect(0).json();
    let texts = |key: &str| -> Vec<String> {
        let list = told[key].as_array().unwrap().iter();
        list.map(|row| row.as_str().unwrap().to_owned()).collect()
    };
    let (all, only) = (texts("transitions"), texts("only_changed"));
    assert!(only.iter().all(|row| all.contains(row)), "{told:#}");
    assert!(
        !only.iter().any(|row| alone.contains(&row.as_str())),
        "{told:#}"
    );
    for (row, changed) in [
        ("Queued Issue", false),
        ("login InFlight Token", false),
        ("connection Open Lose", true),
        ("InFlight Lose", true),
    ] {
        assert!(all.contains(&row.to_owned()), "{row}");
        assert_eq!(only.contains(&row.to_owned()), changed, "{row}");
    }
    assert!(all.iter().all(|row| Walked::ROWS.contains(&row.as_str())));
    let out = scratch.run(args).expect(0).out.clone();
    assert!(out.contains("walked by changed runs alone: "), "{out}");
}
