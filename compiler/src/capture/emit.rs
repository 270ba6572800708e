//! The way out: who a stream belongs to, what events say of it, and the memory all streams share.

use std::net::SocketAddr;

use super::Sink;
use super::bytes::le_u32;
use super::event::{CaptureEvent, CloseKind, ConnInfo, Direction, FrameInfo, FrameKind};
use super::link::Ip;
use super::stats::CaptureStats;

/// When a packet came, and its number from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    pub(super) time_ns: u64,
    pub(super) frame_no: u64,
}

impl Stamp {
    /// The one of the later packet.
    pub(super) fn later(self, other: Self) -> Self {
        if other.frame_no > self.frame_no {
            other
        } else {
            self
        }
    }
}

/// One end of a flow: the one with the lower address and port, or the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Low,
    High,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Address and port.
pub(super) type End = (Ip, u16);

/// Who the two streams of a flow belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ident {
    pub(super) low: End,
    pub(super) high: End,
    /// Number of the connection, once it has spoken SMB.
    pub(super) conn: Option<u32>,
    /// The side that connected, once known.
    pub(super) client: Option<Side>,
    pub(super) midstream: bool,
    /// It began with words to a proxy.
    pub(super) proxied: bool,
    pub(super) first: Stamp,
}

impl Ident {
    fn end(&self, side: Side) -> End {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }

    /// Whether one end has a port that SMB is assigned to.
    pub(super) fn on_smb_port(&self) -> bool {
        is_smb_port(self.low.1) || is_smb_port(self.high.1)
    }

    pub(super) fn direction(&self, from: Side) -> Direction {
        if self.client == Some(from) {
            Direction::ClientToServer
        } else {
            Direction::ServerToClient
        }
    }

    /// Decides who the client is by what `from` sent first, where no SYN told.
    fn settle_client(&mut self, from: Side, kind: FrameKind, payload: &[u8]) {
        if self.client.is_some() {
            return;
        }
        let from_server = match kind {
            // SMB2_FLAGS_SERVER_TO_REDIR, [MS-SMB2] 2.2.1; SMB_FLAGS_REPLY, [MS-CIFS] 2.2.3.1.
            FrameKind::Smb2 => le_u32(payload, 16).map(|flags| flags & 1 != 0),
            FrameKind::Smb1 => payload.get(9).map(|flags| flags & 0x80 != 0),
            FrameKind::Transform | FrameKind::Compressed => None,
        };
        let by_port = match (is_smb_port(self.low.1), is_smb_port(self.high.1)) {
            (true, false) => Some(Side::High),
            (false, true) => Some(Side::Low),
            _ => None,
        };
        let by_flags = from_server.map(|server| if server { from.other() } else { from });
        // A server's port is as a rule below the ephemeral ones.
        let low_has_server_port = self.low.1 < self.high.1;
        let by_number = if low_has_server_port {
            Side::High
        } else {
            Side::Low
        };
        self.client = Some(by_port.or(by_flags).unwrap_or(by_number));
    }
}

fn is_smb_port(port: u16) -> bool {
    matches!(port, 445 | 139)
}

/// What a finished frame is, apart from whose.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameShape {
    pub(super) first: Stamp,
    pub(super) last: Stamp,
    pub(super) wire_len: usize,
    pub(super) complete: bool,
}

/// Where events, counts and buffers go.
pub(super) struct Out<'s> {
    pub(super) sink: &'s mut dyn Sink,
    pub(super) stats: CaptureStats,
    pub(super) memory: Memory,
    connections: u32,
}

impl<'s> Out<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink, limit_bytes: usize) -> Self {
        let memory = Memory {
            limit_bytes,
            ..Memory::default()
        };
        Self {
            sink,
            stats: CaptureStats::default(),
            memory,
            connections: 0,
        }
    }

    pub(super) fn frame(
        &mut self,
        ident: &mut Ident,
        from: Side,
        kind: FrameKind,
        shape: FrameShape,
        payload: &[u8],
    ) {
        let info = self.frame_info(ident, from, kind, shape, payload);
        self.sink.event(CaptureEvent::Frame(info, payload));
    }

    /// A frame in a buffer of its own, which may come back as another one.
    pub(super) fn frame_in(
        &mut self,
        ident: &mut Ident,
        from: Side,
        kind: FrameKind,
        shape: FrameShape,
        body: &mut Vec<u8>,
    ) {
        let info = self.frame_info(ident, from, kind, shape, body);
        let before = body.capacity();
        self.sink.frame(info, body);
        self.memory.exchanged(before, body.capacity());
    }

    fn frame_info(
        &mut self,
        ident: &mut Ident,
        from: Side,
        kind: FrameKind,
        shape: FrameShape,
        payload: &[u8],
    ) -> FrameInfo {
        let conn = self.connection(ident, from, kind, payload);
        match kind {
            FrameKind::Smb1 => self.stats.smb1_frames += 1,
            FrameKind::Smb2 => self.stats.smb2_frames += 1,
            FrameKind::Transform => self.stats.transform_frames += 1,
            FrameKind::Compressed => self.stats.compressed_frames += 1,
        }
        self.stats.partial_frames += u64::from(!shape.complete);
        FrameInfo {
            conn,
            dir: ident.direction(from),
            kind,
            time_ns: shape.last.time_ns,
            first_time_ns: shape.first.time_ns,
            frame_no: shape.last.frame_no,
            first_frame_no: shape.first.frame_no,
            wire_len: shape.wire_len,
            complete: shape.complete,
        }
    }

    /// Makes the connection of a frame known, if it is not yet.
    pub(super) fn connection(
        &mut self,
        ident: &mut Ident,
        from: Side,
        kind: FrameKind,
        payload: &[u8],
    ) -> u32 {
        if let Some(conn) = ident.conn {
            return conn;
        }
        let conn = self.connections;
        self.connections = self.connections.saturating_add(1);
        self.stats.smb_flows += 1;
        ident.settle_client(from, kind, payload);
        ident.conn = Some(conn);
        let client = ident.client.unwrap_or(from);
        self.sink.event(CaptureEvent::Connection(ConnInfo {
            conn,
            client: socket(ident.end(client)),
            server: socket(ident.end(client.other())),
            time_ns: ident.first.time_ns,
            frame_no: ident.first.frame_no,
            midstream: ident.midstream,
        }));
        conn
    }

    pub(super) fn gap(
        &mut self,
        ident: &Ident,
        from: Side,
        missing: u64,
        within_frame: bool,
        at: Stamp,
    ) {
        self.stats.gaps += 1;
        self.stats.gap_bytes += missing;
        self.missing(ident, from, Some(missing), within_frame, at);
    }

    /// A frame is not handed out, although its bytes may be there.
    pub(super) fn lost_frame(&mut self, ident: &Ident, from: Side, at: Stamp) {
        self.missing(ident, from, None, false, at);
    }

    fn missing(
        &mut self,
        ident: &Ident,
        from: Side,
        missing_bytes: Option<u64>,
        within_frame: bool,
        at: Stamp,
    ) {
        if let Some(conn) = ident.conn {
            self.sink.event(CaptureEvent::Gap {
                conn,
                dir: ident.direction(from),
                time_ns: at.time_ns,
                missing_bytes,
                within_frame,
            });
        }
    }

    pub(super) fn closed(&mut self, ident: &Ident, by: Side, how: CloseKind, at: Stamp) {
        if let Some(conn) = ident.conn {
            self.sink.event(CaptureEvent::Closed {
                conn,
                time_ns: at.time_ns,
                frame_no: at.frame_no,
                how,
                by: ident.direction(by),
            });
        }
    }
}

fn socket((ip, port): End) -> SocketAddr {
    SocketAddr::new(ip.addr(), port)
}

/// Bytes held for all streams together, and buffers to be used again.
///
/// A buffer counts with its whole capacity, so that what is counted is what is resident.
#[derive(Default)]
pub(super) struct Memory {
    limit_bytes: usize,
    held_bytes: usize,
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Memory {
    /// Takes `len` bytes of the budget; false when they are not there.
    pub(super) fn take(&mut self, len: usize) -> bool {
        let fits = self.held_bytes + len <= self.limit_bytes;
        if fits {
            self.held_bytes += len;
        }
        fits
    }

    /// Gives `len` bytes back.
    pub(super) fn give(&mut self, len: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(len);
    }

    /// A buffer was exchanged for another.
    fn exchanged(&mut self, before: usize, after: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(before).saturating_add(after);
    }

    /// Whether streams that have been still for long should give up what they hold.
    pub(super) fn is_tight(&self) -> bool {
        self.held_bytes > self.limit_bytes / 8 * 7
    }

    /// Whether there is room again.
    pub(super) fn is_relaxed(&self) -> bool {
        self.held_bytes < self.limit_bytes / 2
    }

    /// An empty buffer for some `len` bytes, with any capacity; it is on the budget.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let pool = if len <= SMALL {
            &mut self.small
        } else {
            &mut self.large
        };
        let Some(buffer) = pool.pop() else {
            return Vec::new();
        };
        self.spare_bytes = self.spare_bytes.saturating_sub(buffer.capacity());
        if self.take(buffer.capacity()) {
            buffer
        } else {
            Vec::new()
        }
    }

    /// Appends to a buffer of a message of `total` bytes; false when the budget is spent.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8], total: usize) -> bool {
        let need = buffer.len() + bytes.len();
        let have = buffer.capacity();
        if need > have {
            let wanted = if total <= RESERVE_MAX {
                total
            } else {
                total.min(have * 2)
            };
            let wanted = wanted.max(need);
            if !self.take(wanted - have) {
                return false;
            }
            buffer.reserve_exact(wanted - buffer.len());
            let got = buffer.capacity();
            self.held_bytes += got.saturating_sub(wanted);
        }
        buffer.extend_from_slice(bytes);
        true
    }

    /// Takes a buffer off the budget and keeps it for the next user, within bounds.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        self.give(capacity);
        let pool = if capacity <= SMALL {
            &mut self.small
        } else {
            &mut self.large
        };
        if capacity > 0 && self.spare_bytes + capacity <= SPARE_BYTES_MAX && pool.len() < SPARE_MAX
        {
            self.spare_bytes += capacity;
            buffer.clear();
            pool.push(buffer);
        }
    }
}

const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 34 * 1024 * 1024;
/// Buffers up to here are kept apart from larger ones.
const SMALL: usize = 64 * 1024;
/// Messages up to here get their whole buffer at once; a larger length may be a lie.
const RESERVE_MAX: usize = 256 * 1024;
