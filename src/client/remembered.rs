//! Tokens that were read once, until they end.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use dashmap::DashMap;

use super::caller::{Verified, VerifiedHolder};
use super::{Directory, LoginId, SessionKey};
use crate::clock::Timestamp;
use crate::secret::{KeyDigest, Secret};

/// Something that is of no use any more after a time.
pub(super) trait Ends {
    /// The most of them that are remembered.
    const LIMIT: usize;

    /// When it ends.
    fn ends(&self) -> Timestamp;
}

/// Tokens by their digests, bounded in number.
#[derive(Debug)]
pub(super) struct Remembered<T>(DashMap<KeyDigest, Arc<T>, BuildHasherDefault<DigestHasher>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(DashMap::default())
    }
}

impl<T: Ends> Remembered<T> {
    pub(super) fn get(&self, digest: &KeyDigest) -> Option<Arc<T>> {
        self.0.get(digest).map(|entry| Arc::clone(&entry))
    }

    /// Where there is no room, what has ended goes first, and then all of it: what is forgotten
    /// costs a verification, or a log-in.
    pub(super) fn insert(&self, digest: KeyDigest, verified: Arc<T>, now: Timestamp) {
        if self.0.len() >= T::LIMIT {
            self.0.retain(|_, verified| verified.ends() > now);
        }
        if self.0.len() >= T::LIMIT {
            self.0.clear();
        }
        self.0.insert(digest, verified);
    }
}

impl Directory {
    /// Remembers a token of the console that a caller was given, so that it is known again.
    pub fn expose(
        &self,
        token: &Secret,
        session: &SessionKey,
        login: LoginId,
        expires: Timestamp,
        now: Timestamp,
    ) {
        let digest = KeyDigest::of(token.expose().as_bytes());
        let verified = Verified {
            expires,
            credential: Arc::from(format!("exposed:{}", digest.label())),
            login,
            access: session.access,
            holder: VerifiedHolder::Login(session.clone()),
        };
        self.exposed.insert(digest, Arc::new(verified), now);
    }
}

/// Digests are uniform already: their first bytes serve as the hash.
#[derive(Clone, Debug, Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
}
