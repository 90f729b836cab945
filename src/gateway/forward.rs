//! From a permit and a lease to the console's answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::answer::{Answer, ConsoleAnswer};
use super::exchange::Exchange;
use super::inject::inject;
use super::{Gateway, Rejection, headers, location};
use crate::client::TokenFault;
use crate::policy::{Acting, Bearer, Permit};
use crate::request::{HeadFault, LoginsCall, Operation, RequestHead, needs_intent};
use crate::token::Lease;
use crate::upstream::{Console, ReplayHandle, RequestBody, UpstreamError};
use crate::vspc::grant::Subject;

impl Gateway {
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
            None => self.await_lease(exchange, permit).await?,
        };
        exchange.saw_lease(&lease);
        Ok(Some(lease))
    }

    async fn await_lease(
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
            Acting::For(_) | Acting::Itself(_) => error.into(),
        })
    }

    /// Sends a request to its console, a second time where that is safe and helps.
    pub(super) async fn forward(
        &self,
        exchange: &mut Exchange,
        head: &RequestHead<'_>,
        parts: &Parts,
        body: Incoming,
        permit: &Permit<'_>,
        lease: Option<Lease>,
    ) -> Result<Answer, Rejection> {
        let console = self
            .consoles
            .get(permit.console())
            .ok_or(Rejection::Internal)?;
        let outbound = Outbound {
            gateway: self,
            console,
            parts,
            operation: &head.operation,
        };
        if body.size_hint().exact().is_none() && matches!(*head.method, Method::GET | Method::HEAD)
        {
            return Err(HeadFault::Unannounced.into());
        }
        // Of these calls the submitted key is to be recorded, whatever may be sent again.
        let hold = match head.operation {
            Operation::Logins(_) => self.replay_limit.max(KEY_LIMIT),
            _ => self.replay_limit,
        };
        let (body, replay) = RequestBody::streaming(body, hold, self.limits.body);
        exchange.follow_body(&replay);

        let mut response = outbound.first(exchange, body, lease.as_ref()).await?;
        if let Some(stale) = lease
            && response.status() == StatusCode::UNAUTHORIZED
        {
            drain(response).await;
            response = self
                .renew_and_repeat(exchange, &outbound, permit, &stale, &replay)
                .await?;
        }

        if response.status().is_success()
            && let Operation::Logins(LoginsCall::RevokeTokens { user: Some(user) }) = head.operation
        {
            self.broker.retire(Subject(user));
        }
        let status = response.status();
        headers::clean_answer(response.headers_mut());
        location::rewrite(
            response.headers_mut(),
            status,
            &console.settings().authority,
            || exchange.origin(self.public_url.as_deref(), head.host),
        );
        Ok(Answer::Console(ConsoleAnswer {
            response,
            idle_timeout: console.settings().idle_timeout,
            trailers: headers::takes_trailers(&parts.headers),
        }))
    }

    /// The console refused the token, so it did nothing: the lease is retired and the request sent
    /// once more with the next one, if its body is still held.
    async fn renew_and_repeat(
        &self,
        exchange: &mut Exchange,
        outbound: &Outbound<'_>,
        permit: &Permit<'_>,
        stale: &Lease,
        replay: &ReplayHandle,
    ) -> Result<Response<Incoming>, Rejection> {
        self.broker.rejected(permit, stale);
        let again = replay.again();
        let mut lease = self.await_lease(exchange, permit).await?;
        let body = again.ok_or(Rejection::TokenRenewed)?;
        if lease.generation() == stale.generation() {
            match permit.acting() {
                Acting::For(_) => return Err(Rejection::RefusedToken),
                // Too young for a newer one to do better, or revoked at the console: that is found
                // out, since nobody else will.
                Acting::Itself(session) => {
                    self.broker.give_up(session);
                    lease = self.await_lease(exchange, permit).await?;
                }
            }
        }
        exchange.saw_lease(&lease);
        self.telemetry.replayed();
        let response = outbound.send(exchange, body, Some(&lease)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            drain(response).await;
            self.broker.rejected(permit, &lease);
            return Err(Rejection::RefusedToken);
        }
        Ok(response)
    }
}

/// A request on its way out; it can be sent more than once.
struct Outbound<'a> {
    gateway: &'a Gateway,
    console: &'a Arc<Console>,
    parts: &'a Parts,
    operation: &'a Operation,
}

impl Outbound<'_> {
    /// Sends it for the first time, and once more when the console closed a kept connection just
    /// as it was used again: only what changes nothing and has no body.
    async fn first(
        &self,
        exchange: &mut Exchange,
        body: RequestBody,
        lease: Option<&Lease>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let repeatable =
            matches!(body, RequestBody::Empty) && !needs_intent(&self.parts.method, self.operation);
        match self.send(exchange, body, lease).await {
            Err(UpstreamError::Cut(_)) if repeatable => {
                self.gateway.telemetry.replayed();
                self.send(exchange, RequestBody::Empty, lease).await
            }
            first => first,
        }
    }

    async fn send(
        &self,
        exchange: &mut Exchange,
        body: RequestBody,
        lease: Option<&Lease>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let request = self.request(body, lease)?;
        exchange.sending();
        let started = Instant::now();
        let answer = self.console.send(request, exchange.body()).await;
        exchange.times.upstream += started.elapsed();
        answer
    }

    /// What the console gets: the raw target, the caller's headers less what ends here or belongs
    /// to the gateway, and then, set last, exactly one `Authorization`.
    fn request(
        &self,
        body: RequestBody,
        lease: Option<&Lease>,
    ) -> Result<Request<RequestBody>, UpstreamError> {
        let slash = || PathAndQuery::from_static("/");
        let target = self
            .parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(slash);
        let uri = self
            .console
            .uri(target)
            .map_err(|error| UpstreamError::Unreachable(error.to_string()))?;
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = inject(&self.parts.headers, &self.gateway.owned, lease);
        if let Operation::Logins(_) = self.operation {
            // The identity is read from the answer, which must not be packed for that.
            let identity = HeaderValue::from_static("identity");
            request.headers_mut().insert(ACCEPT_ENCODING, identity);
        }
        Ok(request)
    }
}

/// Reads a refused answer to its end, so that its connection can be used again. One that does not
/// end soon is dropped, which closes the connection.
async fn drain(response: Response<Incoming>) {
    let body = Limited::new(response.into_body(), DRAIN_LIMIT).collect();
    drop(tokio::time::timeout(DRAIN_TIME, body).await);
}

/// The most of a submitted key that is read.
const KEY_LIMIT: usize = 64 * 1024;
const DRAIN_LIMIT: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);
