//! Logins by sspi's Negotiate package: SPNEGO around NTLM. The only file that names sspi.
//!
//! Kerberos is not offered: sspi's client for the KDC brings an HTTP stack with it (its feature
//! `network_client`), and this program does without.

use smbench_core::ids::{ConnId, SessionRef};
use smbench_core::seal::Secret;
use sspi::ntlm::NtlmConfig;
use sspi::{
    AuthIdentity, BufferType, ClientRequestFlags, CredentialUse, CredentialsBuffers,
    DataRepresentation, Negotiate, NegotiateConfig, SecurityBuffer, SecurityStatus, Sspi, SspiImpl,
    Username,
};

use super::{AuthError, Authenticator, Begin, Credentials, CredentialsSource, Handshake, Step};

/// Logs in by sspi. Draws entropy: not for simulations.
#[derive(Clone, Debug)]
pub struct SspiAuthenticator<S> {
    source: S,
    workstation: String,
}

impl<S: CredentialsSource> SspiAuthenticator<S> {
    /// Takes names and passwords from `source`; `workstation` is what the client calls itself.
    pub const fn new(source: S, workstation: String) -> Self {
        Self {
            source,
            workstation,
        }
    }
}

struct SspiHandshake {
    package: Negotiate,
    credentials: Option<CredentialsBuffers>,
    done: bool,
}

impl SspiHandshake {
    fn new(who: &Credentials, workstation: &str) -> Result<Self, AuthError> {
        let config = NegotiateConfig::new(
            Box::new(NtlmConfig::default()),
            Some("ntlm,!kerberos,!pku2u".to_owned()),
            workstation.to_owned(),
        );
        let mut package = Negotiate::new_client(config).map_err(package_error)?;
        let password = std::str::from_utf8(who.password.expose());
        let password = password.map_err(|_| AuthError::BadToken {
            what: "password encoding",
        })?;
        let domain = Some(who.domain.as_str()).filter(|domain| !domain.is_empty());
        let username = Username::new(&who.user, domain).map_err(|error| AuthError::Package {
            message: error.to_string(),
        })?;
        let identity = AuthIdentity {
            username,
            password: password.to_owned().into(),
        };
        let credentials = package
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&sspi::Credentials::AuthIdentity(identity))
            .execute(&mut package)
            .map_err(package_error)?
            .credentials_handle;
        Ok(Self {
            package,
            credentials,
            done: false,
        })
    }
}

impl Handshake for SspiHandshake {
    fn step(&mut self, received: &[u8]) -> Result<Step, AuthError> {
        if self.done {
            return Err(AuthError::BadToken {
                what: "the login is complete already",
            });
        }
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let mut input = vec![SecurityBuffer::new(received.to_owned(), BufferType::Token)];
        let mut builder = self
            .package
            .initialize_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(
                ClientRequestFlags::MUTUAL_AUTH
                    | ClientRequestFlags::INTEGRITY
                    | ClientRequestFlags::FRAGMENT_TO_FIT
                    | ClientRequestFlags::USE_SESSION_KEY,
            )
            .with_target_data_representation(DataRepresentation::Native)
            .with_output(&mut output)
            .with_input(&mut input);
        let mut generator = self
            .package
            .initialize_security_context_impl(&mut builder)
            .map_err(package_error)?;
        // Without Kerberos nothing suspends it to ask the network.
        let result = generator.resolve_to_result().map_err(package_error)?;
        drop(generator);
        self.done = match result.status {
            SecurityStatus::Ok => true,
            SecurityStatus::ContinueNeeded => false,
            status => {
                return Err(AuthError::Package {
                    message: format!("status {status:?}"),
                });
            }
        };
        let token = output.pop().map(|buffer| buffer.buffer).unwrap_or_default();
        Ok(Step {
            token,
            done: self.done,
        })
    }

    fn session_key(&self) -> Option<Secret> {
        let keys = self.package.query_context_session_key().ok()?;
        Some(Secret::new(keys.session_key.as_ref()))
    }
}

impl<S: CredentialsSource> Authenticator for SspiAuthenticator<S> {
    fn begin(
        &mut self,
        _: ConnId,
        session: SessionRef,
        begin: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError> {
        let mut who = self.source.for_login(session, begin)?;
        if begin == Begin::Refused {
            who.password = Secret::new(b"not the password");
        }
        Ok(Box::new(SspiHandshake::new(&who, &self.workstation)?))
    }
}

/// sspi's messages name functions and statuses, never secrets.
fn package_error(error: sspi::Error) -> AuthError {
    AuthError::Package {
        message: error.to_string(),
    }
}
