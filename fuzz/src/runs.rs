//! Runs that nobody recorded: journals whose events are changed, and small workloads that are made up, on
//! the model server under weather that is made up too.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};
use smbench_core::bulk::Blobs;
use smbench_core::engine::{AckMode, Engine, Plan, RunConfig, Speed};
use smbench_core::event::{Divergence, EffectsDigest, Entry, Recorder, Report};
use smbench_core::frame::Digest;
use smbench_core::ids::{LogicalTime, OpId};
use smbench_core::smb2::Command;
use smbench_core::workload::{Operation, Workload};
use smbench_journal::Journal;
use smbench_journal::fuzz::{Event, Player, Seedling, mutations};
use smbench_sim::server::{Server, ServerConfig, ShareConfig};
use smbench_sim::{Cast, DriverKind, ModelService, Run, Scenario, simulate};

/// The events of a journal are fed to the engine by a driver that keeps its contract: what holds in every run
/// holds in this one. Long journals take too long to be of use.
pub fn journal_mutate(data: &[u8]) {
    let Some(seedling) = seedling(data) else {
        return;
    };
    let played = seedling.play(&[]);
    assert_eq!(played.violation, None);
}

/// The journal with changes that are drawn from `seed` alone, as a bundle; none where it is no journal.
pub fn changed_journal(data: &[u8], seed: u64) -> Option<Vec<u8>> {
    let seedling = seedling(data)?;
    let changes = mutations(seed, seedling.events());
    seedling.write(&changes, Vec::new()).ok()
}

fn seedling(data: &[u8]) -> Option<Seedling> {
    let journal = Journal::from_bundle_bytes(data.to_vec()).ok()?;
    let seedling = Seedling::of(&journal).ok()?;
    (1..2_000).contains(&seedling.events()).then_some(seedling)
}

/// A workload and a scenario, made up of bytes, through engine and model on the event loop: it ends, it does
/// the same again, and what happens to it the scenario explains.
pub fn engine_vs_model(data: &[u8]) {
    let mut dice = Dice(data);
    let (workload, operations) = workload(&mut dice);
    let (scenario, calm) = scenario(&mut dice);
    let config = RunConfig {
        speed: Speed::Max,
        ack: match dice.below(3) {
            0 => AckMode::Never,
            _ => AckMode::Immediate,
        },
        // Longer than the break time-outs of all holders together.
        timeout_ms: 600_000,
        ..RunConfig::default()
    };
    let plan = Plan::build(&workload, operations, &config, |_| true).unwrap();
    let first = ran(&workload, &plan, &config, &scenario);
    // Whatever is lost on the way, nothing comes that nobody asked for.
    let strays = first.reports.iter();
    let mut strays = strays.filter(|report| matches!(report, Report::Stray { .. }));
    assert_eq!(strays.next(), None, "an answer to nothing");
    let second = ran(&workload, &plan, &config, &scenario);
    assert_eq!(first.effects, second.effects, "the same run did otherwise");
    if calm {
        let recorded = plan.recorded();
        let command = |op: OpId| recorded.get(op).map(|it| it.command);
        first
            .reports
            .iter()
            .for_each(|report| is_explained(report, command));
    }
    // What an engine was given once is given to one that is watched.
    let events: Vec<Event> = (first.entries.into_iter().enumerate())
        .map(|(origin, entry)| Event {
            origin,
            now: entry.now,
            input: entry.input,
        })
        .collect();
    let engine = Engine::new(plan.clone(), config.clone());
    let player = Player::new(
        engine,
        smbench_core::drive::NoRecord,
        plan.recorded(),
        &config,
        events.len(),
    );
    assert_eq!(player.play(&events).violation, None);
}

/// In calm weather nothing is lost, and the model answers what it is asked and nothing else.
fn is_explained(report: &Report, command: impl Fn(OpId) -> Option<Command>) {
    match report {
        // A lock that nobody gives up is waited for.
        Report::Diverged {
            op,
            divergence: Divergence::NoResponse,
        } => assert_eq!(command(*op), Some(Command::LOCK), "{report:?}"),
        Report::Diverged { divergence, .. } => assert!(
            matches!(
                divergence,
                Divergence::UnexpectedBreak { .. } | Divergence::Status { .. }
            ),
            "{report:?}"
        ),
        _ => {}
    }
}

struct Ran {
    reports: Vec<Report>,
    entries: Vec<Entry>,
    effects: EffectsDigest,
}

fn ran(workload: &Workload, plan: &Plan, config: &RunConfig, scenario: &Scenario) -> Ran {
    let server = Server::new(ServerConfig {
        shares: vec![ShareConfig::disk("data")],
        guest_ok: true,
        trusting: true,
        ..ServerConfig::default()
    });
    let reports = Rc::new(RefCell::new(Vec::new()));
    let taker = Rc::clone(&reports);
    let entries = Rc::new(RefCell::new(Vec::new()));
    let done = simulate(
        Run {
            plan: plan.clone(),
            config: config.clone(),
            cast: Cast::of(workload),
            scenario,
            server: ModelService::new(server),
            recorder: Kept(Rc::clone(&entries)),
            blobs: Zeros,
            tap: None,
        },
        DriverKind::EventLoop,
        move |_: LogicalTime, report: &Report| taker.borrow_mut().push(report.clone()),
    );
    let outcome = done.result.unwrap_or_else(|error| panic!("{error:?}"));
    let server = done.server.map(ModelService::into_server);
    assert_eq!(server.and_then(|server| server.unsound()), None);
    let reports = reports.take();
    assert_eq!(reports.last(), Some(&Report::Done));
    Ran {
        reports,
        entries: entries.take(),
        effects: outcome.effects,
    }
}

struct Kept(Rc<RefCell<Vec<Entry>>>);

impl Recorder for Kept {
    type Error = std::convert::Infallible;

    fn record(&mut self, entry: &Entry) -> Result<(), Self::Error> {
        self.0.borrow_mut().push(entry.clone());
        Ok(())
    }

    fn finish(&mut self, _: EffectsDigest) -> Result<(), Self::Error> {
        Ok(())
    }
}

struct Zeros;

impl Blobs for Zeros {
    fn get(&mut self, _: &Digest, len: u32) -> Option<Arc<[u8]>> {
        Some(vec![0; len as usize].into())
    }
}

/// Numbers out of bytes; zeros when they are used up.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }
}

/// What the network does, and whether nothing is lost in it.
fn scenario(dice: &mut Dice<'_>) -> (Scenario, bool) {
    let mut text = format!("seed = {}\nsplit = {}\n", dice.byte(), dice.below(2) == 1);
    let (min, more) = (u32::from(dice.byte()) * 10, u32::from(dice.byte()) * 50);
    text.push_str(&format!(
        "latency = {{ min_us = {min}, max_us = {} }}\nfaults = [\n",
        min + more
    ));
    let mut calm = true;
    for _ in 0..dice.below(4) {
        let (at, conn) = (u32::from(dice.byte()) * 2, dice.below(4));
        if dice.below(2) == 0 {
            text.push_str(&format!(
                "{{ kind = \"cut\", at_ms = {at}, conn = {conn} }},\n"
            ));
            calm = false;
        } else {
            let len = u32::from(dice.byte()) * 8 + 1;
            text.push_str(&format!(
                "{{ kind = \"hold\", at_ms = {at}, for_ms = {len}, conn = {conn} }},\n"
            ));
        }
    }
    text.push_str("]\n");
    (Scenario::from_toml(&text).unwrap(), calm)
}

/// One to four clients that open, lock, read, write and close a few files.
fn workload(dice: &mut Dice<'_>) -> (Workload, Vec<Operation>) {
    let clients = u32::from(dice.below(4)) + 1;
    let mut made = Made::default();
    for client in 0..clients {
        made.set_up(client);
    }
    for _ in 0..dice.below(60) {
        let client = u32::from(dice.below(u8::try_from(clients).unwrap_or(1)));
        made.something(client, dice);
    }
    let each = |make: &dyn Fn(u32) -> Value| (0..clients).map(make).collect::<Vec<_>>();
    let tables = json!({
        "format": 1, "provenance": {"tool": "", "captures": [], "epoch_ns": 0},
        "clients": each(&|_| json!({"address": ""})),
        "connections": each(&|at| json!({"client": at, "from": "", "to": "", "at_us": 0})),
        "principals": [{"name": "a"}],
        "sessions": each(&|at| json!({"principal": 0, "conn": at, "wire_id": at + 1})),
        "trees": each(&|at| json!({"session": at, "path": "\\\\s\\data", "share_type": 1, "wire_id": at + 1})),
        "inferred_opens": [], "opens": made.opens, "operations": made.lines.len(),
        "coverage": {"packets": 0, "frames": 0, "requests_seen": 0, "responses": 0, "by_command": {},
            "reencoded_exact": 0, "reencoded_total": 0, "skipped": {}, "inferred": {}, "edges": {}, "problems": {}},
    });
    let workload = serde_json::from_value(tables).unwrap();
    let lines = made.lines.into_iter();
    let operations = lines.map(|line| serde_json::from_value(line).unwrap());
    (workload, operations.collect())
}

#[derive(Default)]
struct Made {
    lines: Vec<Value>,
    /// The last line of each client.
    last: Vec<usize>,
    opens: u32,
    /// Open files: client, number, and the line that opened it.
    open: Vec<(u32, u32, usize)>,
}

impl Made {
    fn line(&mut self, client: u32, cmd: &str, request: Value, more: &Value) -> usize {
        let id = self.lines.len();
        let mut line = json!({
            "id": id, "at_us": id, "client": client, "conn": client, "session": client, "tree": client,
            "cmd": cmd, "mid": id, "charge": 1, "credits": 4, "frame": id, "do": {"request": {cmd: request}},
        });
        let known = usize::try_from(client).unwrap_or(0);
        let before = self.last.get(known).copied();
        let mut after: Vec<Value> = Vec::new();
        after.extend(before.map(|id| json!({"id": id, "rule": "wire"})));
        for (key, value) in more.as_object().into_iter().flatten() {
            match key.as_str() {
                "after" => after.extend(value.as_array().cloned().unwrap_or_default()),
                _ => line[key] = value.clone(),
            }
        }
        line["after"] = after.into();
        self.lines.push(line);
        match self.last.get_mut(known) {
            Some(last) => *last = id,
            None => self.last.push(id),
        }
        id
    }

    fn set_up(&mut self, client: u32) {
        let none = json!({"session": null, "tree": null});
        let hello = json!({"security_mode": "0x1", "capabilities": "0x45", "dialects": ["3.0.2"],
            "client_guid": format!("{client:032x}")});
        self.line(client, "NEGOTIATE", hello, &none);
        let login =
            json!({"security_mode": "0x1", "capabilities": "0x1", "security_buffer_length": 40});
        let done =
            json!({"tree": null, "expect": {"frame": 0, "status": "SUCCESS", "latency_us": 1}});
        self.line(client, "SESSION_SETUP", login, &done);
        self.line(
            client,
            "TREE_CONNECT",
            json!({"path": "\\\\s\\data"}),
            &json!({}),
        );
    }

    fn something(&mut self, client: u32, dice: &mut Dice<'_>) {
        let mine: Vec<_> = self
            .open
            .iter()
            .filter(|(of, ..)| *of == client)
            .copied()
            .collect();
        let picked = usize::from(dice.byte()).checked_rem(mine.len());
        let picked = picked.and_then(|at| mine.get(at).copied());
        let Some((_, open, by)) = picked.filter(|_| dice.below(3) > 0) else {
            return self.create(client, dice);
        };
        let with = json!({"open": open, "after": [{"id": by, "rule": "handle"}]});
        let (offset, len) = (u32::from(dice.byte()) * 64, u32::from(dice.byte()) + 1);
        match dice.below(7) {
            0 | 1 => {
                let data = vec![0; len as usize];
                let mut with = with;
                with["data"] = json!({"blake3": Digest::of(&data).to_string(), "len": len});
                let write = json!({"length": len, "offset": offset});
                self.line(client, "WRITE", write, &with);
            }
            2 => {
                let read = json!({"padding": 80, "length": len, "offset": offset});
                self.line(client, "READ", read, &with);
            }
            3 | 4 => {
                let flags = ["0x1", "0x2", "0x11", "0x12", "0x4"];
                let flags = flags[usize::from(dice.below(5))];
                let lock = json!({"locks": [{"offset": offset, "length": len, "flags": flags}]});
                self.line(client, "LOCK", lock, &with);
            }
            5 => drop(self.line(client, "FLUSH", json!({}), &with)),
            _ => {
                self.line(client, "CLOSE", json!({"flags": "0x0"}), &with);
                self.open.retain(|(_, it, _)| *it != open);
            }
        }
    }

    fn create(&mut self, client: u32, dice: &mut Dice<'_>) {
        let open = self.opens;
        self.opens += 1;
        let name = ["a", "b", "c", "d\\e"][usize::from(dice.below(4))];
        let share = ["rwd", "r", "", "rw"][usize::from(dice.below(4))];
        let disposition = ["open_if", "open", "create", "overwrite_if"][usize::from(dice.below(4))];
        let access = ["0x12019f", "0x120089", "0x1f01ff"][usize::from(dice.below(3))];
        let options = ["0x40", "0x1040", "0x0"][usize::from(dice.below(3))];
        let mut create = json!({
            "name": name, "access": access, "attributes": "0x80", "share": share,
            "disposition": disposition, "options": options,
        });
        match dice.below(4) {
            0 => {
                create["oplock"] = "lease".into();
                let state = ["RHW", "RH", "R", "RW"][usize::from(dice.below(4))];
                create["contexts"] = json!([{"RqLs": {"version": 2, "key": format!("{:032x}", client + 1), "state": state}}]);
            }
            1 => create["oplock"] = "batch".into(),
            2 => create["oplock"] = "exclusive".into(),
            _ => {}
        }
        let id = self.line(client, "CREATE", create, &json!({"open": open}));
        self.open.push((client, open, id));
    }
}
