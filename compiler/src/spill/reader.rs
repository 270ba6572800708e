//! Records being read, in the order of the operations.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
};

use super::{Gaps, HEAD, Head, Text, room::Room};
use crate::folder::FolderError;

/// One record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) gaps: Gaps,
    /// When the operation was seen, in nanoseconds since the Unix epoch.
    pub(crate) time_ns: u64,
}

/// Reads the records of a [`super::Spill`].
#[derive(Debug)]
pub(crate) struct SpillReader {
    path: PathBuf,
    source: Source,
    /// Where the next record begins.
    at: u64,
}

/// Where records are.
#[derive(Debug)]
struct Source {
    /// The file twice: for one record after the other, and for late ones.
    files: Option<[Reader; 2]>,
    /// Bytes that are in the file.
    filed: u64,
    /// What is behind them.
    rest: Room,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Reader {
    file: BufReader<File>,
    at: u64,
}

impl Reader {
    fn new(file: File) -> Self {
        Self {
            file: BufReader::with_capacity(READ, file),
            at: 0,
        }
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if at != self.at {
            let distance = i128::from(at) - i128::from(self.at);
            let distance = i64::try_from(distance).map_err(io::Error::other)?;
            self.file.seek_relative(distance)?;
        }
        self.file.read_exact(into)?;
        self.at = at + into.len() as u64;
        Ok(())
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug)]
enum Way {
    Next,
    Late,
}

impl SpillReader {
    /// `filed` bytes are in the file, `rest` is behind them.
    pub(super) fn new(path: PathBuf, files: Option<[File; 2]>, filed: u64, rest: Room) -> Self {
        Self {
            path,
            source: Source {
                files: files.map(|it| it.map(Reader::new)),
                filed,
                rest,
                buffer: Vec::new(),
            },
            at: 0,
        }
    }

    /// The record of the next operation.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], also when there is none.
    pub(crate) fn next(&mut self) -> Result<Record<'_>, FolderError> {
        let found = find(&mut self.source, &mut self.at).map_err(FolderError::io(&self.path))?;
        let (way, at, text) = found;
        let Text { len, gaps, time_ns } = text;
        let read = self.source.bytes(way, at, len as usize);
        Ok(Record {
            text: read.map_err(FolderError::io(&self.path))?,
            gaps,
            time_ns,
        })
    }
}

/// Where the text of the next operation is, whose record, or place, is at `next` or behind it.
fn find(source: &mut Source, next: &mut u64) -> io::Result<(Way, u64, Text)> {
    loop {
        let head = source.head(Way::Next, *next)?;
        *next += HEAD as u64;
        match head {
            Head::Next(text) => {
                let at = *next;
                *next += u64::from(text.len);
                return Ok((Way::Next, at, text));
            }
            Head::Late(text) => *next += u64::from(text.len),
            Head::Reserved { at } => {
                let Head::Late(text) = source.head(Way::Late, at)? else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                return Ok((Way::Late, at + HEAD as u64, text));
            }
        }
    }
}

impl Source {
    fn head(&mut self, way: Way, at: u64) -> io::Result<Head> {
        let bytes = self.bytes(way, at, HEAD)?;
        let head = bytes.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Head::from_bytes(head))
    }

    /// So many bytes at a place; none are partly in the file.
    #[inline]
    fn bytes(&mut self, way: Way, at: u64, len: usize) -> io::Result<&[u8]> {
        if let Some(at) = at.checked_sub(self.filed) {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let bytes = self.rest.bytes().get(at..).and_then(|rest| rest.get(..len));
            return bytes.ok_or(io::ErrorKind::UnexpectedEof.into());
        }
        let Some([next, late]) = &mut self.files else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let into = self.buffer.get_mut(..len).unwrap_or_default();
        match way {
            Way::Next => next.read(at, into)?,
            Way::Late => late.read(at, into)?,
        }
        Ok(into)
    }
}

const READ: usize = 1 << 18;
