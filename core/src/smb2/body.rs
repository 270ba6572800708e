//! Bodies of messages: which structure follows a header.

use serde::{Deserialize, Serialize};

use super::cancel::CancelRequest;
use super::change_notify::{ChangeNotifyRequest, ChangeNotifyResponse};
use super::close::{CloseRequest, CloseResponse};
use super::create::{CreateRequest, CreateResponse};
use super::echo::{EchoRequest, EchoResponse};
use super::error::WireError;
use super::error_response::ErrorResponse;
use super::flush::{FlushRequest, FlushResponse};
use super::header::{Command, FileId, Header};
use super::ioctl::{IoctlRequest, IoctlResponse};
use super::lock::{LockRequest, LockResponse};
use super::logoff::{LogoffRequest, LogoffResponse};
use super::negotiate::{NegotiateRequest, NegotiateResponse};
use super::oplock_break::{
    LeaseBreakAck, LeaseBreakNotification, LeaseBreakResponse, OplockBreak, OplockBreakAck,
};
use super::query_directory::{QueryDirectoryRequest, QueryDirectoryResponse};
use super::query_info::{QueryInfoRequest, QueryInfoResponse};
use super::read::{ReadRequest, ReadResponse};
use super::ser::{hex, is_default};
use super::session_setup::{SessionSetupRequest, SessionSetupResponse};
use super::set_info::{SetInfoRequest, SetInfoResponse};
use super::status::NtStatus;
use super::tree_connect::{TreeConnectRequest, TreeConnectResponse};
use super::tree_disconnect::{TreeDisconnectRequest, TreeDisconnectResponse};
use super::wire::{BODY, Source, Writer, len32};
use super::write::{WriteRequest, WriteResponse};

/// Body of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// Sent by a client.
    Request(Request),
    /// Sent by a server.
    Response(Response),
}

impl Body {
    pub(crate) fn decode(header: &Header, pdu: &Source<'_>) -> Self {
        if header.is_response() {
            Self::Response(Response::decode(header, pdu))
        } else {
            Self::Request(Request::decode(header.command, pdu))
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        match self {
            Self::Request(request) => request.encode(out),
            Self::Response(response) => response.encode(out),
        }
    }
}

/// A body that does not parse, or of a command nobody knows.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpaqueBody {
    /// The command, as a header has it.
    pub command: Command,
    /// Everything behind the header, except the bulk.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
    /// Why it does not parse.
    pub reason: String,
    /// Where in `bytes` the bulk belongs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bulk_at: u32,
    /// Length of the bulk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bulk_len: u32,
}

impl OpaqueBody {
    fn keep(command: Command, pdu: &Source<'_>, reason: String) -> Self {
        let (before, behind) = pdu.halves();
        let before = before.get(BODY..).unwrap_or_default();
        Self {
            command,
            bytes: [before, behind].concat(),
            reason,
            bulk_at: if pdu.bulk().is_empty() {
                0
            } else {
                len32(before.len())
            },
            bulk_len: len32(pdu.bulk().len()),
        }
    }

    fn encode(&self, out: &mut Writer<'_>) {
        let at = super::wire::to_usize(self.bulk_at).min(self.bytes.len());
        let (before, behind) = self.bytes.split_at_checked(at).unwrap_or_default();
        out.bytes(before);
        out.bulk(self.bulk_len);
        out.bytes(behind);
    }
}

macro_rules! bodies {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$vdoc:meta])* $variant:ident($body:ty)),* $(,)? }
    ) => {
        $(#[$doc])*
        pub enum $name {
            $($(#[$vdoc])* $variant($body),)*
            /// A body that does not parse, or of a command nobody knows.
            Opaque(OpaqueBody),
        }

        $(
            impl From<$body> for $name {
                fn from(body: $body) -> Self {
                    Self::$variant(body)
                }
            }
        )*

        impl $name {
            pub(crate) fn encode(&self, out: &mut Writer<'_>) {
                match self {
                    $(Self::$variant(body) => body.encode(out),)*
                    Self::Opaque(body) => body.encode(out),
                }
            }
        }
    };
}

bodies! {
    /// Body of a request.
    #[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    Request {
        /// [MS-SMB2] 2.2.3.
        Negotiate(NegotiateRequest),
        /// [MS-SMB2] 2.2.5.
        SessionSetup(SessionSetupRequest),
        /// [MS-SMB2] 2.2.7.
        Logoff(LogoffRequest),
        /// [MS-SMB2] 2.2.9.
        TreeConnect(TreeConnectRequest),
        /// [MS-SMB2] 2.2.11.
        TreeDisconnect(TreeDisconnectRequest),
        /// [MS-SMB2] 2.2.13.
        Create(CreateRequest),
        /// [MS-SMB2] 2.2.15.
        Close(CloseRequest),
        /// [MS-SMB2] 2.2.17.
        Flush(FlushRequest),
        /// [MS-SMB2] 2.2.19.
        Read(ReadRequest),
        /// [MS-SMB2] 2.2.21.
        Write(WriteRequest),
        /// [MS-SMB2] 2.2.26.
        Lock(LockRequest),
        /// [MS-SMB2] 2.2.31.
        Ioctl(IoctlRequest),
        /// [MS-SMB2] 2.2.30.
        Cancel(CancelRequest),
        /// [MS-SMB2] 2.2.28.
        Echo(EchoRequest),
        /// [MS-SMB2] 2.2.33.
        QueryDirectory(QueryDirectoryRequest),
        /// [MS-SMB2] 2.2.35.
        ChangeNotify(ChangeNotifyRequest),
        /// [MS-SMB2] 2.2.37.
        QueryInfo(QueryInfoRequest),
        /// [MS-SMB2] 2.2.39.
        SetInfo(SetInfoRequest),
        /// [MS-SMB2] 2.2.24.1.
        OplockBreak(OplockBreakAck),
        /// [MS-SMB2] 2.2.24.2.
        LeaseBreak(LeaseBreakAck),
    }
}

bodies! {
    /// Body of a response or notification.
    #[derive(Clone, Debug, Eq, PartialEq)]
    Response {
        /// [MS-SMB2] 2.2.4.
        Negotiate(NegotiateResponse),
        /// [MS-SMB2] 2.2.6.
        SessionSetup(SessionSetupResponse),
        /// [MS-SMB2] 2.2.8.
        Logoff(LogoffResponse),
        /// [MS-SMB2] 2.2.10.
        TreeConnect(TreeConnectResponse),
        /// [MS-SMB2] 2.2.12.
        TreeDisconnect(TreeDisconnectResponse),
        /// [MS-SMB2] 2.2.14.
        Create(CreateResponse),
        /// [MS-SMB2] 2.2.16.
        Close(CloseResponse),
        /// [MS-SMB2] 2.2.18.
        Flush(FlushResponse),
        /// [MS-SMB2] 2.2.20.
        Read(ReadResponse),
        /// [MS-SMB2] 2.2.22.
        Write(WriteResponse),
        /// [MS-SMB2] 2.2.27.
        Lock(LockResponse),
        /// [MS-SMB2] 2.2.32.
        Ioctl(IoctlResponse),
        /// [MS-SMB2] 2.2.29.
        Echo(EchoResponse),
        /// [MS-SMB2] 2.2.34.
        QueryDirectory(QueryDirectoryResponse),
        /// [MS-SMB2] 2.2.36.
        ChangeNotify(ChangeNotifyResponse),
        /// [MS-SMB2] 2.2.38.
        QueryInfo(QueryInfoResponse),
        /// [MS-SMB2] 2.2.40.
        SetInfo(SetInfoResponse),
        /// [MS-SMB2] 2.2.23.1, 2.2.25.1.
        OplockBreak(OplockBreak),
        /// [MS-SMB2] 2.2.23.2.
        LeaseBreakNotification(LeaseBreakNotification),
        /// [MS-SMB2] 2.2.25.2.
        LeaseBreak(LeaseBreakResponse),
        /// [MS-SMB2] 2.2.2.
        Error(ErrorResponse),
    }
}

impl Request {
    fn decode(command: Command, pdu: &Source<'_>) -> Self {
        Self::typed(command, pdu)
            .and_then(|body| check_bulk(pdu, body.bulk_len()).map(|()| body))
            .unwrap_or_else(|error| Self::Opaque(OpaqueBody::keep(command, pdu, error.to_string())))
    }

    fn typed(command: Command, pdu: &Source<'_>) -> Result<Self, WireError> {
        Ok(match command {
            Command::NEGOTIATE => Self::Negotiate(NegotiateRequest::decode(pdu)?),
            Command::SESSION_SETUP => Self::SessionSetup(SessionSetupRequest::decode(pdu)?),
            Command::LOGOFF => Self::Logoff(LogoffRequest::decode(pdu)?),
            Command::TREE_CONNECT => Self::TreeConnect(TreeConnectRequest::decode(pdu)?),
            Command::TREE_DISCONNECT => Self::TreeDisconnect(TreeDisconnectRequest::decode(pdu)?),
            Command::CREATE => Self::Create(CreateRequest::decode(pdu)?),
            Command::CLOSE => Self::Close(CloseRequest::decode(pdu)?),
            Command::FLUSH => Self::Flush(FlushRequest::decode(pdu)?),
            Command::READ => Self::Read(ReadRequest::decode(pdu)?),
            Command::WRITE => Self::Write(WriteRequest::decode(pdu)?),
            Command::LOCK => Self::Lock(LockRequest::decode(pdu)?),
            Command::IOCTL => Self::Ioctl(IoctlRequest::decode(pdu)?),
            Command::CANCEL => Self::Cancel(CancelRequest::decode(pdu)?),
            Command::ECHO => Self::Echo(EchoRequest::decode(pdu)?),
            Command::QUERY_DIRECTORY => Self::QueryDirectory(QueryDirectoryRequest::decode(pdu)?),
            Command::CHANGE_NOTIFY => Self::ChangeNotify(ChangeNotifyRequest::decode(pdu)?),
            Command::QUERY_INFO => Self::QueryInfo(QueryInfoRequest::decode(pdu)?),
            Command::SET_INFO => Self::SetInfo(SetInfoRequest::decode(pdu)?),
            Command::OPLOCK_BREAK if pdu.structure_size()? == 36 => {
                Self::LeaseBreak(LeaseBreakAck::decode(pdu)?)
            }
            Command::OPLOCK_BREAK => Self::OplockBreak(OplockBreakAck::decode(pdu)?),
            unknown => return Err(unknown_command(unknown)),
        })
    }

    /// The command of a header that goes with this body.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Negotiate(_) => Command::NEGOTIATE,
            Self::SessionSetup(_) => Command::SESSION_SETUP,
            Self::Logoff(_) => Command::LOGOFF,
            Self::TreeConnect(_) => Command::TREE_CONNECT,
            Self::TreeDisconnect(_) => Command::TREE_DISCONNECT,
            Self::Create(_) => Command::CREATE,
            Self::Close(_) => Command::CLOSE,
            Self::Flush(_) => Command::FLUSH,
            Self::Read(_) => Command::READ,
            Self::Write(_) => Command::WRITE,
            Self::Lock(_) => Command::LOCK,
            Self::Ioctl(_) => Command::IOCTL,
            Self::Cancel(_) => Command::CANCEL,
            Self::Echo(_) => Command::ECHO,
            Self::QueryDirectory(_) => Command::QUERY_DIRECTORY,
            Self::ChangeNotify(_) => Command::CHANGE_NOTIFY,
            Self::QueryInfo(_) => Command::QUERY_INFO,
            Self::SetInfo(_) => Command::SET_INFO,
            Self::OplockBreak(_) | Self::LeaseBreak(_) => Command::OPLOCK_BREAK,
            Self::Opaque(body) => body.command,
        }
    }

    /// The open this request acts on; none for requests that carry no FileId.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        match self {
            Self::Close(body) => Some(body.file_id),
            Self::Flush(body) => Some(body.file_id),
            Self::Read(body) => Some(body.file_id),
            Self::Write(body) => Some(body.file_id),
            Self::Lock(body) => Some(body.file_id),
            Self::Ioctl(body) => Some(body.file_id),
            Self::QueryDirectory(body) => Some(body.file_id),
            Self::ChangeNotify(body) => Some(body.file_id),
            Self::QueryInfo(body) => Some(body.file_id),
            Self::SetInfo(body) => Some(body.file_id),
            Self::OplockBreak(body) => Some(body.file_id),
            _ => None,
        }
    }

    /// Sets the open this request acts on; nothing happens when it carries no FileId.
    pub fn set_file_id(&mut self, file_id: FileId) {
        match self {
            Self::Close(body) => body.file_id = file_id,
            Self::Flush(body) => body.file_id = file_id,
            Self::Read(body) => body.file_id = file_id,
            Self::Write(body) => body.file_id = file_id,
            Self::Lock(body) => body.file_id = file_id,
            Self::Ioctl(body) => body.file_id = file_id,
            Self::QueryDirectory(body) => body.file_id = file_id,
            Self::ChangeNotify(body) => body.file_id = file_id,
            Self::QueryInfo(body) => body.file_id = file_id,
            Self::SetInfo(body) => body.file_id = file_id,
            Self::OplockBreak(body) => body.file_id = file_id,
            _ => {}
        }
    }

    /// Where the FileId lies, in bytes from the start of the PDU's header.
    #[must_use]
    pub fn file_id_offset(&self) -> Option<usize> {
        match self {
            Self::Close(_)
            | Self::Flush(_)
            | Self::Lock(_)
            | Self::Ioctl(_)
            | Self::QueryDirectory(_)
            | Self::ChangeNotify(_)
            | Self::OplockBreak(_) => Some(72),
            Self::Read(_) | Self::Write(_) | Self::SetInfo(_) => Some(80),
            Self::QueryInfo(_) => Some(88),
            _ => None,
        }
    }

    /// Bytes that CreditCharge counts: the larger of what is sent and what may come back.
    /// CreditCharge is `max(1, ceil(this / 65536))`. [MS-SMB2] 3.1.5.2.
    #[must_use]
    pub fn credit_payload(&self) -> u32 {
        match self {
            Self::Read(body) => body.length,
            Self::Write(body) => body.length,
            Self::Ioctl(body) => {
                let sent = len32(body.input.len()).saturating_add(len32(body.output.len()));
                sent.max(
                    body.max_input_response
                        .saturating_add(body.max_output_response),
                )
            }
            Self::QueryDirectory(body) => body.output_buffer_length,
            Self::ChangeNotify(body) => body.output_buffer_length,
            Self::QueryInfo(body) => body.output_buffer_length.max(len32(body.input.len())),
            Self::SetInfo(body) => len32(body.buffer.len()),
            _ => 0,
        }
    }

    /// Length of the bulk that belongs to this body, in bytes.
    #[must_use]
    pub fn bulk_len(&self) -> u32 {
        match self {
            Self::Write(body) => body.length,
            Self::SessionSetup(body) => u32::from(body.security_buffer_length),
            Self::Opaque(body) => body.bulk_len,
            _ => 0,
        }
    }
}

impl Response {
    fn decode(header: &Header, pdu: &Source<'_>) -> Self {
        Self::typed(header, pdu)
            .and_then(|body| check_bulk(pdu, body.bulk_len()).map(|()| body))
            .unwrap_or_else(|error| {
                Self::Opaque(OpaqueBody::keep(header.command, pdu, error.to_string()))
            })
    }

    fn typed(header: &Header, pdu: &Source<'_>) -> Result<Self, WireError> {
        let size = pdu.structure_size()?;
        if is_error(header, size) {
            return ErrorResponse::decode(pdu).map(Self::Error);
        }
        Ok(match header.command {
            Command::NEGOTIATE => Self::Negotiate(NegotiateResponse::decode(pdu)?),
            Command::SESSION_SETUP => Self::SessionSetup(SessionSetupResponse::decode(pdu)?),
            Command::LOGOFF => Self::Logoff(LogoffResponse::decode(pdu)?),
            Command::TREE_CONNECT => Self::TreeConnect(TreeConnectResponse::decode(pdu)?),
            Command::TREE_DISCONNECT => Self::TreeDisconnect(TreeDisconnectResponse::decode(pdu)?),
            Command::CREATE => Self::Create(CreateResponse::decode(pdu)?),
            Command::CLOSE => Self::Close(CloseResponse::decode(pdu)?),
            Command::FLUSH => Self::Flush(FlushResponse::decode(pdu)?),
            Command::READ => Self::Read(ReadResponse::decode(pdu)?),
            Command::WRITE => Self::Write(WriteResponse::decode(pdu)?),
            Command::LOCK => Self::Lock(LockResponse::decode(pdu)?),
            Command::IOCTL => Self::Ioctl(IoctlResponse::decode(pdu)?),
            Command::ECHO => Self::Echo(EchoResponse::decode(pdu)?),
            Command::QUERY_DIRECTORY => Self::QueryDirectory(QueryDirectoryResponse::decode(pdu)?),
            Command::CHANGE_NOTIFY => Self::ChangeNotify(ChangeNotifyResponse::decode(pdu)?),
            Command::QUERY_INFO => Self::QueryInfo(QueryInfoResponse::decode(pdu)?),
            Command::SET_INFO => Self::SetInfo(SetInfoResponse::decode(pdu)?),
            Command::OPLOCK_BREAK => match size {
                44 => Self::LeaseBreakNotification(LeaseBreakNotification::decode(pdu)?),
                36 => Self::LeaseBreak(LeaseBreakResponse::decode(pdu)?),
                _ => Self::OplockBreak(OplockBreak::decode(pdu)?),
            },
            unknown => return Err(unknown_command(unknown)),
        })
    }

    /// Length of the bulk that belongs to this body, in bytes.
    #[must_use]
    pub fn bulk_len(&self) -> u32 {
        match self {
            Self::Read(body) => body.length,
            Self::Negotiate(body) => u32::from(body.security_buffer_length),
            Self::SessionSetup(body) => u32::from(body.security_buffer_length),
            Self::Opaque(body) => body.bulk_len,
            _ => 0,
        }
    }
}

/// Whether a response body of StructureSize `size` is an ERROR response. [MS-SMB2] 2.2.2.
///
/// Four responses share the ERROR response's StructureSize of 9; the status tells them apart.
pub(crate) fn is_error(header: &Header, size: u16) -> bool {
    if size != 9 {
        return false;
    }
    // [MS-SMB2] 3.3.4.4: statuses that are no errors for these commands.
    let own = match header.command {
        Command::SESSION_SETUP => NtStatus::MORE_PROCESSING_REQUIRED,
        Command::QUERY_DIRECTORY | Command::QUERY_INFO => NtStatus::BUFFER_OVERFLOW,
        Command::CHANGE_NOTIFY => NtStatus::NOTIFY_ENUM_DIR,
        _ => return true,
    };
    let status = header.nt_status();
    status != NtStatus::SUCCESS && status != own
}

/// The bulk a body speaks of must be there: one that leads out of the PDU, or into the body's
/// fixed part, cannot be cut out.
fn check_bulk(pdu: &Source<'_>, len: u32) -> Result<(), WireError> {
    let have = pdu.bulk().len();
    if len32(have) == len {
        return Ok(());
    }
    let need = super::wire::to_usize(len);
    Err(WireError::Truncated {
        field: "bulk",
        offset: pdu.bulk().start,
        need,
        have,
    })
}

fn unknown_command(command: Command) -> WireError {
    let got = u64::from(command.0);
    WireError::BadValue {
        field: "Command",
        offset: 12,
        got,
        section: "2.2.1",
    }
}
