//! How an impersonated token is obtained: on the strength of the session, or from the store.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cell::{Cell, Fresh, Kind, Removed, Setback};
use super::desk::{Desk, Purpose, Standing, Turn};
use super::lease::Lease;
use super::policy::Span;
use super::renew::Queue;
use super::session::{Session, SessionKind};
use super::shared::Shared;
use super::slot::Upkeep;
use super::{GrantKind, TokenError, TokenKey};
use crate::tenant::IdentityId;
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, IssueError, Outage};

/// A console: its session, and what all calls to its token endpoint share.
pub(super) struct Console {
    pub(super) desk: Arc<Desk>,
    pub(super) session: Arc<Cell<SessionKind>>,
}

/// What obtains the tokens of one impersonated user.
pub(super) struct Impersonation {
    console: Arc<Console>,
    /// How often what is held, or on its way, was given up.
    drops: AtomicU32,
    pub(super) key: TokenKey,
    /// The store was asked already.
    was_looked_up: AtomicBool,
    /// It was refused under a session that had just proved good: the user is the cause.
    is_at_fault: AtomicBool,
    /// Told when a tenant turns out to act as this user.
    becomes_own: Notify,
    /// Since when a tenant is known to act as this user. Until then it is one that a caller names.
    own_since: OnceLock<Instant>,
}

impl Console {
    pub(super) fn new(id: ConsoleId, cell: u64, calls: usize) -> Self {
        let identity = IdentityId::service(&id);
        let desk = Arc::new(Desk::new(id, calls));
        let kind = SessionKind::new(identity, Access::Full, Arc::clone(&desk));
        Self {
            desk,
            session: Arc::new(Cell::new(cell, kind)),
        }
    }
}

impl Impersonation {
    pub(super) fn new(console: Arc<Console>, key: TokenKey) -> Self {
        Self {
            console,
            drops: AtomicU32::new(0),
            key,
            was_looked_up: AtomicBool::new(false),
            is_at_fault: AtomicBool::new(false),
            becomes_own: Notify::new(),
            own_since: OnceLock::new(),
        }
    }

    /// A tenant acts as this user: what is under way for it waits no longer behind those whom
    /// callers name, and that it had to does not count.
    pub(super) fn is_tenants(&self) {
        if self.own_since.get().is_none() && self.own_since.set(Instant::now()).is_ok() {
            self.becomes_own.notify_one();
        }
    }

    fn standing(&self) -> Standing {
        match self.own_since.get() {
            Some(_) => Standing::Own,
            None => Standing::Other,
        }
    }

    async fn turn(&self, shared: &Shared) -> Result<Turn<'_>, Setback> {
        let (turns, places) = (&self.console.desk.turns, shared.places());
        if self.standing() == Standing::Other {
            let turn = tokio::select! {
                biased;
                () = self.becomes_own.notified() => None,
                turn = turns.other(places) => Some(turn),
            };
            if let Some(turn) = turn {
                return turn.ok_or_else(crowded);
            }
        }
        Ok(turns.own(places).await)
    }

    async fn session(&self, shared: &Arc<Shared>) -> Result<Session, Setback> {
        let session = &self.console.session;
        settled(session.obtain(shared, deadline(shared)).await)
    }

    /// Calls `as` once. Also says which session was used.
    async fn act(
        &self,
        shared: &Shared,
        session: Session,
    ) -> (Session, Result<Fresh<Lease>, Setback>) {
        let desk = &self.console.desk;
        let _turn = match self.turn(shared).await {
            Ok(turn) => turn,
            Err(setback) => return (session, Err(setback)),
        };
        // It may have been renewed while this waited for its turn, and the old refresh token is
        // then perhaps no longer good.
        let session = self
            .console
            .session
            .hot(Instant::now(), shared)
            .unwrap_or(session);
        let Some(refresh) = session.refresh() else {
            let error = IssueError::Malformed("a session without a refresh token");
            return (session, Err(Setback::Failed(error)));
        };
        let TokenKey { target, access, .. } = self.key;
        let purpose = Purpose {
            access,
            grant: GrantKind::Impersonate,
            standing: self.standing(),
            target: Some(target),
            tenant: None,
            user: None,
            asker: session.subject(),
        };
        let drops = self.drops.load(Ordering::Relaxed);
        let call = shared
            .issuer()
            .impersonate(&desk.id, refresh, target, access);
        let result = desk.call(shared, purpose, call).await;
        // The refresh token of the answer is the impersonator's own: it is dropped here.
        let fresh = result.map(|obtained| {
            let (lease, lifetime) = (obtained.lease, obtained.lifetime);
            // What was dropped while it was on its way is not kept either.
            if self.drops.load(Ordering::Relaxed) == drops {
                let store = shared.store();
                store.shelve(&self.key, &lease, lifetime, session.print());
            }
            Fresh {
                generation: obtained.generation,
                span: Span::token(lifetime),
                value: lease,
            }
        });
        (session, fresh)
    }

    /// The token that was kept before the start, asked for once.
    async fn kept(&self, shared: &Arc<Shared>) -> Option<Fresh<Lease>> {
        if self.was_looked_up.swap(true, Ordering::Relaxed) {
            return None;
        }
        let print = self.console.session.kind.print(shared).await;
        let store = shared.store();
        let stored = store.shelved(&self.key, print).await?;
        let span = stored.span(store.now())?;
        if span.lifetime.saturating_sub(span.age) <= shared.policy().margin(span.lifetime) {
            return None;
        }
        let generation = shared.next_generation();
        let value = Lease::new(&stored.access, generation)?;
        Some(Fresh {
            generation,
            span,
            value,
        })
    }

    /// Whether the session was renewed meanwhile, or just is: its refresh token may have been
    /// exchanged while it was used here.
    fn has_moved(&self, used: &Session) -> bool {
        let session = &self.console.session;
        session.look(|slot| {
            slot.servable()
                .is_none_or(|(_, generation, _)| generation != used.generation())
                || slot.is_flying()
        })
    }

    /// Whether a refusal may come from a dead session, as far as is known of that.
    fn doubts(&self, session: &Session) -> bool {
        let trusted = match self.is_at_fault.load(Ordering::Relaxed) {
            true => TRUSTED_AGAINST_A_CULPRIT,
            false => TRUSTED,
        };
        session
            .proved_at()
            .is_none_or(|at| Instant::now() >= at + trusted)
    }
}

impl Kind for Impersonation {
    type Value = Lease;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Lease>, Setback> {
        if let Some(fresh) = self.kept(shared).await {
            return Ok(fresh);
        }
        let session = self.session(shared).await?;
        let (used, result) = self.act(shared, session).await;
        let refusal = match result {
            Err(Setback::Failed(error @ IssueError::Refused { .. })) => error,
            other => return other,
        };
        if !self.doubts(&used) && !self.has_moved(&used) {
            self.is_at_fault.store(true, Ordering::Relaxed);
            return Err(Setback::Failed(refusal));
        }
        // The answer does not say whether the user is refused or the session is dead. The session's
        // own renewal tells: it is refreshed, or replaced when that is refused as well. Meanwhile
        // others go on with it.
        let renewed = self
            .console
            .session
            .renewed(shared, used.generation(), deadline(shared));
        let session = settled(renewed.await)?;
        let (_, result) = self.act(shared, session).await;
        let is_refused = matches!(&result, Err(Setback::Failed(IssueError::Refused { .. })));
        self.is_at_fault.store(is_refused, Ordering::Relaxed);
        result
    }

    fn accept(&self, _: &Lease) {
        self.is_at_fault.store(false, Ordering::Relaxed);
    }

    fn emptied(&self, shared: &Shared) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        shared.store().unshelve(&self.key);
        shared.unlist(&self.key);
    }

    fn queue(&self) -> &Queue {
        &self.console.desk.queue
    }

    fn upkeep(&self, used: Instant) -> Upkeep {
        Upkeep::UsedAt(used)
    }

    fn recovered_at(&self) -> Option<Instant> {
        let obtained = self.console.session.kind.obtained_at();
        let own = self.own_since.get().copied();
        self.console.desk.recovered_at().max(obtained).max(own)
    }
}

/// Long enough for a refresh and a log-in that both take all their time: the requests that wait for
/// this fetch have deadlines of their own.
pub(super) fn deadline(shared: &Shared) -> Instant {
    Instant::now() + shared.policy().call_limit() * 3
}

/// The session that a fetch depends on, or what to do for want of it.
pub(super) fn settled(
    obtained: Result<Result<Session, TokenError>, Removed>,
) -> Result<Session, Setback> {
    // A session's cell is never taken off its list.
    obtained
        .map_err(|_| internal())?
        .map_err(|error| Setback::Blocked {
            error: error.as_issue_error(),
            until: Instant::now() + error.retry_after(),
        })
}

/// Too many wait already.
fn crowded() -> Setback {
    Setback::Blocked {
        error: IssueError::Unavailable(Outage::Crowded),
        until: Instant::now() + CROWDED,
    }
}

pub(super) fn internal() -> Setback {
    Setback::Failed(IssueError::Unavailable(Outage::Internal))
}

/// How long a session that just proved good is not doubted when a user is refused ...
const TRUSTED: Duration = Duration::from_secs(60);
/// ... and when that user was the cause the last time.
const TRUSTED_AGAINST_A_CULPRIT: Duration = Duration::from_secs(10 * 60);
/// When there may be room for one more again.
const CROWDED: Duration = Duration::from_secs(1);
