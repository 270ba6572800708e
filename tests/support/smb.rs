//! A client that speaks SMB2 over a plain socket, a request at a time, and does not mind to do so
//! badly.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use smbench_core::seal::ntlm;
use smbench_core::seal::spnego;
use smbench_core::smb2::{
    AccessMask, Body, Capabilities, Command, CreateDisposition, CreateRequest, Dialect, FileId,
    Guid, Header, Message, MessageId, NegotiateRequest, NtStatus, Request, Response, SecurityMode,
    SessionId, SessionSetupRequest, ShareAccess, TreeConnectRequest, TreeId,
};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub header: Header,
    pub body: Response,
    pub bulk: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> NtStatus {
        self.header.nt_status()
    }
}

/// A connection, and a session and a tree on it if they are wanted.
pub struct Smb {
    pub stream: TcpStream,
    pub mid: u64,
    pub session: SessionId,
    pub tree: TreeId,
    guid: Guid,
}

/// How long a client waits for an answer; on a busy machine one may take seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

impl Smb {
    /// A connection on which nothing was said.
    pub fn stranger(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            mid: 0,
            session: SessionId(0),
            tree: TreeId(0),
            guid: Guid::default(),
        }
    }

    /// One that has negotiated dialect 3.0.2.
    pub fn negotiated(address: &str) -> Self {
        let mut this = Self::stranger(address);
        let port = this.stream.local_addr().unwrap().port();
        this.guid.0[..2].copy_from_slice(&port.to_le_bytes());
        let body = NegotiateRequest {
            security_mode: SecurityMode::SIGNING_ENABLED,
            capabilities: Capabilities::LARGE_MTU,
            client_guid: this.guid,
            dialects: vec![Dialect::SMB_3_0_2],
            ..NegotiateRequest::default()
        };
        this.expect(body, &[]);
        this
    }

    /// One with an anonymous session, and the share `share`.
    pub fn guest(address: &str) -> Self {
        let mut this = Self::negotiated(address);
        this.log_in();
        this.connect("share");
        this
    }

    /// A first leg of a login; the server's challenge.
    pub fn begin_login(&mut self) -> Answer {
        self.session = SessionId(0);
        let hello = ntlm::build_negotiate(0xE208_8233);
        let answer = self.call(setup(&hello), &hello);
        self.session = answer.header.session_id;
        answer
    }

    pub fn log_in(&mut self) {
        let challenge = self.begin_login();
        let challenge = spnego::parse(&challenge.bulk).unwrap();
        let token = ntlm::build_anonymous(challenge.inner().unwrap()).unwrap();
        self.expect(setup(&token), &token);
    }

    pub fn connect(&mut self, share: &str) {
        let answer = self.expect(tree(share), &[]);
        self.tree = answer.header.tree_id().unwrap();
    }

    pub fn header(&mut self, body: &Request) -> Header {
        let charge = body.credit_payload().saturating_sub(1) / 65_536;
        let mut header = Header {
            command: body.command(),
            credit_charge: u16::try_from(charge + 1).unwrap(),
            credits: 256,
            message_id: MessageId(self.mid),
            session_id: self.session,
            ..Header::default()
        };
        header.set_tree_id(self.tree);
        if body.command() != Command::CANCEL {
            self.mid += u64::from(charge) + 1;
        }
        header
    }

    pub fn encode(&mut self, body: impl Into<Request>, bulk: &[u8]) -> Vec<u8> {
        let body = body.into();
        let header = self.header(&body);
        let mut frame = Vec::new();
        Message::new(header, Body::Request(body)).encode(bulk, &mut frame);
        frame
    }

    /// Sends a frame; false when the connection has ended.
    pub fn frame(&mut self, frame: &[u8]) -> bool {
        let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&len, frame].concat()).is_ok()
    }

    pub fn send(&mut self, body: impl Into<Request>, bulk: &[u8]) -> bool {
        let frame = self.encode(body, bulk);
        self.frame(&frame)
    }

    /// The next answer; none when the connection has ended.
    pub fn receive(&mut self) -> Option<Answer> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).ok()?;
        let len = usize::try_from(u32::from_be_bytes(head) & 0x00ff_ffff).unwrap();
        let mut frame = vec![0; len];
        self.stream.read_exact(&mut frame).ok()?;
        let decoded = Message::decode(&frame).unwrap();
        let Body::Response(body) = decoded.message.body else {
            panic!("a request from a server: {:?}", decoded.message);
        };
        let bulk = decoded.bulk.map(|range| frame.get(range).unwrap().to_vec());
        Some(Answer {
            header: decoded.message.header,
            body,
            bulk: bulk.unwrap_or_default(),
        })
    }

    /// A request and the answer to it; notifications that come before it are passed over.
    #[track_caller]
    pub fn call(&mut self, body: impl Into<Request>, bulk: &[u8]) -> Answer {
        let mid = self.mid;
        assert!(self.send(body, bulk), "the connection has ended");
        loop {
            let answer = self.receive().unwrap();
            if answer.header.message_id.0 == mid {
                return answer;
            }
        }
    }

    #[track_caller]
    pub fn expect(&mut self, body: impl Into<Request>, bulk: &[u8]) -> Answer {
        let answer = self.call(body, bulk);
        assert_eq!(answer.status(), NtStatus::SUCCESS, "{answer:?}");
        answer
    }

    #[track_caller]
    pub fn open(&mut self, name: &str) -> FileId {
        match self.expect(create(name), &[]).body {
            Response::Create(body) => body.file_id,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the server has ended the connection; false when it has not in time.
    pub fn is_ended(&mut self) -> bool {
        let mut sink = [0; 65_536];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

pub fn setup(token: &[u8]) -> SessionSetupRequest {
    SessionSetupRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        security_buffer_length: u16::try_from(token.len()).unwrap(),
        ..SessionSetupRequest::default()
    }
}

pub fn tree(share: &str) -> TreeConnectRequest {
    TreeConnectRequest {
        path: format!("\\\\server\\{share}").as_str().into(),
        ..TreeConnectRequest::default()
    }
}

/// Opens a file or makes it, for all there is.
pub fn create(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        desired_access: AccessMask::from_bits_retain(0x0012_019f),
        share_access: ShareAccess::from_bits_retain(7),
        create_disposition: CreateDisposition::OPEN_IF,
        ..CreateRequest::default()
    }
}
