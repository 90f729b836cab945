//! When it is a request's turn to be sent, and with which token.

use std::sync::Arc;

use tokio::time::Instant;

use super::exchange::Exchange;
use super::{Gateway, Rejection};
use crate::client::TokenFault;
use crate::policy::{Acting, Bearer, NOBODY, Permit};
use crate::tenant::Named;
use crate::token::Lease;
use crate::upstream::share::{Party, User};
use crate::upstream::{Console, NoTurn, Turn};

impl Gateway {
    /// Leave to send a request to its console, once it is the tenant's turn there, and the token to
    /// send it with. Whoever waits for a token has no place meanwhile: others may have theirs.
    pub(super) async fn turn_and_lease(
        &self,
        exchange: &mut Exchange,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<(Turn, Option<Lease>), Rejection> {
        let console = self.console(permit)?;
        // Nobody has to wait for a token that would not be used.
        let unwell = |open| self.no_turn(console, NoTurn::Unwell(open));
        console.breaker().check().map_err(unwell)?;
        let lease = self.lease(exchange, permit).await?;
        match console.try_turn(&party(whom, permit)) {
            Ok(Some(turn)) => {
                saw(exchange, lease.as_ref());
                Ok((turn, lease))
            }
            Ok(None) => {
                // Boxed: else those who need not wait had room for it.
                let turn = Box::pin(self.await_turn(exchange, whom, permit)).await?;
                Box::pin(self.lease_in_turn(exchange, whom, permit, turn)).await
            }
            Err(none) => Err(self.no_turn(console, none)),
        }
    }

    /// The token for a request that waited for its turn: the one before may have ended meanwhile.
    pub(super) async fn lease_in_turn(
        &self,
        exchange: &mut Exchange,
        whom: &Named,
        permit: &Permit<'_>,
        mut turn: Turn,
    ) -> Result<(Turn, Option<Lease>), Rejection> {
        let mut rounds = ROUNDS;
        while permit.bearer() == Bearer::Target
            && self.broker.try_lease(permit).is_none()
            && rounds > 0
        {
            drop(turn);
            self.lease(exchange, permit).await?;
            turn = self.await_turn(exchange, whom, permit).await?;
            rounds -= 1;
        }
        let lease = self.lease(exchange, permit).await?;
        saw(exchange, lease.as_ref());
        Ok((turn, lease))
    }

    /// The token that a permit calls for; none for an operation that VSPC serves without.
    pub(super) async fn lease(
        &self,
        exchange: &mut Exchange,
        permit: &Permit<'_>,
    ) -> Result<Option<Lease>, Rejection> {
        if permit.bearer() == Bearer::Nobody {
            return Ok(None);
        }
        let lease = match self.broker.try_lease(permit) {
            Some(lease) => lease,
            None => Box::pin(self.await_lease(exchange, permit)).await?,
        };
        Ok(Some(lease))
    }

    pub(super) async fn await_lease(
        &self,
        exchange: &mut Exchange,
        permit: &Permit<'_>,
    ) -> Result<Lease, Rejection> {
        let started = Instant::now();
        let lease = self.broker.lease(permit, started + self.token_wait).await;
        exchange.times.token += started.elapsed();
        lease.map_err(|error| match permit.acting() {
            // Nobody can log in for them but themselves.
            Acting::Itself(_) if error.is_refusal() => TokenFault::Ended.into(),
            Acting::For(key) if error.is_refusal() => {
                // Perhaps the user is gone: what comes next is to be told so.
                self.roster.ask(Some(&key.console));
                error.into()
            }
            Acting::Account(..) | Acting::For(_) | Acting::Itself(_) => error.into(),
        })
    }

    async fn await_turn(
        &self,
        exchange: &mut Exchange,
        whom: &Named,
        permit: &Permit<'_>,
    ) -> Result<Turn, Rejection> {
        let console = self.console(permit)?;
        let started = Instant::now();
        let turn = console.turn(&party(whom, permit)).await;
        exchange.times.turn += started.elapsed();
        turn.map_err(|none| self.no_turn(console, none))
    }

    fn no_turn(&self, console: &Console, none: NoTurn) -> Rejection {
        let why = match none {
            NoTurn::Share(refused) => refused.why.as_str(),
            NoTurn::Unwell(_) => "console_unwell",
        };
        self.telemetry.turn_refused(console.id().as_str(), why);
        none.into()
    }

    /// Where a request goes.
    pub(super) fn console(&self, permit: &Permit<'_>) -> Result<&Arc<Console>, Rejection> {
        let console = self.consoles.get(permit.console());
        console.ok_or(Rejection::Internal)
    }

    /// Whom the console takes a request to be of, and throttles.
    pub(super) fn user(&self, whom: &Named, permit: &Permit<'_>) -> User {
        match (permit.acting(), whom) {
            (Acting::Account(..), Named::Known(tenant)) => User::Account(Arc::clone(&tenant.id)),
            // There is no such permit.
            (Acting::Account(..), Named::Nobody | Named::Unknown) => User::Known(NOBODY.0),
            (Acting::For(key), _) => User::Known(key.target.0),
            (Acting::Itself(session), _) => match self.broker.subject_of(session) {
                Some(subject) => User::Known(subject.0),
                None => User::Session(session.id),
            },
        }
    }
}

/// Whose share of the console a request takes.
fn party(whom: &Named, permit: &Permit<'_>) -> Party {
    match (permit.acting(), whom) {
        (Acting::Account(..) | Acting::For(_), Named::Known(tenant)) => {
            Party::Tenant(Arc::clone(&tenant.id))
        }
        // There is no such permit.
        (Acting::Account(..), Named::Nobody | Named::Unknown) => Party::Session(NOBODY.0),
        (Acting::For(key), Named::Nobody | Named::Unknown) => Party::Session(key.target.0),
        (Acting::Itself(session), _) => Party::Session(session.id),
    }
}

fn saw(exchange: &mut Exchange, lease: Option<&Lease>) {
    if let Some(lease) = lease {
        exchange.saw_lease(lease);
    }
}

/// How often a request gives its place up for a token. Where tokens end sooner than turns come, it
/// then waits with it.
const ROUNDS: usize = 3;
