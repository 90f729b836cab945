//! What came of comparing the audit log with the consoles' own.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{ConsoleLabel, set};
use crate::gateway::Gateway;
use crate::reconcile::What;

/// What came of the last comparison with each console. There is nothing before the first.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    unreconciled: Family<Label, Gauge>,
    failed: Family<ConsoleLabel, Gauge>,
    at: Family<ConsoleLabel, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Label {
    console: String,
    kind: &'static str,
    /// `past_gateway` or `not_logged`.
    side: &'static str,
}

impl Reconciling {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "audit_unreconciled",
            "What only the console's own log has (past_gateway) or only the audit log (not_logged), by the last comparison",
            self.unreconciled.clone(),
        );
        registry.register(
            "audit_reconcile_failed",
            "1 if something could not be read for the last comparison, so that more may not match",
            self.failed.clone(),
        );
        registry.register(
            "audit_reconciled_timestamp_seconds",
            "When the audit log was last compared with the console's own",
            self.at.clone(),
        );
    }

    pub(super) fn read(&self, gateway: &Gateway) {
        self.unreconciled.clear();
        self.failed.clear();
        self.at.clear();
        let last = gateway.reconciler.last();
        last.keep(|console| gateway.reconciler.has(console));
        for (at, report) in last.reports() {
            let console = report.console.as_str();
            for what in What::ALL.map(What::as_str) {
                for (side, counts) in [
                    ("past_gateway", &report.past_gateway),
                    ("not_logged", &report.not_logged),
                ] {
                    let label = Label {
                        console: console.to_owned(),
                        kind: what,
                        side,
                    };
                    let count = counts.get(what).copied().unwrap_or(0);
                    set(&self.unreconciled.get_or_create(&label), count);
                }
            }
            let label = ConsoleLabel {
                console: console.to_owned(),
            };
            let failed = report.error.is_some() || !report.problems.is_empty();
            set(&self.failed.get_or_create(&label), u64::from(failed));
            self.at
                .get_or_create(&label)
                .set(at.0.div_euclid(1_000_000));
        }
    }
}
