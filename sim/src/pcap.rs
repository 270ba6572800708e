//! A simulated run as a packet capture: a [`Tap`] that writes pcapng.
//!
//! | file    | holds                                            |
//! |---------|--------------------------------------------------|
//! | `block` | the three kinds of block that are written        |
//! | `tcp`   | a connection as packets: Ethernet, IP, TCP       |
//!
//! Frames get their four-byte transport header ([MS-SMB2] 2.1) and go out in segments of what an
//! Ethernet carries; every second one is acknowledged. Checksums are right, nothing is lost or
//! repeated. Where the scenario splits, frames are cut anywhere, by seed, and frames of one
//! moment share segments. Frames are written as the simulator has them: plain.

mod block;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smbench_core::ids::LogicalTime;
use smbench_core::workload::Workload;
use thiserror::Error;

use self::tcp::{Flags, Flow};
use crate::scenario::Scenario;
use crate::tap::{Direction, LinkEnd, LinkId, Tap, Vantage};
use crate::weather::Rng;

/// Why a capture is not whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PcapError {
    /// It could not be written.
    #[error("packet {packet} cannot be written")]
    Write {
        /// The packet, from 1; 0 for the file's beginning.
        packet: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A frame that no transport header can announce. [MS-SMB2] 2.1.
    #[error("a frame of {len} bytes has no place in an SMB transport")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

/// Bytes of a file by which [`is_ours`] tells what it is.
pub const HEAD: usize = 64;

/// Whether a file that begins with `head` is a capture that a [`PcapTap`] of any version wrote.
#[must_use]
pub fn is_ours(head: &[u8]) -> bool {
    block::is_section(head)
}

/// What to write, besides frames.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PcapConfig {
    /// Client's and server's end of each connection, by `ConnId`.
    pub ends: Vec<(SocketAddr, SocketAddr)>,
    /// Unix time of the run's start, in nanoseconds.
    pub epoch_ns: u64,
    /// Seed of sequence numbers and cuts.
    pub seed: u64,
    /// Whether frames are cut anywhere and share segments.
    pub split: bool,
    /// Where it is captured.
    pub vantage: Vantage,
}

impl PcapConfig {
    /// The addresses and the time of a workload, the seed and the segments of a scenario.
    #[must_use]
    pub fn of(workload: &Workload, scenario: &Scenario, vantage: Vantage) -> Self {
        let connections = workload.connections.iter().zip(0_u32..);
        let ends = connections.map(|(it, number)| {
            let ends = (it.from.parse().ok()).zip(it.to.parse().ok());
            let usable = |(from, to): &(SocketAddr, SocketAddr)| {
                from.is_ipv4() == to.is_ipv4() && from != to
            };
            ends.filter(usable).unwrap_or_else(|| made_up(number))
        });
        Self {
            ends: ends.collect(),
            epoch_ns: workload.provenance.epoch_ns,
            seed: scenario.seed,
            split: scenario.split,
            vantage,
        }
    }
}

/// Ends for a connection whose recorded ones say nothing.
fn made_up(number: u32) -> (SocketAddr, SocketAddr) {
    let [_, a, b, c] = number.to_be_bytes();
    let client = Ipv4Addr::new(10, a, b, c);
    let server = Ipv4Addr::new(10, 255, 255, 254);
    let (client, server) = (IpAddr::from(client), IpAddr::from(server));
    ((client, FIRST_FREE_PORT).into(), (server, 445).into())
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PcapCounts {
    /// Packets.
    pub packets: u64,
    /// SMB frames in them.
    pub frames: u64,
    /// Connections.
    pub connections: u64,
    /// Frames of connections that were not open; not written.
    pub strays: u64,
}

/// Writes what it hears.
pub struct PcapTap<W> {
    out: W,
    config: PcapConfig,
    rng: Rng,
    flows: BTreeMap<LinkId, Flow>,
    /// Ends in use, so that no two connections of the capture are one.
    used: BTreeSet<(SocketAddr, SocketAddr)>,
    pending: Option<Pending>,
    counts: PcapCounts,
    packet: Vec<u8>,
    failure: Option<PcapError>,
}

/// Stream bytes that are about to be sent.
#[derive(Debug)]
struct Pending {
    at: LogicalTime,
    link: LinkId,
    to: Direction,
    bytes: Vec<u8>,
}

impl<W> fmt::Debug for PcapTap<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapTap")
            .field("counts", &self.counts)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl<W: Write> PcapTap<W> {
    /// Begins a capture.
    ///
    /// # Errors
    ///
    /// [`PcapError::Write`].
    pub fn new(mut out: W, config: PcapConfig) -> Result<Self, PcapError> {
        let mut header = Vec::new();
        block::section(&mut header);
        block::interface(&mut header);
        let begun = out.write_all(&header);
        begun.map_err(|source| PcapError::Write { packet: 0, source })?;
        Ok(Self {
            out,
            rng: Rng::new(config.seed, &[STREAM]),
            config,
            flows: BTreeMap::new(),
            used: BTreeSet::new(),
            pending: None,
            counts: PcapCounts::default(),
            packet: Vec::new(),
            failure: None,
        })
    }

    /// Ends the capture: gives the writer back, flushed, and what was written.
    ///
    /// # Errors
    ///
    /// The first [`PcapError`] there was; nothing was written after it.
    pub fn finish(mut self) -> Result<(W, PcapCounts), PcapError> {
        self.flush();
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let packet = self.counts.packets;
        let flushed = self.out.flush();
        flushed.map_err(|source| PcapError::Write { packet, source })?;
        Ok((self.out, self.counts))
    }

    fn send(&mut self, at: LogicalTime, link: LinkId, to: Direction, flags: Flags, data: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let Some(flow) = self.flows.get_mut(&link) else {
            return;
        };
        self.packet.clear();
        let time_ns = self.config.epoch_ns.saturating_add(at.0);
        block::packet(&mut self.packet, time_ns, |out| {
            flow.packet(to, flags, data, out);
        });
        self.counts.packets += 1;
        if let Err(source) = self.out.write_all(&self.packet) {
            let packet = self.counts.packets;
            self.failure = Some(PcapError::Write { packet, source });
        }
    }

    /// Sends what is pending, in segments.
    fn flush(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let Pending {
            at,
            link,
            to,
            bytes,
        } = pending;
        let most = self.flows.get(&link).map_or(1, Flow::segment_len);
        let mut rest = bytes.as_slice();
        let mut cuts = if self.config.split {
            self.rng.between(0, MOST_CUTS)
        } else {
            0
        };
        while !rest.is_empty() {
            let mut len = rest.len().min(most);
            if cuts > 0 {
                // Small pieces fall into headers, as often as not.
                let bound = if self.rng.between(0, 1) == 0 {
                    80
                } else {
                    most
                };
                let drawn = self.rng.between(LEAST_PIECE, bound.min(rest.len()) as u64);
                len = len.min(usize::try_from(drawn).unwrap_or(len));
                cuts -= 1;
            }
            let (now, later) = rest.split_at(len);
            let flags = if later.is_empty() {
                Flags::ACK | Flags::PSH
            } else {
                Flags::ACK
            };
            self.send(at, link, to, flags, now);
            let unacknowledged = self.flows.get(&link).map_or(0, |it| it.unacknowledged(to));
            if unacknowledged >= ACK_EVERY {
                self.send(at, link, to.other(), Flags::ACK, &[]);
            }
            rest = later;
        }
    }

    /// Ends that no other connection of the capture has.
    fn ends(&mut self, link: LinkId) -> (SocketAddr, SocketAddr) {
        let recorded = self.config.ends.get(link.conn.index()).copied();
        let (mut from, to) = recorded.unwrap_or_else(|| made_up(link.conn.0));
        let mut port = FIRST_FREE_PORT;
        while !self.used.insert((from, to)) {
            from.set_port(port);
            port = port.checked_add(1).unwrap_or(1_024);
            if port == FIRST_FREE_PORT - 1 {
                break; // every port of that client is taken: this one is used again
            }
        }
        (from, to)
    }
}

impl<W: Write> Tap for PcapTap<W> {
    fn vantage(&self) -> Vantage {
        self.config.vantage
    }

    fn opened(&mut self, now: LogicalTime, link: LinkId) {
        self.flush();
        let (client, server) = self.ends(link);
        let isn = |rng: &mut Rng| u32::try_from(rng.next() >> 32).unwrap_or_default();
        let isns = (isn(&mut self.rng), isn(&mut self.rng));
        self.flows.insert(link, Flow::new(client, server, isns));
        self.counts.connections += 1;
        self.send(now, link, Direction::Up, Flags::SYN, &[]);
        self.send(now, link, Direction::Down, Flags::SYN | Flags::ACK, &[]);
        self.send(now, link, Direction::Up, Flags::ACK, &[]);
    }

    fn frame(&mut self, now: LogicalTime, link: LinkId, to: Direction, frame: &[u8]) {
        let len = frame.len();
        let Some(announced) = u32::try_from(len).ok().filter(|len| *len < 1 << 24) else {
            self.failure.get_or_insert(PcapError::TooLong { len });
            return;
        };
        if !self.flows.contains_key(&link) {
            self.counts.strays += 1;
            return;
        }
        self.counts.frames += 1;
        let same = |it: &&mut Pending| it.at == now && it.link == link && it.to == to;
        let joins = self.config.split && self.rng.between(0, 1) == 0;
        if let Some(pending) = self.pending.as_mut().filter(same).filter(|_| joins) {
            pending.bytes.extend(announced.to_be_bytes());
            pending.bytes.extend_from_slice(frame);
            return;
        }
        self.flush();
        self.pending = Some(Pending {
            at: now,
            link,
            to,
            bytes: [&announced.to_be_bytes(), frame].concat(),
        });
        if !self.config.split {
            self.flush();
        }
    }

    fn closed(&mut self, now: LogicalTime, link: LinkId, end: LinkEnd) {
        self.flush();
        let (by, other) = (end.by, end.by.other());
        if end.reset {
            self.send(now, link, by, Flags::RST | Flags::ACK, &[]);
        } else {
            self.send(now, link, by, Flags::FIN | Flags::ACK, &[]);
            self.send(now, link, other, Flags::FIN | Flags::ACK, &[]);
            self.send(now, link, by, Flags::ACK, &[]);
        }
        self.flows.remove(&link);
    }
}

/// The first port of those that nobody is assigned. RFC 6335 6.
const FIRST_FREE_PORT: u16 = 49_152;
/// A stream's segments that are received before one is acknowledged. RFC 9293 3.8.6.3.
const ACK_EVERY: u32 = 2;
/// Cuts of what is sent at once, where the scenario splits, at most.
const MOST_CUTS: u64 = 4;
/// Bytes of a piece, but for a last one: tshark takes a shorter one that begins a frame for the
/// middle of another.
const LEAST_PIECE: u64 = 4;
/// Number of this stream of chances, apart from those of connections.
const STREAM: u64 = 0x7063_6170_6e67;

#[cfg(test)]
mod tests;
