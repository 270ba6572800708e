//! A folder as the content of a share: walked at the start, read when it is asked for, never
//! written to. Nothing outside it is ever read: symbolic links are left out, and a file that has
//! been replaced since is not read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, canonicalize, read_dir, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smbench_sim::server::{Server, Source};

use crate::exit::{Failure, OrFail};
use crate::report::note;

/// Entries of a folder that are not in its share, by reason.
pub(super) type LeftOut = BTreeMap<&'static str, u64>;

/// A file of a folder.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    /// Which file it was at the start: device and number.
    file: (u64, u64),
    /// A failure was told.
    told: AtomicBool,
}

impl OnDisk {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let same = |about: &Metadata| about.is_file() && number(about) == self.file;
        // Asked before it is opened, as opening a pipe would wait for its other end.
        if !same(&symlink_metadata(&self.path)?) {
            return Err(io::Error::other("it is another file now"));
        }
        let file = File::open(&self.path)?;
        if !same(&file.metadata()?) {
            return Err(io::Error::other("it is another file now"));
        }
        file.read_exact_at(into, offset)
    }
}

impl Source for OnDisk {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let read = self.read(offset, into);
        if let Err(error) = &read
            && !self.told.swap(true, Ordering::SeqCst)
        {
            let path = self.path.display();
            note!("smbench: {path} is in a share and cannot be read: {error}");
        }
        read
    }
}

fn number(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// Puts what is in `folder` into a share; gives what was left out.
pub(super) fn load(server: &mut Server, share: &str, folder: &Path) -> Result<LeftOut, Failure> {
    let mut left_out = LeftOut::new();
    let cannot = |path: &Path| format!("cannot read {}", path.display());
    let top = canonicalize(folder).or_environment(cannot(folder))?;
    let mut folders = vec![(top, String::new())];
    while let Some((folder, below)) = folders.pop() {
        let entries = read_dir(&folder).or_environment(cannot(&folder))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<OsString> = names
            .collect::<Result<_, _>>()
            .or_environment(cannot(&folder))?;
        names.sort(); // so that the same folder gives the same share
        for name in names {
            let path = folder.join(&name);
            let mut leave = |why| *left_out.entry(why).or_default() += 1;
            let Ok(name) = name.into_string() else {
                leave("names that are not UTF-8");
                continue;
            };
            let to = match below.as_str() {
                "" => name.clone(),
                below => format!("{below}\\{name}"),
            };
            if name.contains(['\\', ':']) {
                leave("names that SMB does not have");
                continue;
            }
            if server.is_there(share, &to) {
                leave("names that differ in the case of letters alone");
                continue;
            }
            // Not followed: of a symbolic link this is the link.
            let about = symlink_metadata(&path).or_environment(cannot(&path))?;
            let made = if about.is_dir() {
                server.mkdir(share, &to)
            } else if about.is_file() {
                let source = OnDisk {
                    path: path.clone(),
                    file: number(&about),
                    told: AtomicBool::new(false),
                };
                server.put_source(share, &to, about.len(), Arc::new(source))
            } else if about.is_symlink() {
                leave("symbolic links");
                continue;
            } else {
                leave("pipes, sockets and devices");
                continue;
            };
            match made {
                Err(_) => leave("names that SMB does not have"),
                // A folder that has become a link in the meantime leads elsewhere.
                Ok(()) if about.is_dir() => match canonicalize(&path) {
                    Ok(real) if real == path => folders.push((path, to)),
                    _ => leave("symbolic links"),
                },
                Ok(()) => {}
            }
        }
    }
    Ok(left_out)
}
