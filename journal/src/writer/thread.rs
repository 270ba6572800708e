//! The writer's thread: takes blocks in order, stores them, flushes by the clock.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{BLOCK_MEMORY, FLUSH_EVERY, Message, Shared, Sink};
use crate::{block::Block, error::JournalError};

/// The thread's side.
pub(super) struct Writer<S> {
    sink: S,
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    give_back: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    queue: VecDeque<Message>,
    /// Events stored, by shard.
    written: Vec<u64>,
    dirty: bool,
    /// The order to close has come.
    closing: bool,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(
        sink: S,
        shared: Arc<Shared>,
        messages: Receiver<Message>,
        give_back: Sender<Vec<u8>>,
        empty: Receiver<Vec<u8>>,
    ) -> Self {
        Self {
            sink,
            written: vec![0; shared.slots.len()],
            shared,
            messages,
            give_back,
            empty,
            queue: VecDeque::new(),
            dirty: false,
            closing: false,
        }
    }

    pub(super) fn run(mut self) {
        // A panic in the store must poison the journal like any other failure. Serving then goes
        // on, without the store, so that whoever waits for an answer gets one.
        while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve())).is_err() {
            self.shared.poison(JournalError::Store {
                action: "writing",
                reason: "it panicked".to_owned(),
            });
            if self.closing {
                break;
            }
        }
        self.shared.ended.store(true, Ordering::Release);
    }

    fn serve(&mut self) {
        let mut next_flush = Instant::now() + FLUSH_EVERY;
        loop {
            match self.messages.recv_deadline(next_flush) {
                Ok(Message::Close) => {
                    self.closing = true;
                    return self.close();
                }
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            if Instant::now() >= next_flush {
                for shard in 0..self.shared.slots.len() {
                    self.collect(shard);
                }
                self.drain();
                // The order to close may have come out of the channel with the blocks before it.
                if self.closing {
                    return self.close();
                }
                self.flush();
                next_flush = Instant::now() + FLUSH_EVERY;
            }
        }
    }

    /// Takes a shard's open block, behind everything that its recorder has sent. False when the
    /// recorder is at work on it.
    ///
    /// A recorder sends with its lock held. So while the lock is ours, all it ever sent is in the
    /// channel or was taken.
    fn collect(&mut self, shard: usize) -> bool {
        let shared = Arc::clone(&self.shared);
        let Some(slot) = shared.slots.get(shard) else {
            return true;
        };
        let Some(mut open) = slot.try_lock() else {
            return false;
        };
        for _ in 0..self.messages.len() {
            self.queue.extend(self.messages.try_recv().ok());
        }
        if open.count() > 0 {
            let next = open.successor(self.empty.try_recv().unwrap_or_default());
            let block = std::mem::replace(&mut *open, next);
            self.queue.push_back(Message::Block(block));
        }
        true
    }

    fn drain(&mut self) {
        while let Some(message) = self.queue.pop_front() {
            self.take(message);
        }
    }

    fn close(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        for shard in 0..self.shared.slots.len() {
            // A recorder may wait for the channel with its lock held: make room until it is done.
            while !self.collect(shard) {
                if let Ok(message) = self.messages.try_recv() {
                    self.take(message);
                } else {
                    thread::yield_now();
                }
            }
            self.drain();
        }
        self.flush();
    }

    fn take(&mut self, message: Message) {
        // An answer nobody waits for any more is nobody's loss.
        match message {
            Message::Block(block) => self.put_block(block),
            Message::Finish {
                shard,
                count,
                after,
                done,
            } => {
                if self.shared.failure.get().is_none() {
                    match self.sink.put_finish(shard, count, after) {
                        Ok(()) => self.dirty = true,
                        Err(error) => self.shared.poison(error),
                    }
                }
                self.flush();
                let _ = done.send(self.shared.check());
            }
            Message::Attach { head, packed, done } => {
                let stored = self
                    .shared
                    .check()
                    .and_then(|()| self.sink.put_attachment(&head, &packed));
                self.dirty = true;
                let result = match stored {
                    Ok(()) => Ok(()),
                    // The caller's mistake, which costs the journal nothing.
                    Err(error @ JournalError::BadName { .. }) => Err(error),
                    Err(error) => {
                        self.shared.poison(error);
                        Ok(())
                    }
                };
                self.flush();
                let _ = done.send(result.and_then(|()| self.shared.check()));
            }
            Message::Sync { done } => {
                self.flush();
                let _ = done.send(self.shared.check());
            }
            // One that came in twice, or behind the one being served.
            Message::Close => self.closing = true,
        }
    }

    fn put_block(&mut self, block: Block) {
        let events = u64::from(block.count());
        let shared = &self.shared;
        if shared.failure.get().is_some() {
            shared.lost_events.fetch_add(events, Ordering::Relaxed);
            return;
        }
        match self.sink.put_block(&block) {
            Ok(stored) => {
                shared.events.fetch_add(events, Ordering::Relaxed);
                shared.blocks.fetch_add(1, Ordering::Relaxed);
                shared
                    .raw_bytes
                    .fetch_add(block.raw().len() as u64, Ordering::Relaxed);
                shared.stored_bytes.fetch_add(stored, Ordering::Relaxed);
                if let Some(written) = self.written.get_mut(block.shard() as usize) {
                    *written = block.next_seq();
                }
                self.dirty = true;
            }
            Err(error) => {
                shared.lost_events.fetch_add(events, Ordering::Relaxed);
                self.shared.poison(error);
            }
        }
        let raw = block.into_raw();
        if raw.capacity() <= 2 * BLOCK_MEMORY {
            // When enough memory waits already, this goes back to the allocator.
            let _ = self.give_back.try_send(raw);
        }
    }

    fn flush(&mut self) {
        if !self.dirty || self.shared.failure.get().is_some() {
            return;
        }
        match self.sink.flush() {
            Ok(()) => {
                self.dirty = false;
                self.shared.flushes.fetch_add(1, Ordering::Relaxed);
                for (slot, written) in self.shared.slots.iter().zip(&self.written) {
                    slot.durable.store(*written, Ordering::Release);
                }
            }
            Err(error) => self.shared.poison(error),
        }
    }
}
