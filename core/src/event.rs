//! The vocabulary between the engine and whatever drives it: facts in, orders out.
//!
//! An [`Input`] is something that happened and is recorded in the journal before the engine sees
//! it. An [`Effect`] is something the driver must do. There is nothing else: a driver that
//! executes effects and reports inputs faithfully is a complete driver.

mod digest;
mod words;

use serde::{Deserialize, Serialize};

pub use self::{
    digest::EffectsDigest,
    words::{create_action_words, dialect_words, grant_words, status_words},
};
use crate::{
    confine::Refusal,
    frame::{Digest, Frame},
    ids::{ConnId, LogicalTime, OpId, OpenRef, PrincipalRef, SessionRef, ShardId},
    smb2::NtStatus,
};

/// A fact: something that happened outside the engine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Input {
    /// The run begins. The first input of every run, once, at time 0.
    Start,
    /// An [`Effect::Connect`] succeeded.
    Connected {
        /// The connection that is open now.
        conn: ConnId,
    },
    /// An [`Effect::Connect`] failed.
    ConnectFailed {
        /// The connection that could not be opened.
        conn: ConnId,
        /// Why.
        reason: NetFailure,
    },
    /// An open connection ended; never reported for one that the engine itself closed.
    Closed {
        /// The connection that is gone.
        conn: ConnId,
        /// Why.
        reason: NetFailure,
    },
    /// A frame arrived.
    Received {
        /// On which connection.
        conn: ConnId,
        /// What, plain and without bulk data.
        frame: Frame,
        /// How it was protected on the wire, and whether that was in order.
        seal: Seal,
    },
    /// The next security token of a login is ready, or there is none.
    TokenReady {
        /// The connection the login runs on.
        conn: ConnId,
        /// The session that logs in.
        session: SessionRef,
        /// What came of it.
        outcome: TokenOutcome,
    },
    /// The time asked for by the last `WakeAt` has come (or passed: lateness is data).
    Wake,
    /// An operation of another shard reached a milestone that an operation of this one waits for.
    Completed {
        /// The shard that ran it.
        shard: ShardId,
        /// The operation.
        op: OpId,
        /// How far it came.
        milestone: Milestone,
    },
    /// The user asked to stop: nothing new is issued, what is in flight is waited for briefly.
    Stop,
}

/// An order: something the driver must do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Effect {
    /// Open a transport connection. Answered by `Connected` or `ConnectFailed`.
    Connect {
        /// Which; the driver knows its client and server from the workload and the mapping.
        conn: ConnId,
    },
    /// Send one frame. The driver inserts bulk data, signs or encrypts as the session demands.
    Send {
        /// On which connection.
        conn: ConnId,
        /// What, plain, with bulk data by reference.
        frame: Frame,
        /// The session whose login token fills a [`crate::frame::Content::Token`] cut.
        login: Option<SessionRef>,
    },
    /// Produce the next security token of a login. Answered by `TokenReady`. The token received
    /// last (in a NEGOTIATE or SESSION_SETUP response) is with the driver.
    Authenticate {
        /// The connection the login runs on.
        conn: ConnId,
        /// The session that logs in.
        session: SessionRef,
        /// Whether the login begins or goes on.
        step: AuthStep,
    },
    /// Close a connection, after what was sent before has left.
    Close {
        /// Which.
        conn: ConnId,
        /// Whether to end it as the recording did, by a reset instead of a FIN.
        reset: bool,
    },
    /// Something worth telling the user.
    Report(Report),
}

/// Why a connection could not be opened or ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetFailure {
    /// The peer closed it in an orderly way.
    Eof,
    /// The peer reset it.
    Reset,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The address does not resolve or cannot be reached.
    Unreachable,
    /// The peer sent bytes that are no SMB frame, or a frame that could not be decrypted.
    Protocol,
    /// The operating system refused (descriptors, ports, memory).
    Local,
}

/// How a received frame was protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// Neither signed nor encrypted.
    Plain,
    /// Signed, and every signature is right.
    Signed,
    /// A signature is wrong, or one that had to be there is missing: a finding.
    BadSignature,
    /// It came encrypted and authentic.
    Encrypted,
}

/// Whether a login begins or goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthStep {
    /// A new login, with the right credentials.
    Begin,
    /// A new login in another name than the session's user's.
    BeginAs(PrincipalRef),
    /// A new login that the recording shows to have failed: with a wrong password on purpose.
    BeginRefused,
    /// The server sent a token; produce the answer.
    Continue,
}

/// What came of an [`Effect::Authenticate`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOutcome {
    /// A token of this many bytes waits to be sent.
    Ready {
        /// Its length in bytes.
        len: u32,
    },
    /// The security package gave up: wrong token from the server, no credentials for the user.
    Failed,
}

/// How far an operation came.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// Its request was sent.
    Sent,
    /// Its interim response came (or its final one).
    Interim,
    /// Its final response came, or it was given up.
    Response,
}

/// Something the user hears of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum Report {
    /// An operation's request goes out.
    Started {
        /// Which.
        op: OpId,
        /// How much later than its scaled recorded time, and why.
        late: Lateness,
    },
    /// An operation's final response came.
    Finished {
        /// Which.
        op: OpId,
        /// What it said.
        outcome: Outcome,
        /// Nanoseconds from request to final response.
        latency_ns: u64,
    },
    /// A recorded server event (a break notification) took place.
    Observed {
        /// Its line in the workload.
        op: OpId,
    },
    /// The server did not do what it did in the recording.
    Diverged {
        /// The operation.
        op: OpId,
        /// In what way.
        divergence: Divergence,
    },
    /// An operation could not run, because an earlier one diverged.
    Cascaded {
        /// The operation that could not run.
        op: OpId,
        /// The operation that diverged first.
        cause: OpId,
    },
    /// An operation was left out, without anybody's fault.
    Skipped {
        /// Which.
        op: OpId,
        /// Why.
        why: SkipReason,
    },
    /// An operation is not sent: it would reach what the run may not reach.
    Refused {
        /// Which.
        op: OpId,
        /// Why.
        why: Refusal,
    },
    /// The share that a TREE_CONNECT gave is of another kind than the recorded one, or is not to be
    /// used: what belongs to it is not sent.
    TreeRefused {
        /// The TREE_CONNECT.
        op: OpId,
    },
    /// A response that belongs to no request.
    Stray {
        /// The connection it came on.
        conn: ConnId,
        /// Its command.
        command: u16,
        /// Its status.
        status: NtStatus,
    },
    /// The run is over: nothing is in flight and nothing is left to issue.
    Done,
}

/// What a final response said, as far as it is compared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its status.
    pub status: NtStatus,
    /// CREATE: the oplock level granted, or `0x100` plus the bits of the lease state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<u32>,
    /// CREATE: 0 superseded, 1 opened, 2 created, 3 overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_action: Option<u32>,
    /// CREATE: end of file; READ and WRITE: the count; in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// READ: digest of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Digest>,
    /// NEGOTIATE: the dialect chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<u16>,
}

/// Why an operation was left out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// It uses a session, tree or open whose set-up the capture does not hold.
    NotCaptured,
    /// A leg of a login that this run's login did not need.
    Absorbed,
    /// An acknowledgement, and the run withholds them.
    Withheld,
    /// The run was stopped before its turn came.
    Stopped,
    /// Its connection had ended in the recording too.
    Ended,
}

impl SkipReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NotCaptured,
        Self::Absorbed,
        Self::Withheld,
        Self::Stopped,
        Self::Ended,
    ];

    /// The name it is counted under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotCaptured => "not_captured",
            Self::Absorbed => "absorbed",
            Self::Withheld => "withheld",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}

/// How much later than planned an operation was issued, in nanoseconds, by what it waited for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// For operations that must come first and had themselves not been answered by the server:
    /// beyond the time they took in the recording.
    pub causality_ns: u64,
    /// For credits.
    pub credits_ns: u64,
    /// For the connection, the login, or the reconnect: for the server.
    pub server_ns: u64,
    /// For the replayer itself: a wake that came late.
    pub replayer_ns: u64,
    /// For recorded break notifications that did not come, and that the run waited for.
    #[serde(default)]
    pub breaks_ns: u64,
}

impl Lateness {
    /// What it was due to, in nanoseconds, each cause by its name.
    #[must_use]
    pub const fn by_cause(&self) -> [(&'static str, u64); 5] {
        [
            ("causality", self.causality_ns),
            ("credits", self.credits_ns),
            ("server", self.server_ns),
            ("replayer", self.replayer_ns),
            ("breaks", self.breaks_ns),
        ]
    }

    /// The whole, in nanoseconds.
    #[must_use]
    pub const fn total_ns(&self) -> u64 {
        self.causality_ns
            .saturating_add(self.credits_ns)
            .saturating_add(self.server_ns)
            .saturating_add(self.replayer_ns)
            .saturating_add(self.breaks_ns)
    }
}

/// One way in which a server behaved otherwise than in the recording.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "divergence")]
#[non_exhaustive]
pub enum Divergence {
    /// Another status.
    Status {
        /// In the recording.
        recorded: NtStatus,
        /// Now.
        seen: NtStatus,
    },
    /// Another oplock level, or another lease state.
    Grant {
        /// In the recording: an oplock level, or `0x100` + the lease state's bits.
        recorded: u32,
        /// Now, in the same coding.
        seen: u32,
    },
    /// Another create action: 0 superseded, 1 opened, 2 created, 3 overwritten.
    CreateAction {
        /// In the recording.
        recorded: u32,
        /// Now.
        seen: u32,
    },
    /// Another size: end of file at CREATE, or the count that READ, WRITE or IOCTL gave.
    Size {
        /// In the recording, in bytes.
        recorded: u64,
        /// Now, in bytes.
        seen: u64,
    },
    /// Other data read.
    Data {
        /// Digest of what the recording holds.
        recorded: Digest,
        /// Digest of what came.
        seen: Digest,
    },
    /// A break notification that the recording does not have.
    UnexpectedBreak {
        /// The open that was broken, when it is one of ours.
        open: Option<OpenRef>,
        /// The level or lease state that is left, coded as in `Grant`.
        level: u32,
    },
    /// A recorded break notification that did not come.
    MissingBreak,
    /// A break notification to another level.
    BreakLevel {
        /// In the recording, coded as in `Grant`.
        recorded: u32,
        /// Now.
        seen: u32,
    },
    /// Another dialect.
    Dialect {
        /// In the recording.
        recorded: u16,
        /// Now.
        seen: u16,
    },
    /// No response in time.
    NoResponse,
    /// The server granted too few credits to go on.
    NoCredits,
    /// The connection was lost while the operation was in flight.
    ConnectionLost {
        /// Why.
        reason: NetFailure,
    },
    /// The login could not go on.
    LoginFailed,
    /// A wrong or missing signature.
    BadSignature,
    /// A response that cannot be decoded.
    Malformed,
    /// A response whose header does not fit its request. [MS-SMB2] 3.2.5.1.
    WrongHeader {
        /// What does not.
        field: HeaderField,
        /// What the request had there.
        sent: u64,
        /// What the response has.
        seen: u64,
    },
}

/// A field of a header that has to fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderField {
    /// The command.
    Command,
    /// The flag that says that it is a response.
    Flags,
    /// The session.
    SessionId,
    /// The tree.
    TreeId,
}

impl Divergence {
    /// The name it is counted under.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Grant { .. } => "grant",
            Self::CreateAction { .. } => "create_action",
            Self::Size { .. } => "size",
            Self::Data { .. } => "data",
            Self::UnexpectedBreak { .. } => "unexpected_break",
            Self::MissingBreak => "missing_break",
            Self::BreakLevel { .. } => "break_level",
            Self::Dialect { .. } => "dialect",
            Self::NoResponse => "no_response",
            Self::NoCredits => "no_credits",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::LoginFailed => "login_failed",
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::WrongHeader { .. } => "wrong_header",
        }
    }
}

/// One line of a run's record: an input, when it came, and what the engine had done until then.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place among the inputs of its shard, from 0, without gaps.
    pub seq: u64,
    /// When the engine was told. Never earlier than the entry before.
    pub now: LogicalTime,
    /// Digest of all effects *before* this input.
    pub before: EffectsDigest,
    /// The fact itself.
    pub input: Input,
}

/// Takes a run's inputs, each before the engine handles it.
pub trait Recorder {
    /// Why an input could not be recorded.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Records one entry.
    ///
    /// # Errors
    ///
    /// When the record can no longer be kept; the run must then stop.
    fn record(&mut self, entry: &Entry) -> Result<(), Self::Error>;

    /// Ends the record: `after` is the digest of all effects of the run.
    ///
    /// # Errors
    ///
    /// When what was recorded could not be made durable.
    fn finish(&mut self, after: EffectsDigest) -> Result<(), Self::Error>;
}

/// What the engine wants next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Do this, then poll again.
    Do(Effect),
    /// Nothing to do until an input comes; `Some` time: send [`Input::Wake`] then.
    WakeAt(Option<LogicalTime>),
}
