//! What several parts do with threads.

use std::{
    collections::VecDeque,
    panic::resume_unwind,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Scope, ScopedJoinHandle},
};

/// What a thread came to; its panic is this one's.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Starts workers that each find every so manieth piece of something, from the one of their number
/// on; all pieces in order, of which `waiting` of each may wait, and the workers. Where a send fails
/// nobody wants more.
pub(crate) fn in_turns<'scope, T, R>(
    scope: &'scope Scope<'scope, '_>,
    workers: usize,
    waiting: usize,
    work: impl Fn(usize, SyncSender<T>) -> R + Copy + Send + 'scope,
) -> (Turns<T>, Vec<ScopedJoinHandle<'scope, R>>)
where
    T: Send + 'scope,
    R: Send + 'scope,
{
    let start = |worker| {
        let (to, pieces) = sync_channel(waiting);
        (pieces, scope.spawn(move || work(worker, to)))
    };
    let (turns, workers) = (0..workers).map(start).unzip();
    (Turns(turns), workers)
}

/// See [`in_turns`].
pub(crate) struct Turns<T>(VecDeque<Receiver<T>>);

impl<T> Iterator for Turns<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.rotate_left(1.min(self.0.len()));
        self.0.back()?.recv().ok()
    }
}
