//! What differed, by what a user would call it.

use serde::Serialize;
use serde_json::Value;
use smbench_core::engine::RecordedOp;
use smbench_core::event::Divergence;
use smbench_core::ids::OpId;
use smbench_core::smb2::{Command, NtStatus};

/// What a difference is to a user. Worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Other data, or less of it.
    LostData,
    /// No answer, no connection, or no credits to go on.
    LostConnection,
    /// An answer whose header, signature or form is wrong.
    WrongHeader,
    /// Another status, size, dialect or create action.
    AnotherAnswer,
    /// Another oplock or lease, or another break of one.
    AnotherGrant,
    /// Identity, rights, a service that is not there: nothing that tells of the server.
    Environment,
    /// It could not run because of another one.
    Consequence,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::LostData,
        Self::LostConnection,
        Self::WrongHeader,
        Self::AnotherAnswer,
        Self::AnotherGrant,
        Self::Environment,
        Self::Consequence,
    ];

    /// What `divergence` of `op` is.
    pub(crate) fn of(divergence: &Divergence, op: Option<RecordedOp>) -> Self {
        let of_service = op.is_some_and(is_of_service);
        match divergence {
            Divergence::Status { .. } | Divergence::Data { .. } | Divergence::Size { .. }
                if of_service =>
            {
                Self::Environment
            }
            Divergence::Status { recorded, seen } => match op {
                Some(op) if is_environment(op.command, *recorded, *seen) => Self::Environment,
                _ => Self::AnotherAnswer,
            },
            Divergence::Data { .. } => Self::LostData,
            Divergence::Size { recorded, seen } => {
                let moves =
                    op.is_some_and(|op| matches!(op.command, Command::READ | Command::WRITE));
                match moves && seen < recorded {
                    true => Self::LostData,
                    false => Self::AnotherAnswer,
                }
            }
            Divergence::NoResponse | Divergence::NoCredits | Divergence::ConnectionLost { .. } => {
                Self::LostConnection
            }
            Divergence::BadSignature | Divergence::Malformed | Divergence::WrongHeader { .. } => {
                Self::WrongHeader
            }
            Divergence::Grant { .. }
            | Divergence::UnexpectedBreak { .. }
            | Divergence::MissingBreak
            | Divergence::BreakLevel { .. } => Self::AnotherGrant,
            Divergence::LoginFailed => Self::Environment,
            _ => Self::AnotherAnswer,
        }
    }

    /// What it is that two runs differ in `what` of an operation: it was `a` in one and `b` in the other.
    pub(crate) fn of_difference(
        what: &str,
        a: &Value,
        b: &Value,
        command: Option<Command>,
    ) -> Self {
        match what {
            "data" => Self::LostData,
            "size" => {
                let moves = matches!(command, Some(Command::READ | Command::WRITE));
                match moves && b.as_u64() < a.as_u64() {
                    true => Self::LostData,
                    false => Self::AnotherAnswer,
                }
            }
            "connection_lost" | "no_response" | "no_credits" => Self::LostConnection,
            "malformed" | "bad_signature" | "wrong_header" => Self::WrongHeader,
            "grant" | "missing_break" | "unexpected_break" | "unexpected_breaks"
            | "break_level" => Self::AnotherGrant,
            // A break notification, or what answers it.
            "presence" if command == Some(Command::OPLOCK_BREAK) => Self::AnotherGrant,
            "login_failed" => Self::Environment,
            "status" => {
                let status = |value: &Value| serde_json::from_value::<NtStatus>(value.clone()).ok();
                match (command, status(a), status(b)) {
                    (Some(command), Some(a), Some(b)) if is_environment(command, a, b) => {
                        Self::Environment
                    }
                    _ => Self::AnotherAnswer,
                }
            }
            _ => Self::AnotherAnswer,
        }
    }

    /// In words, of several.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::LostData => "lost data",
            Self::LostConnection => "lost connection",
            Self::WrongHeader => "wrong header",
            Self::AnotherAnswer => "another answer",
            Self::AnotherGrant => "another grant",
            Self::Environment => "environment",
            Self::Consequence => "consequence",
        }
    }
}

/// Whether an answer itself is unequal: breaks that come or do not come are no answers.
pub(crate) const fn is_of_answer(divergence: &Divergence) -> bool {
    !matches!(
        divergence,
        Divergence::UnexpectedBreak { .. }
            | Divergence::MissingBreak
            | Divergence::BreakLevel { .. }
    )
}

/// Who may do what is asked when a session, a tree or an open is made ([MS-SMB2] 3.3.5.5, 3.3.5.7;
/// [MS-FSA] 2.1.5.1.2.1): there another user, or other rights, show. Afterwards the rights are those of
/// the handle, and a denial is the server's answer. What a pipe or a referral is answered with is a
/// matter of the service behind it.
fn is_environment(command: Command, recorded: NtStatus, seen: NtStatus) -> bool {
    let denied = |status: NtStatus| DENIALS.contains(&status) || status.is_logon_failure();
    match command {
        Command::SESSION_SETUP | Command::TREE_CONNECT | Command::CREATE
            if denied(recorded) != denied(seen) =>
        {
            true
        }
        Command::TREE_CONNECT => seen == NtStatus::BAD_NETWORK_NAME,
        // Another namespace of DFS, or none. [MS-DFSC] 3.2.4.1
        Command::CREATE => (recorded == NOT_COVERED) != (seen == NOT_COVERED),
        _ => false,
    }
}

/// Whether an operation is answered by a service behind a pipe. Of a tree of pipes the server decides itself.
pub(crate) fn is_of_service(op: RecordedOp) -> bool {
    op.on_pipe && !matches!(op.command, Command::TREE_CONNECT | Command::TREE_DISCONNECT)
}

const NOT_COVERED: NtStatus = NtStatus::PATH_NOT_COVERED;
/// What a server says to whom it does not let.
const DENIALS: [NtStatus; 3] = [
    NtStatus::ACCESS_DENIED,
    NtStatus::PRIVILEGE_NOT_HELD,
    NtStatus::NETWORK_ACCESS_DENIED,
];

/// A difference, as `--json` tells it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// The operation.
    pub(crate) operation: OpId,
    /// What it is to a user.
    pub(crate) kind: Kind,
    /// The kind of divergence; `cascaded` of a consequence.
    pub(crate) what: &'static str,
    pub(crate) command: String,
    pub(crate) path: String,
    pub(crate) client: u32,
    /// Number of its request's packet in the capture.
    pub(crate) frame: u64,
    /// What was recorded, decoded.
    pub(crate) recorded: Option<String>,
    /// What was seen, decoded.
    pub(crate) seen: Option<String>,
    /// The operation that it is a consequence of.
    pub(crate) cause: Option<OpId>,
    /// How many operations could not run because of it.
    pub(crate) consequences: u64,
    /// Why it is allowed, where a rule allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allowed: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(command: Command, on_pipe: bool) -> Option<RecordedOp> {
        Some(RecordedOp {
            command,
            is_request: true,
            is_answered: true,
            is_reconstructed: false,
            on_pipe,
            is_modelled: true,
            latency_us: 0,
            charge: 1,
        })
    }

    fn status(recorded: NtStatus, seen: NtStatus) -> Divergence {
        Divergence::Status { recorded, seen }
    }

    #[test]
    fn rights_show_when_something_is_opened_and_not_afterwards() {
        let denied = status(NtStatus::SUCCESS, NtStatus::ACCESS_DENIED);
        assert_eq!(
            Kind::of(&denied, op(Command::CREATE, false)),
            Kind::Environment
        );
        assert_eq!(
            Kind::of(&denied, op(Command::WRITE, false)),
            Kind::AnotherAnswer
        );
        let let_in = status(NtStatus::ACCESS_DENIED, NtStatus::SUCCESS);
        assert_eq!(
            Kind::of(&let_in, op(Command::CREATE, false)),
            Kind::Environment
        );
        let missing = status(NtStatus::SUCCESS, NtStatus::OBJECT_NAME_NOT_FOUND);
        assert_eq!(
            Kind::of(&missing, op(Command::CREATE, false)),
            Kind::AnotherAnswer
        );
        assert_eq!(
            Kind::of(&missing, op(Command::CREATE, true)),
            Kind::Environment
        );
    }

    /// Links of DFS are not made with files: another namespace has others.
    #[test]
    fn a_link_of_dfs_that_is_not_there_is_the_environment() {
        let not_covered = NtStatus::PATH_NOT_COVERED;
        for (recorded, seen) in [
            (not_covered, NtStatus::OBJECT_PATH_NOT_FOUND),
            (NtStatus::SUCCESS, not_covered),
        ] {
            let differs = status(recorded, seen);
            let kind = |command| Kind::of(&differs, op(command, false));
            assert_eq!(kind(Command::CREATE), Kind::Environment);
            assert_eq!(kind(Command::SET_INFO), Kind::AnotherAnswer);
        }
    }

    #[test]
    fn fewer_bytes_are_lost_data_and_more_are_another_answer() {
        let size = |recorded, seen| Divergence::Size { recorded, seen };
        assert_eq!(
            Kind::of(&size(9, 8), op(Command::READ, false)),
            Kind::LostData
        );
        assert_eq!(
            Kind::of(&size(8, 9), op(Command::READ, false)),
            Kind::AnotherAnswer
        );
        assert_eq!(
            Kind::of(&size(9, 8), op(Command::CREATE, false)),
            Kind::AnotherAnswer
        );
        assert_eq!(
            Kind::of(&size(9, 8), op(Command::READ, true)),
            Kind::Environment
        );
    }
}
