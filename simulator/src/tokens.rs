//! The live tokens: a bearer is found by looking it up, its signature is never read again.

pub(crate) mod jwt;
mod revocation;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use uuid::Uuid;

use self::jwt::{Claims, Writer};
pub(crate) use self::revocation::Revocation;
pub(crate) use self::token::{Holder, Kind, Session, Token};
use crate::bearer::Cause;
use crate::settings::{ParallelSessions, Rotation, Switches};
use crate::{clock, random};

/// The default life of an access token.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(3600);
/// The default life of a refresh token.
pub(crate) const REFRESH_LIFETIME: Duration = Duration::from_secs(48 * 3600);

const SHARDS: usize = 16;
/// Dead tokens are thrown away when this many have been issued since the last time.
const PURGE_EVERY: u64 = 8192;
/// How long an expired token is remembered, so that its use is told from that of an unknown one.
const REMEMBERED: Duration = Duration::from_secs(600);

/// An access and a refresh token as they go out.
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// The life of the access token in seconds.
    pub(crate) expires_in: u64,
}

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dead {
    Expired,
    NotRefresh,
    Revoked,
    /// It was sent before, and its successor is out.
    Spent,
    Unknown,
}

type Shard = RwLock<HashMap<Box<str>, Arc<Token>>>;

/// All tokens that may be presented.
pub(crate) struct Tokens {
    shards: [Shard; SHARDS],
    writer: Writer,
    rotation: Rotation,
    refresh_extends: bool,
    outlives_parent: bool,
    /// Held while a session is opened, where a new one ends the others of its user.
    newest_only: Option<Mutex<()>>,
    access_millis: AtomicU64,
    refresh_millis: AtomicU64,
    issued: AtomicU64,
}

impl Tokens {
    /// Makes an empty store; `None` when the system cannot make a signing key.
    pub(crate) fn new(switches: &Switches) -> Option<Self> {
        let tokens = Self {
            shards: Default::default(),
            writer: Writer::new(switches.sign_tokens, switches.numeric_claims)?,
            rotation: switches.rotation,
            refresh_extends: switches.refresh_extends,
            outlives_parent: switches.as_outlives_parent,
            newest_only: (switches.parallel_sessions == ParallelSessions::NewestOnly)
                .then(Mutex::default),
            access_millis: AtomicU64::new(0),
            refresh_millis: AtomicU64::new(0),
            issued: AtomicU64::new(0),
        };
        tokens.set_lifetimes(ACCESS_LIFETIME, REFRESH_LIFETIME);
        Some(tokens)
    }

    pub(crate) fn set_lifetimes(&self, access: Duration, refresh: Duration) {
        let millis = |life: Duration| u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        self.access_millis.store(millis(access), Ordering::Relaxed);
        self.refresh_millis
            .store(millis(refresh), Ordering::Relaxed);
    }

    fn access_life(&self) -> Duration {
        Duration::from_millis(self.access_millis.load(Ordering::Relaxed))
    }

    fn refresh_life(&self) -> Duration {
        Duration::from_millis(self.refresh_millis.load(Ordering::Relaxed))
    }

    /// Opens a session for a user who has proven its login.
    pub(crate) fn open(&self, holder: &Holder, read_only: bool) -> Pair {
        let _alone = self.newest_only.as_ref().map(Mutex::lock);
        if self.newest_only.is_some() {
            self.supersede(holder.uid);
        }
        let read_only = read_only || holder.read_only;
        let session = Arc::new(Session {
            id: random::uuid(),
            user: holder.uid,
            login: holder.login,
            read_only,
            rest: holder.rest,
            ends: Instant::now().checked_add(self.refresh_life()),
        });
        let refresh = self.issue_refresh(holder, &session);
        self.pair(holder, &session, read_only, refresh)
    }

    /// Continues a session: a new access token, and a refresh token as the switch says.
    pub(crate) fn renew(
        &self,
        holder: &Holder,
        session: &Arc<Session>,
        read_only: bool,
        sent: &str,
    ) -> Pair {
        let refresh = match self.rotation {
            Rotation::Same => sent.to_owned(),
            Rotation::KeepOld | Rotation::SingleUse => self.issue_refresh(holder, session),
        };
        self.pair(holder, session, read_only, refresh)
    }

    /// Lets a session act as the user `target`; the refresh token goes back as it came.
    pub(crate) fn impersonate(
        &self,
        target: &Holder,
        session: &Arc<Session>,
        read_only: bool,
        sent: &str,
    ) -> Pair {
        self.pair(target, session, read_only, sent.to_owned())
    }

    fn pair(
        &self,
        holder: &Holder,
        session: &Arc<Session>,
        read_only: bool,
        refresh: String,
    ) -> Pair {
        let life = self.access_life();
        let access = self.issue(Kind::Access, holder, session, read_only, life);
        // Rounded up: 0 would read as a token that is dead on arrival.
        let expires_in = life.as_millis().div_ceil(1000);
        Pair {
            access,
            refresh,
            expires_in: u64::try_from(expires_in).unwrap_or(u64::MAX),
        }
    }

    fn issue_refresh(&self, holder: &Holder, session: &Arc<Session>) -> String {
        let life = match session.ends {
            Some(ends) if !self.refresh_extends => ends.saturating_duration_since(Instant::now()),
            _ => self.refresh_life(),
        };
        self.issue(Kind::Refresh, holder, session, session.read_only, life)
    }

    fn issue(
        &self,
        kind: Kind,
        holder: &Holder,
        session: &Arc<Session>,
        read_only: bool,
        life: Duration,
    ) -> String {
        let issued = clock::unix_now();
        let life_seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let text = self.writer.write(&Claims {
            subject: holder.uid,
            name: &holder.name,
            login: holder.login,
            number: holder.number,
            session: session.id,
            kind: if kind == Kind::Refresh { 2 } else { 3 },
            issued,
            expires: issued.saturating_add(life_seconds),
        });
        let token = Token {
            kind,
            subject: holder.uid,
            login: holder.login,
            session: Some(session.clone()),
            read_only,
            rest: session.rest,
            expires: Instant::now().checked_add(life),
            revoked: AtomicBool::new(false),
            spent: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        };
        self.insert(&text, token);
        text
    }

    /// Takes an API key in; it lives until its identity is disabled or deleted.
    pub(crate) fn add_api_key(
        &self,
        key: &str,
        user: Uuid,
        login: u64,
        read_only: bool,
        rest: bool,
    ) {
        let token = Token {
            kind: Kind::ApiKey,
            subject: user,
            login,
            session: None,
            read_only,
            rest,
            expires: None,
            revoked: AtomicBool::new(false),
            spent: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        };
        self.insert(key, token);
    }

    fn insert(&self, text: &str, token: Token) {
        if let Some(shard) = self.shard(text) {
            shard.write().insert(text.into(), Arc::new(token));
        }
        if self.issued.fetch_add(1, Ordering::Relaxed) % PURGE_EVERY == PURGE_EVERY - 1 {
            self.purge();
        }
    }

    fn purge(&self) {
        let now = Instant::now();
        let forgotten = |token: &Token| {
            token
                .expires
                .is_some_and(|expires| now.saturating_duration_since(expires) > REMEMBERED)
        };
        for shard in &self.shards {
            shard.write().retain(|_, token| !forgotten(token));
        }
    }

    fn shard(&self, text: &str) -> Option<&Shard> {
        // The last characters of a signature carry fewer random bits than those before them.
        let byte = text.as_bytes().iter().rev().nth(4).copied().unwrap_or(0);
        self.shards.get(usize::from(byte) % SHARDS)
    }

    fn find(&self, text: &str) -> Option<Arc<Token>> {
        self.shard(text)?.read().get(text).cloned()
    }

    /// Returns the token that a bearer is, if it opens anything now.
    pub(crate) fn admit(&self, bearer: &str) -> Result<Arc<Token>, Cause> {
        let token = self.find(bearer).ok_or(Cause::Unknown)?;
        match token.kind {
            Kind::Refresh => Err(Cause::RefreshToken),
            _ if token.revoked.load(Ordering::Relaxed) => Err(Cause::Revoked),
            _ if token.expired(Instant::now()) => Err(Cause::Expired),
            Kind::Access | Kind::ApiKey => Ok(token),
        }
    }

    /// Returns the session of a refresh token without using the token up.
    pub(crate) fn session(&self, refresh: &str) -> Result<Arc<Session>, Dead> {
        self.live_refresh(refresh).map(|(_, session)| session)
    }

    /// Returns the session of a refresh token and, where the switch says so, uses the token up.
    pub(crate) fn spend(&self, refresh: &str) -> Result<Arc<Session>, Dead> {
        let (token, session) = self.live_refresh(refresh)?;
        if self.rotation == Rotation::SingleUse && token.spent.swap(true, Ordering::AcqRel) {
            return Err(Dead::Spent);
        }
        Ok(session)
    }

    fn live_refresh(&self, refresh: &str) -> Result<(Arc<Token>, Arc<Session>), Dead> {
        let token = self.find(refresh).ok_or(Dead::Unknown)?;
        let session = token.session.clone().ok_or(Dead::NotRefresh)?;
        if token.kind != Kind::Refresh {
            return Err(Dead::NotRefresh);
        }
        if token.revoked.load(Ordering::Relaxed) {
            return Err(Dead::Revoked);
        }
        if token.expired(Instant::now()) {
            return Err(Dead::Expired);
        }
        if token.spent.load(Ordering::Acquire) {
            return Err(Dead::Spent);
        }
        Ok((token, session))
    }
}
