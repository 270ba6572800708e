//! Every run is a journal: where it goes, what it takes along, and its bundle.

mod name;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use smbench_core::engine::RunConfig;
use smbench_core::event::{EffectsDigest, Entry, Recorder};
use smbench_core::frame::Digest;
use smbench_core::ids::ShardId;
use smbench_journal::{
    Existing, Journal, JournalError, JournalWriter, RunMeta, ShardRecorder, WriterStats,
    can_export, export, unfinished,
};

pub(crate) use self::name::RunName;
use crate::exit::{ENVIRONMENT, Failure, OrFail};
use crate::interrupt::Unfinished;
use crate::load::Attachments;
use crate::{facts, interrupt, journals};

/// Where a run is recorded.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RecordArgs {
    /// Folder for the journal (made; must not hold one). Default: a new one under
    /// `smbench-journals/`, named by workload, time and server
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
    /// What its journal is called where nobody names it.
    pub(crate) name: RunName,
    /// Digest of the workload.
    pub(crate) workload: Digest,
    /// How it is run.
    pub(crate) config: &'a RunConfig,
    /// The workload's files.
    pub(crate) attachments: Attachments,
    /// Whether wall-clock time may be written down (not in simulations).
    pub(crate) clock: bool,
    /// What else is known of the run, by name.
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Recording {
    /// Whether a run could be recorded, told before anything is sent.
    pub(crate) fn check(args: &RecordArgs, name: &RunName) -> Result<(), Failure> {
        let tried = Self::create(args, name, &RunMeta::default(), &[]);
        tried.map(|(writer, _)| interrupt::uninterrupted(|| writer.discard()))
    }

    /// Makes the journal; the bundle's path is tried.
    fn create(
        args: &RecordArgs,
        name: &RunName,
        meta: &RunMeta,
        attachments: &[(String, Vec<u8>)],
    ) -> Result<(JournalWriter, PathBuf), Failure> {
        let parent = match &args.journal {
            Some(path) => path.parent(),
            None => Some(Path::new(JOURNALS)),
        };
        if let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)
                .or_environment(format!("cannot make {}", parent.display()))?;
        }
        if let Some(bundle) = &args.bundle {
            can_export(bundle, Existing::Replace).map_err(|error| no_bundle(error, bundle))?;
        }
        // A signal that comes now finds nothing, or a journal that can be run again.
        interrupt::uninterrupted(|| {
            let path = match &args.journal {
                Some(path) => path.clone(),
                None => name.claim(Path::new(JOURNALS)).map_err(told)?,
            };
            let begun = JournalWriter::create(&path, meta).and_then(|writer| {
                for (name, bytes) in attachments {
                    if let Err(error) = writer.attach(name, bytes) {
                        writer.discard();
                        return Err(error);
                    }
                }
                Ok(writer)
            });
            begun.map(|writer| (writer, path.clone())).map_err(|error| {
                if args.journal.is_none() {
                    // It is ours, and goes unless there is something in it.
                    std::fs::remove_dir(&path).ok();
                }
                not_begun(error, &path)
            })
        })
    }

    /// Opens the journal, and the bundle's path, before the run.
    pub(crate) fn begin(args: &RecordArgs, run: RunIdentity<'_>) -> Result<Self, Failure> {
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
            facts: [(facts::VERB, run.verb.to_owned())]
                .into_iter()
                .chain(run.facts)
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..RunMeta::default()
        };
        let (writer, path) = Self::create(args, &run.name, &meta, &run.attachments)?;
        Ok(Self {
            writer,
            path,
            bundle: args.bundle.clone(),
        })
    }

    /// The same, for a run that nobody but its recorder can end.
    pub(crate) fn interruptible_recorder(&self) -> Result<Interruptible, Failure> {
        self.recorder().map(Interruptible)
    }

    /// The recorder of the run's only shard.
    pub(crate) fn recorder(&self) -> Result<ShardRecorder, Failure> {
        self.writer.recorder(ShardId(0)).or_defect("cannot record")
    }

    /// What the writing took so far.
    pub(crate) fn stats(&self) -> WriterStats {
        self.writer.stats()
    }

    /// Ends the journal of a run that `failure` ended: it is told, unless the journal was the cause.
    pub(crate) fn ended_by(self, failure: Failure) -> Failure {
        match interrupt::uninterrupted(|| self.writer.close()) {
            Ok(_) => failure,
            Err(error) => cut_short(error, &self.path),
        }
    }

    /// Ends the journal and writes its bundle. Gives their paths.
    pub(crate) fn end(self) -> Result<(String, Option<String>), Failure> {
        let Self {
            writer,
            path,
            bundle,
        } = self;
        // A signal that comes now finds a whole journal.
        interrupt::uninterrupted(|| writer.close()).map_err(|error| cut_short(error, &path))?;
        let shown = path.display().to_string();
        if let Some(bundle) = &bundle {
            let _part = Unfinished::at(unfinished(bundle));
            let written = Journal::open(&path)
                .and_then(|journal| export(&journal, bundle, Existing::Replace));
            written.map_err(|error| {
                no_bundle(error, bundle).context(format!(
                    "the run is recorded in {shown} (smbench export writes its bundle)"
                ))
            })?;
        }
        Ok((shown, bundle.map(|path| path.display().to_string())))
    }
}

/// Takes nothing any more when a signal has come: that ends the run.
pub(crate) struct Interruptible(ShardRecorder);

/// Why an input was not recorded.
#[derive(Debug)]
pub(crate) enum NotRecorded {
    /// The journal did not take it.
    Journal(JournalError),
    /// The run was to end.
    Interrupted,
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for NotRecorded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(error) => error.source(),
            Self::Interrupted => None,
        }
    }
}

impl Recorder for Interruptible {
    type Error = NotRecorded;

    fn record(&mut self, entry: &Entry) -> Result<(), NotRecorded> {
        if interrupt::is_asked() {
            return Err(NotRecorded::Interrupted);
        }
        self.0.record(entry).map_err(NotRecorded::Journal)
    }

    fn finish(&mut self, after: EffectsDigest) -> Result<(), NotRecorded> {
        self.0.finish(after).map_err(NotRecorded::Journal)
    }
}

fn not_begun(error: JournalError, path: &Path) -> Failure {
    told(journals::failed(error, path))
}

/// A run that cannot be recorded is not begun.
fn told(failure: Failure) -> Failure {
    failure
        .context("the run cannot be recorded, and was not begun")
        .elsewhere("name another folder with --journal")
}

fn cut_short(error: JournalError, path: &Path) -> Failure {
    if error.is_gone() {
        return journals::failed(error, path)
            .context("the run cannot be recorded to its end")
            .elsewhere("name a folder with --journal that nobody tidies");
    }
    journals::failed(error, path)
        .context(format!(
            "the run cannot be recorded to its end; what was recorded is kept (smbench rerun {})",
            path.display()
        ))
        .elsewhere("name another folder with --journal")
}

fn no_bundle(error: JournalError, bundle: &Path) -> Failure {
    Failure::new(ENVIRONMENT, error)
        .context(format!("cannot write the bundle {}", bundle.display()))
        .elsewhere("name another file with --bundle")
}

/// Where journals go that nobody names.
pub(crate) const JOURNALS: &str = "smbench-journals";
