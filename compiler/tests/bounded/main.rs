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

use smbench_compiler::{
    CompileOptions, compile,
    folder::FolderReader,
    slice::{Filters, SliceOptions, slice},
};
use smbench_core::workload::{Entry, Operation, Workload};

use self::wire::{
    CREATE, ECHO, ERROR, NAME_NOT_FOUND, NORMAL, NOT_EMPTY, NOTHING, READ, TREE_DISCONNECT, Wire,
    create, created, data_read, read,
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

/// How many operations stay of what `wire` is compiled to, with causes, by command and path.
fn sliced(wire: Wire, command: &str, path: &str) -> usize {
    let given = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let options = SliceOptions {
        filters: Filters {
            commands: given(command),
            paths: given(path),
            ..Filters::default()
        },
        causes: true,
        ..SliceOptions::default()
    };
    in_time(move || {
        let (whole, part) = (Folder::new(), Folder::new());
        let input = Box::new(Cursor::new(wire.into_bytes()));
        let inputs = vec![("a.pcap".to_owned(), input as _)];
        compile(inputs, CompileOptions::default(), &whole.0).unwrap();
        let reader = FolderReader::open(&whole.0).unwrap();
        slice(&reader, &options, &part.0).unwrap();
        let reader = FolderReader::open(&part.0).unwrap();
        reader.operations().unwrap().map(Result::unwrap).count()
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

/// Thousands of opens of one file, and thousands of trees that end while these stay open.
#[test]
fn thousands_of_opens_that_stay() {
    let mut wire = Wire::new();
    for open in 0..8_000 {
        wire.open("f", 5 + open);
    }
    for tree in 0..8_000 {
        wire.connect(100 + tree);
        wire.call(TREE_DISCONNECT, &NOTHING, 0, &NOTHING);
    }
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 8_000 * 3);
    assert_eq!(it.workload.coverage.problems.len(), 0);
}

/// Thousands of logins that replace one session, in which thousands of requests have no answer.
#[test]
fn thousands_of_logins_in_the_place_of_one() {
    let mut wire = Wire::new();
    let old = wire.session;
    for at in 0..6_000 {
        wire.ask(CREATE, &create(&format!("x{at}"), 0));
    }
    for login in 0..6_000 {
        wire.session = 0x1_0000 + login;
        wire.log_in(old);
    }
    let it = compiled(wire);
    assert_eq!(it.operations.len(), 3 + 12_000);
}

/// A folder of thousands of files is renamed again and again: what is in it is followed for as long
/// as that is in proportion to the capture.
#[test]
fn a_large_folder_is_renamed_again_and_again() {
    let mut wire = Wire::new();
    wire.open_folder("a", 5);
    for first in (0..6_000).step_by(500) {
        let names: Vec<String> = (first..first + 500)
            .map(|at| format!("file-{at:06}"))
            .collect();
        wire.list(5, &names);
    }
    for at in 0..6_000 {
        wire.rename(5, if at % 2 == 0 { "b" } else { "a" });
    }
    let it = compiled(wire);
    assert_eq!(it.entries.len(), 6_001);
    let problem = "namespace: folder of which is not told what is in it";
    let problems = &it.workload.coverage.problems;
    assert!(
        problems.keys().any(|it| it.starts_with(problem)),
        "{problems:?}"
    );
}

/// Thousands of names that are missed in a folder that cannot be deleted, again and again.
#[test]
fn a_folder_is_not_empty_again_and_again() {
    let mut wire = Wire::new();
    wire.open_folder("d", 5);
    for at in 0..5_000 {
        wire.miss(&format!("d\\x{at}"));
    }
    for _ in 0..5_000 {
        wire.set_info(5, 13, &[1], NOT_EMPTY);
    }
    let it = compiled(wire);
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["d", "d\\smbench-unseen"]);
}

/// 16,000 folders, each in the one before: what is above a name is no part of the namespace when it
/// is so much more than the name. The request stays.
#[test]
fn a_name_deeper_than_any() {
    let deep = ["a"; 16_000].join("\\");
    let mut wire = Wire::new();
    wire.open(&deep, 5);
    let last = ["b"; 255].join("\\");
    wire.open(&last, 6);
    let it = compiled(wire);
    let problem = "namespace: path of more than 255 names (first: operation 3)";
    assert_eq!(it.workload.coverage.problems.get(problem), Some(&1));
    assert_eq!(it.operations.len(), 3 + 2);
    assert_eq!(it.entries.len(), 255);
}

/// Deep names that have nothing in common are kept up to a share of what the capture holds.
#[test]
fn many_deep_names() {
    let mut wire = Wire::new();
    for at in 0..150 {
        let folder = format!("{at:x<100}");
        wire.open(&[folder.as_str(); 200].join("\\"), 5 + at);
    }
    let it = compiled(wire);
    let problem = "namespace: name that is not kept: there are too many, in folders too deep";
    let problems = &it.workload.coverage.problems;
    assert!(
        problems.keys().any(|it| it.starts_with(problem)),
        "{problems:?}"
    );
    let kept: usize = it.entries.iter().map(|it| it.path.len()).sum();
    assert!(
        (16 << 20..80 << 20).contains(&kept),
        "{kept} bytes of names"
    );
}

/// A listing, CREATEs, renames and streams with names that would lead elsewhere when they are made.
#[test]
fn names_that_lead_elsewhere_are_left_out() {
    let mut wire = Wire::new();
    wire.open_folder("d", 5);
    let names = [
        "good", "..\\evil", "../evil", "", "a\0b", "..", ".", "..:s", "e/f",
    ];
    wire.list(5, &names.map(str::to_owned));
    wire.open("..\\x", 6);
    wire.open("sub\\..\\..\\x", 7);
    wire.open("fine", 8);
    wire.rename(8, "..\\fine");
    let it = compiled(wire);
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["d", "d\\good", "fine"]);
    let problem = "namespace: name that leads elsewhere: empty, `.`, `..`, or with a separator or \
                   NUL in it (first: operation 4)";
    let problems = &it.workload.coverage.problems;
    assert_eq!(problems.get(problem), Some(&9), "{problems:?}");
}

/// A slice around what everybody waits for, and one of a name deeper than any.
#[test]
fn slices_of_what_is_wide_and_deep() {
    let mut wire = Wire::new();
    wire.open("f", 5);
    let asked: Vec<u64> = (0..8_000).map(|_| wire.ask(READ, &read(5, 0, 4))).collect();
    for mid in asked {
        wire.answer(READ, mid, 0, &data_read(b"abcd"));
    }
    wire.close(5);
    // Thousands that are never closed, of a folder with as many files, listed as often.
    for open in 0..3_000 {
        wire.open_folder("d", 6 + open);
        wire.list(6 + open, &[format!("file-{open}")]);
    }
    assert_eq!(sliced(wire, "CLOSE", ""), 3 + 8_002);

    let mut wire = Wire::new();
    wire.open(&["a"; 16_000].join("\\"), 5);
    for _ in 0..2_000 {
        wire.read(5, 0, b"abcd");
    }
    assert_eq!(sliced(wire, "", "a\\**"), 3 + 2_001);
}

/// Each of thousands of listings of a folder of thousands of files depends on all these.
#[test]
fn slices_of_a_folder_that_is_listed_again_and_again() {
    let mut wire = Wire::new();
    wire.open_folder("d", 5);
    for open in 0..3_000 {
        wire.open(&format!("d\\{open}"), 6 + open);
    }
    for _ in 0..3_000 {
        wire.list(5, &["x".to_owned()]);
    }
    assert_eq!(sliced(wire, "QUERY_DIRECTORY", ""), 3 + 6_001);
}
