//! The data path. [`Gateway::handle`] is the sentence; the rooms beside it are its words.

mod actions;
mod admit;
mod answer;
mod door;
mod exchange;
mod forward;
mod forwarded;
mod frozen;
mod headers;
mod identities;
mod inject;
mod live;
mod location;
mod login;
mod rejection;
mod reply;
mod subject;
mod throttled;
mod turn;
mod unended;

pub use actions::Actions;
pub use answer::{AnswerBody, AnswerCut};
pub use forwarded::Forwarded;
pub use headers::OwnedHeaders;
pub use identities::Identities;
pub use inject::inject;
pub use live::{LastReload, Live};
pub use login::Passthrough;
pub use rejection::Rejection;

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use foldhash::fast::RandomState;
use http::request::Parts;
use http::{HeaderName, Method, Request, Response};
use hyper::body::Incoming;

use crate::audit::Auditor;
use crate::client::jwt::Issuers;
use crate::client::{Caller, Client, GatewayTokens, Peer, Proxies};
use crate::clock::Clock;
use crate::freeze::Freezer;
use crate::policy::Policy;
use crate::quota::Quotas;
use crate::reconcile::Reconciler;
use crate::request::{Limits, Operation, RequestHead, RequestId, needs_intent};
use crate::roster::Roster;
use crate::telemetry::Telemetry;
use crate::token::{Broker, VspcIssuer};
use crate::upstream::{Console, ConsoleId, Pace};
use crate::{client, tenant, wire};

use answer::Answer;
use door::tool;
use exchange::Exchange;
use forward::Outbound;
use unended::Arriving;

/// The header that tells the caller the gateway's correlation id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-request-id");

/// The header that tells the caller which refusal it is.
pub const GATEWAY_CODE: HeaderName = HeaderName::from_static("x-gateway-code");

/// The consoles by their names. No stranger makes those up: a fast hash will do.
pub type Consoles = HashMap<ConsoleId, Arc<Console>, RandomState>;

/// Everything a request passes on its way.
#[derive(Debug)]
pub struct Gateway {
    /// The version of the configuration, which records name.
    pub version: Arc<str>,
    /// Bounds on request heads and bodies.
    pub limits: Limits,
    /// Whom proxies in front are believed to speak for.
    pub proxies: Proxies,
    /// How much clients and tenants may use, and how often a source may guess.
    pub quotas: Quotas,
    /// Whether consoles are told where requests come from.
    pub forwarded: Forwarded,
    /// Who may call.
    pub clients: client::Directory,
    /// The identity providers whose tokens they may show. They outlive a configuration.
    pub issuers: Arc<Issuers>,
    /// How requests name their tenant.
    pub mapping: tenant::Mapping,
    /// For whom they may call.
    pub tenants: tenant::Directory,
    /// Who acts for whom at the consoles.
    pub roster: Roster,
    /// What they may do.
    pub policy: Policy,
    /// What operators have stopped.
    pub freezer: Arc<Freezer>,
    /// Where tokens come from.
    pub broker: Broker,
    /// The accounts that it gets them by.
    pub issuer: Arc<VspcIssuer>,
    /// The gateway's own tokens, which callers get.
    pub tokens: Arc<GatewayTokens>,
    /// The console whose own users may log in.
    pub passthrough: Option<Passthrough>,
    /// Whether `/token` refuses a wrong name or key in VSPC's words instead of OAuth2's.
    pub vspc_errors: bool,
    /// Whose asynchronous actions are.
    pub actions: Arc<Actions>,
    /// What answers have said of identities.
    pub identities: Arc<Identities>,
    /// The headers that callers cannot set.
    pub owned: OwnedHeaders,
    /// Where requests go.
    pub consoles: Consoles,
    /// Compares what is recorded with what the consoles have logged.
    pub reconciler: Reconciler,
    /// Where everything is recorded.
    pub auditor: Auditor,
    /// Where everything is counted.
    pub telemetry: Telemetry,
    /// Wall time.
    pub clock: Clock,
    /// The gateway's origin for rewritten `Location`s; absent, the request's own.
    pub public_url: Option<String>,
    /// How many bytes of a request body are kept for a second sending.
    pub replay_limit: usize,
    /// How slowly a request body may come.
    pub body_pace: Pace,
    /// The most time a request waits for a token.
    pub token_wait: Duration,
}

impl Gateway {
    /// Answers a request, whatever happens: a refusal, a fault of the gateway and a caller that
    /// goes away all end in a closed audit record.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<AnswerBody> {
        let id = RequestId::new(self.clock.now());
        let mut exchange = match Exchange::open(self, id, peer).await {
            Ok(exchange) => exchange,
            Err(unavailable) => {
                let (method, path) = (request.method(), request.uri().path());
                return exchange::refuse_unrecorded(self, id, unavailable, method, path);
            }
        };
        exchange.saw_request(&request);
        let (parts, body) = request.into_parts();
        let mut body = Arriving::new(&parts, body);
        let passed = guarded(pin!(self.pass(&mut exchange, &parts, &mut body))).await;
        match passed {
            Ok(answer) => exchange.answer(answer),
            Err(rejection) => body.unread(exchange.refuse(&rejection)),
        }
    }

    /// Refuses what cannot be read as a request, with a record like any other.
    pub async fn refuse(&self, fault: wire::Fault, peer: Peer) -> Response<AnswerBody> {
        let id = RequestId::new(self.clock.now());
        match Exchange::open(self, id, peer).await {
            Ok(exchange) => exchange.refuse(&Rejection::Wire(fault)),
            Err(unavailable) => {
                exchange::refuse_unrecorded(self, id, unavailable, &Method::default(), "")
            }
        }
    }

    /// The road of a request: who, for whom, may they, by which token, to the console and back.
    async fn pass(
        &self,
        exchange: &mut Exchange,
        parts: &Parts,
        body: &mut Arriving,
    ) -> Result<Answer, Rejection> {
        let traced = self.trace(exchange, &parts.headers);
        let head = RequestHead::parse(parts, &self.limits)?;
        exchange.saw_head(&head, parts.uri.query(), &self.identities);
        traced?;
        let reason = self.policy.reason(head.headers);
        exchange.saw_reason(reason);

        if head.operation == Operation::Token {
            return Box::pin(self.log_in(exchange, &head, parts, body.take()?)).await;
        }
        let who = self.identify(exchange, &head)?;
        exchange.saw_caller(&who, &self.broker);
        refuse_source(&who, &exchange.peer)?;
        self.refuse_frozen(&who)?;
        self.meter(exchange, tool(&who))?;

        let (whom, permit) = self.authorize(exchange, &who, &head, reason).await?;
        self.refuse_frozen_tenant(&whom, &permit)?;
        self.claim_action(&head, &whom, &permit)?;
        self.meter_tenant(exchange, tool(&who), &whom)?;
        let body = unended::settled(head.method, parts.version, body.take()?).await?;
        exchange.spend().await;

        let (turn, lease) = self.turn_and_lease(exchange, &whom, &permit).await?;
        self.refuse_stopped(&who, &whom, &permit)?;

        if needs_intent(head.method, &head.operation) {
            exchange.intend().await?;
        }
        let outbound = Outbound::new(self, &head, parts, (&who, &whom, &permit))?;
        outbound.forward(exchange, body, turn, lease).await
    }
}

/// Refuses a client that calls from elsewhere than it may, whatever it asks for.
fn refuse_source(who: &Caller<'_>, peer: &Peer) -> Result<(), Rejection> {
    match who {
        Caller::Client(who) => refuse_source_of(who.client(), peer),
        Caller::Login(..) => Ok(()),
    }
}

fn refuse_source_of(client: &Client, peer: &Peer) -> Result<(), Rejection> {
    if client.terms.networks.have(peer.address) {
        Ok(())
    } else {
        Err(Rejection::Source)
    }
}

/// Turns a panic on the road into a refusal, which is answered and recorded like any other.
fn guarded<T>(
    mut road: Pin<&mut impl Future<Output = Result<T, Rejection>>>,
) -> impl Future<Output = Result<T, Rejection>> {
    poll_fn(move |context| {
        let step = AssertUnwindSafe(|| road.as_mut().poll(context));
        catch_unwind(step).unwrap_or(Poll::Ready(Err(Rejection::Internal)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_the_road_is_a_refusal() {
        let panicking = async { panic!("a fault of the gateway") };
        let refused = guarded::<()>(pin!(panicking)).await.unwrap_err();
        assert_eq!(refused.code().0, "internal_error");
        assert!(guarded(pin!(async { Ok(()) })).await.is_ok());
    }

    /// A future is boxed for each request. One of more than 7168 bytes would come from jemalloc's
    /// class of 8 KiB, of which hyper's buffers are: they would be cut from memory that futures
    /// have touched as a whole, and a connection that is idle would keep much more of it.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<'a, F>(_: impl FnOnce(&'a Gateway, Request<Incoming>, Peer) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Gateway::handle);
        assert!(size <= 4096, "{size} bytes: box what is rare on the road");
    }
}
