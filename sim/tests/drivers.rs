//! Both drivers run one workload against the model server, alike and always the same.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which may panic like tests"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test's own helpers"
)]

#[path = "support/scene.rs"]
mod scene;

use std::collections::BTreeMap;

use scene::{Data, Kept, Played, Scene, model, play};
use smbench_core::engine::{OpState, Plan, RunConfig, Speed};
use smbench_core::event::{Divergence, Input, NetFailure, Report};
use smbench_core::ids::{ClientId, ConnId, LogicalTime};
use smbench_core::smb2::{Command, Header, Request, SecurityMode};
use smbench_core::workload::{Action, Operation};
use smbench_live::{FrameService, ServiceOutput};
use smbench_sim::{
    Cast, DriverKind, Fault, Latency, Run, Scenario, SimError, SimOutcome, Target, simulate,
};

const DRIVERS: [DriverKind; 2] = [DriverKind::EventLoop, DriverKind::Turmoil];
const MS: u64 = 1_000_000;

fn fast() -> RunConfig {
    RunConfig {
        speed: Speed::Max,
        ..RunConfig::default()
    }
}

fn rough(seed: u64) -> Scenario {
    Scenario {
        seed,
        latency: Latency {
            min_us: 1_000,
            max_us: 9_000,
        },
        split: true,
        ..Scenario::default()
    }
}

fn outcome(played: &Played) -> &SimOutcome {
    played.ended.result.as_ref().unwrap()
}

/// The frames each connection received, without what depends on the time of day: times of files
/// (CREATE and CLOSE) and of the server (NEGOTIATE). [MS-SMB2] 2.2.4, 2.2.14, 2.2.16.
fn received(kept: &Kept) -> BTreeMap<ConnId, Vec<Vec<u8>>> {
    let mut frames: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in &kept.entries {
        if let Input::Received { conn, frame, .. } = &entry.input {
            let mut bytes = frame.bytes.clone();
            let times = match Header::decode(&bytes).unwrap().command {
                Command::NEGOTIATE => 64 + 40..64 + 56,
                Command::CREATE | Command::CLOSE => 64 + 8..64 + 40,
                _ => 0..0,
            };
            if let Some(times) = bytes.get_mut(times) {
                times.fill(0);
            }
            for cut in &frame.cuts {
                bytes.extend(format!("{cut:?}").bytes());
            }
            frames.entry(*conn).or_default().push(bytes);
        }
    }
    frames
}

#[test]
fn without_faults_each_connection_carries_the_same_frames_under_both() {
    let scene = Scene::new(3, 4, 10_000).with_break();
    carries_the_same_frames(&scene);
}

/// The model trusts, and there is no key: nothing is signed, and nobody misses it.
#[test]
fn clients_that_demand_signing_carry_the_same_frames_under_both() {
    let mut scene = Scene::new(3, 4, 10_000).with_break();
    for operation in &mut scene.operations {
        let Action::Request(request) = &mut operation.action else {
            continue;
        };
        match request {
            Request::Negotiate(body) => body.security_mode = SecurityMode::SIGNING_REQUIRED,
            Request::SessionSetup(body) => body.security_mode = SecurityMode::SIGNING_REQUIRED,
            _ => {}
        }
    }
    carries_the_same_frames(&scene);
}

fn carries_the_same_frames(scene: &Scene) {
    let runs = DRIVERS.map(|driver| {
        let played = play(scene, &RunConfig::default(), &Scenario::default(), driver);
        assert_eq!(played.findings, [], "{driver:?}");
        played
    });
    let [quick, real] = &runs;
    for (conn, (quick, real)) in outcome(quick)
        .wires
        .iter()
        .zip(&outcome(real).wires)
        .enumerate()
    {
        assert_eq!(quick.up, real.up, "requests of connection {conn}");
        assert_eq!(quick.down.frames, real.down.frames, "connection {conn}");
        assert!(quick.up.frames >= 3 + 4 * 4, "{quick:?}");
    }
    let [quick, real] = runs.map(|it| received(it.ended.recorder.as_ref().unwrap()));
    assert_eq!(quick.len(), 3);
    assert_eq!(quick, real);
}

#[test]
fn the_break_is_played_and_nothing_stays_open() {
    for driver in DRIVERS {
        let scene = Scene::new(2, 1, 10_000).with_break();
        let played = play(&scene, &RunConfig::default(), &Scenario::default(), driver);
        assert_eq!(played.findings, [], "{driver:?}");
        let service = played.ended.server.unwrap();
        let server = service.server();
        assert_eq!(server.counters().breaks, 1, "{driver:?}");
        assert_eq!(server.open_count(), 0, "{driver:?}");
        let names: Vec<_> = server
            .snapshot("share")
            .into_iter()
            .map(|it| it.path)
            .collect();
        assert_eq!(names, ["client0-0.dat", "client1-0.dat", "shared.txt"]);
    }
}

#[test]
fn segments_and_latencies_change_the_timing_and_nothing_else() {
    let scene = Scene::new(2, 6, 0);
    for driver in DRIVERS {
        let mut times = Vec::new();
        for seed in 0..8 {
            let played = play(&scene, &fast(), &rough(seed), driver);
            assert_eq!(played.findings, [], "{driver:?} {seed}");
            times.push(outcome(&played).at);
        }
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 4, "{driver:?}: {times:?}");
    }
}

/// One line a seed and driver: the digest of the record.
fn digests(seeds: u64) -> Vec<String> {
    let scene = Scene::new(3, 3, 500).with_break();
    let mut lines = Vec::new();
    for driver in DRIVERS {
        for seed in 0..seeds {
            let played = play(&scene, &RunConfig::default(), &rough(seed), driver);
            assert!(played.ended.result.is_ok(), "{:?}", played.ended.result);
            let record = played.ended.recorder.unwrap().digest();
            lines.push(format!("digest {driver:?} {seed} {record}"));
        }
    }
    lines
}

#[test]
fn a_seed_gives_the_same_bytes_here_and_in_another_process() {
    let here = digests(SEEDS);
    assert_eq!(here, digests(SEEDS));
    let exe = std::env::current_exe().unwrap();
    let there = std::process::Command::new(exe)
        .args(["--exact", "child_prints_digests", "--nocapture"])
        .env(CHILD, SEEDS.to_string())
        .output()
        .unwrap();
    let there = String::from_utf8(there.stdout).unwrap();
    // The harness may have begun the line.
    let there: Vec<_> = (there.lines())
        .filter_map(|line| Some(&line[line.find("digest ")?..]))
        .collect();
    assert_eq!(here, there);
    let mut different: Vec<_> = here.iter().map(|line| line.rsplit(' ').next()).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(
        different.len(),
        here.len(),
        "every seed has a run of its own"
    );
}

/// The other process of the test above; alone it runs one seed.
#[test]
fn child_prints_digests() {
    let seeds = std::env::var(CHILD).map_or(1, |seeds| seeds.parse().unwrap());
    for line in digests(seeds) {
        println!("{line}");
    }
}

#[test]
fn a_hold_delays_its_client_and_loses_nothing() {
    let scene = Scene::new(2, 3, 10_000);
    for driver in DRIVERS {
        let free = play(&scene, &RunConfig::default(), &Scenario::default(), driver);
        let faults = vec![Fault::Hold {
            at: LogicalTime(100 * MS),
            until: LogicalTime(1_100 * MS),
            target: Target::Client(ClientId(1)),
        }];
        let scenario = Scenario {
            faults,
            ..Scenario::default()
        };
        let held = play(&scene, &RunConfig::default(), &scenario, driver);
        assert_eq!(held.findings, [], "{driver:?}");
        let (free, held) = (outcome(&free), outcome(&held));
        assert!(free.at.0 < 500 * MS, "{driver:?} {free:?}");
        assert!(
            held.at.0 > 1_100 * MS && held.at.0 < 2_000 * MS,
            "{driver:?} {held:?}"
        );
        for (free, held) in free.wires.iter().zip(&held.wires) {
            // Handles have other numbers when others come first.
            assert_eq!(free.up.frames, held.up.frames, "{driver:?}");
            assert_eq!(free.down.frames, held.down.frames, "{driver:?}");
        }
    }
}

#[test]
fn a_cut_is_a_lost_connection_and_the_server_cleans_up() {
    let scene = Scene::new(2, 3, 10_000);
    for driver in DRIVERS {
        let faults = vec![Fault::Cut {
            // The WRITE of its second file is on its way.
            at: LogicalTime(150_500_000),
            target: Target::Conn(ConnId(0)),
        }];
        let scenario = Scenario {
            faults,
            ..Scenario::default()
        };
        let played = play(&scene, &RunConfig::default(), &scenario, driver);
        let lost = |report: &Report| {
            let reason = NetFailure::Reset;
            let divergence = Divergence::ConnectionLost { reason };
            matches!(report, Report::Diverged { divergence: it, .. } if *it == divergence)
        };
        assert!(
            played.findings.iter().any(lost),
            "{driver:?} {:?}",
            played.findings
        );
        assert!(played.ended.result.is_ok(), "{:?}", played.ended.result);
        let entries = played.ended.recorder.unwrap().entries;
        let closed = entries.iter().filter(|entry| {
            matches!(
                entry.input,
                Input::Closed {
                    conn: ConnId(0),
                    reason: NetFailure::Reset
                }
            )
        });
        assert_eq!(closed.count(), 1, "{driver:?}");
        assert_eq!(
            played.ended.server.unwrap().server().open_count(),
            0,
            "{driver:?}"
        );
    }
}

#[test]
fn a_stall_says_who_waits_for_what() {
    let mut scene = Scene::new(2, 1, 0);
    // Client 1 is another shard's, and that shard never says anything.
    let of = |client| move |op: &Operation| op.client == ClientId(client);
    let foreign = scene.operations.iter().position(of(1)).unwrap();
    let own = scene.operations.iter().rposition(of(0)).unwrap();
    let mut edge = scene.operations[own].after[0];
    edge.id = scene.operations[foreign].id;
    scene.operations[own].after.push(edge);
    let config = fast();
    for driver in DRIVERS {
        let operations = scene.operations.iter().cloned();
        let plan = Plan::build(&scene.workload, operations, &config, |it| it == ClientId(0));
        let scenario = Scenario::default();
        let run = Run {
            plan: plan.unwrap(),
            config: config.clone(),
            cast: Cast::of(&scene.workload),
            scenario: &scenario,
            server: model(1),
            recorder: Kept::default(),
            blobs: scene.data.clone(),
            tap: None,
        };
        let error = simulate(run, driver, |_, _| ()).result.unwrap_err();
        let SimError::Stalled { waiting, more, .. } = &error else {
            panic!("{driver:?}: {error}");
        };
        let own = scene.operations[own].id;
        assert!(waiting.contains(&(own, OpState::Waiting)), "{waiting:?}");
        assert_eq!(*more, 0);
        assert!(
            error.to_string().contains("waits for operations before it"),
            "{error}"
        );
    }
}

/// Takes everything and answers nothing.
struct Mute;

impl FrameService for Mute {
    fn opened(&mut self, _: LogicalTime, _: u64) {}
    fn closed(&mut self, _: LogicalTime, _: u64) {}
    fn frame(&mut self, _: LogicalTime, _: u64, _: Vec<u8>) {}
    fn wake(&mut self, _: LogicalTime) {}
    fn poll(&mut self, _: LogicalTime) -> ServiceOutput {
        ServiceOutput::WakeAt(None)
    }
}

#[test]
fn the_limit_of_simulated_time_ends_a_run() {
    let scene = Scene::new(1, 1, 0);
    for driver in DRIVERS {
        let scenario = Scenario {
            limit: LogicalTime(2_000 * MS),
            ..Scenario::default()
        };
        let run = Run {
            plan: scene.plan(&fast()),
            config: fast(),
            cast: Cast::of(&scene.workload),
            scenario: &scenario,
            server: Mute,
            recorder: Kept::default(),
            blobs: Data::default(),
            tap: None,
        };
        let ended = simulate(run, driver, |_, _| ());
        assert!(
            matches!(ended.result, Err(SimError::OutOfTime { .. })),
            "{driver:?} {:?}",
            ended.result
        );
        assert!(
            ended.recorder.is_some() && ended.server.is_some(),
            "{driver:?}"
        );
    }
}

const SEEDS: u64 = 50;
const CHILD: &str = "SMBENCH_SIM_DIGESTS";
