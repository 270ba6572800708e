//! A model SMB2 server: dialects 2.0.2 to 3.1.1 in memory, as a sans-IO state machine.
//!
//! Frames and time go in, frames and wake-ups come out; the same input gives the same output. It
//! follows [MS-SMB2], [MS-FSA] and [MS-FSCC], and Samba 4.17 where they leave a choice: the
//! captures this project is measured by are of Samba. There is one file a command; the tables of
//! opens, leases, locks and notifications stand apart.
//!
//! Requests that have to wait (a CREATE for a break, a LOCK for a range) are run again from the
//! start whenever the file they wait for changes, so no half-done state has to be kept.

mod answer;
mod auth;
mod binding;
mod breaks;
mod caching;
mod close;
mod config;
mod conn;
mod copy;
mod create;
mod create_existing;
mod create_reply;
mod data;
mod denials;
mod directory;
mod dispatch;
mod durable;
mod file_info;
mod fs;
mod functions;
mod info;
mod ioctl;
mod leases;
mod limits;
mod lock;
mod name;
mod negotiate;
mod notify;
mod open;
mod parents;
mod plant;
mod posix;
mod query_info;
mod ranges;
mod recorded;
mod rename;
mod reparse;
mod rw;
mod security;
mod seed;
mod services;
mod session;
mod set_info;
mod sound;
mod tree;
mod versions;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::{Command, Guid};

pub use self::config::{
    AfterFailedCreate, PosixDelete, SeedEntry, ServerConfig, ShareConfig, ShareKind,
};
pub use self::data::Source;
pub use self::denials::{Denial, Denied};
pub use self::functions::RecordedFunction;
pub use self::limits::{Limit, Limits};
pub use self::plant::{Plant, UnknownPlant};
pub use self::recorded::{RecordedAnswer, RecordedPipe};
pub use self::seed::{Entry, SeedError};

use self::conn::Conn;
use self::denials::Denials;
use self::fs::{Fs, NodeId, StreamId};
use self::functions::RecordedFunctions;
use self::leases::{Lease, LeaseId};
use self::limits::Hits;
use self::notify::Watches;
use self::open::{FileState, Open, OpenId};
use self::recorded::RecordedPipes;
use self::services::Services;
use self::session::Session;
use self::waiting::{AsyncId, Timers, WaitTable};

/// Names a connection of a [`Server`]; never used again for another.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnKey(pub u64);

/// What the server wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerOutput {
    /// Send a frame.
    Send {
        /// To whom.
        conn: ConnKey,
        /// One SMB2 message or compound, sealed, without the transport's length prefix.
        frame: Vec<u8>,
    },
    /// Close the connection. The server has forgotten it.
    Close {
        /// Which.
        conn: ConnKey,
    },
}

/// Commands of the protocol, 0 to 18. [MS-SMB2] 2.2.1.2.
const COMMANDS: usize = 19;

/// What the server counted since its start. Nothing is dropped without a number here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Requests answered, interim responses apart.
    pub answered: u64,
    /// Frames for connections that are closed.
    pub frames_for_closed: u64,
    /// Connections closed because a frame was no sound SMB2, or a message id was not granted.
    pub closed_malformed: u64,
    /// Connections closed because a limit was reached.
    pub closed_limit: u64,
    /// Break notifications sent.
    pub breaks: u64,
    /// Breaks nobody acknowledged in time.
    pub breaks_timed_out: u64,
    /// Break notifications that had nowhere to go.
    pub breaks_undeliverable: u64,
    /// Durable handles that nobody reclaimed in time.
    pub durable_expired: u64,
    /// Changes that overflowed the buffer of a CHANGE_NOTIFY.
    pub notify_overflows: u64,
    /// CANCEL requests that found nothing to cancel.
    pub cancels_too_late: u64,
}

/// A share as it runs.
#[derive(Debug)]
struct Share {
    name: String,
    kind: ShareKind,
    encrypt: bool,
    read_only: bool,
    is_dfs: bool,
    root: NodeId,
}

/// The server. See the module's documentation.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    now: LogicalTime,
    rng: Rng,
    fs: Fs,
    shares: Vec<Share>,
    conns: BTreeMap<ConnKey, Conn>,
    next_conn: u64,
    sessions: BTreeMap<u64, Session>,
    opens: BTreeMap<OpenId, Open>,
    /// Opens of a session that are not disconnected.
    in_session: BTreeSet<(u64, OpenId)>,
    /// Durable opens that wait for their client.
    disconnected: usize,
    next_open: u64,
    /// Volatile halves of file ids, to find opens by.
    volatile: BTreeMap<u64, OpenId>,
    files: BTreeMap<StreamId, FileState>,
    leases: BTreeMap<LeaseId, Lease>,
    /// Connections by the ClientGuid of their NEGOTIATE.
    clients: BTreeSet<(Guid, ConnKey)>,
    watches: Watches,
    waiting: WaitTable,
    /// Waiting requests to try again.
    ready: BTreeSet<AsyncId>,
    next_async: u64,
    timers: Timers,
    hits: Hits,
    out: VecDeque<ServerOutput>,
    counters: Counters,
    /// Final answers by command and severity.
    answers: [[u64; 4]; COMMANDS],
    recorded: RecordedPipes,
    services: Services,
    denials: Denials,
    functions: RecordedFunctions,
    /// Some of what is there are previous versions.
    has_versions: bool,
}

impl Server {
    /// A server with its shares and what is in them.
    #[must_use]
    pub fn new(mut config: ServerConfig) -> Self {
        let shares = std::mem::take(&mut config.shares);
        let recorded = RecordedPipes::of(std::mem::take(&mut config.pipes));
        let denials = Denials::of(std::mem::take(&mut config.denials));
        let functions = RecordedFunctions::of(std::mem::take(&mut config.functions));
        let mut server = Self {
            rng: Rng(config.seed),
            recorded,
            services: Services::default(),
            denials,
            functions,
            has_versions: false,
            now: LogicalTime::ZERO,
            fs: Fs::default(),
            shares: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            sessions: BTreeMap::new(),
            opens: BTreeMap::new(),
            in_session: BTreeSet::new(),
            disconnected: 0,
            next_open: 0,
            volatile: BTreeMap::new(),
            files: BTreeMap::new(),
            leases: BTreeMap::new(),
            clients: BTreeSet::new(),
            watches: Watches::default(),
            waiting: WaitTable::default(),
            ready: BTreeSet::new(),
            next_async: 0,
            timers: Timers::default(),
            hits: Hits::default(),
            out: VecDeque::new(),
            counters: Counters::default(),
            answers: [[0; 4]; COMMANDS],
            config,
        };
        for share in shares {
            server.add_share(share);
        }
        server
    }

    fn add_share(&mut self, share: ShareConfig) {
        let now = self.filetime();
        let root = self.fs.add(None, "", true, now);
        self.shares.push(Share {
            name: share.name.clone(),
            kind: share.kind,
            encrypt: share.encrypt,
            read_only: share.read_only,
            is_dfs: share.is_dfs,
            root,
        });
        for entry in share.files {
            // A seed that cannot be is left out; `mkdir` and `put_file` tell why.
            let made = match entry {
                SeedEntry::Dir { path } => self.mkdir(&share.name, &path),
                SeedEntry::File { path, data } => self.put_file(&share.name, &path, &data),
            };
            debug_assert!(made.is_ok(), "{made:?}");
        }
    }

    /// A new connection.
    pub fn connect(&mut self, now: LogicalTime) -> ConnKey {
        self.advance(now);
        self.next_conn = self.next_conn.saturating_add(1);
        let key = ConnKey(self.next_conn);
        if self.conns.len() >= self.config.limits.connections {
            self.counters.closed_limit = self.counters.closed_limit.saturating_add(1);
            self.limited(Limit::Connections);
            self.out.push_back(ServerOutput::Close { conn: key });
            return key;
        }
        let nonce_seed = self.rng.next32();
        self.conns.insert(key, Conn::new(nonce_seed));
        key
    }

    /// A frame came in: one SMB2 message or compound, as sealed by the client, without the
    /// transport's length prefix. Frames for closed connections are counted and ignored.
    pub fn receive(&mut self, now: LogicalTime, conn: ConnKey, frame: &[u8]) {
        self.advance(now);
        self.counters.frames_in = self.counters.frames_in.saturating_add(1);
        if self.conns.contains_key(&conn) {
            self.on_frame(conn, frame);
            self.settle();
        } else {
            self.counters.frames_for_closed = self.counters.frames_for_closed.saturating_add(1);
        }
    }

    /// The connection is gone.
    pub fn disconnect(&mut self, now: LogicalTime, conn: ConnKey) {
        self.advance(now);
        self.drop_connection(conn);
        self.settle();
    }

    /// Time has passed: breaks and durable handles may have run out.
    pub fn wake(&mut self, now: LogicalTime) {
        self.advance(now);
        // Whatever runs out now runs out before anyone tries again.
        while let Some(timer) = self.timers.pop(self.now) {
            self.on_timer(timer);
        }
        self.settle();
    }

    /// When [`Server::wake`] has to be called next.
    #[must_use]
    pub fn next_wake(&self) -> Option<LogicalTime> {
        self.timers.next()
    }

    /// What to do next; none when there is nothing.
    pub fn poll(&mut self) -> Option<ServerOutput> {
        let output = self.out.pop_front();
        if let Some(ServerOutput::Send { conn, .. }) = &output
            && let Some(conn) = self.conns.get_mut(conn)
        {
            conn.queued = conn.queued.saturating_sub(1);
        }
        output
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Final answers given so far: command, severity (as in [`SEVERITIES`]) and how many.
    ///
    /// [`SEVERITIES`]: smbench_core::smb2::SEVERITIES
    pub fn answers(&self) -> impl Iterator<Item = (Command, usize, u64)> + '_ {
        let by_command = (0u16..).map(Command).zip(&self.answers);
        by_command.flat_map(|(command, counts)| {
            let counts = counts.iter().copied().enumerate();
            counts.map(move |(severity, count)| (command, severity, count))
        })
    }

    /// Opens there are, disconnected durable ones too.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.opens.len()
    }

    /// Whether a session was set up on a connection that is still there.
    #[must_use]
    pub fn has_logged_in(&self, conn: ConnKey) -> bool {
        self.conns.get(&conn).is_some_and(|conn| conn.logged_in)
    }

    fn advance(&mut self, now: LogicalTime) {
        self.now = self.now.max(now);
    }

    /// FILETIME of now.
    fn filetime(&self) -> u64 {
        self.config.epoch_filetime.saturating_add(self.now.0 / 100)
    }

    fn has(&self, plant: Plant) -> bool {
        self.config.plants.contains(&plant)
    }
}

/// SplitMix64: ids and challenges, a function of the seed.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn next64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next32(&mut self) -> u32 {
        u32::try_from(self.next64() >> 32).unwrap_or_default()
    }

    /// A 32-bit id that is neither 0 nor all ones.
    fn id(&mut self) -> u32 {
        self.next32().clamp(1, u32::MAX - 1)
    }
}
