//! One request and its answer, as the audit record and the counters see it.

mod bare;
mod seen;

pub(super) use bare::refuse_unrecorded;

use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, Request, Response};
use smallvec::SmallVec;
use tokio::time::Instant;

use bare::{stamp, without_body};
use seen::certificate;

use super::Gateway;
use super::answer::{Answer, AnswerBody, ConsoleAnswer};
use super::rejection::{Rejection, Shape};
use crate::audit::{Code, Entry, Unavailable, redact_query};
use crate::client::{Credit, Peer, Unidentified};
use crate::policy::Reason;
use crate::quota;
use crate::request::{Operation, RequestHead, RequestId, holds_key};
use crate::telemetry::{Telemetry, Times};
use crate::token::Lease;
use crate::upstream::{BodyProgress, ReplayHandle, UpstreamError};
use crate::wire;

use super::identities::Identities;
use super::subject::{self, Logins};

/// A request from its head to the end of its answer. Dropped before it is closed, it leaves a
/// record with the code `aborted`.
#[derive(Debug)]
pub(super) struct Exchange {
    entry: Option<Entry>,
    id: RequestId,
    pub(super) peer: Peer,
    started: Instant,
    pub(super) times: Times,
    telemetry: Telemetry,
    body: Option<BodyProgress>,
    logins: Option<Box<Logins>>,
    attempts: u32,
    vspc_errors: bool,
    /// The places that it has at the door, until it ends.
    held: SmallVec<[quota::Permit; 2]>,
    /// What its connection has spent on it, and gets back as it ends.
    spent: Option<Arc<Credit>>,
}

impl Exchange {
    /// Opens the audit entry of a request before anything else is done for it.
    pub(super) async fn open(
        gateway: &Gateway,
        id: RequestId,
        peer: Peer,
    ) -> Result<Self, Unavailable> {
        let mut entry = gateway.auditor.begin().await?;
        let started = entry.started();
        let times = Times {
            audit: entry.waited(),
            ..Times::default()
        };
        let record = entry.record();
        record.request_id = Some(id);
        record.config = Some(Arc::clone(&gateway.version));
        record.source = Some(peer.address);
        record.certificate = certificate(&peer);
        let telemetry = gateway.telemetry.clone();
        let entry = Some(entry);
        Ok(Self {
            entry,
            id,
            peer,
            started,
            times,
            telemetry,
            body: None,
            logins: None,
            attempts: 0,
            vspc_errors: gateway.vspc_errors,
            held: SmallVec::new(),
            spent: None,
        })
    }

    pub(super) fn saw_request<B>(&mut self, request: &Request<B>) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.method = Some(request.method().clone());
        record.path = Some(request.uri().path().to_owned());
    }

    /// Who sends it, where a proxy has passed it on.
    pub(super) fn saw_sender(&mut self, sender: Peer) {
        if let Some(entry) = &mut self.entry {
            let record = entry.record();
            record.source = Some(sender.address);
            record.certificate = certificate(&sender);
        }
        self.peer = sender;
    }

    /// Keeps a place until the request has been answered, or has come to another end.
    pub(super) fn hold(&mut self, permit: quota::Permit) {
        self.held.push(permit);
    }

    /// Waits until the request's connection may have it sent.
    pub(super) async fn spend(&mut self) {
        let Some(credit) = &self.peer.credit else {
            return;
        };
        if !credit.try_spend() {
            let started = Instant::now();
            // Boxed: else those who need not wait had room for it.
            Box::pin(credit.spend()).await;
            self.times.turn += started.elapsed();
        }
        self.spent = Some(Arc::clone(credit));
    }

    pub(super) fn saw_head(
        &mut self,
        head: &RequestHead<'_>,
        query: Option<&str>,
        seen: &Arc<Identities>,
    ) {
        let Some(entry) = &mut self.entry else { return };
        let record = entry.record();
        record.operation = Some(head.operation.name(head.method, &head.path));
        record.query = query.map(redact_query);
        if let Operation::Logins(call) = &head.operation {
            record.subject = Some(Box::new(subject::of_request(call, query)));
            self.logins = Some(Box::new(Logins {
                call: call.clone(),
                seen: Arc::clone(seen),
            }));
        }
    }

    /// Why the caller asks, where it says so in a way that can be recorded.
    pub(super) fn saw_reason(&mut self, reason: Reason<'_>) {
        if let (Some(entry), Some(text)) = (&mut self.entry, reason.given()) {
            entry.record().reason = Some(text.to_owned());
        }
    }

    pub(super) fn saw_lease(&mut self, lease: &Lease) {
        if let Some(entry) = &mut self.entry {
            entry.record().lease = Some(lease.fingerprint());
        }
    }

    /// Makes the intent durable: the request is not sent before this returns.
    pub(super) async fn intend(&mut self) -> Result<(), Unavailable> {
        let Some(entry) = &mut self.entry else {
            return Ok(());
        };
        if let Some(logins) = &self.logins {
            let record = entry.record();
            let console = record.console.clone();
            if let Some(subject) = &mut record.subject {
                logins.recall(console.as_ref(), subject);
            }
        }
        let started = Instant::now();
        let intended = entry.intend().await;
        self.times.audit += started.elapsed();
        intended
    }

    /// Counts what comes of the request's body from now on.
    pub(super) fn follow_body(&mut self, replay: &ReplayHandle) {
        self.body = replay.progress();
    }

    /// How much of the request's body has come, where it has one.
    pub(super) fn body(&self) -> Option<&BodyProgress> {
        self.body.as_ref()
    }

    /// What is to be recorded of a body that the caller did not send as it must.
    pub(super) fn body_fault(&self) -> Option<Code> {
        let fault = self.body.as_ref()?.fault()?;
        let rejection = Rejection::Upstream(UpstreamError::Body(fault));
        Some(if rejection.is_hang_up() {
            Code::Aborted
        } else {
            Code::Refused(rejection.code().0)
        })
    }

    /// The request is being sent to the console, once more. It is noted before the first time: only
    /// what is noted is sent.
    pub(super) fn sending(&mut self) -> Result<(), Unavailable> {
        if let Some(entry) = &mut self.entry {
            entry.note_in_flight()?;
        }
        self.attempts += 1;
        Ok(())
    }

    /// The origin that the caller reaches the gateway by.
    pub(super) fn origin(&self, public_url: Option<&str>, host: &str) -> String {
        public_url.map_or_else(|| format!("{}://{host}", self.peer.scheme), str::to_owned)
    }

    /// The answer's body cannot be read on.
    pub(super) fn saw_answer_fault(&mut self, fault: wire::Fault) {
        if let Some(entry) = &mut self.entry {
            entry.record().detail = Some(Cow::Owned(fault.to_string()));
        }
    }

    /// Whether something of the answer's body is to be recorded.
    pub(super) fn reads_answer(&self) -> bool {
        self.logins.is_some()
    }

    /// Answers the caller; the exchange ends with the answer's body.
    pub(super) fn answer(self, answer: Answer) -> Response<AnswerBody> {
        match answer {
            Answer::Console(answer) => self.pass_on(answer),
            Answer::Token(reply) => self.give(reply.into_response()),
        }
    }

    /// Gives an answer that is whole already.
    fn give(mut self, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
        stamp(response.headers_mut(), self.id);
        self.measure();
        if let Some(entry) = &mut self.entry {
            entry.record().status = Some(response.status().as_u16());
        }
        let length = http_body::Body::size_hint(response.body()).lower();
        self.close(Code::Ok, length, None);
        response
    }

    fn pass_on(mut self, answer: ConsoleAnswer) -> Response<AnswerBody> {
        let (mut parts, incoming) = answer.response.into_parts();
        stamp(&mut parts.headers, self.id);
        parts.version = http::Version::default();
        self.measure();
        if let Some(entry) = &mut self.entry {
            let record = entry.record();
            record.status = Some(parts.status.as_u16());
        }
        let (turn, trailers) = (answer.turn, answer.trailers);
        let body = AnswerBody::streamed(incoming, self, turn, trailers, answer.idle_timeout);
        Response::from_parts(parts, body)
    }

    /// Refuses; the exchange ends here.
    pub(super) fn refuse(mut self, rejection: &Rejection) -> Response<AnswerBody> {
        let (code, _) = rejection.code();
        let path = self
            .entry
            .as_mut()
            .and_then(|entry| entry.record().path.as_deref());
        let shape = Shape::of(path.unwrap_or_default(), self.vspc_errors);
        let mut response = rejection.answer(shape);
        let status = response.status();
        stamp(response.headers_mut(), self.id);
        self.measure();
        if let Rejection::Unidentified(Unidentified::Unfit(unfit)) = rejection {
            self.saw_unfit(unfit);
        }
        let Some(entry) = &mut self.entry else {
            return response;
        };
        let record = entry.record();
        if let Some(detail) = rejection.detail() {
            record.detail = Some(Cow::Owned(detail));
        }
        if let Some(rule) = rejection.rule() {
            record.rule = Some(rule);
        }
        // Some are refused before it is looked for keys in them.
        if rejection.hides_target() || record.path.as_deref().is_some_and(holds_key) {
            record.path = Some("~hidden".to_owned());
        }
        if rejection.is_hang_up() {
            self.close(Code::Aborted, 0, None);
            return response;
        }
        record.status = Some(status.as_u16());
        if record.method == Some(Method::HEAD) {
            response = without_body(response);
        }
        let length = http_body::Body::size_hint(response.body()).lower();
        self.close(Code::Refused(code), length, None);
        response
    }

    /// Closes the record. `answered` is the beginning of the answer's body, where it is read.
    pub(super) fn close(mut self, code: Code, bytes_out: u64, answered: Option<&[u8]>) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        self.complete(&mut entry, code, bytes_out);
        if let Some(logins) = &self.logins {
            let record = entry.record();
            let console = record.console.as_ref();
            if let (Some(answered), Some(subject)) = (answered, &mut record.subject) {
                logins.add_answered(console, subject, answered);
            }
            if record
                .status
                .is_some_and(|status| (200..300).contains(&status))
            {
                logins.succeeded(console);
            }
        }
        entry.close(code);
    }

    fn complete(&self, entry: &mut Entry, code: Code, bytes_out: u64) {
        if let Some(credit) = &self.spent {
            match code {
                Code::Ok => credit.answered(),
                Code::Refused(_) | Code::Unknown | Code::UpstreamCut => credit.failed(),
                Code::Aborted => {}
            }
        }
        self.telemetry.request_finished(code.as_str());
        let record = entry.record();
        if let Some(grant) = record.grant {
            let status = record.status.unwrap_or(0);
            self.telemetry.login_finished(grant, code.as_str(), status);
        }
        record.bytes_in = Some(self.body.as_ref().map_or(0, BodyProgress::received));
        record.bytes_out = Some(bytes_out);
        record.attempts = Some(self.attempts);
        // Once the request was sent, the console may have taken the key, whatever came back.
        if let (Some(logins), Some(subject), true) =
            (&self.logins, &mut record.subject, self.attempts > 0)
        {
            subject::add_submitted(subject, &logins.call, self.body.as_ref());
        }
    }

    fn measure(&mut self) {
        self.times.total = self.started.elapsed();
        self.telemetry.answered(&self.times);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The caller went away before there was an answer; the entry records that by itself.
        if let Some(mut entry) = self.entry.take() {
            self.complete(&mut entry, Code::Aborted, 0);
            entry.close(Code::Aborted);
        }
    }
}
