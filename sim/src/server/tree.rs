//! TREE_CONNECT and TREE_DISCONNECT. [MS-SMB2] 3.3.5.7, 3.3.5.8.

use smbench_core::smb2::{
    AccessMask, NtStatus, ShareCapabilities, ShareFlags, ShareType, TreeConnectRequest,
    TreeConnectResponse, TreeDisconnectResponse, TreeId,
};

use super::answer::{Answer, Cx, Handled};
use super::limits::Limit;
use super::{Server, ShareKind};

/// A tree connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) share: usize,
}

impl Server {
    pub(super) fn tree_connect(&mut self, cx: &Cx, body: &TreeConnectRequest) -> Handled {
        let path = body.path.to_lossy();
        // [MS-SMB2] 2.2.9: \\server\share.
        let share = path
            .strip_prefix("\\\\")
            .and_then(|path| path.split_once('\\'));
        let (_, share) = share.ok_or(NtStatus::BAD_NETWORK_NAME)?;
        let named = |known: &super::Share| known.name.eq_ignore_ascii_case(share);
        let index = self.shares.iter().position(named);
        let index = index.ok_or(NtStatus::BAD_NETWORK_NAME)?;
        let most = self.config.limits.trees_per_session;
        let session = self.sessions.get(&cx.session);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        if session.trees.len() >= most {
            return Err(self.limited(Limit::Trees).into());
        }
        let share = self.shares.get(index).ok_or(NtStatus::BAD_NETWORK_NAME)?;
        let session = self.sessions.get_mut(&cx.session);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        // [MS-SMB2] 3.3.5.7: a share that encrypts needs a connection that can.
        let conn = self.conns.get(&cx.conn);
        let can = conn.is_some_and(|conn| conn.seal.cipher().is_some());
        let keyless = session.guest || session.anonymous;
        if share.encrypt && !self.config.trusting && (!can || keyless) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let mut share_flags = ShareFlags::empty();
        share_flags.set(ShareFlags::ENCRYPT_DATA, share.encrypt);
        share_flags.set(ShareFlags::DFS, share.is_dfs);
        let mut capabilities = ShareCapabilities::empty();
        capabilities.set(ShareCapabilities::DFS, share.is_dfs);
        let mut maximal_access = FULL_ACCESS;
        if share.read_only {
            maximal_access = READ_ONLY_ACCESS;
        }
        let share_type = match share.kind {
            ShareKind::Disk => ShareType::DISK,
            ShareKind::Pipe => ShareType::PIPE,
        };
        let mut id = self.rng.id();
        while session.trees.contains_key(&id) {
            id = self.rng.id();
        }
        session.trees.insert(id, Tree { share: index });
        let mut answer = Answer::ok(TreeConnectResponse {
            share_type,
            share_flags,
            capabilities,
            maximal_access,
        });
        answer.tree = Some(TreeId(id));
        Ok(answer)
    }

    pub(super) fn tree_disconnect(&mut self, cx: &Cx) -> Handled {
        for open in self.opens_in(cx.session, Some(cx.tree)) {
            self.close_open(open);
        }
        self.services.end(cx.session, Some(cx.tree));
        self.cancel_session(cx.session, Some(cx.tree));
        if let Some(session) = self.sessions.get_mut(&cx.session) {
            session.trees.remove(&cx.tree);
        }
        Ok(Answer::ok(TreeDisconnectResponse {}))
    }
}

/// Everything but the generic bits.
pub(super) const FULL_ACCESS: AccessMask = AccessMask::from_bits_retain(0x001f_01ff);
/// Everything that changes nothing.
pub(super) const READ_ONLY_ACCESS: AccessMask = AccessMask::from_bits_retain(0x0012_00a9);
