//! `smbench replay`: a workload against a live server.

mod journal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use smbench_core::confine::{Gate, Refusal};
use smbench_core::event::Divergence;
use smbench_core::ids::OpId;
use smbench_core::seal::{EncryptPolicy, SigningPolicy};
use smbench_core::smb2::{Command, NtStatus};
use smbench_core::workload::Operation;

use crate::cli::{RunArgs, prepare};
use crate::criteria::Checked;
use crate::exit::{Failure, Outcome};
use crate::finding::Finding;
use crate::identity::{self, Logins};
use crate::live_run::{self, LiveOutcome, LiveRun};
use crate::load::Loaded;
use crate::metrics::MetricsArg;
use crate::outputs::OutputArgs;
use crate::pipes;
use crate::policy::PolicyArgs;
use crate::preflight::{self, Needs};
use crate::record::{RecordArgs, Recording, RunName};
use crate::report::{self, note, path_of, say};
use crate::root::Claim;
use crate::stalls::Stall;
use crate::tally::Summary;
use crate::target::{Target, TargetArgs};
use crate::verdict::{Basis, CoverageArg};

/// Replay a workload against a live server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote
    #[arg(value_name = "DIR", required_unless_present = "from_journal")]
    dir: Option<PathBuf>,
    /// Instead of a workload: do what the client does in a journal, such as one that smbench fuzz has written,
    /// and tell where the server hangs, disconnects or answers otherwise than the model
    #[arg(
        long,
        value_name = "FINDING",
        conflicts_with_all = ["order", "speed", "pace", "ack", "min_coverage"]
    )]
    from_journal: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// First build the initial files, below a new folder
    #[arg(long)]
    prepare: bool,
    /// Replay in a root that a replay has used already
    #[arg(long)]
    reuse_root: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    coverage: CoverageArg,
    /// When requests are signed
    #[arg(long, value_enum, default_value_t = Signing::Required)]
    signing: Signing,
    /// Encrypt everything, required or not
    #[arg(long)]
    encrypt: bool,
    /// Go on where the server chooses another dialect than the recorded one
    #[arg(long)]
    any_dialect: bool,
    #[command(flatten)]
    metrics: MetricsArg,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// When requests are signed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signing {
    /// Never
    Off,
    /// When the server requires it
    Required,
    /// Always
    Always,
}

/// What `replay` tells at its end.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    run: &'a Summary,
    /// All that differs.
    divergences: Vec<Finding>,
    /// Who was let in, and as whom.
    logins: &'a Logins,
    /// What took far longer than others of its kind.
    stalls: Vec<Stall>,
    /// What was asked to hold.
    #[serde(skip_serializing_if = "<[Checked]>::is_empty")]
    thresholds: &'a [Checked],
}

impl Signing {
    const fn policy(self) -> SigningPolicy {
        match self {
            Self::Off => SigningPolicy::Off,
            Self::Required => SigningPolicy::IfRequired,
            Self::Always => SigningPolicy::Always,
        }
    }
}

impl Args {
    const fn encryption(&self) -> EncryptPolicy {
        match self.encrypt {
            true => EncryptPolicy::Always,
            false => EncryptPolicy::IfRequired,
        }
    }

    /// What makes no sense with a journal in the place of a workload.
    fn refuse_beside_journal(&self) -> Result<(), Failure> {
        let refused = |what: &str, remedy: &str| {
            let said = format!("{what} makes no sense with --from-journal");
            Err(Failure::usage(said).remedy(remedy))
        };
        if self.dir.is_some() {
            return refused(
                "a workload folder",
                "leave the folder out: a journal has its workload in it",
            );
        }
        if self.prepare {
            return refused(
                "--prepare",
                "a journal holds no file's content: make the root first, with smbench prepare and the \
                 workload that was run",
            );
        }
        if self.record.journal.is_some() || self.record.bundle.is_some() {
            return refused(
                "recording",
                "leave --journal and --bundle out: FINDING is the record",
            );
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(path) = &args.from_journal {
        args.refuse_beside_journal()?;
        return journal::run(args, path);
    }
    let Some(dir) = &args.dir else {
        return Err(Failure::usage("no workload is named").remedy("name a folder"));
    };
    let outputs = args
        .outputs
        .prepare(&[("bundle", args.record.bundle.as_ref())])?;
    let metrics = args.metrics.serve()?;
    let loaded = Loaded::open(dir)?;
    let fresh = args.prepare && args.target.root.is_none() && args.target.mapping.is_none();
    let target = Target::resolve(&args.target, loaded.workload(), || loaded.digest(), fresh)?;
    let workload = loaded.workload();
    let mut config = args.run.config(0);
    config.tree_targets.clone_from(&target.trees);
    config.policy = args.policy.policy(target.accounts(workload));
    config.policy.misnoted = pipes::misnoted(&loaded, &config.policy)?;
    // Whatever is wrong with the workload is told before anything is sent.
    let plan = loaded.plan(&config)?;
    let signing = args.signing.policy();
    let needs = Needs {
        signing,
        encrypt: args.encrypt,
        any_dialect: args.any_dialect,
        timeout: Duration::from_millis(config.timeout_ms.min(10_000).into()),
    };
    if args.prepare {
        loaded.check_content()?;
    }
    let name = RunName::live(loaded.name(), &target.host, "replay");
    Recording::check(&args.record, &name)?;
    preflight::check(&plan, &target, &needs, |ops| loaded.pick(ops))?;
    if args.prepare {
        // Beside the run's own journal, where one is named.
        let journal = args
            .record
            .journal
            .as_ref()
            .map(|path| beside(path.as_path()));
        let record = RecordArgs {
            journal,
            bundle: None,
        };
        let prepared = prepare::on(&loaded, &target, args.run.timeout, &record)?;
        note!("{}", prepared.words());
        for line in prepared.unmade() {
            note!("{line}");
        }
    }
    let credentials = target.known_users(workload);
    identity::foretell(workload, &credentials);
    foretell(&plan.refusals());
    let claim = Claim {
        target: &target,
        workload: &loaded.digest()?,
        credentials: &credentials,
        reuse: args.reuse_root,
        timeout_ms: config.timeout_ms,
    };
    claim.take()?;
    let outcome = live_run::run(LiveRun {
        verb: "replay",
        metrics,
        workload: loaded.name(),
        plan,
        gate: Gate::of(&config),
        digest: loaded.digest()?,
        attachments: loaded.attachments()?,
        config,
        target: &target,
        credentials,
        blobs: loaded.source(),
        record: &args.record,
        basis: Basis::of(workload, args.coverage.min_coverage),
        recording: Some(&loaded),
        signing,
        encryption: args.encryption(),
    })?;
    let longest = outcome.tally.longest();
    let told = longest.iter().map(|(op, _)| *op);
    let picked = loaded.pick(outcome.tally.divergent_operations().chain(told))?;
    let stalls = loaded.stalls(&outcome.tally)?;
    let review = outputs.review(outcome.summary.clone())?;
    let divergences = match &review.results {
        Some(results) => results.findings.clone(),
        None => outcome.tally.findings(&picked),
    };
    if args.json {
        report::json(&Told {
            run: &review.summary,
            divergences,
            logins: &outcome.logins,
            stalls,
            thresholds: review.thresholds(),
        })?;
    } else if !review.print_ticket(&args.outputs) {
        report::run(&review.summary, &divergences, &stalls);
        slowest(&longest, &picked);
        outcome.logins.print();
        review.print(&args.outputs);
        say!("next: smbench rerun {}", outcome.summary.journal);
    }
    outcome.refuse_interrupted()?;
    refuse_strangers(&outcome, &picked)?;
    outcome.logins.refuse_guests(target.allow_guest)?;
    Ok(review.verdict)
}

/// Prints the operations that took longest.
fn slowest(longest: &[(OpId, u64)], operations: &BTreeMap<OpId, Operation>) {
    let told = longest.iter().filter_map(|(op, micros)| {
        let operation = operations.get(op)?;
        let recorded = operation.expect.as_ref().map(|it| it.latency_us);
        let recorded = recorded.map(|it| format!(", {} recorded", report::time(it)));
        let (command, path) = (operation.cmd, path_of(operation));
        let name = format!("{command} {path}");
        let (frame, took) = (operation.frame, report::time(*micros));
        Some(format!(
            "{} (frame {frame}): {took}{}",
            name.trim_end(),
            recorded.unwrap_or_default()
        ))
    });
    for (told, mark) in told.zip(std::iter::once("slowest:").chain(std::iter::repeat("        "))) {
        say!("{mark} {told}");
    }
}

/// Says before the start what will not be sent, and which flag would send it.
fn foretell(refusals: &BTreeMap<Refusal, u64>) {
    for (why, count) in refusals {
        let lifted_by = match why {
            Refusal::RpcCall => "; --pipes all sends it",
            Refusal::Volume => "; --volume-changes sends it",
            Refusal::Printer => "; --printers sends it",
            Refusal::Password => {
                " beyond two for an account, which may be locked out; --wrong-passwords all sends them"
            }
            _ => "",
        };
        let what = match why {
            Refusal::Name => "that may lead out of the root",
            Refusal::Class | Refusal::Fsctl => "not known to stay in the root",
            Refusal::Tree => "in a tree that goes nowhere",
            Refusal::RpcCall => "calls on pipes that may change something",
            Refusal::RpcAuth => "calls on pipes with recorded authentication",
            Refusal::Volume => "changes of volumes or quotas",
            Refusal::Printer => "for printers",
            Refusal::Password => "logins with wrong passwords",
            _ => why.name(),
        };
        note!("not sent: {count} {what}{lifted_by}");
    }
}

/// A login or a share that the server refuses, where the recording was let in, is no finding about
/// the server: the replay was pointed at the wrong thing.
fn refuse_strangers(
    outcome: &LiveOutcome,
    operations: &BTreeMap<OpId, Operation>,
) -> Result<(), Failure> {
    for (op, divergence) in &outcome.tally.first {
        let Some(operation) = operations.get(op) else {
            continue;
        };
        let seen = match divergence {
            Divergence::Status { seen, .. } => Some(*seen),
            _ => None,
        };
        let login = operation.cmd == Command::SESSION_SETUP;
        if *divergence == Divergence::LoginFailed || login && seen == Some(NtStatus::LOGON_FAILURE)
        {
            return Err(Failure::environment(format!(
                "the server refuses the login of operation {op} (frame {})",
                operation.frame,
            ))
            .remedy("check --user and --password-file"));
        }
        if operation.cmd == Command::TREE_CONNECT && seen == Some(NtStatus::BAD_NETWORK_NAME) {
            return Err(Failure::environment(format!(
                "the server has no share for {}, operation {op} (frame {})",
                report::path_of(operation),
                operation.frame,
            ))
            .remedy("name one with --share, or in the --mapping"));
        }
    }
    Ok(())
}

/// The path with `.prepare` behind it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".prepare");
    name.into()
}
