//! `smbench sim`: a workload against the model server, deterministically.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use clap::ValueEnum;
use serde::Serialize;
use smbench_core::ids::LogicalTime;
use smbench_sim::pcap::{HEAD, is_ours};
use smbench_sim::server::Plant;
use smbench_sim::{
    Cast, DriverKind, ModelService, PcapConfig, PcapTap, Run, Scenario, ScenarioError, SimError,
    Tap, Vantage, simulate,
};

use crate::cli::RunArgs;
use crate::criteria::Checked;
use crate::exit::{DEFECT, Failure, OrFail, Outcome, toml_error};
use crate::facts;
use crate::finding::Finding;
use crate::interrupt::{STOPPING, Stoppable, Unfinished};
use crate::load::Loaded;
use crate::model::model_of;
use crate::outputs::OutputArgs;
use crate::record::{NotRecorded, RecordArgs, Recording, RunIdentity, RunName};
use crate::report::{self, say};
use crate::small_file;
use crate::stalls::Stall;
use crate::tally::{RunFacts, Summary, Tally};
use crate::verdict::{Basis, CoverageArg};

/// Replay a workload against the model server, deterministically.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workload: a folder, or a file that `pack` wrote
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Seed of everything drawn by chance
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// What the network does, in a TOML file
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Who carries the frames
    #[arg(long, value_enum, default_value_t = Carrier::EventLoop)]
    driver: Carrier,
    /// A deliberate bug in the model server; may be repeated
    #[arg(long, value_name = "NAME")]
    plant: Vec<Plant>,
    /// Also write what went over the network as a capture (pcapng)
    #[arg(long, value_name = "OUT.pcapng")]
    pcap: Option<PathBuf>,
    /// Where that capture is taken
    #[arg(long, value_enum, default_value_t = Place::Server, requires = "pcap")]
    pcap_at: Place,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    coverage: CoverageArg,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Who carries the frames.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Carrier {
    /// A heap of events: fastest
    EventLoop,
    /// The live driver over turmoil's simulated TCP
    Turmoil,
}

/// Where a capture is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Place {
    /// Beside the server: in the order in which it saw things
    Server,
    /// Beside each client: in the order in which it saw things
    Client,
}

/// What `sim` tells at its end.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    run: &'a Summary,
    /// All that differs.
    divergences: Vec<Finding>,
    /// What took far longer than others of its kind.
    stalls: Vec<Stall>,
    /// What was asked to hold.
    #[serde(skip_serializing_if = "<[Checked]>::is_empty")]
    thresholds: &'a [Checked],
    /// The capture, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pcap: Option<Captured>,
}

/// A simulation that has ended.
struct Ended {
    summary: Summary,
    findings: Vec<Finding>,
    stalls: Vec<Stall>,
    pcap: Option<Captured>,
}

/// A capture that was written.
#[derive(Serialize)]
struct Captured {
    path: String,
    packets: u64,
    frames: u64,
    connections: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.pcap.is_some() && matches!(args.driver, Carrier::Turmoil) {
        return Err(
            Failure::usage("--pcap listens to the event loop, not to turmoil")
                .remedy("leave --driver turmoil out, or --pcap"),
        );
    }
    let outputs = args.outputs.prepare(&[
        ("bundle", args.record.bundle.as_ref()),
        ("pcap", args.pcap.as_ref()),
    ])?;
    let same = args
        .pcap
        .as_ref()
        .filter(|_| args.pcap == args.record.bundle);
    if let Some(path) = same {
        return Err(
            Failure::usage(format!("--bundle and --pcap both name {}", path.display()))
                .remedy("name a file for each"),
        );
    }
    let loaded = Loaded::open(&args.dir)?;
    let scenario = match &args.scenario {
        Some(path) => {
            let shown = path.display();
            let text = small_file::text(path)?;
            Scenario::from_toml(&text).map_err(|error| {
                let told = match &error {
                    ScenarioError::Syntax(error) => toml_error(&text, error),
                    error => error.to_string(),
                };
                Failure::usage(format!("{shown}: {told}"))
            })?
        }
        None => Scenario::default(),
    }
    .with_seed(args.seed);
    let ended = simulated(&loaded, args, &scenario)?;
    let review = outputs.review(ended.summary)?;
    let divergences = match &review.results {
        Some(results) => results.findings.clone(),
        None => ended.findings,
    };
    if args.json {
        report::json(&Told {
            run: &review.summary,
            divergences,
            stalls: ended.stalls,
            thresholds: review.thresholds(),
            pcap: ended.pcap,
        })?;
    } else if !review.print_ticket(&args.outputs) {
        report::run(&review.summary, &divergences, &ended.stalls);
        if let Some(pcap) = &ended.pcap {
            let Captured { path, packets, .. } = pcap;
            say!("capture: {path} ({packets} packets)");
        }
        review.print(&args.outputs);
        say!("seed:    {}", args.seed);
    }
    Ok(review.verdict)
}

fn simulated(loaded: &Loaded, args: &Args, scenario: &Scenario) -> Result<Ended, Failure> {
    let config = args.run.config(args.seed);
    let plan = loaded.plan(&config)?;
    let operations = plan.len() as u64;
    let recorded = plan.recorded();
    let server = model_of(loaded, &recorded, &args.plant, args.seed)?;
    let recording = Recording::begin(
        &args.record,
        RunIdentity {
            verb: "sim",
            name: RunName::simulated(loaded.name(), args.seed),
            workload: loaded.digest()?,
            config: &config,
            attachments: loaded.attachments()?,
            clock: false,
            facts: facts::min_coverage(args.coverage.min_coverage)
                .into_iter()
                .collect(),
        },
    )?;
    let mut capture = match &args.pcap {
        Some(path) => Some(Capture::begin(path, loaded, scenario, args.pcap_at)?),
        None => None,
    };
    let tally = Rc::new(RefCell::new(Tally::of(recorded).copying()));
    let taker = Rc::clone(&tally);
    let begun = Instant::now();
    // Its recorder notices.
    let stoppable = Stoppable::by(STOPPING, || ());
    let done = simulate(
        Run {
            plan,
            config,
            cast: Cast::of(loaded.workload()),
            scenario,
            server: ModelService::new(server),
            recorder: recording.interruptible_recorder()?,
            blobs: loaded.source(),
            tap: capture.as_mut().map(|it| &mut it.tap as &mut dyn Tap),
        },
        match args.driver {
            Carrier::EventLoop => DriverKind::EventLoop,
            Carrier::Turmoil => DriverKind::Turmoil,
        },
        move |_: LogicalTime, report| taker.borrow_mut().report(report),
    );
    drop(stoppable);
    let wall = begun.elapsed();
    let smbench_sim::Simulated {
        result,
        server,
        recorder,
        blobs,
    } = done;
    drop((server, recorder, blobs));
    let path = recording.path.display().to_string();
    let (journal, bundle) = recording.end()?;
    // A run that came to no end has its capture too.
    let pcap = capture.map(Capture::end).transpose()?;
    let Some(tally) = Rc::into_inner(tally) else {
        return Err(Failure::defect("a simulation that has ended still reports"));
    };
    let tally = tally.into_inner();
    let outcome = result.map_err(|error| match error {
        SimError::Record { seq, source: NotRecorded::Interrupted } => {
            Failure::interrupted(format!(
                "{} requests were sent, of {operations} operations; {seq} events are recorded in {path}",
                tally.issued
            ))
        }
        error => explain(error, &path),
    })?;
    let summary = tally.summary(RunFacts {
        operations,
        basis: Basis::of(loaded.workload(), args.coverage.min_coverage),
        wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        journal,
        bundle,
        root: None,
        unwanted: outcome.counters.unwanted_frames,
        effects_digest: outcome.effects.to_string(),
        seed: Some(args.seed),
        sim_time_us: Some(outcome.at.as_micros()),
        steps: Some(outcome.steps),
    });
    let diverged = loaded.pick(tally.divergent_operations())?;
    Ok(Ended {
        summary,
        findings: tally.findings(&diverged),
        stalls: loaded.stalls(&tally)?,
        pcap,
    })
}

/// A capture being written.
struct Capture<'a> {
    tap: PcapTap<BufWriter<File>>,
    path: &'a Path,
    part: PathBuf,
    _unfinished: Unfinished,
}

impl<'a> Capture<'a> {
    /// A bad path fails now, not after the run; a file that is there stays until the new one is
    /// whole.
    fn begin(
        path: &'a Path,
        loaded: &Loaded,
        scenario: &Scenario,
        at: Place,
    ) -> Result<Self, Failure> {
        let context = || format!("cannot write the capture {}", path.display());
        if let Some(what) = in_the_way(path).or_environment(context())? {
            return Err(
                Failure::environment(format!("{}: it exists and is {what}", context()))
                    .remedy("name another file with --pcap"),
            );
        }
        let mut part = path.file_name().unwrap_or_default().to_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(part);
        let unfinished = Unfinished::at(&part);
        let file = File::create(&part).or_environment(context())?;
        let vantage = match at {
            Place::Server => Vantage::Server,
            Place::Client => Vantage::Client,
        };
        let config = PcapConfig::of(loaded.workload(), scenario, vantage);
        let tap = PcapTap::new(BufWriter::new(file), config).or_environment(context())?;
        Ok(Self {
            tap,
            path,
            part,
            _unfinished: unfinished,
        })
    }

    fn end(self) -> Result<Captured, Failure> {
        let context = format!("cannot write the capture {}", self.path.display());
        let done = self.tap.finish().or_environment(context.clone());
        let done = done.and_then(|(_, counts)| {
            std::fs::rename(&self.part, self.path).or_environment(context)?;
            Ok(counts)
        });
        if done.is_err() {
            std::fs::remove_file(&self.part).ok();
        }
        let counts = done?;
        Ok(Captured {
            path: self.path.display().to_string(),
            packets: counts.packets,
            frames: counts.frames,
            connections: counts.connections,
        })
    }
}

/// What is at a path that a capture of ours may not replace.
fn in_the_way(path: &Path) -> io::Result<Option<&'static str>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(about) if !about.is_file() => return Ok(Some("no file")),
        Ok(about) if about.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let mut head = Vec::new();
    (File::open(path)?.take(HEAD as u64)).read_to_end(&mut head)?;
    Ok((!is_ours(&head)).then_some("no capture of ours"))
}

fn explain<E>(error: SimError<E>, journal: &str) -> Failure
where
    E: std::error::Error + Send + Sync + 'static,
{
    Failure::new(
        DEFECT,
        anyhow::Error::from(error).context("the simulation came to no end"),
    )
    .remedy(format!("its journal is {journal}"))
}
