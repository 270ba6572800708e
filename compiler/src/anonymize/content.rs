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

use std::collections::{BTreeMap, HashMap};

use super::key::Key;

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
    /// Contents of the shortest cells: file, offset, length; original and synthetic.
    short: HashMap<(FileRef, u64, usize), Vec<(u64, u64)>>,
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
        self.by_key(key_of(share, path))
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

    /// Everything was seen: settles which files are one, and their cuts.
    pub(super) fn seal(&mut self) {
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
        let found = known.iter().find(|(from, _)| *from == original);
        let made = found.map(|(_, made)| *made).unwrap_or_else(|| {
            let values = 1_u64 << (8 * cell.len().min(7));
            let mut noise = [0; 8];
            let file = to_u64(place.0).to_le_bytes();
            let count = to_u64(known.len()).to_le_bytes();
            let parts: [&[u8]; 3] = [&file, &place.1.to_le_bytes(), &count];
            key.fill("shortest cell", &parts, &mut noise);
            let mut made = u64::from_le_bytes(noise) % values;
            // There are as many as contents, so one is left.
            while made == 0 || known.iter().any(|(_, taken)| *taken == made) {
                made = (made + 1) % values;
            }
            known.push((original, made));
            made
        });
        for (to, from) in room.iter_mut().zip(made.to_le_bytes()) {
            *to = from;
        }
    }

    fn root(&self, file: FileRef) -> FileRef {
        let mut at = file;
        while let Some(next) = self
            .files
            .get(at)
            .map(|it| it.same_as)
            .filter(|it| *it != at)
        {
            at = next;
        }
        at
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
                    let below: Vec<(String, FileRef)> = self
                        .numbers
                        .range(prefix.clone()..)
                        .take_while(|(key, _)| key.starts_with(&prefix))
                        .map(|(key, file)| (key.clone(), *file))
                        .collect();
                    for (key, file) in below {
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
        let moved: Vec<Copied> = self
            .copies
            .iter()
            .map(|it| Copied {
                from: self.root(it.from),
                to: self.root(it.to),
                ..*it
            })
            .filter(|it| it.from != it.to || it.source != it.target)
            .collect();
        for copied in &moved {
            for end in [copied.from, copied.to] {
                if let Some(file) = self.files.get_mut(end) {
                    file.adrift = true;
                }
            }
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for it in &moved {
                changed |= self.shift(it.from, it.source, it.to, it.target, it.length);
                changed |= self.shift(it.to, it.target, it.from, it.source, it.length);
            }
            if !changed {
                break;
            }
            self.tidy();
        }
    }

    /// Takes the cuts of a range over to another; says whether there was a new one.
    fn shift(&mut self, from: FileRef, start: u64, to: FileRef, target: u64, length: u64) -> bool {
        let end = start.saturating_add(length);
        let found = self.files.get(from).map(|file| {
            let cuts = file.cuts.iter().copied();
            let inside = cuts.filter(|cut| (start..=end).contains(cut));
            inside
                .map(|cut| target.saturating_add(cut - start))
                .collect::<Vec<u64>>()
        });
        let Some(file) = self.files.get_mut(to) else {
            return false;
        };
        let old = file.cuts.len();
        for cut in found.unwrap_or_default() {
            if let Err(place) = file.cuts.binary_search(&cut) {
                file.cuts.insert(place, cut);
            }
        }
        file.cuts.len() > old
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

/// Renames of renames, copies of copies.
const ROUNDS: usize = 8;
const LONGEST_KEY: usize = 4096;

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
}
