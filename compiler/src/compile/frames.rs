//! Finds frames on a thread of its own and hands them over in batches.
//!
//! The batches go around through bounded channels; events come out in the order in which they went
//! in, whichever side is faster.

use std::{
    io::Read,
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::capture::{
    CaptureError, CaptureEvent, CaptureOptions, CaptureStats, FrameInfo, Sink, read_capture_into,
};

/// Events, and where in `bytes` the payload of each is.
#[derive(Default)]
struct Batch {
    events: Vec<(CaptureEvent<'static>, Range<usize>)>,
    bytes: Vec<u8>,
}

/// Reads captures as [`read_capture_into`] does, and tells `sink` on the caller's thread.
///
/// # Errors
///
/// As [`read_capture_into`]; [`CaptureError::Io`] also when there are no more threads.
pub(super) fn read(
    options: CaptureOptions,
    inputs: Vec<Box<dyn Read + Send>>,
    sink: &mut dyn FnMut(CaptureEvent<'_>),
) -> Result<CaptureStats, CaptureError> {
    let (to, batches) = sync_channel::<Batch>(BATCHES);
    let (give_back, back) = sync_channel(BATCHES);
    for _ in 0..BATCHES {
        // There is room for all.
        let _ = give_back.try_send(Batch::default());
    }
    let thread = thread::Builder::new()
        .name("smbench-frames".to_owned())
        .spawn(move || find(&options, inputs, to, back))
        .map_err(|source| CaptureError::Io { source })?;
    for mut batch in batches {
        for (event, range) in batch.events.drain(..) {
            sink(match event {
                CaptureEvent::Frame(info, _) => {
                    CaptureEvent::Frame(info, batch.bytes.get(range).unwrap_or_default())
                }
                other => other,
            });
        }
        batch.bytes.clear();
        // At the end nobody fills it again.
        let _ = give_back.try_send(batch);
    }
    match thread.join() {
        Ok(stats) => stats,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn find(
    options: &CaptureOptions,
    inputs: Vec<Box<dyn Read + Send>>,
    to: SyncSender<Batch>,
    back: Receiver<Batch>,
) -> Result<CaptureStats, CaptureError> {
    let mut batches = Batches {
        batch: Batch::default(),
        to,
        back,
        empty: Vec::new(),
        spare: None,
        big_bytes: 0,
    };
    let inputs = inputs.into_iter().map(|input| input as Box<dyn Read>);
    let stats = read_capture_into(options, inputs.collect(), &mut batches);
    batches.send();
    stats
}

/// Fills batches and sends them off.
struct Batches {
    batch: Batch,
    to: SyncSender<Batch>,
    back: Receiver<Batch>,
    /// Batches that have come back.
    empty: Vec<Batch>,
    /// A large buffer that has.
    spare: Option<Vec<u8>>,
    /// Bytes in large buffers under way.
    big_bytes: usize,
}

impl Batches {
    fn send(&mut self) {
        if self.batch.events.is_empty() {
            return;
        }
        if self.empty.is_empty() {
            self.take_back();
        }
        let next = self.empty.pop().unwrap_or_default();
        // Who does not listen has failed, and says so.
        let _ = self.to.send(std::mem::replace(&mut self.batch, next));
    }

    /// Waits for a batch to come back; false where none will.
    fn take_back(&mut self) -> bool {
        let Ok(mut batch) = self.back.recv() else {
            return false;
        };
        if batch.bytes.capacity() > BIG {
            let bytes = std::mem::take(&mut batch.bytes);
            self.big_bytes = self.big_bytes.saturating_sub(bytes.capacity());
            self.spare = Some(bytes).filter(|bytes| bytes.capacity() <= SPARE_BYTES);
        }
        self.empty.push(batch);
        true
    }

    /// Sends what is longer than other batches: not many at a time, nor with the buffer of one
    /// that is not.
    fn send_big(&mut self, payload: &mut Vec<u8>) {
        while self.big_bytes > 0
            && self.big_bytes + payload.capacity() > BIG_BYTES
            && self.take_back()
        {}
        self.big_bytes += payload.capacity();
        let bytes = std::mem::replace(payload, self.spare.take().unwrap_or_default());
        let usual = std::mem::replace(&mut self.batch.bytes, bytes);
        self.send();
        if self.batch.bytes.capacity() == 0 {
            self.batch.bytes = usual;
        }
    }

    /// Makes room for an event with so many bytes.
    fn room(&mut self, len: usize) {
        let batch = &self.batch;
        if batch.events.len() >= BATCH_EVENTS || batch.bytes.len() + len > BATCH_BYTES {
            self.send();
        }
    }
}

impl Sink for Batches {
    fn event(&mut self, event: CaptureEvent<'_>) {
        let len = match &event {
            CaptureEvent::Frame(_, payload) => payload.len(),
            _ => 0,
        };
        self.room(len);
        if self.batch.bytes.is_empty() {
            self.batch.bytes.reserve_exact(len.max(BATCH_BYTES));
        }
        self.batch.add(event);
    }

    fn frame(&mut self, info: FrameInfo, payload: &mut Vec<u8>) {
        if payload.len() < LARGE {
            return self.event(CaptureEvent::Frame(info, payload));
        }
        self.send();
        let range = 0..payload.len();
        self.batch
            .events
            .push((CaptureEvent::Frame(info, &[]), range));
        if payload.capacity() > BIG {
            return self.send_big(payload);
        }
        std::mem::swap(&mut self.batch.bytes, payload);
        self.send();
    }
}

impl Batch {
    fn add(&mut self, event: CaptureEvent<'_>) {
        let start = self.bytes.len();
        let event = match event {
            CaptureEvent::Frame(info, payload) => {
                self.bytes.extend_from_slice(payload);
                CaptureEvent::Frame(info, &[])
            }
            CaptureEvent::Connection(info) => CaptureEvent::Connection(info),
            CaptureEvent::Gap {
                conn,
                dir,
                time_ns,
                missing_bytes,
            } => CaptureEvent::Gap {
                conn,
                dir,
                time_ns,
                missing_bytes,
            },
            CaptureEvent::Closed {
                conn,
                time_ns,
                frame_no,
                how,
                by,
            } => CaptureEvent::Closed {
                conn,
                time_ns,
                frame_no,
                how,
                by,
            },
        };
        self.events.push((event, start..self.bytes.len()));
    }
}

/// Batches that go around.
const BATCHES: usize = 4;
/// No batch is longer, unless it is one frame.
const BATCH_BYTES: usize = 512 * 1024;
const BATCH_EVENTS: usize = 1024;
/// Frames of this length are a batch of their own, so that they need not be copied.
const LARGE: usize = 64 * 1024;
/// Larger buffers are few.
const BIG: usize = 1 << 20;
/// Bytes that may be under way in them, but for one that is larger.
const BIG_BYTES: usize = 8 << 20;
/// Room that one of them may keep while it is not needed.
const SPARE_BYTES: usize = (8 << 20) + (1 << 16);
