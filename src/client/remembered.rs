//! Tokens that were read once, until they end.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use dashmap::DashMap;

use super::caller::Verified;
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

/// Tokens by their digests, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Remembered(DashMap<KeyDigest, Arc<Verified>, BuildHasherDefault<DigestHasher>>);

impl Remembered {
    pub(super) fn get(&self, digest: &KeyDigest) -> Option<Arc<Verified>> {
        self.0.get(digest).map(|entry| Arc::clone(&entry))
    }

    /// Where there is no room, what has ended goes first, and then all of it: what is forgotten
    /// costs a verification, or a log-in.
    pub(super) fn insert(&self, digest: KeyDigest, verified: Arc<Verified>, now: Timestamp) {
        if self.0.len() >= LIMIT {
            self.0.retain(|_, verified| verified.expires > now);
        }
        if self.0.len() >= LIMIT {
            self.0.clear();
        }
        self.0.insert(digest, verified);
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

/// The most tokens that are remembered.
const LIMIT: usize = 65_536;
