//! smb-rs's transport trait over real TCP, and NetBIOS session service on port 139.
//!
//! smb-rs's own `TcpTransport` writes header and body apart and leaves Nagle's algorithm on, which
//! costs some 40 ms an operation; this one sets TCP_NODELAY and writes a frame at once.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;
use smb_transport::{IoVec, SmbTransport, SmbTransportRead, SmbTransportWrite, TransportError};
use smbench_core::event::NetFailure;
use smbench_core::ids::ConnId;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::link::Halves;
use crate::{Endpoint, Network};

type Result<T> = std::result::Result<T, TransportError>;

/// A TCP connection; on port 139 with the NetBIOS session request in front.
#[derive(Debug, Default)]
pub struct TcpTransport {
    reader: Option<BufReader<OwnedReadHalf>>,
    writer: Option<Writer>,
    reset: Arc<AtomicBool>,
}

impl TcpTransport {
    /// An unconnected transport.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection that is open already, as a listener accepts it.
    ///
    /// # Errors
    ///
    /// When TCP_NODELAY cannot be set.
    pub fn from_stream(stream: TcpStream) -> io::Result<Self> {
        let mut this = Self::new();
        this.adopt(stream)?;
        Ok(this)
    }

    /// Setting the flag turns the coming close into a reset.
    #[must_use]
    pub fn reset_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reset)
    }

    pub(crate) fn into_halves(self) -> Result<Halves> {
        let Self {
            reader,
            writer,
            reset,
        } = self;
        if reader.is_none() || writer.is_none() {
            return Err(TransportError::NotConnected);
        }
        let read = Self {
            reader,
            writer: None,
            reset: Arc::clone(&reset),
        };
        let write = Self {
            reader: None,
            writer,
            reset,
        };
        Ok((Box::new(read), Box::new(write)))
    }

    fn adopt(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        self.reader = Some(BufReader::with_capacity(READ_BUFFER, reader));
        self.writer = Some(Writer {
            half: Some(writer),
            reset: Arc::clone(&self.reset),
        });
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut OwnedWriteHalf> {
        let half = self.writer.as_mut().and_then(|writer| writer.half.as_mut());
        half.ok_or(TransportError::NotConnected)
    }

    /// Asks the NetBIOS session service for the SMB server. RFC 1002 4.3.
    async fn request_session(&mut self) -> Result<()> {
        let mut request = vec![0x81, 0, 0, 68];
        request.extend(netbios_name("*SMBSERVER", 0x20));
        request.extend(netbios_name("SMBENCH", 0));
        self.writer()?.write_all(&request).await?;
        let mut answer = [0; 4];
        self.receive_exact(&mut answer).await?;
        let [kind, _, high, low] = answer;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        self.receive_exact(&mut rest).await?;
        if kind == 0x82 {
            return Ok(());
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        Err(TransportError::IoError(refused))
    }
}

impl SmbTransport for TcpTransport {
    fn connect<'a>(&'a mut self, _: &'a str, address: SocketAddr) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.reader.is_some() || self.writer.is_some() {
                return Err(TransportError::AlreadyConnected);
            }
            self.adopt(TcpStream::connect(address).await?)?;
            if address.port() == NETBIOS_PORT {
                self.request_session().await?;
            }
            Ok(())
        })
    }

    fn default_port(&self) -> u16 {
        445
    }

    fn split(self: Box<Self>) -> Result<Halves> {
        self.into_halves()
    }

    fn remote_address(&self) -> Result<SocketAddr> {
        let reader = self.reader.as_ref().ok_or(TransportError::NotConnected)?;
        Ok(reader.get_ref().peer_addr()?)
    }
}

impl SmbTransportWrite for TcpTransport {
    fn send_raw<'a>(&'a mut self, buf: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Ok(self.writer()?.write_all(buf).await?) })
    }

    /// Header and body in one write.
    fn send<'a>(&'a mut self, data: &'a IoVec) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let size = u32::try_from(data.total_size()).ok();
            let size = size.filter(|size| *size <= crate::link::MAX_WIRE_FRAME);
            let header = size.ok_or(TransportError::InvalidMessage)?.to_be_bytes();
            let mut frame = Vec::with_capacity(data.total_size() + header.len());
            frame.extend_from_slice(&header);
            data.iter().for_each(|part| frame.extend_from_slice(part));
            Ok(self.writer()?.write_all(&frame).await?)
        })
    }
}

impl SmbTransportRead for TcpTransport {
    fn receive_exact<'a>(&'a mut self, out_buf: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let reader = self.reader.as_mut().ok_or(TransportError::NotConnected)?;
            reader.read_exact(out_buf).await?;
            Ok(())
        })
    }
}

/// The sending half; its end is the connection's, by FIN or by reset.
#[derive(Debug)]
struct Writer {
    half: Option<OwnedWriteHalf>,
    reset: Arc<AtomicBool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        let zero = Some(Duration::ZERO);
        if self.reset.load(Ordering::SeqCst)
            && SockRef::from(half.as_ref()).set_linger(zero).is_ok()
        {
            half.forget(); // no FIN: the last half to go resets the connection
        }
    }
}

/// A NetBIOS name as the session service wants it. RFC 1001 14.1.
fn netbios_name(name: &str, suffix: u8) -> Vec<u8> {
    let padded = name
        .bytes()
        .chain(std::iter::repeat(b' '))
        .take(15)
        .chain([suffix]);
    let halves = padded
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|half| b'A' + half);
    std::iter::once(32).chain(halves).chain([0]).collect()
}

/// Connections over TCP, each to the endpoint that a mapping gives.
pub struct TcpNetwork<F> {
    endpoint: F,
    resets: BTreeMap<ConnId, Arc<AtomicBool>>,
}

impl<F: FnMut(ConnId) -> Option<Endpoint>> TcpNetwork<F> {
    /// `endpoint` tells where each connection goes.
    pub const fn new(endpoint: F) -> Self {
        Self {
            endpoint,
            resets: BTreeMap::new(),
        }
    }
}

impl<F: FnMut(ConnId) -> Option<Endpoint>> Network for TcpNetwork<F> {
    fn open(
        &mut self,
        conn: ConnId,
    ) -> std::result::Result<(Box<dyn SmbTransport>, Endpoint), NetFailure> {
        let endpoint = (self.endpoint)(conn).ok_or(NetFailure::Unreachable)?;
        let transport = TcpTransport::new();
        self.resets.insert(conn, transport.reset_flag());
        Ok((Box::new(transport), endpoint))
    }

    fn reset(&mut self, conn: ConnId) {
        if let Some(flag) = self.resets.get(&conn) {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

/// Small, as thousands of them are held; long reads go around it.
const READ_BUFFER: usize = 4096;
const NETBIOS_PORT: u16 = 139;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_netbios_name_is_the_one_of_rfc_1001() {
        let name = netbios_name("*SMBSERVER", 0x20);
        assert_eq!(name, b"\x20CKFDENECFDEFFCFGEFFCCACACACACACA\0");
    }

    #[tokio::test]
    async fn a_frame_is_one_write_and_a_reset_is_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut network = TcpNetwork::new(|_| {
            Some(Endpoint {
                server: String::new(),
                address,
            })
        });
        let (mut transport, to) = network.open(ConnId(0)).unwrap();
        transport.connect(&to.server, to.address).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = transport.split().unwrap();
        writer.send(&IoVec::from(vec![1_u8, 2, 3])).await.unwrap();
        let mut got = [0; 7];
        peer.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [0, 0, 0, 3, 1, 2, 3]);
        network.reset(ConnId(0));
        drop((reader, writer));
        let ended = peer.read(&mut got).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }
}
