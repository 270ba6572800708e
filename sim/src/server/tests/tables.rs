//! What the server keeps beside its tables, so as not to look through them, is what they say.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::smb2::OplockLevel;

use super::client::{Net, create, with_oplock};
use crate::server::caching::Holder;
use crate::server::leases::NONE;
use crate::server::open::FileState;
use crate::server::waiting::Timers;
use crate::server::{Server, StreamId};

impl Server {
    /// Works everything out again, and compares.
    pub(super) fn check_tables(&self) {
        let mut files: BTreeMap<StreamId, FileState> = BTreeMap::new();
        let mut in_session = BTreeSet::new();
        let (mut disconnected, mut watches) = (0, 0);
        let mut conns: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for (id, open) in &self.opens {
            let file = files.entry(open.stream).or_default();
            file.opens.insert(open.number, *id);
            *file.modes.entry(open.mode()).or_default() += 1;
            file.unleased += usize::from(open.lease.is_none());
            file.disconnected += usize::from(open.conn.is_none());
            match open.conn {
                Some(conn) => {
                    in_session.insert((open.session, *id));
                    conns.entry(conn).or_default().0 += 1;
                }
                None => disconnected += 1,
            }
            if open.watch.is_some() {
                watches += 1;
                conns.entry(open.conn.unwrap()).or_default().1 += 1;
            }
        }
        assert_eq!(self.in_session, in_session);
        assert_eq!(self.disconnected, disconnected);
        assert_eq!(self.watches.count(), watches);
        for (key, conn) in &self.conns {
            let (opens, watches) = conns.get(key).copied().unwrap_or_default();
            assert_eq!((conn.opens, conn.watches), (opens, watches), "{key:?}");
            assert_eq!(conn.pending, self.waiting.of_conn(*key).len(), "{key:?}");
            let own = self
                .sessions
                .iter()
                .filter(|(_, it)| it.channels.contains_key(key));
            assert!(conn.sessions.iter().eq(own.map(|(id, _)| id)), "{key:?}");
        }
        for (stream, file) in &self.files {
            let told = files.remove(stream).unwrap_or_default();
            assert_eq!(file.opens, told.opens, "{stream}");
            assert_eq!(file.modes, told.modes, "{stream}");
            assert_eq!(file.unleased, told.unleased, "{stream}");
            assert_eq!(file.disconnected, told.disconnected, "{stream}");
        }
        assert!(files.is_empty(), "{files:?}");
        self.check_caching();
        assert_eq!(self.unsound(), None);
        assert_eq!(self.fs.held(), self.fs.held_again());
    }

    /// Whoever caches is found, and no break is forgotten.
    fn check_caching(&self) {
        let mut breaking: BTreeMap<StreamId, usize> = BTreeMap::new();
        let mut holders = Vec::new();
        for (id, lease) in &self.leases {
            *breaking.entry(lease.stream).or_default() += usize::from(lease.breaking);
            holders.push((lease.stream, lease.number, Holder::Lease(*id)));
        }
        for (id, open) in &self.opens {
            if open.lease.is_none() {
                holders.push((open.stream, open.number, Holder::Oplock(*id)));
            }
        }
        for (stream, number, holder) in holders {
            let state = self.held_by(holder);
            let caching = &self.files[&stream].caching;
            assert!(caching.most.contains(state), "{holder:?}");
            let known = caching.holders.get(&number) == Some(&holder);
            assert!(known || state == NONE, "{holder:?}");
        }
        for (stream, file) in &self.files {
            let told = breaking.get(stream).copied().unwrap_or_default();
            assert_eq!(file.caching.breaking, told, "{stream}");
        }
    }
}

/// What does not hold is told.
#[test]
fn what_is_unsound_is_told() {
    let broken = |spoil: fn(&mut Server)| {
        let mut net = Net::new();
        let mut holder = net.client("holder");
        let mut other = net.client("other");
        net.call(&mut holder, with_oplock("f", OplockLevel::BATCH))
            .ok();
        net.send(&mut other, create("f"));
        net.pump();
        assert_eq!(net.server.unsound(), None);
        spoil(&mut net.server);
        net.server.unsound().unwrap()
    };
    let sessions = broken(|server| server.sessions.clear());
    assert!(sessions.contains("outlived its session"), "{sessions}");
    let conns = broken(|server| server.conns.clear());
    assert!(conns.contains("outlived its connection"), "{conns}");
    let timers = broken(|server| server.timers = Timers::default());
    assert!(timers.contains("has no timer"), "{timers}");
}
