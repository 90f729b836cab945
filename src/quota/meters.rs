//! What clients and tenants may use, and what they use.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use foldhash::fast::RandomState;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};

use super::rate::{Moment, Rate, Tokio};

/// What one client or tenant may use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowance {
    /// How many requests in a time; absent, any number.
    pub rate: Option<Rate>,
    /// How many requests at once; absent, any number.
    pub concurrency: Option<NonZeroUsize>,
}

impl Allowance {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// A client's.
    Client,
    /// A tenant's.
    Tenant,
}

/// What is short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Short {
    /// There are as many requests under way as there may be.
    Places,
    /// There were as many in the time as there may be.
    Rate,
}

/// A limit was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Exceeded {
    /// Whose limit.
    pub whose: Whose,
    /// Which of them.
    pub short: Short,
    /// When it makes sense to come again.
    pub retry_after: Duration,
}

impl Exceeded {
    fn text(&self) -> &'static str {
        match (self.whose, self.short) {
            (Whose::Client, Short::Places) => {
                "this client has as many requests under way as it may have"
            }
            (Whose::Client, Short::Rate) => "this client sends more requests than it may",
            (Whose::Tenant, Short::Places) => {
                "there are as many requests under way for this tenant as there may be"
            }
            (Whose::Tenant, Short::Rate) => {
                "there are more requests for this tenant than there may be"
            }
        }
    }

    /// The limit, as counters name it.
    pub fn label(&self) -> &'static str {
        match (self.whose, self.short) {
            (Whose::Client, Short::Places) => "client_concurrency",
            (Whose::Client, Short::Rate) => "client_rate",
            (Whose::Tenant, Short::Places) => "tenant_concurrency",
            (Whose::Tenant, Short::Rate) => "tenant_rate",
        }
    }
}

/// What clients and tenants use of what they may; only of those that have a limit.
#[derive(Debug, Default)]
pub struct Meters {
    clients: Table,
    tenants: Table,
}

type Table = HashMap<Arc<str>, Meter, RandomState>;

type Bucket = RateLimiter<NotKeyed, InMemoryState, Tokio, NoOpMiddleware<Moment>>;

/// What one of them uses.
struct Meter {
    allowance: Allowance,
    bucket: Option<Arc<Bucket>>,
    /// How many requests are under way.
    running: Arc<AtomicUsize>,
}

/// A place among the requests under way, free again when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Meters {
    /// Meters by name, from where the `former` ones of the same names left off.
    pub(super) fn new(
        clients: HashMap<Arc<str>, Allowance>,
        tenants: HashMap<Arc<str>, Allowance>,
        former: Option<&Self>,
    ) -> Self {
        Self {
            clients: table(clients, former.map(|former| &former.clients)),
            tenants: table(tenants, former.map(|former| &former.tenants)),
        }
    }

    /// Lets a request of a client in, or not. The permit, if there are places to have, is to be kept
    /// until the request has been answered.
    ///
    /// # Errors
    /// Says which limit was met.
    pub fn client(&self, name: &str) -> Result<Option<Permit>, Exceeded> {
        enter(&self.clients, name, Whose::Client)
    }

    /// The same for a request for a tenant, by its id.
    ///
    /// # Errors
    /// Says which limit was met.
    pub fn tenant(&self, id: &str) -> Result<Option<Permit>, Exceeded> {
        enter(&self.tenants, id, Whose::Tenant)
    }
}

fn table(allowances: HashMap<Arc<str>, Allowance>, former: Option<&Table>) -> Table {
    let limited = allowances
        .into_iter()
        .filter(|(_, allowance)| !allowance.is_unlimited());
    let meters = limited.map(|(name, allowance)| {
        let former = former.and_then(|former| former.get(&name));
        (name, Meter::new(allowance, former))
    });
    meters.collect()
}

fn enter(table: &Table, name: &str, whose: Whose) -> Result<Option<Permit>, Exceeded> {
    if table.is_empty() {
        return Ok(None);
    }
    let Some(meter) = table.get(name) else {
        return Ok(None);
    };
    let exceeded = |(short, retry_after)| Exceeded {
        whose,
        short,
        retry_after,
    };
    meter.enter().map_err(exceeded)
}

impl Meter {
    fn new(allowance: Allowance, former: Option<&Self>) -> Self {
        let kept = former.filter(|former| former.allowance.rate == allowance.rate);
        let bucket = match kept {
            Some(former) => former.bucket.clone(),
            None => allowance.rate.map(|rate| {
                let state = InMemoryState::default();
                Arc::new(RateLimiter::new(rate.quota(), state, Tokio))
            }),
        };
        let running = former.map(|former| Arc::clone(&former.running));
        Self {
            allowance,
            bucket,
            running: running.unwrap_or_default(),
        }
    }

    /// A request that finds no place uses nothing of the rate.
    fn enter(&self) -> Result<Option<Permit>, (Short, Duration)> {
        let permit = match self.allowance.concurrency {
            Some(most) => Some(self.place(most).ok_or((Short::Places, PLACE_WAIT))?),
            None => None,
        };
        if let Some(bucket) = &self.bucket {
            bucket.check().map_err(|until| {
                let wait = until.wait_time_from(bucket.clock().now());
                (Short::Rate, wait)
            })?;
        }
        Ok(permit)
    }

    fn place(&self, most: NonZeroUsize) -> Option<Permit> {
        let one_more = |running| (running < most.get()).then_some(running + 1);
        let taken = self.running.fetch_update(Relaxed, Relaxed, one_more);
        taken.is_ok().then(|| Permit(Arc::clone(&self.running)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("allowance", &self.allowance)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// Nobody knows when a place will be free.
const PLACE_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(count: u32, burst: u32) -> Option<Rate> {
        let rate = Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(1));
        rate.map(|rate| rate.with_burst(NonZeroU32::new(burst).unwrap()))
    }

    fn of(rate: Option<Rate>, concurrency: usize) -> HashMap<Arc<str>, Allowance> {
        let concurrency = NonZeroUsize::new(concurrency);
        let allowance = Allowance { rate, concurrency };
        HashMap::from([(Arc::from("acme"), allowance)])
    }

    fn clients(limits: HashMap<Arc<str>, Allowance>, former: Option<&Meters>) -> Meters {
        Meters::new(limits, HashMap::new(), former)
    }

    /// How many of a hundred requests at one moment are let in.
    fn at_once(meters: &Meters) -> usize {
        let all = (0..100).filter(|_| meters.client("acme").is_ok());
        all.count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_through_and_then_so_many_in_a_time() {
        let meters = clients(of(rate(10, 3), 0), None);
        assert_eq!(at_once(&meters), 3);
        let exceeded = meters.client("acme").unwrap_err();
        assert_eq!(exceeded.label(), "client_rate");
        assert_eq!(exceeded.retry_after, Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(at_once(&meters), 2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(at_once(&meters), 3, "no more is saved up");
        assert!(meters.client("globex").unwrap().is_none());
        assert!(meters.tenant("acme").unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_what_comes_in_a_second_unless_said_otherwise() {
        for (count, span, burst) in [(10, 1, 10), (600, 60, 10), (6, 60, 1)] {
            let count = NonZeroU32::new(count).unwrap();
            let rate = Rate::new(count, Duration::from_secs(span));
            assert_eq!(at_once(&clients(of(rate, 0), None)), burst);
        }
        let too_many = NonZeroU32::new(u32::MAX).unwrap();
        assert_eq!(Rate::new(too_many, Duration::from_secs(1)), None);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_permit_is_dropped() {
        let meters = clients(of(None, 2), None);
        let held: Vec<_> = (0..2).map(|_| meters.client("acme").unwrap()).collect();
        let exceeded = meters.client("acme").unwrap_err();
        assert_eq!(exceeded.label(), "client_concurrency");
        drop(held);
        assert!(meters.client("acme").unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_uses_nothing_of_the_rate_and_the_other_way_round() {
        let meters = clients(of(rate(1, 2), 1), None);
        let held = meters.client("acme").unwrap();
        assert_eq!(at_once(&meters), 0);
        drop(held);
        assert!(meters.client("acme").is_ok(), "the second of the burst");
        for _ in 0..3 {
            let exceeded = meters.client("acme").unwrap_err();
            assert_eq!(exceeded.short, Short::Rate, "the place is free");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_outlives_a_configuration() {
        let first = clients(of(rate(1, 5), 2), None);
        let held = first.client("acme").unwrap();
        assert!(first.client("acme").is_ok());
        // The same rate, another number of places.
        let second = clients(of(rate(1, 5), 1), Some(&first));
        assert_eq!(second.client("acme").unwrap_err().short, Short::Places);
        drop(held);
        assert_eq!(at_once(&second), 3, "two of five were used");
        // Another rate begins anew.
        let third = clients(of(rate(1, 4), 1), Some(&second));
        assert_eq!(at_once(&third), 4);
    }
}
