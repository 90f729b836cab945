//! Sessions of those who logged in at a console as themselves.
//!
//! The gateway does not keep their passwords. A session lives on by its refresh token, also over a
//! restart, and ends when the console refuses that, or when nobody has used it for as long as such a
//! token lives.

mod list;
mod refused;
mod renewal;

pub(super) use list::{Sessions, Sweeping};

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use self::refused::LastRenewed;
use super::cell::{Cell, Fresh, Kind, Setback};
use super::desk::{Desk, Obtained, VisitorTurn};
use super::lease::Lease;
use super::policy::Span;
use super::renew::Queue;
use super::shared::Shared;
use super::slot::Upkeep;
use super::store::{Beside, Stored, StoredAccess};
use super::{Broker, TokenError};
use crate::client::SessionKey;
use crate::secret::{Secret, SecretError};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, IssueError, Issued, Subject};
use renewal::Renewed;

/// What obtains the tokens of one such session.
pub(super) struct Personal {
    desk: Arc<Desk>,
    /// How often what is held, or on its way, was given up.
    drops: AtomicU32,
    pub(super) key: SessionKey,
    kept: Mutex<Kept>,
    subject: OnceLock<Subject>,
    renewed: LastRenewed,
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
        let cell = shared.list_session(&key, user, Kept::Granted(issued), None);
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
        for mut stored in self.0.store().all() {
            if stored.key.console.has_name_of(console) {
                // Only the name is kept with it; where it was is checked beside.
                stored.key.console = console.clone();
                if self.is_at_home(&stored) {
                    self.take_up(stored);
                }
            }
        }
    }

    /// A session that another process began, and kept.
    async fn find_kept(&self, key: &SessionKey) -> Option<Arc<Cell<Personal>>> {
        let mut stored = self.0.store().load(key.id).await?;
        // A token may be narrower than its session, never wider.
        let is_its = stored.key.console.has_name_of(&key.console);
        let is_its = is_its && stored.key.access <= key.access;
        stored.key.console = key.console.clone();
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
        self.0
            .list_session(&stored.key, stored.user, kept, stored.subject)
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
        let drops = self.drops.load(Ordering::Relaxed);
        let renewed = match self.next() {
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
                let obtained = Obtained::new(issued, shared.next_generation(), most);
                Renewed::Here(obtained.map_err(Setback::Failed)?)
            }
            Step::Refresh(refresh) => self.renew(shared, refresh).await?,
        };
        let obtained = match renewed {
            Renewed::Elsewhere(fresh) => return Ok(fresh),
            Renewed::Here(obtained) => obtained,
        };
        if let Some(subject) = obtained.claims.subject {
            self.subject.get_or_init(|| subject);
        }
        if let Some(refresh) = obtained.refresh {
            let access = Secret::new(obtained.lease.text());
            // What was dropped while it was on its way is not kept.
            let is_wanted = self.drops.load(Ordering::Relaxed) == drops;
            let beside = Beside {
                access: is_wanted.then_some((&access, obtained.lifetime)),
                place: shared.issuer().place_print(&self.key.console),
                subject: self.subject(),
                user: self.user.as_deref(),
            };
            let saved = shared.store().save(&self.key, beside, &refresh).await;
            self.unsaved.store(!saved, Ordering::Relaxed);
            *self.kept.lock() = Kept::Session(Arc::new(refresh));
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
        self.drops.fetch_add(1, Ordering::Relaxed);
        self.forget_found();
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

    /// A token that was kept and not handed out yet is no longer good.
    fn forget_found(&self) {
        let mut kept = self.kept.lock();
        if let Kept::Found(_, refresh) = &*kept {
            *kept = Kept::Session(Arc::clone(refresh));
        }
    }

    /// Whose session it is, as far as its tokens said.
    pub(super) fn subject(&self) -> Option<Subject> {
        self.subject.get().copied()
    }
}

impl Shared {
    fn list_session(
        &self,
        key: &SessionKey,
        user: Option<Arc<str>>,
        kept: Kept,
        subject: Option<Subject>,
    ) -> Arc<Cell<Personal>> {
        let kind = Personal {
            desk: self.desk(&key.console),
            drops: AtomicU32::new(0),
            key: key.clone(),
            kept: Mutex::new(kept),
            renewed: LastRenewed::default(),
            subject: subject.map_or_else(OnceLock::new, OnceLock::from),
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
