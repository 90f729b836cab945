//! The fair share of a console: behind the gateway all tenants are one address to it, so that what
//! one takes the others do not have.
//!
//! A request has a place from before it is sent until its answer has ended. Where places, or the
//! console's rate, are short, the tenants that wait are called in turn, one request each, and
//! within a tenant in the order of arrival. Where too many wait, the newest of the tenant that has
//! most of them makes room. `rota` decides; here are the lock, the timer and those who wait.

mod bucket;
mod pause;
mod queue;
mod rota;
mod tenant;
#[cfg(test)]
mod tests;

pub use bucket::Rate;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use queue::Ticket;
use rota::{Called, LEAST_RETRY, Queued, Rota};

/// What a console and each of its tenants may use at once and in a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Requests under way at the console.
    pub concurrency: usize,
    /// Requests of one tenant under way at the console.
    pub tenant_concurrency: usize,
    /// Requests sent to the console in a time.
    pub rate: Option<Rate>,
    /// Requests of one tenant sent to the console in a time.
    pub tenant_rate: Option<Rate>,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Requests of one tenant that wait for their turn.
    pub tenant_waiting: usize,
}

/// Whose share a request is of.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Party {
    /// Somebody who logged in at the console and acts as itself, by its session.
    Session(Uuid),
    /// A tenant, by its name.
    Tenant(Arc<str>),
}

/// Whom the console takes a request to be of. Several tenants may act as one user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum User {
    /// A tenant's own account, by the tenant.
    Account(Arc<str>),
    /// Somebody of whom no more is known than the session.
    Session(Uuid),
    /// This user.
    Known(Uuid),
}

/// Why a request gets no turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .why.text())]
pub struct Refused {
    /// What is short.
    pub why: Why,
    /// When to try again.
    pub retry_after: Duration,
}

/// What is short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The console had no place in time.
    Late,
    /// The console asked the whole gateway to wait.
    Paused,
    /// As many wait for the console as may.
    Queue,
    /// The console asked the tenant to wait.
    TenantPaused,
    /// As many of the tenant wait as may.
    TenantQueue,
    /// The tenant is over its own rate.
    TenantRate,
}

impl Refused {
    fn new(why: Why, retry_after: Duration) -> Self {
        Self { why, retry_after }
    }

    /// As many wait for the console as may.
    fn for_room() -> Self {
        Self::new(Why::Queue, LEAST_RETRY)
    }
}

impl Why {
    /// The name that counters use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "turn_wait",
            Self::Paused => "paused",
            Self::Queue => "waiting",
            Self::TenantPaused => "tenant_paused",
            Self::TenantQueue => "tenant_waiting",
            Self::TenantRate => "tenant_rate",
        }
    }

    /// Whether it is the tenant's own doing.
    pub fn is_the_tenants(self) -> bool {
        match self {
            Self::TenantPaused | Self::TenantQueue | Self::TenantRate => true,
            Self::Late | Self::Paused | Self::Queue => false,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Late => "the console had no room for the request in time",
            Self::Paused => "the console asked the gateway to wait",
            Self::Queue => "as many requests wait for the console as may",
            Self::TenantPaused => "the console asked the tenant to wait",
            Self::TenantQueue => "as many requests of the tenant wait as may",
            Self::TenantRate => "the tenant sends more requests than it may",
        }
    }
}

/// The places at one console. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Tells the timer that it sleeps for too long.
    hurry: Notify,
}

struct State {
    /// Whoever waits and sees its sender go was put out of the queue.
    rota: Rota<oneshot::Sender<Place>>,
    timer: Timer,
}

/// The task that calls those whom a moment calls, and not a place that comes free. There is one as
/// long as anybody waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Timer {
    /// There is none.
    Off,
    /// It sleeps until then, or until it is told.
    Until(Option<Instant>),
}

/// A place at a console. Whoever is next gets it when it is dropped.
#[derive(Debug)]
pub struct Place {
    shares: Shares,
    party: Party,
}

impl Shares {
    /// A console with all its places free.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                rota: Rota::new(limits),
                timer: Timer::Off,
            }),
            hurry: Notify::new(),
        }))
    }

    /// A place, if there is one at once; only then it is nobody else's turn.
    pub fn try_enter(&self, party: &Party) -> Option<Place> {
        let entered = self.change(|rota, called| {
            let now = rota.now();
            rota.enter(party, now, called)
        });
        entered.then(|| self.place(party))
    }

    /// A place, when it is the party's turn.
    ///
    /// # Errors
    /// Fails when that cannot be before the deadline, or too many wait.
    pub async fn enter(&self, party: &Party, deadline: Instant) -> Result<Place, Refused> {
        let (sender, receiver) = oneshot::channel();
        let queued = self.change(|rota, called| {
            let now = Instant::now();
            if rota.enter(party, now, called) {
                return Ok(None);
            }
            rota.wait(party, now, deadline, sender).map(Some)
        })?;
        let Some(Queued { ticket, put_out }) = queued else {
            return Ok(self.place(party));
        };
        drop(put_out);
        self.start_timer();
        let mut waiting = Waiting {
            shares: self.clone(),
            party: party.clone(),
            ticket,
            receiver,
        };
        if let Ok(called) = tokio::time::timeout_at(deadline, &mut waiting.receiver).await {
            return called.map_err(|_| Refused::for_room());
        }
        match waiting.give_up() {
            Some(refused) => Err(refused),
            // It was called, or put out, at the last moment: the place is on its way, or will not
            // come.
            None => {
                let called = (&mut waiting.receiver).await;
                called.map_err(|_| Refused::for_room())
            }
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().rota.waiting()
    }

    fn place(&self, party: &Party) -> Place {
        Place {
            shares: self.clone(),
            party: party.clone(),
        }
    }

    /// Changes who has places, and hands them to those who were called. That is done without the
    /// lock: a place that finds nobody comes back.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Rota<oneshot::Sender<Place>>, &mut Waiters) -> T,
    ) -> T {
        let mut called = Vec::new();
        let mut state = self.0.state.lock();
        let changed = change(&mut state.rota, &mut called);
        if let Timer::Until(until) = state.timer
            && state.rota.is_sooner(until)
        {
            self.0.hurry.notify_one();
        }
        drop(state);
        self.hand_out(called);
        changed
    }

    fn hand_out(&self, called: Waiters) {
        for (party, waiter) in called {
            let shares = self.clone();
            // If nobody is there any more, the place is dropped, and goes on to the next.
            drop(waiter.send(Place { shares, party }));
        }
    }

    fn start_timer(&self) {
        let mut state = self.0.state.lock();
        if state.timer == Timer::Off && state.rota.waiting() > 0 {
            state.timer = Timer::Until(None);
            drop(state);
            tokio::spawn(self.clone().run_timer());
        }
    }

    async fn run_timer(self) {
        while let Timer::Until(next) = self.tick() {
            let told = self.0.hurry.notified();
            match next {
                Some(at) => drop(tokio::time::timeout_at(at, told).await),
                None => told.await,
            }
        }
    }

    /// Calls those whose moment has come, and says how the timer goes on.
    fn tick(&self) -> Timer {
        let mut called = Vec::new();
        let mut state = self.0.state.lock();
        state.rota.call(Instant::now(), &mut called);
        let timer = match state.rota.waiting() {
            0 => Timer::Off,
            _ => Timer::Until(state.rota.next()),
        };
        state.timer = timer;
        drop(state);
        self.hand_out(called);
        timer
    }
}

type Waiters = Called<oneshot::Sender<Place>>;

impl<W> Rota<W> {
    /// Whether a timer that sleeps until then has to look again.
    fn is_sooner(&self, until: Option<Instant>) -> bool {
        match (self.next(), until) {
            (Some(next), Some(until)) => next < until,
            (Some(_), None) => true,
            (None, _) => self.waiting() == 0,
        }
    }
}

/// Somebody who waits. Dropped, it has never been there.
struct Waiting {
    shares: Shares,
    party: Party,
    ticket: Ticket,
    receiver: oneshot::Receiver<Place>,
}

impl Waiting {
    /// Leaves the queue; `None` when it was called or put out before.
    fn give_up(&mut self) -> Option<Refused> {
        self.shares
            .change(|rota, _| rota.cancel(&self.party, self.ticket, Instant::now()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The queue first: a place that was sent already goes back with the receiver.
        self.give_up();
    }
}

impl Place {
    /// Whose it is.
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// The console throttles the user that the party's request was of, and is left alone by the
    /// party for so long; by all for some seconds, if it throttles several users together.
    pub fn throttled(&self, user: User, time: Duration) {
        let time = time.min(LONGEST_PAUSE);
        let now = Instant::now();
        self.shares
            .change(|rota, _| rota.throttled(&self.party, user, now + time, now));
    }

    /// Gives the place back and waits for another turn.
    ///
    /// # Errors
    /// Fails as [`Shares::enter`] does.
    pub async fn again(self, deadline: Instant) -> Result<Self, Refused> {
        let (shares, party) = (self.shares.clone(), self.party.clone());
        drop(self);
        shares.enter(&party, deadline).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.change(|rota, called| {
            let now = rota.now();
            rota.leave(&self.party, now, called);
        });
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("limits", self.0.state.lock().rota.limits())
            .finish_non_exhaustive()
    }
}

/// However long a console asks to be left alone, it is asked again after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
