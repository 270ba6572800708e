//! SMB2/3 on the wire: lossless and total. [MS-SMB2] 2.2.
//!
//! Any complete PDU decodes without panicking and encodes byte for byte. Values nobody has named
//! are kept, bodies that do not parse are kept as bytes, and layouts that are not canonical are
//! kept as [`Quirks`]. Signing, encryption and compression are [`crate::seal`]'s business.

pub mod body;
pub mod cancel;
pub mod change_notify;
pub mod close;
pub mod create;
pub mod create_context;
pub mod echo;
pub mod error;
pub mod error_response;
pub mod flush;
pub mod header;
pub mod ioctl;
pub mod ioctl_payload;
pub mod lock;
pub mod logoff;
pub mod message;
pub mod negotiate;
pub mod negotiate_context;
pub mod oplock_break;
pub mod query_directory;
pub mod query_info;
pub mod quirks;
pub mod read;
pub(crate) mod ser;
pub mod session_setup;
pub mod set_info;
pub mod smb1;
pub mod status;
pub mod text;
pub mod transform;
pub mod tree_connect;
pub mod tree_disconnect;
pub mod types;
pub mod version;
pub(crate) mod wire;
pub mod write;

pub use body::{Body, OpaqueBody, Request, Response};
pub use cancel::CancelRequest;
pub use change_notify::{ChangeNotifyRequest, ChangeNotifyResponse};
pub use close::{CloseRequest, CloseResponse};
pub use create::{CreateRequest, CreateResponse};
pub use create_context::{ContextData, ContextTag, CreateContext, Lease, Side};
pub use echo::{EchoRequest, EchoResponse};
pub use error::WireError;
pub use error_response::ErrorResponse;
pub use flush::{FlushRequest, FlushResponse};
pub use header::{
    Chain, Command, FileId, Guid, HEADER_LEN, Header, HeaderFlags, MessageId, PROTOCOL_ID, Pdu,
    SessionId, TreeId,
};
pub use ioctl::{IoctlRequest, IoctlResponse};
pub use ioctl_payload::{CopyChunk, FileRange, IoctlInput, IoctlOutput};
pub use lock::{LockElement, LockRequest, LockResponse};
pub use logoff::{LogoffRequest, LogoffResponse};
pub use message::{Decoded, Message};
pub use negotiate::{NegotiateRequest, NegotiateResponse};
pub use negotiate_context::{
    Cipher, CompressionAlgorithm, CompressionFlags, HashAlgorithm, NegotiateContext,
    POSIX_EXTENSIONS, RdmaTransform, SigningAlgorithm, TransportFlags,
};
pub use oplock_break::{
    LeaseBreakAck, LeaseBreakNotification, LeaseBreakResponse, OplockBreak, OplockBreakAck,
};
pub use query_directory::{QueryDirectoryRequest, QueryDirectoryResponse};
pub use query_info::{QueryInfoRequest, QueryInfoResponse};
pub use quirks::{Patch, Quirks};
pub use read::{ReadRequest, ReadResponse};
pub use session_setup::{SessionSetupRequest, SessionSetupResponse};
pub use set_info::{SetInfoRequest, SetInfoResponse};
pub use smb1::{SMB1_PROTOCOL_ID, Smb1Negotiate};
pub use status::{NtStatus, SEVERITIES};
pub use text::Name;
pub use transform::{
    COMPRESSION_ID, CompressedFrame, CompressedPayload, PatternV1, TRANSFORM_ID, TRANSFORM_LEN,
    TransformHeader,
};
pub use tree_connect::{TreeConnectRequest, TreeConnectResponse};
pub use tree_disconnect::{TreeDisconnectRequest, TreeDisconnectResponse};
pub use types::*;
pub use write::{WriteRequest, WriteResponse};
