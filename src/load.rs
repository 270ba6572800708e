//! Reads a workload folder.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smbench_compiler::folder::{BlobReader, Fault, FolderError, FolderReader, LoadError};
use smbench_compiler::prepare::synthetic;
use smbench_core::bulk::Blobs;
use smbench_core::engine::{Plan, RunConfig};
use smbench_core::frame::Digest;
use smbench_core::ids::OpId;
use smbench_core::workload::{DataRef, Entry, Operation, Workload};
use smbench_journal::rerun::NAMESPACE;

use crate::exit::{ENVIRONMENT, Failure, OrFail};
use crate::report;
use crate::stalls::{Stall, Waits, stalls};
use crate::tally::Tally;
use crate::terminal::note;
use crate::unpacked::WorkloadPlace;

/// A workload: its tables and namespace in memory; operations and bulk data stay on disk.
pub(crate) struct Loaded {
    /// As it was given.
    shown: PathBuf,
    place: WorkloadPlace,
    name: String,
    reader: FolderReader,
    /// What had to exist before.
    pub(crate) namespace: Vec<Entry>,
    /// Its bulk data.
    pub(crate) blobs: Arc<BlobReader>,
    digest: OnceCell<Digest>,
}

impl Loaded {
    /// Opens the folder or the packed workload `given`. Its operations are read when they are asked for.
    pub(crate) fn open(given: &Path) -> Result<Self, Failure> {
        let place = WorkloadPlace::of(given)?;
        let remedy = remedy_of(&place);
        Self::read(given, place).map_err(|failure| failure.remedy(remedy))
    }

    fn read(given: &Path, place: WorkloadPlace) -> Result<Self, Failure> {
        let shown = given.display();
        let reader = FolderReader::open(place.path())
            .or_environment(format!("cannot read workload {shown}"))?;
        let namespace = reader
            .namespace()
            .and_then(Iterator::collect)
            .or_environment(format!("cannot read the namespace of {shown}"))?;
        let blobs = reader
            .blobs()
            .or_environment(format!("cannot read the data of {shown}"))?;
        Ok(Self {
            shown: given.to_owned(),
            name: place.name(),
            place,
            reader,
            namespace,
            blobs: Arc::new(blobs),
            digest: OnceCell::new(),
        })
    }

    /// What it is called: the name of its folder or file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its tables.
    pub(crate) fn workload(&self) -> &Workload {
        self.reader.workload()
    }

    /// Those of its operations that `wanted` names.
    pub(crate) fn pick(
        &self,
        wanted: impl IntoIterator<Item = OpId>,
    ) -> Result<BTreeMap<OpId, Operation>, Failure> {
        let wanted = wanted.into_iter().collect();
        let picked = self.reader.pick(&wanted);
        picked.map_err(|error| self.unreadable(error))
    }

    /// Its operations, one after the other.
    pub(crate) fn operations(
        &self,
    ) -> Result<impl Iterator<Item = Result<Operation, Failure>> + '_, Failure> {
        let operations = self.reader.operations();
        let operations = operations.map_err(|error| self.unreadable(error))?;
        Ok(operations.map(|operation| operation.map_err(|error| self.unreadable(error))))
    }

    /// The same without [what they ask for](FolderReader::outlines).
    pub(crate) fn outlines(
        &self,
    ) -> Result<impl Iterator<Item = Result<Operation, Failure>> + '_, Failure> {
        let outlines = self.reader.outlines();
        let outlines = outlines.map_err(|error| self.unreadable(error))?;
        Ok(outlines.map(|outline| outline.map_err(|error| self.unreadable(error))))
    }

    /// What came back to an operation: `data` of it, whole.
    pub(crate) fn told(&self, data: DataRef, operation: &Operation) -> Result<Vec<u8>, Failure> {
        let context = || format!("cannot read what came back to operation {}", operation.id.0);
        let bytes = self.blobs.get(&data.blake3).or_environment(context())?;
        if bytes.len() as u64 == u64::from(data.len) {
            return Ok(bytes);
        }
        let why = format!(
            "operation {} of {} tells of {} bytes that came back, and {} are there",
            operation.id.0,
            self.shown.display(),
            data.len,
            bytes.len()
        );
        Err(self.remedied(Failure::environment(why)))
    }

    /// The operations that stalled in the recording or in the run that `tally` has counted.
    pub(crate) fn stalls(&self, tally: &Tally) -> Result<Vec<Stall>, Failure> {
        let recorded = Waits::recorded(tally.recorded());
        let read = || {
            let operations = self.reader.operations()?;
            Ok(operations)
        };
        stalls(&recorded, &tally.waits, read).map_err(|error| self.unreadable(error))
    }

    /// The workload ready to run as `config` says, with all data that it sends at hand and sound.
    pub(crate) fn plan(&self, config: &RunConfig) -> Result<Plan, Failure> {
        let loaded = match self.reader.plan(config) {
            Err(LoadError::Folder(error)) => return Err(self.unreadable(error)),
            other => other.or_environment("the workload cannot be run")?,
        };
        self.digest.set(loaded.digest).ok();
        self.check_sent(&loaded.plan)?;
        Ok(loaded.plan)
    }

    fn check_sent(&self, plan: &Plan) -> Result<(), Failure> {
        let sent = plan.sent_data();
        let data: Vec<DataRef> = sent.iter().map(|(_, data)| *data).collect();
        let Some((at, flaw)) = self.flaw(&data)? else {
            return Ok(());
        };
        let op = sent.get(at).map_or_else(Default::default, |(op, _)| *op);
        let frame = self.pick([op])?.get(&op).map_or(0, |it| it.frame);
        Err(self.lacking(format!("operation {op} (frame {frame}) sends data"), &flaw))
    }

    /// Whether all content that files had before is at hand and sound.
    pub(crate) fn check_content(&self) -> Result<(), Failure> {
        let (mut known, mut of, mut data) = (BTreeSet::new(), Vec::new(), Vec::new());
        for entry in &self.namespace {
            for extent in &entry.content {
                if known.insert(extent.data.blake3) {
                    of.push(entry);
                    data.push(extent.data);
                }
            }
        }
        let Some((at, flaw)) = self.flaw(&data)? else {
            return Ok(());
        };
        let name = of.get(at).map(|it| format!("{}\\{}", it.share, it.path));
        let name = name.unwrap_or_default();
        Err(self.lacking(format!("{name} begins with data"), &flaw))
    }

    /// The first of `data` that the pack lacks or that is damaged there.
    fn flaw(&self, data: &[DataRef]) -> Result<Option<(usize, Flaw)>, Failure> {
        let bytes = data.iter().map(|it| u64::from(it.len)).sum();
        let bar = report::progress(bytes, "{bar:40} {bytes}/{total_bytes} of data checked");
        let found = self.blobs.check(data, &|read| bar.inc(read));
        bar.finish_and_clear();
        let shown = self.shown.display();
        let found = found.or_environment(format!("cannot read the data of {shown}"));
        let found = found.map_err(|failure| self.remedied(failure))?;
        let first = found.first().copied();
        Ok(first.map(|(at, fault)| {
            let count = found.len();
            (at, Flaw { fault, count })
        }))
    }

    fn lacking(&self, who: String, flaw: &Flaw) -> Failure {
        let pack = self.shown.join(BLOBS_FILE);
        let pack = pack.display();
        let what = match flaw.fault {
            Fault::Missing => format!("that {pack} does not hold"),
            Fault::Length(len) => format!("that has {len} bytes in {pack}, and not as many as it"),
            Fault::Damaged(byte) => format!("that is damaged in {pack}, at byte {byte} or behind"),
        };
        let more = match flaw.count {
            0 | 1 => String::new(),
            count => format!("; so it is with {count} pieces of data in all"),
        };
        let failure = Failure::environment(format!("{who} {what}{more}"));
        self.remedied(failure)
    }

    /// Digest of the workload: of its operations, which name everything else.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        if let Some(known) = self.digest.get() {
            return Ok(*known);
        }
        let digest = self
            .reader
            .digest()
            .map_err(|error| self.unreadable(error))?;
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// `workload.json`, `ops.jsonl` and `namespace.jsonl` as they are: what a journal takes along.
    pub(crate) fn attachments(&self) -> Result<Attachments, Failure> {
        let read = |name: &str| {
            let path = self.place.path().join(name);
            let context = || format!("cannot read {}", path.display());
            let bytes = std::fs::read(&path).or_environment(context())?;
            Ok((name.to_owned(), bytes))
        };
        [NAMESPACE, WORKLOAD_FILE, OPERATIONS_FILE]
            .into_iter()
            .map(read)
            .collect()
    }

    /// The text of its operations, a line each.
    pub(crate) fn lines(&self) -> Result<String, Failure> {
        let path = self.place.path().join(OPERATIONS_FILE);
        let context = || format!("cannot read {}", path.display());
        let lines = std::fs::read_to_string(&path).or_environment(context());
        lines.map_err(|failure| self.remedied(failure))
    }

    fn remedied(&self, failure: Failure) -> Failure {
        failure.remedy(remedy_of(&self.place))
    }

    fn unreadable(&self, error: FolderError) -> Failure {
        let shown = self.shown.display();
        let context = format!("cannot read the operations of {shown}");
        let error = anyhow::Error::from(error).context(context);
        self.remedied(Failure::new(ENVIRONMENT, error))
    }

    /// The bulk data as drivers want it.
    pub(crate) fn source(&self) -> BlobSource {
        BlobSource {
            blobs: Some(Arc::clone(&self.blobs)),
            synthetic: BTreeMap::new(),
            extra: None,
            last: None,
        }
    }
}

/// What is wrong with data.
struct Flaw {
    /// With the first that is flawed.
    fault: Fault,
    /// How much is flawed.
    count: usize,
}

fn remedy_of(place: &WorkloadPlace) -> &'static str {
    match place.path().join(WORKLOAD_FILE).is_file() {
        true => "compile its capture again: smbench compile CAPTURE -o DIR",
        false => "name a folder that smbench compile wrote, or a file that smbench pack wrote",
    }
}

/// Files that a journal takes along, by name.
pub(crate) type Attachments = Vec<(String, Vec<u8>)>;

/// Bulk data for a driver: from the workload's pack, or made.
#[derive(Clone)]
pub(crate) struct BlobSource {
    blobs: Option<Arc<BlobReader>>,
    synthetic: BTreeMap<Digest, (String, u64, u32)>,
    extra: Option<(Digest, Arc<[u8]>)>,
    last: Option<(Digest, Arc<[u8]>)>,
}

impl BlobSource {
    /// Also gives the synthetic data of a preparation.
    pub(crate) fn with_synthetic(
        mut self,
        synthetic: BTreeMap<Digest, (String, u64, u32)>,
    ) -> Self {
        self.synthetic = synthetic;
        self
    }

    /// Also gives this piece of data.
    pub(crate) fn with(mut self, data: Vec<u8>) -> Self {
        self.extra = Some((Digest::of(&data), data.into()));
        self
    }

    fn find(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        if let Some((_, data)) = self.extra.as_ref().filter(|(of, _)| of == digest) {
            return Some(Arc::clone(data));
        }
        if let Some((path, offset, len)) = self.synthetic.get(digest) {
            return Some(synthetic(path, *offset, *len).into());
        }
        match self.blobs.as_ref()?.get(digest) {
            Ok(data) => Some(data.into()),
            // It was there before the run. What cannot be sent ends the run.
            Err(error) => {
                note!("smbench: data cannot be read: {error}");
                None
            }
        }
    }
}

impl Blobs for BlobSource {
    fn get(&mut self, digest: &Digest, _len: u32) -> Option<Arc<[u8]>> {
        if let Some((_, data)) = self.last.as_ref().filter(|(of, _)| of == digest) {
            return Some(Arc::clone(data));
        }
        let data = self.find(digest)?;
        self.last = Some((*digest, Arc::clone(&data)));
        Some(data)
    }
}

/// Name of the tables, in the folder and in journals.
pub(crate) const WORKLOAD_FILE: &str = "workload.json";
/// Name of the bulk data, in the folder.
const BLOBS_FILE: &str = "blobs.pack";
/// Name of the operations, in the folder and in journals.
pub(crate) const OPERATIONS_FILE: &str = "ops.jsonl";
