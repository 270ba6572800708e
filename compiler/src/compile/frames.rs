//! Finds frames on a thread of its own and hands them over in batches.
//!
//! The batches go around through bounded channels; events come out in the order in which they went
//! in, whichever side is faster.

use std::{
    hint::black_box,
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::capture::{
    Blocks, CaptureError, CaptureEvent, CaptureOptions, CaptureStats, FrameInfo, Sink,
    read_capture_into,
};

/// Events, and where in `bytes` the payload of each is.
#[derive(Default)]
struct Batch {
    events: Vec<(CaptureEvent<'static>, Range<usize>)>,
    bytes: Vec<u8>,
    /// It is of one large frame.
    big: bool,
}

/// Reads captures as [`read_capture_into`] does, and tells `sink` on the caller's thread.
///
/// # Errors
///
/// As [`read_capture_into`]; [`CaptureError::Io`] also when there are no more threads.
pub(super) fn read(
    options: CaptureOptions,
    inputs: Vec<Box<dyn Blocks + Send>>,
    sink: &mut dyn FnMut(CaptureEvent<'_>),
) -> Result<CaptureStats, CaptureError> {
    let (to, batches) = sync_channel::<Batch>(UNDER_WAY);
    let (give_back, back) = sync_channel(UNDER_WAY);
    let thread = thread::Builder::new()
        .name("smbench-frames".to_owned())
        .spawn(move || find(&options, inputs, to, back))
        .map_err(|source| CaptureError::Io { source })?;
    for mut batch in batches {
        let mut warm = 0;
        for (event, range) in batch.events.drain(..) {
            if range.end > warm {
                warm = range.end + WARM;
                touch(batch.bytes.get(range.start..warm.min(batch.bytes.len())));
            }
            sink(event.with_payload(batch.bytes.get(range).unwrap_or_default()));
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

/// Reads bytes of another thread, so that they are at hand when they are needed: many at once come
/// in the time of one.
fn touch(bytes: Option<&[u8]>) {
    let lines = bytes.unwrap_or_default().iter().step_by(LINE);
    black_box(lines.fold(0, |all, byte| all ^ byte));
}

fn find(
    options: &CaptureOptions,
    inputs: Vec<Box<dyn Blocks + Send>>,
    to: SyncSender<Batch>,
    back: Receiver<Batch>,
) -> Result<CaptureStats, CaptureError> {
    let mut batches = Batches {
        batch: Batch::default(),
        to,
        back,
        usual: 1,
        empty: Vec::new(),
        big_bytes: 0,
        spare: Vec::new(),
    };
    let inputs = inputs.into_iter().map(|input| input as Box<dyn Blocks>);
    let stats = read_capture_into(options, inputs.collect(), &mut batches);
    batches.send();
    stats
}

/// Fills batches and sends them off.
struct Batches {
    batch: Batch,
    to: SyncSender<Batch>,
    back: Receiver<Batch>,
    /// Batches that there are, but for those of large frames.
    usual: usize,
    /// Those of them that have come back.
    empty: Vec<Batch>,
    /// Bytes in large buffers under way.
    big_bytes: usize,
    /// Large buffers that have come back.
    spare: Vec<Vec<u8>>,
}

impl Batches {
    fn send(&mut self) {
        if self.batch.events.is_empty() {
            return;
        }
        let most = if self.big_bytes > 0 {
            BATCHES_BESIDE_BIG
        } else {
            BATCHES
        };
        while self.empty.is_empty() && self.usual >= most && self.take_back() {}
        let next = self.empty.pop().unwrap_or_else(|| {
            self.usual += 1;
            Batch::default()
        });
        // Who does not listen has failed, and says so.
        let _ = self.to.send(std::mem::replace(&mut self.batch, next));
    }

    /// Waits for a batch to come back; false where none will.
    fn take_back(&mut self) -> bool {
        let Ok(mut batch) = self.back.recv() else {
            return false;
        };
        if !batch.big {
            // A packet may be as long as a large frame: its room is not kept.
            batch.bytes.shrink_to(BIG);
            self.empty.push(batch);
            return true;
        }
        let bytes = batch.bytes;
        self.big_bytes = self.big_bytes.saturating_sub(bytes.capacity());
        if bytes.capacity() <= SPARE_BYTES && self.spare.len() < SPARES {
            self.spare.push(bytes);
        }
        true
    }

    /// Sends a frame that is longer than other batches: not many at a time.
    fn send_big(&mut self, info: FrameInfo, payload: &mut Vec<u8>) {
        while self.big_bytes > 0
            && self.big_bytes + payload.capacity() > BIG_BYTES
            && self.take_back()
        {}
        self.big_bytes += payload.capacity();
        let bytes = std::mem::replace(payload, self.spare.pop().unwrap_or_default());
        let frame = CaptureEvent::Frame(info, &[]);
        let events = vec![(frame, 0..bytes.len())];
        let big = true;
        let _ = self.to.send(Batch { events, bytes, big });
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
        if payload.capacity() > BIG {
            return self.send_big(info, payload);
        }
        let range = 0..payload.len();
        let frame = CaptureEvent::Frame(info, &[]);
        self.batch.events.push((frame, range));
        std::mem::swap(&mut self.batch.bytes, payload);
        self.send();
    }
}

impl Batch {
    fn add(&mut self, event: CaptureEvent<'_>) {
        let start = self.bytes.len();
        let (event, payload) = event.split();
        self.bytes.extend_from_slice(payload);
        self.events.push((event, start..self.bytes.len()));
    }
}

/// Bytes that are touched at once.
const WARM: usize = 16 * 1024;
/// What processors exchange.
const LINE: usize = 64;
/// Batches that go around, but for those of large frames. A short capture is not worth the memory of
/// more; what comes while a large frame is taken apart needs them.
const BATCHES: usize = 4;
const BATCHES_BESIDE_BIG: usize = 16;
/// No more are under way, and there is room for all.
const UNDER_WAY: usize = BATCHES_BESIDE_BIG + BIG_BYTES / BIG + 2;
/// No batch is longer, unless it is one frame.
const BATCH_BYTES: usize = 512 * 1024;
const BATCH_EVENTS: usize = 1024;
/// Frames of this length are a batch of their own, so that they need not be copied.
const LARGE: usize = 64 * 1024;
/// Larger buffers are few.
const BIG: usize = 1 << 20;
/// Bytes that may be under way in them, but for one that is larger.
const BIG_BYTES: usize = 25 << 20;
/// Such buffers, and the room of each, that are kept while they are not needed.
const SPARES: usize = 2;
const SPARE_BYTES: usize = (8 << 20) + (1 << 16);

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::capture::{Reading, read_capture_with, tests::segments};

    /// A capture of SMB2 messages of these lengths, in packets of at most `most` bytes of payload.
    fn capture(lens: &[usize], most: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for len in lens {
            stream.extend(u32::try_from(*len).unwrap().to_be_bytes());
            let message = stream.len();
            stream.extend([0xfe, b'S', b'M', b'B', 64, 0]);
            stream.resize(message + len, 7);
        }
        segments(stream.chunks(most).map(|it| (it.to_vec(), it.len())))
    }

    fn lens_on_threads(file: &[u8]) -> Vec<usize> {
        let mut lens = Vec::new();
        let input = Reading::new(Cursor::new(file.to_vec()));
        let read = read(
            CaptureOptions::default(),
            vec![Box::new(input)],
            &mut |it| {
                if let CaptureEvent::Frame(_, payload) = it {
                    lens.push(payload.len());
                }
            },
        );
        read.unwrap();
        lens
    }

    #[test]
    fn frames_of_all_lengths_come_in_order() {
        let lens: Vec<usize> = (0..120)
            .map(|turn| match turn % 6 {
                0 => 3 << 20,
                1 => LARGE,
                2 => 9 << 20,
                3 => BATCH_BYTES + 1,
                _ => 100 + turn,
            })
            .collect();
        // A packet may be longer than any batch, and than any frame.
        for most in [60_000, 2 << 20, 15 << 20] {
            let file = capture(&lens, most);
            assert!(lens_on_threads(&file) == lens, "packets of {most}");
        }
    }

    #[test]
    fn events_are_those_of_the_reader() {
        let file = capture(&[100, 2 << 20, 80, LARGE, 3 << 20, 200], 40_000);
        let told = |event: CaptureEvent<'_>| match event {
            CaptureEvent::Frame(info, payload) => format!("{info:?} {}", payload.len()),
            other => format!("{other:?}"),
        };
        let (mut here, mut there) = (Vec::new(), Vec::new());
        let input: Box<dyn Read> = Box::new(Cursor::new(file.clone()));
        let options = CaptureOptions::default();
        read_capture_with(&options, vec![input], &mut |it| here.push(told(it))).unwrap();
        let input = Reading::new(Cursor::new(file));
        read(options, vec![Box::new(input)], &mut |it| {
            there.push(told(it));
        })
        .unwrap();
        assert_eq!(here, there);
    }
}
