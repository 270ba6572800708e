//! The model server as a frame service: what drivers and listeners speak to.

use std::collections::BTreeMap;

use smbench_core::ids::LogicalTime;
use smbench_live::{FrameService, ServiceOutput};

use crate::server::{ConnKey, Server, ServerOutput};

/// A [`Server`] behind the drivers' interface. It only translates connection numbers.
#[derive(Debug)]
pub struct ModelService {
    server: Server,
    keys: BTreeMap<u64, ConnKey>,
    numbers: BTreeMap<ConnKey, u64>,
}

impl ModelService {
    /// Serves with `server`, its namespace loaded.
    #[must_use]
    pub const fn new(server: Server) -> Self {
        Self {
            server,
            keys: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// The server, to look at.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The server, its connections forgotten here and not there.
    #[must_use]
    pub fn into_server(self) -> Server {
        self.server
    }

    fn forget(&mut self, number: u64) -> Option<ConnKey> {
        let key = self.keys.remove(&number)?;
        self.numbers.remove(&key);
        Some(key)
    }
}

impl From<Server> for ModelService {
    fn from(server: Server) -> Self {
        Self::new(server)
    }
}

impl FrameService for ModelService {
    fn opened(&mut self, now: LogicalTime, conn: u64) {
        let key = self.server.connect(now);
        self.keys.insert(conn, key);
        self.numbers.insert(key, conn);
    }

    fn closed(&mut self, now: LogicalTime, conn: u64) {
        if let Some(key) = self.forget(conn) {
            self.server.disconnect(now, key);
        }
    }

    fn frame(&mut self, now: LogicalTime, conn: u64, frame: Vec<u8>) {
        if let Some(key) = self.keys.get(&conn) {
            self.server.receive(now, *key, &frame);
        }
    }

    fn wake(&mut self, now: LogicalTime) {
        self.server.wake(now);
    }

    fn is_known(&self, conn: u64) -> bool {
        let key = self.keys.get(&conn);
        key.is_some_and(|key| self.server.has_logged_in(*key))
    }

    fn complaint(&mut self) -> Option<String> {
        self.server.complaint()
    }

    fn poll(&mut self, _: LogicalTime) -> ServiceOutput {
        loop {
            match self.server.poll() {
                None => return ServiceOutput::WakeAt(self.server.next_wake()),
                Some(ServerOutput::Send { conn, frame }) => {
                    // The server sends nothing on a connection it was told is gone.
                    if let Some(conn) = self.numbers.get(&conn).copied() {
                        return ServiceOutput::Send { conn, frame };
                    }
                }
                Some(ServerOutput::Close { conn }) => {
                    if let Some(conn) = self.numbers.get(&conn).copied() {
                        self.forget(conn);
                        return ServiceOutput::Close { conn };
                    }
                }
            }
        }
    }
}
