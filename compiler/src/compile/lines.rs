//! The lines of `ops.jsonl`: what was spilled, and what only the end of the capture told.

use smbench_core::{
    event::Milestone,
    ids::{ClientId, OpId, OpenRef},
    workload::{Edge, Operation},
};

use crate::{
    allowance::Allowance,
    dissect::{Disowned, OpenNames},
    folder::{FolderError, FolderWriter, name},
    order::{EdgeCursor, Piece, TableView, Use},
    spill::{Gaps, Record, SpillReader, write_text},
};

/// Everything that lines are made of.
pub(super) struct Lines {
    pub(super) spill: SpillReader,
    pub(super) names: OpenNames,
    pub(super) disowned: Disowned,
    pub(super) epoch_ns: u64,
    pub(super) paths: Paths,
    pub(super) allowed: Allowance,
    /// Bytes of the frames of the capture.
    pub(super) seen: u64,
}

impl Lines {
    /// Writes the operations.
    ///
    /// # Errors
    ///
    /// [`FolderError`].
    pub(super) fn write(
        &mut self,
        folder: &FolderWriter,
        table: &TableView<'_>,
        mut edges: EdgeCursor<'_, impl Iterator<Item = Piece>>,
    ) -> Result<(), FolderError> {
        let mut uses = table.uses();
        let mut written = 0;
        folder.operation_lines(|out| {
            while out.len() < PIECE {
                let Some(it) = uses.next() else {
                    return Ok(false);
                };
                self.line(it, edges.of(it.op), out)?;
            }
            written += u64::try_from(out.len()).unwrap_or(u64::MAX);
            self.allowed.check(written, self.seen)?;
            Ok(true)
        })
    }

    fn line(
        &mut self,
        Use {
            op: id,
            client,
            open,
        }: Use,
        after: &[Edge],
        out: &mut Vec<u8>,
    ) -> Result<(), FolderError> {
        let own;
        let mut record = self.spill.next()?;
        let at_us = record.time_ns.saturating_sub(self.epoch_ns) / 1_000;
        let start = out.len();
        write_head(id, at_us, client, out).map_err(unwritable)?;
        if self.disowned.operations.binary_search(&id).is_ok() {
            let line = [out.get(start..).unwrap_or_default(), record.text, b"}"].concat();
            let op = serde_json::from_slice(&line).map_err(unwritable)?;
            let time_ns = record.time_ns;
            own = text_of(op, &self.disowned)?;
            record = own.record(time_ns);
        }
        let Record { text, gaps, .. } = record;
        let after_at = gaps.after as usize;
        let mut at = 0;
        if let Some(path_at) = gaps.path
            && let Some(open) = open
            && let Some(path) = self.paths.of(&mut self.names, open)?
        {
            at = path_at as usize;
            out.extend_from_slice(text.get(..at).unwrap_or_default());
            out.extend_from_slice(path);
        }
        out.extend_from_slice(text.get(at..after_at).unwrap_or_default());
        if !after.is_empty() {
            out.extend_from_slice(b",\"after\":");
            write_edges(after, out).map_err(unwritable)?;
        }
        out.extend_from_slice(text.get(after_at..).unwrap_or_default());
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// The text of an operation, with the ids put back that no server knew.
fn text_of(mut op: Operation, disowned: &Disowned) -> Result<Text, FolderError> {
    disowned.put_back(&mut op);
    let mut text = Vec::new();
    let gaps = write_text(&op, &mut text).map_err(unwritable)?;
    Ok(Text { text, gaps })
}

/// An operation that is not in the spill as it has to be.
struct Text {
    text: Vec<u8>,
    gaps: Gaps,
}

impl Text {
    fn record(&self, time_ns: u64) -> Record<'_> {
        Record {
            text: &self.text,
            gaps: self.gaps,
            time_ns,
        }
    }
}

/// Paths as they stand in lines, by the number of the name, as far as they were needed.
#[derive(Default)]
pub(super) struct Paths(Vec<Option<Box<[u8]>>>);

impl Paths {
    fn of(&mut self, names: &mut OpenNames, open: OpenRef) -> Result<Option<&[u8]>, FolderError> {
        let Some(number) = names.number(open) else {
            return Ok(None);
        };
        let at = number as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        let Some(slot) = self.0.get_mut(at) else {
            return Ok(None);
        };
        if slot.is_none()
            && let Some(name) = names.name(number)
        {
            let mut text = b",\"path\":".to_vec();
            serde_json::to_writer(&mut text, name).map_err(unwritable)?;
            *slot = Some(text.into());
        }
        Ok(slot.as_deref())
    }
}

/// Appends how each line begins: the formatter of the standard library takes thrice as long.
fn write_head(
    id: OpId,
    at_us: u64,
    client: ClientId,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, &id)?;
    out.extend_from_slice(b",\"at_us\":");
    serde_json::to_writer(&mut *out, &at_us)?;
    out.extend_from_slice(b",\"client\":");
    serde_json::to_writer(out, &client)
}

/// Appends edges as serde has them: one in four bytes of a workload is of edges.
fn write_edges(edges: &[Edge], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut before = b'[';
    for edge in edges {
        out.push(before);
        before = b',';
        out.extend_from_slice(b"{\"id\":");
        serde_json::to_writer(&mut *out, &edge.id)?;
        out.extend_from_slice(b",\"rule\":\"");
        out.extend_from_slice(edge.rule.name().as_bytes());
        out.push(b'"');
        if edge.on != Milestone::Response {
            out.extend_from_slice(b",\"on\":");
            serde_json::to_writer(&mut *out, &edge.on)?;
        }
        if edge.inferred {
            out.extend_from_slice(b",\"inferred\":true");
        }
        out.push(b'}');
    }
    out.push(b']');
    Ok(())
}

fn unwritable(source: serde_json::Error) -> FolderError {
    FolderError::Unwritable {
        path: name::OPERATIONS.into(),
        source,
    }
}

/// Lines are written to the file in pieces of about this size.
const PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use smbench_core::workload::Rule;

    use super::*;

    #[test]
    fn edges_are_written_as_serde_does() {
        let milestones = [Milestone::Sent, Milestone::Interim, Milestone::Response];
        let mut edges = Vec::new();
        for (rule, id) in Rule::ALL.into_iter().zip(9..) {
            for on in milestones {
                for inferred in [false, true] {
                    let id = OpId(id);
                    edges.push(Edge {
                        id,
                        rule,
                        on,
                        inferred,
                    });
                }
            }
        }
        let mut out = Vec::new();
        write_edges(&edges, &mut out).expect("JSON");
        assert_eq!(out, serde_json::to_vec(&edges).expect("JSON"));
    }
}
