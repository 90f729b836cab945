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

/// Whose a token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A client's, for one tenant.
    Client {
        /// The client.
        name: String,
        /// The label of the key that it logged in with.
        key: String,
        /// The tenant.
        tenant: String,
        /// The user, where it is not the tenant's own target.
        target: Option<Subject>,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Uuid>,
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
            } => Self::Client {
                name: name.clone(),
                key: key.clone(),
                tenant: tenant.clone(),
                target: target.map(|target| target.0),
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
            } => Holder::Client {
                name,
                key,
                tenant,
                target: target.map(Subject),
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
