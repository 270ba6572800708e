//! The two tasks of one connection: frames in, batches out.
//!
//! They know nothing of SMB but the 4-byte header of [MS-SMB2] 2.1 and report to their owner over
//! one bounded channel. The owner never waits for them, so they may wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use smb_transport::{SmbTransportRead, SmbTransportWrite};
use smbench_core::event::NetFailure;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::network::transport_failure;
use crate::room::{Lease, Room};

/// One life of one connection; a later life of the same connection has another generation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct LinkId {
    pub(crate) conn: u64,
    pub(crate) generation: u64,
}

/// The halves of a connected transport.
pub(crate) type Halves = (Box<dyn SmbTransportRead>, Box<dyn SmbTransportWrite>);

/// What happens on links.
pub(crate) enum LinkEvent {
    /// An attempt to connect came to its end.
    Connected(LinkId, Result<Halves, NetFailure>),
    /// A whole frame came, without its transport header; and what holds its memory.
    Frame(LinkId, Vec<u8>, Lease),
    /// The connection ended.
    Closed(LinkId, NetFailure),
    /// There is room again in the send queue that was full.
    Room(LinkId),
}

/// The memory that all links of one owner share.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// For frames on their way in.
    incoming: Room,
    /// Bytes of frames that have not left.
    unsent: Arc<AtomicUsize>,
}

impl Memory {
    /// Bytes of frames that have not left.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::SeqCst)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            incoming: Room::new(MOST_INCOMING, SCARCE),
            unsent: Arc::default(),
        }
    }
}

/// A frame that has not left.
struct Unsent {
    bytes: Vec<u8>,
    all: Arc<AtomicUsize>,
}

impl Unsent {
    fn new(bytes: Vec<u8>, all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(bytes.len(), Ordering::SeqCst);
        let all = Arc::clone(all);
        Self { bytes, all }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

/// The owner's end of a running link.
pub(crate) struct Link {
    queue: mpsc::Sender<Unsent>,
    stalled: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    backlog: std::collections::VecDeque<Unsent>,
    unsent: Arc<AtomicUsize>,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// Too much has not left yet, over all links.
    Full,
    /// The frame is longer than a transport header can say.
    TooLong,
}

impl Link {
    /// Starts the tasks of a connected transport.
    pub(crate) fn start(
        id: LinkId,
        halves: Halves,
        max_frame: usize,
        memory: Memory,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let Memory { incoming, unsent } = memory;
        let (queue, frames) = mpsc::channel(QUEUE);
        let stalled = Arc::new(AtomicBool::new(false));
        let (reader, writer) = halves;
        let flag = Arc::clone(&stalled);
        Self {
            queue,
            stalled,
            reader: tokio::spawn(read(id, reader, max_frame, incoming, events.clone())),
            writer: tokio::spawn(write(id, writer, frames, flag, events)),
            backlog: std::collections::VecDeque::new(),
            unsent,
        }
    }

    /// Queues one frame; gives whether it had to wait in the backlog.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<bool, Refused> {
        let len = u32::try_from(frame.len())
            .ok()
            .filter(|len| *len <= MAX_WIRE_FRAME);
        let len = len.ok_or(Refused::TooLong)?;
        if self.unsent.load(Ordering::SeqCst) > MOST_UNSENT {
            return Err(Refused::Full);
        }
        let mut framed = Vec::with_capacity(frame.len() + 4);
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(frame);
        self.backlog.push_back(Unsent::new(framed, &self.unsent));
        Ok(!self.flush())
    }

    /// Moves the backlog into the queue; whether nothing is left of it.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some(frame) = self.backlog.pop_front() {
            match self.queue.try_send(frame) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(frame)) => {
                    self.backlog.push_front(frame);
                    self.stalled.store(true, Ordering::SeqCst);
                    return false;
                }
                // The writer has failed; its reader says why.
                Err(mpsc::error::TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
        true
    }

    /// Stops reading, and gives the task that still sends what is queued, then closes.
    pub(crate) fn close(self) -> JoinHandle<()> {
        self.reader.abort();
        let Self {
            queue,
            writer,
            backlog,
            ..
        } = self;
        if backlog.is_empty() {
            return writer;
        }
        tokio::spawn(async move {
            for frame in backlog {
                if queue.send(frame).await.is_err() {
                    break;
                }
            }
            drop(queue);
            let _ = writer.await;
        })
    }

    /// Ends both tasks at once, whatever is queued.
    pub(crate) fn abort(self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn read(
    id: LinkId,
    mut from: Box<dyn SmbTransportRead>,
    max_frame: usize,
    incoming: Room,
    events: mpsc::Sender<LinkEvent>,
) {
    let reason = loop {
        match frame(&mut *from, max_frame, &incoming).await {
            Ok(Some((frame, memory))) => {
                let event = LinkEvent::Frame(id, frame, memory);
                if events.send(event).await.is_err() {
                    return; // nobody listens any more
                }
            }
            Ok(None) => {}
            Err(reason) => break reason,
        }
    };
    let _ = events.send(LinkEvent::Closed(id, reason)).await;
}

/// The next frame; `None` for a NetBIOS keep-alive. RFC 1002 4.3.
async fn frame(
    from: &mut dyn SmbTransportRead,
    max_frame: usize,
    incoming: &Room,
) -> Result<Option<(Vec<u8>, Lease)>, NetFailure> {
    let mut header = [0; 4];
    let failed = |error| transport_failure(&error);
    from.receive_exact(&mut header).await.map_err(failed)?;
    let [kind, ..] = header;
    let len = usize::try_from(u32::from_be_bytes(header) & MAX_WIRE_FRAME).unwrap_or(usize::MAX);
    match kind {
        0 if len <= max_frame => {}
        0x85 if len == 0 => return Ok(None),
        _ => return Err(NetFailure::Protocol),
    }
    let memory = incoming.begin();
    let given_up = memory.given_up();
    tokio::select! {
        biased;
        // Others need the memory, and this frame does not move on.
        () = given_up => Err(NetFailure::Local),
        body = body(from, len, memory) => body.map(Some),
    }
}

/// The frame behind its header. It grows with what arrives: a header alone must not cost 16 MiB.
async fn body(
    from: &mut dyn SmbTransportRead,
    len: usize,
    mut memory: Lease,
) -> Result<(Vec<u8>, Lease), NetFailure> {
    let mut body = Vec::new();
    while body.len() < len {
        let start = body.len();
        let step = READ_STEP.min(len - start);
        memory.charge(step).await;
        body.reserve_exact(step);
        body.resize(start + step, 0);
        let part = body.get_mut(start..).unwrap_or_default();
        let read = from.receive_exact(part).await;
        read.map_err(|error| transport_failure(&error))?;
        memory.moved(step);
    }
    memory.complete();
    Ok((body, memory))
}

async fn write(
    id: LinkId,
    mut to: Box<dyn SmbTransportWrite>,
    mut frames: mpsc::Receiver<Unsent>,
    stalled: Arc<AtomicBool>,
    events: mpsc::Sender<LinkEvent>,
) {
    while let Some(first) = frames.recv().await {
        // One write a batch: whatever is queued by now goes out together.
        let mut len = first.bytes.len();
        let mut batch = vec![first];
        while len < BATCH
            && let Ok(more) = frames.try_recv()
        {
            len += more.bytes.len();
            batch.push(more);
        }
        if stalled.swap(false, Ordering::SeqCst) && events.send(LinkEvent::Room(id)).await.is_err()
        {
            return;
        }
        let sent = match batch.as_slice() {
            [one] => to.send_raw(&one.bytes).await,
            several => {
                let frames: Vec<&[u8]> = several.iter().map(|it| it.bytes.as_slice()).collect();
                to.send_raw(&frames.concat()).await
            }
        };
        if let Err(error) = sent {
            let _ = events
                .send(LinkEvent::Closed(id, transport_failure(&error)))
                .await;
            return;
        }
    }
}

/// The largest length the transport header can say. [MS-SMB2] 2.1.
pub(crate) const MAX_WIRE_FRAME: u32 = 0x00FF_FFFF;
/// Frames queued for a writer before they wait in the backlog.
const QUEUE: usize = 64;
/// Bytes that may not have left, over all links: far more than the credits of fast clients allow.
const MOST_UNSENT: usize = 512 << 20;
/// Bytes of frames that are not complete, or that the owner has not taken yet, over all links.
const MOST_INCOMING: usize = 128 << 20;
/// How long a frame may make no progress while others wait for memory.
const SCARCE: Duration = Duration::from_secs(1);
/// Bytes of small frames that are joined into one write.
const BATCH: usize = 128 << 10;
/// Bytes allocated ahead of their arrival.
const READ_STEP: usize = 256 << 10;
