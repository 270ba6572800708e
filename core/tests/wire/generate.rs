//! Messages made up from a seed: any value of any field, small values more often than large ones.

use smbench_core::smb2::create_context::{
    AllocationSize, AppInstanceId, AppInstanceVersion, DurableReconnect, DurableReconnectV2,
    DurableRequest, DurableRequestV2, MaximalAccessRequest, OnDiskIdRequest, Timewarp,
};
use smbench_core::smb2::*;

/// SplitMix64.
pub(crate) struct Gen(pub(crate) u64);

impl Gen {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Any number, of any magnitude.
    pub(crate) fn int(&mut self) -> u64 {
        let bits = self.next() % 65;
        if bits == 0 {
            0
        } else {
            self.next() >> (64 - bits)
        }
    }

    fn u32(&mut self) -> u32 {
        self.int() as u32
    }

    fn u16(&mut self) -> u16 {
        self.int() as u16
    }

    fn u8(&mut self) -> u8 {
        self.int() as u8
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }

    fn guid(&mut self) -> Guid {
        Guid(self.array())
    }

    fn file_id(&mut self) -> FileId {
        match self.below(4) {
            0 => FileId::RELATED,
            1 => FileId::ZERO,
            _ => FileId {
                persistent: self.int(),
                volatile: self.int(),
            },
        }
    }

    fn name(&mut self) -> Name {
        match self.below(6) {
            0 => Name::default(),
            1 => Name::from_wire(&self.bytes(40)),
            2 => Name::from("\0"),
            3 => Name::from("gr\u{fc}n\\\u{1f600}"),
            _ => Name::from(format!("dir{}\\file{}.txt", self.below(100), self.next())),
        }
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| make(self)).collect()
    }

    fn context(&mut self) -> CreateContext {
        use ContextData as Data;
        let flags = DurableFlags::from_bits_retain(self.u32());
        let (tag, data) = match self.below(15) {
            0 => (ContextTag::EXTA, Data::ExtA(self.bytes(50))),
            1 => (ContextTag::SECD, Data::SecD(self.bytes(50))),
            2 => (ContextTag::DHNQ, Data::DurableRequest(DurableRequest {})),
            3 => {
                let file_id = self.file_id();
                (
                    ContextTag::DHNC,
                    Data::DurableReconnect(DurableReconnect { file_id }),
                )
            }
            4 => {
                let allocation_size = self.int();
                (
                    ContextTag::ALSI,
                    Data::AllocationSize(AllocationSize { allocation_size }),
                )
            }
            5 => {
                let timestamp = (self.below(2) == 0).then(|| self.int());
                (
                    ContextTag::MXAC,
                    Data::MaximalAccessRequest(MaximalAccessRequest { timestamp }),
                )
            }
            6 => (
                ContextTag::TWRP,
                Data::Timewarp(Timewarp {
                    timestamp: self.int(),
                }),
            ),
            7 => (ContextTag::QFID, Data::OnDiskIdRequest(OnDiskIdRequest {})),
            8 => {
                let (timeout, create_guid) = (self.u32(), self.guid());
                let typed = DurableRequestV2 {
                    timeout,
                    flags,
                    create_guid,
                };
                (ContextTag::DH2Q, Data::DurableRequestV2(typed))
            }
            9 => {
                let (file_id, create_guid) = (self.file_id(), self.guid());
                let typed = DurableReconnectV2 {
                    file_id,
                    create_guid,
                    flags,
                };
                (ContextTag::DH2C, Data::DurableReconnectV2(typed))
            }
            10 => {
                let typed = AppInstanceId {
                    app_instance_id: self.guid(),
                };
                (ContextTag::APP_INSTANCE_ID, Data::AppInstanceId(typed))
            }
            11 => {
                let typed = AppInstanceVersion {
                    high: self.int(),
                    low: self.int(),
                };
                (
                    ContextTag::APP_INSTANCE_VERSION,
                    Data::AppInstanceVersion(typed),
                )
            }
            12 => {
                let tag = ContextTag::from_bytes(&self.bytes(20));
                return CreateContext::from_wire(tag, Side::Request, &self.bytes(60));
            }
            13 => (ContextTag::AAPL, Data::Raw(self.bytes(30))),
            _ => return CreateContext::lease(self.lease()),
        };
        CreateContext { tag, data }
    }

    fn lease(&mut self) -> Lease {
        let v1 = Lease {
            version: 1,
            key: self.guid(),
            state: LeaseState::from_bits_retain(self.u32()),
            flags: LeaseFlags::from_bits_retain(self.u32()),
            duration: self.int(),
            ..Lease::default()
        };
        if self.below(2) == 0 {
            return v1;
        }
        let (parent_key, epoch, reserved) = (self.guid(), self.u16(), self.u16());
        Lease {
            version: 2,
            parent_key,
            epoch,
            reserved,
            ..v1
        }
    }

    fn negotiate_context(&mut self) -> NegotiateContext {
        let kind = self.below(10) as u16;
        match kind {
            1 => NegotiateContext::PreauthIntegrity {
                hash_algorithms: self.list(|g| HashAlgorithm(g.u16())),
                salt: self.bytes(32),
            },
            2 => NegotiateContext::Encryption {
                ciphers: self.list(|g| Cipher(g.u16())),
            },
            3 => NegotiateContext::Compression {
                flags: CompressionFlags::from_bits_retain(self.u32()),
                algorithms: self.list(|g| CompressionAlgorithm(g.u16())),
            },
            5 => NegotiateContext::Netname(self.name()),
            6 => {
                let flags = TransportFlags::from_bits_retain(self.u32());
                NegotiateContext::Transport { flags }
            }
            7 => NegotiateContext::Rdma {
                transforms: self.list(|g| RdmaTransform(g.u16())),
            },
            8 => NegotiateContext::Signing {
                algorithms: self.list(|g| SigningAlgorithm(g.u16())),
            },
            _ => NegotiateContext::from_data(kind, &self.bytes(40)),
        }
    }

    fn create(&mut self) -> CreateRequest {
        CreateRequest {
            name: self.name(),
            desired_access: AccessMask::from_bits_retain(self.u32()),
            file_attributes: FileAttributes::from_bits_retain(self.u32()),
            share_access: ShareAccess::from_bits_retain(self.u32()),
            create_disposition: CreateDisposition(self.u32()),
            create_options: CreateOptions::from_bits_retain(self.u32()),
            requested_oplock_level: OplockLevel(self.u8()),
            impersonation_level: ImpersonationLevel(self.u32()),
            security_flags: self.u8(),
            smb_create_flags: self.int(),
            reserved: self.int(),
            contexts: self.list(Self::context),
        }
    }

    fn negotiate(&mut self) -> NegotiateRequest {
        let modern = self.below(2) == 0;
        let mut dialects = vec![Dialect::SMB_2_0_2, Dialect(self.u16() | 0x8000)];
        if modern {
            dialects.push(Dialect::SMB_3_1_1);
        }
        NegotiateRequest {
            security_mode: SecurityMode::from_bits_retain(self.u16()),
            capabilities: Capabilities::from_bits_retain(self.u32()),
            client_guid: self.guid(),
            client_start_time: if modern { 0 } else { self.int() },
            dialects,
            contexts: if modern {
                self.list(Self::negotiate_context)
            } else {
                Vec::new()
            },
        }
    }

    fn tree_connect(&mut self) -> TreeConnectRequest {
        let mut flags = TreeConnectFlags::from_bits_retain(self.u16());
        flags.remove(TreeConnectFlags::EXTENSION_PRESENT);
        let path = self.name();
        if self.below(2) == 0 {
            return TreeConnectRequest {
                flags,
                path,
                ..TreeConnectRequest::default()
            };
        }
        flags.insert(TreeConnectFlags::EXTENSION_PRESENT);
        let (extension, contexts) = (self.bytes(30), self.bytes(30));
        TreeConnectRequest {
            flags,
            path,
            extension,
            contexts,
        }
    }

    fn locks(&mut self) -> Vec<LockElement> {
        self.list(|g| LockElement {
            offset: g.int(),
            length: g.int(),
            flags: LockFlags::from_bits_retain(g.u32()),
            reserved: g.u32(),
        })
    }

    /// A request of one of [`REQUESTS`] kinds.
    pub(crate) fn request(&mut self, kind: usize) -> Request {
        match kind {
            0 => self.negotiate().into(),
            1 => SessionSetupRequest {
                flags: SessionSetupFlags::from_bits_retain(self.u8()),
                security_mode: SecurityMode::from_bits_retain(u16::from(self.u8())),
                capabilities: Capabilities::from_bits_retain(self.u32()),
                channel: self.u32(),
                security_buffer_length: self.u8().into(),
                previous_session_id: SessionId(self.int()),
            }
            .into(),
            2 => LogoffRequest {}.into(),
            3 => self.tree_connect().into(),
            4 => TreeDisconnectRequest {}.into(),
            5 => self.create().into(),
            6 => {
                let flags = CloseFlags::from_bits_retain(self.u16());
                CloseRequest {
                    flags,
                    file_id: self.file_id(),
                }
                .into()
            }
            7 => FlushRequest {
                reserved1: self.u16(),
                file_id: self.file_id(),
            }
            .into(),
            8 => ReadRequest {
                padding: self.u8(),
                flags: ReadFlags::from_bits_retain(self.u8()),
                length: self.u32(),
                offset: self.int(),
                file_id: self.file_id(),
                minimum_count: self.u32(),
                channel: Channel(self.u32()),
                remaining_bytes: self.u32(),
                channel_info: self.bytes(20),
            }
            .into(),
            9 => WriteRequest {
                length: self.below(300) as u32,
                offset: self.int(),
                file_id: self.file_id(),
                channel: Channel(self.u32()),
                remaining_bytes: self.u32(),
                channel_info: self.bytes(20),
                flags: WriteFlags::from_bits_retain(self.u32()),
            }
            .into(),
            10 => {
                let (lock_sequence, file_id) = (self.u32(), self.file_id());
                LockRequest {
                    lock_sequence,
                    file_id,
                    locks: self.locks(),
                }
                .into()
            }
            _ => self.later_request(kind),
        }
    }

    fn later_request(&mut self, kind: usize) -> Request {
        match kind {
            11 => IoctlRequest {
                ctl_code: Fsctl(self.u32()),
                file_id: self.file_id(),
                input: self.bytes(50),
                max_input_response: self.u32(),
                output: self.bytes(20),
                max_output_response: self.u32(),
                flags: IoctlFlags::from_bits_retain(self.u32()),
            }
            .into(),
            12 => CancelRequest {}.into(),
            13 => EchoRequest {}.into(),
            14 => QueryDirectoryRequest {
                file_information_class: FileInfoClass(self.u8()),
                flags: QueryDirectoryFlags::from_bits_retain(self.u8()),
                file_index: self.u32(),
                file_id: self.file_id(),
                pattern: self.name(),
                output_buffer_length: self.u32(),
            }
            .into(),
            15 => ChangeNotifyRequest {
                flags: ChangeNotifyFlags::from_bits_retain(self.u16()),
                output_buffer_length: self.u32(),
                file_id: self.file_id(),
                completion_filter: CompletionFilter::from_bits_retain(self.u32()),
            }
            .into(),
            16 => QueryInfoRequest {
                info_type: InfoType(self.u8()),
                file_info_class: InfoClass(self.u8()),
                output_buffer_length: self.u32(),
                input: self.bytes(30),
                additional_information: SecurityInformation::from_bits_retain(self.u32()),
                flags: QueryInfoFlags::from_bits_retain(self.u32()),
                file_id: self.file_id(),
            }
            .into(),
            17 => SetInfoRequest {
                info_type: InfoType(self.u8()),
                file_info_class: InfoClass(self.u8()),
                buffer: self.bytes(60),
                additional_information: SecurityInformation::from_bits_retain(self.u32()),
                file_id: self.file_id(),
            }
            .into(),
            18 => {
                let oplock_level = OplockLevel(self.u8());
                OplockBreakAck {
                    oplock_level,
                    file_id: self.file_id(),
                }
                .into()
            }
            _ => LeaseBreakAck {
                flags: self.u32(),
                lease_key: self.guid(),
                lease_state: LeaseState::from_bits_retain(self.u32()),
                lease_duration: self.int(),
            }
            .into(),
        }
    }

    /// A header for a request of `command`.
    pub(crate) fn header(&mut self, command: Command) -> Header {
        let mut flags = HeaderFlags::from_bits_retain(self.u32());
        flags.remove(HeaderFlags::SERVER_TO_REDIR);
        Header {
            credit_charge: self.u16(),
            status: self.u32(),
            command,
            credits: self.u16(),
            flags,
            next_command: self.u32(),
            message_id: MessageId(self.int()),
            id: self.int(),
            session_id: SessionId(self.int()),
            signature: self.array(),
        }
    }
}

/// How many kinds of requests there are.
pub(crate) const REQUESTS: usize = 20;
