//! What is in a server's shares before anybody connects, and what is there at any time.

use std::sync::Arc;

use smbench_core::smb2::NtStatus;
use smbench_core::smb2::version::is_previous_version;
use smbench_core::workload::Link;
use thiserror::Error;

use super::data::{Data, Source, len64};
use super::fs::{Found, NodeId, StreamId};
use super::name::Path;
use super::{Server, Share, ShareKind, reparse};

/// Why the namespace could not be seeded.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SeedError {
    /// No disk share has that name.
    #[error("no disk share is called {share:?}")]
    NoShare {
        /// The name asked for.
        share: String,
    },
    /// The path is not a name a file can have, or leads through a file.
    #[error("{path:?} cannot be made in the share")]
    BadPath {
        /// The path.
        path: String,
    },
}

/// One entry of [`Server::snapshot`].
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    /// Path relative to the share, with backslashes; `path:name` for a named stream.
    pub path: String,
    /// Content; none for a directory, and for what a [`Source`] did not give.
    pub data: Option<Vec<u8>>,
}

impl Server {
    /// Makes a directory and what is missing above it.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when the share or the path cannot be.
    pub fn mkdir(&mut self, share: &str, path: &str) -> Result<(), SeedError> {
        // No directory is a stream: what could be one is a name of POSIX extensions.
        let plain = Path::parse(path).is_ok_and(|path| !path.names_data);
        self.seed(share, path, true, !plain).map(|_| ())
    }

    /// Makes a file, or replaces its content, and what is missing above it. `path:name` is a
    /// named stream.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when the share or the path cannot be.
    pub fn put_file(&mut self, share: &str, path: &str, data: &[u8]) -> Result<(), SeedError> {
        self.put_parts(share, path, false, len64(data.len()), [(0, data)])
    }

    /// As [`Self::put_file`], of `size` bytes of which only `parts` are held: pairs of offset and
    /// content. All else reads as zeros. With `posix` the path is that of a file, whatever letters are in it, and
    /// its case matters.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when the share or the path cannot be.
    pub fn put_parts<T: AsRef<[u8]>>(
        &mut self,
        share: &str,
        path: &str,
        posix: bool,
        size: u64,
        parts: impl IntoIterator<Item = (u64, T)>,
    ) -> Result<(), SeedError> {
        let bad = || SeedError::BadPath {
            path: path.to_owned(),
        };
        let (node, stream) = self.seed(share, path, false, posix)?;
        let put = self.fs.change(node, stream, |data| {
            *data = Data::default();
            for (offset, part) in parts {
                data.write(offset, part.as_ref())?;
            }
            data.set_size(size);
            Ok(())
        });
        put.and_then(|put| put).map_err(|_| bad())
    }

    /// Makes a link of a file or directory that is there.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when nothing is there.
    pub fn put_link(&mut self, share: &str, path: &str, link: &Link) -> Result<(), SeedError> {
        let root = self.disk_root(share).ok_or_else(|| SeedError::NoShare {
            share: share.to_owned(),
        })?;
        let found = Path::parse(path).and_then(|path| self.fs.find(root, &path.parts, false));
        let put = match found {
            Ok(Found::Node(child)) => {
                let buffer = reparse::buffer_of(link);
                self.fs.set_reparse(child.node, Some(buffer))
            }
            _ => Err(NtStatus::OBJECT_NAME_NOT_FOUND),
        };
        put.map_err(|_| SeedError::BadPath {
            path: path.to_owned(),
        })
    }

    /// As [`Self::put_file`], of `size` bytes that are read from `source` as they are needed; it is
    /// never written to.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when the share or the path cannot be.
    pub fn put_source(
        &mut self,
        share: &str,
        path: &str,
        size: u64,
        source: Arc<dyn Source>,
    ) -> Result<(), SeedError> {
        let bad = || SeedError::BadPath {
            path: path.to_owned(),
        };
        let (node, stream) = self.seed(share, path, false, false)?;
        let put = self.fs.change(node, stream, |data| {
            *data = Data::from_source(source, size);
        });
        put.map_err(|_| bad())
    }

    /// Whether something has that path; the case of letters does not matter.
    #[must_use]
    pub fn is_there(&self, share: &str, path: &str) -> bool {
        let root = self.disk_root(share);
        let parsed = Path::parse(path).ok();
        let found = root
            .zip(parsed)
            .map(|(root, it)| self.fs.find(root, &it.parts, false));
        matches!(found, Some(Ok(Found::Node(_))))
    }

    fn disk_root(&self, share: &str) -> Option<NodeId> {
        let named = |known: &&Share| {
            known.kind == ShareKind::Disk && known.name.eq_ignore_ascii_case(share)
        };
        self.shares.iter().rev().find(named).map(|share| share.root)
    }

    fn seed(
        &mut self,
        share: &str,
        path: &str,
        is_dir: bool,
        posix: bool,
    ) -> Result<(NodeId, StreamId), SeedError> {
        let bad = || SeedError::BadPath {
            path: path.to_owned(),
        };
        let mut at = self.disk_root(share).ok_or_else(|| SeedError::NoShare {
            share: share.to_owned(),
        })?;
        let parsed = Path::read(path, posix).map_err(|_| bad())?;
        self.has_versions |= is_previous_version(path);
        let now = self.filetime();
        for (index, part) in parsed.parts.iter().enumerate() {
            let last = index.saturating_add(1) == parsed.parts.len();
            let found = self.fs.find(at, std::slice::from_ref(part), posix);
            at = match found.map_err(|_| bad())? {
                Found::Node(child) => child.node,
                Found::Free { parent, name } => {
                    self.fs.add(Some(parent), &name, is_dir || !last, now)
                }
            };
        }
        let made = self.fs.node(at).map_err(|_| bad())?;
        if made.is_dir() != (is_dir && parsed.stream.is_empty()) && parsed.stream.is_empty() {
            return Err(bad());
        }
        match self.fs.stream(at, &parsed.stream) {
            Some(stream) => Ok((at, stream)),
            None => {
                let stream = self.fs.add_stream(at, &parsed.stream);
                stream.map(|stream| (at, stream)).map_err(|_| bad())
            }
        }
    }

    /// Everything below the root of a share, sorted by folded path; empty for an unknown share.
    #[must_use]
    pub fn snapshot(&self, share: &str) -> Vec<Entry> {
        let mut out = Vec::new();
        let named = |known: &&Share| known.name.eq_ignore_ascii_case(share);
        if let Some(root) = self.shares.iter().find(named).map(|share| share.root) {
            let mut left = vec![(root, String::new())];
            while let Some((id, path)) = left.pop() {
                let Ok(node) = self.fs.node(id) else {
                    continue;
                };
                if id != root {
                    let file = (!node.is_dir()).then_some(&node.data);
                    out.push(Entry {
                        path: path.clone(),
                        data: file.and_then(|data| data.read(0, data.size()).ok()),
                    });
                }
                for named in &node.named {
                    out.push(Entry {
                        path: format!("{path}:{}", named.name),
                        data: named.data.read(0, named.data.size()).ok(),
                    });
                }
                for child in node.children.iter().flat_map(|children| children.values()) {
                    let found = self.fs.node(child.node).ok();
                    let link = found.and_then(|node| node.link(child.link));
                    let name = link.map_or("", |link| &link.name);
                    let below = if id == root {
                        name.to_owned()
                    } else {
                        format!("{path}\\{name}")
                    };
                    left.push((child.node, below));
                }
            }
        }
        out.sort();
        out
    }
}
