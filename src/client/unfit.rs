//! Credentials that name a client, and do not suffice.

use std::fmt;
use std::sync::Arc;

use super::{Client, Unidentified};

/// A credential that is known, and does not suffice. The caller is told no more than about one that
/// nobody knows; the audit record says what it was.
#[derive(Debug, Eq, PartialEq)]
pub struct Unfit {
    /// Whose it is, if it is somebody's.
    pub client: Option<Arc<str>>,
    /// As records name it.
    pub credential: Arc<str>,
    /// What is wrong with it.
    pub lack: Lack,
}

/// What a credential lacks.
#[derive(Debug, Eq, PartialEq)]
pub enum Lack {
    /// A certificate beside the key, which its client needs.
    Certificate,
    /// Its time is over: what it was called.
    Expired(String),
    /// A key beside the certificate, which its client needs.
    Key,
    /// A client whose it would be: a certificate that an authority of the listener has signed, and
    /// that names nobody.
    Owner(String),
}

impl Unfit {
    pub(super) fn of(client: &Client, credential: Arc<str>, lack: Lack) -> Unidentified {
        Unidentified::Unfit(Arc::new(Self {
            client: Some(Arc::clone(&client.name)),
            credential,
            lack,
        }))
    }

    /// Whether the caller is told that it sent no credential, rather than a bad one.
    pub fn is_missing(&self) -> bool {
        match self.lack {
            Lack::Certificate | Lack::Expired(_) => false,
            Lack::Key | Lack::Owner(_) => true,
        }
    }

    /// What the caller is told.
    pub(super) fn told(&self) -> &'static str {
        if self.is_missing() { MISSING } else { BAD }
    }
}

/// What an operator is told.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("the client must show its certificate too"),
            Self::Expired(what) => write!(f, "{what} expired"),
            Self::Key => f.write_str("the client must send a key beside its certificate"),
            Self::Owner(subject) => write!(f, "the certificate of {subject:?} is no client's"),
        }
    }
}

pub(super) const BAD: &str = "the credential is not known here";
pub(super) const MISSING: &str =
    "send the client's key in the X-Api-Key header (or as a bearer, or as Basic)";
