//! Pools of connections to a console, which differ in the address that they go to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tower_service::Service as _;

use super::addresses::Known;
use super::answers::{Strict, Watched};
use super::connect::Connector;
use super::kept::{Kept, Link, NotSent};
use super::received::Received;
use super::{HttpVersions, RequestBody, Settings, TrustError, UpstreamError, tls};

/// Connections that are kept, and made where there is none.
#[derive(Debug)]
pub(super) struct Pool {
    /// Those of HTTP/1.
    kept: Arc<Kept>,
    /// Those of HTTP/2, which requests share, and of a console of which it is not known yet which
    /// version it speaks.
    client: Client<Strict<Connector>, RequestBody>,
    connector: Connector,
    origin: Origin,
    http: HttpVersions,
    /// Whether the console speaks HTTP/1, as far as is known.
    is_http1: AtomicBool,
}

/// What a console is called.
#[derive(Clone, Debug)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
    /// For the header `Host`: the port only where it is not the usual one.
    host: HeaderValue,
}

impl Origin {
    fn new(settings: &Settings) -> Self {
        let (scheme, authority) = (settings.scheme.clone(), settings.authority.clone());
        let usual = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let text = match authority.port_u16() {
            Some(port) if port != usual => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        // An authority is ASCII that may stand in a header.
        let host = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        Self {
            scheme,
            authority,
            host,
        }
    }

    fn uri(&self, of: &Uri, is_absolute: bool) -> Uri {
        let mut parts = http::uri::Parts::default();
        let slash = || PathAndQuery::from_static("/");
        parts.path_and_query = Some(of.path_and_query().cloned().unwrap_or_else(slash));
        if is_absolute {
            parts.scheme = Some(self.scheme.clone());
            parts.authority = Some(self.authority.clone());
        }
        // Such parts make a URI, always.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl Pool {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// Says who is at fault: the connection, the console, or the caller's body.
    pub(super) async fn request(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Received>, UpstreamError> {
        if !self.is_http1.load(Ordering::Relaxed) {
            return Box::pin(self.ask_client(request)).await;
        }
        let with_body = !matches!(request.body(), RequestBody::Empty);
        loop {
            let (link, is_fresh) = match self.kept.take(with_body).await {
                Some(link) => (link, false),
                None => match Box::pin(self.connect(with_body)).await? {
                    Some(link) => (link, true),
                    None => return Box::pin(self.ask_client(request)).await,
                },
            };
            *request.uri_mut() = self.origin.uri(request.uri(), false);
            let host = self.origin.host.clone();
            request.headers_mut().insert(HOST, host);
            match link.send(&self.kept, request).await {
                Ok(answer) => return Ok(answer),
                Err(NotSent {
                    request: Some(unsent),
                    ..
                }) if !is_fresh => request = unsent,
                Err(failed) => return Err(failed.error),
            }
        }
    }

    /// A new connection of HTTP/1; `None` if HTTP/2 was agreed on.
    async fn connect(&self, with_body: bool) -> Result<Option<Box<Link>>, UpstreamError> {
        let target = self.origin.uri(&Uri::default(), true);
        let reached = self.connector.clone().call(target).await?;
        if self.http == HttpVersions::Auto && reached.is_http2() {
            self.is_http1.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let stray = reached.is_stray();
        let stream = TokioIo::new(Watched::strict(reached));
        Link::begin(stream, stray, with_body).await.map(Some)
    }

    async fn ask_client(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Received>, UpstreamError> {
        *request.uri_mut() = self.origin.uri(request.uri(), true);
        let answer = self.client.request(request).await?;
        if self.http == HttpVersions::Auto && answer.version() < Version::HTTP_2 {
            self.is_http1.store(true, Ordering::Relaxed);
        }
        Ok(answer.map(Received::alone))
    }
}

/// Which of a console's addresses connections are made to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Whichever works; the names are looked up for each.
    Any,
    /// This one, and another only while it does not work.
    First(SocketAddr),
    /// No other.
    Only(SocketAddr),
}

/// Makes pools.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    tls: Arc<ClientConfig>,
    known: Arc<Known>,
    limit: Duration,
    http: HttpVersions,
    origin: Origin,
}

impl Pools {
    pub(super) fn new(settings: &Settings, known: Arc<Known>) -> Result<Self, TrustError> {
        let mut tls = tls::client_config(&settings.trust)?;
        tls.alpn_protocols = match settings.http {
            HttpVersions::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            HttpVersions::Http1 => Vec::new(),
            HttpVersions::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            tls: Arc::new(tls),
            known,
            limit: settings.connect_timeout,
            http: settings.http,
            origin: Origin::new(settings),
        })
    }

    /// The most time for a connection to be set up.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn connector(&self, reach: Reach) -> Connector {
        let (tls, known) = (Arc::clone(&self.tls), Arc::clone(&self.known));
        Connector::new(reach, known, tls, self.limit)
    }

    pub(super) fn pool(&self, reach: Reach) -> Pool {
        self.make(reach, POOL_SIZE)
    }

    /// One that keeps no connection.
    pub(super) fn unpooled(&self, reach: Reach) -> Pool {
        self.make(reach, 0)
    }

    fn make(&self, reach: Reach, size: usize) -> Pool {
        let is_http1 = match self.http {
            // Without TLS there is nothing to agree on it by.
            HttpVersions::Auto => self.origin.scheme == Scheme::HTTP,
            HttpVersions::Http1 => true,
            HttpVersions::Http2 => false,
        };
        Pool {
            kept: Kept::new(size, POOL_IDLE),
            client: self.client(reach, size),
            connector: self.connector(reach),
            origin: self.origin.clone(),
            http: self.http,
            is_http1: AtomicBool::new(is_http1),
        }
    }

    fn client(&self, reach: Reach, size: usize) -> Client<Strict<Connector>, RequestBody> {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(size)
            .timer(TokioTimer::new())
            .http1_max_buf_size(ANSWER_HEAD_LIMIT)
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_keep_alive_timeout(HTTP2_PONG)
            .http2_max_header_list_size(ANSWER_HEAD_LIMIT_HTTP2)
            .http2_only(self.http == HttpVersions::Http2)
            .build(Strict::new(self.connector(reach), self.http))
    }
}

/// How often an HTTP/2 connection in use is asked whether it is alive, and how long it may take to
/// say so: one whose other end is gone without a word would fail request after request.
const HTTP2_PING: Duration = Duration::from_secs(15);
const HTTP2_PONG: Duration = Duration::from_secs(5);

/// The most idle connections that are kept to an address.
pub(super) const POOL_SIZE: usize = 256;

/// Below the two minutes after which the console's web server closes an idle connection.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// The most bytes an answer's head may have.
pub(super) const ANSWER_HEAD_LIMIT: usize = 128 * 1024;

/// The same, as HTTP/2 counts it.
const ANSWER_HEAD_LIMIT_HTTP2: u32 = 128 * 1024;
