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
//! | unsettled | Skip    | Settled   | it cannot, or need not, be sent                         |
//! | unsettled | Observe | Settled   | an event of the recording took place, or never will     |

use thiserror::Error;

use crate::ids::OpId;

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
            (state, OpEvent::Skip | OpEvent::Observe) if state != Self::Settled => Self::Settled,
            (state, event) => return Err(TransitionError { op, state, event }),
        })
    }

    /// Whether it was sent and not yet answered.
    #[must_use]
    pub const fn in_flight(self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::Pending { .. })
    }
}

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
        assert!(
            OpState::Pending {
                mid: 1,
                async_id: 2
            }
            .step(OP, OpEvent::Lose)
            .is_ok()
        );
    }
}
