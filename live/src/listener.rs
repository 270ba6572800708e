//! Puts a frame service on a real TCP port.
//!
//! The service is sans-IO and runs in one task; the tasks of the connections only move bytes. This
//! is how the model server answers real clients.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use smbench_core::event::NetFailure;
use smbench_core::ids::LogicalTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::link::{Link, LinkEvent, LinkId, MAX_WIRE_FRAME};
use crate::service::{FrameService, ServiceOutput};
use crate::tcp::TcpTransport;
use crate::timer::{PreciseTimer, Timer};

/// What a listener did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServeStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted connections given up before they reached the service.
    pub not_adopted: u64,
    /// Attempts to accept that failed.
    pub accept_failures: u64,
    /// Connections that ended by themselves, and why.
    pub closed: BTreeMap<NetFailure, u64>,
    /// Connections ended because their client did not read.
    pub too_slow: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames for connections that were gone.
    pub undeliverable: u64,
}

/// Serves until `shutdown` is ready. Times given to the service count from now.
///
/// # Errors
///
/// When the operating system grants no timer. Failures of single connections are counted.
pub async fn serve<S: FrameService>(
    listener: TcpListener,
    service: &mut S,
    shutdown: impl Future<Output = ()>,
) -> io::Result<ServeStats> {
    let mut timer = PreciseTimer::new()?;
    let (to_events, mut events) = mpsc::channel(EVENTS);
    let mut host = Host {
        service,
        links: BTreeMap::new(),
        next: 0,
        start: Instant::now(),
        last: LogicalTime::ZERO,
        to_events,
        stats: ServeStats::default(),
    };
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let wake = host.settle();
        let deadline = wake.map(|at| host.start + Duration::from_nanos(at.0));
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = timer.sleep_until(deadline.unwrap_or(host.start)), if deadline.is_some() => {
                let now = host.now();
                host.service.wake(now);
            }
            Some(event) = events.recv() => host.happened(event),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => host.accept(stream),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    host.stats.accept_failures += 1;
                    // Out of descriptors, most likely: do not spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    for (_, link) in std::mem::take(&mut host.links) {
        let _ = tokio::time::timeout(CLOSE_LIMIT, link.close()).await;
    }
    Ok(host.stats)
}

struct Host<'a, S> {
    service: &'a mut S,
    links: BTreeMap<u64, Link>,
    next: u64,
    start: Instant,
    last: LogicalTime,
    to_events: mpsc::Sender<LinkEvent>,
    stats: ServeStats,
}

impl<S: FrameService> Host<'_, S> {
    fn now(&mut self) -> LogicalTime {
        let elapsed = self.start.elapsed().as_nanos();
        self.last = self
            .last
            .max(LogicalTime(u64::try_from(elapsed).unwrap_or(u64::MAX)));
        self.last
    }

    fn accept(&mut self, stream: TcpStream) {
        let id = LinkId {
            conn: self.next,
            generation: 0,
        };
        self.next += 1;
        self.stats.accepted += 1;
        let halves = TcpTransport::from_stream(stream)
            .ok()
            .and_then(|it| it.into_halves().ok());
        let Some(halves) = halves else {
            self.stats.not_adopted += 1;
            return;
        };
        let limit = usize::try_from(MAX_WIRE_FRAME).unwrap_or(usize::MAX);
        self.links.insert(
            id.conn,
            Link::start(id, halves, limit, self.to_events.clone()),
        );
        let now = self.now();
        self.service.opened(now, id.conn);
    }

    fn happened(&mut self, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Frame(id, frame) if self.links.contains_key(&id.conn) => {
                self.stats.frames_in += 1;
                self.service.frame(now, id.conn, frame);
            }
            LinkEvent::Closed(id, reason) => {
                if let Some(link) = self.links.remove(&id.conn) {
                    link.abort();
                    *self.stats.closed.entry(reason).or_default() += 1;
                    self.service.closed(now, id.conn);
                }
            }
            LinkEvent::Room(id) => {
                if let Some(link) = self.links.get_mut(&id.conn) {
                    link.flush();
                }
            }
            // Frames of a connection the service has closed; a listener never connects.
            LinkEvent::Frame(..) | LinkEvent::Connected(..) => {}
        }
    }

    /// Does what the service wants, until it wants to wait.
    fn settle(&mut self) -> Option<LogicalTime> {
        loop {
            let now = self.now();
            match self.service.poll(now) {
                ServiceOutput::WakeAt(at) => return at,
                ServiceOutput::Close { conn } => {
                    if let Some(link) = self.links.remove(&conn) {
                        drop(link.close()); // its task goes on until everything has left
                        self.service.closed(now, conn);
                    }
                }
                ServiceOutput::Send { conn, frame } => {
                    match self.links.get_mut(&conn).map(|link| link.send(&frame)) {
                        None => self.stats.undeliverable += 1,
                        Some(Ok(_)) => self.stats.frames_out += 1,
                        Some(Err(_)) => {
                            self.stats.too_slow += 1;
                            if let Some(link) = self.links.remove(&conn) {
                                link.abort();
                            }
                            self.service.closed(now, conn);
                        }
                    }
                }
            }
        }
    }
}

const EVENTS: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends every frame back, the second one of a connection late; closes after the third.
    #[derive(Default)]
    struct Echo {
        out: VecDeque<ServiceOutput>,
        late: Option<(LogicalTime, u64, Vec<u8>)>,
        seen: BTreeMap<u64, u32>,
        closed: Vec<u64>,
    }

    impl FrameService for Echo {
        fn opened(&mut self, _: LogicalTime, conn: u64) {
            self.seen.insert(conn, 0);
        }

        fn closed(&mut self, _: LogicalTime, conn: u64) {
            self.closed.push(conn);
        }

        fn frame(&mut self, now: LogicalTime, conn: u64, frame: Vec<u8>) {
            let seen = self.seen.get_mut(&conn).unwrap();
            *seen += 1;
            match *seen {
                2 => self.late = Some((now.plus_nanos(3_000_000), conn, frame)),
                count => {
                    self.out.push_back(ServiceOutput::Send { conn, frame });
                    if count == 3 {
                        self.out.push_back(ServiceOutput::Close { conn });
                    }
                }
            }
        }

        fn wake(&mut self, now: LogicalTime) {
            let (at, conn, frame) = self.late.take().unwrap();
            assert!(now >= at);
            self.out.push_back(ServiceOutput::Send { conn, frame });
        }

        fn poll(&mut self, _: LogicalTime) -> ServiceOutput {
            let wait = self.late.as_ref().map(|(at, ..)| *at);
            self.out.pop_front().unwrap_or(ServiceOutput::WakeAt(wait))
        }
    }

    #[tokio::test]
    async fn a_service_answers_wakes_and_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut echo = Echo::default();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for frame in [
                &[0, 0, 0, 2, 7, 8][..],
                &[0, 0, 0, 1, 9],
                &[0x85, 0, 0, 0, 0, 0, 0, 1, 5],
            ] {
                stream.write_all(frame).await.unwrap();
                let mut back = vec![0; frame.len() % 7 % 3 + 4 + usize::from(frame.len() == 6) * 2];
                back.truncate(if frame.len() == 6 { 6 } else { 5 });
                stream.read_exact(&mut back).await.unwrap();
                assert!(frame.ends_with(&back));
            }
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            let mut liar = TcpStream::connect(address).await.unwrap();
            liar.write_all(&[0x47, 0, 0, 0]).await.unwrap();
            assert_eq!(liar.read(&mut [0; 1]).await.unwrap(), 0);
        };
        let stats = serve(listener, &mut echo, client).await.unwrap();
        assert_eq!(
            (stats.accepted, stats.frames_in, stats.frames_out),
            (2, 3, 3)
        );
        assert_eq!(stats.closed, BTreeMap::from([(NetFailure::Protocol, 1)]));
        assert_eq!(echo.closed, [0, 1]);
    }
}
