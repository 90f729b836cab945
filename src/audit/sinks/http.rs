//! Posting to a URL, and what the answer means for a batch.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, Instant};

use super::SendError;
use super::dial::{Dialer, Place, causes};
use crate::audit::read::visible;
use crate::clock::Clock;
use crate::secret::SecretSource;
use crate::vspc::retry_after;

/// The most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;
/// The most characters of an answer that are told.
const TOLD: usize = 200;
/// How long a connection is kept that nobody used: less than others' patience.
const KEPT: Duration = Duration::from_secs(4);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("vspc-gateway/", env!("CARGO_PKG_VERSION")));

/// A place that takes posts.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is, and how it is believed.
    pub place: Place,
    /// What it is called there, as the `Host` header says it.
    pub authority: HeaderValue,
    /// Path and query.
    pub target: http::uri::PathAndQuery,
    /// What the gateway proves itself with.
    pub token: Option<Token>,
}

/// A secret in a header.
#[derive(Clone, Debug)]
pub struct Token {
    /// Where it is kept.
    pub source: SecretSource,
    /// The header whose value it is; none: it is a bearer in `Authorization`.
    pub header: Option<HeaderName>,
}

/// Posts to one endpoint, on one connection at a time.
pub(super) struct Poster {
    endpoint: Endpoint,
    dialer: Dialer,
    kept: Option<(SendRequest<Full<Bytes>>, Instant)>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Poster {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            dialer: Dialer::new(endpoint.place.clone()),
            endpoint,
            kept: None,
        }
    }

    /// Posts a body. Redirects are not followed.
    pub(super) async fn post(
        &mut self,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        let request = self.request(content_type, headers, body)?;
        let authority = self.dialer.authority();
        let unreachable =
            |what: &str, why: String| SendError::Unreachable(format!("{what} {authority}: {why}"));
        let kept = self.kept.take();
        let kept = kept.filter(|(sender, since)| !sender.is_closed() && since.elapsed() < KEPT);
        let mut sender = match kept {
            Some((sender, _)) => sender,
            None => {
                let stream = TokioIo::new(self.dialer.connect().await?);
                let (sender, connection) = handshake(stream)
                    .await
                    .map_err(|error| unreachable("no HTTP with", causes(&error)))?;
                // It ends with its sender.
                drop(tokio::spawn(connection));
                sender
            }
        };
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| unreachable("no answer from", causes(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        // What is in an answer that is too long or breaks off does not matter; its status does.
        let body = match body {
            Ok(body) => {
                self.kept = Some((sender, Instant::now()));
                body.to_bytes()
            }
            Err(_) => Bytes::new(),
        };
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn request(
        &self,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, SendError> {
        let endpoint = &self.endpoint;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.target.clone().into();
        let all = request.headers_mut();
        all.extend(headers);
        all.insert(HOST, endpoint.authority.clone());
        all.insert(USER_AGENT, AGENT);
        all.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(token) = &endpoint.token {
            let secret = secret(&token.source)?;
            let (name, value) = match &token.header {
                Some(name) => (name.clone(), secret),
                None => (AUTHORIZATION, format!("Bearer {secret}")),
            };
            let mut value = HeaderValue::try_from(value).map_err(|_| SendError::Refused {
                why: "the token cannot stand in a header".to_owned(),
                after: None,
            })?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        Ok(request)
    }
}

/// Reads a secret, as it is now.
pub(super) fn secret(source: &SecretSource) -> Result<String, SendError> {
    let secret = source.read().map_err(|error| SendError::Refused {
        why: error.to_string(),
        after: None,
    })?;
    Ok(secret.expose().to_owned())
}

impl Answer {
    /// Whether the batch was taken. An answer is about the records where it can be about nothing
    /// else: a wrong token or path is no fault of theirs.
    pub(super) fn verdict(&self) -> Result<(), SendError> {
        if self.status.is_success() {
            return Ok(());
        }
        let why = format!("it answered {}{}", self.status, self.told());
        match self.status {
            StatusCode::BAD_REQUEST
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(SendError::BatchRefused(why)),
            status if status.is_redirection() => Err(SendError::Refused {
                why: format!("{why}; redirects are not followed: set the URL that it leads to"),
                after: None,
            }),
            _ => {
                let header = self.headers.get(RETRY_AFTER);
                let after = retry_after(header, &[], Clock::System.now());
                Err(SendError::Refused { why, after })
            }
        }
    }

    /// The start of what was said.
    fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(TOLD).collect();
        match text.is_empty() {
            true => text,
            false => format!(": {}", visible(&text)),
        }
    }
}
