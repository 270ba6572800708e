//! What waits on disk while a capture is compiled, and captures that claim more than they hold.

use std::{
    fs::{self, File},
    io::Cursor,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
};

use super::*;
use crate::capture::tests::segments;

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
    let input = Box::new(File::open(capture).unwrap());
    compiled_from(input, test, scratch)
}

fn compiled_from(
    input: Box<dyn Read + Send>,
    test: &str,
    scratch: impl FnOnce(&FolderWriter) -> Arc<Scratch>,
) -> Result<Vec<Vec<u8>>, CompileError> {
    let name = format!("smbench-compile-{test}-{}", std::process::id());
    let out = std::env::temp_dir().join(name);
    let folder = FolderWriter::create(&out)?;
    let scratch = scratch(&folder);
    let inputs = vec![("a".to_owned(), input)];
    let allowed = Allowance(1 << 20);
    let compiled = compile_with(inputs, CompileOptions::default(), folder, &scratch, allowed);
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

/// A capture of requests of one client, each of so many bytes by its length, and cut.
fn cut_requests(command: u16, lens: impl Iterator<Item = u32>, fields: &[u8]) -> Vec<u8> {
    let messages = (0..).zip(lens).map(|(mid, len)| {
        let mut message = request(command, mid, fields);
        // Length of WRITE data.
        message[68..72].copy_from_slice(&len.saturating_sub(112).to_le_bytes());
        (message, len)
    });
    capture(messages)
}

fn request(command: u16, mid: u32, fields: &[u8]) -> Vec<u8> {
    let mut message = vec![0xfe, b'S', b'M', b'B', 64, 0, 1, 0, 0, 0, 0, 0];
    message.extend(command.to_le_bytes());
    message.resize(64, 0);
    message[24..28].copy_from_slice(&mid.to_le_bytes());
    message.extend(fields);
    message
}

/// A capture of messages of one client and their lengths on the wire, each in a packet.
fn capture(messages: impl Iterator<Item = (Vec<u8>, u32)>) -> Vec<u8> {
    segments(messages.map(|(message, len)| {
        let payload = [len.to_be_bytes().as_slice(), &message].concat();
        (payload, 4 + len as usize)
    }))
}

/// StructureSize, DataOffset, and no more that matters.
const WRITE: [u8; 48] = {
    let mut fields = [0; 48];
    fields[0] = 49;
    fields[2] = 112;
    fields
};

#[test]
fn claimed_lengths_are_not_made_up() {
    // A StructureSize that no NEGOTIATE has: the bytes are kept as they are.
    let bytes = cut_requests(0, (0..5).map(|_| 14_000_000), &[0, 36, 0, 0, 0, 0, 0, 0]);
    let files = compiled_from(Box::new(Cursor::new(bytes)), "claims", |it| {
        Scratch::new(it.scratch())
    });
    let len: usize = files.unwrap().iter().map(Vec::len).sum();
    assert!(len < 5 * 150_000, "{len} bytes");
}

#[test]
fn zeros_for_the_same_length_are_kept_once() {
    let bytes = cut_requests(9, (0..500).map(|_| 900_112), &WRITE);
    let files = compiled_from(Box::new(Cursor::new(bytes)), "zeros", |it| {
        Scratch::new(it.scratch())
    });
    let files = files.unwrap();
    assert!(files[0].len() > 900_000 && files[0].len() < 901_000);
    let lines = files[2]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let mut ops = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
    let op = ops.find(|op| op.get("reconstructed").is_none()).unwrap();
    assert_eq!(op["do"]["request"]["WRITE"]["length"], 900_000);
    assert_eq!(op["data"]["len"], 900_000);
    let workload: Workload = serde_json::from_slice(&files[3]).unwrap();
    let coverage = &workload.coverage;
    let cut = coverage.problems.get("request cut: what it lacks is zero");
    let missing = coverage.inferred.get("bytes of cut requests");
    assert_eq!((cut, missing), (Some(&500), Some(&(500 * 900_000))));
}

#[test]
fn what_unpacks_to_much_more_is_left_out_unless_it_is_data() {
    // [MS-SMB2] 2.2.42.2: chained; a payload that is not compressed, then Pattern_V1 of zeros.
    let packed = |message: Vec<u8>, zeros: u32| {
        let len = u32::try_from(message.len()).unwrap();
        let mut frame = vec![0xfc, b'S', b'M', b'B'];
        frame.extend((len + zeros).to_le_bytes());
        frame.extend([0, 0, 1, 0]);
        frame.extend(len.to_le_bytes());
        frame.extend(message);
        frame.extend([4, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(zeros.to_le_bytes());
        let len = u32::try_from(frame.len()).unwrap();
        (frame, len)
    };
    let mut write = request(9, 0, &WRITE);
    write[68..72].copy_from_slice(&900_000_u32.to_le_bytes());
    let opaque = request(0, 1, &[0, 36, 0, 0, 0, 0, 0, 0]);
    let short = request(0, 2, &[0, 36, 0, 0, 0, 0, 0, 0]);
    let frames = [
        packed(write, 900_000),
        packed(opaque, 900_000),
        packed(short, 9_000),
    ];
    let bytes = capture(frames.into_iter());
    let files = compiled_from(Box::new(Cursor::new(bytes)), "unpacked", |it| {
        Scratch::new(it.scratch())
    });
    let files = files.unwrap();
    let workload: Workload = serde_json::from_slice(&files[3]).unwrap();
    assert_eq!(workload.coverage.requests(), 2);
    let skipped = &workload.coverage.skipped;
    assert_eq!(
        skipped.get("compressed beyond reason"),
        Some(&1),
        "{skipped:?}"
    );
    assert!(files[0].len() > 900_000 && files[2].len() < 20_000);
}

#[test]
fn a_workload_far_longer_than_its_capture_is_refused() {
    let bytes = cut_requests(9, (0..200).map(|turn| 900_112 - turn), &WRITE);
    let limit = (1 << 20) + 64 * u64::try_from(bytes.len()).unwrap();
    let failed = compiled_from(Box::new(Cursor::new(bytes)), "swollen", |it| {
        Scratch::new(it.scratch())
    });
    let failure = failed.unwrap_err();
    let CompileError::Folder {
        source: FolderError::Swollen { limit: told },
    } = failure
    else {
        panic!("{failure:?}");
    };
    assert!(told <= limit, "{told} of {limit}");
}

/// An input that tells when it is gone, and may never say anything.
struct Watched {
    bytes: Cursor<Vec<u8>>,
    silence: Option<Receiver<()>>,
    _alive: Arc<()>,
}

impl Read for Watched {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let len = self.bytes.read(room)?;
        if len == 0
            && let Some(silence) = &self.silence
        {
            // Until the other end is dropped.
            let _ = silence.recv();
        }
        Ok(len)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Whoever does not wait for the thread that reads sees it here.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn no_thread_outlives_a_compilation_that_fails() {
    for _ in 0..20 {
        let alive = Arc::new(());
        let input = Watched {
            bytes: Cursor::new(vec![7; 3 << 20]),
            silence: None,
            _alive: Arc::clone(&alive),
        };
        let failed = compiled_from(Box::new(input), "junk", |it| Scratch::new(it.scratch()));
        assert!(matches!(failed, Err(CompileError::Capture { .. })));
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn an_input_that_says_nothing_does_not_hold_up_a_failure() {
    let (speak, silence) = channel();
    let alive = Arc::new(());
    let silent = Watched {
        bytes: Cursor::new(Vec::new()),
        silence: Some(silence),
        _alive: Arc::clone(&alive),
    };
    let junk: Box<dyn Read + Send> = Box::new(Cursor::new(b"no capture at all".to_vec()));
    let out = std::env::temp_dir().join(format!("smbench-compile-silent-{}", std::process::id()));
    let inputs = vec![
        ("a".to_owned(), junk),
        ("b".to_owned(), Box::new(silent) as _),
    ];
    let failed = compile(inputs, CompileOptions::default(), &out);
    assert!(matches!(failed, Err(CompileError::Capture { .. })));
    drop(speak);
}
