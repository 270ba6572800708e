//! Captures that went wrong once, held against what tshark says of them: see
//! tests/captures/trials/README.md.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a failed test is a panic"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use smbench_compiler::{
    CompileOptions,
    anonymize::{Seed, anonymize},
    compile,
    folder::FolderReader,
};
use smbench_core::{
    smb2::Command,
    workload::{Entry, Link, Operation, Symlink, Workload},
};

struct Compiled {
    operations: Vec<Operation>,
    entries: Vec<Entry>,
    workload: Workload,
    /// Bytes of the folder.
    size: u64,
}

fn compiled(capture: &str) -> Compiled {
    with_folder(capture, |out| {
        let reader = FolderReader::open(out).unwrap();
        Compiled {
            operations: reader.operations().unwrap().map(Result::unwrap).collect(),
            entries: reader.namespace().unwrap().map(Result::unwrap).collect(),
            size: size_of(out),
            workload: reader.into_workload(),
        }
    })
}

/// Bytes of the files in a folder.
fn size_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    files.map(|it| it.unwrap().metadata().unwrap().len()).sum()
}

/// What `work` makes of the folder that a capture is compiled to.
fn with_folder<T>(capture: &str, work: impl FnOnce(&Path) -> T) -> T {
    let trials = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/trials");
    let input = Box::new(File::open(trials.join(capture)).unwrap());
    // Each test has a thread of its name.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let name = format!("smbench-trial-{test}-{capture}-{}", std::process::id());
    let out = env::temp_dir().join(name);
    let inputs = vec![(capture.to_owned(), input as _)];
    compile(inputs, CompileOptions::default(), &out).unwrap();
    let done = work(&out);
    fs::remove_dir_all(&out).unwrap();
    done
}

impl Compiled {
    fn requests(&self) -> usize {
        let disconnect = Command(u16::MAX);
        let operations = self.operations.iter();
        operations.filter(|op| op.cmd != disconnect).count()
    }

    fn problems(&self) -> BTreeMap<&str, u64> {
        let problems = &self.workload.coverage.problems;
        problems
            .iter()
            .map(|(what, count)| (what.as_str(), *count))
            .collect()
    }
}

/// RFC 5961, section 3.2: these resets are far away and old.
#[test]
fn resets_that_their_receiver_ignores_end_nothing() {
    for capture in ["A4_bogus_reset.pcap", "A4c_old_reset.pcap"] {
        let it = compiled(capture);
        assert_eq!(
            (it.requests(), it.workload.connections.len()),
            (22, 1),
            "{capture}"
        );
        let answered = it.operations.iter().filter(|op| op.expect.is_some());
        assert_eq!(answered.count(), 22, "{capture}");
        let expected = BTreeMap::from([("reset that ended no connection", 1)]);
        assert_eq!(it.problems(), expected, "{capture}");
    }
}

#[test]
fn times_in_powers_of_two() {
    let it = compiled("P1_resolution_2pow32.pcapng");
    let times = it
        .operations
        .iter()
        .filter(|op| op.cmd != Command(u16::MAX));
    let times: Vec<(u64, u64)> = times.map(|op| (op.frame, op.at_us)).collect();
    assert_eq!(times, TIMES);
    // tshark: 1795416858.112009999
    assert_eq!(it.workload.provenance.epoch_ns, 1_795_416_858_112_009_999);
}

/// Frames of requests and their times in µs since the first packet, as tshark tells them.
const TIMES: [(u64, u64); 28] = [
    (4, 173),
    (8, 17_272),
    (10, 21_771),
    (12, 26_506),
    (14, 28_612),
    (16, 33_553),
    (18, 33_664),
    (20, 34_504),
    (22, 35_644),
    (26, 37_279),
    (28, 37_420),
    (30, 37_646),
    (32, 37_736),
    (34, 37_872),
    (36, 37_943),
    (38, 38_103),
    (40, 38_270),
    (42, 41_258),
    (44, 41_333),
    (46, 41_457),
    (48, 41_715),
    (50, 41_771),
    (52, 41_921),
    (54, 42_002),
    (56, 42_129),
    (58, 42_268),
    (60, 42_305),
    (62, 42_349),
];

#[test]
fn a_name_of_16_000_folders_makes_a_small_folder() {
    let it = compiled("N8_deep_path.pcap");
    let problem = "namespace: path of more than 255 names (first: operation 4)";
    assert_eq!(it.problems(), BTreeMap::from([(problem, 1)]));
    assert!(it.size < 1_000_000, "{} bytes", it.size);
}

/// A name of 32,767 characters took its cube. This is far more than a debug build takes on a busy
/// machine.
#[test]
fn long_and_deep_names_are_anonymized_at_once() {
    for capture in ["N1_long.pcap", "N8_deep_path.pcap"] {
        let begin = Instant::now();
        with_folder(capture, |folder| {
            let out = folder.with_extension("anonymous");
            anonymize(folder, &out, &Seed::from_number(1)).unwrap();
            let (before, after) = (size_of(folder), size_of(&out));
            assert!(after < 4 * before, "{before} bytes became {after}");
            let count = |folder: &Path| {
                let reader = FolderReader::open(folder).unwrap();
                reader.operations().unwrap().map(Result::unwrap).count()
            };
            assert_eq!(count(&out), count(folder), "{capture}");
            fs::remove_dir_all(&out).unwrap();
        });
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(30), "{capture}: {took:?}");
    }
}

#[test]
fn a_listing_that_leads_elsewhere() {
    let it = compiled("S2_dotdot_listing.pcap");
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["", "good.txt"]);
    let problem = "namespace: name that leads elsewhere: empty, `.`, `..`, or with a separator or \
                   NUL in it (first: operation 5)";
    assert_eq!(it.problems(), BTreeMap::from([(problem, 1)]));
}

/// Each listing names two files that the others do not.
#[test]
fn listings_of_every_class_tell_what_is_there() {
    let it = compiled("F8_listing_classes.pcap");
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    let names = ["c60", "c63", "c78", "c81"];
    let names = names.map(|name| [format!("{name}_one.txt"), format!("{name}_two.txt")]);
    let mut expected = vec![String::new()];
    expected.extend(names.into_iter().flatten());
    assert_eq!(paths, expected);
    assert!(it.entries[1..].iter().all(|it| it.size == 5));
    // Its entries of the folder itself lack the attribute, once in each class.
    let problem = "namespace: both file and folder (first: operation 5)";
    assert_eq!(it.problems(), BTreeMap::from([(problem, 4)]));
}

/// Nobody told which file has that number: it was there, at a path that is made up.
#[test]
fn what_is_opened_by_its_number_has_a_path() {
    let it = compiled("B40_renames_deletes_ex.pcap");
    let path = "unknown\\id-1234";
    assert_eq!(it.operations[17].path_by_id(), Some(path));
    assert_eq!(it.operations[18].path.as_deref(), Some(path));
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["unknown", path]);
    let mut problems = it.problems().into_keys();
    assert!(!problems.any(|it| it.starts_with("namespace")));
}

/// The error data of one tells where it leads, FSCTL_GET_REPARSE_POINT that of the other.
#[test]
fn links_are_known_to_the_namespace() {
    let it = compiled("B34_symlink_errors.pcap");
    assert_eq!(it.problems(), BTreeMap::new());
    let dest = Link::Symlink(Symlink {
        target: Some("dest".to_owned()),
        print: None,
        relative: true,
    });
    let links = it.entries.iter().map(|it| (it.path.as_str(), &it.link));
    let expected = [
        ("link", &Some(dest.clone())),
        ("link2", &Some(dest.clone())),
    ];
    assert_eq!(links.collect::<Vec<_>>(), expected);
    // A folder of before has no links, and one that is written has them again.
    let line = serde_json::to_string(&it.entries[0]).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), it.entries[0]);
    let old = r#"{"share":"s","path":"p","kind":"file","seen_by":0}"#;
    assert_eq!(serde_json::from_str::<Entry>(old).unwrap().link, None);
}

#[test]
fn names_of_dfs_are_below_their_share_and_links_are_known() {
    let it = compiled("B12_dfs.pcap");
    assert_eq!(it.problems(), BTreeMap::new());
    let entries = it.entries.iter().map(|it| (it.path.as_str(), &it.link));
    assert_eq!(entries.collect::<Vec<_>>(), [("link", &Some(Link::Dfs))]);
}

/// Where links lead is renamed as names are.
#[test]
fn where_links_lead_is_anonymized() {
    with_folder("B34_symlink_errors.pcap", |folder| {
        let out = folder.with_extension("anonymous");
        anonymize(folder, &out, &Seed::from_number(1)).unwrap();
        let reader = FolderReader::open(&out).unwrap();
        let entries: Vec<Entry> = reader.namespace().unwrap().map(Result::unwrap).collect();
        let targets: Vec<String> = entries
            .iter()
            .map(|it| match &it.link {
                Some(Link::Symlink(it)) => it.target.clone().unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(targets[0], targets[1]);
        assert_ne!(targets[0], "dest");
        fs::remove_dir_all(&out).unwrap();
    });
}

/// What was made there has a colon in its name, and was found by a listing of level 0x64.
#[test]
fn names_of_posix_extensions_are_read() {
    let it = compiled("B6_posix.pcap");
    let paths: Vec<&str> = it.entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, [""]);
    assert_eq!(it.problems(), BTreeMap::new());
}
