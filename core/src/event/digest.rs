//! The running digest that proves two runs gave the same effects.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{AuthStep, Divergence, Effect, Lateness, Outcome, Report};
use crate::frame::{Content, Cut, Frame};

/// A running digest of every effect so far: two runs with the same digest did the same.
///
/// It chains XXH3-64 over each effect's canonical bytes. It guards against nondeterminism, not
/// against an attacker.
#[derive(Clone, Copy, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectsDigest(pub u64);

impl EffectsDigest {
    /// Takes one more effect in. `scratch` is working memory, reused between calls.
    pub fn update(&mut self, effect: &Effect, scratch: &mut Vec<u8>) {
        scratch.clear();
        put_effect(effect, scratch);
        self.0 = xxh3_64_with_seed(scratch, self.0);
    }

    /// The lowest 32 bits: what a journal keeps beside every event.
    #[must_use]
    pub const fn short(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

impl fmt::Debug for EffectsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for EffectsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn put_effect(effect: &Effect, out: &mut Vec<u8>) {
    match effect {
        Effect::Connect { conn } => put(out, 1, &[u64::from(conn.0)]),
        Effect::Send { conn, frame, login } => {
            let login = login.map_or(u64::MAX, |session| u64::from(session.0));
            put(out, 2, &[u64::from(conn.0), login]);
            put_frame(frame, out);
        }
        Effect::Authenticate {
            conn,
            session,
            step,
        } => {
            let step = match step {
                AuthStep::Begin => 0,
                AuthStep::BeginRefused => 1,
                AuthStep::Continue => 2,
                AuthStep::BeginAs(principal) => 3 + u64::from(principal.0),
            };
            put(out, 3, &[u64::from(conn.0), u64::from(session.0), step]);
        }
        Effect::Close { conn, reset } => put(out, 4, &[u64::from(conn.0), u64::from(*reset)]),
        Effect::Report(report) => put_report(report, out),
    }
}

fn put_frame(frame: &Frame, out: &mut Vec<u8>) {
    put(out, 5, &[frame.bytes.len() as u64, frame.cuts.len() as u64]);
    out.extend_from_slice(&frame.bytes);
    for Cut { at, len, content } in &frame.cuts {
        put(out, 6, &[u64::from(*at), u64::from(*len)]);
        match content {
            Content::Data(digest) => out.extend_from_slice(&digest.0),
            Content::Token => out.push(0),
        }
    }
}

fn put_report(report: &Report, out: &mut Vec<u8>) {
    match report {
        Report::Started { op, late } => {
            let Lateness {
                causality_ns,
                credits_ns,
                server_ns,
                replayer_ns,
                breaks_ns,
            } = *late;
            if breaks_ns != 0 {
                put(out, 17, &[breaks_ns]); // older engines knew no such wait
            }
            put(
                out,
                16,
                &[
                    u64::from(op.0),
                    causality_ns,
                    credits_ns,
                    server_ns,
                    replayer_ns,
                ],
            );
        }
        Report::Finished {
            op,
            outcome,
            latency_ns,
        } => {
            put(out, 17, &[u64::from(op.0), *latency_ns]);
            put_outcome(outcome, out);
        }
        Report::Observed { op } => put(out, 18, &[u64::from(op.0)]),
        Report::Diverged { op, divergence } => {
            put(out, 19, &[u64::from(op.0)]);
            put_divergence(divergence, out);
        }
        Report::Cascaded { op, cause } => put(out, 20, &[u64::from(op.0), u64::from(cause.0)]),
        Report::Done => put(out, 21, &[]),
        Report::Skipped { op, why } => put(out, 22, &[u64::from(op.0), *why as u64]),
        Report::Refused { op, why } => {
            put(out, 25, &[u64::from(op.0)]);
            out.extend_from_slice(why.name().as_bytes());
        }
        Report::TreeRefused { op } => put(out, 26, &[u64::from(op.0)]),
        Report::Stray {
            conn,
            command,
            status,
        } => {
            put(
                out,
                23,
                &[u64::from(conn.0), u64::from(*command), u64::from(status.0)],
            );
        }
    }
}

fn put_outcome(outcome: &Outcome, out: &mut Vec<u8>) {
    let Outcome {
        status,
        grant,
        create_action,
        size,
        data,
        dialect,
    } = outcome;
    let absent = u64::MAX;
    let numbers = [
        u64::from(status.0),
        grant.map_or(absent, u64::from),
        create_action.map_or(absent, u64::from),
        size.unwrap_or(absent),
        dialect.map_or(absent, u64::from),
    ];
    put(out, 24, &numbers);
    if let Some(digest) = data {
        out.extend_from_slice(&digest.0);
    }
}

fn put_divergence(divergence: &Divergence, out: &mut Vec<u8>) {
    out.extend_from_slice(divergence.name().as_bytes());
    match divergence {
        Divergence::Status { recorded, seen } => {
            put(out, 0, &[u64::from(recorded.0), u64::from(seen.0)]);
        }
        Divergence::Grant { recorded, seen }
        | Divergence::CreateAction { recorded, seen }
        | Divergence::BreakLevel { recorded, seen } => {
            put(out, 0, &[u64::from(*recorded), u64::from(*seen)]);
        }
        Divergence::Size { recorded, seen } => put(out, 0, &[*recorded, *seen]),
        Divergence::Data { recorded, seen } => {
            out.extend_from_slice(&recorded.0);
            out.extend_from_slice(&seen.0);
        }
        Divergence::UnexpectedBreak { open, level } => {
            let open = open.map_or(u64::MAX, |open| u64::from(open.0));
            put(out, 0, &[open, u64::from(*level)]);
        }
        Divergence::Dialect { recorded, seen } => {
            put(out, 0, &[u64::from(*recorded), u64::from(*seen)]);
        }
        Divergence::WrongHeader { field, sent, seen } => {
            put(out, 0, &[*field as u64, *sent, *seen]);
        }
        Divergence::ConnectionLost { reason } => put(out, 0, &[*reason as u64]),
        Divergence::MissingBreak
        | Divergence::NoResponse
        | Divergence::NoCredits
        | Divergence::LoginFailed
        | Divergence::BadSignature
        | Divergence::Malformed => {}
    }
}

fn put(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    out.push(tag);
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}
