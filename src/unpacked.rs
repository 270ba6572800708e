//! A workload as it was given: a folder, or a packed one (`.smbw`), which lies unpacked in the folder for
//! temporary files as long as the verb runs.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use smbench_compiler::folder::archive::{ArchiveError, is_archive, unpack};

use crate::exit::{ENVIRONMENT, Failure, OrFail};
use crate::interrupt::Unfinished;
use crate::report;

/// Where a workload's files are.
pub(crate) struct WorkloadPlace {
    /// The folder.
    path: PathBuf,
    /// What it was given as.
    given: PathBuf,
    _temporary: Option<Temporary>,
}

impl WorkloadPlace {
    /// Unpacks `given` if it is a file; nothing else is looked at.
    pub(crate) fn of(given: &Path) -> Result<Self, Failure> {
        if !is_packed(given) {
            return Ok(Self {
                path: given.to_owned(),
                given: given.to_owned(),
                _temporary: None,
            });
        }
        let temporary = Temporary::new()?;
        let length = std::fs::metadata(given).map_or(0, |about| about.len());
        let bar = report::progress(
            length.saturating_mul(2),
            "{bar:40} {bytes}/{total_bytes} unpacked",
        );
        let done = unpack(given, &temporary.path, &|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        done.map_err(|error| explain(error, given))?;
        Ok(Self {
            path: temporary.path.clone(),
            given: given.to_owned(),
            _temporary: Some(temporary),
        })
    }

    /// The folder with its files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the workload is called: the name of its folder or file.
    pub(crate) fn name(&self) -> String {
        let real = match self.given.file_name() {
            Some(_) => None,
            // `.` and `..` lead to one with a name.
            None => self.given.canonicalize().ok(),
        };
        let given = real.as_deref().unwrap_or(&self.given);
        let name = match is_packed(given) {
            true => given.file_stem(),
            false => given.file_name(),
        };
        name.unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Whether a packed workload was given. What only its name says is one too: it is damaged.
pub(crate) fn is_packed(given: &Path) -> bool {
    given.is_file() && (is_archive(given) || given.extension().is_some_and(|it| it == "smbw"))
}

/// What the error of a packed workload means for whoever gave it.
fn explain(error: ArchiveError, given: &Path) -> Failure {
    let remedy = match &error {
        ArchiveError::Newer { .. } => "take a newer smbench",
        ArchiveError::Io { path, .. } if path != given => {
            "make room there, or name another folder for temporary files: TMPDIR=DIR smbench ..."
        }
        ArchiveError::Io { .. } => "name a file that can be read",
        _ => "fetch the file again, or pack its folder again: smbench pack DIR FILE.smbw",
    };
    let context = format!("cannot unpack the workload {}", given.display());
    Failure::new(ENVIRONMENT, anyhow::Error::from(error).context(context)).remedy(remedy)
}

/// A folder that only its owner may enter, and that goes with the value or with the process.
struct Temporary {
    path: PathBuf,
    _unfinished: Unfinished,
}

impl Temporary {
    fn new() -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("smbench-workload-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
            match Unfinished::made(&path, make) {
                Ok(unfinished) => {
                    return Ok(Self {
                        path,
                        _unfinished: unfinished,
                    });
                }
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .or_environment(format!("cannot make {}", path.display()))
                        .map_err(|failure: Failure| {
                            failure.remedy(
                                "name another folder for temporary files: TMPDIR=DIR smbench ...",
                            )
                        });
                }
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed stays for whoever cleans the folder.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
