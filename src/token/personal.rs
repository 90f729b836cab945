//! Sessions of those who logged in at a console as themselves.
//!
//! The gateway does not keep their passwords. A session lives on by its refresh token, also over a
//! restart, and ends when the console refuses that, or when nobody has used it for as long as such a
//! token lives.

mod list;
mod refused;

pub(super) use list::{Sessions, Sweeping};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use self::refused::Renewed;
use super::cell::{Cell, Fresh, Kind, Setback};
use super::claims::Claims;
use super::desk::{Desk, Obtained, Purpose, Standing, VisitorTurn};
use super::lease::Lease;
use super::policy::Span;
use super::renew::Queue;
use super::shared::Shared;
use super::slot::Upkeep;
use super::store::{Stored, StoredAccess};
use super::{Broker, GrantKind, TokenError};
use crate::client::SessionKey;
use crate::secret::{Secret, SecretError};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, IssueError, Issued, Subject};

/// What obtains the tokens of one such session.
pub(super) struct Personal {
    desk: Arc<Desk>,
    pub(super) key: SessionKey,
    kept: Mutex<Kept>,
    subject: OnceLock<Subject>,
    renewed: Renewed,
    /// What is kept in memory could not be saved: it is newer than what is stored.
    unsaved: AtomicBool,
    pub(super) user: Option<Arc<str>>,
}

/// What a session lives on by.
enum Kept {
    /// Nothing: it has ended.
    Ended,
    /// An access token that was kept, and its refresh token.
    Found(StoredAccess, Arc<Secret>),
    /// The answer to the log-in.
    Granted(Issued),
    /// Its newest refresh token.
    Session(Arc<Secret>),
}

/// What of it is asked next.
enum Step {
    End,
    Found(StoredAccess),
    Refresh(Arc<Secret>),
    Take(Issued),
}

impl Broker {
    /// Takes a session over that somebody logged in to; from now on it is kept as long as it is
    /// used. `user` is the name that records give it.
    ///
    /// # Errors
    /// Fails when the token cannot be used, or the operating system gives no randomness.
    pub async fn adopt(
        &self,
        console: &ConsoleId,
        user: Option<Arc<str>>,
        issued: Issued,
        access: Access,
    ) -> Result<(SessionKey, Lease), TokenError> {
        let internal = |_: SecretError| TokenError::internal();
        let key = SessionKey::new(console, access).map_err(internal)?;
        let shared = &self.0;
        shared.sessions().make_room(shared);
        let cell = shared.list_session(&key, user, Kept::Granted(issued));
        // The answer is there already: this waits for nothing but its turn.
        let lease = cell.obtain(shared, Instant::now() + TAKING_OVER).await;
        Ok((key, lease.unwrap_or_else(|_| Err(TokenError::internal()))?))
    }

    /// Waits for the turn to call a console's token endpoint for somebody who logs in there.
    ///
    /// # Errors
    /// Fails when the turn does not come until `deadline`.
    pub async fn visitor_turn(
        &self,
        console: &ConsoleId,
        deadline: Instant,
    ) -> Result<VisitorTurn, TokenError> {
        let desk = self.0.desk(console);
        let turn = timeout_at(deadline, desk.turns.visitor()).await;
        turn.map_err(|_| TokenError::TimedOut {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Takes up the sessions of a console that were kept. Blocks.
    pub fn restore_sessions(&self, console: &ConsoleId) {
        for stored in self.0.store().all() {
            if stored.key.console == *console && self.is_at_home(&stored) {
                self.take_up(stored);
            }
        }
    }

    /// A session that another process began, and kept.
    async fn find_kept(&self, key: &SessionKey) -> Option<Arc<Cell<Personal>>> {
        let stored = self.0.store().load(key.id).await?;
        // A token may be narrower than its session, never wider.
        let is_its = stored.key.console == key.console && stored.key.access <= key.access;
        let is_its = is_its && self.is_at_home(&stored);
        is_its.then(|| self.take_up(stored))
    }

    /// Whether the console is still where it was when the session was kept.
    fn is_at_home(&self, stored: &Stored) -> bool {
        stored.place == self.0.issuer().place_print(&stored.key.console)
    }

    fn take_up(&self, stored: Stored) -> Arc<Cell<Personal>> {
        let refresh = Arc::new(stored.refresh);
        let kept = match stored.access {
            Some(access) => Kept::Found(access, refresh),
            None => Kept::Session(refresh),
        };
        self.0.list_session(&stored.key, stored.user, kept)
    }

    /// The name of whom a session belongs to, where it is known.
    pub fn user_of(&self, key: &SessionKey) -> Option<Arc<str>> {
        self.0.sessions().get(key)?.kind.user.clone()
    }

    /// Hands out the token of such a session.
    pub(super) async fn session_lease_for(
        &self,
        key: &SessionKey,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        let ended = || TokenError::new(ended(), Duration::ZERO);
        let cell = match self.0.sessions().get(key) {
            Some(cell) => cell,
            None => self.find_kept(key).await.ok_or_else(ended)?,
        };
        if let Some(lease) = cell.hot(Instant::now(), &self.0) {
            return Ok(lease);
        }
        let lease = cell.obtain(&self.0, deadline).await;
        lease.unwrap_or_else(|_| Err(ended()))
    }
}

impl Kind for Personal {
    type Value = Lease;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Lease>, Setback> {
        let obtained = match self.next() {
            Step::Found(access) => match self.found(shared, &access) {
                Some(fresh) => return Ok(fresh),
                None => match self.next() {
                    Step::Refresh(refresh) => self.renew(shared, refresh).await?,
                    _ => self.go_on(shared).await?,
                },
            },
            Step::End => self.go_on(shared).await?,
            Step::Take(issued) => {
                let most = shared.policy().settings().most_lifetime;
                Obtained::new(issued, shared.next_generation(), most).map_err(Setback::Failed)?
            }
            Step::Refresh(refresh) => self.renew(shared, refresh).await?,
        };
        if let Some(refresh) = obtained.refresh {
            let user = self.user.as_deref();
            let access = Secret::new(obtained.lease.text());
            let kept = Some((&access, obtained.lifetime));
            let place = shared.issuer().place_print(&self.key.console);
            let saved = shared
                .store()
                .save(&self.key, user, (place, kept), &refresh)
                .await;
            self.unsaved.store(!saved, Ordering::Relaxed);
            *self.kept.lock() = Kept::Session(Arc::new(refresh));
        }
        if let Some(subject) = obtained.claims.subject {
            self.subject.get_or_init(|| subject);
        }
        Ok(Fresh {
            generation: obtained.generation,
            span: Span::token(obtained.lifetime),
            value: obtained.lease,
        })
    }

    fn accept(&self, _: &Lease) {}

    fn recovered_at(&self) -> Option<Instant> {
        self.desk.recovered_at()
    }

    fn emptied(&self, shared: &Shared) {
        // An idle session goes on by its refresh token, when it is asked for again.
        if matches!(*self.kept.lock(), Kept::Ended) {
            shared.sessions().remove_empty(&self.key);
        }
    }

    fn queue(&self) -> &Queue {
        &self.desk.queue
    }

    fn upkeep(&self, used: Instant) -> Upkeep {
        Upkeep::UsedAt(used)
    }
}

impl Personal {
    /// The answer to the log-in is taken once; without a refresh token there is nothing after it.
    fn next(&self) -> Step {
        let mut kept = self.kept.lock();
        match std::mem::replace(&mut *kept, Kept::Ended) {
            Kept::Ended => Step::End,
            Kept::Found(access, refresh) => {
                *kept = Kept::Session(refresh);
                Step::Found(access)
            }
            Kept::Granted(issued) => Step::Take(issued),
            Kept::Session(refresh) => {
                *kept = Kept::Session(Arc::clone(&refresh));
                Step::Refresh(refresh)
            }
        }
    }

    /// Goes on with what is stored: another process may have renewed the session.
    async fn go_on(&self, shared: &Shared) -> Result<Obtained, Setback> {
        let refresh = self.newest(shared).await;
        let refresh = refresh.ok_or_else(|| blocked(ended()))?;
        self.renew(shared, refresh).await
    }

    /// A token that was kept, while it is good.
    fn found(&self, shared: &Shared, stored: &StoredAccess) -> Option<Fresh<Lease>> {
        let span = stored.span(shared.store().now())?;
        let generation = shared.next_generation();
        let value = Lease::new(&stored.access, generation)?;
        if let Some(subject) = Claims::read(&stored.access).subject {
            self.subject.get_or_init(|| subject);
        }
        Some(Fresh {
            generation,
            span,
            value,
        })
    }

    /// Whose session it is, as far as its tokens said.
    pub(super) fn subject(&self) -> Option<Subject> {
        self.subject.get().copied()
    }

    /// Exchanges the refresh token, the one that was kept last: another process may have renewed
    /// the session, and may be about to.
    async fn renew(&self, shared: &Shared, kept: Arc<Secret>) -> Result<Obtained, Setback> {
        let stored = self.newest(shared).await;
        let mut refresh = match stored {
            Some(stored) if !self.unsaved.load(Ordering::Relaxed) => stored,
            _ => kept,
        };
        loop {
            let error = match self.refresh(shared, &refresh).await {
                Ok(obtained) => return Ok(obtained),
                Err(Setback::Failed(error)) => error,
                Err(blocked) => return Err(blocked),
            };
            // What is no answer of the endpoint, a page of something before it perhaps, ends nothing.
            if error.is_unreadable() {
                let unreadable = IssueError::Malformed("a refusal that cannot be read");
                return Err(Setback::Failed(unreadable));
            }
            if !matches!(error, IssueError::Challenge(_) | IssueError::Refused { .. }) {
                return Err(Setback::Failed(error));
            }
            match self.newer_than(shared, &refresh).await {
                Some(newer) => refresh = newer,
                None => {
                    *self.kept.lock() = Kept::Ended;
                    return Err(blocked(error));
                }
            }
        }
    }

    /// What another process has made of a refused refresh token, or is just making of it. Where it
    /// has made nothing, the session is forgotten.
    async fn newer_than(&self, shared: &Shared, refused: &Secret) -> Option<Arc<Secret>> {
        for _ in 0..LOOKS {
            match self.newest(shared).await {
                Some(newer) if *newer != *refused => return Some(newer),
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                None => return None,
            }
        }
        shared.store().remove(self.key.id, refused).await;
        self.newest(shared).await
    }

    async fn newest(&self, shared: &Shared) -> Option<Arc<Secret>> {
        let stored = shared.store().load(self.key.id).await?;
        let is_at_home = stored.place == shared.issuer().place_print(&self.key.console);
        is_at_home.then(|| Arc::new(stored.refresh))
    }

    async fn refresh(&self, shared: &Shared, refresh: &Secret) -> Result<Obtained, Setback> {
        self.renewed.begins();
        let purpose = Purpose {
            access: self.key.access,
            grant: GrantKind::Refresh,
            standing: Standing::Other,
            target: None,
            tenant: None,
            user: self.user.as_deref(),
            asker: self.subject(),
        };
        let _turn = self.desk.turns.visitor().await;
        let (issuer, console) = (shared.issuer(), &self.key.console);
        let call = issuer.refresh(console, refresh, self.key.access);
        self.desk.call(shared, purpose, call).await
    }
}

impl Shared {
    fn list_session(
        &self,
        key: &SessionKey,
        user: Option<Arc<str>>,
        kept: Kept,
    ) -> Arc<Cell<Personal>> {
        let kind = Personal {
            desk: self.desk(&key.console),
            key: key.clone(),
            kept: Mutex::new(kept),
            subject: OnceLock::new(),
            renewed: Renewed::default(),
            unsaved: AtomicBool::new(false),
            user,
        };
        let cell = Arc::new(Cell::new(self.next_cell(), kind));
        cell.touch(Instant::now(), self);
        self.sessions().add(key.id, cell)
    }
}

/// What has ended is not asked for again.
fn blocked(error: IssueError) -> Setback {
    let until = Instant::now() + AGAIN;
    Setback::Blocked { error, until }
}

fn ended() -> IssueError {
    IssueError::Refused {
        error: Arc::from("invalid_grant"),
        description: Arc::from("the session has ended"),
    }
}

/// For an answer that is there already.
const TAKING_OVER: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(30);
/// How often another process is looked for, and how long it may take to save what it got.
const LOOKS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
