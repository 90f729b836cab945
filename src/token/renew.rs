//! Renewal ahead of time: one timer for each token, and a pacer that spreads the renewals.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::shared::Shared;
use super::slot::Timer;

/// Something that has a timer.
pub(super) trait Due: Send + Sync {
    /// The timer that was set for `rung` has rung. The permit is kept until what is started here
    /// has ended.
    fn due(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        rung: Instant,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Rung;
}

/// What came of a timer that rang.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rung {
    /// A fetch was started.
    Fetching,
    /// Nobody wants the token renewed now.
    Still,
}

/// The timers of one console. A token has one at most; setting it removes its predecessor.
#[derive(Default)]
pub(super) struct Queue {
    /// Told when the first timer became an earlier one.
    earlier: Notify,
    timers: Mutex<Timers>,
}

#[derive(Default)]
struct Timers {
    paced: BTreeMap<Slotted, Renewal>,
    plain: BTreeMap<Slotted, Weak<dyn Due>>,
}

/// The time of a timer, and the number of its cell to tell equal times apart.
type Slotted = (Instant, u64);

struct Renewal {
    lifetime: Duration,
    not_before: Instant,
    what: Weak<dyn Due>,
}

impl Queue {
    /// Sets the timer of a cell in place of the one it had.
    pub(super) fn arm(&self, id: u64, old: Option<Timer>, new: Option<Timer>, what: Weak<dyn Due>) {
        let mut timers = self.timers.lock();
        let before = timers.firsts();
        match old {
            Some(Timer::Paced { due, .. }) => drop(timers.paced.remove(&(due, id))),
            Some(Timer::Plain(due)) => drop(timers.plain.remove(&(due, id))),
            None => {}
        }
        match new {
            Some(Timer::Paced {
                due,
                lifetime,
                not_before,
            }) => {
                timers.paced.insert(
                    (due, id),
                    Renewal {
                        lifetime,
                        not_before,
                        what,
                    },
                );
            }
            Some(Timer::Plain(due)) => {
                timers.plain.insert((due, id), what);
            }
            None => {}
        }
        // Of each kind by itself: an early timer of one kind does not stand for the other's plan.
        let after = timers.firsts();
        let is_earlier = after.iter().zip(before).any(|pair| match pair {
            (Some(first), Some(former)) => *first < former,
            (first, None) => first.is_some(),
            (None, Some(_)) => false,
        });
        drop(timers);
        if is_earlier {
            self.earlier.notify_one();
        }
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let timers = self.timers.lock();
        timers.paced.len() + timers.plain.len()
    }

    /// Rings the timers as they come due. Ends only by being dropped.
    pub(super) async fn run(&self, shared: &Arc<Shared>) {
        let permits = Arc::new(Semaphore::new(AHEAD_AT_ONCE));
        let mut pacer = Pacer::default();
        loop {
            let now = Instant::now();
            let rung = self.ring_plain(now, shared);
            let (plain, paced) = {
                let timers = self.timers.lock();
                (
                    timers.plain.keys().next().map(|(due, _)| *due),
                    pacer.next(now, &timers.paced),
                )
            };
            let start = async {
                match paced {
                    When::At(at) => {
                        sleep_until(at).await;
                        None
                    }
                    When::Never => std::future::pending().await,
                    When::Now => Arc::clone(&permits).acquire_owned().await.ok(),
                }
            };
            let wait = async {
                match plain {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                permit = start => if permit.is_some() {
                    self.ring_paced(&mut pacer, shared, permit);
                },
                () = wait => {}
                () = self.earlier.notified() => pacer.look_again(),
            }
            if rung == RINGS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
    }

    fn ring_plain(&self, now: Instant, shared: &Arc<Shared>) -> usize {
        for rung in 0..RINGS_AT_ONCE {
            let ((due, _), what) = {
                let mut timers = self.timers.lock();
                match timers.plain.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove_entry(),
                    _ => return rung,
                }
            };
            if let Some(what) = what.upgrade() {
                what.due(shared, due, None);
            }
        }
        RINGS_AT_ONCE
    }

    fn ring_paced(
        &self,
        pacer: &mut Pacer,
        shared: &Arc<Shared>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let now = Instant::now();
        // Its head may have changed while a permit was awaited.
        let ((due, _), first) = {
            let mut timers = self.timers.lock();
            match timers.paced.first_entry() {
                Some(first) if first.get().not_before <= now => first.remove_entry(),
                _ => return,
            }
        };
        // What starts no fetch costs the console nothing, so the next one need not wait for it.
        match first
            .what
            .upgrade()
            .map(|what| what.due(shared, due, permit))
        {
            Some(Rung::Fetching) => pacer.started(now),
            Some(Rung::Still) | None => {}
        }
    }
}

impl Timers {
    /// The first timer of each kind.
    fn firsts(&self) -> [Option<Instant>; 2] {
        let paced = self.paced.keys().next().map(|(due, _)| *due);
        let plain = self.plain.keys().next().map(|(due, _)| *due);
        [paced, plain]
    }
}

/// When the next renewal may start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    At(Instant),
    Never,
    Now,
}

/// Spreads renewals that are due together over the time before, so that they never come faster
/// than twice their mean rate. Renewals that are spread already start when they are due.
///
/// At spacing `s`, the renewal in place `k` of the order is in time if the first one starts by
/// `due(k) - k * s`; the least of these over all `k` is when the first one has to start. Finding
/// it costs a walk over all timers, so a walk plans a whole second ahead.
#[derive(Default)]
struct Pacer {
    /// When the next walk is due.
    check_at: Option<Instant>,
    /// How many renewals may start before the next walk.
    budget: usize,
    last: Option<Instant>,
}

impl Pacer {
    fn next(&mut self, now: Instant, timers: &BTreeMap<Slotted, Renewal>) -> When {
        let Some(((due, _), first)) = timers.iter().next() else {
            self.look_again();
            return When::Never;
        };
        let count = u32::try_from(timers.len()).unwrap_or(u32::MAX);
        let spacing = (first.lifetime * TWICE_THE_MEAN / 100 / count).min(LEAST_RATE);
        if self.check_at.is_none_or(|at| now >= at) {
            self.plan(now, spacing, timers);
        }
        let check_at = self.check_at.unwrap_or(now).max(now + TICK);
        let earliest = first
            .not_before
            .max(self.last.map_or(now, |last| last + spacing));
        if self.budget == 0 && now < *due {
            return When::At(check_at.min(*due));
        }
        if now < earliest {
            When::At(earliest)
        } else {
            When::Now
        }
    }

    fn plan(&mut self, now: Instant, spacing: Duration, timers: &BTreeMap<Slotted, Renewal>) {
        let horizon = now + HORIZON;
        let count = u32::try_from(timers.len()).unwrap_or(u32::MAX);
        // Whatever is due later need not start before the next walk, though all of them come first.
        let end = now + REPLAN + spacing.saturating_mul(count);
        let mut lead: Option<Instant> = None;
        self.budget = 0;
        let keys = timers.keys().take_while(|(due, _)| *due <= end);
        for (place, (due, _)) in (0_u32..).zip(keys) {
            let start = due
                .checked_sub(spacing.saturating_mul(place))
                .unwrap_or(now);
            if start <= horizon {
                self.budget = usize::try_from(place)
                    .unwrap_or(usize::MAX)
                    .saturating_add(1);
            }
            lead = Some(lead.map_or(start, |lead| lead.min(start)));
        }
        // Timers that are set later do not change the plan much before it is made anew.
        let latest = now + REPLAN;
        let soon = lead.unwrap_or(latest).min(latest);
        self.check_at = Some(soon.max(horizon));
    }

    fn started(&mut self, now: Instant) {
        self.budget = self.budget.saturating_sub(1);
        self.last = Some(now);
    }

    fn look_again(&mut self) {
        self.check_at = None;
    }
}

/// Renewals ahead of time that may be under way at once, for one console.
const AHEAD_AT_ONCE: usize = 4;
/// How far ahead the pacer plans.
const HORIZON: Duration = Duration::from_secs(1);
/// A few renewals need no more spreading than this.
const LEAST_RATE: Duration = Duration::from_secs(1);
const REPLAN: Duration = Duration::from_secs(30);
const RINGS_AT_ONCE: usize = 256;
/// The timer's resolution.
const TICK: Duration = Duration::from_millis(1);
/// Half of the part of its lifetime after which a token is renewed: see `RefreshPolicy`.
const TWICE_THE_MEAN: u32 = 35;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn bunch(now: Instant, count: u64, due: Duration) -> BTreeMap<Slotted, Renewal> {
        struct Nothing;
        impl Due for Nothing {
            fn due(
                self: Arc<Self>,
                _: &Arc<Shared>,
                _: Instant,
                _: Option<OwnedSemaphorePermit>,
            ) -> Rung {
                Rung::Still
            }
        }
        let what: Weak<dyn Due> = Weak::<Nothing>::new();
        let not_before = now + due.saturating_sub(HOUR * 35 / 100);
        let entry = || Renewal {
            lifetime: HOUR,
            not_before,
            what: what.clone(),
        };
        (0..count).map(|id| ((now + due, id), entry())).collect()
    }

    /// Lets each timer ring once and says when; the renewed token has a new one, as in life.
    fn play(start: Instant, mut timers: BTreeMap<Slotted, Renewal>) -> Vec<Duration> {
        let (mut pacer, mut now, mut starts) = (Pacer::default(), start, Vec::new());
        let count = timers.len();
        while starts.len() < count {
            match pacer.next(now, &timers) {
                When::At(at) => {
                    assert!(at > now);
                    now = at;
                }
                When::Never => panic!("a timer was lost"),
                When::Now => {
                    let ((_, id), mut renewal) = timers.pop_first().unwrap();
                    pacer.started(now);
                    starts.push(now - start);
                    renewal.not_before = now + HOUR * 40 / 100;
                    timers.insert((now + HOUR * 75 / 100, id), renewal);
                }
            }
        }
        starts
    }

    /// A session that is due before every other token must not keep their pacer asleep.
    #[test]
    fn the_first_timer_of_each_kind_is_told() {
        use futures_util::FutureExt as _;
        let (queue, now) = (Queue::default(), Instant::now());
        let told = || queue.earlier.notified().now_or_never().is_some();
        let what = || bunch(now, 1, HOUR).pop_first().unwrap().1.what;
        let paced = |due| {
            Some(Timer::Paced {
                due,
                lifetime: HOUR,
                not_before: now,
            })
        };
        queue.arm(1, None, Some(Timer::Plain(now + HOUR / 2)), what());
        assert!(told());
        queue.arm(2, None, paced(now + HOUR), what());
        assert!(told());
        queue.arm(3, None, paced(now + HOUR * 2), what());
        assert!(!told());
        queue.arm(4, None, paced(now + HOUR * 3 / 4), what());
        assert!(told());
    }

    #[test]
    fn one_renewal_starts_when_it_is_due() {
        let now = Instant::now();
        let starts = play(now, bunch(now, 1, HOUR));
        assert_eq!(starts, [HOUR]);
    }

    #[test]
    fn a_bunch_is_spread_over_the_time_before_it_is_due() {
        let now = Instant::now();
        let starts = play(now, bunch(now, 5000, HOUR));
        assert_eq!(starts.len(), 5000);
        // Twice the mean rate is 5000 in 35 % of an hour: four a second.
        let busiest = starts
            .windows(5)
            .filter(|w| w[4] - w[0] < Duration::from_secs(1))
            .count();
        assert_eq!(busiest, 0);
        assert!(starts[0] >= HOUR - HOUR * 36 / 100 && *starts.last().unwrap() <= HOUR * 102 / 100);
    }

    #[test]
    fn two_that_are_far_apart_do_not_pull_each_other() {
        let now = Instant::now();
        let mut timers = bunch(now, 1, HOUR / 2);
        timers.extend(bunch(now, 2, HOUR).split_off(&(now + HOUR, 1)));
        assert_eq!(play(now, timers), [HOUR / 2, HOUR]);
    }
}
