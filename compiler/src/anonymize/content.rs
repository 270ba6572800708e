//! Synthetic bytes for WRITE data, READ data and initial content, consistent however a file was
//! cut into requests.
//!
//! A file's offsets are cut wherever some request of the workload begins or ends: *cells*. Every
//! request covers whole cells, so what a READ shows is, cell by cell, what one WRITE wrote, what
//! was there before, or zeros. A cell's synthetic bytes are a keyed function of its original ones:
//! READs that showed what had been written still do, and those that did not still do not. Cells
//! of zeros stay, because a server gives zeros where nothing was written.
//!
//! Short cells have few possible contents. Theirs depend on the place too, and below eight bytes
//! they are numbered as they come instead, so that they stay apart for certain.
//!
//! Names that a file had one after the other, and files that a server copied into each other,
//! share their cuts.

use std::collections::{BTreeMap, BTreeSet};

use super::key::Key;
use crate::map::{Map, Set};

/// Number of a file.
pub(super) type FileRef = usize;

/// Every file that requests worked on, with its cuts.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// By share and path, both in lower case, a zero between them.
    numbers: BTreeMap<String, FileRef>,
    files: Vec<File>,
    renames: Vec<(String, String)>,
    copies: Vec<Copied>,
    /// Contents of the shortest cells: file, offset, length.
    short: Map<(FileRef, u64, usize), Short>,
    /// What all that may cost; see [`COST`].
    told: u64,
    spent: u64,
}

/// Contents of one of the shortest cells.
#[derive(Debug, Default)]
struct Short {
    /// Synthetic ones by original.
    made: Map<u64, u64>,
    taken: Set<u64>,
}

#[derive(Debug, Default)]
struct File {
    key: String,
    /// Another file that this one is the same as; itself when there is none.
    same_as: FileRef,
    cuts: Vec<u64>,
    /// Length at which `cuts` is tidied up.
    tidy_at: usize,
    /// Its content is found at other offsets elsewhere.
    adrift: bool,
}

/// A range that the server copied.
#[derive(Clone, Copy, Debug)]
struct Copied {
    from: FileRef,
    to: FileRef,
    source: u64,
    target: u64,
    length: u64,
}

impl Content {
    /// The file at a path of a share; streams are files of their own.
    pub(super) fn file(&mut self, share: &str, path: &str) -> FileRef {
        let key = key_of(share, path);
        self.told = self.told.saturating_add(cost(&key));
        self.by_key(key)
    }

    fn by_key(&mut self, key: String) -> FileRef {
        let next = self.files.len();
        let number = *self.numbers.entry(key.clone()).or_insert(next);
        if number == next {
            self.files.push(File {
                key,
                same_as: next,
                tidy_at: 64,
                ..File::default()
            });
        }
        number
    }

    /// A request touches `length` bytes from `offset` on.
    pub(super) fn touched(&mut self, file: FileRef, offset: u64, length: u64) {
        self.told = self.told.saturating_add(1);
        let Some(file) = self.files.get_mut(file) else {
            return;
        };
        file.cuts.push(offset);
        file.cuts.push(offset.saturating_add(length));
        if file.cuts.len() >= file.tidy_at {
            file.cuts.sort_unstable();
            file.cuts.dedup();
            file.tidy_at = file.cuts.len().saturating_mul(2).max(64);
        }
    }

    /// A file, with what is below it, gets another name, or a second one.
    pub(super) fn renamed(&mut self, file: FileRef, share: &str, to: &str) {
        let other = self.file(share, to);
        self.join(file, other);
        if let (Some(from), Some(to)) = (self.files.get(file), self.files.get(other)) {
            self.renames.push((from.key.clone(), to.key.clone()));
        }
    }

    /// The server copied a range.
    pub(super) fn copied(&mut self, ends: [FileRef; 2], offsets: [u64; 2], length: u64) {
        let ([from, to], [source, target]) = (ends, offsets);
        self.touched(from, source, length);
        self.touched(to, target, length);
        self.copies.push(Copied {
            from,
            to,
            source,
            target,
            length,
        });
    }

    /// Everything was seen: settles which files are one, and their cuts. False where that would
    /// cost too much: then some of what was renamed or copied is not recognised elsewhere.
    pub(super) fn seal(&mut self) -> bool {
        self.follow_renames();
        for number in 0..self.copies.len() {
            let Some(copied) = self.copies.get(number).copied() else {
                continue;
            };
            if copied.source == copied.target {
                self.join(copied.from, copied.to);
            }
        }
        for number in 0..self.files.len() {
            let root = self.root(number);
            if root != number {
                let cuts = self
                    .files
                    .get_mut(number)
                    .map(|it| std::mem::take(&mut it.cuts));
                if let Some(file) = self.files.get_mut(root) {
                    file.cuts.extend(cuts.unwrap_or_default());
                }
            }
        }
        self.tidy();
        self.shift_cuts();
        self.affords()
    }

    /// Takes the cost of one step more; false when the rest has to be left.
    fn pays(&mut self, cost: u64) -> bool {
        self.spent = self.spent.saturating_add(cost);
        self.affords()
    }

    fn affords(&self) -> bool {
        self.spent <= COST.saturating_add(self.told.saturating_mul(COST_TIMES))
    }

    /// The synthetic bytes of `data`, found at `offset` of `file`.
    pub(super) fn synthetic(
        &mut self,
        key: &Key,
        file: FileRef,
        offset: u64,
        data: &[u8],
    ) -> Vec<u8> {
        let file = self.root(file);
        let end = offset.saturating_add(to_u64(data.len()));
        let (cuts, adrift) = match self.files.get(file) {
            Some(file) => (file.cuts.as_slice(), file.adrift),
            None => (&[][..], false),
        };
        let first = cuts.partition_point(|cut| *cut <= offset);
        let inside: Vec<u64> = cuts
            .get(first..)
            .unwrap_or_default()
            .iter()
            .copied()
            .take_while(|cut| *cut < end)
            .chain([end])
            .collect();
        let mut out = vec![0; data.len()];
        let mut at = offset;
        for next in inside {
            let from = usize::try_from(at - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(next - offset).unwrap_or(usize::MAX);
            if let (Some(cell), Some(room)) = (data.get(from..to), out.get_mut(from..to)) {
                let place = if adrift { (0, 0) } else { (file, at) };
                self.fill(key, place, cell, room);
            }
            at = next;
        }
        out
    }

    fn fill(&mut self, key: &Key, place: (FileRef, u64), cell: &[u8], room: &mut [u8]) {
        if cell.iter().all(|byte| *byte == 0) {
            return;
        }
        let file = to_u64(place.0).to_le_bytes();
        let at = place.1.to_le_bytes();
        match cell.len() {
            0..8 => self.fill_short(key, place, cell, room),
            8..16 => key.fill("short cell", &[&file, &at, cell], room),
            _ => key.fill("cell", &[cell], room),
        }
    }

    /// The n-th content of the cell has the n-th of its synthetic ones, whatever it holds.
    fn fill_short(&mut self, key: &Key, place: (FileRef, u64), cell: &[u8], room: &mut [u8]) {
        let mut padded = [0; 8];
        for (to, from) in padded.iter_mut().zip(cell) {
            *to = *from;
        }
        let original = u64::from_le_bytes(padded);
        let known = self
            .short
            .entry((place.0, place.1, cell.len()))
            .or_default();
        let made = known.made.get(&original).copied().unwrap_or_else(|| {
            let values = 1_u64 << (8 * cell.len().min(7));
            let mut noise = [0; 8];
            let file = to_u64(place.0).to_le_bytes();
            let count = to_u64(known.made.len()).to_le_bytes();
            let parts: [&[u8]; 3] = [&file, &place.1.to_le_bytes(), &count];
            key.fill("shortest cell", &parts, &mut noise);
            let mut made = u64::from_le_bytes(noise) % values;
            // There are as many as contents, so one is left.
            while made == 0 || !known.taken.insert(made) {
                made = (made + 1) % values;
            }
            known.made.insert(original, made);
            made
        });
        for (to, from) in room.iter_mut().zip(made.to_le_bytes()) {
            *to = from;
        }
    }

    /// The file that a file is the same as, at last. The way there is made shorter.
    fn root(&mut self, file: FileRef) -> FileRef {
        let next = |files: &[File], at: FileRef| files.get(at).map_or(at, |it| it.same_as);
        let mut at = file;
        loop {
            let above = next(&self.files, at);
            let further = next(&self.files, above);
            if above == further {
                return above;
            }
            if let Some(file) = self.files.get_mut(at) {
                file.same_as = further;
            }
            at = further;
        }
    }

    fn join(&mut self, one: FileRef, other: FileRef) {
        let (one, other) = (self.root(one), self.root(other));
        let (low, high) = (one.min(other), one.max(other));
        if let Some(file) = self.files.get_mut(high) {
            file.same_as = low;
        }
    }

    /// What is below a renamed folder has a new name too.
    fn follow_renames(&mut self) {
        for _ in 0..ROUNDS {
            let before = self.files.len();
            for (from, to) in self.renames.clone() {
                for separator in ['\\', ':'] {
                    let prefix = format!("{from}{separator}");
                    if !self.pays(1) {
                        return;
                    }
                    let below: Vec<(String, FileRef)> = self
                        .numbers
                        .range(prefix.clone()..)
                        .take_while(|(key, _)| key.starts_with(&prefix))
                        .map(|(key, file)| (key.clone(), *file))
                        .collect();
                    for (key, file) in below {
                        if !self.pays(cost(&key)) {
                            return;
                        }
                        let rest = key.get(from.len()..).unwrap_or_default();
                        // A folder moved into itself by name would grow for ever.
                        if key.len() < LONGEST_KEY {
                            let other = self.by_key(format!("{to}{rest}"));
                            self.join(file, other);
                        }
                    }
                }
            }
            if self.files.len() == before {
                break;
            }
        }
    }

    /// Ranges that were copied to other offsets are cut alike at both ends.
    fn shift_cuts(&mut self) {
        let mut moved = Vec::new();
        for copied in std::mem::take(&mut self.copies) {
            let (from, to) = (self.root(copied.from), self.root(copied.to));
            if from != to || copied.source != copied.target {
                moved.push(Copied { from, to, ..copied });
            }
        }
        let mut cuts: BTreeMap<FileRef, BTreeSet<u64>> = BTreeMap::new();
        for number in moved.iter().flat_map(|it| [it.from, it.to]) {
            if let Some(file) = self.files.get_mut(number).filter(|it| !it.adrift) {
                file.adrift = true;
                cuts.insert(number, std::mem::take(&mut file.cuts).into_iter().collect());
            }
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for it in &moved {
                changed |= self.shift(
                    &mut cuts,
                    (it.from, it.source),
                    (it.to, it.target),
                    it.length,
                );
                changed |= self.shift(
                    &mut cuts,
                    (it.to, it.target),
                    (it.from, it.source),
                    it.length,
                );
            }
            if !changed {
                break;
            }
        }
        for (number, cuts) in cuts {
            if let Some(file) = self.files.get_mut(number) {
                file.cuts = cuts.into_iter().collect();
            }
        }
    }

    /// Takes the cuts of a range over to another; says whether there was a new one.
    fn shift(
        &mut self,
        cuts: &mut BTreeMap<FileRef, BTreeSet<u64>>,
        (from, start): (FileRef, u64),
        (to, target): (FileRef, u64),
        length: u64,
    ) -> bool {
        if !self.affords() {
            return false;
        }
        let end = start.saturating_add(length);
        let found = cuts.get(&from).map(|cuts| {
            let inside = cuts.range(start..=end);
            inside
                .map(|cut| target.saturating_add(cut - start))
                .collect::<Vec<u64>>()
        });
        let found = found.unwrap_or_default();
        self.pays(16 * to_u64(found.len() + 1));
        let Some(cuts) = cuts.get_mut(&to) else {
            return false;
        };
        let old = cuts.len();
        cuts.extend(found);
        cuts.len() > old
    }

    fn tidy(&mut self) {
        for file in &mut self.files {
            file.cuts.sort_unstable();
            file.cuts.dedup();
        }
    }
}

/// What a file is found by: as servers do, without case and without the name of the main stream.
fn key_of(share: &str, path: &str) -> String {
    let mut path = path.trim_matches(['\\', '\0']).to_lowercase();
    let folder = path.rfind('\\').map_or(0, |at| at + 1);
    if let Some(colon) = path.get(folder..).and_then(|name| name.find(':')) {
        let at = folder + colon;
        let stream = path.get(at + 1..).unwrap_or_default();
        let name = stream.split(':').next().unwrap_or_default().len();
        path.truncate(if name == 0 { at } else { at + 1 + name });
    }
    format!("{}\0{path}", share.to_lowercase())
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn cost(key: &str) -> u64 {
    to_u64(key.len()).saturating_add(64)
}

/// Renames of renames, copies of copies.
const ROUNDS: usize = 8;
const LONGEST_KEY: usize = 4096;
/// What following renames and copies may cost in any case, and how many times what the workload tells:
/// bytes of names, with something for each. A chain of both has a product of them to follow.
const COST: u64 = 16 << 20;
const COST_TIMES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::super::key::{KeyMaker, Seed};
    use super::*;

    fn key() -> Key {
        KeyMaker::new(&Seed::from_number(5)).finish()
    }

    #[test]
    fn parts_of_what_was_written_read_as_parts() {
        let mut content = Content::default();
        let file = content.file("data", "a\\b.txt");
        content.touched(file, 100, 1_000);
        content.touched(file, 150, 20);
        content.touched(file, 163, 937);
        content.seal();
        let data: Vec<u8> = (0..1_000_u32).map(|it| (it % 251) as u8 + 1).collect();
        let whole = content.synthetic(&key(), file, 100, &data);
        assert_eq!(whole.len(), data.len());
        for (offset, len) in [(150_u64, 20), (163, 937), (150, 950), (100, 50)] {
            let at = usize::try_from(offset).unwrap() - 100;
            let part = content.synthetic(&key(), file, offset, &data[at..at + len]);
            assert_eq!(part, whole[at..at + len], "{offset} {len}");
        }
        // Other data stays other data, cell by cell.
        let mut other = data.clone();
        other[60] ^= 1;
        let changed = content.synthetic(&key(), file, 100, &other);
        assert_eq!(changed[..50], whole[..50]);
        assert_ne!(changed[50..63], whole[50..63]);
        assert_eq!(changed[70..], whole[70..]);
        assert!(
            !data
                .windows(8)
                .any(|it| whole.windows(8).any(|made| made == it))
        );
    }

    #[test]
    fn zeros_stay_and_single_bytes_stay_apart() {
        let mut content = Content::default();
        let file = content.file("data", "x");
        content.touched(file, 0, 1);
        content.seal();
        let mut made: Vec<u8> = (0..=255)
            .map(|byte| content.synthetic(&key(), file, 0, &[byte])[0])
            .collect();
        assert_eq!(made[0], 0);
        assert_eq!(
            made,
            (0..=255)
                .map(|byte| content.synthetic(&key(), file, 0, &[byte])[0])
                .collect::<Vec<u8>>()
        );
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 256);
        assert_eq!(content.synthetic(&key(), file, 7, &[0; 40]), [0; 40]);
    }

    #[test]
    fn renamed_and_copied_files_share_their_cuts() {
        let mut content = Content::default();
        let folder = content.file("data", "old");
        let old = content.file("data", "old\\f");
        let new = content.file("DATA", "New\\F::$DATA");
        let copy = content.file("data", "copy");
        content.touched(old, 0, 64);
        content.touched(new, 16, 16);
        content.renamed(folder, "data", "new");
        content.copied([new, copy], [16, 1_000], 48);
        content.touched(copy, 1_003, 5);
        content.seal();
        let data: Vec<u8> = (1..=64).collect();
        let whole = content.synthetic(&key(), old, 0, &data);
        assert_eq!(
            content.synthetic(&key(), new, 16, &data[16..32]),
            whole[16..32]
        );
        let copied = content.synthetic(&key(), copy, 1_000, &data[16..]);
        assert_eq!(copied, whole[16..]);
        let read = content.synthetic(&key(), copy, 1_003, &data[19..24]);
        assert_eq!(read, whole[19..24]);
    }

    /// A chain of renames of a folder of thousands of files, and copies of copies of a file that is
    /// cut into thousands of pieces: followed as long as that is in proportion.
    #[test]
    fn what_is_renamed_and_copied_again_and_again_is_followed_for_a_while() {
        let mut content = Content::default();
        for file in 0..5_000 {
            content.file("data", &format!("at0\\{file}"));
        }
        for turn in 0..5_000 {
            let folder = content.file("data", &format!("at{turn}"));
            content.renamed(folder, "data", &format!("at{}", turn + 1));
        }
        assert!(!content.seal());
        assert!(content.files.len() < 1_000_000, "{}", content.files.len());

        let mut content = Content::default();
        let file = content.file("data", "f");
        for at in 0..20_000 {
            content.touched(file, 3 * at, 3);
        }
        for turn in 0..20_000 {
            content.copied([file, file], [0, 100_000 + 7 * turn], 60_000);
        }
        assert!(!content.seal());
        assert!(content.files[file].cuts.len() < 2_000_000);
    }

    #[test]
    fn a_short_cell_may_hold_anything_any_number_of_times() {
        let mut content = Content::default();
        let file = content.file("data", "x");
        content.touched(file, 0, 4);
        assert!(content.seal());
        let made: Set<Vec<u8>> = (1..60_000_u32)
            .map(|it| content.synthetic(&key(), file, 0, &it.to_le_bytes()))
            .collect();
        assert_eq!(made.len(), 59_999);
    }

    #[test]
    fn long_chains_of_files_that_are_the_same_are_short_to_follow() {
        let mut content = Content::default();
        let files: Vec<FileRef> = (0..60_000)
            .map(|it| content.file("data", &it.to_string()))
            .collect();
        for pair in files.windows(2).rev() {
            content.join(pair[0], pair[1]);
        }
        assert!(files.iter().all(|it| content.root(*it) == 0));
    }
}
