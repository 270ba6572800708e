//! A plan that was loaded from a folder is the plan that its operations give one by one, and what
//! is wrong with a folder is told alike.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use smbench_compiler::{
    CompileOptions, compile,
    folder::{FolderReader, LoadError},
};
use smbench_core::{
    engine::{OrderMode, Pace, Plan, RunConfig, TreeTarget},
    frame::Digest,
    workload::Operation,
};

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("smbench-load-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own");
    [
        "office/office20_15s.pcap",
        "torture/smbtorture_smb2.credits.pcap",
        "torture/smbtorture_smb2.dir.pcap",
        "torture/smbtorture_smb2.compound.pcap",
        "torture/smbtorture_smb2.lease.pcap",
        "torture/smbtorture_smb2.durable-open.pcap",
        "torture/smbtorture_smb2.session.pcap",
    ]
    .iter()
    .map(|name| own.join(name))
    .filter(|path| path.exists())
    .collect()
}

fn compiled(capture: &Path, scratch: &Scratch) -> PathBuf {
    let folder = scratch.0.join("work");
    let input = Box::new(File::open(capture).unwrap()) as Box<dyn std::io::Read + Send>;
    let inputs = vec![("capture".to_owned(), input)];
    compile(inputs, CompileOptions::default(), &folder).unwrap();
    folder
}

/// Configurations that make different plans of `reader`'s workload.
fn configs(reader: &FolderReader) -> Vec<RunConfig> {
    let mut moved = RunConfig {
        pace: Pace::Think,
        order: OrderMode::Client,
        ..RunConfig::default()
    };
    for (at, tree) in reader.workload().trees.iter().enumerate() {
        let target = TreeTarget {
            path: format!("\\\\other\\{at}"),
            root: format!("root{}", at % 2),
        };
        moved.trees.insert(tree.path.clone(), target);
    }
    let capture = RunConfig {
        order: OrderMode::Capture,
        ..RunConfig::default()
    };
    vec![RunConfig::default(), moved, capture]
}

#[test]
fn a_loaded_plan_is_the_plan_of_its_operations() {
    let captures = captures();
    let mut operations = 0;
    for capture in &captures {
        let scratch = Scratch::new("same");
        let folder = compiled(capture, &scratch);
        let reader = FolderReader::open(&folder).unwrap();
        for config in configs(&reader) {
            let lines: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
            let slow = Plan::build(reader.workload(), lines, &config, |_| true).unwrap();
            let loaded = reader.plan(&config).unwrap();
            // Not assert_eq!: nobody could read the difference.
            let same = slow == loaded.plan;
            assert!(same, "{} with {config:?}", capture.display());
            let bytes = fs::read(folder.join("ops.jsonl")).unwrap();
            assert_eq!(loaded.digest, Digest::of(&bytes));
            operations += slow.len();
        }
    }
    println!("{} captures, {operations} operations", captures.len());
}

/// What reading line by line says of the folder, and what loading it says.
fn complaints(folder: &Path) -> (String, String) {
    let reader = FolderReader::open(folder).unwrap();
    let slow = reader.operations().unwrap().find_map(Result::err).unwrap();
    let fast = reader.plan(&RunConfig::default()).unwrap_err();
    assert!(matches!(fast, LoadError::Folder(_)), "{fast}");
    (slow.to_string(), fast.to_string())
}

#[test]
fn what_is_wrong_with_a_folder_is_told_alike() {
    let Some(capture) = captures().into_iter().next() else {
        println!("0 captures: nothing was tried");
        return;
    };
    let scratch = Scratch::new("wrong");
    let folder = compiled(&capture, &scratch);
    let path = folder.join("ops.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let last = lines.len() - 1;
    for at in [0, 1, last / 2, last] {
        let line = lines[at];
        for wrong in [
            line.replacen("\"at_us\":", "\"at_us\":-", 1),
            line.replacen("\"conn\":", "\"con\":", 1),
            line.replacen("\"id\":", "\"id\":1", 1),
            line[..line.len() / 2].to_owned(),
            line[..line.len() - 1].to_owned(),
            format!("{line}{{"),
            String::new(),
        ] {
            let mut edited = lines.clone();
            edited[at] = &wrong;
            fs::write(&path, edited.join("\n")).unwrap();
            let (slow, fast) = complaints(&folder);
            assert_eq!(slow, fast);
        }
    }
    fs::write(&path, lines[..last].join("\n")).unwrap();
    let (slow, fast) = complaints(&folder);
    assert_eq!(slow, fast);
    // White space and the order of keys are the editor's business.
    let spaced = whole.replace("\"client\":", "\"client\" : ");
    fs::write(&path, spaced).unwrap();
    let reader = FolderReader::open(&folder).unwrap();
    assert_eq!(
        reader.plan(&RunConfig::default()).unwrap().plan.len(),
        lines.len()
    );
}

#[test]
fn outlines_are_operations_without_what_they_ask_for() {
    let scratch = Scratch::new("outlines");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let mut all = captures();
    all.push(kept.join("leases3_plain.pcap"));
    for capture in all {
        let reader = FolderReader::open(&compiled(&capture, &scratch)).unwrap();
        let whole = reader.operations().unwrap().map(Result::unwrap);
        let outlines = reader.outlines().unwrap().map(Result::unwrap);
        let told = |op: Operation| {
            let expect = op.expect.map(|it| {
                let size = (it.size, it.count, it.attributes);
                (it.status, it.latency_us, it.lease, it.data, size)
            });
            (
                op.id,
                op.cmd,
                op.conn,
                op.session,
                op.open,
                op.compound,
                expect,
            )
        };
        let mut count = 0;
        for (whole, outline) in whole.map(told).zip(outlines.map(told)) {
            assert_eq!(whole, outline);
            count += 1;
        }
        assert_eq!(count, reader.workload().operations);
    }
}
