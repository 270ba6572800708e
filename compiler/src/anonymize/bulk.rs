//! Which file an operation works on, and where its data lies: for [`super::content`].

use std::collections::HashMap;

use smbench_core::{
    confine::created_path,
    frame::Digest,
    fscc::{RenameInfo, SetInfoPayload},
    ids::{OpId, OpenRef},
    smb2::{Fsctl, IoctlInput, IoctlRequest, Request, SetInfoRequest},
    workload::{Action, DataRef, Entry, Extent, Operation},
};

use super::{
    Scrub, Tables,
    content::{Content, FileRef},
    tally::{Kind, Tally},
};
use crate::folder::{BlobReader, BlobWriter, FolderError};

/// The bulk data of a workload and of what is made of it.
pub(super) struct Bulk<'a> {
    tables: &'a Tables,
    original: BlobReader,
    content: Content,
    /// File and path of each open.
    opens: HashMap<OpenRef, FileRef>,
    paths: HashMap<OpenRef, String>,
    /// Files by the operations that asked for their resume keys.
    keys: HashMap<OpId, FileRef>,
}

/// A stretch of data and where it belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// None for a pipe.
    file: Option<FileRef>,
    offset: u64,
}

impl<'a> Bulk<'a> {
    pub(super) fn new(tables: &'a Tables, original: BlobReader) -> Self {
        Self {
            tables,
            original,
            content: Content::default(),
            opens: HashMap::new(),
            paths: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    /// The first pass: an operation of the original.
    pub(super) fn observe(&mut self, scrub: &mut Scrub, op: &Operation) -> Result<(), FolderError> {
        let Action::Request(request) = &op.action else {
            return Ok(());
        };
        if let Request::Create(create) = request {
            let path = created_path(op);
            self.created(op, &path.unwrap_or_else(|| create.name.to_lossy()));
            return Ok(());
        }
        for (place, data) in self.stretches(op) {
            match place.file {
                Some(file) => self.content.touched(file, place.offset, data.len.into()),
                None => match self.original.get(&data.blake3) {
                    // For the words in it.
                    Ok(bytes) => drop(scrub.rpc(&bytes)),
                    Err(FolderError::NoBlob { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        match request {
            Request::SetInfo(set) => self.set_info(op, set),
            Request::Ioctl(ioctl) => self.ioctl(op, ioctl),
            _ => {}
        }
        Ok(())
    }

    /// The first pass: an entry of the original namespace.
    pub(super) fn observe_entry(&mut self, entry: &Entry) {
        let file = self.content.file(&entry.share, &entry.path);
        for Extent { offset, data } in &entry.content {
            self.content.touched(file, *offset, data.len.into());
        }
    }

    /// The first pass is over.
    pub(super) fn seal(&mut self, tally: &mut Tally) {
        if !self.content.seal() {
            tally.lossy("renames and copies that were not all followed: there were too many");
        }
    }

    /// The second pass: an operation of the original gets other data.
    pub(super) fn replace(
        &mut self,
        scrub: &mut Scrub,
        out: &mut BlobWriter,
        op: &mut Operation,
    ) -> Result<(), FolderError> {
        let place = self.place(op);
        if let Some(data) = op.data {
            op.data = Some(self.blob(scrub, out, place, data)?);
        }
        if let Some(output) = op.expect.as_mut().and_then(|it| it.output.as_mut()) {
            scrub
                .tally
                .lossy("answers that nobody can compute: zeros of their length");
            // As long as it is, whatever is said of it.
            let len = match self.original.get(&output.blake3) {
                Ok(bytes) => bytes.len(),
                Err(FolderError::NoBlob { .. }) => 0,
                Err(error) => return Err(error),
            };
            *output = out.put(&vec![0; len])?;
        }
        let Some((expect, data)) = op
            .expect
            .as_mut()
            .and_then(|expect| expect.data.map(|data| (expect, data)))
        else {
            return Ok(());
        };
        let made = self.blob(scrub, out, place, data)?;
        expect.data = Some(made);
        if place.file.is_none() && made.blake3 != data.blake3 {
            // What a server answers over a pipe is about itself: no pseudonym can foresee it.
            expect.data = None;
            scrub.tally.lossy("READs of pipes: any data is expected");
        }
        Ok(())
    }

    /// The second pass: an entry of the original namespace gets other content.
    pub(super) fn replace_entry(
        &mut self,
        scrub: &mut Scrub,
        out: &mut BlobWriter,
        entry: &mut Entry,
    ) -> Result<(), FolderError> {
        let file = Some(self.content.file(&entry.share, &entry.path));
        for Extent { offset, data } in &mut entry.content {
            let place = Place {
                file,
                offset: *offset,
            };
            *data = self.blob(scrub, out, place, *data)?;
        }
        Ok(())
    }

    fn blob(
        &mut self,
        scrub: &mut Scrub,
        out: &mut BlobWriter,
        place: Place,
        data: DataRef,
    ) -> Result<DataRef, FolderError> {
        let bytes = match self.original.get(&data.blake3) {
            Ok(bytes) => bytes,
            Err(FolderError::NoBlob { .. }) => {
                scrub.tally.lossy("data that the workload does not hold");
                let mut made = Digest([0; 32]);
                scrub.key.fill("digest", &[&data.blake3.0], &mut made.0);
                return Ok(DataRef {
                    blake3: made,
                    len: data.len,
                });
            }
            Err(error) => return Err(error),
        };
        scrub.tally.replaced(Kind::Data, bytes.len());
        match place.file {
            Some(file) => {
                let key = &scrub.key;
                out.put(&self.content.synthetic(key, file, place.offset, &bytes))
            }
            None => out.put(&scrub.rpc(&bytes)),
        }
    }

    /// WRITE and READ data of an operation.
    fn stretches(&mut self, op: &Operation) -> impl Iterator<Item = (Place, DataRef)> + use<> {
        let place = self.place(op);
        let read = op.expect.as_ref().and_then(|expect| expect.data);
        op.data
            .into_iter()
            .chain(read)
            .map(move |data| (place, data))
    }

    fn place(&mut self, op: &Operation) -> Place {
        let (offset, len) = match &op.action {
            Action::Request(Request::Read(read)) => (read.offset, read.length),
            Action::Request(Request::Write(write)) => (write.offset, write.length),
            _ => (0, 0),
        };
        // An append has the largest offset, and lands where nobody can say. [MS-SMB2] 2.2.21.
        let offset = match offset.checked_add(len.into()) {
            Some(_) => offset,
            None => 0,
        };
        let pipe = self.tables.is_pipe(op.tree);
        Place {
            file: (!pipe).then(|| self.file(op)),
            offset,
        }
    }

    /// The file an operation works on; where that is unknown, all of a connection are one.
    fn file(&mut self, op: &Operation) -> FileRef {
        let known = op.open.and_then(|open| self.opens.get(&open).copied());
        known.unwrap_or_else(|| {
            let share = self.tables.share(op.tree);
            match (&op.path, op.open) {
                (Some(path), _) => self.content.file(share, path),
                (None, Some(open)) => self.content.file("?", &format!("open {}", open.0)),
                (None, None) => self.content.file("?", &format!("connection {}", op.conn.0)),
            }
        })
    }

    fn created(&mut self, op: &Operation, path: &str) {
        let Some(open) = op.open else { return };
        let path = path.trim_matches('\\');
        let share = self.tables.share(op.tree);
        let file = self.content.file(share, path);
        self.opens.insert(open, file);
        self.paths.insert(open, path.to_owned());
        // A reclaim may come without the name. [MS-SMB2] 3.3.5.9.7
        if let Some(old) = op.reclaims
            && let Some(old) = self.paths.get(&old).cloned()
        {
            self.content.renamed(file, share, &old);
        }
    }

    fn set_info(&mut self, op: &Operation, set: &SetInfoRequest) {
        let file = self.file(op);
        match SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer) {
            SetInfoPayload::FileRename(RenameInfo { name, .. })
            | SetInfoPayload::FileRenameEx(RenameInfo { name, .. })
            | SetInfoPayload::FileLink(RenameInfo { name, .. })
            | SetInfoPayload::FileLinkEx(RenameInfo { name, .. }) => {
                let mut to = name.to_lossy().into_owned();
                if to.starts_with(':') {
                    // A stream is renamed within its file. [MS-FSCC] 2.4.42
                    let path = op.open.and_then(|open| self.paths.get(&open));
                    let base = path.map_or("", |path| path.split(':').next().unwrap_or_default());
                    to.insert_str(0, base);
                }
                self.content.renamed(file, self.tables.share(op.tree), &to);
            }
            SetInfoPayload::FileEndOfFile { end_of_file: at }
            | SetInfoPayload::FileAllocation {
                allocation_size: at,
            } => self.content.touched(file, at, 0),
            _ => {}
        }
    }

    fn ioctl(&mut self, op: &Operation, ioctl: &IoctlRequest) {
        let file = self.file(op);
        if ioctl.ctl_code == Fsctl::SRV_REQUEST_RESUME_KEY {
            self.keys.insert(op.id, file);
        }
        match IoctlInput::parse(ioctl.ctl_code, &ioctl.input) {
            IoctlInput::SetZeroData { offset, beyond } => {
                let length = beyond.saturating_sub(offset);
                self.content.touched(file, offset, length);
            }
            IoctlInput::CopyChunk { chunks, .. } => {
                let source = op.resume_key_of.and_then(|op| self.keys.get(&op).copied());
                let Some(source) = source else { return };
                for chunk in chunks {
                    let offsets = [chunk.source_offset, chunk.target_offset];
                    self.content
                        .copied([source, file], offsets, chunk.length.into());
                }
            }
            _ => {}
        }
    }
}
