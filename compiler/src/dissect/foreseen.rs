//! Puts before everything what was open before the capture began, as far as a first compilation found out.

use smbench_core::{
    smb2::{CreateOptions, LockRequest, Request},
    workload::Operation,
};

use super::{
    Dissector, Stamp,
    reconstruct::{FILE_ACCESS, Opening},
};
use crate::foresight::{Foreseen, Foresight};

impl Dissector {
    /// Knows the connections of what was open before the first of their packets comes.
    pub(crate) fn foresee(&mut self, foresight: Foresight) {
        self.foreseen_trees = foresight.trees;
        self.foreseen_offers = foresight.offers;
        for info in &foresight.conns {
            self.connection(info);
        }
        self.foreseen = Some(foresight.opens).filter(|opens| !opens.is_empty());
    }

    /// Before the first frame of all.
    pub(super) fn set_up_foreseen(&mut self, time_ns: u64) {
        for it in self.foreseen.take().into_iter().flatten() {
            let stamp = Stamp {
                time_ns,
                frame: it.frame,
            };
            self.set_up_open(&it, stamp);
        }
    }

    fn set_up_open(&mut self, it: &Foreseen, stamp: Stamp) {
        let conn = it.of.conn;
        if let Some(it) = self.conns.get_mut(conn) {
            it.midway = Some(true);
        }
        self.negotiate(conn, stamp, it.of.session);
        let session = self.log_in(conn, stamp, it.of.session);
        let tree = self.connect(conn, stamp, session, it.of.tree, false);
        let opening = Opening {
            name: it.path.clone(),
            access: it.access.unwrap_or(FILE_ACCESS),
            share: it.share,
            options: CreateOptions::from_bits_retain(0),
            is_pipe: false,
        };
        self.open(conn, stamp, (session, tree), it.of.file, opening);
        if it.path.is_some() {
            self.infer("files of opens that were not captured");
        }
        if it.locks.is_empty() {
            return;
        }
        self.infer("locks that were not captured");
        let state = self.state.session(session);
        let open = state.and_then(|state| state.opens.get(&it.of.file).copied());
        let request = LockRequest {
            locks: it.locks.clone(),
            ..LockRequest::default()
        };
        self.put(conn, stamp, Request::Lock(request), |op: &mut Operation| {
            op.session = Some(session);
            op.tree = Some(tree);
            op.open = open;
        });
    }
}
