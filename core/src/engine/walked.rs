//! Which rows of the engine's tables a run has walked: those of `op`, `conn` and `login`.

use super::{
    conn::{ConnEvent, ConnState},
    login::LoginEvent,
    op::{OpEvent, OpState},
};

/// Which rows of the tables of operations, connections and logins a run has walked, a bit each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Walked(u64);

impl Walked {
    /// The rows, in the order of their bits.
    pub const ROWS: [&'static str; 36] = [
        "Waiting Release",
        "Scheduled Due",
        "Queued Issue",
        "InFlight Interim",
        "InFlight Final",
        "Pending Final",
        "InFlight Repeat",
        "InFlight Lose",
        "Pending Lose",
        "Waiting Skip",
        "Scheduled Skip",
        "Queued Skip",
        "InFlight Skip",
        "Pending Skip",
        "Waiting Observe",
        "Scheduled Observe",
        "Queued Observe",
        "connection Idle Dial",
        "connection Connecting Connected",
        "connection Connecting Lose",
        "connection Open Lose",
        "connection Idle HangUp",
        "connection Connecting HangUp",
        "connection Open HangUp",
        "connection Lost HangUp",
        "login None Begin",
        "login Done Begin",
        "login Done Absorb",
        "login AwaitingToken Token",
        "login AwaitingToken Fail",
        "login HasToken Send",
        "login InFlight More",
        "login InFlight Token",
        "login InFlight Repeat",
        "login InFlight Content",
        "login InFlight Fail",
    ];

    /// Walks the row of `event` in `state`.
    pub(super) fn walk(&mut self, state: OpState, event: OpEvent) {
        let place = match state {
            OpState::Waiting => 0,
            OpState::Scheduled => 1,
            OpState::Queued => 2,
            OpState::InFlight { .. } => 3,
            OpState::Pending { .. } => 4,
            OpState::Settled => return,
        };
        self.set(match event {
            OpEvent::Release => 0,
            OpEvent::Due => 1,
            OpEvent::Issue { .. } => 2,
            OpEvent::Interim { .. } => 3,
            OpEvent::Final => 1 + place, // 4 in flight, 5 pending
            OpEvent::Repeat { .. } => 6,
            OpEvent::Lose => 4 + place, // 7 in flight, 8 pending
            OpEvent::Skip => 9 + place,
            OpEvent::Observe => 14 + place,
        });
    }

    /// Walks the row of `event` of a connection in `state`.
    pub(super) fn walk_conn(&mut self, state: ConnState, event: ConnEvent) {
        self.set(match (state, event) {
            (_, ConnEvent::Dial) => 17,
            (_, ConnEvent::Connected) => 18,
            (ConnState::Connecting, ConnEvent::Lose { .. }) => 19,
            (_, ConnEvent::Lose { .. }) => 20,
            (ConnState::Idle, ConnEvent::HangUp) => 21,
            (ConnState::Connecting, ConnEvent::HangUp) => 22,
            (ConnState::Open, ConnEvent::HangUp) => 23,
            (_, ConnEvent::HangUp) => 24,
        });
    }

    /// Walks a row of a login.
    pub(super) fn walk_login(&mut self, event: LoginEvent) {
        self.set(match event {
            LoginEvent::Begin { again: false } => 25,
            LoginEvent::Begin { again: true } => 26,
            LoginEvent::Absorb => 27,
            LoginEvent::FirstToken => 28,
            LoginEvent::FailFirst => 29,
            LoginEvent::Send => 30,
            LoginEvent::More => 31,
            LoginEvent::NextToken => 32,
            LoginEvent::Repeat => 33,
            LoginEvent::Content => 34,
            LoginEvent::Fail => 35,
        });
    }

    fn set(&mut self, row: u32) {
        self.0 |= 1 << row;
    }

    /// Walks all that the other has.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// What is walked here and not there.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The rows that were walked.
    pub fn rows(self) -> impl Iterator<Item = &'static str> {
        let rows = Self::ROWS.into_iter().enumerate();
        rows.filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, row)| row)
    }
}
