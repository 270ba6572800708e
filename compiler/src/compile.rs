//! From captures to a workload folder.

mod frames;
mod input;
mod lines;
mod prefetch;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io::Read, path::Path, sync::Arc, thread};

use smbench_core::workload::{Provenance, Workload};
use thiserror::Error;

use self::{
    input::Inputs,
    lines::{Lines, Paths},
};
use crate::{
    allowance::Allowance,
    capture::{CaptureError, CaptureOptions, CaptureStats},
    dissect::Dissector,
    folder::{FolderError, FolderWriter},
    foresight::{Foresight, Midway},
    order::{self, Counts},
    paged::Scratch,
    scribe::Scribe,
    secrets::{Passwords, Secrets, SessionKeys, Unfit},
    threads::{in_turns, joined},
};

/// How to compile.
#[derive(Default)]
pub struct CompileOptions<'a> {
    /// Keys of encrypted sessions.
    pub keys: Vec<SessionKeys>,
    /// Passwords of users that logged in by NTLM.
    pub passwords: Passwords,
    /// Whether keys or passwords of which none is good for anything are an error.
    pub must_fit: bool,
    /// How captures are read.
    pub capture: CaptureOptions,
    /// What a first compilation of the same captures found out.
    pub foresight: Foresight,
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
    /// What was open before the captures began.
    pub midway: Midway,
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
    /// Keys or passwords that are good for nothing, where they must be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
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
    inputs: Vec<(String, Box<dyn Read + Send>)>,
    options: CompileOptions<'_>,
    out: &Path,
) -> Result<Compiled, CompileError> {
    let folder = FolderWriter::create(out)?;
    let scratch = Scratch::new(folder.scratch());
    compile_with(inputs, options, folder, &scratch, Allowance::USUAL)
}

fn compile_with(
    inputs: Vec<(String, Box<dyn Read + Send>)>,
    mut options: CompileOptions<'_>,
    folder: FolderWriter,
    scratch: &Arc<Scratch>,
    allowed: Allowance,
) -> Result<Compiled, CompileError> {
    let secrets = Secrets::new(&options.keys, &options.passwords);
    let mut dissector = Dissector::new(Scribe::start(&folder, allowed)?, secrets, scratch);
    dissector.foresee(std::mem::take(&mut options.foresight));
    let (inputs, readers) = Inputs::start(inputs)?;
    let clocks_ns = options.capture.clocks_ns.clone();
    let capture = CaptureOptions {
        hash: inputs.hash(),
        ..options.capture
    };
    let mut events = 0_u64;
    let stats = frames::read(capture, readers, &mut |event| {
        dissector.event(event);
        events += 1;
        if let Some(progress) = &mut options.progress
            && events.is_multiple_of(PROGRESS_EVERY)
        {
            progress(Progress {
                bytes: inputs.bytes(),
                operations: u64::try_from(dissector.len()).unwrap_or(u64::MAX),
            });
        }
    })?;
    if let (true, Some(unfit)) = (options.must_fit, dissector.unfit()) {
        return Err(unfit.into());
    }
    let mut dissected = dissector.finish(&stats)?;
    let workload = &mut dissected.workload;
    workload.provenance = Provenance {
        tool: concat!("smbench ", env!("CARGO_PKG_VERSION")).to_owned(),
        captures: inputs.finish(&stats, &clocks_ns),
        epoch_ns: workload.provenance.epoch_ns,
        history: Vec::new(),
    };
    let order = order::infer(&mut dissected.table);
    let problems = order.problems().into_iter();
    let found = problems.map(|(problem, count)| (problem.to_owned(), count));
    dissected.workload.coverage.problems.extend(found);
    let mut scribe = dissected.scribe;
    let lines = Lines {
        spill: scribe.spill()?.read()?,
        names: dissected.names,
        disowned: dissected.disowned,
        epoch_ns: dissected.workload.provenance.epoch_ns,
        paths: Paths::default(),
        allowed,
        seen: dissected.seen,
    };
    dissected.workload.coverage.edges = thread::scope(|scope| {
        let namespace = scope.spawn(|| folder.namespace(&dissected.namespace));
        let edges = write_lines(&folder, &dissected.table, lines, &order);
        joined(namespace).and(edges)
    })?;
    scribe.wait()?;
    scratch.check()?;
    folder.finish(&dissected.workload)?;
    Ok(Compiled {
        workload: dissected.workload,
        namespace: u64::try_from(dissected.namespace.len()).unwrap_or(u64::MAX),
        midway: dissected.midway,
        stats,
    })
}

/// Writes the operations while the edges that others imply are found; edges that stay, by rule.
fn write_lines(
    folder: &FolderWriter,
    table: &order::Table,
    mut lines: Lines,
    order: &order::Inferred,
) -> Result<BTreeMap<String, u64>, FolderError> {
    thread::scope(|scope| {
        let (pieces, workers) = in_turns(scope, order::WORKERS, PIECES, |worker, to| {
            // Where nobody listens, writing has failed.
            order.implied(table, worker, |piece| drop(to.send(piece)))
        });
        lines.write(folder, &table.view(), order.edges.view().cursor(pieces))?;
        let counts = workers.into_iter().map(joined);
        Ok(counts.fold(Counts::default(), Counts::and).named())
    })
}

/// Pieces of the order that may wait for their lines.
const PIECES: usize = 16;
/// Events between two reports of progress.
const PROGRESS_EVERY: u64 = 4096;
