//! A service behind a listener, and clients that mean harm to it.

use std::collections::VecDeque;

use smbench_core::event::NetFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::service::ServiceOutput;

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
    let mut seen = Vec::new();
    let look = |it: &Serving<'_, Echo>| seen.push((it.stats.frames_in, it.connections));
    let (limits, often) = (ListenLimits::default(), Some(Duration::ZERO));
    let stats = serve_watched(listener, &mut echo, limits, client, often, look)
        .await
        .unwrap();
    assert_eq!(
        (stats.accepted, stats.frames_in, stats.frames_out),
        (2, 3, 3)
    );
    assert_eq!((stats.bytes_in, stats.bytes_out), (16, 16));
    assert_eq!(seen[0], (0, 0));
    assert!(seen.contains(&(2, 1)), "{seen:?}");
    let ended = [
        (Ending::Network(NetFailure::Protocol), 1),
        (Ending::Service, 1),
    ];
    assert_eq!(stats.ended, BTreeMap::from(ended));
    assert_eq!(echo.closed, [0, 1]);
}

/// Sends every frame back at once; who has sent `hello` is known.
#[derive(Default)]
struct Mirror {
    out: VecDeque<ServiceOutput>,
    known: Vec<u64>,
    closed: Vec<u64>,
    /// How often a frame comes back.
    times: usize,
}

impl FrameService for Mirror {
    fn opened(&mut self, _: LogicalTime, _: u64) {}

    fn closed(&mut self, _: LogicalTime, conn: u64) {
        self.closed.push(conn);
    }

    fn frame(&mut self, _: LogicalTime, conn: u64, frame: Vec<u8>) {
        if frame == b"hello" {
            self.known.push(conn);
        }
        for _ in 0..self.times.max(1) {
            let frame = frame.clone();
            self.out.push_back(ServiceOutput::Send { conn, frame });
        }
    }

    fn wake(&mut self, _: LogicalTime) {}

    fn poll(&mut self, _: LogicalTime) -> ServiceOutput {
        self.out.pop_front().unwrap_or(ServiceOutput::WakeAt(None))
    }

    fn is_known(&self, conn: u64) -> bool {
        self.known.contains(&conn)
    }
}

async fn framed(stream: &mut TcpStream, frame: &[u8]) {
    let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len, frame].concat()).await.unwrap();
}

/// The same frame comes back, soon.
async fn echoed(stream: &mut TcpStream, frame: &[u8]) {
    framed(stream, frame).await;
    let mut back = vec![0; frame.len() + 4];
    let read = stream.read_exact(&mut back);
    timeout(PATIENCE, read).await.expect("in time").unwrap();
    assert!(back.ends_with(frame));
}

async fn known(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    echoed(&mut stream, b"hello").await;
    stream
}

/// The connection ends, soon: by FIN, or by reset when something was not read.
async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    drop(read.expect("in time"));
}

/// Limits that tests can reach.
fn small() -> ListenLimits {
    ListenLimits {
        connections: 64,
        stranger_frame: 1_000,
        incoming: 1 << 20,
        frame_time: Duration::from_secs(600),
        scarce: Duration::from_millis(300),
        outgoing_each: 1 << 20,
        outgoing: 8 << 20,
        unread_time: Duration::from_secs(600),
    }
}

async fn with<F: Future<Output = ()>>(
    limits: ListenLimits,
    mut service: Mirror,
    clients: impl FnOnce(std::net::SocketAddr) -> F,
) -> ServeStats {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, &mut service, limits, clients(address))
        .await
        .unwrap()
}

#[tokio::test]
async fn half_sent_frames_are_held_only_as_far_as_there_is_memory() {
    let stats = with(small(), Mirror::default(), |address| async move {
        let mut honest = known(address).await;
        let mut halves = Vec::new();
        for _ in 0..30 {
            let mut half = known(address).await;
            half.write_all(&[0, 8, 0, 0]).await.unwrap(); // 512 KiB, of which a third comes
            half.write_all(&[7; 170 << 10]).await.unwrap();
            halves.push(half);
            echoed(&mut honest, b"still served").await;
        }
        // Longer than the limit alone: it gets through all the same.
        echoed(&mut honest, &vec![9; 2 << 20]).await;
        for half in &mut halves {
            drop(half.shutdown().await);
        }
    });
    let stats = stats.await;
    assert!(stats.ended[&Ending::Crowded] >= 20, "{stats:?}");
    assert!(stats.most_incoming <= 3 << 20, "{stats:?}");
}

#[tokio::test]
async fn a_frame_has_to_be_complete_in_time() {
    let limits = ListenLimits {
        frame_time: Duration::from_millis(100),
        ..small()
    };
    let stats = with(limits, Mirror::default(), |address| async move {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut in_header = TcpStream::connect(address).await.unwrap();
        in_header.write_all(&[0, 0]).await.unwrap();
        let mut in_body = TcpStream::connect(address).await.unwrap();
        in_body.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        ends(&mut in_header).await;
        ends(&mut in_body).await;
        echoed(&mut idle, b"between frames there is no hurry").await;
    });
    let stats = stats.await;
    assert_eq!(stats.ended, BTreeMap::from([(Ending::Stalled, 2)]));
}

#[tokio::test]
async fn strangers_send_short_frames_and_make_room_for_others() {
    let limits = ListenLimits {
        connections: 3,
        ..small()
    };
    let service = Mirror::default();
    let stats = with(limits, service, |address| async move {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        echoed(&mut stranger, &[1; 1_000]).await;
        framed(&mut stranger, &[1; 1_001]).await;
        ends(&mut stranger).await;
        let mut first = known(address).await;
        echoed(&mut first, &[1; 1_001]).await;
        let mut stranger = TcpStream::connect(address).await.unwrap();
        let mut second = known(address).await;
        let mut third = known(address).await;
        ends(&mut stranger).await;
        // All are known now: the next one has to go.
        let mut late = TcpStream::connect(address).await.unwrap();
        ends(&mut late).await;
        for stream in [&mut first, &mut second, &mut third] {
            echoed(stream, b"still here").await;
        }
    });
    let stats = stats.await;
    let ended = [(Ending::StrangerFrame, 1), (Ending::Displaced, 2)];
    assert_eq!(stats.ended, BTreeMap::from(ended));
    assert_eq!((stats.accepted, stats.not_adopted), (6, 1));
}

#[tokio::test]
async fn who_does_not_read_is_not_answered_without_end() {
    let service = Mirror {
        times: 4,
        ..Mirror::default()
    };
    let stats = with(small(), service, |address| async move {
        let mut honest = known(address).await;
        let mut deaf = Vec::new();
        for _ in 0..8 {
            let mut stream = known(address).await;
            // What is not answered waits in the sender's own buffers in the end.
            let flood = async { stream.write_all(&request().repeat(200)).await };
            drop(timeout(Duration::from_millis(100), flood).await);
            deaf.push(stream);
            for _ in 0..2 {
                framed(&mut honest, b"x").await;
            }
        }
        let mut answers = vec![0; 8 * 2 * 4 * 5 + 3 * 9];
        let read = honest.read_exact(&mut answers);
        timeout(PATIENCE, read).await.expect("in time").unwrap();
    });
    let stats = stats.await;
    assert!(stats.ended[&Ending::Unread] >= 1, "{stats:?}");
    // Each is answered as far as its own limit and the system's buffers go, not 800 times 256 KiB.
    assert!(stats.frames_out < 8 * 100, "{stats:?}");
}

#[tokio::test]
async fn who_does_not_read_at_all_is_ended() {
    let limits = ListenLimits {
        unread_time: Duration::from_millis(100),
        outgoing: 1 << 30,
        ..small()
    };
    let stats = with(limits, Mirror::default(), |address| async move {
        let mut deaf = known(address).await;
        let flood = async { while deaf.write_all(&request()).await.is_ok() {} };
        timeout(PATIENCE, flood).await.expect("in time");
    });
    let stats = stats.await;
    assert_eq!(stats.ended[&Ending::Unread], 1, "{stats:?}");
}

#[tokio::test]
async fn one_that_sends_without_end_keeps_nobody_waiting() {
    let stats = with(small(), Mirror::default(), |address| async move {
        let mut flood = known(address).await;
        let (mut from, mut to) = flood.split();
        let flooding = async {
            let frames = [0, 0, 0, 1, 7].repeat(10_000);
            while to.write_all(&frames).await.is_ok() {}
        };
        let draining = async {
            let mut sink = vec![0; 1 << 16];
            while from.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        };
        let honest = async {
            for _ in 0..20 {
                let mut honest = known(address).await;
                echoed(&mut honest, b"and answered").await;
            }
        };
        tokio::select! {
            () = honest => {}
            () = flooding => panic!("the flood ended"),
            () = draining => panic!("the flood ended"),
        }
    });
    let stats = stats.await;
    assert_eq!(stats.accepted, 21);
}

/// A frame of 256 KiB.
fn request() -> Vec<u8> {
    [&[0, 4, 0, 0][..], &[7; 256 << 10]].concat()
}

/// What no step of a test takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);
