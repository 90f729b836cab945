//! The wire of VSPC's token endpoint: what is asked and how the answer is read. No HTTP here.

mod answer;

pub use answer::{Issued, SecondStep, is_token, parse_answer, parse_second_step};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use crate::secret::Secret;

/// The VSPC user in whose name a call is made (`userUid`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subject(pub Uuid);

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// How much an access token may do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Access {
    /// Whatever its user may do.
    #[default]
    Full,
    /// Reading only (`readOnly`).
    ReadOnly,
}

impl Access {
    /// The text in records and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
        }
    }

    /// The field that asks for it, where one is needed.
    fn field(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Full => None,
            Self::ReadOnly => Some(("readOnly", "true")),
        }
    }
}

/// One request to the token endpoint.
#[derive(Debug)]
pub enum Grant<'a> {
    /// Completes the log-in of a key pair.
    AuthorizationCode {
        /// What the challenge said, decrypted.
        code: &'a Secret,
        /// What the token may do.
        access: Access,
    },
    /// Acts as another user, on the strength of the caller's own refresh token.
    Impersonate {
        /// The impersonator's refresh token.
        refresh: &'a Secret,
        /// The user to act as.
        target: Subject,
        /// What the token may do.
        access: Access,
    },
    /// Completes a log-in with a code of a second factor.
    Mfa {
        /// The `mfa_token` of the answer to the first step.
        token: &'a Secret,
        /// The code.
        code: &'a Secret,
        /// What the token may do.
        access: Access,
    },
    /// Logs in with a name and a password.
    Password {
        /// `DOMAIN\user` or `Company\user`.
        username: &'a str,
        /// The password.
        password: &'a Secret,
        /// What the token may do.
        access: Access,
    },
    /// Begins the log-in of a key pair: asks for a challenge.
    PublicKey {
        /// The registered key, in Base64.
        key: &'a str,
        /// What the token may do.
        access: Access,
    },
    /// Exchanges a refresh token for a new pair.
    Refresh {
        /// The refresh token that was issued last.
        refresh: &'a Secret,
        /// What the token may do.
        access: Access,
    },
}

impl Grant<'_> {
    /// The request body, `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Secret {
        match self {
            Self::AuthorizationCode { code, access } => encode(&[
                Some(("grant_type", "authorization_code")),
                Some(("code", code.expose())),
                access.field(),
            ]),
            Self::Impersonate {
                refresh,
                target,
                access,
            } => encode(&[
                Some(("grant_type", "as")),
                Some(("refresh_token", refresh.expose())),
                Some(("userUid", &target.to_string())),
                access.field(),
            ]),
            Self::Mfa {
                token,
                code,
                access,
            } => encode(&[
                Some(("grant_type", "mfa")),
                Some(("mfa_token", token.expose())),
                Some(("mfa_code", code.expose())),
                access.field(),
            ]),
            Self::Password {
                username,
                password,
                access,
            } => encode(&[
                Some(("grant_type", "password")),
                Some(("username", username)),
                Some(("password", password.expose())),
                access.field(),
            ]),
            Self::PublicKey { key, access } => encode(&[
                Some(("grant_type", "public_key")),
                Some(("public_key", key)),
                access.field(),
            ]),
            Self::Refresh { refresh, access } => encode(&[
                Some(("grant_type", "refresh_token")),
                Some(("refresh_token", refresh.expose())),
                access.field(),
            ]),
        }
    }
}

/// Why no token was issued. Carries nothing secret, so it may be logged and kept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// The endpoint wants a second step before it issues a token.
    #[error("the console wants a second step: {0}")]
    Challenge(Challenge),
    /// The answer is not one that the endpoint is known to give.
    #[error("the token endpoint's answer is not understood: {0}")]
    Malformed(&'static str),
    /// Every code of the second factor that is good now was sent already. This is between the
    /// gateway and its clock: the endpoint is well.
    #[error("the next code of the second factor is good in {} s", retry_after.as_secs())]
    NextCode {
        /// How long until then.
        retry_after: Duration,
    },
    /// The endpoint understood and said no.
    #[error("the token endpoint refused with {error}: {description}")]
    Refused {
        /// The OAuth2 error code, at most 64 harmless characters.
        error: Arc<str>,
        /// The endpoint's own words, at most 256 printable characters, anything like a token cut.
        description: Arc<str>,
    },
    /// The endpoint asks for patience.
    #[error("the token endpoint throttles for {} s", retry_after.as_secs())]
    Throttled {
        /// How long to stay away.
        retry_after: Duration,
    },
    /// The endpoint cannot be reached or cannot work.
    #[error("the token endpoint is unavailable: {0}")]
    Unavailable(Outage),
    /// The token that came is another user's.
    #[error("the token endpoint gave a token of user {got}, not of {asked}")]
    WrongSubject {
        /// Whose token was asked for.
        asked: Subject,
        /// Whose it is, by its own words.
        got: Subject,
    },
}

impl IssueError {
    /// Whether the endpoint is ill, as opposed to saying no.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Unavailable(_))
    }

    /// Whether it is a refusal by its status only, whose body nobody could read.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if **error == *UNREADABLE)
    }
}

/// The error of a refusal whose body cannot be read.
const UNREADABLE: &str = "unreadable";

/// The second step that the token endpoint asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Challenge {
    /// A code that only the holder of the private key can read.
    #[error("proof of the private key")]
    KeyChallenge,
    /// A code of a second factor.
    #[error("a second factor")]
    MfaRequired,
}

/// In which way the token endpoint is unavailable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Outage {
    /// No connection, or it broke: how.
    #[error("no connection: {0}")]
    Connection(Arc<str>),
    /// It was not asked: too many wait for it that no tenant needs.
    #[error("too many users wait for a token")]
    Crowded,
    /// A fault of the gateway itself.
    #[error("a fault in the gateway")]
    Internal,
    /// It answered with a server error (VSPC's own is 520).
    #[error("status {0}")]
    Status(u16),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Its certificate is not trusted, or the handshake failed: how.
    #[error("TLS failed: {0}")]
    Tls(Arc<str>),
}

/// What the form encoding leaves as it is; all else becomes `%XX`.
pub(super) const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

fn encode(fields: &[Option<(&str, &str)>]) -> Secret {
    // Reserved in full, so that growing leaves no copy of a secret behind.
    let worst = |(name, value): &(&str, &str)| name.len() + 3 * value.len() + 2;
    let mut form = String::with_capacity(fields.iter().flatten().map(worst).sum());
    for (name, value) in fields.iter().flatten() {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        form.extend(utf8_percent_encode(value, FORM));
    }
    Secret::new(form)
}

#[cfg(test)]
mod tests;
