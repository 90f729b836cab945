//! Who goes next. The state alone: time comes from outside, and those who wait are of any kind.
//!
//! What always holds between two calls:
//! - nobody waits who could go, as far as was known at the time of the last call;
//! - `ready` has each tenant once that has somebody waiting and could go itself; `later` has those
//!   whose own rate or pause holds them back, by the moment when that ends;
//! - `lengths` has each tenant once that has somebody waiting;
//! - a tenant is known as long as it has a place, somebody waiting, or a rate or pause to remember;
//!   others are forgotten when there are as many of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::{Duration, Instant};

use super::bucket::Bucket;
use super::pause::CommonPause;
use super::queue::{Lengths, Ticket};
use super::tenant::{Stand, Tenant};
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
    /// By number: the lowest is called first.
    ready: BTreeMap<u64, Party>,
    later: BTreeSet<(Instant, Party)>,
    lengths: Lengths,
    /// The last number given to somebody who waits, or to a tenant that is ready.
    numbers: u64,
    /// How many tenants there may be before those are looked for that nothing is to be known of.
    sweep_at: usize,
}

/// Somebody who waits now, and who had to make room for it.
#[derive(Debug)]
pub(super) struct Queued<W> {
    pub(super) ticket: Ticket,
    pub(super) put_out: Option<W>,
}

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
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            lengths: Lengths::default(),
            numbers: 0,
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

    /// Lets somebody wait to whom `enter` gave no place. If as many wait as may, that costs the
    /// newest of the tenant with most of them its place in the queue, unless they are the
    /// newcomer's own, or would then be fewer than its own: nothing would be fairer by that.
    pub(super) fn wait(
        &mut self,
        party: &Party,
        now: Instant,
        deadline: Instant,
        waiter: W,
    ) -> Result<Queued<W>, Refused> {
        let tenant = self.tenants.entry(party.clone()).or_default();
        let paused = |pause: Option<Instant>, why| {
            let until = pause.filter(|until| *until > deadline)?;
            Some(Refused::new(why, until - now))
        };
        let is_full = self.waiting >= self.limits.waiting;
        let refused = paused(tenant.pause, Why::TenantPaused)
            .or_else(|| paused(self.pause.until(), Why::Paused))
            .or_else(|| {
                let full = tenant.queue.len() >= self.limits.tenant_waiting;
                full.then(|| Refused::new(Why::TenantQueue, LEAST_RETRY))
            })
            .or_else(|| {
                let longest = self.lengths.longest().map_or(0, |(length, _)| length);
                let none_yields = is_full && longest <= tenant.queue.len() + 1;
                none_yields.then(Refused::for_room)
            });
        if let Some(refused) = refused {
            self.forget(party, now);
            return Err(refused);
        }
        let put_out = if is_full { self.put_out() } else { None };
        let ticket = self.number();
        self.waiting += 1;
        if let Some(tenant) = self.tenants.get_mut(party) {
            let before = tenant.queue.rank();
            tenant.queue.push(ticket, waiter);
            self.lengths.changed(party, before, tenant.queue.rank());
            if tenant.stand == Stand::Idle {
                self.place(party, now);
            }
        }
        Ok(Queued { ticket, put_out })
    }

    /// Takes the newest out of the longest queue. It is not the only one there, so that its tenant
    /// stays where it is.
    fn put_out(&mut self) -> Option<W> {
        let (_, party) = self.lengths.longest()?;
        let party = party.clone();
        let tenant = self.tenants.get_mut(&party)?;
        let before = tenant.queue.rank();
        let waiter = tenant.queue.pop_newest()?;
        self.lengths.changed(&party, before, tenant.queue.rank());
        self.waiting -= 1;
        Some(waiter)
    }

    /// Takes somebody out of the queue, and says what kept it from going; `None` when its turn has
    /// come already, or it was put out.
    pub(super) fn cancel(
        &mut self,
        party: &Party,
        ticket: Ticket,
        now: Instant,
    ) -> Option<Refused> {
        let tenant = self.tenants.get_mut(party)?;
        let before = tenant.queue.rank();
        tenant.queue.remove(ticket)?;
        self.lengths.changed(party, before, tenant.queue.rank());
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
            && let Some((_, party)) = self.ready.pop_first()
        {
            let Some(tenant) = self.tenants.get_mut(&party) else {
                continue;
            };
            let before = tenant.queue.rank();
            if let Some(waiter) = tenant.queue.pop_first() {
                self.lengths.changed(&party, before, tenant.queue.rank());
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
        let number = self.number();
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
                _ => Stand::Ready(number),
            }
        };
        match tenant.stand {
            Stand::Ready(number) => drop(self.ready.insert(number, party.clone())),
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
            Stand::Ready(number) => drop(self.ready.remove(&number)),
            Stand::Later(at) => drop(self.later.remove(&(at, party.clone()))),
            Stand::Full | Stand::Idle => {}
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
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

/// Names come from the configuration and ids from the gateway: nobody chooses them to collide.
type RandomState = foldhash::fast::RandomState;

/// When room is made next time, at the latest.
pub(super) const LEAST_RETRY: Duration = Duration::from_secs(1);

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
            none_waits && self.lengths.is_empty() && self.running == 0 && self.tenants.is_empty()
        }

        /// Whether `lengths` is what the queues are.
        pub(in crate::upstream::share) fn knows_lengths(&self) -> bool {
            let tenants = self.tenants.iter();
            let ranks = tenants.map(|(party, tenant)| (party, tenant.queue.rank()));
            self.lengths.is_of(ranks)
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
