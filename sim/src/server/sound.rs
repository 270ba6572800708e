//! What holds in every run of the model, whatever clients and networks do: who looks on can ask.

use super::Server;
use super::waiting::Timer;

impl Server {
    /// The first thing that does not hold, in words: no handle outlives its session, its tree or its connection
    /// but a durable one ([MS-SMB2] 3.3.7.1), and every break ends, by its acknowledgement or by a timer
    /// (3.3.6.1, 3.3.6.5).
    #[must_use]
    pub fn unsound(&self) -> Option<String> {
        self.homeless_open().or_else(|| self.endless_break())
    }

    fn homeless_open(&self) -> Option<String> {
        self.opens.iter().find_map(|(id, open)| {
            let Some(conn) = open.conn else {
                let waits = open.durable.is_some() && self.timers.runs(Timer::Durable(*id));
                return (!waits).then(|| format!("{id:?} is nobody's, and will not be closed"));
            };
            let session = self.sessions.get(&open.session);
            let lives = session.filter(|session| session.is_on(conn));
            let Some(session) = lives else {
                return Some(format!("{id:?} has outlived its session"));
            };
            if !self.conns.contains_key(&conn) {
                return Some(format!("{id:?} has outlived its connection"));
            }
            let tree = session.trees.contains_key(&open.tree);
            (!tree).then(|| format!("{id:?} has outlived its tree"))
        })
    }

    fn endless_break(&self) -> Option<String> {
        let leases = self.leases.iter().filter(|(_, lease)| lease.breaking);
        let mut leases = leases.map(|(id, _)| Timer::Lease(*id));
        let opens = self
            .opens
            .iter()
            .filter(|(_, open)| open.breaking.is_some());
        let mut opens = opens.map(|(id, _)| Timer::Oplock(*id));
        let endless = |timer: &Timer| !self.timers.runs(*timer);
        let found = leases.find(endless).or_else(|| opens.find(endless));
        found.map(|timer| format!("the break that {timer:?} is to end has no timer"))
    }
}
