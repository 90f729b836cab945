//! The keys of clients, known by their digests.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::remembered::DigestHasher;
use super::unfit::{Lack, Unfit};
use super::{Client, KEY_LENGTH, Unidentified, Way};
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

/// What the configuration says of a key beside its digest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyTerms {
    /// What people call it, e.g. `2026-Q4`.
    pub label: Option<String>,
    /// From when on it is not good any more.
    pub expires: Option<Timestamp>,
}

/// Why a key cannot be a client's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyFault {
    /// Another key of the client has the label.
    #[error("another key of this client has the label {0:?} already")]
    Label(String),
    /// The key is a client's already.
    #[error("this key already belongs to client {0}")]
    Shared(String),
}

/// When a key ends that does.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeyEnd {
    /// Whose it is.
    pub client: Arc<str>,
    /// Its label, or the first digits of its digest where it has none.
    pub key: Arc<str>,
    /// When it ends.
    pub at: Timestamp,
}

/// All keys, by their digests: the time that a look takes says nothing about how much of a key was
/// right, since what is compared is a digest of it that nobody can choose.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_digest: HashMap<KeyDigest, Known, BuildHasherDefault<DigestHasher>>,
    /// The digest of each key, by its client and its id: what a token names must still be there.
    by_id: HashMap<(Arc<str>, String), KeyDigest>,
    /// Each client's labels.
    labels: HashSet<(Arc<str>, String)>,
}

/// A key that a client has.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) client: Arc<Client>,
    /// As records name it, by the way it came: header, Basic, bearer.
    credentials: [Arc<str>; 3],
    /// As records name it, without the way: `7cc4a7ac`, or `7cc4a7ac(2026-Q4)`.
    pub(super) shown: Arc<str>,
    /// Its label, or the first digits of its digest.
    name: Arc<str>,
    pub(super) expires: Option<Timestamp>,
}

impl Keys {
    pub(super) fn add(
        &mut self,
        digest: KeyDigest,
        terms: KeyTerms,
        client: &Arc<Client>,
    ) -> Result<(), KeyFault> {
        if let Some(known) = self.by_digest.get(&digest) {
            return Err(KeyFault::Shared(known.client.name.to_string()));
        }
        if let Some(label) = &terms.label {
            let labelled = (Arc::clone(&client.name), label.clone());
            if !self.labels.insert(labelled) {
                return Err(KeyFault::Label(label.clone()));
            }
        }
        let digits = digest.label();
        let shown = match &terms.label {
            Some(label) => format!("{digits}({label})"),
            None => digits.clone(),
        };
        let known = Known {
            client: Arc::clone(client),
            credentials: ["api_key", "basic", "bearer"]
                .map(|way| Arc::from(format!("{way}:{shown}"))),
            shown: Arc::from(shown),
            name: Arc::from(terms.label.unwrap_or(digits)),
            expires: terms.expires,
        };
        self.by_digest.insert(digest, known);
        let id = (Arc::clone(&client.name), digest.id());
        self.by_id.insert(id, digest);
        Ok(())
    }

    /// The key of a digest, expired or not; `length` is that of what was digested.
    pub(super) fn get(&self, digest: &KeyDigest, length: usize) -> Option<&Known> {
        // Hashed whatever its length, so that the time says nothing.
        self.by_digest.get(digest).filter(|_| length >= KEY_LENGTH)
    }

    /// The key that a token was issued for.
    pub(super) fn of_token(&self, client: &Arc<str>, id: &str) -> Option<&Known> {
        let digest = self.by_id.get(&(Arc::clone(client), id.to_owned()))?;
        self.by_digest.get(digest)
    }

    /// Whether a client has any.
    pub(super) fn has_any(&self, client: &str) -> bool {
        self.by_id.keys().any(|(name, _)| &**name == client)
    }

    pub(super) fn ends(&self) -> Vec<KeyEnd> {
        let ends = self.by_digest.values().filter_map(|known| {
            Some(KeyEnd {
                client: Arc::clone(&known.client.name),
                key: Arc::clone(&known.name),
                at: known.expires?,
            })
        });
        let mut ends: Vec<KeyEnd> = ends.collect();
        ends.sort();
        ends
    }
}

impl Known {
    /// As records name it.
    pub(super) fn credential(&self, way: Way) -> &Arc<str> {
        let [api_key, basic, bearer] = &self.credentials;
        match way {
            Way::ApiKey => api_key,
            Way::Basic => basic,
            Way::Bearer => bearer,
        }
    }

    /// Refuses it where its time is over: it is as good as one that nobody knows, and only the
    /// record says more.
    pub(super) fn in_time(
        &self,
        now: Timestamp,
        credential: impl FnOnce() -> Arc<str>,
    ) -> Result<(), Unidentified> {
        match self.expires {
            Some(expires) if expires <= now => {
                let lack = Lack::Expired(format!("key {}", self.name));
                Err(Unfit::of(&self.client, credential(), lack))
            }
            _ => Ok(()),
        }
    }
}

impl KeyEnd {
    /// What an operator is told of a key that ends soon, or has ended.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let Self { client, key, at } = self;
        let days = at.0.saturating_sub(now.0).div_euclid(DAY);
        let when = at.in_seconds();
        if *at <= now {
            Some(format!("key {key} of client {client} expired at {when}"))
        } else if days < WARN_DAYS {
            Some(format!(
                "key {key} of client {client} expires at {when}, in {days} days: give the client \
                 another one in time"
            ))
        } else {
            None
        }
    }
}

/// From how many days before its end on a key is warned of.
const WARN_DAYS: i64 = 14;
/// In microseconds.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
