//! Compiling captures to workload folders, against a bare walk over the same bytes and against
//! tshark, and the memory that it takes.
//!
//! `cargo bench -p smbench-compiler --bench compile -- [CAPTURE [MEGABYTES...]]`. Without a capture
//! the input is that of the benchmark `capture`, in memory, and captures of small operations. With
//! one (pcap, Ethernet, IPv4) that file is measured, and then compiled at each of the sizes, cut or
//! repeated from other hosts, each time in a process of its own whose peak of resident memory is
//! told.
//!
//! A bare walk reads packets with pcap-parser and etherparse and puts TCP streams together; one
//! without reassembly only follows sequence numbers. How fast either is depends on how the file
//! lies in memory: one that has just been written is read at two thirds of the speed of one that
//! was read back from disk.
//!
//! Everything is done: reading, hashing, dissection, building every request again, order,
//! namespace, writing the folder, into the system's folder for temporary files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark may stop at the first surprise"
)]

use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Cursor, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use smbench_compiler::{CompileOptions, Compiled, compile};

#[path = "common/corpus.rs"]
mod common;
#[path = "common/repeat.rs"]
mod repeat;

use common::{corpus, reassemble, walk};
use repeat::Repeat;

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [CHILD, capture, megabytes] => child(Path::new(capture), megabytes.parse().unwrap()),
        [] => {
            in_memory();
            for name in SMALL {
                against_tshark(&shared(name), 10);
            }
            let office = shared(SMALL[0]);
            if office.exists() {
                sizes(&office, &[100, 500]);
            }
        }
        [capture, ref megabytes @ ..] => {
            let capture = Path::new(capture);
            on_disk(capture);
            against_tshark(capture, 1);
            let given: Vec<u64> = megabytes.iter().map(|it| it.parse().unwrap()).collect();
            sizes(capture, if given.is_empty() { &SIZES } else { &given });
        }
    }
}

/// The corpus, walked and compiled.
fn in_memory() {
    if corpus().is_empty() {
        println!("no captures beside the repository: nothing to measure");
        return;
    }
    let bare = walks(corpus, 5);
    let mut operations = 0;
    let full = best(5, || {
        let (compiled, seconds) = run("corpus", Box::new(Cursor::new(corpus())));
        operations = compiled.workload.operations;
        seconds
    });
    ratio("corpus", corpus().len() as u64, operations, bare, full);
}

/// A capture on disk, walked and compiled.
fn on_disk(capture: &Path) {
    let bare = walks(|| File::open(capture).unwrap(), 3);
    let mut operations = 0;
    let full = best(3, || {
        let (compiled, seconds) = run_file(capture);
        operations = compiled.workload.operations;
        seconds
    });
    let bytes = fs::metadata(capture).unwrap().len();
    ratio(&shown(capture), bytes, operations, bare, full);
}

/// The times of a walk without reassembly and of one with it.
fn walks<R: Read>(open: impl Fn() -> R, rounds: u32) -> [f64; 2] {
    let (all, whole) = (walk(open()), reassemble(open()));
    assert!(whole > all / 10 * 9, "{whole} of {all} bytes in order");
    [walk, reassemble].map(|walk| best(rounds, || timed(|| walk(open())).1))
}

/// Tells of the walk with and without reassembly: what a dissector cannot do without, and less.
fn ratio(name: &str, bytes: u64, operations: u64, [walk, reassemble]: [f64; 2], full: f64) {
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{name}: {megabytes:.0} MB, {operations} operations: compile {:.0} MB/s, {:.0} ns an \
         operation; {:.2} x the time of a bare walk ({:.0} MB/s), {:.2} x that of one without \
         reassembly ({:.0} MB/s)",
        megabytes / full,
        full * 1e9 / operations as f64,
        full / reassemble,
        megabytes / reassemble,
        full / walk,
        megabytes / walk,
    );
}

/// The same question put to tshark; skipped, and said so, without tshark.
fn against_tshark(capture: &Path, rounds: u32) {
    if !capture.exists() {
        return;
    }
    if Command::new("tshark").arg("-v").output().is_err() {
        println!("tshark is not installed: no comparison with it");
        return;
    }
    let theirs = best(rounds, || tshark(capture));
    // A capture without packets: what a short one takes is mostly this.
    let empty = env::temp_dir().join(format!("smbench-bench-{}.pcap", std::process::id()));
    let mut head = [0; 24];
    File::open(capture).unwrap().read_exact(&mut head).unwrap();
    fs::write(&empty, head).unwrap();
    let start = best(rounds, || tshark(&empty));
    fs::remove_file(empty).unwrap();
    let ours = best(rounds.max(3), || run_file(capture).1);
    println!(
        "{}: tshark {:.0} ms, compile {:.1} ms, {:.1} x its speed; {:.1} x without the {:.0} ms \
         that tshark takes to start",
        shown(capture),
        theirs * 1e3,
        ours * 1e3,
        theirs / ours,
        (theirs - start) / ours,
        start * 1e3
    );
}

/// How long tshark takes to tell the requests and answers of a capture.
fn tshark(capture: &Path) -> f64 {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(TSHARK);
    tshark.stdout(Stdio::null()).stderr(Stdio::null());
    let (status, seconds) = timed(|| tshark.status().unwrap());
    assert!(status.success());
    seconds
}

/// Peaks of memory at several sizes.
fn sizes(capture: &Path, megabytes: &[u64]) {
    for size in megabytes {
        let program = env::current_exe().unwrap();
        let mut child = Command::new(program);
        child.arg(CHILD).arg(capture).arg(size.to_string());
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Compiles so much of a capture and tells the peak of memory.
fn child(capture: &Path, megabytes: u64) {
    let input = Repeat::new(capture, megabytes * 1_000_000).unwrap();
    let (compiled, seconds) = run(&shown(capture), Box::new(input));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let peak = kib.map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
    println!(
        "{}: {megabytes} MB of it, {} operations in {seconds:.2} s, peak of resident memory {peak}",
        shown(capture),
        compiled.workload.operations,
    );
}

/// The least of what several rounds took, in seconds.
fn best(rounds: u32, work: impl FnMut() -> f64) -> f64 {
    iter::repeat_with(work)
        .take(rounds as usize)
        .fold(f64::MAX, f64::min)
}

/// What work gives, and the seconds it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let value = black_box(work());
    (value, start.elapsed().as_secs_f64())
}

fn shared(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own");
    folder.join(name)
}

fn shown(capture: &Path) -> String {
    let name = capture.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn run_file(capture: &Path) -> (Compiled, f64) {
    run(&shown(capture), Box::new(File::open(capture).unwrap()))
}

/// Compiles; what came of it, and the seconds until the folder was there.
fn run(name: &str, input: Box<dyn Read + Send>) -> (Compiled, f64) {
    let out = env::temp_dir().join(format!("smbench-bench-{}", std::process::id()));
    let inputs = vec![(name.to_owned(), input)];
    let (compiled, seconds) = timed(|| compile(inputs, CompileOptions::default(), &out).unwrap());
    fs::remove_dir_all(out).unwrap();
    (compiled, seconds)
}

/// Says to a process of this program that it is to compile one size.
const CHILD: &str = "--child";
const SIZES: [u64; 3] = [100, 1_000, 4_000];
/// Captures of small operations.
const SMALL: [&str; 3] = [
    "office/office20_15s.pcap",
    "torture/smbtorture_smb2.credits.pcap",
    "torture/smbtorture_smb2.dir.pcap",
];
const TSHARK: [&str; 10] = [
    "-Y",
    "smb2",
    "-T",
    "fields",
    "-e",
    "smb2.cmd",
    "-e",
    "smb2.msg_id",
    "-e",
    "smb2.nt_status",
];
