//! Folders of format 1, whose values only sled can find: they are copied, sled reads the copy, and
//! its values are written down as those of today.
//!
//! | tree      | key                                 | value                                  |
//! |-----------|-------------------------------------|----------------------------------------|
//! | `shard-N` | number of the first event, u64 BE   | kind 1, pieces, count, length u32,     |
//! |           |                                     | base time u64, compressed events       |
//! |           | number after the last event         | kind 2, 3 u32, u64, final digest u64   |
//! |           | number of the first, piece u32 BE   | more of a block                        |
//! | `run`     | as today, without copies and ends   | as today                               |
//!
//! Before each value stands a CRC32 over tree's number, key and value.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use super::{
    RUN_TREE, blocks, copies, end_key, io_error, read_v1,
    scan::files_in,
    value::{self, take_u32},
};
use crate::{error::JournalError, temporary::TemporaryFolder};

/// Copies the folder, and gives a temporary one with its values as those of today.
pub(super) fn read_into_temporary(path: &Path) -> Result<TemporaryFolder, JournalError> {
    let made = TemporaryFolder::new()?;
    let copy = TemporaryFolder::new()?;
    for from in files_in(path)? {
        let Ok(name) = from.strip_prefix(path) else {
            continue;
        };
        let to = copy.path().join(name);
        let copied = to
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::copy(&from, &to));
        copied.map_err(io_error("copying", &from))?;
    }
    let out = made.path().join("values");
    let file = File::create(&out).map_err(io_error("creating", &out))?;
    let mut values = Rewriter {
        out: BufWriter::new(file),
        value: Vec::new(),
    };
    read_v1(copy.path(), |tree, key, value| {
        values
            .take(tree, key, value)
            .map_err(io_error("writing", &out))
    })?;
    values.out.flush().map_err(io_error("writing", &out))?;
    Ok(made)
}

/// Writes old values down as new ones.
struct Rewriter {
    out: BufWriter<File>,
    value: Vec<u8>,
}

impl Rewriter {
    fn take(&mut self, tree: u32, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        let Some(content) = unseal(tree, key, value) else {
            return self.put_damaged(tree, key);
        };
        if tree == RUN_TREE {
            return match key {
                b"meta" => self.put_copied("meta", content),
                key => self.put(RUN_TREE, key, content),
            };
        }
        let Some(seq) = blocks::seq_of(key) else {
            return self.put(tree, key, content);
        };
        match take_u32(content) {
            Some((BLOCK, rest)) if rest.len() >= HEAD_BYTES => {
                let (head, payload) = rest.split_at(HEAD_BYTES);
                // All before the last block was whole, by the order in which sled writes.
                let content = [head, &seq.to_le_bytes(), payload].concat();
                self.put(tree, key, &content)
            }
            Some((END, rest)) if rest.len() >= HEAD_BYTES => {
                let (_, after) = rest.split_at(HEAD_BYTES);
                self.put_copied(&end_key(tree), &[&seq.to_le_bytes(), after].concat())
            }
            _ => self.put_damaged(tree, key),
        }
    }

    fn put(&mut self, tree: u32, key: &[u8], content: &[u8]) -> std::io::Result<()> {
        value::seal(tree, key, content, &mut self.value);
        self.out.write_all(&self.value)
    }

    fn put_copied(&mut self, key: &str, content: &[u8]) -> std::io::Result<()> {
        for key in copies(key) {
            self.put(RUN_TREE, key.as_bytes(), content)?;
        }
        Ok(())
    }

    /// A value that was not what had been written stays one that is not.
    fn put_damaged(&mut self, tree: u32, key: &[u8]) -> std::io::Result<()> {
        value::seal(tree, key, &[], &mut self.value);
        if let Some(last) = self.value.last_mut() {
            *last ^= 1;
        }
        self.out.write_all(&self.value)
    }
}

/// What an old value holds; `None` when its checksum does not match.
fn unseal<'a>(tree: u32, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (expected, content) = take_u32(value)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&tree.to_le_bytes());
    crc.update(key);
    crc.update(content);
    (crc.finalize() == expected).then_some(content)
}

pub(super) const MARKER_TEXT: &[u8] = b"This folder is an SMBench journal, format 1.\n";
const BLOCK: u32 = 1;
const END: u32 = 2;
/// Pieces, count, uncompressed length, base time.
const HEAD_BYTES: usize = 3 * 4 + 8;
