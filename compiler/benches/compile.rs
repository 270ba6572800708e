//! Compiling captures to workload folders, against a bare walk over the same bytes.
//!
//! The input is that of the benchmark `capture`. Everything is done: hashing, dissection, building
//! every request again, order, namespace, writing the folder.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark may stop at the first surprise"
)]

use std::fs;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use smbench_compiler::{CompileOptions, Compiled, compile};

#[path = "common/corpus.rs"]
mod common;

use common::{corpus, walk};

fn main() {
    if corpus().is_empty() {
        println!("no captures beside the repository: nothing to measure");
        return;
    }
    let seconds = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let best = |work: &mut dyn FnMut()| (0..5).map(|_| seconds(work)).fold(f64::MAX, f64::min);
    let bare = best(&mut || {
        black_box(walk(corpus()));
    });
    let mut operations = 0;
    let full = best(&mut || operations = run().workload.operations);
    let megabytes = corpus().len() as f64 / 1e6;
    println!(
        "{megabytes:.0} MB, {operations} operations: bare walk {:.0} MB/s, compile {:.0} MB/s, \
         {:.2} x the time of the walk, {:.0} ns an operation",
        megabytes / bare,
        megabytes / full,
        full / bare,
        full * 1e9 / operations as f64
    );
    against_tshark(&seconds);
}

/// The same question put to tshark, on captures of small operations; skipped, and said so, without
/// tshark.
fn against_tshark(seconds: &dyn Fn(&mut dyn FnMut()) -> f64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own");
    for name in [
        "office/office20_15s.pcap",
        "torture/smbtorture_smb2.credits.pcap",
        "torture/smbtorture_smb2.dir.pcap",
    ] {
        let path = folder.join(name);
        let Ok(bytes) = fs::read(&path) else { continue };
        let mut tshark = Command::new("tshark");
        tshark
            .arg("-r")
            .arg(&path)
            .args(["-Y", "smb2", "-T", "fields"]);
        tshark.args([
            "-e",
            "smb2.cmd",
            "-e",
            "smb2.msg_id",
            "-e",
            "smb2.nt_status",
        ]);
        tshark.stdout(Stdio::null()).stderr(Stdio::null());
        if tshark.status().is_err() {
            println!("tshark is not installed: no comparison with it");
            return;
        }
        let theirs = seconds(&mut || assert!(tshark.status().unwrap().success()));
        let ours = (0..3)
            .map(|_| seconds(&mut || drop(run_on(bytes.clone()))))
            .fold(f64::MAX, f64::min);
        println!(
            "{name}: tshark {:.0} ms, compile {:.0} ms, {:.1} x its speed",
            theirs * 1e3,
            ours * 1e3,
            theirs / ours
        );
    }
}

fn run() -> Compiled {
    run_on(corpus())
}

fn run_on(capture: impl AsRef<[u8]> + 'static) -> Compiled {
    let out = std::env::temp_dir().join(format!("smbench-bench-{}", std::process::id()));
    let input = Box::new(Cursor::new(capture));
    let inputs = vec![("corpus".to_owned(), input as Box<dyn std::io::Read>)];
    let compiled = compile(inputs, CompileOptions::default(), &out).unwrap();
    fs::remove_dir_all(out).unwrap();
    compiled
}
