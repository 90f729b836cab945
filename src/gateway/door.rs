//! At the door: where a request comes from, who sends it, and whether there is room for it.

use std::time::Duration;

use http::HeaderMap;

use super::{Exchange, Gateway, Rejection};
use crate::client::jwt::JwtFault;
use crate::client::{Caller, Client, TokenFault, Unidentified, Untraceable};
use crate::quota::{Attempt, Exceeded, Permit};
use crate::request::RequestHead;
use crate::tenant::Named;

impl Gateway {
    /// Finds out where a request comes from that a trusted proxy has passed on: first of all, so that
    /// each refusal has its source. That it cannot be found out is not the first thing to refuse for,
    /// as there may be a key in the path, which then must not be recorded.
    pub(super) fn trace(
        &self,
        exchange: &mut Exchange,
        headers: &HeaderMap,
    ) -> Result<(), Untraceable> {
        if let Some(sender) = self.proxies.sender(headers, &exchange.peer)? {
            exchange.saw_sender(sender);
        }
        Ok(())
    }

    /// Finds out who is calling. A credential that is in order always is; whoever shows too many
    /// that are not is told to wait.
    pub(super) fn identify(
        &self,
        exchange: &mut Exchange,
        head: &RequestHead<'_>,
    ) -> Result<Caller<'_>, Rejection> {
        let now = self.clock.now();
        let identified = self.clients.identify_by(&head.lines, &exchange.peer, now);
        identified.map_err(|unidentified| {
            if unidentified == Unidentified::Conflicting {
                let told = self
                    .clients
                    .contradiction(head.headers, &exchange.peer, now);
                exchange.saw_detail(told);
            }
            self.note_guess(exchange, unidentified.into())
        })
    }

    /// Counts a refusal if it was of a wrong credential. What is told instead after too many does not
    /// say whether it was; the record does.
    pub(super) fn note_guess(&self, exchange: &mut Exchange, refused: Rejection) -> Rejection {
        let Some(guesses) = &self.quotas.guesses else {
            return refused;
        };
        if !is_guess(&refused) {
            return refused;
        }
        match guesses.wrong(exchange.peer.address) {
            Ok(()) => refused,
            Err(wait) => {
                if let Rejection::Unidentified(Unidentified::Unfit(unfit)) = &refused {
                    exchange.saw_unfit(unfit);
                }
                self.too_many_guesses(wait, refused.detail())
            }
        }
    }

    /// Leave to try a credential at a console, on an account if it is known on which. Where too many
    /// were wrong it is not tried at all.
    pub(super) fn attempt(
        &self,
        exchange: &Exchange,
        account: Option<&str>,
    ) -> Result<Option<Attempt>, Rejection> {
        let Some(guesses) = &self.quotas.guesses else {
            return Ok(None);
        };
        let attempt = guesses.attempt(exchange.peer.address, account);
        attempt
            .map(Some)
            .map_err(|wait| self.too_many_guesses(wait, None))
    }

    /// `what` is what was wrong with the last of them, as far as it is known.
    fn too_many_guesses(&self, retry_after: Duration, what: Option<String>) -> Rejection {
        self.telemetry.limit_met("", "failed_auth");
        Rejection::Guessing { retry_after, what }
    }

    /// Lets a request of a client in, if it has not had its share; it keeps its place until it has
    /// been answered.
    pub(super) fn meter(
        &self,
        exchange: &mut Exchange,
        client: Option<&Client>,
    ) -> Result<(), Rejection> {
        let Some(client) = client else {
            return Ok(());
        };
        let permit = self.quotas.meters.client(&client.name);
        self.hold(exchange, client, permit)
    }

    /// The same for the tenant that it acts for. To be asked once policy has said that it is the
    /// caller's.
    pub(super) fn meter_tenant(
        &self,
        exchange: &mut Exchange,
        client: Option<&Client>,
        whom: &Named,
    ) -> Result<(), Rejection> {
        let (Some(client), Named::Known(tenant)) = (client, whom) else {
            return Ok(());
        };
        let permit = self.quotas.meters.tenant(&tenant.id);
        self.hold(exchange, client, permit)
    }

    fn hold(
        &self,
        exchange: &mut Exchange,
        client: &Client,
        permit: Result<Option<Permit>, Exceeded>,
    ) -> Result<(), Rejection> {
        let permit = permit.inspect_err(|exceeded| {
            self.telemetry.limit_met(&client.name, exceeded.label());
        })?;
        if let Some(permit) = permit {
            exchange.hold(permit);
        }
        Ok(())
    }
}

/// The tool of the configuration that a caller is, if it is one.
pub(super) fn tool<'a>(who: &'a Caller<'_>) -> Option<&'a Client> {
    match who {
        Caller::Client(who) => Some(who.client()),
        Caller::Login(..) => None,
    }
}

/// Whether a refusal is of a credential that was never right. A token that was, and has ended, is
/// shown by whoever has not noticed yet, and must not be kept from noticing. A key that has ended, or
/// lacks its certificate, is one more that does not open: were it told apart from those that nobody
/// has, a guesser who is made to wait would learn which it was.
fn is_guess(refused: &Rejection) -> bool {
    match refused {
        Rejection::Unidentified(unidentified) => match unidentified {
            Unidentified::Bad
            | Unidentified::Conflicting
            | Unidentified::Token(TokenFault::Invalid) => true,
            Unidentified::Jwt(fault) => !matches!(
                fault,
                JwtFault::Expired | JwtFault::Future | JwtFault::NotYet
            ),
            Unidentified::Unfit(unfit) => !unfit.is_missing(),
            Unidentified::Missing | Unidentified::NoKeys { .. } | Unidentified::Token(_) => false,
        },
        _ => false,
    }
}
