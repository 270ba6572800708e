//! Speed of rerun and diff, on runs of a scripted server: `cargo bench -p smbench-journal --bench
//! runs`. `SMBENCH_FILES` sets the number of files, two operations each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure here is a failed bench"
)]

#[path = "../tests/scene/scene.rs"]
mod scene;

use std::{fs, time::Instant};

use smbench_core::ids::ShardId;
use smbench_journal::{
    diff,
    rerun::{Recipe, check},
};

use self::scene::{Scene, Server};

fn main() {
    let files = std::env::var("SMBENCH_FILES").ok();
    let files = files.and_then(|it| it.parse().ok()).unwrap_or(500_000);
    let operations = f64::from(files) * 2.0;
    let one = Scene::new(files).record(&mut Server::new(20));
    let other = Scene::new(files).record(&mut Server::refusing("team\\f12"));
    println!(
        "{operations} operations, resident {} MiB",
        resident("VmRSS:")
    );

    let start = Instant::now();
    let recipe = Recipe::of(&one).unwrap();
    let plan = recipe.plan_of(ShardId(0), |_| {}).unwrap();
    let load = start.elapsed().as_secs_f64();
    println!(
        "load     {:>10.0} operations/s ({} kept)",
        operations / load,
        plan.len()
    );
    drop((recipe, plan));

    let start = Instant::now();
    let found = check(&one).unwrap();
    let whole = start.elapsed().as_secs_f64();
    assert!(found.identical && found.complete);
    let run = (whole - load).max(f64::EPSILON);
    println!(
        "rerun    {:>10.0} operations/s without loading",
        operations / run
    );
    println!(
        "         {:>10.0} operations/s with loading",
        operations / whole
    );

    // The peak counts from here on, where the system lets us say so. proc(5)
    drop(fs::write("/proc/self/clear_refs", "5"));
    let before = resident("VmHWM:");
    let start = Instant::now();
    let found = diff(&one, &other).unwrap();
    println!(
        "diff     {:>10.2} s, {} causes, {} compared; resident peak {} MiB, {before} before",
        start.elapsed().as_secs_f64(),
        found.causes.len(),
        found.compared,
        resident("VmHWM:"),
    );
}

/// A figure of this process in MiB, where the system tells.
fn resident(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
