//! What is read off at each scrape.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::audit::Health;
use crate::gateway::Gateway;

/// What is read off at each scrape.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    audit_queued: Gauge,
    audit_failing: Gauge,
    audit_written: Gauge,
    audit_syncs: Gauge,
    audit_refused: Gauge,
    audit_next_seq: Gauge,
    tokens_held: Gauge,
    token_waiters: Gauge,
    sessions: Gauge,
    frozen: Gauge,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
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
            (
                "frozen",
                "Freezes in force: everything, tenants and clients",
                &self.frozen,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn read(&self, gateway: &Gateway) {
        let auditor = &gateway.auditor;
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
        let tokens = gateway.broker.stats();
        set(&self.tokens_held, tokens.held as u64);
        set(&self.token_waiters, tokens.waiting as u64);
        set(&self.sessions, tokens.sessions as u64);
        set(&self.frozen, gateway.freezer.state().0 as u64);
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
