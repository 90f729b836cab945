//! What changes by itself while the process runs, in the audit log: the certificates of listeners,
//! the files of TLS with consoles, the key that signs the gateway's tokens.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::audit::{Auditor, Code, Kind, Record};
use crate::gateway::{Gateway, Live};
use crate::listen::Listener;
use crate::upstream::ConsoleId;

/// Looks for it every other second, whoever has changed it. Never ends.
pub(super) async fn watch(live: Arc<Live>, listeners: Vec<Listener>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Seen> = None;
    loop {
        ticks.tick().await;
        let gateway = live.now();
        let present = Seen::of(&gateway, &listeners);
        if let Some(before) = &seen {
            for record in present.since(before) {
                tell(&gateway.auditor, record).await;
            }
        }
        seen = Some(present);
    }
}

/// What there is.
#[derive(Default)]
struct Seen {
    listeners: HashMap<String, Files>,
    consoles: HashMap<ConsoleId, Files>,
    key: Option<String>,
}

/// What was read of the files of one place.
struct Files {
    edition: [u8; 32],
    told: String,
    /// Why they cannot be used as they are now.
    fault: Option<String>,
}

impl Seen {
    fn of(gateway: &Gateway, listeners: &[Listener]) -> Self {
        let mut seen = Self {
            key: gateway.tokens.signing_key(),
            ..Self::default()
        };
        for listener in listeners {
            if let Some(tls) = &listener.tls {
                let files = Files {
                    edition: tls.edition(),
                    told: tls.served(),
                    fault: tls.fault(),
                };
                seen.listeners.insert(listener.address.to_string(), files);
            }
        }
        for (id, console) in &gateway.consoles {
            let mut edition = [0; 32];
            if let Some(first) = edition.first_chunk_mut() {
                // Another console of this name begins anew, which a reload has told.
                *first = console.tls_edition().to_be_bytes();
            }
            let fails = console.tls_files_fail();
            let files = Files {
                edition,
                told: "new connections use them".to_owned(),
                fault: fails.then(|| "see the process's log".to_owned()),
            };
            seen.consoles.insert(id.clone(), files);
        }
        seen
    }

    fn since(&self, before: &Self) -> Vec<Record> {
        let mut records = Vec::new();
        for (address, files) in &self.listeners {
            if let Some(before) = before.listeners.get(address) {
                let record = files.since(before);
                records
                    .extend(record.map(|record| of_place(record, &format!("listener {address}"))));
            }
        }
        for (id, files) in &self.consoles {
            if let Some(before) = before.consoles.get(id)
                && files.edition != [0; 32]
            {
                records.extend(files.since(before).map(|record| Record {
                    console: Some(id.shared()),
                    ..record
                }));
            }
        }
        if let (Some(key), true) = (&self.key, self.key != before.key) {
            let record = record("tokens.key_in_use", Code::Ok, format!("key {key}"));
            records.push(record);
        }
        records
    }
}

impl Files {
    fn since(&self, before: &Self) -> Option<Record> {
        if self.edition != before.edition {
            let told = self.told.clone();
            return Some(record("certificates.renewed", Code::Ok, told));
        }
        let fault = self.fault.as_ref().filter(|_| self.fault != before.fault)?;
        let code = Code::Refused("bad_tls_files");
        let told = format!("what was read before is used on: {fault}");
        Some(record("certificates.refused", code, told))
    }
}

fn of_place(mut record: Record, place: &str) -> Record {
    let told = record.detail.take().unwrap_or_default();
    record.detail = Some(Cow::Owned(format!("{place}: {told}")));
    record
}

fn record(operation: &'static str, code: Code, detail: String) -> Record {
    Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(code),
        detail: Some(Cow::Owned(detail)),
        ..Record::default()
    }
}

async fn tell(auditor: &Auditor, record: Record) {
    if let Err(error) = auditor.note(Kind::Config, &record).await {
        auditor.report_unrecorded(Kind::Config, &record, error);
    }
}

const EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn files(edition: u8, fault: Option<&str>) -> Files {
        Files {
            edition: [edition; 32],
            told: "CN=a".to_owned(),
            fault: fault.map(str::to_owned),
        }
    }

    fn seen(listener: Files, console: Files, key: &str) -> Seen {
        Seen {
            listeners: HashMap::from([("127.0.0.1:1".to_owned(), listener)]),
            consoles: HashMap::from([(ConsoleId::new("main"), console)]),
            key: Some(key.to_owned()),
        }
    }

    fn told(records: &[Record]) -> Vec<String> {
        let told = |record: &Record| {
            let operation = record.operation.as_deref().unwrap();
            let code = record.code.unwrap().as_str();
            let console = record.console.as_deref().unwrap_or("-");
            format!("{operation} {code} {console}")
        };
        let mut told: Vec<_> = records.iter().map(told).collect();
        told.sort();
        told
    }

    #[test]
    fn only_what_is_different_is_told_and_a_fault_once() {
        let same = || seen(files(1, None), files(1, None), "k1");
        assert!(same().since(&same()).is_empty());
        let renewed = seen(files(2, None), files(2, None), "k2");
        assert_eq!(
            told(&renewed.since(&same())),
            [
                "certificates.renewed ok -",
                "certificates.renewed ok main",
                "tokens.key_in_use ok -"
            ]
        );
        let broken = || seen(files(1, Some("no")), files(1, Some("no")), "k1");
        assert_eq!(
            told(&broken().since(&same())),
            [
                "certificates.refused bad_tls_files -",
                "certificates.refused bad_tls_files main"
            ]
        );
        assert!(broken().since(&broken()).is_empty());
        assert!(same().since(&broken()).is_empty());
        // A console that begins anew after a reload is no news.
        let anew = seen(files(1, None), files(0, None), "k1");
        assert!(anew.since(&same()).is_empty());
    }
}
