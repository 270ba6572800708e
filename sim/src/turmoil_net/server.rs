//! The server's host: accepts connections, gives frames to the service, sends what it answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use smbench_core::ids::LogicalTime;
use smbench_live::{FrameService, ServiceHost};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use turmoil::net::TcpListener;
use turmoil::net::tcp::OwnedReadHalf;

use super::pump::{Pump, elapsed};
use super::shared::Names;
use crate::run::Wire;
use crate::scenario::Scenario;
use crate::weather::{Direction, Rng};

/// The service and what the simulation keeps of it.
pub(super) struct Served<S> {
    service: S,
    seed: u64,
    split: bool,
    start: Option<Instant>,
    conns: BTreeMap<u64, mpsc::UnboundedSender<Vec<u8>>>,
    /// Where each connection came from, by its number.
    origins: BTreeMap<u64, SocketAddr>,
    names: Names,
    wires: Vec<Wire>,
    opened: u64,
    frames: u64,
    lost: u64,
    wake: Option<LogicalTime>,
}

impl<S: FrameService> ServiceHost for Served<S> {
    type Service = S;

    fn service(&mut self) -> &mut S {
        &mut self.service
    }

    fn now(&mut self) -> LogicalTime {
        elapsed(*self.start.get_or_insert_with(Instant::now))
    }

    fn send(&mut self, conn: u64, frame: Vec<u8>) {
        self.frames += 1;
        if let Some(wire) = self.wire(conn) {
            wire.down.add(&frame);
        }
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let framed = [&len.to_be_bytes(), frame.as_slice()].concat();
        let writer = self.conns.get(&conn);
        let sent = writer.is_some_and(|writer| writer.send(framed).is_ok());
        self.lost += u64::from(!sent);
    }

    fn close(&mut self, conn: u64) {
        self.conns.remove(&conn);
    }
}

impl<S: FrameService> Served<S> {
    pub(super) fn new(service: S, scenario: &Scenario, conns: usize, names: Names) -> Self {
        Self {
            service,
            seed: scenario.seed,
            split: scenario.split,
            start: None,
            conns: BTreeMap::new(),
            origins: BTreeMap::new(),
            names,
            wires: vec![Wire::default(); conns],
            opened: 0,
            frames: 0,
            lost: 0,
            wake: None,
        }
    }

    /// What each connection carried, by its [`ConnId`](smbench_core::ids::ConnId).
    pub(super) fn wires(&self) -> Vec<Wire> {
        self.wires.clone()
    }

    pub(super) fn into_service(self) -> S {
        self.service
    }

    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that came or were to go when their connection had ended at the server.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) const fn wake(&self) -> Option<LogicalTime> {
        self.wake
    }

    pub(super) fn open(&self) -> usize {
        self.conns.len()
    }

    fn wire(&mut self, conn: u64) -> Option<&mut Wire> {
        let name = self.names.get(self.origins.get(&conn)?)?;
        self.wires.get_mut(name.index())
    }

    fn happened(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Accepted { conn, writer } => {
                self.conns.insert(conn, writer);
                self.service.opened(now, conn);
            }
            Event::Frame { conn, frame } => {
                self.frames += 1;
                if let Some(wire) = self.wire(conn) {
                    wire.up.add(&frame);
                }
                if self.conns.contains_key(&conn) {
                    self.service.frame(now, conn, frame);
                } else {
                    self.lost += 1;
                }
            }
            Event::Ended { conn } => {
                if self.conns.remove(&conn).is_some() {
                    self.service.closed(now, conn);
                }
            }
        }
        self.drain();
    }

    fn wake_up(&mut self) {
        let now = self.now();
        self.service.wake(now);
        self.drain();
    }

    fn drain(&mut self) {
        self.wake = self.settle();
    }

    /// The next connection's number, and how what is sent on it is cut.
    fn accept(&mut self, origin: SocketAddr) -> (u64, Pump) {
        let _ = self.now();
        self.opened += 1;
        self.origins.insert(self.opened, origin);
        let numbers = [self.opened, Direction::Down as u64 + 1];
        let pump = Pump {
            rng: Rng::new(self.seed, &numbers),
            split: self.split,
            holds: Vec::new(),
            start: self.start.unwrap_or_else(Instant::now),
        };
        (self.opened, pump)
    }
}

enum Event {
    Accepted {
        conn: u64,
        writer: mpsc::UnboundedSender<Vec<u8>>,
    },
    Frame {
        conn: u64,
        frame: Vec<u8>,
    },
    Ended {
        conn: u64,
    },
}

/// The server host's software.
pub(super) async fn serve<S: FrameService + 'static>(
    served: Rc<RefCell<Served<S>>>,
) -> turmoil::Result {
    let start = {
        let mut served = served.borrow_mut();
        served.now();
        served.start
    };
    let (events, mut happened) = mpsc::unbounded_channel();
    tokio::task::spawn_local(accept(Rc::clone(&served), events));
    loop {
        let wake = served.borrow().wake;
        let deadline = wake.zip(start);
        let deadline = deadline.map(|(at, start)| start + Duration::from_nanos(at.0));
        tokio::select! {
            biased;
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                served.borrow_mut().wake_up();
            }
            event = happened.recv() => match event {
                Some(event) => served.borrow_mut().happened(event),
                None => return Err("the listener's task ended".into()),
            },
        }
    }
}

async fn accept<S: FrameService>(
    served: Rc<RefCell<Served<S>>>,
    events: mpsc::UnboundedSender<Event>,
) -> turmoil::Result {
    let listener =
        TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, super::PORT))).await?;
    loop {
        let (stream, origin) = listener.accept().await?;
        let (conn, pump) = served.borrow_mut().accept(origin);
        let (reader, writer) = stream.into_split();
        let writer = pump.start(writer);
        events.send(Event::Accepted { conn, writer })?;
        tokio::spawn(read(conn, BufReader::new(reader), events.clone()));
    }
}

/// Reads frames until the connection ends. [MS-SMB2] 2.1.
async fn read(conn: u64, mut from: BufReader<OwnedReadHalf>, events: mpsc::UnboundedSender<Event>) {
    let mut header = [0; 4];
    while from.read_exact(&mut header).await.is_ok() {
        let len = usize::try_from(u32::from_be_bytes(header) & 0x00ff_ffff).unwrap_or(0);
        let mut frame = vec![0; len];
        let whole = from.read_exact(&mut frame).await.is_ok();
        if !whole || events.send(Event::Frame { conn, frame }).is_err() {
            break;
        }
    }
    let _ = events.send(Event::Ended { conn });
}
