//! What is known of each address of a console.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Address, AddressState, Host, Lookup, Text};
use crate::upstream::Settings;

/// The addresses of a console as they were last looked up.
#[derive(Debug)]
pub(in crate::upstream) struct Known {
    console: Text,
    lookup: Lookup,
    /// The most time for a name to be looked up.
    limit: Duration,
    names: Vec<Arc<Name>>,
    facts: Mutex<Vec<Arc<Facts>>>,
}

/// One address as the configuration has it, and where it led.
#[derive(Debug)]
struct Name {
    address: Address,
    label: Text,
    last: Mutex<Last>,
    /// Whether it is being looked up.
    under_way: watch::Sender<bool>,
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
    console: Text,
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
        let name = |address: Address| {
            Arc::new(Name {
                label: address.to_string().into(),
                address,
                last: Mutex::default(),
                under_way: watch::Sender::default(),
            })
        };
        Self {
            console: settings.id.shared(),
            lookup,
            limit: settings.connect_timeout,
            names: settings.places().into_iter().map(name).collect(),
            facts: Mutex::default(),
        }
    }

    /// Looks the names up, and gives all addresses in their order, each once. A name that cannot be
    /// looked up leads where it led before.
    pub(in crate::upstream) async fn look_up(&self) -> Vec<Arc<Facts>> {
        self.look_up_for(self.limit / 2).await
    }

    /// The same for a connection that somebody waits for: a name that takes its time does not keep
    /// it from the addresses of the others.
    pub(in crate::upstream) async fn look_up_soon(&self) -> Vec<Arc<Facts>> {
        let alone = self.names.len() == 1;
        let patience = if alone { self.limit / 2 } else { HASTE };
        self.look_up_for(patience).await
    }

    /// Looks up for at most so long once there is an address to go to, and within the limit in any
    /// case. What takes longer goes on, and counts the next time.
    async fn look_up_for(&self, patience: Duration) -> Vec<Arc<Facts>> {
        let began = Instant::now();
        let under_way = self.names.iter().filter_map(|name| self.begin(name));
        let mut under_way: FuturesUnordered<_> = under_way.collect();
        let mut until = began + self.limit;
        loop {
            if self.names.iter().any(|name| name.leads_somewhere()) {
                until = until.min(Instant::now() + patience);
            }
            match tokio::time::timeout_at(until, under_way.next()).await {
                Ok(Some(())) => {}
                Ok(None) | Err(_) => return self.gather(),
            }
        }
    }

    /// Looks a name up, unless that is under way. What is given ends with it.
    fn begin<'a>(&self, name: &'a Arc<Name>) -> Option<impl Future<Output = ()> + use<'a>> {
        let Host::Name(host) = &name.address.host else {
            return None;
        };
        let begins = |under_way: &mut bool| !std::mem::replace(under_way, true);
        if name.under_way.send_if_modified(begins) {
            let (name, host, port) = (Arc::clone(name), host.clone(), name.address.port);
            let (console, lookup, limit) =
                (Arc::clone(&self.console), self.lookup.clone(), self.limit);
            tokio::spawn(async move {
                let looking = tokio::time::timeout(limit, lookup.look_up(&host, port));
                name.note(&console, looking.await.ok());
                name.under_way.send_replace(false);
            });
        }
        let mut under_way = name.under_way.subscribe();
        Some(async move {
            // It cannot fail while there is the name.
            under_way.wait_for(|under_way| !under_way).await.ok();
        })
    }

    /// Where all names lead as far as that is known.
    fn gather(&self) -> Vec<Arc<Facts>> {
        let mut facts = self.facts.lock();
        let mut now: Vec<Arc<Facts>> = Vec::new();
        for name in &self.names {
            for address in name.addresses() {
                if now.iter().any(|known| known.address == address) {
                    continue;
                }
                let before = facts.iter().find(|known| known.address == address);
                now.push(before.map_or_else(
                    || Facts::new(address, Arc::clone(&name.label), Arc::clone(&self.console)),
                    Arc::clone,
                ));
            }
        }
        facts.clone_from(&now);
        now
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
        let why = |name: &Arc<Name>| {
            let error = name.last.lock().error.clone();
            let error = error.or_else(|| (*name.under_way.borrow()).then(|| LATE.to_owned()))?;
            (!name.leads_somewhere()).then(|| format!("{}: {error}", name.label))
        };
        let errors: Vec<String> = self.names.iter().filter_map(why).collect();
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

impl Name {
    /// Where it leads, as far as that is known.
    fn addresses(&self) -> Vec<SocketAddr> {
        match self.address.host {
            Host::Ip(ip) => vec![SocketAddr::new(ip, self.address.port)],
            Host::Name(_) => self.last.lock().addresses.clone(),
        }
    }

    fn leads_somewhere(&self) -> bool {
        matches!(self.address.host, Host::Ip(_)) || !self.last.lock().addresses.is_empty()
    }

    /// Notes what a look-up found; `None`: it took too long.
    fn note(&self, console: &str, found: Option<io::Result<Vec<SocketAddr>>>) {
        let mut last = self.last.lock();
        let address = &*self.label;
        let error = match found {
            Some(Ok(found)) if !found.is_empty() => {
                if last.error.take().is_some() {
                    tracing::info!(console, address, "the name can be looked up again");
                }
                last.addresses = found;
                return;
            }
            Some(Ok(_)) => "the name has no address".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => LATE.to_owned(),
        };
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

impl Facts {
    pub(in crate::upstream) fn new(address: SocketAddr, name: Text, console: Text) -> Arc<Self> {
        Arc::new(Self {
            address,
            name,
            console,
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
            let (console, address, name) = (&*self.console, self.address, &*self.name);
            tracing::info!(console, %address, name, error, "an address of a console failed");
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

/// For how long a connection waits for names while there is another address.
const HASTE: Duration = Duration::from_millis(100);

const LATE: &str = "looking the name up takes too long";
