//! One token and the session it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;
use uuid::Uuid;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Access,
    ApiKey,
    Refresh,
}

/// One login and what was derived from it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) login: u64,
    pub(crate) read_only: bool,
    /// Whether the identity it was opened by has the scope `rest`.
    pub(crate) rest: bool,
    /// When it ends, where renewals do not extend it.
    pub(super) ends: Option<Instant>,
}

/// Whom a token is for, by the names its claims need.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) uid: Uuid,
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) login: u64,
    /// Whether the identity is for reading only.
    pub(crate) read_only: bool,
    /// Whether the identity has the scope `rest`.
    pub(crate) rest: bool,
}

/// A token that was issued.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) subject: Uuid,
    pub(crate) login: u64,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) read_only: bool,
    /// Whether its identity has the scope `rest`.
    pub(crate) rest: bool,
    pub(super) expires: Option<Instant>,
    pub(super) revoked: AtomicBool,
    /// Whether a refresh token was used up by a renewal.
    pub(super) spent: AtomicBool,
    /// The last epoch of the counters in which the token was presented.
    pub(super) seen: AtomicU64,
}

impl Token {
    /// Tells whether this is the first call of this function in an epoch of the counters.
    pub(crate) fn first_seen(&self, epoch: u64) -> bool {
        // A load first: the warm path must not write to a shared cache line.
        self.seen.load(Ordering::Relaxed) != epoch
            && self.seen.swap(epoch, Ordering::Relaxed) != epoch
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Tells whether the token acts as another user than its session's.
    pub(crate) fn is_lent(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.user != self.subject)
    }

    /// Tells whether the token was given out on a session of the user, whomever it acts as.
    pub(super) fn lent_to(&self, user: Uuid) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.user == user)
    }
}
