//! What the engine has to do at the moment, for who looks on.

use super::{ConnState, Engine};

/// What is under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Connections that are open.
    pub connections: u64,
    /// Requests on the wire without a final response, the engine's own among them.
    pub in_flight: u64,
    /// Operations whose turn has come and that wait for a connection, a login or credits.
    pub queued: u64,
    /// Credits that the server has granted and that no request has taken.
    pub credits: u64,
    /// Operations that are not over.
    pub unsettled: u64,
}

impl Engine {
    /// What is under way. Looks at every connection.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut load = Load {
            unsettled: self.unsettled as u64,
            ..Load::default()
        };
        for conn in &self.conns {
            load.in_flight += conn.flights.len() as u64;
            load.queued += conn.queue.len() as u64;
            if conn.state == ConnState::Open {
                load.connections += 1;
                load.credits += u64::from(conn.credits);
            }
        }
        load
    }
}
