//! Folders that come back as they were, and files that are not what was written.

use std::fs;

use smbench_core::workload::{FORMAT, Workload};

use super::*;
use crate::folder::FolderWriter;

struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = format!("smbench-archive-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A workload folder with these pieces of data.
    fn folder(&self, name: &str, data: &[&[u8]]) -> PathBuf {
        let path = self.path(name);
        let folder = FolderWriter::create(&path).unwrap();
        let mut blobs = folder.blobs().unwrap();
        for data in data {
            blobs.put(data).unwrap();
        }
        blobs.finish().unwrap();
        folder
            .operations(Vec::<smbench_core::workload::Operation>::new())
            .unwrap();
        folder
            .namespace(Vec::<smbench_core::workload::Entry>::new())
            .unwrap();
        let workload = Workload {
            format: FORMAT,
            ..Workload::default()
        };
        folder.finish(&workload).unwrap();
        path
    }

    /// Unpacks `bytes`; nothing may be left beside the folder that is unpacked to.
    fn unpacked(&self, bytes: &[u8]) -> Result<Packed, ArchiveError> {
        let (file, to) = (self.path("a.smbw"), self.path("to"));
        fs::write(&file, bytes).unwrap();
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        unpack(&file, &to, &|_| ())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An archive with these files, whose digest is right.
fn archive(files: &[(u64, &[u8], u8)]) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for (_, stored, _) in files {
        bytes.extend_from_slice(stored);
    }
    for (length, stored, method) in files {
        let entry = Entry {
            bytes: *length,
            stored: stored.len() as u64,
            method: *method,
        };
        bytes.extend(entry.to_bytes());
    }
    let digest = *blake3::hash(&bytes).as_bytes();
    bytes.extend(digest);
    bytes
}

fn compressed(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 3).unwrap()
}

#[test]
fn a_folder_comes_back_as_it_was_and_gives_the_same_bytes() {
    let scratch = Scratch::new("whole");
    // Zeros would expand further than is allowed, and are stored as they are.
    let zeros = vec![0; 20 << 20];
    for (name, data) in [("small", &b"some data"[..]), ("zeros", &zeros)] {
        let from = scratch.folder(name, &[data, b"more"]);
        let file = scratch.path(&format!("{name}.smbw"));
        let packed = pack(&from, &file).unwrap();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(packed.stored, bytes.len() as u64);
        assert!(is_archive(&file) && !is_archive(&from));
        let again = scratch.path("again.smbw");
        pack(&from, &again).unwrap();
        assert!(fs::read(&again).unwrap() == bytes);
        fs::remove_file(&again).unwrap();
        let seen = std::cell::Cell::new(0);
        let to = scratch.path("back");
        fs::create_dir(&to).unwrap();
        let back = unpack(&file, &to, &|bytes| seen.set(seen.get() + bytes)).unwrap();
        assert_eq!(back.bytes, packed.bytes);
        assert!(seen.get() <= 2 * packed.stored);
        for name in FILES {
            assert!(fs::read(from.join(name)).unwrap() == fs::read(to.join(name)).unwrap());
        }
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_seen_before_anything_is_written() {
    let scratch = Scratch::new("damaged");
    let from = scratch.folder("w", &[b"some data"]);
    let file = scratch.path("w.smbw");
    pack(&from, &file).unwrap();
    let whole = fs::read(&file).unwrap();
    scratch.unpacked(&whole).unwrap();
    let nothing_written = || fs::read_dir(scratch.path("to")).unwrap().next().is_none();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = scratch.unpacked(&flipped).unwrap_err();
        assert!(!matches!(error, ArchiveError::Io { .. }), "{at}: {error}");
        assert!(nothing_written(), "{at}");
        let error = scratch.unpacked(&whole[..at]).unwrap_err();
        assert!(!matches!(error, ArchiveError::Io { .. }), "{at}: {error}");
        assert!(nothing_written(), "{at}");
    }
    let longer = [&whole[..], b"x"].concat();
    scratch.unpacked(&longer).unwrap_err();
    let newer = [b"SMBWORK2", &whole[8..]].concat();
    let error = scratch.unpacked(&newer).unwrap_err();
    assert!(matches!(error, ArchiveError::Newer { .. }), "{error}");
}

#[test]
fn a_hostile_archive_writes_no_more_than_is_allowed() {
    let scratch = Scratch::new("hostile");
    let zeros = compressed(&vec![0; 64 << 20]);
    let small = (2, &b"{}"[..], PLAIN);
    let written = || {
        let files = fs::read_dir(scratch.path("to")).unwrap();
        let sizes = files.map(|it| it.unwrap().metadata().unwrap().len());
        sizes.sum::<u64>()
    };
    // It says what it expands to, and that is too much.
    for bytes in [64 << 20, u64::MAX] {
        let bomb = archive(&[small, (bytes, &zeros, ZSTD), small, small]);
        let error = scratch.unpacked(&bomb).unwrap_err();
        assert!(matches!(error, ArchiveError::Swollen { .. }), "{error}");
        assert_eq!(written(), 0);
    }
    // It says less.
    for bytes in [0, 1_000, 16 << 20] {
        let bomb = archive(&[small, (bytes, &zeros, ZSTD), small, small]);
        let error = scratch.unpacked(&bomb).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
        assert!(written() <= bytes + 3, "{bytes}");
    }
    let plain = compressed(b"{}");
    for wrong in [
        [small, (3, &b"{}"[..], PLAIN), small, small],
        [small, (1, b"{}", PLAIN), small, small],
        [small, (2, b"{}", ZSTD), small, small],
        [small, (2, b"{}", 2), small, small],
        [small, (3, &plain, ZSTD), small, small],
        [small, (u64::MAX, b"", PLAIN), small, small],
    ] {
        scratch.unpacked(&archive(&wrong)).unwrap_err();
        assert!(written() <= 8);
    }
    // More stored than there is, as sums that overflow would allow.
    let mut sums = archive(&[small, small, small, small]);
    let at = sums.len() - TRAILER - ENTRY;
    for (entry, stored) in [(at, u64::MAX), (at - ENTRY, 5)] {
        sums[entry..entry + 8].copy_from_slice(&stored.to_le_bytes());
        sums[entry + 8..entry + 16].copy_from_slice(&stored.to_le_bytes());
    }
    let end = sums.len() - TRAILER;
    let digest = *blake3::hash(&sums[..end]).as_bytes();
    sums[end..].copy_from_slice(&digest);
    scratch.unpacked(&sums).unwrap_err();
    assert_eq!(written(), 0);
    // Fewer files than there are.
    scratch
        .unpacked(&archive(&[small, small, small]))
        .unwrap_err();
    scratch.unpacked(&archive(&[small; 5])).unwrap_err();
}

#[test]
fn what_is_no_workload_is_not_packed() {
    let scratch = Scratch::new("none");
    let to = scratch.path("x.smbw");
    let error = pack(&scratch.path("nowhere"), &to).unwrap_err();
    assert!(matches!(error, ArchiveError::Folder(_)), "{error}");
    let from = scratch.folder("w", &[b"some data"]);
    fs::write(from.join(name::BLOBS), b"cut").unwrap();
    pack(&from, &to).unwrap_err();
    assert!(!to.exists());
}
