//! The second listener: health and metrics, and what operators do by hand.

mod checkpoints;
mod freeze;
mod gauges;
mod keys;
mod operator;
mod places;
mod ready;
mod reconcile;
mod recorded;
mod reload;
mod reply;
mod tokens;

pub use operator::{OPERATOR, Peer};
pub use reload::{Asked, Loaded, NotLoaded, Outcome, Reloads};

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::gateway::{Gateway, Live};
use crate::listen::{Drain, Unread};
use crate::secret::Secret;
use crate::token::RenewalLimit;

use checkpoints::{AUDIT, COSIGNATURES, RECONCILE};
use gauges::Gauges;
use operator::Operator;
use places::Places;
use reply::{Refusal, text};

/// Answers operators.
pub struct Admin {
    live: Arc<Live>,
    registry: Registry,
    gauges: Gauges,
    token: ArcSwapOption<Secret>,
    reloads: Option<Reloads>,
    drain: Drain,
    renewals: RenewalLimit,
    /// When it was last recorded that somebody may not operate.
    last_stranger: Mutex<Option<Instant>>,
    /// For as many connections as there may be.
    places: Places,
    /// When it was last logged that there was none.
    last_crowd: Mutex<Option<Instant>>,
}

impl Admin {
    /// The operators' view of a gateway. With a `token` everything but the bare state of health
    /// needs it as a bearer.
    pub fn new(live: Arc<Live>, token: Option<Secret>, drain: Drain) -> Self {
        let mut registry = Registry::with_prefix("vspc_gateway");
        live.now().telemetry.register(&mut registry);
        let gauges = Gauges::default();
        gauges.register(&mut registry);
        Self {
            live,
            registry,
            gauges,
            token: ArcSwapOption::new(token.map(Arc::new)),
            reloads: None,
            drain,
            renewals: RenewalLimit::default(),
            last_stranger: Mutex::new(None),
            places: Places::default(),
            last_crowd: Mutex::new(None),
        }
    }

    /// Lets operators have the configuration loaded anew.
    #[must_use]
    pub fn reloading(mut self, reloads: Reloads) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// From now on everything but the bare state of health needs this as a bearer, if anything.
    pub fn trust(&self, token: Option<Secret>) {
        self.token.store(token.map(Arc::new));
    }

    /// The gateway of the present configuration, for one thing that is done.
    fn gateway(&self) -> Arc<Gateway> {
        self.live.now()
    }

    /// Serves one connection, if there is a place for it.
    pub async fn serve<S>(self: Arc<Self>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(_place) = self.places.take(peer) else {
            return self.tell_of_crowd();
        };
        let stream = Unread::failing(stream, PATIENCE, self.gateway().telemetry.clone());
        let service = service_fn(|request: Request<Incoming>| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(request, peer).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            // From the answer before, or the beginning.
            .header_read_timeout(PATIENCE)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "an admin connection ended with an error");
        }
    }

    /// Tells, from time to time, that a connection found no place.
    fn tell_of_crowd(&self) {
        let mut last = self.last_crowd.lock();
        if last.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(
                most = places::MOST,
                "operators have too many connections: new ones are refused"
            );
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(served) = by_hand(path) {
            if request.method() != served {
                return Refusal::method(&served).into();
            }
            let answered = self.operate(request, peer).await;
            return answered.unwrap_or_else(Into::into);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        let trusted = self.trusts(&request);
        match path {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => ready::answer(&self.live, &self.drain, request.uri().query(), trusted),
            "/metrics" if trusted => self.metrics(),
            "/metrics" => text(
                StatusCode::UNAUTHORIZED,
                "send the admin token as a bearer\n",
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "try /livez, /readyz, /metrics, /tokens, /frozen or /audit/checkpoint\n",
            ),
        }
    }

    /// What is done by hand: only by those who may, and not by a page that a browser has open.
    async fn operate(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let who = Operator::of(peer, request.headers());
        let what = || format!("{} {}", request.method(), request.uri().path());
        if let Err(refusal) = operator::refuse_browsers(request.headers(), peer) {
            self.record_stranger(&who, what(), &refusal).await;
            return Err(refusal);
        }
        if !self.trusts(&request) {
            let path = request.uri().path();
            tracing::warn!(%peer, path, "an operator without the admin token was refused");
            let refusal = Refusal::untrusted();
            self.record_stranger(&who, what(), &refusal).await;
            return Err(refusal);
        }
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        match parts.uri.path() {
            "/tokens" => self.list_tokens(&who, query).await,
            "/frozen" => Ok(self.list_frozen()),
            COSIGNATURES => {
                let body = reply::read_as(&parts.headers, body, "text/plain").await?;
                self.cosign(&who, &body).await
            }
            path if path.starts_with(AUDIT) && path != RECONCILE => {
                self.tell_audit(&who, path, query).await
            }
            other => {
                let body = reply::read(&parts.headers, body).await?;
                match other {
                    RECONCILE => self.reconcile(&who, &body).await,
                    "/reload" => self.reload(&who, &body).await,
                    "/tokens/renew" => self.renew_tokens(&who, &body).await,
                    "/tokens/drop" => self.drop_tokens(&who, &body).await,
                    "/tokens/rotate-key" => self.rotate_key(&who, &body).await,
                    "/freeze" => self.freeze(&who, &body).await,
                    _ => self.thaw(&who, &body).await,
                }
            }
        }
    }

    /// Whether whoever asks has the admin token. `Secret` compares digests, in constant time.
    fn trusts<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = self.token.load_full() else {
            return true;
        };
        request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, presented)| presented)
            .is_some_and(|presented| Secret::new(presented.to_owned()) == *token)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        self.gauges.read(&self.live);
        let mut page = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut page, &self.registry) {
            tracing::error!(%error, "cannot write the metrics");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "cannot write the metrics\n",
            );
        }
        let mut response = Response::new(Full::new(Bytes::from(page)));
        let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(form));
        response
    }
}

/// The method that a path is served by which is for operators' own hands; none for other paths.
fn by_hand(path: &str) -> Option<Method> {
    match path {
        "/tokens" | "/frozen" => Some(Method::GET),
        RECONCILE | "/reload" | "/tokens/renew" | "/tokens/drop" | "/tokens/rotate-key"
        | "/freeze" | "/thaw" | COSIGNATURES => Some(Method::POST),
        path if path.starts_with(AUDIT) => Some(Method::GET),
        _ => None,
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The most time without a whole head, and the most in which nothing of an answer is taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is logged that there were too many.
const TELL_EVERY: Duration = Duration::from_secs(10);
