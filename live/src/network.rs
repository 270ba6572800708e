//! Where connections come from, and what went wrong with them.

use std::io;
use std::net::SocketAddr;

use smb_transport::{SmbTransport, TransportError};
use smbench_core::event::NetFailure;
use smbench_core::ids::ConnId;

/// The far end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The server's name, for transports that need one (NetBIOS, QUIC) and for Kerberos.
    pub server: String,
    /// Its address; resolved beforehand, so that a run does not depend on a resolver.
    pub address: SocketAddr,
}

/// A source of transports, one for every attempt to connect.
///
/// Any stream transport of smb-rs's trait family will do; frames are put together and taken apart
/// here, with the 4-byte header of [MS-SMB2] 2.1.
pub trait Network {
    /// An unconnected transport for `conn`, and where to connect it to.
    ///
    /// # Errors
    ///
    /// The failure to report for this attempt, when there is no transport for it.
    fn open(&mut self, conn: ConnId) -> Result<(Box<dyn SmbTransport>, Endpoint), NetFailure>;

    /// Makes the coming close of `conn` a reset, where the transport can do that.
    fn reset(&mut self, conn: ConnId) {
        let _ = conn;
    }
}

/// The failure an I/O error stands for.
#[must_use]
pub fn io_failure(error: &io::Error) -> NetFailure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::UnexpectedEof => NetFailure::Eof,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => NetFailure::Reset,
        Kind::ConnectionRefused => NetFailure::Refused,
        Kind::TimedOut => NetFailure::TimedOut,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NotFound => {
            NetFailure::Unreachable
        }
        Kind::InvalidData => NetFailure::Protocol,
        _ => NetFailure::Local,
    }
}

/// The failure a transport's error stands for.
#[must_use]
pub fn transport_failure(error: &TransportError) -> NetFailure {
    match error {
        TransportError::IoError(error) => io_failure(error),
        // smb-rs's own transports say so when the peer closes.
        TransportError::NotConnected => NetFailure::Eof,
        TransportError::Timeout(_) => NetFailure::TimedOut,
        TransportError::InvalidAddress(_) => NetFailure::Unreachable,
        TransportError::InvalidMessage | TransportError::ParseError(_) => NetFailure::Protocol,
        TransportError::AlreadyConnected | TransportError::AlreadySplit => NetFailure::Local,
    }
}
