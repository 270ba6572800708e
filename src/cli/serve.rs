//! `smbench serve`: the model server on a real port.

mod folder;

use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smbench_compiler::Account;
use smbench_core::seal::Secret;
use smbench_live::listener::{self, ListenLimits, ServeStats, Serving};
use smbench_sim::ModelService;
use smbench_sim::server::{Limits, Plant, Server, ServerConfig, ShareConfig};
use tokio::sync::Notify;

use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::interrupt::Stoppable;
use crate::metrics::{self, MetricsArg, ServerFigures};
use crate::report::{note, say};
use crate::{secrets, terminal};

/// Put the model server on a real port.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 for a free one
    #[arg(long, default_value = "127.0.0.1:4445", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Allow an address that other machines can reach
    #[arg(long)]
    beyond_loopback: bool,
    /// A share; with a folder, that is its content, read as it is asked for and never written to
    #[arg(long, value_name = "NAME[=DIR]", default_value = "share")]
    share: Vec<String>,
    /// Most that clients can store, in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    content_limit: u64,
    /// The only user; without one everybody is a guest
    #[arg(long, value_name = "USER", requires = "password_file")]
    user: Option<String>,
    /// File with the user's password, or with lines USER=PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Refuse unsigned requests; needs users, as guests have no key
    #[arg(long, requires = "password_file")]
    signing_required: bool,
    /// Refuse unencrypted requests, and who cannot encrypt; needs users, as guests have no key
    #[arg(long, requires = "password_file")]
    encrypt_required: bool,
    #[command(flatten)]
    metrics: MetricsArg,
    /// A deliberate bug; may be repeated. `list` prints them all
    #[arg(long, value_name = "NAME")]
    plant: Vec<String>,
    /// Seed of every id and challenge
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.plant.iter().any(|name| name == "list") {
        for plant in Plant::ALL {
            say!("{:28} {}", plant.name(), plant.description());
        }
        return Ok(Verdict::Same);
    }
    check_address(args)?;
    let server = server(args)?;
    let metrics = args.metrics.serve::<ServerFigures>()?;
    note!("smbench: this server is for tests, not for data that matter: see docs/SERVE.md");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment("cannot start")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .or_environment(format!("cannot listen on {}", args.listen))
            .map_err(|failure| failure.remedy("is the port taken? Port 0 takes a free one"))?;
        let address = listener.local_addr().or_environment("cannot listen")?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let _stoppable = Stoppable::by("stopping", move || stop.notify_one());
        say!("listening on {address}");
        terminal::flush();
        let mut service = ModelService::new(server);
        let limits = ListenLimits::default();
        let stopped = stopped.notified();
        let every = metrics.as_ref().map(|_| metrics::EVERY);
        let look = |serving: &Serving<'_, ModelService>| {
            if let Some(published) = &metrics {
                published.put(ServerFigures::of(serving));
            }
        };
        let serve = listener::serve_watched(listener, &mut service, limits, stopped, every, look);
        let stats = serve.await.or_environment("cannot serve")?;
        tell(&stats, &service);
        Ok(Verdict::Same)
    })
}

fn tell(stats: &ServeStats, service: &ModelService) {
    note!(
        "smbench: served {} connections, {} frames in, {} frames out",
        stats.accepted,
        stats.frames_in,
        stats.frames_out,
    );
    for (ending, count) in &stats.ended {
        if let Some(limit) = ending.limit() {
            note!("smbench: {count} connections ended: {limit}");
        }
    }
    for (limit, count) in service.server().limits_reached() {
        note!(
            "smbench: {count} times a limit was reached: {}",
            limit.describe()
        );
    }
    if stats.accept_failures > 0 {
        note!(
            "smbench: {} connections could not be accepted",
            stats.accept_failures
        );
    }
}

/// What other machines can reach is asked for twice.
fn check_address(args: &Args) -> Result<(), Failure> {
    if args.beyond_loopback || args.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let listen = args.listen;
    Err(Failure::usage(format!("{listen} can be reached from other machines"))
        .remedy("this server is for tests: --beyond-loopback if that is what you want, or --listen 127.0.0.1:4445"))
}

fn server(args: &Args) -> Result<Server, Failure> {
    let plants = args.plant.iter().map(|name| {
        name.parse::<Plant>().map_err(|error| {
            Failure::usage(format!("{error}")).remedy("smbench serve --plant list names them all")
        })
    });
    let shares = args.share.iter().map(|share| match share.split_once('=') {
        Some((name, folder)) => (name, Some(Path::new(folder))),
        None => (share.as_str(), None),
    });
    let shares: Vec<_> = shares.collect();
    let disks = shares.iter().map(|(name, _)| ShareConfig::disk(name));
    let mut server = Server::new(ServerConfig {
        shares: iter::once(ShareConfig::pipe("IPC$")).chain(disks).collect(),
        users: users(args)?,
        guest_ok: args.user.is_none() && args.password_file.is_none(),
        signing_required: args.signing_required,
        encrypt_required: args.encrypt_required,
        plants: plants.collect::<Result<_, _>>()?,
        seed: args.seed,
        services: true,
        // Clients would look for further channels at addresses that they are told.
        multi_channel: !args.listen.ip().is_unspecified(),
        interfaces: vec![args.listen.ip()],
        limits: Limits {
            total_bytes: args.content_limit.saturating_mul(1 << 20),
            ..Limits::default()
        },
        ..ServerConfig::default()
    });
    for (share, folder) in shares {
        let Some(folder) = folder else { continue };
        for (why, count) in folder::load(&mut server, share, folder)? {
            let shown = folder.display();
            note!("smbench: {count} entries of {shown} are not in the share {share}: {why}");
        }
    }
    Ok(server)
}

fn users(args: &Args) -> Result<Vec<(String, Secret)>, Failure> {
    let Some(path) = &args.password_file else {
        return Ok(Vec::new());
    };
    let passwords = secrets::passwords(path)?;
    if let Some(user) = &args.user {
        let account = Account::of(user);
        let password = passwords.of(&account).next();
        let password = password.ok_or_else(|| secrets::fits_nobody(path, &[user]))?;
        return Ok(vec![(account.user, password.clone())]);
    }
    let named = passwords.named();
    let named: Vec<_> = named
        .map(|(it, password)| (it.user.clone(), password.clone()))
        .collect();
    if named.is_empty() {
        let shown = path.display();
        return Err(
            Failure::usage(format!("{shown} does not say whose password it is"))
                .remedy("name the user with --user, or in lines USER=PASSWORD"),
        );
    }
    Ok(named)
}
