//! LOCK: byte ranges. [MS-SMB2] 3.3.5.14, [MS-FSA] 2.1.5.8, 2.1.5.9, 2.1.4.10.

use smbench_core::smb2::{LockElement, LockFlags, LockRequest, LockResponse, NtStatus};

use super::answer::{Answer, Cx, Handled, Stop};
use super::fs::StreamId;
use super::limits::Limit;
use super::open::OpenId;
use super::waiting::Wait;
use super::{Plant, Server};

/// A granted lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ByteLock {
    pub(super) open: OpenId,
    start: u64,
    length: u64,
    exclusive: bool,
}

impl ByteLock {
    /// Whether the two ranges share a byte; as Samba for empty ones.
    fn overlaps(&self, start: u64, length: u64) -> bool {
        if self.length != 0 && self.start == start && self.length == length {
            return true;
        }
        let end = |start: u64, length: u64| u128::from(start) + u128::from(length);
        u128::from(self.start) < end(start, length)
            && u128::from(start) < end(self.start, self.length)
    }
}

/// INVALID_LOCK_RANGE.
const INVALID_LOCK_RANGE: NtStatus = NtStatus(0xc000_01a1);

impl Server {
    pub(super) fn lock(&mut self, cx: &Cx, body: &LockRequest) -> Handled {
        let id = self.find_open(cx, body.file_id)?;
        let open = self.open(id)?;
        let (stream, is_dir) = (open.stream, open.is_dir);
        if is_dir {
            return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
        }
        let first = *body.locks.first().ok_or(NtStatus::INVALID_PARAMETER)?;
        let limits = self.config.limits;
        let held = self.files.get(&stream).map_or(0, |file| file.locks.len());
        let more = held.saturating_add(body.locks.len());
        let locks = !first.flags.contains(LockFlags::UNLOCK);
        if body.locks.len() > limits.locks_per_request || (locks && more > limits.locks_per_file) {
            return Err(self.limited(Limit::Locks).into());
        }
        // [MS-SMB2] 3.3.5.14: LockSequence says whether this was answered before.
        let sequence = sequence_of(body.lock_sequence);
        if let Some((index, number)) = sequence.filter(|_| cx.waited.is_none()) {
            if self.open(id)?.lock_sequences.contains(&(index, number)) {
                return Ok(Answer::ok(LockResponse {}));
            }
            self.open_mut(id)?
                .lock_sequences
                .retain(|(other, _)| *other != index);
        }
        if !locks {
            self.unlock(id, stream, &body.locks)?;
        } else {
            self.lock_all(id, stream, &body.locks)?;
        }
        if let Some(sequence) = sequence {
            self.open_mut(id)?.lock_sequences.push(sequence);
        }
        Ok(Answer::ok(LockResponse {}))
    }

    fn unlock(
        &mut self,
        id: OpenId,
        stream: StreamId,
        locks: &[LockElement],
    ) -> Result<(), NtStatus> {
        let mut result = Ok(());
        for lock in locks {
            // [MS-SMB2] 3.3.5.14.1: unlocks go with unlocks alone, and those before stay done.
            if lock.flags != LockFlags::UNLOCK {
                result = Err(NtStatus::INVALID_PARAMETER);
                break;
            }
            let file = self.files.get_mut(&stream).ok_or(NtStatus::FILE_CLOSED)?;
            let same = |held: &ByteLock| {
                held.open == id && held.start == lock.offset && held.length == lock.length
            };
            // Of two that are stacked the exclusive one goes first, as in Samba.
            let exclusive = file
                .locks
                .iter()
                .position(|held| same(held) && held.exclusive);
            let found = exclusive.or_else(|| file.locks.iter().position(same));
            match found {
                Some(at) => {
                    file.locks.remove(at);
                }
                None => {
                    result = Err(NtStatus::RANGE_NOT_LOCKED);
                    break;
                }
            }
        }
        self.touch(stream);
        result
    }

    fn lock_all(
        &mut self,
        id: OpenId,
        stream: StreamId,
        locks: &[LockElement],
    ) -> Result<(), Stop> {
        let wait_less = LockFlags::FAIL_IMMEDIATELY;
        for lock in locks {
            let kind = lock.flags & !wait_less;
            let known = kind == LockFlags::SHARED || kind == LockFlags::EXCLUSIVE;
            // [MS-SMB2] 3.3.5.14.2: only a single lock may wait.
            if !known || (locks.len() > 1 && !lock.flags.contains(wait_less)) {
                return Err(NtStatus::INVALID_PARAMETER.into());
            }
        }
        let before = self.files.get(&stream).map_or(0, |file| file.locks.len());
        for lock in locks {
            let end = u128::from(lock.offset) + u128::from(lock.length);
            let result = if end > 1 << 64 {
                Err(INVALID_LOCK_RANGE)
            } else {
                self.lock_one(id, stream, lock)
            };
            if let Err(status) = result {
                // [MS-SMB2] 3.3.5.14.2: all or nothing.
                if let Some(file) = self.files.get_mut(&stream) {
                    file.locks.truncate(before);
                }
                let waits = !lock.flags.contains(wait_less);
                if waits && status == NtStatus::LOCK_NOT_GRANTED {
                    return Err(Stop::Wait(Wait::Lock(stream, id)));
                }
                return Err(status.into());
            }
        }
        self.break_readers(id); // cached reads do not know of locks
        Ok(())
    }

    fn lock_one(
        &mut self,
        id: OpenId,
        stream: StreamId,
        lock: &LockElement,
    ) -> Result<(), NtStatus> {
        let exclusive = lock.flags.contains(LockFlags::EXCLUSIVE);
        let strict = self.has(Plant::SharedLockExclusive);
        let file = self.files.get_mut(&stream).ok_or(NtStatus::FILE_CLOSED)?;
        let conflict = file.locks.iter().any(|held| {
            // A shared lock may stand on an exclusive one of the same open. [MS-FSA] 2.1.5.8
            let stacked = held.open == id && held.exclusive && !exclusive;
            (held.exclusive || exclusive || strict)
                && !stacked
                && held.overlaps(lock.offset, lock.length)
        });
        if conflict {
            return Err(NtStatus::LOCK_NOT_GRANTED);
        }
        file.locks.push(ByteLock {
            open: id,
            start: lock.offset,
            length: lock.length,
            exclusive,
        });
        Ok(())
    }

    /// Whether locks forbid an access. [MS-FSA] 2.1.4.10.
    pub(super) fn is_locked(&self, id: OpenId, start: u64, length: u64, write: bool) -> bool {
        if self.has(Plant::IgnoreByteRangeLock) || length == 0 {
            return false;
        }
        let short = u64::from(self.has(Plant::LockOffByOne));
        let Some(file) = self
            .opens
            .get(&id)
            .and_then(|open| self.files.get(&open.stream))
        else {
            return false;
        };
        file.locks.iter().any(|held| {
            let mut range = *held;
            range.length = range.length.saturating_sub(short);
            let forbids = if held.open == id {
                write && !held.exclusive
            } else {
                write || held.exclusive
            };
            forbids && range.length > 0 && range.overlaps(start, length)
        })
    }
}

/// LockSequenceIndex and -Number, when they count. [MS-SMB2] 2.2.26.
fn sequence_of(raw: u32) -> Option<(u32, u32)> {
    let (index, number) = (raw >> 4, raw & 0xf);
    (1..=64).contains(&index).then_some((index, number))
}
