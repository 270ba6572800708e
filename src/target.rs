//! Where a workload is replayed: server, shares, users.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use smbench_compiler::prepare::Place;
use smbench_core::confine::RecordedName;
use smbench_core::engine::TreeTarget;
use smbench_core::frame::Digest;
use smbench_core::ids::{PrincipalRef, SessionRef};
use smbench_core::workload::{Tree, Workload};
use smbench_live::Credentials;

use crate::exit::{Failure, toml_error};
use crate::live_run::KnownUsers;
use crate::secrets::Users;
use crate::small_file;

/// Where to replay.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct TargetArgs {
    /// Server to talk to; port 445 when none is given
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) server: Option<String>,
    /// Share that every recorded disk share goes to
    #[arg(long, value_name = "NAME")]
    pub(crate) share: Option<String>,
    /// User for every recorded one; default: the recorded names
    #[arg(long, value_name = "[DOMAIN\\]USER")]
    pub(crate) user: Option<String>,
    /// File with the password, or with lines [DOMAIN\]USER=PASSWORD (*=PASSWORD for anyone)
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Server, shares, roots and users in a file; the options above win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) mapping: Option<PathBuf>,
    /// Folder below the share that everything is put under
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<String>,
    /// Go on where the server lets a user who gave a password in as a guest
    #[arg(long)]
    pub(crate) allow_guest: bool,
    /// Write into folders that no preparation made: at the top of the share, or straight below --root
    #[arg(long)]
    pub(crate) i_know_this_share_is_mine: bool,
}

/// `mapping.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mapping {
    server: Option<String>,
    share: Option<String>,
    root: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    /// Recorded share -> `NAME` or `NAME\folder`.
    shares: BTreeMap<String, String>,
    /// Recorded user -> user.
    users: BTreeMap<String, String>,
}

/// A target, resolved and checked.
#[derive(Debug)]
pub(crate) struct Target {
    /// The server's name.
    pub(crate) host: String,
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Where each recorded tree goes, by its number.
    pub(crate) trees: Vec<TreeTarget>,
    /// Where each recorded disk share is prepared.
    pub(crate) places: BTreeMap<String, Place>,
    /// The root as told to the user.
    pub(crate) root: String,
    /// Who is let in as a guest may go on.
    pub(crate) allow_guest: bool,
    users: Users,
}

impl Target {
    /// Puts arguments and mapping file together. `fresh` makes up a root that nobody has used.
    pub(crate) fn resolve(
        args: &TargetArgs,
        workload: &Workload,
        digest: impl FnOnce() -> Result<Digest, Failure>,
        fresh: bool,
    ) -> Result<Self, Failure> {
        let mapping = match &args.mapping {
            Some(path) => read_mapping(path)?,
            None => Mapping::default(),
        };
        let server = args.server.clone().or(mapping.server.clone());
        let server = server.ok_or_else(|| {
            Failure::usage("no server is named").remedy("say --server HOST[:PORT]")
        })?;
        let (host, address) = resolve(&server)?;
        let root = match (&args.root, &mapping.root, args.i_know_this_share_is_mine) {
            (Some(root), ..) | (None, Some(root), _) => checked_root(root)?,
            (None, None, true) => String::new(),
            (None, None, false) => default_root(&digest()?, fresh),
        };
        let share = args.share.clone().or(mapping.share.clone());
        let ground = Ground {
            host: &host,
            share: share.as_deref(),
            shares: &mapping.shares,
            root: &root,
            owned: !args.i_know_this_share_is_mine,
        };
        let (trees, places) = ground.places(workload)?;
        let password_file = args.password_file.clone().or(mapping.password_file);
        unknown_users(workload, &mapping.users)?;
        let one = args.user.clone().or(mapping.user);
        let users = Users::read(workload, one, mapping.users, password_file.as_ref())?;
        Ok(Self {
            host,
            address,
            trees,
            places,
            root,
            allow_guest: args.allow_guest,
            users,
        })
    }

    /// The folders that are ours alone: the path of a share, and a folder in it.
    pub(crate) fn owned(&self) -> BTreeSet<(String, String)> {
        let places = self.places.values();
        places
            .filter_map(|place| Some((place.path.clone(), place.owned.clone()?)))
            .collect()
    }

    /// The account of this run that each recorded user logs in to, by number.
    pub(crate) fn accounts(&self, workload: &Workload) -> Vec<u32> {
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let users = workload.principals.iter();
        users
            .map(|recorded| {
                // Servers map domains to their own: users of one name may be one account.
                let known = self.credentials(&recorded.name).map(|it| it.user);
                let account = known
                    .unwrap_or_else(|| recorded.name.clone())
                    .to_lowercase();
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                *numbers.entry(account).or_insert(next)
            })
            .collect()
    }

    /// The credentials of a recorded user; `None` where there is no password.
    pub(crate) fn credentials(&self, recorded: &str) -> Option<Credentials> {
        self.users.credentials(recorded)
    }

    /// The credentials of every user and session of a workload.
    pub(crate) fn known_users(&self, workload: &Workload) -> KnownUsers {
        let named = (0u32..).zip(&workload.principals);
        let principals: BTreeMap<_, _> = named
            .filter_map(|(at, user)| Some((PrincipalRef(at), self.credentials(&user.name)?)))
            .collect();
        let sessions = (0u32..).zip(&workload.sessions);
        let sessions = sessions.filter_map(|(at, session)| {
            let found = principals.get(&PrincipalRef(session.principal))?;
            Some((SessionRef(at), found.clone()))
        });
        KnownUsers {
            sessions: sessions.collect(),
            principals,
        }
    }
}

type Places = (Vec<TreeTarget>, BTreeMap<String, Place>);

/// Where recorded shares go.
struct Ground<'a> {
    host: &'a str,
    /// The share that all go to.
    share: Option<&'a str>,
    /// Shares that go elsewhere, by their recorded names.
    shares: &'a BTreeMap<String, String>,
    root: &'a str,
    /// The root is a folder that we make and mark.
    owned: bool,
}

impl Ground<'_> {
    fn places(&self, workload: &Workload) -> Result<Places, Failure> {
        let confined = |tree: &&Tree| tree.kind().is_confined();
        let names = workload.trees.iter().filter(confined);
        let mut disks: Vec<String> = names.map(|tree| tree.share().to_lowercase()).collect();
        disks.sort();
        disks.dedup();
        let known = |name: &&String| !disks.contains(&name.to_lowercase());
        if let Some(unknown) = self.shares.keys().find(known) {
            return Err(Failure::usage(format!(
                "the mapping names share {unknown}, which the workload does not use"
            ))
            .remedy(format!("its shares are: {}", disks.join(", "))));
        }
        let mut places = BTreeMap::new();
        let trees = workload.trees.iter().map(|tree| {
            if !tree.kind().is_confined() {
                return Ok(TreeTarget {
                    path: format!("\\\\{}\\IPC$", self.host),
                    root: String::new(),
                });
            }
            let place = self.place(tree.share(), disks.len() > 1)?;
            let (path, root) = (place.path.clone(), place.root.clone());
            places.insert(tree.share().to_lowercase(), place);
            Ok(TreeTarget { path, root })
        });
        let trees = trees.collect::<Result<_, Failure>>()?;
        let mut taken: BTreeMap<(String, String), &String> = BTreeMap::new();
        for (name, place) in &places {
            let folder = (place.path.to_lowercase(), place.root.to_lowercase());
            if let Some(other) = taken.insert(folder, name) {
                return Err(Failure::usage(format!(
                    "the recorded shares {other} and {name} go to one folder, {} in {}",
                    place.root, place.path
                ))
                .remedy(
                    "send each to a folder of its own in [shares] of the --mapping: NAME\\folder",
                ));
            }
        }
        Ok((trees, places))
    }

    /// Where the recorded share `name` goes; a share that the capture does not name goes to --share.
    fn place(&self, name: &str, several: bool) -> Result<Place, Failure> {
        let mapped = (self.shares.iter()).find(|(from, _)| from.eq_ignore_ascii_case(name));
        let to = mapped.map(|(_, to)| to.as_str()).or(self.share);
        let to = to.unwrap_or(name);
        let (to, below) = to.split_once('\\').unwrap_or((to, ""));
        let given = mapped.is_some() || self.share.is_some();
        if given && (!is_component(to) || to.eq_ignore_ascii_case(PIPES)) {
            return Err(Failure::usage(format!("{to:?} cannot be a share of files"))
                .remedy("name a share of the server, or SHARE\\folder"));
        }
        if to.is_empty() {
            return Err(
                Failure::usage("the capture does not name a share that it uses")
                    .remedy("say where it goes: --share NAME"),
            );
        }
        // Several recorded shares in one: each gets a folder of its own.
        let together = mapped.is_none() && self.share.is_some() && several;
        let apart = if together { name } else { "" };
        if !is_component(to) || !apart.is_empty() && !is_component(apart) {
            return Err(
                Failure::environment(format!("{name:?} cannot be a share's name"))
                    .remedy("correct workload.json or the mapping"),
            );
        }
        let below = if below.is_empty() {
            String::new()
        } else {
            checked_root(below)?
        };
        let owned = join(&[&below, self.root]);
        let files = if self.owned { FILES } else { "" };
        Ok(Place {
            path: format!("\\\\{}\\{to}", self.host),
            root: join(&[&owned, files, apart]),
            owned: self.owned.then_some(owned),
        })
    }
}

fn join(parts: &[&str]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.copied().collect::<Vec<_>>().join("\\")
}

/// Whether a recorded name can be that of one folder or share.
fn is_component(name: &str) -> bool {
    let plain = !name.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|', '\0']);
    plain && RecordedName::of_text(name, false).is_ok_and(RecordedName::is_one_component)
}

/// The share that every server has for pipes.
const PIPES: &str = "IPC$";

fn read_mapping(path: &Path) -> Result<Mapping, Failure> {
    let shown = path.display();
    let text = small_file::text(path)?;
    toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("{shown}: {}", toml_error(&text, &error))))
}

fn unknown_users(workload: &Workload, renamed: &BTreeMap<String, String>) -> Result<(), Failure> {
    let known = |name: &String| workload.principals.iter().any(|it| it.name == *name);
    match renamed.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<&str> = workload
                .principals
                .iter()
                .map(|it| it.name.as_str())
                .collect();
            Err(Failure::usage(format!(
                "the mapping names user {name}, who is not in the workload"
            ))
            .remedy(format!("its users are: {}", names.join(", "))))
        }
    }
}

fn resolve(server: &str) -> Result<(String, SocketAddr), Failure> {
    let with_port = |text: &str| {
        text.to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
    };
    let (host, found) = match server.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.contains(':') => {
            (host, with_port(server))
        }
        _ if server.contains(':') && !server.starts_with('[') => {
            (server, with_port(&format!("[{server}]:445")))
        }
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, with_port(server)),
        _ => (server, with_port(&format!("{server}:445"))),
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    found.map(|address| (host, address)).ok_or_else(|| {
        Failure::environment(format!("server {server} cannot be found"))
            .remedy("check the name, or give an address")
    })
}

fn checked_root(root: &str) -> Result<String, Failure> {
    let root = root.replace('/', "\\");
    let bad = root
        .split('\\')
        .any(|part| !is_component(part) || part.ends_with(['.', ' ']));
    if bad {
        return Err(Failure::usage(format!("{root:?} cannot be a root"))
            .remedy("name folders below the share, like replays\\run1"));
    }
    Ok(root)
}

fn default_root(digest: &Digest, fresh: bool) -> String {
    let name: String = digest.to_string().chars().take(8).collect();
    if !fresh {
        return format!("smbench-{name}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "smbench-{name}-{}-{}",
        now.unwrap_or_default().as_millis(),
        std::process::id()
    )
}

/// The folder in an owned root that the files are in: what is listed there is what was recorded.
const FILES: &str = "r";
