//! How far the sinks of the audit log have come.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::set;
use crate::audit::Auditor;

#[derive(Debug, Default)]
pub(super) struct SinkGauges {
    lag: Family<SinkLabel, Gauge>,
    age: Family<SinkLabel, Gauge>,
    sent: Family<SinkLabel, Gauge>,
    failures: Family<SinkLabel, Gauge>,
    failing: Family<SinkLabel, Gauge>,
    set_aside: Family<SinkLabel, Gauge>,
    missing: Family<SinkLabel, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SinkLabel {
    sink: String,
}

impl SinkGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "audit_sink_lag_records",
                "Records in the log that the sink is not known to have",
                &self.lag,
            ),
            (
                "audit_sink_lag_seconds",
                "The age of the oldest record that is being sent",
                &self.age,
            ),
            (
                "audit_sink_sent_records",
                "Records that the sink took since the start",
                &self.sent,
            ),
            (
                "audit_sink_failures",
                "Attempts to send that failed since the start",
                &self.failures,
            ),
            (
                "audit_sink_failing",
                "1 while the last attempt to send has failed",
                &self.failing,
            ),
            (
                "audit_sink_set_aside_records",
                "Records that the sink refused and that were put aside since the start",
                &self.set_aside,
            ),
            (
                "audit_sink_missing_records",
                "Records that were gone from the log before the sink got them, since the start",
                &self.missing,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn read(&self, auditor: &Auditor) {
        for sink in auditor.sinks() {
            let label = SinkLabel {
                sink: sink.name.to_string(),
            };
            for (gauge, value) in [
                (&self.lag, sink.lag),
                (&self.age, sink.age.as_secs()),
                (&self.sent, sink.sent),
                (&self.failures, sink.failures),
                (&self.failing, u64::from(sink.is_failing)),
                (&self.set_aside, sink.set_aside),
                (&self.missing, sink.missing),
            ] {
                set(&gauge.get_or_create(&label), value);
            }
        }
    }
}
