//! Reading a shard's blocks back out of its tree.

use smbench_core::{event::EffectsDigest, ids::LogicalTime};

use super::{
    BlockHead, Damage, HEAD_BYTES, Items, JournalError, KIND_BLOCK, KIND_END, LoadedBlock,
    NumberedBlock, ShardEnd, Store, TornTail, Tree, Unpacker, VALUE_BYTES, guarded, piece_key,
    unseal,
};

/// The blocks of one shard in order, up to its torn tail.
pub(crate) struct Blocks {
    tree: Tree,
    shard: u32,
    items: Items,
    cut_at: Option<u64>,
    unpacker: Unpacker,
}

/// What the value of a block's first key says.
enum Value<'a> {
    Block {
        head: BlockHead,
        pieces: u32,
        payload: &'a [u8],
    },
    End {
        after: EffectsDigest,
    },
}

impl Store {
    /// The shard's blocks, from the one that holds event `from`.
    pub(crate) fn blocks(
        &self,
        shard: u32,
        from: u64,
        end: &ShardEnd,
    ) -> Result<Blocks, JournalError> {
        let tree = self.tree(shard)?.clone();
        let first = guarded("finding a block", || {
            tree.get_lt(from.saturating_add(1).to_be_bytes())
        })?
        .and_then(|(key, _)| first_seq(&key));
        // A tree lookup that wraps past the last number must not skip it.
        let start = first.unwrap_or(0).to_be_bytes();
        Ok(Blocks {
            items: tree.range(start..),
            tree,
            shard,
            cut_at: end.cut_at,
            unpacker: Unpacker::new()?,
        })
    }

    /// Looks at the last block: is the record ended, is the tail torn?
    pub(crate) fn shard_end(
        &self,
        shard: u32,
    ) -> Result<(ShardEnd, Option<TornTail>), JournalError> {
        let tree = self.tree(shard)?;
        let Some((key, _)) = guarded("finding the last block", || tree.last())? else {
            return Ok((ShardEnd::default(), None));
        };
        let seq = first_seq(&key).ok_or_else(|| {
            JournalError::damaged(
                shard,
                0,
                Damage::Field {
                    field: "key length",
                    got: key.len() as u64,
                },
            )
        })?;
        let torn = |bytes: u64, damage: Damage| {
            let end = ShardEnd {
                finish: None,
                cut_at: Some(seq),
            };
            let tail = TornTail {
                shard: Some(shard),
                from: seq,
                bytes,
                reason: damage.to_string(),
            };
            Ok((end, Some(tail)))
        };
        let key = seq.to_be_bytes();
        let Some(value) = guarded("reading the last block", || tree.get(key))? else {
            return torn(0, Damage::Missing);
        };
        match parse(shard, seq, &value) {
            Ok(Value::End { after }) => Ok((
                ShardEnd {
                    finish: Some((seq, after)),
                    cut_at: None,
                },
                None,
            )),
            Ok(Value::Block { pieces, .. }) => {
                let mut have = value.len() as u64;
                let mut present = 0u32;
                for index in 1..=pieces {
                    match guarded("reading a piece", || tree.get(piece_key(&key, index)))? {
                        Some(piece) => {
                            present += 1;
                            have = have.saturating_add(piece.len() as u64);
                        }
                        None => break,
                    }
                }
                if present < pieces {
                    return torn(
                        have,
                        Damage::Short {
                            need: u64::from(pieces),
                            have: u64::from(present),
                        },
                    );
                }
                Ok((ShardEnd::default(), None))
            }
            Err(damage) => torn(value.len() as u64, damage),
        }
    }
}

impl Blocks {
    /// The next block, unpacked into `spare`.
    pub(crate) fn next_block(&mut self, spare: Vec<u8>) -> Option<NumberedBlock> {
        loop {
            let item = match guarded("reading a block", || self.items.next().transpose()) {
                Ok(item) => item?,
                Err(error) => return Some((0, Err(error))),
            };
            let (key, value) = item;
            let Some(seq) = first_seq(&key) else {
                let damage = Damage::Field {
                    field: "key length",
                    got: key.len() as u64,
                };
                return Some((0, Err(JournalError::damaged(self.shard, 0, damage))));
            };
            if self.cut_at.is_some_and(|cut| seq >= cut) {
                return None;
            }
            if key.len() != SEQ_BYTES {
                continue;
            }
            match parse(self.shard, seq, &value) {
                Ok(Value::End { .. }) => {}
                Ok(Value::Block {
                    head,
                    pieces,
                    payload,
                }) => {
                    return Some((seq, self.load(head, pieces, payload, spare)));
                }
                Err(damage) => {
                    return Some((seq, Err(JournalError::damaged(self.shard, seq, damage))));
                }
            }
        }
    }

    fn load(
        &mut self,
        head: BlockHead,
        pieces: u32,
        payload: &[u8],
        mut raw: Vec<u8>,
    ) -> Result<LoadedBlock, JournalError> {
        let damaged = |damage| JournalError::damaged(head.shard, head.first_seq, damage);
        let unpacked = if pieces == 0 {
            self.unpacker.unpack(payload, head.raw_len, &mut raw)
        } else {
            let mut packed = payload.to_vec();
            for index in 1..=pieces {
                let key = piece_key(&head.first_seq.to_be_bytes(), index);
                let piece = guarded("reading a piece", || self.tree.get(&key))?
                    .ok_or_else(|| damaged(Damage::Missing))?;
                let piece = unseal(self.shard, &key, &piece).map_err(damaged)?;
                packed.extend_from_slice(piece);
            }
            self.unpacker.unpack(&packed, head.raw_len, &mut raw)
        };
        unpacked.map_err(damaged)?;
        Ok(LoadedBlock::new(head, raw))
    }
}

/// The event number that a key begins with, when the key is a block's or a piece's.
fn first_seq(key: &[u8]) -> Option<u64> {
    let (seq, rest) = key.split_first_chunk::<SEQ_BYTES>()?;
    matches!(rest.len(), 0 | 4).then(|| u64::from_be_bytes(*seq))
}

fn parse(shard: u32, seq: u64, value: &[u8]) -> Result<Value<'_>, Damage> {
    let content = unseal(shard, &seq.to_be_bytes(), value)?;
    let short = || Damage::Short {
        need: HEAD_BYTES as u64,
        have: value.len() as u64,
    };
    let (kind, rest) = take_u32(content).ok_or_else(short)?;
    let (pieces, rest) = take_u32(rest).ok_or_else(short)?;
    let (count, rest) = take_u32(rest).ok_or_else(short)?;
    let (raw_len, rest) = take_u32(rest).ok_or_else(short)?;
    let (base, payload) = rest.split_first_chunk().ok_or_else(short)?;
    match kind {
        KIND_BLOCK => {
            let head = BlockHead {
                shard,
                first_seq: seq,
                base: LogicalTime(u64::from_le_bytes(*base)),
                count,
                raw_len,
            };
            head.check()?;
            if u64::from(pieces) * VALUE_BYTES as u64 > u64::from(u32::MAX) {
                return Err(Damage::Field {
                    field: "piece count",
                    got: u64::from(pieces),
                });
            }
            Ok(Value::Block {
                head,
                pieces,
                payload,
            })
        }
        KIND_END => {
            let (after, _) = payload.split_first_chunk().ok_or_else(short)?;
            Ok(Value::End {
                after: EffectsDigest(u64::from_le_bytes(*after)),
            })
        }
        other => Err(Damage::Field {
            field: "record kind",
            got: u64::from(other),
        }),
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

const SEQ_BYTES: usize = 8;
