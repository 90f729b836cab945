//! A token that may be used for a request.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::secret::{Fingerprint, Secret};

/// The number of a token within this process: each token that is issued has one of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub(super) u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A token handed out for one request. Only the broker makes one; a clone costs a counter.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    authorization: HeaderValue,
    fingerprint: Fingerprint,
    generation: Generation,
}

impl Lease {
    /// Prepares the header once, for all requests. `None` when no header can carry the token.
    pub(super) fn new(access: &Secret, generation: Generation) -> Option<Self> {
        let text = Zeroizing::new([b"Bearer ", access.expose().as_bytes()].concat());
        // The header keeps this memory, which is wiped with the last clone of it.
        let mut authorization = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
        authorization.set_sensitive(true);
        let fingerprint = access.fingerprint();
        Some(Self(Arc::new(Inner {
            authorization,
            fingerprint,
            generation,
        })))
    }

    /// The value of the `Authorization` header, marked as sensitive.
    pub fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    /// The token itself, for the store.
    pub(super) fn token(&self) -> &[u8] {
        let value = self.0.authorization.as_bytes();
        value.strip_prefix(b"Bearer ").unwrap_or(value)
    }

    /// A copy of the token, for the store.
    pub(super) fn text(&self) -> String {
        // Made from text.
        String::from_utf8_lossy(self.token()).into_owned()
    }

    /// Recognizes the token without showing it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Which token this is; to be named when the console rejects it.
    pub fn generation(&self) -> Generation {
        self.0.generation
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.fingerprint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_carries_a_sensitive_bearer_and_prints_a_fingerprint() {
        let token = Secret::new("canary-token".to_owned());
        let lease = Lease::new(&token, Generation(7)).unwrap();
        assert_eq!(lease.authorization(), "Bearer canary-token");
        assert!(lease.authorization().is_sensitive());
        let shown = format!("{lease:?} {:?}", lease.authorization());
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains(&token.fingerprint().to_string()));
    }

    #[test]
    fn what_breaks_a_header_is_no_lease() {
        let token = Secret::new("a\r\nX-Other: b".to_owned());
        assert!(Lease::new(&token, Generation(0)).is_none());
    }
}
