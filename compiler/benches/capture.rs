//! Reading captures, against a bare walk over the same bytes.
//!
//! The input is the largest captures of the shared corpus, repeated with other addresses to some
//! 200 MB in memory. The bare walk is what cannot be avoided: pcap-parser's reader, etherparse's
//! slices, and following sequence numbers; another puts the streams together.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark may stop at the first surprise"
)]

use std::hint::black_box;
use std::io::{Cursor, Read};
use std::time::Instant;

use divan::counter::BytesCount;
use divan::{Bencher, Divan};
use smbench_compiler::capture::{CaptureEvent, CaptureOptions, read_capture_with};

#[path = "common/corpus.rs"]
mod common;

use common::{corpus, reassemble, walk};

fn main() {
    if corpus().is_empty() {
        println!("no captures beside the repository: nothing to measure");
        return;
    }
    let best = |work: fn(&'static [u8]) -> u64| {
        let run = |_| {
            let start = Instant::now();
            black_box(work(corpus()));
            start.elapsed().as_secs_f64()
        };
        (0..7).map(run).fold(f64::INFINITY, f64::min)
    };
    let (bare, whole) = (best(walk), best(reassemble));
    let full = best(|bytes| frames(bytes, false));
    let gigabytes = corpus().len() as f64 / 1e9;
    println!(
        "{:.0} MB: bare walk {:.2} GB/s, with reassembly {:.2} GB/s, read_capture {:.2} GB/s, {:.2} \
         and {:.2} x their time",
        gigabytes * 1e3,
        gigabytes / bare,
        gigabytes / whole,
        gigabytes / full,
        full / bare,
        full / whole
    );
    Divan::from_args().main();
}

#[divan::bench(sample_count = 10)]
fn bare_walk(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| walk(corpus()));
}

#[divan::bench(sample_count = 10)]
fn read_capture(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| frames(corpus(), false));
}

#[divan::bench(sample_count = 10)]
fn read_capture_hashed(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(corpus().len()))
        .bench(|| frames(corpus(), true));
}

fn frames(bytes: &'static [u8], hash: bool) -> u64 {
    let mut sum = 0;
    let options = CaptureOptions {
        hash,
        ..CaptureOptions::default()
    };
    let inputs: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new(bytes))];
    let stats = read_capture_with(&options, inputs, &mut |event| {
        if let CaptureEvent::Frame(info, payload) = event {
            sum += info.frame_no + payload.len() as u64;
        }
    });
    black_box(stats.unwrap());
    sum
}
