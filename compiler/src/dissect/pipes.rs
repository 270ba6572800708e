//! What clients call over pipes, as far as all that they sent was captured.
//!
//! An open of a pipe has its [`Conversation`] from the answer to its CREATE on. One that is found
//! without it was in use before the capture, or is forgotten: it is unreadable until a binding.

use std::collections::BTreeMap;

use smbench_core::{
    ids::{OpId, OpenRef, SessionRef},
    rpc::{Call, Conversation},
    smb2::{Channel, Fsctl, Request},
    workload::Operation,
};

use super::Dissector;
use crate::{capture::Direction, map::Set};

/// An open of a pipe.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Pipe {
    /// That a CREATE of the same compound may make.
    Created(OpId),
    Open(OpenRef),
}

/// What is sent over one.
#[derive(Debug, Default)]
struct Talk {
    conversation: Conversation,
    session: Option<SessionRef>,
    /// The connection that it was used on last.
    conn: usize,
}

/// All that are open.
#[derive(Debug, Default)]
pub(super) struct Pipes(BTreeMap<Pipe, Talk>);

impl Pipes {
    /// Keeps what is sent over a pipe; of too many the oldest are forgotten.
    fn keep(&mut self, pipe: Pipe, talk: Talk) {
        if self.0.len() >= PIPES {
            self.0.pop_first();
        }
        self.0.insert(pipe, talk);
    }

    /// A CREATE was answered with `open`, of a pipe.
    pub(super) fn opened(&mut self, create: OpId, open: OpenRef, conn: usize, session: SessionRef) {
        let begun = self.0.remove(&Pipe::Created(create));
        if self.0.contains_key(&Pipe::Open(open)) {
            return;
        }
        let fresh = || Talk {
            session: Some(session),
            conn,
            ..Talk::default()
        };
        self.keep(Pipe::Open(open), begun.unwrap_or_else(fresh));
    }

    /// An open was closed, of a pipe or of something else.
    pub(super) fn closed(&mut self, open: OpenRef) {
        self.0.remove(&Pipe::Open(open));
    }

    /// A connection is over.
    pub(super) fn ended(&mut self, conn: usize) {
        self.0.retain(|_, talk| talk.conn != conn);
    }

    fn talk(&mut self, pipe: Pipe) -> &mut Talk {
        if !self.0.contains_key(&pipe) {
            let mut talk = Talk::default();
            if matches!(pipe, Pipe::Open(_)) {
                talk.conversation.lose();
            }
            self.keep(pipe, talk);
        }
        self.0.entry(pipe).or_default()
    }
}

impl Dissector {
    /// The calls in what `request` sends over a pipe, the request being that of `op`. `bulk` is its
    /// WRITE data; `create` is the operation of the same compound that may make the pipe's open.
    pub(super) fn calls(
        &mut self,
        conn: usize,
        op: &Operation,
        request: &Request,
        bulk: Option<&[u8]>,
        create: Option<OpId>,
    ) -> Vec<Call> {
        let (bytes, known) = match request {
            Request::Write(it) => (bulk.unwrap_or_default(), it.channel == Channel::NONE),
            Request::Ioctl(it) if it.ctl_code == Fsctl::PIPE_TRANSCEIVE => {
                (it.input.as_slice(), true)
            }
            _ => return Vec::new(),
        };
        let pipe = op.open.map(Pipe::Open).or(create.map(Pipe::Created));
        let tree = op.tree.and_then(|at| self.workload.trees.get(at.index()));
        // Of a tree whose set-up is not captured its pipes tell what it is.
        let is_pipe = tree.is_some_and(|tree| tree.holds_pipes())
            || matches!(request, Request::Ioctl(_))
            || pipe.is_some_and(|pipe| self.pipes.0.contains_key(&pipe));
        if !is_pipe {
            return Vec::new();
        }
        let Some(pipe) = pipe else {
            return vec![Call::UNREADABLE];
        };
        let talk = self.pipes.talk(pipe);
        (talk.conn, talk.session) = (conn, op.session);
        if op.cut || !known {
            talk.conversation.lose();
            return vec![Call::UNREADABLE];
        }
        talk.conversation.feed(bytes)
    }

    /// Something that was sent on a connection is not known: it may have gone to any of its pipes.
    pub(super) fn missed(&mut self, conn: usize, dir: Direction) {
        if dir != Direction::ClientToServer {
            return;
        }
        if self.pipes.0.is_empty() {
            return;
        }
        let sessions = self.conns.get(conn).map(|it| it.sessions.values());
        let sessions: Set<SessionRef> = sessions.into_iter().flatten().copied().collect();
        let is_here = |talk: &Talk| {
            talk.conn == conn || talk.session.is_some_and(|it| sessions.contains(&it))
        };
        for talk in self.pipes.0.values_mut().filter(|talk| is_here(talk)) {
            talk.conversation.lose();
        }
    }
}

/// So many pipes are followed at once.
const PIPES: usize = 1 << 10;
