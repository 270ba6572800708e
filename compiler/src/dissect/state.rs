//! What is open on the captured wire: connections, sessions, trees, handles.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use smbench_core::{
    ids::{OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, FileId, Guid},
};

use super::Stamp;
use crate::{
    map::Map,
    paged::{Bytes, List, Record, Scratch},
    secrets::Unsealer,
};

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) op: OpId,
    pub(super) command: Command,
    pub(super) time_ns: u64,
    pub(super) interim_ns: Option<u64>,
    pub(super) credits: u32,
    /// Later operations of its compound that use the handle it may give.
    pub(super) users: Vec<OpId>,
}

/// A response that came before its request, in captures that mix up the two directions.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) stamp: Stamp,
    pub(super) bytes: Vec<u8>,
    pub(super) wire_len: usize,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) client: IpAddr,
    /// ClientGuid of its NEGOTIATE, unless it is zero.
    pub(super) guid: Option<Guid>,
    pub(super) server: IpAddr,
    pub(super) unsealer: Option<Box<Unsealer>>,
    /// By MessageId.
    pub(super) pending: Map<u64, Pending>,
    /// Responses without requests, by MessageId.
    pub(super) early: Map<u64, Vec<Early>>,
    /// Operations by the AsyncId of their interim response.
    pub(super) asynchronous: Map<u64, OpId>,
    /// Sessions set up on, or bound to, this connection.
    pub(super) sessions: Map<u64, SessionRef>,
    /// SMB2 requests so far.
    pub(super) requests: u64,
    /// It was set up before the capture began; known with its first request.
    pub(super) midway: Option<bool>,
    /// Responses so far: with none, one direction was captured.
    pub(super) responses: u64,
    /// What negotiates its dialect is there: captured, or put before its first use.
    pub(super) negotiated: bool,
}

impl Conn {
    pub(super) fn new(client: IpAddr, server: IpAddr, unsealer: Option<Unsealer>) -> Self {
        Self {
            client,
            guid: None,
            server,
            unsealer: unsealer.map(Box::new),
            pending: Map::default(),
            early: Map::default(),
            asynchronous: Map::default(),
            sessions: Map::default(),
            requests: 0,
            midway: None,
            responses: 0,
            negotiated: false,
        }
    }
}

/// What belongs to a session, by ids of the wire. What was closed stays for long, as clients may
/// use it on.
#[derive(Debug, Default)]
pub(super) struct SessionState {
    pub(super) trees: Map<u32, TreeRef>,
    /// Tree connects whose answer did not tell the id.
    pub(super) unnamed_trees: Vec<TreeRef>,
    pub(super) opens: Map<FileId, OpenRef>,
    /// Who logged in first, once known.
    pub(super) principal: Option<u32>,
}

/// One open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenState {
    /// Its id on the wire.
    pub(crate) wire: FileId,
    /// The CREATE that made it, when captured.
    pub(crate) create: Option<OpId>,
    pub(crate) tree: Option<TreeRef>,
    /// Place of its first use, of an inferred one.
    pub(crate) first_use: u64,
    /// Number of the name that the CREATE asked for.
    pub(crate) name: Option<u32>,
}

impl Record for OpenState {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.wire.to_bytes());
        self.create.write(out);
        self.tree.map(|it| it.0).write(out);
        self.name.write(out);
        self.first_use.write(out);
    }

    fn read(from: &mut Bytes<'_>) -> Self {
        Self {
            wire: FileId {
                persistent: from.u64(),
                volatile: from.u64(),
            },
            create: Record::read(from),
            tree: Option::<u32>::read(from).map(TreeRef),
            name: Record::read(from),
            first_use: from.u64(),
        }
    }
}

/// An open that was closed.
#[derive(Clone, Copy, Debug)]
struct Closed {
    open: OpenRef,
    session: SessionRef,
    server: IpAddr,
}

/// Names, each once.
#[derive(Debug, Default)]
pub(crate) struct NameList {
    numbers: Map<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl NameList {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = super::index(self.names.len());
        let name: Arc<str> = name.into();
        self.numbers.insert(Arc::clone(&name), number);
        self.names.push(name);
        number
    }

    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(AsRef::as_ref)
    }
}

/// Everything that outlives connections.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sessions: Vec<SessionState>,
    /// The latest session of a server with that id.
    pub(super) by_id: Map<(IpAddr, u64), SessionRef>,
    pub(super) opens: List<OpenState>,
    /// The last that were closed.
    closed: VecDeque<Closed>,
    /// Names of opens.
    pub(super) names: NameList,
    /// The latest open of a server with that id, for durable reconnects.
    pub(super) durable: Map<(IpAddr, FileId), OpenRef>,
    /// The operation that asked for a resume key.
    pub(super) resume_keys: Map<[u8; 24], OpId>,
    pub(super) principals: Map<String, u32>,
}

impl State {
    pub(super) fn new(scratch: &Arc<Scratch>) -> Self {
        Self {
            opens: List::new(Some(scratch)),
            ..Self::default()
        }
    }

    /// An open was closed. The ids of those that were long ago are forgotten.
    pub(super) fn closed(&mut self, open: OpenRef, session: SessionRef, server: IpAddr) {
        self.closed.push_back(Closed {
            open,
            session,
            server,
        });
        if self.closed.len() <= CLOSED {
            return;
        }
        let Some(it) = self.closed.pop_front() else {
            return;
        };
        let Some(wire) = self.open(it.open).map(|open| open.wire) else {
            return;
        };
        if let Some(session) = self.session(it.session)
            && session.opens.get(&wire) == Some(&it.open)
        {
            session.opens.remove(&wire);
            if session.opens.len() < session.opens.capacity() / 8 {
                session.opens.shrink_to_fit();
            }
        }
        let durable = (it.server, wire);
        if self.durable.get(&durable) == Some(&it.open) {
            self.durable.remove(&durable);
        }
    }

    pub(super) fn session(&mut self, session: SessionRef) -> Option<&mut SessionState> {
        self.sessions.get_mut(session.index())
    }

    pub(super) fn open(&mut self, open: OpenRef) -> Option<OpenState> {
        self.opens.get(open.index())
    }
}

/// How many closed opens are still known by their ids.
const CLOSED: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Whatever is open, and whoever reuses the id of what is closed, stays.
    #[test]
    fn only_ids_that_were_closed_long_ago_are_forgotten() {
        let server = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut state = State::default();
        state.sessions.push(SessionState::default());
        let wire = |id: u32| FileId {
            persistent: u64::from(id % 50_000),
            volatile: 1,
        };
        let session = SessionRef(0);
        for id in 0..60_000 {
            state.opens.push(OpenState {
                wire: wire(id),
                create: None,
                tree: None,
                first_use: 0,
                name: None,
            });
            let opens = &mut state.sessions[0].opens;
            opens.insert(wire(id), OpenRef(id));
            state.durable.insert((server, wire(id)), OpenRef(id));
            if !id.is_multiple_of(100) {
                state.closed(OpenRef(id), session, server);
            }
        }
        let known = |id: u32| {
            let of_session = state.sessions[0].opens.get(&wire(id)).copied();
            let durable = state.durable.get(&(server, wire(id))).copied();
            assert_eq!(of_session, durable);
            of_session.map(|it| it.0)
        };
        assert_eq!(known(20_000), Some(20_000), "still open");
        assert_eq!(known(20_001), None, "closed long ago");
        assert_eq!(
            known(5_001),
            Some(55_001),
            "closed long ago, and open again"
        );
        assert_eq!(known(59_999), Some(59_999), "closed just now");
        let left = state.sessions[0].opens.len();
        assert!((CLOSED..CLOSED + 600).contains(&left), "{left}");
    }
}
