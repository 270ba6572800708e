//! Nothing of an original survives `anonymize`, and the result replays as the original does.
//!
//! What must not survive is gathered here, from the JSON and the blobs of the original, without
//! help of the code under test. What may is read from the lists of docs/ANONYMIZE.md. The captures
//! are those that ship, and the smaller ones of the shared set where it is there; all of them with
//! `SMBENCH_ALL_CAPTURES=1`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use smbench_compiler::anonymize::{Seed, anonymize};
use smbench_compiler::folder::{BlobReader, FolderReader};
use smbench_compiler::prepare::synthetic;
use smbench_compiler::{CompileOptions, SessionKeys, compile};
use smbench_core::engine::{Plan, RunConfig, Speed};
use smbench_core::event::{EffectsDigest, Recorder, Report};
use smbench_core::frame::Digest;
use smbench_core::ids::LogicalTime;
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::{Entry, EntryKind, Operation, Workload};
use smbench_sim::server::{Server, ServerConfig, ShareConfig};
use smbench_sim::{Cast, DriverKind, ModelService, Run, Scenario, simulate};
use support::cli::{Scratch, capture};

#[test]
fn no_original_survives() {
    let scratch = Scratch::new();
    let (mut files, mut words, mut windows) = (0, 0, 0);
    for path in captures() {
        let Some((original, clean)) = both(&scratch, &path) else {
            continue;
        };
        let secrets = Secrets::of(&original);
        let survivors = secrets.survivors(&clean);
        assert!(survivors.is_empty(), "{}: {survivors:#?}", path.display());
        // The search finds what is there.
        let found = secrets.survivors(&original);
        let blind = found.is_empty() && secrets.words.len() + secrets.windows.len() > 0;
        assert!(!blind, "{}", path.display());
        files += 1;
        words += secrets.words.len();
        windows += secrets.windows.len();
    }
    println!("{files} captures, {words} words and {windows} windows of data, none survives");
    assert!(files >= 8 && words > 100 && windows > 1_000);
}

#[test]
fn it_replays_with_the_same_divergences() {
    let scratch = Scratch::new();
    let (mut files, mut operations) = (0, 0);
    for path in captures() {
        let Some((original, clean)) = both(&scratch, &path) else {
            continue;
        };
        let (mut before, mut after) = (Outcome::of(&original), Outcome::of(&clean));
        if path.ends_with(ORDER_OF_NAMES) {
            let listings = listings(&original);
            before.leave_out(&listings);
            after.leave_out(&listings);
        }
        assert_eq!(before, after, "{}", path.display());
        files += 1;
        operations += before.statuses.len();
    }
    println!("{files} captures, {operations} answers, each as before");
    assert!(files >= 8 && operations > 1_500);
}

#[test]
fn the_same_seed_gives_the_same_folder_and_no_seed_another() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    for (out, seed) in [
        ("a", Some("7")),
        ("b", Some("7")),
        ("c", Some("8")),
        ("d", None),
        ("e", None),
    ] {
        let mut args = vec!["anonymize", "work", "-o", out];
        args.extend(seed.map(|seed| ["--seed", seed]).into_iter().flatten());
        scratch.run(args).expect(0);
    }
    let bytes = |folder: &str| FILES.map(|file| fs::read(scratch.path(folder).join(file)).unwrap());
    assert_eq!(bytes("a"), bytes("b"));
    let different: BTreeSet<_> = ["a", "c", "d", "e"].map(bytes).into_iter().collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn the_mapping_is_secret_and_whole() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "work");
    let told = scratch
        .run([
            "anonymize",
            "work",
            "-o",
            "clean",
            "--map",
            "map.json",
            "--json",
        ])
        .expect(0)
        .json();
    assert!(
        told["replaced"]["names"]["places"].as_u64() > Some(100),
        "{told}"
    );
    assert_eq!(told["replaced"]["sids"]["places"], 0);
    let path = scratch.path("map.json");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let map: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let workload: Workload =
        serde_json::from_slice(&fs::read(scratch.path("clean/workload.json")).unwrap()).unwrap();
    let users: Vec<&str> = map["users"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        workload
            .principals
            .iter()
            .all(|it| users.contains(&it.name.as_str()))
    );
    assert_eq!(map["shares"]["data"], workload.trees[0].share());
    assert!(map["addresses"]["10.44.51.10"].is_string());
    let team = map["words"]["team"].as_str().unwrap();
    assert!(
        fs::read_to_string(scratch.path("clean/ops.jsonl"))
            .unwrap()
            .contains(team)
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    scratch.compile("smbclient_files.pcap", "work");
    let refused = |args: &[&str], code, says: &str| {
        scratch
            .run(["anonymize"].iter().chain(args))
            .expect(code)
            .says(&[says]);
    };
    refused(&["work", "-o", "work"], 2, "is the original");
    refused(&["work", "-o", "work", "--force"], 2, "is the original");
    refused(&["nowhere", "-o", "x"], 3, "is no workload folder");
    refused(
        &["work", "-o", "x", "--map", "x/map.json"],
        2,
        "lies in a workload",
    );
    refused(
        &["work", "-o", "x", "--map", "work/map.json"],
        2,
        "lies in a workload",
    );
    scratch.file("there.json", "mine");
    refused(
        &["work", "-o", "x", "--map", "there.json"],
        3,
        "cannot make",
    );
    assert!(!scratch.path("x").exists());
    scratch.run(["anonymize", "work", "-o", "x"]).expect(0);
    refused(&["work", "-o", "x"], 2, "exists");
    scratch
        .run(["anonymize", "work", "-o", "x", "--force"])
        .expect(0);
}

/// What must not be found in the result.
struct Secrets {
    /// In lower case.
    words: BTreeSet<String>,
    /// GUIDs, lease keys, salts.
    ids: BTreeSet<Vec<u8>>,
    /// Of WRITE and READ data and of initial content, every 16 bytes.
    windows: HashSet<[u8; 16]>,
    digests: BTreeSet<String>,
}

impl Secrets {
    fn of(folder: &Path) -> Self {
        let mut gathered = Gathered::default();
        for file in &FILES[..3] {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                gathered.walk(file, "", &value.unwrap());
            }
        }
        let policy = policy();
        let mut words = BTreeSet::new();
        for text in &gathered.texts {
            for part in text.split(['\\', '/', ':', '\0', '@', '*', '?', '<', '>', '"']) {
                let core = part.trim_matches(['.', '~', '$', ' ']);
                let (stem, extension) = core.rsplit_once('.').unwrap_or((core, ""));
                words.extend([part, core, stem, extension].map(str::to_lowercase));
            }
        }
        words.retain(|word| {
            let hex = word.chars().all(|it| it.is_ascii_hexdigit());
            let bare = word.trim_end_matches(|it: char| it == '~' || it.is_ascii_digit());
            let core = word.trim_matches(['.', '~', '$', ' ']);
            let core = match core.rsplit_once('.') {
                Some((stem, extension)) if policy.contains(extension) => stem,
                _ => core,
            };
            core.chars().count() >= 4
                && !policy.contains(bare)
                && !policy.iter().any(|it| it.contains(word.as_str()))
                // Not to be told from digests and numbers, or from words of the format.
                && (!hex || word.len() >= 12)
                && !gathered.vocabulary.iter().any(|it| it.contains(word.as_str()))
        });
        let blobs = FolderReader::open(folder).unwrap().blobs().unwrap();
        let pipes = pipe_data(folder);
        let mut windows = HashSet::new();
        let mut digests = BTreeSet::new();
        for data in blobs.iter() {
            let bytes = blobs.get(&data.blake3).unwrap();
            if pipes.contains(&data.blake3) {
                continue;
            }
            if bytes.iter().any(|byte| *byte != 0) && bytes.len() > 2 {
                digests.insert(data.blake3.to_string());
            }
            let telling = |it: &&[u8]| it.iter().collect::<BTreeSet<_>>().len() >= 6;
            let stride = (bytes.len() / 65_536).max(1) * 16;
            windows.extend(
                (0..bytes.len().saturating_sub(15))
                    .step_by(stride)
                    .map(|at| &bytes[at..at + 16])
                    .filter(telling)
                    .map(|it| <[u8; 16]>::try_from(it).unwrap()),
            );
        }
        Self {
            words,
            ids: gathered.ids,
            windows,
            digests,
        }
    }

    fn survivors(&self, folder: &Path) -> Vec<String> {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let mut found = Vec::new();
        let mut in_text = Needles::default();
        let mut in_bytes = Needles::default();
        for word in &self.words {
            in_text.add(word.as_bytes(), word);
            in_bytes.add(&utf16(word), word);
            // Fewer letters turn up by chance in this many random bytes.
            if word.len() >= 7 {
                in_bytes.add(word.as_bytes(), word);
            }
            for spelt in [word.clone(), word.to_uppercase()] {
                in_text.add(hex(&utf16(&spelt)).as_bytes(), word);
                if word.len() >= 7 {
                    in_text.add(hex(spelt.as_bytes()).as_bytes(), word);
                }
            }
        }
        for id in &self.ids {
            in_text.add(hex(id).as_bytes(), &hex(id));
            in_bytes.add(&id.to_ascii_lowercase(), &hex(id));
        }
        for digest in &self.digests {
            in_text.add(digest.as_bytes(), digest);
        }
        // Most places are told apart by three bytes.
        let head =
            |it: &[u8]| usize::from(it[0]) | usize::from(it[1]) << 8 | usize::from(it[2]) << 16;
        let mut heads = vec![false; 1 << 24];
        for window in &self.windows {
            heads[head(window)] = true;
        }
        for file in FILES {
            let bytes = fs::read(folder.join(file)).unwrap();
            let lower = bytes.to_ascii_lowercase();
            let text = file != FILES[3];
            // Buffers stand in JSON as hex digits.
            let inside = if text {
                hex_strings(&bytes)
            } else {
                Vec::new()
            };
            let tell = |word: &str| format!("{file}: {word}");
            if text {
                found.extend(in_text.search(&lower).map(tell));
                for buffer in &inside {
                    found.extend(in_bytes.search(&buffer.to_ascii_lowercase()).map(tell));
                }
            } else {
                found.extend(in_bytes.search(&lower).map(tell));
            }
            for buffer in std::iter::once(&bytes).chain(&inside) {
                let seen = buffer
                    .windows(16)
                    .filter(|it| heads[head(it)] && self.windows.contains(*it));
                found.extend(seen.map(|it| tell(&hex(it))));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

/// Texts and ids of the JSON files, and the words of the format itself.
#[derive(Default)]
struct Gathered {
    texts: BTreeSet<String>,
    ids: BTreeSet<Vec<u8>>,
    vocabulary: BTreeSet<String>,
}

impl Gathered {
    fn walk(&mut self, file: &str, key: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.vocabulary.insert(key.to_lowercase());
                    self.walk(file, key, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(file, key, item)),
            Value::String(text) => self.text(file, key, text),
            _ => {}
        }
    }

    fn text(&mut self, file: &str, key: &str, text: &str) {
        let bytes = from_hex(text);
        match (key, bytes) {
            ("path" | "name" | "pattern" | "netname" | "address" | "history", _) => {
                self.texts.insert(text.to_owned());
            }
            ("share", _) if file == FILES[2] => {
                self.texts.insert(text.to_owned());
            }
            ("from" | "to", _) if file == FILES[0] => {
                let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
                self.texts.insert(host.to_owned());
            }
            ("file_id", _) if text.len() > 12 && !text.starts_with("ffffffffffffffff:") => {
                self.texts.insert(text.replace(':', "\\"));
                self.texts.insert(text.to_owned());
            }
            ("reason" | "tool", _) => {}
            (_, Some(bytes)) => {
                let id = [
                    "key",
                    "client_guid",
                    "create_guid",
                    "parent_key",
                    "app_instance_id",
                    "salt",
                ];
                if id.contains(&key) && bytes.iter().any(|byte| *byte != 0) {
                    self.ids.insert(bytes);
                } else if key != "blake3" && key != "smb1_negotiate" {
                    self.texts.extend(texts_in(&bytes));
                }
            }
            (_, None) => {
                self.vocabulary.insert(text.to_lowercase());
            }
        }
    }
}

/// Runs of letters in UTF-16LE.
fn texts_in(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for start in [0, 1] {
        let units = bytes.get(start..).unwrap_or_default().chunks_exact(2);
        let text: String = units
            .map(|it| u16::from_le_bytes([it[0], it[1]]))
            .map(|unit| match char::from_u32(unit.into()) {
                Some(letter)
                    if letter.is_ascii_graphic() || letter.is_alphabetic() && unit < 0x530 =>
                {
                    letter
                }
                _ => '\0',
            })
            .collect();
        found.extend(
            text.split('\0')
                // Numbers side by side are letters of some alphabet too.
                .filter(|it| it.chars().filter(char::is_ascii_alphabetic).count() >= 3)
                .map(str::to_owned),
        );
    }
    found
}

/// Many byte strings, looked for at once.
#[derive(Default)]
struct Needles {
    list: BTreeMap<[u8; 4], Vec<(Vec<u8>, String)>>,
}

impl Needles {
    fn add(&mut self, bytes: &[u8], what: &str) {
        if let Some(head) = bytes.first_chunk() {
            let list = self.list.entry(*head).or_default();
            list.push((bytes.to_vec(), what.to_owned()));
        }
    }

    fn search<'a>(&'a self, hay: &[u8]) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut heads = vec![false; 1 << 16];
        for head in self.list.keys() {
            heads[usize::from(u16::from_le_bytes([head[0], head[1]]))] = true;
        }
        let mut found = BTreeSet::new();
        for (at, pair) in hay.windows(2).enumerate() {
            if !heads[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] {
                continue;
            }
            let rest = &hay[at..];
            let list = rest.first_chunk().and_then(|head| self.list.get(head));
            for (bytes, what) in list.into_iter().flatten() {
                if rest.starts_with(bytes) {
                    found.insert(what.as_str());
                }
            }
        }
        found.into_iter()
    }
}

/// Data of WRITEs and READs on pipes: RPC keeps its structure, and its texts are words anyway.
fn pipe_data(folder: &Path) -> HashSet<Digest> {
    let reader = FolderReader::open(folder).unwrap();
    let mut found = HashSet::new();
    for op in reader.operations().unwrap() {
        let op = op.unwrap();
        let tree = op
            .tree
            .and_then(|tree| reader.workload().trees.get(tree.index()));
        if tree.is_some_and(|it| it.share_type == 2 || it.share().eq_ignore_ascii_case("IPC$")) {
            let read = op.expect.and_then(|it| it.data);
            found.extend(op.data.into_iter().chain(read).map(|it| it.blake3));
        }
    }
    found
}

/// Words that docs/ANONYMIZE.md says stay: those in backticks of its part on names.
fn policy() -> HashSet<&'static str> {
    let text = include_str!("../docs/ANONYMIZE.md");
    let part = text
        .split("\n## ")
        .find(|part| part.starts_with("Names"))
        .unwrap();
    part.split('`').skip(1).step_by(2).collect()
}

/// Size of the files that the model server would have to be filled with.
/// How a workload runs against the model server.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    statuses: Vec<(u32, NtStatus)>,
    divergences: Vec<(u32, String)>,
    others: Vec<String>,
}

impl Outcome {
    fn of(folder: &Path) -> Self {
        let reader = FolderReader::open(folder).unwrap();
        let operations: Vec<Operation> = reader.operations().unwrap().map(Result::unwrap).collect();
        let blobs = Arc::new(reader.blobs().unwrap());
        let config = RunConfig {
            speed: Speed::Max,
            ..RunConfig::default()
        };
        let plan = Plan::build(reader.workload(), operations, &config, |_| true).unwrap();
        let outcome = Rc::new(RefCell::new(Self::default()));
        let taker = Rc::clone(&outcome);
        let done = simulate(
            Run {
                plan,
                config,
                cast: Cast::of(reader.workload()),
                scenario: &Scenario::default(),
                server: ModelService::new(model(&reader, &blobs)),
                recorder: Nothing,
                blobs: Pack(Arc::clone(&blobs)),
                tap: None,
            },
            DriverKind::EventLoop,
            move |_: LogicalTime, report: &Report| taker.borrow_mut().report(report),
        );
        done.result.unwrap();
        outcome.take()
    }

    fn leave_out(&mut self, operations: &HashSet<u32>) {
        self.statuses.retain(|(op, _)| !operations.contains(op));
        self.divergences.retain(|(op, _)| !operations.contains(op));
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Finished { op, outcome, .. } => self.statuses.push((op.0, outcome.status)),
            Report::Diverged { op, divergence } => {
                self.divergences.push((op.0, divergence.name().to_owned()));
            }
            Report::Started { .. } | Report::Done => {}
            other => self.others.push(format!("{other:?}")),
        }
    }
}

/// The directory queries of a workload.
fn listings(folder: &Path) -> HashSet<u32> {
    let operations = FolderReader::open(folder).unwrap().operations().unwrap();
    let operations = operations.map(Result::unwrap);
    let listings = operations.filter(|op| op.cmd == Command::QUERY_DIRECTORY);
    listings.map(|op| op.id.0).collect()
}

/// The model server as `sim` sets it up.
fn model(reader: &FolderReader, blobs: &BlobReader) -> Server {
    let mut shares = BTreeMap::new();
    for tree in reader
        .workload()
        .trees
        .iter()
        .filter(|it| it.share_type != 0)
    {
        let name = tree.share();
        let pipe = tree.share_type == 2 || name.eq_ignore_ascii_case("IPC$");
        let share = if pipe {
            ShareConfig::pipe(name)
        } else {
            ShareConfig::disk(name)
        };
        // In the order of appearance: the model numbers its shares.
        shares.insert(name.to_lowercase(), share);
    }
    let mut server = Server::new(ServerConfig {
        shares: shares.into_values().collect(),
        guest_ok: true,
        trusting: true,
        ..ServerConfig::default()
    });
    for entry in reader.namespace().unwrap() {
        let entry: Entry = entry.unwrap();
        match entry.kind {
            EntryKind::Directory => server.mkdir(&entry.share, &entry.path).unwrap(),
            EntryKind::File | EntryKind::Stream => {
                let name = format!("{}\\{}", entry.share, entry.path);
                let mut data = synthetic(&name, 0, u32::try_from(entry.size).unwrap());
                for extent in &entry.content {
                    let at = usize::try_from(extent.offset).unwrap();
                    let known = blobs.get(&extent.data.blake3).unwrap();
                    if let Some(room) = data.get_mut(at..at + known.len()) {
                        room.copy_from_slice(&known);
                    }
                }
                server.put_file(&entry.share, &entry.path, &data).unwrap();
            }
        }
    }
    server
}

struct Pack(Arc<BlobReader>);

impl smbench_live::Blobs for Pack {
    fn get(&mut self, digest: &Digest, _len: u32) -> Option<Arc<[u8]>> {
        self.0.get(digest).ok().map(Into::into)
    }
}

struct Nothing;

impl Recorder for Nothing {
    type Error = Infallible;

    fn record(&mut self, _: &smbench_core::event::Entry) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A capture's workload and the one made anonymous; none where it holds no request.
fn both(scratch: &Scratch, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let (original, clean) = (scratch.path("original"), scratch.path("clean"));
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut options = CompileOptions::default();
    let keys = [
        format!("{name}.keys.json"),
        name.replace(".pcap", ".keys.json"),
    ];
    if let Some(keys) = keys
        .iter()
        .find_map(|it| fs::read(path.with_file_name(it)).ok())
    {
        options.keys = SessionKeys::read_list(&keys).unwrap();
    }
    let input: Box<dyn std::io::Read + Send> = Box::new(fs::File::open(path).unwrap());
    let compiled = compile(vec![(name, input)], options, &original).ok()?;
    if compiled.workload.operations == 0 {
        fs::remove_dir_all(&original).unwrap();
        return None;
    }
    anonymize(&original, &clean, &Seed::from_number(1)).unwrap();
    Some((original, clean))
}

/// The captures that ship, and those of the shared set.
fn captures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(capture("").as_path(), &mut found);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let mut shared = Vec::new();
    for folder in ["own", "public"] {
        gather(&root.join(folder), &mut shared);
    }
    if std::env::var_os("SMBENCH_ALL_CAPTURES").is_none() {
        shared.retain(|path| fs::metadata(path).unwrap().len() <= 32 << 10);
    }
    found.extend(shared);
    found.sort();
    found
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            gather(&path, found);
        } else if [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
}

/// The bytes of the strings of hex digits in JSON.
fn hex_strings(text: &[u8]) -> Vec<Vec<u8>> {
    let strings = text.split(|byte| *byte == b'"');
    let texts = strings.filter_map(|it| std::str::from_utf8(it).ok());
    texts
        .filter(|it| it.len() != 64)
        .filter_map(from_hex)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of at least eight hex digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let whole = text.len() >= 8 && text.len().is_multiple_of(2) && text.is_ascii();
    let pairs = (0..text.len()).step_by(2);
    whole.then(|| {
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    })?
}

const FILES: [&str; 4] = [
    "workload.json",
    "ops.jsonl",
    "namespace.jsonl",
    "blobs.pack",
];
/// Its listings are read in parts while names are deleted, so the order of names matters.
const ORDER_OF_NAMES: &str = "smbtorture_smb2.dir.pcap";
