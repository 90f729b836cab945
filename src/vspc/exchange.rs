//! One exchange with a console's `/token`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Limited};

use super::grant::{Grant, IssueError, Issued, Outage, parse_answer};
use crate::upstream::{Console, RequestBody, UpstreamError};

/// Asks a console for a token.
///
/// `client_version` is sent as `X-Client-Version`, which fixes the shape of VSPC's answers.
///
/// # Errors
/// Tells apart who is at fault, so that the caller knows when asking again makes sense.
pub async fn exchange(
    console: &Console,
    grant: &Grant<'_>,
    client_version: Option<&HeaderValue>,
) -> Result<Issued, IssueError> {
    tokio::time::timeout(TOTAL_TIMEOUT, ask(console, grant, client_version))
        .await
        .unwrap_or(Err(IssueError::Unavailable(Outage::TimedOut)))
}

async fn ask(
    console: &Console,
    grant: &Grant<'_>,
    client_version: Option<&HeaderValue>,
) -> Result<Issued, IssueError> {
    let uri = console
        .uri(PathAndQuery::from_static("/api/v3/token"))
        .map_err(|_| IssueError::Unavailable(Outage::Internal))?;
    let form = grant.form();
    let mut request = Request::new(RequestBody::Full(Bytes::copy_from_slice(
        form.expose().as_bytes(),
    )));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form_type);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(version) = client_version {
        headers.insert(HeaderName::from_static("x-client-version"), version.clone());
    }
    let answer = console
        .send(request, None)
        .await
        .map_err(|error| outage(&error))?;
    let status = answer.status().as_u16();
    let text = |name: HeaderName| {
        answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let (content_type, retry_after) = (text(CONTENT_TYPE), text(RETRY_AFTER));
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT + 1)
        .collect()
        .await
        .map_err(|_| IssueError::Malformed("cut off, or larger than an answer may be"))?
        .to_bytes();
    parse_answer(
        status,
        content_type.as_deref(),
        retry_after.as_deref(),
        &body,
    )
}

/// What went wrong on the way holds nothing secret: it is for the operator's eyes.
fn outage(error: &UpstreamError) -> IssueError {
    IssueError::Unavailable(match error {
        UpstreamError::Timeout => Outage::TimedOut,
        UpstreamError::Tls(how) => Outage::Tls(how.as_str().into()),
        UpstreamError::Cut(how) | UpstreamError::Unreachable(how) => {
            Outage::Connection(how.as_str().into())
        }
        UpstreamError::Body(_) => Outage::Internal,
        UpstreamError::Invalid(_) => return IssueError::Malformed("not valid HTTP"),
    })
}

/// More than any answer of the token endpoint has.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Connecting, asking and reading the answer.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
