//! Whether the header of an answer says of where it belongs what that of its request did.
//!
//! [MS-SMB2] 3.2.5.1: an answer is found by its MessageId. What else it says has to fit.

use crate::{
    event::{Divergence, HeaderField},
    smb2::{Command, Header, HeaderFlags},
};

/// What the header of a request that is on the wire says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sent {
    command: Command,
    session: u64,
    /// None in asynchronous ones.
    tree: Option<u32>,
    related: bool,
}

impl Sent {
    /// Of a request as it goes out; none of an SMB1 one.
    pub(super) fn of(request: &[u8]) -> Option<Self> {
        let header = Header::decode(request).ok()?;
        Some(Self {
            command: header.command,
            session: header.session_id.0,
            tree: header.tree_id().map(|tree| tree.0),
            related: header.flags.contains(HeaderFlags::RELATED),
        })
    }

    /// The first thing in which the header of the answer does not fit.
    pub(super) fn misfit(self, answer: &Header) -> Option<Divergence> {
        let wrong = |field, sent, seen| Some(Divergence::WrongHeader { field, sent, seen });
        if answer.command != self.command {
            let (sent, seen) = (self.command.0.into(), answer.command.0.into());
            return wrong(HeaderField::Command, sent, seen);
        }
        if !answer.is_response() {
            return wrong(HeaderField::Flags, 1, 0);
        }
        let session = answer.session_id.0;
        // A login is given its session; related requests may name theirs by all ones.
        let given = self.command == Command::SESSION_SETUP && self.session == 0;
        let echoed = self.related && (session == u64::MAX || self.session == u64::MAX);
        if session != self.session && !given && !echoed {
            return wrong(HeaderField::SessionId, self.session, session);
        }
        let (Some(sent), Some(seen)) = (self.tree, answer.tree_id()) else {
            return None; // an asynchronous header has no place for it
        };
        let meaningless = matches!(
            self.command,
            Command::NEGOTIATE
                | Command::SESSION_SETUP
                | Command::LOGOFF
                | Command::TREE_CONNECT
                | Command::ECHO
        );
        let echoed = self.related && (seen.0 == u32::MAX || sent == u32::MAX);
        if seen.0 != sent && !meaningless && !echoed {
            return wrong(HeaderField::TreeId, sent.into(), seen.0.into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smb2::{SessionId, TreeId};

    fn header(command: Command, session: u64, tree: u32, flags: HeaderFlags) -> Header {
        let mut header = Header {
            command,
            session_id: SessionId(session),
            ..Header::default()
        };
        header.set_tree_id(TreeId(tree));
        header.flags = flags;
        header
    }

    fn sent(command: Command, session: u64, tree: u32, flags: HeaderFlags) -> Sent {
        let mut bytes = Vec::new();
        header(command, session, tree, flags).encode(&mut bytes);
        bytes[4..6].copy_from_slice(&64_u16.to_le_bytes());
        Sent::of(&bytes).unwrap()
    }

    fn field(sent: Sent, answer: &Header) -> Option<HeaderField> {
        sent.misfit(answer).map(|divergence| match divergence {
            Divergence::WrongHeader { field, .. } => field,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_an_answer_says_has_to_fit() {
        let (none, response) = (HeaderFlags::default(), HeaderFlags::SERVER_TO_REDIR);
        let read = sent(Command::READ, 7, 3, none);
        let answer = |command, session, tree| header(command, session, tree, response);
        assert_eq!(field(read, &answer(Command::READ, 7, 3)), None);
        assert_eq!(
            field(read, &answer(Command::WRITE, 7, 3)),
            Some(HeaderField::Command)
        );
        assert_eq!(
            field(read, &answer(Command::READ, 8, 3)),
            Some(HeaderField::SessionId)
        );
        assert_eq!(
            field(read, &answer(Command::READ, 7, 4)),
            Some(HeaderField::TreeId)
        );
        assert_eq!(
            field(read, &header(Command::READ, 7, 3, none)),
            Some(HeaderField::Flags)
        );
        let asynchronous = header(Command::READ, 7, 9, response | HeaderFlags::ASYNC);
        assert_eq!(field(read, &asynchronous), None);
    }

    #[test]
    fn a_login_is_given_its_session_and_a_tree_its_id() {
        let (none, response) = (HeaderFlags::default(), HeaderFlags::SERVER_TO_REDIR);
        let login = sent(Command::SESSION_SETUP, 0, 0, none);
        assert_eq!(
            field(login, &header(Command::SESSION_SETUP, 5, 0, response)),
            None
        );
        let second = sent(Command::SESSION_SETUP, 5, 0, none);
        let other = header(Command::SESSION_SETUP, 6, 0, response);
        assert_eq!(field(second, &other), Some(HeaderField::SessionId));
        let connect = sent(Command::TREE_CONNECT, 5, 0, none);
        assert_eq!(
            field(connect, &header(Command::TREE_CONNECT, 5, 1, response)),
            None
        );
        let related = sent(Command::CLOSE, 5, 1, HeaderFlags::RELATED);
        let echoed = header(Command::CLOSE, u64::MAX, u32::MAX, response);
        assert_eq!(field(related, &echoed), None);
    }
}
