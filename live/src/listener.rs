//! Puts a frame service on a real TCP port.
//!
//! The service is sans-IO and runs in one task; the tasks of the connections only move bytes. This
//! is how the model server answers real clients, whatever they mean by it: what they can make it
//! hold is in [`ListenLimits`].
//!
//! | file      | holds                                                |
//! |-----------|------------------------------------------------------|
//! | `limits`  | the limits, and the ways in which a connection ends  |
//! | `intake`  | the reading task of a connection                     |
//! | `outlet`  | the writing task, and what has not left yet          |

mod intake;
mod limits;
mod outlet;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use smbench_core::ids::LogicalTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use self::limits::{Ending, ListenLimits};

use self::intake::{Event, Intake};
use self::outlet::Unsent;
use crate::driver::Looks;
use crate::link::MAX_WIRE_FRAME;
use crate::room::Room;
use crate::service::{FrameService, ServiceHost};
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
    /// Connections that ended before the service did, and why.
    pub ended: BTreeMap<Ending, u64>,
    /// Frames received.
    pub frames_in: u64,
    /// Bytes of them, transport headers included.
    pub bytes_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of them, transport headers included.
    pub bytes_out: u64,
    /// Frames for connections that were gone.
    pub undeliverable: u64,
    /// Most bytes that frames on their way in held at a time.
    pub most_incoming: usize,
}

/// A listener as it is now.
#[derive(Debug)]
pub struct Serving<'a, S> {
    /// What it did so far.
    pub stats: &'a ServeStats,
    /// The service.
    pub service: &'a S,
    /// Connections that are open.
    pub connections: u64,
    /// Bytes of frames on their way in.
    pub incoming_bytes: u64,
    /// Bytes of answers that have not left.
    pub unsent_bytes: u64,
}

/// Serves until `shutdown` is ready. Times given to the service count from now.
///
/// # Errors
///
/// When the operating system grants no timer. Failures of single connections are counted.
pub async fn serve<S: FrameService>(
    listener: TcpListener,
    service: &mut S,
    limits: ListenLimits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<ServeStats> {
    serve_watched(listener, service, limits, shutdown, None, |_| ()).await
}

/// The same; `look` is shown it `every` so often, if ever.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_watched<S: FrameService>(
    listener: TcpListener,
    service: &mut S,
    limits: ListenLimits,
    shutdown: impl Future<Output = ()>,
    every: Option<Duration>,
    mut look: impl FnMut(&Serving<'_, S>),
) -> io::Result<ServeStats> {
    let mut looks = Looks::every(every);
    let mut timer = PreciseTimer::new()?;
    let (to_events, mut events) = mpsc::channel(EVENTS);
    let mut host = Host::new(service, limits, to_events);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let wake = host.settle();
        while let Some(complaint) = host.service.complaint() {
            tracing::warn!("{complaint}");
        }
        if looks.are_due() {
            look(&host.serving());
        }
        let deadline = wake.map(|at| host.start + Duration::from_nanos(at.0));
        let (accepts, now) = (host.accepts_from, Instant::now());
        // Clients that send without end must not keep others from connecting, nor the other way
        // round: which of the two comes first is left to chance.
        let next = async {
            tokio::select! {
                Some(event) = events.recv() => Next::Event(event),
                accepted = listener.accept(), if accepts <= now => Next::Accepted(accepted),
                () = sleep_until(accepts), if accepts > now => Next::AcceptAgain,
            }
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = timer.sleep_until(deadline.unwrap_or(host.start)), if deadline.is_some() => {
                let now = host.now();
                host.service.wake(now);
            }
            next = next => match next {
                Next::Event(event) => host.happened(event),
                Next::Accepted(Ok((stream, _))) => host.accept(stream),
                Next::Accepted(Err(error)) => host.cannot_accept(&error),
                Next::AcceptAgain => {}
            },
            () = looks.wait() => {} // it is due now
        }
    }
    Ok(host.end().await)
}

enum Next {
    Event(Event),
    Accepted(io::Result<(TcpStream, std::net::SocketAddr)>),
    AcceptAgain,
}

/// A connection.
struct Peer {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    unsent: Arc<Unsent>,
    known: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

struct Host<'a, S> {
    service: &'a mut S,
    limits: Arc<ListenLimits>,
    /// Connections, the oldest first.
    peers: BTreeMap<u64, Peer>,
    next: u64,
    start: Instant,
    last: LogicalTime,
    accepts_from: Instant,
    room: Room,
    unsent: Arc<AtomicUsize>,
    to_events: mpsc::Sender<Event>,
    stats: ServeStats,
}

impl<S: FrameService> ServiceHost for Host<'_, S> {
    type Service = S;

    fn service(&mut self) -> &mut S {
        self.service
    }

    fn now(&mut self) -> LogicalTime {
        let elapsed = self.start.elapsed().as_nanos();
        self.last = self
            .last
            .max(LogicalTime(u64::try_from(elapsed).unwrap_or(u64::MAX)));
        self.last
    }

    fn send(&mut self, conn: u64, frame: Vec<u8>) {
        self.deliver(conn, &frame);
    }

    fn close(&mut self, conn: u64) {
        if let Some(peer) = self.peers.remove(&conn) {
            peer.reader.abort();
            drop(peer.queue); // its task goes on until everything has left
            self.count(Ending::Service);
            let now = self.now();
            self.service.closed(now, conn);
        }
    }
}

impl<'a, S: FrameService> Host<'a, S> {
    fn new(service: &'a mut S, limits: ListenLimits, to_events: mpsc::Sender<Event>) -> Self {
        let start = Instant::now();
        Self {
            service,
            room: Room::new(limits.incoming, limits.scarce),
            limits: Arc::new(limits),
            peers: BTreeMap::new(),
            next: 0,
            start,
            last: LogicalTime::ZERO,
            accepts_from: start,
            unsent: Arc::default(),
            to_events,
            stats: ServeStats::default(),
        }
    }

    /// The listener as it is now.
    fn serving(&self) -> Serving<'_, S> {
        Serving {
            stats: &self.stats,
            service: self.service,
            connections: self.peers.len() as u64,
            incoming_bytes: self.room.held() as u64,
            unsent_bytes: self.unsent.load(Ordering::SeqCst) as u64,
        }
    }

    fn accept(&mut self, stream: TcpStream) {
        self.stats.accepted += 1;
        if self.peers.len() >= self.limits.connections && !self.displace() {
            self.count(Ending::Displaced);
            self.stats.not_adopted += 1;
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "a connection cannot be set up");
            self.stats.not_adopted += 1;
            return;
        }
        let conn = self.next;
        self.next += 1;
        let (from, to) = stream.into_split();
        let unsent = Arc::new(Unsent::new(self.start, Arc::clone(&self.unsent)));
        let known = Arc::new(AtomicBool::new(false));
        let intake = Intake {
            conn,
            limits: Arc::clone(&self.limits),
            room: self.room.clone(),
            known: Arc::clone(&known),
            unsent: Arc::clone(&unsent),
            events: self.to_events.clone(),
        };
        let (queue, frames) = mpsc::unbounded_channel();
        let (about, limits) = (Arc::clone(&unsent), Arc::clone(&self.limits));
        let writer = outlet::run(conn, to, frames, about, limits, self.to_events.clone());
        let peer = Peer {
            queue,
            unsent,
            known,
            reader: tokio::spawn(intake.run(from)),
            writer: tokio::spawn(writer),
        };
        self.peers.insert(conn, peer);
        let now = self.now();
        self.service.opened(now, conn);
    }

    /// Out of descriptors, most likely: those of who has not logged in are worth least.
    fn cannot_accept(&mut self, error: &io::Error) {
        tracing::warn!(%error, "accept failed");
        self.stats.accept_failures += 1;
        // What is ended here gives its descriptor back at the next turn.
        let pause = if self.displace() { TURN } else { ACCEPT_PAUSE };
        self.accepts_from = Instant::now() + pause;
    }

    /// Ends the oldest connection whose client has not logged in, if there is one.
    fn displace(&mut self) -> bool {
        let stranger = |peer: &Peer| !peer.known.load(Ordering::SeqCst);
        let mut peers = self.peers.iter();
        let oldest = peers.find(|(_, peer)| stranger(peer)).map(|(id, _)| *id);
        oldest.is_some_and(|conn| {
            self.end_one(conn, Ending::Displaced);
            true
        })
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Frame(conn, held) => {
                let Some(peer) = self.peers.get(&conn) else {
                    return; // of a connection that was ended here
                };
                let known = Arc::clone(&peer.known);
                self.stats.frames_in += 1;
                self.stats.most_incoming = self.stats.most_incoming.max(self.room.held());
                let now = self.now();
                let (frame, memory) = held.take();
                self.stats.bytes_in += frame.len() as u64 + 4;
                self.service.frame(now, conn, frame);
                drop(memory);
                known.store(self.service.is_known(conn), Ordering::SeqCst);
            }
            Event::Ended(conn, ending) => self.end_one(conn, ending),
        }
    }

    /// Ends a connection at once, whatever is queued.
    fn end_one(&mut self, conn: u64, ending: Ending) {
        if let Some(peer) = self.peers.remove(&conn) {
            peer.reader.abort();
            peer.writer.abort();
            peer.unsent.forget();
            self.count(ending);
            let now = self.now();
            self.service.closed(now, conn);
        }
    }

    fn count(&mut self, ending: Ending) {
        let count = self.stats.ended.entry(ending).or_default();
        *count += 1;
        // The first of its kind is told, and then ever more rarely: clients cannot fill a log.
        if let Some(limit) = ending.limit().filter(|_| count.is_power_of_two()) {
            tracing::warn!(count, "connection ended: {limit}");
        }
    }

    fn deliver(&mut self, conn: u64, frame: &[u8]) {
        let Some(peer) = self.peers.get(&conn) else {
            self.stats.undeliverable += 1;
            return;
        };
        let len = u32::try_from(frame.len()).ok();
        let Some(len) = len.filter(|len| *len <= MAX_WIRE_FRAME) else {
            debug_assert!(false, "a frame of {} bytes", frame.len());
            tracing::error!(bytes = frame.len(), "the service made too long a frame");
            self.stats.undeliverable += 1;
            return self.end_one(conn, Ending::Service);
        };
        let mut framed = Vec::with_capacity(frame.len() + 4);
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(frame);
        let bytes = framed.len() as u64;
        peer.unsent.add(framed.len());
        if peer.queue.send(framed).is_err() {
            self.stats.undeliverable += 1; // its writer has failed, and says why
            return;
        }
        self.stats.frames_out += 1;
        self.stats.bytes_out += bytes;
        while self.unsent.load(Ordering::SeqCst) > self.limits.outgoing {
            let waiting = self.peers.iter();
            let waiting = waiting.filter_map(|(id, peer)| Some((peer.unsent.waits_since()?, *id)));
            let Some((_, slowest)) = waiting.min() else {
                break; // only what was closed waits, and that has its own time limit
            };
            self.end_one(slowest, Ending::Unread);
        }
    }

    /// Lets what is queued leave, for a moment.
    async fn end(mut self) -> ServeStats {
        let deadline = Instant::now() + CLOSE_LIMIT;
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.reader.abort();
            drop(peer.queue);
            let abort = peer.writer.abort_handle();
            if timeout_at(deadline, peer.writer).await.is_err() {
                abort.abort();
            }
        }
        self.stats
    }
}

const EVENTS: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TURN: Duration = Duration::from_millis(1);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
