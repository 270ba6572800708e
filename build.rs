//! Tells the binary which version it is: `BUILD_VERSION`, with the commit where this is a checkout and git
//! is there (`0.1.0 (1a2b3c4d5e6f 2026-01-31)`), and the day of that commit as `BUILD_DATE`. Runs again when
//! HEAD moves, and only then: it cannot know whether files were changed since.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let commit = commit(Path::new(&folder));
    let version = match &commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    let date = commit.as_deref().and_then(|it| it.split_once(' '));
    println!("cargo::rustc-env=BUILD_VERSION={version}");
    println!("cargo::rustc-env=BUILD_DATE={}", date.map_or("", |it| it.1));
}

/// The commit that `folder` is a checkout of, and its day.
fn commit(folder: &Path) -> Option<String> {
    // Sources that were unpacked inside of somebody else's repository are not of its commit.
    let top = git(folder, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != folder.canonicalize().ok()? {
        return None;
    }
    // What may change when HEAD moves. A file that is not there would count as changed at every build.
    let branch = git(folder, &["rev-parse", "--symbolic-full-name", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter();
    for name in names.chain(branch.as_deref()) {
        let path = git(folder, &["rev-parse", "--git-path", name]);
        let path = path.map(|path| folder.join(path));
        if let Some(path) = path.filter(|it| it.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(folder, &["log", "-1", "--abbrev=12", "--format=%h %cs"])
}

/// What git says, in a line; `None` where it fails or is not there.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let run = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        .output();
    let said = run.ok().filter(|it| it.status.success())?;
    let line = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
