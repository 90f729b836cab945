//! Pools of connections to a console, which differ in the address that they go to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use http::uri::Scheme;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::addresses::Known;
use super::answers::Strict;
use super::connect::Connector;
use super::tls::Live;
use super::{HttpVersions, RequestBody, Settings, TlsFault};

/// Connections that are kept, and made where there is none.
pub(super) type Pool = Client<Strict<Connector>, RequestBody>;

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
    pub(super) fn pool(&self, reach: Reach) -> Kept {
        Kept {
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
pub(super) struct Kept {
    pools: Pools,
    reach: Reach,
    pool: ArcSwap<Dated>,
}

#[derive(Debug)]
struct Dated {
    edition: u64,
    pool: Pool,
}

impl Kept {
    /// Sends a request.
    pub(super) fn request(&self, request: Request<RequestBody>) -> ResponseFuture {
        if self.pool.load().edition != self.pools.edition() {
            self.forget();
        }
        self.pool.load().pool.request(request)
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
