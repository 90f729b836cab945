//! The calls to one token endpoint: their turns, their limits, and what came of them.

mod turns;

pub use turns::VisitorTurn;
pub(super) use turns::{Places, Turn, Turns};

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::cause;
use super::cell::Setback;
use super::claims::Claims;
use super::health::{Admission, Health, Party};
use super::lease::{Generation, Lease};
use super::policy::RefreshSettings;
use super::renew::Queue;
use super::shared::Shared;
use super::{ConsoleId, GrantKind, Granted, TokenEvent};
use crate::secret::Secret;
use crate::vspc::grant::{Access, IssueError, Issued, Outage, Subject};

/// What all calls to the token endpoint of one console share.
pub(super) struct Desk {
    pub(super) id: ConsoleId,
    health: Mutex<Health>,
    /// Told when the configuration has the console no more.
    closed: Notify,
    pub(super) queue: Queue,
    pub(super) turns: Turns,
}

/// Whether somebody is known to the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// One whom a caller names, or who came by itself.
    Other,
    /// The gateway, a tenant's account, or the user that a tenant acts as.
    Own,
}

/// What a call is for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) access: Access,
    pub(super) grant: GrantKind,
    pub(super) standing: Standing,
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
    party: Party,
}

impl Admitted<'_> {
    fn ended(mut self, fault: Option<&IssueError>, shared: &Shared) {
        if let Some(admission) = self.admission.take() {
            let settings = shared.policy().settings();
            let now = Instant::now();
            let mut health = self.health.lock();
            health.ended(&admission, &self.party, fault, now, settings);
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

impl Desk {
    pub(super) fn new(id: ConsoleId, calls: usize) -> Self {
        Self {
            id,
            health: Mutex::default(),
            closed: Notify::new(),
            queue: Queue::default(),
            turns: Turns::new(calls),
        }
    }

    /// Rings the timers of the console until it is closed. One at a time may do this.
    pub(super) async fn renew(&self, shared: &Arc<Shared>) {
        tokio::select! {
            () = self.queue.run(shared) => {}
            () = self.closed.notified() => {}
        }
    }

    /// No timer rings any more.
    pub(super) fn close(&self) {
        self.closed.notify_one();
    }

    /// Makes one call, unless the endpoint is to be left alone, and tells the observer how it ended.
    pub(super) async fn call(
        &self,
        shared: &Shared,
        purpose: Purpose<'_>,
        call: impl Future<Output = Result<Issued, IssueError>> + Send,
    ) -> Result<Obtained, Setback> {
        let admitted = self.admit(purpose.party())?;
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
            standing: _,
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
            cause: cause::present(),
            outcome,
            duration,
        });
        result.map_err(Setback::Failed)
    }

    fn admit(&self, party: Party) -> Result<Admitted<'_>, Setback> {
        match self.health.lock().admit(Instant::now()) {
            Admission::Closed(until, error) => Err(Setback::Blocked { error, until }),
            admission => Ok(Admitted {
                admission: Some(admission),
                health: &self.health,
                party,
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
    /// Whom a fault of the call may be due to.
    fn party(&self) -> Party {
        match (self.standing, self.target) {
            (Standing::Other, _) => Party::Other,
            (Standing::Own, Some(target)) => Party::Target(target),
            (Standing::Own, None) => Party::Account(self.tenant.cloned()),
        }
    }

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
