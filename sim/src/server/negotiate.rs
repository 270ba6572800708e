//! NEGOTIATE, and what SMB1 clients send in its place. [MS-SMB2] 3.3.5.3, 3.3.5.4.

use smbench_core::seal::spnego::{OID_NTLMSSP, neg_token_init2};
use smbench_core::smb2::{
    Body, Capabilities, Cipher, Command, ContextTag, Dialect, Guid, HashAlgorithm, Header,
    HeaderFlags, Message, NegotiateContext, NegotiateRequest, NegotiateResponse, NtStatus,
    POSIX_EXTENSIONS, SecurityMode, SigningAlgorithm,
};

use super::answer::{Answer, Cx, Handled, Stop};
use super::conn::Terms;
use super::{ConnKey, Server};

impl Server {
    /// SMB_COM_NEGOTIATE: only its dialect strings matter. [MS-SMB2] 3.3.5.3.
    pub(super) fn on_smb1(&mut self, key: ConnKey, frame: &[u8]) {
        // [MS-CIFS] 2.2.4.52.1: header of 32 bytes, no words, a byte count, then strings.
        let is_negotiate = frame.get(4) == Some(&0x72);
        let strings = frame.get(35..).unwrap_or_default();
        let offers = |name: &[u8]| strings.split(|byte| *byte == 0).any(|s| s == name);
        let fresh = self
            .conns
            .get(&key)
            .is_some_and(|conn| conn.dialect.is_none());
        let dialect = if offers(b"\x02SMB 2.???") && self.config.max_dialect > Dialect::SMB_2_0_2 {
            Dialect::WILDCARD
        } else {
            Dialect::SMB_2_0_2
        };
        let offered = offers(b"\x02SMB 2.???") || offers(b"\x02SMB 2.002");
        let allowed = dialect != Dialect::SMB_2_0_2 || self.config.min_dialect <= dialect;
        if !(is_negotiate && fresh && offered && allowed) {
            return self.malformed(key);
        }
        let (body, token) = self.negotiate_response(key, dialect);
        let most = self.config.max_credits;
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        conn.dialect = Some(dialect);
        conn.max_io = body.max_read_size;
        conn.window.take(0, 1);
        let header = Header {
            command: Command::NEGOTIATE,
            credits: conn.window.grant(1, 1, false, most),
            flags: HeaderFlags::SERVER_TO_REDIR,
            ..Header::default()
        };
        let mut out = Vec::new();
        Message::new(header, Body::Response(body.into())).encode(&token, &mut out);
        self.send(key, out, None);
    }

    fn negotiate_response(&self, key: ConnKey, dialect: Dialect) -> (NegotiateResponse, Vec<u8>) {
        let client = self.conns.get(&key).map(|conn| conn.client_capabilities);
        let client = client.unwrap_or_default();
        let mut capabilities = Capabilities::DFS;
        if dialect >= Dialect::SMB_2_1 {
            capabilities |= Capabilities::LARGE_MTU;
            capabilities.set(Capabilities::LEASING, self.config.leases);
        }
        let is_3x = dialect >= Dialect::SMB_3_0 && dialect != Dialect::WILDCARD;
        if is_3x && self.config.leases && self.config.directory_leases {
            capabilities |= client & Capabilities::DIRECTORY_LEASING;
        }
        if is_3x && self.config.multi_channel {
            capabilities |= client & Capabilities::MULTI_CHANNEL;
        }
        // [MS-SMB2] 3.3.5.4: 3.1.1 says it in a context.
        if is_3x && dialect != Dialect::SMB_3_1_1 {
            capabilities |= client & Capabilities::ENCRYPTION;
        }
        let mut security_mode = SecurityMode::SIGNING_ENABLED;
        security_mode.set(SecurityMode::SIGNING_REQUIRED, self.config.signing_required);
        let max = match dialect {
            Dialect::SMB_2_0_2 => 65_536,
            _ => self.config.max_io_bytes,
        };
        let token = neg_token_init2(&[OID_NTLMSSP]);
        let response = NegotiateResponse {
            security_mode,
            dialect_revision: dialect,
            server_guid: Guid(self.config.server_guid),
            capabilities,
            max_transact_size: max,
            max_read_size: max,
            max_write_size: max,
            system_time: self.filetime(),
            security_buffer_length: u16::try_from(token.len()).unwrap_or_default(),
            ..NegotiateResponse::default()
        };
        (response, token)
    }

    pub(super) fn negotiate(&mut self, cx: &Cx, body: &NegotiateRequest) -> Handled {
        let conn = self.conns.get_mut(&cx.conn).ok_or(Stop::Hangup)?;
        // [MS-SMB2] 3.3.5.4: a second NEGOTIATE ends the connection.
        if conn.dialect.is_some_and(|d| d != Dialect::WILDCARD) {
            return Err(Stop::Hangup);
        }
        if body.dialects.is_empty() {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let common = body.dialects.iter().copied().filter(|dialect| {
            KNOWN.contains(dialect)
                && (self.config.min_dialect..=self.config.max_dialect).contains(dialect)
        });
        let dialect = common.max().ok_or(NtStatus::NOT_SUPPORTED)?;
        self.clients.remove(&(conn.client_guid, cx.conn));
        conn.client_guid = body.client_guid;
        self.clients.insert((body.client_guid, cx.conn));
        conn.client_capabilities = body.capabilities;
        conn.client_mode = body.security_mode;
        conn.client_dialects.clone_from(&body.dialects);
        let contexts = if dialect == Dialect::SMB_3_1_1 {
            self.negotiate_contexts(&body.contexts)?
        } else {
            Vec::new()
        };
        let (mut response, token) = self.negotiate_response(cx.conn, dialect);
        response.contexts = contexts;
        let conn = self.conns.get_mut(&cx.conn).ok_or(Stop::Hangup)?;
        conn.dialect = Some(dialect);
        conn.server_capabilities = response.capabilities;
        conn.terms = Terms::of(&response, body.client_guid);
        conn.max_io = response.max_read_size;
        let mut answer = Answer::ok(response);
        answer.bulk = token;
        Ok(answer)
    }

    /// Chooses hash, cipher and signing algorithm. [MS-SMB2] 3.3.5.4.
    fn negotiate_contexts(
        &mut self,
        offered: &[NegotiateContext],
    ) -> Result<Vec<NegotiateContext>, NtStatus> {
        let mut out = Vec::new();
        let mut preauth = 0_u8;
        for context in offered {
            match context {
                NegotiateContext::PreauthIntegrity {
                    hash_algorithms, ..
                } => {
                    preauth = preauth.saturating_add(1);
                    if !hash_algorithms.contains(&HashAlgorithm::SHA_512) {
                        return Err(NtStatus::SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP);
                    }
                    let halves = [self.rng.next64(), self.rng.next64()];
                    let more = [self.rng.next64(), self.rng.next64()];
                    let salt = halves
                        .iter()
                        .chain(&more)
                        .flat_map(|half| half.to_le_bytes());
                    out.push(NegotiateContext::PreauthIntegrity {
                        hash_algorithms: vec![HashAlgorithm::SHA_512],
                        salt: salt.collect(),
                    });
                }
                // smb-rs offers none where it is not to encrypt ([MS-SMB2] 2.2.3.1.2 asks for one at least), and
                // gives up where it is told that none was chosen. Samba does not answer it.
                NegotiateContext::Encryption { ciphers } if ciphers.is_empty() => {}
                NegotiateContext::Encryption { ciphers } => {
                    let known = CIPHERS.iter().find(|cipher| ciphers.contains(cipher));
                    out.push(NegotiateContext::Encryption {
                        ciphers: vec![known.copied().unwrap_or(Cipher(0))],
                    });
                }
                NegotiateContext::Signing { algorithms } => {
                    let known = SIGNERS.iter().find(|signer| algorithms.contains(signer));
                    out.push(NegotiateContext::Signing {
                        algorithms: vec![known.copied().unwrap_or(SigningAlgorithm::AES_CMAC)],
                    });
                }
                NegotiateContext::Raw {
                    kind: POSIX_EXTENSIONS,
                    data,
                } if self.config.posix_extensions && *data == ContextTag::POSIX.as_bytes() => {
                    out.push(context.clone());
                }
                _ => {}
            }
        }
        // [MS-SMB2] 3.3.5.4: exactly one preauthentication context.
        if preauth == 1 {
            Ok(out)
        } else {
            Err(NtStatus::INVALID_PARAMETER)
        }
    }
}

/// Dialects this server speaks.
const KNOWN: [Dialect; 5] = [
    Dialect::SMB_2_0_2,
    Dialect::SMB_2_1,
    Dialect::SMB_3_0,
    Dialect::SMB_3_0_2,
    Dialect::SMB_3_1_1,
];

/// Ciphers in Samba's order of preference.
const CIPHERS: [Cipher; 4] = [
    Cipher::AES_128_GCM,
    Cipher::AES_128_CCM,
    Cipher::AES_256_GCM,
    Cipher::AES_256_CCM,
];

/// Signing algorithms in Samba's order of preference.
const SIGNERS: [SigningAlgorithm; 3] = [
    SigningAlgorithm::AES_GMAC,
    SigningAlgorithm::AES_CMAC,
    SigningAlgorithm::HMAC_SHA256,
];
