//! One connection as the driver knows it: its link, its seals, its logins.

use smbench_core::bulk::{self, Blobs};
use smbench_core::event::Seal;
use smbench_core::frame::{Content, Frame};
use smbench_core::ids::ConnId;
use smbench_core::seal::{ClientSecurity, SealError, Verdict};
use smbench_core::smb2::{Command, HEADER_LEN, Header};

use super::DriverConfig;
use crate::auth::logins::{Logins, messages};
use crate::link::Link;
use crate::{Metrics, Standing};

/// One connection, from an attempt to connect to the next.
pub(super) struct Conn {
    /// Goes up with every attempt and every end; events of another generation are stale.
    pub(super) generation: u64,
    pub(super) security: ClientSecurity,
    pub(super) link: Option<Link>,
    pub(super) logins: Logins,
}

impl Conn {
    pub(super) fn new(conn: ConnId, generation: u64, config: &DriverConfig) -> Self {
        let mut hash = blake3::Hasher::new();
        for number in [config.seed, conn.0.into(), generation] {
            hash.update(&number.to_le_bytes());
        }
        let [a, b, c, d, ..] = *hash.finalize().as_bytes();
        let nonce_seed = u32::from_le_bytes([a, b, c, d]);
        Self {
            generation,
            security: ClientSecurity::new(config.signing, config.encryption, nonce_seed),
            link: None,
            logins: Logins::default(),
        }
    }

    /// Takes seal and bulk off a received frame, and keeps what logins need of it.
    pub(super) fn receive(
        &mut self,
        raw: Vec<u8>,
        blobs: &mut impl Blobs,
        metrics: &mut Metrics,
    ) -> Result<(Frame, Seal), SealError> {
        let opened = self.security.open(raw)?;
        let mut verdict = opened.verdict;
        let logins = &mut self.logins;
        let frame = bulk::detach(&opened.plain, |pdu, content, bytes| match content {
            Content::Data(digest) => blobs.put(&digest, bytes),
            Content::Token => logins.received(pdu, bytes),
        })?;
        for (header, pdu) in messages(&opened.plain) {
            if header.command == Command::SESSION_SETUP
                && header.is_response()
                && let Some(late) = self.setup_answered(&header, pdu, metrics)?
            {
                verdict = late;
            }
        }
        match verdict {
            Verdict::Unchecked { .. } => metrics.unchecked_seals += 1,
            verdict if !verdict.is_good() => metrics.bad_seals += 1,
            _ => {}
        }
        Ok((frame, seal_of(verdict)))
    }

    /// Ends a login with its final response: keys are made, and that response's signature judged.
    fn setup_answered(
        &mut self,
        header: &Header,
        pdu: &[u8],
        metrics: &mut Metrics,
    ) -> Result<Option<Verdict>, SealError> {
        if header.status == STATUS_PENDING {
            return Ok(None);
        }
        let Some(session) = self.logins.answered(header.message_id.0) else {
            return Ok(None);
        };
        if header.status == STATUS_MORE_PROCESSING_REQUIRED {
            return Ok(None);
        }
        let Some(mut login) = self.logins.end(session) else {
            return Ok(None);
        };
        if header.status != 0 {
            return Ok(None);
        }
        let flags = pdu.get(SESSION_FLAGS_AT..SESSION_FLAGS_AT + 2);
        if let Some(flags) = flags.and_then(|it| it.try_into().ok()) {
            let standing = Standing::of_flags(u16::from_le_bytes(flags));
            metrics.standings.insert(session, standing);
        }
        // The server's last token proves the server, and with Kerberos may change the key.
        let last = std::mem::take(&mut login.received);
        if !login.done
            && !last.is_empty()
            && let Err(error) = login.handshake.step(&last)
        {
            tracing::warn!(%session, %error, "the server's last token is wrong");
            metrics.login_failures += 1;
        }
        match login.handshake.session_key() {
            Some(key) => self.security.install_session_key(header.session_id.0, key),
            None => {
                self.security.without_session_key(header.session_id.0);
                Ok(None)
            }
        }
    }
}

const fn seal_of(verdict: Verdict) -> Seal {
    match verdict {
        Verdict::Encrypted => Seal::Encrypted,
        Verdict::Signed => Seal::Signed,
        Verdict::Unsigned | Verdict::Unchecked { .. } => Seal::Plain,
        Verdict::MissingSignature { .. }
        | Verdict::MissingEncryption { .. }
        | Verdict::BadSignature { .. } => Seal::BadSignature,
    }
}

/// Where a SESSION_SETUP response has its SessionFlags. [MS-SMB2] 2.2.6.
const SESSION_FLAGS_AT: usize = HEADER_LEN + 2;
const STATUS_PENDING: u32 = 0x0000_0103;
const STATUS_MORE_PROCESSING_REQUIRED: u32 = 0xC000_0016;
