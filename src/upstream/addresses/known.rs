//! What is known of each address of a console.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::{Address, AddressState, Host, Lookup, Text};
use crate::upstream::Settings;

/// The addresses of a console as they were last looked up.
#[derive(Debug)]
pub(in crate::upstream) struct Known {
    console: Text,
    lookup: Lookup,
    /// The most time for a name to be looked up, where it was before.
    patience: Duration,
    names: Vec<Name>,
    facts: Mutex<Vec<Arc<Facts>>>,
}

/// One address as the configuration has it, and where it led.
#[derive(Debug)]
struct Name {
    address: Address,
    label: Text,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    addresses: Vec<SocketAddr>,
    error: Option<String>,
}

/// What is known of one address.
#[derive(Debug)]
pub(in crate::upstream) struct Facts {
    pub(in crate::upstream) address: SocketAddr,
    name: Text,
    /// What the checks say.
    healthy: AtomicBool,
    /// Whether the last connection or request there failed: others are tried before it.
    suspect: AtomicBool,
    /// Whether the last request there failed for want of an answer of VSPC's own.
    faulty: AtomicBool,
    error: Mutex<Option<Box<str>>>,
}

impl Known {
    pub(in crate::upstream) fn new(settings: &Settings, lookup: Lookup) -> Self {
        let name = |address: Address| Name {
            label: address.to_string().into(),
            address,
            last: Mutex::default(),
        };
        Self {
            console: settings.id.shared(),
            lookup,
            patience: settings.connect_timeout / 2,
            names: settings.places().into_iter().map(name).collect(),
            facts: Mutex::default(),
        }
    }

    /// Looks the names up, and gives all addresses in their order, each once. A name that cannot be
    /// looked up leads where it led before.
    pub(in crate::upstream) async fn look_up(&self) -> Vec<Arc<Facts>> {
        let found = join_all(self.names.iter().map(|name| self.look_up_one(name))).await;
        let mut facts = self.facts.lock();
        let mut now: Vec<Arc<Facts>> = Vec::new();
        for (name, addresses) in self.names.iter().zip(found) {
            for address in addresses {
                if now.iter().any(|known| known.address == address) {
                    continue;
                }
                let before = facts.iter().find(|known| known.address == address);
                let known = before.map(Arc::clone);
                now.push(known.unwrap_or_else(|| Facts::new(address, Arc::clone(&name.label))));
            }
        }
        facts.clone_from(&now);
        now
    }

    async fn look_up_one(&self, name: &Name) -> Vec<SocketAddr> {
        let port = name.address.port;
        let host = match &name.address.host {
            Host::Ip(ip) => return vec![SocketAddr::new(*ip, port)],
            Host::Name(host) => host,
        };
        let looking = self.lookup.look_up(host, port);
        let found = if name.last.lock().addresses.is_empty() {
            looking.await
        } else {
            let limited = tokio::time::timeout(self.patience, looking).await;
            limited.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        let mut last = name.last.lock();
        let (console, address) = (&*self.console, &*name.label);
        match found {
            Ok(found) if !found.is_empty() => {
                if last.error.take().is_some() {
                    tracing::info!(console, address, "the name can be looked up again");
                }
                last.addresses = found;
            }
            unusable => {
                let error = unusable.err().map_or_else(
                    || "the name has no address".to_owned(),
                    |error| error.to_string(),
                );
                if last.error.is_none() {
                    let kept = last.addresses.len();
                    tracing::warn!(
                        console,
                        address,
                        kept,
                        error,
                        "the name cannot be looked up"
                    );
                }
                last.error = Some(error);
            }
        }
        last.addresses.clone()
    }

    /// The addresses as they were last looked up.
    pub(in crate::upstream) fn all(&self) -> Vec<Arc<Facts>> {
        self.facts.lock().clone()
    }

    /// Whether there is an address that answered when it was last asked: then it is not the console
    /// that is at fault where another one does not.
    pub(in crate::upstream) fn one_answers(&self) -> bool {
        let facts = self.facts.lock();
        facts
            .iter()
            .any(|facts| facts.is_healthy() && !facts.faulty.load(Ordering::Relaxed))
    }

    /// Why the names lead nowhere.
    pub(in crate::upstream) fn why_nowhere(&self) -> String {
        let errors: Vec<String> = self
            .dead_names()
            .map(|(name, error)| format!("{name}: {error}"))
            .collect();
        errors.join("; ")
    }

    /// What operators are told.
    pub(in crate::upstream) fn report(&self) -> Vec<AddressState> {
        let mut told: Vec<AddressState> = self.all().iter().map(|facts| facts.report()).collect();
        told.extend(self.dead_names().map(|(name, error)| AddressState {
            address: name.to_string(),
            name: name.to_string(),
            healthy: false,
            error: Some(error),
        }));
        told
    }

    /// The names that never led anywhere.
    fn dead_names(&self) -> impl Iterator<Item = (&Text, String)> {
        self.names.iter().filter_map(|name| {
            let last = name.last.lock();
            let error = last.error.clone().filter(|_| last.addresses.is_empty());
            error.map(|error| (&name.label, error))
        })
    }
}

impl Facts {
    pub(in crate::upstream) fn new(address: SocketAddr, name: Text) -> Arc<Self> {
        Arc::new(Self {
            address,
            name,
            healthy: AtomicBool::new(true),
            suspect: AtomicBool::new(false),
            faulty: AtomicBool::new(false),
            error: Mutex::default(),
        })
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Where it stands among those that are tried: the lowest first.
    pub(in crate::upstream) fn rank(&self) -> (bool, bool) {
        (!self.is_healthy(), self.is_suspect())
    }

    /// A connection could be made.
    pub(in crate::upstream) fn reached(&self) {
        if self.suspect.swap(false, Ordering::Relaxed) {
            *self.error.lock() = None;
        }
    }

    /// A connection could not be made, or took longer than to another address.
    pub(in crate::upstream) fn failed(&self, error: &str) {
        if !self.suspect.swap(true, Ordering::Relaxed) {
            let (address, name) = (self.address, &*self.name);
            tracing::info!(%address, name, error, "an address of a console failed");
        }
        *self.error.lock() = Some(error.into());
    }

    /// A request was answered by the console.
    pub(super) fn answered(&self) {
        if self.faulty.load(Ordering::Relaxed) {
            self.faulty.store(false, Ordering::Relaxed);
        }
    }

    /// A request got no answer of the console's own.
    pub(super) fn broke(&self, error: &str) {
        self.faulty.store(true, Ordering::Relaxed);
        self.failed(error);
    }

    /// What the checks say from now on.
    pub(super) fn becomes(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().as_deref().map(str::to_owned)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn report(&self) -> AddressState {
        AddressState {
            address: self.address.to_string(),
            name: self.name.to_string(),
            healthy: self.is_healthy(),
            error: self.error(),
        }
    }
}
