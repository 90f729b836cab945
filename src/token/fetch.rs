//! How a session and an impersonated token are obtained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::broker::Shared;
use super::cell::{Cell, Fresh, Kind, Setback};
use super::desk::{Desk, Obtained, Purpose};
use super::lease::{Generation, Lease};
use super::policy::login_cooldown;
use super::renew::Queue;
use super::slot::Upkeep;
use super::{ConsoleId, GrantKind, TokenError, TokenKey};
use crate::secret::Secret;
use crate::vspc::grant::{Access, IssueError, Outage};

/// A console: its session, and what all calls to its token endpoint share.
pub(super) struct Console {
    pub(super) desk: Arc<Desk>,
    pub(super) session: Arc<Cell<SessionKind>>,
}

/// A session of the gateway's own identity: all that a store would have to keep.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) lease: Lease,
    refresh: Option<Arc<Secret>>,
}

pub(super) struct SessionKind {
    desk: Arc<Desk>,
    /// The session that was obtained last. Outlives its access token, because its refresh token
    /// does.
    kept: Mutex<Option<Session>>,
    /// Failed refreshes of it in a row that were no refusals.
    stumbles: AtomicU32,
    /// Logins in a row that the console refused.
    refusals: AtomicU32,
}

pub(super) struct Impersonation {
    console: Arc<Console>,
    pub(super) key: TokenKey,
}

impl Console {
    pub(super) fn new(id: ConsoleId, cell: u64) -> Self {
        let desk = Arc::new(Desk::new(id));
        let kind = SessionKind {
            desk: Arc::clone(&desk),
            kept: Mutex::new(None),
            stumbles: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
        };
        Self {
            desk,
            session: Arc::new(Cell::new(cell, kind)),
        }
    }
}

impl SessionKind {
    pub(super) fn console(&self) -> &ConsoleId {
        &self.desk.id
    }

    /// Forgets a session whose refresh token is dead, unless it was replaced meanwhile.
    fn forget(&self, session: &Session) {
        self.kept
            .lock()
            .take_if(|kept| kept.lease.generation() == session.lease.generation());
    }

    async fn refresh(
        &self,
        shared: &Shared,
        old: &Session,
        refresh: &Arc<Secret>,
    ) -> Result<Option<Fresh<Session>>, Setback> {
        let purpose = Purpose::session(GrantKind::Refresh);
        let issuer = shared.issuer();
        let call = issuer.refresh(&self.desk.id, refresh, Access::Full);
        match self.desk.call(shared, purpose, call).await {
            // An answer without a refresh token leaves the old one good.
            Ok(obtained) => Ok(Some(obtained.into_session(Some(Arc::clone(refresh))))),
            Err(IssueError::Challenge(_) | IssueError::Refused { .. }) => {
                self.forget(old);
                Ok(None)
            }
            Err(error @ IssueError::Throttled { .. }) => Err(Setback::Failed(error)),
            Err(error) => {
                // What a dead refresh token is answered with is not documented. Should it look
                // like an outage, the next attempts go by login.
                if self.stumbles.fetch_add(1, Ordering::Relaxed) + 1 >= STUMBLES {
                    self.forget(old);
                }
                Err(Setback::Failed(error))
            }
        }
    }
}

impl Kind for SessionKind {
    type Value = Session;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Session>, Setback> {
        let _turn = self.desk.session_turn(shared).await;
        let kept = self.kept.lock().clone();
        if let Some(old) = kept
            && let Some(refresh) = &old.refresh
            && let Some(fresh) = self.refresh(shared, &old, refresh).await?
        {
            return Ok(fresh);
        }
        let call = shared.issuer().login(&self.desk.id);
        match self
            .desk
            .call(shared, Purpose::session(GrantKind::Login), call)
            .await
        {
            Ok(obtained) => Ok(obtained.into_session(None)),
            Err(error @ (IssueError::Challenge(_) | IssueError::Refused { .. })) => {
                let before = self.refusals.fetch_add(1, Ordering::Relaxed);
                let until = Instant::now() + login_cooldown(before);
                Err(Setback::Blocked { error, until })
            }
            Err(error) => Err(Setback::Failed(error)),
        }
    }

    fn accept(&self, value: &Session) {
        self.stumbles.store(0, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
        *self.kept.lock() = Some(value.clone());
    }

    fn emptied(&self, _: &Shared) {
        *self.kept.lock() = None;
    }

    fn queue(&self) -> &Queue {
        &self.desk.queue
    }

    fn upkeep(&self, _: Instant) -> Upkeep {
        Upkeep::Always
    }
}

impl Obtained {
    fn into_session(self, old: Option<Arc<Secret>>) -> Fresh<Session> {
        let refresh = self.refresh.map(Arc::new).or(old);
        let value = Session {
            lease: self.lease,
            refresh,
        };
        Fresh {
            generation: self.generation,
            lifetime: self.lifetime,
            value,
        }
    }
}

impl Impersonation {
    pub(super) fn new(console: Arc<Console>, key: TokenKey) -> Self {
        Self { console, key }
    }

    async fn session(&self, shared: &Arc<Shared>) -> Result<Session, Setback> {
        // Long enough for a refresh and a login that both take all their time: the requests that
        // wait for this fetch have deadlines of their own.
        let deadline = Instant::now() + shared.policy().call_limit() * 3;
        let blocked = |error: &TokenError| Setback::Blocked {
            error: error.as_issue_error(),
            until: Instant::now() + error.retry_after(),
        };
        match self.console.session.obtain(shared, deadline).await {
            Ok(result) => result.map_err(|error| blocked(&error)),
            // A session's cell is never taken off its list.
            Err(_) => Err(Setback::Failed(IssueError::Unavailable(Outage::Internal))),
        }
    }

    /// Calls `as` once. Also says which session was used.
    async fn act(
        &self,
        shared: &Shared,
        session: Session,
    ) -> (Generation, Result<Fresh<Lease>, IssueError>) {
        let desk = &self.console.desk;
        let _turn = desk.impersonation_turn(shared).await;
        // It may have been renewed while this waited for its turn, and the old refresh token is
        // then perhaps no longer good.
        let session = self
            .console
            .session
            .hot(Instant::now(), shared)
            .unwrap_or(session);
        let used = session.lease.generation();
        let Some(refresh) = &session.refresh else {
            return (
                used,
                Err(IssueError::Malformed("a session without a refresh token")),
            );
        };
        let TokenKey { target, access, .. } = self.key;
        let purpose = Purpose {
            access,
            grant: GrantKind::Impersonate,
            target: Some(target),
            user: None,
        };
        let call = shared
            .issuer()
            .impersonate(&desk.id, refresh, target, access);
        let result = desk.call(shared, purpose, call).await;
        // The refresh token of the answer is the impersonator's own: it is dropped here.
        let fresh = result.map(|obtained| Fresh {
            generation: obtained.generation,
            lifetime: obtained.lifetime,
            value: obtained.lease,
        });
        (used, fresh)
    }
}

impl Kind for Impersonation {
    type Value = Lease;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Lease>, Setback> {
        let session = self.session(shared).await?;
        let (used, result) = self.act(shared, session).await;
        let refusal = match result {
            Err(error @ IssueError::Refused { .. }) => error,
            other => return other.map_err(Setback::Failed),
        };
        // The answer does not say whether the target is refused or the session is dead. The
        // session's own renewal tells: it is refreshed, or replaced when that is refused as well.
        self.console.session.reject(shared, used);
        let session = self.session(shared).await?;
        if session.lease.generation() == used {
            return Err(Setback::Failed(refusal));
        }
        self.act(shared, session).await.1.map_err(Setback::Failed)
    }

    fn accept(&self, _: &Lease) {}

    fn emptied(&self, shared: &Shared) {
        shared.unlist(&self.key);
    }

    fn queue(&self) -> &Queue {
        &self.console.desk.queue
    }

    fn upkeep(&self, used: Instant) -> Upkeep {
        Upkeep::UsedAt(used)
    }
}

/// Failed refreshes after which a session is obtained by login.
const STUMBLES: u32 = 3;
