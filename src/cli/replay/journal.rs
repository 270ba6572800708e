//! `smbench replay --from-journal`: what a client does in a journal, done to a live server, and to the model:
//! where the live server hangs, disconnects or answers otherwise, that is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use smbench_core::confine::{Gate, Pipes, Policy};
use smbench_core::drive::NoRecord;
use smbench_core::engine::{Engine, Plan, Recorded, RecordedOp, RunConfig, TreeTarget};
use smbench_core::event::{Divergence, NetFailure, status_words};
use smbench_core::frame::Digest;
use smbench_core::ids::{ClientId, OpId, ShardId};
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::{Entry, Operation, Workload};
use smbench_journal::enact::{
    Actor, Difference, Heard, Kind, Patience, RequestKey, Script, differences,
};
use smbench_journal::fuzz::Zeros;
use smbench_journal::rerun::{NAMESPACE, OPS, Recipe};
use smbench_journal::{Journal, JournalError};
use smbench_sim::{Cast, ModelService, Scenario, Stage, event_loop};

use super::Args;
use crate::cli::fuzz::quietly;
use crate::exit::{DEFECT, Failure, OrFail, Outcome, Verdict};
use crate::finding;
use crate::identity::{self, Logins};
use crate::interrupt;
use crate::journals::{failed, not_rerun, open};
use crate::live_run::{self, Drive};
use crate::model::model_without_data;
use crate::preflight::{self, Needs};
use crate::report::{self, note, path_of, say};
use crate::root::Claim;
use crate::target::Target;

/// A journal to be done again.
struct Source {
    recipe: Recipe,
    script: Script,
    namespace: Vec<Entry>,
    digest: Digest,
}

/// What `replay --from-journal` tells at its end: see docs/JSON.md.
#[derive(Serialize)]
struct Told {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inconclusive: Vec<String>,
    events: usize,
    requests: u64,
    issued: usize,
    answered: usize,
    compared: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks_off: Option<String>,
    findings: Vec<Finding>,
    root: String,
    logins: Logins,
    again: String,
    wall_us: u64,
}

/// Something that the live server does otherwise than the model.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    kind: &'static str,
    /// None of a request of the engine's own.
    operation: Option<OpId>,
    command: String,
    path: String,
    client: u32,
    connection: u32,
    frame: u64,
    /// What the model answers.
    model: Option<String>,
    /// What the live server answers, or how it ends the connection.
    seen: Option<String>,
}

pub(super) fn run(args: &Args, path: &Path) -> Outcome {
    let Source {
        mut recipe,
        script,
        namespace,
        digest,
    } = Source::read(path)?;
    if let Some(why) = &script.breaks_off {
        note!(
            "the journal's engine takes no more than {} events: {why}",
            script.lines.len()
        );
    }
    let workload = recipe.workload.clone();
    let target = Target::resolve(&args.target, &workload, || Ok(digest), false)?;
    let policy = args.policy.policy(target.accounts(&workload));
    let patience = Patience {
        timeout_ns: u64::from(args.run.timeout.ms()).saturating_mul(NS_PER_MS),
        break_wait_ns: u64::from(args.run.break_wait.min(args.run.timeout.ms()))
            .saturating_mul(NS_PER_MS),
    };
    // What an engine does upon its inputs depends on how it was configured: only where it sends what, and
    // what it may send, is another matter.
    let seed = recipe.config.seed;
    let policy = without_unknown_calls(&mut recipe, policy)?;
    let (there, model_plan) = planned(&mut recipe, policy.clone(), of_the_model(&workload))?;
    let (config, plan) = planned(&mut recipe, policy, target.trees.clone())?;
    let needs = Needs {
        signing: args.signing.policy(),
        encrypt: args.encrypt,
        any_dialect: args.any_dialect,
        timeout: Duration::from_millis(args.run.timeout.ms().min(10_000).into()),
    };
    preflight::check(&plan, &target, &needs, |ops| {
        pick(&recipe, ops.into_iter().collect())
    })?;
    let recorded = plan.recorded();
    let clients: Vec<ClientId> = workload.connections.iter().map(|it| it.client).collect();
    let actor =
        |engine, wanted| Actor::new(engine, script.clone(), clients.clone(), patience, wanted);
    let model = model_without_data(&workload, &namespace, seed)?;
    let asked = on_model(
        &workload,
        model,
        actor(Engine::new(model_plan, there), None),
    )?;
    let credentials = target.known_users(&workload);
    identity::foretell(&workload, &credentials);
    super::foretell(&plan.refusals());
    let claim = Claim {
        target: &target,
        workload: &digest,
        credentials: &credentials,
        reuse: args.reuse_root,
        timeout_ms: args.run.timeout.ms(),
    };
    claim.take()?;
    live_run::reach(&target)?;
    let begun = Instant::now();
    let driven = Drive {
        timeout_ms: args.run.timeout.ms(),
        seed,
        gate: Gate::of(&config),
        machine: actor(Engine::new(plan, config), Some(asked.clone())),
        target: &target,
        credentials: credentials.clone(),
        blobs: Zeros,
        recorder: NoRecord,
        signing: needs.signing,
        encryption: args.encryption(),
    }
    .finish(&mut live_run::Nobody)?;
    let wall = begun.elapsed();
    let logins = Logins::of(&driven.standings, &credentials);
    let heard = driven.machine.into_heard();
    let found = compared(&asked, &heard, &recorded);
    refuse_strangers(&found, &heard)?;
    let told = Told::of(Seen {
        recipe: &recipe,
        script: &script,
        asked: &asked,
        heard: &heard,
        found: &found,
        recorded: &recorded,
        root: target.root.clone(),
        logins,
        wall,
    })?;
    match args.json {
        true => report::json(&told)?,
        false => told.print(path, args.run.timeout.ms()),
    }
    interrupted(&heard)?;
    told.logins.refuse_guests(target.allow_guest)?;
    Ok(told.outcome())
}

impl Source {
    fn read(path: &Path) -> Result<Self, Failure> {
        let journal = open(path)?;
        let script = quietly(|| Script::of(&journal)).map_err(|error| not_rerun(error, path))?;
        let recipe = Recipe::of(&journal).map_err(|error| not_rerun(error, path))?;
        if script.requests == 0 {
            return Err(Failure::environment("the journal's engine sends nothing")
                .remedy("name the journal of a run, or what smbench fuzz has found in one"));
        }
        Ok(Self {
            namespace: namespace(&journal, path)?,
            digest: digest(&journal, path)?,
            recipe,
            script,
        })
    }
}

fn digest(journal: &Journal, path: &Path) -> Result<Digest, Failure> {
    match journal.meta().workload {
        Some(digest) => Ok(digest),
        None => {
            let lines = journal
                .attachment(OPS)
                .map_err(|error| failed(error, path))?;
            Ok(Digest::of(&lines))
        }
    }
}

/// What existed before the recording: without it the model cannot be asked.
fn namespace(journal: &Journal, path: &Path) -> Result<Vec<Entry>, Failure> {
    let bytes = match journal.attachment(NAMESPACE) {
        Ok(bytes) => bytes,
        Err(JournalError::NoAttachment { .. }) => {
            return Err(Failure::environment(format!(
                "the journal {} does not say what existed before its run, which the model is asked with",
                path.display(),
            ))
            .remedy("record the run again with this version of smbench, and fuzz that"));
        }
        Err(error) => return Err(failed(error, path)),
    };
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, number)| {
            let context = || format!("{NAMESPACE} of {}, line {number}", path.display());
            serde_json::from_slice(line).or_environment(context())
        })
        .collect()
}

/// The model's shares: those of the recording, and their tops.
fn of_the_model(workload: &Workload) -> Vec<TreeTarget> {
    let trees = workload.trees.iter();
    trees
        .map(|tree| TreeTarget {
            path: tree.path.clone(),
            root: String::new(),
        })
        .collect()
}

/// What is written to a pipe is in no journal, and zeros are no call: where anything is, pipes are left alone.
fn without_unknown_calls(recipe: &mut Recipe, policy: Policy) -> Result<Policy, Failure> {
    let trees = of_the_model(&recipe.workload);
    let (_, plan) = planned(recipe, policy.clone(), trees)?;
    let recorded = plan.recorded();
    let writes = |op: &RecordedOp| op.on_pipe && op.command == Command::WRITE;
    let writes = recorded.iter().filter(writes).count();
    if writes == 0 || policy.pipes == Pipes::None {
        return Ok(policy);
    }
    note!("pipes are left alone: what {writes} requests write to them is in no journal");
    Ok(Policy {
        pipes: Pipes::None,
        ..policy
    })
}

fn planned(
    recipe: &mut Recipe,
    policy: Policy,
    trees: Vec<TreeTarget>,
) -> Result<(RunConfig, Plan), Failure> {
    recipe.config.policy = policy;
    recipe.config.tree_targets = trees;
    let plan = recipe.plan_of(ShardId(0), |_| {});
    let plan = plan.or_environment("the journal's workload cannot be run")?;
    Ok((recipe.config.clone(), plan))
}

fn pick(recipe: &Recipe, wanted: BTreeSet<OpId>) -> Result<BTreeMap<OpId, Operation>, Failure> {
    let mut found = BTreeMap::new();
    for operation in recipe.operations() {
        let operation = operation.or_environment("the journal's workload cannot be read")?;
        if wanted.contains(&operation.id) {
            found.insert(operation.id, operation);
        }
    }
    Ok(found)
}

/// What the model makes of the script.
fn on_model(
    workload: &Workload,
    model: smbench_sim::server::Server,
    actor: Actor,
) -> Result<Heard, Failure> {
    interrupt::refuse("nothing was sent")?;
    let scenario = Scenario {
        // A script ends by itself.
        limit: smbench_core::ids::LogicalTime(u64::MAX),
        ..Scenario::default()
    };
    let stage = Stage {
        cast: Cast::of(workload),
        scenario: &scenario,
        server: ModelService::new(model),
        recorder: NoRecord,
        blobs: Zeros,
        tap: None,
    };
    let ran = event_loop::run_machine(actor, 0, Gate::open(), stage, |_, _| {});
    let (simulated, actor) = ran;
    simulated.result.map_err(|error| {
        let context = "the model came to no end with the journal";
        Failure::new(DEFECT, anyhow::Error::from(error).context(context))
    })?;
    Ok(actor.into_heard())
}

/// What differs, but for what services behind pipes say: those of the model are its own.
fn compared(asked: &Heard, heard: &Heard, recorded: &Recorded) -> Vec<Difference> {
    let mut found = differences(asked, heard);
    found.retain(|it| it.kind != Kind::Status || !is_of_service(it.key, recorded));
    found
}

fn is_of_service(key: Option<RequestKey>, recorded: &Recorded) -> bool {
    let op = operation(key).and_then(|op| recorded.get(op));
    op.is_some_and(finding::is_of_service)
}

fn operation(key: Option<RequestKey>) -> Option<OpId> {
    match key? {
        RequestKey::Op(op) => Some(op),
        RequestKey::Own { .. } => None,
    }
}

/// Whether a difference tells of who may do what, and not of how the server behaves.
fn is_environment(it: &Difference, recorded: &Recorded) -> bool {
    let op = operation(it.key).and_then(|op| recorded.get(op));
    let (Kind::Status, Some(wanted), Some(seen)) = (it.kind, it.wanted, it.seen) else {
        return false;
    };
    let divergence = Divergence::Status {
        recorded: wanted,
        seen,
    };
    finding::Kind::of(&divergence, op) == finding::Kind::Environment
}

/// A server that does not let us in is the wrong one, or was asked in the wrong way.
fn refuse_strangers(found: &[Difference], heard: &Heard) -> Result<(), Failure> {
    let refused = |command, status: fn(NtStatus) -> bool| {
        let of = |it: &&Difference| it.command == Some(command) && it.seen.is_some_and(status);
        found.iter().find(of)
    };
    let login = refused(Command::SESSION_SETUP, NtStatus::is_logon_failure);
    if heard.login_failed || login.is_some() {
        return Err(
            Failure::environment("the server refuses a login of the journal")
                .remedy("check --user and --password-file"),
        );
    }
    let no_share = |status| status == NtStatus::BAD_NETWORK_NAME;
    if refused(Command::TREE_CONNECT, no_share).is_some() {
        return Err(
            Failure::environment("the server has no share for the journal")
                .remedy("name one with --share, or in the --mapping"),
        );
    }
    Ok(())
}

fn interrupted(heard: &Heard) -> Result<(), Failure> {
    match interrupt::is_asked() {
        true => Err(Failure::interrupted(format!(
            "{} requests were sent",
            heard.requests.len()
        ))),
        false => Ok(()),
    }
}

/// What a run is told of.
struct Seen<'a> {
    recipe: &'a Recipe,
    script: &'a Script,
    asked: &'a Heard,
    heard: &'a Heard,
    found: &'a [Difference],
    recorded: &'a Recorded,
    root: String,
    logins: Logins,
    wall: Duration,
}

impl Told {
    fn of(seen: Seen<'_>) -> Result<Self, Failure> {
        let wanted = seen.found.iter().filter_map(|it| operation(it.key));
        let operations = pick(seen.recipe, wanted.collect())?;
        let findings: Vec<Finding> = (seen.found.iter())
            .map(|it| {
                let operation = operation(it.key).and_then(|op| operations.get(&op));
                finding_of(it, operation, seen.recorded, &seen.recipe.workload)
            })
            .collect();
        let answered = |key: &RequestKey| seen.heard.status(key).is_some();
        let compared = seen.asked.requests.iter();
        let compared = compared
            .filter(|(key, fate)| fate.status.is_some() && answered(key))
            .filter(|(key, _)| !is_of_service(Some(**key), seen.recorded))
            .count();
        let tells = findings.iter().any(|it| it.kind != ENVIRONMENT);
        let mut inconclusive = Vec::new();
        if compared == 0 && !tells {
            inconclusive.push("no answer could be compared with the model's".to_owned());
        }
        if seen.heard.gave_up && !tells {
            inconclusive.push("the server was silent too often to go on".to_owned());
        }
        Ok(Self {
            verdict: match (tells, inconclusive.is_empty(), findings.is_empty()) {
                (true, ..) => "diverged",
                (false, false, _) => "inconclusive",
                (false, true, true) => "as_model",
                (false, true, false) => ENVIRONMENT,
            },
            inconclusive,
            events: seen.script.lines.len(),
            requests: seen.script.requests,
            issued: seen.heard.requests.len(),
            answered: seen.heard.answered(),
            compared,
            breaks_off: seen.script.breaks_off.clone(),
            findings,
            root: seen.root,
            logins: seen.logins,
            again: again(std::env::args_os()),
            wall_us: u64::try_from(seen.wall.as_micros()).unwrap_or(u64::MAX),
        })
    }

    fn outcome(&self) -> Verdict {
        match self.verdict {
            "diverged" => Verdict::Diverged,
            "inconclusive" => Verdict::Inconclusive,
            _ => Verdict::Same,
        }
    }

    fn print(&self, journal: &Path, timeout_ms: u32) {
        say!(
            "{} events of {} → {} requests there → {} sent here → {} answered → {} compared with the model",
            self.events,
            journal.display(),
            self.requests,
            self.issued,
            self.answered,
            self.compared,
        );
        for why in &self.inconclusive {
            say!("INCONCLUSIVE: {why}");
        }
        let elsewhere = self.findings.iter().filter(|it| it.kind == ENVIRONMENT);
        let elsewhere = elsewhere.count();
        match self.findings.len() - elsewhere {
            0 if !self.inconclusive.is_empty() => {}
            0 if elsewhere > 0 => {
                say!("no finding but for the environment ({elsewhere} environment)");
            }
            0 => say!("no finding"),
            1 => say!("FOUND: 1 thing that the model does otherwise"),
            several => say!("FOUND: {several} things that the model does otherwise"),
        }
        for it in self.findings.iter().take(SHOWN) {
            let operation = it.operation.map_or_else(
                || "a request of the engine's own".to_owned(),
                |op| format!("operation {op}"),
            );
            let place = match it.frame {
                0 => String::new(),
                frame => format!("frame {frame}, "),
            };
            say!(
                "  {place}client {}, connection {}, {operation}: {} {}",
                it.client,
                it.connection,
                it.command,
                it.path
            );
            let model = it.model.as_deref().unwrap_or("no answer");
            let seen = it.seen.as_deref().unwrap_or_default();
            match it.kind {
                "hang" => say!(
                    "    hang: no answer in {} s; model: {model}",
                    timeout_ms / 1_000
                ),
                "disconnect" => say!("    disconnect: {seen}; model: {model}"),
                "no_credits" => say!("    no credits to send it with; model: {model}"),
                kind => say!("    {kind}: {model} → {seen}"),
            }
        }
        if let Some(more) = self
            .findings
            .len()
            .checked_sub(SHOWN)
            .filter(|more| *more > 0)
        {
            say!("  and {more} more: --json lists them");
        }
        self.logins.print();
        say!("root:    {}", self.root);
        say!("again:   {}", self.again);
    }
}

fn finding_of(
    it: &Difference,
    operation: Option<&Operation>,
    recorded: &Recorded,
    workload: &Workload,
) -> Finding {
    let client = workload.connections.get(it.conn.index());
    let kind = match it.kind {
        Kind::Disconnect => "disconnect",
        Kind::Hang => "hang",
        Kind::NoCredits => "no_credits",
        Kind::Status if is_environment(it, recorded) => ENVIRONMENT,
        Kind::Status => "status",
    };
    Finding {
        kind,
        operation: operation.map(|it| it.id),
        command: it.command.map_or_else(String::new, |it| it.to_string()),
        path: operation.map_or_else(String::new, path_of),
        client: client.map_or(0, |it| it.client.0),
        connection: it.conn.0,
        frame: operation.map_or(0, |it| it.frame),
        model: it.wanted.map(status_words),
        seen: it.ended.map(ended).or(it.seen.map(status_words)),
    }
}

fn ended(how: NetFailure) -> String {
    let how = match how {
        NetFailure::Eof => "the server closed the connection",
        NetFailure::Reset => "the server reset the connection",
        NetFailure::Refused => "the server refused the connection",
        NetFailure::TimedOut => "the connection could not be opened in time",
        NetFailure::Protocol => "the server sent what is no SMB, or cannot be decrypted",
        _ => "the connection broke",
    };
    how.to_owned()
}

/// The command as it was given, in a root that is used by now.
fn again(args: impl Iterator<Item = std::ffi::OsString>) -> String {
    let words = args.skip(1).map(|word| quoted(&word.to_string_lossy()));
    let mut words: Vec<String> = words.collect();
    if !words.iter().any(|word| word == REUSE) {
        words.push(REUSE.to_owned());
    }
    format!("smbench {}", words.join(" "))
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:=@%+,".contains(it);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

const ENVIRONMENT: &str = "environment";
const REUSE: &str = "--reuse-root";
/// Findings that are printed.
const SHOWN: usize = 10;
const NS_PER_MS: u64 = 1_000_000;
