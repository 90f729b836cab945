use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(10);
const PLENTY: Limits = Limits {
    concurrency: 4,
    tenant_concurrency: 4,
    rate: None,
    tenant_rate: None,
    waiting: 100,
    tenant_waiting: 100,
};

fn tenant(name: &str) -> Party {
    Party::Tenant(Arc::from(name))
}

/// The user of a tenant that no other acts as.
fn user(tenant: &str) -> User {
    User::Account(Arc::from(tenant))
}

fn per_second(count: u32) -> Option<Rate> {
    Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(1))
}

/// Somebody who waits for a place, polled by hand.
struct Waiter {
    name: String,
    future: BoxFuture<'static, Result<Place, Refused>>,
}

impl Waiter {
    fn new(shares: &Shares, name: &str) -> Self {
        let (shares, party) = (shares.clone(), tenant(name));
        let future = async move { shares.enter(&party, Instant::now() + WAIT).await };
        let mut waiter = Self {
            name: name.to_owned(),
            future: future.boxed(),
        };
        assert!(waiter.poll().is_none(), "{name} does not wait");
        waiter
    }

    fn poll(&mut self) -> Option<Result<Place, Refused>> {
        self.future.as_mut().now_or_never()
    }
}

/// In which order those who wait get the one place there is.
fn order(mut held: Option<Place>, mut waiters: Vec<Waiter>) -> String {
    let mut order = String::new();
    while !waiters.is_empty() {
        drop(held.take());
        let (at, place) = waiters
            .iter_mut()
            .enumerate()
            .find_map(|(at, waiter)| Some((at, waiter.poll()?)))
            .expect("nobody was called");
        held = Some(place.unwrap());
        order.push_str(&waiters.remove(at).name);
    }
    order
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_and_each_keeps_its_order() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        ..PLENTY
    });
    let held = shares.try_enter(&tenant("x"));
    assert!(shares.try_enter(&tenant("y")).is_none());
    let waiters = "aaaabbc"
        .chars()
        .map(|c| Waiter::new(&shares, &c.to_string()));
    assert_eq!(order(held, waiters.collect()), "abcabaa");
    assert_eq!(shares.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_went_away_leave_no_trace() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        ..PLENTY
    });
    let held = shares.try_enter(&tenant("x"));
    let mut waiters: Vec<_> = "aabc"
        .chars()
        .map(|c| Waiter::new(&shares, &c.to_string()))
        .collect();
    drop(waiters.remove(2));
    drop(waiters.remove(0));
    assert_eq!(shares.waiting(), 2);
    assert_eq!(order(held, waiters), "ac");
    assert!(shares.0.state.lock().rota.is_empty(Instant::now()));
}

/// The place is on its way to somebody who goes away before taking it.
#[tokio::test(start_paused = true)]
async fn a_place_that_nobody_takes_goes_on() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        ..PLENTY
    });
    let held = shares.try_enter(&tenant("x"));
    let called = Waiter::new(&shares, "a");
    let mut next = Waiter::new(&shares, "b");
    drop(held);
    assert!(next.poll().is_none());
    drop(called);
    next.poll().unwrap().unwrap();
    assert!(shares.0.state.lock().rota.is_empty(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_own_limit_keeps_nobody_else_waiting() {
    let shares = Shares::new(Limits {
        tenant_concurrency: 2,
        ..PLENTY
    });
    let (a, b) = (tenant("a"), tenant("b"));
    let held: Vec<_> = (0..2).map(|_| shares.try_enter(&a).unwrap()).collect();
    assert!(shares.try_enter(&a).is_none());
    let mut waiter = Waiter::new(&shares, "a");
    let other = [(); 2].map(|()| shares.try_enter(&b).unwrap());
    drop(other);
    assert!(waiter.poll().is_none());
    drop(held);
    waiter.poll().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_the_queue_full_and_nobody_with_more_is_refused_at_once() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        waiting: 3,
        tenant_waiting: 2,
        ..PLENTY
    });
    let _held = shares.try_enter(&tenant("x"));
    let refused = |name| {
        let party = tenant(name);
        let enter = shares.enter(&party, Instant::now() + WAIT);
        enter.now_or_never().unwrap().unwrap_err().why
    };
    let waiting = ["a", "a", "b"].map(|name| Waiter::new(&shares, name));
    assert_eq!(refused("a"), Why::TenantQueue);
    assert_eq!(refused("b"), Why::Queue);
    drop(waiting);
    let _waiting = ["a", "b", "c"].map(|name| Waiter::new(&shares, name));
    assert_eq!(refused("a"), Why::Queue);
    assert_eq!(refused("d"), Why::Queue);
    assert_eq!(shares.0.state.lock().rota.known(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_the_longest_queue_makes_room() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        waiting: 7,
        ..PLENTY
    });
    let held = shares.try_enter(&tenant("x"));
    let mut waiters: Vec<_> = "aaaabbb"
        .chars()
        .map(|c| Waiter::new(&shares, &c.to_string()))
        .collect();
    for newcomer in ["c", "d"] {
        waiters.push(Waiter::new(&shares, newcomer));
        assert_eq!(shares.waiting(), 7);
    }
    // First the newest of four, then, of two queues of three, whoever came last to one of them.
    for (at, name) in [(6, "b"), (3, "a")] {
        let mut put_out = waiters.remove(at);
        assert_eq!(put_out.name, name);
        let refused = put_out.poll().unwrap().unwrap_err();
        let room = Refused::new(Why::Queue, Duration::from_secs(1));
        assert_eq!(refused, room);
    }
    assert_eq!(order(held, waiters), "abcdaba");
    assert!(shares.0.state.lock().rota.is_empty(Instant::now()));
}

/// Both at one moment: the wait is over, and somebody else has the place in the queue.
#[tokio::test(start_paused = true)]
async fn whoever_is_put_out_at_the_last_moment_is_told_so() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        waiting: 2,
        ..PLENTY
    });
    let _held = shares.try_enter(&tenant("x"));
    let mut waiters = ["a", "a"].map(|name| Waiter::new(&shares, name));
    tokio::time::advance(WAIT).await;
    let mut newcomer = Waiter::new(&shares, "b");
    let refused = waiters
        .each_mut()
        .map(|waiter| waiter.poll().unwrap().unwrap_err().why);
    assert_eq!(refused, [Why::Late, Why::Queue]);
    assert_eq!(shares.waiting(), 1);
    assert!(newcomer.poll().is_none());
}

/// As many tenants as may wait: each change costs as much as with a few.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_tenants_comes_and_goes_without_a_walk_over_all() {
    let now = Instant::now();
    let far = now + WAIT;
    let mut rota = Rota::new(Limits {
        concurrency: 1,
        waiting: 100_000,
        tenant_waiting: 75_000,
        ..PLENTY
    });
    let mut called = Vec::new();
    assert!(rota.enter(&tenant("x"), now, &mut called));
    let mut wait = |name: &str, number| rota.wait(&tenant(name), now, far, number).unwrap();
    for number in 0..50_000 {
        assert!(wait("noisy", number).put_out.is_none());
    }
    let tickets: Vec<_> = (0_u64..90_000)
        .map(|number| {
            let queued = wait(&format!("tenant-{number}"), number);
            assert_eq!(
                queued.put_out,
                number.checked_sub(50_000).map(|n| 49_999 - n)
            );
            queued.ticket
        })
        .collect();
    for (number, ticket) in tickets.into_iter().enumerate().rev() {
        let party = tenant(&format!("tenant-{number}"));
        assert!(rota.cancel(&party, ticket, now).is_some());
    }
    assert_eq!((rota.waiting(), rota.known()), (10_000, 2));
    assert!(rota.knows_lengths());
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_little_memory() {
    let shares = Shares::new(PLENTY);
    let party = tenant("a");
    let waiting = size_of_val(&shares.enter(&party, Instant::now()));
    assert!(waiting <= 512, "{waiting} bytes");
    let called = size_of::<Result<Place, oneshot::error::RecvError>>();
    assert!(called <= 32, "{called} bytes");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_allowed() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        ..PLENTY
    });
    let _held = shares.try_enter(&tenant("x"));
    let started = Instant::now();
    let refused = shares.enter(&tenant("a"), started + WAIT).await;
    assert_eq!(refused.unwrap_err().why, Why::Late);
    assert_eq!(started.elapsed(), WAIT);
    assert_eq!(shares.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_over_a_rate_go_when_it_lets_them() {
    let shares = Shares::new(Limits {
        rate: per_second(10),
        ..PLENTY
    });
    let started = Instant::now();
    for turn in 0_u32..25 {
        let name = ["a", "b"][turn as usize % 2];
        drop(shares.enter(&tenant(name), Instant::now() + WAIT).await);
        let due = Duration::from_millis(100) * turn.saturating_sub(9);
        assert_eq!(started.elapsed(), due, "turn {turn}");
    }
}

/// The timer is late: whoever comes in between is not before those who wait.
#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_who_wait() {
    let mut rota = Rota::new(Limits {
        rate: per_second(1),
        ..PLENTY
    });
    let (now, mut called) = (Instant::now(), Vec::new());
    assert!(rota.enter(&tenant("x"), now, &mut called));
    assert!(!rota.enter(&tenant("a"), now, &mut called));
    rota.wait(&tenant("a"), now, now + WAIT, 7).unwrap();
    let later = now + Duration::from_secs(1);
    assert_eq!(rota.next(), Some(later));
    assert!(!rota.enter(&tenant("b"), later, &mut called));
    assert_eq!(called, [(tenant("a"), 7)]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_over_its_own_rate_is_told_so_and_others_are_not_touched() {
    let shares = Shares::new(Limits {
        tenant_rate: Rate::new(NonZeroU32::MIN, Duration::from_secs(30)),
        ..PLENTY
    });
    let a = tenant("a");
    drop(shares.try_enter(&a).unwrap());
    let mut waiter = Waiter::new(&shares, "a");
    drop(shares.try_enter(&tenant("b")).unwrap());
    tokio::time::sleep(WAIT).await;
    let refused = waiter.poll().unwrap().unwrap_err();
    let left = Duration::from_secs(20);
    assert_eq!((refused.why, refused.retry_after), (Why::TenantRate, left));
    tokio::time::sleep(left).await;
    assert!(shares.try_enter(&a).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_tenant_pauses_alone() {
    let shares = Shares::new(PLENTY);
    let place = shares.try_enter(&tenant("a")).unwrap();
    place.throttled(user("a"), Duration::from_secs(3));
    assert!(shares.try_enter(&tenant("a")).is_none());
    assert!(shares.try_enter(&tenant("b")).is_some());
    let started = Instant::now();
    let place = place.again(started + WAIT).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    // Whoever could not be served in time is not kept waiting for that.
    place.throttled(user("a"), Duration::from_secs(11));
    let refused = shares.enter(&tenant("a"), Instant::now() + WAIT).await;
    let expected = Refused::new(Why::TenantPaused, Duration::from_secs(11));
    assert_eq!(refused.unwrap_err(), expected);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_is_over_for_good() {
    let shares = Shares::new(PLENTY);
    let a = tenant("a");
    let place = shares.try_enter(&a).unwrap();
    place.throttled(user("a"), Duration::from_secs(1));
    drop(place);
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..3 {
        drop(shares.try_enter(&a).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn all_pause_when_two_tenants_are_throttled_together() {
    for (apart, together) in [(900, true), (1000, false)] {
        let shares = Shares::new(PLENTY);
        let [a, b] = ["a", "b"].map(|name| shares.try_enter(&tenant(name)).unwrap());
        a.throttled(user("a"), Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(apart)).await;
        b.throttled(user("b"), Duration::from_secs(2));
        let started = Instant::now();
        drop(shares.enter(&tenant("c"), started + WAIT).await.unwrap());
        let waited = Duration::from_secs(if together { 2 } else { 0 });
        assert_eq!(started.elapsed(), waited, "{apart}");
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_that_act_as_one_user_are_throttled_as_one() {
    let shares = Shares::new(PLENTY);
    for name in ["a", "b"] {
        let place = shares.try_enter(&tenant(name)).unwrap();
        place.throttled(user("both"), Duration::from_secs(2));
    }
    assert!(shares.try_enter(&tenant("c")).is_some());
}

/// The console asks for minutes: after seconds one request tries, and the others see what it gets.
#[tokio::test(start_paused = true)]
async fn a_pause_of_all_is_short_and_then_one_tries() {
    for trial_is_throttled in [false, true] {
        let shares = Shares::new(PLENTY);
        let [a, b] = ["a", "b"].map(|name| shares.try_enter(&tenant(name)).unwrap());
        a.throttled(user("a"), LONGEST_PAUSE);
        b.throttled(user("b"), LONGEST_PAUSE);
        let started = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut others = ["c", "d"].map(|name| Waiter::new(&shares, name));
        tokio::time::sleep(Duration::from_millis(3900)).await;
        assert!(others.iter_mut().all(|waiter| waiter.poll().is_none()));
        let [first, second] = others;
        let place = first.future.await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        if trial_is_throttled {
            place.throttled(user("c"), LONGEST_PAUSE);
        }
        drop(second.future.await.unwrap());
        let pause = if trial_is_throttled { 10 } else { 6 };
        assert_eq!(started.elapsed(), Duration::from_secs(pause));
        let late = shares.try_enter(&tenant("e"));
        assert_eq!(late.is_some(), !trial_is_throttled);
        drop(place);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(shares.try_enter(&tenant("f")).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn those_in_the_queue_pause_too() {
    let shares = Shares::new(Limits {
        concurrency: 1,
        ..PLENTY
    });
    let held = shares.try_enter(&tenant("a")).unwrap();
    let mut noisy = Waiter::new(&shares, "a");
    let mut quiet = Waiter::new(&shares, "b");
    // The timer sleeps without end: nothing but the place calls anybody.
    tokio::task::yield_now().await;
    held.throttled(user("a"), Duration::from_secs(2));
    drop(held);
    drop(quiet.poll().unwrap().unwrap());
    assert!(noisy.poll().is_none());
    let started = Instant::now();
    noisy.future.await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn tenants_that_are_gone_are_forgotten() {
    let parties: Vec<_> = (0..100_000)
        .map(|i| tenant(&format!("tenant-{i}")))
        .collect();
    let shares = Shares::new(PLENTY);
    for party in &parties {
        drop(shares.try_enter(party).unwrap());
        assert!(shares.0.state.lock().rota.known() <= 1024);
    }
    assert!(shares.0.state.lock().rota.is_empty(Instant::now()));
    // With a rate they are known as long as it takes to rest.
    let shares = Shares::new(Limits {
        tenant_rate: per_second(100),
        ..PLENTY
    });
    for (at, party) in parties.iter().enumerate() {
        drop(shares.try_enter(party).unwrap());
        if at % 100 == 99 {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(shares.0.state.lock().rota.known() <= 1024);
    }
}

/// What random callers do.
#[derive(Clone, Debug)]
enum Move {
    Arrive(u8),
    /// A running request ends: which, counted from the first.
    End(usize),
    /// Somebody who waits goes away: which.
    Leave(usize),
    /// A running request is throttled, for so many milliseconds.
    Throttle(usize, u64),
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => (0_u8..6).prop_map(Move::Arrive),
        4 => any::<usize>().prop_map(Move::End),
        1 => any::<usize>().prop_map(Move::Leave),
        1 => (any::<usize>(), 1_u64..500).prop_map(|(which, time)| Move::Throttle(which, time)),
        1 => (1_u64..300).prop_map(Move::Pass),
    ];
    proptest::collection::vec(one, 1..200)
}

fn limits() -> impl Strategy<Value = Limits> {
    let rate = || prop_oneof![Just(None), (1_u32..50).prop_map(per_second)];
    (
        1_usize..6,
        1_usize..4,
        0_usize..20,
        1_usize..10,
        rate(),
        rate(),
    )
        .prop_map(
            |(concurrency, tenant_concurrency, waiting, tenant_waiting, rate, tenant_rate)| {
                Limits {
                    concurrency,
                    tenant_concurrency,
                    rate,
                    tenant_rate,
                    waiting,
                    tenant_waiting,
                }
            },
        )
}

/// The rota, and what an onlooker has seen of it.
struct Watched {
    limits: Limits,
    rota: Rota<u64>,
    now: Instant,
    running: Vec<Party>,
    waiting: Vec<(Party, Ticket)>,
    /// By tenant that waits: the turns that others had since it last had one, or came.
    since: HashMap<Party, HashMap<Party, usize>>,
    /// When each turn was, by tenant.
    turns: Vec<(Party, Instant)>,
    tickets: HashMap<u64, Ticket>,
    next: u64,
}

impl Watched {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            rota: Rota::new(limits),
            now: Instant::now(),
            running: Vec::new(),
            waiting: Vec::new(),
            since: HashMap::new(),
            turns: Vec::new(),
            tickets: HashMap::new(),
            next: 0,
        }
    }

    fn make(&mut self, step: &Move) {
        let mut called = Vec::new();
        match step {
            Move::Arrive(name) => self.arrive(&tenant(&name.to_string()), &mut called),
            Move::End(which) if !self.running.is_empty() => {
                let party = self.running.remove(which % self.running.len());
                self.rota.leave(&party, self.now, &mut called);
            }
            Move::Leave(which) if !self.waiting.is_empty() => {
                let (party, ticket) = self.waiting.remove(which % self.waiting.len());
                assert!(self.rota.cancel(&party, ticket, self.now).is_some());
                assert!(self.rota.cancel(&party, ticket, self.now).is_none());
                if self.waiting.iter().all(|(other, _)| *other != party) {
                    self.since.remove(&party);
                }
            }
            Move::Throttle(which, time) if !self.running.is_empty() => {
                let party = &self.running[which % self.running.len()];
                let until = self.now + Duration::from_millis(*time);
                let user = User::Account(Arc::from(format!("{party:?}")));
                self.rota.throttled(party, user, until, self.now);
            }
            Move::Pass(time) => self.pass(Duration::from_millis(*time), &mut called),
            Move::End(_) | Move::Leave(_) | Move::Throttle(..) => {}
        }
        self.called(called);
        let held_back = self.rota.held_back();
        for party in held_back {
            self.since.entry(party).and_modify(HashMap::clear);
        }
        self.judge();
    }

    fn arrive(&mut self, party: &Party, called: &mut Called<u64>) {
        let before = self.rota.waiting();
        if self.rota.enter(party, self.now, called) {
            self.called(std::mem::take(called));
            self.went(party);
            return;
        }
        assert!(self.rota.waiting() + called.len() == before);
        self.called(std::mem::take(called));
        self.next += 1;
        let far = self.now + Duration::from_secs(3600);
        match self.rota.wait(party, self.now, far, self.next) {
            Ok(Queued { ticket, put_out }) => {
                self.put_out(party, put_out);
                self.tickets.insert(self.next, ticket);
                self.waiting.push((party.clone(), ticket));
                self.since.entry(party.clone()).or_default();
            }
            Err(refused) => {
                let lengths = self.lengths();
                let own = lengths.get(party).copied().unwrap_or_default();
                match refused.why {
                    Why::TenantQueue => assert_eq!(own, self.limits.tenant_waiting),
                    Why::Queue => {
                        assert_eq!(self.waiting.len(), self.limits.waiting);
                        let longest = lengths.values().max().copied().unwrap_or_default();
                        assert!(longest <= own + 1, "{party:?} has less than others");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Somebody may have had to go for somebody of this tenant.
    fn put_out(&mut self, newcomer: &Party, put_out: Option<u64>) {
        let is_full = self.waiting.len() == self.limits.waiting;
        assert_eq!(put_out.is_some(), is_full);
        let Some(waiter) = put_out else { return };
        let lengths = self.lengths();
        let ticket = self.tickets[&waiter];
        let is_it = |(_, other): &(Party, Ticket)| *other == ticket;
        let at = self.waiting.iter().position(is_it);
        let (party, _) = self.waiting.remove(at.expect("put out who does not wait"));
        let newer = |(other, newer): &(Party, Ticket)| *other == party && *newer > ticket;
        assert!(!self.waiting.iter().any(newer), "not the newest of its own");
        let longer = lengths.values().any(|length| *length > lengths[&party]);
        assert!(!longer, "{party:?} has less than others");
        let own = lengths.get(newcomer).copied().unwrap_or_default();
        assert!(lengths[&party] > own + 1, "nothing is fairer by that");
        assert!(self.rota.cancel(&party, ticket, self.now).is_none());
    }

    /// How many of each tenant wait.
    fn lengths(&self) -> HashMap<Party, usize> {
        let mut lengths = HashMap::new();
        for (party, _) in &self.waiting {
            *lengths.entry(party.clone()).or_default() += 1;
        }
        lengths
    }

    /// Time passes as the timer sees it: nothing that it is not told to look at may happen.
    fn pass(&mut self, time: Duration, called: &mut Called<u64>) {
        let end = self.now + time;
        while let Some(next) = self.rota.next()
            && next <= end
        {
            assert!(next > self.now, "the timer would not come to an end");
            self.now = next;
            self.rota.call(next, called);
            self.called(std::mem::take(called));
        }
        self.now = end;
        self.rota.call(end, called);
        assert!(called.is_empty(), "somebody was called too late");
    }

    fn called(&mut self, called: Called<u64>) {
        for (party, waiter) in called {
            let ticket = self.tickets[&waiter];
            let first = self.waiting.iter().position(|(other, _)| *other == party);
            let (_, first) = self
                .waiting
                .remove(first.expect("called who does not wait"));
            assert_eq!(first, ticket, "not in the order of arrival");
            self.went(&party);
        }
    }

    fn went(&mut self, party: &Party) {
        self.running.push(party.clone());
        self.turns.push((party.clone(), self.now));
        let held_back = self.rota.held_back();
        let waiting: HashSet<_> = self
            .waiting
            .iter()
            .map(|(party, _)| party.clone())
            .collect();
        self.since
            .retain(|other, _| other != party && waiting.contains(other));
        if waiting.contains(party) {
            self.since.insert(party.clone(), HashMap::new());
        }
        for (other, since) in &mut self.since {
            if held_back.contains(other) {
                since.clear();
            } else if other != party {
                let turns = since.entry(party.clone()).or_default();
                *turns += 1;
                assert!(*turns <= 1, "{party:?} went before {other:?} again");
            }
        }
    }

    fn judge(&self) {
        assert!(self.running.len() <= self.limits.concurrency);
        let count = |parties: &mut dyn Iterator<Item = &Party>, party: &Party| {
            parties.filter(|other| *other == party).count()
        };
        for (party, _) in &self.turns {
            let running = count(&mut self.running.iter(), party);
            assert!(running <= self.limits.tenant_concurrency);
        }
        assert_eq!(self.rota.waiting(), self.waiting.len());
        assert!(self.waiting.len() <= self.limits.waiting);
        for length in self.lengths().values() {
            assert!(*length <= self.limits.tenant_waiting);
        }
        assert!(self.rota.knows_lengths());
        // Whoever could go has gone: a place would be lost otherwise.
        for (party, _) in &self.waiting {
            assert!(
                self.rota.is_held_back(party, self.now),
                "{party:?} was forgotten"
            );
        }
    }

    /// In no second more than twice the rate: what was saved up, and what came in it.
    fn judge_rates(&self) {
        let check = |turns: &[Instant], rate: u32| {
            for (at, start) in turns.iter().enumerate() {
                let end = *start + Duration::from_secs(1);
                let within = turns[at..].iter().take_while(|turn| **turn < end).count();
                assert!(within <= 2 * rate as usize, "{within} in a second");
            }
        };
        let all: Vec<_> = self.turns.iter().map(|(_, at)| *at).collect();
        if let Some(rate) = self.limits.rate {
            check(&all, rate.per_second());
        }
        let parties: HashSet<_> = self.turns.iter().map(|(party, _)| party).collect();
        for party in parties {
            let own = self.turns.iter().filter(|(other, _)| other == party);
            let own: Vec<_> = own.map(|(_, at)| *at).collect();
            if let Some(rate) = self.limits.tenant_rate {
                check(&own, rate.per_second());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, no limit is exceeded, nobody is forgotten, tenants take turns, nobody is
    /// refused while another tenant has two more waiting, and in the end nothing is
    /// left.
    #[test]
    fn the_rota_is_fair_and_exact(limits in limits(), moves in moves()) {
        let mut watched = Watched::new(limits);
        for step in &moves {
            watched.make(step);
        }
        // Each turn ends, and the slowest rate lets one go in a second.
        for _ in 0..moves.len() {
            watched.make(&Move::End(0));
            watched.make(&Move::Pass(1000));
        }
        prop_assert!(watched.running.is_empty() && watched.waiting.is_empty());
        watched.judge_rates();
        prop_assert!(watched.rota.is_empty(watched.now + Duration::from_secs(3600)));
    }
}
