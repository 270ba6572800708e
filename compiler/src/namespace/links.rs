//! Links: what answers tell of symbolic links, and of links of a namespace of DFS.
//!
//! A link is known where nobody in the recording has made or changed it before, and no CREATE has
//! opened what it leads to in its place. Where answers tell that there is one and not where it leads,
//! its target is not known, and counted.

use std::collections::BTreeMap;

use smbench_core::{
    confine::{below_share, is_dfs},
    fscc::{
        DirectoryEntry, ReparseHead, SymbolicLink, SymlinkError,
        reparse::{DFS_TAG, SYMLINK_TAG},
    },
    ids::OpId,
    smb2::{CreateOptions, CreateRequest, FileAttributes, Fsctl, IoctlInput, Request},
    workload::{Action, Coverage, Entry, Link, Operation, Symlink},
};

use super::{
    Namespace,
    names::{Names, Proof, Slot},
    place::Place,
    spent::cost,
};

/// Links of DFS that are to be found out at the end, by share and key: the path, and the first
/// operation that showed it.
#[derive(Debug, Default)]
pub(super) struct Uncovered {
    /// Names at or below one.
    names: BTreeMap<(usize, String), (String, OpId)>,
    /// Where referrals say that one is, by share and path as they spell them.
    referred: BTreeMap<(String, String), OpId>,
}

impl Namespace {
    /// What the STOPPED_ON_SYMLINK told that is about to be answered.
    pub(crate) fn stopped_by(&mut self, op: OpId, error: SymlinkError) {
        self.stopped = Some((op, error));
    }

    /// A CREATE stopped on a symbolic link: at the end of what was looked at, where that is told.
    pub(super) fn stopped(
        &mut self,
        op: &Operation,
        create: &CreateRequest,
        place: &Place,
        proof: &Proof,
    ) {
        let told = self.stopped.take().filter(|(of, _)| *of == op.id);
        let Some((_, told)) = told else {
            if self.names.link_on(place).is_none() {
                let file = self.names.found(place, proof);
                self.names
                    .link(file, Link::Symlink(Symlink::default()), op.id);
            }
            return;
        };
        let name = create.name.to_lossy();
        let looked_at = before(&name, usize::from(told.unparsed_bytes) / 2);
        let Some(place) = self.names.place(place.share, looked_at, is_dfs(op), op.id) else {
            return;
        };
        let proof = Proof {
            likely_folder: told.unparsed_bytes > 0,
            ..*proof
        };
        let file = self.names.found(&place, &proof);
        let link = Link::Symlink(Symlink::from(&told.link));
        self.names.link(file, link, op.id);
    }

    /// Something was opened and no link in its way.
    pub(super) fn passed(&mut self, file: usize, create: &CreateRequest, op: OpId) {
        let options = create.create_options;
        if !options.contains(CreateOptions::OPEN_REPARSE_POINT) {
            self.names.is_no_link(file, op);
        }
    }

    /// An FSCTL was answered with `output`, which may be cut behind what fits.
    pub(crate) fn controlled(&mut self, op: &Operation, output: &[u8]) {
        let Action::Request(Request::Ioctl(ioctl)) = &op.action else {
            return;
        };
        match ioctl.ctl_code {
            Fsctl::GET_REPARSE_POINT => {
                let link = ReparseHead::decode(output)
                    .ok()
                    .and_then(|head| match head.tag {
                        // What is cut tells that it is a link, and not where it leads.
                        SYMLINK_TAG => Some(match SymbolicLink::decode(output) {
                            Ok(Some(link)) => Link::Symlink(Symlink::from(&link)),
                            _ => Link::Symlink(Symlink::default()),
                        }),
                        tag => link_of(tag),
                    });
                if let (Some(link), Some(file)) = (link, self.file(op)) {
                    self.names.link(file, link, op.id);
                }
            }
            Fsctl::DFS_GET_REFERRALS => {
                if let IoctlInput::DfsReferral { path, .. } =
                    IoctlInput::parse(ioctl.ctl_code, &ioctl.input)
                    && let Some(link) = path.as_text().and_then(|path| referred(path, output))
                {
                    self.names.referred(link, op.id);
                }
            }
            _ => {}
        }
    }

    /// An answer told that a file has a reparse point.
    pub(super) fn tagged(&mut self, op: &Operation, tag: u32) {
        if let Some(file) = self.file(op) {
            self.names.tagged(file, tag, op.id);
        }
    }

    /// A SET_REPARSE_POINT or DELETE_REPARSE_POINT succeeded.
    pub(super) fn relinked(&mut self, op: &Operation) {
        if let Some(file) = self.file(op) {
            self.names.touch(file);
            let file = self.names.real(file);
            if let Some(known) = self.names.files.get_mut(file) {
                known.relinked = true;
            }
        }
    }
}

impl Names {
    /// A file that was there is a link.
    pub(super) fn link(&mut self, file: usize, link: Link, op: OpId) {
        let file = self.real(file);
        let Some(known) = self.files.get(file).filter(|it| !it.relinked) else {
            return;
        };
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        let Some(Some(entry)) = entry else { return };
        let unknown = Link::Symlink(Symlink::default());
        match &entry.link {
            None => entry.link = Some(link),
            Some(was) if *was == unknown => entry.link = Some(link),
            Some(was) if *was == link || link == unknown => {}
            Some(_) => self.problem("link that leads elsewhere than before", op),
        }
    }

    /// A file has a reparse point.
    pub(super) fn tagged(&mut self, file: usize, tag: u32, op: OpId) {
        if let Some(link) = link_of(tag) {
            self.link(file, link, op);
        }
    }

    /// The first link on the way to a place, itself included.
    fn link_on(&self, place: &Place) -> Option<Link> {
        let mut at = Some(place.clone());
        let mut first = None;
        while let Some(place) = at {
            first = self.link_at(&place).or(first);
            at = place.above();
        }
        first
    }

    fn link_at(&self, place: &Place) -> Option<Link> {
        self.entry_at(place)?.link.clone()
    }

    fn entry_at(&self, place: &Place) -> Option<&Entry> {
        let file = self.files.get(self.real(self.at(place)?))?;
        self.entries.get(file.entry?)?.as_ref()
    }

    /// What is there was opened, though the request did not ask for a link.
    fn is_no_link(&mut self, file: usize, op: OpId) {
        let file = self.real(file);
        let Some(known) = self.files.get_mut(file).filter(|it| !it.relinked) else {
            return;
        };
        known.relinked = true;
        let entry = known.entry.and_then(|entry| self.entries.get_mut(entry));
        let was = entry.and_then(|entry| entry.as_mut()?.link.take());
        if was.is_some() {
            self.problem("link that was opened as if it were none", op);
        }
    }

    /// A name is at a link of DFS, or below one.
    pub(super) fn uncovered(&mut self, place: &Place, op: OpId) {
        let key = (place.share, place.key.clone());
        let told = || (place.path.clone(), op);
        self.uncovered.names.entry(key).or_insert_with(told);
        self.spent.kept = self.spent.kept.saturating_add(cost(&place.key));
    }

    fn referred(&mut self, (share, path): (&str, &str), op: OpId) {
        if self.takes(None, path, op) {
            let key = (share.to_lowercase(), path.to_owned());
            self.spent.kept = self.spent.kept.saturating_add(cost(path));
            self.uncovered.referred.entry(key).or_insert(op);
        }
    }

    /// Finds out where the links of DFS are: where referrals say; else at the first name on the way
    /// that was not seen to be something else.
    pub(super) fn find_uncovered(&mut self) {
        let Uncovered { names, referred } = std::mem::take(&mut self.uncovered);
        for ((share, path), op) in referred {
            let share = self.number_of(&share);
            if let Some(place) = share.and_then(|share| self.place(share, &path, false, op)) {
                self.link_of_dfs(&place, op);
            }
        }
        for ((share, _), (path, op)) in names {
            let ends = path.match_indices('\\').map(|(at, _)| at);
            let above = ends
                .filter_map(|end| path.get(..end))
                .chain([path.as_str()]);
            let mut way = above.map(|path| Place::plain(share, path));
            let link = way.find(|place| match self.slot(place) {
                None => true,
                Some(Slot::Absent { .. }) => false,
                Some(Slot::There(_)) => self.entry_at(place).is_some_and(is_reparse_point),
            });
            match link {
                Some(place) => self.link_of_dfs(&place, op),
                None => self.problem("link of DFS where something else was seen", op),
            }
        }
    }

    fn link_of_dfs(&mut self, place: &Place, op: OpId) {
        let proof = Proof {
            op,
            directory: Some(true),
            ..Proof::default()
        };
        let file = self.found(place, &proof);
        self.link(file, Link::Dfs, op);
    }
}

/// Counts links of which nobody told where they lead.
pub(super) fn count(entries: &[Entry], coverage: &mut Coverage) {
    let links = entries.iter().filter_map(|entry| entry.link.as_ref());
    let unknown = links.filter(|link| matches!(link, Link::Symlink(it) if it.target.is_none()));
    let count = u64::try_from(unknown.count()).unwrap_or(u64::MAX);
    if count > 0 {
        let kind = "links whose target was not told".to_owned();
        coverage.inferred.insert(kind, count);
    }
}

/// The tag of the reparse point that an entry of a listing has, where it tells one. [MS-FSCC] 2.4.8
pub(super) fn tag_of(entry: &DirectoryEntry) -> Option<u32> {
    let has = entry.attributes.contains(FileAttributes::REPARSE_POINT);
    has.then_some(match entry.reparse_tag {
        0 => entry.ea_size,
        tag => tag,
    })
}

/// What a tag tells by itself.
const fn link_of(tag: u32) -> Option<Link> {
    match tag {
        SYMLINK_TAG => Some(Link::Symlink(Symlink {
            target: None,
            print: None,
            relative: false,
        })),
        DFS_TAG => Some(Link::Dfs),
        _ => None,
    }
}

fn is_reparse_point(entry: &Entry) -> bool {
    let attributes = FileAttributes::from_bits_retain(entry.attributes.unwrap_or_default());
    entry.link.is_some() || attributes.contains(FileAttributes::REPARSE_POINT)
}

/// `name` without its last `units` UTF-16 code units.
fn before(name: &str, units: usize) -> &str {
    let mut left = units;
    let mut end = name.len();
    for (at, letter) in name.char_indices().rev() {
        let Some(rest) = left.checked_sub(letter.len_utf16()) else {
            break;
        };
        (left, end) = (rest, at);
    }
    name.get(..end).unwrap_or(name)
}

/// Share and path of the link that a referral is about; none where it is about no link. [MS-DFSC]
/// 2.2.4
fn referred<'a>(path: &'a str, response: &[u8]) -> Option<(&'a str, &'a str)> {
    let u16_at = |at: usize| {
        let bytes = response.get(at..at.checked_add(2)?)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let (consumed, entries, server_type) = (u16_at(0)?, u16_at(2)?, u16_at(SERVER_TYPE_AT)?);
    let flags = u16_at(SERVER_TYPE_AT + 2)?;
    if entries == 0 || server_type != 0 || flags & NAME_LIST != 0 {
        return None;
    }
    let path = path.trim_end_matches('\0');
    let behind = path
        .encode_utf16()
        .count()
        .checked_sub(usize::from(consumed) / 2)?;
    let link = before(path, behind);
    let share = link.trim_start_matches('\\').split('\\').nth(1)?;
    let below = below_share(link, true).trim_end_matches('\\');
    (!below.is_empty()).then_some((share, below))
}

/// ServerType of the first entry: 0 where it is no root; behind it ReferralEntryFlags.
const SERVER_TYPE_AT: usize = 12;
/// NameListReferral.
const NAME_LIST: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_taken_off() {
        for (name, units, left) in [
            ("a\\b\\c", 2, "a\\b"),
            ("a", 0, "a"),
            ("a", 9, ""),
            ("x\u{1f600}y", 1, "x\u{1f600}"),
            ("x\u{1f600}y", 2, "x\u{1f600}"),
            ("x\u{1f600}y", 3, "x"),
        ] {
            assert_eq!(before(name, units), left, "{name} {units}");
        }
    }

    #[test]
    fn referrals_of_links_tell_where_they_are() {
        let response = |consumed: u16, entries: u16, server_type: u16, flags: u16| {
            let words = [consumed, entries, 2, 0, 4, 34, server_type, flags];
            words
                .iter()
                .flat_map(|it| it.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let path = "\\dom\\dfs\\link\\z.txt\0";
        let bytes = |text: &str| u16::try_from(2 * text.len()).unwrap();
        let (link, top) = (bytes("\\dom\\dfs\\link"), bytes("\\dom\\dfs"));
        let whole = response(link, 1, 0, 0);
        assert_eq!(referred(path, &whole), Some(("dfs", "link")));
        for other in [
            response(link, 0, 0, 0),
            response(link, 1, 1, 0),
            response(link, 1, 0, NAME_LIST),
            response(top, 1, 0, 0),
            response(2 * 99, 1, 0, 0),
        ] {
            assert_eq!(referred(path, &other), None);
        }
        for len in 0..whole.len() {
            assert_eq!(referred(path, &whole[..len]), None);
        }
    }
}
