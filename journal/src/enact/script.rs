//! A journal's inputs, and which request each answer is one to.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use smbench_core::{
    engine::Engine,
    event::{Effect, Input, Output, Report},
    frame::Frame,
    ids::{ConnId, LogicalTime, OpId, ShardId},
    seal::is_smb1,
    smb2::{Command, Header, NtStatus},
};

use crate::{Journal, RerunError, rerun::Recipe};

/// Which request of a run: the same in every run of one script.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RequestKey {
    /// An operation's, as it was sent first.
    Op(OpId),
    /// The engine's own, or one more leg of a login.
    Own {
        /// On which connection.
        conn: ConnId,
        /// Its command.
        command: Command,
        /// How many of these went before.
        nth: u32,
    },
}

/// One input of a journal.
#[derive(Clone, Debug)]
pub struct Line {
    /// When the engine was given it.
    pub now: LogicalTime,
    /// What it was given.
    pub input: Input,
    /// Of a received frame: the request that each of its messages answers, where it answers one.
    pub answers: Vec<Option<RequestKey>>,
}

/// The inputs of a journal, as far as its engine takes them.
#[derive(Clone, Debug)]
pub struct Script {
    /// One after the other.
    pub lines: Vec<Line>,
    /// Requests that the journal's engine sent.
    pub requests: u64,
    /// Why the engine takes no more than these: it panics, or refuses an input.
    pub breaks_off: Option<String>,
}

impl Script {
    /// Reads the first shard of a journal, by feeding its engine. The panic hook is told of an engine that
    /// panics.
    ///
    /// # Errors
    ///
    /// [`RerunError`] when the journal is damaged, or lacks what a rerun needs.
    pub fn of(journal: &Journal) -> Result<Self, RerunError> {
        journal.refuse_damage()?;
        let recipe = Recipe::of(journal)?;
        let shard = ShardId(0);
        let mut engine = Engine::new(recipe.plan_of(shard, |_| {})?, recipe.config.clone());
        let mut script = Self {
            lines: Vec::new(),
            requests: 0,
            breaks_off: None,
        };
        let mut naming = Naming::default();
        let mut flights = BTreeMap::new();
        for stored in journal.entries(shard)? {
            let stored = stored?;
            let answers = match &stored.input {
                Input::Received { conn, frame, .. } => answers(*conn, frame, &mut flights),
                _ => Vec::new(),
            };
            let line = Line {
                now: stored.now,
                input: stored.input,
                answers,
            };
            match feed(&mut engine, line.now, line.input.clone()) {
                Ok(effects) => {
                    script.lines.push(line);
                    for effect in &effects {
                        let sent = naming.requests(effect);
                        let Effect::Send { conn, .. } = effect else {
                            continue;
                        };
                        // A CANCEL has no answer. [MS-SMB2] 3.2.4.24.
                        let sent = sent.into_iter().filter(|it| it.command != Command::CANCEL);
                        for it in sent {
                            script.requests += 1;
                            flights.insert((*conn, it.mid), it.key);
                        }
                    }
                }
                Err(why) => {
                    script.breaks_off = Some(why);
                    break;
                }
            }
        }
        Ok(script)
    }
}

/// The request that each message of a frame answers; those that are answered for good are forgotten.
fn answers(
    conn: ConnId,
    frame: &Frame,
    flights: &mut BTreeMap<(ConnId, u64), RequestKey>,
) -> Vec<Option<RequestKey>> {
    let headers = frame
        .pdus()
        .map_while(Result::ok)
        .map(|(header, ..)| header);
    headers
        .map(|header| {
            let flight = (conn, header.message_id.0);
            match is_interim(&header) {
                true => flights.get(&flight).copied(),
                false => flights.remove(&flight),
            }
        })
        .collect()
}

/// STATUS_PENDING: the answer comes later. [MS-SMB2] 3.3.4.2.
pub(super) fn is_interim(header: &Header) -> bool {
    header.is_async() && header.nt_status() == NtStatus::PENDING
}

/// Gives an engine one input; what it then orders, or why it takes no more. One that has panicked or refused
/// must not be used any more.
pub(super) fn feed(
    engine: &mut Engine,
    now: LogicalTime,
    input: Input,
) -> Result<Vec<Effect>, String> {
    let fed = catch_unwind(AssertUnwindSafe(|| {
        engine.handle(now, input)?;
        let mut effects = Vec::new();
        while let Output::Do(effect) = engine.poll() {
            effects.push(effect);
        }
        Ok::<_, smbench_core::engine::EngineError>(effects)
    }));
    match fed {
        Ok(Ok(effects)) => Ok(effects),
        Ok(Err(refused)) => Err(refused.to_string()),
        Err(_) => Err("the engine panics".to_owned()),
    }
}

/// Tells which requests an engine's frames are.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    /// Operations that were reported as started since the last frame.
    started: Vec<OpId>,
    own: BTreeMap<(ConnId, Command), u32>,
}

/// A request in a frame that goes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sent {
    pub(super) key: RequestKey,
    /// The MessageId that the engine gave it.
    pub(super) mid: u64,
    pub(super) command: Command,
}

impl Naming {
    /// The requests that an effect sends.
    pub(super) fn requests(&mut self, effect: &Effect) -> Vec<Sent> {
        match effect {
            Effect::Report(Report::Started { op, .. }) => self.started.push(*op),
            Effect::Send { conn, frame, .. } => return self.frame(*conn, frame),
            _ => {}
        }
        Vec::new()
    }

    fn frame(&mut self, conn: ConnId, frame: &Frame) -> Vec<Sent> {
        let mut started = std::mem::take(&mut self.started).into_iter();
        if is_smb1(&frame.bytes) {
            // It is answered as MessageId 0. [MS-SMB2] 3.3.5.3.1.
            let op = started.next();
            return op
                .map(|op| Sent {
                    key: RequestKey::Op(op),
                    mid: 0,
                    command: Command::NEGOTIATE,
                })
                .into_iter()
                .collect();
        }
        let headers = frame
            .pdus()
            .map_while(Result::ok)
            .map(|(header, ..)| header);
        headers
            .map(|header| {
                let command = header.command;
                let key = match started.next() {
                    Some(op) => RequestKey::Op(op),
                    None => {
                        let next = self.own.entry((conn, command)).or_default();
                        let nth = *next;
                        *next = next.saturating_add(1);
                        RequestKey::Own { conn, command, nth }
                    }
                };
                Sent {
                    key,
                    mid: header.message_id.0,
                    command,
                }
            })
            .collect()
    }
}
