//! Writing a workload folder.

use std::{
    borrow::Borrow,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc::sync_channel},
    thread,
};

use serde::Serialize;
use smbench_core::workload::{Entry, Operation, Workload};

use super::{BlobWriter, FolderError, PackWriter, name};
use crate::threads::joined;

/// A workload folder on its way. What was written vanishes unless [`FolderWriter::finish`] is
/// reached.
#[derive(Debug)]
pub struct FolderWriter {
    /// Where it is written.
    temporary: PathBuf,
    /// Where it goes.
    target: PathBuf,
    /// Files that are written, but may not be durable.
    written: Mutex<Vec<(PathBuf, File)>>,
    finished: bool,
}

impl FolderWriter {
    /// Begins a workload that will be at `target`: nothing, an empty folder, or a workload folder
    /// that is replaced.
    ///
    /// # Errors
    ///
    /// [`FolderError::Occupied`], [`FolderError::Io`].
    pub fn create(target: &Path) -> Result<Self, FolderError> {
        check_target(target)?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(FolderError::io(parent))?;
        let temporary = Self::unfinished(target);
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(FolderError::io(&temporary))?;
        }
        fs::create_dir(&temporary).map_err(FolderError::io(&temporary))?;
        Ok(Self {
            temporary,
            target: target.to_owned(),
            written: Mutex::default(),
            finished: false,
        })
    }

    /// The first thing in a workload's folder, by name, that is none of a workload's files: a
    /// folder that holds such a thing is never replaced.
    ///
    /// # Errors
    ///
    /// Those of reading the folder.
    pub fn stranger(folder: &Path) -> io::Result<Option<OsString>> {
        let mut first: Option<OsString> = None;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = OURS.iter().any(|file| name == **file) && entry.file_type()?.is_file();
            if !ours && first.as_ref().is_none_or(|first| name < *first) {
                first = Some(name);
            }
        }
        Ok(first)
    }

    /// Where this process writes the workload for `target` until it is whole.
    #[must_use]
    pub fn unfinished(target: &Path) -> PathBuf {
        let mut file_name = OsString::from(".");
        file_name.push(target.file_name().unwrap_or("workload".as_ref()));
        file_name.push(format!(".{}.tmp", std::process::id()));
        target.with_file_name(file_name)
    }

    /// Begins the folder's pack of bulk data.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub fn blobs(&self) -> Result<BlobWriter, FolderError> {
        BlobWriter::create(&self.temporary.join(name::BLOBS))
    }

    /// Begins the data of the folder's pack.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn pack(&self) -> Result<PackWriter, FolderError> {
        PackWriter::create(&self.temporary.join(name::BLOBS))
    }

    /// Where operations may wait; the file must be gone when the folder is finished.
    pub(crate) fn spill(&self) -> PathBuf {
        self.temporary.join(name::SPILL)
    }

    /// Where a file may be whose name goes as soon as it is open.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.temporary.join(name::SCRATCH)
    }

    /// Writes the operations, as lines of JSON.
    ///
    /// `next` appends the next lines to its argument, which is empty, and says whether there are
    /// more. Much of them is made durable while others are still to come, so that nobody waits long
    /// for that in the end.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], and those of `next`.
    pub(crate) fn operation_lines(
        &self,
        mut next: impl FnMut(&mut Vec<u8>) -> Result<bool, FolderError>,
    ) -> Result<(), FolderError> {
        let path = self.temporary.join(name::OPERATIONS);
        let file = File::create_new(&path).map_err(FolderError::io(&path))?;
        let (to, due) = sync_channel(1);
        thread::scope(|scope| {
            let mut lines = Vec::new();
            let mut volatile = 0;
            let file = &file;
            let syncer = scope.spawn(move || due.into_iter().try_for_each(|()| file.sync_data()));
            loop {
                let more = next(&mut lines)?;
                let written = { file }.write_all(&lines);
                written.map_err(FolderError::io(&path))?;
                volatile += lines.len();
                lines.clear();
                if !more {
                    break;
                }
                // Nothing is asked of one that is still at work, or has failed.
                if volatile >= SYNC_EVERY && to.try_send(()).is_ok() {
                    volatile = 0;
                }
            }
            drop(to);
            joined(syncer).map_err(FolderError::io(&path))
        })?;
        self.keep(path, file);
        Ok(())
    }

    /// Writes the operations.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`].
    pub fn operations<T: Borrow<Operation>>(
        &self,
        operations: impl IntoIterator<Item = T>,
    ) -> Result<(), FolderError> {
        self.lines::<Operation, T>(name::OPERATIONS, operations)
    }

    /// Writes the initial namespace.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`].
    pub fn namespace<T: Borrow<Entry>>(
        &self,
        entries: impl IntoIterator<Item = T>,
    ) -> Result<(), FolderError> {
        self.lines::<Entry, T>(name::NAMESPACE, entries)
    }

    /// Writes the tables and moves the folder to its place. Operations, namespace and blobs must
    /// have been written.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`], [`FolderError::Occupied`].
    pub fn finish(mut self, workload: &Workload) -> Result<(), FolderError> {
        let path = self.temporary.join(name::WORKLOAD);
        let mut json = serde_json::to_vec_pretty(workload).map_err(unwritable(&path))?;
        json.push(b'\n');
        let mut file = File::create_new(&path).map_err(FolderError::io(&path))?;
        file.write_all(&json).map_err(FolderError::io(&path))?;
        self.keep(path, file);
        self.sync()?;
        check_target(&self.target)?;
        if self.target.exists() {
            fs::remove_dir_all(&self.target).map_err(FolderError::io(&self.target))?;
        }
        fs::rename(&self.temporary, &self.target).map_err(FolderError::io(&self.target))?;
        self.finished = true;
        Ok(())
    }

    fn lines<L: Serialize, T: Borrow<L>>(
        &self,
        file_name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Result<(), FolderError> {
        let path = self.temporary.join(file_name);
        let file = File::create_new(&path).map_err(FolderError::io(&path))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        for item in items {
            serde_json::to_writer(&mut out, item.borrow()).map_err(unwritable(&path))?;
            out.write_all(b"\n").map_err(FolderError::io(&path))?;
        }
        let file = out.into_inner().map_err(|it| it.into_error());
        let file = file.map_err(FolderError::io(&path))?;
        self.keep(path, file);
        Ok(())
    }

    /// A file is written, and becomes durable with the others.
    fn keep(&self, path: PathBuf, file: File) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((path, file));
    }

    /// Makes what is written durable, all files at once: a disk does that in the time of one.
    fn sync(&mut self) -> Result<(), FolderError> {
        let written = self
            .written
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let written = std::mem::take(written);
        thread::scope(|scope| {
            let sync = |(path, file): (PathBuf, File)| {
                scope.spawn(move || file.sync_all().map_err(FolderError::io(&path)))
            };
            let threads: Vec<_> = written.into_iter().map(sync).collect();
            threads.into_iter().try_for_each(joined)
        })
    }
}

impl Drop for FolderWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Half a workload is of no use; where it cannot be removed it stays behind, hidden. By
            // name: to look into the folder takes a file, and there may be none to be had.
            for name in OURS.iter().chain(&[name::SPILL, name::SCRATCH]) {
                let _ = fs::remove_file(self.temporary.join(name));
            }
            let _ = fs::remove_dir(&self.temporary);
        }
    }
}

fn unwritable(path: &Path) -> impl FnOnce(serde_json::Error) -> FolderError {
    let path = path.to_owned();
    move |source| match source.io_error_kind() {
        Some(_) => FolderError::Io {
            path,
            source: source.into(),
        },
        None => FolderError::Unwritable { path, source },
    }
}

/// Only nothing, an empty folder or a workload and nothing else may be replaced.
fn check_target(target: &Path) -> Result<(), FolderError> {
    let occupied = || FolderError::Occupied {
        path: target.to_owned(),
    };
    if !target.exists() {
        return Ok(());
    }
    if target.join(name::WORKLOAD).is_file() {
        return match FolderWriter::stranger(target).map_err(FolderError::io(target))? {
            None => Ok(()),
            Some(_) => Err(occupied()),
        };
    }
    if !target.is_dir() {
        return Err(occupied());
    }
    let mut entries = fs::read_dir(target).map_err(FolderError::io(target))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(occupied()),
    }
}

/// The files of a workload.
const OURS: [&str; 4] = [
    name::WORKLOAD,
    name::OPERATIONS,
    name::NAMESPACE,
    name::BLOBS,
];
/// Bytes of operations that are written before they are made durable.
const SYNC_EVERY: usize = 8 << 20;
