//! The road of one request: who asks, which fault meets it, what is answered, what is counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{self, ApiError, ErrorKind, Reply, ReplyBody};
use crate::bearer::{self, Caller, Cause};
use crate::faults::{Action, Facts, Fault, Outcome};
use crate::grant::{self, Asked, Grant};
use crate::inbound::Inbound;
use crate::query::{Path, Query};
use crate::route::{Operation, Route};
use crate::routes::{self, Call};
use crate::seen::Record;
use crate::settings::TokenAuthorization;
use crate::shape::{self, Shape};
use crate::tally::{AuthorizationOn, Finding};
use crate::throttle::{self, Exceeded, Pass};
use crate::wire::Garbler;
use crate::{Shared, control, dispatch};

/// The first segment of the simulator's own paths, which are neither counted nor remembered.
const CONTROL: &str = "_simulator";

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault")]
pub(crate) struct Cut;

/// The connection that a request comes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its number, counted from 1.
    pub(crate) connection: u64,
    pub(crate) address: IpAddr,
}

/// Answers one request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    peer: Peer,
    garbler: &Garbler,
    request: Request<Incoming>,
) -> Result<Reply, Cut> {
    let (head, incoming) = request.into_parts();
    let path = Path::of(head.uri.path());
    let segments = path.segments();
    if let [CONTROL, rest @ ..] = segments.as_slice() {
        return Ok(control::answer(shared, &head.method, rest, incoming).await);
    }
    let route = Route::of(&head.method, &segments);
    let mut visit = Visit::open(shared, &head, peer, &route);
    let mut body = Inbound::new(incoming, visit.record.clone());
    let outcome = visit.outcome(&mut body).await;
    let refused = matches!(&outcome, Outcome::Answer(reply) if reply.status().as_u16() >= 400);
    if !(refused && shared.switches.early_refusal) {
        body.drain().await;
    }
    match outcome {
        Outcome::Answer(reply) => {
            visit.finding.status = Some(reply.status().as_u16());
            Ok(headless(&head, reply))
        }
        Outcome::Cut => Err(Cut),
        Outcome::Raw(bytes) => {
            garbler.begin(bytes);
            Ok(answer::bare(StatusCode::OK))
        }
    }
}

/// Takes the body off an answer to `HEAD`; hyper does that itself in HTTP/1.
fn headless(head: &Parts, mut reply: Reply) -> Reply {
    if head.method == Method::HEAD && head.version == Version::HTTP_2 {
        if let Some(length) = reply.body().size_hint().exact() {
            reply
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *reply.body_mut() = ReplyBody::empty();
    }
    reply
}

/// As whom a request enters.
enum Entry {
    Caller(Caller),
    Outside,
    Public,
    Refused(Cause),
    Token(Asked),
}

/// A request being worked on; it is counted when this is dropped, answered or not.
struct Visit<'a> {
    shared: &'a Arc<Shared>,
    head: &'a Parts,
    route: Route,
    record: Option<Record>,
    finding: Finding,
    /// The address that limits count the request for.
    source: IpAddr,
    passes: (Option<Pass<'a, IpAddr>>, Option<Pass<'a, Uuid>>),
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            record.note(|seen| seen.status = self.finding.status);
        }
        self.shared.tally.finish(&self.finding);
    }
}

impl<'a> Visit<'a> {
    fn open(shared: &'a Arc<Shared>, head: &'a Parts, peer: Peer, route: &Route) -> Self {
        let seq = shared.tally.arrive();
        let operation = route.operation;
        let trusted = shared.switches.trust_forwarded_for;
        Self {
            source: throttle::source(peer.address, &head.headers, trusted),
            passes: (None, None),
            shared,
            head,
            route: *route,
            record: shared
                .seen
                .open(head, seq, peer.connection, operation.name()),
            finding: Finding {
                operation: operation.name(),
                status: None,
                subject: None,
                cause: None,
                grant: None,
                granted: false,
                impersonated: None,
                refresh_reused: false,
                read_only_refused: false,
                new_token: false,
                authorization_headers: head.headers.get_all(AUTHORIZATION).iter().count() as u64,
                authorization_on: match operation {
                    Operation::Token => AuthorizationOn::Token,
                    _ if operation.is_public() => AuthorizationOn::Public,
                    _ => AuthorizationOn::Other,
                },
                cookie: head.headers.contains_key(COOKIE),
                outside: operation == Operation::Outside,
                fault: false,
            },
        }
    }

    async fn outcome(&mut self, body: &mut Inbound) -> Outcome {
        let header = self.shared.switches.retry_after_header;
        let throttled =
            |limit: Exceeded| Outcome::Answer(answer::throttled(limit.retry_after, header));
        match self.shared.throttle.address(self.source) {
            Ok(pass) => self.passes.0 = pass,
            Err(limit) => return throttled(limit),
        }
        let entry = match self.enter(body).await {
            Ok(entry) => entry,
            Err(error) => return Outcome::Answer(error.into_reply()),
        };
        if let Entry::Caller(caller) = &entry {
            match self.shared.throttle.user(caller.viewer.uid) {
                Ok(pass) => self.passes.1 = pass,
                Err(limit) => return throttled(limit),
            }
        }
        let Some(fault) = self.meet(&entry) else {
            return Outcome::Answer(self.perform(&entry, body).await);
        };
        self.finding.fault = true;
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        let performed = match fault.after_effect || fault.action == Action::Delay {
            true => Some(self.perform(&entry, body).await),
            false => None,
        };
        match (fault.action.outcome(header), performed) {
            (Some(outcome), _) => {
                if fault.action != Action::Unauthorized {
                    return outcome;
                }
                self.finding.cause = Some(Cause::Fault);
                match outcome {
                    Outcome::Answer(reply) => Outcome::Answer(self.dressed(reply)),
                    other => other,
                }
            }
            (None, Some(reply)) => Outcome::Answer(reply),
            (None, None) => Outcome::Cut,
        }
    }

    /// Finds out who asks; of a token request that takes its body.
    async fn enter(&mut self, body: &mut Inbound) -> Result<Entry, ApiError> {
        let operation = self.route.operation;
        if operation == Operation::Outside {
            return Ok(Entry::Outside);
        }
        if operation == Operation::Token {
            let body = body.whole().await?;
            let asked = Asked::read(self.shared, &self.head.headers, &body);
            self.finding.grant = Some(asked.grant);
            self.shared.tally.begin_grant(asked.grant);
            if let Some(record) = &self.record {
                record.note(|seen| seen.grant = Some(asked.grant.name()));
            }
            return Ok(Entry::Token(asked));
        }
        if operation.is_public() {
            return Ok(Entry::Public);
        }
        Ok(match bearer::caller(self.shared, &self.head.headers) {
            Err(cause) => Entry::Refused(cause),
            Ok(caller) => {
                self.finding.subject = Some(caller.viewer.uid);
                self.finding.new_token = caller.token.first_seen(self.shared.tally.epoch());
                if let Some(record) = &self.record {
                    record.note(|seen| seen.subject = Some(caller.viewer.uid));
                }
                Entry::Caller(caller)
            }
        })
    }

    fn meet(&self, entry: &Entry) -> Option<Fault> {
        let (grant, subject) = match entry {
            Entry::Caller(caller) => (None, Some(caller.viewer.uid)),
            Entry::Token(asked) => (Some(asked.grant.name()), asked.subject),
            Entry::Outside | Entry::Public | Entry::Refused(_) => (None, None),
        };
        self.shared.faults.take(&Facts {
            operation: self.route.operation.name(),
            path: self.head.uri.path(),
            grant,
            subject,
        })
    }

    async fn perform(&mut self, entry: &Entry, body: &mut Inbound) -> Reply {
        match entry {
            Entry::Caller(caller) => self
                .operate(caller, body)
                .await
                .unwrap_or_else(ApiError::into_reply),
            Entry::Outside => answer::json(StatusCode::OK, &json!({ "reached": true })),
            Entry::Public if self.finding.authorization_headers > 0 => injected().into_reply(),
            Entry::Public => routes::public::answer(self.route.operation, body)
                .await
                .unwrap_or_else(ApiError::into_reply),
            Entry::Refused(cause) => {
                self.finding.cause = Some(*cause);
                let refusal = ApiError::unauthorized("Authorization is required.");
                self.dressed(refusal.into_reply())
            }
            Entry::Token(asked) => {
                let reply = self.grant(asked);
                self.dressed(reply)
            }
        }
    }

    /// Gives a 401 of the console's own the body that the switch asks for.
    fn dressed(&self, reply: Reply) -> Reply {
        answer::unauthorized_as(self.shared.switches.unauthorized_body, reply)
    }

    async fn operate(&mut self, caller: &Caller, body: &mut Inbound) -> Result<Reply, ApiError> {
        let reads = matches!(self.head.method, Method::GET | Method::HEAD);
        if caller.token.read_only && !reads {
            self.finding.read_only_refused = true;
            return Err(ApiError::forbidden("The token allows reading only."));
        }
        if !caller.token.rest {
            return Err(ApiError::forbidden(
                "The identity may not use the REST API.",
            ));
        }
        let call = Call {
            shared: self.shared,
            head: self.head,
            route: self.route,
            viewer: caller.viewer,
            shape: Shape::asked(&self.head.headers, self.shared.switches.user_id_name)?,
            query: Query::of(self.head.uri.query()),
            body,
        };
        dispatch::carry_out(call).await
    }

    fn grant(&mut self, asked: &Asked) -> Reply {
        let switches = &self.shared.switches;
        let bearer_wanted = switches.as_requires_bearer && asked.grant == Grant::As;
        if self.finding.authorization_headers > 0
            && switches.token_authorization == TokenAuthorization::Refuse
            && !bearer_wanted
        {
            let refusal = grant::Refusal::OAuth(
                "invalid_request",
                "The operation takes no Authorization header.".to_owned(),
            );
            return refusal.into_reply(switches);
        }
        if let Err(_unsupported) = shape::Version::asked(&self.head.headers) {
            let description = "The version of the REST API is not supported.".to_owned();
            let refusal = grant::Refusal::OAuth("invalid_request", description);
            return refusal.into_reply(switches);
        }
        match grant::carry_out(self.shared, &self.head.headers, asked) {
            Ok(reply) => {
                self.finding.granted = true;
                self.finding.impersonated = asked.subject.filter(|_| asked.grant == Grant::As);
                reply
            }
            Err(refusal) => {
                self.finding.refresh_reused = refusal.is_reuse();
                refusal.into_reply(switches)
            }
        }
    }
}

/// The refusal of a bearer where none belongs, so that a wrongly injected one is noticed.
fn injected() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        ErrorKind::Security,
        "The operation takes no Authorization header.",
    )
}
