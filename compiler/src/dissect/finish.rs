//! The end of the capture: what only the whole of it tells.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use smbench_core::{
    ids::{ClientId, OpId, OpenRef, TreeRef},
    smb2::{FileId, Guid, TreeId},
    workload::{Action, Client, Entry, FORMAT, Operation, Workload},
};

use super::{
    Dissector,
    state::{NameList, OpenState},
};
use crate::{
    capture::CaptureStats, folder::FolderError, foresight::Midway, order::Table, paged::List,
    scribe::Finishing,
};

/// A capture, taken apart.
#[derive(Debug)]
pub(crate) struct Dissected {
    pub(crate) workload: Workload,
    /// What order inference needs.
    pub(crate) table: Table,
    /// The operations.
    pub(crate) scribe: Finishing,
    /// Bytes of the frames that all came from.
    pub(crate) seen: u64,
    pub(crate) names: OpenNames,
    pub(crate) disowned: Disowned,
    pub(crate) namespace: Vec<Entry>,
    pub(crate) midway: Midway,
}

/// The name that each open was created with.
#[derive(Debug)]
pub(crate) struct OpenNames {
    opens: List<OpenState>,
    names: NameList,
}

impl OpenNames {
    /// Number of the name of an open, when it has one.
    pub(crate) fn number(&mut self, open: OpenRef) -> Option<u32> {
        self.opens.get(open.index())?.name
    }

    /// A name by its number.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.name(number)
    }
}

/// Ids that the server never knew, and where they are to be put back.
#[derive(Debug, Default)]
pub(crate) struct Disowned {
    opens: HashMap<OpenRef, FileId>,
    trees: HashMap<TreeRef, TreeId>,
    /// Operations that used them, ascending.
    pub(crate) operations: Vec<OpId>,
}

impl Disowned {
    /// Puts the ids back into a request as they were.
    pub(crate) fn put_back(&self, op: &mut Operation) {
        if let Some(wire) = op.open.and_then(|open| self.opens.get(&open)) {
            op.open = None;
            if let Action::Request(request) = &mut op.action
                && request.file_id() == Some(FileId::ZERO)
            {
                request.set_file_id(*wire);
            }
        }
        if let Some(wire) = op.tree.and_then(|tree| self.trees.get(&tree)) {
            op.tree = None;
            op.raw_tree = Some(wire.0);
        }
    }
}

impl Dissector {
    /// Ends the dissection.
    pub(crate) fn finish(mut self, stats: &CaptureStats) -> Result<Dissected, FolderError> {
        for conn in 0..self.conns.len() {
            self.forget_early(conn);
        }
        for it in self.live.end().into_values() {
            self.late(it);
        }
        self.depart();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let disowned = self.disown_bogus();
        self.settle_times(stats.first_time_ns.unwrap_or_default());
        self.settle_clients();
        self.settle_principals();
        self.settle_coverage(stats);
        let mut workload = self.workload;
        workload.format = FORMAT;
        workload.opens = super::index(self.state.opens.len());
        workload.operations = u64::try_from(self.live.total()).unwrap_or(u64::MAX);
        let namespace = self.namespace.finish(&mut workload.coverage);
        Ok(Dissected {
            workload,
            table: self.table,
            seen: self.scribe.seen(),
            scribe: self.scribe.finish()?,
            names: OpenNames {
                opens: self.state.opens,
                names: self.state.names,
            },
            disowned,
            namespace,
            midway: self.midway,
        })
    }

    /// Finds ids that the server never knew, in requests meant to fail.
    fn disown_bogus(&mut self) -> Disowned {
        // Of some the CREATE was answered after they were used.
        let opens = &mut self.state.opens;
        self.workload.inferred_opens.retain(|it| {
            let state = opens.get(it.open.index());
            state.is_some_and(|state| state.create.is_none())
        });
        let mut opens: HashMap<OpenRef, bool> = HashMap::new();
        let mut trees: HashMap<TreeRef, bool> = HashMap::new();
        let inferred = self.workload.inferred_opens.iter().map(|it| it.open);
        opens.extend(inferred.map(|open| (open, false)));
        for (tree, at) in self.workload.trees.iter().zip(0..) {
            if tree.inferred {
                trees.insert(TreeRef(at), false);
            }
        }
        if opens.is_empty() && trees.is_empty() {
            return Disowned::default();
        }
        // Whether any use was not refused.
        self.table.each_use(|open, tree, accepted| {
            if let Some(real) = open.and_then(|open| opens.get_mut(&open)) {
                *real |= accepted;
            }
            if let Some(real) = tree.and_then(|tree| trees.get_mut(&tree)) {
                *real |= accepted;
            }
        });
        opens.retain(|_, real| !*real);
        trees.retain(|_, real| !*real);
        let operations = self.table.disown(
            |open| opens.contains_key(&open),
            |tree| trees.contains_key(&tree),
        );
        self.workload
            .inferred_opens
            .retain(|it| !opens.contains_key(&it.open));
        for (what, gone) in [("opens", opens.len()), ("trees", trees.len())] {
            if let Some(inferred) = self.inferred.get_mut(what) {
                *inferred = inferred.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX));
            }
        }
        let tree_id = |tree: TreeRef| (tree, self.tree_id(Some(tree)));
        let trees = trees.into_keys().map(tree_id).collect();
        let open_id = |open: OpenRef| (open, self.file_id(Some(open)));
        Disowned {
            opens: opens.into_keys().map(open_id).collect(),
            trees,
            operations,
        }
    }

    /// Times count from the first packet.
    fn settle_times(&mut self, epoch_ns: u64) {
        self.workload.provenance.epoch_ns = epoch_ns;
        for conn in &mut self.workload.connections {
            conn.at_us = conn.at_us.saturating_sub(epoch_ns) / 1_000;
        }
    }

    /// Tells clients apart: by ClientGuid, as servers do ([MS-SMB2] 3.3.1.2), so that programs on
    /// one host are several and channels of one client are not. A connection whose NEGOTIATE tells
    /// nothing is put to a client of its address.
    fn settle_clients(&mut self) {
        let mut by_guid: HashMap<Guid, ClientId> = HashMap::new();
        let mut by_host: HashMap<IpAddr, ClientId> = HashMap::new();
        let clients = &mut self.workload.clients;
        let mut new = |host: IpAddr| {
            let client = ClientId(super::index(clients.len()));
            clients.push(Client {
                address: host.to_string(),
            });
            client
        };
        let mut found = Vec::with_capacity(self.conns.len());
        for conn in &self.conns {
            let known = conn
                .guid
                .map(|guid| *by_guid.entry(guid).or_insert_with(|| new(conn.client)));
            if let Some(client) = known {
                by_host.entry(conn.client).or_insert(client);
            }
            found.push(known);
        }
        for ((known, conn), entry) in found
            .into_iter()
            .zip(&self.conns)
            .zip(&mut self.workload.connections)
        {
            entry.client = known.unwrap_or_else(|| {
                *by_host
                    .entry(conn.client)
                    .or_insert_with(|| new(conn.client))
            });
        }
        let clients = self.workload.connections.iter().map(|conn| conn.client);
        self.table.settle_clients(clients.collect());
    }

    fn settle_principals(&mut self) {
        for at in 0..self.workload.sessions.len() {
            let known = self.state.sessions.get(at).and_then(|it| it.principal);
            let principal = known.unwrap_or_else(|| self.principal(String::new()));
            if let Some(session) = self.workload.sessions.get_mut(at) {
                session.principal = principal;
            }
        }
    }

    fn settle_coverage(&mut self, stats: &CaptureStats) {
        let coverage = &mut self.workload.coverage;
        coverage.packets = stats.packets;
        let named = |map: &HashMap<&'static str, u64>| -> BTreeMap<String, u64> {
            let counted = map.iter().filter(|(_, count)| **count > 0);
            counted
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        coverage.by_command = (self.by_command.iter())
            .map(|(command, count)| (command.to_string(), *count))
            .collect();
        coverage.skipped = named(&self.skipped);
        coverage.inferred = named(&self.inferred);
        coverage.problems = named(&self.problems);
        for (session, count) in &self.sealed {
            let reason = format!("encrypted, session {session:#018x}");
            coverage.skipped.insert(reason, *count);
        }
        let duplicates = &stats.duplicates;
        let unused = [
            ("packets: no IP", stats.non_ip_packets),
            ("packets: no TCP", stats.non_tcp_packets),
            ("packets: malformed", stats.malformed_packets),
            ("packets: fragment given up", stats.dropped_fragments),
            (
                "packets: of a connection that had ended",
                stats.late_segments,
            ),
            ("connections: not SMB", stats.non_smb_flows),
            (
                "connections: the same traffic as another",
                u64::try_from(duplicates.len()).unwrap_or(u64::MAX),
            ),
            (
                "frames: of connections that are the same traffic as others",
                duplicates.iter().map(|it| it.frames).sum(),
            ),
            (
                "connections: forgotten for lack of room",
                stats.evicted_flows,
            ),
            ("bytes: retransmitted", stats.retransmitted_bytes),
            ("bytes: outside of frames", stats.skipped_bytes),
            ("bytes: missing in holes", stats.gap_bytes),
            (
                "bytes: after the end of what is readable",
                stats.bytes_after_cut,
            ),
            ("netbios", stats.netbios_control),
        ];
        for (reason, count) in unused.into_iter().filter(|(_, count)| *count > 0) {
            coverage.skipped.insert(reason.to_owned(), count);
        }
        for (link, count) in &stats.unknown_links {
            let reason = format!("packets: link type {link} is not read");
            coverage.skipped.insert(reason, *count);
        }
        for (problem, count) in &stats.problems {
            *coverage.problems.entry((*problem).to_owned()).or_default() += count;
        }
    }
}
