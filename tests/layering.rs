//! The rules of the workspace that a machine can check: which crate may know which, what `core` may
//! use, which file may name a library that must stay replaceable, and how long a file may be.
//!
//! Each check is a function over plain data, tested on data that breaks it, and then run on the
//! workspace itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every edge allowed between two crates of the workspace. DESIGN: dependencies point down.
const EDGES: &[(&str, &str)] = &[
    ("smbench", "smbench-core"),
    ("smbench", "smbench-compiler"),
    ("smbench", "smbench-journal"),
    ("smbench", "smbench-live"),
    ("smbench", "smbench-sim"),
    ("smbench-compiler", "smbench-core"),
    ("smbench-journal", "smbench-core"),
    ("smbench-live", "smbench-core"),
    ("smbench-sim", "smbench-core"),
    // The one side edge: the simulator runs live's driver, not a likeness of it.
    ("smbench-sim", "smbench-live"),
];

/// What `core` may use and why. A new line is a decision: no I/O, no clock, no runtime, no entropy.
const CORE_MAY_USE: &[(&str, &str)] = &[
    ("serde", "workloads and events are data"),
    (
        "serde_json",
        "create contexts and unknown fields of a workload keep their JSON",
    ),
    ("thiserror", "typed errors"),
    ("zerocopy", "wire structures read in place"),
    ("bitflags", "flags that keep unknown bits"),
    ("petgraph", "the order graph while it is built"),
    ("blake3", "content addresses"),
    ("xxhash-rust", "the running digest of the effects"),
    ("aes", "SMB 3 sealing"),
    ("aes-gcm", "SMB 3.1.1 encryption and signing"),
    ("ccm", "SMB 3.0 encryption"),
    ("ctr", "part of CCM"),
    ("cmac", "SMB 3.0 signing"),
    ("ghash", "AES-GMAC signing"),
    ("lz4_flex", "compressed frames"),
    ("hmac", "SMB 2 signing, key derivation"),
    ("kbkdf", "SMB 3 key derivation"),
    ("sha2", "SMB 2 signing, pre-authentication hash"),
    (
        "md-5",
        "NTLM session keys, to open captures with a password",
    ),
    (
        "md4",
        "NTLM password hash, to open captures with a password",
    ),
    (
        "rc4",
        "NTLM exported session key, to open captures with a password",
    ),
    ("digest", "traits of the hashes"),
    ("cipher", "traits of the ciphers"),
    ("aead", "traits of the ciphers"),
    ("universal-hash", "traits of GHASH"),
    ("generic-array", "key types of the ciphers"),
    ("subtle", "signatures compared in constant time"),
    ("zeroize", "keys wiped after use"),
];

/// Libraries that one file alone may name, so that they can be replaced.
const ONE_FILE_NAMES: &[(&str, &str)] = &[
    ("sled", "the journal's store"),
    ("bincode", "its codec"),
    ("sspi", "authentication"),
    ("prometheus_client", "the text of metrics"),
    ("hyper", "who answers for them"),
];

/// Most lines of a source file, its tests not counted.
const MAX_LINES: usize = 600;

/// Files above [`MAX_LINES`] for now, each with the lines it may have at most.
const LONG_FILES: &[(&str, usize)] = &[];

/// An edge of the workspace that [`EDGES`] does not have.
fn forbidden_edges(edges: &BTreeSet<(String, String)>) -> Vec<String> {
    edges
        .iter()
        .filter(|(from, to)| !EDGES.contains(&(from, to)))
        .map(|(from, to)| format!("{from} must not depend on {to}"))
        .collect()
}

/// Dependencies of `core` outside [`CORE_MAY_USE`].
fn forbidden_in_core(names: &BTreeSet<String>) -> Vec<String> {
    names
        .iter()
        .filter(|name| !CORE_MAY_USE.iter().any(|(allowed, _)| allowed == name))
        .map(|name| format!("core must not use {name} without a reason in tests/layering.rs"))
        .collect()
}

/// Whether a line of Rust, comments cut off, names `library` as a path: `sled::`, `use sled;`.
fn names_library(line: &str, library: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(library).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + library.len()..];
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || "_.-\"".contains(c));
        let import = code.trim_start().starts_with("use ")
            || code.contains("pub use ")
            || code.contains("extern crate");
        let path = after.starts_with("::") || (import && (after.starts_with([';', ' ', ','])));
        starts && path
    })
}

/// Lines of a source file without its test module: one that opens right after `#[cfg(test)]`.
fn lines_without_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]"
            && pair[1].trim_start().starts_with("mod ")
            && pair[1].trim_end().ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// Files that are longer than allowed, and exceptions that are no longer needed.
fn too_long(files: &BTreeMap<String, usize>, exceptions: &[(&str, usize)]) -> Vec<String> {
    let allowed: BTreeMap<&str, usize> = exceptions.iter().copied().collect();
    let long = files.iter().filter_map(|(path, &lines)| {
        let limit = allowed.get(path.as_str()).copied().unwrap_or(MAX_LINES);
        (lines > limit).then(|| format!("{path}: {lines} lines without tests, at most {limit}"))
    });
    let stale = exceptions.iter().filter_map(|(path, _)| {
        let lines = files.get(*path).copied().unwrap_or_default();
        (lines <= MAX_LINES).then(|| format!("{path}: needs no exception any more"))
    });
    long.chain(stale).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's packages as `cargo metadata` sees them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(value: &Value) -> String {
    value["name"].as_str().unwrap().to_owned()
}

/// Every `.rs` file under a crate's `src`, tests in files of their own left out, by its path from
/// the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in [
        "src",
        "core/src",
        "compiler/src",
        "journal/src",
        "live/src",
        "sim/src",
    ] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 6, "only {} source files found", found.len());
    found
}

fn collect(folder: &Path, found: &mut BTreeMap<String, String>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let own_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if own_tests {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.insert(relative, fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn crates_depend_downwards_only() {
    let packages = packages();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    assert!(
        members.contains("smbench") && members.len() >= 6,
        "{members:?}"
    );
    let mut edges = BTreeSet::new();
    for package in &packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            if members.contains(&name(dependency)) {
                edges.insert((name(package), name(dependency)));
            }
        }
    }
    assert_eq!(forbidden_edges(&edges), Vec::<String>::new());
}

#[test]
fn core_uses_what_it_may() {
    let packages = packages();
    let core = packages
        .iter()
        .find(|package| package["name"] == "smbench-core")
        .unwrap();
    let used: BTreeSet<String> = core["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(name)
        .collect();
    assert_eq!(forbidden_in_core(&used), Vec::<String>::new());
}

#[test]
fn one_file_names_each_replaceable_library() {
    let sources = sources();
    for (library, what) in ONE_FILE_NAMES {
        let files: Vec<&String> = sources
            .iter()
            .filter(|(_, source)| source.lines().any(|line| names_library(line, library)))
            .map(|(path, _)| path)
            .collect();
        assert!(files.len() <= 1, "{library} ({what}) is named by {files:?}");
    }
}

/// Whether a line of Rust, comments cut off, prints past the one way out.
fn prints(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let ways = [
        "println!",
        "print!(",
        "dbg!(",
        "io::stdout",
        "io::stderr",
        "{stdout",
        "{stderr",
    ];
    ways.iter().any(|way| code.contains(way))
}

#[test]
fn one_file_prints() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| path.as_str() != "src/terminal.rs")
        .flat_map(|(path, source)| {
            let code = source.lines().take(lines_without_tests(source));
            let lines = (1..).zip(code).filter(|(_, line)| prints(line));
            lines.map(move |(number, _)| format!("{path}:{number}"))
        })
        .collect();
    assert_eq!(
        found,
        Vec::<String>::new(),
        "src/terminal.rs escapes what it prints"
    );
}

#[test]
fn files_are_short() {
    let lines = sources()
        .into_iter()
        .map(|(path, source)| (path, lines_without_tests(&source)))
        .collect();
    assert_eq!(too_long(&lines, LONG_FILES), Vec::<String>::new());
}

#[test]
fn the_checks_find_what_breaks_the_rules() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let edges = BTreeSet::from([
        edge("smbench-sim", "smbench-live"),
        edge("smbench-live", "smbench-sim"),
        edge("smbench-core", "smbench-journal"),
    ]);
    assert_eq!(forbidden_edges(&edges).len(), 2);

    let used = BTreeSet::from(["serde".to_owned(), "tokio".to_owned()]);
    assert_eq!(forbidden_in_core(&used).len(), 1);

    for line in [
        "use sled::Db;",
        "let db: sled::Db = open();",
        "use sled;",
        "pub use sled as s;",
    ] {
        assert!(names_library(line, "sled"), "{line}");
    }
    for line in [
        "// sled::Db",
        "let assled = 1;",
        "mod unsled::x;",
        "\"sled::\"",
        "self.sled()",
    ] {
        assert!(!names_library(line, "sled"), "{line}");
    }

    for line in [
        "println!(\"x\");",
        "  eprint!(\"x\")",
        "std::io::stderr().lock()",
    ] {
        assert!(prints(line), "{line}");
    }
    for line in ["// println!(\"x\")", "say!(\"x\")", "let stdout_len = 1;"] {
        assert!(!prints(line), "{line}");
    }

    let source = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod more {\n}\n";
    assert_eq!(lines_without_tests(source), 4);
    assert_eq!(lines_without_tests("#[cfg(test)]\nuse x;\nb\n"), 3);

    let files = BTreeMap::from([("a.rs".to_owned(), 601), ("b.rs".to_owned(), 600)]);
    assert_eq!(too_long(&files, &[]).len(), 1);
    assert_eq!(too_long(&files, &[("a.rs", 700)]).len(), 0);
    assert_eq!(too_long(&files, &[("a.rs", 700), ("b.rs", 700)]).len(), 1);
}
