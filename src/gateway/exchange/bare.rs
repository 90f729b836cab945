//! Answers that no record goes with, and what all answers have.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderValue, Method, Response};

use crate::audit::Unavailable;
use crate::gateway::answer::AnswerBody;
use crate::gateway::rejection::{Rejection, Shape};
use crate::gateway::{Gateway, REQUEST_ID};
use crate::request::RequestId;

/// Refuses a request that cannot even be recorded: it is counted and logged instead.
pub(in crate::gateway) fn refuse_unrecorded(
    gateway: &Gateway,
    id: RequestId,
    unavailable: Unavailable,
    method: &Method,
    path: &str,
) -> Response<AnswerBody> {
    let rejection = Rejection::Audit(unavailable);
    let (code, _) = rejection.code();
    gateway.telemetry.request_finished(code);
    tracing::warn!(request_id = %id, code, "a request was refused because it cannot be recorded");
    let shape = Shape::of(path, gateway.vspc_errors);
    let mut response = rejection.answer(shape);
    stamp(response.headers_mut(), id);
    if *method == Method::HEAD {
        response = without_body(response);
    }
    response
}

/// The head of an answer to HEAD: it tells the length of what it does not have.
pub(super) fn without_body(response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    let length = http_body::Body::size_hint(&body).lower();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    Response::from_parts(parts, AnswerBody::full(Bytes::new()))
}

pub(super) fn stamp(headers: &mut HeaderMap, id: RequestId) {
    // The id is ASCII by construction.
    if let Ok(value) = HeaderValue::from_bytes(id.as_bytes()) {
        headers.insert(REQUEST_ID, value);
    }
}
