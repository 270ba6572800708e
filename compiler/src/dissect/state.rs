//! What is open on the captured wire: connections, sessions, trees, handles.

use std::{net::IpAddr, sync::Arc};

use smbench_core::{
    ids::{OpId, OpenRef, SessionRef, TreeRef},
    smb2::{Command, FileId, Guid},
};

use super::Stamp;
use crate::{map::Map, secrets::Unsealer};

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
    pub(super) unsealer: Option<Unsealer>,
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
}

impl Conn {
    pub(super) fn new(client: IpAddr, server: IpAddr, unsealer: Option<Unsealer>) -> Self {
        Self {
            client,
            guid: None,
            server,
            unsealer,
            pending: Map::default(),
            early: Map::default(),
            asynchronous: Map::default(),
            sessions: Map::default(),
            requests: 0,
        }
    }
}

/// What belongs to a session, by ids of the wire. What was closed stays, as clients may use it on.
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
    pub(super) opens: Vec<OpenState>,
    /// Names of opens.
    pub(super) names: NameList,
    /// The latest open of a server with that id, for durable reconnects.
    pub(super) durable: Map<(IpAddr, FileId), OpenRef>,
    /// The operation that asked for a resume key.
    pub(super) resume_keys: Map<[u8; 24], OpId>,
    pub(super) principals: Map<String, u32>,
}

impl State {
    pub(super) fn session(&mut self, session: SessionRef) -> Option<&mut SessionState> {
        self.sessions.get_mut(session.index())
    }

    pub(super) fn open(&self, open: OpenRef) -> Option<&OpenState> {
        self.opens.get(open.index())
    }
}
