//! What a server, a network or the end of a run can do otherwise.

use serde::{Deserialize, Serialize};
use smbench_core::{
    event::{Input, NetFailure, Seal},
    frame::Frame,
    ids::{ConnId, LogicalTime},
    smb2::{Command, HEADER_LEN, Header},
};

/// An event of a run, by its number in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the journal; of an inserted one that of the event before which it came to be.
    pub origin: usize,
    /// When.
    pub now: LogicalTime,
    /// What.
    pub input: Input,
}

/// One change. Events are named by their numbers in the journal, so a change means the same whatever others
/// do; one whose event is gone does nothing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mutation")]
#[non_exhaustive]
pub enum Mutation {
    /// An event does not happen.
    Drop {
        /// Which.
        event: usize,
    },
    /// An event happens twice.
    Duplicate {
        /// Which.
        event: usize,
    },
    /// Two events change places; their times stay.
    Swap {
        /// One.
        event: usize,
        /// The other.
        with: usize,
    },
    /// An event comes later.
    Delay {
        /// Which.
        event: usize,
        /// By how much, in microseconds.
        by_us: u64,
    },
    /// A byte of a received frame is another.
    Corrupt {
        /// Of which event.
        event: usize,
        /// Which byte; counted on in frames that are shorter.
        byte: u32,
        /// What it is.
        value: u8,
    },
    /// A received frame is cut.
    Truncate {
        /// Of which event.
        event: usize,
        /// Bytes that are left.
        len: u32,
    },
    /// A received response has another status.
    Status {
        /// Of which event.
        event: usize,
        /// The status.
        status: u32,
    },
    /// Received responses of a connection grant so many credits from an event on: none, or too many.
    Credits {
        /// From which event on.
        event: usize,
        /// How many each.
        credits: u16,
    },
    /// The signature of a received frame is wrong.
    BadSignature {
        /// Of which event.
        event: usize,
    },
    /// The connection of an event ends before it.
    Cut {
        /// Which event.
        event: usize,
        /// By a reset.
        reset: bool,
    },
    /// A break notification that nobody recorded comes before an event, on its connection.
    ForgeBreak {
        /// Which event.
        event: usize,
        /// The key of the lease, or the handle: a byte repeated, or of an earlier notification.
        key: u8,
        /// Of a lease, else of an oplock.
        lease: bool,
    },
    /// A received frame comes once more, after another event.
    Replay {
        /// Which frame.
        event: usize,
        /// After which event.
        after: usize,
    },
    /// A response to a request that was never sent.
    Unasked {
        /// Before which event, on its connection.
        event: usize,
        /// Its command.
        command: u16,
        /// Its MessageId.
        mid: u64,
    },
    /// The user stops the run before an event.
    Stop {
        /// Which.
        event: usize,
    },
    /// Nothing comes any more.
    EndEarly {
        /// From which event on.
        event: usize,
    },
}

/// Random numbers that are the same on every machine: xorshift64*.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Zero would stay zero; neighbours shall differ at once.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from((self.next() >> 16) % bound).unwrap_or(0)
    }

    fn one_of<T: Copy + Default, const N: usize>(&mut self, of: [T; N]) -> T {
        of.get(self.below(N)).copied().unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next()
            .to_be_bytes()
            .first()
            .copied()
            .unwrap_or_default()
    }
}

/// Changes drawn from a seed alone, for a run of so many events.
#[must_use]
pub fn mutations(seed: u64, events: usize) -> Vec<Mutation> {
    let mut dice = Dice::new(seed);
    // Most findings need few changes, and few changes are easily understood.
    let count = 1 + dice.below(4) * dice.below(3);
    (0..count).map(|_| draw(&mut dice, events)).collect()
}

fn draw(dice: &mut Dice, events: usize) -> Mutation {
    let event = dice.below(events);
    let other = dice.below(events);
    match dice.below(19) {
        0 | 1 => Mutation::Drop { event },
        2 | 3 => Mutation::Duplicate { event },
        4 => Mutation::Swap { event, with: other },
        5 => Mutation::Swap {
            event,
            with: event.saturating_add(1),
        },
        6 | 7 => Mutation::Delay {
            event,
            by_us: dice.one_of([1_000, 50_000, 2_500_000, 40_000_000, 400_000_000]),
        },
        8 | 9 => Mutation::Corrupt {
            event,
            byte: u32::try_from(dice.below(192)).unwrap_or(0),
            value: {
                let any = dice.byte();
                dice.one_of([any, 0, 1, 0x7f, 0xff])
            },
        },
        10 => Mutation::Truncate {
            event,
            len: u32::try_from(dice.below(160)).unwrap_or(0),
        },
        11 => Mutation::Status {
            event,
            status: dice.one_of(STATUSES),
        },
        12 => Mutation::Credits {
            event,
            credits: dice.one_of([0, 0, 1, 512, u16::MAX]),
        },
        13 => Mutation::BadSignature { event },
        14 => Mutation::Cut {
            event,
            reset: dice.below(2) == 0,
        },
        15 => Mutation::ForgeBreak {
            event,
            key: dice.byte(),
            lease: dice.below(2) == 0,
        },
        16 => Mutation::Replay {
            event,
            after: other.max(event),
        },
        17 => Mutation::Unasked {
            event,
            command: u16::try_from(dice.below(20)).unwrap_or(0),
            mid: {
                let (near, far) = (dice.next() % 64, dice.next());
                dice.one_of([near, u64::MAX, far])
            },
        },
        _ => match dice.below(3) {
            0 => Mutation::Stop { event },
            _ => Mutation::EndEarly { event },
        },
    }
}

/// The events after all of `changes`, in their order, in which time never goes back.
#[must_use]
pub fn mutated(events: &[Event], changes: &[Mutation]) -> Vec<Event> {
    let mut events = events.to_vec();
    for change in changes {
        change.apply(&mut events);
    }
    // An event that was moved takes its place by its time; others keep theirs.
    events.sort_by_key(|event| event.now);
    events
}

impl Mutation {
    fn apply(&self, events: &mut Vec<Event>) {
        let place =
            |events: &[Event], origin: usize| events.iter().position(|it| it.origin == origin);
        let Some(at) = place(events, self.event()) else {
            return;
        };
        let conn = events.get(at).and_then(|it| conn_of(&it.input));
        match *self {
            Self::Drop { .. } => drop(events.remove(at)),
            Self::EndEarly { .. } => events.truncate(at),
            Self::Duplicate { .. } => {
                let twice = events.get(at).cloned();
                twice.into_iter().for_each(|it| events.insert(at + 1, it));
            }
            Self::Swap { with, .. } => {
                let Some(with) = place(events, with).filter(|with| *with != at) else {
                    return;
                };
                let times = [at, with].map(|at| events.get(at).map(|it| it.now));
                events.swap(at, with);
                for (at, now) in [at, with].into_iter().zip(times) {
                    if let (Some(event), Some(now)) = (events.get_mut(at), now) {
                        event.now = now;
                    }
                }
            }
            Self::Delay { by_us, .. } => {
                if let Some(event) = events.get_mut(at) {
                    event.now = event.now.plus_nanos(by_us.saturating_mul(1_000));
                }
            }
            Self::Corrupt { byte, value, .. } => change_frame(events, at, |frame| {
                let len = frame.bytes.len().max(1);
                if let Some(it) = frame.bytes.get_mut(byte as usize % len) {
                    *it = value;
                }
            }),
            Self::Truncate { len, .. } => change_frame(events, at, |frame| {
                frame.bytes.truncate(len as usize);
                frame.cuts.clear();
            }),
            Self::Status { status, .. } => change_frame(events, at, |frame| {
                if let Some(to) = frame.bytes.get_mut(STATUS_AT..STATUS_AT + 4) {
                    to.copy_from_slice(&status.to_le_bytes());
                }
            }),
            Self::Credits { credits, .. } => {
                let of = |it: &Event| conn_of(&it.input) == conn;
                let those = (at..events.len()).filter(|at| events.get(*at).is_some_and(of));
                for at in those.collect::<Vec<_>>() {
                    change_frame(events, at, |frame| {
                        if let Some(to) = frame.bytes.get_mut(CREDITS_AT..CREDITS_AT + 2) {
                            to.copy_from_slice(&credits.to_le_bytes());
                        }
                    });
                }
            }
            Self::BadSignature { .. } => {
                if let Some(Event {
                    input: Input::Received { seal, .. },
                    ..
                }) = events.get_mut(at)
                {
                    *seal = Seal::BadSignature;
                }
            }
            Self::Cut { reset, .. } => {
                let reason = match reset {
                    true => NetFailure::Reset,
                    false => NetFailure::Eof,
                };
                insert(events, at, conn.map(|conn| Input::Closed { conn, reason }));
            }
            Self::ForgeBreak { key, lease, .. } => {
                let known = notified_key(events.get(..at).unwrap_or_default(), conn);
                let key = known.filter(|_| key & 1 == 0).unwrap_or([key; 16]);
                let input = conn.map(|conn| received(conn, notification(key, lease)));
                insert(events, at, input);
            }
            Self::Replay { after, .. } => {
                let Some(again) = events.get(at).cloned() else {
                    return;
                };
                let Some(after) = place(events, after) else {
                    return;
                };
                if matches!(again.input, Input::Received { .. }) {
                    insert(events, after + 1, Some(again.input));
                }
            }
            Self::Unasked { command, mid, .. } => {
                let mut header = Header {
                    command: Command(command),
                    credits: 1,
                    ..Header::default()
                };
                header.message_id.0 = mid;
                header.flags |= smbench_core::smb2::HeaderFlags::SERVER_TO_REDIR;
                let mut bytes = Vec::new();
                header.encode(&mut bytes);
                bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
                insert(events, at, conn.map(|conn| received(conn, bytes)));
            }
            Self::Stop { .. } => insert(events, at, Some(Input::Stop)),
        }
    }

    /// The event that it is about.
    const fn event(&self) -> usize {
        match *self {
            Self::Drop { event }
            | Self::Duplicate { event }
            | Self::Swap { event, .. }
            | Self::Delay { event, .. }
            | Self::Corrupt { event, .. }
            | Self::Truncate { event, .. }
            | Self::Status { event, .. }
            | Self::Credits { event, .. }
            | Self::BadSignature { event }
            | Self::Cut { event, .. }
            | Self::ForgeBreak { event, .. }
            | Self::Replay { event, .. }
            | Self::Unasked { event, .. }
            | Self::Stop { event }
            | Self::EndEarly { event } => event,
        }
    }
}

/// Puts an event before the one at `at`, at its time; at the end at the last one's.
fn insert(events: &mut Vec<Event>, at: usize, input: Option<Input>) {
    let Some(input) = input else { return };
    let at = at.min(events.len());
    let neighbour = events.get(at).or_else(|| events.last());
    let (origin, now) = neighbour.map_or((0, LogicalTime::ZERO), |it| (it.origin, it.now));
    // It is nobody: changes that name its neighbour mean the neighbour.
    let origin = origin.saturating_add(INSERTED);
    events.insert(at, Event { origin, now, input });
}

fn change_frame(events: &mut [Event], at: usize, change: impl FnOnce(&mut Frame)) {
    if let Some(Event {
        input: Input::Received { frame, .. },
        ..
    }) = events.get_mut(at)
    {
        change(frame);
    }
}

fn conn_of(input: &Input) -> Option<ConnId> {
    match input {
        Input::Connected { conn }
        | Input::ConnectFailed { conn, .. }
        | Input::Closed { conn, .. }
        | Input::Received { conn, .. }
        | Input::TokenReady { conn, .. } => Some(*conn),
        Input::Start | Input::Wake | Input::Completed { .. } | Input::Stop => None,
    }
}

fn received(conn: ConnId, bytes: Vec<u8>) -> Input {
    Input::Received {
        conn,
        frame: Frame {
            bytes,
            cuts: Vec::new(),
        },
        seal: Seal::Plain,
    }
}

/// The key or handle of the last notification that came on a connection.
fn notified_key(before: &[Event], conn: Option<ConnId>) -> Option<[u8; 16]> {
    before.iter().rev().find_map(|event| match &event.input {
        Input::Received {
            conn: on, frame, ..
        } if Some(*on) == conn => key_of(&frame.bytes),
        _ => None,
    })
}

/// The key or handle that a break notification or acknowledgement names. [MS-SMB2] 2.2.23, 2.2.24.
pub(crate) fn key_of(pdu: &[u8]) -> Option<[u8; 16]> {
    let header = Header::decode(pdu).ok()?;
    let key = pdu.get(KEY_AT..KEY_AT + 16)?.try_into().ok()?;
    (header.command == Command::OPLOCK_BREAK).then_some(key)
}

/// A break notification: a lease RWH that goes down to R, or an oplock that goes down to level II.
fn notification(key: [u8; 16], lease: bool) -> Vec<u8> {
    let mut header = Header {
        command: Command::OPLOCK_BREAK,
        ..Header::default()
    };
    header.message_id.0 = u64::MAX;
    header.flags |= smbench_core::smb2::HeaderFlags::SERVER_TO_REDIR;
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    if lease {
        bytes.extend_from_slice(&[44, 0, 2, 0, 1, 0, 0, 0]);
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&[7, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend_from_slice(&[0; 12]);
    } else {
        bytes.extend_from_slice(&[24, 0, 1, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&key);
    }
    bytes
}

const INSERTED: usize = 1 << 40;
const STATUS_AT: usize = 8;
const CREDITS_AT: usize = 14;
const KEY_AT: usize = HEADER_LEN + 8;
/// What servers say when something goes another way.
const STATUSES: [u32; 10] = [
    0,
    0x0000_0103, // PENDING
    0xc000_0016, // MORE_PROCESSING_REQUIRED
    0xc000_0022, // ACCESS_DENIED
    0xc000_0034, // OBJECT_NAME_NOT_FOUND
    0xc000_006d, // LOGON_FAILURE
    0xc000_00c9, // NETWORK_NAME_DELETED
    0xc000_0120, // CANCELLED
    0xc000_0128, // FILE_CLOSED
    0xc000_0203, // USER_SESSION_DELETED
];

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<Event> {
        let inputs = [
            Input::Start,
            Input::Connected { conn: ConnId(0) },
            received(ConnId(0), vec![1; 80]),
            received(ConnId(0), vec![2; 80]),
        ];
        let numbered = inputs.into_iter().enumerate();
        numbered
            .map(|(origin, input)| Event {
                origin,
                now: LogicalTime(origin as u64 * 1_000),
                input,
            })
            .collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_time_never_goes_back() {
        for seed in 0..2_000 {
            let drawn = mutations(seed, 4);
            assert_eq!(drawn, mutations(seed, 4));
            let after = mutated(&events(), &drawn);
            assert!(after.is_sorted_by_key(|event| event.now), "{drawn:?}");
        }
    }

    #[test]
    fn a_change_means_the_same_without_the_others() {
        let drop = Mutation::Drop { event: 1 };
        let cut = Mutation::Corrupt {
            event: 3,
            byte: 8,
            value: 9,
        };
        let both = mutated(&events(), &[drop, cut.clone()]);
        let alone = mutated(&events(), &[cut]);
        assert_eq!(both.last(), alone.last());
        assert_eq!((both.len(), alone.len()), (3, 4));
    }
}
