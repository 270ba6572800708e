//! Tests of `writer`, over a store that fails when told to.

use std::{sync::atomic::AtomicUsize, thread};

use super::*;
use crate::sample::Sample;

/// Counts blocks, and fails once it has taken `blocks` of them; slow if asked.
struct Failing {
    blocks: usize,
    wait: Duration,
    taken: Arc<AtomicUsize>,
    panics: bool,
}

impl Failing {
    fn full(&self) -> Result<u64, JournalError> {
        thread::sleep(self.wait);
        if self.taken.fetch_add(1, Ordering::Relaxed) < self.blocks {
            return Ok(1);
        }
        assert!(!self.panics, "planted");
        Err(JournalError::Io {
            action: "writing",
            path: Default::default(),
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }
}

impl Sink for Failing {
    fn put_block(&mut self, _: &Block) -> Result<u64, JournalError> {
        self.full()
    }

    fn put_finish(&mut self, _: u32, _: u64, _: EffectsDigest) -> Result<(), JournalError> {
        self.full().map(drop)
    }

    fn put_attachment(&mut self, _: &AttachmentHead, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

fn over(sink: impl Sink + 'static) -> JournalWriter {
    JournalWriter::begin(2, STALL_LIMIT, |_| Ok(sink)).unwrap()
}

fn failing(blocks: usize, panics: bool) -> (JournalWriter, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let sink = Failing {
        blocks,
        wait: Duration::ZERO,
        taken: Arc::clone(&taken),
        panics,
    };
    (over(sink), taken)
}

#[test]
fn a_full_disk_poisons() {
    let (writer, _) = failing(3, false);
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    let error = Sample::new(1)
        .take(1_000_000)
        .find_map(|entry| recorder.record(&entry).err())
        .unwrap();
    assert!(matches!(error, JournalError::Poisoned { .. }), "{error}");
    // The other shard hears of it too, and so do all later calls.
    let mut other = writer.recorder(ShardId(1)).unwrap();
    for error in [
        other.record(&Sample::new(1).next_entry()).unwrap_err(),
        recorder.finish(EffectsDigest(0)).unwrap_err(),
        writer.sync().unwrap_err(),
        writer.close().unwrap_err(),
    ] {
        let JournalError::Poisoned { cause } = error else {
            panic!("{error}");
        };
        assert!(matches!(*cause, JournalError::Io { .. }), "{cause}");
    }
}

#[test]
fn a_panicking_store_poisons() {
    let (writer, _) = failing(0, true);
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    recorder.record(&Sample::new(1).next_entry()).unwrap();
    let error = recorder.finish(EffectsDigest(0)).unwrap_err();
    assert!(matches!(error, JournalError::Poisoned { .. }), "{error}");
}

#[test]
fn a_slow_store_stalls_and_loses_nothing() {
    let sink = Failing {
        blocks: usize::MAX,
        wait: Duration::from_millis(3),
        taken: Arc::default(),
        panics: false,
    };
    let writer = over(sink);
    thread::scope(|scope| {
        for shard in 0..2 {
            let mut recorder = writer.recorder(ShardId(shard)).unwrap();
            scope.spawn(move || {
                let mut sample = Sample::new(1);
                for _ in 0..40_000 {
                    recorder.record(&sample.next_entry()).unwrap();
                }
                recorder.finish(sample.after()).unwrap();
            });
        }
    });
    assert_eq!(writer.durable(ShardId(0)), 40_000);
    let stats = writer.close().unwrap();
    assert_eq!((stats.events, stats.lost_events), (80_000, 0));
    assert!(stats.stalls > 0 && stats.stall_ns > 0, "{stats:?}");
}

#[test]
fn order_is_kept() {
    let (writer, _) = failing(usize::MAX, false);
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    let entries: Vec<_> = Sample::new(1).take(3).collect();
    recorder.record(&entries[0]).unwrap();
    let error = recorder.record(&entries[2]).unwrap_err();
    assert!(matches!(
        error,
        JournalError::OutOfSequence {
            expected: 1,
            got: 2,
            ..
        }
    ));
    let mut early = entries[2].clone();
    early.now = LogicalTime(0);
    recorder.record(&entries[1]).unwrap();
    if entries[1].now > early.now {
        let error = recorder.record(&early).unwrap_err();
        assert!(matches!(error, JournalError::TimeWentBack { .. }));
    }
    recorder.record(&entries[2]).unwrap();
    let error = writer.recorder(ShardId(0)).unwrap_err();
    assert!(matches!(error, JournalError::ShardTaken { .. }));
    let error = writer.recorder(ShardId(2)).unwrap_err();
    assert!(matches!(error, JournalError::NoShard { .. }));
    assert_eq!(writer.close().unwrap().events, 3);
    let next = Sample::new(1).nth(3).unwrap();
    let error = recorder.record(&next).unwrap_err();
    assert!(matches!(error, JournalError::WriterGone), "{error}");
}

#[test]
fn idle_shards_become_durable_too() {
    let (writer, _) = failing(usize::MAX, false);
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    recorder.record(&Sample::new(1).next_entry()).unwrap();
    let begun = Instant::now();
    while writer.durable(ShardId(0)) < 1 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

/// Never comes back from one of its calls, like a disk that hangs, until its other end is dropped.
struct Hanging {
    pulse: Arc<Pulse>,
    /// Calls until then.
    left: usize,
    ever: Receiver<()>,
}

impl Hanging {
    fn call(&mut self) {
        let Some(left) = self.left.checked_sub(1) else {
            self.pulse.during(|| self.ever.recv().unwrap_err());
            return;
        };
        self.left = left;
    }
}

impl Sink for Hanging {
    fn put_block(&mut self, _: &Block) -> Result<u64, JournalError> {
        self.call();
        Ok(1)
    }

    fn put_finish(&mut self, _: u32, _: u64, _: EffectsDigest) -> Result<(), JournalError> {
        self.call();
        Ok(())
    }

    fn put_attachment(&mut self, _: &AttachmentHead, _: &[u8]) -> Result<(), JournalError> {
        self.call();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.call();
        Ok(())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.call();
    }
}

/// A writer whose store hangs after so many calls, and what ends the hanging.
fn hanging(left: usize) -> (Result<JournalWriter, JournalError>, Sender<()>) {
    let (end, ever) = crossbeam_channel::bounded(0);
    let limit = Duration::from_millis(20);
    let writer = JournalWriter::begin(2, limit, move |pulse| {
        let pulse = Arc::clone(pulse);
        let mut sink = Hanging { pulse, left, ever };
        sink.call();
        Ok(sink)
    });
    (writer, end)
}

fn is_stalled(error: &JournalError) -> bool {
    match error {
        JournalError::Poisoned { cause } => matches!(**cause, JournalError::Stalled { .. }),
        _ => false,
    }
}

#[test]
fn nobody_waits_for_a_store_that_hangs() {
    let (made, _end) = hanging(0);
    assert!(is_stalled(&made.unwrap_err()));
    // The first block, or the flush by the clock; then every way to wait for it.
    for left in [1, 2] {
        let (writer, _end) = hanging(left);
        let writer = writer.unwrap();
        let mut recorder = writer.recorder(ShardId(0)).unwrap();
        let mut sample = Sample::new(1);
        let error = std::iter::repeat_with(|| recorder.record(&sample.next_entry()))
            .find_map(Result::err)
            .unwrap();
        assert!(is_stalled(&error), "{error}");
        for error in [
            recorder.finish(EffectsDigest(0)).unwrap_err(),
            writer.attach("name", b"data").unwrap_err(),
            writer.sync().unwrap_err(),
            writer.close().unwrap_err(),
        ] {
            assert!(is_stalled(&error), "{error}");
        }
    }
}

#[test]
fn nobody_waits_for_an_answer_or_an_end_that_hangs() {
    let (writer, _end) = hanging(1);
    let writer = writer.unwrap();
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    recorder.record(&Sample::new(1).next_entry()).unwrap();
    assert!(is_stalled(&writer.sync().unwrap_err()));
    let (writer, _end) = hanging(1);
    let error = writer.unwrap().attach("name", b"data").unwrap_err();
    assert!(is_stalled(&error), "{error}");
    // Nothing was recorded, so the store hangs when it is dropped.
    let (writer, _end) = hanging(1);
    let error = writer.unwrap().close().unwrap_err();
    assert!(is_stalled(&error), "{error}");
    let (writer, _end) = hanging(1);
    drop(writer);
}

#[test]
fn a_store_that_comes_back_in_time_is_no_failure() {
    let (end, ever) = crossbeam_channel::bounded(0);
    let writer = JournalWriter::begin(2, STALL_LIMIT, move |pulse| {
        let pulse = Arc::clone(pulse);
        Ok(Hanging {
            pulse,
            left: 0,
            ever,
        })
    });
    let writer = writer.unwrap();
    let mut recorder = writer.recorder(ShardId(0)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sample = Sample::new(1);
            for _ in 0..200_000 {
                recorder.record(&sample.next_entry()).unwrap();
            }
        });
        while writer.stats().stalls == 0 && writer.to_thread.len() < CHANNEL_BLOCKS {
            thread::yield_now();
        }
        drop(end);
    });
    assert_eq!(writer.close().unwrap().events, 200_000);
}
