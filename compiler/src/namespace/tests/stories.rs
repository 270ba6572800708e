//! Operations and their answers, as the dissector tells them.

use serde_json::{Value, json};
use smbench_core::{
    frame::Digest,
    fscc::{
        AllInfo, BasicInfo, DirectoryEntry, DirectoryWriter, StandardInfo, StreamInfo,
        SymbolicLink, SymlinkError,
    },
    ids::{ConnId, OpenRef},
    smb2::{FileAttributes, FileInfoClass, Name, NtStatus},
    workload::{
        Coverage, DataRef, Entry, EntryKind, Expect, Link, Operation, Symlink, Times, Tree,
        Workload,
    },
};

use super::super::Namespace;
use crate::wire_span::WireSpan;

/// A story: operations one after the other.
struct Story {
    namespace: Namespace,
    workload: Workload,
    at: u64,
}

impl Story {
    fn new() -> Self {
        let tree = json!({"session": 0, "path": "\\\\s\\data", "share_type": 1, "wire_id": 1});
        let tree: Tree = serde_json::from_value(tree).unwrap();
        let workload = Workload {
            trees: vec![tree],
            ..Workload::default()
        };
        Self {
            namespace: Namespace::default(),
            workload,
            at: 0,
        }
    }

    fn asks(&mut self, command: &str, open: Option<u32>, request: Value) -> (Operation, WireSpan) {
        let id = self.at / 2;
        let mut op = json!({
            "id": id, "at_us": 0, "client": 0, "conn": 0, "session": 0, "tree": 0, "cmd": command,
            "mid": id, "frame": id, "do": {"request": {command: request}},
        });
        if let Some(open) = open {
            op["open"] = open.into();
        }
        let op: Operation = serde_json::from_value(op).unwrap();
        self.at += 2;
        let span = WireSpan {
            request: self.at - 1,
            interim: None,
            response: Some(self.at),
        };
        self.namespace.asked(&op);
        (op, span)
    }

    fn gets(&mut self, (op, span): &(Operation, WireSpan), expect: &Expect) {
        self.namespace.answered(&self.workload, op, *span, expect);
    }

    fn create(&mut self, path: &str, open: u32, disposition: &str, expect: Expect) {
        let asked = self.asks(
            "CREATE",
            Some(open),
            json!({"name": path, "access": "0x1", "share": "rwd", "disposition": disposition}),
        );
        self.gets(&asked, &expect);
    }

    fn open(&mut self, path: &str, open: u32) {
        self.create(path, open, "open", opened(1, 0x20, 100));
    }

    fn refused(&mut self, path: &str, disposition: &str, options: &str, status: NtStatus) {
        let asked = self.asks(
            "CREATE",
            None,
            json!({"name": path, "access": "0x1", "share": "rwd", "disposition": disposition,
                   "options": options}),
        );
        self.gets(&asked, &said(status));
    }

    fn query(&mut self, open: u32, class: FileInfoClass, output: &[u8]) {
        let asked = self.asks(
            "QUERY_INFO",
            Some(open),
            json!({"info_type": "file", "file_info_class": class.0, "output_buffer_length": 4096}),
        );
        self.namespace.queried(&asked.0, asked.1, output);
        self.gets(&asked, &said(NtStatus::SUCCESS));
    }

    fn read(&mut self, open: u32, offset: u64, length: u32, data: &[u8]) {
        let asked = self.asks(
            "READ",
            Some(open),
            json!({"length": length, "offset": offset}),
        );
        let data = DataRef {
            blake3: Digest::of(data),
            len: u32::try_from(data.len()).unwrap(),
        };
        for (offset, from, to) in self.namespace.unknown(&asked.0, data.len as usize) {
            let part = DataRef {
                len: u32::try_from(to - from).unwrap(),
                ..data
            };
            self.namespace.showed(&asked.0, offset, part);
        }
        let expect = Expect {
            count: Some(data.len),
            data: Some(data),
            ..said(NtStatus::SUCCESS)
        };
        self.namespace.showed_again(&asked.0, asked.1, &expect);
        self.gets(&asked, &expect);
    }

    fn write(&mut self, open: u32, offset: u64, length: u32) {
        let request = json!({"length": length, "offset": offset});
        let asked = self.asks("WRITE", Some(open), request);
        self.gets(&asked, &said(NtStatus::SUCCESS));
    }

    fn end(self) -> (Vec<Entry>, Coverage) {
        let mut coverage = Coverage::default();
        let entries = self.namespace.finish(&mut coverage);
        (entries, coverage)
    }
}

fn said(status: NtStatus) -> Expect {
    Expect {
        status,
        ..Expect::default()
    }
}

fn opened(action: u32, attributes: u32, size: u64) -> Expect {
    Expect {
        file_id: Some(Default::default()),
        action: Some(action),
        attributes: Some(attributes),
        size: Some(size),
        ..said(NtStatus::SUCCESS)
    }
}

fn basic(attributes: u32) -> BasicInfo {
    BasicInfo {
        creation_time: 1,
        last_access_time: 2,
        last_write_time: 3,
        change_time: 4,
        attributes: FileAttributes::from_bits_retain(attributes),
        reserved: 0,
    }
}

const TIMES: Times = Times {
    created: 1,
    accessed: 2,
    written: 3,
    changed: 4,
};

fn all(attributes: u32, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let info = AllInfo {
        basic: basic(attributes),
        standard: StandardInfo {
            end_of_file: size,
            directory: u8::from(attributes & 0x10 != 0),
            ..StandardInfo::default()
        },
        name: Name::Text("\\f".to_owned()),
        ..AllInfo::default()
    };
    info.encode(&mut out);
    out
}

#[test]
fn file_information_tells_size_attributes_and_times() {
    let mut story = Story::new();
    // Found by a refusal, which told nothing but the name.
    story.refused("f", "open", "0x0", NtStatus::SHARING_VIOLATION);
    story.create("f", 0, "open", opened(1, 0x22, 77));
    // The name is cut.
    story.query(0, FileInfoClass::ALL, &all(0x22, 77)[..100]);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let [entry] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!((entry.size, entry.attributes), (77, Some(0x22)));
    assert_eq!(entry.times, Some(TIMES));
}

#[test]
fn what_the_recording_changed_tells_nothing_about_the_beginning() {
    let mut story = Story::new();
    story.refused("f", "open", "0x0", NtStatus::SHARING_VIOLATION);
    story.create("f", 0, "overwrite", opened(3, 0x20, 0));
    story.query(0, FileInfoClass::ALL, &all(0x21, 500));
    story.open("g", 1);
    story.write(1, 0, 10);
    story.query(1, FileInfoClass::ALL, &all(0x21, 500));
    story.open("h", 2);
    let mut set = Vec::new();
    basic(0x1).encode(&mut set);
    let set: String = set.iter().map(|byte| format!("{byte:02x}")).collect();
    let class = FileInfoClass::BASIC.0;
    let request = json!({"info_type": "file", "file_info_class": class, "buffer": set});
    let asked = story.asks("SET_INFO", Some(2), request);
    story.gets(&asked, &said(NtStatus::SUCCESS));
    story.query(2, FileInfoClass::ALL, &all(0x1, 100));
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let seen: Vec<_> = entries
        .iter()
        .map(|it| (it.path.as_str(), it.size, it.attributes, it.times))
        .collect();
    assert_eq!(
        seen,
        [
            ("f", 0, None, None),
            ("g", 100, Some(0x20), None),
            ("h", 100, Some(0x20), None),
        ]
    );
}

#[test]
fn streams_are_listed_with_their_sizes() {
    let mut story = Story::new();
    story.open("f", 0);
    let stream = |name: &str, size| StreamInfo {
        size,
        allocation_size: 4096,
        name: Name::Text(name.to_owned()),
    };
    let mut out = Vec::new();
    StreamInfo::encode_list(&[stream("::$DATA", 100), stream(":two:$DATA", 9)], &mut out);
    story.query(0, FileInfoClass::STREAM, &out);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let seen: Vec<_> = entries
        .iter()
        .map(|it| (it.path.as_str(), it.kind, it.size))
        .collect();
    assert_eq!(
        seen,
        [("f", EntryKind::File, 100), ("f:two", EntryKind::Stream, 9)]
    );
}

#[test]
fn an_open_stream_tells_the_attributes_of_its_file() {
    let mut story = Story::new();
    story.create("d:s", 0, "open", opened(1, 0x12, 5));
    story.query(0, FileInfoClass::ALL, &all(0x12, 5));
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let seen: Vec<_> = entries
        .iter()
        .map(|it| (it.path.as_str(), it.kind, it.size, it.attributes, it.times))
        .collect();
    assert_eq!(
        seen,
        [
            ("d", EntryKind::Directory, 0, Some(0x12), Some(TIMES)),
            ("d:s", EntryKind::Stream, 5, None, None),
        ]
    );
}

#[test]
fn listings_tell_times_and_their_own_folder() {
    let mut story = Story::new();
    story.create("d", 0, "open", opened(1, 0x10, 0));
    let asked = story.asks(
        "QUERY_DIRECTORY",
        Some(0),
        json!({"file_information_class": 37, "pattern": "*", "output_buffer_length": 4096}),
    );
    let mut out = Vec::new();
    let mut writer = DirectoryWriter::new(FileInfoClass::ID_BOTH_DIRECTORY, 4096).unwrap();
    for (name, attributes, size) in [(".", 0x10, 0), ("..", 0x10, 0), ("F.txt", 0x21, 12)] {
        let entry = DirectoryEntry {
            creation_time: 1,
            last_access_time: 2,
            last_write_time: 3,
            change_time: 4,
            attributes: FileAttributes::from_bits_retain(attributes),
            end_of_file: size,
            name: Name::Text(name.to_owned()),
            ..DirectoryEntry::default()
        };
        assert!(writer.push(&entry));
    }
    out.extend_from_slice(&writer.finish());
    story
        .namespace
        .listed(&story.workload, &asked.0, asked.1, &out);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let seen: Vec<_> = entries
        .iter()
        .map(|it| (it.path.as_str(), it.size, it.attributes, it.times))
        .collect();
    assert_eq!(
        seen,
        [
            ("d", 0, Some(0x10), Some(TIMES)),
            ("d\\F.txt", 12, Some(0x21), Some(TIMES)),
        ]
    );
}

#[test]
fn refusals_prove_what_is_there() {
    let mut story = Story::new();
    const FOLDER: &str = "0x1";
    story.refused("a", "create", FOLDER, NtStatus::OBJECT_NAME_COLLISION);
    story.refused("b", "create", "0x0", NtStatus::OBJECT_NAME_COLLISION);
    story.refused("c", "open", "0x40", NtStatus::FILE_IS_A_DIRECTORY);
    story.refused("d", "open", FOLDER, NtStatus::NOT_A_DIRECTORY);
    story.refused("e", "open", "0x0", NtStatus::DELETE_PENDING);
    story.refused("f", "open", "0x1000", NtStatus::CANNOT_DELETE);
    story.refused("g\\none", "open", "0x0", NtStatus::OBJECT_NAME_NOT_FOUND);
    story.refused("h\\none", "open", "0x0", NtStatus::OBJECT_PATH_NOT_FOUND);
    story.refused("i", "open", "0x0", NtStatus::ACCESS_DENIED);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let seen: Vec<_> = entries
        .iter()
        .map(|it| {
            (
                it.path.as_str(),
                it.kind == EntryKind::Directory,
                it.attributes,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("a", true, None),
            ("b", false, None),
            ("c", true, None),
            ("d", false, None),
            ("e", false, None),
            ("f", false, Some(1)),
            ("g", true, None),
        ]
    );
}

#[test]
fn a_rename_onto_something_and_a_full_folder() {
    let mut story = Story::new();
    let set = |class: FileInfoClass, buffer: &[u8]| {
        let hex: String = buffer.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"info_type": "file", "file_info_class": class.0, "buffer": hex})
    };
    story.open("f", 0);
    let mut rename = vec![0; 16];
    rename.extend_from_slice(&[6, 0, 0, 0]);
    rename.extend("t\\x".encode_utf16().flat_map(u16::to_le_bytes));
    let asked = story.asks("SET_INFO", Some(0), set(FileInfoClass::RENAME, &rename));
    story.gets(&asked, &said(NtStatus::OBJECT_NAME_COLLISION));
    story.create("full", 1, "open", opened(1, 0x10, 0));
    let asked = story.asks("SET_INFO", Some(1), set(FileInfoClass::DISPOSITION, &[1]));
    story.gets(&asked, &said(NtStatus::DIRECTORY_NOT_EMPTY));
    let (entries, coverage) = story.end();
    let seen: Vec<&str> = entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(seen, ["f", "full", "full\\smbench-unseen", "t", "t\\x"]);
    let told: Vec<(&str, u64)> = coverage
        .problems
        .iter()
        .map(|(what, count)| (what.as_str(), *count))
        .collect();
    let what = "namespace: not empty, though nothing in it was seen (first: operation 3)";
    assert_eq!(told, [(what, 1)]);
}

#[test]
fn reads_show_content_where_nothing_else_did() {
    let mut story = Story::new();
    story.open("f", 0);
    story.read(0, 0, 10, b"0123456789");
    story.read(0, 5, 10, b"56789abcde");
    story.write(0, 20, 5);
    story.read(0, 15, 20, b"fghijWWWWWpqrstuvwxy");
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let content: Vec<_> = entries[0]
        .content
        .iter()
        .map(|it| (it.offset, it.data.len))
        .collect();
    assert_eq!(content, [(0, 10), (10, 5), (15, 5), (25, 10)]);
}

#[test]
fn other_content_and_sizes_are_reported() {
    let mut story = Story::new();
    story.open("f", 0);
    story.read(0, 0, 10, b"0123456789");
    story.read(0, 0, 10, b"9876543210");
    story.query(0, FileInfoClass::ALL, &all(0x20, 99));
    story.read(0, 90, 50, b"short");
    let (entries, coverage) = story.end();
    assert_eq!(entries[0].size, 100);
    let told: Vec<(&str, u64)> = coverage
        .problems
        .iter()
        .map(|(what, count)| (what.as_str(), *count))
        .collect();
    assert_eq!(
        told,
        [
            (
                "namespace: other content, though nobody wrote (first: operation 2)",
                1
            ),
            (
                "namespace: other size, though nobody wrote (first: operation 3)",
                2
            ),
        ]
    );
}

#[test]
fn a_short_read_tells_the_size() {
    let mut story = Story::new();
    story.refused("f", "open", "0x0", NtStatus::SHARING_VIOLATION);
    let unsized_ = Expect {
        size: None,
        ..opened(1, 0x20, 0)
    };
    story.create("f", 0, "open", unsized_);
    story.read(0, 4, 100, b"rest");
    assert_eq!(story.end().0[0].size, 8);
}

#[test]
fn a_read_that_asks_for_more_than_there_is_tells_of_no_end() {
    for (minimum_count, problems) in [(200, 0), (100, 1)] {
        let mut story = Story::new();
        story.create("f", 0, "open", opened(1, 0x20, 100));
        let read = json!({"length": 5, "offset": 0, "minimum_count": minimum_count});
        let asked = story.asks("READ", Some(0), read);
        story.gets(&asked, &said(NtStatus::END_OF_FILE));
        assert_eq!(story.end().1.problems.len(), problems, "{minimum_count}");
    }
}

#[test]
fn what_ends_a_connection_or_session_closes_what_was_open() {
    for how in ["disconnect", "LOGOFF", "TREE_DISCONNECT"] {
        let mut story = Story::new();
        let asked = story.asks(
            "CREATE",
            Some(0),
            json!({"name": "f", "access": "0x10000", "share": "rwd", "disposition": "open",
                   "options": "0x1000"}),
        );
        story.gets(&asked, &opened(1, 0x20, 100));
        if how == "disconnect" {
            story.namespace.disconnected(ConnId(0), story.at);
        } else {
            let asked = story.asks(how, None, json!({}));
            story.gets(&asked, &said(NtStatus::SUCCESS));
        }
        if how == "disconnect" {
            // Somebody came before the server noticed.
            story.refused("f", "open", "0x0", NtStatus::DELETE_PENDING);
        }
        story.create("f", 1, "create", opened(2, 0x20, 0));
        let (entries, coverage) = story.end();
        assert_eq!(entries.len(), 1, "{how}");
        assert!(coverage.problems.is_empty(), "{how}: {coverage:?}");
    }
}

#[test]
fn a_stream_that_is_made_brings_its_file() {
    let mut story = Story::new();
    let new = Times {
        created: 7,
        accessed: 8,
        written: 7,
        changed: 7,
    };
    for (name, open, times) in [("new:s", 0, new), ("old:s", 1, TIMES)] {
        let asked = story.asks(
            "CREATE",
            Some(open),
            json!({"name": name, "access": "0x2", "share": "rwd", "disposition": "create"}),
        );
        story.namespace.created_at(asked.0.id, times, None);
        story.gets(&asked, &opened(2, 0x20, 0));
    }
    story.refused("none:s", "create", "0x1", NtStatus::NOT_A_DIRECTORY);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let paths: Vec<&str> = entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["old"]);
}

#[test]
fn a_reclaimed_open_goes_on() {
    let mut story = Story::new();
    story.open("f", 0);
    let (mut op, span) = story.asks(
        "CREATE",
        Some(1),
        json!({"name": "f", "access": "0x1", "share": "rwd", "disposition": "open"}),
    );
    op.reclaims = Some(OpenRef(0));
    story.gets(&(op, span), &opened(1, 0x20, 100));
    story.read(1, 0, 10, b"0123456789");
    let (entries, _) = story.end();
    assert_eq!(entries[0].content.len(), 1);
}

#[test]
fn an_open_that_cannot_be_reclaimed_tells_nothing_of_its_name() {
    let mut story = Story::new();
    story.open("f", 0);
    let (mut op, span) = story.asks(
        "CREATE",
        None,
        json!({"name": "f", "access": "0x0", "share": "", "disposition": "open"}),
    );
    op.reclaims = Some(OpenRef(0));
    story.gets(&(op, span), &said(NtStatus::OBJECT_NAME_NOT_FOUND));
    story.open("f", 1);
    let (entries, coverage) = story.end();
    assert_eq!(entries.len(), 1);
    assert!(coverage.problems.is_empty(), "{coverage:?}");
}

#[test]
fn what_is_opened_by_its_number_is_what_an_answer_gave_that_number() {
    let mut story = Story::new();
    let by_id = |story: &mut Story, open: u32, number: u64| {
        let name = Name::from_wire(&number.to_le_bytes());
        let asked = story.asks(
            "CREATE",
            Some(open),
            json!({"name": name, "access": "0x1", "share": "rwd", "disposition": "open",
                   "options": "0x2000"}),
        );
        story.gets(&asked, &opened(1, 0x20, 100));
        story.namespace.path_by_id(&asked.0)
    };
    story.open("f", 0);
    story.query(0, FileInfoClass::INTERNAL, &0x11_u64.to_le_bytes());
    story.open("g", 1);
    let id = [[9; 8], 0x12_u64.to_le_bytes(), [0; 8]].concat();
    story.query(1, FileInfoClass::ID, &id);
    story.create("d", 2, "open", opened(1, 0x10, 0));
    let asked = story.asks(
        "QUERY_DIRECTORY",
        Some(2),
        json!({"file_information_class": 60, "pattern": "*", "output_buffer_length": 4096}),
    );
    let mut writer = DirectoryWriter::new(FileInfoClass::ID_EXTD_DIRECTORY, 4096).unwrap();
    let mut entry = DirectoryEntry {
        attributes: FileAttributes::ARCHIVE,
        end_of_file: 100,
        name: Name::from("h"),
        ..DirectoryEntry::default()
    };
    entry.file_id_128.0[0] = 0x13;
    assert!(writer.push(&entry));
    let listing = writer.finish();
    story
        .namespace
        .listed(&story.workload, &asked.0, asked.1, &listing);
    for (open, number, path) in [
        (3, 0x11, "f"),
        (4, 0x12, "g"),
        (5, 0x13, "d\\h"),
        (6, 0x77, "unknown\\id-77"),
        (7, 0x77, "unknown\\id-77"),
    ] {
        assert_eq!(by_id(&mut story, open, number).as_deref(), Some(path));
    }
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let paths: Vec<&str> = entries.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["d", "d\\h", "f", "g", "unknown", "unknown\\id-77"]);
}

impl Story {
    /// A CREATE that stops on a link, and what it is told of it.
    fn stops(&mut self, path: &str, told: Option<(u16, &str)>) {
        let asked = self.asks(
            "CREATE",
            None,
            json!({"name": path, "access": "0x1", "share": "rwd", "disposition": "open"}),
        );
        if let Some((unparsed_bytes, target)) = told {
            let link = SymbolicLink {
                substitute: target.into(),
                print: target.into(),
                relative: true,
            };
            let error = SymlinkError {
                unparsed_bytes,
                link,
            };
            self.namespace.stopped_by(asked.0.id, error);
        }
        self.gets(&asked, &said(NtStatus::STOPPED_ON_SYMLINK));
    }

    fn controls(&mut self, open: Option<u32>, function: &str, input: &[u8], output: &[u8]) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = json!({"ctl_code": function, "input": hex, "flags": "0x1"});
        let asked = self.asks("IOCTL", open, request);
        self.namespace.controlled(&asked.0, output);
        self.gets(&asked, &said(NtStatus::SUCCESS));
    }

    fn opens_itself(&mut self, path: &str, open: u32, action: u32) {
        let asked = self.asks(
            "CREATE",
            Some(open),
            json!({"name": path, "access": "0x1", "share": "rwd", "disposition": "open_if",
                   "options": "0x200000"}),
        );
        self.gets(&asked, &opened(action, 0x400, 0));
    }
}

fn symlink(target: Option<&str>) -> Option<Link> {
    Some(Link::Symlink(Symlink {
        target: target.map(str::to_owned),
        print: None,
        relative: target.is_some(),
    }))
}

fn reparse(target: &str) -> Vec<u8> {
    let link = SymbolicLink {
        substitute: target.into(),
        print: target.into(),
        relative: true,
    };
    link.encode()
}

fn links(entries: &[Entry]) -> Vec<(&str, EntryKind, &Option<Link>)> {
    let links = entries.iter();
    links
        .map(|it| (it.path.as_str(), it.kind, &it.link))
        .collect()
}

#[test]
fn where_a_create_stops_a_link_is() {
    let mut story = Story::new();
    story.stops("d\\folder\\x\\y", Some((8, "..\\z")));
    story.stops("d\\file", Some((0, "z")));
    story.stops("untold", None);
    // What is not told of a link that is known says nothing.
    story.stops("d\\folder\\w", None);
    let (entries, coverage) = story.end();
    assert_eq!(
        links(&entries),
        [
            ("d", EntryKind::Directory, &None),
            ("d\\file", EntryKind::File, &symlink(Some("z"))),
            ("d\\folder", EntryKind::Directory, &symlink(Some("..\\z"))),
            ("untold", EntryKind::File, &symlink(None)),
        ]
    );
    assert_eq!(coverage.inferred["links whose target was not told"], 1);
    assert_eq!(coverage.problems, Default::default());
}

#[test]
fn reparse_points_tell_links_and_what_the_recording_made_was_none() {
    let mut story = Story::new();
    story.opens_itself("old", 0, 1);
    story.controls(Some(0), "GET_REPARSE_POINT", &[], &reparse("a"));
    story.opens_itself("cut", 1, 1);
    story.controls(Some(1), "GET_REPARSE_POINT", &[], &reparse("a")[..9]);
    story.opens_itself("new", 2, 2);
    story.controls(Some(2), "SET_REPARSE_POINT", &reparse("a"), &[]);
    story.controls(Some(2), "GET_REPARSE_POINT", &[], &reparse("a"));
    story.opens_itself("plain", 3, 1);
    story.controls(Some(3), "SET_REPARSE_POINT", &reparse("a"), &[]);
    story.stops("plain", Some((0, "a")));
    // A mount point is followed by the server itself.
    story.opens_itself("mount", 4, 1);
    story.controls(
        Some(4),
        "GET_REPARSE_POINT",
        &[],
        &[3, 0, 0, 0xa0, 0, 0, 0, 0],
    );
    // What is opened without asking for a link is none.
    story.stops("odd", Some((0, "a")));
    story.open("odd", 5);
    let (entries, coverage) = story.end();
    assert_eq!(
        links(&entries),
        [
            ("cut", EntryKind::File, &symlink(None)),
            ("mount", EntryKind::File, &None),
            ("odd", EntryKind::File, &None),
            ("old", EntryKind::File, &symlink(Some("a"))),
            ("plain", EntryKind::File, &None),
        ]
    );
    let problems: Vec<&String> = coverage.problems.keys().collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("link that was opened as if it were none"));
}

#[test]
fn tags_tell_links_and_not_where_they_lead() {
    let mut story = Story::new();
    story.create("", 0, "open", opened(1, 0x10, 0));
    let mut writer = DirectoryWriter::new(FileInfoClass::FULL_DIRECTORY, 4096).unwrap();
    for (name, attributes, ea_size) in [
        ("dedup", 0x400, 0x8000_0013),
        ("dfs", 0x410, 0x8000_000a),
        ("eas", 0x20, 0xa000_000c),
        ("link", 0x400, 0xa000_000c),
    ] {
        let entry = DirectoryEntry {
            name: Name::from(name),
            attributes: FileAttributes::from_bits_retain(attributes),
            ea_size,
            ..DirectoryEntry::default()
        };
        assert!(writer.push(&entry));
    }
    let asked = story.asks(
        "QUERY_DIRECTORY",
        Some(0),
        json!({"file_information_class": 2, "pattern": "*", "output_buffer_length": 4096}),
    );
    let listing = writer.finish();
    story
        .namespace
        .listed(&story.workload, &asked.0, asked.1, &listing);
    story.gets(&asked, &said(NtStatus::SUCCESS));
    let (entries, _) = story.end();
    let found: Vec<_> = links(&entries)
        .into_iter()
        .filter(|it| !it.0.is_empty())
        .collect();
    assert_eq!(
        found,
        [
            ("dedup", EntryKind::File, &None),
            ("dfs", EntryKind::Directory, &Some(Link::Dfs)),
            ("eas", EntryKind::File, &None),
            ("link", EntryKind::File, &symlink(None)),
        ]
    );
}

#[test]
fn links_of_dfs_are_where_nothing_else_was_seen() {
    let not_covered = NtStatus::PATH_NOT_COVERED;
    let mut story = Story::new();
    story.open("team\\plan", 0);
    story.refused("team\\link\\x\\y", "open", "0x0", not_covered);
    story.refused("team\\link\\z", "open", "0x0", not_covered);
    story.refused("other", "open", "0x0", not_covered);
    // A referral says where; its share is one that is known.
    let referral = |path: &str, consumed: usize| {
        let words = [2 * u16::try_from(consumed).unwrap(), 1, 2, 0, 4, 34, 0, 0];
        let response: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        let input = [&[4, 0][..], &Name::from(path).to_wire()].concat();
        (input, response)
    };
    for (path, consumed) in [
        ("\\dom\\data\\far\\link\\f", "\\dom\\data\\far\\link".len()),
        ("\\dom\\elsewhere\\link", "\\dom\\elsewhere\\link".len()),
    ] {
        let (input, response) = referral(path, consumed);
        story.controls(None, "DFS_GET_REFERRALS", &input, &response);
    }
    story.refused("far\\link\\f", "open", "0x0", not_covered);
    let (entries, coverage) = story.end();
    let dfs = &Some(Link::Dfs);
    assert_eq!(
        links(&entries),
        [
            ("far", EntryKind::Directory, &None),
            ("far\\link", EntryKind::Directory, dfs),
            ("other", EntryKind::Directory, dfs),
            ("team", EntryKind::Directory, &None),
            ("team\\link", EntryKind::Directory, dfs),
            ("team\\plan", EntryKind::File, &None),
        ]
    );
    assert_eq!(coverage.problems, Default::default());
}

#[test]
fn with_posix_extensions_a_colon_is_a_letter_and_case_matters() {
    let mut story = Story::new();
    let asks = |story: &mut Story, path: &str, open: Option<u32>, options: &str| {
        story.asks(
            "CREATE",
            open,
            json!({"name": path, "access": "0x1", "share": "rwd", "disposition": "open",
                   "options": options, "contexts": [{"POSIX": "00000000"}]}),
        )
    };
    let asked = asks(&mut story, "d\\a:b", Some(0), "0x40");
    story.gets(&asked, &opened(1, 0x20, 100));
    let asked = asks(&mut story, "d\\A:B", None, "0x40");
    story.gets(&asked, &said(NtStatus::OBJECT_NAME_NOT_FOUND));
    let asked = asks(&mut story, "d", Some(1), "0x1");
    story.gets(&asked, &opened(1, 0x10, 0));
    let asked = story.asks(
        "QUERY_DIRECTORY",
        Some(1),
        json!({"file_information_class": 100, "pattern": "*", "output_buffer_length": 4096}),
    );
    let mut writer = DirectoryWriter::new(FileInfoClass::POSIX, 4096).unwrap();
    for name in ["a:b", "x", "X"] {
        let mut entry = DirectoryEntry {
            attributes: FileAttributes::ARCHIVE,
            end_of_file: 100,
            name: Name::from(name),
            ..DirectoryEntry::default()
        };
        entry.posix.owner = vec![1, 0, 0, 0, 0, 0, 0, 5];
        entry.posix.group = entry.posix.owner.clone();
        assert!(writer.push(&entry));
    }
    let listing = writer.finish();
    story
        .namespace
        .listed(&story.workload, &asked.0, asked.1, &listing);
    let (entries, coverage) = story.end();
    assert!(coverage.problems.is_empty(), "{coverage:?}");
    let mut seen: Vec<_> = entries
        .iter()
        .map(|it| (it.path.as_str(), it.kind, it.size))
        .collect();
    seen.sort_unstable_by_key(|it| it.0);
    let file = EntryKind::File;
    assert_eq!(
        seen,
        [
            ("d", EntryKind::Directory, 0),
            ("d\\X", file, 100),
            ("d\\a:b", file, 100),
            ("d\\x", file, 100),
        ]
    );
}
