//! What small stories show about the beginning.

use smbench_core::{
    frame::Digest,
    ids::OpId,
    workload::{DataRef, EntryKind, Extent},
};

use super::{
    names::{Names, Proof},
    place::Place,
};
use crate::wire_span::WireSpan;

mod stories;

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
        ..Proof::default()
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
    let target = names.target(old, "new", OpId(9)).unwrap();
    names.renamed(old, &target, false, &proof(1, 3, 4));
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
    assert_eq!(names.unknown(file, 30, 40), [(30, 40)]);
    names.showed(file, extent(30, 1));
    names.showed(file, extent(0, 2));
    // What is known and what was written are left out.
    assert_eq!(names.unknown(file, 0, 10), []);
    assert_eq!(names.unknown(file, 5, 35), [(10, 20), (28, 30)]);
    names.showed(file, extent(10, 3));
    let (entries, _) = names.finish();
    assert_eq!(
        entries[0].content,
        [extent(0, 2), extent(10, 3), extent(30, 1)]
    );
}

/// What a WRITE behind the end left as a hole was not there, whatever was in front of it.
#[test]
fn reads_of_what_has_grown_show_what_was_in_front_of_the_end() {
    let mut names = names();
    let file = names.found(&place("f"), &proof(0, 1, 2));
    names.write(file, 90, 100);
    assert_eq!(names.unknown(file, 0, 100), [(0, 10)]);
    assert_eq!(names.unknown(file, 5, 95), [(5, 10)]);
    assert_eq!(names.unknown(file, 20, 95), []);
    // Where nobody told the size, what is read may have been there.
    let bare = Proof {
        size: None,
        ..proof(1, 3, 4)
    };
    let other = names.found(&place("g"), &bare);
    names.write(other, 90, 100);
    assert_eq!(names.unknown(other, 0, 100), [(0, 90)]);
}

#[test]
fn what_cut_writes_wrote_is_not_known() {
    let mut names = names();
    let file = names.found(&place("f"), &proof(0, 1, 2));
    names.made_up(file, 0, 100, true);
    assert!(names.is_made_up(file, 99, 200));
    assert!(!names.is_made_up(file, 100, 200));
    // Written again, and captured.
    names.made_up(file, 0, 50, false);
    assert!(!names.is_made_up(file, 0, 50));
    assert!(names.is_made_up(file, 0, 51));
}

#[test]
fn contradictions_are_counted_with_their_first_operation() {
    let mut names = names();
    names.made(&place("a"), &proof(0, 1, 2));
    names.made(&place("a"), &proof(1, 3, 4));
    names.missing(&place("a"), &proof(2, 5, 6));
    names.found(&place("a"), &proof(3, 7, 8));
    names.missing(&place("a"), &proof(4, 9, 10));
    let (entries, problems) = names.finish();
    assert!(entries.is_empty());
    assert_eq!(problems["made, though it was there"], (1, OpId(1)));
    assert_eq!(problems["gone, though nobody deleted it"], (2, OpId(2)));
    assert_eq!(problems["there again, though nobody made it"], (1, OpId(3)));
}

#[test]
fn an_open_that_overlaps_the_delete_came_first() {
    let mut names = names();
    let file = names.found(&place("f"), &proof(0, 1, 2));
    names.opened(file);
    names.doom(file, true);
    // Opened (3..6) while the first open was closed (4..5): the file goes with the second.
    names.closed(file, proof(1, 4, 5).span);
    let again = names.found(&place("f"), &proof(2, 3, 6));
    assert_eq!(again, file);
    names.opened(again);
    names.closed(again, proof(3, 7, 8).span);
    names.made(&place("f"), &proof(4, 9, 10));
    assert_eq!(paths(names), [("f".into(), EntryKind::File, 10)]);
}

#[test]
fn what_overlaps_a_rename_is_on_either_side_of_it() {
    let mut names = names();
    let file = names.found(&place("old"), &proof(0, 1, 2));
    let target = names.target(file, "new", OpId(9)).unwrap();
    names.leave(file, true);
    // Answered before the rename (3..8): found under the new name, and the old one made again.
    let seen = names.found(&place("new"), &proof(2, 4, 5));
    names.made(&place("old"), &proof(3, 6, 7));
    names.renamed(file, &target, false, &proof(1, 3, 8));
    names.made(&place("new:s"), &proof(4, 9, 10));
    names.write(seen, 0, 5);
    assert_eq!(names.unknown(file, 0, 10), [(5, 10)]);
    assert_eq!(names.at(&place("old")), Some(3 - 1));
    assert_eq!(paths(names), [("old".into(), EntryKind::File, 10)]);
}

#[test]
fn a_missing_name_proves_the_folder_and_a_missing_path_disproves_it() {
    let mut names = names();
    names.missing(&place("there\\x"), &proof(0, 1, 2));
    names.no_path(&place("none\\x"), &proof(1, 3, 4));
    names.made(&place("none"), &proof(2, 5, 6));
    // A file is no path.
    let bare = Proof {
        directory: None,
        ..proof(3, 7, 8)
    };
    names.found(&place("file"), &bare);
    names.no_path(&place("file\\x"), &proof(4, 9, 10));
    assert_eq!(
        paths(names),
        [
            ("file".into(), EntryKind::File, 10),
            ("there".into(), EntryKind::Directory, 0),
        ]
    );
}

#[test]
fn a_full_folder_has_something_in_it() {
    let mut names = names();
    let folder = Proof {
        directory: Some(true),
        ..proof(0, 1, 2)
    };
    let full = names.found(&place("full"), &folder);
    let seen = names.found(&place("seen"), &folder);
    names.found(&place("seen\\file"), &proof(1, 3, 4));
    names.not_empty(full, OpId(2));
    names.not_empty(seen, OpId(3));
    let (entries, problems) = names.finish();
    let all: Vec<&str> = entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(all, ["full", "full\\smbench-unseen", "seen", "seen\\file"]);
    assert_eq!(
        problems["not empty, though nothing in it was seen"],
        (1, OpId(2))
    );
}

#[test]
fn a_name_collision_does_not_tell_the_kind() {
    let mut names = names();
    let collision = Proof {
        directory: None,
        likely_folder: true,
        size: None,
        attributes: None,
        ..proof(0, 1, 2)
    };
    names.found(&place("a"), &collision);
    names.found(&place("b"), &collision);
    names.found(&place("b"), &proof(1, 3, 4));
    assert_eq!(
        paths(names),
        [
            ("a".into(), EntryKind::Directory, 0),
            ("b".into(), EntryKind::File, 10),
        ]
    );
}
