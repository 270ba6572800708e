//! Logins: who proves what to the server, token by token.
//!
//! Passwords come from a [`CredentialsSource`] at the moment they are needed and are never printed.
//! Without feature `auth` there are four authenticators, none of which draws entropy: trust (for
//! model servers that do), anonymous, guest and seeded NTLM (for simulations).

pub mod logins;
#[cfg(feature = "auth")]
mod package;
mod plain;

use smbench_core::event::AuthStep;
use smbench_core::ids::{ConnId, PrincipalRef, SessionRef};
use smbench_core::seal::Secret;
use thiserror::Error;

#[cfg(feature = "auth")]
pub use self::package::SspiAuthenticator;
pub use plain::{
    AnonymousAuthenticator, REFUSE_WORKSTATION, SeededNtlm, TRUST_WORKSTATION, TrustAuthenticator,
};

/// Why a login could not go on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AuthError {
    /// The mapping has no credentials for the session.
    #[error("no credentials for session {session}")]
    NoCredentials {
        /// The session.
        session: SessionRef,
    },
    /// The server's token is not one of this login.
    #[error("the server's token is not understood: {what}")]
    BadToken {
        /// What was wrong with it.
        what: &'static str,
    },
    /// The security package refused.
    #[error("security package: {message}")]
    Package {
        /// In its own words; never with secrets.
        message: String,
    },
}

/// What a user logs in with. `Debug` does not show the password.
#[derive(Clone)]
pub struct Credentials {
    /// `user`, without domain.
    pub user: String,
    /// Domain or realm; empty for the server's own users.
    pub domain: String,
    /// The password, in UTF-8.
    pub password: Secret,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}\\{})", self.domain, self.user)
    }
}

/// Where credentials come from.
pub trait CredentialsSource: Send {
    /// The credentials of a session's user; `None` when the mapping has none.
    fn credentials(&self, session: SessionRef) -> Option<Credentials>;

    /// The credentials of somebody else who logs in to a session; `None` when there are none.
    fn of_principal(&self, _: PrincipalRef) -> Option<Credentials> {
        None
    }

    /// The credentials that a login begins with.
    ///
    /// # Errors
    ///
    /// [`AuthError::NoCredentials`] when there are none.
    fn for_login(&self, session: SessionRef, begin: Begin) -> Result<Credentials, AuthError> {
        let found = match begin {
            Begin::As(principal) => self.of_principal(principal),
            Begin::Session | Begin::Refused => self.credentials(session),
        };
        found.ok_or(AuthError::NoCredentials { session })
    }
}

impl<F: Fn(SessionRef) -> Option<Credentials> + Send> CredentialsSource for F {
    fn credentials(&self, session: SessionRef) -> Option<Credentials> {
        self(session)
    }
}

/// How a login begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// In the name of the session's user.
    Session,
    /// In another name, as re-authentication and binding may.
    As(PrincipalRef),
    /// In a way that the server will not accept: the recording shows a wrong password.
    Refused,
}

impl Begin {
    /// What the engine orders; `None` when it orders to go on.
    #[must_use]
    pub const fn of(step: AuthStep) -> Option<Self> {
        match step {
            AuthStep::Begin => Some(Self::Session),
            AuthStep::BeginAs(principal) => Some(Self::As(principal)),
            AuthStep::BeginRefused => Some(Self::Refused),
            AuthStep::Continue => None,
        }
    }
}

/// One step of a login.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// The token to send; may be empty when the login is complete.
    pub token: Vec<u8>,
    /// Nothing more is expected of the server but its agreement.
    pub done: bool,
}

/// A login in progress.
pub trait Handshake: Send {
    /// Produces the next token. `received` is what the server sent last: first the hint of its
    /// NEGOTIATE response (which may be empty), then the tokens of its SESSION_SETUP responses.
    ///
    /// # Errors
    ///
    /// [`AuthError`]; the login is then over.
    fn step(&mut self, received: &[u8]) -> Result<Step, AuthError>;

    /// The key both ends share; `None` before there is one, and for logins that give none.
    fn session_key(&self) -> Option<Secret>;
}

/// A way to log in.
pub trait Authenticator {
    /// Starts a login.
    ///
    /// # Errors
    ///
    /// [`AuthError`] when it cannot even start.
    fn begin(
        &mut self,
        conn: ConnId,
        session: SessionRef,
        begin: Begin,
    ) -> Result<Box<dyn Handshake>, AuthError>;
}
