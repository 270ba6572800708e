//! A frame service: anything that answers frames, without I/O. The model server is one.

use smbench_core::ids::LogicalTime;

/// What a service wants next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServiceOutput {
    /// Send this frame (sealed, without transport header), then poll again.
    Send {
        /// The connection, as given to [`FrameService::opened`].
        conn: u64,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Close this connection after what was sent before has left, then poll again.
    Close {
        /// The connection.
        conn: u64,
    },
    /// Nothing to do until a frame comes, or until that time.
    WakeAt(Option<LogicalTime>),
}

/// A sans-IO server: facts in, [`FrameService::poll`] until it wants to wait.
///
/// Frames are raw: the service takes seals off and puts them on by itself. Times are nanoseconds
/// since the service began, and never go back.
pub trait FrameService {
    /// A client connected. Numbers are never used twice.
    fn opened(&mut self, now: LogicalTime, conn: u64);
    /// A connection is gone, whoever closed it.
    fn closed(&mut self, now: LogicalTime, conn: u64);
    /// A frame came in.
    fn frame(&mut self, now: LogicalTime, conn: u64, frame: Vec<u8>);
    /// The time asked for has come.
    fn wake(&mut self, now: LogicalTime);
    /// What to do next.
    fn poll(&mut self, now: LogicalTime) -> ServiceOutput;

    /// Whether the client of a connection has logged in. Others may send little, and are the
    /// first to go when there are too many.
    fn is_known(&self, conn: u64) -> bool {
        let _ = conn;
        true
    }

    /// Something that whoever runs the service should read, such as a limit that was reached.
    fn complaint(&mut self) -> Option<String> {
        None
    }
}

/// Whoever carries out what a service wants: over sockets, or in a simulation.
pub trait ServiceHost {
    /// The service.
    type Service: FrameService;

    /// The service.
    fn service(&mut self) -> &mut Self::Service;
    /// Time since the service began.
    fn now(&mut self) -> LogicalTime;
    /// Sends a frame on a connection.
    fn send(&mut self, conn: u64, frame: Vec<u8>);
    /// Closes a connection after what was sent before has left.
    fn close(&mut self, conn: u64);

    /// Does what the service wants, until it wants to wait; until when.
    fn settle(&mut self) -> Option<LogicalTime> {
        loop {
            let now = self.now();
            match self.service().poll(now) {
                ServiceOutput::WakeAt(at) => return at,
                ServiceOutput::Send { conn, frame } => self.send(conn, frame),
                ServiceOutput::Close { conn } => self.close(conn),
            }
        }
    }
}
