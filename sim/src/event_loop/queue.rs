//! Events by `(time, seq)`: what was pushed first happens first when the times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smbench_core::ids::{ConnId, LogicalTime};

/// Something that will happen. `life` says which life of the connection is meant.
#[derive(Debug)]
pub(super) enum Event {
    /// The server sees a connection begin.
    Opened { conn: ConnId, life: u32 },
    /// The client learns that its connection is open.
    Connected { conn: ConnId, life: u32 },
    /// A frame reaches the server.
    Up {
        conn: ConnId,
        life: u32,
        frame: Vec<u8>,
    },
    /// A frame reaches the client.
    Down {
        conn: ConnId,
        life: u32,
        frame: Vec<u8>,
    },
    /// The server learns that the client ended the connection.
    Ended { conn: ConnId, life: u32 },
    /// The client learns that the server ended the connection.
    Closed { conn: ConnId, life: u32 },
    /// The scenario resets a connection.
    Cut { conn: ConnId },
}

/// The heap holds keys of three words; the events lie in a slab, which keeps sifting cheap.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(LogicalTime, u64, usize)>>,
    slab: Vec<Option<Event>>,
    free: Vec<usize>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: LogicalTime, event: Event) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slab.push(None);
                self.slab.len() - 1
            }
        };
        if let Some(place) = self.slab.get_mut(slot) {
            *place = Some(event);
        }
        self.heap.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    pub(super) fn next_at(&self) -> Option<LogicalTime> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(LogicalTime, Event)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let event = self.slab.get_mut(slot).and_then(Option::take)?;
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_the_order_of_pushing() {
        let mut queue = Queue::default();
        for (at, conn) in [(5, 0), (3, 1), (5, 2), (3, 3), (4, 4)] {
            let conn = ConnId(conn);
            queue.push(LogicalTime(at), Event::Cut { conn });
        }
        let mut order = Vec::new();
        while let Some((at, Event::Cut { conn })) = queue.pop() {
            order.push((at.0, conn.0));
        }
        assert_eq!(order, [(3, 1), (3, 3), (4, 4), (5, 0), (5, 2)]);
        assert_eq!(queue.next_at(), None);
    }
}
