//! What a journal says about its run, apart from the events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smbench_core::{engine::ENGINE_VERSION, frame::Digest};

use crate::error::{Damage, JournalError};

/// The version of the journal format that this build writes.
pub const FORMAT: u32 = 1;

/// What a journal says about its run. Kept as JSON; fields unknown to a reader survive
/// [`crate::export`] and [`crate::import`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RunMeta {
    /// Version of the journal format; set to [`FORMAT`] by the writers.
    pub format: u32,
    /// Version of the engine that made the run. Journals that name none are of the first.
    #[serde(default = "first_engine")]
    pub engine: u32,
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

fn first_engine() -> u32 {
    1
}

impl Default for RunMeta {
    /// Of this engine, and otherwise empty.
    fn default() -> Self {
        Self {
            format: FORMAT,
            engine: ENGINE_VERSION,
            tool_version: String::new(),
            commit: None,
            workload: None,
            config: serde_json::Value::Null,
            seed: 0,
            shards: 0,
            started_unix_ns: None,
            facts: BTreeMap::new(),
        }
    }
}

impl RunMeta {
    /// What stands for metadata that are lost.
    pub(crate) fn made_up(shards: u32) -> Self {
        Self {
            engine: 0,
            shards,
            ..Self::default()
        }
    }

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
        let meta: Self = serde_json::from_slice(json).map_err(JournalError::Meta)?;
        if meta.shards > MAX_SHARDS {
            let damage = Damage::Field {
                field: "number of shards",
                got: u64::from(meta.shards),
            };
            return Err(JournalError::part("run metadata", damage));
        }
        Ok(meta)
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
        if head.bytes > head.possible_bytes() {
            return Err(JournalError::BadName {
                name: name.to_owned(),
                reason: "expands further than a journal takes",
            });
        }
        Ok((head, packed))
    }

    /// How long the attachment can be.
    fn possible_bytes(&self) -> u64 {
        self.stored.saturating_mul(MAX_RATIO).max(ALWAYS_BYTES)
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
        if self.bytes > self.possible_bytes() {
            return Err(bad(Damage::Field {
                field: "uncompressed length",
                got: self.bytes,
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

/// More than any run has: keeps damaged metadata from costing memory.
const MAX_SHARDS: u32 = 4_096;
const ATTACHMENT_LEVEL: i32 = 6;
/// No attachment expands to more than this times its stream, unless to no more than
/// [`ALWAYS_BYTES`]: operations of a workload, the most repetitive there are, stay below 100.
const MAX_RATIO: u64 = 1_000;
const ALWAYS_BYTES: u64 = 64 << 20;
const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_run_has_are_damage() {
        let json = br#"{"format":1,"tool_version":"","seed":0,"shards":4294967295}"#;
        let error = RunMeta::from_json(json).unwrap_err();
        assert!(error.is_damage(), "{error}");
        assert!(error.words().contains("4294967295"), "{error}");
    }

    #[test]
    fn a_journal_without_an_engine_is_of_the_first() {
        let json = br#"{"format":1,"tool_version":"","seed":0,"shards":1}"#;
        assert_eq!(RunMeta::from_json(json).unwrap().engine, 1);
        let json = RunMeta::default().to_json().unwrap();
        assert_eq!(RunMeta::from_json(&json).unwrap().engine, ENGINE_VERSION);
    }

    #[test]
    fn an_attachment_is_not_expanded_beyond_reason() {
        // A gigabyte of zeros.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..1 << 10 {
            std::io::Write::write_all(&mut encoder, &[0; 1 << 20]).unwrap();
        }
        let packed = encoder.finish().unwrap();
        for bytes in [1 << 30, u64::MAX] {
            let head = AttachmentHead {
                name: "ops.jsonl".to_owned(),
                bytes,
                stored: packed.len() as u64,
                digest: Digest::of(b""),
            };
            let error = head.unpack(&packed).unwrap_err();
            let JournalError::DamagedPart { damage, .. } = &error else {
                panic!("{error}");
            };
            let field = "uncompressed length";
            assert_eq!(*damage, Damage::Field { field, got: bytes });
        }
        // What is shorter than it says is not expanded further than it says.
        let head = AttachmentHead {
            name: "ops.jsonl".to_owned(),
            bytes: 1 << 20,
            stored: packed.len() as u64,
            digest: Digest::of(b""),
        };
        let error = head.unpack(&packed).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }

    #[test]
    fn operations_that_repeat_themselves_can_be_attached() {
        let mut lines = String::new();
        for id in 0..200_000 {
            lines.push_str(&format!(
                "{{\"id\":{id},\"client\":0,\"cmd\":\"READ\",\"conn\":0,"
            ));
            lines.push_str(
                "\"request\":{\"length\":4096,\"offset\":0},\"expect\":{\"status\":0}}\n",
            );
        }
        let (head, packed) = AttachmentHead::pack("ops.jsonl", lines.as_bytes()).unwrap();
        let ratio = head.bytes / head.stored;
        assert!(ratio < MAX_RATIO / 4, "{ratio}");
        assert!(head.unpack(&packed).unwrap() == lines.as_bytes());
    }
}
