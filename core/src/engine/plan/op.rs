//! One operation in 56 bytes, and what it shares with others.
//!
//! Ten million operations have to fit: what many share (where they belong, their header, what is
//! expected of them, their body, their data) is kept once and named by number, and what few have is
//! [`Rare`].

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::intern::{Hashed, mix};
use crate::{
    confine::Refusal,
    frame::Digest,
    ids::{ClientId, ConnId, OpId, OpenRef, PrincipalRef, SessionRef, TreeRef},
    smb2::{Command, HEADER_LEN, NtStatus},
    workload::DataRef,
};

/// A number, or none, in four bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Maybe(u32);

impl Maybe {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn of(number: Option<u32>) -> Self {
        number.map_or(Self::NONE, Self)
    }

    pub(super) fn get(self) -> Option<u32> {
        (self != Self::NONE).then_some(self.0)
    }

    pub(super) fn index(self) -> Option<usize> {
        self.get().map(|number| number as usize)
    }
}

/// What an operation is to the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Kind {
    Request,
    Smb1Negotiate,
    /// [`super::Plan::notice`] says which.
    Break,
    Disconnect {
        by_client: bool,
        reset: bool,
    },
    /// Run by another shard.
    Foreign,
}

/// Where an operation belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) client: ClientId,
    pub(super) conn: ConnId,
    pub(super) session: Maybe,
    pub(super) tree: Maybe,
}

impl Hashed for Place {
    fn hash64(&self) -> u64 {
        let one = mix(u64::from(self.client.0) << 32, u64::from(self.conn.0));
        mix(
            one,
            u64::from(self.session.0) << 32 | u64::from(self.tree.0),
        )
    }
}

/// What stands before a request's body, and where in the request this run's values belong.
/// Positions count from the start of the PDU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Head {
    pub(super) kind: Kind,
    pub(super) cmd: Command,
    pub(super) charge: u16,
    pub(super) credits: u16,
    /// The header, without MessageId; none when the body is all there is.
    pub(in crate::engine) header: Option<[u8; HEADER_LEN]>,
    /// The request speaks of a place in a file, [`Packed::value`], at [`FILE_OFFSET_AT`].
    pub(in crate::engine) has_offset: bool,
    bulk_at: Maybe,
    file_id_at: Maybe,
    reclaim_at: Maybe,
}

impl Head {
    pub(super) fn new(
        kind: Kind,
        (cmd, charge, credits): (Command, u16, u16),
        marks: &Marks,
        header: Option<[u8; HEADER_LEN]>,
    ) -> Self {
        Self {
            kind,
            cmd,
            charge,
            credits,
            header,
            has_offset: marks.has_offset,
            bulk_at: Maybe::of(marks.bulk_at),
            file_id_at: Maybe::of(marks.file_id_at),
            reclaim_at: Maybe::of(marks.reclaim_at),
        }
    }

    /// Where bulk data belongs.
    pub(in crate::engine) fn bulk_at(&self) -> Option<u32> {
        self.bulk_at.get()
    }

    /// Where the handle belongs.
    pub(in crate::engine) fn file_id_at(&self) -> Option<u32> {
        self.file_id_at.get()
    }

    /// Where the handle that a CREATE reclaims belongs.
    pub(in crate::engine) fn reclaim_at(&self) -> Option<u32> {
        self.reclaim_at.get()
    }
}

impl Hashed for Head {
    fn hash64(&self) -> u64 {
        let kind = match self.kind {
            Kind::Request => 0,
            Kind::Smb1Negotiate => 1,
            Kind::Break => 2,
            Kind::Disconnect { by_client, reset } => {
                4 | u64::from(by_client) << 1 | u64::from(reset)
            }
            Kind::Foreign => 3,
        };
        let cmd = u64::from(self.cmd.0) << 32;
        let credits = u64::from(self.charge) << 16 | u64::from(self.credits);
        let places = u64::from(self.bulk_at.0) << 32 | u64::from(self.file_id_at.0);
        let seed = mix(
            mix(kind << 48 ^ cmd ^ credits, places),
            self.reclaim_at.0.into(),
        );
        xxh3_64_with_seed(self.header.as_ref().map_or(&[], |it| it.as_slice()), seed)
    }
}

/// Where in a request this run's values belong, before it is packed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Marks {
    pub(super) bulk_at: Option<u32>,
    pub(super) file_id_at: Option<u32>,
    pub(super) reclaim_at: Option<u32>,
    pub(super) has_offset: bool,
}

/// What the recording had for an answer: what the engine compares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Answer {
    pub(in crate::engine) status: NtStatus,
    pub(in crate::engine) dialect: Option<u16>,
    pub(in crate::engine) action: Option<u32>,
    /// As `compare::grant_code` has it.
    pub(in crate::engine) grant: Option<u32>,
    /// Bytes read or written.
    pub(super) count: Option<u32>,
    /// Of a CREATE: [`Packed::value`] is the size it told.
    pub(super) sized: bool,
}

impl Hashed for Answer {
    fn hash64(&self) -> u64 {
        let some = |number: Option<u32>| number.map_or(0, |number| 1 + u64::from(number));
        let first = mix(u64::from(self.status.0), some(self.dialect.map(u32::from)));
        let second = mix(mix(first, some(self.action)), some(self.grant));
        mix(mix(second, some(self.count)), u64::from(self.sized))
    }
}

impl Hashed for DataRef {
    fn hash64(&self) -> u64 {
        let Digest([a, b, c, d, e, f, g, h, ..]) = self.blake3;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(self.len) << 32
    }
}

/// What few operations have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Rare {
    pub(in crate::engine) reclaims: Option<OpenRef>,
    pub(in crate::engine) resume_key_of: Option<OpId>,
    pub(in crate::engine) previous_session: Option<SessionRef>,
    /// Who the login that this SESSION_SETUP is a leg of is for, if not for the session's user.
    pub(in crate::engine) principal: Option<PrincipalRef>,
    pub(in crate::engine) cancels: Option<OpId>,
    /// The break notification that this acknowledges.
    pub(in crate::engine) acknowledges: Option<OpId>,
    /// The status that the recorded login of this SESSION_SETUP ended with.
    pub(in crate::engine) login_ends: Option<NtStatus>,
    /// Why it is not to be sent.
    pub(in crate::engine) refused: Option<Refusal>,
    /// It was not captured.
    pub(in crate::engine) reconstructed: bool,
    /// It means nothing without this one, which is refused.
    pub(in crate::engine) without: Option<OpId>,
    /// A latency of over an hour, in microseconds.
    pub(super) latency_us: u64,
}

impl Rare {
    pub(super) const NONE: Self = Self {
        reclaims: None,
        resume_key_of: None,
        previous_session: None,
        principal: None,
        cancels: None,
        acknowledges: None,
        login_ends: None,
        refused: None,
        reconstructed: false,
        without: None,
        latency_us: 0,
    };
}

/// One operation as it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Packed {
    pub(super) at_us: u64,
    /// The place in the file that a request speaks of, or the size that a CREATE was told.
    pub(super) value: u64,
    pub(super) place: u32,
    pub(super) head: u32,
    pub(super) body: Maybe,
    pub(super) open: Maybe,
    pub(super) data: Maybe,
    pub(super) answer: Maybe,
    pub(super) seen_data: Maybe,
    /// Request to final response; [`LONG`] where [`Rare`] has it.
    pub(super) latency_us: u32,
    pub(super) leader: OpId,
    pub(super) group: u16,
    pub(super) is_rare: bool,
}

/// One operation, ready to run.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct PlanOp<'a> {
    pub(in crate::engine) kind: Kind,
    pub(in crate::engine) cmd: Command,
    pub(in crate::engine) at_us: u64,
    pub(in crate::engine) client: ClientId,
    pub(in crate::engine) conn: ConnId,
    pub(in crate::engine) session: Option<SessionRef>,
    pub(in crate::engine) tree: Option<TreeRef>,
    pub(in crate::engine) open: Option<OpenRef>,
    pub(in crate::engine) charge: u16,
    pub(in crate::engine) credits: u16,
    /// First operation of its compound; itself when alone.
    pub(in crate::engine) leader: OpId,
    /// Members of the compound that this leads, itself included; 0 for the others.
    pub(in crate::engine) group: u16,
    pub(in crate::engine) head: &'a Head,
    pub(in crate::engine) rare: &'a Rare,
    /// What the recording had for an answer, if it had one.
    pub(in crate::engine) answer: Option<&'a Answer>,
    /// Request to final response in the recording, in microseconds; 0 without answer.
    pub(in crate::engine) latency_us: u64,
    pub(super) packed: &'a Packed,
}

impl PlanOp<'_> {
    /// Size of the file or number of bytes that the recorded response told, where that is to be
    /// compared.
    pub(in crate::engine) fn recorded_size(&self) -> Option<u64> {
        let answer = self.answer?;
        if self.cmd == Command::CREATE {
            return answer.sized.then_some(self.packed.value);
        }
        answer.count.map(u64::from)
    }

    /// The place in the file that goes into the request.
    pub(in crate::engine) fn file_offset(&self) -> Option<u64> {
        self.head.has_offset.then_some(self.packed.value)
    }
}

/// Stands for a latency that does not fit.
pub(super) const LONG: u32 = u32::MAX;
/// Where READ and WRITE have their offset, from the PDU's start. [MS-SMB2] 2.2.19, 2.2.21.
pub(in crate::engine) const FILE_OFFSET_AT: usize = HEADER_LEN + 8;
