//! The life of one operation.
//!
//! | from      | event   | to        | when                                                    |
//! |-----------|---------|-----------|---------------------------------------------------------|
//! | Waiting   | Release | Scheduled | the last thing it waited for has happened               |
//! | Scheduled | Due     | Queued    | its scaled time has come                                |
//! | Queued    | Issue   | InFlight  | connection, login and credits allow ([MS-SMB2] 3.2.4.1) |
//! | InFlight  | Interim | Pending   | STATUS_PENDING ([MS-SMB2] 3.2.5.1.5)                    |
//! | InFlight  | Final   | Settled   | final response ([MS-SMB2] 3.2.5.1)                      |
//! | Pending   | Final   | Settled   | final response                                          |
//! | InFlight  | Repeat  | InFlight  | one more leg of a login ([MS-SMB2] 3.2.5.3)             |
//! | InFlight  | Lose    | Settled   | connection lost, or no response in time                 |
//! | Pending   | Lose    | Settled   | connection lost, or no response in time                 |
//! | unsettled | Skip    | Settled   | it cannot, or need not, be sent, or waited for          |
//! | not sent  | Observe | Settled   | an event of the recording took place, or never will     |
//!
//! What is observed is no request (a break notification, the end of a connection), or is over when it is sent
//! (a CANCEL): so it is never in flight. `walked` counts which rows a run walks.

use thiserror::Error;

use crate::ids::{LogicalTime, OpId};

/// How far one operation is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OpState {
    /// Something must happen first.
    #[default]
    Waiting,
    /// Only its time must come.
    Scheduled,
    /// Only its connection, login or credits hold it up.
    Queued,
    /// Sent with this MessageId.
    InFlight {
        /// Its MessageId in this run.
        mid: u64,
    },
    /// Answered by an interim response.
    Pending {
        /// Its MessageId in this run.
        mid: u64,
        /// The server's AsyncId.
        async_id: u64,
    },
    /// Over.
    Settled,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpEvent {
    /// The last thing it waited for has happened.
    Release,
    /// Its time has come.
    Due,
    /// It is sent with this MessageId.
    Issue {
        /// The MessageId.
        mid: u64,
    },
    /// It is sent once more, with this MessageId.
    Repeat {
        /// The MessageId.
        mid: u64,
    },
    /// Its interim response came.
    Interim {
        /// The server's AsyncId.
        async_id: u64,
    },
    /// Its final response came.
    Final,
    /// There will be no response.
    Lose,
    /// It is not sent.
    Skip,
    /// The event it stands for took place, or never will.
    Observe,
}

/// A transition outside the table.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("operation {op} cannot take {event:?} in state {state:?}")]
pub struct TransitionError {
    /// The operation.
    pub op: OpId,
    /// The state it was in.
    pub state: OpState,
    /// What happened.
    pub event: OpEvent,
}

impl OpState {
    /// The state after `event`.
    ///
    /// # Errors
    ///
    /// [`TransitionError`] for a pair that is not in the table above.
    pub fn step(self, op: OpId, event: OpEvent) -> Result<Self, TransitionError> {
        Ok(match (self, event) {
            (Self::Waiting, OpEvent::Release) => Self::Scheduled,
            (Self::Scheduled, OpEvent::Due) => Self::Queued,
            (Self::Queued, OpEvent::Issue { mid }) => Self::InFlight { mid },
            (Self::InFlight { .. }, OpEvent::Repeat { mid }) => Self::InFlight { mid },
            (Self::InFlight { mid }, OpEvent::Interim { async_id }) => {
                Self::Pending { mid, async_id }
            }
            (Self::InFlight { .. } | Self::Pending { .. }, OpEvent::Final | OpEvent::Lose) => {
                Self::Settled
            }
            (Self::Waiting | Self::Scheduled | Self::Queued, OpEvent::Observe) => Self::Settled,
            (state, OpEvent::Skip) if state != Self::Settled => Self::Settled,
            (state, event) => return Err(TransitionError { op, state, event }),
        })
    }

    /// Whether the server has said that it will be answered later.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether it was sent and not yet answered.
    #[must_use]
    pub const fn in_flight(self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::Pending { .. })
    }
}

/// What the engine keeps of an operation between its release and its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpRun {
    pub(super) state: OpState,
    pub(super) reached_interim: bool,
    pub(super) held_by_server: bool,
    pub(super) held_by_credits: bool,
    /// Released when a break that was waited for did not come.
    pub(super) held_by_break: bool,
    /// How often it was sent again, as one more leg of a login.
    pub(super) repeats: u8,
    pub(super) released_at: LogicalTime,
    pub(super) due_at: LogicalTime,
}

/// How far every operation is: four bytes each, and a record for those that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct OpRuns {
    /// [`WAITING`], [`SETTLED`], [`SETTLED_AFTER_INTERIM`], or the place in `live` plus [`LIVE`].
    codes: Vec<u32>,
    live: Vec<OpRun>,
    /// Places in `live` that are free.
    free: Vec<u32>,
}

impl OpRuns {
    pub(super) fn new(operations: usize) -> Self {
        Self {
            codes: vec![WAITING; operations],
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn get(&self, op: OpId) -> Option<OpRun> {
        self.codes.get(op.index()).map(|code| self.of(*code))
    }

    /// The record of an operation that is on its way; none before its release and after its end.
    pub(super) fn live_mut(&mut self, op: OpId) -> Option<&mut OpRun> {
        let at = self.codes.get(op.index())?.checked_sub(LIVE)?;
        self.live.get_mut(at as usize)
    }

    /// All operations and their states, in order.
    pub(super) fn states(&self) -> impl Iterator<Item = (OpId, OpState)> + '_ {
        let codes = (0u32..).zip(&self.codes);
        codes.map(|(op, code)| (OpId(op), self.of(*code).state))
    }

    /// Takes `op` to `state`. False for one that does not exist.
    pub(super) fn set(&mut self, op: OpId, state: OpState) -> bool {
        let Some(code) = self.codes.get_mut(op.index()) else {
            return false;
        };
        match (code.checked_sub(LIVE), state) {
            (None, OpState::Waiting) => *code = WAITING,
            (None, OpState::Settled) => *code = SETTLED,
            (None, _) => {
                let run = OpRun {
                    state,
                    ..OpRun::default()
                };
                let at = match self.free.pop() {
                    Some(at) => {
                        if let Some(place) = self.live.get_mut(at as usize) {
                            *place = run;
                        }
                        at
                    }
                    None => {
                        self.live.push(run);
                        u32::try_from(self.live.len() - 1).unwrap_or(u32::MAX)
                    }
                };
                *code = at.saturating_add(LIVE);
            }
            (Some(at), state) => {
                let Some(run) = self.live.get_mut(at as usize) else {
                    return false;
                };
                run.state = state;
                if state == OpState::Settled {
                    *code = if run.reached_interim {
                        SETTLED_AFTER_INTERIM
                    } else {
                        SETTLED
                    };
                    self.free.push(at);
                }
            }
        }
        true
    }

    fn of(&self, code: u32) -> OpRun {
        let over = OpRun {
            state: OpState::Settled,
            ..OpRun::default()
        };
        match code {
            WAITING => OpRun::default(),
            SETTLED => over,
            SETTLED_AFTER_INTERIM => OpRun {
                reached_interim: true,
                ..over
            },
            live => {
                let at = (live - LIVE) as usize;
                self.live.get(at).copied().unwrap_or_default()
            }
        }
    }
}

const WAITING: u32 = 0;
const SETTLED: u32 = 1;
const SETTLED_AFTER_INTERIM: u32 = 2;
const LIVE: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const OP: OpId = OpId(7);

    #[test]
    fn walks_the_whole_way() {
        let path = [
            (OpEvent::Release, OpState::Scheduled),
            (OpEvent::Due, OpState::Queued),
            (OpEvent::Issue { mid: 9 }, OpState::InFlight { mid: 9 }),
            (
                OpEvent::Interim { async_id: 3 },
                OpState::Pending {
                    mid: 9,
                    async_id: 3,
                },
            ),
            (OpEvent::Final, OpState::Settled),
        ];
        let mut state = OpState::Waiting;
        for (event, next) in path {
            state = state.step(OP, event).expect("in the table");
            assert_eq!(state, next);
        }
    }

    #[test]
    fn refuses_what_is_not_in_the_table() {
        let error = OpState::Settled
            .step(OP, OpEvent::Final)
            .expect_err("settled twice");
        assert_eq!(
            error,
            TransitionError {
                op: OP,
                state: OpState::Settled,
                event: OpEvent::Final
            }
        );
        assert!(
            OpState::Waiting
                .step(OP, OpEvent::Issue { mid: 1 })
                .is_err()
        );
        assert!(OpState::Settled.step(OP, OpEvent::Skip).is_err());
        let sent = OpState::InFlight { mid: 1 };
        assert!(sent.step(OP, OpEvent::Observe).is_err());
        assert!(
            OpState::Pending {
                mid: 1,
                async_id: 2
            }
            .step(OP, OpEvent::Lose)
            .is_ok()
        );
    }

    #[test]
    fn records_of_the_living_are_used_again() {
        let mut runs = OpRuns::new(3);
        assert!(
            !runs.set(OpId(3), OpState::Scheduled),
            "there is no such operation"
        );
        assert!(runs.set(OpId(0), OpState::Scheduled));
        runs.live_mut(OpId(0)).expect("on its way").reached_interim = true;
        assert!(runs.set(OpId(1), OpState::Queued));
        assert!(runs.set(OpId(0), OpState::Settled));
        assert!(runs.live_mut(OpId(0)).is_none());
        assert!(runs.get(OpId(0)).expect("there").reached_interim);
        assert!(runs.set(OpId(2), OpState::Scheduled));
        assert!(!runs.get(OpId(2)).expect("there").reached_interim);
        assert_eq!(runs.live.len(), 2);
        let states: Vec<OpState> = runs.states().map(|(_, state)| state).collect();
        assert_eq!(
            states,
            [OpState::Settled, OpState::Queued, OpState::Scheduled]
        );
    }
}
