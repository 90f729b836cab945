//! Sessions and leases: obtains, keeps and renews the tokens that act at a console.
//!
//! A console has one session of the gateway's own identity. For every user that is impersonated
//! there is one token more, issued on the strength of that session. What happens to a token is
//! decided by a pure state machine (`slot`); everything around it only carries out its effects.

mod account;
mod broker;
mod cause;
mod cell;
mod claims;
mod desk;
mod fetch;
mod health;
mod issuer;
mod lease;
mod logins;
mod permitted;
mod personal;
mod policy;
mod renew;
mod session;
mod shared;
mod slot;
mod store;
mod succession;
mod survey;
mod upkeep;

pub use issuer::{Account, Accounts, Login, VspcIssuer};

pub use broker::{Broker, SessionState, TokenStats};
pub use cause::Cause;
pub use desk::VisitorTurn;
pub use lease::{Generation, Lease};
pub use logins::{Given, Known, Logins, Place, Turn};
pub use policy::{PolicyError, RefreshPolicy, RefreshSettings};
pub use store::SessionStore;
pub use succession::Leaving;
pub use survey::{
    Forgotten, Life as TokenLife, Picked, RenewalLimit, Renewed, SurveyFilter, TokenKind,
    TokenState, TokenView, Which,
};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::secret::{Fingerprint, Secret};
use crate::tenant::{IdentityId, TokenKey};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Challenge, IssueError, Issued, Outage, Subject};

/// The token endpoint of the consoles.
///
/// The calls may be dropped when they take far too long, never because a caller went away.
#[async_trait]
pub trait TokenIssuer: Send + Sync {
    /// Logs one of the gateway's own identities in.
    async fn login(&self, identity: &IdentityId) -> Result<Issued, IssueError>;

    /// Tells where a console is: at another address it may be another one, which must not be shown
    /// what this one gave. None where that is not known.
    fn place_print(&self, console: &ConsoleId) -> Option<u64> {
        let _ = console;
        None
    }

    /// Tells the credentials of an identity apart from those it had before: another name or secret,
    /// or another address of the console, has another print. None where that is not known. Must not block for long.
    fn credential_print(&self, identity: &IdentityId) -> Option<u64> {
        let _ = identity;
        None
    }

    /// Exchanges the refresh token of a session.
    async fn refresh(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        access: Access,
    ) -> Result<Issued, IssueError>;

    /// Obtains a token that acts as `target`.
    async fn impersonate(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        target: Subject,
        access: Access,
    ) -> Result<Issued, IssueError>;
}

/// Is told of every call to a token endpoint, right after it ended.
pub trait TokenObserver: Send + Sync {
    /// Takes note of an event. Must not block.
    fn observe(&self, event: &TokenEvent<'_>);

    /// Takes note that a token is given up before its time. Must not block.
    fn gave_up(&self, token: &GivenUp<'_>) {
        let _ = token;
    }
}

/// A token that is given up before its time.
#[derive(Clone, Copy, Debug)]
pub struct GivenUp<'a> {
    /// Whose console; of a user who was revoked, all.
    pub console: Option<&'a ConsoleId>,
    /// The user that it acts as; none for one who acts as itself.
    pub target: Option<Subject>,
    /// The tenant whose own account it is.
    pub tenant: Option<&'a Arc<str>>,
    /// Which token; none where it may be several.
    pub lease: Option<Fingerprint>,
    /// Why.
    pub cause: Cause,
}

/// One finished call to a token endpoint.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvent<'a> {
    /// The console that was asked.
    pub console: &'a ConsoleId,
    /// The impersonated user; none for the session's own grants.
    pub target: Option<Subject>,
    /// The tenant whose own account it is; none for the gateway's.
    pub tenant: Option<&'a Arc<str>>,
    /// Whose session it is, where somebody logged in as itself.
    pub user: Option<&'a str>,
    /// What the token was to be allowed.
    pub access: Access,
    /// What was asked for.
    pub grant: GrantKind,
    /// Why.
    pub cause: Cause,
    /// What came of it.
    pub outcome: Result<Granted, &'a IssueError>,
    /// How long the call took, without the wait for its turn.
    pub duration: Duration,
}

/// The kind of a call to the token endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantKind {
    /// Grant `as`.
    Impersonate,
    /// A full login.
    Login,
    /// Grant `refresh_token`.
    Refresh,
}

impl GrantKind {
    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Impersonate => "as",
            Self::Login => "login",
            Self::Refresh => "refresh",
        }
    }
}

/// What may be told about a token that was issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Granted {
    /// Recognizes the access token without showing it.
    pub fingerprint: Fingerprint,
    /// The number under which the gateway holds it.
    pub generation: Generation,
    /// How long it lives.
    pub lifetime: Duration,
}

/// Why there is no lease.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The console wants a second step from the gateway's login.
    #[error("the login is not complete: {challenge}")]
    Challenge {
        /// The step that is missing.
        challenge: Challenge,
        /// When the gateway will try again.
        retry_after: Duration,
    },
    /// The console refused the login or the impersonation.
    #[error("{error}")]
    Refused {
        /// The console's answer.
        error: IssueError,
        /// When the gateway will try again.
        retry_after: Duration,
    },
    /// The console asks for patience.
    #[error("the token endpoint throttles")]
    Throttled {
        /// When the gateway will try again.
        retry_after: Duration,
    },
    /// No token came within the time that the request had.
    #[error("no token in time")]
    TimedOut {
        /// When a new attempt makes sense.
        retry_after: Duration,
    },
    /// The token endpoint is ill.
    #[error("{error}")]
    Unavailable {
        /// What is wrong with it.
        error: IssueError,
        /// When the gateway will try again.
        retry_after: Duration,
    },
    /// The console gave a token of another user: it is not used.
    #[error("{error}")]
    WrongSubject {
        /// Whose it was.
        error: IssueError,
        /// When the gateway will try again.
        retry_after: Duration,
    },
}

impl TokenError {
    fn internal() -> Self {
        Self::new(
            IssueError::Unavailable(Outage::Internal),
            Duration::from_secs(1),
        )
    }

    /// Whether the console said no, so that only somebody's doing can help.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Challenge { .. } | Self::Refused { .. })
    }

    /// Whether TLS with the console is the reason.
    pub fn is_tls(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                error: IssueError::Unavailable(Outage::Tls(_)),
                ..
            }
        )
    }

    /// When it makes sense to ask again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Challenge { retry_after, .. }
            | Self::Refused { retry_after, .. }
            | Self::Throttled { retry_after }
            | Self::TimedOut { retry_after }
            | Self::Unavailable { retry_after, .. }
            | Self::WrongSubject { retry_after, .. } => *retry_after,
        }
    }

    fn new(error: IssueError, retry_after: Duration) -> Self {
        match error {
            IssueError::Challenge(challenge) => Self::Challenge {
                challenge,
                retry_after,
            },
            IssueError::Refused { .. } => Self::Refused { error, retry_after },
            IssueError::WrongSubject { .. } => Self::WrongSubject { error, retry_after },
            IssueError::Throttled { .. } => Self::Throttled { retry_after },
            IssueError::Malformed(_) | IssueError::NextCode { .. } | IssueError::Unavailable(_) => {
                Self::Unavailable { error, retry_after }
            }
        }
    }

    /// The same failure as the error of a fetch that depended on the missing token.
    fn as_issue_error(&self) -> IssueError {
        match self {
            Self::Challenge { challenge, .. } => IssueError::Challenge(*challenge),
            Self::Refused { error, .. }
            | Self::Unavailable { error, .. }
            | Self::WrongSubject { error, .. } => error.clone(),
            Self::Throttled { retry_after } => IssueError::Throttled {
                retry_after: *retry_after,
            },
            Self::TimedOut { .. } => IssueError::Unavailable(Outage::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests;
