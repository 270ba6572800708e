//! Waiting for credits, and asking for them.
//!
//! | a request lacks credits, and in flight is | what is done                                         |
//! |-------------------------------------------|------------------------------------------------------|
//! | something that will be over before long   | it waits, a time-out at most                         |
//! | nothing, or what may wait for ever        | an ECHO asks for what is lacking, once a request     |
//! | the same, and that was in vain            | it is given up: [`Divergence::NoCredits`]            |
//!
//! [`Divergence::NoCredits`]: crate::event::Divergence::NoCredits

use super::{
    Engine, EngineError, Slot,
    config::{Headers, Patience},
    conn::Owner,
    op::OpState,
};
use crate::{
    ids::{ConnId, OpId},
    smb2::{Command, Header},
};

/// Body of an ECHO request. [MS-SMB2] 2.2.28.
const ECHO_BODY: [u8; 4] = [4, 0, 0, 0];

impl Engine {
    /// Asks for the credits that `leader` lacks where nothing in flight will bring any, with an ECHO of the
    /// engine's own and once for each request; whether it did. The recorded client had them: its server granted
    /// them at other places than this one does. [MS-SMB2] 3.2.4.1.2, 3.3.1.2.
    pub(super) fn asks_for_credits(
        &mut self,
        conn: ConnId,
        leader: OpId,
        charge: u32,
    ) -> Result<bool, EngineError> {
        let it = self.conn(conn)?;
        let (held, asked) = (it.credits, it.asked == Some(leader));
        let older = self.config.headers == Headers::Lax;
        if older || asked || held == 0 || self.gives_credits(conn)? {
            return Ok(false);
        }
        let planned = self.planned(leader)?;
        let mut header = Header {
            command: Command::ECHO,
            credit_charge: planned.charge.min(1),
            // The ECHO itself takes one.
            credits: u16::try_from(charge.saturating_sub(held) + 1).unwrap_or(u16::MAX),
            ..Header::default()
        };
        let session = planned.session.and_then(|it| self.sessions.get(it.index()));
        if let Some(Slot::Held(id)) = session {
            header.session_id.0 = *id;
        }
        let it = self.conn_mut(conn)?;
        (it.asked, it.starved) = (Some(leader), false);
        self.send_own(conn, header, &ECHO_BODY)?;
        self.watch_held(leader);
        Ok(true)
    }

    /// `leader` waits for credits, from now on no longer than a time-out.
    pub(super) fn watch_held(&mut self, leader: OpId) {
        if self.config.patience == Patience::Once {
            let at = self.now.plus_nanos(self.config.timeout_ns());
            self.schedule.watch_credits(leader, at);
        }
    }

    /// `op` has waited for credits for a time-out. What is in flight and will be over before long
    /// gives some; nothing else is waited for any longer.
    pub(super) fn held_too_long(&mut self, op: OpId) -> Result<(), EngineError> {
        if self.known_state(op)? != OpState::Queued {
            return Ok(());
        }
        let conn = self.planned(op)?.conn;
        if self.gives_credits(conn)? {
            self.watch_held(op);
            return Ok(());
        }
        self.conn_mut(conn)?.starved = true;
        self.drain(conn)
    }

    /// Whether it makes no sense to wait for credits on `conn`.
    pub(super) fn is_starved(&self, conn: ConnId) -> Result<bool, EngineError> {
        Ok(self.conn(conn)?.starved && !self.gives_credits(conn)?)
    }

    /// Whether something is in flight on `conn` that will be over before long.
    pub(super) fn gives_credits(&self, conn: ConnId) -> Result<bool, EngineError> {
        for flight in self.conn(conn)?.flights.values() {
            let Owner::Op(op) = flight.owner else {
                continue;
            };
            let state = self.known_state(op)?;
            let ends = match self.planned(op)?.answer {
                Some(_) => !self.may_wait(op, state)?,
                None => self.latency_ns(op)?.is_some() && !state.is_pending(),
            };
            if ends {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
