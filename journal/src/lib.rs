//! The journal: every fact a run's engine was told, in order, so that the run can be run again.
//!
//! A [`JournalWriter`] keeps a run in a sled folder while it happens; a [`BundleWriter`] puts one
//! into a single portable file (`.smbj`). A [`Journal`] reads either, [`export`] and [`import`]
//! turn one into the other without loss, [`verify`] looks at every byte. Where events come from
//! and what they mean is not known here.

mod block;
mod bundle;
mod codec;
pub mod diff;
pub mod enact;
mod entries;
mod error;
mod folder;
pub mod fuzz;
mod meta;
mod reader;
pub mod rerun;
pub mod sample;
pub mod show;
mod store;
mod temporary;
mod transfer;
mod verify;
mod writer;

pub use self::{
    block::MAX_EVENT_BYTES,
    bundle::{BundleReader, BundleShard, BundleWriter},
    codec::CodecError,
    diff::{Cause, Diff, DiffError, DiffOptions, diff, diff_with},
    entries::{Entries, StoredEntry},
    error::{Damage, JournalError},
    folder::{FolderAbout, Removable, about_folder},
    meta::{FORMAT, RunMeta},
    reader::{Journal, Kind, TornTail, write_ndjson},
    rerun::{Rerun, RerunError, load_plan, rerun},
    show::show,
    transfer::{Existing, TransferReport, can_export, export, import, unfinished},
    verify::{ShardStats, Stats, VerifyReport, stats, verify},
    writer::{JournalWriter, ShardRecorder, WriterStats},
};
