//! Bodies of operators' requests, and the answers to them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Why something is not done, and what helps.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            header: None,
        }
    }

    /// As audit records name it.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method(served: &Method) -> Self {
        let message = format!("only {served} is served here");
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_refused", message);
        let value = HeaderValue::from_str(served.as_str());
        refusal.header = value.ok().map(|value| (ALLOW, value));
        refusal
    }

    pub(super) fn untrusted() -> Self {
        let message = "send the admin token as a bearer";
        let mut refusal = Self::new(StatusCode::UNAUTHORIZED, "bad_credentials", message);
        refusal.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        refusal
    }

    pub(super) fn too_soon(message: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        let message = format!("{message}; try again in {seconds} s");
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        let value = HeaderValue::from_str(&seconds.to_string());
        refusal.header = value.ok().map(|value| (RETRY_AFTER, value));
        refusal
    }
}

/// As an operator is told.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for Response<Full<Bytes>> {
    fn from(refusal: Refusal) -> Self {
        let mut body = json!({"error": refusal.message, "code": refusal.code});
        if let Some((name, value)) = &refusal.header
            && *name == RETRY_AFTER
        {
            let seconds = value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<u64>().ok());
            if let Some(body) = body.as_object_mut() {
                body.insert("retry_after".to_owned(), json!(seconds));
            }
        }
        let mut response = as_json(refusal.status, &body);
        if let Some((name, value)) = refusal.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Reads a body that says that it is JSON, within bounds.
pub(super) async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    read_as(headers, body, "application/json").await
}

/// Reads a body that says that it is of a kind, within bounds.
pub(super) async fn read_as(
    headers: &HeaderMap,
    body: Incoming,
    wanted: &str,
) -> Result<Bytes, Refusal> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(wanted) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad_request",
            match wanted {
                "application/json" => {
                    "send a JSON object, with Content-Type: application/json".to_owned()
                }
                other => format!("send it with Content-Type: {other}"),
            },
        ));
    }
    let read = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body may have 64 KiB",
        )),
        Ok(Err(error)) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the body did not come within 10 s",
        )),
    }
}

/// Takes a body as what an operation needs to know.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not as it should be: {error}")))
}

/// An answer that nobody keeps.
pub(super) fn as_json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The answer to a question about a console that there is not.
pub(super) fn no_such_console(name: &str) -> Response<Full<Bytes>> {
    as_json(
        StatusCode::NOT_FOUND,
        &json!({"error": format!("no console is called {name:?}")}),
    )
}

const BODY_LIMIT: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);
