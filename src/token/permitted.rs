//! The broker as the data path sees it: no token without a permit.

use tokio::time::Instant;

use super::{Broker, Cause, GivenUp, Lease, TokenError};
use crate::policy::{Acting, Permit};

impl Broker {
    /// A token that can be used at once, if there is one.
    pub fn try_lease(&self, permit: &Permit<'_>) -> Option<Lease> {
        match permit.acting() {
            Acting::Account(key, _) => self.0.hot_account(key, Instant::now()),
            Acting::For(key) => self.0.hot(key, Instant::now()),
            Acting::Itself(session) => {
                let cell = self.0.sessions().get(session)?;
                cell.hot(Instant::now(), &self.0)
            }
        }
    }

    /// Hands out the token that a permit calls for.
    ///
    /// A token that is held is handed out at once. Otherwise the request waits for the one fetch
    /// that obtains it, until `deadline` or the policy's limit for waiting, whichever is sooner.
    /// A caller that goes away stops nothing.
    ///
    /// # Errors
    /// Says why there is none, and when it makes sense to ask again.
    pub async fn lease(&self, permit: &Permit<'_>, deadline: Instant) -> Result<Lease, TokenError> {
        match permit.acting() {
            Acting::Account(key, _) => self.account_lease_for(key, deadline).await,
            Acting::For(key) if permit.is_own() => self.lease_for(key, deadline).await,
            Acting::For(key) => self.lease_for_named(key, deadline).await,
            Acting::Itself(session) => self.session_lease_for(session, deadline).await,
        }
    }

    /// Says that the console answered 401 to a lease.
    ///
    /// It is replaced, unless a newer one is held or the token is too young for a new one to do
    /// better.
    pub fn rejected(&self, permit: &Permit<'_>, lease: &Lease) {
        let (generation, mut target, mut tenant) = (lease.generation(), None, None);
        let is_news = match permit.acting() {
            Acting::Account(key, _) => {
                tenant = key.identity.tenant();
                self.0.account(key).reject(&self.0, generation)
            }
            Acting::For(key) => {
                target = Some(key.target);
                self.rejected_for(key, generation)
            }
            Acting::Itself(session) => {
                let cell = self.0.sessions().get(session);
                cell.is_some_and(|cell| cell.reject(&self.0, generation))
            }
        };
        if is_news {
            self.0.gave_up(&GivenUp {
                console: Some(permit.console()),
                target,
                tenant,
                lease: Some(lease.fingerprint()),
                cause: Cause::Refused,
            });
        }
    }
}
