//! One connection of the event loop.

use smbench_core::ids::LogicalTime;
use smbench_live::auth::logins::Logins;

use crate::weather::{Direction, Lane};

/// What the client knows of its connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Phase {
    /// On its way to the server and back.
    Connecting,
    /// Both ends know of it.
    Open,
    /// Never opened, closed, or lost.
    #[default]
    Over,
}

/// One life of one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// From 1; 0 before the first.
    pub(super) life: u32,
    pub(super) phase: Phase,
    /// The server has it open.
    pub(super) served: bool,
    /// Logins that are under way.
    pub(super) logins: Logins,
    /// Whether the client ended it by a reset; none while it has not, or when the run ended it.
    pub(super) ended: Option<bool>,
    lanes: Option<(Lane, Lane)>,
}

impl Link {
    pub(super) fn new(life: u32, up: Lane, down: Lane) -> Self {
        Self {
            life,
            phase: Phase::Connecting,
            served: false,
            logins: Logins::default(),
            ended: None,
            lanes: Some((up, down)),
        }
    }

    /// When `len` bytes sent now have arrived.
    pub(super) fn arrival(&mut self, to: Direction, now: LogicalTime, len: usize) -> LogicalTime {
        match (&mut self.lanes, to) {
            (Some((up, _)), Direction::Up) => up.arrival(now, len),
            (Some((_, down)), Direction::Down) => down.arrival(now, len),
            (None, _) => now,
        }
    }
}
