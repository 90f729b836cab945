//! An access token as it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::super::policy::{Span, SpanKind};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// An access token that was found in the store.
#[derive(Debug)]
pub(in super::super) struct StoredAccess {
    pub(in super::super) access: Secret,
    /// When it was issued.
    pub(in super::super) issued: Timestamp,
    pub(in super::super) lifetime: Duration,
}

impl StoredAccess {
    /// What is left of its life; none when it is over, and when it was issued in the future, since
    /// then nobody knows what is left.
    pub(in super::super) fn span(&self, now: Timestamp) -> Option<Span> {
        span(SpanKind::Token, self.issued, self.lifetime, now)
    }
}

/// What is left of a life that began at `issued`.
pub(in super::super) fn span(
    kind: SpanKind,
    issued: Timestamp,
    lifetime: Duration,
    now: Timestamp,
) -> Option<Span> {
    let micros = u64::try_from(now.0.checked_sub(issued.0)?).ok()?;
    let age = Duration::from_micros(micros);
    (age < lifetime).then_some(Span {
        age,
        kind,
        lifetime,
    })
}

/// As it is written.
#[derive(Deserialize, Serialize)]
pub(super) struct WrittenAccess {
    token: String,
    /// In microseconds since 1970.
    issued: i64,
    /// In seconds.
    lifetime: u64,
}

impl WrittenAccess {
    pub(super) fn new(token: &str, issued: Timestamp, lifetime: Duration) -> Self {
        Self {
            token: token.to_owned(),
            issued: issued.0,
            lifetime: lifetime.as_secs(),
        }
    }

    /// How long its token is, in bytes.
    pub(super) fn length(&self) -> usize {
        self.token.len()
    }
}

impl From<WrittenAccess> for StoredAccess {
    fn from(mut written: WrittenAccess) -> Self {
        Self {
            access: Secret::new(std::mem::take(&mut written.token)),
            issued: Timestamp(written.issued),
            lifetime: Duration::from_secs(written.lifetime),
        }
    }
}

impl Drop for WrittenAccess {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}
