//! Operations that no console has: they show a test what arrived and send what it asks for.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::Call;
use crate::answer::{self, ApiError, ErrorKind, Length, Reply, ReplyBody};
use crate::{faults, random, seen};

/// The cookie that the console's web interface keeps its session in.
const COOKIE: HeaderValue =
    HeaderValue::from_static("x-authorization=simulated-session; path=/; secure; httponly");
/// Where the console says it lives, which is not where it is reached.
const INTERNAL: &str = "https://vspc.internal.example:1280/api/v3/asyncActions";
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const X_HOP: HeaderName = HeaderName::from_static("x-hop");
/// The largest piece of a streamed body, in bytes.
const CHUNK_MOST: u64 = 1024 * 1024;

/// Answers with what arrived, and sets a cookie.
pub(super) async fn echo(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let digest = digest(call).await?;
    let mut reply = answer::json(
        StatusCode::OK,
        &json!({
            "subject": call.viewer.uid,
            "method": call.head.method.as_str(),
            "target": seen::target(&call.head.uri, call.head.version),
            "headers": seen::pairs(&call.head.headers),
            "body_len": call.body.length(),
            "body_sha256": digest,
        }),
    );
    reply.headers_mut().insert(SET_COOKIE, COOKIE);
    Ok(reply)
}

/// Reads everything and answers with its length and digest.
pub(super) async fn sink(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let digest = digest(call).await?;
    let body = json!({ "received": call.body.length(), "sha256": digest });
    Ok(answer::json(StatusCode::OK, &body))
}

async fn digest(call: &mut Call<'_>) -> Result<String, ApiError> {
    let mut context = Context::new(&SHA256);
    loop {
        match call.body.next().await {
            Ok(Some(bytes)) => context.update(&bytes),
            Ok(None) => return Ok(hex::encode(context.finish())),
            Err(_) => {
                let early = "The body ends early.";
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    ErrorKind::Transport,
                    early,
                ));
            }
        }
    }
}

/// Streams as many bytes as asked, in pieces that repeat 0, 1, 2 … 250.
pub(super) fn bytes(call: &Call<'_>) -> Result<Reply, ApiError> {
    let size = call.query.number("size", 0..=u64::MAX, 0)?;
    let chunk = call.query.number("chunk", 1..=CHUNK_MOST, 16 * 1024)?;
    let length = match call.query.truth("chunked", false)? {
        true => Length::Chunked,
        false => Length::Told,
    };
    let block: Bytes = (0..chunk.min(size.max(1)))
        .map(|at| u8::try_from(at % 251).unwrap_or(0))
        .collect();
    let mut reply = answer::bare(StatusCode::OK);
    let kind = HeaderValue::from_static("application/octet-stream");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    *reply.body_mut() = ReplyBody::Repeated {
        block,
        left: size,
        length,
    };
    Ok(reply)
}

/// Answers with the status asked for, and a `Location` where one belongs or is asked for.
pub(super) fn status(call: &Call<'_>) -> Result<Reply, ApiError> {
    let code = call.query.number("code", 200..=599, 200)?;
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    let mut reply = match status.as_u16() {
        200 => answer::data(&json!(true)),
        201..=399 => answer::bare(status),
        _ => faults::failure(status).into_reply(),
    };
    let location = match call.query.one("location") {
        Some(location) => Some(location.to_owned()),
        None => (status == StatusCode::ACCEPTED).then(|| format!("{INTERNAL}/{}", random::uuid())),
    };
    if let Some(location) = location {
        let value = HeaderValue::from_str(&location)
            .map_err(|_| ApiError::parameter("location", "The value is no header value."))?;
        reply.headers_mut().insert(LOCATION, value);
    }
    Ok(reply)
}

/// Answers with headers that are meant for the next hop alone.
pub(super) fn hop() -> Reply {
    let mut reply = answer::data(&json!(true));
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("X-Hop"));
    headers.insert(X_HOP, HeaderValue::from_static("1"));
    headers.insert(KEEP_ALIVE, HeaderValue::from_static("timeout=5"));
    reply
}
