//! Parts that the driver owns while it runs, and the simulation wants back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use smbench_core::bulk::Blobs;
use smbench_core::drive::Machine;
use smbench_core::engine::{Engine, EngineError};
use smbench_core::event::{EffectsDigest, Entry, Input, Output, Recorder};
use smbench_core::frame::Digest;
use smbench_core::ids::{ConnId, LogicalTime};

/// One value, several owners, one thread.
#[derive(Debug)]
pub(super) struct Shared<T>(Rc<RefCell<T>>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Rc::new(RefCell::new(value)))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// The value, if nobody else has it any more.
pub(super) fn reclaim<T>(shared: Shared<T>) -> Option<T> {
    Rc::try_unwrap(shared.0).ok().map(RefCell::into_inner)
}

impl<R: Recorder> Recorder for Shared<R> {
    type Error = R::Error;

    fn record(&mut self, entry: &Entry) -> Result<(), R::Error> {
        self.0.borrow_mut().record(entry)
    }

    fn finish(&mut self, after: EffectsDigest) -> Result<(), R::Error> {
        self.0.borrow_mut().finish(after)
    }
}

impl<B: Blobs> Blobs for Shared<B> {
    fn get(&mut self, digest: &Digest, len: u32) -> Option<Arc<[u8]>> {
        self.0.borrow_mut().get(digest, len)
    }

    fn put(&mut self, digest: &Digest, data: &[u8]) {
        self.0.borrow_mut().put(digest, data);
    }
}

/// The engine, watched: how many inputs it took and when it wants to be woken.
#[derive(Clone, Debug)]
pub(super) struct SharedEngine(Rc<RefCell<Watched>>);

#[derive(Debug)]
struct Watched {
    engine: Engine,
    inputs: u64,
    wake: Option<LogicalTime>,
}

impl SharedEngine {
    pub(super) fn new(engine: Engine) -> Self {
        Self(Rc::new(RefCell::new(Watched {
            engine,
            inputs: 0,
            wake: None,
        })))
    }

    pub(super) fn progress(&self) -> (u64, Option<LogicalTime>) {
        let watched = self.0.borrow();
        (watched.inputs, watched.wake)
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.0.borrow().engine)
    }
}

impl Machine for SharedEngine {
    type Error = EngineError;

    fn handle(&mut self, now: LogicalTime, input: Input) -> Result<(), EngineError> {
        let mut watched = self.0.borrow_mut();
        watched.inputs += 1;
        watched.engine.handle(now, input)
    }

    fn poll(&mut self) -> Output {
        let mut watched = self.0.borrow_mut();
        let output = watched.engine.poll();
        if let Output::WakeAt(at) = output {
            watched.wake = at;
        }
        output
    }
}

/// Which connection a client's address belongs to. The server learns it by the first frame: a
/// client that can send has entered its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<BTreeMap<SocketAddr, ConnId>>>);

impl Names {
    pub(super) fn enter(&self, from: SocketAddr, conn: ConnId) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(from, conn);
    }

    pub(super) fn get(&self, from: &SocketAddr) -> Option<ConnId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(from).copied()
    }
}
