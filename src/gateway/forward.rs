//! From a permit and a lease to the console's answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::answer::{Answer, ConsoleAnswer, ConsoleBody};
use super::exchange::Exchange;
use super::inject::inject;
use super::throttled::Throttled;
use super::{Gateway, Rejection, headers, location};
use crate::client::{Caller, Peer};
use crate::policy::{Acting, Permit};
use crate::request::{LoginsCall, Operation, RequestHead, needs_intent};
use crate::tenant::Named;
use crate::token::Lease;
use crate::upstream::{Console, Received, ReplayHandle, RequestBody, Turn, UpstreamError};
use crate::vspc::grant::Subject;

/// A request on its way out; it can be sent more than once.
pub(super) struct Outbound<'a> {
    gateway: &'a Gateway,
    console: &'a Arc<Console>,
    head: &'a RequestHead<'a>,
    parts: &'a Parts,
    who: &'a Caller<'a>,
    whom: &'a Named,
    permit: &'a Permit<'a>,
}

impl<'a> Outbound<'a> {
    pub(super) fn new(
        gateway: &'a Gateway,
        head: &'a RequestHead<'a>,
        parts: &'a Parts,
        (who, whom, permit): (&'a Caller<'a>, &'a Named, &'a Permit<'a>),
    ) -> Result<Self, Rejection> {
        let console = gateway.console(permit)?;
        Ok(Self {
            gateway,
            console,
            head,
            parts,
            who,
            whom,
            permit,
        })
    }

    /// Sends the request to its console, again where that is safe and helps.
    pub(super) async fn forward(
        self,
        exchange: &mut Exchange,
        body: Incoming,
        turn: Turn,
        lease: Option<Lease>,
    ) -> Result<Answer, Rejection> {
        let Self { gateway, head, .. } = self;
        let version = self.parts.version;
        // Of these calls the submitted key is to be recorded, whatever may be sent again.
        let hold = match head.operation {
            Operation::Logins(_) => gateway.replay_limit.max(KEY_LIMIT),
            _ => gateway.replay_limit,
        };
        let (limit, pace) = (gateway.limits.body, gateway.body_pace);
        let (body, replay) = RequestBody::streaming(body, version, hold, (limit, pace));
        exchange.follow_body(&replay);

        let (mut response, turn) = self.ask(exchange, body, &replay, turn, lease).await?;

        if response.status().is_success()
            && let Operation::Logins(LoginsCall::RevokeTokens { user: Some(user) }) = head.operation
        {
            gateway.broker.retire(Subject(user));
        }
        let status = response.status();
        let settings = self.console.settings();
        let trailers = headers::takes_trailers(&head.lines);
        headers::clean_answer(response.headers_mut(), trailers);
        let console = |authority: &str| settings.is_named(authority);
        if status == StatusCode::ACCEPTED {
            gateway.note_action(response.headers(), self.whom, self.permit);
        }
        location::rewrite(response.headers_mut(), status, console, || {
            exchange.origin(gateway.public_url.as_deref(), head.host)
        });
        Ok(Answer::Console(ConsoleAnswer {
            response,
            turn,
            idle_timeout: settings.idle_timeout,
            trailers,
        }))
    }

    /// The console's answer. While it throttles, the request waits and is sent again, as long as it
    /// may; then its last answer goes to the caller.
    async fn ask(
        &self,
        exchange: &mut Exchange,
        mut body: RequestBody,
        replay: &ReplayHandle,
        mut turn: Turn,
        mut lease: Option<Lease>,
    ) -> Result<(Response<ConsoleBody>, Option<Turn>), Rejection> {
        let mut patience = self.console.settings().sharing.throttle_wait;
        loop {
            let answer = self.answer(exchange, body, replay, turn, lease);
            let (response, held) = answer.await?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                let version = response.version();
                let body = |incoming| ConsoleBody::unread(incoming, version);
                return Ok((response.map(body), Some(held)));
            }
            // What is rare is boxed: else every request had room for it.
            let waited = self.wait(exchange, response, replay, held, &mut patience);
            (body, turn, lease) = match Box::pin(waited).await? {
                Waited::Again(body, turn, lease) => (body, turn, lease),
                Waited::Enough(response, turn) => return Ok((response, turn)),
            };
        }
    }

    /// The console throttles: waits, if that is not for too long, for another turn and its token.
    async fn wait(
        &self,
        exchange: &mut Exchange,
        response: Response<Received>,
        replay: &ReplayHandle,
        turn: Turn,
        patience: &mut Duration,
    ) -> Result<Waited, Rejection> {
        let throttled = Throttled::read(response, self.gateway.clock.now()).await;
        let held = self.sit_out(exchange, &throttled, replay, turn, patience);
        let (turn, body) = match held.await {
            Ok(again) => again,
            Err(turn) => return Ok(Waited::Enough(throttled.response, turn)),
        };
        let leased = self
            .gateway
            .lease_in_turn(exchange, self.whom, self.permit, turn);
        let (turn, lease) = leased.await?;
        self.gateway.telemetry.replayed();
        Ok(Waited::Again(body, turn, lease))
    }

    /// Waits as long as the console asks to, without a place there, for another turn. Where that
    /// takes too long, or the request cannot be sent again, it fails with the turn there was.
    async fn sit_out(
        &self,
        exchange: &mut Exchange,
        throttled: &Throttled,
        replay: &ReplayHandle,
        turn: Turn,
        patience: &mut Duration,
    ) -> Result<(Turn, RequestBody), Option<Turn>> {
        let Some(wait) = throttled.retry_after else {
            return Err(Some(turn));
        };
        turn.throttled(self.gateway.user(self.whom, self.permit), wait);
        if wait > *patience || !throttled.is_whole {
            return Err(Some(turn));
        }
        let Some(body) = replay.again() else {
            return Err(Some(turn));
        };
        let started = Instant::now();
        let deadline = started + wait + self.console.settings().sharing.turn_wait;
        let turn = self.console.turn_again(turn, deadline).await;
        let waited = started.elapsed();
        exchange.times.turn += waited;
        *patience = patience.saturating_sub(waited);
        turn.map(|turn| (turn, body)).map_err(|_| None)
    }

    /// The console's answer to the request with a token that it takes, and the turn it came in.
    async fn answer(
        &self,
        exchange: &mut Exchange,
        body: RequestBody,
        replay: &ReplayHandle,
        turn: Turn,
        lease: Option<Lease>,
    ) -> Result<(Response<Received>, Turn), Rejection> {
        // A console may close a kept connection just as it is used again. What changes nothing and has
        // no body is sent once more then.
        let is_repeatable = matches!(body, RequestBody::Empty)
            && !needs_intent(self.head.method, &self.head.operation);
        let sent = self.send(exchange, body, &turn, lease.as_ref()).await;
        let response = if is_repeatable && is_cut(&sent) {
            drop(sent);
            self.gateway.telemetry.replayed();
            let again = self.send(exchange, RequestBody::Empty, &turn, lease.as_ref());
            Box::pin(again).await?
        } else {
            sent?
        };
        match lease {
            Some(stale) if response.status() == StatusCode::UNAUTHORIZED => {
                let renewed = self.renew_and_repeat(exchange, response, &stale, replay, turn);
                Box::pin(renewed).await
            }
            _ => Ok((response, turn)),
        }
    }

    /// The console refused the token, so it did nothing: the lease is retired and the request sent
    /// once more with the next one, if its body is still held.
    async fn renew_and_repeat(
        &self,
        exchange: &mut Exchange,
        refused: Response<Received>,
        stale: &Lease,
        replay: &ReplayHandle,
        turn: Turn,
    ) -> Result<(Response<Received>, Turn), Rejection> {
        drain(refused).await;
        let (gateway, permit) = (self.gateway, self.permit);
        gateway.broker.rejected(permit, stale);
        let Some(body) = replay.again() else {
            drop(turn);
            gateway.await_lease(exchange, permit).await?;
            return Err(Rejection::TokenRenewed);
        };
        let newer = gateway.broker.try_lease(permit);
        let newer = newer.filter(|lease| lease.generation() != stale.generation());
        let (turn, lease) = match newer {
            Some(lease) => {
                exchange.saw_lease(&lease);
                (turn, Some(lease))
            }
            None => {
                // Others may have the place while the token is renewed.
                drop(turn);
                self.renewed(exchange, stale).await?;
                gateway.turn_and_lease(exchange, self.whom, permit).await?
            }
        };
        gateway.telemetry.replayed();
        let response = self.send(exchange, body, &turn, lease.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            drain(response).await;
            if let Some(lease) = &lease {
                gateway.broker.rejected(permit, lease);
            }
            return Err(Rejection::RefusedToken);
        }
        Ok((response, turn))
    }

    /// Waits for a newer token than the one that the console refused.
    async fn renewed(&self, exchange: &mut Exchange, stale: &Lease) -> Result<(), Rejection> {
        let (gateway, permit) = (self.gateway, self.permit);
        let mut lease = gateway.await_lease(exchange, permit).await?;
        if let Acting::Itself(session) = permit.acting()
            && lease.generation() == stale.generation()
        {
            // Too young for a newer one to do better, or revoked at the console: that is found out,
            // since nobody else will.
            gateway.broker.give_up(session);
            lease = gateway.await_lease(exchange, permit).await?;
        }
        if lease.generation() == stale.generation() {
            return Err(Rejection::RefusedToken);
        }
        Ok(())
    }

    async fn send(
        &self,
        exchange: &mut Exchange,
        body: RequestBody,
        turn: &Turn,
        lease: Option<&Lease>,
    ) -> Result<Response<Received>, Rejection> {
        let request = self.request(body, lease, &exchange.peer);
        self.gateway
            .refuse_stopped(self.who, self.whom, self.permit)?;
        exchange.sending()?;
        let started = Instant::now();
        let answer = self.console.send(request, exchange.body()).await;
        exchange.times.upstream += started.elapsed();
        turn.report(&answer, &self.head.path);
        Ok(answer?)
    }

    /// What the console gets: the raw target, the caller's headers less what ends here or belongs
    /// to the gateway, and then, set last, exactly one `Authorization`.
    fn request(
        &self,
        body: RequestBody,
        lease: Option<&Lease>,
        peer: &Peer,
    ) -> Request<RequestBody> {
        let slash = || PathAndQuery::from_static("/");
        let target = self
            .parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(slash);
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        // Where the console is, its connections know.
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = inject(&self.head.lines, &self.gateway.owned, lease);
        let (headers, origin) = (request.headers_mut(), self.gateway.public_url.as_deref());
        let host = Some(self.head.host).filter(|_| !self.gateway.limits.names.is_empty());
        self.gateway.forwarded.add(headers, peer, origin, host);
        if let Operation::Logins(_) = self.head.operation {
            // The identity is read from the answer, which must not be packed for that.
            let identity = HeaderValue::from_static("identity");
            request.headers_mut().insert(ACCEPT_ENCODING, identity);
        }
        request
    }
}

/// What came of waiting for a console that throttles.
enum Waited {
    /// The request is to be sent with these.
    Again(RequestBody, Turn, Option<Lease>),
    /// This is its answer, and the turn that it came in, if it is still there.
    Enough(Response<ConsoleBody>, Option<Turn>),
}

fn is_cut<T>(sent: &Result<T, Rejection>) -> bool {
    matches!(sent, Err(Rejection::Upstream(UpstreamError::Cut(_))))
}

/// Reads a refused answer to its end, so that its connection can be used again. One that does not
/// end soon is dropped, which closes the connection.
async fn drain(response: Response<Received>) {
    let body = Limited::new(response.into_body(), DRAIN_LIMIT).collect();
    drop(tokio::time::timeout(DRAIN_TIME, body).await);
}

/// The most of a submitted key that is read.
const KEY_LIMIT: usize = 64 * 1024;
const DRAIN_LIMIT: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);
