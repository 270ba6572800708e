//! What a journal says about its run, apart from the events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smbench_core::frame::Digest;

use crate::error::{Damage, JournalError};

/// The version of the journal format that this build writes.
pub const FORMAT: u32 = 1;

/// What a journal says about its run. Kept as JSON; fields unknown to a reader survive
/// [`crate::export`] and [`crate::import`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct RunMeta {
    /// Version of the journal format; set to [`FORMAT`] by the writers.
    pub format: u32,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// The commit it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// BLAKE3 digest of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Digest>,
    /// The run's configuration as the engine was given it.
    #[serde(default)]
    pub config: serde_json::Value,
    /// The run's seed.
    pub seed: u64,
    /// How many shards the run has.
    pub shards: u32,
    /// Wall-clock time of logical time 0, in nanoseconds since 1970-01-01 UTC; absent in
    /// simulations, so that their journals are equal byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ns: Option<u64>,
    /// What is known of the server, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl RunMeta {
    /// The JSON that is stored.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, JournalError> {
        let meta = Self {
            format: FORMAT,
            ..self.clone()
        };
        serde_json::to_vec(&meta).map_err(JournalError::Meta)
    }

    /// Reads stored JSON; refuses formats of the future before looking at anything else.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(json).map_err(JournalError::Meta)?;
        if version.format > FORMAT {
            return Err(JournalError::UnknownFormat {
                got: version.format,
                known: FORMAT,
            });
        }
        serde_json::from_slice(json).map_err(JournalError::Meta)
    }
}

/// What is stored before an attachment's pieces.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct AttachmentHead {
    pub(crate) name: String,
    /// Bytes of the attachment.
    pub(crate) bytes: u64,
    /// Bytes of its zstd stream, which the pieces hold.
    pub(crate) stored: u64,
    /// BLAKE3 digest of the attachment.
    pub(crate) digest: Digest,
}

impl AttachmentHead {
    /// Compresses `data`; gives the head and the zstd stream.
    pub(crate) fn pack(name: &str, data: &[u8]) -> Result<(Self, Vec<u8>), JournalError> {
        check_name(name)?;
        let packed =
            zstd::bulk::compress(data, ATTACHMENT_LEVEL).map_err(|source| JournalError::Io {
                action: "compressing attachment",
                path: name.into(),
                source,
            })?;
        let head = Self {
            name: name.to_owned(),
            bytes: data.len() as u64,
            stored: packed.len() as u64,
            digest: Digest::of(data),
        };
        Ok((head, packed))
    }

    /// Undoes [`Self::pack`], and checks length and digest.
    pub(crate) fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, JournalError> {
        let bad = |damage| JournalError::part(format!("attachment {}", self.name), damage);
        if packed.len() as u64 != self.stored {
            return Err(bad(Damage::Short {
                need: self.stored,
                have: packed.len() as u64,
            }));
        }
        // Read at most one byte more than announced, growing as bytes come: a false length in
        // damaged input costs nothing.
        let mut data = Vec::new();
        let decoder =
            zstd::stream::read::Decoder::new(packed).map_err(|_| bad(Damage::Compression))?;
        std::io::Read::read_to_end(
            &mut std::io::Read::take(decoder, self.bytes.saturating_add(1)),
            &mut data,
        )
        .map_err(|_| bad(Damage::Compression))?;
        if data.len() as u64 != self.bytes || Digest::of(&data) != self.digest {
            return Err(bad(Damage::Digest));
        }
        Ok(data)
    }
}

fn check_name(name: &str) -> Result<(), JournalError> {
    let bad = |reason| {
        Err(JournalError::BadName {
            name: name.to_owned(),
            reason,
        })
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return bad("must be 1 to 255 bytes long");
    }
    if name.chars().any(char::is_control) {
        return bad("must not hold control characters");
    }
    Ok(())
}

const ATTACHMENT_LEVEL: i32 = 6;
const MAX_NAME_BYTES: usize = 255;
