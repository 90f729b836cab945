//! The keys as a process holds them: replaced in time and by hand, and read anew where another
//! process may have made some.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Lifetimes, whole_seconds};
use crate::client::keyring::{Keyring, Needs, seconds};
use crate::clock::Timestamp;
use crate::state::{State, StateError};

/// A new key signs from now on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotated {
    /// The new key, as the `kid` of tokens names it.
    pub key: String,
    /// How many keys there are: all verify.
    pub keys: usize,
    /// When the last token ends that was signed with an older one.
    pub older_until: Option<Timestamp>,
}

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// There was a new one a moment ago.
    #[error("the newest key was made within the last minute")]
    TooSoon,
}

/// The keys of the gateway's tokens.
pub(super) struct Signing {
    held: ArcSwap<Keyring>,
    /// The second of the last look for keys that another process made, and which were not there in
    /// it.
    looked: Mutex<(i64, Vec<String>)>,
    state: Arc<State>,
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

impl Signing {
    /// Opens the keys in the state; the first is made at the first start. Blocks.
    pub(super) fn open(
        state: Arc<State>,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, StateError> {
        Ok(Self {
            held: ArcSwap::from_pointee(Keyring::open(&state, now, lifetimes.needs())?),
            looked: Mutex::new((seconds(now), Vec::new())),
            state,
            #[cfg(test)]
            looks: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// How many times the disk was read.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.looks.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The id of the newest key that this process has.
    pub(super) fn newest(&self) -> Option<String> {
        let held = self.held.load();
        held.newest().map(|key| key.id.clone())
    }

    /// Makes a new key. Blocks.
    pub(super) fn rotate(
        &self,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Rotated, RotateError> {
        let rotated = Keyring::rotate(&self.state, now, lifetimes.needs(), ROTATION_GAP)?;
        let keyring = Arc::new(rotated.ok_or(RotateError::TooSoon)?);
        self.held.store(Arc::clone(&keyring));
        let newest = keyring.newest().map(|key| key.id.clone());
        let until = keyring.others_end();
        Ok(Rotated {
            key: newest.unwrap_or_default(),
            keys: keyring.len(),
            older_until: until.map(|end| Timestamp(end.saturating_mul(1_000_000))),
        })
    }

    /// The keys to sign with, after a look for those of another process once in a while, and with a
    /// new one where that is due. Where no new one can be made the old one signs on.
    pub(super) fn keys(&self, lifetimes: Lifetimes, now: Timestamp) -> Arc<Keyring> {
        let second = seconds(now);
        if let Some(mut looked) = self.looked.try_lock()
            && looked.0.abs_diff(second) >= LOOK_EVERY
        {
            *looked = (second, Vec::new());
            self.look();
        }
        let needs = lifetimes.needs();
        if self.held.load().is_due(now, needs) {
            match Keyring::open(&self.state, now, needs) {
                Ok(keyring) => {
                    tracing::info!("the key that signs tokens was replaced");
                    self.held.store(Arc::new(keyring));
                }
                Err(error) => {
                    tracing::error!(%error, "no new key to sign tokens with can be made");
                }
            }
        }
        self.held.load_full()
    }

    /// The keys to verify with. Where this one is not there, another process may have made it, as
    /// one that takes over does: it is looked for, some of them a second at most, since anybody can
    /// name a key that is not there, and each once: a key is there before any token names it. A key is there for some seconds before it signs, so that a look
    /// within this second has found it; but where lifetimes were made longer it may sign at once.
    pub(super) fn keys_with(&self, kid: &str, now: Timestamp) -> Option<Arc<Keyring>> {
        let held = self.held.load_full();
        if held.get(kid).is_some() {
            return Some(held);
        }
        let mut looked = self.looked.lock();
        // Whoever looked just now may have found it.
        let held = self.held.load_full();
        if held.get(kid).is_some() {
            return Some(held);
        }
        let second = seconds(now);
        if looked.0 != second {
            *looked = (second, Vec::new());
        }
        let (_, missing) = &mut *looked;
        if missing.len() >= LOOKS || missing.iter().any(|other| other == kid) {
            return None;
        }
        let found = self.look().filter(|keys| keys.get(kid).is_some());
        if found.is_none() {
            missing.push(kid.to_owned());
        }
        found
    }

    fn look(&self) -> Option<Arc<Keyring>> {
        #[cfg(test)]
        self.looks
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match Keyring::look(&self.state) {
            Ok(keyring) => {
                let keyring = Arc::new(keyring);
                self.held.store(Arc::clone(&keyring));
                Some(keyring)
            }
            Err(error) => {
                tracing::error!(%error, "the keys that sign tokens cannot be read");
                None
            }
        }
    }
}

impl Lifetimes {
    fn needs(self) -> Needs {
        Needs {
            life: self.longest(),
            renewal: self.keys.map(whole_seconds),
        }
    }

    /// How many seconds a token lives at most.
    pub(super) fn longest(self) -> i64 {
        whole_seconds(self.refresh.max(self.access))
    }
}

/// How often whoever signs looks for keys of another process, in seconds.
const LOOK_EVERY: u64 = 60;
/// How many keys that are not there are looked for in a second.
const LOOKS: usize = 20;
/// How many seconds lie between two keys that are made by hand, at least.
const ROTATION_GAP: u64 = 60;
