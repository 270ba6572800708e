//! Ctrl-C, and SIGTERM and SIGHUP alike; a file that may not grow is no reason to end.
//!
//! A run that can end in order is asked to by the first signal. Everything else, and such a run at the
//! second one, ends at once: what is not whole yet is removed, and how far it came is told. Either
//! way the exit code is 130. Whoever looks at a lock here while the end is under way waits for it.

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Failure, INTERRUPTED, OrFail};
use crate::report::note;

/// Whether a signal has come.
static ASKED: AtomicBool = AtomicBool::new(false);

/// What is to be done when a signal comes.
struct State {
    /// Ends the run that is under way, in order.
    stop: Option<Stop>,
    /// Files and folders that are not whole.
    unfinished: Vec<PathBuf>,
    /// How far the command is.
    far: String,
}

struct Stop {
    text: &'static str,
    order: Box<dyn Fn() + Send>,
}

/// What is told when a run is asked to end that is recorded.
pub(crate) const STOPPING: &str = "stopping; what was recorded is kept. Again to stop at once.";

static STATE: Mutex<State> = Mutex::new(State {
    stop: None,
    unfinished: Vec::new(),
    far: String::new(),
});

/// Listens to signals from now on.
pub(crate) fn watch() -> Result<(), Failure> {
    const CONTEXT: &str = "cannot listen to signals";
    // Without files for it the runtime would panic.
    let spare = [(); SPARE_PAIRS].map(|()| UnixStream::pair());
    for pair in spare {
        pair.or_environment(CONTEXT)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment(CONTEXT)?;
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    // `nohup` means it.
    if !ignores(Signal::HUP) {
        kinds.push(SignalKind::hangup());
    }
    let (mut signals, too_long) = {
        let _inside = runtime.enter();
        let signals: io::Result<Vec<_>> = kinds.into_iter().map(signal).collect();
        // Heard, it ends nothing: the write that is too long fails instead.
        let too_long = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        let signals = signals.or_environment(CONTEXT)?;
        (signals, too_long.or_environment(CONTEXT)?)
    };
    let listen = move || {
        let _heard_for_ever = too_long;
        runtime.block_on(poll_fn(|context| {
            for signal in &mut signals {
                while signal.poll_recv(context).is_ready() {
                    heard();
                }
            }
            Poll::<()>::Pending
        }));
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(listen).map(drop).or_environment(CONTEXT)
}

/// Whether whoever started the process had it ignore a signal.
fn ignores(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal.as_raw() - 1).unwrap_or(u32::MAX);
    mask.is_some_and(|mask| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// Whether a signal has come.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Ends the command where a signal has come; `far` is how far it is.
pub(crate) fn refuse(far: &str) -> Result<(), Failure> {
    if is_asked() {
        return Err(Failure::interrupted(far));
    }
    Ok(())
}

/// Says how far the command is, in case that it is interrupted.
pub(crate) fn far(text: String) {
    lock().far = text;
}

/// Does something that a signal waits for.
pub(crate) fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    let _state = lock();
    work()
}

/// Waits for the end of the process where it has begun: what fails because of it is not told.
pub(crate) fn settle() {
    drop(lock());
}

/// A run that can end in order, as long as this value lives.
pub(crate) struct Stoppable(());

impl Stoppable {
    /// `stop` asks it to, and `text` says so.
    pub(crate) fn by(text: &'static str, stop: impl Fn() + Send + 'static) -> Self {
        lock().stop = Some(Stop {
            text,
            order: Box::new(stop),
        });
        Self(())
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        lock().stop = None;
    }
}

/// A file or folder that is not whole as long as this value lives. It must be nobody else's.
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        lock().unfinished.push(path.clone());
        Self(path)
    }

    /// The same of what `make` makes at `path`; a signal waits for it.
    pub(crate) fn made(
        path: &Path,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut state = lock();
        make(path)?;
        state.unfinished.push(path.to_owned());
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut state = lock();
        let known = state.unfinished.iter().position(|path| *path == self.0);
        if let Some(at) = known {
            state.unfinished.swap_remove(at);
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    // What is inside is whole even if a thread has panicked.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn heard() {
    let state = lock();
    let first = !ASKED.swap(true, Ordering::Relaxed);
    match &state.stop {
        Some(stop) if first => {
            note!("smbench: {}", stop.text);
            (stop.order)();
        }
        _ => end(&state),
    }
}

/// Removes what is not whole, for who ends the process without a signal.
pub(crate) fn leave_nothing() {
    // Whoever holds the lock ends the process too, or is told something by the one that does.
    if let Ok(state) = STATE.try_lock() {
        for path in &state.unfinished {
            // Nobody reads any more why it cannot be removed.
            let _ = remove(path);
        }
    }
}

/// Ends the process. The state stays locked until then.
fn end(state: &State) -> ! {
    for path in &state.unfinished {
        if let Err(error) = remove(path) {
            note!("smbench: cannot remove {}: {error}", path.display());
        }
    }
    let far = match state.far.as_str() {
        "" => String::new(),
        far => format!(": {far}"),
    };
    let left = if state.unfinished.is_empty() {
        ""
    } else {
        "; nothing is left of what it was writing"
    };
    note!("smbench: interrupted{far}{left}");
    std::process::exit(i32::from(INTERRUPTED))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".gone");
    let gone = path.with_file_name(name);
    // By another name first: other threads still write, and find no folder any more.
    match std::fs::rename(path, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) if gone.is_dir() => std::fs::remove_dir_all(&gone),
        Ok(()) => std::fs::remove_file(&gone),
    }
}

/// Pairs of sockets for which there has to be room: the runtime opens five files.
const SPARE_PAIRS: usize = 3;
