//! The records of format version 1, as bincode's native derive lays them out.
//!
//! Nothing here may change once released: variants are only appended, and a new meaning is a new
//! version with a pure upgrade. No record type is without size, and lengths are checked by `codec`.

use std::borrow::Cow;

use smbench_core::{
    event::{Input, Milestone, NetFailure, Seal, TokenOutcome},
    frame::{Content, Cut, Digest, Frame},
    ids::{ConnId, OpId, SessionRef, ShardId},
};

use super::{CodecError, Decode, Decoded, Encode};

#[derive(Encode, Decode)]
pub(super) struct EventV1<'a> {
    delta_ns: u64,
    before: u32,
    before_high: Option<u32>,
    input: InputV1<'a>,
}

#[derive(Encode, Decode)]
enum InputV1<'a> {
    Start,
    Connected {
        conn: u32,
    },
    ConnectFailed {
        conn: u32,
        reason: NetFailureV1,
    },
    Closed {
        conn: u32,
        reason: NetFailureV1,
    },
    Received {
        conn: u32,
        frame: FrameV1<'a>,
        seal: SealV1,
    },
    TokenReady {
        conn: u32,
        session: u32,
        outcome: TokenOutcomeV1,
    },
    Wake,
    Completed {
        shard: u32,
        op: u32,
        milestone: MilestoneV1,
    },
    Stop,
}

#[derive(Encode, Decode)]
enum NetFailureV1 {
    Eof,
    Reset,
    Refused,
    TimedOut,
    Unreachable,
    Protocol,
    Local,
}

#[derive(Encode, Decode)]
struct FrameV1<'a> {
    bytes: Cow<'a, [u8]>,
    cuts: Vec<CutV1>,
}

#[derive(Encode, Decode)]
struct CutV1 {
    at: u32,
    len: u32,
    content: ContentV1,
}

#[derive(Encode, Decode)]
enum ContentV1 {
    Data([u8; 32]),
    Token,
}

#[derive(Encode, Decode)]
enum SealV1 {
    Plain,
    Signed,
    BadSignature,
    Encrypted,
}

#[derive(Encode, Decode)]
enum TokenOutcomeV1 {
    Ready { len: u32 },
    Failed,
}

#[derive(Encode, Decode)]
enum MilestoneV1 {
    Sent,
    Interim,
    Response,
}

impl<'a> EventV1<'a> {
    pub(super) fn new(
        delta_ns: u64,
        before: u32,
        before_high: Option<u32>,
        input: &'a Input,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            delta_ns,
            before,
            before_high,
            input: InputV1::new(input)?,
        })
    }

    /// How many cuts the event's frame has.
    pub(super) fn cuts(&self) -> usize {
        match &self.input {
            InputV1::Received { frame, .. } => frame.cuts.len(),
            _ => 0,
        }
    }

    pub(super) fn upgrade(self) -> Decoded {
        Decoded {
            delta_ns: self.delta_ns,
            before: self.before,
            before_high: self.before_high,
            input: self.input.upgrade(),
        }
    }
}

impl<'a> InputV1<'a> {
    fn new(input: &'a Input) -> Result<Self, CodecError> {
        Ok(match input {
            Input::Start => Self::Start,
            Input::Connected { conn } => Self::Connected { conn: conn.0 },
            Input::ConnectFailed { conn, reason } => Self::ConnectFailed {
                conn: conn.0,
                reason: NetFailureV1::new(*reason)?,
            },
            Input::Closed { conn, reason } => Self::Closed {
                conn: conn.0,
                reason: NetFailureV1::new(*reason)?,
            },
            Input::Received { conn, frame, seal } => Self::Received {
                conn: conn.0,
                frame: FrameV1::new(frame),
                seal: SealV1::new(*seal),
            },
            Input::TokenReady {
                conn,
                session,
                outcome,
            } => Self::TokenReady {
                conn: conn.0,
                session: session.0,
                outcome: match outcome {
                    TokenOutcome::Ready { len } => TokenOutcomeV1::Ready { len: *len },
                    TokenOutcome::Failed => TokenOutcomeV1::Failed,
                },
            },
            Input::Wake => Self::Wake,
            Input::Completed {
                shard,
                op,
                milestone,
            } => Self::Completed {
                shard: shard.0,
                op: op.0,
                milestone: MilestoneV1::new(*milestone),
            },
            Input::Stop => Self::Stop,
        })
    }

    fn upgrade(self) -> Input {
        match self {
            Self::Start => Input::Start,
            Self::Connected { conn } => Input::Connected { conn: ConnId(conn) },
            Self::ConnectFailed { conn, reason } => Input::ConnectFailed {
                conn: ConnId(conn),
                reason: reason.upgrade(),
            },
            Self::Closed { conn, reason } => Input::Closed {
                conn: ConnId(conn),
                reason: reason.upgrade(),
            },
            Self::Received { conn, frame, seal } => Input::Received {
                conn: ConnId(conn),
                frame: frame.upgrade(),
                seal: seal.upgrade(),
            },
            Self::TokenReady {
                conn,
                session,
                outcome,
            } => Input::TokenReady {
                conn: ConnId(conn),
                session: SessionRef(session),
                outcome: match outcome {
                    TokenOutcomeV1::Ready { len } => TokenOutcome::Ready { len },
                    TokenOutcomeV1::Failed => TokenOutcome::Failed,
                },
            },
            Self::Wake => Input::Wake,
            Self::Completed {
                shard,
                op,
                milestone,
            } => Input::Completed {
                shard: ShardId(shard),
                op: OpId(op),
                milestone: milestone.upgrade(),
            },
            Self::Stop => Input::Stop,
        }
    }
}

impl NetFailureV1 {
    fn new(reason: NetFailure) -> Result<Self, CodecError> {
        Ok(match reason {
            NetFailure::Eof => Self::Eof,
            NetFailure::Reset => Self::Reset,
            NetFailure::Refused => Self::Refused,
            NetFailure::TimedOut => Self::TimedOut,
            NetFailure::Unreachable => Self::Unreachable,
            NetFailure::Protocol => Self::Protocol,
            NetFailure::Local => Self::Local,
            // The type is open to additions; one that is not here yet must not be misread.
            _ => {
                return Err(CodecError::Unsupported {
                    what: "network failure",
                });
            }
        })
    }

    fn upgrade(self) -> NetFailure {
        match self {
            Self::Eof => NetFailure::Eof,
            Self::Reset => NetFailure::Reset,
            Self::Refused => NetFailure::Refused,
            Self::TimedOut => NetFailure::TimedOut,
            Self::Unreachable => NetFailure::Unreachable,
            Self::Protocol => NetFailure::Protocol,
            Self::Local => NetFailure::Local,
        }
    }
}

impl<'a> FrameV1<'a> {
    fn new(frame: &'a Frame) -> Self {
        let Frame { bytes, cuts } = frame;
        Self {
            bytes: Cow::Borrowed(bytes),
            cuts: cuts.iter().map(CutV1::new).collect(),
        }
    }

    fn upgrade(self) -> Frame {
        Frame {
            bytes: self.bytes.into_owned(),
            cuts: self.cuts.into_iter().map(CutV1::upgrade).collect(),
        }
    }
}

impl CutV1 {
    fn new(cut: &Cut) -> Self {
        let Cut { at, len, content } = *cut;
        Self {
            at,
            len,
            content: match content {
                Content::Data(digest) => ContentV1::Data(digest.0),
                Content::Token => ContentV1::Token,
            },
        }
    }

    fn upgrade(self) -> Cut {
        Cut {
            at: self.at,
            len: self.len,
            content: match self.content {
                ContentV1::Data(digest) => Content::Data(Digest(digest)),
                ContentV1::Token => Content::Token,
            },
        }
    }
}

impl SealV1 {
    fn new(seal: Seal) -> Self {
        match seal {
            Seal::Plain => Self::Plain,
            Seal::Signed => Self::Signed,
            Seal::BadSignature => Self::BadSignature,
            Seal::Encrypted => Self::Encrypted,
        }
    }

    fn upgrade(self) -> Seal {
        match self {
            Self::Plain => Seal::Plain,
            Self::Signed => Seal::Signed,
            Self::BadSignature => Seal::BadSignature,
            Self::Encrypted => Seal::Encrypted,
        }
    }
}

impl MilestoneV1 {
    fn new(milestone: Milestone) -> Self {
        match milestone {
            Milestone::Sent => Self::Sent,
            Milestone::Interim => Self::Interim,
            Milestone::Response => Self::Response,
        }
    }

    fn upgrade(self) -> Milestone {
        match self {
            Self::Sent => Milestone::Sent,
            Self::Interim => Milestone::Interim,
            Self::Response => Milestone::Response,
        }
    }
}
