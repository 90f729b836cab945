//! What all handles to the broker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::account::Account;
use super::cell::Cell;
use super::desk::{Desk, Places};
use super::fetch::{Console, Impersonation};
use super::lease::{Generation, Lease};
use super::personal::Sessions;
use super::policy::RefreshPolicy;
use super::slot::Slot;
use super::store::SessionStore;
use super::{ConsoleId, GivenUp, TokenEvent, TokenIssuer, TokenKey, TokenObserver};
use crate::tenant::{AccountKey, IdentityId};

/// No stranger makes up keys for these: a fast hash will do.
type Map<K, V> = DashMap<K, V, RandomState>;

/// What all handles share. Hands out owned values only, never a guard of a map.
pub(super) struct Shared {
    /// Of tenants that impersonate nobody.
    pub(super) accounts: Map<IdentityId, Arc<Cell<Account>>>,
    cells: AtomicU64,
    pub(super) consoles: Map<ConsoleId, Arc<Console>>,
    epoch: Instant,
    /// Requests that waited for a fetch that another one had started.
    followers: AtomicU64,
    generations: AtomicU64,
    pub(super) impersonations: Map<TokenKey, Arc<Cell<Impersonation>>>,
    issuer: Arc<dyn TokenIssuer>,
    pub(super) new_console: Notify,
    observer: Arc<dyn TokenObserver>,
    places: Places,
    policy: RefreshPolicy,
    /// Of those who logged in as themselves.
    sessions: Sessions,
    store: SessionStore,
    /// How many tenants there are.
    tenants: AtomicUsize,
    waiting: AtomicUsize,
}

impl Shared {
    pub(super) fn new(
        issuer: Arc<dyn TokenIssuer>,
        policy: RefreshPolicy,
        observer: Arc<dyn TokenObserver>,
        store: SessionStore,
    ) -> Self {
        Self {
            accounts: Map::default(),
            cells: AtomicU64::new(0),
            consoles: Map::default(),
            // Its first second is never the present one, so that a use in it is noted as well.
            epoch: Instant::now()
                .checked_sub(SECOND)
                .unwrap_or_else(Instant::now),
            followers: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            impersonations: Map::default(),
            issuer,
            new_console: Notify::new(),
            observer,
            places: Places::new(policy.settings().calls),
            policy,
            sessions: Sessions::default(),
            store,
            tenants: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The calls to all token endpoints together.
    pub(super) fn places(&self) -> &Places {
        &self.places
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

    pub(super) fn gave_up(&self, token: &GivenUp<'_>) {
        self.observer.gave_up(token);
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

    pub(super) fn find(&self, key: &TokenKey) -> Option<Arc<Cell<Impersonation>>> {
        self.impersonations.get(key).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn console(&self, id: &ConsoleId) -> Arc<Console> {
        if let Some(console) = self.consoles.get(id) {
            return Arc::clone(&console);
        }
        let calls = self.policy.settings().calls_per_console;
        let make = || Arc::new(Console::new(id.clone(), self.next_cell(), calls));
        let console = Arc::clone(&self.consoles.entry(id.clone()).or_insert_with(make));
        self.new_console.notify_one();
        console
    }

    pub(super) fn impersonation(&self, key: &TokenKey) -> Arc<Cell<Impersonation>> {
        if let Some(cell) = self.find(key) {
            return cell;
        }
        self.make_room();
        let console = self.console(&key.console);
        let make = || {
            let kind = Impersonation::new(console, key.clone());
            Arc::new(Cell::new(self.next_cell(), kind))
        };
        Arc::clone(&self.impersonations.entry(key.clone()).or_insert_with(make))
    }

    pub(super) fn hot_account(&self, key: &AccountKey, now: Instant) -> Option<Lease> {
        self.accounts.get(&key.identity)?.hot(now, self)
    }

    /// There are as many as tenants with an account, so none has to leave.
    pub(super) fn account(&self, key: &AccountKey) -> Arc<Cell<Account>> {
        if let Some(cell) = self.accounts.get(&key.identity) {
            return Arc::clone(&cell);
        }
        let desk = self.desk(key.identity.console());
        let make = || {
            let identity = key.identity.clone();
            let kind = Account::new(identity, key.access, desk, self.next_cell());
            Arc::new(Cell::new(self.next_cell(), kind))
        };
        let entry = self.accounts.entry(key.identity.clone());
        Arc::clone(&entry.or_insert_with(make))
    }

    /// Where there are more tokens than tenants and some to spare, lets those go that were not used
    /// for longest: a sixteenth at once, so that looking for them is rare.
    fn make_room(&self) {
        let tenants = self.tenants.load(Ordering::Relaxed);
        let most = tenants.saturating_add(self.policy.settings().spare_tokens);
        let listed = self.impersonations.len();
        if listed < most.max(1) {
            return;
        }
        let mut used: Vec<_> = self
            .impersonations
            .iter()
            .map(|cell| (cell.used(self), cell.key().clone()))
            .collect();
        let leaving = listed.div_ceil(16).min(used.len());
        if leaving == 0 {
            return;
        }
        used.select_nth_unstable_by_key(leaving - 1, |(used, _)| *used);
        for (_, key) in used.into_iter().take(leaving) {
            self.impersonations
                .remove_if(&key, |_, cell| cell.evict(self));
        }
    }

    /// What all calls to the token endpoint of a console share.
    pub(super) fn desk(&self, console: &ConsoleId) -> Arc<Desk> {
        Arc::clone(&self.console(console).desk)
    }

    /// A request waits for a fetch that another one had started.
    pub(super) fn follows(&self) {
        self.followers.fetch_add(1, Ordering::Relaxed);
    }

    /// How many cells are cooling off.
    pub(super) fn cooling(&self) -> usize {
        let cells = self.impersonations.iter();
        let cells = cells.filter(|cell| cell.look(Slot::is_cooling)).count();
        let accounts = self.accounts.iter();
        let accounts = accounts.filter(|cell| cell.look(Slot::is_cooling)).count();
        let sessions = self.consoles.iter();
        let sessions = sessions.filter(|it| it.session.look(Slot::is_cooling));
        cells + accounts + sessions.count()
    }

    pub(super) fn followers(&self) -> u64 {
        self.followers.load(Ordering::Relaxed)
    }

    /// The sessions of those who logged in as themselves.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Where sessions are kept over a restart.
    pub(super) fn store(&self) -> &SessionStore {
        &self.store
    }

    /// Makes room for the tokens of so many tenants.
    pub(super) fn make_room_for(&self, tenants: usize) {
        self.tenants.store(tenants, Ordering::Relaxed);
    }

    pub(super) fn next_cell(&self) -> u64 {
        self.cells.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts a request that waits, for as long as it does.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&shared.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const SECOND: Duration = Duration::from_secs(1);
