//! What is read off at each scrape.

mod log;
mod reconciling;
mod sinks;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::audit::Health;
use crate::gateway::{Gateway, Live};
use crate::token::SessionState;
use crate::upstream::ConsoleId;
use reconciling::Reconciling;
use sinks::SinkGauges;

/// What is read off at each scrape.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    audit_queued: Gauge,
    audit_failing: Gauge,
    audit_written: Gauge,
    audit_syncs: Gauge,
    audit_refused: Gauge,
    audit_next_seq: Gauge,
    audit_checkpoint_size: Gauge,
    audit_checkpoint_age: Gauge,
    audit_second_place_failing: Gauge,
    audit_damage_found: Gauge,
    sinks: SinkGauges,
    audit_in_flight: Gauge,
    audit_flight_slots: Gauge,
    audit_closed_unknown: Gauge,
    audit_files: Gauge,
    audit_file_bytes: Gauge,
    audit_first_seq: Gauge,
    audit_held_files: Gauge,
    tokens_held: Gauge,
    token_waiters: Gauge,
    sessions: Gauge,
    frozen: Gauge,
    token_cooldowns: Gauge,
    token_followers: Gauge,
    breaker_open: Family<ConsoleLabel, Gauge>,
    session_expires: Family<ConsoleLabel, Gauge>,
    turns_waiting: Family<ConsoleLabel, Gauge>,
    address_healthy: Family<AddressLabel, Gauge>,
    key_expires: Family<KeyLabel, Gauge>,
    config: Family<VersionLabel, Gauge>,
    reload_succeeded: Gauge,
    reload_time: Gauge,
    certificate_not_after: Family<CertificateLabel, Gauge>,
    tls_files_failing: Family<ConsoleLabel, Gauge>,
    reconciling: Reconciling,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CertificateLabel {
    console: String,
    /// `console`, `ca` or `certificate`.
    of: &'static str,
    /// Of a console; empty for a file.
    address: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KeyLabel {
    client: String,
    key: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VersionLabel {
    version: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AddressLabel {
    console: String,
    address: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConsoleLabel {
    console: String,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_audit(registry);
        self.sinks.register(registry);
        self.register_tokens(registry);
        self.register_consoles(registry);
        self.register_config(registry);
        self.reconciling.register(registry);
    }

    fn register_tokens(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
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
                "token_cooldowns",
                "Tokens and sessions that are not asked for just now, because the last attempt failed",
                &self.token_cooldowns,
            ),
            (
                "token_followers",
                "Requests since the start that waited for a token which another one had asked for",
                &self.token_followers,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    fn register_consoles(&self, registry: &mut Registry) {
        for (name, help, family) in [
            (
                "turns_waiting",
                "Requests that wait for their turn at the console",
                &self.turns_waiting,
            ),
            (
                "breaker_open",
                "1 while the console is left alone because it does not work",
                &self.breaker_open,
            ),
            (
                "session_expires_seconds",
                "For how long the gateway's session is good, should nothing renew it; 0 without one",
                &self.session_expires,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "upstream_certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970: the console's as it was last presented at an \
             address, the one of tls.ca that ends first, and the gateway's own of tls.certificate",
            self.certificate_not_after.clone(),
        );
        registry.register(
            "upstream_tls_files_failing",
            "1 while the files of a console's tls cannot be used, so that what was read before is",
            self.tls_files_failing.clone(),
        );
        registry.register(
            "address_healthy",
            "1 while the address of the console works, as its checks say; 0 while it does not",
            self.address_healthy.clone(),
        );
        registry.register(
            "client_key_expires_timestamp_seconds",
            "When the key of the client expires, by its label, or the first digits of its digest; \
             only of keys that do",
            self.key_expires.clone(),
        );
    }

    fn read_keys(&self, gateway: &Gateway) {
        self.key_expires.clear();
        for end in gateway.clients.key_ends() {
            let label = KeyLabel {
                client: end.client.to_string(),
                key: end.key.to_string(),
            };
            let gauge = self.key_expires.get_or_create(&label);
            gauge.set(end.at.0.div_euclid(1_000_000));
        }
    }

    fn register_config(&self, registry: &mut Registry) {
        registry.register(
            "config_info",
            "1, with the version of the configuration that is in force",
            self.config.clone(),
        );
        registry.register(
            "config_last_reload_success",
            "1 if the last reload of the configuration succeeded, or there was none; 0 if it was refused",
            self.reload_succeeded.clone(),
        );
        registry.register(
            "config_last_reload_timestamp_seconds",
            "When the configuration was last reloaded or refused; 0 where that never was",
            self.reload_time.clone(),
        );
    }

    fn read_config(&self, live: &Live, gateway: &Gateway) {
        self.config.clear();
        let label = VersionLabel {
            version: gateway.version.to_string(),
        };
        set(&self.config.get_or_create(&label), 1);
        let last = live.last_reload();
        let succeeded = last.is_none_or(|last| last.succeeded);
        set(&self.reload_succeeded, u64::from(succeeded));
        let at = last.map_or(0, |last| last.at.0.div_euclid(1_000_000));
        self.reload_time.set(at);
    }

    fn read_consoles(&self, gateway: &Gateway) {
        // Names may lead elsewhere than before, and consoles may be gone.
        self.address_healthy.clear();
        for family in [
            &self.turns_waiting,
            &self.breaker_open,
            &self.session_expires,
        ] {
            family.clear();
        }
        self.certificate_not_after.clear();
        for (id, console) in &gateway.consoles {
            let label = ConsoleLabel {
                console: id.to_string(),
            };
            let waiting = console.shares().waiting() as u64;
            set(&self.turns_waiting.get_or_create(&label), waiting);
            let open = u64::from(console.breaker().is_open());
            set(&self.breaker_open.get_or_create(&label), open);
            let left = session_left(gateway, id);
            set(&self.session_expires.get_or_create(&label), left);
            let failing = u64::from(console.tls_files_fail());
            set(&self.tls_files_failing.get_or_create(&label), failing);
            for ending in console.certificates() {
                let address = ending.address.map(|address| address.to_string());
                let label = CertificateLabel {
                    console: id.to_string(),
                    of: ending.what,
                    address: address.unwrap_or_default(),
                };
                let gauge = self.certificate_not_after.get_or_create(&label);
                gauge.set(ending.ends.0);
            }
            for state in console.addresses() {
                let label = AddressLabel {
                    console: id.to_string(),
                    address: state.address,
                };
                let gauge = self.address_healthy.get_or_create(&label);
                set(&gauge, u64::from(state.healthy));
            }
        }
    }

    pub(super) fn read(&self, live: &Live) {
        let gateway = &*live.now();
        self.read_config(live, gateway);
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
        set(&self.audit_checkpoint_size, stats.covered);
        set(&self.audit_checkpoint_age, stats.uncovered_for.as_secs());
        set(
            &self.audit_second_place_failing,
            stats.second_place_failing.into(),
        );
        self.sinks.read(auditor);
        set(&self.audit_in_flight, stats.in_flight);
        set(&self.audit_flight_slots, stats.flight_slots);
        set(&self.audit_closed_unknown, stats.closed_unknown);
        let kept = auditor.kept();
        set(&self.audit_damage_found, stats.alarms + kept.damaged);
        set(&self.audit_files, kept.files);
        set(&self.audit_file_bytes, kept.bytes);
        set(&self.audit_first_seq, kept.first);
        let held = kept.held.map_or(0, |(_, files)| files);
        set(&self.audit_held_files, held);
        let tokens = gateway.broker.stats();
        set(&self.tokens_held, tokens.held as u64);
        set(&self.token_waiters, tokens.waiting as u64);
        set(&self.sessions, tokens.sessions as u64);
        set(&self.token_cooldowns, tokens.cooling as u64);
        set(&self.token_followers, tokens.followers);
        set(&self.frozen, gateway.freezer.state().0 as u64);
        self.reconciling.read(gateway);
        self.read_consoles(gateway);
        self.read_keys(gateway);
    }
}

/// In seconds.
fn session_left(gateway: &Gateway, console: &ConsoleId) -> u64 {
    match gateway.broker.session_state(console) {
        SessionState::Usable { expires_in } => expires_in.as_secs(),
        SessionState::Acquiring | SessionState::CoolingOff { .. } | SessionState::None => 0,
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
