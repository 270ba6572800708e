//! Operations on their way to `ops.jsonl`: written as they settle, lacking what only the end of the
//! capture tells, and read once more when that is known.
//!
//! A record is the line of an operation without `id`, `at_us`, `client`, `after`, and where it is
//! that of the open also without `path`; with the places where the last two belong. The first
//! records stay in memory, so that small captures need no file.

mod line;

use std::{
    fs::{self, File},
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use smbench_core::{
    smb2::Request,
    workload::{Action, Operation},
};

use crate::folder::FolderError;

/// Where in the text of an operation its missing fields belong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Gaps {
    /// `path`, unless the text has it or the operation has none.
    pub(crate) path: Option<u32>,
    /// `after`.
    pub(crate) after: u32,
}

/// Records being written.
#[derive(Debug)]
pub(crate) struct Spill {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Spill {
    /// Begins without a file; `path` is where it will be.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            buffer: Vec::new(),
        }
    }

    /// Writes the next operation, seen at `time_ns`; the length of its record in bytes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::Unwritable`].
    pub(crate) fn push(&mut self, op: &Operation, time_ns: u64) -> Result<u64, FolderError> {
        let head = self.buffer.len();
        self.buffer.resize(head + HEAD, 0);
        let gaps = write_text(op, &mut self.buffer).map_err(|source| FolderError::Unwritable {
            path: self.path.clone(),
            source,
        })?;
        let len = self.buffer.len() - head - HEAD;
        let len = u32::try_from(len).map_err(|_| FolderError::TooLong { got: len })?;
        let fields = [len, gaps.path.unwrap_or(NONE), gaps.after];
        let fields = fields.into_iter().flat_map(u32::to_le_bytes);
        let slots = self.buffer.iter_mut().skip(head);
        for (slot, byte) in slots.zip(fields.chain(time_ns.to_le_bytes())) {
            *slot = byte;
        }
        if self.buffer.len() >= BUFFER {
            self.flush().map_err(FolderError::io(&self.path))?;
        }
        Ok(u64::from(len))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true);
            self.file = Some(file.open(&self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Reads everything from the start. The file goes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub(crate) fn read(self) -> Result<SpillReader, FolderError> {
        let input: Box<dyn Read> = match self.file {
            Some(mut file) => {
                let back = file.seek(SeekFrom::Start(0));
                // The open file is all that is needed of it.
                let gone = back.and_then(|_| fs::remove_file(&self.path));
                gone.map_err(FolderError::io(&self.path))?;
                Box::new(BufReader::with_capacity(READ, file).chain(Cursor::new(self.buffer)))
            }
            None => Box::new(Cursor::new(self.buffer)),
        };
        Ok(SpillReader {
            path: self.path,
            input,
            text: Vec::new(),
        })
    }
}

/// Records being read, in the order in which they were written.
pub(crate) struct SpillReader {
    path: PathBuf,
    input: Box<dyn Read>,
    text: Vec<u8>,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) gaps: Gaps,
    /// When the operation was seen, in nanoseconds since the Unix epoch.
    pub(crate) time_ns: u64,
}

impl SpillReader {
    /// The next record.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], also when there is none.
    pub(crate) fn next(&mut self) -> Result<Record<'_>, FolderError> {
        let mut head = [0; HEAD];
        let read = self.input.read_exact(&mut head);
        read.map_err(FolderError::io(&self.path))?;
        let [len, path, after] = [0, 4, 8].map(|at| {
            let field = head.get(at..).and_then(<[u8]>::first_chunk);
            u32::from_le_bytes(field.copied().unwrap_or_default())
        });
        let time = head.last_chunk().copied().unwrap_or_default();
        self.text.resize(len as usize, 0);
        let read = self.input.read_exact(&mut self.text);
        read.map_err(FolderError::io(&self.path))?;
        Ok(Record {
            text: &self.text,
            gaps: Gaps {
                path: (path != NONE).then_some(path),
                after,
            },
            time_ns: u64::from_le_bytes(time),
        })
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

/// Length of a record without its text: three lengths and the time.
const HEAD: usize = 20;
/// Records are written to the file in pieces of about this size.
const BUFFER: usize = 4 << 20;
const READ: usize = 1 << 18;
/// Stands for no place.
const NONE: u32 = u32::MAX;

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
}
