//! A server on loopback that answers any client well enough, and the hands to do it badly.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What a server does with the client's frames. `Ok` takes the next one, `Err` ends the connection.
pub(crate) type Behaviour = fn(&mut Peer, &Frame) -> io::Result<()>;

/// A frame of a client.
pub(crate) struct Frame {
    /// Without its transport header.
    pub(crate) bytes: Vec<u8>,
    /// How many came on this connection before it.
    pub(crate) on_conn: usize,
    /// How many came on all connections before it.
    pub(crate) in_all: usize,
}

/// One connection, seen from the server.
pub(crate) struct Peer {
    stream: TcpStream,
    /// Which connection it is, from 0.
    pub(crate) number: usize,
    stop: Arc<AtomicBool>,
    next_id: u32,
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    stop: Arc<AtomicBool>,
    connects_to: SocketAddr,
}

impl Server {
    /// `greet` is done with every connection before anything has come; `answer` with every frame.
    pub(crate) fn start(greet: fn(&mut Peer) -> io::Result<()>, answer: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connects_to = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let frames = Arc::new(AtomicUsize::new(0));
            for (number, stream) in listener.incoming().enumerate() {
                let (Ok(stream), false) = (stream, stopped.load(Ordering::SeqCst)) else {
                    return;
                };
                let (stop, frames) = (Arc::clone(&stopped), Arc::clone(&frames));
                let mut peer = Peer::new(stream, number, stop);
                thread::spawn(move || {
                    // However it ends, the client is told by the connection's end.
                    let _ = greet(&mut peer).and_then(|()| peer.talk(&frames, answer));
                });
            }
        });
        Self {
            address: connects_to.to_string(),
            stop,
            connects_to,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener wakes up, and sees it.
        TcpStream::connect(self.connects_to).ok();
    }
}

/// Nothing is said before the client speaks.
pub(crate) fn quiet(_: &mut Peer) -> io::Result<()> {
    Ok(())
}

impl Peer {
    fn new(stream: TcpStream, number: usize, stop: Arc<AtomicBool>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Self {
            stream,
            number,
            stop,
            next_id: 1,
        }
    }

    fn talk(&mut self, frames: &AtomicUsize, answer: Behaviour) -> io::Result<()> {
        for on_conn in 0.. {
            let mut header = [0; 4];
            self.read(&mut header)?;
            let len = usize::try_from(u32::from_be_bytes(header) & 0xff_ffff).unwrap();
            let mut bytes = vec![0; len];
            self.read(&mut bytes)?;
            let in_all = frames.fetch_add(1, Ordering::SeqCst);
            let frame = Frame {
                bytes,
                on_conn,
                in_all,
            };
            answer(self, &frame)?;
        }
        Ok(())
    }

    /// Reads until `into` is full or the server is stopped.
    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.stream.read(&mut into[done..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.go_on()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// An error once the server is stopped.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Says nothing more, and keeps the connection.
    pub(crate) fn fall_silent(&mut self) -> io::Result<()> {
        loop {
            self.go_on()?;
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.go_on()?;
        self.stream.write_all(bytes)
    }

    /// Sends a frame with its transport header.
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut framed = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        framed.extend_from_slice(frame);
        self.raw(&framed)
    }

    /// Ends the connection. With something unread the system does so by a reset.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Drops the connection before what the client sends next is read: the system resets it.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        self.stream.peek(&mut [0])?;
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// Answers every request of a frame as well as it can.
    pub(crate) fn answer(&mut self, frame: &Frame) -> io::Result<()> {
        match self.response_to(frame) {
            response if response.is_empty() => Ok(()),
            response => self.send(&response),
        }
    }

    /// The answers to a frame, a compound to a compound; empty where none is due.
    pub(crate) fn response_to(&mut self, frame: &Frame) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        let (mut at, mut last) = (0, 0);
        while frame.bytes.len() >= at + 64 {
            let pdu = &frame.bytes[at..];
            let next = usize::try_from(u32_at(pdu, 20)).unwrap();
            if let Some(answer) = self.answer_to(pdu) {
                if !out.is_empty() {
                    out.resize(out.len().next_multiple_of(8), 0);
                    let here = u32::try_from(out.len() - last).unwrap();
                    out[last + 20..last + 24].copy_from_slice(&here.to_le_bytes());
                }
                last = out.len();
                out.extend(answer);
            }
            if next == 0 {
                break;
            }
            at += next;
        }
        out
    }

    fn answer_to(&mut self, pdu: &[u8]) -> Option<Vec<u8>> {
        let command = u16_at(pdu, 12);
        let (status, body) = match command {
            NEGOTIATE => {
                let mut body = vec![0; 64];
                (body[0], body[2]) = (65, 1);
                body[4..6].copy_from_slice(&0x0210_u16.to_le_bytes());
                for at in [28, 32, 36] {
                    body[at..at + 4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
                }
                body[56] = 128;
                (0, body)
            }
            // A guest needs no token.
            SESSION_SETUP => (0, vec![9, 0, 1, 0, 72, 0, 0, 0]),
            TREE_CONNECT => (
                0,
                [&[16, 0, 1, 0][..], &[0; 8], &[0xff, 0x01, 0x1f, 0]].concat(),
            ),
            CREATE => {
                let mut body = vec![0; 88];
                (body[0], body[4]) = (89, 1);
                self.next_id += 1;
                body[64..68].copy_from_slice(&self.next_id.to_le_bytes());
                body[72..76].copy_from_slice(&self.next_id.to_le_bytes());
                (0, body)
            }
            CLOSE => (0, [&[60_u8][..], &[0; 59]].concat()),
            READ => (END_OF_FILE, vec![9, 0, 0, 0, 0, 0, 0, 0, 0]),
            WRITE => {
                let count = u32_at(pdu, 68).to_le_bytes();
                (0, [&[17, 0, 0, 0][..], &count, &[0; 8]].concat())
            }
            CANCEL => return None,
            OPLOCK_BREAK => (0, [&[24_u8][..], &[0; 23]].concat()),
            2 | 4 | 7 | 10 | 13 => (0, vec![4, 0, 0, 0]),
            _ => (NOT_SUPPORTED, vec![9, 0, 0, 0, 0, 0, 0, 0, 0]),
        };
        let asked = u16_at(pdu, 14).clamp(1, 64);
        let mut answer = header(command, u64_at(pdu, 24), status, asked);
        answer[36..40].copy_from_slice(&1_u32.to_le_bytes());
        answer[40..48].copy_from_slice(&0x11_u64.to_le_bytes());
        answer.extend(body);
        Some(answer)
    }
}

/// A response's header.
pub(crate) fn header(command: u16, mid: u64, status: u32, credits: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(&[0xfe, b'S', b'M', b'B', 64, 0]);
    bytes[8..12].copy_from_slice(&status.to_le_bytes());
    bytes[12..14].copy_from_slice(&command.to_le_bytes());
    bytes[14..16].copy_from_slice(&credits.to_le_bytes());
    bytes[16] = 1;
    bytes[24..32].copy_from_slice(&mid.to_le_bytes());
    bytes
}

/// The command of a frame's first request.
pub(crate) fn command(frame: &Frame) -> u16 {
    u16_at(&frame.bytes, 12)
}

/// Random bytes, the same in every run of a test.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    static SEED: AtomicU32 = AtomicU32::new(1);
    let mut word = SEED
        .fetch_add(1, Ordering::SeqCst)
        .wrapping_mul(0x9e37_79b9)
        | 1;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        word.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(crate) const NEGOTIATE: u16 = 0;
pub(crate) const SESSION_SETUP: u16 = 1;
pub(crate) const TREE_CONNECT: u16 = 3;
pub(crate) const CREATE: u16 = 5;
pub(crate) const CLOSE: u16 = 6;
pub(crate) const READ: u16 = 8;
pub(crate) const WRITE: u16 = 9;
const CANCEL: u16 = 12;
const OPLOCK_BREAK: u16 = 18;
const END_OF_FILE: u32 = 0xc000_0011;
const NOT_SUPPORTED: u32 = 0xc000_00bb;
