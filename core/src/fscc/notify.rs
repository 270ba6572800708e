//! What changed in a watched directory. [MS-FSCC] 2.7.1.

use super::wire::{Cursor, Field, entries, link, put_name32};
use crate::smb2::ser::numbers;
use crate::smb2::{Name, WireError};

numbers! {
    /// What happened to a name. [MS-FSCC] 2.7.1.
    NotifyAction(u32) {
        ADDED = 1 => "added",
        REMOVED = 2 => "removed",
        MODIFIED = 3 => "modified",
        RENAMED_OLD_NAME = 4 => "renamed_old_name",
        RENAMED_NEW_NAME = 5 => "renamed_new_name",
        ADDED_STREAM = 6 => "added_stream",
        REMOVED_STREAM = 7 => "removed_stream",
        MODIFIED_STREAM = 8 => "modified_stream",
        REMOVED_BY_DELETE = 9 => "removed_by_delete",
        ID_NOT_TUNNELLED = 10 => "id_not_tunnelled",
        TUNNELLED_ID_COLLISION = 11 => "tunnelled_id_collision",
    }
}

/// One FILE_NOTIFY_INFORMATION. [MS-FSCC] 2.7.1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NotifyRecord {
    /// What happened.
    pub action: NotifyAction,
    /// Path relative to the watched directory.
    pub name: Name,
}

impl NotifyRecord {
    /// Reads the list of records that is `bytes`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when a record leads out of `bytes` or nowhere.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        let read = |entry| {
            let mut cursor = Cursor::new(entry, "NotifyRecord");
            let _next: u32 = cursor.get()?;
            Ok(Self {
                action: NotifyAction(cursor.get()?),
                name: cursor.name32()?,
            })
        };
        entries(bytes, "NotifyRecord", 12)
            .map(|entry| entry.and_then(read))
            .collect()
    }

    /// Appends a list of records to `out`, each at a multiple of 4 from the first.
    pub fn encode_list(records: &[Self], out: &mut Vec<u8>) {
        let mut last = None;
        for record in records {
            last = Some(link(out, last, 4));
            record.action.0.write(out);
            put_name32(&record.name, out);
        }
    }
}
