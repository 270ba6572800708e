//! The two tasks of one connection: frames in, batches out.
//!
//! They know nothing of SMB but the 4-byte header of [MS-SMB2] 2.1 and report to their owner over
//! one bounded channel. The owner never waits for them, so they may wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smb_transport::{SmbTransportRead, SmbTransportWrite};
use smbench_core::event::NetFailure;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::network::transport_failure;

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
    /// A whole frame came, without its transport header.
    Frame(LinkId, Vec<u8>),
    /// The connection ended.
    Closed(LinkId, NetFailure),
    /// There is room again in the send queue that was full.
    Room(LinkId),
}

/// The owner's end of a running link.
pub(crate) struct Link {
    queue: mpsc::Sender<Vec<u8>>,
    stalled: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    backlog: std::collections::VecDeque<Vec<u8>>,
    backlog_bytes: usize,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The backlog is at its limit.
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
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE);
        let stalled = Arc::new(AtomicBool::new(false));
        let (reader, writer) = halves;
        let flag = Arc::clone(&stalled);
        Self {
            queue,
            stalled,
            reader: tokio::spawn(read(id, reader, max_frame, events.clone())),
            writer: tokio::spawn(write(id, writer, frames, flag, events)),
            backlog: std::collections::VecDeque::new(),
            backlog_bytes: 0,
        }
    }

    /// Queues one frame; gives whether it had to wait in the backlog.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<bool, Refused> {
        let len = u32::try_from(frame.len())
            .ok()
            .filter(|len| *len <= MAX_WIRE_FRAME);
        let len = len.ok_or(Refused::TooLong)?;
        if self.backlog_bytes > MAX_BACKLOG {
            return Err(Refused::Full);
        }
        let mut framed = Vec::with_capacity(frame.len() + 4);
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(frame);
        self.backlog_bytes += framed.len();
        self.backlog.push_back(framed);
        Ok(!self.flush())
    }

    /// Moves the backlog into the queue; whether nothing is left of it.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some(frame) = self.backlog.pop_front() {
            let len = frame.len();
            match self.queue.try_send(frame) {
                Ok(()) => self.backlog_bytes -= len,
                Err(mpsc::error::TrySendError::Full(frame)) => {
                    self.backlog.push_front(frame);
                    self.stalled.store(true, Ordering::SeqCst);
                    return false;
                }
                // The writer has failed; its reader says why.
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.backlog.clear();
                    self.backlog_bytes = 0;
                }
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
    events: mpsc::Sender<LinkEvent>,
) {
    let reason = loop {
        match frame(&mut *from, max_frame).await {
            Ok(Some(frame)) => {
                if events.send(LinkEvent::Frame(id, frame)).await.is_err() {
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
) -> Result<Option<Vec<u8>>, NetFailure> {
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
    // Grow with what arrives: a header alone must not cost 16 MiB.
    let mut body = Vec::new();
    while body.len() < len {
        let start = body.len();
        body.resize(len.min(start + READ_STEP), 0);
        let part = body.get_mut(start..).unwrap_or_default();
        from.receive_exact(part).await.map_err(failed)?;
    }
    Ok(Some(body))
}

async fn write(
    id: LinkId,
    mut to: Box<dyn SmbTransportWrite>,
    mut frames: mpsc::Receiver<Vec<u8>>,
    stalled: Arc<AtomicBool>,
    events: mpsc::Sender<LinkEvent>,
) {
    while let Some(mut batch) = frames.recv().await {
        // One write a batch: whatever is queued by now goes out together.
        while batch.len() < BATCH {
            match frames.try_recv() {
                Ok(more) => batch.extend_from_slice(&more),
                Err(_) => break,
            }
        }
        if stalled.swap(false, Ordering::SeqCst) && events.send(LinkEvent::Room(id)).await.is_err()
        {
            return;
        }
        if let Err(error) = to.send_raw(&batch).await {
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
/// Bytes a backlog may reach: several times what the credits of a fast client allow.
const MAX_BACKLOG: usize = 256 << 20;
/// Bytes of small frames that are joined into one write.
const BATCH: usize = 128 << 10;
/// Bytes allocated ahead of their arrival.
const READ_STEP: usize = 256 << 10;
