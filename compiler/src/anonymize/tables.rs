//! `workload.json` and `namespace.jsonl`, field by field.

use std::collections::BTreeMap;

use smbench_core::{
    ids::TreeRef,
    smb2::{SessionId, TreeId},
    workload::{
        CaptureFile, Client, Connection, Coverage, Entry, EntryKind, InferredOpen, Link, Principal,
        Provenance, Session, Symlink, Times, Tree, Workload,
    },
};

use super::{Scrub, tally::Kind};

/// What operations need to know of the original's trees.
#[derive(Debug)]
pub(super) struct Tables {
    trees: Vec<(String, bool)>,
}

impl Tables {
    pub(super) fn of(workload: &Workload) -> Self {
        let trees = workload.trees.iter().enumerate().map(|(at, tree)| {
            let share = tree.share();
            let pipes = tree.holds_pipes();
            // Two trees of unknown shares may be of two shares.
            let share = if share.is_empty() {
                format!("?{at}")
            } else {
                share.to_owned()
            };
            (share, pipes)
        });
        Self {
            trees: trees.collect(),
        }
    }

    /// Whether a tree holds pipes.
    pub(super) fn is_pipe(&self, tree: Option<TreeRef>) -> bool {
        let tree = tree.and_then(|tree| self.trees.get(tree.index()));
        tree.is_some_and(|(_, pipes)| *pipes)
    }

    /// What a tree's share is called here.
    pub(super) fn share(&self, tree: Option<TreeRef>) -> &str {
        let tree = tree.and_then(|tree| self.trees.get(tree.index()));
        tree.map_or("?", |(share, _)| share)
    }
}

impl Scrub {
    pub(super) fn workload(&mut self, tables: &Tables, workload: &mut Workload) {
        let Workload {
            format: _,
            provenance,
            clients,
            connections,
            principals,
            sessions,
            trees,
            inferred_opens,
            opens: _,
            operations: _,
            coverage,
        } = workload;
        self.provenance(provenance);
        for Client { address } in clients {
            *address = self.host(Kind::Hosts, address);
        }
        for (at, connection) in connections.iter_mut().enumerate() {
            let Connection {
                client: _,
                from,
                to,
                at_us: _,
                dialect: _,
                capabilities: _,
                midstream: _,
            } = connection;
            let port = u16::try_from(at % 16_384).unwrap_or_default() | 0xc000;
            *from = self.endpoint(from, Some(port));
            *to = self.endpoint(to, None);
        }
        for Principal { name } in principals {
            *name = self.principal(name);
        }
        for session in sessions {
            let Session {
                principal: _,
                conn: _,
                wire_id,
                flags: _,
                inferred: _,
            } = session;
            *wire_id = SessionId(self.wire_id(wire_id.0));
        }
        for (at, tree) in (0_u32..).zip(trees) {
            let Tree {
                session: _,
                path,
                share_type: _,
                wire_id,
                inferred: _,
            } = tree;
            *path = if tables.is_pipe(Some(TreeRef(at))) && !path.contains('\\') {
                self.share(path)
            } else {
                self.unc(path)
            };
            *wire_id = TreeId(self.tree_id(wire_id.0));
        }
        for open in inferred_opens {
            let InferredOpen {
                open: _,
                tree: _,
                wire_id,
            } = open;
            *wire_id = self.file_id(*wire_id);
        }
        self.coverage(coverage);
    }

    fn provenance(&mut self, provenance: &mut Provenance) {
        let Provenance {
            tool,
            captures,
            epoch_ns,
            history,
        } = provenance;
        *tool = format!("smbench {}", env!("CARGO_PKG_VERSION"));
        self.tally.replaced(Kind::Provenance, 8);
        *epoch_ns = 0;
        for (at, capture) in captures.iter_mut().enumerate() {
            let CaptureFile {
                name,
                blake3,
                bytes,
                clock_ns: _, // says nothing of whose clock it was
            } = capture;
            self.tally.replaced(Kind::Provenance, name.len());
            *name = format!("capture-{}", at + 1);
            blake3.clear();
            *bytes = 0;
        }
        for step in history.iter_mut() {
            self.tally.replaced(Kind::Provenance, step.len());
            let verb = step.split_whitespace().next().unwrap_or_default();
            let known = ["compile", "slice", "anonymize"]
                .into_iter()
                .find(|it| *it == verb);
            known.unwrap_or("edited").clone_into(step);
        }
        history.push("anonymize".to_owned());
    }

    fn coverage(&mut self, coverage: &mut Coverage) {
        let Coverage {
            packets: _,
            frames: _,
            requests_seen: _,
            responses: _,
            by_command,
            reencoded_exact: _,
            reencoded_total: _,
            skipped,
            inferred,
            edges,
            problems,
        } = coverage;
        for reasons in [by_command, skipped, inferred, edges, problems] {
            self.reasons(reasons);
        }
    }

    /// Reasons are fixed texts. One that looks as if it named something loses its text.
    fn reasons(&mut self, reasons: &mut BTreeMap<String, u64>) {
        let original = std::mem::take(reasons);
        for (reason, count) in original {
            let reason = if let Some(session) = sealed_session(&reason) {
                // How much stayed encrypted decides whether a run comes to a verdict.
                format!("{SEALED}{:#018x}", self.wire_id(session))
            } else if is_fixed_text(&reason) {
                reason
            } else {
                self.tally.replaced(Kind::Provenance, reason.len());
                "other".to_owned()
            };
            *reasons.entry(reason).or_default() += count;
        }
    }

    pub(super) fn entry(&mut self, entry: &mut Entry) {
        let Entry {
            share,
            path,
            kind,
            size: _,
            attributes: _,
            times,
            content: _,
            link,
            seen_by: _,
        } = entry;
        if let Some(Times {
            created,
            accessed,
            written,
            changed,
        }) = times
        {
            for time in [created, accessed, written, changed] {
                *time = self.time(*time);
            }
        }
        match kind {
            EntryKind::File | EntryKind::Directory | EntryKind::Stream => {}
        }
        *share = self.share(share);
        *path = self.path(path);
        match link {
            Some(Link::Symlink(Symlink {
                target,
                print,
                relative: _,
            })) => {
                for path in [target, print].into_iter().flatten() {
                    *path = self.any_path(path);
                }
            }
            Some(Link::Dfs) | None => {}
        }
    }
}

/// The session whose messages stayed encrypted, by its id on the wire.
fn sealed_session(reason: &str) -> Option<u64> {
    let digits = reason.strip_prefix(SEALED)?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

const SEALED: &str = "encrypted, session ";

/// No number of more than three digits, and nothing that paths, users or addresses have.
fn is_fixed_text(reason: &str) -> bool {
    let mut digits = 0;
    reason.chars().all(|letter| {
        digits = if letter.is_ascii_digit() {
            digits + 1
        } else {
            0
        };
        let fine = letter.is_ascii_alphanumeric() || " :,;()-'_/".contains(letter);
        fine && digits <= 3
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::scrub;
    use super::*;

    #[test]
    fn reasons_that_name_something_are_merged() {
        let mut it = scrub();
        let mut reasons = BTreeMap::from([
            ("encrypted: no key".to_owned(), 3),
            ("encrypted, session 0x0000a1b2c3d4e5f6".to_owned(), 4),
            ("encrypted, session 0xabcabcabcabcabca".to_owned(), 5),
            ("encrypted, session of alice 123456".to_owned(), 1),
            ("session 97edcda000001234".to_owned(), 2),
            ("user CORP\\alice".to_owned(), 1),
        ]);
        it.reasons(&mut reasons);
        let ids = [0x0000_a1b2_c3d4_e5f6, 0xabca_bcab_cabc_abca];
        let sealed = ids.map(|id| format!("encrypted, session {:#018x}", it.wire_id(id)));
        assert!(!sealed.concat().contains("a1b2") && !sealed.concat().contains("abca"));
        let [one, other] = sealed;
        let expected = [
            ("encrypted: no key".to_owned(), 3),
            (one, 4),
            (other, 5),
            ("other".to_owned(), 4),
        ];
        assert_eq!(reasons, BTreeMap::from(expected));
    }

    #[test]
    fn where_a_workload_comes_from_is_forgotten() {
        let mut it = scrub();
        it.seal();
        let mut provenance = Provenance {
            tool: "somebody's tool".to_owned(),
            captures: vec![CaptureFile {
                name: "secret.pcap".to_owned(),
                blake3: "beef".to_owned(),
                bytes: 7,
                clock_ns: 8,
            }],
            epoch_ns: 9,
            history: vec!["slice --path secret".to_owned(), "by hand: x".to_owned()],
        };
        it.provenance(&mut provenance);
        assert_eq!(provenance.history, ["slice", "edited", "anonymize"]);
        assert_eq!(provenance.epoch_ns, 0);
        let capture = &provenance.captures[0];
        assert_eq!(
            (capture.name.as_str(), capture.blake3.as_str()),
            ("capture-1", "")
        );
    }
}
