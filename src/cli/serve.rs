//! `smbench serve`: the model server on a real port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use smbench_live::listener::{self, ListenLimits, ServeStats};
use smbench_sim::ModelService;
use smbench_sim::server::{Plant, SeedEntry, Server, ServerConfig, ShareConfig};

use crate::exit::{Failure, OrFail, Outcome, Verdict};
use crate::report::{note, say};
use crate::terminal;

/// Put the model server on a real port.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 for a free one
    #[arg(long, default_value = "127.0.0.1:4445", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Allow an address that other machines can reach
    #[arg(long)]
    beyond_loopback: bool,
    /// A share; with a folder, its content is loaded at the start and never written back
    #[arg(long, value_name = "NAME[=DIR]", default_value = "share")]
    share: Vec<String>,
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
    let server = Server::new(config(args)?);
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
        say!("listening on {address}");
        terminal::flush();
        let mut service = ModelService::new(server);
        let limits = ListenLimits::default();
        let stats = listener::serve(listener, &mut service, limits, interrupted())
            .await
            .or_environment("cannot serve")?;
        tell(&stats);
        Ok(Verdict::Same)
    })
}

fn tell(stats: &ServeStats) {
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

async fn interrupted() {
    tokio::signal::ctrl_c().await.ok();
}

fn config(args: &Args) -> Result<ServerConfig, Failure> {
    let mut shares = vec![ShareConfig::pipe("IPC$")];
    for share in &args.share {
        let (name, folder) = match share.split_once('=') {
            Some((name, folder)) => (name, Some(PathBuf::from(folder))),
            None => (share.as_str(), None),
        };
        let mut config = ShareConfig::disk(name);
        if let Some(folder) = folder {
            load(&folder, "", &mut config.files)?;
        }
        shares.push(config);
    }
    let plants = args.plant.iter().map(|name| {
        name.parse::<Plant>().map_err(|error| {
            Failure::usage(format!("{error}")).remedy("smbench serve --plant list names them all")
        })
    });
    Ok(ServerConfig {
        shares,
        users: users(args)?,
        guest_ok: args.user.is_none() && args.password_file.is_none(),
        signing_required: args.signing_required,
        encrypt_required: args.encrypt_required,
        plants: plants.collect::<Result<_, _>>()?,
        seed: args.seed,
        ..ServerConfig::default()
    })
}

fn users(args: &Args) -> Result<Vec<(String, String)>, Failure> {
    let Some(path) = &args.password_file else {
        return Ok(Vec::new());
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path).or_environment(format!("cannot read {shown}"))?;
    if let Some(user) = &args.user {
        let line = text.lines().next().unwrap_or_default();
        let password = line.strip_prefix(&format!("{user}=")).unwrap_or(line);
        return Ok(vec![(user.clone(), password.to_owned())]);
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match line.split_once('=') {
            Some((user, password)) => Ok((user.to_owned(), password.to_owned())),
            None => Err(
                Failure::usage(format!("{shown} holds a line that is not USER=PASSWORD"))
                    .remedy("name the user with --user"),
            ),
        })
        .collect()
}

fn load(folder: &Path, below: &str, into: &mut Vec<SeedEntry>) -> Result<(), Failure> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).or_environment(format!("cannot read {shown}"))?;
    for entry in entries {
        let entry = entry.or_environment(format!("cannot read {shown}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}\\{name}")
        };
        let kind = entry
            .file_type()
            .or_environment(format!("cannot read {shown}"))?;
        if kind.is_dir() {
            into.push(SeedEntry::Dir { path: path.clone() });
            load(&entry.path(), &path, into)?;
        } else if kind.is_file() {
            let data = std::fs::read(entry.path())
                .or_environment(format!("cannot read {}", entry.path().display()))?;
            into.push(SeedEntry::File { path, data });
        }
    }
    Ok(())
}
