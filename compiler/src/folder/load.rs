//! A workload folder straight into a plan, on all processors.
//!
//! Workers take stretches of `ops.jsonl` in turn, read their lines and write their requests
//! ([`Drafter`]); the caller's thread puts them together in order ([`Planner`]). The digest of the
//! file is computed on the way. Memory holds a few stretches, and the plan.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use smbench_core::{
    engine::{Drafter, Part, Plan, PlanError, Planner, RunConfig},
    frame::Digest,
    workload::{Operation, Workload},
};
use thiserror::Error;

use super::{FolderError, FolderReader, MAX_LINE, line, line_too_long, name};

/// Why a workload folder gave no plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A workload ready to run.
#[derive(Debug)]
pub struct Loaded {
    /// What an engine runs.
    pub plan: Plan,
    /// BLAKE3 of `ops.jsonl`: what journals name the workload by.
    pub digest: Digest,
}

impl FolderReader {
    /// Makes the workload ready to run as `config` says, without keeping its operations.
    ///
    /// Errors are those of the first bad line, whichever thread it was read on.
    ///
    /// # Errors
    ///
    /// [`LoadError::Folder`] as [`FolderReader::operations`] and its iterator, [`LoadError::Plan`]
    /// as [`Plan::build`].
    pub fn plan(&self, config: &RunConfig) -> Result<Loaded, LoadError> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let path = self.path().join(name::OPERATIONS);
        let file = File::open(&path).map_err(FolderError::io(&path))?;
        let source = Mutex::new(Source::new(file));
        let (filled, arrived) = channel();
        let (freed, free) = channel();
        for _ in 0..workers * 3 {
            // The receiver is at hand: this cannot fail.
            freed.send(Stretch::default()).ok();
        }
        let free = Mutex::new(free);
        let planner = Planner::new(self.workload(), config);
        let plan = thread::scope(|scope| {
            for _ in 0..workers {
                let filled = filled.clone();
                let (source, free) = (&source, &free);
                let drafter = Drafter::new(self.workload(), config);
                scope.spawn(move || work(source, free, &filled, drafter));
            }
            drop(filled);
            let assembly = Assembly {
                workload: self.workload(),
                path: &path,
                planner,
                line: 0,
                byte: 0,
            };
            // Both ends of ours are dropped with it: workers that wait hear of it.
            assembly.run(&arrived, freed)
        })?;
        let source = source.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Loaded {
            plan,
            digest: Digest(*source.hasher.finalize().as_bytes()),
        })
    }
}

/// Some lines of the file, on their way.
#[derive(Debug, Default)]
struct Stretch {
    /// Its place in the file.
    number: u64,
    text: Vec<u8>,
    part: Part,
    lines: u64,
    end: Option<End>,
}

/// Why a stretch does not go on.
#[derive(Debug)]
enum End {
    Io(io::Error),
    /// The line at this byte of the stretch cannot be read.
    Line(usize, serde_json::Error),
}

/// The file, read a stretch at a time.
#[derive(Debug)]
struct Source {
    file: File,
    hasher: blake3::Hasher,
    /// The beginning of a line whose end has not been read.
    begun: Vec<u8>,
    next: u64,
    over: bool,
}

impl Source {
    fn new(file: File) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            begun: Vec::new(),
            next: 0,
            over: false,
        }
    }

    /// Fills `stretch` with the next lines; false at the end of the file.
    fn fill(&mut self, stretch: &mut Stretch) -> bool {
        if self.over {
            return false;
        }
        stretch.number = self.next;
        stretch.text.clear();
        stretch.text.append(&mut self.begun);
        self.next += 1;
        if let Err(error) = self.read_lines(&mut stretch.text) {
            self.over = true;
            stretch.end = Some(End::Io(error));
            return true;
        }
        !(self.over && stretch.text.is_empty())
    }

    fn read_lines(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let known = text.len();
            let read = Read::by_ref(&mut self.file)
                .take(STRETCH)
                .read_to_end(text)?;
            let new = text.get(known..).unwrap_or_default();
            self.hasher.update(new);
            if read == 0 {
                self.over = true;
                return Ok(());
            }
            if let Some(last) = memchr::memrchr(b'\n', new) {
                let rest = text.get(known + last + 1..).unwrap_or_default();
                self.begun.extend_from_slice(rest);
                text.truncate(known + last + 1);
                return Ok(());
            }
            // No line has ended in it yet.
            if text.len() as u64 > MAX_LINE {
                text.clear();
                return Err(line_too_long());
            }
        }
    }
}

/// What a worker does until there is nothing left, or nobody wants it.
fn work(
    source: &Mutex<Source>,
    free: &Mutex<Receiver<Stretch>>,
    filled: &Sender<Stretch>,
    mut drafter: Drafter<'_>,
) {
    let mut op = Operation::blank();
    loop {
        let stretch = free.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut stretch) = stretch else { return };
        let more = source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(&mut stretch);
        if !more {
            return;
        }
        stretch.draft(&mut drafter, &mut op);
        if filled.send(stretch).is_err() {
            return;
        }
    }
}

impl Stretch {
    fn draft(&mut self, drafter: &mut Drafter<'_>, op: &mut Operation) {
        self.part.clear();
        self.lines = 0;
        let mut from = 0;
        while let Some(rest) = self.text.get(from..).filter(|rest| !rest.is_empty()) {
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = rest.get(..len).unwrap_or_default();
            self.lines += 1;
            if let Err(error) = draft(line, drafter, op, &mut self.part) {
                self.end = Some(End::Line(from, error));
                return;
            }
            from += len;
        }
    }
}

/// Drafts one line, the short way if it goes.
fn draft(
    line: &[u8],
    drafter: &mut Drafter<'_>,
    op: &mut Operation,
    part: &mut Part,
) -> Result<(), serde_json::Error> {
    let parse = |text: &[u8]| serde_json::from_slice(text);
    if let Some(request) = line::read(line, op)
        && drafter.draft_text(op, request, true, part, parse).is_ok()
    {
        return Ok(());
    }
    let read: Operation = serde_json::from_slice(line)?;
    drafter.draft(&read, true, part);
    Ok(())
}

/// Puts stretches together in order.
struct Assembly<'a> {
    workload: &'a Workload,
    path: &'a Path,
    planner: Planner,
    /// Lines and bytes before the next stretch.
    line: u64,
    byte: u64,
}

impl Assembly<'_> {
    fn run(
        mut self,
        arrived: &Receiver<Stretch>,
        freed: Sender<Stretch>,
    ) -> Result<Plan, LoadError> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        for stretch in arrived {
            early.insert(stretch.number, stretch);
            while let Some(stretch) = early.remove(&next) {
                next += 1;
                // A worker that is done needs no more of them.
                freed.send(self.take(stretch)?).ok();
            }
        }
        drop(freed);
        let want = self.workload.operations;
        if self.line != want {
            let path = self.path.to_owned();
            let got = self.line;
            return Err(FolderError::BadCount { path, got, want }.into());
        }
        Ok(self.planner.finish()?)
    }

    fn take(&mut self, mut stretch: Stretch) -> Result<Stretch, LoadError> {
        let path = || PathBuf::from(self.path);
        match self.planner.add(&stretch.part) {
            Err(PlanError::Misplaced { id, line }) => {
                return Err(FolderError::BadNumber {
                    path: path(),
                    line: u64::try_from(line).unwrap_or(u64::MAX).saturating_add(1),
                    got: id.0,
                }
                .into());
            }
            other => other?,
        }
        let at = |byte: usize| u64::try_from(byte).unwrap_or(u64::MAX);
        match stretch.end.take() {
            Some(End::Io(source)) => {
                let path = path();
                return Err(FolderError::Io { path, source }.into());
            }
            Some(End::Line(byte, source)) => {
                return Err(FolderError::BadLine {
                    path: path(),
                    line: self.line.saturating_add(stretch.lines),
                    byte: self.byte.saturating_add(at(byte)),
                    source,
                }
                .into());
            }
            None => {}
        }
        self.line = self.line.saturating_add(stretch.lines);
        self.byte = self.byte.saturating_add(at(stretch.text.len()));
        Ok(stretch)
    }
}

/// How much is read at once, in bytes.
const STRETCH: u64 = 128 << 10;
