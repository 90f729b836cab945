//! Requests that seem to have no body and have not ended yet.

use std::time::Duration;

use http::{Method, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Rejection;
use crate::request::HeadFault;
use crate::upstream::{BodyFault, UpstreamError};

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
