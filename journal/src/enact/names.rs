//! Ids of the journal made those that this server gave: sessions, trees, handles, resume keys, MessageIds.
//!
//! The engine is told this server's ids in the answers of the journal, so that it sends them by itself. What
//! the journal has changed in an answer stays changed: an id that it did not give before is left alone.

use std::collections::BTreeMap;

use smbench_core::{
    frame::Frame,
    smb2::{Command, Fsctl, HEADER_LEN, Header, NtStatus},
};

use super::{
    script::{Line, is_interim},
    wire::{Request, Wire},
};
use crate::fuzz::key_of;

/// What stands here for each id of the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    sessions: BTreeMap<u64, u64>,
    /// By session, both of the journal.
    trees: BTreeMap<(u64, u32), u32>,
    files: BTreeMap<[u8; 16], [u8; 16]>,
}

impl Names {
    /// The handle or key that a notification names, as this server has it.
    pub(super) fn notified(&self, pdu: &[u8]) -> Option<[u8; 16]> {
        let key = key_of(pdu)?;
        Some(self.files.get(&key).copied().unwrap_or(key))
    }

    /// A received frame of the journal as the engine is to be told it; `None` where it answers a request that
    /// did not go out.
    pub(super) fn here(&mut self, line: &Line, frame: &Frame, wire: &Wire) -> Option<Frame> {
        let mut told = frame.clone();
        let mut start = 0;
        let pdus = frame.pdus().map_while(Result::ok);
        for ((header, bytes, _), key) in pdus.zip(&line.answers) {
            let pdu = told.bytes.get_mut(start..start + bytes.len())?;
            start += bytes.len();
            match key {
                Some(key) => {
                    let request = wire.requests.get(key)?;
                    put(pdu, MESSAGE_ID_AT, &request.engine_mid.to_le_bytes());
                    if !is_interim(&header) {
                        self.given(&header, pdu, request);
                    }
                }
                None => self.asked_for_by_nobody(&header, bytes, pdu),
            }
            self.ids_of_header(&header, pdu);
        }
        Some(told)
    }

    /// An answer that belongs to nothing must not come to belong to something here.
    fn asked_for_by_nobody(&self, header: &Header, bytes: &[u8], pdu: &mut [u8]) {
        if header.message_id.0 != u64::MAX {
            let never = header.message_id.0 | NEVER_USED;
            put(pdu, MESSAGE_ID_AT, &never.to_le_bytes());
        } else if let Some(key) = self.notified(bytes) {
            put(pdu, KEY_AT, &key);
        }
    }

    /// Learns which ids an answer gives, and puts those in that this server gave. Where it refused, the engine
    /// is told so: there is nothing to go on with.
    fn given(&mut self, header: &Header, pdu: &mut [u8], request: &Request) {
        if header.command != request.command {
            return; // nothing is believed of such an answer
        }
        let goes_on =
            |status: NtStatus| status == NtStatus::MORE_PROCESSING_REQUIRED || !status.is_error();
        let seen = request.answer.as_ref().map(|it| it.status);
        let gives = matches!(
            header.command,
            Command::SESSION_SETUP | Command::TREE_CONNECT | Command::CREATE
        );
        if !gives && header.command != Command::IOCTL || !goes_on(header.nt_status()) {
            return;
        }
        let (Some(status), Some(answer)) = (seen, &request.answer) else {
            put(pdu, STATUS_AT, &NtStatus::IO_TIMEOUT.0.to_le_bytes());
            return;
        };
        if !goes_on(status) {
            if gives {
                put(pdu, STATUS_AT, &status.0.to_le_bytes());
            }
            return;
        }
        let head = &answer.head;
        match header.command {
            Command::SESSION_SETUP => {
                if let Some(here) = u64_at(head, SESSION_ID_AT) {
                    self.sessions.insert(header.session_id.0, here);
                }
            }
            Command::TREE_CONNECT => self.tree(header, pdu, request),
            Command::CREATE => {
                let there = pdu.get(FILE_ID_AT..FILE_ID_AT + 16);
                let here = head.get(FILE_ID_AT..FILE_ID_AT + 16);
                let there: Option<[u8; 16]> = there.and_then(|id| id.try_into().ok());
                let here: Option<[u8; 16]> = here.and_then(|id| id.try_into().ok());
                if let (Some(there), Some(here)) = (there, here) {
                    self.files.insert(there, here);
                    put(pdu, FILE_ID_AT, &here);
                }
            }
            _ => {
                let keys = [resume_key(pdu), resume_key(head)];
                if let [Some(at), Some(from)] = keys
                    && let Some(key) = head.get(from..from + RESUME_KEY_LEN)
                {
                    put(pdu, at, key);
                }
            }
        }
    }

    fn tree(&mut self, header: &Header, pdu: &mut [u8], request: &Request) {
        let answer = request.answer.as_ref();
        let kind = answer.and_then(|it| it.head.get(SHARE_TYPE_AT));
        // What was planned for a share of another kind must not be sent to this one.
        if kind != pdu.get(SHARE_TYPE_AT) {
            put(pdu, STATUS_AT, &NtStatus::BAD_DEVICE_TYPE.0.to_le_bytes());
            return;
        }
        let here = request.answer_header().and_then(|it| it.tree_id());
        match (header.tree_id(), here) {
            (Some(there), Some(here)) => {
                self.trees.insert((header.session_id.0, there.0), here.0);
            }
            // An asynchronous answer has no place for it.
            _ => put(pdu, STATUS_AT, &NtStatus::BAD_DEVICE_TYPE.0.to_le_bytes()),
        }
    }

    fn ids_of_header(&self, header: &Header, pdu: &mut [u8]) {
        let session = header.session_id.0;
        if let Some(here) = self.sessions.get(&session) {
            put(pdu, SESSION_ID_AT, &here.to_le_bytes());
        }
        let tree = header.tree_id().map(|tree| (session, tree.0));
        if let Some(here) = tree.and_then(|tree| self.trees.get(&tree)) {
            put(pdu, TREE_ID_AT, &here.to_le_bytes());
        }
    }
}

/// Where the key in a FSCTL_SRV_REQUEST_RESUME_KEY response stands. [MS-SMB2] 2.2.32.3.
fn resume_key(pdu: &[u8]) -> Option<usize> {
    let function = u32_at(pdu, HEADER_LEN + 4)?;
    let at = u32_at(pdu, HEADER_LEN + 32)? as usize;
    let end = at.checked_add(RESUME_KEY_LEN)?;
    (function == Fsctl::SRV_REQUEST_RESUME_KEY.0 && end <= pdu.len()).then_some(at)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// Overwrites bytes in place; what would lie outside is left alone.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at.saturating_add(value.len())) {
        to.copy_from_slice(value);
    }
}

// [MS-SMB2] 2.2.1.2
const STATUS_AT: usize = 8;
pub(super) const CREDITS_AT: usize = 14;
pub(super) const FLAGS_AT: usize = 16;
pub(super) const MESSAGE_ID_AT: usize = 24;
pub(super) const ASYNC_ID_AT: usize = 32;
const TREE_ID_AT: usize = 36;
pub(super) const SESSION_ID_AT: usize = 40;
/// The key or handle of a notification. [MS-SMB2] 2.2.23.
const KEY_AT: usize = HEADER_LEN + 8;
/// FileId in a CREATE response. [MS-SMB2] 2.2.14.
const FILE_ID_AT: usize = HEADER_LEN + 64;
/// ShareType in a TREE_CONNECT response. [MS-SMB2] 2.2.10.
const SHARE_TYPE_AT: usize = HEADER_LEN + 2;
const RESUME_KEY_LEN: usize = 24;
/// No connection of ours comes to such a MessageId.
const NEVER_USED: u64 = 1 << 62;
