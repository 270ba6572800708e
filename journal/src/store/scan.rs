//! Finds the values in a folder's files, whatever lies between them.
//!
//! A value may be there more than once, since sled writes it again when it rewrites a page. All
//! copies are equal, because none is ever changed: any whole one will do.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    MARKER, io_error,
    value::{self, MAGIC, MAX_VALUE},
};
use crate::error::{Damage, JournalError, Unread};

/// The values of a folder.
pub(super) struct Values {
    /// They are opened when they are read: sled may keep pages in thousands of files.
    files: Vec<PathBuf>,
    found: BTreeMap<(u32, Vec<u8>), Place>,
    /// Bytes of all files, the marker included.
    pub(super) bytes: u64,
}

/// Where a value is.
pub(super) struct Place {
    file: usize,
    at: u64,
    /// Its bytes, and those of its content.
    pub(super) len: usize,
    pub(super) content_len: usize,
    /// The first bytes of its content.
    pub(super) lead: Vec<u8>,
    /// No copy of it is whole.
    pub(super) damage: Option<Damage>,
}

impl Values {
    /// Looks through all files of `folder` and of the folders in it.
    pub(super) fn of(folder: &Path) -> Result<Self, JournalError> {
        let mut values = Self {
            files: Vec::new(),
            found: BTreeMap::new(),
            bytes: 0,
        };
        for path in files_in(folder)? {
            let file = File::open(&path).map_err(io_error("opening", &path))?;
            let about = file.metadata().map_err(io_error("reading", &path))?;
            values.bytes = values.bytes.saturating_add(about.len());
            if path.file_name().is_some_and(|name| name == MARKER) {
                continue;
            }
            values
                .look_through(&file, about.len())
                .map_err(io_error("reading", &path))?;
            values.files.push(path);
        }
        Ok(values)
    }

    fn look_through(&mut self, file: &File, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut window = vec![0; WINDOW.min(len)];
        let (mut start, mut have) = (0, 0);
        loop {
            let read = read_at(
                file,
                window.get_mut(have..).unwrap_or_default(),
                start,
                have,
            )?;
            have += read;
            let bytes = window.get(..have).unwrap_or_default();
            // What begins in the last part may not be here whole: it is looked at again.
            let at_end = read == 0;
            let until = if at_end {
                have
            } else {
                have.saturating_sub(MAX_VALUE)
            };
            let done = self.look_at(bytes, until, start);
            if at_end {
                return Ok(());
            }
            window.copy_within(done..have, 0);
            start += done as u64;
            have -= done;
        }
    }

    /// Notes the values that begin before `until`; gives where to go on.
    fn look_at(&mut self, bytes: &[u8], until: usize, start: u64) -> usize {
        let mut at = 0;
        while at < until {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(skip) = find(rest, until - at) else {
                return until;
            };
            at += skip;
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(head) = value::head(rest) else {
                at += 1;
                continue;
            };
            let content = head.content(rest);
            let place = Place {
                file: self.files.len(),
                at: start + at as u64,
                len: head.len,
                content_len: head.content_len(),
                lead: lead(content.as_ref().copied().unwrap_or_default()),
                damage: content.err(),
            };
            // Behind damage nothing is certain: another value may begin within this one's length.
            at += if place.damage.is_none() { head.len } else { 1 };
            let key = (head.tree, head.key.to_vec());
            let known = self.found.get(&key);
            if known.is_none_or(|known| known.damage.is_some() && place.damage.is_none()) {
                self.found.insert(key, place);
            }
        }
        at
    }

    /// The keys in `tree` and where their values are, ascending.
    pub(super) fn in_tree(&self, tree: u32) -> impl Iterator<Item = (&[u8], &Place)> {
        self.found
            .range((tree, Vec::new())..)
            .take_while(move |((of, _), _)| *of == tree)
            .map(|((_, key), place)| (key.as_slice(), place))
    }

    /// The numbers of all trees.
    pub(super) fn trees(&self) -> impl Iterator<Item = u32> {
        let mut last = None;
        self.found.keys().filter_map(move |(tree, _)| {
            let new = last != Some(*tree);
            last = Some(*tree);
            new.then_some(*tree)
        })
    }

    /// Where a value is; `None` when it is not there.
    pub(super) fn place(&self, tree: u32, key: &[u8]) -> Option<&Place> {
        self.found.get(&(tree, key.to_vec()))
    }

    /// The content of a value; `None` when it is not there.
    pub(super) fn get(&self, tree: u32, key: &[u8]) -> Result<Option<Vec<u8>>, Unread> {
        let Some(place) = self.place(tree, key) else {
            return Ok(None);
        };
        if let Some(damage) = &place.damage {
            return Err(damage.clone().into());
        }
        let mut bytes = vec![0; place.len];
        let path = self.files.get(place.file).ok_or(Damage::Missing)?;
        File::open(path)
            .and_then(|file| file.read_exact_at(&mut bytes, place.at))
            .map_err(|source| Unread::Failed(io_error("reading", path)(source)))?;
        let head = value::head(&bytes).ok_or(Damage::Missing)?;
        Ok(Some(head.content(&bytes)?.to_vec()))
    }
}

/// Where the magic begins next, before `until`.
fn find(bytes: &[u8], until: usize) -> Option<usize> {
    let last = until + MAGIC.len() - 1;
    let bytes = bytes.get(..last).unwrap_or(bytes);
    bytes.windows(MAGIC.len()).position(|it| it == MAGIC)
}

fn lead(content: &[u8]) -> Vec<u8> {
    content.get(..LEAD).unwrap_or(content).to_vec()
}

/// Reads to fill `into`, which lies `have` bytes behind `start`; 0 at the end of the file.
fn read_at(file: &File, into: &mut [u8], start: u64, have: usize) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, start + (have + read) as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// All files in `folder` and in the folders in it, by name.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let items = std::fs::read_dir(&folder).map_err(io_error("reading", &folder))?;
        for item in items {
            let item = item.map_err(io_error("reading", &folder))?;
            let kind = item.file_type().map_err(io_error("reading", &folder))?;
            if kind.is_dir() && depth < MAX_DEPTH {
                folders.push((item.path(), depth + 1));
            } else if kind.is_file() {
                files.push(item.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

const WINDOW: usize = 4 << 20;
/// How much of a value's content is remembered.
const LEAD: usize = super::blocks::HEAD_BYTES;
/// Sled has one level of folders.
const MAX_DEPTH: u32 = 2;
