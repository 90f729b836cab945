//! What operators see of TLS with callers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Telemetry;

#[derive(Debug, Default)]
pub(super) struct Tls {
    handshakes: Family<ResultLabel, Counter>,
    reload_failures: Counter,
    ends: Family<EndsLabels, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EndsLabels {
    listener: String,
    kind: &'static str,
    file: String,
    name: String,
}

impl Tls {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tls_handshakes",
            "Handshakes with callers by result: ok, or why there was none",
            self.handshakes.clone(),
        );
        registry.register(
            "tls_reload_failures",
            "Times that changed TLS files were not in order, so that those from before are served",
            self.reload_failures.clone(),
        );
        registry.register(
            "tls_not_after_timestamp_seconds",
            "When a certificate, client_ca or client_crl of a listener ends",
            self.ends.clone(),
        );
        // An alert on a rate needs the time series from the start.
        for result in RESULTS {
            drop(self.handshakes.get_or_create(&ResultLabel { result }));
        }
    }
}

/// What comes of handshakes.
const RESULTS: [&str; 17] = [
    "ok",
    "bad_certificate",
    "bad_name",
    "bad_signature",
    "closed",
    "expired",
    "failed",
    "incompatible",
    "no_certificate",
    "not_tls",
    "not_valid_yet",
    "refused_by_caller",
    "revocation_unknown",
    "revoked",
    "timeout",
    "unknown_issuer",
    "unknown_name",
];

impl Telemetry {
    /// Counts a handshake with a caller.
    pub fn handshake(&self, result: &'static str) {
        let handshakes = &self.0.tls.handshakes;
        handshakes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts that changed TLS files were not in order.
    pub fn tls_reload_failed(&self) {
        self.0.tls.reload_failures.inc();
    }

    /// Tells when something ends that a listener uses, in seconds since the epoch.
    pub fn certificate_ends(
        &self,
        listener: &str,
        kind: &'static str,
        file: &str,
        name: &str,
        seconds: i64,
    ) {
        let labels = ends(listener, kind, file, name);
        self.0.tls.ends.get_or_create(&labels).set(seconds);
    }

    /// Tells that a listener does not use something any more.
    pub fn certificate_gone(&self, listener: &str, kind: &'static str, file: &str, name: &str) {
        self.0.tls.ends.remove(&ends(listener, kind, file, name));
    }
}

fn ends(listener: &str, kind: &'static str, file: &str, name: &str) -> EndsLabels {
    EndsLabels {
        listener: listener.to_owned(),
        kind,
        file: file.to_owned(),
        name: name.to_owned(),
    }
}
