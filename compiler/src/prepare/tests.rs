//! What a preparation asks for, in which order.

use smbench_core::workload::{Link, Symlink};

use super::*;

#[test]
fn synthetic_content_does_not_depend_on_where_it_is_cut() {
    let whole = synthetic("data\\a.bin", 0, 1_000);
    assert_eq!(whole.len(), 1_000);
    for (offset, len) in [(0, 7), (3, 8), (13, 100), (991, 9)] {
        let part = synthetic("data\\a.bin", offset, len);
        let at = usize::try_from(offset).expect("small");
        assert_eq!(part, whole[at..at + len as usize]);
    }
    assert_ne!(synthetic("data\\b.bin", 0, 64), whole[..64]);
}

fn entry(path: &str, kind: EntryKind, size: u64) -> Entry {
    Entry {
        share: "data".to_owned(),
        path: path.to_owned(),
        kind,
        size,
        attributes: None,
        times: None,
        content: Vec::new(),
        link: None,
        seen_by: OpId(0),
    }
}

fn places() -> BTreeMap<String, Place> {
    let place = Place {
        path: "\\\\s\\data".to_owned(),
        root: "run1".to_owned(),
        owned: None,
    };
    BTreeMap::from([("DATA".to_owned(), place)])
}

/// What is asked for below the root: command, path or length.
fn asked(out: &Preparation) -> Vec<String> {
    let told = |op: &Operation| match &op.action {
        Action::Request(Request::Create(it)) => Some(format!("create {}", it.name)),
        Action::Request(Request::Write(it)) => Some(format!("write {} {}", it.offset, it.length)),
        Action::Request(Request::SetInfo(it)) => {
            match SetInfoPayload::parse(it.info_type, it.file_info_class, &it.buffer) {
                SetInfoPayload::FileEndOfFile { end_of_file } => Some(format!("end {end_of_file}")),
                SetInfoPayload::FileBasic(it) => Some(format!(
                    "basic {:#x} {} {} {} {}",
                    it.attributes.bits(),
                    it.creation_time,
                    it.last_access_time,
                    it.last_write_time,
                    it.change_time,
                )),
                other => Some(format!("{other:?}")),
            }
        }
        _ => None,
    };
    out.operations.iter().filter_map(told).collect()
}

#[test]
fn attributes_and_times_come_last_and_folders_after_what_is_in_them() {
    let times = |number| smbench_core::workload::Times {
        created: number,
        accessed: number + 1,
        written: number + 2,
        changed: u64::MAX,
    };
    let mut folder = entry("d", EntryKind::Directory, 0);
    folder.attributes = Some(0x12);
    folder.times = Some(times(10));
    let mut file = entry("d\\f", EntryKind::File, 3);
    file.attributes = Some(0x21);
    file.times = Some(times(20));
    let mut plain = entry("d\\plain", EntryKind::File, 0);
    plain.attributes = Some(0x80);
    let mut usual = entry("d\\usual", EntryKind::File, 0);
    usual.attributes = Some(0x20);
    let stream = entry("d\\f:s", EntryKind::Stream, 2);
    let entries = [folder, file, plain, usual, stream];
    let out = prepare(&entries, &places(), b"").unwrap();
    assert_eq!(
        asked(&out),
        [
            "create run1",
            "create run1\\d",
            "create run1\\d\\f",
            "write 0 3",
            "create run1\\d\\plain",
            "create run1\\d\\usual",
            "create run1\\d\\f:s",
            "write 0 2",
            "create run1\\d\\plain",
            "basic 0x80 0 0 0 0",
            "create run1\\d\\f",
            "basic 0x21 20 21 22 0",
            "create run1\\d",
            "basic 0x12 10 11 12 0",
        ]
    );
}

#[test]
fn of_long_gaps_only_the_length_is_made() {
    let known = DataRef {
        blake3: Digest::of(b"known"),
        len: 5,
    };
    let mut file = entry("f", EntryKind::File, 1 << 40);
    file.content.push(smbench_core::workload::Extent {
        offset: 1 << 30,
        data: known,
    });
    let short = entry("g", EntryKind::File, 10);
    let out = prepare(&[file, short], &places(), b"").unwrap();
    assert_eq!(
        asked(&out),
        [
            "create run1",
            "create run1\\f",
            "write 1073741824 5",
            "end 1099511627776",
            "create run1\\g",
            "write 0 10",
        ]
    );
}

#[test]
fn builds_folders_before_files_and_fills_around_known_content() {
    let known = DataRef {
        blake3: Digest::of(b"known"),
        len: 5,
    };
    let entry = |path: &str, kind, size| Entry {
        share: "data".to_owned(),
        path: path.to_owned(),
        kind,
        size,
        attributes: None,
        times: None,
        content: Vec::new(),
        link: None,
        seen_by: OpId(0),
    };
    let mut file = entry("a\\b\\c.txt", EntryKind::File, 70_000);
    file.content.push(smbench_core::workload::Extent {
        offset: 10,
        data: known,
    });
    let entries = [file, entry("a\\b", EntryKind::Directory, 0)];
    let place = Place {
        path: "\\\\s\\data".to_owned(),
        root: "run1".to_owned(),
        owned: None,
    };
    let places = BTreeMap::from([("DATA".to_owned(), place)]);
    let out = prepare(&entries, &places, b"").unwrap();
    let names: Vec<&str> = out
        .operations
        .iter()
        .filter_map(|op| op.path.as_deref())
        .collect();
    assert_eq!(
        names,
        ["run1", "run1\\a", "run1\\a\\b", "run1\\a\\b\\c.txt"]
    );
    assert_eq!(out.bytes, 70_000);
    assert_eq!(out.entries, 3);
    let writes: Vec<(u64, u32)> = out
        .operations
        .iter()
        .filter_map(|op| match &op.action {
            Action::Request(Request::Write(write)) => Some((write.offset, write.length)),
            _ => None,
        })
        .collect();
    assert_eq!(writes, [(0, 10), (10, 5), (15, 65_536), (65_551, 4_449)]);
}

#[test]
fn what_is_ours_is_made_before_and_marked_at_the_end() {
    let place = |root: &str| Place {
        path: "\\\\s\\data".to_owned(),
        root: root.to_owned(),
        owned: Some("up\\run1".to_owned()),
    };
    let places = [("a", "up\\run1\\r\\a"), ("b", "up\\run1\\r\\b")];
    let places = places.map(|(share, root)| (share.to_owned(), place(root)));
    let out = prepare(&[], &BTreeMap::from(places), b"mark").unwrap();
    assert_eq!(
        asked(&out),
        [
            "create up",
            "create up\\run1",
            "create up\\run1\\r",
            "create up\\run1\\r\\a",
            "create up",
            "create up\\run1",
            "create up\\run1\\r",
            "create up\\run1\\r\\b",
            "create up\\run1\\smbench.json",
            "write 0 4",
        ]
    );
    let first = make_folders(&BTreeSet::from([(
        "\\\\s\\data".to_owned(),
        "up\\run1".to_owned(),
    )]));
    assert_eq!(asked(&first), ["create up", "create up\\run1"]);
    let how = |op: &Operation| match &op.action {
        Action::Request(Request::Create(create)) => {
            Some((create.create_disposition, create.desired_access.bits()))
        }
        _ => None,
    };
    let how: Vec<_> = first.operations.iter().filter_map(how).collect();
    assert_eq!(
        how,
        [
            (CreateDisposition::OPEN_IF, LOOK),
            (CreateDisposition::CREATE, ACCESS)
        ],
        "nothing is done to what is not ours, and what is ours is new"
    );
}

#[test]
fn nothing_is_made_where_an_entry_leads_out() {
    let bad = [
        entry("good", EntryKind::File, 0),
        entry("a\\..\\..\\b", EntryKind::File, 0),
    ];
    let refused = prepare(&bad, &places(), b"").unwrap_err();
    assert!(
        refused.to_string().starts_with("line 2 of namespace.jsonl"),
        "{refused}"
    );
}

#[test]
fn nothing_is_made_where_an_entry_names_no_share_that_can_be() {
    for share in ["..", "a\\b", "data/x", ".", "\u{2025}"] {
        let mut odd = entry("x", EntryKind::File, 0);
        odd.share = share.to_owned();
        let entries = [entry("a", EntryKind::File, 0), odd];
        let error = prepare(&entries, &places(), b"").unwrap_err();
        let told = error.to_string();
        assert!(told.contains("line 2 of namespace.jsonl"), "{told}");
    }
    // One that was not captured, and one of another workload, are nobody's here.
    for share in ["", "other"] {
        let mut other = entry("x", EntryKind::File, 0);
        other.share = share.to_owned();
        prepare(&[other], &places(), b"").unwrap();
    }
}

#[test]
fn links_are_made_last_and_only_where_they_go_down() {
    let link = |path: &str, target: Option<&str>, relative| {
        let mut entry = entry(path, EntryKind::File, 0);
        entry.link = Some(Link::Symlink(Symlink {
            target: target.map(str::to_owned),
            print: None,
            relative,
        }));
        entry
    };
    let mut dfs = entry("dfs", EntryKind::Directory, 0);
    dfs.link = Some(Link::Dfs);
    let mut folder = link("a\\folder", Some("d"), true);
    folder.kind = EntryKind::Directory;
    let entries = [
        link("a\\link", Some("x\\y"), true),
        folder,
        link("absolute", Some("\\??\\C:\\x"), false),
        dfs,
        link("full", Some("x"), true),
        entry("full\\f", EntryKind::File, 0),
        link("unknown", None, true),
        link("up", Some("..\\x"), true),
        entry("z", EntryKind::File, 0),
    ];
    let out = prepare(&entries, &places(), b"").unwrap();
    let asked = asked(&out);
    let made = [
        "create run1\\a",
        "create run1\\a\\folder",
        "create run1\\a\\link",
    ];
    assert_eq!(
        asked.iter().rev().take(3).rev().collect::<Vec<_>>(),
        made.iter().collect::<Vec<_>>()
    );
    assert!(!asked.iter().any(|it| it.contains("dfs")), "{asked:?}");
    assert!(
        asked.contains(&"create run1\\up".to_owned()),
        "an ordinary file"
    );
    let unmade = out.unmade.iter().map(|it| (it.path.as_str(), it.why));
    assert_eq!(
        unmade.collect::<Vec<_>>(),
        [
            ("absolute", WhyUnmade::Outside),
            ("dfs", WhyUnmade::Dfs),
            ("full", WhyUnmade::Full),
            ("unknown", WhyUnmade::Unknown),
            ("up", WhyUnmade::Outside),
        ]
    );
    let links: Vec<&str> = out.links.values().map(|(_, path)| path.as_str()).collect();
    assert_eq!(links, ["a\\folder", "a\\link"]);
    for op in out.links.keys() {
        let Action::Request(Request::Ioctl(set)) = &out.operations[op.index()].action else {
            panic!("{op:?}");
        };
        assert!(smbench_core::confine::is_inner_link(&set.input));
    }
}
