//! A workload without what it tells about people: for giving it away.
//!
//! Two passes over the folder, in bounded memory but for the dictionaries. The first one meets
//! every name and every cut of every file; the second one writes the result. Both take the same
//! way through every field, and no pattern on the way leaves a field out, so that a new one does
//! not compile until somebody has decided about it. `docs/ANONYMIZE.md` has the decisions.
//!
//! | file         | what it is about                                             |
//! |--------------|--------------------------------------------------------------|
//! | `operation`  | operations and requests, field by field                      |
//! | `contexts`   | contexts of CREATE and NEGOTIATE, layouts, SMB1              |
//! | `buffers`    | SET_INFO, QUERY_INFO, IOCTL                                  |
//! | `security`   | security descriptors                                         |
//! | `rpc`        | data of pipes                                                |
//! | `content`    | data of files                                                |
//! | `bulk`       | which file an operation's data belongs to                    |
//! | `tables`     | `workload.json`, `namespace.jsonl`                           |
//! | `names`      | paths, shares, hosts, users, patterns                        |
//! | `pseudonyms` | the same names, said elsewhere                               |
//! | `words`      | the dictionary                                               |
//! | `addresses`  | IP addresses                                                 |
//! | `policy`     | what stays in the clear                                      |
//! | `key`        | the secret                                                   |
//! | `tally`      | what was done, by kind                                       |

mod addresses;
mod buffers;
mod bulk;
mod content;
mod contexts;
mod key;
mod names;
mod operation;
mod policy;
mod pseudonyms;
mod rpc;
mod security;
mod tables;
mod tally;
mod words;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use smbench_core::{
    frame::Digest,
    workload::{Operation, Workload},
};
use thiserror::Error;

use self::{
    addresses::Addresses,
    bulk::Bulk,
    key::{Key, KeyMaker},
    tables::Tables,
    words::Words,
};
pub use self::{
    key::Seed,
    pseudonyms::Pseudonyms,
    tally::{Count, Kind, Tally},
};
use crate::folder::{FolderError, FolderReader, FolderWriter, name};

/// A workload that was made anonymous.
#[derive(Clone, Debug)]
pub struct Anonymized {
    /// Its tables, as written.
    pub workload: Workload,
    /// What was replaced.
    pub tally: Tally,
    /// What was replaced by what. This is the secret.
    pub mapping: Mapping,
}

/// Originals and their pseudonyms.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Mapping {
    /// Digest of the original's operations, which journals name it by.
    #[serde(default)]
    pub original: Option<Digest>,
    /// The same of the result.
    #[serde(default)]
    pub anonymized: Option<Digest>,
    /// Users as in the table of principals.
    pub users: BTreeMap<String, String>,
    /// Shares, without servers.
    pub shares: BTreeMap<String, String>,
    /// IP addresses.
    pub addresses: BTreeMap<String, String>,
    /// Words: parts of names. As first spelt.
    pub words: BTreeMap<String, String>,
}

/// Why a workload could not be made anonymous.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnonymizeError {
    /// The folder could not be read or written.
    #[error("workload folder")]
    Folder {
        /// What was wrong.
        #[from]
        source: FolderError,
    },
    /// The operating system refused to read the original.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The result would replace the original.
    #[error("{path} is the original")]
    SamePlace {
        /// Where the result should go.
        path: PathBuf,
    },
}

/// Writes the workload folder `to`: that of `from`, made anonymous with `seed`.
///
/// The same folder and seed give the same result, byte for byte. The seed is not in it.
///
/// # Errors
///
/// [`AnonymizeError`]; then nothing is at `to` that was not there before.
pub fn anonymize(from: &Path, to: &Path, seed: &Seed) -> Result<Anonymized, AnonymizeError> {
    let same = from.canonicalize().ok().zip(to.canonicalize().ok());
    if same.is_some_and(|(from, to)| from == to) {
        return Err(AnonymizeError::SamePlace {
            path: to.to_owned(),
        });
    }
    let reader = FolderReader::open(from)?;
    let mut scrub = Scrub::new(key_of(from, seed)?);
    let tables = Tables::of(reader.workload());
    let original = reader.blobs()?;
    let mut bulk = Bulk::new(&tables, original);

    let mut workload = reader.workload().clone();
    scrub.workload(&tables, &mut workload);
    for op in reader.operations()? {
        let mut op = op?;
        bulk.observe(&mut scrub, &op)?;
        scrub.operation(&tables, &mut op);
    }
    for entry in reader.namespace()? {
        let mut entry = entry?;
        bulk.observe_entry(&entry);
        scrub.entry(&mut entry);
    }
    scrub.seal();
    bulk.seal(&mut scrub.tally);
    write(&reader, to, scrub, &tables, bulk)
}

fn write(
    reader: &FolderReader,
    to: &Path,
    mut scrub: Scrub,
    tables: &Tables,
    mut bulk: Bulk<'_>,
) -> Result<Anonymized, AnonymizeError> {
    let folder = FolderWriter::create(to)?;
    let mut blobs = folder.blobs()?;
    let mut workload = reader.workload().clone();
    scrub.workload(tables, &mut workload);
    let mut failed = None;
    let operations = reader
        .operations()?
        .map(|op| -> Result<Operation, FolderError> {
            let mut op = op?;
            bulk.replace(&mut scrub, &mut blobs, &mut op)?;
            scrub.operation(tables, &mut op);
            Ok(op)
        });
    folder.operations(until_failure(operations, &mut failed))?;
    let entries = reader.namespace()?.map(|entry| {
        let mut entry = entry?;
        bulk.replace_entry(&mut scrub, &mut blobs, &mut entry)?;
        scrub.entry(&mut entry);
        Ok(entry)
    });
    folder.namespace(until_failure(entries, &mut failed))?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    blobs.finish()?;
    folder.finish(&workload)?;
    let mapping = Mapping {
        original: Some(reader.digest()?),
        anonymized: Some(FolderReader::open(to)?.digest()?),
        ..scrub.mapping(reader.workload(), &workload)
    };
    Ok(Anonymized {
        workload,
        tally: scrub.tally,
        mapping,
    })
}

/// The items up to the first failure, which is kept.
fn until_failure<T>(
    items: impl Iterator<Item = Result<T, FolderError>>,
    failed: &mut Option<FolderError>,
) -> impl Iterator<Item = T> {
    items.map_while(move |item| match item {
        Ok(item) => Some(item),
        Err(error) => {
            failed.get_or_insert(error);
            None
        }
    })
}

fn key_of(folder: &Path, seed: &Seed) -> Result<Key, AnonymizeError> {
    let mut maker = KeyMaker::new(seed);
    for file in [name::WORKLOAD, name::OPERATIONS, name::NAMESPACE] {
        let path = folder.join(file);
        let taken = File::open(&path).and_then(|file| maker.take(file));
        taken.map_err(|source| AnonymizeError::Io { path, source })?;
    }
    Ok(maker.finish())
}

/// What replaces originals.
struct Scrub {
    key: Key,
    words: Words,
    addresses: Addresses,
    tally: Tally,
    /// Every name was met: from now on they are replaced.
    sealed: bool,
}

impl Scrub {
    fn new(key: Key) -> Self {
        Self {
            words: Words::new(key.clone()),
            key,
            addresses: Addresses::default(),
            tally: Tally::default(),
            sealed: false,
        }
    }

    fn seal(&mut self) {
        self.words.seal();
        self.addresses.seal();
        self.tally = Tally::default();
        self.sealed = true;
    }

    fn mapping(&self, before: &Workload, after: &Workload) -> Mapping {
        let owned = |(from, to): (&str, &str)| (from.to_owned(), to.to_owned());
        let users = before.principals.iter().zip(&after.principals);
        let shares = before.trees.iter().zip(&after.trees);
        Mapping {
            users: users
                .map(|(from, to)| owned((&from.name, &to.name)))
                .collect(),
            shares: shares
                .map(|(from, to)| owned((from.share(), to.share())))
                .collect(),
            addresses: self
                .addresses
                .pairs()
                .map(|(from, to)| (from.to_string(), to.to_string()))
                .collect(),
            words: self.words.pairs().map(owned).collect(),
            ..Mapping::default()
        }
    }
}

#[cfg(test)]
mod testing {
    use super::{KeyMaker, Scrub, Seed};

    /// A scrub with nothing in it.
    pub(super) fn scrub() -> Scrub {
        Scrub::new(KeyMaker::new(&Seed::from_number(1)).finish())
    }
}
