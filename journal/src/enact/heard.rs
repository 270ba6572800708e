//! What came of a script, and in what two servers differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use smbench_core::{
    event::NetFailure,
    ids::ConnId,
    smb2::{Command, NtStatus},
};

use super::script::RequestKey;

/// What became of a request that went out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fate {
    /// Its command.
    pub command: Command,
    /// On which connection.
    pub conn: ConnId,
    /// The status of its final answer.
    pub status: Option<NtStatus>,
    /// It was waited for in vain.
    pub hung: bool,
}

/// A connection that ended, and not by us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// How.
    pub reason: NetFailure,
    /// Requests that had gone out on it; none where it could not be opened.
    pub sent: u64,
    /// The last of them.
    pub last: Option<RequestKey>,
}

/// What a server made of a script.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Requests that went out.
    pub requests: BTreeMap<RequestKey, Fate>,
    /// Connections that ended, and not by us.
    pub ended: BTreeMap<ConnId, Ended>,
    /// Requests for which there were no credits.
    pub starved: BTreeSet<RequestKey>,
    /// Lines of the script that were waited for in vain: notifications and ends of connections.
    pub vain: BTreeSet<usize>,
    /// A login could not go on on our side.
    pub login_failed: bool,
    /// It ended before the script did, since the server was silent again and again.
    pub gave_up: bool,
}

impl Heard {
    /// The status that a request was answered with.
    #[must_use]
    pub fn status(&self, key: &RequestKey) -> Option<NtStatus> {
        self.requests.get(key)?.status
    }

    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        let all = self.requests.values();
        all.filter(|fate| fate.status.is_some()).count()
    }
}

/// A way in which a server did otherwise than the other one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It ended a connection, or did not let one be opened.
    Disconnect,
    /// It did not answer in time.
    Hang,
    /// It gave no credits to go on with.
    NoCredits,
    /// It answered with another status.
    Status,
}

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Difference {
    /// In what.
    pub kind: Kind,
    /// On which connection.
    pub conn: ConnId,
    /// The request; the last one of a connection that ended; none where nothing had gone out on it.
    pub key: Option<RequestKey>,
    /// Its command.
    pub command: Option<Command>,
    /// What the other server answered.
    pub wanted: Option<NtStatus>,
    /// What this one answered.
    pub seen: Option<NtStatus>,
    /// How the connection ended.
    pub ended: Option<NetFailure>,
}

/// In what `seen` differs from `wanted`, both of one script: what cannot be compared, as it went out to one of
/// them alone or was answered by one that we had already left, is no difference.
#[must_use]
pub fn differences(wanted: &Heard, seen: &Heard) -> Vec<Difference> {
    let ends = seen.ended.iter().filter_map(|(conn, end)| {
        let also = wanted.ended.get(conn);
        let earlier = also.is_none_or(|also| end.sent < also.sent);
        let last = end.last.and_then(|key| seen.requests.get(&key));
        earlier.then(|| Difference {
            kind: Kind::Disconnect,
            conn: *conn,
            key: end.last,
            command: last.map(|it| it.command),
            wanted: end.last.and_then(|key| wanted.status(&key)),
            seen: last.and_then(|it| it.status),
            ended: Some(end.reason),
        })
    });
    let starved = seen.starved.iter().filter_map(|key| {
        let there = wanted.requests.get(key)?;
        Some(Difference {
            kind: Kind::NoCredits,
            conn: there.conn,
            key: Some(*key),
            command: Some(there.command),
            wanted: there.status,
            seen: None,
            ended: None,
        })
    });
    let answers = seen.requests.iter().filter_map(|(key, here)| {
        let wanted = wanted.status(key)?;
        let kind = match here.status {
            None if here.hung => Kind::Hang,
            Some(status) if !is_alike(here.command, wanted, status) => Kind::Status,
            _ => return None,
        };
        Some(Difference {
            kind,
            conn: here.conn,
            key: Some(*key),
            command: Some(here.command),
            wanted: Some(wanted),
            seen: here.status,
            ended: None,
        })
    });
    ends.chain(starved).chain(answers).collect()
}

/// Whether two statuses say the same. How many legs a login has is a matter of the mechanism.
fn is_alike(command: Command, one: NtStatus, other: NtStatus) -> bool {
    let goes_on =
        |status: NtStatus| status == NtStatus::MORE_PROCESSING_REQUIRED || !status.is_error();
    one == other || command == Command::SESSION_SETUP && goes_on(one) && goes_on(other)
}

#[cfg(test)]
mod tests {
    use smbench_core::ids::OpId;

    use super::*;

    const CONN: ConnId = ConnId(3);

    fn heard(fates: &[(u32, Option<NtStatus>, bool)]) -> Heard {
        let fates = fates.iter().map(|(op, status, hung)| {
            let fate = Fate {
                command: Command::CREATE,
                conn: CONN,
                status: *status,
                hung: *hung,
            };
            (RequestKey::Op(OpId(*op)), fate)
        });
        Heard {
            requests: fates.collect(),
            ..Heard::default()
        }
    }

    fn ended(sent: u64) -> BTreeMap<ConnId, Ended> {
        let end = Ended {
            reason: NetFailure::Eof,
            sent,
            last: Some(RequestKey::Op(OpId(0))),
        };
        BTreeMap::from([(CONN, end)])
    }

    fn kinds(wanted: &Heard, seen: &Heard) -> Vec<Kind> {
        let found = differences(wanted, seen);
        found.into_iter().map(|it| it.kind).collect()
    }

    #[test]
    fn what_only_one_was_asked_or_answered_is_no_difference() {
        let (ok, denied) = (Some(NtStatus::SUCCESS), Some(NtStatus::ACCESS_DENIED));
        let wanted = heard(&[(0, ok, false), (1, None, true), (2, denied, false)]);
        assert_eq!(kinds(&wanted, &wanted), []);
        assert_eq!(
            kinds(&wanted, &heard(&[(0, None, false), (1, ok, false)])),
            []
        );
        assert_eq!(kinds(&wanted, &heard(&[(7, denied, false)])), []);
        let seen = heard(&[(0, None, true), (1, None, true), (2, ok, false)]);
        assert_eq!(kinds(&wanted, &seen), [Kind::Hang, Kind::Status]);
    }

    #[test]
    fn an_end_is_a_difference_where_the_other_came_further() {
        let with = |sent| Heard {
            ended: ended(sent),
            ..heard(&[(0, Some(NtStatus::SUCCESS), false)])
        };
        let never = heard(&[(0, Some(NtStatus::SUCCESS), false)]);
        assert_eq!(kinds(&never, &with(5)), [Kind::Disconnect]);
        assert_eq!(kinds(&with(6), &with(5)), [Kind::Disconnect]);
        assert_eq!(kinds(&with(5), &with(5)), []);
        assert_eq!(kinds(&with(5), &never), []);
    }

    #[test]
    fn a_login_may_have_other_legs() {
        let more = NtStatus::MORE_PROCESSING_REQUIRED;
        assert!(is_alike(Command::SESSION_SETUP, more, NtStatus::SUCCESS));
        assert!(!is_alike(Command::CREATE, more, NtStatus::SUCCESS));
        let failed = NtStatus::LOGON_FAILURE;
        assert!(!is_alike(Command::SESSION_SETUP, more, failed));
    }
}
