//! The figures of one driver. Mergeable across drivers.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use smbench_core::event::{NetFailure, Report};
use smbench_core::ids::SessionRef;

/// As whom a server lets somebody in. [MS-SMB2] 2.2.6, SessionFlags.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// As the user who logged in.
    User,
    /// As a guest.
    Guest,
    /// As nobody.
    Anonymous,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Guest, Self::Anonymous];

    /// By the flags of the SESSION_SETUP response that granted the session.
    #[must_use]
    pub const fn of_flags(flags: u16) -> Self {
        match (flags & GUEST != 0, flags & NULL != 0) {
            (_, true) => Self::Anonymous,
            (true, false) => Self::Guest,
            (false, false) => Self::User,
        }
    }

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Guest => "guest",
            Self::Anonymous => "anonymous",
        }
    }
}

const GUEST: u16 = 1;
const NULL: u16 = 2;

/// Counts and distributions of a run so far.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// As whom the server let each session in; the last time, where it logged in again.
    pub standings: BTreeMap<SessionRef, Standing>,
    /// Connections opened.
    pub connects: u64,
    /// Connections that could not be opened, and why.
    pub connect_failures: BTreeMap<NetFailure, u64>,
    /// Open connections that ended without being asked to, and why.
    pub losses: BTreeMap<NetFailure, u64>,
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes of them, transport headers included.
    pub bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes of them, transport headers included.
    pub bytes_received: u64,
    /// PDUs that were signed.
    pub signed: u64,
    /// Frames that were encrypted.
    pub encrypted: u64,
    /// PDUs that should have been signed, but for want of a key.
    pub unsigned_without_key: u64,
    /// Frames with a wrong or missing signature, or wrongly in clear.
    pub bad_seals: u64,
    /// Signed frames without a key to verify them.
    pub unchecked_seals: u64,
    /// Frames that could not be opened or taken apart; the connection was closed.
    pub unreadable_frames: u64,
    /// Outgoing frames that could not be sealed; the connection was closed.
    pub unsealable_frames: u64,
    /// Frames ordered on a connection that was already gone.
    pub sends_without_connection: u64,
    /// Times a connection's queue was full and its frames waited in the driver.
    pub send_stalls: u64,
    /// Logins that began.
    pub logins: u64,
    /// Logins that failed on our side.
    pub login_failures: u64,
    /// Frames that belong to nothing, beyond what a connection may have of them: they were counted,
    /// neither recorded nor given to the engine.
    pub unwanted_frames: u64,
    /// Inputs given to the engine.
    pub inputs: u64,
    /// Reports by the engine.
    pub reports: u64,
    /// From request to final response, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// How late a wake came, in nanoseconds.
    pub wake_late_ns: Histogram<u64>,
    /// How late operations were released for our own sake, in nanoseconds.
    pub release_late_ns: Histogram<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let empty = || histogram();
        Self {
            standings: BTreeMap::new(),
            connects: 0,
            connect_failures: BTreeMap::new(),
            losses: BTreeMap::new(),
            frames_sent: 0,
            bytes_sent: 0,
            frames_received: 0,
            bytes_received: 0,
            signed: 0,
            encrypted: 0,
            unsigned_without_key: 0,
            bad_seals: 0,
            unchecked_seals: 0,
            unreadable_frames: 0,
            unsealable_frames: 0,
            sends_without_connection: 0,
            send_stalls: 0,
            logins: 0,
            login_failures: 0,
            unwanted_frames: 0,
            inputs: 0,
            reports: 0,
            latency_ns: empty(),
            wake_late_ns: empty(),
            release_late_ns: empty(),
        }
    }
}

impl Metrics {
    /// Takes a report in.
    pub fn note(&mut self, report: &Report) {
        self.reports += 1;
        match report {
            Report::Started { late, .. } => {
                self.release_late_ns.saturating_record(late.replayer_ns)
            }
            Report::Finished { latency_ns, .. } => self.latency_ns.saturating_record(*latency_ns),
            _ => {}
        }
    }

    /// Adds another driver's figures.
    pub fn merge(&mut self, other: &Self) {
        for (reason, count) in &other.connect_failures {
            *self.connect_failures.entry(*reason).or_default() += count;
        }
        for (reason, count) in &other.losses {
            *self.losses.entry(*reason).or_default() += count;
        }
        for (mine, theirs) in self
            .counts_mut()
            .into_iter()
            .zip(other.clone().counts_mut())
        {
            *mine += *theirs;
        }
        for (mine, theirs) in [
            (&mut self.latency_ns, &other.latency_ns),
            (&mut self.wake_late_ns, &other.wake_late_ns),
            (&mut self.release_late_ns, &other.release_late_ns),
        ] {
            // Auto-resizing histograms of one precision always fit into each other.
            let _ = mine.add(theirs);
        }
    }

    fn counts_mut(&mut self) -> [&mut u64; 19] {
        [
            &mut self.connects,
            &mut self.frames_sent,
            &mut self.bytes_sent,
            &mut self.frames_received,
            &mut self.bytes_received,
            &mut self.signed,
            &mut self.encrypted,
            &mut self.unsigned_without_key,
            &mut self.bad_seals,
            &mut self.unchecked_seals,
            &mut self.unreadable_frames,
            &mut self.unsealable_frames,
            &mut self.sends_without_connection,
            &mut self.send_stalls,
            &mut self.logins,
            &mut self.login_failures,
            &mut self.unwanted_frames,
            &mut self.inputs,
            &mut self.reports,
        ]
    }
}

/// Three digits, growing as needed.
fn histogram() -> Histogram<u64> {
    match Histogram::new(3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("hdrhistogram takes one to five digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_every_count() {
        let mut one = Metrics {
            connects: 2,
            ..Metrics::default()
        };
        one.counts_mut().into_iter().for_each(|count| *count += 1);
        one.latency_ns.record(5_000_000_000).unwrap();
        one.losses.insert(NetFailure::Eof, 3);
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!(sum.connects, 6);
        assert_eq!(sum.reports, 2);
        assert_eq!((sum.latency_ns.len(), sum.losses[&NetFailure::Eof]), (2, 6));
    }
}
