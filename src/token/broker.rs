//! The keeper of all sessions and leases.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cell::Removed;
use super::desk::Standing;
use super::lease::{Generation, Lease};
use super::policy::RefreshPolicy;
use super::session::SessionKind;
use super::shared::{Shared, Waiting};
use super::slot::Slot;
use super::store::{Doomed, SessionStore};
use super::{Cause, ConsoleId, GivenUp, TokenError, TokenIssuer, TokenKey, TokenObserver};
use crate::tenant::AccountKey;
use crate::vspc::Expected;
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
    /// Tokens and sessions whose last fetch failed, and that are not asked for just now.
    pub cooling: usize,
    /// Requests that waited for a fetch that another one had started, since the start.
    pub followers: u64,
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
        Self(Arc::new(Shared::new(issuer, policy, observer, store)))
    }

    /// What is expected of the answers of token endpoints.
    pub fn expected(&self) -> Expected {
        self.0.policy().expected()
    }

    /// Says how many tenants there are: room is kept for the tokens of all of them and of some more
    /// users. Beyond, those go that were not used for longest.
    pub fn expect_tenants(&self, tenants: usize) {
        self.0.make_room_for(tenants);
    }

    /// Hands out a token for one request, of the user that a tenant acts as.
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
        self.lease_of(key, Standing::Own, deadline).await
    }

    /// As [`Broker::lease_for`], of a user that the caller names. All tenants' own go before it.
    pub(super) async fn lease_for_named(
        &self,
        key: &TokenKey,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        self.lease_of(key, Standing::Other, deadline).await
    }

    async fn lease_of(
        &self,
        key: &TokenKey,
        standing: Standing,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        let now = Instant::now();
        if let Some(lease) = self.0.hot(key, now) {
            return Ok(lease);
        }
        let _waiting = Waiting::new(&self.0);
        let deadline = deadline.min(now + self.0.policy().follower_wait());
        loop {
            // Anew when the cell was emptied between the look-up and the demand.
            let cell = self.0.impersonation(key);
            if standing == Standing::Own {
                cell.kind.is_tenants();
            }
            if let Ok(result) = cell.obtain(&self.0, deadline).await {
                return result;
            }
        }
    }

    /// As [`Broker::lease_for`], for a tenant's own account.
    pub(super) async fn account_lease_for(
        &self,
        key: &AccountKey,
        deadline: Instant,
    ) -> Result<Lease, TokenError> {
        let _waiting = Waiting::new(&self.0);
        let deadline = deadline.min(Instant::now() + self.0.policy().follower_wait());
        settled(self.0.account(key).obtain(&self.0, deadline).await)
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
        let console = self.0.console(console);
        let _waiting = Waiting::new(&self.0);
        let deadline = deadline.min(Instant::now() + self.0.policy().follower_wait());
        let session = match console.session.hot(Instant::now(), &self.0) {
            Some(session) => session,
            None => settled(console.session.obtain(&self.0, deadline).await)?,
        };
        if let Some(lease) = session.access(Instant::now()) {
            return Ok(lease.clone());
        }
        // The session goes on for days by its refresh token; its access token ended.
        let renewed = console
            .session
            .renewed(&self.0, session.generation(), deadline);
        let session = settled(renewed.await)?;
        let lease = session.access(Instant::now()).cloned();
        lease.ok_or_else(TokenError::internal)
    }

    /// Says that the console answered 401 to a lease of this generation.
    ///
    /// It is replaced, unless a newer one is held or the token is too young for a new one to do
    /// better.
    pub(super) fn rejected_for(&self, key: &TokenKey, generation: Generation) -> bool {
        let cell = self.0.find(key);
        cell.is_some_and(|cell| cell.reject(&self.0, generation))
    }

    /// As [`Broker::rejected`], for a lease of the session itself.
    pub fn session_rejected(&self, console: &ConsoleId, generation: Generation) {
        let console = self.0.console(console);
        console.session.renew(&self.0, generation);
    }

    /// Drops all that is held for a user, because it was revoked or the user is gone: what
    /// impersonates it, and its own sessions. It is served no more when this returns, and off the
    /// disk soon after.
    pub fn retire(&self, subject: Subject) {
        self.retire_all([subject]);
        self.0.gave_up(&GivenUp {
            console: None,
            target: Some(subject),
            tenant: None,
            lease: None,
            cause: Cause::Revoked,
        });
    }

    /// As [`Broker::retire`], for several users.
    pub fn retire_all(&self, subjects: impl IntoIterator<Item = Subject>) {
        let subjects: HashSet<Subject> = subjects.into_iter().collect();
        let store = self.0.store();
        // First, so that nobody finds there what is dropped here.
        store.doom(subjects.iter().copied().map(Doomed::User));
        self.discard_where(|key| subjects.contains(&key.target));
        for session in self.0.sessions().of(&subjects) {
            session.discard(&self.0);
        }
        let is_theirs = |kind: &SessionKind| subjects.iter().any(|it| kind.belongs_to(*it));
        let consoles: Vec<_> = self.0.consoles.iter().map(|it| Arc::clone(&it)).collect();
        for console in consoles {
            if is_theirs(&console.session.kind) {
                // Exchanged, not thrown away: where it was revoked, that is refused, and a log-in
                // follows.
                console.session.force(&self.0);
            }
        }
        let accounts: Vec<_> = self.0.accounts.iter().map(|it| Arc::clone(&it)).collect();
        for account in accounts {
            if is_theirs(&account.kind.session.kind) {
                account.kind.session.force(&self.0);
                account.discard(&self.0);
            }
        }
        store.carry_out_soon();
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
            Slot::CoolingOff(cooling) => SessionState::CoolingOff {
                error: cooling.error.clone(),
                retry_in: cooling.until.saturating_duration_since(now),
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
            cooling: shared.cooling(),
            followers: shared.followers(),
            waiting: shared.waiting(),
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

/// A session's cell is never taken off its list.
fn settled<T>(result: Result<Result<T, TokenError>, Removed>) -> Result<T, TokenError> {
    result.unwrap_or_else(|_| Err(TokenError::internal()))
}
