//! What waits on disk while a capture is compiled.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::*;

/// Captures that ship with the project, and those beside it where they are.
fn captures() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../tests/captures", "../../shared/captures/own/office"];
    let folders = folders
        .iter()
        .filter_map(|it| fs::read_dir(here.join(it)).ok());
    let files = folders.flatten().map(|it| it.unwrap().path());
    let mut found: Vec<PathBuf> = files
        .filter(|it| it.extension().is_some_and(|it| it == "pcap"))
        .collect();
    found.sort();
    found
}

/// Compiles into a folder of its own; the bytes of its files.
fn compiled(
    capture: &Path,
    test: &str,
    scratch: impl FnOnce(&FolderWriter) -> Arc<Scratch>,
) -> Result<Vec<Vec<u8>>, CompileError> {
    let name = format!("smbench-compile-{test}-{}", std::process::id());
    let out = std::env::temp_dir().join(name);
    let folder = FolderWriter::create(&out)?;
    let scratch = scratch(&folder);
    let input: Box<dyn Read + Send> = Box::new(File::open(capture).unwrap());
    let inputs = vec![("a".to_owned(), input)];
    let compiled = compile_with(inputs, CompileOptions::default(), folder, &scratch);
    let mut files = Vec::new();
    if compiled.is_ok() {
        let mut paths: Vec<PathBuf> = (fs::read_dir(&out).unwrap())
            .map(|it| it.unwrap().path())
            .collect();
        paths.sort();
        assert_eq!(paths.len(), 4, "{paths:?}");
        files.extend(paths.iter().map(|it| fs::read(it).unwrap()));
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(!out.exists());
    compiled.map(|_| files)
}

#[test]
fn what_waits_on_disk_comes_back_as_it_was() {
    let mut ran = 0;
    for capture in captures() {
        let whole = compiled(&capture, "whole", |it| Scratch::new(it.scratch())).unwrap();
        let mut seen = None;
        let tight = compiled(&capture, "tight", |it| {
            let scratch = Scratch::tight(it.scratch(), 1);
            seen = Some(Arc::clone(&scratch));
            scratch
        });
        assert!(whole == tight.unwrap(), "{}", capture.display());
        ran += u32::from(seen.is_some_and(|it| it.len() > 0));
    }
    println!("{ran} captures had something on disk");
    assert!(ran > 3, "{ran}");
}

#[test]
fn what_cannot_wait_on_disk_fails_the_compilation() {
    let capture = captures()
        .into_iter()
        .find(|it| it.ends_with("collab6_seed1.pcap"));
    let failed = compiled(&capture.unwrap(), "failing", |it| {
        Scratch::tight(it.scratch().join("no/such/folder"), 1)
    });
    let failure = failed.unwrap_err();
    let CompileError::Folder {
        source: FolderError::Io { path, .. },
    } = failure
    else {
        panic!("{failure:?}");
    };
    assert!(path.ends_with("no/such/folder"), "{}", path.display());
}
