//! Whether the workload gives a request's bytes back.

use smbench_core::{
    smb2::{Header, HeaderFlags, Message, SessionId, TreeId},
    workload::{Operation, WireIds, rebuild},
};

use super::{Dissector, pdu::Piece};

impl Dissector {
    /// Builds the request of `op` again and compares it with what was captured. Ids come from the
    /// workload's tables, so a request that was put to the wrong session, tree or open is not
    /// exact either. Only where it differs is asked what about its layout is unusual.
    pub(super) fn check(
        &mut self,
        header: &Header,
        piece: &Piece<'_>,
        bulk: Option<&[u8]>,
        op: &mut Operation,
    ) {
        if op.cut {
            return;
        }
        let related = header.flags.contains(HeaderFlags::RELATED);
        let inherits = SessionId(u64::MAX);
        let ids = WireIds {
            message_id: header.message_id,
            session: if related && header.session_id == inherits {
                inherits
            } else {
                self.session_id(op.session)
            },
            tree: if related && header.tree_id() == Some(TreeId(u32::MAX)) {
                TreeId(u32::MAX)
            } else {
                self.tree_id(op.tree)
            },
            async_id: header.async_id(),
            next_command: header.next_command,
            signed: header.flags.contains(HeaderFlags::SIGNED),
            signature: header.signature,
            file_id: self.file_id(op.open),
            reclaimed: self.file_id(op.reclaims),
            previous_session: self.session_id(op.previous_session),
        };
        let mut exact = self.gives_back(op, &ids, piece.bytes, bulk);
        if !exact && let Ok(decoded) = Message::decode(piece.bytes) {
            op.quirks = decoded.message.quirks;
            exact = !op.quirks.is_empty() && self.gives_back(op, &ids, piece.bytes, bulk);
        }
        let coverage = &mut self.workload.coverage;
        coverage.reencoded_total += 1;
        coverage.reencoded_exact += u64::from(exact);
    }

    /// Whether the request of `op` is `wire`, of which `bulk` is a part.
    fn gives_back(
        &mut self,
        op: &mut Operation,
        ids: &WireIds,
        wire: &[u8],
        bulk: Option<&[u8]>,
    ) -> bool {
        self.scratch.clear();
        let bulk_at = rebuild(op, ids, &mut self.scratch);
        match (bulk, bulk_at) {
            (None, None) => self.scratch == wire,
            (Some(bulk), Some(at)) => {
                let behind = at.saturating_add(bulk.len());
                let halves = self.scratch.split_at_checked(at);
                halves == wire.get(..at).zip(wire.get(behind..))
            }
            _ => false,
        }
    }
}
