//! The keys of identity providers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Telemetry;
use crate::clock::Timestamp;

/// What is known of issuers' keys.
#[derive(Debug, Default)]
pub(super) struct IssuerKeys {
    fetched: Family<IssuerLabel, Gauge>,
    fetches: Family<KeyFetchLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct IssuerLabel {
    issuer: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KeyFetchLabels {
    issuer: String,
    outcome: &'static str,
}

impl Telemetry {
    pub(super) fn register_issuers(&self, registry: &mut Registry) {
        registry.register(
            "issuer_keys_timestamp_seconds",
            "When an issuer's keys were last fetched; 0 where they never were",
            self.0.keys.fetched.clone(),
        );
        registry.register(
            "issuer_key_fetches",
            "Fetches of issuers' keys by issuer and outcome, ok or failed",
            self.0.keys.fetches.clone(),
        );
    }

    /// Counts a fetch of an issuer's keys, which succeeded at a time or did not.
    pub fn keys_fetched(&self, issuer: &str, at: Option<Timestamp>) {
        let labels = KeyFetchLabels {
            issuer: issuer.to_owned(),
            outcome: if at.is_some() { "ok" } else { "failed" },
        };
        self.0.keys.fetches.get_or_create(&labels).inc();
        let issuer = issuer.to_owned();
        let last = self.0.keys.fetched.get_or_create(&IssuerLabel { issuer });
        if let Some(at) = at {
            last.set(at.0 / 1_000_000);
        }
    }
}
