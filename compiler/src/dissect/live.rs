//! Operations that may still change, because their answer may still come.
//!
//! They leave in the order of their ids as soon as they are settled. One that waits for so long
//! that too many are behind it, or too long ones, is put aside and leaves late; when too many are
//! aside, it is given up.

use std::collections::{BTreeMap, VecDeque};

use smbench_core::{ids::OpId, workload::Operation};

use super::{flight::Flight, index};

/// What becomes of the first operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Departure {
    /// It is settled and can be taken.
    Settled,
    /// It was put aside, and its place is left open.
    Aside(OpId),
    /// There is no room for it to wait on.
    GivenUp(OpId),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Operations that have left, or are aside.
    gone: usize,
    flights: VecDeque<Box<Flight>>,
    /// What they hold.
    weight: usize,
    aside: BTreeMap<OpId, Box<Flight>>,
    aside_weight: usize,
    /// Blank ones, to be used again.
    #[expect(clippy::vec_box, reason = "they stay where they are")]
    spare: Vec<Box<Flight>>,
}

impl Live {
    /// Operations ever.
    pub(super) fn total(&self) -> usize {
        self.gone + self.flights.len()
    }

    /// Room for an operation.
    pub(super) fn blank(&mut self) -> Box<Flight> {
        self.spare.pop().unwrap_or_else(Flight::blank)
    }

    /// Gives back what is blank again.
    pub(super) fn spare(&mut self, flight: Box<Flight>) {
        self.spare.push(flight);
    }

    pub(super) fn push(&mut self, flight: Box<Flight>) {
        self.weight += flight.weight;
        self.flights.push_back(flight);
    }

    /// An operation, unless it has left.
    pub(super) fn flight(&self, op: OpId) -> Option<&Flight> {
        let flight = match op.index().checked_sub(self.gone) {
            Some(at) => self.flights.get(at),
            None => self.aside.get(&op),
        };
        flight.map(Box::as_ref)
    }

    pub(super) fn flight_mut(&mut self, op: OpId) -> Option<&mut Flight> {
        let flight = match op.index().checked_sub(self.gone) {
            Some(at) => self.flights.get_mut(at),
            None => self.aside.get_mut(&op),
        };
        flight.map(Box::as_mut)
    }

    pub(super) fn get(&self, op: OpId) -> Option<&Operation> {
        self.flight(op).map(|flight| &flight.op)
    }

    pub(super) fn get_mut(&mut self, op: OpId) -> Option<&mut Operation> {
        self.flight_mut(op).map(|flight| &mut flight.op)
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Operation> {
        self.flights.back_mut().map(|flight| &mut flight.op)
    }

    /// The operation waits for its answer.
    pub(super) fn waits(&mut self, op: OpId) {
        if let Some(flight) = self.flight_mut(op) {
            flight.waits = true;
        }
    }

    /// The operation no longer waits. It leaves now if it was aside.
    pub(super) fn settled(&mut self, op: OpId) -> Option<Box<Flight>> {
        if op.index() >= self.gone {
            if let Some(flight) = self.flight_mut(op) {
                flight.waits = false;
            }
            return None;
        }
        let flight = self.aside.remove(&op)?;
        self.aside_weight -= flight.weight;
        Some(flight)
    }

    /// Takes the first operation.
    pub(super) fn take(&mut self) -> Option<Box<Flight>> {
        let first = self.flights.pop_front()?;
        self.gone += 1;
        self.weight -= first.weight;
        Some(first)
    }

    /// What becomes of the first operation now; nothing while it waits.
    pub(super) fn departure(&mut self) -> Option<Departure> {
        let first = self.flights.front()?;
        if !first.waits {
            return Some(Departure::Settled);
        }
        if self.flights.len() <= FLIGHTS && self.weight <= FLIGHTS_WEIGHT {
            return None;
        }
        let weight = self.aside_weight + first.weight;
        if self.aside.len() >= ASIDE || weight > ASIDE_WEIGHT {
            return Some(Departure::GivenUp(OpId(index(self.gone))));
        }
        self.aside_weight = weight;
        let first = self.take()?;
        let id = first.op.id;
        self.aside.insert(id, first);
        Some(Departure::Aside(id))
    }

    /// Nothing waits any more; what was aside.
    pub(super) fn end(&mut self) -> BTreeMap<OpId, Box<Flight>> {
        for flight in &mut self.flights {
            flight.waits = false;
        }
        std::mem::take(&mut self.aside)
    }
}

/// Operations that may be behind one that waits: as many as fit into a processor's second cache.
const FLIGHTS: usize = 1 << 10;
/// Bytes that they and it may hold.
const FLIGHTS_WEIGHT: usize = 64 << 20;
/// Operations that may be aside at once.
const ASIDE: usize = 1 << 15;
/// Bytes that these may hold.
const ASIDE_WEIGHT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many stay, are aside and were given up of so many that wait and hold `weight` bytes.
    fn kept(total: usize, weight: usize) -> (usize, usize, usize) {
        let mut live = Live::default();
        let mut given_up = 0;
        for id in 0..total {
            let mut flight = live.blank();
            (flight.op.id, flight.weight) = (OpId(index(id)), weight);
            live.push(flight);
            live.waits(OpId(index(id)));
            while let Some(departure) = live.departure() {
                match departure {
                    Departure::Aside(_) => {}
                    Departure::GivenUp(op) => {
                        given_up += 1;
                        assert!(live.settled(op).is_none(), "it is not aside");
                    }
                    Departure::Settled => drop(live.take()),
                }
            }
        }
        assert_eq!(live.total(), total);
        (live.flights.len(), live.aside.len(), given_up)
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_length() {
        let many = FLIGHTS + ASIDE + 100;
        assert_eq!(kept(many, 100), (FLIGHTS, ASIDE, 100));
        let long = 64 << 10;
        let (stay, aside) = (FLIGHTS_WEIGHT / long, ASIDE_WEIGHT / long);
        assert_eq!(kept(stay + aside + 100, long), (stay, aside, 100));
    }
}
