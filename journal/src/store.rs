//! A run's journal in a folder, written through sled: the only file that names sled.
//!
//! | tree      | key                                 | value                                  |
//! |-----------|-------------------------------------|----------------------------------------|
//! | `shard-N` | number of the first event, u64 BE   | a block's head and compressed events   |
//! |           | that and a piece number, u32 BE     | more of a block over [`VALUE_BYTES`]   |
//! | `run`     | `meta`                              | [`crate::RunMeta`] as JSON             |
//! |           | `end/N`                             | how shard N's record ends              |
//! |           | both with `/copy`                   | the same: they must not be lost        |
//! |           | `attachment/NAME`                   | its length and digest as JSON          |
//! |           | `attachment/NAME`, 0, number u32 BE | a piece of it                          |
//!
//! Sled writes; [`reader`] reads without it. Sled's own recovery cuts its log at the first damage,
//! and needs to write where it reads. So a value tells by itself what it is ([`value`]), and is
//! found in sled's files whatever has become of the rest.
//!
//! Only plain `insert` is used: `apply_batch` loses acknowledged events when the process is
//! killed. Values stay under 64 KiB, beyond which sled puts them into files of their own. A marker
//! file beside sled's says what the folder is and holds the lock.

mod blocks;
mod reader;
mod scan;
mod v1;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use smbench_core::event::EffectsDigest;

pub(crate) use self::{
    blocks::Blocks,
    reader::{ShardEnd, StoreReader},
};
use crate::{
    block::{Block, Packer},
    error::JournalError,
    meta::AttachmentHead,
    writer::{Pulse, Sink},
};

/// A folder that is being written.
pub(crate) struct Store {
    path: PathBuf,
    pulse: Arc<Pulse>,
    /// Gone after the first failure.
    sled: Option<Sled>,
    /// Events written, by shard, and those of them that were flushed.
    written: BTreeMap<u32, u64>,
    safe: BTreeMap<u32, u64>,
    names: BTreeSet<String>,
    packer: Packer,
    content: Vec<u8>,
    value: Vec<u8>,
    /// Held for its lock.
    _marker: File,
    /// Which files they are that stand by these names.
    identity: Identity,
}

/// What belongs to sled.
struct Sled {
    db: sled::Db,
    trees: BTreeMap<u32, sled::Tree>,
}

impl Store {
    /// Makes a new folder. When that fails, nothing is left of it.
    pub(crate) fn create(
        path: &Path,
        meta_json: &[u8],
        pulse: Arc<Pulse>,
    ) -> Result<Self, JournalError> {
        std::fs::create_dir_all(path).map_err(io_error("creating", path))?;
        let mut inside = std::fs::read_dir(path).map_err(|error| {
            let _ = std::fs::remove_dir(path); // as long as nothing is in it
            io_error("reading", path)(error)
        })?;
        if inside.next().is_some() {
            return Err(JournalError::Exists { path: path.into() });
        }
        Self::fill(path, meta_json, pulse).inspect_err(|_| remove(path))
    }

    fn fill(path: &Path, meta_json: &[u8], pulse: Arc<Pulse>) -> Result<Self, JournalError> {
        let name = path.join(MARKER);
        let mut marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&name)
            .map_err(io_error("creating", &name))?;
        marker.try_lock().map_err(|error| not_locked(error, path))?;
        marker
            .write_all(MARKER_TEXT)
            .and_then(|()| marker.sync_all())
            .map_err(io_error("writing", &name))?;
        let db = pulse
            .during(|| guarded(|| open_sled(path)))
            .map_err(|error| store_error("opening", path, error))?;
        let identity = identity(path).map_err(|_| JournalError::Gone { path: path.into() })?;
        let mut store = Self {
            path: path.into(),
            pulse,
            sled: Some(Sled {
                db,
                trees: BTreeMap::new(),
            }),
            written: BTreeMap::new(),
            safe: BTreeMap::new(),
            names: BTreeSet::new(),
            packer: Packer::new(LEVEL)?,
            content: Vec::new(),
            value: Vec::new(),
            _marker: marker,
            identity,
        };
        store.put_copied("meta", meta_json)?;
        store.flush()?;
        Ok(store)
    }

    /// A call into sled. After one that failed sled is never touched again: what a failed write
    /// left behind it may wait for without end, even while it is dropped. So it is not dropped.
    fn call<T>(
        &mut self,
        action: &'static str,
        call: impl FnOnce(&mut Sled) -> Result<T, sled::Error>,
    ) -> Result<T, JournalError> {
        let Some(sled) = &mut self.sled else {
            return Err(JournalError::WriterGone);
        };
        let result = self.pulse.during(|| guarded(|| call(sled)));
        result.map_err(|error| {
            std::mem::forget(self.sled.take());
            store_error(action, &self.path, error)
        })
    }

    /// Inserts a value; gives the bytes that it takes.
    fn put(&mut self, tree: u32, key: &[u8], content: &[u8]) -> Result<u64, JournalError> {
        if content.len() > value::MAX_CONTENT {
            return Err(JournalError::Store {
                action: "writing",
                reason: format!("a value of {} bytes", content.len()),
            });
        }
        let mut value = std::mem::take(&mut self.value);
        value::seal(tree, key, content, &mut value);
        let put = self.call("writing", |sled| {
            sled.tree(tree)?.insert(key, value.as_slice()).map(drop)
        });
        self.value = value;
        put.map(|()| self.value.len() as u64)
    }

    /// Inserts a value of the run twice.
    fn put_copied(&mut self, key: &str, content: &[u8]) -> Result<(), JournalError> {
        for key in copies(key) {
            self.put(RUN_TREE, key.as_bytes(), content)?;
        }
        Ok(())
    }
}

impl Sink for Store {
    fn put_block(&mut self, block: &Block) -> Result<u64, JournalError> {
        let (head, shard) = (block.head(), block.shard());
        let mut content = std::mem::take(&mut self.content);
        content.clear();
        content.resize(blocks::HEAD_BYTES, 0);
        self.packer.pack(block.raw(), &mut content)?;
        let rest = content.split_off(content.len().min(VALUE_BYTES));
        let pieces = u32::try_from(rest.len().div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        let safe = self.safe.get(&shard).copied().unwrap_or_default();
        blocks::put_head(&head, pieces, safe, &mut content);
        let mut stored = self.put(shard, &blocks::key(head.first_seq), &content)?;
        for (index, piece) in (1u32..).zip(rest.chunks(PIECE_BYTES)) {
            let put = self.put(shard, &blocks::piece_key(head.first_seq, index), piece)?;
            stored = stored.saturating_add(put);
        }
        self.content = content;
        self.written.insert(shard, block.next_seq());
        Ok(stored)
    }

    fn put_finish(
        &mut self,
        shard: u32,
        count: u64,
        after: EffectsDigest,
    ) -> Result<(), JournalError> {
        let end = [count.to_le_bytes(), after.0.to_le_bytes()].concat();
        self.put_copied(&end_key(shard), &end)
    }

    fn put_attachment(&mut self, head: &AttachmentHead, packed: &[u8]) -> Result<(), JournalError> {
        if !self.names.insert(head.name.clone()) {
            return Err(JournalError::BadName {
                name: head.name.clone(),
                reason: "is taken",
            });
        }
        for (index, piece) in (0u32..).zip(packed.chunks(PIECE_BYTES)) {
            self.put(RUN_TREE, &attachment_piece_key(&head.name, index), piece)?;
        }
        // Last, so that a head always has its pieces.
        let json = serde_json::to_vec(head).map_err(JournalError::Meta)?;
        self.put(RUN_TREE, &attachment_key(&head.name), &json)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.call("writing", |sled| sled.db.flush())?;
        if identity(&self.path).ok() != Some(self.identity) {
            std::mem::forget(self.sled.take());
            let path = self.path.clone();
            return Err(JournalError::Gone { path });
        }
        self.safe.clone_from(&self.written);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(sled) = self.sled.take() {
            // All was flushed that must last: what goes wrong now costs nothing.
            let _ = self.pulse.during(|| {
                guarded(|| {
                    drop(sled);
                    Ok(())
                })
            });
        }
    }
}

impl Sled {
    fn tree(&mut self, tree: u32) -> Result<&sled::Tree, sled::Error> {
        if !self.trees.contains_key(&tree) {
            let opened = self.db.open_tree(tree_name(tree))?;
            self.trees.insert(tree, opened);
        }
        self.trees
            .get(&tree)
            .ok_or_else(|| sled::Error::Unsupported("a tree that is not there".to_owned()))
    }
}

/// Removes a folder that was made a moment ago, and what is in it. What cannot be removed stays:
/// the error that led here is the one to tell of.
pub(crate) fn remove(path: &Path) {
    if std::fs::remove_dir_all(path).is_ok() {
        return;
    }
    // To look into a folder takes a file, and there may be none to be had: by name, as sled makes it.
    for name in [MARKER, "conf", "db"] {
        let _ = std::fs::remove_file(path.join(name));
    }
    for name in ["blobs", ""] {
        let _ = std::fs::remove_dir(path.join(name));
    }
}

fn open_sled(path: &Path) -> Result<sled::Db, sled::Error> {
    sled::Config::default()
        .path(path)
        .flush_every_ms(None)
        .cache_capacity(CACHE_BYTES)
        .open()
}

/// Every value of a folder of format 1, with its tree's number; the folder is written to.
fn read_v1(
    path: &Path,
    mut take: impl FnMut(u32, &[u8], &[u8]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let failed = |error| store_error("reading", path, error);
    let db = guarded(|| open_sled(path)).map_err(failed)?;
    for name in db.tree_names() {
        let Some(number) = tree_number(&name) else {
            continue;
        };
        let tree = guarded(|| db.open_tree(&name)).map_err(failed)?;
        let mut items = tree.iter();
        while let Some((key, value)) = guarded(|| items.next().transpose()).map_err(failed)? {
            take(number, &key, &value)?;
        }
    }
    Ok(())
}

/// Runs a call into sled, which panics on some damaged files, and makes that an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, sled::Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(sled::Error::ReportableBug("it panicked".to_owned())))
}

fn store_error(action: &'static str, path: &Path, error: sled::Error) -> JournalError {
    match error {
        sled::Error::Io(source) => JournalError::Io {
            action,
            path: path.into(),
            source: as_it_was(source),
        },
        other => JournalError::Store {
            action,
            reason: other.to_string(),
        },
    }
}

/// Device and number of the marker and of sled's file.
type Identity = [(u64, u64); 2];

/// Which files a store is, as whoever looks for it finds it.
fn identity(path: &Path) -> io::Result<Identity> {
    let of = |name: &str| {
        let about = std::fs::metadata(path.join(name))?;
        Ok::<_, io::Error>((about.dev(), about.ino()))
    };
    Ok([of(MARKER)?, of("db")?])
}

/// Of an error that it tells again sled keeps the kind, and of the rest the debugging form.
fn as_it_was(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let text = error.to_string();
    let code = text.split_once("Os { code: ");
    let code = code.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    match (code, error.kind()) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, io::ErrorKind::Other) => error,
        (None, kind) => kind.into(),
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = PathBuf::from(path);
    move |source| JournalError::Io {
        action,
        path: path.clone(),
        source,
    }
}

pub(crate) fn not_locked(error: TryLockError, path: &Path) -> JournalError {
    match error {
        TryLockError::WouldBlock => JournalError::Busy { path: path.into() },
        TryLockError::Error(source) => io_error("locking", path)(source),
    }
}

fn tree_name(tree: u32) -> String {
    match tree {
        RUN_TREE => "run".to_owned(),
        shard => format!("shard-{shard:05}"),
    }
}

fn tree_number(name: &[u8]) -> Option<u32> {
    match name {
        b"run" => Some(RUN_TREE),
        name => std::str::from_utf8(name)
            .ok()?
            .strip_prefix("shard-")?
            .parse()
            .ok(),
    }
}

/// A key of the run and that of its copy.
fn copies(key: &str) -> [String; 2] {
    [key.to_owned(), format!("{key}/copy")]
}

fn end_key(shard: u32) -> String {
    format!("end/{shard:05}")
}

fn attachment_key(name: &str) -> Vec<u8> {
    [ATTACHMENT, name.as_bytes()].concat()
}

fn attachment_piece_key(name: &str, index: u32) -> Vec<u8> {
    [ATTACHMENT, name.as_bytes(), &[0], &index.to_be_bytes()].concat()
}

pub(crate) const MARKER: &str = "smbench-journal";
const MARKER_TEXT: &[u8] = b"This folder is an SMBench journal, format 2.\n";
const ATTACHMENT: &[u8] = b"attachment/";
/// The number of the run's tree, where shards have theirs.
const RUN_TREE: u32 = u32::MAX;
/// No content of a value is larger.
const VALUE_BYTES: usize = 62 << 10;
const PIECE_BYTES: usize = 31 << 10;
const CACHE_BYTES: u64 = 64 << 20;
const LEVEL: i32 = 1;

#[cfg(test)]
mod tests;
