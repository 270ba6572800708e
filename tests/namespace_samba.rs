//! The namespace proof on a private Samba: what a capture's namespace says is what is on disk after
//! preparing, and replaying onto that gives the recorded statuses.
//!
//! Built with `--features samba-tests` only. It takes minutes, and is run by hand:
//! `cargo test --features samba-tests --test namespace_samba`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use serde_json::Value;
use smbench_compiler::{
    folder::{BlobReader, FolderReader},
    prepare::{LONGEST_FILLED_BYTES, synthetic},
};
use smbench_core::workload::{Entry, EntryKind};
use support::samba::{Options, PrivateSamba};

/// What is not as recorded, and why: capture, operations that may diverge or cascade, reason.
const ALLOWED: [(&str, u64, &str); 2] = [
    (
        "smbtorture_smb2.lease.pcap",
        2,
        "now and then, as far as is known. Frame 2838 is a break that the server sends once more, over the other channel, although it was \
     acknowledged: its first channel was closed before the kernel had told it that TCP had delivered the break. \
     Its acknowledgement goes with it",
    ),
    (
        "smbtorture_smb2.session.pcap",
        5,
        "always 5. On two bound channels the client re-authenticates twice: signed with \
     Session.SigningKey where Channel.SigningKey is due, and unsigned, and is refused with \
     ACCESS_DENIED ([MS-SMB2] 3.3.5.2.4); a replay signs as it should. The last login sends a \
     malformed NTLM token (smbtorture's ntlmssp_bug14932), but tokens are never kept",
    ),
];

/// Captures of servers that acted as with another setting: capture, setting, who may prepare then,
/// and where it shows.
const SETTINGS: [(&str, &str, &str, &str); 1] = [(
    "smbtorture_smb2.session.pcap",
    "acl_xattr:default acl style = windows",
    "alice",
    "frame 169: a new file is for its owner and SYSTEM alone; so in frame 269 nobody may list a \
     folder of the administrator's. Nor may the usual user write to the top of the share then",
)];

/// Captures that cannot be replayed, and why.
const LEFT_OUT: [(&str, &str); 1] = [(
    "leases3_any_snap256.pcap",
    "its logins are cut by the snap length, so there is no user to prepare as",
)];

#[test]
fn what_is_prepared_is_what_was_inferred_and_replays_as_recorded() {
    let options = Options {
        guest: false,
        ..Options::default()
    };
    let server =
        PrivateSamba::start(&options).unwrap_or_else(|why| panic!("Samba did not start: {why}"));
    let usual = Bench::new(server);
    let (mut ran, mut files, mut bad) = (0, 0, Vec::new());
    for capture in captures() {
        let name = capture.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some((_, why)) = LEFT_OUT.iter().find(|(left, _)| *left == name) {
            println!("{name}: left out: {why}");
            continue;
        }
        let special = Bench::with_settings_of(&name);
        let bench = special.as_ref().unwrap_or(&usual);
        let work = bench.compile(&capture, true);
        let root = format!("proof{ran}");
        bench.prepare(&work, &root);
        let entries = check(bench, &work, &root);
        let (diverged, kinds) = bench.replay(&work, &root);
        let allowed = ALLOWED.iter().find(|(allowed, ..)| *allowed == name);
        let most = allowed.map_or(0, |(_, most, _)| *most);
        println!("{name}: {entries} entries, {diverged} diverged of at most {most}: {kinds}");
        if diverged > most {
            bad.push(format!(
                "{name}: {diverged} diverged of at most {most}: {kinds}"
            ));
        }
        (ran, files) = (ran + 1, files + entries);
    }
    println!("{ran} captures, {files} entries");
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(ran > 5 && files > 5, "{ran} captures, {files} entries");
}

/// Captures of other people's servers cannot be replayed as well, but what they found can be built.
#[test]
fn namespaces_of_other_servers_can_be_built() {
    let options = Options {
        guest: false,
        ..Options::default()
    };
    let server =
        PrivateSamba::start(&options).unwrap_or_else(|why| panic!("Samba did not start: {why}"));
    let bench = Bench::new(server);
    let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/public");
    let mut files: Vec<PathBuf> = (fs::read_dir(public).into_iter().flatten().flatten())
        .map(|file| file.path())
        .filter(|path| path.is_file() && path.to_string_lossy().contains(".pcap"))
        .filter(|path| path.extension() != Some(OsStr::new("json")))
        .collect();
    files.sort();
    let (mut ran, mut built) = (0, 0);
    for capture in files {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let work = bench.compile(&capture, false);
        let reader = FolderReader::open(&work).unwrap();
        if reader.namespace().unwrap().count() == 0 {
            continue;
        }
        let root = format!("built{ran}");
        bench.prepare(&work, &root);
        let entries = check(&bench, &work, &root);
        println!("{name}: {entries} entries");
        (ran, built) = (ran + 1, built + entries);
    }
    println!("{ran} captures, {built} entries");
    assert!(ran == 0 || built > 100, "{ran} captures, {built} entries");
}

/// Captures that ship with the project, and the shared ones where they are.
fn captures() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for folder in [
        here.join("tests/captures"),
        here.join("../shared/captures/own/office"),
        here.join("../shared/captures/own/scenario"),
        here.join("../shared/captures/own/smbclient"),
        here.join("../shared/captures/own/torture"),
    ] {
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension() == Some(OsStr::new("pcap")) {
                found.insert(file.file_name(), path);
            }
        }
    }
    found.into_values().collect()
}

struct Bench {
    server: PrivateSamba,
    /// Who prepares.
    user: String,
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Bench {
    fn new(server: PrivateSamba) -> Self {
        let name = format!("smbench-namespace-{}-{}", std::process::id(), server.port());
        let folder = std::env::temp_dir().join(name);
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        let password = server.password().unwrap();
        fs::write(folder.join("passwords"), format!("*={}\n", password.trim())).unwrap();
        let user = server.user().to_owned();
        Self {
            server,
            user,
            folder,
        }
    }

    /// A server like the one that a capture is of, where that is not like the others.
    fn with_settings_of(capture: &str) -> Option<Self> {
        let (_, setting, user, _) = SETTINGS.iter().find(|(name, ..)| *name == capture)?;
        let options = Options {
            guest: false,
            extra: vec![(*setting).to_owned()],
            ..Options::default()
        };
        let server = PrivateSamba::start(&options);
        let mut bench =
            Self::new(server.unwrap_or_else(|why| panic!("Samba did not start: {why}")));
        bench.user = (*user).to_owned();
        Some(bench)
    }

    /// Compiles a capture. `ours`: its users log in with the password of this server; that a password
    /// file has no line for a capture of strangers is an error.
    fn compile(&self, capture: &Path, ours: bool) -> PathBuf {
        let work = self.folder.join("work");
        fs::remove_dir_all(&work).ok();
        let mut command = self.command("compile");
        command.arg(capture).arg("-o").arg(&work).arg("--json");
        if ours {
            command
                .arg("--password-file")
                .arg(self.folder.join("passwords"));
        }
        let keys = capture.with_extension("keys.json");
        if keys.exists() {
            command.arg("--keys").arg(keys);
        }
        let (code, found) = run(&mut command);
        assert!(code == 0 || found["operations"] == 0, "{found}");
        work
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smbench"));
        command.current_dir(&self.folder).arg(verb);
        command
    }

    fn on_server(&self, verb: &str, work: &Path, root: &str) -> Command {
        let server = format!("{}:{}", self.server.host(), self.server.port());
        let mut command = self.command(verb);
        command
            .arg(work)
            .args(["--server", &server, "--share", "data"]);
        command.args(["--root", root, "--json"]);
        command
            .arg("--password-file")
            .arg(self.folder.join("passwords"));
        command
    }

    fn prepare(&self, work: &Path, root: &str) {
        let mut command = self.on_server("prepare", work, root);
        let (code, found) = run(command.args(["--user", self.user.as_str()]));
        assert_eq!(code, 0, "{found}");
    }

    fn replay(&self, work: &Path, root: &str) -> (u64, String) {
        let mut command = self.on_server("replay", work, root);
        // On a machine that does much else an answer or a break takes its time.
        let patience = ["--timeout", "20", "--break-wait", "20000"];
        command.args(["--speed", "max"]).args(patience);
        // The server is this test's own: nobody is locked out.
        let (_, found) = run(command.args(["--wrong-passwords", "all"]));
        let kinds = found["diverged"].as_object().unwrap();
        let diverged: u64 = kinds.values().map(|count| count.as_u64().unwrap()).sum();
        let cascaded = found["cascaded"].as_u64().unwrap();
        let kinds = Value::from(kinds.clone());
        (diverged + cascaded, format!("{kinds}, {cascaded} cascaded"))
    }
}

/// Runs the binary; exit code and the JSON it prints.
fn run(command: &mut Command) -> (i32, Value) {
    let run = command.output().unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    let value = serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {errors}"));
    (run.status.code().unwrap(), value)
}

/// Compares the disk with the namespace, both ways; how many entries there were.
fn check(bench: &Bench, work: &Path, root: &str) -> u64 {
    let reader = FolderReader::open(work).unwrap();
    let blobs = reader.blobs().unwrap();
    let entries: Vec<Entry> = reader.namespace().unwrap().map(Result::unwrap).collect();
    let disks = reader
        .workload()
        .trees
        .iter()
        .filter(|it| it.share_type != 2);
    let disks = disks.filter(|it| !it.path.ends_with("IPC$"));
    let shares: BTreeSet<String> = disks.map(|it| it.share().to_lowercase()).collect();
    let top = bench.server.share_folder("data").join(root).join("r");
    let mut wanted = BTreeMap::new();
    for entry in &entries {
        // Streams are in extended attributes; `smbench replay` reads them.
        if entry.kind == EntryKind::Stream || entry.path.is_empty() {
            continue;
        }
        let path = entry.path.replace('\\', "/");
        wanted.insert(path, entry);
    }
    let mut there = BTreeMap::new();
    walk(&top, &top, &mut there);
    if shares.len() > 1 {
        // Each share has a folder of its own.
        there = there
            .into_iter()
            .filter_map(|(path, at)| Some((path.split_once('/')?.1.to_owned(), at)))
            .collect();
    }
    let want: Vec<&String> = wanted.keys().collect();
    let got: Vec<&String> = there.keys().collect();
    assert_eq!(got, want, "paths below {}", top.display());
    for (path, entry) in wanted {
        let meta = fs::metadata(&there[&path]).unwrap();
        assert_eq!(meta.is_dir(), entry.kind == EntryKind::Directory, "{path}");
        if meta.is_file() {
            assert_eq!(meta.len(), entry.size, "{path}");
            same_content(&there[&path], entry, &blobs);
        }
        if let Some(times) = entry.times.filter(|times| times.written > 0) {
            let written = meta.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
            let filetime = written.as_nanos() / 100 + FILETIME_OF_UNIX_EPOCH;
            assert_eq!(filetime, u128::from(times.written), "{path}");
        }
    }
    entries.len() as u64
}

fn walk(top: &Path, folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            walk(top, &path, found);
        }
        found.insert(name, path);
    }
}

/// What READs showed, and around it synthetic bytes, or zeros where that is too much.
fn same_content(path: &Path, entry: &Entry, blobs: &BlobReader) {
    let bytes = fs::read(path).unwrap();
    let name = format!("{}\\{}", entry.share, entry.path);
    let gap = |from: u64, to: u64| {
        let there = &bytes[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
        if to - from > u64::from(LONGEST_FILLED_BYTES) {
            assert!(
                there.iter().all(|byte| *byte == 0),
                "{name}: {from} to {to}"
            );
        } else {
            let want = synthetic(&name, from, u32::try_from(to - from).unwrap());
            assert!(there == want, "{name}: {from} to {to}");
        }
    };
    let mut at = 0;
    for extent in &entry.content {
        gap(at, extent.offset);
        let known = blobs.get(&extent.data.blake3).unwrap();
        at = extent.offset + known.len() as u64;
        let from = usize::try_from(extent.offset).unwrap();
        assert!(
            bytes[from..from + known.len()] == known,
            "{name}: at {from}"
        );
    }
    gap(at, entry.size);
}

/// 100 ns from 1601 to 1970.
const FILETIME_OF_UNIX_EPOCH: u128 = 116_444_736_000_000_000;
