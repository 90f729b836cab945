//! What a token of the gateway says.

use std::fmt;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secret::SecretError;
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// One log-in at the gateway: its tokens, and all that come from them, carry it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LoginId(pub Uuid);

impl LoginId {
    /// A new one.
    ///
    /// # Errors
    /// Fails when the operating system gives no randomness.
    pub fn new() -> Result<Self, SecretError> {
        random_uuid().map(Self)
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// A session that somebody has at a console as itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SessionKey {
    /// The console.
    pub console: ConsoleId,
    /// The session, within this process.
    pub id: Uuid,
    /// What the session may do.
    pub access: Access,
}

impl SessionKey {
    /// A key that no session has yet.
    ///
    /// # Errors
    /// Fails when the operating system gives no randomness.
    pub fn new(console: &ConsoleId, access: Access) -> Result<Self, SecretError> {
        Ok(Self {
            console: console.clone(),
            id: random_uuid()?,
            access,
        })
    }
}

/// As which user of a tenant a credential acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aim {
    /// As this one, which the client named itself.
    Named(Subject),
    /// As the tenant's own, whoever that is.
    Own,
    /// As this one, which was the tenant's own when the token was issued.
    Was(Subject),
}

impl Aim {
    /// Of a token.
    pub fn of(target: Subject, is_named: bool) -> Self {
        if is_named {
            Self::Named(target)
        } else {
            Self::Was(target)
        }
    }
}

/// Whose a token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A client's, for one tenant.
    Client {
        /// The client.
        name: String,
        /// The id of the key that it logged in with.
        key: String,
        /// The tenant.
        tenant: String,
        /// The user.
        target: Subject,
        /// Whether the client named the user itself (`as`), or it is the tenant's own.
        is_named: bool,
    },
    /// Somebody's who logged in at a console.
    Login(SessionKey),
}

/// The claims as they are written.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: Uuid,
    /// The log-in.
    pub(super) sid: Uuid,
    #[serde(rename = "use")]
    pub(super) purpose: Purpose,
    /// How many refresh tokens of the log-in came before.
    #[serde(default)]
    pub(super) turn: u32,
    #[serde(default, rename = "ro")]
    pub(super) read_only: bool,
    pub(super) holder: WrittenHolder,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    Access,
    Refresh,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenHolder {
    Client {
        name: String,
        key: String,
        tenant: String,
        target: Uuid,
        #[serde(default, rename = "named")]
        is_named: bool,
    },
    Login {
        console: String,
        id: Uuid,
    },
}

impl WrittenHolder {
    pub(super) fn of(holder: &Holder) -> Self {
        match holder {
            Holder::Client {
                name,
                key,
                tenant,
                target,
                is_named,
            } => Self::Client {
                name: name.clone(),
                key: key.clone(),
                tenant: tenant.clone(),
                target: target.0,
                is_named: *is_named,
            },
            Holder::Login(session) => Self::Login {
                console: session.console.to_string(),
                id: session.id,
            },
        }
    }

    pub(super) fn read(self, access: Access) -> Holder {
        match self {
            Self::Client {
                name,
                key,
                tenant,
                target,
                is_named,
            } => Holder::Client {
                name,
                key,
                tenant,
                target: Subject(target),
                is_named,
            },
            Self::Login { console, id } => Holder::Login(SessionKey {
                console: ConsoleId::new(&console),
                id,
                access,
            }),
        }
    }
}

pub(super) fn random_uuid() -> Result<Uuid, SecretError> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
