//! A day of a console's token endpoint, on a paused clock: who is renewed when.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use vspc_gateway::policy::Permit;
use vspc_gateway::token::{Broker, SessionStore};

use crate::endpoint::{Endpoint, LIFE};
use crate::process::cpu_of_this_thread;
use crate::town::Town;

/// Lets every tenant be used twice in the life of a token, for so many hours after the cold start.
pub(crate) fn simulate(tenants: usize, hours: u64) {
    let town = Town::build(tenants);
    let permits = town.permits(tenants).leak();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::new(PAUSE);
        let broker = town.broker(&endpoint, SessionStore::nowhere());
        tokio::spawn({
            let broker = broker.clone();
            async move { broker.run_renewals(std::future::pending()).await }
        });
        let day = Day {
            broker,
            endpoint,
            permits,
        };
        let busy = cpu_of_this_thread();
        day.fill().await;
        let began = day.endpoint.second() + 1;
        let missed = day.pass(Duration::from_secs(hours * 3600)).await;
        let busy = cpu_of_this_thread().saturating_sub(busy);
        day.report(began, hours, missed, busy);
    });
}

struct Day {
    broker: Broker,
    endpoint: Arc<Endpoint>,
    permits: &'static [Permit<'static>],
}

/// Uses that went wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Missed {
    /// Requests that found no token.
    waited: u64,
    /// Requests that got one that was over.
    over: u64,
    leases: u64,
}

impl Day {
    /// All tenants at once, and no token held.
    async fn fill(&self) {
        for permit in self.permits {
            let broker = self.broker.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(1);
                // The fetch goes on without who asked.
                drop(broker.lease(permit, deadline).await);
            });
        }
        while self.broker.stats().held < self.permits.len() {
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn pass(&self, time: Duration) -> Missed {
        let mut missed = Missed::default();
        let begun = Instant::now();
        let mut tenants = self.permits.iter().cycle();
        let mut used = 0;
        while begun.elapsed() < time {
            let due = begun.elapsed().as_millis() * self.permits.len() as u128 * 2;
            let due = due / LIFE.as_millis();
            for permit in tenants.by_ref().take(usize::try_from(due - used).unwrap()) {
                missed.leases += 1;
                match self.broker.try_lease(permit) {
                    Some(lease) => missed.over += u64::from(self.endpoint.is_over(&lease)),
                    None => {
                        missed.waited += 1;
                        let broker = self.broker.clone();
                        tokio::spawn(async move {
                            drop(broker.lease(permit, Instant::now() + LIFE).await);
                        });
                    }
                }
            }
            used = due;
            sleep_until(Instant::now() + Duration::from_millis(500)).await;
        }
        missed
    }

    fn report(&self, began: usize, hours: u64, missed: Missed, busy: Duration) {
        let books = self.endpoint.books();
        let seconds = usize::try_from(hours * 3600).unwrap();
        let mut after = books.per_second.clone();
        after.resize(began + seconds, 0);
        let mut after = after.split_off(began);
        let calls: u64 = after.iter().copied().map(u64::from).sum();
        let mean = calls as f64 / seconds as f64;
        let minute = after
            .chunks(60)
            .map(|minute| minute.iter().sum::<u32>())
            .max();
        after.sort_unstable();
        let at = |part: usize| after.get((after.len() - 1) * part / 1000).unwrap();
        let peak = f64::from(*at(1000));
        println!(
            "day: {} tenants, cold for {began} s, then {hours} h: {calls} renewals, {mean:.2} a \
             second; the busiest second {peak} ({:.2} x the mean), the busiest minute {:.2} a \
             second; half of all seconds up to {}, 99 % up to {}, 99.9 % up to {}",
            self.permits.len(),
            peak / mean,
            f64::from(minute.unwrap()) / 60.0,
            at(500),
            at(990),
            at(999),
        );
        let mut seconds = String::new();
        for calls in 0..=after.last().copied().unwrap().min(8) {
            let with = after.iter().filter(|it| **it == calls).count();
            write!(seconds, " {calls}: {with}").unwrap();
        }
        println!(
            "     seconds by calls:{seconds}; {} logins, {} refreshes, {} refused for an old \
             refresh token, {} at once at most, {} two for one user; {} leases, {} of a token that \
             was over, {} had to wait; {:.1} s of processor time",
            books.logins,
            books.refreshes,
            books.refused,
            books.most_at_once,
            books.collisions,
            missed.leases,
            missed.over,
            missed.waited,
            busy.as_secs_f64(),
        );
        assert_eq!((books.collisions, missed.over, books.logins), (0, 0, 1));
    }
}

/// How long a call to the token endpoint takes.
const PAUSE: Duration = Duration::from_millis(50);
