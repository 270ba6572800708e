//! Folders that are whole, damaged, newer, or no folders of ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use smbench_core::{
    frame::Digest,
    ids::OpId,
    smb2::Command,
    workload::{Action, DataRef, Disconnect, Entry, FORMAT, Operation, Workload},
};

use super::{BlobReader, BlobWriter, Fault, FolderError, FolderReader, FolderWriter, name};

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = format!("smbench-folder-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn operation(id: u32) -> Operation {
    let end = Disconnect {
        by_client: true,
        reset: false,
    };
    Operation {
        id: OpId(id),
        at_us: u64::from(id),
        client: Default::default(),
        conn: Default::default(),
        cmd: Command(u16::MAX),
        mid: 0,
        frame: 1,
        action: Action::Disconnect(end),
        ..Operation::blank()
    }
}

fn write(target: &Path) -> Digest {
    let folder = FolderWriter::create(target).unwrap();
    let mut blobs = folder.blobs().unwrap();
    let kept = blobs.put(b"some data").unwrap();
    assert_eq!(blobs.put(b"some data").unwrap(), kept);
    assert_eq!((blobs.len(), blobs.is_empty()), (1, false));
    blobs.put(b"").unwrap();
    blobs.finish().unwrap();
    folder.operations(&[operation(0), operation(1)]).unwrap();
    folder.namespace(Vec::<Entry>::new()).unwrap();
    let workload = Workload {
        format: FORMAT,
        operations: 2,
        ..Workload::default()
    };
    folder.finish(&workload).unwrap();
    kept.blake3
}

#[test]
fn what_was_written_is_read() {
    let scratch = Scratch::new("whole");
    let target = scratch.0.join("work");
    let digest = write(&target);
    write(&target); // a workload may be replaced
    let folder = FolderReader::open(&target).unwrap();
    assert_eq!(folder.workload().operations, 2);
    let ops: Vec<_> = folder.operations().unwrap().map(Result::unwrap).collect();
    assert_eq!(ops, [operation(0), operation(1)]);
    assert_eq!(folder.namespace().unwrap().count(), 0);
    let blobs = folder.blobs().unwrap();
    assert_eq!(blobs.get(&digest).unwrap(), b"some data");
    assert_eq!(blobs.iter().count(), 2);
    let unknown = Digest::of(b"other data");
    assert!(!blobs.contains(&unknown));
    assert!(matches!(
        blobs.get(&unknown),
        Err(FolderError::NoBlob { .. })
    ));
    assert_eq!(
        fs::read_dir(&scratch.0).unwrap().count(),
        1,
        "nothing else stays"
    );
}

/// Whatever is wrong with data that is wanted is found, and which it is; the rest is not read.
#[test]
fn data_that_cannot_be_had_is_found() {
    let scratch = Scratch::new("check");
    let path = scratch.0.join("pack");
    let mut pack = BlobWriter::create(&path).unwrap();
    let sizes = [0_usize, 1, 4_096, 700_000, 3, 9_000_000, 2_000_000, 5];
    let kept = sizes.map(|len| {
        pack.put(&vec![u8::try_from(len % 251).unwrap(); len])
            .unwrap()
    });
    pack.finish().unwrap();
    let read = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes| {
        read.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    };
    let sound = BlobReader::open(&path).unwrap();
    assert_eq!(sound.check(&kept, &progress).unwrap(), []);
    let all: usize = sizes.iter().sum();
    assert_eq!(read.into_inner(), u64::try_from(all).unwrap());

    let mut bytes = fs::read(&path).unwrap();
    let offsets: Vec<usize> = (0..sizes.len())
        .map(|at| 8 + sizes[..at].iter().sum::<usize>())
        .collect();
    bytes[offsets[3] + 699_999] ^= 1;
    bytes[offsets[5] + 4_000_000] ^= 0x80;
    fs::write(&path, bytes).unwrap();
    let mut wanted: Vec<DataRef> = kept[1..6].to_vec();
    wanted.push(DataRef {
        blake3: Digest::of(b"unknown"),
        len: 7,
    });
    wanted[0].len = 2;
    let damaged = |at: usize| Fault::Damaged(u64::try_from(offsets[at]).unwrap());
    let found = [
        (0, Fault::Length(1)),
        (2, damaged(3)),
        (4, damaged(5)),
        (5, Fault::Missing),
    ];
    let pack = BlobReader::open(&path).unwrap();
    assert_eq!(pack.check(&wanted, &|_| {}).unwrap(), found);
    fs::remove_file(&path).unwrap();
    let gone = pack.check(&wanted, &|_| {});
    assert!(matches!(gone, Err(FolderError::Io { .. })));
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let scratch = Scratch::new("unfinished");
    let folder = FolderWriter::create(&scratch.0.join("work")).unwrap();
    folder.operations(&[operation(0)]).unwrap();
    drop(folder);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn other_folders_are_left_alone() {
    let scratch = Scratch::new("occupied");
    fs::write(scratch.0.join("precious"), "x").unwrap();
    let error = FolderWriter::create(&scratch.0).unwrap_err();
    assert!(matches!(error, FolderError::Occupied { .. }), "{error}");
    let error = FolderReader::open(&scratch.0).unwrap_err();
    assert!(matches!(error, FolderError::NotAWorkload { .. }), "{error}");
}

#[test]
fn damage_is_named_by_file_line_and_byte() {
    let scratch = Scratch::new("damage");
    let target = scratch.0.join("work");
    write(&target);
    let path = target.join(name::OPERATIONS);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap().len() as u64 + 1;
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        let folder = FolderReader::open(&target).unwrap();
        folder.operations().unwrap().find_map(Result::err)
    };
    let error = read(&text.replacen("\"id\":1", "\"id\":x", 1)).unwrap();
    let place = matches!(error, FolderError::BadLine { line: 2, byte, .. } if byte == first);
    assert!(place, "{error}");
    let error = read(&text.replacen("\"id\":1", "\"id\":7", 1)).unwrap();
    let place = matches!(
        error,
        FolderError::BadNumber {
            line: 2,
            got: 7,
            ..
        }
    );
    assert!(place, "{error}");
    let error = read(text.lines().next().unwrap()).unwrap();
    let count = matches!(
        error,
        FolderError::BadCount {
            got: 1,
            want: 2,
            ..
        }
    );
    assert!(count, "{error}");
    assert!(read(&text).is_none());
}

/// Nobody makes room for half a billion opens because a stranger says so.
#[test]
fn more_opens_than_operations_can_name_are_refused() {
    let scratch = Scratch::new("opens");
    let target = scratch.0.join("work");
    write(&target);
    let path = target.join(name::WORKLOAD);
    let mut tables: Workload = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut reopened = |opens, operations| {
        (tables.opens, tables.operations) = (opens, operations);
        fs::write(&path, serde_json::to_vec(&tables).unwrap()).unwrap();
        FolderReader::open(&target).map(|_| ())
    };
    reopened(65_536, 2).unwrap();
    // There are not as many operations as the tables say either.
    for operations in [2, u64::MAX] {
        let error = reopened(555_555_100, operations).unwrap_err();
        let FolderError::TooManyOpens { opens, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(opens, 555_555_100);
    }
}

#[test]
fn newer_formats_are_refused() {
    let scratch = Scratch::new("newer");
    fs::write(
        scratch.0.join(name::WORKLOAD),
        "{\"format\": 99, \"else\": 1}",
    )
    .unwrap();
    let error = FolderReader::open(&scratch.0).unwrap_err();
    assert!(
        matches!(error, FolderError::NewerFormat { got: 99, .. }),
        "{error}"
    );
    fs::write(
        scratch.0.join(name::WORKLOAD),
        "{\n\"format\": 1,\n\"clients\": 3}",
    )
    .unwrap();
    let error = FolderReader::open(&scratch.0).unwrap_err();
    let place = matches!(
        error,
        FolderError::BadLine {
            line: 3,
            byte: 15,
            ..
        }
    );
    assert!(place, "{error}");
}

#[test]
fn every_flipped_bit_of_a_pack_is_noticed() {
    let scratch = Scratch::new("flips");
    let path = scratch.0.join("pack");
    let mut blobs = BlobWriter::create(&path).unwrap();
    let digests: Vec<Digest> = (0..3_u8)
        .map(|byte| blobs.put(&[byte; 20]).unwrap().blake3)
        .collect();
    blobs.finish().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        fs::write(&path, &broken).unwrap();
        let noticed = match BlobReader::open(&path) {
            Err(_) => true,
            Ok(reader) => digests.iter().any(|digest| reader.get(digest).is_err()),
        };
        assert!(noticed, "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(BlobReader::open(&path).is_err(), "cut at {at}");
    }
}
