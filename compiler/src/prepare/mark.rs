//! The file in a folder of our own that says whose it is.

use std::collections::BTreeSet;

use smbench_core::{
    frame::Digest,
    smb2::{CreateDisposition, NtStatus, ReadRequest, Request},
    workload::DataRef,
};

use super::{ACCESS, Builder, Preparation};

/// The name of the file in an owned folder that says whose it is.
pub const MARK: &str = "smbench.json";
/// The longest mark, in bytes.
const MARK_MAX_BYTES: u32 = 65_536;

/// A workload that makes each owned folder, a path of a share and a folder in it, which must not be
/// there yet. It goes before everything else: what it finds there is somebody else's.
#[must_use]
pub fn make_folders(folders: &BTreeSet<(String, String)>) -> Preparation {
    let mut builder = Builder::new();
    builder.log_in();
    for (path, folder) in folders {
        builder.connect(path);
        builder.lead_to(folder, Some(folder), CreateDisposition::CREATE);
    }
    builder.end()
}

/// A workload that reads the [`MARK`] of each owned folder, a path of a share and a folder in it:
/// the last operation of each folder's is the READ.
#[must_use]
pub fn read_marks(folders: &BTreeSet<(String, String)>) -> Preparation {
    let mut builder = Builder::new();
    builder.log_in();
    for (path, folder) in folders {
        builder.connect(path);
        let name = format!("{folder}\\{MARK}");
        let open = builder.open(&name, READ_ACCESS, 0, 0, CreateDisposition::OPEN);
        builder.push(
            Request::Read(ReadRequest {
                length: MARK_MAX_BYTES,
                ..ReadRequest::default()
            }),
            Some(open),
            NtStatus::SUCCESS,
            true,
        );
        builder.close(open);
    }
    builder.end()
}

/// A workload that writes `mark` into each owned folder that has one.
#[must_use]
pub fn write_marks(folders: &BTreeSet<(String, String)>, mark: &[u8]) -> Preparation {
    let mut builder = Builder::new();
    builder.log_in();
    for (path, folder) in folders {
        builder.connect(path);
        builder.mark(folder, CreateDisposition::OVERWRITE, mark);
    }
    builder.end()
}

impl Builder {
    pub(super) fn mark(&mut self, folder: &str, disposition: CreateDisposition, mark: &[u8]) {
        let open = self.open(&format!("{folder}\\{MARK}"), ACCESS, 0, 0, disposition);
        let data = DataRef {
            blake3: Digest::of(mark),
            len: u32::try_from(mark.len()).unwrap_or(u32::MAX),
        };
        self.write(open, 0, data);
        self.out.bytes -= u64::from(data.len); // nobody's content
        self.close(open);
    }
}

/// FILE_READ_DATA, READ_ATTRIBUTES, SYNCHRONIZE.
const READ_ACCESS: u32 = 0x0010_0081;
