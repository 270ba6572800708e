//! Journal folders as a file system has them: when they were made, how much they take, removing them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    error::JournalError,
    store::{MARKER, io_error, not_locked},
};

/// A journal folder from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FolderAbout {
    /// When it was made.
    pub made: SystemTime,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Looks at the journal folder `path` without reading the journal.
///
/// # Errors
///
/// [`JournalError::NotAJournal`] where there is none, or a link to one; [`JournalError::Io`].
pub fn about_folder(path: impl AsRef<Path>) -> Result<FolderAbout, JournalError> {
    let path = path.as_ref();
    let marker = own_marker(path)?;
    let about = fs::symlink_metadata(&marker).map_err(io_error("looking at", &marker))?;
    // The marker is written once, when the folder is made.
    let made = about.modified().map_err(io_error("looking at", &marker))?;
    Ok(FolderAbout {
        made,
        bytes: bytes_below(path)?,
    })
}

/// A journal folder that can be removed; nobody else opens it meanwhile.
#[derive(Debug)]
pub struct Removable {
    path: PathBuf,
    /// Files and folders in it, each with whether it is a folder; the marker last.
    parts: Vec<(PathBuf, bool)>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Held for its lock.
    _marker: File,
}

impl Removable {
    /// Looks whether the journal folder `path` can be removed. It cannot while a process writes or reads
    /// it, when it holds anything that is no part of a journal, or when it is a link.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotAJournal`], [`JournalError::Busy`], [`JournalError::Io`].
    pub fn at(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let name = own_marker(path)?;
        let marker = File::open(&name).map_err(io_error("opening", &name))?;
        marker.try_lock().map_err(|error| not_locked(error, path))?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(path).map_err(io_error("reading", path))? {
            let entry = entry.map_err(io_error("reading", path))?;
            let kind = entry.file_type();
            let kind = kind.map_err(io_error("looking at", &entry.path()))?;
            let name = entry.file_name();
            if !is_part(&name.to_string_lossy(), kind.is_dir(), kind.is_file()) {
                return Err(JournalError::NotAJournal {
                    path: path.into(),
                    reason: "the folder holds something that is no part of a journal",
                });
            }
            parts.push((entry.path(), kind.is_dir()));
        }
        parts.retain(|(part, _)| *part != name);
        parts.push((name, false));
        Ok(Self {
            path: path.into(),
            parts,
            bytes: bytes_below(path)?,
            _marker: marker,
        })
    }

    /// Removes it. The marker goes last: what is left when that fails can be removed again.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn remove(self) -> Result<(), JournalError> {
        for (part, is_folder) in &self.parts {
            let removed = match is_folder {
                true => fs::remove_dir_all(part),
                false => fs::remove_file(part),
            };
            removed.map_err(io_error("removing", part))?;
        }
        fs::remove_dir(&self.path).map_err(io_error("removing", &self.path))
    }
}

/// The marker of a folder that is one itself and no link.
fn own_marker(path: &Path) -> Result<PathBuf, JournalError> {
    let refuse = |reason| JournalError::NotAJournal {
        path: path.into(),
        reason,
    };
    let about = fs::symlink_metadata(path).map_err(io_error("looking at", path))?;
    if !about.is_dir() {
        return Err(refuse("it is no folder"));
    }
    let marker = path.join(MARKER);
    match fs::symlink_metadata(&marker) {
        Ok(about) if about.is_file() => Ok(marker),
        _ => Err(refuse("the folder has no journal's marker file")),
    }
}

/// Whether something in a journal's folder is the journal's, or its store's.
fn is_part(name: &str, is_folder: bool, is_file: bool) -> bool {
    match name {
        "blobs" => is_folder,
        MARKER | "db" | "conf" => is_file,
        other => is_file && other.starts_with("snap."),
    }
}

fn bytes_below(path: &Path) -> Result<u64, JournalError> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(path).map_err(io_error("reading", path))? {
        let entry = entry.map_err(io_error("reading", path))?;
        let about = match entry.metadata() {
            // A journal that is being written: its store has put another file in the place of that one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            about => about.map_err(io_error("looking at", &entry.path()))?,
        };
        let found = match about.is_dir() {
            true => bytes_below(&entry.path())?,
            false => about.len(),
        };
        bytes = bytes.saturating_add(found);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{JournalWriter, RunMeta, temporary::TemporaryFolder};

    fn journal(at: &Path) {
        let writer = JournalWriter::create(at, &RunMeta::default()).unwrap();
        writer.attach("a", &[7; 100_000]).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn a_journal_goes_as_a_whole() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().join("j");
        journal(&path);
        let about = about_folder(&path).unwrap();
        assert!(about.bytes > 100 && about.made <= SystemTime::now());
        let found = Removable::at(&path).unwrap();
        assert_eq!(found.bytes, about.bytes);
        found.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_journal_or_more_than_one_stays() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().join("j");
        journal(&path);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let plain = folder.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let marked = folder.path().join("marked");
        fs::create_dir(&marked).unwrap();
        symlink(path.join(MARKER), marked.join(MARKER)).unwrap();
        for (at, why) in [
            (&link, "no folder"),
            (&plain, "marker"),
            (&marked, "marker"),
        ] {
            let error = Removable::at(at).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(about_folder(at).is_err());
        }
        fs::write(path.join("notes.txt"), "mine").unwrap();
        let error = Removable::at(&path).unwrap_err();
        assert!(
            error.to_string().contains("no part of a journal"),
            "{error}"
        );
        fs::remove_file(path.join("notes.txt")).unwrap();
        assert!(path.join("db").is_file());
        Removable::at(&path).unwrap().remove().unwrap();
    }

    #[test]
    fn what_is_open_stays() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().join("j");
        let writer = JournalWriter::create(&path, &RunMeta::default()).unwrap();
        let busy = |path: &Path| matches!(Removable::at(path), Err(JournalError::Busy { .. }));
        assert!(busy(&path));
        writer.close().unwrap();
        let reader = crate::Journal::open(&path).unwrap();
        assert!(busy(&path));
        drop(reader);
        Removable::at(&path).unwrap().remove().unwrap();
    }
}
