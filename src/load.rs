//! Reads a workload folder, whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use smbench_compiler::folder::{BlobReader, FolderReader};
use smbench_compiler::prepare::synthetic;
use smbench_core::frame::Digest;
use smbench_core::workload::{Entry, Operation, Workload};
use smbench_live::Blobs;

use crate::exit::{Failure, OrFail};

/// A workload in memory; bulk data stays on disk.
pub(crate) struct Loaded {
    /// Its tables.
    pub(crate) workload: Workload,
    /// Its operations.
    pub(crate) operations: Vec<Operation>,
    /// What had to exist before.
    pub(crate) namespace: Vec<Entry>,
    /// Its bulk data.
    pub(crate) blobs: Arc<BlobReader>,
    /// `workload.json` and `ops.jsonl` as they are: what a journal takes along.
    pub(crate) attachments: Vec<(String, Vec<u8>)>,
}

impl Loaded {
    /// Reads the folder `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        Self::read(dir).map_err(|failure| {
            let remedy = if dir.join(WORKLOAD_FILE).is_file() {
                "compile its capture again: smbench compile CAPTURE -o DIR"
            } else {
                "name a folder that smbench compile wrote"
            };
            failure.remedy(remedy)
        })
    }

    fn read(dir: &Path) -> Result<Self, Failure> {
        let shown = dir.display();
        let reader =
            FolderReader::open(dir).or_environment(format!("cannot read workload {shown}"))?;
        let operations = reader
            .operations()
            .and_then(Iterator::collect)
            .or_environment(format!("cannot read the operations of {shown}"))?;
        let namespace = reader
            .namespace()
            .and_then(Iterator::collect)
            .or_environment(format!("cannot read the namespace of {shown}"))?;
        let blobs = reader
            .blobs()
            .or_environment(format!("cannot read the data of {shown}"))?;
        let mut attachments = Vec::new();
        for name in [WORKLOAD_FILE, OPERATIONS_FILE] {
            let bytes = std::fs::read(dir.join(name))
                .or_environment(format!("cannot read {shown}/{name}"))?;
            attachments.push((name.to_owned(), bytes));
        }
        Ok(Self {
            workload: reader.into_workload(),
            operations,
            namespace,
            blobs: Arc::new(blobs),
            attachments,
        })
    }

    /// Digest of the workload: of its operations, which name everything else.
    pub(crate) fn digest(&self) -> Digest {
        let operations = self
            .attachments
            .iter()
            .find(|(name, _)| name == OPERATIONS_FILE);
        operations.map_or(Digest([0; 32]), |(_, bytes)| Digest::of(bytes))
    }

    /// The bulk data as drivers want it.
    pub(crate) fn source(&self) -> BlobSource {
        BlobSource {
            blobs: Some(Arc::clone(&self.blobs)),
            synthetic: BTreeMap::new(),
            last: None,
        }
    }
}

/// Bulk data for a driver: from the workload's pack, or made.
#[derive(Clone)]
pub(crate) struct BlobSource {
    blobs: Option<Arc<BlobReader>>,
    synthetic: BTreeMap<Digest, (String, u64, u32)>,
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

    fn find(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        if let Some((path, offset, len)) = self.synthetic.get(digest) {
            return Some(synthetic(path, *offset, *len).into());
        }
        self.blobs.as_ref()?.get(digest).ok().map(Into::into)
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
/// Name of the operations, in the folder and in journals.
pub(crate) const OPERATIONS_FILE: &str = "ops.jsonl";
