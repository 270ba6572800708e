//! From captures to a workload folder.

use std::{
    cell::Cell,
    io::{self, Read},
    path::Path,
    rc::Rc,
};

use smbench_core::{
    frame::Digest,
    seal::Secret,
    smb2::Request,
    workload::{Action, CaptureFile, Operation, Provenance, Workload},
};
use thiserror::Error;

use crate::{
    capture::{CaptureError, CaptureOptions, CaptureStats, read_capture_with},
    dissect::Dissector,
    folder::{FolderError, FolderWriter},
    order,
    secrets::{Secrets, SessionKeys},
};

/// How to compile.
#[derive(Default)]
pub struct CompileOptions<'a> {
    /// Keys of encrypted sessions.
    pub keys: Vec<SessionKeys>,
    /// Passwords (UTF-8) of users that logged in by NTLM; `*` stands for every user.
    pub passwords: Vec<(String, Secret)>,
    /// How captures are read.
    pub capture: CaptureOptions,
    /// Told now and then how far it is.
    pub progress: Option<&'a mut dyn FnMut(Progress)>,
}

/// How far a compilation is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Bytes of captures read.
    pub bytes: u64,
    /// Operations found.
    pub operations: u64,
}

/// What came of a compilation.
#[derive(Debug)]
pub struct Compiled {
    /// The tables of the workload, its coverage among them.
    pub workload: Workload,
    /// What the captures held.
    pub stats: CaptureStats,
    /// Entries of the initial namespace.
    pub namespace: u64,
}

/// Why nothing was compiled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A capture could not be read.
    #[error("the capture cannot be read")]
    Capture {
        /// Why.
        #[from]
        source: CaptureError,
    },
    /// The workload could not be written.
    #[error("the workload cannot be written")]
    Folder {
        /// Why.
        #[from]
        source: FolderError,
    },
}

/// Compiles captures, merged by time, into the workload folder `out`.
///
/// Each input has a name for the record, without folders. `out` must be nothing, an empty folder,
/// or a workload that is then replaced; it appears when the workload is complete.
///
/// # Errors
///
/// [`CompileError`].
pub fn compile(
    inputs: Vec<(String, Box<dyn Read>)>,
    mut options: CompileOptions<'_>,
    out: &Path,
) -> Result<Compiled, CompileError> {
    let folder = FolderWriter::create(out)?;
    let secrets = Secrets::new(&options.keys, &options.passwords);
    let mut dissector = Dissector::new(folder.blobs()?, secrets);
    let (names, meters, readers) = metered(inputs);
    let capture = CaptureOptions {
        hash: true,
        ..options.capture
    };
    let mut events = 0_u64;
    let stats = read_capture_with(&capture, readers, &mut |event| {
        dissector.event(event);
        events += 1;
        if let Some(progress) = &mut options.progress
            && events.is_multiple_of(PROGRESS_EVERY)
        {
            progress(Progress {
                bytes: meters.iter().map(|meter| meter.get()).sum(),
                operations: u64::try_from(dissector.len()).unwrap_or(u64::MAX),
            });
        }
    })?;
    let mut dissected = dissector.finish(&stats)?;
    let workload = &mut dissected.workload;
    workload.provenance = Provenance {
        tool: concat!("smbench ", env!("CARGO_PKG_VERSION")).to_owned(),
        captures: captures(names, &meters, &stats),
        epoch_ns: workload.provenance.epoch_ns,
        history: Vec::new(),
    };
    let order = order::infer(&dissected.workload, &mut dissected.ops, &dissected.spans);
    let coverage = &mut dissected.workload.coverage;
    coverage.edges = order.edges;
    if order.unexplained > 0 {
        let problem = "outcomes that no order explains".to_owned();
        coverage.problems.insert(problem, order.unexplained);
    }
    if order.contradictions > 0 {
        let problem = "inferred edges that contradict a break".to_owned();
        coverage.problems.insert(problem, order.contradictions);
    }
    dissected.blobs.finish()?;
    let names = dissected.names;
    // Each operation gets its name on its way out, and goes: memory is for what is still to come.
    let named = dissected.ops.into_iter().map(|op| named(op, &names));
    folder.operations(named)?;
    folder.namespace(&dissected.namespace)?;
    folder.finish(&dissected.workload)?;
    Ok(Compiled {
        workload: dissected.workload,
        namespace: u64::try_from(dissected.namespace.len()).unwrap_or(u64::MAX),
        stats,
    })
}

/// Names the file where the request does not.
fn named(mut op: Operation, names: &[Option<Box<str>>]) -> Operation {
    let creates = matches!(&op.action, Action::Request(Request::Create(_)));
    if !creates && op.path.is_none() {
        let name = op.open.and_then(|open| names.get(open.index())?.as_deref());
        op.path = name.map(str::to_owned);
    }
    op
}

/// Counts what is read of an input.
struct Metered {
    input: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        let more = u64::try_from(len).unwrap_or(u64::MAX);
        self.bytes.set(self.bytes.get().saturating_add(more));
        Ok(len)
    }
}

type Meters = Vec<Rc<Cell<u64>>>;

fn metered(inputs: Vec<(String, Box<dyn Read>)>) -> (Vec<String>, Meters, Vec<Box<dyn Read>>) {
    let mut names = Vec::new();
    let mut meters = Vec::new();
    let mut readers: Vec<Box<dyn Read>> = Vec::new();
    for (name, input) in inputs {
        let bytes = Rc::new(Cell::new(0));
        names.push(name);
        meters.push(Rc::clone(&bytes));
        readers.push(Box::new(Metered { input, bytes }));
    }
    (names, meters, readers)
}

fn captures(names: Vec<String>, meters: &Meters, stats: &CaptureStats) -> Vec<CaptureFile> {
    let digests = stats
        .digests
        .iter()
        .map(|digest| Digest(*digest).to_string());
    let digests = digests.chain(std::iter::repeat(String::new()));
    let inputs = names.into_iter().zip(meters).zip(digests);
    inputs
        .map(|((name, meter), blake3)| CaptureFile {
            name,
            blake3,
            bytes: meter.get(),
        })
        .collect()
}

/// Events between two reports of progress.
const PROGRESS_EVERY: u64 = 4096;
