//! The end of the capture: what only the whole of it tells.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use smbench_core::{
    ids::{ClientId, OpenRef, TreeRef},
    smb2::{FileId, Guid, NtStatus},
    workload::{Action, Client, Entry, FORMAT, Operation, Workload},
};

use super::Dissector;
use crate::{
    capture::CaptureStats,
    folder::{BlobWriter, FolderError},
    wire_span::WireSpan,
};

/// A capture, taken apart.
#[derive(Debug)]
pub(crate) struct Dissected {
    pub(crate) workload: Workload,
    pub(crate) ops: Vec<Operation>,
    /// The name that each open was created with.
    pub(crate) names: Vec<Option<Box<str>>>,
    pub(crate) spans: Vec<WireSpan>,
    pub(crate) namespace: Vec<Entry>,
    pub(crate) blobs: BlobWriter,
}

impl Dissector {
    /// Ends the dissection.
    pub(crate) fn finish(mut self, stats: &CaptureStats) -> Result<Dissected, FolderError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        for conn in 0..self.conns.len() {
            self.forget_early(conn);
        }
        self.disown_bogus();
        self.settle_times(stats.first_time_ns.unwrap_or_default());
        self.settle_clients();
        self.settle_principals();
        self.settle_coverage(stats);
        let names = (self.state.opens.iter())
            .map(|open| Some(self.name_of(open.create?)?.into_boxed_str()))
            .collect();
        let mut workload = self.workload;
        workload.format = FORMAT;
        workload.opens = super::index(self.state.opens.len());
        workload.operations = u64::try_from(self.ops.len()).unwrap_or(u64::MAX);
        let namespace = self.namespace.finish(&mut workload.coverage);
        Ok(Dissected {
            workload,
            ops: self.ops,
            names,
            spans: self.spans,
            namespace,
            blobs: self.blobs,
        })
    }

    /// Ids that the server never knew, in requests meant to fail, are put back as they were.
    fn disown_bogus(&mut self) {
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
            return;
        }
        // Whether any use was not refused.
        for op in &self.ops {
            let status = op.expect.as_ref().map(|expect| expect.status);
            let refused = status.is_some_and(|status| REFUSALS.contains(&status));
            if let Some(real) = op.open.and_then(|open| opens.get_mut(&open)) {
                *real |= !refused;
            }
            if let Some(real) = op.tree.and_then(|tree| trees.get_mut(&tree)) {
                *real |= !refused;
            }
        }
        for op in &mut self.ops {
            if let Some(open) = op.open.filter(|open| opens.get(open) == Some(&false)) {
                let wire = self.state.opens.get(open.index()).map(|it| it.wire);
                put_back(op, wire.unwrap_or_default());
            }
            if let Some(tree) = op.tree.filter(|tree| trees.get(tree) == Some(&false)) {
                let wire = self.workload.trees.get(tree.index()).map(|it| it.wire_id.0);
                op.tree = None;
                op.raw_tree = wire;
            }
        }
        let bogus = |open: &OpenRef| opens.get(open) == Some(&false);
        self.workload.inferred_opens.retain(|it| !bogus(&it.open));
        let count = |map: usize| u64::try_from(map).unwrap_or(u64::MAX);
        let gone = count(opens.values().filter(|real| !**real).count());
        let trees_gone = count(trees.values().filter(|real| !**real).count());
        for (what, gone) in [("opens", gone), ("trees", trees_gone)] {
            if let Some(inferred) = self.inferred.get_mut(what) {
                *inferred = inferred.saturating_sub(gone);
            }
        }
    }

    /// Times count from the first packet.
    fn settle_times(&mut self, epoch_ns: u64) {
        self.workload.provenance.epoch_ns = epoch_ns;
        let relative = |time: u64| time.saturating_sub(epoch_ns) / 1_000;
        for (op, time) in self.ops.iter_mut().zip(&self.times) {
            op.at_us = relative(*time);
        }
        for conn in &mut self.workload.connections {
            conn.at_us = relative(conn.at_us);
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
        for op in &mut self.ops {
            if let Some(conn) = self.workload.connections.get(op.conn.index()) {
                op.client = conn.client;
            }
        }
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
        let unused = [
            ("packets: unknown link type", stats.unknown_link_packets),
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
        for (problem, count) in &stats.problems {
            *coverage.problems.entry((*problem).to_owned()).or_default() += count;
        }
    }
}

fn put_back(op: &mut Operation, wire: FileId) {
    op.open = None;
    if let Action::Request(request) = &mut op.action
        && request.file_id() == Some(FileId::ZERO)
    {
        request.set_file_id(wire);
    }
}

/// What a server says to ids that it does not know. [MS-SMB2] 3.3.5.2.9, 3.3.5.2.10, 3.3.5.2.11.
const REFUSALS: [NtStatus; 4] = [
    NtStatus::FILE_CLOSED,
    NtStatus::INVALID_HANDLE,
    NtStatus::NETWORK_NAME_DELETED,
    NtStatus::USER_SESSION_DELETED,
];
