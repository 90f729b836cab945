//! Pools of connections to a console, which differ in the address that they go to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service as _;

use super::addresses::Known;
use super::answers::Strict;
use super::connect::Connector;
use super::kept::{Kept, Link, NotSent};
use super::received::Received;
use super::tls::Live;
use super::{HttpVersions, RequestBody, Settings, TlsFault, UpstreamError};

/// Connections that are kept, and made where there is none.
#[derive(Debug)]
pub(super) struct Pool {
    /// Those of HTTP/1.
    kept: Arc<Kept>,
    /// Those of HTTP/2, which requests share, and of a console of which it is not known yet which
    /// version it speaks.
    client: Client<Strict<Connector>, RequestBody>,
    maker: Arc<Maker>,
}

/// Makes connections of HTTP/1.
#[derive(Debug)]
struct Maker {
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
        if !self.maker.is_http1.load(Ordering::Relaxed) {
            return Box::pin(self.ask_client(request)).await;
        }
        let origin = &self.maker.origin;
        let with_body = !matches!(request.body(), RequestBody::Empty);
        loop {
            let (link, is_fresh) = match self.kept.take(with_body).await {
                Some(link) => (link, false),
                None => match Box::pin(self.wait()).await? {
                    Some(found) => found,
                    None => return Box::pin(self.ask_client(request)).await,
                },
            };
            // Those of callers have no more than path and query from the start.
            if request.uri().authority().is_some() {
                *request.uri_mut() = origin.uri(request.uri(), false);
            }
            let host = origin.host.clone();
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

    /// A new connection of HTTP/1, or one that another request is done with meanwhile, and whether it
    /// is new; `None` if HTTP/2 was agreed on. A new one that comes too late is kept.
    async fn wait(&self) -> Result<Option<(Box<Link>, bool)>, UpstreamError> {
        let given = self.kept.wait();
        let mut connecting = Box::pin(Arc::clone(&self.maker).connect());
        let link = tokio::select! {
            biased;
            made = &mut connecting => return Ok(made?.map(|link| (link, true))),
            Ok(link) = given => link,
        };
        let kept = Arc::clone(&self.kept);
        tokio::spawn(async move {
            if let Ok(Some(unused)) = connecting.await {
                kept.put_new(unused).await;
            }
        });
        Ok(Some((link, false)))
    }

    async fn ask_client(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Received>, UpstreamError> {
        *request.uri_mut() = self.maker.origin.uri(request.uri(), true);
        let answer = self.client.request(request).await?;
        if self.maker.http == HttpVersions::Auto && answer.version() < Version::HTTP_2 {
            self.maker.is_http1.store(true, Ordering::Relaxed);
        }
        Ok(answer.map(Received::alone))
    }
}

impl Maker {
    /// A new connection of HTTP/1; `None` if HTTP/2 was agreed on.
    async fn connect(self: Arc<Self>) -> Result<Option<Box<Link>>, UpstreamError> {
        let target = self.origin.uri(&Uri::default(), true);
        let reached = self.connector.clone().call(target).await?;
        if self.http == HttpVersions::Auto && reached.is_http2() {
            self.is_http1.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some(Link::begin(reached).await?))
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
    /// `None` where the console is reached without.
    tls: Option<Arc<Live>>,
    known: Arc<Known>,
    limit: Duration,
    http: HttpVersions,
    origin: Origin,
}

impl Pools {
    pub(super) fn new(settings: &Settings, known: Arc<Known>) -> Result<Self, TlsFault> {
        let tls = match settings.scheme == Scheme::HTTP {
            true => None,
            false => Some(Arc::new(Live::new(settings)?)),
        };
        Ok(Self {
            tls,
            known,
            limit: settings.connect_timeout,
            http: settings.http,
            origin: Origin::new(settings),
        })
    }

    /// What TLS takes now.
    pub(super) fn tls(&self) -> Option<&Arc<Live>> {
        self.tls.as_ref()
    }

    /// The most time for a connection to be set up.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn connector(&self, reach: Reach) -> Connector {
        let (tls, known) = (self.tls.clone(), Arc::clone(&self.known));
        Connector::new(reach, known, tls, self.limit)
    }

    /// One that is kept.
    pub(super) fn pool(&self, reach: Reach) -> Renewing {
        Renewing {
            pool: ArcSwap::from_pointee(self.dated(reach)),
            pools: self.clone(),
            reach,
        }
    }

    fn dated(&self, reach: Reach) -> Dated {
        Dated {
            edition: self.edition(),
            pool: self.make(reach, POOL_SIZE),
        }
    }

    fn edition(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.edition())
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
            maker: Arc::new(Maker {
                connector: self.connector(reach),
                origin: self.origin.clone(),
                http: self.http,
                is_http1: AtomicBool::new(is_http1),
            }),
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

/// A pool that begins anew when TLS takes something new: no request goes over a connection that was
/// made before. What is under way there comes to its end.
#[derive(Debug)]
pub(super) struct Renewing {
    pools: Pools,
    reach: Reach,
    pool: ArcSwap<Dated>,
}

#[derive(Debug)]
struct Dated {
    edition: u64,
    pool: Pool,
}

impl Renewing {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// Says who is at fault: the connection, the console, or the caller's body.
    pub(super) async fn request(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Received>, UpstreamError> {
        let mut dated = self.pool.load_full();
        if dated.edition != self.pools.edition() {
            self.forget();
            dated = self.pool.load_full();
        }
        dated.pool.request(request).await
    }

    /// Drops the connections that lie idle.
    pub(super) fn forget(&self) {
        self.pool.store(Arc::new(self.pools.dated(self.reach)));
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
