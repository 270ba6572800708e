//! The file that pages wait in.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::folder::FolderError;

/// A file without a name, made when it is first needed.
pub(crate) struct Scratch {
    /// Where it has one for a moment.
    path: PathBuf,
    /// Pages of a list that may be in memory, where that is said for all of them.
    room: Option<usize>,
    /// Bytes of memory that lists may still take beyond their room.
    spare: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<File>,
    end: u64,
    /// The first thing that went wrong.
    failure: Option<io::Error>,
}

/// Memory that a list has beyond its room, and gives back when it goes.
#[derive(Debug, Default)]
pub(super) struct Spared {
    of: Option<Arc<Scratch>>,
    bytes: usize,
}

impl Spared {
    pub(super) fn new(of: Option<&Arc<Scratch>>) -> Self {
        let of = of.cloned();
        Self { of, bytes: 0 }
    }

    /// Whether so many more bytes may be in memory.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let take = |spare: usize| spare.checked_sub(bytes);
        let taken = self.of.as_ref().is_some_and(|of| {
            let taken = (of.spare).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            taken.is_ok()
        });
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.spare.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Where a page is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: u64,
    len: usize,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scratch").field(&self.path).finish()
    }
}

impl Scratch {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            room: None,
            spare: AtomicUsize::new(SPARE),
            inner: Mutex::default(),
        })
    }

    /// One with which lists have no more than so many pages in memory.
    #[cfg(test)]
    pub(crate) fn tight(path: PathBuf, room: usize) -> Arc<Self> {
        Arc::new(Self {
            path,
            room: Some(room),
            spare: AtomicUsize::new(0),
            inner: Mutex::default(),
        })
    }

    pub(super) fn room(&self, asked: usize) -> usize {
        self.room.unwrap_or(asked)
    }

    /// Whether everything has been written and read.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn check(&self) -> Result<(), FolderError> {
        match self.lock().failure.take() {
            Some(failure) => Err(FolderError::io(&self.path)(failure)),
            None => Ok(()),
        }
    }

    /// Bytes in the file.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.lock().end
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Option<Place> {
        let mut inner = self.lock();
        if inner.failure.is_some() {
            return None;
        }
        let written = inner.write(&self.path, bytes);
        inner.keep(written)
    }

    /// Fills `buffer` with what was written.
    pub(super) fn read(&self, place: Place, buffer: &mut Vec<u8>) -> bool {
        let mut inner = self.lock();
        buffer.resize(place.len, 0);
        let read = inner.read(place.at, buffer);
        inner.keep(read).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // What is inside is whole even if a thread has panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<Place> {
        if self.file.is_none() {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(path)?;
            // The open file is all that is needed of it.
            fs::remove_file(path)?;
            self.file = Some(file);
        }
        let place = Place {
            at: self.end,
            len: bytes.len(),
        };
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(place.at))?;
            file.write_all(bytes)?;
        }
        self.end += bytes.len() as u64;
        Ok(place)
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(buffer)
    }

    /// Remembers what went wrong.
    fn keep<T>(&mut self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.failure.get_or_insert(failure);
                None
            }
        }
    }
}

/// Bytes that all lists together may have in memory beyond their room.
const SPARE: usize = 24 << 20;
