//! What clients can make a listener hold, and for how long; and how connections end.

use std::time::Duration;

use smbench_core::event::NetFailure;

/// Bounds of a listener, over all its connections where nothing else is said.
///
/// Every number can be reached by clients that mean harm; none of them makes another client wait
/// for longer than [`scarce`](Self::scarce).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenLimits {
    /// Connections at a time. For one more, the oldest that has not logged in has to go; where all
    /// have, the new one.
    pub connections: usize,
    /// Bytes of one frame before its client has logged in.
    pub stranger_frame: usize,
    /// Bytes of frames that are not complete, or that the service has not taken yet. The oldest
    /// frame may go beyond, or nobody could ever finish.
    pub incoming: usize,
    /// How long a frame may take from its first byte to its last.
    pub frame_time: Duration,
    /// How long a frame may make no progress while others wait for memory.
    pub scarce: Duration,
    /// Bytes of answers of one connection that have not left, before its requests have to wait.
    pub outgoing_each: usize,
    /// Bytes of answers that have not left. Beyond, the connection that has read nothing for the
    /// longest time is ended.
    pub outgoing: usize,
    /// How long a client may read nothing while answers wait for it.
    pub unread_time: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            stranger_frame: 128 << 10,
            incoming: 128 << 20,
            frame_time: Duration::from_secs(60),
            scarce: Duration::from_secs(1),
            outgoing_each: 4 << 20,
            outgoing: 256 << 20,
            unread_time: Duration::from_secs(30),
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ending {
    /// By the client or the network; `Protocol` when it sent something that is no frame.
    Network(NetFailure),
    /// By the service.
    Service,
    /// A frame was not complete in time.
    Stalled,
    /// A frame made no progress while others waited for memory.
    Crowded,
    /// A frame was longer than a client may send that has not logged in.
    StrangerFrame,
    /// The client did not read.
    Unread,
    /// There were too many connections, and the client had not logged in.
    Displaced,
}

impl Ending {
    /// Whether a limit was reached, and in which words that is told.
    #[must_use]
    pub const fn limit(self) -> Option<&'static str> {
        Some(match self {
            Self::Network(_) | Self::Service => return None,
            Self::Stalled => "a frame was not complete in time",
            Self::Crowded => "a frame stood still while others waited for memory",
            Self::StrangerFrame => "a frame was too long for a client that has not logged in",
            Self::Unread => "the client did not read its answers",
            Self::Displaced => "too many connections",
        })
    }
}
