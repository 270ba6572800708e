//! `scripts/dist`: what a release holds, with the binary of this build.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cli::{Ran, Scratch};

const BINARY: &str = env!("CARGO_BIN_EXE_smbench");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn dist(out: &Path, more: &[&str]) -> Ran {
    let output = Command::new(Path::new(ROOT).join("scripts/dist"))
        .args(["--binary", BINARY, "--out"])
        .arg(out)
        .args(more)
        .output();
    Ran::of(&output.unwrap())
}

/// What this project links in of others, as `cargo tree` knows it: `name version`.
fn linked() -> BTreeSet<String> {
    let tree = [
        "tree",
        "-p",
        "smbench",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ];
    let output = Command::new(env!("CARGO"))
        .args(tree)
        .current_dir(ROOT)
        .output();
    let ran = Ran::of(&output.unwrap());
    let lines = ran
        .expect(0)
        .out
        .lines()
        .filter(|line| !line.contains("(/"));
    let named = lines.filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        Some(format!("{name} {}", rest.split(' ').next()?))
    });
    named.collect()
}

#[test]
fn a_release_has_all_that_belongs_to_it() {
    let scratch = Scratch::new();
    let out = scratch.path("out");
    let ran = dist(&out, &[]);
    let told = ran.expect(0).out.lines().last().unwrap();
    let archive = PathBuf::from(told);
    let name = archive.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with(concat!("smbench-", env!("CARGO_PKG_VERSION"), "-")),
        "{name}"
    );

    // Only the archive and its checksum travel.
    let check = format!("cd out && sha256sum -c {name}.sha256 && tar -C .. -xzf {name}");
    scratch.shell(&check).expect(0);
    let folder = scratch.path(name.strip_suffix(".tar.gz").unwrap());
    let inside = |line: &str| scratch.shell(&format!("cd {} && {line}", folder.display()));
    inside("sha256sum --quiet -c SHA256SUMS").expect(0);
    let listed = "diff <(cut -c67- SHA256SUMS | sort) \
        <(find . -type f ! -name SHA256SUMS -printf '%P\\n' | sort)";
    inside(listed).expect(0);

    let version = scratch.run(["--version"]).out;
    assert_eq!(inside("bin/smbench --version").expect(0).out, version);
    let noted = std::fs::read_to_string(folder.join("VERSION")).unwrap();
    assert!(
        noted.starts_with(&version) && noted.contains("needs "),
        "{noted}"
    );
    for path in [
        "Containerfile",
        "work",
        "share/man/man1/smbench-replay.1",
        "share/fish/vendor_completions.d/smbench.fish",
        "share/zsh/site-functions/_smbench",
        "share/doc/smbench/docs/METRICS.md",
        "share/doc/smbench/deploy/grafana/smbench.json",
        "share/doc/smbench/LICENSE-MIT",
    ] {
        assert!(folder.join(path).exists(), "{path}");
    }
    let bash = "bash -n share/bash-completion/completions/smbench";
    inside(bash).expect(0);

    licences_are_whole(&folder.join("share/doc/smbench/THIRD-PARTY.txt"));

    // The same sources and binary give the same archive.
    let again = scratch.path("again");
    dist(&again, &[]).expect(0);
    let bytes = std::fs::read(&archive).unwrap();
    assert!(bytes == std::fs::read(again.join(name)).unwrap());
}

/// Each package that is linked in is there with its terms, and each number it names has a text.
fn licences_are_whole(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let rule = format!("\n{}\n", "=".repeat(100));
    let mut parts = text.split(&rule);
    let list = parts.next().unwrap();
    let texts: Vec<&str> = parts.collect();
    let packages: Vec<(&str, &str)> = list
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(": "))
        .collect();
    let named: BTreeSet<String> = packages
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let missing: Vec<String> = linked().difference(&named).cloned().collect();
    assert_eq!(missing, Vec::<String>::new());
    assert!(packages.len() > 200, "{}", packages.len());
    for (name, terms) in packages {
        let numbers = terms.rsplit('[').next().unwrap().trim_end_matches(']');
        let texts = numbers.split(", ").map(|number| {
            let number: usize = number.parse().unwrap();
            let text = texts[number - 1].strip_prefix(&format!("[{number}]\n"));
            text.unwrap().trim().len()
        });
        // A line that only names licences is none.
        assert!(texts.sum::<usize>() > 500, "{name} {terms}");
    }
    // C sources that a crate brings have licences of their own.
    assert!(text.contains("Copyright (c) Meta Platforms"), "zstd's");
}

#[test]
fn a_binary_that_needs_too_new_a_library_is_no_release() {
    let scratch = Scratch::new();
    let out = scratch.path("out");
    // Every dynamic program for glibc needs more than that.
    let ran = dist(&out, &["--max-glibc", "2.2"]);
    ran.expect(1).says(&["that is newer than 2.2", "--sysroot"]);
    assert!(ran.out.contains("needs glibc 2."), "{ran:#?}");
    assert!(!out.exists());
    dist(&out, &["--max-glibc", "old"]).expect(2);
    dist(&out, &["--max-glibc", "9.9", "--sysroot", "x"]).expect(2);
}
