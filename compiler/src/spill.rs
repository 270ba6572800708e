//! Operations on their way to `ops.jsonl`: written as they settle, lacking what only the end of the
//! capture tells, and read once more when that is known.
//!
//! A record is the line of an operation without `id`, `at_us`, `client`, `after`, and where it is
//! that of the open also without `path`; with the places where the last two belong. The first
//! records stay in memory, so that small captures need no file. An operation that settles late
//! leaves its place to a record that says where its own is.

mod line;
mod reader;
mod room;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use smbench_core::{
    ids::OpId,
    smb2::Request,
    workload::{Action, Operation},
};

pub(crate) use self::reader::{Record, SpillReader};
use self::room::Room;
use crate::folder::FolderError;

/// Where in the text of an operation its missing fields belong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Gaps {
    /// `path`, unless the text has it or the operation has none.
    pub(crate) path: Option<u32>,
    /// `after`.
    pub(crate) after: u32,
}

/// What a record begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Head {
    /// An operation in its place.
    Next(Text),
    /// An operation whose place is before.
    Late(Text),
    /// The place of a late one.
    Reserved {
        /// Where its record begins.
        at: u64,
    },
}

/// The text that follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Text {
    len: u32,
    gaps: Gaps,
    time_ns: u64,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD] {
        let (len, gaps, number) = match self {
            Self::Next(text) => (text.len, text.gaps, text.time_ns),
            Self::Late(text) => (text.len | LATE, text.gaps, text.time_ns),
            Self::Reserved { at } => (RESERVED, Gaps::default(), at),
        };
        let fields = [len, gaps.path.unwrap_or(NONE), gaps.after];
        let fields = fields.into_iter().flat_map(u32::to_le_bytes);
        let mut head = [0; HEAD];
        for (slot, byte) in head.iter_mut().zip(fields.chain(number.to_le_bytes())) {
            *slot = byte;
        }
        head
    }

    fn from_bytes(head: &[u8; HEAD]) -> Self {
        let [len, path, after] = [0, 4, 8].map(|at| {
            let field = head.get(at..).and_then(<[u8]>::first_chunk);
            u32::from_le_bytes(field.copied().unwrap_or_default())
        });
        let number = u64::from_le_bytes(head.last_chunk().copied().unwrap_or_default());
        if len == RESERVED {
            return Self::Reserved { at: number };
        }
        let text = Text {
            len: len & !LATE,
            gaps: Gaps {
                path: (path != NONE).then_some(path),
                after,
            },
            time_ns: number,
        };
        match len & LATE {
            0 => Self::Next(text),
            _ => Self::Late(text),
        }
    }
}

/// Records being written.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
    /// What is behind them.
    room: Room,
    /// The text of one operation.
    text: Vec<u8>,
    /// Where the places are that are still open.
    reserved: BTreeMap<OpId, u64>,
}

impl Spill {
    /// Begins without a file; `path` is where it will be.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            filed: 0,
            room: Room::new(ROOM),
            text: Vec::new(),
            reserved: BTreeMap::new(),
        }
    }

    /// Writes the next operation, seen at `time_ns`; the length of its record in bytes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`].
    pub(crate) fn push(&mut self, op: &Operation, time_ns: u64) -> Result<u64, FolderError> {
        self.write(op, time_ns, Head::Next)
    }

    /// Leaves the next place to an operation that [`Spill::fill`] writes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn reserve(&mut self, op: OpId) -> Result<(), FolderError> {
        self.reserved.insert(op, self.end());
        self.text.clear();
        let head = Head::Reserved { at: u64::MAX };
        self.append(head).map_err(FolderError::io(&self.path))
    }

    /// Writes an operation whose place was left open; the length of its record in bytes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`].
    pub(crate) fn fill(&mut self, op: &Operation, time_ns: u64) -> Result<u64, FolderError> {
        if let Some(place) = self.reserved.remove(&op.id) {
            let head = Head::Reserved { at: self.end() };
            let patched = self.patch(place, &head.to_bytes());
            patched.map_err(FolderError::io(&self.path))?;
        }
        self.write(op, time_ns, Head::Late)
    }

    fn write(
        &mut self,
        op: &Operation,
        time_ns: u64,
        head: fn(Text) -> Head,
    ) -> Result<u64, FolderError> {
        self.text.clear();
        let gaps = write_text(op, &mut self.text).map_err(|source| FolderError::Unwritable {
            path: self.path.clone(),
            source,
        })?;
        let got = self.text.len();
        let len = u32::try_from(got).ok().filter(|len| *len < LATE - 1);
        let len = len.ok_or(FolderError::TooLong { got })?;
        let head = head(Text { len, gaps, time_ns });
        self.append(head).map_err(FolderError::io(&self.path))?;
        Ok(u64::from(len))
    }

    /// Appends a head and the text.
    fn append(&mut self, head: Head) -> io::Result<()> {
        let head = head.to_bytes();
        if self.room.append(&head, &self.text)? {
            return Ok(());
        }
        self.flush()?;
        if self.room.append(&head, &self.text)? {
            return Ok(());
        }
        // It is longer than the room.
        if let Some(file) = &mut self.file {
            file.write_all(&head)?;
            file.write_all(&self.text)?;
        }
        self.filed += (HEAD + self.text.len()) as u64;
        Ok(())
    }

    /// Where the next record begins.
    fn end(&self) -> u64 {
        self.filed + self.room.len() as u64
    }

    /// Writes a head anew.
    fn patch(&mut self, at: u64, head: &[u8; HEAD]) -> io::Result<()> {
        if let Some(place) = at.checked_sub(self.filed) {
            let place = usize::try_from(place).ok();
            let slot = place.and_then(|place| self.room.behind(place)?.first_chunk_mut());
            if let Some(slot) = slot {
                *slot = *head;
            }
            return Ok(());
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(at))?;
        file.write_all(head)?;
        file.seek(SeekFrom::Start(self.filed)).map(drop)
    }

    /// Puts what is in memory into the file.
    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true);
            self.file = Some(file.open(&self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(self.room.bytes())?;
        }
        self.filed = self.end();
        // From now on little has to be in memory.
        if self.room.capacity() > BUFFER {
            self.room = Room::new(BUFFER);
        }
        self.room.clear();
        Ok(())
    }

    /// Reads everything from the start. The file goes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn read(self) -> Result<SpillReader, FolderError> {
        let files = match self.file {
            Some(mut file) => {
                let open = || {
                    file.seek(SeekFrom::Start(0))?;
                    let late = File::open(&self.path)?;
                    // The open files are all that is needed of it.
                    fs::remove_file(&self.path)?;
                    Ok([file, late])
                };
                Some(open().map_err(FolderError::io(&self.path))?)
            }
            None => None,
        };
        Ok(SpillReader::new(self.path, files, self.filed, self.room))
    }
}

/// Appends the text of an operation to `out`.
///
/// # Errors
///
/// [`serde_json::Error`] when it cannot be written as JSON.
pub(crate) fn write_text(op: &Operation, out: &mut Vec<u8>) -> Result<Gaps, serde_json::Error> {
    let mut gaps = line::write(op, out)?;
    let creates = matches!(&op.action, Action::Request(Request::Create(_)));
    if creates || op.path.is_some() || op.open.is_none() {
        gaps.path = None;
    }
    Ok(gaps)
}

/// Length of what a record begins with: three lengths and the time.
const HEAD: usize = 20;
/// Bytes that are in memory before there is a file.
const ROOM: usize = 32 << 20;
/// Records are then written to it in pieces of about this size.
const BUFFER: usize = 4 << 20;
/// Stands for no place.
const NONE: u32 = u32::MAX;
/// Marks the length of a record that is not in its place.
const LATE: u32 = 1 << 31;
/// Stands for the length where there is no text.
const RESERVED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// With the missing fields where they belong, the text is what serde makes of the operation.
    #[test]
    fn the_text_has_its_gaps_where_serde_has_the_fields() {
        let line = concat!(
            r#"{"id":7,"at_us":12,"client":3,"conn":3,"session":1,"tree":2,"cmd":"CLOSE","mid":9,"#,
            r#""frame":261,"compound":{"first":6,"position":1,"related":true},"#,
            r#""do":{"disconnect":{"by_client":true,"reset":false}},"path":"a\"b","open":4,"#,
            r#""rpc":[{"kind":"request","opnum":15},{"kind":{"other":16},"auth":true}],"#,
            r#""after":[{"id":6,"rule":"wire"}],"expect":{"frame":262,"status":"SUCCESS","#,
            r#""latency_us":797}}"#
        );
        let op: Operation = serde_json::from_str(line).expect("an operation");
        assert_eq!(serde_json::to_string(&op).expect("JSON"), line);
        for (path, expect) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut whole = op.clone();
            if !path {
                whole.path = None;
            }
            if !expect {
                whole.expect = None;
            }
            let mut short = whole.clone();
            short.path = None;
            short.after.clear();
            let mut text = Vec::new();
            let gaps = write_text(&short, &mut text).expect("JSON");
            let text = String::from_utf8(text).expect("UTF-8");
            let (before, behind) = text.split_at(gaps.after as usize);
            let (head, rest) = before.split_at(gaps.path.expect("a gap") as usize);
            let path = if path { r#","path":"a\"b""# } else { "" };
            let after = r#","after":[{"id":6,"rule":"wire"}]"#;
            let start = r#"{"id":7,"at_us":12,"client":3"#;
            assert_eq!(
                format!("{start}{head}{path}{rest}{after}{behind}}}"),
                serde_json::to_string(&whole).expect("JSON")
            );
        }
    }

    fn operation(id: u32) -> Operation {
        let line = serde_json::json!({
            "id": id, "at_us": 0, "client": 0, "conn": id, "cmd": "ECHO", "mid": id, "frame": 1,
            "do": { "request": { "ECHO": {} } },
        });
        serde_json::from_value(line).expect("an operation")
    }

    /// Every seventh settles late, some of them when others are already; all come in order, in
    /// memory and from a file.
    #[test]
    fn late_operations_are_read_in_their_places() {
        const ALL: u32 = 2_000;
        for room in [1, 300, 5_000, ROOM] {
            let name = format!("smbench-spill-{}-{room}", std::process::id());
            let mut spill = Spill {
                room: Room::new(room),
                ..Spill::new(std::env::temp_dir().join(name))
            };
            for id in 0..ALL {
                match id % 7 {
                    3 => spill.reserve(OpId(id)).expect("written"),
                    _ => drop(spill.push(&operation(id), id.into()).expect("written")),
                }
                if let Some(late) = id.checked_sub(100).filter(|late| late % 14 == 3) {
                    spill.fill(&operation(late), late.into()).expect("written");
                }
            }
            for late in (0..ALL).rev().filter(|late| late % 7 == 3) {
                if spill.reserved.contains_key(&OpId(late)) {
                    spill.fill(&operation(late), late.into()).expect("written");
                }
            }
            let path = spill.path.clone();
            assert_eq!(spill.file.is_some(), room < ROOM);
            let mut reader = spill.read().expect("read");
            assert!(!path.exists(), "the file is left");
            for id in 0..ALL {
                let mut text = Vec::new();
                let gaps = write_text(&operation(id), &mut text).expect("JSON");
                let record = reader.next().expect("a record");
                assert_eq!(record.text, text, "{id} with room for {room}");
                assert_eq!((record.gaps, record.time_ns), (gaps, id.into()));
            }
            assert!(reader.next().is_err(), "there is one too many");
        }
    }

    #[test]
    fn a_place_that_stays_open_is_an_error() {
        let mut spill = Spill::new(std::env::temp_dir().join("smbench-spill-open"));
        spill.reserve(OpId(0)).expect("written");
        let mut reader = spill.read().expect("read");
        assert!(reader.next().is_err());
    }
}
