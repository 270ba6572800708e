//! The same workload, scenario and seed give the same journal, byte for byte, in two processes;
//! another seed gives another one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use support::cli::Scratch;

const SEEDS: u64 = 50;

/// Simulates with each seed in two processes; gives the digests of what they did.
fn twice(scratch: &Scratch, work: &str, driver: &str, more: &[&str]) -> BTreeSet<String> {
    let next = AtomicU64::new(0);
    let one = || {
        let mut seen = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return seen;
            }
            let [first, second] = ["a", "b"].map(|which| {
                let name = format!("{work}-{driver}-{seed}-{which}");
                let (journal, bundle) = (format!("{name}.d"), format!("{name}.smbj"));
                let seed = seed.to_string();
                let args = ["sim", work, "--driver", driver, "--seed", &seed, "--json"];
                let to = ["--journal", &journal, "--bundle", &bundle];
                let ran = scratch.run([&args[..], &to, more].concat());
                assert!(matches!(ran.code, Some(0 | 1)), "{ran:#?}");
                let bytes = std::fs::read(scratch.path(&bundle)).unwrap();
                std::fs::remove_dir_all(scratch.path(&journal)).unwrap();
                std::fs::remove_file(scratch.path(&bundle)).unwrap();
                let effects = ran.json()["effects_digest"].to_string();
                (bytes, effects)
            });
            assert!(
                first == second,
                "{work}, {driver}, seed {seed}: two journals"
            );
            assert!(first.0.len() > 1_000);
            seen.push(first.1);
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(one), scope.spawn(one)];
        let seen = threads.into_iter().flat_map(|it| it.join().unwrap());
        seen.collect()
    })
}

fn check(capture: &str, driver: &str) {
    let scratch = Scratch::new();
    scratch.compile(capture, "w");
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/split.toml");
    let scenario = scenario.to_str().unwrap();
    let seen = twice(&scratch, "w", driver, &["--scenario", scenario]);
    assert_eq!(seen.len() as u64, SEEDS, "different seeds, equal runs");
}

#[test]
fn leases3_in_the_event_loop() {
    check("leases3_plain.pcap", "event-loop");
}

#[test]
fn collab6_in_the_event_loop() {
    check("collab6_seed1.pcap", "event-loop");
}

#[test]
fn leases3_over_turmoil() {
    check("leases3_plain.pcap", "turmoil");
}

#[test]
fn collab6_over_turmoil() {
    check("collab6_seed1.pcap", "turmoil");
}
