//! Log-ins of a console's own users: one at the console for all who present the same secret.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::client::{LoginId, SessionKey};
use crate::secret::SecretError;
use crate::vspc::Relayed;
use crate::vspc::grant::Access;

/// What is known of the log-ins at one console.
#[derive(Debug)]
pub struct Logins {
    /// Made at the start: what is kept of a secret means nothing to another process.
    key: hmac::Key,
    places: DashMap<Digest, Arc<Place>>,
    /// Whose log-in waits for its second step, by the token for it.
    pending: DashMap<Digest, (Arc<str>, Instant)>,
}

type Digest = [u8; 32];

/// What is known of one name with one secret.
#[derive(Debug, Default)]
pub struct Place {
    gate: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Option<(Known, Instant)>>,
}

/// What the console said of a name and a secret, a short while ago.
#[derive(Clone, Debug)]
pub enum Known {
    /// They are right, and this is the session.
    Right {
        /// The session.
        session: SessionKey,
        /// The log-in at the gateway that began it.
        login: LoginId,
        /// The console's own answer, where callers get that.
        answer: Option<Arc<Relayed>>,
    },
    /// They are wrong: the console's answer.
    Wrong(Arc<Relayed>),
}

/// The right to ask the console about one name and secret; the next caller's turn comes when it
/// is dropped, also by a caller that goes away.
#[derive(Debug)]
pub struct Turn {
    _gate: OwnedMutexGuard<()>,
}

impl Logins {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// Fails when the operating system gives no randomness.
    pub fn new() -> Result<Self, SecretError> {
        let mut seed = [0_u8; 32];
        rand::fill(&mut seed).map_err(|_| SecretError::NoRandomness)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed),
            places: DashMap::new(),
            pending: DashMap::new(),
        })
    }

    /// The place of a name and a secret. Another secret is another place, and so is a read-only
    /// log-in.
    pub fn place(&self, user: &[u8], secret: &[u8], access: Access) -> Arc<Place> {
        let digest = self.digest(&[user, secret, &[u8::from(access == Access::ReadOnly)]]);
        self.make_room();
        Arc::clone(&self.places.entry(digest).or_default())
    }

    /// Forgets what was answered with a refresh token, because that was used.
    pub fn used(&self, refresh: &[u8]) {
        self.places.retain(|_, place| {
            let known = place.known.lock();
            let Some((Known::Right { answer, .. }, _)) = &*known else {
                return true;
            };
            !answer
                .as_ref()
                .is_some_and(|answer| answer.has_refresh(refresh))
        });
    }

    /// Remembers whose log-in a second step belongs to.
    pub fn expect_second_step(&self, step: &[u8], user: Arc<str>) {
        let now = Instant::now();
        if self.pending.len() >= PLACES {
            self.pending.retain(|_, (_, until)| now < *until);
        }
        if self.pending.len() < PLACES {
            self.pending
                .insert(self.digest(&[step]), (user, now + SECOND_STEP));
        }
    }

    /// Whose log-in a second step belongs to, if the first came this way.
    pub fn of_second_step(&self, step: &[u8]) -> Option<Arc<str>> {
        let found = self.pending.get(&self.digest(&[step]))?;
        let (user, until) = found.value();
        (Instant::now() < *until).then(|| Arc::clone(user))
    }

    /// Each part with its length, so that no two lists of parts are alike.
    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        for (slot, byte) in digest.iter_mut().zip(context.sign().as_ref()) {
            *slot = *byte;
        }
        digest
    }

    /// Forgets what is over, where there is too much.
    fn make_room(&self) {
        if self.places.len() < PLACES {
            return;
        }
        let now = Instant::now();
        // A place that somebody holds is in use.
        self.places.retain(|_, place| {
            Arc::strong_count(place) > 1
                || place
                    .known
                    .lock()
                    .as_ref()
                    .is_some_and(|(_, until)| now < *until)
        });
        if self.places.len() >= 2 * PLACES {
            self.places.retain(|_, place| Arc::strong_count(place) > 1);
        }
    }
}

impl Place {
    /// What is known, if it is still to be believed.
    pub fn known(&self) -> Option<Known> {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.take_if(|(_, until)| *until <= now);
        known.as_ref().map(|(known, _)| known.clone())
    }

    /// How long what is known is still to be believed.
    pub fn remaining(&self) -> Duration {
        let known = self.known.lock();
        known.as_ref().map_or(Duration::ZERO, |(_, until)| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Waits for the turn to ask the console.
    pub async fn turn(&self) -> Turn {
        Turn {
            _gate: Arc::clone(&self.gate).lock_owned().await,
        }
    }

    /// The console said that they are right. That is believed as long as the token lives that came
    /// of it: a password that was changed must be found out.
    pub fn right(
        &self,
        session: SessionKey,
        login: LoginId,
        answer: Option<Arc<Relayed>>,
        lifetime: Duration,
    ) {
        let known = Known::Right {
            session,
            login,
            answer,
        };
        *self.known.lock() = Some((known, Instant::now() + lifetime));
    }

    /// The console said that they are wrong. That is believed for a moment, so that a tool that
    /// tries again and again does not lock its user out.
    pub fn wrong(&self, answer: Arc<Relayed>) {
        *self.known.lock() = Some((Known::Wrong(answer), Instant::now() + WRONG));
    }

    /// The session has ended.
    pub fn forget(&self) {
        *self.known.lock() = None;
    }
}

/// How long a wrong secret is remembered.
const WRONG: Duration = Duration::from_secs(5);
/// How long a second step may take.
const SECOND_STEP: Duration = Duration::from_secs(10 * 60);
/// Beyond this many, what is over is cleared away.
const PLACES: usize = 10_000;
