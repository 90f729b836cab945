//! The async shell around one slot: publication for the hot path, one flight, its waiters, a timer.

mod due;
mod flight;
mod nudge;

use std::future::Future;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use self::flight::{Flight, Landing};
use super::TokenError;
use super::cause::Cause;
use super::lease::Generation;
use super::policy::Span;
use super::renew::{Queue, Rung};
use super::shared::Shared;
use super::slot::{Effect, Event, Slot, Timer, Upkeep};
use crate::vspc::grant::{IssueError, Outage};

/// What tells a session from an impersonation.
pub(super) trait Kind: Send + Sized + Sync + 'static {
    /// What is held; a clone must cost next to nothing.
    type Value: Clone + Send + Sync + 'static;

    /// Obtains a new value.
    fn fetch(
        &self,
        shared: &Arc<Shared>,
    ) -> impl Future<Output = Result<Fresh<Self::Value>, Setback>> + Send;

    /// Takes note of a value that is from now on held. Called under the lock of the slot.
    fn accept(&self, value: &Self::Value);

    /// Takes note that nothing is held any more and nothing is remembered.
    fn emptied(&self, shared: &Shared);

    /// Where the timers of this console are kept.
    fn queue(&self) -> &Queue;

    /// Whether the value is kept alive without a request.
    fn upkeep(&self, used: Instant) -> Upkeep;

    /// When the endpoint last came back after an illness.
    fn recovered_at(&self) -> Option<Instant>;
}

/// A value that was just obtained.
pub(super) struct Fresh<V> {
    pub(super) generation: Generation,
    pub(super) span: Span,
    pub(super) value: V,
}

/// Why nothing was obtained.
pub(super) enum Setback {
    /// It could not be tried before `until`.
    Blocked { error: IssueError, until: Instant },
    /// It failed.
    Failed(IssueError),
}

/// One token: its slot, and what is needed to act on it.
pub(super) struct Cell<K: Kind> {
    id: u64,
    pub(super) kind: K,
    published: ArcSwapOption<Published<K::Value>>,
    state: Mutex<State<K::Value>>,
    /// The second of the last use, counted from the broker's start.
    used: AtomicU32,
    /// The console rejected what was held, and nothing was fetched since.
    was_refused: AtomicBool,
}

/// What may be handed out without a look at the slot.
struct Published<V> {
    generation: Generation,
    until: Instant,
    value: V,
}

struct State<V> {
    armed: Option<Timer>,
    flight: Option<Landing<V>>,
    listing: Listing,
    slot: Slot<V>,
}

impl<V> State<V> {
    fn landing(&self) -> Reply<V> {
        match &self.flight {
            Some(landing) => Reply::Wait(landing.clone()),
            None => Reply::Done(Err(internal())),
        }
    }
}

/// Whether the cell can still be found. One that was taken off the list starts no fetch, or there
/// could be two fetches for one token.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Listing {
    Listed,
    Removed,
}

/// The answer to a demand.
enum Reply<V> {
    Done(Result<V, TokenError>),
    Removed,
    Wait(Landing<V>),
}

/// The cell was taken off the list: look it up again.
#[derive(Debug)]
pub(super) struct Removed;

impl<K: Kind> Cell<K> {
    pub(super) fn new(id: u64, kind: K) -> Self {
        let state = State {
            armed: None,
            flight: None,
            listing: Listing::Listed,
            slot: Slot::Empty,
        };
        Self {
            id,
            kind,
            published: ArcSwapOption::empty(),
            state: Mutex::new(state),
            used: AtomicU32::new(0),
            was_refused: AtomicBool::new(false),
        }
    }

    /// What is held, when no decision is needed to hand it out. Takes no lock.
    pub(super) fn hot(&self, now: Instant, shared: &Shared) -> Option<K::Value> {
        let guard = self.published.load();
        let published = guard.as_ref().filter(|published| now < published.until)?;
        self.touch(now, shared);
        Some(published.value.clone())
    }

    /// What is held, obtained first if need be, by a fetch that does not end with its caller.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        deadline: Instant,
    ) -> Result<Result<K::Value, TokenError>, Removed> {
        self.ask(shared, Event::Demand, deadline).await
    }

    /// What is held, once it is a newer one than `generation`; meanwhile that one is served.
    pub(super) async fn renewed(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        generation: Generation,
        deadline: Instant,
    ) -> Result<Result<K::Value, TokenError>, Removed> {
        let event = Event::Renew(generation);
        self.ask(shared, event, deadline).await
    }

    async fn ask(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        event: Event<K::Value>,
        deadline: Instant,
    ) -> Result<Result<K::Value, TokenError>, Removed> {
        let mut landing = match self.demand(shared, event) {
            Reply::Done(result) => return Ok(result),
            Reply::Removed => return Err(Removed),
            Reply::Wait(landing) => landing,
        };
        let landed = timeout_at(deadline, landing.wait_for(Option::is_some)).await;
        let result = match landed {
            Ok(Ok(outcome)) => outcome.clone(),
            // Its sender is gone without a word, which the flight's own end forbids.
            Ok(Err(_)) => None,
            Err(_) => Some(Err(TokenError::TimedOut {
                retry_after: BREATH,
            })),
        };
        Ok(result.unwrap_or_else(|| Err(internal())))
    }

    /// Waits until what is being fetched now, if anything is, has come or failed.
    pub(super) async fn landed(&self, deadline: Instant) {
        let landing = self.state.lock().flight.clone();
        if let Some(mut landing) = landing {
            drop(timeout_at(deadline, landing.wait_for(Option::is_some)).await);
        }
    }

    /// What is held, and what is being fetched, is no longer good.
    pub(super) fn discard(self: &Arc<Self>, shared: &Arc<Shared>) {
        self.event(shared, Event::Drop, None);
        self.kind.emptied(shared);
    }

    /// Takes the cell off the list if nothing is in it. To be called where the list is locked.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = self.state.lock();
        if !matches!(state.slot, Slot::Empty) {
            return false;
        }
        state.listing = Listing::Removed;
        true
    }

    /// Takes the cell off the list with what it holds, unless a fetch is in flight. To be called
    /// where the list is locked.
    pub(super) fn evict(self: &Arc<Self>, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        if state.flight.is_some() {
            return false;
        }
        self.step(shared, &mut state, Event::Drop, Instant::now());
        state.listing = Listing::Removed;
        true
    }

    /// Lets the caller look at the slot, under its lock.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Slot<K::Value>) -> R) -> R {
        look(&self.state.lock().slot)
    }

    /// Whether something is published. Takes no lock; may be a moment old.
    pub(super) fn is_holding(&self) -> bool {
        self.published.load().is_some()
    }

    /// When it was last asked for.
    pub(super) fn used(&self, shared: &Shared) -> Instant {
        shared.instant(self.used.load(Ordering::Relaxed))
    }

    fn demand(self: &Arc<Self>, shared: &Arc<Shared>, event: Event<K::Value>) -> Reply<K::Value> {
        let now = Instant::now();
        self.touch(now, shared);
        let mut state = self.state.lock();
        if state.listing == Listing::Removed {
            return Reply::Removed;
        }
        if state.slot.is_ill_since(self.kind.recovered_at()) {
            self.step(shared, &mut state, Event::Recovered, now);
        }
        let cause = self.cause(&event);
        let effect = self.step(shared, &mut state, event, now);
        let (reply, flight) = match effect {
            Effect::Fetch => {
                let flight = self.board(shared, &mut state, (cause, None));
                (state.landing(), Some(flight))
            }
            Effect::Refuse { error, until } => (Reply::Done(Err(refusal(error, until, now))), None),
            Effect::Serve(value) => (Reply::Done(Ok(value)), None),
            Effect::ServeAndFetch(value) => (
                Reply::Done(Ok(value)),
                Some(self.board(shared, &mut state, (Cause::Ahead, None))),
            ),
            Effect::Rest => (Reply::Done(Err(internal())), None),
            Effect::Wait => {
                shared.follows();
                (state.landing(), None)
            }
        };
        drop(state);
        if let Some(flight) = flight {
            flight.take_off();
        }
        reply
    }

    /// Steps by an event that nobody waits on.
    fn event(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        event: Event<K::Value>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Rung {
        let mut state = self.state.lock();
        let cause = self.cause(&event);
        let effect = self.step(shared, &mut state, event, Instant::now());
        let flight = match effect {
            Effect::Fetch | Effect::ServeAndFetch(_) => {
                Some(self.board(shared, &mut state, (cause, permit)))
            }
            Effect::Refuse { .. } | Effect::Rest | Effect::Serve(_) | Effect::Wait => None,
        };
        drop(state);
        let Some(flight) = flight else {
            return Rung::Still;
        };
        flight.take_off();
        Rung::Fetching
    }

    fn step(
        self: &Arc<Self>,
        shared: &Shared,
        state: &mut State<K::Value>,
        event: Event<K::Value>,
        now: Instant,
    ) -> Effect<K::Value> {
        let (slot, effect) = mem::take(&mut state.slot).step(event, now, shared.policy());
        state.slot = slot;
        self.publish(&state.slot);
        let timer = state.slot.timer(self.upkeep(shared), shared.policy());
        if timer != state.armed {
            let what: Weak<Self> = Arc::downgrade(self);
            self.kind.queue().arm(self.id, state.armed, timer, what);
            state.armed = timer;
        }
        effect
    }

    fn publish(&self, slot: &Slot<K::Value>) {
        let Some((value, generation, until)) = slot.servable() else {
            self.published.store(None);
            return;
        };
        let is_new =
            self.published.load().as_ref().is_none_or(|published| {
                published.generation != generation || published.until != until
            });
        if is_new {
            let value = value.clone();
            self.published.store(Some(Arc::new(Published {
                generation,
                until,
                value,
            })));
        }
    }

    /// Prepares a flight under the lock of the slot; it takes off once the lock is released.
    fn board(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        state: &mut State<K::Value>,
        why: (Cause, Option<OwnedSemaphorePermit>),
    ) -> Flight<K> {
        self.was_refused.store(false, Ordering::Relaxed);
        let (flight, landing) = Flight::new(Arc::clone(self), Arc::clone(shared), why);
        state.flight = Some(landing);
        flight
    }

    pub(super) fn touch(&self, now: Instant, shared: &Shared) {
        let second = shared.second(now);
        // Written once a second at most, so that the cores do not fight over it.
        if self.used.load(Ordering::Relaxed) != second {
            self.used.store(second, Ordering::Relaxed);
        }
    }

    fn upkeep(&self, shared: &Shared) -> Upkeep {
        self.kind.upkeep(self.used(shared))
    }
}

fn refusal(error: IssueError, until: Instant, now: Instant) -> TokenError {
    TokenError::new(error, until.saturating_duration_since(now))
}

fn internal() -> TokenError {
    TokenError::new(IssueError::Unavailable(Outage::Internal), BREATH)
}

/// What a request is told to wait when nothing better is known.
const BREATH: Duration = Duration::from_secs(1);
