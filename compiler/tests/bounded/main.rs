//! Small captures that made work without a bound: each is compiled before a deadline that is many
//! times what it takes. Before it was mended, each took minutes at least, or never ended.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed test is a panic"
)]

mod wire;

use std::{
    env, fs,
    io::Cursor,
    path::PathBuf,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use smbench_compiler::{CompileOptions, compile, folder::FolderReader};
use smbench_core::workload::{Entry, Operation, Workload};

use self::wire::{
    CREATE, ECHO, ERROR, NAME_NOT_FOUND, NORMAL, NOTHING, READ, Wire, create, created, data_read,
    read,
};

/// What a capture is compiled to.
struct Compiled {
    workload: Workload,
    operations: Vec<Operation>,
    entries: Vec<Entry>,
}

/// What `wire` is compiled to, which must not take for ever.
fn compiled(wire: Wire) -> Compiled {
    in_time(move || {
        let out = Folder::new();
        let input = Box::new(Cursor::new(wire.into_bytes()));
        compile(
            vec![("a.pcap".to_owned(), input)],
            CompileOptions::default(),
            &out.0,
        )
        .unwrap();
        let reader = FolderReader::open(&out.0).unwrap();
        Compiled {
            operations: reader.operations().unwrap().map(Result::unwrap).collect(),
            entries: reader.namespace().unwrap().map(Result::unwrap).collect(),
            workload: reader.into_workload(),
        }
    })
}

/// What `work` gives, within [`DEADLINE`].
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let worker = thread::spawn(move || done.send(work()).unwrap());
    match result.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(_) if worker.is_finished() => panic!("it failed"),
        Err(_) => panic!("no end within {DEADLINE:?}"),
    }
}

/// A folder that goes when it is no longer needed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("smbench-bounded-{}-{number}", std::process::id());
        Self(env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Far beyond what any of these takes, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(100);

/// A CLOSE waits for 4,321 READs, and for an answer that came after them.
#[test]
fn thousands_of_reads_before_a_close() {
    let mut wire = Wire::new();
    wire.open("f", 5);
    for _ in 0..4_321 {
        wire.read(5, 0, b"abcd");
    }
    wire.call(ECHO, &NOTHING, 0, &NOTHING);
    wire.close(5);
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 4_324);
    // It waits for them in every order, so nothing that binds in some orders alone implies that.
    assert_eq!(it.operations.last().unwrap().after.len(), 4_322);
}

/// Each member of a compound waits for all those of the compound before, in every way.
#[test]
fn long_compounds() {
    let mut wire = Wire::new();
    wire.open("f", 5);
    for _ in 0..3 {
        wire.compound(2_000, READ, &read(5, 0, 4), &data_read(b"abcd"));
    }
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 6_001);
}

/// An operation that waits for thousands, and thousands that wait for it.
#[test]
fn what_everybody_waits_for_and_waits_for_everybody() {
    let mut wire = Wire::new();
    wire.open("f", 5);
    let asked: Vec<u64> = (0..10_000)
        .map(|_| wire.ask(READ, &read(5, 0, 4)))
        .collect();
    for mid in asked {
        wire.answer(READ, mid, 0, &data_read(b"abcd"));
    }
    wire.close(5);
    let asked: Vec<u64> = (0..10_000)
        .map(|at| wire.ask(CREATE, &create(&format!("x{at}"), 0)))
        .collect();
    for mid in asked {
        wire.answer(CREATE, mid, NAME_NOT_FOUND, &ERROR);
    }
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 20_002);
}

/// Thousands of requests in flight together whose outcomes no order explains.
#[test]
fn thousands_in_flight_that_make_no_sense() {
    let mut wire = Wire::new();
    let asked: Vec<u64> = (0..5_000)
        .map(|at| wire.ask(CREATE, &create(&format!("f{}", at % 50), 0)))
        .collect();
    for (at, mid) in (0..).zip(asked) {
        wire.answer(CREATE, mid, 0, &created(5 + at, at % 3, NORMAL));
    }
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 5_000);
    let unexplained = it
        .workload
        .coverage
        .problems
        .get("outcomes that no order explains");
    assert!(unexplained.is_some_and(|it| *it > 1_000), "{unexplained:?}");
    assert_eq!(it.entries.len(), 50);
}
