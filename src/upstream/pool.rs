//! Pools of connections to a console, which differ in the address that they go to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::addresses::Known;
use super::answers::Strict;
use super::connect::Connector;
use super::{HttpVersions, RequestBody, Settings, TrustError, tls};

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
    tls: Arc<ClientConfig>,
    known: Arc<Known>,
    limit: Duration,
    http: HttpVersions,
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
