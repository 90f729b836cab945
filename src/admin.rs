//! The second listener: health and metrics.

mod ready;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::audit::{Auditor, Health};
use crate::gateway::Gateway;
use crate::listen::Drain;
use crate::secret::Secret;

/// Answers operators.
pub struct Admin {
    gateway: Arc<Gateway>,
    registry: Registry,
    gauges: Gauges,
    token: Option<Secret>,
    drain: Drain,
}

/// What is read off at each scrape.
#[derive(Debug, Default)]
struct Gauges {
    audit_queued: Gauge,
    audit_failing: Gauge,
    audit_written: Gauge,
    audit_syncs: Gauge,
    audit_refused: Gauge,
    audit_next_seq: Gauge,
    tokens_held: Gauge,
    token_waiters: Gauge,
    sessions: Gauge,
    turns_waiting: Family<ConsoleLabel, Gauge>,
    breaker_open: Family<ConsoleLabel, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConsoleLabel {
    console: String,
}

impl Admin {
    /// The operators' view of a gateway. With a `token` everything but the bare state of health
    /// needs it as a bearer.
    pub fn new(gateway: Arc<Gateway>, token: Option<Secret>, drain: Drain) -> Self {
        let mut registry = Registry::with_prefix("vspc_gateway");
        gateway.telemetry.register(&mut registry);
        let gauges = Gauges::default();
        gauges.register(&mut registry);
        Self {
            gateway,
            registry,
            gauges,
            token,
            drain,
        }
    }

    /// Serves one connection.
    pub async fn serve<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(&request)) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "an admin connection ended with an error");
        }
    }

    /// Answers one request.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        let trusted = self.trusts(request);
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => ready::answer(&self.gateway, &self.drain, request.uri().query(), trusted),
            "/metrics" if trusted => self.metrics(),
            "/metrics" => text(
                StatusCode::UNAUTHORIZED,
                "send the admin token as a bearer\n",
            ),
            _ => text(StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n"),
        }
    }

    fn trusts<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = &self.token else {
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
        self.gauges.read(&self.gateway.auditor);
        let tokens = self.gateway.broker.stats();
        set(&self.gauges.tokens_held, tokens.held as u64);
        set(&self.gauges.token_waiters, tokens.waiting as u64);
        set(&self.gauges.sessions, tokens.sessions as u64);
        self.gauges.read_consoles(&self.gateway);
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

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "audit_queued_records",
                "Records that wait for the writer",
                &self.audit_queued,
            ),
            (
                "audit_failing",
                "1 while the audit log cannot be written",
                &self.audit_failing,
            ),
            (
                "audit_written_records",
                "Records written since the start",
                &self.audit_written,
            ),
            (
                "audit_syncs",
                "Group commits since the start",
                &self.audit_syncs,
            ),
            (
                "audit_refused",
                "Requests refused for want of audit",
                &self.audit_refused,
            ),
            (
                "audit_next_seq",
                "The number that the next record gets",
                &self.audit_next_seq,
            ),
            (
                "tokens_held",
                "Impersonation tokens held",
                &self.tokens_held,
            ),
            (
                "token_waiters",
                "Requests that wait for a token",
                &self.token_waiters,
            ),
            (
                "sessions_usable",
                "Console sessions that can be used",
                &self.sessions,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        self.register_consoles(registry);
    }

    fn register_consoles(&self, registry: &mut Registry) {
        registry.register(
            "turns_waiting",
            "Requests that wait for their turn at the console",
            self.turns_waiting.clone(),
        );
        registry.register(
            "breaker_open",
            "1 while the console is left alone because it does not work",
            self.breaker_open.clone(),
        );
    }

    fn read_consoles(&self, gateway: &Gateway) {
        for (id, console) in &gateway.consoles {
            let label = ConsoleLabel {
                console: id.to_string(),
            };
            let waiting = console.shares().waiting() as u64;
            set(&self.turns_waiting.get_or_create(&label), waiting);
            let open = u64::from(console.breaker().is_open());
            set(&self.breaker_open.get_or_create(&label), open);
        }
    }

    fn read(&self, auditor: &Auditor) {
        let stats = auditor.stats();
        set(&self.audit_queued, stats.queued);
        set(
            &self.audit_failing,
            u64::from(auditor.health() != Health::Working),
        );
        set(&self.audit_written, stats.written);
        set(&self.audit_syncs, stats.syncs);
        set(&self.audit_refused, stats.refused);
        set(&self.audit_next_seq, stats.next_seq);
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn as_json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a question about a console that there is not.
fn no_such_console(name: &str) -> Response<Full<Bytes>> {
    as_json(
        StatusCode::NOT_FOUND,
        &json!({"error": format!("no console is called {name:?}")}),
    )
}
