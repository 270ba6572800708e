//! Reading a workload folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use smbench_core::{
    frame::Digest,
    ids::OpId,
    workload::{Entry, FORMAT, Operation, Workload},
};

use super::{BlobReader, FolderError, MAX_LINE, MAX_TABLES, line, line_too_long, name};

/// A workload folder, with its tables read.
#[derive(Debug)]
pub struct FolderReader {
    path: PathBuf,
    workload: Workload,
}

/// The operations of a folder, in order.
pub type Operations = Lines<Operation>;
/// The initial namespace of a folder.
pub type Entries = Lines<Entry>;

impl FolderReader {
    /// Opens a workload folder and reads its tables.
    ///
    /// # Errors
    ///
    /// [`FolderError::NotAWorkload`], [`FolderError::NewerFormat`], [`FolderError::BadLine`],
    /// [`FolderError::TooManyOpens`], [`FolderError::Io`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let file = path.join(name::WORKLOAD);
        if !file.is_file() {
            return Err(FolderError::NotAWorkload {
                path: path.to_owned(),
            });
        }
        let mut json = Vec::new();
        File::open(&file)
            .and_then(|tables| {
                if tables.metadata()?.len() > MAX_TABLES {
                    let text = format!("it is larger than {} MiB", MAX_TABLES >> 20);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                tables.take(MAX_TABLES).read_to_end(&mut json)
            })
            .map_err(FolderError::io(&file))?;
        let bad = |source: serde_json::Error| FolderError::BadLine {
            path: file.clone(),
            line: u64::try_from(source.line()).unwrap_or(u64::MAX),
            byte: line_start(&json, source.line()),
            source,
        };
        // The format first: in a newer one nothing else need be as we know it.
        let Version { format } = serde_json::from_slice(&json).map_err(bad)?;
        if format > u64::from(FORMAT) {
            return Err(FolderError::NewerFormat {
                path: file,
                got: format,
                newest: FORMAT,
            });
        }
        let workload: Workload = serde_json::from_slice(&json).map_err(bad)?;
        // Whoever reads operations makes room for the opens first.
        let bytes = fs::metadata(path.join(name::OPERATIONS)).map_or(0, |it| it.len());
        let operations = workload.operations.min(bytes / SHORTEST_LINE);
        if !workload.has_plausible_opens(operations) {
            return Err(FolderError::TooManyOpens {
                path: file,
                opens: workload.opens,
                operations,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            workload,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The tables.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The tables, for keeps.
    #[must_use]
    pub fn into_workload(self) -> Workload {
        self.workload
    }

    /// The operations, read as they are asked for. After an error nothing more comes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] here; from the iterator also [`FolderError::BadLine`],
    /// [`FolderError::BadNumber`] and [`FolderError::BadCount`].
    pub fn operations(&self) -> Result<Operations, FolderError> {
        let mut lines = Lines::open(self.path.join(name::OPERATIONS))?;
        lines.want = Some(self.workload.operations);
        lines.number = Some(|op: &Operation| op.id.0);
        Ok(lines)
    }

    /// The same without what they ask for, and much faster: [`Operation::action`] and what engines do not look at (`path`,
    /// `mid`, `frame`, `file_id`) mean nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::operations`], but that requests are not read.
    pub fn outlines(&self) -> Result<Operations, FolderError> {
        let mut lines = self.operations()?;
        lines.parse = outline;
        Ok(lines)
    }

    /// Those of the operations that `wanted` names; the others are not looked at.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`], [`FolderError::BadLine`], [`FolderError::BadNumber`].
    pub fn pick(&self, wanted: &BTreeSet<OpId>) -> Result<BTreeMap<OpId, Operation>, FolderError> {
        let mut lines = self.operations()?;
        let mut picked = BTreeMap::new();
        for id in wanted {
            if !lines.skip_to(u64::from(id.0))? {
                break;
            }
            picked.extend(lines.read()?.map(|op| (op.id, op)));
        }
        Ok(picked)
    }

    /// BLAKE3 of `ops.jsonl`: what journals name the workload by.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`].
    pub fn digest(&self) -> Result<Digest, FolderError> {
        let path = self.path.join(name::OPERATIONS);
        let file = File::open(&path).map_err(FolderError::io(&path))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(FolderError::io(&path))?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// The initial namespace, read as it is asked for. After an error nothing more comes.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] here; from the iterator also [`FolderError::BadLine`].
    pub fn namespace(&self) -> Result<Entries, FolderError> {
        Lines::open(self.path.join(name::NAMESPACE))
    }

    /// The bulk data.
    ///
    /// # Errors
    ///
    /// As [`BlobReader::open`].
    pub fn blobs(&self) -> Result<BlobReader, FolderError> {
        BlobReader::open(&self.path.join(name::BLOBS))
    }
}

#[derive(Deserialize)]
struct Version {
    format: u64,
}

/// A file of JSON lines.
#[derive(Debug)]
pub struct Lines<T> {
    path: PathBuf,
    input: BufReader<File>,
    buffer: Vec<u8>,
    line: u64,
    byte: u64,
    /// Lines announced.
    want: Option<u64>,
    number: Option<fn(&T) -> u32>,
    parse: fn(&[u8]) -> serde_json::Result<T>,
    over: bool,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    fn open(path: PathBuf) -> Result<Self, FolderError> {
        let file = File::open(&path).map_err(FolderError::io(&path))?;
        Ok(Self {
            path,
            input: BufReader::with_capacity(1 << 18, file),
            buffer: Vec::new(),
            line: 0,
            byte: 0,
            want: None,
            number: None,
            parse: |line| serde_json::from_slice(line),
            over: false,
            items: PhantomData,
        })
    }

    /// Reads a line into the buffer; its length.
    fn read_line(&mut self) -> Result<usize, FolderError> {
        self.buffer.clear();
        let mut line = Read::take(&mut self.input, MAX_LINE);
        let read = line.read_until(b'\n', &mut self.buffer);
        let read = read.and_then(|len| match self.buffer.last() {
            Some(last) if *last != b'\n' && line.limit() == 0 => Err(line_too_long()),
            _ => Ok(len),
        });
        read.map_err(FolderError::io(&self.path))
    }

    /// Goes past lines up to `line`, from 0; false when there are not so many.
    fn skip_to(&mut self, line: u64) -> Result<bool, FolderError> {
        while self.line < line {
            let len = self.read_line()?;
            if len == 0 {
                return Ok(false);
            }
            self.line = self.line.saturating_add(1);
            self.byte = self
                .byte
                .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<T>, FolderError> {
        let len = self.read_line()?;
        if len == 0 {
            return match self.want {
                Some(want) if want != self.line => Err(FolderError::BadCount {
                    path: self.path.clone(),
                    got: self.line,
                    want,
                }),
                _ => Ok(None),
            };
        }
        let byte = self.byte;
        self.line = self.line.saturating_add(1);
        self.byte = byte.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let item = (self.parse)(&self.buffer);
        let item = item.map_err(|source| FolderError::BadLine {
            path: self.path.clone(),
            line: self.line,
            byte,
            source,
        })?;
        if let Some(got) = self.number.map(|number| number(&item))
            && u64::from(got).saturating_add(1) != self.line
        {
            return Err(FolderError::BadNumber {
                path: self.path.clone(),
                line: self.line,
                got,
            });
        }
        Ok(Some(item))
    }
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<T, FolderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.read().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}

fn outline(line: &[u8]) -> serde_json::Result<Operation> {
    let mut operation = Operation::blank();
    match line::read(line, &mut operation) {
        Some(_) => Ok(operation),
        None => serde_json::from_slice(line),
    }
}

fn line_start(text: &[u8], line: usize) -> u64 {
    let before = text.split_inclusive(|byte| *byte == b'\n');
    let bytes: usize = before.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// No operation has a shorter line, by far.
const SHORTEST_LINE: u64 = 32;
