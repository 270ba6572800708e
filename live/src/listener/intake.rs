//! The reading task of one connection: frames, one after the other, as far as the owner keeps up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smbench_core::event::NetFailure;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::limits::{Ending, ListenLimits};
use super::outlet::Unsent;
use crate::link::MAX_WIRE_FRAME;
use crate::network::io_failure;
use crate::room::{Lease, Room};

/// What a connection's tasks tell the listener.
pub(super) enum Event {
    /// A whole frame came; it holds its memory until it is dropped.
    Frame(u64, Held),
    /// The connection ended.
    Ended(u64, Ending),
}

/// A frame that the service has not taken yet.
pub(super) struct Held {
    frame: Vec<u8>,
    memory: Lease,
    turn: OwnedSemaphorePermit,
}

impl Held {
    /// The frame, and what holds its memory.
    pub(super) fn take(self) -> (Vec<u8>, impl Sized) {
        (self.frame, (self.memory, self.turn))
    }
}

/// What the reading task needs.
pub(super) struct Intake {
    pub(super) conn: u64,
    pub(super) limits: Arc<ListenLimits>,
    pub(super) room: Room,
    /// Whether the client has logged in.
    pub(super) known: Arc<AtomicBool>,
    pub(super) unsent: Arc<Unsent>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Intake {
    pub(super) async fn run(self, half: OwnedReadHalf) {
        let mut from = BufReader::with_capacity(READ_BUFFER, half);
        // Each connection has a few frames at the service and no more: nobody waits behind all
        // that another one has sent.
        let turns = Arc::new(Semaphore::new(TURNS));
        let ending = loop {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                return;
            };
            self.unsent.below(self.limits.outgoing_each).await;
            match self.next(&mut from).await {
                Ok((frame, memory)) => {
                    let held = Held {
                        frame,
                        memory,
                        turn,
                    };
                    if self
                        .events
                        .send(Event::Frame(self.conn, held))
                        .await
                        .is_err()
                    {
                        return; // nobody listens any more
                    }
                }
                Err(ending) => break ending,
            }
        };
        let _ = self.events.send(Event::Ended(self.conn, ending)).await;
    }

    /// The next frame; keep-alives of NetBIOS are passed over. RFC 1002 4.3.
    async fn next(&self, from: &mut BufReader<OwnedReadHalf>) -> Result<(Vec<u8>, Lease), Ending> {
        loop {
            // Between two frames a client may be silent for as long as it likes.
            from.fill_buf().await.map_err(failed)?;
            let deadline = Instant::now() + self.limits.frame_time;
            let mut header = [0; 4];
            let read = timeout_at(deadline, from.read_exact(&mut header)).await;
            read.map_err(|_| Ending::Stalled)?.map_err(failed)?;
            let [kind, ..] = header;
            let len = usize::try_from(u32::from_be_bytes(header) & MAX_WIRE_FRAME);
            let len = len.unwrap_or(usize::MAX);
            match kind {
                0 if len > self.limits.stranger_frame && !self.known.load(Ordering::SeqCst) => {
                    return Err(Ending::StrangerFrame);
                }
                0 => {}
                0x85 if len == 0 => continue,
                _ => return Err(Ending::Network(NetFailure::Protocol)),
            }
            let memory = self.room.begin();
            let given_up = memory.given_up();
            return tokio::select! {
                biased;
                () = given_up => Err(Ending::Crowded),
                body = timeout_at(deadline, body(from, len, memory)) => {
                    body.map_err(|_| Ending::Stalled)?
                }
            };
        }
    }
}

/// The frame behind its header. Memory grows with what arrives: a header alone costs nothing.
async fn body(
    from: &mut BufReader<OwnedReadHalf>,
    len: usize,
    mut memory: Lease,
) -> Result<(Vec<u8>, Lease), Ending> {
    let mut body = Vec::new();
    while body.len() < len {
        if body.len() == body.capacity() {
            let more = (len - body.len()).min(body.len().max(READ_BUFFER));
            if from.fill_buf().await.map_err(failed)?.is_empty() {
                return Err(Ending::Network(NetFailure::Eof));
            }
            memory.charge(more).await;
            body.reserve_exact(more);
        }
        let room = (body.capacity() - body.len()).min(len - body.len());
        let limit = u64::try_from(room).unwrap_or(u64::MAX);
        let read = (&mut *from).take(limit).read_buf(&mut body).await;
        match read.map_err(failed)? {
            0 => return Err(Ending::Network(NetFailure::Eof)),
            read => memory.moved(read),
        }
    }
    memory.complete();
    Ok((body, memory))
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: std::io::Error) -> Ending {
    Ending::Network(io_failure(&error))
}

/// Small, as thousands of them are held; long reads go around it.
const READ_BUFFER: usize = 4096;
/// Frames of one connection that the service has not taken.
const TURNS: usize = 4;
