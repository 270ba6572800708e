//! Contexts of CREATE and NEGOTIATE, quirks, and the SMB1 negotiation.

use serde_json::Value;
use smbench_core::smb2::{
    ContextData, ContextTag, CreateContext, Lease, NegotiateContext, Quirks, Request, Smb1Negotiate,
};

use super::Scrub;

impl Scrub {
    pub(super) fn create_context(&mut self, context: &mut CreateContext) {
        let CreateContext { tag, data } = context;
        let plain = match &*tag {
            ContextTag::Four(four) => four.iter().all(u8::is_ascii_alphanumeric),
            tag => known_tag(tag),
        };
        if !plain {
            let made = self.buffer("context tag", tag.as_bytes());
            *tag = ContextTag::from_bytes(&made);
        }
        match data {
            ContextData::ExtA(bytes) => *bytes = self.attribute_list(bytes),
            ContextData::SecD(bytes) => *bytes = self.security_descriptor(bytes),
            ContextData::DurableReconnect(it) => it.file_id = self.file_id(it.file_id),
            ContextData::MaximalAccessRequest(it) => {
                it.timestamp = it.timestamp.map(|time| self.time(time));
            }
            ContextData::Timewarp(it) => it.timestamp = self.time(it.timestamp),
            ContextData::OnDiskIdResponse(it) => {
                it.disk_file_id = self.wire_id(it.disk_file_id);
                it.volume_id = self.wire_id(it.volume_id);
            }
            ContextData::Lease(lease) => self.lease(lease),
            ContextData::DurableRequestV2(it) => it.create_guid = self.guid(it.create_guid),
            ContextData::DurableReconnectV2(it) => {
                it.file_id = self.file_id(it.file_id);
                it.create_guid = self.guid(it.create_guid);
            }
            ContextData::AppInstanceId(it) => it.app_instance_id = self.guid(it.app_instance_id),
            ContextData::Raw(bytes) => *bytes = self.raw_context(tag, bytes),
            ContextData::DurableRequest(_)
            | ContextData::DurableResponse(_)
            | ContextData::AllocationSize(_)
            | ContextData::MaximalAccessResponse(_)
            | ContextData::OnDiskIdRequest(_)
            | ContextData::DurableResponseV2(_)
            | ContextData::AppInstanceVersion(_) => {}
        }
    }

    fn lease(&mut self, lease: &mut Lease) {
        let Lease {
            version: _,
            key,
            state: _,
            flags: _,
            duration,
            parent_key,
            epoch: _,
            reserved,
        } = lease;
        *key = self.guid(*key);
        *parent_key = self.guid(*parent_key);
        (*duration, *reserved) = (0, 0);
    }

    fn raw_context(&mut self, tag: &ContextTag, bytes: &[u8]) -> Vec<u8> {
        // Apple's query of the server's abilities, and the mode of POSIX extensions: numbers.
        let numbers = (*tag == ContextTag::AAPL && bytes.len() == 24)
            || (*tag == ContextTag::POSIX && bytes.len() == 4);
        if numbers || bytes.is_empty() {
            return bytes.to_owned();
        }
        self.tally
            .lossy("create contexts of an unknown form: replaced as bytes");
        self.buffer("create context", bytes)
    }

    pub(super) fn negotiate_context(&mut self, context: &mut NegotiateContext) {
        match context {
            NegotiateContext::PreauthIntegrity {
                hash_algorithms: _,
                salt,
            } => *salt = self.buffer("salt", salt),
            NegotiateContext::Netname(name) => {
                *name = self.name(name, |it, name| it.unc(name));
            }
            // POSIX extensions are asked for by a GUID that is always the same.
            NegotiateContext::Raw { kind: _, data } if *data == ContextTag::POSIX.as_bytes() => {}
            NegotiateContext::Raw { kind: _, data } => {
                *data = self.buffer("negotiate context", data);
            }
            NegotiateContext::Encryption { ciphers: _ }
            | NegotiateContext::Compression {
                flags: _,
                algorithms: _,
            }
            | NegotiateContext::Transport { flags: _ }
            | NegotiateContext::Rdma { transforms: _ }
            | NegotiateContext::Signing { algorithms: _ } => {}
        }
    }

    /// An SMB1 NEGOTIATE that offers the same of the dialects that are known.
    pub(super) fn smb1_negotiate(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tally
            .replaced(super::tally::Kind::Buffers, bytes.len());
        let offered = Smb1Negotiate::decode(bytes).map(|it| it.dialects);
        let offered = offered.unwrap_or_default();
        let mut known: Vec<&str> = SMB1_DIALECTS
            .into_iter()
            .filter(|dialect| offered.iter().any(|it| it == dialect))
            .collect();
        if known.is_empty() {
            known = vec!["NT LM 0.12", "SMB 2.002", "SMB 2.???"];
        }
        Smb1Negotiate::new(&known).raw
    }

    /// Odd layouts stay as far as they are numbers of the fixed part and lengths; padding becomes
    /// zeros. Where more is odd, the message gets the usual layout.
    pub(super) fn quirks(&mut self, quirks: &Quirks, request: Option<&Request>) -> Quirks {
        if quirks.patches().is_empty() {
            return quirks.clone();
        }
        let fixed = request.map_or(0, fixed_end);
        let inside = |at: u32, len: usize| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            at.saturating_add(len) <= fixed
        };
        let padding = |len: usize| len < 8;
        let small = quirks
            .patches()
            .iter()
            .all(|it| inside(it.at, it.bytes.len()) || padding(it.bytes.len()));
        let kept = serde_json::to_value(quirks).ok().filter(|_| small);
        let kept = kept.and_then(|mut value| {
            for patch in value.get_mut("patches")?.as_array_mut()? {
                let at = patch.get("at")?.as_u64()?;
                let hex = patch.get("bytes")?.as_str()?.to_owned();
                if !inside(u32::try_from(at).ok()?, hex.len() / 2) {
                    *patch.get_mut("bytes")? = Value::String("0".repeat(hex.len()));
                    self.tally
                        .replaced(super::tally::Kind::Buffers, hex.len() / 2);
                }
            }
            serde_json::from_value(value).ok()
        });
        kept.unwrap_or_else(|| {
            self.tally
                .lossy("unusual layouts of messages: now the usual one");
            Quirks::default()
        })
    }
}

fn known_tag(tag: &ContextTag) -> bool {
    [
        ContextTag::APP_INSTANCE_ID,
        ContextTag::APP_INSTANCE_VERSION,
        ContextTag::SVHDX,
        ContextTag::POSIX,
    ]
    .contains(tag)
}

/// Where the fixed part of a request ends: header and StructureSize, without its variable byte.
fn fixed_end(request: &Request) -> usize {
    64 + match request {
        Request::Negotiate(_) | Request::LeaseBreak(_) => 36,
        Request::SessionSetup(_)
        | Request::Close(_)
        | Request::Flush(_)
        | Request::OplockBreak(_) => 24,
        Request::TreeConnect(_) => 8,
        Request::Create(_) | Request::Ioctl(_) => 56,
        Request::Read(_) | Request::Write(_) => 48,
        Request::Lock(_) => 24,
        Request::QueryDirectory(_) | Request::ChangeNotify(_) | Request::SetInfo(_) => 32,
        Request::QueryInfo(_) => 40,
        Request::Logoff(_) | Request::TreeDisconnect(_) | Request::Cancel(_) | Request::Echo(_) => {
            4
        }
        Request::Opaque(_) => 2,
    }
}

/// The dialects that clients are known to offer in SMB1.
const SMB1_DIALECTS: [&str; 13] = [
    "PC NETWORK PROGRAM 1.0",
    "MICROSOFT NETWORKS 1.03",
    "MICROSOFT NETWORKS 3.0",
    "LANMAN1.0",
    "Windows for Workgroups 3.1a",
    "LM1.2X002",
    "DOS LANMAN2.1",
    "LANMAN2.1",
    "Samba",
    "NT LANMAN 1.0",
    "NT LM 0.12",
    "SMB 2.002",
    "SMB 2.???",
];
