//! What a live run is doing, while it does: for who watches.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use smbench_core::engine::Recorded;
use smbench_core::event::Report;
use smbench_core::ids::OpId;
use smbench_core::smb2::Command;

use crate::report::{self, time};
use crate::terminal;

/// A bar of a live run. Where nobody watches it costs nothing.
pub(crate) struct Progress(Option<Watched>);

struct Watched {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    recorded: Recorded,
    /// Ends the ticker when it is dropped.
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

/// What is told.
#[derive(Debug)]
struct State {
    begun: Instant,
    finished: u64,
    diverged: u64,
    /// How late the last request went out.
    behind_us: u64,
    /// Requests that wait for an answer, CHANGE_NOTIFY excepted: since when.
    in_flight: BTreeMap<OpId, (Command, Instant)>,
}

/// How often the words change: also when nothing comes.
const TICK: Duration = Duration::from_millis(500);
/// Whoever waits longer is named.
const LONG: Duration = Duration::from_secs(1);

impl Progress {
    /// Of a run of so many operations.
    pub(crate) fn begin(operations: u64, recorded: &Recorded) -> Self {
        if !terminal::is_watched() {
            return Self(None);
        }
        let bar = report::progress(operations, "{bar:30} {pos}/{len}, {elapsed} {msg}");
        let state = Arc::new(Mutex::new(State::new(Instant::now())));
        let (stop, stopped) = channel::<()>();
        let (told, shown) = (Arc::clone(&state), bar.clone());
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                let words = told
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .words(Instant::now());
                shown.set_message(words);
            }
        };
        // Without the thread the bar moves all the same.
        let ticker = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(tick);
        Self(Some(Watched {
            bar,
            state,
            recorded: recorded.clone(),
            stop: Some(stop),
            ticker: ticker.ok(),
        }))
    }

    /// The engine reports.
    pub(crate) fn report(&self, report: &Report) {
        let Some(watched) = &self.0 else { return };
        let mut state = watched.state.lock().unwrap_or_else(PoisonError::into_inner);
        let command = |op: OpId| watched.recorded.get(op).map(|it| it.command);
        state.report(report, command, Instant::now());
        watched.bar.set_position(state.finished);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            // It has nothing to tell.
            ticker.join().ok();
        }
        self.bar.finish_and_clear();
    }
}

impl State {
    const fn new(begun: Instant) -> Self {
        Self {
            begun,
            finished: 0,
            diverged: 0,
            behind_us: 0,
            in_flight: BTreeMap::new(),
        }
    }

    fn report(&mut self, report: &Report, command: impl Fn(OpId) -> Option<Command>, now: Instant) {
        match report {
            Report::Started { op, late } => {
                self.behind_us = late.total_ns() / 1_000;
                if let Some(command) = command(*op).filter(|it| *it != Command::CHANGE_NOTIFY) {
                    self.in_flight.insert(*op, (command, now));
                }
            }
            Report::Finished { op, .. } => {
                self.finished += 1;
                self.in_flight.remove(op);
            }
            Report::Diverged { op, .. } => {
                self.diverged += 1;
                self.in_flight.remove(op);
            }
            _ => {}
        }
    }

    fn words(&self, now: Instant) -> String {
        let seconds = now.duration_since(self.begun).as_secs_f64().max(0.001);
        let mut words = format!(
            "{:.0}/s, {} in flight",
            self.finished as f64 / seconds,
            self.in_flight.len()
        );
        if self.behind_us >= 1_000 {
            words.push_str(&format!(", {} behind", time(self.behind_us)));
        }
        if self.diverged > 0 {
            words.push_str(&format!(", {} differ", self.diverged));
        }
        let oldest = self.in_flight.iter().min_by_key(|(_, (_, since))| *since);
        if let Some((op, (command, since))) = oldest {
            let waits = now.duration_since(*since);
            if waits >= LONG {
                let waits = waits.as_secs();
                words.push_str(&format!("; {waits} s for {command} (operation {op})"));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::event::{Divergence, Lateness, Outcome};

    use super::*;

    #[test]
    fn a_stall_is_named_while_it_lasts() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut state = State::new(begun);
        let command = |op: OpId| match op.0 {
            9 => Some(Command::CHANGE_NOTIFY),
            _ => Some(Command::CREATE),
        };
        let late = Lateness {
            server_ns: 5_000_000,
            ..Lateness::default()
        };
        for (op, ms) in [(9, 0), (1, 0), (2, 500)] {
            let started = Report::Started { op: OpId(op), late };
            state.report(&started, command, at(ms));
        }
        assert_eq!(state.words(at(900)), "0/s, 2 in flight, 5.00 ms behind");
        let finished = |op| Report::Finished {
            op: OpId(op),
            outcome: Outcome::default(),
            latency_ns: 1,
        };
        state.report(&finished(2), command, at(1_000));
        assert_eq!(
            state.words(at(2_000)),
            "0/s, 1 in flight, 5.00 ms behind; 2 s for CREATE (operation 1)"
        );
        let diverged = Report::Diverged {
            op: OpId(1),
            divergence: Divergence::NoResponse,
        };
        state.report(&diverged, command, at(3_000));
        assert_eq!(
            state.words(at(1_000)),
            "1/s, 0 in flight, 5.00 ms behind, 1 differ"
        );
    }
}
