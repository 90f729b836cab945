//! Bodies of requests of which the end has not come yet.

use std::time::Duration;

use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Method, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Rejection;
use super::answer::AnswerBody;
use crate::request::HeadFault;
use crate::upstream::{BodyFault, UpstreamError};

/// The body of a request that may be refused before anybody reads it.
pub(super) struct Arriving {
    /// Until somebody takes it.
    body: Option<Incoming>,
    /// Whether the connection is of no use to the next request before this one has ended.
    is_in_the_way: bool,
    /// Whether the caller waits to be told to send it.
    is_held_back: bool,
}

impl Arriving {
    pub(super) fn new(parts: &Parts, body: Incoming) -> Self {
        Self {
            body: Some(body),
            is_in_the_way: parts.version == Version::HTTP_11,
            is_held_back: parts.headers.contains_key(EXPECT),
        }
    }

    /// The body, once.
    pub(super) fn take(&mut self) -> Result<Incoming, Rejection> {
        self.body.take().ok_or(Rejection::Internal)
    }

    /// Sees to what nobody has read of a request that is refused. A small body is read to its end
    /// beside, so that the connection serves the next request; before another the connection ends,
    /// and the answer says so.
    pub(super) fn unread(self, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        let Some(body) = self.body.filter(|body| !body.is_end_stream()) else {
            return answer;
        };
        if !self.is_in_the_way {
            return answer;
        }
        if self.is_held_back || body.size_hint().lower() > DRAIN_LIMIT {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        } else {
            tokio::spawn(tokio::time::timeout(DRAIN_TIME, thrown_away(body)));
        }
        answer
    }
}

/// Reads a body, and keeps nothing of it. What is too long is dropped, which ends its connection.
async fn thrown_away(mut body: Incoming) {
    let mut left = DRAIN_LIMIT;
    while let Some(Ok(frame)) = body.frame().await {
        let now = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(now) else {
            return;
        };
        left = rest;
    }
}

/// The body of a request once it is known whether there is one.
///
/// # Errors
/// Refuses a body of GET or HEAD that does not tell its length, and one that is told to be empty and does
/// not end.
pub(super) async fn settled(
    method: &Method,
    version: Version,
    body: Incoming,
) -> Result<Incoming, Rejection> {
    match body.size_hint().exact() {
        // Without one byte of it the request would be whole to the console.
        Some(0) if !body.is_end_stream() => Box::pin(ended(body, HeadFault::Length)).await,
        None if !matches!(*method, Method::GET | Method::HEAD) => Ok(body),
        // Whoever speaks HTTP/2 may tell only behind the head that nothing follows.
        None if version == Version::HTTP_2 => Box::pin(ended(body, HeadFault::Unannounced)).await,
        None => Err(HeadFault::Unannounced.into()),
        Some(_) => Ok(body),
    }
}

/// Waits for the end of a body that should be empty; `fault` is what it is if it is not.
async fn ended(mut body: Incoming, fault: HeadFault) -> Result<Incoming, Rejection> {
    let end = async {
        while let Some(Ok(frame)) = body.frame().await {
            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                return Err(Rejection::from(fault));
            }
        }
        Ok(())
    };
    let Ok(end) = tokio::time::timeout(PATIENCE, end).await else {
        return Err(UpstreamError::Body(BodyFault::Stalled).into());
    };
    end?;
    if body.is_end_stream() {
        Ok(body)
    } else {
        Err(UpstreamError::Body(BodyFault::Aborted).into())
    }
}

/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most of a body that is read for nothing, and the most time that it has for that.
const DRAIN_LIMIT: u64 = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);
