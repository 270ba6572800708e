//! Numbers of files, as answers told them: by them a CREATE may name what it opens. [MS-SMB2] 2.2.13,
//! FILE_OPEN_BY_FILE_ID; [MS-FSCC] 2.1.9.

use smbench_core::{fscc::DirectoryEntry, smb2::Request};
use smbench_core::{
    smb2::{CreateOptions, CreateRequest},
    workload::{Action, Expect, Operation},
};

use super::{Namespace, Opened, names::Proof};
use crate::{map::Map, opens::Home};

/// Files by the numbers that the recorded server gave them, within their shares.
#[derive(Debug, Default)]
pub(super) struct Numbers(Map<(usize, u64), usize>);

/// Whether a CREATE names a file by its number.
pub(super) fn is_by_id(create: &CreateRequest) -> bool {
    create
        .create_options
        .contains(CreateOptions::OPEN_BY_FILE_ID)
}

/// The number in the name of a CREATE; one of 128 bits is that of 64 where it fits. None for an object id.
fn number_of(create: &CreateRequest) -> Option<u64> {
    let wire = create.name.to_wire();
    let (low, rest) = wire.split_first_chunk::<8>()?;
    let fits = rest.is_empty() || rest == [0; 8];
    fits.then(|| u64::from_le_bytes(*low))
}

/// The number that an entry of a listing has, in the field that its class has for it.
pub(super) fn number_in(entry: &DirectoryEntry) -> Option<u64> {
    let wide = entry.file_id_128.0;
    let (low, high) = wire_halves(&wide);
    let known = |number: &u64| !matches!(*number, 0 | u64::MAX);
    let short = Some(entry.file_id).filter(known);
    short.or_else(|| Some(low).filter(|low| high == 0 && known(low)))
}

fn wire_halves(wide: &[u8; 16]) -> (u64, u64) {
    let wide = u128::from_le_bytes(*wide);
    let half = |at: u32| u64::try_from((wide >> at) & u128::from(u64::MAX)).unwrap_or_default();
    (half(0), half(64))
}

/// The number in a FileIdInformation, behind that of the volume. [MS-FSCC] 2.4.26
pub(super) fn number_of_id(output: &[u8]) -> Option<u64> {
    let wide: &[u8; 16] = output.get(8..24)?.try_into().ok()?;
    let (low, high) = wire_halves(wide);
    (high == 0).then_some(low)
}

impl Namespace {
    /// An answer told the number of a file.
    pub(super) fn numbered(&mut self, file: usize, number: u64) {
        if let Some(share) = self.names.share_of(file)
            && !self.names.spent.is_full()
        {
            self.numbers.0.insert((share, number), file);
        }
    }

    /// A CREATE named a file by its number. One of which nobody told the path was there from the beginning, at a
    /// path that is made up.
    pub(super) fn create_by_id(
        &mut self,
        op: &Operation,
        share: usize,
        create: &CreateRequest,
        proof: &Proof,
        home: Home,
        expect: &Expect,
    ) {
        let Some(open) = op.open.filter(|_| expect.file_id.is_some()) else {
            return; // nothing is known of where it is not
        };
        let Some(number) = number_of(create) else {
            return self.names.problem("open by an object id", op.id);
        };
        let file = match self.numbers.0.get(&(share, number)) {
            Some(file) => {
                let file = *file;
                self.names.told(file, proof);
                file
            }
            None => {
                let path = format!("unknown\\id-{number:x}");
                let Some(place) = self.names.place(share, &path, false, op.id) else {
                    return;
                };
                let file = self.names.found(&place, proof);
                self.numbered(file, number);
                file
            }
        };
        self.names.opened(file);
        let durable = false;
        self.opens.set(open, Some((Opened { file, durable }, home)));
    }

    /// The path of what a CREATE opened by its number.
    pub(crate) fn path_by_id(&self, op: &Operation) -> Option<String> {
        match &op.action {
            Action::Request(Request::Create(create)) if is_by_id(create) => {}
            _ => return None,
        }
        let path = self.names.path_of(self.file(op)?);
        Some(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::smb2::{Guid, Name};

    use super::*;

    #[test]
    fn numbers_of_64_bits_are_read_from_either_form() {
        for (bytes, number) in [
            (vec![0x34, 0x12, 0, 0, 0, 0, 5, 0], Some(0x5_0000_0000_1234)),
            ([[1; 8], [0; 8]].concat(), Some(0x0101_0101_0101_0101)),
            ([[1; 8], [2; 8]].concat(), None),
            (vec![1; 6], None),
        ] {
            let create = CreateRequest {
                name: Name::from_wire(&bytes),
                ..CreateRequest::default()
            };
            assert_eq!(number_of(&create), number, "{bytes:?}");
        }
        let wide = |low: u8, high: u8| DirectoryEntry {
            file_id_128: Guid(std::array::from_fn(|at| if at < 8 { low } else { high })),
            ..DirectoryEntry::default()
        };
        assert_eq!(number_in(&wide(1, 0)), Some(0x0101_0101_0101_0101));
        assert_eq!(number_in(&wide(1, 2)), None);
        assert_eq!(number_in(&wide(0, 0)), None);
        let short = DirectoryEntry {
            file_id: 7,
            ..wide(1, 2)
        };
        assert_eq!(number_in(&short), Some(7));
    }
}
