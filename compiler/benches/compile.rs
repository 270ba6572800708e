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
}

fn run() -> Compiled {
    let out = std::env::temp_dir().join(format!("smbench-bench-{}", std::process::id()));
    let input = Box::new(Cursor::new(corpus()));
    let inputs = vec![("corpus".to_owned(), input as Box<dyn std::io::Read>)];
    let compiled = compile(inputs, CompileOptions::default(), &out).unwrap();
    fs::remove_dir_all(out).unwrap();
    compiled
}
