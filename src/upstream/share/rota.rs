//! Who goes next. The state alone: time comes from outside, and those who wait are of any kind.
//!
//! What always holds between two calls:
//! - nobody waits who could go, as far as was known at the time of the last call;
//! - `ready` has each tenant once that has somebody waiting and could go itself; `later` has those
//!   whose own rate or pause holds them back, by the moment when that ends;
//! - a tenant is known as long as it has a place, somebody waiting, or a rate or pause to remember;
//!   others are forgotten when there are as many of them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use super::bucket::Bucket;
use super::pause::CommonPause;
use super::{Limits, Party, Refused, User, Why};

/// Places at a console, and the turns of those who wait for one.
#[derive(Debug)]
pub(super) struct Rota<W> {
    limits: Limits,
    running: usize,
    waiting: usize,
    bucket: Bucket,
    pause: CommonPause,
    /// When the last pause of anybody ends.
    pauses_end: Option<Instant>,
    /// A moment after the end of all pauses before that.
    calm_since: Instant,
    tenants: HashMap<Party, Tenant<W>, RandomState>,
    ready: VecDeque<Party>,
    later: BTreeSet<(Instant, Party)>,
    tickets: u64,
    /// How many tenants there may be before those are looked for that nothing is to be known of.
    sweep_at: usize,
}

#[derive(Debug)]
struct Tenant<W> {
    running: usize,
    queue: VecDeque<(Ticket, W)>,
    bucket: Bucket,
    pause: Option<Instant>,
    stand: Stand,
}

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stand {
    /// All its places are taken; one of them calls it.
    Full,
    /// Nobody of it waits.
    Idle,
    /// Its rate or its pause holds it back until then.
    Later(Instant),
    /// It is called when the console has a place.
    Ready,
}

/// The number of somebody who waits, rising.
pub(super) type Ticket = u64;

/// Those whose turn has come. They have their places already.
pub(super) type Called<W> = Vec<(Party, W)>;

impl<W> Rota<W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            bucket: Bucket::default(),
            pause: CommonPause::default(),
            pauses_end: None,
            calm_since: Instant::now(),
            tenants: HashMap::default(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            tickets: 0,
            sweep_at: KNOWN,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The time, for entering and leaving. Where it makes no difference to them the clock, which
    /// would take as long as the rest, is not asked.
    pub(super) fn now(&mut self) -> Instant {
        let is_timeless = self.waiting == 0
            && self.pauses_end.is_none()
            && self.pause.is_over()
            && self.limits.rate.is_none()
            && self.limits.tenant_rate.is_none();
        if is_timeless {
            return self.calm_since;
        }
        let now = Instant::now();
        self.pause.settle(now);
        if self.pauses_end.take_if(|end| *end <= now).is_some() {
            self.calm_since = now;
        }
        now
    }

    /// Gives a place at once, if there is one and nobody waits who could have it.
    pub(super) fn enter(&mut self, party: &Party, now: Instant, called: &mut Called<W>) -> bool {
        if self.waiting > 0 {
            self.call(now, called);
        }
        if !self.has_place(now) {
            return false;
        }
        let Some(tenant) = self.tenants.get_mut(party) else {
            self.enter_first(party, now);
            return true;
        };
        let free = tenant.queue.is_empty()
            && tenant.running < self.limits.tenant_concurrency
            && tenant.opens(&self.limits).is_none_or(|at| at <= now);
        if free {
            tenant.go(&self.limits, now);
            self.went(now);
        }
        free
    }

    /// Gives the first place to a tenant of which nothing is known.
    fn enter_first(&mut self, party: &Party, now: Instant) {
        if self.tenants.len() >= self.sweep_at {
            self.sweep(now);
        }
        let tenant = self.tenants.entry(party.clone()).or_default();
        tenant.go(&self.limits, now);
        self.went(now);
    }

    /// One more is under way.
    fn went(&mut self, now: Instant) {
        self.running += 1;
        self.bucket.take(self.limits.rate, now);
        self.pause.went(now);
    }

    /// Lets somebody wait to whom `enter` gave no place.
    pub(super) fn wait(
        &mut self,
        party: &Party,
        now: Instant,
        deadline: Instant,
        waiter: W,
    ) -> Result<Ticket, Refused> {
        let tenant = self.tenants.entry(party.clone()).or_default();
        let paused = |pause: Option<Instant>, why| {
            let until = pause.filter(|until| *until > deadline)?;
            Some(Refused::new(why, until - now))
        };
        let refused = paused(tenant.pause, Why::TenantPaused)
            .or_else(|| paused(self.pause.until(), Why::Paused))
            .or_else(|| {
                let full = tenant.queue.len() >= self.limits.tenant_waiting;
                full.then(|| Refused::new(Why::TenantQueue, LEAST_RETRY))
            })
            .or_else(|| {
                let full = self.waiting >= self.limits.waiting;
                full.then(|| Refused::new(Why::Queue, LEAST_RETRY))
            });
        if let Some(refused) = refused {
            self.forget(party, now);
            return Err(refused);
        }
        self.tickets += 1;
        let ticket = self.tickets;
        tenant.queue.push_back((ticket, waiter));
        self.waiting += 1;
        if tenant.stand == Stand::Idle {
            self.place(party, now);
        }
        Ok(ticket)
    }

    /// Takes somebody out of the queue, and says what kept it from going; `None` when its turn has
    /// come already.
    pub(super) fn cancel(
        &mut self,
        party: &Party,
        ticket: Ticket,
        now: Instant,
    ) -> Option<Refused> {
        let tenant = self.tenants.get_mut(party)?;
        let at = tenant
            .queue
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()?;
        tenant.queue.remove(at);
        self.waiting -= 1;
        let refused = match (tenant.stand, tenant.pause, self.pause.until()) {
            (Stand::Later(until), pause, _) if pause == Some(until) => {
                Refused::new(Why::TenantPaused, until.saturating_duration_since(now))
            }
            (Stand::Later(until), ..) => {
                Refused::new(Why::TenantRate, until.saturating_duration_since(now))
            }
            (_, _, Some(until)) if until > now => Refused::new(Why::Paused, until - now),
            _ => Refused::new(Why::Late, LEAST_RETRY),
        };
        if tenant.queue.is_empty() {
            self.unplace(party);
            self.forget(party, now);
        }
        Some(refused)
    }

    /// Takes a place back.
    pub(super) fn leave(&mut self, party: &Party, now: Instant, called: &mut Called<W>) {
        self.running = self.running.saturating_sub(1);
        if let Some(tenant) = self.tenants.get_mut(party) {
            tenant.running = tenant.running.saturating_sub(1);
            if tenant.stand == Stand::Full {
                self.place(party, now);
            }
        }
        if self.waiting > 0 {
            self.call(now, called);
        }
    }

    /// The console throttles a user: the tenant pauses, and all do when that met two users at once.
    pub(super) fn throttled(&mut self, party: &Party, user: User, until: Instant, now: Instant) {
        let tenant = self.tenants.entry(party.clone()).or_default();
        tenant.pause = tenant.pause.max(Some(until));
        self.pauses_end = self.pauses_end.max(Some(until));
        if tenant.stand != Stand::Idle {
            self.unplace(party);
            self.place(party, now);
        }
        self.pause.throttled(user, until, now);
    }

    /// Gives what places there are to those who wait: one to each tenant in turn.
    pub(super) fn call(&mut self, now: Instant, called: &mut Called<W>) {
        while let Some((at, _)) = self.later.first()
            && *at <= now
            && let Some((_, party)) = self.later.pop_first()
        {
            self.place(&party, now);
        }
        while self.has_place(now)
            && let Some(party) = self.ready.pop_front()
        {
            let Some(tenant) = self.tenants.get_mut(&party) else {
                continue;
            };
            if let Some((_, waiter)) = tenant.queue.pop_front() {
                tenant.go(&self.limits, now);
                self.waiting -= 1;
                self.went(now);
                called.push((party.clone(), waiter));
            }
            self.place(&party, now);
        }
    }

    /// When somebody can go whom no place that comes free will call.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.waiting == 0 || self.running >= self.limits.concurrency {
            return None;
        }
        let console = self.opens();
        if self.ready.is_empty() {
            let (tenant, _) = self.later.first()?;
            return console.max(Some(*tenant));
        }
        console
    }

    /// When the console's own rate or pause lets somebody go.
    fn opens(&self) -> Option<Instant> {
        self.pause.until().max(self.bucket.opens(self.limits.rate))
    }

    fn has_place(&self, now: Instant) -> bool {
        self.running < self.limits.concurrency && self.opens().is_none_or(|at| at <= now)
    }

    /// Puts a tenant where it belongs now; it is nowhere.
    fn place(&mut self, party: &Party, now: Instant) {
        let Some(tenant) = self.tenants.get_mut(party) else {
            return;
        };
        tenant.stand = if tenant.queue.is_empty() {
            Stand::Idle
        } else if tenant.running >= self.limits.tenant_concurrency {
            Stand::Full
        } else {
            match tenant.opens(&self.limits) {
                Some(at) if at > now => Stand::Later(at),
                _ => Stand::Ready,
            }
        };
        match tenant.stand {
            Stand::Ready => self.ready.push_back(party.clone()),
            Stand::Later(at) => drop(self.later.insert((at, party.clone()))),
            Stand::Full | Stand::Idle => {}
        }
    }

    /// Takes a tenant away from where it is.
    fn unplace(&mut self, party: &Party) {
        let Some(tenant) = self.tenants.get_mut(party) else {
            return;
        };
        match std::mem::replace(&mut tenant.stand, Stand::Idle) {
            Stand::Ready => self.ready.retain(|other| other != party),
            Stand::Later(at) => drop(self.later.remove(&(at, party.clone()))),
            Stand::Full | Stand::Idle => {}
        }
    }

    /// Forgets a tenant of which nothing is to be known.
    fn forget(&mut self, party: &Party, now: Instant) {
        if self
            .tenants
            .get(party)
            .is_some_and(|tenant| tenant.is_forgettable(now))
        {
            self.tenants.remove(party);
        }
    }

    /// Forgets all of them. Their number is bounded by places, queue, and who came within the time
    /// that rates and pauses reach.
    fn sweep(&mut self, now: Instant) {
        self.tenants.retain(|_, tenant| !tenant.is_forgettable(now));
        self.sweep_at = KNOWN.max(2 * self.tenants.len());
        self.tenants.shrink_to(self.sweep_at);
    }
}

impl<W> Tenant<W> {
    /// When its own rate or pause lets it go.
    fn opens(&self, limits: &Limits) -> Option<Instant> {
        self.pause.max(self.bucket.opens(limits.tenant_rate))
    }

    fn go(&mut self, limits: &Limits, now: Instant) {
        self.running += 1;
        self.bucket.take(limits.tenant_rate, now);
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.running == 0
            && self.queue.is_empty()
            && self.bucket.is_whole(now)
            && self.pause.is_none_or(|until| until <= now)
    }
}

impl<W> Default for Tenant<W> {
    fn default() -> Self {
        Self {
            running: 0,
            queue: VecDeque::new(),
            bucket: Bucket::default(),
            pause: None,
            stand: Stand::Idle,
        }
    }
}

/// Names come from the configuration and ids from the gateway: nobody chooses them to collide.
type RandomState = foldhash::fast::RandomState;

/// When room is made next time, at the latest.
const LEAST_RETRY: Duration = Duration::from_secs(1);

/// How many tenants are known before any are looked for that can be forgotten.
const KNOWN: usize = 1024;

/// What tests look at.
#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    impl<W> Rota<W> {
        pub(in crate::upstream::share) fn is_empty(&mut self, now: Instant) -> bool {
            self.sweep(now);
            let none_waits = self.waiting == 0 && self.ready.is_empty() && self.later.is_empty();
            none_waits && self.running == 0 && self.tenants.is_empty()
        }

        pub(in crate::upstream::share) fn known(&self) -> usize {
            self.tenants.len()
        }

        /// Tenants that wait for something of their own.
        pub(in crate::upstream::share) fn held_back(&self) -> HashSet<Party> {
            let own = |tenant: &Tenant<W>| matches!(tenant.stand, Stand::Full | Stand::Later(_));
            let held = self.tenants.iter().filter(|(_, tenant)| own(tenant));
            held.map(|(party, _)| party.clone()).collect()
        }

        /// Whether a tenant, or nobody, can go now.
        pub(in crate::upstream::share) fn is_held_back(&self, party: &Party, now: Instant) -> bool {
            let tenant = &self.tenants[party];
            !self.has_place(now)
                || tenant.running >= self.limits.tenant_concurrency
                || tenant.opens(&self.limits).is_some_and(|at| at > now)
        }
    }
}
