//! What small stories show about the beginning.

use smbench_core::{
    frame::Digest,
    ids::OpId,
    workload::{DataRef, EntryKind, Extent},
};

use super::names::{Names, Place, Proof};
use crate::wire_span::WireSpan;

fn proof(op: u32, request: u64, response: u64) -> Proof {
    Proof {
        op: OpId(op),
        span: WireSpan {
            request,
            interim: None,
            response: Some(response),
        },
        directory: Some(false),
        size: Some(10),
        attributes: Some(0x20),
        exact: false,
    }
}

fn place(path: &str) -> Place {
    Place::of(0, path, false).unwrap()
}

fn names() -> Names {
    let mut names = Names::default();
    assert_eq!(names.share("Data"), 0);
    assert_eq!(names.share("DATA"), 0);
    names
}

fn paths(names: Names) -> Vec<(String, EntryKind, u64)> {
    let (entries, problems) = names.finish();
    assert!(problems.is_empty(), "{problems:?}");
    let shape = |it: smbench_core::workload::Entry| (it.path, it.kind, it.size);
    entries.into_iter().map(shape).collect()
}

#[test]
fn what_is_found_was_there_with_its_folders() {
    let mut names = names();
    names.found(&place("a\\b\\c.txt"), &proof(0, 1, 2));
    names.found(
        &place("A\\B"),
        &Proof {
            directory: Some(true),
            ..proof(1, 3, 4)
        },
    );
    assert_eq!(
        paths(names),
        [
            ("a".into(), EntryKind::Directory, 0),
            ("a\\b".into(), EntryKind::Directory, 0),
            ("a\\b\\c.txt".into(), EntryKind::File, 10),
        ]
    );
}

#[test]
fn what_is_made_was_not_there() {
    let mut names = names();
    let file = names.made(&place("new.txt"), &proof(0, 1, 2));
    assert_eq!(names.found(&place("NEW.TXT"), &proof(1, 3, 4)), file);
    assert!(paths(names).is_empty());
}

#[test]
fn an_overlapping_open_does_not_beat_its_create() {
    let mut names = names();
    names.found(&place("x"), &proof(1, 2, 3));
    names.made(&place("x"), &proof(0, 1, 4));
    assert!(paths(names).is_empty());
}

#[test]
fn a_renamed_folder_takes_its_content_along() {
    let mut names = names();
    let folder = Proof {
        directory: Some(true),
        size: None,
        ..proof(0, 1, 2)
    };
    let old = names.found(&place("old"), &folder);
    let target = names.target(old, "new").unwrap();
    names.renamed(old, &target, &proof(1, 3, 4));
    names.found(&place("new\\inside.txt"), &proof(2, 5, 6));
    names.missing(&place("old\\inside.txt"), &proof(3, 7, 8));
    assert_eq!(
        paths(names),
        [
            ("old".into(), EntryKind::Directory, 0),
            ("old\\inside.txt".into(), EntryKind::File, 10),
        ]
    );
}

#[test]
fn deleting_waits_for_the_last_open() {
    let mut names = names();
    let file = names.found(&place("f"), &proof(0, 1, 2));
    names.opened(file);
    names.opened(file);
    names.doom(file, true);
    names.closed(file, proof(1, 3, 4).span);
    names.closed(file, proof(2, 5, 6).span);
    names.missing(&place("f"), &proof(3, 7, 8));
    names.made(&place("f"), &proof(4, 9, 10));
    assert_eq!(paths(names), [("f".into(), EntryKind::File, 10)]);
}

#[test]
fn streams_belong_to_their_file() {
    let mut names = names();
    names.found(&place("f:s:$DATA"), &proof(0, 1, 2));
    names.found(
        &place("f::$DATA"),
        &Proof {
            size: Some(7),
            ..proof(1, 3, 4)
        },
    );
    assert_eq!(
        paths(names),
        [
            ("f".into(), EntryKind::File, 7),
            ("f:s".into(), EntryKind::Stream, 10),
        ]
    );
}

#[test]
fn reads_show_what_was_not_written() {
    let mut names = names();
    let size = Proof {
        size: Some(100),
        ..proof(0, 1, 2)
    };
    let file = names.found(&place("f"), &size);
    let extent = |offset, byte: u8| Extent {
        offset,
        data: DataRef {
            blake3: Digest::of(&[byte]),
            len: 10,
        },
    };
    names.write(file, 20, 25);
    names.write(file, 25, 28);
    names.showed(file, extent(30, 1));
    names.showed(file, extent(0, 2));
    names.showed(file, extent(5, 3)); // overlaps what is known
    names.showed(file, extent(18, 4)); // was written
    let (entries, _) = names.finish();
    assert_eq!(entries[0].content, [extent(0, 2), extent(30, 1)]);
}

#[test]
fn contradictions_are_counted() {
    let mut names = names();
    names.made(&place("a"), &proof(0, 1, 2));
    names.made(&place("a"), &proof(1, 3, 4));
    names.missing(&place("a"), &proof(2, 5, 6));
    names.found(&place("a"), &proof(3, 7, 8));
    let (entries, problems) = names.finish();
    assert!(entries.is_empty());
    assert_eq!(problems.values().sum::<u64>(), 3);
}
