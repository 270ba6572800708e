//! Where a verb puts the workload folder that it makes.

use std::path::{Path, PathBuf};

use smbench_compiler::folder::FolderWriter;

use crate::exit::{Failure, OrFail};
use crate::interrupt::{self, Unfinished};

/// A workload folder in the making. One that is there already stays until the new one is whole, and
/// a signal leaves nothing of the new one.
pub(crate) struct NewFolder<'a> {
    out: &'a Path,
    fresh: PathBuf,
    _unfinished: Vec<Unfinished>,
}

impl<'a> NewFolder<'a> {
    /// Clears the way for a new workload folder, or says what stands in it.
    pub(crate) fn at(out: &'a Path, force: bool) -> Result<Self, Failure> {
        make_room(out, force)?;
        if out.exists() {
            let fresh = beside(out, "new");
            return Ok(Self {
                out,
                _unfinished: unfinished(&fresh),
                fresh,
            });
        }
        // What writes it gives it its name when it is whole.
        Ok(Self {
            out,
            _unfinished: vec![Unfinished::at(FolderWriter::unfinished(out))],
            fresh: out.to_owned(),
        })
    }

    /// Where it is to be written.
    pub(crate) fn path(&self) -> &Path {
        &self.fresh
    }

    /// It is whole, if there is one: it takes its place.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.fresh == self.out || !self.fresh.exists() {
            return Ok(());
        }
        interrupt::uninterrupted(|| replace(self.out, &self.fresh))
    }
}

/// A workload folder that only this command needs.
pub(crate) struct Passing {
    path: PathBuf,
    _unfinished: Vec<Unfinished>,
}

impl Passing {
    /// Beside `out`, for what is `what` of it.
    pub(crate) fn beside(out: &Path, what: &str) -> Self {
        let path = beside(out, what);
        Self {
            _unfinished: unfinished(&path),
            path,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What cannot be removed stays behind under a name that says what it is.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Clears the way for a new workload folder, or says what stands in it. A workload that may be
/// replaced stays.
pub(crate) fn make_room(out: &Path, force: bool) -> Result<(), Failure> {
    if !out.exists() {
        return Ok(());
    }
    let shown = out.display();
    let is_workload = out.join(crate::load::WORKLOAD_FILE).is_file();
    match (is_workload, force) {
        (true, true) => {
            match FolderWriter::stranger(out).or_environment(format!("cannot look into {shown}"))? {
                None => Ok(()),
                Some(name) => Err(Failure::usage(format!(
                    "{shown} also holds {}, which is no part of a workload",
                    name.display()
                ))
                .remedy("move it away, or name another folder")),
            }
        }
        (true, false) => Err(Failure::usage(format!("{shown} exists"))
            .remedy("name another folder, or say --force to replace that workload")),
        (false, _) if is_empty_folder(out) => {
            std::fs::remove_dir(out).or_environment(format!("cannot replace {shown}"))
        }
        (false, _) => Err(Failure::usage(format!("{shown} exists and is no workload"))
            .remedy("name another folder")),
    }
}

/// Puts the workload `fresh` in the place of the one that is there.
fn replace(out: &Path, fresh: &Path) -> Result<(), Failure> {
    let old = beside(out, "old");
    std::fs::rename(out, &old)
        .and_then(|()| std::fs::rename(fresh, out))
        .and_then(|()| std::fs::remove_dir_all(&old))
        .or_environment(format!("cannot replace {}", out.display()))
        .map_err(|failure| failure.remedy(format!("the new workload is {}", fresh.display())))
}

/// A folder that is nobody's before its end, nor after.
fn unfinished(path: &Path) -> Vec<Unfinished> {
    let writing = FolderWriter::unfinished(path);
    vec![Unfinished::at(writing), Unfinished::at(path)]
}

/// A name beside `out` that nobody else uses.
fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{what}", std::process::id()));
    out.with_file_name(name)
}

fn is_empty_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}
