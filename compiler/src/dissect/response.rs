//! Responses: paired with their requests.

use smbench_core::{
    smb2::{Command, Header, NtStatus},
    workload::Expect,
};

use super::{
    Dissector, Stamp,
    pdu::{Piece, pieces},
    state::Pending,
};

impl Dissector {
    /// The responses of a frame.
    pub(super) fn responses(&mut self, conn: usize, stamp: Stamp, bytes: &[u8], len: usize) {
        for piece in pieces(bytes, len) {
            let header = match Header::decode(piece.bytes) {
                Ok(header) if !header.is_response() => {
                    self.skip("request of a server");
                    continue;
                }
                Ok(header) => header,
                Err(_) if piece.is_cut() => {
                    self.skip("header cut");
                    continue;
                }
                Err(_) => {
                    self.skip("bad header");
                    continue;
                }
            };
            if piece.bad_next {
                self.problem("bad NextCommand");
            }
            self.workload.coverage.responses += 1;
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
            return self.skip("orphan_response");
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
                if let Some(span) = self.spans.get_mut(pending.op.index()) {
                    span.interim.get_or_insert(seq);
                }
            }
            return;
        }
        if let Some(pending) = it.pending.remove(&mid) {
            self.answered(conn, stamp, seq, header, piece, &pending);
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
            Some(self.ops.get(op.index())?.mid)
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
        if let Some(span) = self.spans.get_mut(pending.op.index()) {
            span.response = Some(seq);
        }
        self.body(conn, header, piece, pending, &mut expect);
        self.namespace_hears(pending.op, &expect);
        if let Some(op) = self.ops.get_mut(pending.op.index()) {
            op.expect = Some(expect);
        }
    }

    /// Tells the namespace what an answered operation showed.
    fn namespace_hears(&mut self, op: smbench_core::ids::OpId, expect: &Expect) {
        let Some(op) = self.ops.get(op.index()) else {
            return;
        };
        let opens = &self.state.opens;
        let open = op.open.and_then(|open| opens.get(open.index()));
        let create = open.and_then(|open| self.ops.get(open.create?.index()));
        self.namespace.answered(&self.workload, op, create, expect);
    }
}
