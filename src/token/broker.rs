//! The keeper of all sessions and leases.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::cell::Cell;
use super::desk::Desk;
use super::fetch::{Console, Impersonation};
use super::lease::{Generation, Lease};
use super::personal::Sessions;
use super::policy::RefreshPolicy;
use super::slot::Slot;
use super::store::SessionStore;
use super::{ConsoleId, TokenError, TokenEvent, TokenIssuer, TokenKey, TokenObserver};
use crate::vspc::grant::{IssueError, Subject};

/// The keeper of all sessions and leases. A clone is another handle to the same keeper.
///
/// Its methods start fetches as tasks of the runtime they are called in.
#[derive(Clone)]
pub struct Broker(pub(super) Arc<Shared>);

/// How the session of a console stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionState {
    /// There is none, and one is being obtained.
    Acquiring,
    /// The last attempt failed.
    CoolingOff {
        /// Why it failed.
        error: IssueError,
        /// When the next attempt may start.
        retry_in: Duration,
    },
    /// There is none.
    None,
    /// There is one.
    Usable {
        /// How long its token is still served, should it not be renewed.
        expires_in: Duration,
    },
}

/// How many tokens there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenStats {
    /// Impersonated tokens held.
    pub held: usize,
    /// Sessions held.
    pub sessions: usize,
    /// Requests that wait for a token.
    pub waiting: usize,
}

impl Broker {
    /// Makes a keeper that holds nothing yet.
    pub fn new(
        issuer: Arc<dyn TokenIssuer>,
        policy: RefreshPolicy,
        observer: Arc<dyn TokenObserver>,
        store: SessionStore,
    ) -> Self {
        Self(Arc::new(Shared {
            calls: Semaphore::new(CALLS_IN_ALL),
            cells: AtomicU64::new(0),
            consoles: DashMap::new(),
            // Its first second is never the present one, so that a use in it is noted as well.
            epoch: Instant::now()
                .checked_sub(SECOND)
                .unwrap_or_else(Instant::now),
            generations: AtomicU64::new(0),
            impersonations: DashMap::new(),
            issuer,
            new_console: Notify::new(),
            observer,
            policy,
            sessions: Sessions::default(),
            store,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Hands out a token for one request.
    ///
    /// A token that is held is handed out at once. Otherwise the request waits for the one fetch
    /// that obtains it, until `deadline` or the policy's limit for waiting, whichever is sooner.
    /// A caller that goes away stops nothing.
    ///
    /// # Errors
    /// Says why there is none, and when it makes sense to ask again.
    pub(super) async fn lease_for(
        &self,
        key: &TokenKey,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        let now = Instant::now();
        if let Some(lease) = self.0.hot(key, now) {
            return Ok(lease);
        }
        let _waiting = Waiting::new(&self.0);
        let deadline = deadline.min(now + self.0.policy.follower_wait());
        loop {
            // Anew when the cell was emptied between the look-up and the demand.
            let cell = self.0.impersonation(key);
            if let Ok(result) = cell.obtain(&self.0, deadline).await {
                return result;
            }
        }
    }

    /// Hands out the token of the gateway's own session, for calls in its own name.
    ///
    /// # Errors
    /// As [`Broker::lease`].
    pub async fn session_lease(
        &self,
        console: &ConsoleId,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        let now = Instant::now();
        let console = self.0.console(console);
        if let Some(session) = console.session.hot(now, &self.0) {
            return Ok(session.lease);
        }
        let _waiting = Waiting::new(&self.0);
        let deadline = deadline.min(now + self.0.policy.follower_wait());
        loop {
            if let Ok(result) = console.session.obtain(&self.0, deadline).await {
                return result.map(|session| session.lease);
            }
        }
    }

    /// Says that the console answered 401 to a lease of this generation.
    ///
    /// It is replaced, unless a newer one is held or the token is too young for a new one to do
    /// better.
    pub(super) fn rejected_for(&self, key: &TokenKey, generation: Generation) {
        if let Some(cell) = self.0.find(key) {
            cell.reject(&self.0, generation);
        }
    }

    /// As [`Broker::rejected`], for a lease of the session itself.
    pub fn session_rejected(&self, console: &ConsoleId, generation: Generation) {
        self.0.console(console).session.reject(&self.0, generation);
    }

    /// Drops all that is held for a user, because it was revoked or the user is gone.
    pub fn retire(&self, subject: Subject) {
        self.discard_where(|key| key.target == subject);
    }

    /// Drops the session of a console and all that was obtained with it, because the identity
    /// that the gateway uses there has changed.
    pub fn retire_console(&self, console: &ConsoleId) {
        self.0.console(console).session.discard(&self.0);
        self.discard_where(|key| key.console == *console);
    }

    /// Starts to obtain the session of a console, which is from then on kept.
    pub fn warm(&self, console: &ConsoleId) {
        self.0.console(console).session.wake(&self.0);
    }

    /// Says how the session of a console stands.
    pub fn session_state(&self, console: &ConsoleId) -> SessionState {
        let now = Instant::now();
        let Some(console) = self.0.consoles.get(console).map(|entry| Arc::clone(&entry)) else {
            return SessionState::None;
        };
        console.session.look(|slot| match slot {
            Slot::Acquiring { .. } => SessionState::Acquiring,
            Slot::CoolingOff { error, until, .. } => SessionState::CoolingOff {
                error: error.clone(),
                retry_in: until.saturating_duration_since(now),
            },
            Slot::Empty | Slot::Held { .. } | Slot::Renewing(_) => {
                let serves_until = slot.serves_until().filter(|until| now < *until);
                serves_until.map_or(SessionState::None, |until| SessionState::Usable {
                    expires_in: until - now,
                })
            }
        })
    }

    /// Counts the tokens. Walks over all of them: for metrics, not for requests.
    pub fn stats(&self) -> TokenStats {
        let shared = &self.0;
        TokenStats {
            held: shared
                .impersonations
                .iter()
                .filter(|cell| cell.is_holding())
                .count(),
            sessions: shared
                .consoles
                .iter()
                .filter(|entry| entry.session.is_holding())
                .count(),
            waiting: shared.waiting.load(Ordering::Relaxed),
        }
    }

    /// Renews sessions, and the tokens that are in use, before they end. Returns once `stop` does.
    pub async fn run_renewals(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut known = HashSet::new();
        let mut queues = FuturesUnordered::new();
        loop {
            for entry in &self.0.consoles {
                if known.insert(entry.key().clone()) {
                    let console = Arc::clone(entry.value());
                    queues.push(async move { console.desk.queue.run(&self.0).await });
                }
            }
            tokio::select! {
                () = &mut stop => return,
                () = self.0.new_console.notified() => {}
                Some(()) = queues.next() => {}
            }
        }
    }

    /// How many impersonations are known, held or not, and how many timers are set.
    #[cfg(test)]
    pub(super) fn census(&self) -> (usize, usize) {
        let timers = self
            .0
            .consoles
            .iter()
            .map(|console| console.desk.queue.len())
            .sum();
        (self.0.impersonations.len(), timers)
    }

    fn discard_where(&self, is_meant: impl Fn(&TokenKey) -> bool) {
        for cell in self.0.impersonations_where(is_meant) {
            cell.discard(&self.0);
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What all handles share. Hands out owned values only, never a guard of a map.
pub(super) struct Shared {
    calls: Semaphore,
    cells: AtomicU64,
    pub(super) consoles: DashMap<ConsoleId, Arc<Console>>,
    epoch: Instant,
    generations: AtomicU64,
    pub(super) impersonations: DashMap<TokenKey, Arc<Cell<Impersonation>>>,
    issuer: Arc<dyn TokenIssuer>,
    new_console: Notify,
    observer: Arc<dyn TokenObserver>,
    policy: RefreshPolicy,
    /// Of those who logged in as themselves.
    sessions: Sessions,
    store: SessionStore,
    waiting: AtomicUsize,
}

impl Shared {
    /// The semaphore of all calls to all token endpoints.
    pub(super) fn calls(&self) -> &Semaphore {
        &self.calls
    }

    /// The moment of a second of [`Shared::second`].
    pub(super) fn instant(&self, second: u32) -> Instant {
        self.epoch + Duration::from_secs(u64::from(second))
    }

    pub(super) fn issuer(&self) -> &dyn TokenIssuer {
        &*self.issuer
    }

    pub(super) fn next_generation(&self) -> Generation {
        Generation(self.generations.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn observe(&self, event: &TokenEvent<'_>) {
        self.observer.observe(event);
    }

    pub(super) fn policy(&self) -> &RefreshPolicy {
        &self.policy
    }

    /// The second of a moment, counted from the start.
    pub(super) fn second(&self, now: Instant) -> u32 {
        u32::try_from((now - self.epoch).as_secs()).unwrap_or(u32::MAX)
    }

    /// Takes a cell that holds nothing off the list.
    pub(super) fn unlist(&self, key: &TokenKey) {
        self.impersonations
            .remove_if(key, |_, cell| cell.close_if_empty());
    }

    pub(super) fn hot(&self, key: &TokenKey, now: Instant) -> Option<Lease> {
        self.impersonations.get(key)?.hot(now, self)
    }

    fn find(&self, key: &TokenKey) -> Option<Arc<Cell<Impersonation>>> {
        self.impersonations.get(key).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn console(&self, id: &ConsoleId) -> Arc<Console> {
        if let Some(console) = self.consoles.get(id) {
            return Arc::clone(&console);
        }
        let make = || Arc::new(Console::new(id.clone(), self.next_cell()));
        let console = Arc::clone(&self.consoles.entry(id.clone()).or_insert_with(make));
        self.new_console.notify_one();
        console
    }

    pub(super) fn impersonation(&self, key: &TokenKey) -> Arc<Cell<Impersonation>> {
        if let Some(cell) = self.find(key) {
            return cell;
        }
        let console = self.console(&key.console);
        let make = || {
            let kind = Impersonation::new(console, key.clone());
            Arc::new(Cell::new(self.next_cell(), kind))
        };
        Arc::clone(&self.impersonations.entry(key.clone()).or_insert_with(make))
    }

    /// What all calls to the token endpoint of a console share.
    pub(super) fn desk(&self, console: &ConsoleId) -> Arc<Desk> {
        Arc::clone(&self.console(console).desk)
    }

    /// The sessions of those who logged in as themselves.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Where sessions are kept over a restart.
    pub(super) fn store(&self) -> &SessionStore {
        &self.store
    }

    pub(super) fn next_cell(&self) -> u64 {
        self.cells.fetch_add(1, Ordering::Relaxed)
    }
}

/// Counts a request that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&shared.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Calls to all token endpoints that are under way at once.
const CALLS_IN_ALL: usize = 16;
const SECOND: Duration = Duration::from_secs(1);
