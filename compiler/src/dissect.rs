//! Groups captured messages into operations, one per request, break notification and end of a
//! connection.
//!
//! Input is [`CaptureEvent`]s; order and holes of streams are [`crate::capture`]'s business. A
//! request without an answer is kept, never dropped: the recording is the truth. What does not
//! become an operation or a part of one is counted by reason.

mod answer;
mod check;
mod cut;
mod finish;
mod flight;
mod foreseen;
mod handles;
mod live;
mod logins;
mod notice;
mod pdu;
mod pipes;
mod reconstruct;
mod request;
mod response;
mod state;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use smbench_core::{
    ids::{ClientId, OpId},
    seal::{compress::decompress, conn::Direction as SealDirection},
    smb2::Command,
    workload::{Connection, DataRef, Workload},
};

use self::{
    flight::Flight,
    live::{Departure, Live},
    pdu::pieces,
    pipes::Pipes,
    state::{Conn, State},
};
use crate::{
    allowance::Allowance,
    capture::{CaptureEvent, ConnInfo, Direction, FrameInfo, FrameKind},
    folder::FolderError,
    foresight::{Foreseen, Midway, Offer, TreeKey},
    map::Map,
    namespace::Namespace,
    order::Table,
    paged::Scratch,
    scribe::Scribe,
    secrets::{Secrets, Unfit, Unsealer},
};

pub(crate) use self::finish::{Disowned, OpenNames};

/// When something was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    time_ns: u64,
    frame: u64,
}

/// Turns capture events into operations.
#[derive(Debug)]
pub(crate) struct Dissector {
    workload: Workload,
    live: Live,
    /// What is known of the operations that have left.
    table: Table,
    conns: Vec<Conn>,
    state: State,
    pipes: Pipes,
    namespace: Namespace,
    scribe: Scribe,
    secrets: Secrets,
    /// Connections that sessions were set up on last, by their ids: they have the keys.
    keyed: Map<u64, usize>,
    /// What early responses hold.
    early_bytes: usize,
    /// Messages so far.
    seq: u64,
    by_command: Map<Command, u64>,
    skipped: HashMap<&'static str, u64>,
    /// Frames that could not be decrypted, by session.
    sealed: HashMap<u64, u64>,
    problems: HashMap<&'static str, u64>,
    inferred: HashMap<&'static str, u64>,
    /// Zeros that stand for WRITE data, by their number.
    zeros: HashMap<u32, DataRef>,
    /// Room for requests as they are built again.
    scratch: Vec<u8>,
    /// What was open before the capture began.
    midway: Midway,
    /// What is known of that before the first frame.
    foreseen: Option<Vec<Foreseen>>,
    /// Paths of trees that nobody saw connected.
    foreseen_trees: BTreeMap<TreeKey, String>,
    foreseen_offers: BTreeMap<usize, Offer>,
    /// The first thing that could not be written; nothing is done after it.
    failure: Option<FolderError>,
}

impl Dissector {
    pub(crate) fn new(scribe: Scribe, secrets: Secrets, scratch: &Arc<Scratch>) -> Self {
        Self {
            workload: Workload::default(),
            live: Live::default(),
            table: Table::new(scratch),
            conns: Vec::new(),
            state: State::new(scratch),
            pipes: Pipes::default(),
            namespace: Namespace::default(),
            scribe,
            secrets,
            keyed: Map::default(),
            early_bytes: 0,
            seq: 0,
            by_command: Map::default(),
            skipped: HashMap::new(),
            sealed: HashMap::new(),
            problems: HashMap::new(),
            inferred: HashMap::new(),
            zeros: HashMap::new(),
            scratch: Vec::new(),
            midway: Midway::default(),
            foreseen: None,
            foreseen_trees: BTreeMap::new(),
            foreseen_offers: BTreeMap::new(),
            failure: None,
        }
    }

    /// Takes one event of the capture.
    pub(crate) fn event(&mut self, event: CaptureEvent<'_>) {
        if self.failure.is_some() {
            return;
        }
        match event {
            CaptureEvent::Connection(info) => self.connection(&info),
            CaptureEvent::Frame(info, bytes) => self.frame(&info, bytes),
            // Counted by the capture layer. A frame that is cut tells itself what it lacks.
            CaptureEvent::Gap {
                within_frame: true, ..
            } => {}
            CaptureEvent::Gap { conn, dir, .. } => self.missed(conn as usize, dir),
            CaptureEvent::Closed {
                conn,
                time_ns,
                frame_no,
                how,
                by,
            } => {
                let stamp = Stamp {
                    time_ns,
                    frame: frame_no,
                };
                self.closed(conn as usize, stamp, how, by);
            }
        }
        self.depart();
    }

    /// Lets go of operations that are settled.
    fn depart(&mut self) {
        while let Some(departure) = self.live.departure() {
            match departure {
                Departure::Settled => {
                    let Some(mut it) = self.live.take() else {
                        return;
                    };
                    self.table.push(&self.workload, &it.op, it.span);
                    let written = self.scribe.operation(it.take(), it.time_ns, it.weight);
                    self.live.spare(it);
                    self.heed(written);
                }
                Departure::Aside(op) => {
                    self.table.reserve();
                    let reserved = self.scribe.reserve(op);
                    self.heed(reserved);
                }
                Departure::GivenUp(op) => self.give_up(op),
            }
        }
    }

    /// Waits no longer for an answer.
    fn give_up(&mut self, id: OpId) {
        self.problem("answer no longer waited for: too many requests had none");
        let waiting = (self.live.get(id)).map(|op| (op.conn.index(), op.mid));
        if let Some((conn, mid)) = waiting
            && let Some(it) = self.conns.get_mut(conn)
            && it.pending.get(&mid).is_some_and(|pending| pending.op == id)
        {
            it.pending.remove(&mid);
        }
        self.settled(id);
    }

    /// An operation will not change any more.
    fn settled(&mut self, id: OpId) {
        if let Some(it) = self.live.settled(id) {
            self.late(it);
        }
    }

    /// Lets go of an operation that was put aside.
    fn late(&mut self, mut it: Box<Flight>) {
        self.table.set(&self.workload, &it.op, it.span);
        let written = self.scribe.late(it.take(), it.time_ns, it.weight);
        self.live.spare(it);
        self.heed(written);
    }

    /// After a failure to write everything stops.
    fn heed(&mut self, written: Result<(), FolderError>) {
        if let Err(failure) = written {
            self.failure.get_or_insert(failure);
        }
    }

    /// Operations so far.
    pub(crate) fn len(&self) -> usize {
        self.live.total()
    }

    /// Keys or passwords that have been good for nothing.
    pub(crate) fn unfit(&self) -> Option<Unfit> {
        self.secrets.unfit(self.sealed.keys().copied())
    }

    fn connection(&mut self, info: &ConnInfo) {
        // One of something that was open before is known already.
        if (info.conn as usize) < self.conns.len() {
            return;
        }
        self.midway.conns.push(*info);
        self.workload.connections.push(Connection {
            client: ClientId(0), // settled at the end
            from: info.client.to_string(),
            to: info.server.to_string(),
            at_us: info.time_ns, // made relative at the end
            dialect: None,
            capabilities: None,
            midstream: info.midstream,
        });
        let unsealer = (!self.secrets.is_empty()).then(Unsealer::new);
        self.conns
            .push(Conn::new(info.client.ip(), info.server.ip(), unsealer));
    }

    fn frame(&mut self, info: &FrameInfo, bytes: &[u8]) {
        if self.foreseen.is_some() {
            self.set_up_foreseen(info.time_ns);
        }
        let conn = info.conn as usize;
        if conn >= self.conns.len() {
            return self.skip("frame of an unknown connection");
        }
        self.workload.coverage.frames += 1;
        self.scribe.saw(bytes.len());
        let stamp = Stamp {
            time_ns: info.time_ns,
            frame: info.frame_no,
        };
        match info.kind {
            FrameKind::Smb2 => {
                self.learn(conn, info.dir, bytes);
                self.messages(conn, info.dir, stamp, bytes, info.wire_len);
            }
            FrameKind::Smb1 => self.smb1(conn, info, stamp, bytes),
            FrameKind::Compressed => self.unpacked(conn, info.dir, stamp, bytes),
            FrameKind::Transform => match self.unseal(conn, info, bytes) {
                Some(plain) => {
                    let len = plain.len();
                    self.messages(conn, info.dir, stamp, &plain, len);
                }
                None => {
                    self.missed(conn, info.dir);
                    if info.complete {
                        self.sealed(bytes);
                    } else {
                        self.skip("encrypted and cut");
                    }
                }
            },
        }
    }

    /// A compressed frame. [MS-SMB2] 3.1.4.4.
    fn unpacked(&mut self, conn: usize, dir: Direction, stamp: Stamp, bytes: &[u8]) {
        let why = match decompress(bytes, LONGEST) {
            Ok(plain) if is_swollen(bytes, &plain) => "compressed beyond reason",
            Ok(plain) => {
                let len = plain.len();
                return self.messages(conn, dir, stamp, &plain, len);
            }
            Err(_) => "compressed",
        };
        self.missed(conn, dir);
        self.skip(why);
    }

    fn messages(&mut self, conn: usize, dir: Direction, stamp: Stamp, bytes: &[u8], len: usize) {
        match dir {
            Direction::ClientToServer => self.requests(conn, stamp, bytes, len),
            Direction::ServerToClient => self.responses(conn, stamp, bytes, len),
        }
    }

    fn skip(&mut self, why: &'static str) {
        *self.skipped.entry(why).or_default() += 1;
    }

    fn problem(&mut self, what: &'static str) {
        *self.problems.entry(what).or_default() += 1;
    }

    fn infer(&mut self, what: &'static str) {
        *self.inferred.entry(what).or_default() += 1;
    }

    /// The next place in the sequence of messages.
    fn tick(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }

    /// Appends an operation that was seen at `stamp` and holds some `weight` bytes.
    fn push(&mut self, mut flight: Box<Flight>, stamp: Stamp, seq: u64, weight: usize) {
        flight.time_ns = stamp.time_ns;
        flight.span.request = seq;
        flight.weight = weight;
        self.live.push(flight);
    }

    fn next_op(&self) -> OpId {
        OpId(index(self.live.total()))
    }

    /// Keeps so many zeros.
    fn zeros(&mut self, len: u32) -> Option<DataRef> {
        if let Some(kept) = self.zeros.get(&len) {
            return Some(*kept);
        }
        let kept = self.keep(&vec![0; len as usize])?;
        self.zeros.insert(len, kept);
        Some(kept)
    }

    /// Keeps bulk data; after a failure to write everything stops.
    fn keep(&mut self, data: &[u8]) -> Option<DataRef> {
        match self.scribe.keep(data) {
            Ok(kept) => Some(kept),
            Err(failure) => {
                self.failure = Some(failure);
                None
            }
        }
    }
}

fn seal_direction(dir: Direction) -> SealDirection {
    match dir {
        Direction::ClientToServer => SealDirection::ToServer,
        Direction::ServerToClient => SealDirection::ToClient,
    }
}

/// A length as an id; workloads of 2^32 operations do not fit into memory.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Whether operations of an unpacked frame would hold far more than the packed one.
fn is_swollen(packed: &[u8], plain: &[u8]) -> bool {
    let weight: usize = pieces(plain, plain.len()).map(|it| it.weight()).sum();
    let [weight, seen] = [weight, packed.len()].map(|it| u64::try_from(it).unwrap_or(u64::MAX));
    weight > Allowance::UNPACKED.limit(seen)
}

/// Unpacked frames are no longer than the transport could have carried. [MS-SMB2] 2.1.
const LONGEST: usize = (1 << 24) + (1 << 16);
