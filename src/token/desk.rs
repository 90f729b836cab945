//! The calls to one token endpoint: their turns, their limits, and what came of them.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::cell::Setback;
use super::claims::Claims;
use super::health::{Admission, Health};
use super::lease::{Generation, Lease};
use super::policy::RefreshSettings;
use super::renew::Queue;
use super::shared::Shared;
use super::{ConsoleId, GrantKind, Granted, TokenEvent};
use crate::secret::Secret;
use crate::vspc::grant::{Access, IssueError, Issued, Outage, Subject};

/// What all calls to the token endpoint of one console share.
pub(super) struct Desk {
    calls: Arc<Semaphore>,
    pub(super) id: ConsoleId,
    health: Mutex<Health>,
    /// Lets one impersonation at a time queue for a call, so that a session never queues behind
    /// thousands of them.
    gate: Semaphore,
    pub(super) queue: Queue,
    /// Keeps those who act as themselves, known or not, to half of the calls.
    visitors: Arc<Semaphore>,
}

/// The turn of one call; the next one follows when it is dropped.
pub(super) struct Turn<'a> {
    _everywhere: Option<SemaphorePermit<'a>>,
    _here: Option<SemaphorePermit<'a>>,
}

/// The turn of a call for somebody who acts as itself; it can be taken along by the call.
#[derive(Debug)]
pub struct VisitorTurn {
    _here: Option<OwnedSemaphorePermit>,
    _visitor: Option<OwnedSemaphorePermit>,
}

/// What a call is for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) access: Access,
    pub(super) grant: GrantKind,
    pub(super) target: Option<Subject>,
    /// The tenant whose own account it is.
    pub(super) tenant: Option<&'a Arc<str>>,
    /// Whose session it is, where it is not the gateway's own.
    pub(super) user: Option<&'a str>,
    /// Who asks, as far as its own tokens said.
    pub(super) asker: Option<Subject>,
}

/// A token as it came from the endpoint.
pub(super) struct Obtained {
    pub(super) claims: Claims,
    pub(super) generation: Generation,
    pub(super) lease: Lease,
    pub(super) lifetime: Duration,
    pub(super) refresh: Option<Secret>,
}

/// A call that was let through to the endpoint; tells its health how it ended, or that it did not.
struct Admitted<'a> {
    admission: Option<Admission>,
    health: &'a Mutex<Health>,
}

impl Admitted<'_> {
    fn ended(mut self, fault: Option<&IssueError>, shared: &Shared) {
        if let Some(admission) = self.admission.take() {
            let settings = shared.policy().settings();
            let now = Instant::now();
            self.health.lock().ended(&admission, fault, now, settings);
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.health.lock().abandoned(&admission);
        }
    }
}

// The semaphores are never closed, so a permit that fails to come cannot happen; if it did, the
// call would go ahead.
impl Desk {
    pub(super) fn new(id: ConsoleId, calls: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            health: Mutex::default(),
            id,
            gate: Semaphore::new(1),
            queue: Queue::default(),
            visitors: Arc::new(Semaphore::new(calls.div_ceil(2))),
        }
    }

    pub(super) async fn session_turn<'a>(&'a self, shared: &'a Shared) -> Turn<'a> {
        let here = self.calls.acquire().await.ok();
        Turn {
            _everywhere: shared.calls().acquire().await.ok(),
            _here: here,
        }
    }

    pub(super) async fn impersonation_turn<'a>(&'a self, shared: &'a Shared) -> Turn<'a> {
        let gate = self.gate.acquire().await.ok();
        let here = self.calls.acquire().await.ok();
        drop(gate);
        Turn {
            _everywhere: shared.calls().acquire().await.ok(),
            _here: here,
        }
    }

    /// The turn of a call in nobody's name but the caller's: however many there are, the gateway's
    /// own are not behind them.
    pub(super) async fn visitor_turn(&self) -> VisitorTurn {
        let visitor = Arc::clone(&self.visitors).acquire_owned().await.ok();
        VisitorTurn {
            _here: Arc::clone(&self.calls).acquire_owned().await.ok(),
            _visitor: visitor,
        }
    }

    /// Makes one call, unless the endpoint is to be left alone, and tells the observer how it ended.
    pub(super) async fn call(
        &self,
        shared: &Shared,
        purpose: Purpose<'_>,
        call: impl Future<Output = Result<Issued, IssueError>> + Send,
    ) -> Result<Obtained, Setback> {
        let admitted = self.admit()?;
        let begun = Instant::now();
        let call = AssertUnwindSafe(call).catch_unwind();
        let answer = match timeout(shared.policy().call_limit(), call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => Err(IssueError::Unavailable(Outage::Internal)),
            Err(_) => Err(IssueError::Unavailable(Outage::TimedOut)),
        };
        let most = shared.policy().settings().most_lifetime;
        let result = answer
            .and_then(|issued| Obtained::new(issued, shared.next_generation(), most))
            .and_then(|obtained| purpose.check(obtained, shared.policy().settings()));
        admitted.ended(result.as_ref().err(), shared);
        let outcome = match &result {
            Ok(obtained) => Ok(Granted {
                fingerprint: obtained.lease.fingerprint(),
                generation: obtained.generation,
                lifetime: obtained.lifetime,
            }),
            Err(error) => Err(error),
        };
        let Purpose {
            access,
            grant,
            target,
            tenant,
            user,
            asker: _,
        } = purpose;
        let duration = begun.elapsed();
        let console = &self.id;
        shared.observe(&TokenEvent {
            console,
            target,
            tenant,
            user,
            access,
            grant,
            outcome,
            duration,
        });
        result.map_err(Setback::Failed)
    }

    fn admit(&self) -> Result<Admitted<'_>, Setback> {
        match self.health.lock().admit(Instant::now()) {
            Admission::Closed(until, error) => Err(Setback::Blocked { error, until }),
            admission => Ok(Admitted {
                admission: Some(admission),
                health: &self.health,
            }),
        }
    }

    /// When the endpoint last came back after an illness.
    pub(super) fn recovered_at(&self) -> Option<Instant> {
        self.health.lock().recovered_at()
    }
}

impl Obtained {
    pub(super) fn new(
        issued: Issued,
        generation: Generation,
        most: Duration,
    ) -> Result<Self, IssueError> {
        let Issued {
            access,
            refresh,
            lifetime,
        } = issued;
        if lifetime.is_zero() {
            return Err(IssueError::Malformed("no usable lifetime"));
        }
        let lease = Lease::new(&access, generation)
            .ok_or(IssueError::Malformed("an access token no header can carry"))?;
        Ok(Self {
            claims: Claims::read(&access),
            generation,
            lease,
            lifetime: lifetime.min(most),
            refresh,
        })
    }
}

impl Purpose<'_> {
    /// Refuses a token that says it is somebody else's. VSPC's own sample of an impersonated token
    /// names the impersonator, so that one is believed too, unless the settings say otherwise.
    fn check(
        &self,
        obtained: Obtained,
        settings: &RefreshSettings,
    ) -> Result<Obtained, IssueError> {
        let asked = self.target.or(self.asker);
        let own = self.asker.filter(|_| settings.own_subject);
        match (asked, obtained.claims.subject) {
            (Some(asked), Some(got)) if got != asked && Some(got) != own => {
                Err(IssueError::WrongSubject { asked, got })
            }
            _ => Ok(obtained),
        }
    }
}
