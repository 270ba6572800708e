//! What listens to a simulated network: told of every connection and every frame, changes nothing.

use std::fmt::Debug;

use smbench_core::ids::{ConnId, LogicalTime};

pub use crate::weather::Direction;

/// One life of one connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId {
    /// The connection.
    pub conn: ConnId,
    /// From 1: how often it has been opened.
    pub life: u32,
}

/// Where a tap sits: what it hears at which time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Vantage {
    /// Beside the server: requests as they arrive, answers as they leave. The order is the
    /// server's, over all clients.
    #[default]
    Server,
    /// Beside each client: requests as they leave, answers as they arrive. What each client knew
    /// when it sent something is exact; what overlapped at the server is not told.
    Client,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkEnd {
    /// Which side ended it: what it says goes this way.
    pub by: Direction,
    /// By a reset.
    pub reset: bool,
}

/// Listens. Times never go back; a link is opened before all else and silent after its end.
///
/// The end of the run is no end of its connections: those that the recording left open are left
/// open here too.
pub trait Tap: Debug {
    /// Where it sits.
    fn vantage(&self) -> Vantage;

    /// A connection is open.
    fn opened(&mut self, now: LogicalTime, link: LinkId);

    /// A frame passes, whole and without transport header.
    fn frame(&mut self, now: LogicalTime, link: LinkId, to: Direction, frame: &[u8]);

    /// A connection has ended.
    fn closed(&mut self, now: LogicalTime, link: LinkId, end: LinkEnd);
}
