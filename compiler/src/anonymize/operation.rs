//! One operation, field by field. No `..` in any pattern: a new field does not compile until
//! somebody has decided what becomes of it.

use smbench_core::{
    smb2::{
        ChangeNotifyRequest, CloseRequest, CreateOptions, CreateRequest, FileId, FlushRequest,
        HeaderFlags, IoctlRequest, LeaseBreakAck, LockElement, LockRequest, Name, NegotiateRequest,
        NtStatus, OpaqueBody, OplockBreakAck, QueryDirectoryRequest, QueryInfoRequest, ReadRequest,
        Request, SessionId, SessionSetupRequest, SetInfoRequest, TreeConnectRequest, WriteRequest,
    },
    workload::{Action, BreakNotice, Expect, Operation},
};

use super::{Scrub, Tables, tally::Kind};

/// What a request's fields depend on.
#[derive(Clone, Copy, Debug)]
struct Around {
    /// Its tree holds pipes.
    pipes: bool,
    /// Its path begins with server and share.
    dfs: bool,
    /// It succeeded.
    found: bool,
}

impl Scrub {
    /// Everything but the bulk data, which `data` is about.
    pub(super) fn operation(&mut self, tables: &Tables, op: &mut Operation) {
        let pipes = tables.is_pipe(op.tree);
        let Operation {
            id: _,
            at_us: _,
            client: _,
            conn: _,
            session: _,
            tree: _,
            cmd: _,
            mid: _,
            charge: _,
            credits: _,
            flags,
            channel_sequence,
            process_id,
            reconstructed: _,
            raw_tree,
            frame: _,
            compound: _,
            action,
            path,
            open: _,
            reclaims: _,
            previous_session: _,
            principal: _,
            resume_key_of: _,
            cancels: _,
            data: _,
            rpc: _,
            quirks,
            cut: _,
            after: _,
            expect,
        } = op;
        *channel_sequence &= 0xffff;
        if *process_id != 0 {
            *process_id = USUAL_PROCESS;
        }
        *raw_tree = raw_tree.map(|tree| self.tree_id(tree));
        let around = Around {
            pipes,
            dfs: flags.contains(HeaderFlags::DFS),
            found: expect
                .as_ref()
                .is_some_and(|it| it.status == NtStatus::SUCCESS),
        };
        if let Some(path) = path {
            *path = self.path_of(around, path);
        }
        match action {
            Action::Request(request) => {
                *quirks = self.quirks(quirks, Some(request));
                self.request(around, request);
            }
            Action::Smb1Negotiate(bytes) => {
                *quirks = self.quirks(quirks, None);
                *bytes = self.smb1_negotiate(bytes);
            }
            Action::Break(BreakNotice::Lease {
                key,
                from: _,
                to: _,
                epoch: _,
                ack: _,
            }) => *key = self.guid(smbench_core::smb2::Guid(*key)).0,
            Action::Break(BreakNotice::Oplock { to: _ }) | Action::Disconnect(_) => {}
        }
        if let Some(expect) = expect {
            self.expectation(expect);
        }
    }

    fn expectation(&mut self, expect: &mut Expect) {
        let Expect {
            frame: _,
            status: _,
            latency_us: _,
            interim_us: _,
            credits: _,
            file_id,
            action: _,
            oplock: _,
            lease: _,
            size: _,
            attributes: _,
            count: _,
            data: _,
            output: _,
            dialect: _,
        } = expect;
        *file_id = file_id.map(|id| self.file_id(id));
    }

    fn path_of(&mut self, around: Around, path: &str) -> String {
        match around {
            Around { pipes: true, .. } => self.pipe(path),
            Around { dfs: true, .. } => self.unc(path),
            _ => self.path(path),
        }
    }

    fn request(&mut self, around: Around, request: &mut Request) {
        match request {
            Request::Negotiate(it) => self.negotiate(it),
            Request::SessionSetup(it) => self.session_setup(it),
            Request::TreeConnect(it) => self.tree_connect(it),
            Request::Create(it) => self.create(around, it),
            Request::Close(CloseRequest { flags: _, file_id })
            | Request::Flush(FlushRequest {
                reserved1: _,
                file_id,
            })
            | Request::ChangeNotify(ChangeNotifyRequest {
                flags: _,
                output_buffer_length: _,
                file_id,
                completion_filter: _,
            })
            | Request::OplockBreak(OplockBreakAck {
                oplock_level: _,
                file_id,
            }) => *file_id = self.file_id(*file_id),
            Request::Read(it) => self.read(it),
            Request::Write(it) => self.write(it),
            Request::Lock(it) => self.lock(it),
            Request::Ioctl(it) => self.ioctl_request(it),
            Request::QueryDirectory(it) => self.query_directory(around, it),
            Request::QueryInfo(it) => self.query_info(it),
            Request::SetInfo(it) => {
                let SetInfoRequest {
                    info_type,
                    file_info_class,
                    buffer,
                    additional_information: _,
                    file_id,
                } = it;
                *buffer = self.set_info(*info_type, *file_info_class, buffer);
                *file_id = self.file_id(*file_id);
            }
            Request::LeaseBreak(LeaseBreakAck {
                flags,
                lease_key,
                lease_state: _,
                lease_duration,
            }) => {
                *lease_key = self.guid(*lease_key);
                (*flags, *lease_duration) = (0, 0);
            }
            Request::Opaque(it) => self.opaque(it),
            Request::Logoff(_)
            | Request::TreeDisconnect(_)
            | Request::Cancel(_)
            | Request::Echo(_) => {}
        }
    }

    fn negotiate(&mut self, request: &mut NegotiateRequest) {
        let NegotiateRequest {
            security_mode: _,
            capabilities: _,
            client_guid,
            client_start_time,
            dialects: _,
            contexts,
        } = request;
        *client_guid = self.guid(*client_guid);
        *client_start_time = self.time(*client_start_time);
        for context in contexts {
            self.negotiate_context(context);
        }
    }

    /// Tokens are not in a workload, only their lengths.
    fn session_setup(&mut self, request: &mut SessionSetupRequest) {
        let SessionSetupRequest {
            flags: _,
            security_mode: _,
            capabilities: _,
            channel: _,
            security_buffer_length: _,
            previous_session_id,
        } = request;
        *previous_session_id = SessionId(self.wire_id(previous_session_id.0));
    }

    fn tree_connect(&mut self, request: &mut TreeConnectRequest) {
        let TreeConnectRequest {
            flags: _,
            path,
            extension,
            contexts,
        } = request;
        *path = self.name(path, Self::unc);
        *extension = self.buffer("tree extension", extension);
        *contexts = self.buffer("tree contexts", contexts);
    }

    fn create(&mut self, around: Around, request: &mut CreateRequest) {
        let CreateRequest {
            name,
            desired_access: _,
            file_attributes: _,
            share_access: _,
            create_disposition: _,
            create_options,
            requested_oplock_level: _,
            impersonation_level: _,
            security_flags: _,
            smb_create_flags,
            reserved,
            contexts,
        } = request;
        *name = if create_options.contains(CreateOptions::OPEN_BY_FILE_ID) {
            let id = self.buffer("file id", &name.to_wire());
            Name::from_wire(&id)
        } else {
            self.name(name, |it, name| it.path_of(around, name))
        };
        (*smb_create_flags, *reserved) = (0, 0);
        for context in contexts {
            self.create_context(context);
        }
    }

    fn read(&mut self, request: &mut ReadRequest) {
        let ReadRequest {
            padding: _,
            flags: _,
            length: _,
            offset: _,
            file_id,
            minimum_count: _,
            channel: _,
            remaining_bytes: _,
            channel_info,
        } = request;
        *file_id = self.file_id(*file_id);
        *channel_info = self.buffer("channel", channel_info);
    }

    fn write(&mut self, request: &mut WriteRequest) {
        let WriteRequest {
            length: _,
            offset: _,
            file_id,
            channel: _,
            remaining_bytes: _,
            channel_info,
            flags: _,
        } = request;
        *file_id = self.file_id(*file_id);
        *channel_info = self.buffer("channel", channel_info);
    }

    fn lock(&mut self, request: &mut LockRequest) {
        let LockRequest {
            lock_sequence: _,
            file_id,
            locks,
        } = request;
        *file_id = self.file_id(*file_id);
        for element in locks {
            let LockElement {
                offset: _,
                length: _,
                flags: _,
                reserved,
            } = element;
            *reserved = 0;
        }
    }

    fn ioctl_request(&mut self, request: &mut IoctlRequest) {
        let IoctlRequest {
            ctl_code,
            file_id,
            input,
            max_input_response: _,
            output,
            max_output_response: _,
            flags: _,
        } = request;
        *input = self.ioctl(*ctl_code, input);
        *output = self.buffer("ioctl output", output);
        *file_id = self.file_id(*file_id);
    }

    fn query_directory(&mut self, around: Around, request: &mut QueryDirectoryRequest) {
        let QueryDirectoryRequest {
            file_information_class: _,
            flags: _,
            file_index: _,
            file_id,
            pattern,
            output_buffer_length: _,
        } = request;
        *file_id = self.file_id(*file_id);
        *pattern = self.name(pattern, |it, pattern| it.pattern(pattern, around.found));
    }

    fn query_info(&mut self, request: &mut QueryInfoRequest) {
        let QueryInfoRequest {
            info_type,
            file_info_class,
            output_buffer_length: _,
            input,
            additional_information: _,
            flags: _,
            file_id,
        } = request;
        *input = self.query_input(*info_type, *file_info_class, input);
        *file_id = self.file_id(*file_id);
    }

    /// StructureSize alone stays.
    fn opaque(&mut self, body: &mut OpaqueBody) {
        let OpaqueBody {
            command: _,
            bytes,
            reason,
            bulk_at: _,
            bulk_len: _,
        } = body;
        "a body that does not parse".clone_into(reason);
        let (size, rest) = bytes.split_at_checked(2).unwrap_or((bytes, &[]));
        let made = [size, &self.buffer("opaque", rest)].concat();
        if made != *bytes {
            self.tally
                .lossy("requests that do not parse: replaced as bytes");
        }
        *bytes = made;
    }

    /// The id of a session or tree on the wire.
    pub(super) fn wire_id(&mut self, id: u64) -> u64 {
        if matches!(id, 0 | u64::MAX) {
            return id;
        }
        self.tally.replaced(Kind::WireIds, 8);
        match self.key.number("wire id", id) {
            0 | u64::MAX => 1,
            made => made,
        }
    }

    pub(super) fn tree_id(&mut self, id: u32) -> u32 {
        if matches!(id, 0 | u32::MAX) {
            return id;
        }
        self.tally.replaced(Kind::WireIds, 4);
        let made = self.key.number("tree id", u64::from(id)) & 0x7fff_ffff;
        u32::try_from(made).unwrap_or_default().max(1)
    }

    pub(super) fn file_id(&mut self, id: FileId) -> FileId {
        if matches!(id, FileId::ZERO | FileId::RELATED) {
            return id;
        }
        FileId {
            persistent: self.wire_id(id.persistent),
            volatile: self.wire_id(id.volatile),
        }
    }

    /// A GUID or lease key; the empty one stays.
    pub(super) fn guid(&mut self, guid: smbench_core::smb2::Guid) -> smbench_core::smb2::Guid {
        if guid.0.iter().all(|byte| matches!(byte, 0)) {
            return guid;
        }
        self.tally.replaced(Kind::Guids, 16);
        let mut made = guid;
        self.key.fill("guid", &[&guid.0], &mut made.0);
        made
    }

    /// A FILETIME: all are moved back by one number of days. Values that mean something else stay.
    pub(super) fn time(&mut self, time: u64) -> u64 {
        if !(2 * LONGEST_SHIFT..u64::MAX - 1_000).contains(&time) {
            return time;
        }
        self.tally.replaced(Kind::Times, 8);
        let days = self.key.number("days", 0) % (LONGEST_SHIFT / DAY) + 1;
        time.saturating_sub(days * DAY)
    }
}

/// What clients say that have no process id.
const USUAL_PROCESS: u32 = 0xfeff;
/// 100 ns each.
const DAY: u64 = 864_000_000_000;
const LONGEST_SHIFT: u64 = 3_650 * DAY;
