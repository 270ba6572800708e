//! One transport connection: its life, its credits, and what is in flight on it.
//!
//! | from       | event     | to         | when                                              |
//! |------------|-----------|------------|---------------------------------------------------|
//! | Idle       | Dial      | Connecting | the first operation on it is due                  |
//! | Connecting | Connected | Open       | the driver says so                                |
//! | Connecting | Lose      | Lost       | it could not be opened                            |
//! | Open       | Lose      | Lost       | the peer or the network ended it, or it is silent |
//! | Idle       | HangUp    | Closed     | the recording ended it, and asked nothing on it   |
//! | Connecting | HangUp    | Closed     | the recording ended it, or the rest is given up   |
//! | Open       | HangUp    | Closed     | the recording ended it, or the run is over        |
//! | Lost       | HangUp    | Closed     | the recording ended it later                      |
//!
//! Credits follow [MS-SMB2] 3.2.4.1.2 and 3.2.5.1.4: a connection begins with one, a request of
//! charge n takes n consecutive MessageIds, each response gives back what it grants. A request that
//! is given up gives back what it took, lest its connection starve; should its response come after
//! all, it grants what it grants beyond that. Where a request lacks credits and nothing in flight brings any, the engine asks
//! for them with an ECHO of its own.

use std::collections::{BTreeMap, VecDeque};

use super::{headers::Sent, unsolicited::Unsolicited, walked::Walked};
use crate::{
    event::NetFailure,
    ids::{LogicalTime, OpId, SessionRef},
};

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ConnState {
    /// Nobody has asked for it yet.
    #[default]
    Idle,
    /// The driver is opening it.
    Connecting,
    /// It is open.
    Open,
    /// It failed, or was lost; the operation that noticed first.
    Lost {
        /// The operation later ones are a cascade of.
        cause: Option<OpId>,
    },
    /// The replay closed it.
    Closed,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ConnEvent {
    /// The driver is asked to open it.
    Dial,
    /// It is open.
    Connected,
    /// It could not be opened, or ended.
    Lose {
        /// The operation later ones are a cascade of.
        cause: Option<OpId>,
    },
    /// The replay ends it.
    HangUp,
}

impl ConnState {
    /// The state after `event`; `None` for a pair that is not in the table above: nothing happens then.
    pub(super) const fn after(self, event: ConnEvent) -> Option<Self> {
        Some(match (self, event) {
            (Self::Idle, ConnEvent::Dial) => Self::Connecting,
            (Self::Connecting, ConnEvent::Connected) => Self::Open,
            (Self::Connecting | Self::Open, ConnEvent::Lose { cause }) => Self::Lost { cause },
            (Self::Idle | Self::Connecting | Self::Open | Self::Lost { .. }, ConnEvent::HangUp) => {
                Self::Closed
            }
            _ => return None,
        })
    }
}

/// A request on the wire that has no final response yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flight {
    pub(super) owner: Owner,
    pub(super) sent_at: LogicalTime,
    /// What its header says, where answers are held against it.
    pub(super) sent: Option<Sent>,
}

/// A request that was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct GivenUp {
    pub(super) op: OpId,
    /// Credits that it gave back.
    pub(super) charge: u16,
}

/// Who a request belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// An operation of the workload.
    Op(OpId),
    /// The engine: a handle closed that the recording does not have, a break acknowledged that the
    /// recording does not have.
    Engine,
}

/// How far a login on one connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LoginState {
    /// The driver makes a token for this operation.
    AwaitingToken(OpId),
    /// A token of this length waits for the next recorded leg.
    HasToken(u32),
    /// A leg is on the wire.
    InFlight,
    /// It came to its end.
    Done,
}

/// One connection of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Conn {
    pub(super) state: ConnState,
    pub(super) credits: u32,
    pub(super) next_mid: u64,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) queue: VecDeque<OpId>,
    pub(super) logins: Vec<(SessionRef, LoginState)>,
    /// When the last recorded notification came on it, and which that was.
    pub(super) noticed: Option<(LogicalTime, OpId)>,
    /// When it was asked for, was opened, or something came on it that belonged to something.
    pub(super) heard_at: LogicalTime,
    /// A pending request was given up on it, and no answer has come since.
    pub(super) excused: bool,
    /// Requests that were given up, by MessageId: their answers may come after all.
    pub(super) given_up: BTreeMap<u64, GivenUp>,
    /// The last request for which the engine asked for credits.
    pub(super) asked: Option<OpId>,
    /// No credits came for a time-out, and none since.
    pub(super) starved: bool,
    /// What came on it that belonged to nothing.
    pub(super) unsolicited: Unsolicited,
    /// Why it was lost while nothing was asked on it: the next that wants to finds it so.
    pub(super) unblamed: Option<NetFailure>,
}

impl Conn {
    /// Goes on by `event`, and notes the row; whether there is one.
    pub(super) fn step(&mut self, event: ConnEvent, walked: &mut Walked) -> bool {
        let Some(next) = self.state.after(event) else {
            return false;
        };
        walked.walk_conn(self.state, event);
        self.state = next;
        true
    }

    /// Ready to be used: one credit, MessageId 0.
    pub(super) fn open(&mut self, now: LogicalTime) {
        self.heard_at = now;
        self.credits = 1;
        self.next_mid = 0;
    }

    /// Requests and logins that are kept.
    pub(super) fn held(&self) -> usize {
        self.flights.len() + self.queue.len() + self.logins.len() + self.given_up.len()
    }

    /// Whether something may still come on it.
    pub(super) const fn is_alive(&self) -> bool {
        matches!(self.state, ConnState::Open | ConnState::Connecting)
    }

    /// Takes `charge` credits and as many consecutive MessageIds; the first one. The caller has
    /// checked that there are enough.
    pub(super) fn take(&mut self, charge: u16) -> u64 {
        let charge = charge.max(1);
        self.credits = self.credits.saturating_sub(u32::from(charge));
        let mid = self.next_mid;
        self.next_mid = mid.wrapping_add(u64::from(charge));
        mid
    }

    pub(super) fn grant(&mut self, credits: u16) {
        self.credits = self.credits.saturating_add(u32::from(credits));
        self.starved &= credits == 0;
    }

    pub(super) fn login(&self, session: SessionRef) -> Option<LoginState> {
        self.logins
            .iter()
            .find(|(of, _)| *of == session)
            .map(|(_, state)| *state)
    }

    pub(super) fn set_login(&mut self, session: SessionRef, state: LoginState) {
        match self.logins.iter_mut().find(|(of, _)| *of == session) {
            Some((_, old)) => *old = state,
            None => self.logins.push((session, state)),
        }
    }
}
