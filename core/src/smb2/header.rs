//! The 64-byte header every SMB2 message begins with, and the chain of PDUs in a frame.
//! [MS-SMB2] 2.2.1.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::little_endian::{U16, U32, U64};

use super::error::WireError;
use super::ser::{self, flags, numbers};
use super::status::NtStatus;
use super::wire::{raw, read_at};

/// Length of an SMB2 header in bytes.
pub const HEADER_LEN: usize = 64;

/// The first four bytes of an SMB2 header.
pub const PROTOCOL_ID: [u8; 4] = *b"\xfeSMB";

numbers! {
    /// `Command` of a header.
    Command(u16) {
        NEGOTIATE = 0 => "NEGOTIATE",
        SESSION_SETUP = 1 => "SESSION_SETUP",
        LOGOFF = 2 => "LOGOFF",
        TREE_CONNECT = 3 => "TREE_CONNECT",
        TREE_DISCONNECT = 4 => "TREE_DISCONNECT",
        CREATE = 5 => "CREATE",
        CLOSE = 6 => "CLOSE",
        FLUSH = 7 => "FLUSH",
        READ = 8 => "READ",
        WRITE = 9 => "WRITE",
        LOCK = 10 => "LOCK",
        IOCTL = 11 => "IOCTL",
        CANCEL = 12 => "CANCEL",
        ECHO = 13 => "ECHO",
        QUERY_DIRECTORY = 14 => "QUERY_DIRECTORY",
        CHANGE_NOTIFY = 15 => "CHANGE_NOTIFY",
        QUERY_INFO = 16 => "QUERY_INFO",
        SET_INFO = 17 => "SET_INFO",
        OPLOCK_BREAK = 18 => "OPLOCK_BREAK",
    }
}

flags! {
    /// `Flags` of a header.
    HeaderFlags(u32) {
        SERVER_TO_REDIR = 0x0000_0001,
        ASYNC = 0x0000_0002,
        RELATED = 0x0000_0004,
        SIGNED = 0x0000_0008,
        PRIORITY_MASK = 0x0000_0070,
        DFS = 0x1000_0000,
        REPLAY = 0x2000_0000,
    }
}

macro_rules! wire_id {
    ($(#[$doc:meta] $name:ident($int:ty)),* $(,)?) => {$(
        #[$doc]
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    )*};
}

wire_id! {
    /// `MessageId` of a header; `u64::MAX` in an unsolicited break.
    MessageId(u64),
    /// `SessionId` of a header.
    SessionId(u64),
    /// `TreeId` of a header.
    TreeId(u32),
}

/// `SMB2_FILEID`, what a CREATE gives. [MS-SMB2] 2.2.14.1.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FileId {
    /// The half that survives a reconnect of a durable handle.
    pub persistent: u64,
    /// The half that is new with every open.
    pub volatile: u64,
}

impl FileId {
    /// Stands for the previous operation's file in a related compound. [MS-SMB2] 3.2.4.1.4.
    pub const RELATED: Self = Self {
        persistent: u64::MAX,
        volatile: u64::MAX,
    };
    /// No file.
    pub const ZERO: Self = Self {
        persistent: 0,
        volatile: 0,
    };

    /// Reads the 16 wire bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
        Self {
            persistent: half(both),
            volatile: half(both >> 64),
        }
    }

    /// The 16 wire bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.volatile) << 64 | u128::from(self.persistent)).to_le_bytes()
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.persistent, self.volatile)
    }
}

impl Serialize for FileId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (self.persistent, self.volatile).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (persistent, volatile) = Deserialize::deserialize(deserializer)?;
            return Ok(Self {
                persistent,
                volatile,
            });
        }
        let text = String::deserialize(deserializer)?;
        let half = |digits| u64::from_str_radix(digits, 16).ok();
        text.split_once(':')
            .and_then(|(left, right)| {
                Some(Self {
                    persistent: half(left)?,
                    volatile: half(right)?,
                })
            })
            .ok_or_else(|| serde::de::Error::custom("a file id is hex:hex"))
    }
}

/// Sixteen bytes that name something: a GUID or a lease key, in wire order.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ser::to_hex(&self.0))
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ser::hex_bytes(deserializer)?
            .try_into()
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a guid is 32 hex digits"))
    }
}

/// An SMB2 header. [MS-SMB2] 2.2.1.1, 2.2.1.2.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// Credits this request uses up.
    pub credit_charge: u16,
    /// NTSTATUS of a response; ChannelSequence (low half) and reserved bits of a request.
    pub status: u32,
    /// What is asked or answered.
    pub command: Command,
    /// Credits requested or granted.
    pub credits: u16,
    /// Flags, unknown ones too.
    pub flags: HeaderFlags,
    /// Offset of the next PDU of a compound from the start of this header; 0 for the last.
    pub next_command: u32,
    /// Number of the exchange.
    pub message_id: MessageId,
    /// AsyncId, or process id (low half) and tree id (high half).
    pub id: u64,
    /// The session.
    pub session_id: SessionId,
    /// Signature, or zeros.
    pub signature: [u8; 16],
}

raw! {
    RawHeader {
        protocol_id: [u8; 4],
        structure_size: U16,
        credit_charge: U16,
        status: U32,
        command: U16,
        credits: U16,
        flags: U32,
        next_command: U32,
        message_id: U64,
        id: U64,
        session_id: U64,
        signature: [u8; 16],
    }
}

impl Header {
    /// Reads the header at the start of `pdu`, which may be longer.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] below 64 bytes, [`WireError::BadValue`] when the protocol id is
    /// not `FE 'SMB'` or StructureSize is not 64.
    pub fn decode(pdu: &[u8]) -> Result<Self, WireError> {
        let raw: &RawHeader = read_at(pdu, "header", 0)?;
        if raw.protocol_id != PROTOCOL_ID {
            let got = u64::from(u32::from_be_bytes(raw.protocol_id));
            return Err(WireError::BadValue {
                field: "ProtocolId",
                offset: 0,
                got,
                section: "2.2.1",
            });
        }
        if raw.structure_size.get() != 64 {
            let got = u64::from(raw.structure_size.get());
            let field = "StructureSize";
            return Err(WireError::BadValue {
                field,
                offset: 4,
                got,
                section: "2.2.1",
            });
        }
        Ok(Self {
            credit_charge: raw.credit_charge.get(),
            status: raw.status.get(),
            command: Command(raw.command.get()),
            credits: raw.credits.get(),
            flags: HeaderFlags::from_bits_retain(raw.flags.get()),
            next_command: raw.next_command.get(),
            message_id: MessageId(raw.message_id.get()),
            id: raw.id.get(),
            session_id: SessionId(raw.session_id.get()),
            signature: raw.signature,
        })
    }

    /// Appends the 64 bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let raw = RawHeader {
            protocol_id: PROTOCOL_ID,
            structure_size: U16::new(64),
            credit_charge: self.credit_charge.into(),
            status: self.status.into(),
            command: self.command.0.into(),
            credits: self.credits.into(),
            flags: self.flags.bits().into(),
            next_command: self.next_command.into(),
            message_id: self.message_id.0.into(),
            id: self.id.into(),
            session_id: self.session_id.0.into(),
            signature: self.signature,
        };
        out.extend_from_slice(zerocopy::IntoBytes::as_bytes(&raw));
    }

    /// Sent by a server.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags.contains(HeaderFlags::SERVER_TO_REDIR)
    }

    /// Carries an AsyncId in place of process and tree id.
    #[must_use]
    pub fn is_async(&self) -> bool {
        self.flags.contains(HeaderFlags::ASYNC)
    }

    /// Says that the request is the server's to finish, and that the answer follows.
    /// [MS-SMB2] 3.2.5.1.5.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.is_async() && self.nt_status() == NtStatus::PENDING
    }

    /// The tree id; none in an async header.
    #[must_use]
    pub fn tree_id(&self) -> Option<TreeId> {
        let high = u32::try_from(self.id >> 32).unwrap_or_default();
        (!self.is_async()).then_some(TreeId(high))
    }

    /// The AsyncId; none in a sync header.
    #[must_use]
    pub fn async_id(&self) -> Option<u64> {
        self.is_async().then_some(self.id)
    }

    /// The status field as a server means it.
    #[must_use]
    pub fn nt_status(&self) -> NtStatus {
        NtStatus(self.status)
    }

    /// The ChannelSequence of a request. [MS-SMB2] 2.2.1.2.
    #[must_use]
    pub fn channel_sequence(&self) -> u16 {
        u16::try_from(self.status & 0xffff).unwrap_or_default()
    }

    /// Sets the tree id, keeping the process id; an async header becomes a sync one.
    pub fn set_tree_id(&mut self, tree: TreeId) {
        let process = if self.is_async() {
            0
        } else {
            self.id & u64::from(u32::MAX)
        };
        self.flags.remove(HeaderFlags::ASYNC);
        self.id = u64::from(tree.0) << 32 | process;
    }

    /// Sets the AsyncId; a sync header becomes an async one.
    pub fn set_async_id(&mut self, id: u64) {
        self.flags.insert(HeaderFlags::ASYNC);
        self.id = id;
    }
}

/// One SMB2 message of a frame, with the padding that follows it. A name for [`Pdu::chain`].
#[derive(Clone, Copy, Debug)]
pub struct Pdu;

impl Pdu {
    /// Walks the PDUs of `frame`, a transport payload that begins with an SMB2 header.
    #[must_use]
    pub fn chain(frame: &[u8]) -> Chain<'_> {
        Chain { rest: Some(frame) }
    }
}

/// Iterator over the PDUs of a frame; ends after the first error.
///
/// Each item reaches up to the next header, or to the end of the frame.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Chain<'a> {
    type Item = Result<&'a [u8], WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let next = match Header::decode(rest) {
            Ok(header) => header.next_command,
            Err(error) => return Some(Err(error)),
        };
        if next == 0 {
            return Some(Ok(rest));
        }
        let at = super::wire::to_usize(next);
        match rest.split_at_checked(at) {
            // [MS-SMB2] 2.2.1.1: NextCommand counts from the start of this header.
            Some((pdu, tail)) if at >= HEADER_LEN => {
                self.rest = Some(tail);
                Some(Ok(pdu))
            }
            _ => Some(Err(WireError::BadValue {
                field: "NextCommand",
                offset: 20,
                got: u64::from(next),
                section: "2.2.1.1",
            })),
        }
    }
}
