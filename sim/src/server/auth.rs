//! Who logs in: NTLM inside SPNEGO or bare, guest, anonymous. [MS-NLMP], RFC 4178.

use smbench_core::seal::Secret;
use smbench_core::seal::ntlm::{
    self, Authenticate, ChallengeParams, MicVerdict, SealingKeys, challenge_flags, mech_list_mic,
};
use smbench_core::seal::spnego::{self, NegState, OID_NTLMSSP, Resp, Token};
use smbench_core::smb2::NtStatus;
use smbench_live::auth::REFUSE_WORKSTATION;

use super::Server;
use super::limits::Limit;

/// An authentication between its two legs.
#[derive(Debug, Default)]
pub(super) struct Login {
    challenge: [u8; 8],
    negotiate: Vec<u8>,
    challenge_message: Vec<u8>,
    /// Whether tokens are wrapped in SPNEGO, and the DER of its mechanisms.
    mech_types: Option<Vec<u8>>,
    flags: u32,
}

/// What a token led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Another token is wanted.
    Continue(Vec<u8>),
    /// Logged in; without key for guests and anonymous.
    Done {
        /// The last token to the client.
        token: Vec<u8>,
        /// The session key.
        key: Option<Secret>,
    },
}

impl Server {
    /// Takes one security token of a session that authenticates.
    pub(super) fn login_step(&mut self, id: u64, token: &[u8]) -> Result<Step, NtStatus> {
        if self.config.trusting {
            return self.trust(id, token);
        }
        let parsed = spnego::parse(token);
        let inner = parsed.as_ref().and_then(Token::inner);
        match (parsed, inner) {
            // The client's favourite is not ours: ask for NTLM. RFC 4178 5.
            (Some(Token::Init(init)), inner)
                if inner.is_none_or(|inner| !inner.starts_with(b"NTLMSSP\0")) =>
            {
                if !init.mechs().any(|mech| mech == OID_NTLMSSP) {
                    return Err(NtStatus::LOGON_FAILURE);
                }
                self.check_token(init.mech_types)?;
                let login = Login {
                    mech_types: Some(init.mech_types.to_vec()),
                    ..Login::default()
                };
                self.session_login(id, login)?;
                Ok(Step::Continue(spnego::neg_token_resp(&Resp {
                    state: Some(NegState::AcceptIncomplete),
                    mech: Some(OID_NTLMSSP),
                    ..Resp::default()
                })))
            }
            (Some(parsed), Some(inner)) if ntlm::parse_negotiate(inner).is_ok() => {
                self.challenge(id, &parsed, inner)
            }
            (Some(parsed), Some(inner)) => self.authenticate(id, &parsed, inner),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    /// What a login keeps until its next leg is short.
    fn check_token(&mut self, kept: &[u8]) -> Result<(), NtStatus> {
        if kept.len() > self.config.limits.token_bytes {
            return Err(self.limited(Limit::Tokens));
        }
        Ok(())
    }

    fn session_login(&mut self, id: u64, login: Login) -> Result<(), NtStatus> {
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        session.login = Some(login);
        Ok(())
    }

    /// A simulation's login: the token is who it says, or nobody. Two legs when it is NTLM's.
    fn trust(&mut self, id: u64, token: &[u8]) -> Result<Step, NtStatus> {
        let inner = spnego::parse(token).and_then(|parsed| parsed.inner());
        if inner.is_some_and(|inner| ntlm::parse_negotiate(inner).is_ok()) {
            return self.login_negotiated(id, token);
        }
        let login = inner.and_then(|inner| ntlm::parse_authenticate(inner).ok());
        let refused = |it: &Authenticate<'_>| it.workstation == REFUSE_WORKSTATION;
        if login.as_ref().is_some_and(refused) {
            return Err(NtStatus::LOGON_FAILURE);
        }
        let user = login.map(|message| message.user);
        let plain = || String::from_utf8_lossy(token).into_owned();
        self.set_user(id, user.unwrap_or_else(plain), false, false)?;
        Ok(Step::Done {
            token: Vec::new(),
            key: None,
        })
    }

    fn login_negotiated(&mut self, id: u64, token: &[u8]) -> Result<Step, NtStatus> {
        match spnego::parse(token).map(|parsed| (parsed, parsed.inner())) {
            Some((parsed, Some(inner))) => self.challenge(id, &parsed, inner),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    /// NEGOTIATE gives CHALLENGE. [MS-NLMP] 3.2.5.1.1.
    fn challenge(&mut self, id: u64, outer: &Token<'_>, inner: &[u8]) -> Result<Step, NtStatus> {
        let negotiate = ntlm::parse_negotiate(inner).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        self.check_token(inner)?;
        if let Token::Init(init) = outer {
            self.check_token(init.mech_types)?;
        }
        let challenge = self.rng.next64().to_le_bytes();
        let filetime = self.filetime();
        let name = self.config.server_name.clone();
        let message = ntlm::build_challenge(&ChallengeParams {
            client_flags: negotiate.flags,
            server_challenge: challenge,
            server_name: &name,
            domain_name: &name,
            dns_name: &name.to_lowercase(),
            filetime: Some(filetime),
        });
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        let mut mech_types = session.login.take().and_then(|login| login.mech_types);
        if let Token::Init(init) = outer {
            mech_types = Some(init.mech_types.to_vec());
        }
        let wrapped = if mech_types.is_some() {
            spnego::neg_token_resp(&Resp {
                state: Some(NegState::AcceptIncomplete),
                mech: Some(OID_NTLMSSP),
                token: Some(&message),
                mic: None,
            })
        } else {
            message.clone()
        };
        session.login = Some(Login {
            challenge,
            negotiate: inner.to_vec(),
            challenge_message: message,
            mech_types,
            flags: challenge_flags(negotiate.flags),
        });
        Ok(Step::Continue(wrapped))
    }

    /// AUTHENTICATE ends it. [MS-NLMP] 3.2.5.1.2.
    fn authenticate(&mut self, id: u64, outer: &Token<'_>, inner: &[u8]) -> Result<Step, NtStatus> {
        let message = ntlm::parse_authenticate(inner).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let session = self.sessions.get_mut(&id);
        let login = session.and_then(|session| session.login.take());
        let login = login
            .filter(|login| !login.challenge_message.is_empty())
            .ok_or(NtStatus::INVALID_PARAMETER)?;
        let key = self.judge(id, &message, &login, inner)?;
        let Some(mech_types) = login.mech_types else {
            return Ok(Step::Done {
                token: Vec::new(),
                key,
            });
        };
        let asked = matches!(outer, Token::Resp(resp) if resp.mic.is_some());
        let mic = key.as_ref().filter(|_| asked).map(|key| {
            let flags = login.flags & message.flags;
            mech_list_mic(key, SealingKeys::ServerToClient, flags, &mech_types)
        });
        let token = spnego::neg_token_resp(&Resp {
            state: Some(NegState::AcceptCompleted),
            mic: mic.as_ref().map(|mic| mic.as_slice()),
            ..Resp::default()
        });
        Ok(Step::Done { token, key })
    }

    fn judge(
        &mut self,
        id: u64,
        message: &Authenticate<'_>,
        login: &Login,
        raw: &[u8],
    ) -> Result<Option<Secret>, NtStatus> {
        if message.is_anonymous() {
            if !self.config.guest_ok {
                return Err(NtStatus::ACCESS_DENIED);
            }
            self.set_user(id, String::new(), false, true)?;
            return Ok(None);
        }
        let known = |user: &&(String, Secret)| user.0.eq_ignore_ascii_case(&message.user);
        let Some((user, password)) = self.config.users.iter().find(known).cloned() else {
            if !self.config.guest_ok {
                return Err(NtStatus::LOGON_FAILURE);
            }
            // Samba's *map to guest = Bad User*.
            self.set_user(id, "guest".to_owned(), true, false)?;
            return Ok(None);
        };
        let password = std::str::from_utf8(password.expose());
        let password = password.map_err(|_| NtStatus::LOGON_FAILURE)?;
        let key = ntlm::verify(message, password, &login.challenge)
            .map_err(|_| NtStatus::LOGON_FAILURE)?;
        let parts = (&login.negotiate, &login.challenge_message);
        if ntlm::check_mic(&key, parts.0, parts.1, raw, message) == MicVerdict::Invalid {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        self.set_user(id, user, false, false)?;
        Ok(Some(key))
    }

    fn set_user(
        &mut self,
        id: u64,
        user: String,
        guest: bool,
        anonymous: bool,
    ) -> Result<(), NtStatus> {
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(NtStatus::USER_SESSION_DELETED)?;
        session.user = user;
        session.guest = guest;
        session.anonymous = anonymous;
        Ok(())
    }
}
