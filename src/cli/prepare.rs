//! `smbench prepare`: build a workload's initial files on a server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use smbench_compiler::prepare::{Preparation, prepare};
use smbench_core::confine::{Gate, Policy};
use smbench_core::engine::{Plan, RunConfig, Speed};
use smbench_core::event::Divergence;
use smbench_core::frame::Digest;
use smbench_core::ids::OpId;
use smbench_core::smb2::NtStatus;

use crate::cli::TimeoutArg;
use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::live_run::{self, LiveOutcome, LiveRun};
use crate::load::{Attachments, Loaded};
use crate::record::RecordArgs;
use crate::report::{self, say};
use crate::root::{Claim, Mark};
use crate::target::{Target, TargetArgs};
use crate::verdict::Basis;

/// Build a workload's initial files on a server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    #[command(flatten)]
    record: RecordArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was prepared.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Prepared {
    /// The folder below the share.
    pub(crate) root: String,
    /// Files, folders and streams made.
    pub(crate) entries: u64,
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Entries that no client can make, by what they are.
    pub(crate) not_made: BTreeMap<&'static str, u64>,
    /// Requests sent.
    pub(crate) issued: u64,
    /// Where its journal is.
    pub(crate) journal: String,
    /// Links that were not made.
    pub(crate) unmade_links: Vec<Unmade>,
}

/// A link that was not made: an ordinary file or folder is there, and of a link of DFS nothing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unmade {
    share: String,
    path: String,
    why: String,
}

impl Prepared {
    /// What was made, in a line; and what was not.
    pub(crate) fn words(&self) -> String {
        let (entries, bytes, root) = (self.entries, self.bytes, &self.root);
        let mut words = format!("prepared {entries} entries with {bytes} bytes below {root}");
        for (what, count) in &self.not_made {
            words.push_str(&format!("; {count} of a {what} cannot be made"));
        }
        words
    }

    /// What was not made, for people: how many, why, and a few by name.
    pub(crate) fn unmade(&self) -> Vec<String> {
        let links = &self.unmade_links;
        if links.is_empty() {
            return Vec::new();
        }
        let shown = links.iter().take(SHOWN);
        let shown = shown.map(|it| format!("  {}\\{}: {}", it.share, it.path, it.why));
        let more = links.len().checked_sub(SHOWN).filter(|more| *more > 0);
        let more = more.map(|more| format!("  and {more} more: --json has all"));
        std::iter::once(format!("{} links were not made", links.len()))
            .chain(shown)
            .chain(more)
            .collect()
    }
}

/// Links that are named.
const SHOWN: usize = 10;

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = Loaded::open(&args.dir)?;
    let target = Target::resolve(&args.target, loaded.workload(), || loaded.digest(), false)?;
    let prepared = on(&loaded, &target, args.timeout, &args.record)?;
    if args.json {
        report::json(&prepared)?;
    } else {
        say!("{}", prepared.words());
        for line in prepared.unmade() {
            say!("{line}");
        }
        say!(
            "next: smbench replay {} with the same --server, --share and --root",
            args.dir.display()
        );
    }
    Ok(Verdict::Same)
}

/// Prepares a loaded workload's namespace on a target.
pub(crate) fn on(
    loaded: &Loaded,
    target: &Target,
    timeout: TimeoutArg,
    record: &RecordArgs,
) -> Result<Prepared, Failure> {
    if target.root.is_empty() {
        return Err(
            Failure::usage("nothing is prepared at the top of a share").remedy("name a --root")
        );
    }
    loaded.check_content()?;
    let mark = Mark::new(&loaded.digest()?).to_bytes()?;
    let preparation = prepare(&loaded.namespace, &target.places, &mark)
        .or_environment("nothing is prepared")
        .map_err(|failure| failure.remedy("correct the line, or compile the capture again"))?;
    let Preparation {
        workload,
        operations,
        synthetic,
        entries,
        bytes,
        not_made,
        links,
        unmade,
    } = preparation;
    let attachments = attachments(&workload, &operations)?;
    let users = target.known_users(loaded.workload());
    let claim = Claim {
        target,
        workload: &loaded.digest()?,
        credentials: &users,
        reuse: false,
        timeout_ms: timeout.ms(),
    };
    claim.make()?;
    let config = RunConfig {
        speed: Speed::Max,
        timeout_ms: timeout.ms(),
        ..RunConfig::default()
    };
    let plan = Plan::build(&workload, operations.iter().cloned(), &config, |_| true)
        .or_environment("the workload cannot be run")?;
    let outcome = live_run::run(LiveRun {
        metrics: None,
        verb: "prepare",
        workload: loaded.name(),
        plan,
        digest: Digest::of(attachments.last().map_or(&[][..], |(_, bytes)| bytes)),
        attachments,
        config,
        target,
        credentials: users.first(),
        blobs: loaded.source().with_synthetic(synthetic).with(mark),
        record,
        signing: Default::default(),
        encryption: Default::default(),
        gate: gate(target),
        basis: Basis::default(),
        recording: None,
    })?;
    outcome.refuse_interrupted()?;
    refuse_divergence(&outcome, &operations, &links, target)?;
    let unmade = unmade.into_iter().map(|it| Unmade {
        share: it.share,
        path: it.path,
        why: it.why.words().to_owned(),
    });
    let refused = outcome.tally.first.iter().filter_map(|(op, divergence)| {
        let (share, path) = links.get(op)?.clone();
        let why = match divergence {
            Divergence::Status { seen, .. } => format!("the server answered {seen}"),
            other => other.to_string(),
        };
        Some(Unmade { share, path, why })
    });
    Ok(Prepared {
        root: target.root.clone(),
        entries,
        bytes,
        not_made,
        issued: outcome.summary.issued,
        unmade_links: unmade.chain(refused).collect(),
        journal: outcome.summary.journal,
    })
}

/// Lets pass what stays below the roots, and the folders that lead to them.
fn gate(target: &Target) -> Gate {
    let places = target.places.values();
    let roots = places.map(|place| {
        let folder = place.owned.as_ref().unwrap_or(&place.root);
        (place.path.as_str(), folder.as_str())
    });
    Gate::confined(Policy::strict(), roots).making_roots()
}

fn attachments(
    workload: &smbench_core::workload::Workload,
    operations: &[smbench_core::workload::Operation],
) -> Result<Attachments, Failure> {
    let tables = serde_json::to_vec(workload).or_defect("cannot write the preparation")?;
    let mut lines = Vec::new();
    for operation in operations {
        serde_json::to_writer(&mut lines, operation).or_defect("cannot write the preparation")?;
        lines.push(b'\n');
    }
    Ok(vec![
        (crate::load::WORKLOAD_FILE.to_owned(), tables),
        (crate::load::OPERATIONS_FILE.to_owned(), lines),
    ])
}

/// A preparation that did not go as planned is a failure, explained by its first divergence. That a server
/// does not make links is none.
fn refuse_divergence(
    outcome: &LiveOutcome,
    operations: &[smbench_core::workload::Operation],
    links: &BTreeMap<OpId, (String, String)>,
    target: &Target,
) -> Result<(), Failure> {
    let is_answer = |divergence: &Divergence| matches!(divergence, Divergence::Status { .. });
    let mut diverged = outcome.tally.first.iter();
    let first = diverged.find(|(op, it)| !(links.contains_key(op) && is_answer(it)));
    let Some((op, divergence)) = first else {
        return Ok(());
    };
    let operation = operations.get(op.index());
    let what = operation.map_or(String::new(), |it| {
        format!("{} {}", it.cmd, report::path_of(it))
    });
    let failure = Failure::environment(format!("preparing failed at {what}: {}", divergence,));
    let share = target
        .places
        .values()
        .next()
        .map_or("", |place| place.path.as_str());
    Err(match divergence {
        Divergence::Status {
            seen: NtStatus::OBJECT_NAME_COLLISION,
            ..
        } => failure.remedy(format!(
            "{} exists already: remove it, or name another --root",
            target.root,
        )),
        Divergence::Status {
            seen: NtStatus::LOGON_FAILURE,
            ..
        }
        | Divergence::LoginFailed => failure.remedy("check --user and --password-file"),
        Divergence::Status {
            seen: NtStatus::BAD_NETWORK_NAME,
            ..
        } => failure.remedy(format!("there is no share {share}: name one with --share")),
        Divergence::Status {
            seen: NtStatus::ACCESS_DENIED,
            ..
        } => failure.remedy("the user may not write there: try another --user or --share"),
        _ => failure,
    })
}
