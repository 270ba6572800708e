//! smb-rs's transport trait over turmoil's TCP, with a scenario's cuts and holds in between.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_core::future::BoxFuture;
use smb_transport::{SmbTransport, SmbTransportRead, SmbTransportWrite, TransportError};
use smbench_core::event::NetFailure;
use smbench_core::ids::{ConnId, LogicalTime};
use smbench_live::{Endpoint, Network};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use turmoil::net::TcpStream;
use turmoil::net::tcp::OwnedReadHalf;

use super::pump::{Pump, elapsed, wait_out};
use super::shared::Names;
use crate::run::Cast;
use crate::scenario::Scenario;
use crate::weather::{Direction, Rng, cuts, holds};

type Result<T> = std::result::Result<T, TransportError>;
type Halves = (Box<dyn SmbTransportRead>, Box<dyn SmbTransportWrite>);

/// Gives every attempt to connect a transport to the simulated server.
#[derive(Debug)]
pub(super) struct SimNetwork {
    scenario: Scenario,
    cast: Cast,
    start: Instant,
    address: SocketAddr,
    names: Names,
    lives: u64,
}

impl SimNetwork {
    pub(super) fn new(
        scenario: Scenario,
        cast: Cast,
        start: Instant,
        address: SocketAddr,
        names: Names,
    ) -> Self {
        Self {
            scenario,
            cast,
            start,
            address,
            names,
            lives: 0,
        }
    }
}

impl Network for SimNetwork {
    fn open(
        &mut self,
        conn: ConnId,
    ) -> std::result::Result<(Box<dyn SmbTransport>, Endpoint), NetFailure> {
        self.lives += 1;
        let client = self.cast.client(conn);
        let now = elapsed(self.start);
        let cut = cuts(&self.scenario, conn, client)
            .into_iter()
            .find(|at| *at > now);
        let holds = holds(&self.scenario, conn, client);
        let numbers = [conn.0.into(), self.lives, Direction::Up as u64 + 1];
        let transport = SimTransport {
            pump: Some(Pump {
                rng: Rng::new(self.scenario.seed, &numbers),
                split: self.scenario.split,
                holds: holds.clone(),
                start: self.start,
            }),
            near: Near {
                holds,
                cut: cut.map(|at| self.start + Duration::from_nanos(at.0)),
                start: self.start,
            },
            name: (self.names.clone(), conn),
            reader: None,
            writer: None,
        };
        let endpoint = Endpoint {
            server: super::SERVER.to_owned(),
            address: self.address,
        };
        Ok((Box::new(transport), endpoint))
    }
}

/// What the client's side of a connection suffers.
#[derive(Clone, Debug)]
struct Near {
    holds: Vec<(LogicalTime, LogicalTime)>,
    cut: Option<Instant>,
    start: Instant,
}

impl Near {
    /// Does `work` unless the connection is cut before it is done.
    async fn unless_cut<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(cut) = self.cut else {
            return work.await;
        };
        tokio::select! {
            biased;
            () = sleep_until(cut) => Err(io::ErrorKind::ConnectionReset.into()),
            done = work => done,
        }
    }
}

struct SimTransport {
    name: (Names, ConnId),
    pump: Option<Pump>,
    near: Near,
    reader: Option<BufReader<OwnedReadHalf>>,
    writer: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl SmbTransport for SimTransport {
    fn connect<'a>(&'a mut self, _: &'a str, address: SocketAddr) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let pump = self.pump.take().ok_or(TransportError::AlreadyConnected)?;
            let near = self.near.clone();
            let connecting = async {
                wait_out(&near.holds, near.start).await;
                let stream = TcpStream::connect(address).await?;
                wait_out(&near.holds, near.start).await;
                Ok(stream)
            };
            let stream = self.near.unless_cut(connecting).await?;
            let (names, conn) = &self.name;
            names.enter(stream.local_addr()?, *conn);
            let (reader, writer) = stream.into_split();
            self.reader = Some(BufReader::new(reader));
            self.writer = Some(pump.start(writer));
            Ok(())
        })
    }

    fn default_port(&self) -> u16 {
        super::PORT
    }

    fn split(self: Box<Self>) -> Result<Halves> {
        let Self {
            name,
            near,
            reader,
            writer,
            ..
        } = *self;
        if reader.is_none() || writer.is_none() {
            return Err(TransportError::NotConnected);
        }
        let half = |reader, writer| Self {
            name: name.clone(),
            pump: None,
            near: near.clone(),
            reader,
            writer,
        };
        Ok((Box::new(half(reader, None)), Box::new(half(None, writer))))
    }

    fn remote_address(&self) -> Result<SocketAddr> {
        let reader = self.reader.as_ref().ok_or(TransportError::NotConnected)?;
        Ok(reader.get_ref().peer_addr()?)
    }
}

impl SmbTransportRead for SimTransport {
    fn receive_exact<'a>(&'a mut self, out: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Self { near, reader, .. } = self;
            let reader = reader.as_mut().ok_or(TransportError::NotConnected)?;
            let reading = async {
                reader.read_exact(out).await?;
                wait_out(&near.holds, near.start).await;
                Ok(())
            };
            Ok(near.unless_cut(reading).await?)
        })
    }
}

impl SmbTransportWrite for SimTransport {
    fn send_raw<'a>(&'a mut self, buf: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let writer = self.writer.as_ref().ok_or(TransportError::NotConnected)?;
            let broken = |_| TransportError::from(io::Error::from(io::ErrorKind::BrokenPipe));
            writer.send(buf.to_vec()).map_err(broken)
        })
    }
}
