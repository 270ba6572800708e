//! Every run is a journal: where it goes, what it takes along, and its bundle.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use smbench_core::engine::RunConfig;
use smbench_core::frame::Digest;
use smbench_core::ids::ShardId;
use smbench_journal::{JournalWriter, RunMeta, ShardRecorder, export};

use crate::exit::{Failure, OrFail};
use crate::load::Attachments;

/// Where a run is recorded.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RecordArgs {
    /// Folder for the journal (made; must not hold one). Default: a new one under
    /// `smbench-journals/`
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// Also write the journal as one portable file
    #[arg(long, value_name = "OUT.smbj")]
    pub(crate) bundle: Option<PathBuf>,
}

/// A run being recorded.
pub(crate) struct Recording {
    writer: JournalWriter,
    /// Where.
    pub(crate) path: PathBuf,
    bundle: Option<PathBuf>,
}

/// What a run is, for its journal.
pub(crate) struct RunIdentity<'a> {
    /// `replay`, `sim`, `prepare`.
    pub(crate) verb: &'a str,
    /// Digest of the workload.
    pub(crate) workload: Digest,
    /// How it is run.
    pub(crate) config: &'a RunConfig,
    /// The workload's files.
    pub(crate) attachments: Attachments,
    /// Whether wall-clock time may be written down (not in simulations).
    pub(crate) clock: bool,
}

impl Recording {
    /// Opens the journal, and the bundle's path, before the run.
    pub(crate) fn begin(args: &RecordArgs, run: RunIdentity<'_>) -> Result<Self, Failure> {
        let path = args
            .journal
            .clone()
            .unwrap_or_else(|| default_path(run.verb));
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(parent)
                .or_environment(format!("cannot make {}", parent.display()))?;
        }
        if let Some(bundle) = &args.bundle {
            check_bundle(bundle)?;
        }
        let config = serde_json::to_value(run.config).or_defect("cannot write the run's config")?;
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let meta = RunMeta {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            workload: Some(run.workload),
            config,
            seed: run.config.seed,
            shards: 1,
            started_unix_ns: run
                .clock
                .then(|| u64::try_from(started.as_nanos()).unwrap_or(u64::MAX)),
            facts: [("verb".to_owned(), run.verb.to_owned())].into(),
            ..RunMeta::default()
        };
        let shown = path.display().to_string();
        let writer = JournalWriter::create(&path, &meta)
            .or_environment(format!("cannot make the journal {shown}"))
            .map_err(|failure| failure.remedy("name another folder with --journal"))?;
        for (name, bytes) in run.attachments {
            writer
                .attach(&name, bytes)
                .or_environment(format!("cannot write to the journal {shown}"))?;
        }
        Ok(Self {
            writer,
            path,
            bundle: args.bundle.clone(),
        })
    }

    /// The recorder of the run's only shard.
    pub(crate) fn recorder(&self) -> Result<ShardRecorder, Failure> {
        self.writer.recorder(ShardId(0)).or_defect("cannot record")
    }

    /// Ends the journal and writes its bundle. Gives their paths.
    pub(crate) fn end(self) -> Result<(String, Option<String>), Failure> {
        let shown = self.path.display().to_string();
        self.writer
            .close()
            .or_environment(format!("cannot finish the journal {shown}"))?;
        if let Some(bundle) = &self.bundle {
            write_bundle(&self.path, bundle).map_err(|failure| {
                failure.remedy(format!(
                    "the run is recorded in {shown}: smbench export writes its bundle"
                ))
            })?;
        }
        Ok((shown, self.bundle.map(|path| path.display().to_string())))
    }
}

/// A bad path fails now, not after the run; a bundle that is there stays until the new one is
/// whole.
fn check_bundle(bundle: &Path) -> Result<(), Failure> {
    let shown = bundle.display();
    if std::fs::symlink_metadata(bundle).is_ok_and(|about| !about.is_file()) {
        return Err(Failure::environment(format!(
            "cannot write the bundle {shown}: it exists and is no file"
        ))
        .remedy("name another file with --bundle"));
    }
    let part = part_of(bundle);
    std::fs::File::create(&part)
        .and_then(|_| std::fs::remove_file(&part))
        .or_environment(format!("cannot write the bundle {shown}"))
}

fn write_bundle(journal: &Path, bundle: &Path) -> Result<(), Failure> {
    let context = || format!("cannot write the bundle {}", bundle.display());
    let part = part_of(bundle);
    let done = export(journal, &part).or_environment(context());
    let done = done.and_then(|_| std::fs::rename(&part, bundle).or_environment(context()));
    if done.is_err() {
        std::fs::remove_file(&part).ok();
    }
    done
}

/// Where a bundle is written until it is whole: beside it, so that it can be renamed.
fn part_of(bundle: &Path) -> PathBuf {
    let mut name = bundle.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    bundle.with_file_name(name)
}

fn default_path(verb: &str) -> PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!("{verb}-{}-{}", now.as_millis(), std::process::id());
    Path::new("smbench-journals").join(name)
}
