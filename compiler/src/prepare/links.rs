//! Symbolic links: which are made, and how. Of those that are not is told why.

use std::{collections::BTreeSet, ops::Bound};

use smbench_core::{
    confine::is_inner_link,
    fscc::SymbolicLink,
    smb2::{CreateDisposition, CreateOptions, Fsctl, IoctlFlags, IoctlRequest, NtStatus, Request},
    workload::{Entry, EntryKind, Link, Symlink},
};

use super::{ACCESS, Builder};

/// A link that is not made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnmadeLink {
    /// Its share.
    pub share: String,
    /// Its path below the share.
    pub path: String,
    /// Why not.
    pub why: WhyUnmade,
}

/// Why a link is not made. What is there instead is an ordinary file or folder; nothing for a link of
/// DFS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhyUnmade {
    /// No answer told where it leads.
    Unknown,
    /// It leads somewhere else than below the folder that it is in.
    Outside,
    /// Something in the workload is below it.
    Full,
    /// It is a link of a namespace of DFS, which is not made with files.
    Dfs,
}

impl WhyUnmade {
    /// In words, of a link.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unknown => "no answer told where it leads",
            Self::Outside => "it is absolute, or leads out of its folder",
            Self::Full => "something is below it",
            Self::Dfs => "it is a link of DFS, which is not made with files",
        }
    }
}

/// Why `link` is not made, of an entry at `key` of these in lower case; none when it is.
pub(super) fn why_not(link: &Link, key: &str, keys: &BTreeSet<String>) -> Option<WhyUnmade> {
    let link = match link {
        Link::Symlink(link) => link,
        Link::Dfs => return Some(WhyUnmade::Dfs),
    };
    let below = |separator: char| {
        let prefix = format!("{key}{separator}");
        let from = Bound::Included(prefix.as_str());
        let mut next = keys.range::<str, _>((from, Bound::Unbounded));
        next.next().is_some_and(|next| next.starts_with(&prefix))
    };
    match link.target {
        None => Some(WhyUnmade::Unknown),
        Some(_) if !is_inner_link(&buffer_of(link)) => Some(WhyUnmade::Outside),
        Some(_) if below('\\') || below(':') => Some(WhyUnmade::Full),
        Some(_) => None,
    }
}

fn buffer_of(link: &Symlink) -> Vec<u8> {
    SymbolicLink::from(link).encode()
}

impl Builder {
    /// Takes out of a share's entries the links that are made, and those of which nothing is.
    pub(super) fn take_links<'a>(
        &mut self,
        entries: &mut Vec<&'a Entry>,
    ) -> Vec<(&'a Entry, &'a Symlink)> {
        if entries.iter().all(|entry| entry.link.is_none()) {
            return Vec::new();
        }
        let keys: BTreeSet<String> = entries.iter().map(|it| it.path.to_lowercase()).collect();
        let mut links = Vec::new();
        entries.retain(|entry| {
            let Some(link) = &entry.link else { return true };
            let why = why_not(link, &entry.path.to_lowercase(), &keys);
            match (why, link) {
                (None, Link::Symlink(link)) => links.push((*entry, link)),
                (why, _) => self.out.unmade.push(UnmadeLink {
                    share: entry.share.clone(),
                    path: entry.path.clone(),
                    why: why.unwrap_or(WhyUnmade::Dfs),
                }),
            }
            why.is_some_and(|why| why != WhyUnmade::Dfs)
        });
        links
    }

    /// Makes a link: a file or folder that gets a reparse point. Whether the server has such is not
    /// known before.
    pub(super) fn link(&mut self, root: &str, entry: &Entry, link: &Symlink) {
        let mut options = CreateOptions::OPEN_REPARSE_POINT;
        options.set(
            CreateOptions::DIRECTORY_FILE,
            entry.kind == EntryKind::Directory,
        );
        let path = format!("{root}\\{}", entry.path);
        let disposition = CreateDisposition::OPEN_IF;
        let open = self.open(&path, ACCESS, 0, options.bits(), disposition);
        let set = IoctlRequest {
            ctl_code: Fsctl::SET_REPARSE_POINT,
            input: buffer_of(link),
            flags: IoctlFlags::IS_FSCTL,
            ..IoctlRequest::default()
        };
        self.push(Request::Ioctl(set), Some(open), NtStatus::SUCCESS, true);
        if let Some(op) = self.out.operations.last() {
            let path = (entry.share.clone(), entry.path.clone());
            self.out.links.insert(op.id, path);
        }
        self.close(open);
        self.out.entries += 1;
    }
}
