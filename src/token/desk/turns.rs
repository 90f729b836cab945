//! Whose turn it is to call a token endpoint.
//!
//! Sessions go first, for all else rests on them. Users that tenants act as by configuration go
//! before those whom callers name, of which there may be as many as somebody makes up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

/// The turns at the token endpoint of one console.
pub(in super::super) struct Turns {
    calls: Arc<Semaphore>,
    /// Lets one impersonation at a time queue for a call, so that a session never queues behind
    /// thousands of them.
    gate: Semaphore,
    /// Keeps those whom no configuration names, users and visitors, to half of the calls.
    guests: Arc<Semaphore>,
    /// The same as `gate`, for users whom no configuration names.
    other_gate: Semaphore,
    /// How many of these may wait.
    crowd: Semaphore,
}

/// The calls to all token endpoints together.
pub(in super::super) struct Places {
    all: Arc<Semaphore>,
    /// Leaves some to sessions.
    impersonations: Arc<Semaphore>,
}

/// The turn of one call; the next one follows when it is dropped.
pub(in super::super) struct Turn<'a> {
    _everywhere: Place,
    _guest: Option<SemaphorePermit<'a>>,
    _here: Option<SemaphorePermit<'a>>,
}

/// The turn of a call for somebody who acts as itself; it can be taken along by the call.
#[derive(Debug)]
pub struct VisitorTurn {
    _guest: Option<OwnedSemaphorePermit>,
    _here: Option<OwnedSemaphorePermit>,
}

/// A place among the calls to all consoles. It is given back when it is dropped, or when the call
/// hangs: then it costs nothing here any more, and must not keep other consoles waiting. How many
/// hang is limited by each console's own turns.
struct Place {
    _ends: oneshot::Sender<()>,
}

// The semaphores are never closed, so a permit that fails to come cannot happen; if it did, the
// call would go ahead.
impl Turns {
    pub(super) fn new(calls: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            gate: Semaphore::new(1),
            guests: Arc::new(Semaphore::new(calls.div_ceil(2))),
            other_gate: Semaphore::new(1),
            crowd: Semaphore::new(MOST_WAITING),
        }
    }

    pub(in super::super) async fn session<'a>(&'a self, places: &Places) -> Turn<'a> {
        let here = self.calls.acquire().await.ok();
        Turn {
            _everywhere: places.for_session().await,
            _guest: None,
            _here: here,
        }
    }

    /// For a user that a tenant acts as by configuration.
    pub(in super::super) async fn own<'a>(&'a self, places: &Places) -> Turn<'a> {
        let gate = self.gate.acquire().await.ok();
        let here = self.calls.acquire().await.ok();
        drop(gate);
        Turn {
            _everywhere: places.for_impersonation().await,
            _guest: None,
            _here: here,
        }
    }

    /// For a user that a caller names; nothing where too many of them wait already.
    pub(in super::super) async fn other<'a>(&'a self, places: &Places) -> Option<Turn<'a>> {
        let waiting = self.crowd.try_acquire().ok()?;
        let gate = self.other_gate.acquire().await.ok();
        let guest = self.guests.acquire().await.ok();
        let here = self.calls.acquire().await.ok();
        drop((gate, waiting));
        Some(Turn {
            _everywhere: places.for_impersonation().await,
            _guest: guest,
            _here: here,
        })
    }

    /// The turn of a call in nobody's name but the caller's: however many there are, the gateway's
    /// own are not behind them.
    pub(in super::super) async fn visitor(&self) -> VisitorTurn {
        let guest = Arc::clone(&self.guests).acquire_owned().await.ok();
        VisitorTurn {
            _here: Arc::clone(&self.calls).acquire_owned().await.ok(),
            _guest: guest,
        }
    }
}

impl Places {
    /// A quarter is kept for sessions, which are few.
    pub(in super::super) fn new(calls: usize) -> Self {
        let kept = calls.div_ceil(4).min(calls.saturating_sub(1));
        Self {
            all: Arc::new(Semaphore::new(calls)),
            impersonations: Arc::new(Semaphore::new(calls - kept)),
        }
    }

    async fn for_session(&self) -> Place {
        Place::holding(Arc::clone(&self.all).acquire_owned().await.ok())
    }

    async fn for_impersonation(&self) -> Place {
        let among = Arc::clone(&self.impersonations).acquire_owned().await.ok();
        Place::holding((among, Arc::clone(&self.all).acquire_owned().await.ok()))
    }
}

impl Place {
    fn holding(permits: impl Send + 'static) -> Self {
        let (ends, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            timeout(HANGS, ended).await.ok();
            drop(permits);
        });
        Self { _ends: ends }
    }
}

/// Users named by callers that may wait for a call at one console. At some ten calls a second this
/// is as long as a request waits.
const MOST_WAITING: usize = 256;

/// A call that takes longer than this hangs. Most take a tenth of it.
const HANGS: Duration = Duration::from_secs(2);
