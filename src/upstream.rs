//! Connections to consoles: pool, TLS, timeouts, whose turn it is, and what went wrong.

mod answers;
mod body;
pub mod breaker;
mod connect;
mod error;
pub mod share;
mod tls;
mod turn;

pub use body::{BodyFault, BodyProgress, ReplayHandle, RequestBody};
pub use error::UpstreamError;
pub use tls::{Fingerprint256, Trust, TrustError};
pub use turn::{NoTurn, Turn};

use std::fmt;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use answers::Strict;
use breaker::Breaker;
use connect::Bounded;
use share::Shares;

/// The name of a console, as the configuration gives it.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsoleId(Arc<str>);

impl ConsoleId {
    /// Names a console.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ConsoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConsoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which HTTP versions are spoken with a console.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpVersions {
    /// What ALPN settles on; HTTP/1.1 without TLS.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, with prior knowledge where there is no TLS.
    Http2,
}

/// How a console is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub id: ConsoleId,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Which HTTP versions are spoken.
    pub http: HttpVersions,
    /// The most time for the name to be looked up and TCP and TLS to be set up.
    pub connect_timeout: Duration,
    /// The most time from sending a request to the head of its answer.
    pub first_byte_timeout: Duration,
    /// The most silence within an answer.
    pub idle_timeout: Duration,
    /// How it is shared.
    pub sharing: Sharing,
}

/// How a console is shared, and when it is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// What it and each tenant may use.
    pub limits: share::Limits,
    /// The most time a request waits for its turn.
    pub turn_wait: Duration,
    /// The most time, all in all, a request is held because the console throttles.
    pub throttle_wait: Duration,
    /// When it is left alone.
    pub breaker: breaker::Settings,
}

impl Default for Sharing {
    /// As in a configuration that says nothing of it.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            limits: share::Limits {
                concurrency: 1024,
                tenant_concurrency: 512,
                rate: None,
                tenant_rate: None,
                waiting: 20_000,
                tenant_waiting: 15_000,
            },
            turn_wait: 10 * second,
            throttle_wait: 10 * second,
            breaker: breaker::Settings {
                faults: NonZeroU32::MIN.saturating_add(4),
                pause: 30 * second,
            },
        }
    }
}

/// One VSPC server.
pub struct Console {
    settings: Settings,
    shares: Shares,
    breaker: Breaker,
    client: Client<Strict<Bounded<HttpsConnector<HttpConnector>>>, RequestBody>,
}

impl Console {
    /// Prepares the connections to a console; nothing is sent yet.
    ///
    /// # Errors
    /// Fails when the trust material cannot be used.
    pub fn new(settings: Settings) -> Result<Self, TrustError> {
        let tls = tls::client_config(&settings.trust)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let connector = match settings.http {
            HttpVersions::Auto => https.enable_http1().enable_http2().wrap_connector(tcp),
            HttpVersions::Http1 => https.enable_http1().wrap_connector(tcp),
            HttpVersions::Http2 => https.enable_http2().wrap_connector(tcp),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .timer(TokioTimer::new())
            .http1_max_buf_size(ANSWER_HEAD_LIMIT)
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_keep_alive_timeout(HTTP2_PONG)
            .http2_only(settings.http == HttpVersions::Http2)
            .build(Strict::new(
                Bounded::new(connector, settings.connect_timeout),
                settings.http,
            ));
        Ok(Self {
            shares: Shares::new(settings.sharing.limits),
            breaker: Breaker::new(settings.id.as_str(), settings.sharing.breaker),
            settings,
            client,
        })
    }

    /// The console's name.
    pub fn id(&self) -> &ConsoleId {
        &self.settings.id
    }

    /// How the console is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who waits for a turn.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Whether it is left alone.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The address of a resource of this console; path and query go out byte for byte.
    ///
    /// # Errors
    /// Fails only if the target cannot be a target at all.
    pub fn uri(&self, target: PathAndQuery) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.settings.scheme.clone());
        parts.authority = Some(self.settings.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts)
    }

    /// Sends a request and waits for the head of the answer. While more of the caller's body keeps
    /// coming, as `progress` tells, the time for that head has not begun.
    ///
    /// # Errors
    /// Says who is at fault: the connection, the console, or the caller's body.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        progress: Option<&BodyProgress>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let received = || progress.map_or(0, BodyProgress::received);
        let mut answering = pin!(self.client.request(request));
        let mut before = received();
        let answer = loop {
            let limit = self.settings.first_byte_timeout;
            if let Ok(answer) = tokio::time::timeout(limit, answering.as_mut()).await {
                break answer?;
            }
            let now = received();
            if now == before {
                let ended = progress.is_none_or(BodyProgress::has_ended);
                return Err(if ended {
                    UpstreamError::Timeout
                } else {
                    UpstreamError::Body(BodyFault::Stalled)
                });
            }
            before = now;
        };
        if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Invalid(
                "an unasked switch of protocols".to_owned(),
            ));
        }
        Ok(answer)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How often an HTTP/2 connection in use is asked whether it is alive, and how long it may take to
/// say so: one whose other end is gone without a word would fail request after request.
const HTTP2_PING: Duration = Duration::from_secs(15);
const HTTP2_PONG: Duration = Duration::from_secs(5);

/// The most idle connections that are kept to a console.
const POOL_SIZE: usize = 256;

/// Below the two minutes after which the console's web server closes an idle connection.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// The most bytes an answer's head may have.
const ANSWER_HEAD_LIMIT: usize = 128 * 1024;
