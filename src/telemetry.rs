//! What operators see: typed events, where one struct emits its log line and its counter together.

mod issuers;
mod latency;
mod requests;
mod tls;

pub use latency::Latency;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use issuers::IssuerKeys;
use requests::Requests;

/// The counters of the process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: Requests,
    total: Latency,
    ours: Latency,
    token: Latency,
    turn: Latency,
    refused_turns: Family<TurnLabels, Counter>,
    upstream: Latency,
    audit: Latency,
    exchanges: Family<ExchangeLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    replays: Counter,
    connections: Gauge,
    accepted: Counter,
    connections_limit: Gauge,
    connections_refused: Family<ReasonLabel, Counter>,
    connections_dropped: Family<ReasonLabel, Counter>,
    limits_met: Family<LimitLabels, Counter>,
    tenants: Family<TenantLabels, Gauge>,
    readings: Family<ReadingLabels, Counter>,
    keys: IssuerKeys,
    tls: tls::Tls,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ExchangeLabels {
    console: String,
    grant: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LoginLabels {
    grant: &'static str,
    code: &'static str,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TurnLabels {
    console: String,
    why: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LimitLabels {
    client: String,
    limit: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TenantLabels {
    console: String,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReadingLabels {
    console: String,
    outcome: &'static str,
}

impl Telemetry {
    /// Names every counter for `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &self.0;
        inner.requests.register(registry);
        self.register_times(registry);
        registry.register(
            "token_exchanges",
            "Calls of VSPC's /token by console, grant and outcome",
            inner.exchanges.clone(),
        );
        registry.register(
            "logins",
            "Calls of the gateway's own /token by grant, outcome as in requests, and status",
            inner.logins.clone(),
        );
        registry.register(
            "replays",
            "Requests sent once more, after a 401, a 429 or a lost connection",
            inner.replays.clone(),
        );
        registry.register(
            "turns_refused",
            "Requests that got no turn at their console, by what was short",
            inner.refused_turns.clone(),
        );
        registry.register(
            "limits_met",
            "Requests refused at the door, by client (empty where it is not known) and limit",
            inner.limits_met.clone(),
        );
        self.register_connections(registry);
        self.register_directories(registry);
        self.register_issuers(registry);
        inner.tls.register(registry);
    }

    fn register_connections(&self, registry: &mut Registry) {
        let inner = &self.0;
        registry.register(
            "connections",
            "Connections open now",
            inner.connections.clone(),
        );
        registry.register(
            "connections_limit",
            "The most connections that are served at once",
            inner.connections_limit.clone(),
        );
        registry.register(
            "connections_accepted",
            "Connections accepted",
            inner.accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed before anything was read, by reason: all or source (a limit was \
             met), untrusted (no proxy that may connect)",
            inner.connections_refused.clone(),
        );
        registry.register(
            "connections_dropped",
            "Connections ended because of what the caller did, or did not do",
            inner.connections_dropped.clone(),
        );
        // An alert on a rate needs the time series from the start.
        for reason in ["all", "source", "untrusted"] {
            let refused = &inner.connections_refused;
            drop(refused.get_or_create(&ReasonLabel { reason }));
        }
        for reason in ["unread", "head", "excess", "proxy_header"] {
            let dropped = &inner.connections_dropped;
            drop(dropped.get_or_create(&ReasonLabel { reason }));
        }
    }

    fn register_directories(&self, registry: &mut Registry) {
        registry.register(
            "tenants",
            "Tenants by console and state: ok, unknown, or the code that their requests get",
            self.0.tenants.clone(),
        );
        registry.register(
            "directory_readings",
            "Readings of consoles' directories by console and outcome, ok or failed",
            self.0.readings.clone(),
        );
    }

    /// Tells how many tenants of a console are in a state.
    pub fn tenants(&self, console: &str, state: &'static str, count: usize) {
        let labels = TenantLabels {
            console: console.to_owned(),
            state,
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.tenants.get_or_create(&labels).set(count);
    }

    /// Counts a reading of a console's directory.
    pub fn directory_read(&self, console: &str, succeeded: bool) {
        let labels = ReadingLabels {
            console: console.to_owned(),
            outcome: if succeeded { "ok" } else { "failed" },
        };
        self.0.readings.get_or_create(&labels).inc();
    }

    fn register_times(&self, registry: &mut Registry) {
        let inner = &self.0;
        for (name, help, latency) in [
            (
                "request_seconds",
                "From the head of a request to the head of its answer",
                &inner.total,
            ),
            (
                "ours_seconds",
                "The same, less waiting for turn, token, audit and console",
                &inner.ours,
            ),
            (
                "token_wait_seconds",
                "Waiting for a lease, where there was one",
                &inner.token,
            ),
            (
                "turn_wait_seconds",
                "Waiting for a turn at the console, where there was one",
                &inner.turn,
            ),
            (
                "upstream_seconds",
                "From sending to the head of the console's answer",
                &inner.upstream,
            ),
            (
                "audit_wait_seconds",
                "Waiting for a place and for intents to be durable",
                &inner.audit,
            ),
        ] {
            registry.register_collector(latency.collector(name, help));
        }
    }

    /// Counts a finished request.
    pub fn request_finished(&self, code: &'static str) {
        self.0.requests.count(code);
    }

    /// Counts a finished call of the gateway's own `/token`.
    ///
    /// `status` is 0 where nobody was left to be answered.
    pub fn login_finished(&self, grant: &'static str, code: &'static str, status: u16) {
        let labels = LoginLabels {
            grant,
            code,
            status,
        };
        self.0.logins.get_or_create(&labels).inc();
    }

    /// Measures the head of an answer.
    pub fn answered(&self, times: &Times) {
        let inner = &self.0;
        inner.total.observe(times.total);
        let waited = times.turn + times.token + times.upstream + times.audit;
        inner.ours.observe(times.total.saturating_sub(waited));
        if !times.token.is_zero() {
            inner.token.observe(times.token);
        }
        if !times.turn.is_zero() {
            inner.turn.observe(times.turn);
        }
        if !times.upstream.is_zero() {
            inner.upstream.observe(times.upstream);
        }
        inner.audit.observe(times.audit);
    }

    /// Counts a request that got no turn at its console.
    pub fn turn_refused(&self, console: &str, why: &'static str) {
        let console = console.to_owned();
        let labels = TurnLabels { console, why };
        self.0.refused_turns.get_or_create(&labels).inc();
    }

    /// Counts a request that was refused at the door; `client` is empty where nobody knows whose it
    /// is.
    pub fn limit_met(&self, client: &str, limit: &'static str) {
        let client = client.to_owned();
        let labels = LimitLabels { client, limit };
        self.0.limits_met.get_or_create(&labels).inc();
    }

    /// Counts a request that was sent once more.
    pub fn replayed(&self) {
        self.0.replays.inc();
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(&self) -> ConnectionGuard {
        self.0.accepted.inc();
        self.0.connections.inc();
        ConnectionGuard(self.0.connections.clone())
    }

    /// Tells how many connections are served at once.
    pub fn connections_limited(&self, limit: usize) {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.0.connections_limit.set(limit);
    }

    /// Counts a connection that was closed before anything was read from it.
    pub fn connection_refused(&self, reason: &'static str) {
        let refused = &self.0.connections_refused;
        refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a connection that was ended for what the caller does on it.
    pub fn connection_dropped(&self, reason: &'static str) {
        let dropped = &self.0.connections_dropped;
        dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Reports an exchange with a console's `/token`.
    pub fn exchanged(&self, exchange: &Exchanged<'_>) {
        let labels = ExchangeLabels {
            console: exchange.console.to_owned(),
            grant: exchange.grant,
            outcome: exchange.outcome.map_or_else(|(kind, _)| kind, |()| "ok"),
        };
        self.0.exchanges.get_or_create(&labels).inc();
        let Exchanged { console, grant, .. } = *exchange;
        let target = exchange.target.unwrap_or("-");
        let tenant = exchange.tenant.unwrap_or("-");
        let millis = exchange.took.as_millis();
        match exchange.outcome {
            Ok(()) => info!(console, grant, target, tenant, millis, "a token was issued"),
            Err((kind, error)) => {
                warn!(console, grant, target, tenant, millis, kind, %error, "no token was issued");
            }
        }
    }
}

/// One exchange with a console's `/token`.
#[derive(Clone, Copy)]
pub struct Exchanged<'a> {
    /// The console asked.
    pub console: &'a str,
    /// `login`, `refresh` or `as`.
    pub grant: &'static str,
    /// The user impersonated.
    pub target: Option<&'a str>,
    /// The tenant whose own account it is.
    pub tenant: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
    /// The kind of a failure, and its text.
    pub outcome: Result<(), (&'static str, &'a dyn fmt::Display)>,
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// From the head of the request to the head of the answer.
    pub total: Duration,
    /// Waiting for a lease.
    pub token: Duration,
    /// Waiting for a turn at the console.
    pub turn: Duration,
    /// From sending to the head of the console's answer.
    pub upstream: Duration,
    /// Waiting for audit.
    pub audit: Duration,
}

/// Counts down when a connection ends.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
