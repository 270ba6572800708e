//! Seeds an hour and operations a second of both drivers: `cargo bench -p smbench-sim`.
//!
//! 10 clients x 1,000 operations against the model server, building the plan not counted. CPU time
//! of this thread where Linux tells it, so that a busy machine does not count; else wall time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which may panic like tests"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "helpers of the tests"
)]

#[path = "../tests/support/scene.rs"]
mod scene;

use std::time::{Duration, Instant};

use scene::{Nothing, Scene, model};
use smbench_core::engine::{RunConfig, Speed};
use smbench_sim::{Cast, DriverKind, Latency, Run, Scenario, simulate};

fn main() {
    let origin = Instant::now();
    let scene = Scene::new(10, 250, 0);
    let ops = scene.operations.len();
    let config = RunConfig {
        speed: Speed::Max,
        ..RunConfig::default()
    };
    let plan = scene.plan(&config);
    for (driver, split) in [
        (DriverKind::EventLoop, false),
        (DriverKind::EventLoop, true),
        (DriverKind::Turmoil, false),
        (DriverKind::Turmoil, true),
    ] {
        let (mut seeds, mut spent) = (0_u32, Duration::ZERO);
        let mut simulated = 0;
        while spent < Duration::from_secs(5) {
            let scenario = Scenario {
                seed: seeds.into(),
                split,
                latency: Latency {
                    min_us: 1_000,
                    max_us: if split { 3_000 } else { 1_000 },
                },
                ..Scenario::default()
            };
            let run = Run {
                plan: plan.clone(),
                config: config.clone(),
                cast: Cast::of(&scene.workload),
                scenario: &scenario,
                server: model(seeds.into()),
                recorder: Nothing,
                blobs: scene.data.clone(),
                tap: None,
            };
            let before = clock(origin);
            let ended = simulate(run, driver, |_, _| ());
            spent += clock(origin) - before;
            let outcome = ended.result.unwrap();
            // A login has legs, which are no operations.
            assert!(outcome.counters.frames_up >= ops as u64);
            simulated = outcome.at.0 / 1_000_000;
            seeds += 1;
        }
        let each = spent / seeds;
        println!(
            "{driver:?} split {split}: {ops} operations in {each:?}, {:.0} ops/s, \
             {:.0} seeds/h, {simulated} ms simulated",
            ops as f64 / each.as_secs_f64(),
            3_600.0 / each.as_secs_f64(),
        );
    }
}

/// CPU time of this thread: the first number of `/proc/thread-self/schedstat`, in nanoseconds.
fn clock(origin: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|it| it.parse().ok());
    nanos.map_or_else(|| origin.elapsed(), Duration::from_nanos)
}
