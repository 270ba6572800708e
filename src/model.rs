//! The model server, as a workload finds it.

use std::collections::BTreeMap;

use smbench_compiler::folder::FolderError;
use smbench_compiler::prepare::{Stretch, stretches, synthetic};
use smbench_core::engine;
use smbench_core::workload::{Entry, EntryKind, Link, Workload};
use smbench_sim::server::{Limits, Plant, Server, ServerConfig, ShareConfig};

use crate::exit::{Failure, OrFail};
use crate::load::Loaded;
use crate::recorded::{Recorded, newest_dialect};

/// The model server with a workload's shares and initial files.
///
/// `operations` is what the recording holds of each of its operations.
pub(crate) fn model_of(
    loaded: &Loaded,
    operations: &engine::Recorded,
    plants: &[Plant],
    seed: u64,
) -> Result<Server, Failure> {
    let asks_more = operations
        .iter()
        .any(|it| it.is_answered && !it.is_modelled);
    let recorded = Recorded::of(loaded, asks_more)?;
    let mut config = ServerConfig {
        pipes: recorded.pipes,
        directory_leases: recorded.directory_leases,
        multi_channel: recorded.multi_channel,
        after_failed_create: recorded.after_failed_create,
        posix_delete: recorded.posix_delete,
        unknown: recorded.unknown,
        denials: recorded.denials,
        functions: recorded.functions,
        plants: plants.iter().copied().collect(),
        ..config_of(loaded.workload(), seed)
    };
    for share in &mut config.shares {
        share.is_dfs = recorded.dfs_shares.contains(&share.name.to_lowercase());
    }
    loaded.check_content()?;
    let mut server = Server::new(config);
    for entry in &loaded.namespace {
        put(&mut server, entry, content(loaded, entry))?;
    }
    Ok(server)
}

/// The same where nothing but tables and names is at hand: files have their sizes, and zeros in them; what is
/// said on pipes is the model's own.
pub(crate) fn model_without_data(
    workload: &Workload,
    namespace: &[Entry],
    seed: u64,
) -> Result<Server, Failure> {
    let mut config = config_of(workload, seed);
    for share in &mut config.shares {
        let here = |entry: &&Entry| entry.share.eq_ignore_ascii_case(&share.name);
        let mut links = namespace.iter().filter(here).map(|entry| &entry.link);
        share.is_dfs = links.any(|link| *link == Some(Link::Dfs));
    }
    let mut server = Server::new(config);
    for entry in namespace {
        put(&mut server, entry, std::iter::empty())?;
    }
    Ok(server)
}

fn config_of(workload: &Workload, seed: u64) -> ServerConfig {
    ServerConfig {
        shares: shares_of(workload),
        guest_ok: true,
        trusting: true,
        max_dialect: newest_dialect(workload),
        // Who was not given them does not ask for them.
        posix_extensions: true,
        seed,
        limits: Limits {
            // One client of a workload may have as many as it had; no other is to be kept from any.
            opens: 1_000_000,
            ..Limits::default()
        },
        ..ServerConfig::default()
    }
}

fn shares_of(workload: &Workload) -> Vec<ShareConfig> {
    let mut shares: BTreeMap<String, ShareConfig> = BTreeMap::new();
    for tree in &workload.trees {
        let name = tree.share();
        let share = if tree.holds_pipes() {
            ShareConfig::pipe(name)
        } else {
            ShareConfig::disk(name)
        };
        // A share that nobody could connect to is none.
        if tree.share_type != 0 {
            shares.insert(name.to_lowercase(), share);
        }
    }
    shares.into_values().collect()
}

fn put(
    server: &mut Server,
    entry: &Entry,
    content: impl Iterator<Item = Result<(u64, Vec<u8>), FolderError>>,
) -> Result<(), Failure> {
    let context = || format!("cannot load {} into the model server", entry.path);
    put_content(server, entry, content)?;
    match &entry.link {
        Some(link) => server
            .put_link(&entry.share, &entry.path, link)
            .or_environment(context()),
        None => Ok(()),
    }
}

fn put_content(
    server: &mut Server,
    entry: &Entry,
    content: impl Iterator<Item = Result<(u64, Vec<u8>), FolderError>>,
) -> Result<(), Failure> {
    let context = || format!("cannot load {} into the model server", entry.path);
    match entry.kind {
        EntryKind::Directory => server
            .mkdir(&entry.share, &entry.path)
            .or_environment(context()),
        EntryKind::File | EntryKind::Stream => {
            let mut failed = None;
            let parts = content.map_while(|part| match part {
                Ok(part) => Some(part),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            // What is no stream and has a colon, or differs from another file in case alone, has its name by POSIX
            // extensions.
            let posix = entry.kind == EntryKind::File
                && (entry.path.contains(RESERVED) || server.is_there(&entry.share, &entry.path));
            server
                .put_parts(&entry.share, &entry.path, posix, entry.size, parts)
                .or_environment(context())?;
            failed.map_or(Ok(()), Err).or_environment(context())
        }
    }
}

/// Letters that no other names have. [MS-FSCC] 2.1.5
const RESERVED: [char; 7] = [':', '"', '*', '<', '>', '?', '|'];

/// What a preparation would write: what reads showed, synthetic bytes around it, of long gaps nothing.
fn content(
    loaded: &Loaded,
    entry: &Entry,
) -> impl Iterator<Item = Result<(u64, Vec<u8>), FolderError>> {
    let name = format!("{}\\{}", entry.share, entry.path);
    stretches(entry)
        .into_iter()
        .map(move |stretch| match stretch {
            Stretch::Known(extent) => {
                let data = loaded.blobs.get(&extent.data.blake3)?;
                Ok((extent.offset, data))
            }
            Stretch::Synthetic { offset, len } => Ok((offset, synthetic(&name, offset, len))),
        })
}
