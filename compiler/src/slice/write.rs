//! Writes what stays as a workload folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use smbench_core::{
    frame::Digest,
    workload::{Action, DataRef, Edge, Entry, Operation, Rule, Workload},
};

use super::{
    Selection, SliceError, Sliced,
    remap::Remap,
    state::{Initial, Listener, Seen},
};
use crate::folder::{BlobReader, BlobWriter, FolderError, FolderReader, FolderWriter};

/// Writes the slice.
pub(super) fn write(
    folder: &FolderReader,
    selection: &Selection,
    out: &Path,
) -> Result<Sliced, SliceError> {
    let writer = FolderWriter::create(out)?;
    let mut blobs = Blobs {
        from: folder.blobs()?,
        to: writer.blobs()?,
        known: BTreeSet::new(),
        missing: 0,
    };
    let remap = Remap::new(&selection.index, &selection.kept, folder.workload());
    let mut tally = Tally::default();
    let mut listener = Listener::default();
    let moved_us = moved(selection);
    let mut failure = None;
    let operations = selection.operations(folder)?.map_while(|op| {
        let written = op.and_then(|mut op| {
            tally.count(&op);
            if !selection.options.causes {
                listener.hear(folder.workload(), &op);
            }
            let came_back = op.expect.as_ref();
            let data = came_back.and_then(|expect| expect.data);
            let output = came_back.and_then(|expect| expect.output);
            for data in [op.data, data, output].into_iter().flatten() {
                blobs.copy(&data)?;
            }
            op.at_us = op.at_us.saturating_sub(moved_us);
            remap.operation(&mut op);
            Ok(op)
        });
        written.map_err(|error| failure = Some(error)).ok()
    });
    writer.operations(operations)?;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let initial = initial(folder, selection, listener, &remap)?;
    for extent in initial.entries.iter().flat_map(|entry| &entry.content) {
        blobs.copy(&extent.data)?;
    }
    writer.namespace(&initial.entries)?;
    let copied = u64::try_from(blobs.to.len()).unwrap_or(u64::MAX);
    blobs.to.finish()?;
    let mut unmet = initial.unmet;
    tally.complain(selection, &mut unmet);
    if blobs.missing > 0 {
        unmet.insert(
            "data that the workload does not hold".to_owned(),
            blobs.missing,
        );
    }
    let mut workload = remap.tables(folder.workload());
    move_times(&mut workload, moved_us);
    let left_out = selection.left_out();
    let namespace = u64::try_from(initial.entries.len()).unwrap_or(u64::MAX);
    tally.cover(&mut workload, folder.workload(), &left_out, namespace);
    for (kind, count) in &unmet {
        workload
            .coverage
            .problems
            .insert(format!("slice: {kind}"), *count);
    }
    let history = history(selection, folder.workload(), moved_us);
    workload.provenance.history.push(history);
    writer.finish(&workload)?;
    Ok(Sliced {
        workload,
        of_operations: folder.workload().operations,
        kept: selection.kept.by_reason(),
        left_out,
        bridged: selection.order.made,
        namespace,
        derived: initial.derived,
        unmet,
        blobs: copied,
        moved_us,
    })
}

/// By how much times move to the front: what is kept begins at 0. Where a beginning was asked for
/// that is it, and what must come before happens at 0 too.
fn moved(selection: &Selection) -> u64 {
    let options = &selection.options;
    if options.keep_times {
        return 0;
    }
    options.filters.from_us.unwrap_or_else(|| {
        let kept = selection.index.ids().filter(|op| selection.kept.has(*op));
        let lines = kept.filter_map(|op| selection.index.line(op));
        lines.map(|line| line.at_us).min().unwrap_or(0)
    })
}

fn move_times(workload: &mut Workload, moved_us: u64) {
    for conn in &mut workload.connections {
        conn.at_us = conn.at_us.saturating_sub(moved_us);
    }
    let epoch = &mut workload.provenance.epoch_ns;
    *epoch = epoch.saturating_add(moved_us.saturating_mul(1_000));
}

fn history(selection: &Selection, from: &Workload, moved_us: u64) -> String {
    let options = &selection.options;
    let mut line = format!("{} {}", options.verb, options.filters.arguments());
    if options.causes {
        line.push_str(" --causes");
    }
    if options.keep_times {
        line.push_str(" --keep-pcap-times");
    }
    let (kept, all) = (selection.len(), from.operations);
    format!("{line}: {kept} of {all} operations, times moved by {moved_us} us")
}

fn initial(
    folder: &FolderReader,
    selection: &Selection,
    listener: Listener,
    remap: &Remap,
) -> Result<Initial, SliceError> {
    let seen = Seen::new(&selection.index, &selection.kept);
    let known: Vec<Entry> = folder.namespace()?.collect::<Result<_, _>>()?;
    let known = known.into_iter();
    let mut initial = if selection.options.causes {
        Initial::as_recorded(known, &seen)
    } else {
        Initial::as_answered(known, &seen, listener, folder.workload())
    };
    for entry in &mut initial.entries {
        entry.seen_by = remap.op(entry.seen_by).unwrap_or_default();
    }
    Ok(initial)
}

/// Bulk data on its way from one folder to the other.
struct Blobs {
    from: BlobReader,
    to: BlobWriter,
    known: BTreeSet<Digest>,
    missing: u64,
}

impl Blobs {
    fn copy(&mut self, data: &DataRef) -> Result<(), FolderError> {
        if !self.known.insert(data.blake3) {
            return Ok(());
        }
        if !self.from.contains(&data.blake3) {
            self.missing += 1;
            return Ok(());
        }
        self.to.put(&self.from.get(&data.blake3)?)?;
        Ok(())
    }
}

/// What is counted on the way.
#[derive(Debug, Default)]
struct Tally {
    by_command: BTreeMap<String, u64>,
    edges: BTreeMap<String, u64>,
    complete: u64,
    /// Notifications that nothing leads to.
    untriggered: u64,
}

impl Tally {
    fn count(&mut self, op: &Operation) {
        for rule in Rule::ALL {
            self.edges.entry(rule.name().to_owned()).or_default();
        }
        for edge in &op.after {
            *self.edges.entry(edge.rule.name().to_owned()).or_default() += 1;
        }
        match op.action {
            Action::Request(_) => {
                *self.by_command.entry(op.cmd.to_string()).or_default() += 1;
                self.complete += u64::from(!op.cut);
            }
            Action::Break(_) => {
                let triggered = op.after.iter().any(|edge: &Edge| edge.rule == Rule::Break);
                self.untriggered += u64::from(!triggered);
            }
            Action::Smb1Negotiate(_) | Action::Disconnect(_) => {}
        }
    }

    /// What of the slice cannot happen as it did.
    fn complain(&self, selection: &Selection, unmet: &mut BTreeMap<String, u64>) {
        if selection.order.given_up > 0 {
            let kind = "waits past what is left out: too many to follow".to_owned();
            unmet.insert(kind, selection.order.given_up);
        }
        if self.untriggered > 0 && !selection.options.causes {
            let kind = "break notifications whose cause is left out".to_owned();
            unmet.insert(kind, self.untriggered);
        }
    }

    /// Tells the coverage of the slice: the capture's counts stay, and what was left out is
    /// another reason for operations not to be there.
    fn cover(
        self,
        workload: &mut Workload,
        from: &Workload,
        left_out: &BTreeMap<String, u64>,
        namespace: u64,
    ) {
        let len = |table: usize| u64::try_from(table).unwrap_or(u64::MAX);
        let sessions = workload.sessions.iter().filter(|it| it.inferred).count();
        let trees = workload.trees.iter().filter(|it| it.inferred).count();
        let inferred = [
            ("sessions", len(sessions)),
            ("trees", len(trees)),
            ("opens", len(workload.inferred_opens.len())),
            ("namespace entries", namespace),
        ];
        let coverage = &mut workload.coverage;
        for (kind, count) in inferred {
            match count {
                0 => coverage.inferred.remove(kind),
                count => coverage.inferred.insert(kind.to_owned(), count),
            };
        }
        for (what, count) in left_out {
            *coverage.skipped.entry(skipped(what)).or_default() += count;
        }
        let inexact = (from.coverage.reencoded_total).saturating_sub(from.coverage.reencoded_exact);
        coverage.reencoded_total = self.complete;
        coverage.reencoded_exact = self.complete.saturating_sub(inexact);
        coverage.by_command = self.by_command;
        coverage.edges = self.edges;
    }
}

/// A reason for leaving out as `coverage.skipped` names it.
fn skipped(what: &str) -> String {
    match what.split_once(": ") {
        Some((kind, why)) => format!("{kind}: left out, {why}"),
        None => format!("left out: {what}"),
    }
}
