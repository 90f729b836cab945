//! How many connections there may be, in all and from one source, and for how long what.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::quota::Source;
use crate::telemetry::Telemetry;

/// Bounds on the connections of callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most connections over all listeners.
    pub connections: usize,
    /// The most of them from one source: an IPv4 address, or a network of IPv6 with a prefix of 64
    /// bits, which is what one host may have.
    pub connections_per_source: usize,
    /// The most time in which a caller takes nothing of what is written to it.
    pub unread_timeout: Duration,
    /// The most time without a request.
    pub idle_timeout: Duration,
    /// The most time for the whole head of a request.
    pub head_timeout: Duration,
    /// The most time for a handshake of TLS.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    /// As in a configuration that says nothing of it, where there are descriptors enough.
    fn default() -> Self {
        Self {
            connections: MOST_BY_DEFAULT,
            connections_per_source: MOST_BY_DEFAULT / 2,
            unread_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// More connections are configured than there can be; fewer are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Shortage {
    /// There are too few descriptors.
    #[error(
        "server.connections is {wanted}, but {descriptors} descriptors, which are all that this \
         process may have, suffice for {room} beside those to consoles and files: {room} it is; \
         raise the limit (LimitNOFILE, ulimit -n)"
    )]
    Descriptors {
        /// What is configured.
        wanted: usize,
        /// The descriptors that the process may have.
        descriptors: usize,
        /// How many connections they suffice for.
        room: usize,
    },
    /// One source may have more than there are.
    #[error(
        "server.connections_per_source is {wanted}, but there are {connections} connections in all: \
         {connections} it is"
    )]
    Share {
        /// What is configured.
        wanted: usize,
        /// How many connections are served.
        connections: usize,
    },
}

impl Limits {
    /// How many connections are served without a setting for it.
    pub fn connections_by_default(room: usize) -> usize {
        room.min(MOST_BY_DEFAULT)
    }
}

/// How many connections of callers `descriptors` suffice for, when `consoles` of them may be
/// connections to consoles. Some are kept for operators and for files.
///
/// Where they are so few that nothing would be left, it is half of them: not everything that may be
/// open is open at once.
pub fn room(descriptors: usize, consoles: usize) -> usize {
    let others = RESERVE.saturating_add(consoles);
    let half = (descriptors / 2).max(1);
    descriptors.saturating_sub(others).max(half)
}

/// The connections of callers that there are, over all listeners.
pub struct Connections {
    limits: Limits,
    telemetry: Telemetry,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// An entry goes with its last connection, so that there are no more entries than connections.
    by_source: HashMap<Source, usize>,
    unsaid: Unsaid,
}

/// Refusals that are not in the log yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Unsaid {
    /// How many for each limit.
    all: u64,
    source: u64,
    /// Who was refused last.
    from: Option<IpAddr>,
    /// Whether somebody will tell of them.
    has_teller: bool,
}

/// A place among the connections, free again when it is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    /// Whose it is; nobody's yet, or nobody's for good, where a trusted proxy has made it.
    source: Option<Source>,
}

impl Connections {
    /// None yet, and as many as `limits` say from now on.
    pub fn new(limits: Limits, telemetry: Telemetry) -> Arc<Self> {
        telemetry.connections_limited(limits.connections);
        Arc::new(Self {
            limits,
            telemetry,
            open: Mutex::default(),
        })
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Finds a place for a connection; without one it is counted as refused.
    pub(super) fn place(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        self.find(from, Some(Source::of(from)))
    }

    /// The same for a connection of a trusted proxy, which counts as nobody's, or as nobody's before
    /// its source is known.
    pub(super) fn place_of_proxy(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        self.find(from, None)
    }

    /// Where connections are counted.
    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn find(self: &Arc<Self>, from: IpAddr, source: Option<Source>) -> Option<Place> {
        let taken = self.open.lock().take(source, &self.limits);
        match taken {
            Ok(()) => Some(Place {
                connections: Arc::clone(self),
                source,
            }),
            Err(reason) => {
                self.refused(reason, from);
                None
            }
        }
    }

    fn refused(self: &Arc<Self>, reason: &'static str, from: IpAddr) {
        let is_first = self.open.lock().unsaid.add(reason, from);
        self.telemetry.connection_refused(reason);
        if is_first {
            self.tell();
            tokio::spawn(tell_the_rest(Arc::downgrade(self)));
        }
    }

    /// Logs the refusals since this was last done, if there are any; says whether there were.
    fn tell(&self) -> bool {
        let Some(unsaid) = self.open.lock().unsaid.take() else {
            return false;
        };
        let Unsaid {
            all, source, from, ..
        } = unsaid;
        let Limits {
            connections,
            connections_per_source,
            ..
        } = self.limits;
        tracing::warn!(
            all,
            connections,
            source,
            connections_per_source,
            from = from.map(tracing::field::display),
            "there are too many connections: new ones are refused"
        );
        true
    }

    #[cfg(test)]
    fn sources(&self) -> usize {
        self.open.lock().by_source.len()
    }
}

impl Open {
    fn take(&mut self, source: Option<Source>, limits: &Limits) -> Result<(), &'static str> {
        if self.all >= limits.connections {
            return Err("all");
        }
        if let Some(source) = source {
            self.take_of(source, limits)?;
        }
        self.all += 1;
        Ok(())
    }

    fn take_of(&mut self, source: Source, limits: &Limits) -> Result<(), &'static str> {
        match self.by_source.entry(source) {
            Entry::Occupied(full) if *full.get() >= limits.connections_per_source => Err("source"),
            entry => {
                *entry.or_default() += 1;
                Ok(())
            }
        }
    }

    fn give_back(&mut self, source: Option<Source>) {
        self.all = self.all.saturating_sub(1);
        let Some(source) = source else { return };
        if let Entry::Occupied(mut entry) = self.by_source.entry(source) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Unsaid {
    /// Takes in a refusal. True where nobody will tell of it yet.
    fn add(&mut self, reason: &str, from: IpAddr) -> bool {
        self.from = Some(from);
        match reason {
            "source" => self.source += 1,
            _ => self.all += 1,
        }
        !std::mem::replace(&mut self.has_teller, true)
    }

    /// What is to be told, or nothing: then the teller is done.
    fn take(&mut self) -> Option<Self> {
        let unsaid = std::mem::take(self);
        self.has_teller = unsaid.all + unsaid.source > 0;
        self.has_teller.then_some(unsaid)
    }
}

/// Logs refusals from time to time as long as there are new ones, so that the last of a burst are
/// told too.
async fn tell_the_rest(connections: Weak<Connections>) {
    loop {
        tokio::time::sleep(super::COMPLAIN_EVERY).await;
        let told = connections.upgrade().is_some_and(|all| all.tell());
        if !told {
            return;
        }
    }
}

impl Place {
    pub(super) fn limits(&self) -> &Limits {
        &self.connections.limits
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.connections.telemetry
    }

    /// From now on the connection counts as one of the source that a proxy tells. False where that
    /// has as many as it may have; it is counted as refused then.
    pub(super) fn is_of(&mut self, address: IpAddr) -> bool {
        let source = Source::of(address);
        let limits = &self.connections.limits;
        let taken = self.connections.open.lock().take_of(source, limits);
        match taken {
            Ok(()) => self.source = Some(source),
            Err(reason) => self.connections.refused(reason, address),
        }
        taken.is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().give_back(self.source);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// As many as requests may be under way without a setting for that (`audit.queue`).
const MOST_BY_DEFAULT: usize = 32_768;

/// Descriptors for listeners, operators, the log, the state and the runtime.
const RESERVE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(all: usize, per_source: usize) -> Arc<Connections> {
        let limits = Limits {
            connections: all,
            connections_per_source: per_source,
            ..Limits::default()
        };
        Connections::new(limits, Telemetry::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn there_are_no_more_connections_than_may_be_and_each_that_ends_makes_room() {
        let connections = connections(3, 2);
        let one = address("192.0.2.1");
        let held = [connections.place(one), connections.place(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(connections.place(one).is_none(), "a source has its share");
        let other = connections.place(address("192.0.2.2"));
        assert!(other.is_some());
        assert!(connections.place(address("192.0.2.3")).is_none());
        drop(other);
        assert!(connections.place(address("192.0.2.3")).is_some());
        drop(held);
        assert!(connections.place(one).is_some());
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_a_source_without_connections() {
        let connections = connections(1000, 10);
        let places: Vec<_> = (0..100)
            .map(|number| connections.place(address(&format!("192.0.2.{number}"))))
            .collect();
        assert_eq!(connections.sources(), 100);
        drop(places);
        assert_eq!(connections.sources(), 0);
        // One that is refused for want of room leaves nothing either.
        let full = self::connections(0, 10);
        assert!(full.place(address("192.0.2.1")).is_none());
        assert_eq!(full.sources(), 0);
    }

    #[tokio::test]
    async fn connections_of_a_proxy_count_as_those_of_whom_it_speaks_for() {
        let connections = connections(5, 1);
        let (proxy, caller) = (address("10.0.0.1"), address("192.0.2.1"));
        let place = || connections.place_of_proxy(proxy).unwrap();
        let (mut first, mut second, own) = (place(), place(), place());
        assert!(first.is_of(caller));
        assert!(!second.is_of(caller), "a source has its share");
        assert!(second.is_of(address("192.0.2.2")));
        assert_eq!(connections.sources(), 2);
        assert!(connections.place(caller).is_none());
        drop((first, own));
        assert!(connections.place(caller).is_some());
        drop(second);
        assert_eq!(connections.sources(), 0);
        let all: Vec<_> = (0..5).map(|_| place()).collect();
        assert!(
            connections.place_of_proxy(proxy).is_none(),
            "there are so many in all"
        );
        drop(all);
    }

    #[test]
    fn every_refusal_is_told_once_with_its_reason() {
        let mut unsaid = Unsaid::default();
        let from = address("192.0.2.1");
        assert!(unsaid.add("all", from), "nobody tells yet");
        assert!(!unsaid.add("source", from) && !unsaid.add("all", from));
        let told = unsaid.take().unwrap();
        assert_eq!((told.all, told.source), (2, 1));
        assert!(!unsaid.add("source", from), "the teller comes again");
        let told = unsaid.take().unwrap();
        assert_eq!((told.all, told.source), (0, 1));
        assert_eq!(unsaid.take(), None);
        assert!(unsaid.add("all", from), "and is done when there is nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_told_every_ten_seconds_and_the_last_of_them_too() {
        let connections = connections(0, 10);
        let unsaid = || connections.open.lock().unsaid;
        let refuse = || assert!(connections.place(address("192.0.2.1")).is_none());
        refuse();
        assert_eq!(unsaid().all, 0, "the first is told at once");
        for _ in 0..5 {
            refuse();
        }
        tokio::time::sleep(Duration::from_millis(9999)).await;
        assert_eq!(unsaid().all, 5);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(unsaid().all, 0);
        assert!(unsaid().has_teller);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!unsaid().has_teller, "there is nothing more");
        refuse();
        assert_eq!(unsaid().all, 0);
    }

    #[test]
    fn descriptors_are_kept_for_consoles_operators_and_files() {
        assert_eq!(room(20_000, 1_280), 18_592);
        // Few: half, and never none.
        assert_eq!(room(1_024, 1_280), 512);
        assert_eq!(room(64, 1_280), 32);
        assert_eq!(room(0, 0), 1);
        assert_eq!(room(usize::MAX, usize::MAX), usize::MAX / 2);
        assert_eq!(Limits::connections_by_default(1 << 30), 32_768);
        assert_eq!(Limits::connections_by_default(512), 512);
    }
}
