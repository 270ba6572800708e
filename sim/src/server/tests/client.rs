//! A client that builds requests with the codec and sorts what comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smbench_core::ids::LogicalTime;
use smbench_core::smb2::*;

use crate::server::{ConnKey, Plant, Server, ServerConfig, ServerOutput, ShareConfig};

/// One message from the server.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) header: Header,
    pub(super) body: Response,
    pub(super) bulk: Vec<u8>,
}

impl Got {
    pub(super) fn status(&self) -> NtStatus {
        self.header.nt_status()
    }
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.status(), NtStatus::SUCCESS, "{self:?}");
        self
    }
    pub(super) fn created(self) -> CreateResponse {
        match self.ok().body {
            Response::Create(body) => body,
            other => panic!("{other:?}"),
        }
    }
}

/// A server and everything it sent.
pub(super) struct Net {
    pub(super) server: Server,
    pub(super) now: LogicalTime,
    inbox: BTreeMap<ConnKey, VecDeque<Got>>,
    pub(super) closed: BTreeSet<ConnKey>,
}

/// One client: a connection with a session and a tree.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) conn: ConnKey,
    pub(super) mid: u64,
    pub(super) session: SessionId,
    pub(super) tree: TreeId,
}

pub(super) fn config() -> ServerConfig {
    ServerConfig {
        trusting: true,
        shares: vec![ShareConfig::disk("share"), ShareConfig::pipe("IPC$")],
        ..ServerConfig::default()
    }
}

impl Net {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn planted(plant: Plant) -> Self {
        let mut config = config();
        config.plants.insert(plant);
        Self::with(config)
    }

    pub(super) fn with(config: ServerConfig) -> Self {
        Self {
            server: Server::new(config),
            now: LogicalTime::ZERO,
            inbox: BTreeMap::new(),
            closed: BTreeSet::new(),
        }
    }

    /// A client of user `name`, with a session and the share connected.
    pub(super) fn client(&mut self, name: &str) -> Client {
        self.client_of(name, Dialect::SMB_3_0_2, 0)
    }

    pub(super) fn client_of(&mut self, name: &str, dialect: Dialect, previous: u64) -> Client {
        self.client_with(name, dialect, previous, Capabilities::empty())
    }

    /// A client that knows `capabilities`.
    pub(super) fn client_with(
        &mut self,
        name: &str,
        dialect: Dialect,
        previous: u64,
        capabilities: Capabilities,
    ) -> Client {
        let conn = self.server.connect(self.now);
        let mut client = Client {
            conn,
            mid: 0,
            session: SessionId(0),
            tree: TreeId(0),
        };
        let mut guid = [0; 16];
        guid[..name.len()].copy_from_slice(name.as_bytes());
        let body = NegotiateRequest {
            client_guid: Guid(guid),
            dialects: vec![dialect],
            capabilities,
            contexts: match dialect {
                Dialect::SMB_3_1_1 => vec![NegotiateContext::PreauthIntegrity {
                    hash_algorithms: vec![HashAlgorithm::SHA_512],
                    salt: vec![1; 32],
                }],
                _ => Vec::new(),
            },
            ..NegotiateRequest::default()
        };
        self.call(&mut client, body).ok();
        let token = name.as_bytes();
        let body = SessionSetupRequest {
            security_buffer_length: u16::try_from(token.len()).unwrap(),
            previous_session_id: SessionId(previous),
            ..SessionSetupRequest::default()
        };
        let got = self.call_with(&mut client, body, token).ok();
        client.session = got.header.session_id;
        let body = TreeConnectRequest {
            path: "\\\\server\\share".into(),
            ..TreeConnectRequest::default()
        };
        client.tree = self.call(&mut client, body).ok().header.tree_id().unwrap();
        client
    }

    pub(super) fn header(client: &mut Client, command: Command) -> Header {
        let mut header = Header {
            command,
            credit_charge: 1,
            credits: 64,
            message_id: MessageId(client.mid),
            session_id: client.session,
            ..Header::default()
        };
        header.set_tree_id(client.tree);
        client.mid += 1;
        header
    }

    pub(super) fn frame(&mut self, conn: ConnKey, frame: &[u8]) {
        self.server.receive(self.now, conn, frame);
        self.pump();
    }

    pub(super) fn send(&mut self, client: &mut Client, body: impl Into<Request>) -> MessageId {
        self.send_with(client, body, &[])
    }

    pub(super) fn send_with(
        &mut self,
        client: &mut Client,
        body: impl Into<Request>,
        bulk: &[u8],
    ) -> MessageId {
        let body = body.into();
        let mut header = Self::header(client, body.command());
        let charge = body.credit_payload().saturating_sub(1) / 65_536;
        header.credit_charge += u16::try_from(charge).unwrap();
        client.mid += u64::from(charge);
        let mut frame = Vec::new();
        Message::new(header, Body::Request(body)).encode(bulk, &mut frame);
        self.frame(client.conn, &frame);
        header.message_id
    }

    /// Several requests as one frame; `related` ones take session, tree and file of the first.
    pub(super) fn compound(
        &mut self,
        client: &mut Client,
        bodies: Vec<Request>,
        related: bool,
    ) -> Vec<MessageId> {
        self.compound_with(client, bodies, related, &[])
    }

    /// The same, with the data of the last one.
    pub(super) fn compound_with(
        &mut self,
        client: &mut Client,
        bodies: Vec<Request>,
        related: bool,
        bulk: &[u8],
    ) -> Vec<MessageId> {
        let (mut frame, mut ids) = (Vec::new(), Vec::new());
        let last = bodies.len() - 1;
        for (index, body) in bodies.into_iter().enumerate() {
            let mut header = Self::header(client, body.command());
            if related && index > 0 {
                header.flags |= HeaderFlags::RELATED;
            }
            header.next_command = u32::from(index != last);
            let charge = body.credit_payload().saturating_sub(1) / 65_536;
            header.credit_charge += u16::try_from(charge).unwrap();
            client.mid += u64::from(charge);
            ids.push(header.message_id);
            let start = frame.len();
            let bulk = if index == last { bulk } else { &[] };
            Message::new(header, Body::Request(body)).encode(bulk, &mut frame);
            if index != last {
                let len = u32::try_from(frame.len() - start).unwrap();
                frame[start + 20..start + 24].copy_from_slice(&len.to_le_bytes());
            }
        }
        self.frame(client.conn, &frame);
        ids
    }

    /// CANCEL of a request that waits.
    pub(super) fn cancel(&mut self, client: &mut Client, interim: &Got) {
        let mut header = Self::header(client, Command::CANCEL);
        client.mid -= 1;
        header.message_id = interim.header.message_id;
        header.set_async_id(interim.header.async_id().unwrap());
        let mut frame = Vec::new();
        let body = Body::Request(CancelRequest {}.into());
        Message::new(header, body).encode(&[], &mut frame);
        self.frame(client.conn, &frame);
    }

    pub(super) fn call(&mut self, client: &mut Client, body: impl Into<Request>) -> Got {
        self.call_with(client, body, &[])
    }

    pub(super) fn call_with(
        &mut self,
        client: &mut Client,
        body: impl Into<Request>,
        bulk: &[u8],
    ) -> Got {
        let id = self.send_with(client, body, bulk);
        self.answer(client, id).expect("an answer")
    }

    /// The next message for a request, or a notification for `u64::MAX`.
    pub(super) fn answer(&mut self, client: &Client, id: MessageId) -> Option<Got> {
        let inbox = self.inbox.get_mut(&client.conn)?;
        let at = inbox.iter().position(|got| got.header.message_id == id)?;
        inbox.remove(at)
    }

    /// The next break notification.
    pub(super) fn notification(&mut self, client: &Client) -> Option<Response> {
        self.answer(client, MessageId(u64::MAX)).map(|got| got.body)
    }

    pub(super) fn wake_at(&mut self, now: LogicalTime) {
        self.now = now;
        self.server.wake(now);
        self.pump();
    }

    pub(super) fn disconnect(&mut self, client: &Client) {
        self.server.disconnect(self.now, client.conn);
        self.pump();
    }

    pub(super) fn pump(&mut self) {
        while let Some(output) = self.server.poll() {
            match output {
                ServerOutput::Close { conn } => {
                    self.closed.insert(conn);
                }
                ServerOutput::Send { conn, frame } => self.sort(conn, &frame),
            }
        }
    }

    fn sort(&mut self, conn: ConnKey, frame: &[u8]) {
        for pdu in Pdu::chain(frame) {
            let pdu = pdu.expect("a sound frame");
            let decoded = Message::decode(pdu).expect("a sound message");
            let Body::Response(body) = decoded.message.body else {
                panic!("a request from the server");
            };
            assert!(!matches!(body, Response::Opaque(_)), "{body:?}");
            let bulk = decoded.bulk.map(|range| pdu[range].to_vec());
            self.inbox.entry(conn).or_default().push_back(Got {
                header: decoded.message.header,
                body,
                bulk: bulk.unwrap_or_default(),
            });
        }
    }

    // The requests tests are made of.

    pub(super) fn open(&mut self, client: &mut Client, name: &str) -> FileId {
        self.call(client, create(name)).created().file_id
    }

    pub(super) fn close(&mut self, client: &mut Client, file_id: FileId) {
        let flags = CloseFlags::empty();
        self.call(client, CloseRequest { flags, file_id }).ok();
    }

    pub(super) fn write(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        at: u64,
        data: &[u8],
    ) -> NtStatus {
        let body = WriteRequest {
            length: u32::try_from(data.len()).unwrap(),
            offset: at,
            file_id,
            ..WriteRequest::default()
        };
        self.call_with(client, body, data).status()
    }

    pub(super) fn read(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        at: u64,
        length: u32,
    ) -> Result<Vec<u8>, NtStatus> {
        let body = ReadRequest {
            length,
            offset: at,
            file_id,
            ..ReadRequest::default()
        };
        let got = self.call(client, body);
        match got.status() {
            NtStatus::SUCCESS => Ok(got.bulk),
            status => Err(status),
        }
    }

    pub(super) fn set(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        class: FileInfoClass,
        buffer: Vec<u8>,
    ) -> NtStatus {
        let body = SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: class.into(),
            buffer,
            file_id,
            ..SetInfoRequest::default()
        };
        self.call(client, body).status()
    }

    pub(super) fn rename(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        to: &str,
        replace: bool,
    ) -> NtStatus {
        let buffer = rename_buffer(to, replace);
        self.set(client, file_id, FileInfoClass::RENAME, buffer)
    }

    pub(super) fn delete_on_close(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        on: bool,
    ) -> NtStatus {
        let buffer = vec![u8::from(on)];
        self.set(client, file_id, FileInfoClass::DISPOSITION, buffer)
    }

    pub(super) fn query(
        &mut self,
        client: &mut Client,
        file_id: FileId,
        class: FileInfoClass,
        room: u32,
    ) -> (NtStatus, Vec<u8>) {
        let body = QueryInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: class.into(),
            output_buffer_length: room,
            file_id,
            ..QueryInfoRequest::default()
        };
        let got = self.call(client, body);
        match got.body.clone() {
            Response::QueryInfo(body) => (got.status(), body.output),
            _ => (got.status(), Vec::new()),
        }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let entries = self.server.snapshot("share").into_iter();
        entries.map(|entry| entry.path).collect()
    }
}

pub(super) fn rename_buffer(to: &str, replace: bool) -> Vec<u8> {
    let name: Vec<u8> = to.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut buffer = vec![0; 16];
    buffer[0] = u8::from(replace);
    buffer.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    buffer.extend(name);
    buffer
}

/// Opens or creates with everything allowed and shared.
pub(super) fn create(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        desired_access: AccessMask::from_bits_retain(0x001f_01ff),
        share_access: ShareAccess::READ | ShareAccess::WRITE | ShareAccess::DELETE,
        create_disposition: CreateDisposition::OPEN_IF,
        ..CreateRequest::default()
    }
}

pub(super) fn directory(name: &str) -> CreateRequest {
    CreateRequest {
        create_options: CreateOptions::DIRECTORY_FILE,
        ..create(name)
    }
}

pub(super) fn with_oplock(name: &str, level: OplockLevel) -> CreateRequest {
    CreateRequest {
        requested_oplock_level: level,
        ..create(name)
    }
}

pub(super) fn lease(key: u8, state: u32, version: u8) -> CreateContext {
    CreateContext::lease(Lease {
        version,
        key: Guid([key; 16]),
        state: LeaseState::from_bits_retain(state),
        ..Lease::default()
    })
}

pub(super) fn with_lease(name: &str, key: u8, state: u32, version: u8) -> CreateRequest {
    CreateRequest {
        requested_oplock_level: OplockLevel::LEASE,
        contexts: vec![lease(key, state, version)],
        ..create(name)
    }
}

/// State and epoch of a granted lease.
pub(super) fn granted(response: &CreateResponse) -> Option<(u32, u16)> {
    let mut contexts = response.contexts.iter();
    contexts.find_map(|context| match &context.data {
        ContextData::Lease(lease) => Some((lease.state.bits(), lease.epoch)),
        _ => None,
    })
}
