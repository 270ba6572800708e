//! Who logs in: NTLM inside SPNEGO or bare, guest, anonymous. [MS-NLMP], RFC 4178.

use smbench_core::seal::Secret;
use smbench_core::seal::ntlm::{
    self, Authenticate, ChallengeParams, MicVerdict, SealingKeys, challenge_flags, mech_list_mic,
};
use smbench_core::seal::spnego::{self, NegState, OID_NTLMSSP, Resp, Token};
use smbench_core::smb2::NtStatus;
use smbench_live::auth::REFUSE_WORKSTATION;

use super::limits::Limit;
use super::{ConnKey, Server};

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

/// Whose authentication a token belongs to: each channel of a session has its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) session: u64,
    pub(super) conn: ConnKey,
}

/// Whom an authentication has shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Who {
    /// Empty for an anonymous login.
    pub(super) user: String,
    pub(super) guest: bool,
    pub(super) anonymous: bool,
}

/// What a token led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Another token is wanted.
    Continue(Vec<u8>),
    /// Logged in; without key for guests and anonymous.
    Done {
        /// Who that is.
        who: Who,
        /// The last token to the client.
        token: Vec<u8>,
        /// The session key.
        key: Option<Secret>,
    },
}

impl Server {
    /// Takes one security token of a channel that authenticates.
    pub(super) fn login_step(&mut self, leg: Leg, token: &[u8]) -> Result<Step, NtStatus> {
        if self.config.trusting {
            return self.trust(leg, token);
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
                self.channel(leg)?.login = Some(login);
                Ok(Step::Continue(spnego::neg_token_resp(&Resp {
                    state: Some(NegState::AcceptIncomplete),
                    mech: Some(OID_NTLMSSP),
                    ..Resp::default()
                })))
            }
            (Some(parsed), Some(inner)) if ntlm::parse_negotiate(inner).is_ok() => {
                self.challenge(leg, &parsed, inner)
            }
            (Some(parsed), Some(inner)) => self.authenticate(leg, &parsed, inner),
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

    /// A simulation's login: the token is who it says, or nobody. Two legs when it is NTLM's.
    fn trust(&mut self, leg: Leg, token: &[u8]) -> Result<Step, NtStatus> {
        let inner = spnego::parse(token).and_then(|parsed| parsed.inner());
        if inner.is_some_and(|inner| ntlm::parse_negotiate(inner).is_ok()) {
            return self.login_negotiated(leg, token);
        }
        let login = inner.and_then(|inner| ntlm::parse_authenticate(inner).ok());
        let refused = |it: &Authenticate<'_>| it.workstation == REFUSE_WORKSTATION;
        if login.as_ref().is_some_and(refused) {
            return Err(NtStatus::LOGON_FAILURE);
        }
        let user = login.map(|message| message.user);
        let plain = || String::from_utf8_lossy(token).into_owned();
        Ok(Step::Done {
            who: Who {
                user: user.unwrap_or_else(plain),
                ..Who::default()
            },
            token: Vec::new(),
            key: None,
        })
    }

    fn login_negotiated(&mut self, leg: Leg, token: &[u8]) -> Result<Step, NtStatus> {
        match spnego::parse(token).map(|parsed| (parsed, parsed.inner())) {
            Some((parsed, Some(inner))) => self.challenge(leg, &parsed, inner),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    /// NEGOTIATE gives CHALLENGE. [MS-NLMP] 3.2.5.1.1.
    fn challenge(&mut self, leg: Leg, outer: &Token<'_>, inner: &[u8]) -> Result<Step, NtStatus> {
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
        let channel = self.channel(leg)?;
        let mut mech_types = channel.login.take().and_then(|login| login.mech_types);
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
        channel.login = Some(Login {
            challenge,
            negotiate: inner.to_vec(),
            challenge_message: message,
            mech_types,
            flags: challenge_flags(negotiate.flags),
        });
        Ok(Step::Continue(wrapped))
    }

    /// AUTHENTICATE ends it. [MS-NLMP] 3.2.5.1.2.
    fn authenticate(
        &mut self,
        leg: Leg,
        outer: &Token<'_>,
        inner: &[u8],
    ) -> Result<Step, NtStatus> {
        let message = ntlm::parse_authenticate(inner).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let login = self.channel(leg)?.login.take();
        let login = login
            .filter(|login| !login.challenge_message.is_empty())
            .ok_or(NtStatus::INVALID_PARAMETER)?;
        let (who, key) = self.judge(&message, &login, inner)?;
        let Some(mech_types) = login.mech_types else {
            return Ok(Step::Done {
                who,
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
        Ok(Step::Done { who, token, key })
    }

    fn judge(
        &self,
        message: &Authenticate<'_>,
        login: &Login,
        raw: &[u8],
    ) -> Result<(Who, Option<Secret>), NtStatus> {
        if message.is_anonymous() {
            if !self.config.guest_ok {
                return Err(NtStatus::ACCESS_DENIED);
            }
            let who = Who {
                anonymous: true,
                ..Who::default()
            };
            return Ok((who, None));
        }
        let known = |user: &&(String, Secret)| user.0.eq_ignore_ascii_case(&message.user);
        let Some((user, password)) = self.config.users.iter().find(known).cloned() else {
            if !self.config.guest_ok {
                return Err(NtStatus::LOGON_FAILURE);
            }
            // Samba's *map to guest = Bad User*.
            let who = Who {
                user: "guest".to_owned(),
                guest: true,
                anonymous: false,
            };
            return Ok((who, None));
        };
        let password = std::str::from_utf8(password.expose());
        let password = password.map_err(|_| NtStatus::LOGON_FAILURE)?;
        let key = ntlm::verify(message, password, &login.challenge)
            .map_err(|_| NtStatus::LOGON_FAILURE)?;
        let parts = (&login.negotiate, &login.challenge_message);
        if ntlm::check_mic(&key, parts.0, parts.1, raw, message) == MicVerdict::Invalid {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let who = Who {
            user,
            ..Who::default()
        };
        Ok((who, Some(key)))
    }
}
