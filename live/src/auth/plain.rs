//! Logins that need no library and no entropy.

use smbench_core::ids::{ConnId, SessionRef};
use smbench_core::seal::Secret;
use smbench_core::seal::ntlm::{self, AuthenticateParams, ChallengeParams, flags};
use smbench_core::seal::spnego;

use super::{AuthError, Authenticator, Begin, CredentialsSource, Handshake, Step};

/// The workstation that a login for a trusting model server comes from.
pub const TRUST_WORKSTATION: &str = "SMBENCH-TRUST";
/// The workstation whose logins a trusting model server refuses, because the recorded server did.
pub const REFUSE_WORKSTATION: &str = "SMBENCH-REFUSE";

/// Logs in by saying who it is, in the two legs and the messages of NTLM. For model servers in
/// their trusting mode: nothing is proved, and there is no key and no signature. What is sent is a
/// function of the name alone.
#[derive(Clone, Debug, Default)]
pub struct TrustAuthenticator<S> {
    source: S,
}

impl<S: CredentialsSource> TrustAuthenticator<S> {
    /// Takes names from `source`; passwords are not looked at.
    pub const fn new(source: S) -> Self {
        Self { source }
    }
}

struct Trust {
    who: super::Credentials,
    refused: bool,
    asked: bool,
}

impl Handshake for Trust {
    fn step(&mut self, _: &[u8]) -> Result<Step, AuthError> {
        let negotiate = ntlm::build_negotiate(CLIENT_FLAGS);
        if !std::mem::replace(&mut self.asked, true) {
            return Ok(Step {
                token: negotiate,
                done: false,
            });
        }
        // The answer to no real challenge: to one that is always the same.
        let challenge = ntlm::build_challenge(&ChallengeParams {
            client_flags: CLIENT_FLAGS,
            server_challenge: [0; 8],
            server_name: "",
            domain_name: "",
            dns_name: "",
            filetime: None,
        });
        let params = AuthenticateParams {
            user: &self.who.user,
            domain: &self.who.domain,
            password: "",
            workstation: if self.refused {
                REFUSE_WORKSTATION
            } else {
                TRUST_WORKSTATION
            },
            client_challenge: [0; 8],
            session_key: [0; 16],
            filetime: 0,
        };
        let built = if self.who.user.is_empty() && !self.refused {
            ntlm::build_anonymous(&challenge)
        } else {
            let built = ntlm::build_authenticate(&params, &negotiate, &challenge);
            built.map(|(token, _)| token)
        };
        let token = built.map_err(|_| BAD_CHALLENGE)?;
        Ok(Step { token, done: true })
    }

    fn session_key(&self) -> Option<Secret> {
        None
    }
}

impl<S: CredentialsSource> Authenticator for TrustAuthenticator<S> {
    fn begin(
        &mut self,
        _: ConnId,
        session: SessionRef,
        begin: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError> {
        Ok(Box::new(Trust {
            who: self.source.for_login(session, begin)?,
            refused: begin == Begin::Refused,
            asked: false,
        }))
    }
}

/// Logs in anonymously, by raw NTLMSSP. [MS-NLMP] 3.2.5.1.2.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnonymousAuthenticator;

#[derive(Default)]
struct Anonymous {
    asked: bool,
}

impl Handshake for Anonymous {
    fn step(&mut self, received: &[u8]) -> Result<Step, AuthError> {
        if !std::mem::replace(&mut self.asked, true) {
            return Ok(Step {
                token: ntlm::build_negotiate(CLIENT_FLAGS),
                done: false,
            });
        }
        let challenge = challenge(received)?;
        let token = ntlm::build_anonymous(challenge).map_err(|_| BAD_CHALLENGE)?;
        Ok(Step { token, done: true })
    }

    fn session_key(&self) -> Option<Secret> {
        None
    }
}

impl Authenticator for AnonymousAuthenticator {
    fn begin(
        &mut self,
        _: ConnId,
        _: SessionRef,
        _: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError> {
        Ok(Box::<Anonymous>::default())
    }
}

/// Logs in by NTLMv2 with challenges and session keys derived from a seed: the same run gives the
/// same tokens. For simulations; against a real server foreseeable keys protect nothing. A server
/// that maps unknown users to guest makes a guest of whoever it does not know.
#[derive(Clone, Debug)]
pub struct SeededNtlm<S> {
    source: S,
    seed: u64,
    begun: u64,
}

impl<S: CredentialsSource> SeededNtlm<S> {
    /// Takes names and passwords from `source`.
    pub const fn new(source: S, seed: u64) -> Self {
        Self {
            source,
            seed,
            begun: 0,
        }
    }
}

struct Ntlm {
    who: super::Credentials,
    entropy: [u8; 32],
    negotiate: Vec<u8>,
    key: Option<Secret>,
}

impl Handshake for Ntlm {
    fn step(&mut self, received: &[u8]) -> Result<Step, AuthError> {
        if self.negotiate.is_empty() {
            self.negotiate = ntlm::build_negotiate(CLIENT_FLAGS);
            return Ok(Step {
                token: self.negotiate.clone(),
                done: false,
            });
        }
        let challenge = challenge(received)?;
        let password = std::str::from_utf8(self.who.password.expose());
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.entropy;
        let mut session_key = [0; 16];
        session_key
            .iter_mut()
            .zip(rest)
            .for_each(|(to, from)| *to = from);
        let params = AuthenticateParams {
            user: &self.who.user,
            domain: &self.who.domain,
            password: password.map_err(|_| AuthError::BadToken {
                what: "password encoding",
            })?,
            workstation: "SMBENCH",
            client_challenge: [a, b, c, d, e, f, g, h],
            session_key,
            filetime: 0,
        };
        let built = ntlm::build_authenticate(&params, &self.negotiate, challenge);
        let (token, key) = built.map_err(|_| BAD_CHALLENGE)?;
        self.key = Some(key);
        Ok(Step { token, done: true })
    }

    fn session_key(&self) -> Option<Secret> {
        self.key.clone()
    }
}

impl<S: CredentialsSource> Authenticator for SeededNtlm<S> {
    fn begin(
        &mut self,
        conn: ConnId,
        session: SessionRef,
        begin: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError> {
        let mut who = self.source.for_login(session, begin)?;
        if begin == Begin::Refused {
            who.password = Secret::new(b"not the password");
        }
        let mut hash = blake3::Hasher::new();
        for number in [self.seed, self.begun, conn.0.into(), session.0.into()] {
            hash.update(&number.to_le_bytes());
        }
        self.begun += 1;
        let entropy = *hash.finalize().as_bytes();
        Ok(Box::new(Ntlm {
            who,
            entropy,
            negotiate: Vec::new(),
            key: None,
        }))
    }
}

/// The NTLM message in a server's token, raw or in SPNEGO.
fn challenge(received: &[u8]) -> Result<&[u8], AuthError> {
    spnego::parse(received)
        .and_then(|token| token.inner())
        .ok_or(BAD_CHALLENGE)
}

const BAD_CHALLENGE: AuthError = AuthError::BadToken {
    what: "NTLM CHALLENGE",
};
const CLIENT_FLAGS: u32 = flags::UNICODE
    | flags::REQUEST_TARGET
    | flags::SIGN
    | flags::NTLM
    | flags::ALWAYS_SIGN
    | flags::EXTENDED_SESSIONSECURITY
    | flags::KEY_128
    | flags::KEY_EXCH
    | flags::KEY_56;
