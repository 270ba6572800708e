//! `smbench demo`: the whole path on a capture that ships with the project.

use std::path::{Path, PathBuf};

use smbench_compiler::folder::FolderWriter;
use smbench_compiler::{CompileOptions, compile};
use smbench_core::confine::{Gate, Policy};
use smbench_core::engine::Speed;
use smbench_core::smb2::Command;
use smbench_journal::{Journal, diff, rerun};
use smbench_live::listener::{self, ListenLimits};
use smbench_sim::ModelService;
use smbench_sim::server::{Plant, Server, ServerConfig, ShareConfig};

use crate::cli::{TimeoutArg, diff as diff_verb, place, prepare};
use crate::exit::{DEFECT, Failure, OrFail, Outcome, Verdict};
use crate::interrupt::Unfinished;
use crate::live_run::{self, LiveRun};
use crate::load::Loaded;
use crate::record::RecordArgs;
use crate::report::{note, say};
use crate::target::{Target, TargetArgs};
use crate::verdict::Basis;

/// The whole path on a capture that ships with the project.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for what the demo makes; default: a new one below the temporary folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Three clients that break each other's leases: recorded with Samba, by this project.
const CAPTURE: &[u8] = include_bytes!("../../tests/captures/leases3_plain.pcap");
const CAPTURE_NAME: &str = "leases3_plain.pcap";

pub(crate) fn run(args: &Args) -> Outcome {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => std::env::temp_dir().join(format!("smbench-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&out).or_environment(format!("cannot make {}", out.display()))?;
    let work = out.join("work");
    place::make_room(&work, true)?;
    let _part = Unfinished::at(FolderWriter::unfinished(&work));
    if work.exists() {
        std::fs::remove_dir_all(&work)
            .or_environment(format!("cannot replace {}", work.display()))?;
    }

    say!("1. compile {CAPTURE_NAME}, a capture of three clients that share files");
    let inputs: Vec<(String, Box<dyn std::io::Read + Send>)> =
        vec![(CAPTURE_NAME.to_owned(), Box::new(CAPTURE))];
    let compiled = compile(inputs, CompileOptions::default(), &work)
        .or_defect("cannot compile the demo's capture")?;
    let coverage = &compiled.workload.coverage;
    say!(
        "   {} packets -> {} operations of {} clients; {} of {} requests come back byte for byte",
        coverage.packets,
        compiled.workload.operations,
        compiled.workload.clients.len(),
        coverage.reencoded_exact,
        coverage.reencoded_total,
    );
    let loaded = Loaded::open(&work)?;

    say!("2. replay it over TCP against the model server on a free loopback port");
    let first = replay(&loaded, &out.join("run1"), &[])?;
    say!("3. rerun the journal offline: the same inputs must have the same effects");
    rerun_of(&first)?;
    say!("4. replay it again, and diff the two runs");
    let second = replay(&loaded, &out.join("run2"), &[])?;
    let found = diff_of(&first, &second)?;
    say!("5. replay it against a server with a planted bug, and let the diff name it");
    let third = replay(&loaded, &out.join("run3"), &[Plant::IgnoreShareMode])?;
    diff_of(&first, &third)?;
    next_steps(&work, &first, &third);
    Ok(Verdict::of(!found))
}

fn next_steps(work: &Path, first: &Path, third: &Path) {
    let work = work.display();
    say!("");
    say!("what to type next:");
    say!("  smbench inspect {work}");
    say!("  smbench sim {work} --seed 1");
    say!("  smbench show {} --limit 20", first.display());
    say!("  smbench diff {} {}", first.display(), third.display());
    say!("  smbench replay {work} --prepare --server HOST --share NAME --user U --password-file F");
}

/// Replays against a fresh model server; the journal's folder.
fn replay(loaded: &Loaded, journal: &Path, plants: &[Plant]) -> Result<PathBuf, Failure> {
    let shares = loaded
        .workload()
        .trees
        .iter()
        .map(|tree| tree.share().to_lowercase());
    let mut names: Vec<String> = shares.filter(|name| name != "ipc$").collect();
    names.sort();
    names.dedup();
    let mut configs: Vec<ShareConfig> = names.iter().map(|name| ShareConfig::disk(name)).collect();
    configs.push(ShareConfig::pipe("IPC$"));
    let server = Server::new(ServerConfig {
        shares: configs,
        plants: plants.iter().copied().collect(),
        ..ServerConfig::default()
    });
    let host = Host::start(server)?;
    let args = TargetArgs {
        server: Some(host.address.to_string()),
        root: Some("demo".to_owned()),
        ..TargetArgs::default()
    };
    let target = Target::resolve(&args, loaded.workload(), || loaded.digest(), true)?;
    let recorded = |name: &str| RecordArgs {
        journal: Some(journal.with_extension(name)),
        bundle: None,
    };
    for name in ["prepare", "journal"] {
        std::fs::remove_dir_all(journal.with_extension(name)).ok();
    }
    let prepared = prepare::on(loaded, &target, TimeoutArg::default(), &recorded("prepare"))?;
    let mut config = smbench_core::engine::RunConfig {
        speed: Speed::Max,
        ..Default::default()
    };
    config.tree_targets.clone_from(&target.trees);
    config.policy = Policy::strict();
    let outcome = live_run::run(LiveRun {
        metrics: None,
        verb: "replay",
        workload: loaded.name(),
        plan: loaded.plan(&config)?,
        gate: Gate::of(&config),
        digest: loaded.digest()?,
        attachments: loaded.attachments()?,
        config,
        target: &target,
        credentials: Default::default(),
        blobs: loaded.source(),
        record: &recorded("journal"),
        signing: Default::default(),
        encryption: Default::default(),
        basis: Basis::of(loaded.workload(), 0.0),
        recording: Some(loaded),
    })?;
    host.stop();
    outcome.refuse_interrupted()?;
    let summary = &outcome.summary;
    say!(
        "   prepared {} files and folders; {} requests sent, {} answered as recorded, {:.0}/s",
        prepared.entries,
        summary.issued,
        summary.matched,
        summary.ops_per_s,
    );
    let diverged = loaded.pick(outcome.tally.divergent_operations().take(5))?;
    for (op, divergence) in outcome.tally.first.iter().take(5) {
        let cmd = diverged.get(op).map_or(Command(0), |it| it.cmd);
        say!("   operation {op} ({cmd}): {}", divergence);
    }
    Ok(PathBuf::from(&summary.journal))
}

fn rerun_of(journal: &Path) -> Result<(), Failure> {
    let opened = Journal::open(journal).or_defect("cannot read the journal back")?;
    let done = rerun::check(&opened).or_defect("cannot rerun the journal")?;
    if !done.identical {
        return Err(Failure::new(
            DEFECT,
            anyhow::anyhow!("the rerun differs from the run"),
        ));
    }
    say!(
        "   identical: {} events, effects {}",
        done.events,
        done.effects_digest
    );
    Ok(())
}

/// Prints the difference; whether there is none.
fn diff_of(a: &Path, b: &Path) -> Result<bool, Failure> {
    let open = |path: &Path| Journal::open(path).or_defect("cannot read the journal back");
    let found = diff(&open(a)?, &open(b)?).or_defect("cannot diff the journals")?;
    diff_verb::print(&found);
    Ok(found.same)
}

/// The model server in a thread of its own.
struct Host {
    address: std::net::SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Host {
    fn start(server: Server) -> Result<Self, Failure> {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").or_environment("cannot listen")?;
        socket
            .set_nonblocking(true)
            .or_environment("cannot listen")?;
        let address = socket.local_addr().or_environment("cannot listen")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_environment("cannot start")?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(socket) else {
                    return;
                };
                let mut service = ModelService::new(server);
                let limits = ListenLimits::default();
                let until = async { stopped.await.unwrap_or(()) };
                if let Err(error) = listener::serve(listener, &mut service, limits, until).await {
                    note!("smbench: the model server stopped: {error}");
                }
            });
        });
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    fn stop(self) {
        self.stop.send(()).ok();
        self.thread.join().ok();
    }
}
