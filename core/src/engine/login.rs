//! The legs of a login.
//!
//! A recorded login has as many legs as the captured client needed; this run's may need more or
//! fewer (Kerberos in the recording, NTLM now). The engine walks the recorded legs, repeats the
//! last one while the server wants more, and absorbs those that are left when it is content.
//!
//! | from          | event   | to            | effect                                                      |
//! |---------------|---------|---------------|-------------------------------------------------------------|
//! | None          | Begin   | AwaitingToken | a recorded leg is due: Authenticate(Begin)                  |
//! | Done          | Begin   | AwaitingToken | the same, of another login to the session                   |
//! | Done          | Absorb  | Done          | the leg that is due goes on with a login that is over       |
//! | AwaitingToken | Token   | HasToken      | what waits for it is sent                                   |
//! | AwaitingToken | Fail    | Done          | there is no token: the leg is a divergence                  |
//! | HasToken      | Send    | InFlight      | a recorded leg goes out with it                             |
//! | InFlight      | More    | InFlight      | the server wants more: Authenticate(Continue)               |
//! | InFlight      | Token   | HasToken      | the next recorded leg is sent when it is due                |
//! | InFlight      | Repeat  | InFlight      | there is no next one: the leg in hand is sent with the token |
//! | InFlight      | Content | Done          | the server lets in, or refuses                              |
//! | InFlight      | Fail    | Done          | no token, no answer, or no end: the session is lost         |
//!
//! A leg that is due while a token or an answer is awaited waits.
//!
//! [MS-SMB2] 3.2.4.2.3, 3.2.5.3.

use super::{
    Engine, EngineError, Slot,
    config::{Headers, Patience},
    conn::LoginState,
    plan::PlanOp,
};
use crate::{
    event::{AuthStep, Divergence, Effect, SkipReason, TokenOutcome},
    ids::{ConnId, OpId, SessionRef},
    smb2::{Command, NtStatus},
};

/// A row of the table above.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LoginEvent {
    /// A recorded leg begins a login; `again` where there was one before.
    Begin { again: bool },
    /// A recorded leg is not needed.
    Absorb,
    /// The token of the first leg is ready.
    FirstToken,
    /// There is no first token.
    FailFirst,
    /// A recorded leg goes out.
    Send,
    /// The server wants more.
    More,
    /// The token of a later leg is ready.
    NextToken,
    /// The leg in hand goes out once more.
    Repeat,
    /// The server wants no more.
    Content,
    /// It cannot go on.
    Fail,
}

impl Engine {
    /// Whether the request may go out as far as logins are concerned: true for everything but a
    /// SESSION_SETUP without its token.
    pub(super) fn login_ready(&mut self, conn: ConnId, op: OpId) -> Result<bool, EngineError> {
        let Some(session) = self.login_session(op)? else {
            return Ok(true);
        };
        if let Slot::Failed(cause) = *self.session_slot(session)? {
            self.cascade(op, cause)?;
            return Ok(false);
        }
        let planned = self.planned(op)?;
        let refused = planned
            .rare
            .login_ends
            .is_some_and(NtStatus::is_logon_failure);
        let begin = match planned.rare.principal {
            _ if refused => AuthStep::BeginRefused,
            Some(principal) => AuthStep::BeginAs(principal),
            None => AuthStep::Begin,
        };
        let login = self.conn_mut(conn)?.login(session);
        match login {
            Some(LoginState::HasToken(_)) => Ok(true),
            Some(LoginState::AwaitingToken(_) | LoginState::InFlight) => Ok(false),
            Some(LoginState::Done) if self.is_later_leg(op, session)? => {
                self.walked.walk_login(LoginEvent::Absorb);
                self.skip(op, SkipReason::Absorbed)?;
                Ok(false)
            }
            None | Some(LoginState::Done) => {
                let again = login.is_some();
                self.walked.walk_login(LoginEvent::Begin { again });
                self.conn_mut(conn)?
                    .set_login(session, LoginState::AwaitingToken(op));
                self.out.push_back(Effect::Authenticate {
                    conn,
                    session,
                    step: begin,
                });
                Ok(false)
            }
        }
    }

    /// Whether the recorded SESSION_SETUP goes on with a login instead of beginning one: the one
    /// before it on the same connection and session was asked for more.
    fn is_later_leg(&self, op: OpId, session: SessionRef) -> Result<bool, EngineError> {
        let conn = self.planned(op)?.conn;
        let before = self.legs(conn, session).take_while(|leg| *leg < op);
        let last = before.last().and_then(|leg| self.plan.op(leg));
        let answer = last.and_then(|it| it.answer);
        Ok(answer.is_some_and(|it| it.status == NtStatus::MORE_PROCESSING_REQUIRED))
    }

    pub(super) fn token_ready(
        &mut self,
        conn: ConnId,
        session: SessionRef,
        outcome: TokenOutcome,
    ) -> Result<(), EngineError> {
        self.session_slot(session)?;
        let login = self.conn_mut(conn)?.login(session);
        match (outcome, login) {
            (TokenOutcome::Ready { len }, Some(LoginState::AwaitingToken(_))) => {
                self.walked.walk_login(LoginEvent::FirstToken);
                self.conn_mut(conn)?
                    .set_login(session, LoginState::HasToken(len));
                self.drain(conn)
            }
            (TokenOutcome::Ready { len }, Some(LoginState::InFlight)) => {
                self.conn_mut(conn)?
                    .set_login(session, LoginState::HasToken(len));
                match self.leg_in_hand(conn, session) {
                    Some(op) => self.send_extra_leg(conn, op),
                    None => {
                        self.walked.walk_login(LoginEvent::NextToken);
                        self.drain(conn)
                    }
                }
            }
            (TokenOutcome::Failed, Some(login)) => self.login_failed(conn, session, login),
            // The login was over before its token was ready.
            _ => Ok(()),
        }
    }

    fn login_failed(
        &mut self,
        conn: ConnId,
        session: SessionRef,
        login: LoginState,
    ) -> Result<(), EngineError> {
        self.conn_mut(conn)?.set_login(session, LoginState::Done);
        self.walked.walk_login(match login {
            LoginState::AwaitingToken(_) => LoginEvent::FailFirst,
            _ => LoginEvent::Fail,
        });
        let waiting = match login {
            LoginState::AwaitingToken(op) => Some(op),
            _ => self
                .leg_in_hand(conn, session)
                .or_else(|| self.next_leg(conn, session)),
        };
        // The server asked for more after the last recorded leg was over: nobody waits for that.
        let Some(op) = waiting else { return Ok(()) };
        self.diverged(op, Divergence::LoginFailed);
        *self.session_slot(session)? = Slot::Failed(op);
        if self.state_of(op).is_some_and(super::OpState::in_flight) {
            self.lose(op)?;
        } else if self.state_of(op) == Some(super::OpState::Queued) {
            self.conn_mut(conn)?.queue.retain(|it| *it != op);
            self.cascade(op, op)?;
        }
        self.drain(conn)
    }

    /// The recorded leg that is on the wire, answered with "more" where the recording was content.
    fn leg_in_hand(&self, conn: ConnId, session: SessionRef) -> Option<OpId> {
        self.legs(conn, session)
            .find(|op| self.state_of(*op).is_some_and(super::OpState::in_flight))
    }

    fn next_leg(&self, conn: ConnId, session: SessionRef) -> Option<OpId> {
        self.legs(conn, session)
            .find(|op| self.state_of(*op) != Some(super::OpState::Settled))
    }

    fn legs(&self, conn: ConnId, session: SessionRef) -> impl Iterator<Item = OpId> + '_ {
        let legs = self.plan.legs.get(&(conn, session));
        legs.into_iter().flatten().copied()
    }

    /// The session that the frame's token belongs to.
    pub(super) fn login_session(&self, op: OpId) -> Result<Option<SessionRef>, EngineError> {
        let planned = self.planned(op)?;
        let is_leg = planned.cmd == Command::SESSION_SETUP;
        Ok(planned.session.filter(|_| is_leg))
    }

    fn session_slot(&mut self, session: SessionRef) -> Result<&mut Slot<u64>, EngineError> {
        let unknown = EngineError::Unknown {
            what: "session",
            number: session.0,
        };
        self.sessions.get_mut(session.index()).ok_or(unknown)
    }

    /// Length of the token that waits to go out with `op`.
    pub(super) fn token_len(&self, op: &PlanOp<'_>) -> u32 {
        let conn = self.conns.get(op.conn.index());
        match op.session.and_then(|session| conn?.login(session)) {
            Some(LoginState::HasToken(len)) => len,
            _ => 0,
        }
    }

    /// Repeats the recorded leg `op`: the server wants one more than the recording has.
    fn send_extra_leg(&mut self, conn: ConnId, op: OpId) -> Result<(), EngineError> {
        self.resend(conn, op)?;
        self.login_sent(op, LoginEvent::Repeat)
    }

    /// A SESSION_SETUP is on its way.
    pub(super) fn login_sent(&mut self, op: OpId, how: LoginEvent) -> Result<(), EngineError> {
        if let Some(session) = self.login_session(op)? {
            self.walked.walk_login(how);
            let conn = self.planned(op)?.conn;
            self.conn_mut(conn)?
                .set_login(session, LoginState::InFlight);
        }
        Ok(())
    }

    /// A SESSION_SETUP was answered. True when the operation is over with it.
    pub(super) fn login_answered(
        &mut self,
        conn: ConnId,
        op: OpId,
        status: NtStatus,
        session_id: u64,
    ) -> Result<bool, EngineError> {
        let Some(session) = self.login_session(op)? else {
            return Ok(true);
        };
        let planned = self.planned(op)?;
        let (recorded, ends) = (planned.answer, planned.rare.login_ends);
        // Whether an answer that was not captured asked for more is told by the legs that follow.
        let follows =
            self.config.headers == Headers::Lax || self.legs(conn, session).any(|leg| leg > op);
        let recorded_more = recorded.map_or(follows, |it| {
            it.status == NtStatus::MORE_PROCESSING_REQUIRED
        });
        if status == NtStatus::MORE_PROCESSING_REQUIRED {
            if !recorded_more && self.has_no_end(op)? {
                self.walked.walk_login(LoginEvent::Fail);
                self.conn_mut(conn)?.set_login(session, LoginState::Done);
                *self.session_slot(session)? = Slot::Failed(op);
                return Ok(true);
            }
            self.walked.walk_login(LoginEvent::More);
            *self.session_slot(session)? = Slot::Held(session_id);
            let step = AuthStep::Continue;
            self.out.push_back(Effect::Authenticate {
                conn,
                session,
                step,
            });
            return Ok(recorded_more);
        }
        self.walked.walk_login(LoginEvent::Content);
        self.conn_mut(conn)?.set_login(session, LoginState::Done);
        if status.is_error() {
            // Where the recorded login failed too, what comes after it is as recorded: the session
            // goes on elsewhere ([MS-SMB2] 3.2.5.3.3) or is refused from now on (3.3.5.5.3).
            let as_recorded = ends.is_some_and(NtStatus::is_error);
            let slot = self.session_slot(session)?;
            if !(as_recorded && matches!(slot, Slot::Held(_))) {
                *slot = Slot::Failed(op);
            }
        } else {
            *self.session_slot(session)? = Slot::Held(session_id);
        }
        Ok(true)
    }

    /// Whether the server has asked for more again and again.
    fn has_no_end(&self, op: OpId) -> Result<bool, EngineError> {
        let run = self.runs.get(op).ok_or(EngineError::unknown_op(op))?;
        Ok(self.config.patience == Patience::Once && run.repeats >= MOST_REPEATS)
    }

    /// `op` was in flight and will not be answered: if it is a leg of a login, that is over, and
    /// the session with it, unless the session lives on another connection.
    pub(super) fn login_lost(&mut self, op: OpId, cause: OpId) -> Result<(), EngineError> {
        let Some(session) = self.login_session(op)? else {
            return Ok(());
        };
        let conn = self.planned(op)?.conn;
        let done = Some(LoginState::Done);
        if self.config.patience == Patience::Twice || self.conn(conn)?.login(session) == done {
            return Ok(());
        }
        self.walked.walk_login(LoginEvent::Fail);
        self.conn_mut(conn)?.set_login(session, LoginState::Done);
        let mut others = (0..).map(ConnId).zip(&self.conns);
        if !others.any(|(id, it)| id != conn && it.login(session) == done) {
            *self.session_slot(session)? = Slot::Failed(cause);
        }
        Ok(())
    }

    /// Absorbs the recorded legs that a login over already does not need.
    pub(super) fn is_absorbed_difference(
        &self,
        op: OpId,
        seen: NtStatus,
    ) -> Result<bool, EngineError> {
        let planned = self.planned(op)?;
        let recorded = planned.answer.map(|it| it.status);
        Ok(planned.cmd == Command::SESSION_SETUP
            && recorded == Some(NtStatus::MORE_PROCESSING_REQUIRED)
            && planned.rare.login_ends == Some(seen))
    }
}

/// How often a leg is sent again because the server wants more: no mechanism needs as many.
const MOST_REPEATS: u8 = 16;
