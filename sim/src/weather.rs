//! The network's part in a run: when what is sent now arrives, as a function of the seed.
//!
//! Each direction of each life of a connection draws from a stream of its own, so what one
//! connection does never changes another's luck.

use smbench_core::ids::{ClientId, ConnId, LogicalTime};

use crate::scenario::{Fault, Latency, Scenario};

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A stream of its own for every seed and every list of numbers.
    pub(crate) fn new(seed: u64, numbers: &[u64]) -> Self {
        let mut rng = Self(seed);
        for number in numbers {
            rng.0 = rng.next() ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd);
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        let drawn = (u128::from(self.next()) * span) >> 64;
        low.saturating_add(u64::try_from(drawn).unwrap_or(0))
    }
}

/// Which way a segment goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

impl Direction {
    /// The way back.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// One direction of one life of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    direction: Direction,
    rng: Rng,
    latency: Latency,
    split: bool,
    /// Times in which the client's side stands still, by their beginning.
    holds: Vec<(LogicalTime, LogicalTime)>,
    last: LogicalTime,
}

impl Lane {
    pub(crate) fn new(
        scenario: &Scenario,
        conn: ConnId,
        client: Option<ClientId>,
        life: u64,
        direction: Direction,
    ) -> Self {
        Self {
            direction,
            rng: Rng::new(scenario.seed, &[conn.0.into(), life, direction as u64 + 1]),
            latency: scenario.latency,
            split: scenario.split,
            holds: holds(scenario, conn, client),
            last: LogicalTime::ZERO,
        }
    }

    /// When `len` bytes sent at `now` have all arrived. Never earlier than what was sent before.
    pub(crate) fn arrival(&mut self, now: LogicalTime, len: usize) -> LogicalTime {
        let sent = match self.direction {
            Direction::Up => released(&self.holds, now),
            Direction::Down => now,
        };
        let segments = match (self.split, len) {
            (true, 2..) => self.rng.between(1, MAX_SEGMENTS.min(len as u64)),
            _ => 1,
        };
        let mut slowest = 0;
        for _ in 0..segments {
            slowest = slowest.max(self.rng.between(self.latency.min_us, self.latency.max_us));
        }
        let there = sent.plus_nanos(slowest.saturating_mul(1_000));
        let heard = match self.direction {
            Direction::Up => there,
            Direction::Down => released(&self.holds, there),
        };
        self.last = self.last.max(heard);
        self.last
    }
}

/// The holds a connection suffers, by their beginning.
pub(crate) fn holds(
    scenario: &Scenario,
    conn: ConnId,
    client: Option<ClientId>,
) -> Vec<(LogicalTime, LogicalTime)> {
    let mut holds: Vec<_> = (scenario.faults.iter())
        .filter_map(|fault| match *fault {
            Fault::Hold { at, until, target } if target.has(conn, client) => Some((at, until)),
            Fault::Hold { .. } | Fault::Cut { .. } => None,
        })
        .collect();
    holds.sort_unstable();
    holds
}

/// The first moment from `at` on that lies in no hold.
pub(crate) fn released(holds: &[(LogicalTime, LogicalTime)], at: LogicalTime) -> LogicalTime {
    // Holds are by their beginning, so one pass sees every hold that another one leads into.
    holds.iter().fold(at, |at, (from, until)| {
        if (*from..*until).contains(&at) {
            *until
        } else {
            at
        }
    })
}

/// The cuts of a scenario that befall a connection, by time.
pub(crate) fn cuts(
    scenario: &Scenario,
    conn: ConnId,
    client: Option<ClientId>,
) -> Vec<LogicalTime> {
    let mut cuts: Vec<_> = (scenario.faults.iter())
        .filter_map(|fault| match *fault {
            Fault::Cut { at, target } if target.has(conn, client) => Some(at),
            Fault::Cut { .. } | Fault::Hold { .. } => None,
        })
        .collect();
    cuts.sort_unstable();
    cuts
}

/// Segments that a frame is cut into, at most.
const MAX_SEGMENTS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Target;

    const MS: u64 = 1_000_000;

    fn scenario(seed: u64, faults: Vec<Fault>) -> Scenario {
        Scenario {
            seed,
            latency: Latency {
                min_us: 100,
                max_us: 900,
            },
            split: true,
            faults,
            ..Scenario::default()
        }
    }

    #[test]
    fn a_lane_keeps_order_and_bounds_and_depends_on_its_seed_alone() {
        let run = |seed, conn| {
            let scenario = scenario(seed, Vec::new());
            let mut lane = Lane::new(&scenario, ConnId(conn), None, 1, Direction::Up);
            let times = (0..1_000_u64).map(|n| lane.arrival(LogicalTime(n * 10_000), 300));
            times.collect::<Vec<_>>()
        };
        let times = run(1, 0);
        assert!(times.is_sorted());
        assert!(times[0].0 >= 100_000 && times[999].0 <= 999 * 10_000 + 900_000);
        assert_eq!(times, run(1, 0));
        assert_ne!(times, run(2, 0));
        assert_ne!(times, run(1, 1));
    }

    #[test]
    fn a_hold_stops_its_target_in_both_directions_and_loses_nothing() {
        let hold = |from, until| Fault::Hold {
            at: LogicalTime(from * MS),
            until: LogicalTime(until * MS),
            target: Target::Client(ClientId(1)),
        };
        // The first leads into the second.
        let scenario = scenario(3, vec![hold(14, 30), hold(5, 15)]);
        for direction in [Direction::Up, Direction::Down] {
            let mut held = Lane::new(&scenario, ConnId(0), Some(ClientId(1)), 1, direction);
            assert!(held.arrival(LogicalTime(6 * MS), 9).0 >= 30 * MS);
            let mut free = Lane::new(&scenario, ConnId(0), Some(ClientId(2)), 1, direction);
            assert!(free.arrival(LogicalTime(6 * MS), 9).0 < 7 * MS);
        }
        let held = holds(&scenario, ConnId(0), Some(ClientId(1)));
        assert_eq!(released(&held, LogicalTime(30 * MS)), LogicalTime(30 * MS));
        assert_eq!(released(&held, LogicalTime(4 * MS)), LogicalTime(4 * MS));
    }
}
