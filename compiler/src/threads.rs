//! What several parts do with threads.

use std::{panic::resume_unwind, thread::ScopedJoinHandle};

/// What a thread came to; its panic is this one's.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}
