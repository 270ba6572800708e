//! A run's journal in a sled folder: the only file that names sled.
//!
//! | tree         | key                                | value                                  |
//! |--------------|------------------------------------|----------------------------------------|
//! | `shard-N`    | number of the first event, u64 BE  | a block's head and compressed events   |
//! |              | that and a piece number, u32 BE    | more of a block over [`VALUE_BYTES`]   |
//! |              | number after the last event        | the end record                         |
//! | `run`        | `meta`                             | [`crate::RunMeta`] as JSON             |
//! |              | `attachment/NAME`                  | its length and digest as JSON          |
//! |              | `attachment/NAME`, 0, number u32 BE | a piece of it                         |
//!
//! Each value carries a CRC over tree, key and content. Only plain `insert` is used: `apply_batch`
//! loses acknowledged events when the process is killed. Values stay under 64 KiB, beyond which
//! sled puts them into files of their own. A marker file beside sled's says what the folder is and
//! holds the lock.

mod blocks;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use smbench_core::{event::EffectsDigest, ids::LogicalTime};

pub(crate) use self::blocks::Blocks;
use crate::{
    block::{Block, BlockHead, LoadedBlock, Packer, Unpacker},
    entries::NumberedBlock,
    error::{Damage, JournalError},
    meta::AttachmentHead,
    reader::TornTail,
    writer::Sink,
};

/// A tree of the store, and its items: the rest of the journal does not name sled.
type Tree = sled::Tree;
type Items = sled::Iter;

/// An open sled folder.
pub(crate) struct Store {
    db: sled::Db,
    run: Tree,
    shards: BTreeMap<u32, Tree>,
    packer: Packer,
    value: Vec<u8>,
    /// Held for its lock.
    _marker: File,
}

/// How one shard's record ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ShardEnd {
    /// Number of events and final digest, when the record was ended.
    pub(crate) finish: Option<(u64, EffectsDigest)>,
    /// Blocks from this one on are a torn tail.
    pub(crate) cut_at: Option<u64>,
}

impl Store {
    /// Makes a new folder for `shards` shards.
    pub(crate) fn create(path: &Path, meta_json: &[u8], shards: u32) -> Result<Self, JournalError> {
        std::fs::create_dir_all(path).map_err(io_error("creating", path))?;
        let mut inside = std::fs::read_dir(path).map_err(io_error("reading", path))?;
        if inside.next().is_some() {
            return Err(JournalError::Exists { path: path.into() });
        }
        let name = path.join(MARKER);
        let mut marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&name)
            .map_err(io_error("creating", &name))?;
        lock(&marker, path)?;
        marker
            .write_all(MARKER_TEXT)
            .and_then(|()| marker.sync_all())
            .map_err(io_error("writing", &name))?;
        let mut store = Self::open_sled(path, marker)?;
        store.put_run(b"meta", meta_json)?;
        for shard in 0..shards {
            let tree = guarded("creating a shard", || store.db.open_tree(shard_name(shard)))?;
            store.shards.insert(shard, tree);
        }
        store.flush()?;
        Ok(store)
    }

    /// Opens a folder that [`Self::create`] made.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let name = path.join(MARKER);
        let marker = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .map_err(io_error("opening", &name))?;
        lock(&marker, path)?;
        let mut store = Self::open_sled(path, marker)?;
        for name in store.db.tree_names() {
            let shard = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| name.strip_prefix("shard-"))
                .and_then(|number| number.parse().ok());
            if let Some(shard) = shard {
                let tree = guarded("opening a shard", || store.db.open_tree(&name))?;
                store.shards.insert(shard, tree);
            }
        }
        Ok(store)
    }

    /// Whether `path` is a folder that [`Self::create`] made.
    pub(crate) fn is_store(path: &Path) -> bool {
        std::fs::read(path.join(MARKER)).is_ok_and(|text| text == MARKER_TEXT)
    }

    fn open_sled(path: &Path, marker: File) -> Result<Self, JournalError> {
        let db = guarded("opening", || {
            let config = sled::Config::default()
                .path(path)
                .flush_every_ms(None)
                .cache_capacity(CACHE_BYTES);
            // Our own lock says that nobody else has it open: what holds sled's file is a thread of
            // a store that this process has just dropped.
            let mut tries = 0;
            loop {
                match config.open() {
                    Err(sled::Error::Io(error)) if is_held(&error) && tries < DROP_TRIES => {
                        tries += 1;
                        std::thread::sleep(DROP_WAIT);
                    }
                    opened => return opened,
                }
            }
        })?;
        let run = guarded("opening the run's tree", || db.open_tree("run"))?;
        Ok(Self {
            db,
            run,
            shards: BTreeMap::new(),
            packer: Packer::new(LEVEL)?,
            value: Vec::new(),
            _marker: marker,
        })
    }

    pub(crate) fn meta_json(&self) -> Result<Vec<u8>, JournalError> {
        self.get_run(b"meta")?
            .ok_or_else(|| JournalError::part("run metadata", Damage::Missing))
    }

    pub(crate) fn has_shard(&self, shard: u32) -> bool {
        self.shards.contains_key(&shard)
    }

    /// Stores an attachment's head and its zstd stream.
    pub(crate) fn put_attachment(
        &self,
        head: &AttachmentHead,
        packed: &[u8],
    ) -> Result<(), JournalError> {
        let key = attachment_key(&head.name);
        if self.get_run(&key)?.is_some() {
            return Err(JournalError::BadName {
                name: head.name.clone(),
                reason: "is taken",
            });
        }
        for (index, piece) in (0u32..).zip(packed.chunks(PIECE_BYTES)) {
            self.put_run(&piece_key(&key, index), piece)?;
        }
        // Last, so that a head always has its pieces.
        let json = serde_json::to_vec(head).map_err(JournalError::Meta)?;
        self.put_run(&key, &json)
    }

    /// The heads of all attachments, by name.
    pub(crate) fn attachments(&self) -> Result<Vec<AttachmentHead>, JournalError> {
        let mut heads = Vec::new();
        let mut items = self.run.scan_prefix(ATTACHMENT);
        while let Some((key, value)) = guarded("reading attachments", || items.next().transpose())?
        {
            if !key.contains(&0) {
                let json = unseal_run(&key, &value)?;
                heads.push(serde_json::from_slice(json).map_err(JournalError::Meta)?);
            }
        }
        Ok(heads)
    }

    /// An attachment's zstd stream, unchecked.
    pub(crate) fn attachment_stream(&self, head: &AttachmentHead) -> Result<Vec<u8>, JournalError> {
        let key = attachment_key(&head.name);
        let mut stream = Vec::new();
        for index in 0u32.. {
            match self.get_run(&piece_key(&key, index))? {
                Some(piece) => stream.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(stream)
    }

    fn put_run(&self, key: &[u8], content: &[u8]) -> Result<(), JournalError> {
        let mut value = vec![0; CRC_BYTES];
        value.extend_from_slice(content);
        seal(RUN_TREE, key, &mut value);
        self.run
            .insert(key, value)
            .map_err(store_error("writing to the run's tree"))?;
        Ok(())
    }

    fn get_run(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let value = guarded("reading the run's tree", || self.run.get(key))?;
        value
            .map(|value| unseal_run(key, &value).map(<[u8]>::to_vec))
            .transpose()
    }

    fn tree(&self, shard: u32) -> Result<&Tree, JournalError> {
        self.shards
            .get(&shard)
            .ok_or_else(|| JournalError::part(shard_name(shard), Damage::Missing))
    }

    /// Bytes of all files in the folder.
    pub(crate) fn size_on_disk(&self) -> Result<u64, JournalError> {
        self.db
            .size_on_disk()
            .map_err(store_error("reading the folder's size"))
    }
}

impl Sink for Store {
    fn put_block(&mut self, block: &Block) -> Result<u64, JournalError> {
        let head = block.head();
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        value.resize(HEAD_BYTES, 0);
        self.packer.pack(block.raw(), &mut value)?;
        let rest = value.split_off(value.len().min(VALUE_BYTES));
        let pieces = u32::try_from(rest.len().div_ceil(VALUE_BYTES)).unwrap_or(u32::MAX);
        put_head(&head, KIND_BLOCK, pieces, &mut value);
        let key = head.first_seq.to_be_bytes();
        seal(head.shard, &key, &mut value);
        let tree = self.tree(head.shard)?;
        let mut stored = value.len() as u64;
        let put = |key: &[u8], value: &[u8]| {
            tree.insert(key, value)
                .map(drop)
                .map_err(store_error("writing a block"))
        };
        put(&key, &value)?;
        for (index, content) in (1u32..).zip(rest.chunks(VALUE_BYTES)) {
            let mut piece = vec![0; CRC_BYTES];
            piece.extend_from_slice(content);
            let key = piece_key(&key, index);
            seal(head.shard, &key, &mut piece);
            stored = stored.saturating_add(piece.len() as u64);
            put(&key, &piece)?;
        }
        self.value = value;
        Ok(stored)
    }

    fn put_finish(
        &mut self,
        shard: u32,
        count: u64,
        after: EffectsDigest,
    ) -> Result<(), JournalError> {
        let mut value = vec![0; HEAD_BYTES];
        let head = BlockHead {
            shard,
            first_seq: count,
            base: LogicalTime::ZERO,
            count: 0,
            raw_len: 0,
        };
        put_head(&head, KIND_END, 0, &mut value);
        value.extend_from_slice(&after.0.to_le_bytes());
        let key = count.to_be_bytes();
        seal(shard, &key, &mut value);
        self.tree(shard)?
            .insert(key, value)
            .map_err(store_error("writing an end record"))?;
        Ok(())
    }

    fn put_attachment(&mut self, name: &str, data: &[u8]) -> Result<(), JournalError> {
        let (head, packed) = AttachmentHead::pack(name, data)?;
        Self::put_attachment(self, &head, &packed)
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        guarded("flushing", || self.db.flush()).map(drop)
    }
}

/// Runs a call into sled that is known to panic on damaged files, and makes that an error.
fn guarded<T>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, JournalError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(sled::Error::ReportableBug("it panicked".to_owned())))
        .map_err(store_error(action))
}

/// Sled gives the lock's own error inside another, as text.
fn is_held(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.to_string().contains("acquire lock")
}

/// How long the threads of a dropped store are waited for, a try at a time.
const DROP_WAIT: std::time::Duration = std::time::Duration::from_millis(5);
const DROP_TRIES: u32 = 400;

fn store_error(action: &'static str) -> impl Fn(sled::Error) -> JournalError {
    move |error| JournalError::Store {
        action,
        reason: error.to_string(),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = PathBuf::from(path);
    move |source| JournalError::Io {
        action,
        path: path.clone(),
        source,
    }
}

fn lock(marker: &File, path: &Path) -> Result<(), JournalError> {
    marker.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => JournalError::Busy { path: path.into() },
        TryLockError::Error(source) => io_error("locking", path)(source),
    })
}

fn shard_name(shard: u32) -> String {
    format!("shard-{shard:05}")
}

fn attachment_key(name: &str) -> Vec<u8> {
    [ATTACHMENT, name.as_bytes()].concat()
}

fn piece_key(key: &[u8], index: u32) -> Vec<u8> {
    let mut piece = key.to_vec();
    if key.starts_with(ATTACHMENT) {
        piece.push(0);
    }
    piece.extend_from_slice(&index.to_be_bytes());
    piece
}

/// Fills the first [`HEAD_BYTES`] of `value`, but for the checksum.
fn put_head(head: &BlockHead, kind: u32, pieces: u32, value: &mut [u8]) {
    let fields = [kind, pieces, head.count, head.raw_len];
    let bytes = fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .chain(head.base.0.to_le_bytes());
    for (slot, byte) in value.iter_mut().skip(CRC_BYTES).zip(bytes) {
        *slot = byte;
    }
}

/// Puts the checksum into the first bytes of `value`.
fn seal(tree: u32, key: &[u8], value: &mut [u8]) {
    let crc = checksum(tree, key, value.get(CRC_BYTES..).unwrap_or_default());
    if let Some(slot) = value.get_mut(..CRC_BYTES) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The content of a sealed value.
fn unseal<'a>(tree: u32, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (crc, content) = value
        .split_first_chunk::<CRC_BYTES>()
        .ok_or(Damage::Short {
            need: CRC_BYTES as u64,
            have: value.len() as u64,
        })?;
    let expected = u32::from_le_bytes(*crc);
    let found = checksum(tree, key, content);
    if expected == found {
        Ok(content)
    } else {
        Err(Damage::Checksum { expected, found })
    }
}

fn unseal_run<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], JournalError> {
    unseal(RUN_TREE, key, value)
        .map_err(|damage| JournalError::part(String::from_utf8_lossy(key).into_owned(), damage))
}

fn checksum(tree: u32, key: &[u8], content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&tree.to_le_bytes());
    crc.update(key);
    crc.update(content);
    crc.finalize()
}

const MARKER: &str = "smbench-journal";
const MARKER_TEXT: &[u8] = b"This folder is an SMBench journal, format 1.\n";
const ATTACHMENT: &[u8] = b"attachment/";
/// Stands for the run's tree in checksums, where shards stand for theirs.
const RUN_TREE: u32 = u32::MAX;
const KIND_BLOCK: u32 = 1;
const KIND_END: u32 = 2;
const CRC_BYTES: usize = 4;
/// Checksum, kind, pieces, count, uncompressed length, base time.
const HEAD_BYTES: usize = CRC_BYTES + 4 * 4 + 8;
/// No value is larger, but for its checksum.
const VALUE_BYTES: usize = 62 << 10;
const PIECE_BYTES: usize = 31 << 10;
const CACHE_BYTES: u64 = 64 << 20;
const LEVEL: i32 = 1;

#[cfg(test)]
mod tests;
