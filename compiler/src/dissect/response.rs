//! Responses: paired with their requests.

use smbench_core::{
    ids::OpId,
    smb2::{Command, Header, NtStatus},
    workload::{Expect, Operation},
};

use super::{
    Dissector, Stamp,
    pdu::{Piece, pieces},
    state::{Early, Pending},
};
use crate::{namespace::Namespace, wire_span::WireSpan};

impl Dissector {
    /// The responses of a frame.
    pub(super) fn responses(&mut self, conn: usize, stamp: Stamp, bytes: &[u8], len: usize) {
        for piece in pieces(bytes, len) {
            let header = match piece.header {
                Ok(header) if !header.is_response() => {
                    self.skip("request of a server");
                    continue;
                }
                Ok(header) => header,
                Err(why) => {
                    self.skip(why);
                    continue;
                }
            };
            if piece.bad_next {
                self.problem("bad NextCommand");
            }
            self.workload.coverage.responses += 1;
            if let Some(it) = self.conns.get_mut(conn) {
                it.responses += 1;
            }
            let seq = self.tick();
            if header.command == Command::OPLOCK_BREAK && header.message_id.0 == u64::MAX {
                self.notice(conn, stamp, seq, &header, &piece);
            } else {
                self.response(conn, stamp, seq, &header, &piece);
            }
        }
    }

    fn response(
        &mut self,
        conn: usize,
        stamp: Stamp,
        seq: u64,
        header: &Header,
        piece: &Piece<'_>,
    ) {
        let Some(mid) = self.request_of(conn, header) else {
            return self.early(conn, stamp, header, piece);
        };
        let Some(it) = self.conns.get_mut(conn) else {
            return;
        };
        // [MS-SMB2] 3.3.4.2: an interim response; the final one has the same MessageId.
        if header.nt_status() == NtStatus::PENDING {
            if let Some(pending) = it.pending.get_mut(&mid) {
                pending.credits = pending.credits.saturating_add(header.credits.into());
                pending.interim_ns.get_or_insert(stamp.time_ns);
                if let Some(id) = header.async_id() {
                    it.asynchronous.insert(id, pending.op);
                }
                if let Some(it) = self.live.flight_mut(pending.op) {
                    it.span.interim.get_or_insert(seq);
                }
            }
            return;
        }
        if let Some(pending) = it.pending.remove(&mid) {
            self.answered(conn, stamp, seq, header, piece, &pending);
        }
    }

    /// A response without a request: that may still come, or not be in the capture.
    fn early(&mut self, conn: usize, stamp: Stamp, header: &Header, piece: &Piece<'_>) {
        let it = self.conns.get_mut(conn);
        let held = self.early_bytes.saturating_add(piece.bytes.len());
        let room = it.filter(|it| it.early.len() < EARLY_MAX && held <= EARLY_BYTES);
        let Some(it) = room else {
            return self.skip("orphan_response");
        };
        self.early_bytes = held;
        let waiting = it.early.entry(header.message_id.0).or_default();
        waiting.push(Early {
            stamp,
            bytes: piece.bytes.to_vec(),
            wire_len: piece.wire_len,
        });
    }

    /// Gives a request the responses that came before it.
    pub(super) fn late_request(&mut self, conn: usize, mid: u64) {
        let it = self.conns.get_mut(conn);
        let Some(early) = it.and_then(|it| it.early.remove(&mid)) else {
            return;
        };
        self.problem("response before its request");
        for it in early {
            self.early_bytes = self.early_bytes.saturating_sub(it.bytes.len());
            let piece = Piece::new(&it.bytes, it.wire_len);
            let Ok(header) = piece.header else {
                continue;
            };
            let seq = self.tick();
            match self.request_of(conn, &header) {
                Some(_) => self.response(conn, it.stamp, seq, &header, &piece),
                None => self.skip("orphan_response"),
            }
        }
    }

    /// Counts the responses whose requests never came.
    pub(super) fn forget_early(&mut self, conn: usize) {
        let it = self.conns.get_mut(conn);
        let early = it
            .map(|it| std::mem::take(&mut it.early))
            .unwrap_or_default();
        for it in early.values().flatten() {
            self.early_bytes = self.early_bytes.saturating_sub(it.bytes.len());
            self.skip("orphan_response");
        }
    }

    /// MessageId of the request that a response answers.
    fn request_of(&self, conn: usize, header: &Header) -> Option<u64> {
        let it = self.conns.get(conn)?;
        let fits = |mid: &u64| {
            let pending = it.pending.get(mid);
            pending.is_some_and(|pending| pending.command == header.command)
        };
        let by_async = || {
            let op = it.asynchronous.get(&header.async_id()?)?;
            Some(self.live.get(*op)?.mid)
        };
        let own = Some(header.message_id.0).filter(fits);
        own.or_else(|| by_async().filter(fits))
    }

    fn answered(
        &mut self,
        conn: usize,
        stamp: Stamp,
        seq: u64,
        header: &Header,
        piece: &Piece<'_>,
        pending: &Pending,
    ) {
        let since = |time: u64| time.saturating_sub(pending.time_ns) / 1_000;
        let mut expect = Expect {
            frame: stamp.frame,
            status: header.nt_status(),
            latency_us: since(stamp.time_ns),
            interim_us: pending.interim_ns.map(since),
            credits: pending.credits.saturating_add(header.credits.into()),
            ..Expect::default()
        };
        if let Some(it) = self.live.flight_mut(pending.op) {
            it.span.response = Some(seq);
        }
        self.body(conn, header, piece, pending, &mut expect);
        if header.command == Command::CLOSE && expect.status == NtStatus::SUCCESS {
            self.closes(conn, pending.op);
        }
        self.namespace_hears(pending.op, &expect);
        self.name_what_was_found(pending.op);
        if let Some(op) = self.live.get_mut(pending.op) {
            op.expect = Some(expect);
        }
        self.settled(pending.op);
    }

    /// Tells the namespace what an answered operation showed.
    fn namespace_hears(&mut self, op: OpId, expect: &Expect) {
        if let Some(it) = self.live.flight(op) {
            self.namespace
                .answered(&self.workload, &it.op, it.span, expect);
        }
    }

    /// What was opened by its number has the path that the namespace knows.
    fn name_what_was_found(&mut self, op: OpId) {
        let it = self.live.flight(op).map(|it| &it.op);
        let Some(path) = it.and_then(|it| self.namespace.path_by_id(it)) else {
            return;
        };
        let number = self.state.names.number(&path);
        let Some(op) = self.live.get_mut(op) else {
            return;
        };
        op.path = Some(path);
        let state = op
            .open
            .and_then(|open| self.state.opens.get_mut(open.index()));
        if let Some(state) = state {
            state.name = Some(number);
        }
    }

    /// Tells the namespace more of what an answer said.
    pub(super) fn namespace_told(
        &mut self,
        op: OpId,
        tell: impl FnOnce(&mut Namespace, &Operation, WireSpan),
    ) {
        if let Some(it) = self.live.flight(op) {
            tell(&mut self.namespace, &it.op, it.span);
        }
    }

    /// Tells the namespace what is in a directory.
    pub(super) fn namespace_lists(&mut self, op: OpId, entries: &[u8], status: NtStatus) {
        if let (Some(it), NtStatus::SUCCESS) = (self.live.flight(op), status) {
            self.namespace
                .listed(&self.workload, &it.op, it.span, entries);
        }
    }
}

/// Requests of one connection that early responses are kept for, and bytes of those of all.
const EARLY_MAX: usize = 256;
const EARLY_BYTES: usize = 16 << 20;
