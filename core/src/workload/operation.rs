//! One line of `ops.jsonl`.

use serde::{Deserialize, Serialize};

use super::{is_false, is_zero};
use crate::{
    event::Milestone,
    frame::Digest,
    ids::{ClientId, ConnId, OpId, OpenRef, PrincipalRef, SessionRef, TreeRef},
    rpc::Call,
    smb2::{
        Command, CreateOptions, Dialect, FileId, HeaderFlags, LeaseState, NtStatus, OplockLevel,
        Quirks, Request,
    },
};

/// Something that happened on the captured wire: a request, or an event that requests wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its line, from 0.
    pub id: OpId,
    /// When its request was seen, in microseconds from the start of the capture.
    pub at_us: u64,
    /// The client that sent it.
    pub client: ClientId,
    /// The connection it was sent on.
    pub conn: ConnId,
    /// The session it belongs to; none for NEGOTIATE and some ECHO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionRef>,
    /// The tree it belongs to. For TREE_CONNECT, the one that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeRef>,
    /// Its command; always that of `action`.
    pub cmd: Command,
    /// MessageId on the captured wire. A CANCEL has that of the request it cancels.
    pub mid: u64,
    /// CreditCharge.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub charge: u16,
    /// Credits asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub credits: u16,
    /// Header flags, without SIGNED, RELATED_OPERATIONS and ASYNC_COMMAND.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: HeaderFlags,
    /// ChannelSequence (low 16 bits) and the reserved half of the header's Status field.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub channel_sequence: u32,
    /// The header's reserved "process id" field.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub process_id: u32,
    /// It was not captured: it sets up what others use. It has no recorded answer, and is not compared.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub reconstructed: bool,
    /// TreeId on the wire where no tree explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_tree: Option<u32>,
    /// Number of the packet that completed it, from 1, as tshark counts.
    pub frame: u64,
    /// Its place in a compound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compound: Option<Compound>,
    /// What was asked, or what happened.
    #[serde(rename = "do")]
    pub action: Action,
    /// Path of the file it works on, where the request does not say it: for people. Of a CREATE by the number of a
    /// file the path that the file had, by which a run opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The open that a CREATE makes, or that another command uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenRef>,
    /// The durable open that a CREATE reclaims (contexts `DHnC`, `DH2C`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaims: Option<OpenRef>,
    /// The session that a SESSION_SETUP replaces (PreviousSessionId).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_session: Option<SessionRef>,
    /// Who the token of a SESSION_SETUP names, where that is not the session's user: a session may
    /// be bound or re-authenticated in another name. [MS-SMB2] 3.2.4.2.3.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalRef>,
    /// The operation whose resume key the IOCTL's input begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_key_of: Option<OpId>,
    /// The operation that a CANCEL cancels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels: Option<OpId>,
    /// WRITE data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRef>,
    /// What it calls over a pipe: for people, and to tell beforehand what may be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rpc: Vec<Call>,
    /// Bytes in which the request departs from the canonical layout.
    #[serde(default, skip_serializing_if = "Quirks::is_empty")]
    pub quirks: Quirks,
    /// The capture does not hold the whole request; what is missing is synthetic.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
    /// What must have happened before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Edge>,
    /// What came back; none for what has no answer or was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

impl Operation {
    /// The path of what a CREATE opened by its number, as far as compiling found it: numbers are the recorded
    /// server's. [MS-SMB2] 2.2.13, FILE_OPEN_BY_FILE_ID.
    #[must_use]
    pub fn path_by_id(&self) -> Option<&str> {
        let Action::Request(Request::Create(create)) = &self.action else {
            return None;
        };
        let options = create.create_options;
        let path = self.path.as_deref();
        path.filter(|_| options.contains(CreateOptions::OPEN_BY_FILE_ID))
    }

    /// One that says nothing yet.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            id: OpId(0),
            at_us: 0,
            client: ClientId(0),
            conn: ConnId(0),
            session: None,
            tree: None,
            cmd: Command::default(),
            mid: 0,
            charge: 0,
            credits: 0,
            flags: HeaderFlags::default(),
            channel_sequence: 0,
            reconstructed: false,
            process_id: 0,
            raw_tree: None,
            frame: 0,
            compound: None,
            action: Action::Smb1Negotiate(Vec::new()),
            path: None,
            open: None,
            reclaims: None,
            previous_session: None,
            principal: None,
            resume_key_of: None,
            cancels: None,
            data: None,
            rpc: Vec::new(),
            quirks: Quirks::default(),
            cut: false,
            after: Vec::new(),
            expect: None,
        }
    }
}

/// What an operation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A request of the client. `file_id`s are zero: [`Operation::open`] says which open is meant;
    /// where it says nothing the bytes are meant as they are.
    Request(Request),
    /// An SMB1 NEGOTIATE that offers SMB2: the whole SMB1 message, in hex.
    Smb1Negotiate(#[serde(with = "crate::frame::hex_bytes")] Vec<u8>),
    /// A break notification of the server.
    Break(BreakNotice),
    /// The end of the connection.
    Disconnect(Disconnect),
}

/// A break notification, as recorded. [MS-SMB2] 2.2.23.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakNotice {
    /// Of an oplock.
    Oplock {
        /// The level that is left.
        to: OplockLevel,
    },
    /// Of a lease.
    Lease {
        /// Whose.
        #[serde(with = "super::operation::guid_hex")]
        key: [u8; 16],
        /// State before.
        from: LeaseState,
        /// State that is left.
        to: LeaseState,
        /// Epoch (v2 leases), else 0.
        epoch: u16,
        /// Whether an acknowledgement is required.
        ack: bool,
    },
}

/// The end of a connection, as recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Disconnect {
    /// The client ended it, not the server.
    pub by_client: bool,
    /// By a reset.
    pub reset: bool,
}

/// A place in a compound.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Compound {
    /// The first operation of the compound; its id names the compound.
    pub first: OpId,
    /// Position, from 0.
    pub position: u16,
    /// SMB2_FLAGS_RELATED_OPERATIONS is set.
    pub related: bool,
    /// The last of the compound.
    #[serde(default, skip_serializing_if = "is_false")]
    pub last: bool,
}

/// Bulk data by digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DataRef {
    /// BLAKE3 of the data.
    pub blake3: Digest,
    /// Its length in bytes.
    pub len: u32,
}

/// Something that must have happened before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The operation it happens to.
    pub id: OpId,
    /// Why.
    pub rule: Rule,
    /// How far it must have come.
    #[serde(default = "response", skip_serializing_if = "is_response")]
    pub on: Milestone,
    /// Concluded from outcomes, not seen on the wire.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
}

/// The rule that an edge was inferred by. DESIGN: Order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The same client knew of it before it sent this.
    Wire,
    /// A handle is used after it was given, and closed after it was used.
    Handle,
    /// Conflicting use of one file, range or lease, ordered on the wire.
    Resource,
    /// A name is made, moved or deleted before or after it is resolved.
    Name,
    /// Notification, acknowledgement, completion.
    Break,
    /// Negotiate, session, tree, everything in it.
    Setup,
    /// Overlapping operations whose outcomes tell their order.
    Outcome,
}

impl Rule {
    /// Every rule, in the order of the design.
    pub const ALL: [Self; 7] = [
        Self::Wire,
        Self::Handle,
        Self::Resource,
        Self::Name,
        Self::Break,
        Self::Setup,
        Self::Outcome,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Handle => "handle",
            Self::Resource => "resource",
            Self::Name => "name",
            Self::Break => "break",
            Self::Setup => "setup",
            Self::Outcome => "outcome",
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Number of the packet that completed the final response.
    pub frame: u64,
    /// Final status.
    pub status: NtStatus,
    /// Request to final response, in microseconds.
    pub latency_us: u64,
    /// Request to interim response, in microseconds, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_us: Option<u64>,
    /// Credits granted, by interim and final response together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub credits: u32,
    /// FileId that a CREATE gave, on the captured wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<FileId>,
    /// CreateAction: 0 superseded, 1 opened, 2 created, 3 overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<u32>,
    /// Oplock level granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oplock: Option<OplockLevel>,
    /// Lease granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseGrant>,
    /// End of file that CREATE told, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// File attributes that CREATE told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<u32>,
    /// Bytes read or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// READ data; none when the capture does not hold all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRef>,
    /// What an IOCTL, QUERY_INFO or QUERY_DIRECTORY gave, where its function [keeps it]; none when the capture does not
    /// hold all of it.
    ///
    /// [keeps it]: crate::function::Function::keeps_output
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<DataRef>,
    /// Dialect that NEGOTIATE chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
}

/// A lease as granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// State.
    pub state: LeaseState,
    /// Flags. [MS-SMB2] 2.2.14.2.10.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u32,
    /// Epoch (v2 leases), else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u16,
}

fn response() -> Milestone {
    Milestone::Response
}

fn is_response(on: &Milestone) -> bool {
    *on == Milestone::Response
}

/// 16 bytes as hex.
pub(crate) mod guid_hex {
    use serde::{Deserializer, Serializer, de::Error as _};

    use crate::frame::hex_bytes;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        hex_bytes::serialize(bytes, to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
        let bytes = hex_bytes::deserialize(from)?;
        <[u8; 16]>::try_from(bytes).map_err(|_| D::Error::custom("expected 32 hex digits"))
    }
}
