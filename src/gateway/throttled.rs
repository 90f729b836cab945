//! A console's 429: what it asks for, and the answer as the caller may get it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_ENCODING, RETRY_AFTER};
use http_body_util::BodyExt as _;

use super::answer::{ConsoleBody, Rest};
use crate::clock::Timestamp;
use crate::upstream::Received;
use crate::vspc;

/// A console's answer 429.
#[derive(Debug)]
pub(super) struct Throttled {
    /// The answer, as it came.
    pub(super) response: Response<ConsoleBody>,
    /// How long the console asks to wait, if it does, and all of its answer was read.
    pub(super) retry_after: Option<Duration>,
    /// Whether all of the answer was read, so that another can take its place.
    pub(super) is_whole: bool,
}

impl Throttled {
    /// Reads an answer as far as it matters.
    pub(super) async fn read(response: Response<Received>, now: Timestamp) -> Self {
        let (parts, mut incoming) = response.into_parts();
        let mut read = Vec::new();
        let reading = tokio::time::timeout(READ_TIME, fill(&mut incoming, &mut read)).await;
        let rest = match reading {
            Ok(Ok(Filled::All)) => Rest::Nothing,
            Ok(Ok(Filled::Enough)) | Err(_) => Rest::Incoming(incoming, parts.version),
            Ok(Err(error)) => Rest::Broken(Some(error)),
        };
        let mut packings = parts.headers.get_all(CONTENT_ENCODING).iter();
        let is_plain = packings.all(|packing| packing == "identity");
        let told: &[u8] = if is_plain { &read } else { &[] };
        let retry_after = vspc::retry_after(parts.headers.get(RETRY_AFTER), told, now)
            .map(|wait| wait.max(LEAST_WAIT));
        let is_whole = matches!(rest, Rest::Nothing);
        let body = ConsoleBody::begun(Bytes::from(read), rest);
        Self {
            response: Response::from_parts(parts, body),
            retry_after,
            is_whole,
        }
    }
}

/// How far a body was read.
enum Filled {
    All,
    Enough,
}

async fn fill(incoming: &mut Received, read: &mut Vec<u8>) -> Result<Filled, hyper::Error> {
    while let Some(frame) = incoming.frame().await {
        // Trailers of such an answer say nothing.
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() > READ_LIMIT {
            return Ok(Filled::Enough);
        }
    }
    Ok(Filled::All)
}

/// The most of an answer that is read before it is passed on.
const READ_LIMIT: usize = 16 * 1024;
const READ_TIME: Duration = Duration::from_secs(1);
/// A console that asks for no time at all must not be asked again and again.
const LEAST_WAIT: Duration = Duration::from_secs(1);
