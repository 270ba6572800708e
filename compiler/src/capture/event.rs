//! What a capture tells: connections, frames, holes and ends.

use std::net::SocketAddr;

/// Which side of a connection sent something.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// From the client to the server.
    ClientToServer,
    /// From the server to the client.
    ServerToClient,
}

/// Protocol of a frame, by the first four bytes of its payload.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FrameKind {
    /// `FF 'SMB'`. [MS-CIFS] 2.2.3.1.
    Smb1,
    /// `FE 'SMB'`. [MS-SMB2] 2.2.1.
    Smb2,
    /// `FD 'SMB'`, an encrypted message. [MS-SMB2] 2.2.41.
    Transform,
    /// `FC 'SMB'`, a compressed message. [MS-SMB2] 2.2.42.
    Compressed,
}

impl FrameKind {
    /// The kind of a payload that starts with these bytes.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        match payload.first_chunk() {
            Some([0xff, b'S', b'M', b'B']) => Some(Self::Smb1),
            Some([0xfe, b'S', b'M', b'B']) => Some(Self::Smb2),
            Some([0xfd, b'S', b'M', b'B']) => Some(Self::Transform),
            Some([0xfc, b'S', b'M', b'B']) => Some(Self::Compressed),
            _ => None,
        }
    }

    /// Length of the fixed header that a payload of this kind starts with, in bytes.
    #[must_use]
    pub fn header_len(self) -> usize {
        match self {
            Self::Smb1 => 32,
            Self::Smb2 => 64,
            Self::Transform => 52,
            Self::Compressed => 16,
        }
    }
}

/// A connection that speaks SMB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnInfo {
    /// Dense number, in the order in which connections turned out to speak SMB.
    pub conn: u32,
    /// The side that connected.
    pub client: SocketAddr,
    /// The side that was connected to.
    pub server: SocketAddr,
    /// Time of its first packet, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Number of its first packet.
    pub frame_no: u64,
    /// Whether its beginning (SYN) is not in the capture.
    pub midstream: bool,
}

/// One message of the SMB transport, without its four-byte length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameInfo {
    /// Number of the connection.
    pub conn: u32,
    /// Who sent it.
    pub dir: Direction,
    /// Protocol of the payload.
    pub kind: FrameKind,
    /// Time of the packet that completed it, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Time of the packet that began it.
    pub first_time_ns: u64,
    /// Number of the packet that completed it, from 1, as tshark's `frame.number`.
    pub frame_no: u64,
    /// Number of the packet that began it.
    pub first_frame_no: u64,
    /// Length of the payload on the wire, in bytes.
    pub wire_len: usize,
    /// Whether the whole payload was captured; when not, the bytes are a prefix of it.
    pub complete: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseKind {
    /// FIN of at least one side.
    Fin,
    /// RST.
    Rst,
    /// Its addresses and ports began another connection.
    Reuse,
    /// The capture ended, or the connection was forgotten for lack of room.
    End,
}

/// One fact found in a capture.
///
/// Events come in the order of the packets that complete them. Data behind a hole waits until the
/// hole is filled or given up, so it may come later than its own time says.
#[derive(Clone, Copy, Debug)]
pub enum CaptureEvent<'a> {
    /// The first frame of a connection is about to come.
    Connection(ConnInfo),
    /// A frame; the bytes are its payload and live until the sink returns.
    Frame(FrameInfo, &'a [u8]),
    /// Bytes that are not in the capture, or a frame that could not be made out.
    Gap {
        /// Number of the connection.
        conn: u32,
        /// Whose bytes are missing.
        dir: Direction,
        /// Time of the packet that showed it, in nanoseconds since the Unix epoch.
        time_ns: u64,
        /// How many, where known.
        missing_bytes: Option<u64>,
        /// All of them belong to a frame that comes nevertheless, cut: no other frame is missing.
        within_frame: bool,
    },
    /// A connection is over; no frame of it follows.
    Closed {
        /// Number of the connection.
        conn: u32,
        /// Time of the packet that ended it, in nanoseconds since the Unix epoch.
        time_ns: u64,
        /// Number of the packet that ended it.
        frame_no: u64,
        /// How it ended.
        how: CloseKind,
        /// Who ended it: the sender of the first FIN, of the RST, or of the new SYN.
        by: Direction,
    },
}

impl<'a> CaptureEvent<'a> {
    /// Number of its connection.
    pub(crate) fn conn(&self) -> u32 {
        match self {
            Self::Connection(info) => info.conn,
            Self::Frame(info, _) => info.conn,
            Self::Gap { conn, .. } | Self::Closed { conn, .. } => *conn,
        }
    }

    /// The same of the connection with this number.
    pub(crate) fn of_conn(mut self, number: u32) -> Self {
        match &mut self {
            Self::Connection(info) => info.conn = number,
            Self::Frame(info, _) => info.conn = number,
            Self::Gap { conn, .. } | Self::Closed { conn, .. } => *conn = number,
        }
        self
    }

    /// The event without its payload, which is empty unless it is a frame.
    pub(crate) fn split(self) -> (CaptureEvent<'static>, &'a [u8]) {
        match self {
            Self::Frame(info, payload) => (CaptureEvent::Frame(info, &[]), payload),
            Self::Connection(info) => (CaptureEvent::Connection(info), &[]),
            Self::Gap {
                conn,
                dir,
                time_ns,
                missing_bytes,
                within_frame,
            } => (
                CaptureEvent::Gap {
                    conn,
                    dir,
                    time_ns,
                    missing_bytes,
                    within_frame,
                },
                &[],
            ),
            Self::Closed {
                conn,
                time_ns,
                frame_no,
                how,
                by,
            } => (
                CaptureEvent::Closed {
                    conn,
                    time_ns,
                    frame_no,
                    how,
                    by,
                },
                &[],
            ),
        }
    }
}

impl CaptureEvent<'static> {
    /// The event with its payload again.
    pub(crate) fn with_payload(self, payload: &[u8]) -> CaptureEvent<'_> {
        match self {
            Self::Frame(info, _) => CaptureEvent::Frame(info, payload),
            other => other,
        }
    }
}
