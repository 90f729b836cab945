//! Log-ins of a console's own users: one at the console for all who present the same secret.

use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use uuid::Uuid;

use super::personal::Sweeping;
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
    /// Whose log-in a refresh token of the console belongs to that was given out.
    given: DashMap<Digest, (Given, Instant)>,
    /// Set when the console asks to be left alone: its answer.
    paused: Mutex<Option<(Arc<Relayed>, Instant)>>,
    sweeping: Sweeping,
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

/// Whose log-in a refresh token of the console belongs to.
#[derive(Clone, Debug)]
pub struct Given {
    /// The name that it was logged in with, where it is known.
    pub user: Option<Arc<str>>,
    /// The log-in at the gateway.
    pub login: LoginId,
    /// What it may do.
    pub access: Access,
    /// Where the answer is remembered that it came with.
    pub place: Weak<Place>,
}

/// The right to ask the console about one name and secret; the next caller's turn comes when it
/// is dropped. A call that was begun takes it along, also when its caller goes away.
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
            given: DashMap::new(),
            paused: Mutex::new(None),
            sweeping: Sweeping::default(),
        })
    }

    /// The place of a name and a secret. Another secret is another place, and so is a read-only
    /// log-in.
    pub fn place(&self, user: &[u8], secret: &[u8], access: Access) -> Arc<Place> {
        let digest = self.digest(&[user, secret, &[u8::from(access == Access::ReadOnly)]]);
        self.sweep();
        Arc::clone(&self.places.entry(digest).or_default())
    }

    /// Remembers whose log-in a refresh token belongs to that a caller was given.
    pub fn gave(&self, refresh: &[u8], given: Given) {
        self.sweep();
        if self.given.len() >= PLACES {
            let oldest = self.given.iter().min_by_key(|entry| entry.1);
            let oldest = oldest.map(|entry| *entry.key());
            oldest.map(|digest| self.given.remove(&digest));
        }
        let until = Instant::now() + REFRESH_LIFE;
        self.given.insert(self.digest(&[refresh]), (given, until));
    }

    /// Whose log-in a refresh token belongs to that is about to be used. What was answered with it
    /// is not given out again, whatever comes of the use.
    pub fn use_given(&self, refresh: &[u8]) -> Option<Given> {
        let digest = self.digest(&[refresh]);
        let given = self.given.get(&digest).map(|entry| entry.0.clone())?;
        if let Some(place) = given.place.upgrade() {
            place.forget_answer_of(given.login);
        }
        Some(given)
    }

    /// A log-in was ended: nothing that it was answered with is given out again or passed on.
    pub fn end(&self, login: LoginId) {
        self.given.retain(|_, (given, _)| given.login != login);
        for place in &self.places {
            place.forget_answer_of(login);
        }
    }

    /// Remembers whose log-in a second step belongs to.
    pub fn expect_second_step(&self, step: &[u8], user: Arc<str>) {
        self.sweep();
        if self.pending.len() < PLACES {
            let until = Instant::now() + SECOND_STEP;
            self.pending.insert(self.digest(&[step]), (user, until));
        }
    }

    /// Whose log-in a second step belongs to, if the first came this way.
    pub fn of_second_step(&self, step: &[u8]) -> Option<Arc<str>> {
        let found = self.pending.get(&self.digest(&[step]))?;
        let (user, until) = found.value();
        (Instant::now() < *until).then(|| Arc::clone(user))
    }

    /// The console asks to be left alone: nobody asks it for so long.
    pub fn pause(&self, answer: Arc<Relayed>, so_long: Duration) {
        *self.paused.lock() = Some((answer, Instant::now() + so_long));
    }

    /// The console's answer, while it asks to be left alone.
    pub fn paused(&self) -> Option<Arc<Relayed>> {
        let mut paused = self.paused.lock();
        paused.take_if(|(_, until)| *until <= Instant::now());
        paused.as_ref().map(|(answer, _)| Arc::clone(answer))
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

    /// Forgets what is over, once a minute, and more where there is too much.
    fn sweep(&self) {
        let now = Instant::now();
        if !self.sweeping.is_due(now) && self.places.len() < 2 * PLACES {
            return;
        }
        self.pending.retain(|_, (_, until)| now < *until);
        self.given.retain(|_, (_, until)| now < *until);
        // A place that somebody holds is in use.
        let is_used = |place: &Arc<Place>| Arc::strong_count(place) > 1;
        self.places
            .retain(|_, place| is_used(place) || place.is_known(now));
        if self.places.len() >= 2 * PLACES {
            self.places.retain(|_, place| is_used(place));
        }
    }
}

impl Place {
    /// What is known, if it is still to be believed.
    pub fn known(&self) -> Option<Known> {
        let mut known = self.known.lock();
        known.take_if(|(_, until)| *until <= Instant::now());
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
    /// of it, an hour at most: a password that was changed must be found out.
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
        *self.known.lock() = Some((known, Instant::now() + lifetime.min(RIGHT)));
    }

    /// The console said that they are wrong. That is believed for a moment, so that a tool that
    /// tries again and again does not lock its user out.
    pub fn wrong(&self, answer: Arc<Relayed>) {
        *self.known.lock() = Some((Known::Wrong(answer), Instant::now() + WRONG));
    }

    /// The session has ended. What is known of another one stays.
    pub fn forget(&self, ended: Uuid) {
        self.known.lock().take_if(
            |(known, _)| matches!(known, Known::Right { session, .. } if session.id == ended),
        );
    }

    fn forget_answer_of(&self, used: LoginId) {
        self.known
            .lock()
            .take_if(|(known, _)| matches!(known, Known::Right { login, .. } if *login == used));
    }

    fn is_known(&self, now: Instant) -> bool {
        self.known
            .lock()
            .as_ref()
            .is_some_and(|(_, until)| now < *until)
    }
}

/// How long a right secret is believed at most.
const RIGHT: Duration = Duration::from_secs(60 * 60);
/// How long a wrong secret is remembered.
const WRONG: Duration = Duration::from_secs(5);
/// How long a second step may take.
const SECOND_STEP: Duration = Duration::from_secs(10 * 60);
/// As long as a console's refresh tokens live.
const REFRESH_LIFE: Duration = Duration::from_secs(48 * 60 * 60);
/// Beyond this many, what is over is cleared away at once.
const PLACES: usize = 10_000;
