use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::token::policy::Span;
use crate::vspc::grant::Outage;

const HOUR: Duration = Duration::from_secs(3600);

type TestSlot = Slot<u64>;

fn refused() -> IssueError {
    IssueError::Refused {
        error: "invalid_request".into(),
        description: "".into(),
    }
}

fn outage() -> IssueError {
    IssueError::Unavailable(Outage::Connection("refused".into()))
}

/// A slot with a clock that is set by hand.
struct Bench {
    effect: Effect<u64>,
    now: Instant,
    policy: RefreshPolicy,
    slot: TestSlot,
}

impl Bench {
    fn new() -> Self {
        let (now, policy) = (Instant::now(), RefreshPolicy::default());
        Self {
            effect: Effect::Rest,
            now,
            policy,
            slot: Slot::Empty,
        }
    }

    fn holding() -> Self {
        Self::new().step(Event::Demand).step(issued(1))
    }

    fn step(mut self, event: Event<u64>) -> Self {
        (self.slot, self.effect) = self.slot.step(event, self.now, &self.policy);
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn shows(self, state: &str, effect: &str) -> Self {
        let shown = |debug: String| debug.split([' ', '(']).next().unwrap().to_owned();
        assert_eq!(shown(format!("{:?}", self.slot)), state);
        assert_eq!(shown(format!("{:?}", self.effect)), effect);
        self
    }

    fn renew_due(self) -> Self {
        let used = self.now;
        self.step(Event::RenewDue(Upkeep::UsedAt(used)))
    }
}

fn issued(value: u64) -> Event<u64> {
    Event::Issued {
        generation: Generation(value),
        jitter: Jitter(0),
        span: Span::token(HOUR),
        value,
    }
}

fn failed(error: IssueError) -> Event<u64> {
    Event::Failed {
        error,
        jitter: Jitter(32_768),
    }
}

fn rejected(generation: u64) -> Event<u64> {
    Event::Rejected(Generation(generation))
}

#[test]
fn the_first_demand_fetches_and_the_others_wait() {
    Bench::new()
        .step(Event::Demand)
        .shows("Acquiring", "Fetch")
        .step(Event::Demand)
        .shows("Acquiring", "Wait")
        .step(issued(1))
        .shows("Held", "Serve")
        .step(Event::Demand)
        .shows("Held", "Serve");
}

#[test]
fn a_renewal_runs_behind_a_token_that_is_served() {
    Bench::holding()
        .after(2700)
        .renew_due()
        .shows("Renewing", "Fetch")
        .step(Event::Demand)
        .shows("Renewing", "Serve")
        .step(issued(2))
        .shows("Held", "Serve");
}

#[test]
fn the_timer_may_ring_early_but_not_at_once() {
    Bench::holding()
        .after(1400)
        .renew_due()
        .shows("Held", "Rest")
        .after(100)
        .renew_due()
        .shows("Renewing", "Fetch");
}

#[test]
fn a_failed_renewal_keeps_the_token_and_backs_off_to_its_end() {
    Bench::holding()
        .after(2700)
        .renew_due()
        .step(failed(refused()))
        .shows("Held", "Refuse")
        .after(29)
        .renew_due()
        .shows("Held", "Rest")
        .after(1)
        .renew_due()
        .shows("Renewing", "Fetch")
        .step(failed(refused()))
        .after(59)
        .renew_due()
        .shows("Held", "Rest")
        .step(Event::Demand)
        .shows("Held", "Serve")
        .after(3570)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch");
}

#[test]
fn a_token_that_ends_within_a_cooldown_is_refused_not_fetched() {
    Bench::holding()
        .after(3560)
        .renew_due()
        .step(failed(refused()))
        .after(10)
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse")
        .after(20)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch");
}

#[test]
fn a_request_has_an_overdue_token_renewed_whatever_became_of_the_timer() {
    Bench::holding()
        .after(3134)
        .step(Event::Demand)
        .shows("Held", "Serve")
        .after(1)
        .step(Event::Demand)
        .shows("Renewing", "ServeAndFetch");
}

#[test]
fn an_idle_token_is_left_until_a_request_or_its_end() {
    let idle = || {
        let bench = Bench::holding().after(2700);
        let used = bench.now - HOUR - Duration::from_secs(1);
        bench
            .step(Event::RenewDue(Upkeep::UsedAt(used)))
            .shows("Held", "Rest")
    };
    idle()
        .step(Event::Demand)
        .shows("Renewing", "ServeAndFetch");
    idle().after(900).renew_due().shows("Empty", "Rest");
}

#[test]
fn a_rejection_counts_for_its_own_generation_and_not_for_a_young_one() {
    Bench::holding()
        .after(4)
        .step(rejected(1))
        .shows("Held", "Rest")
        .after(1)
        .step(rejected(0))
        .shows("Held", "Rest")
        .step(rejected(1))
        .shows("Acquiring", "Fetch")
        .step(rejected(1))
        .shows("Acquiring", "Rest")
        .step(issued(2))
        .step(rejected(1))
        .shows("Held", "Rest");
}

#[test]
fn a_rejection_while_renewing_waits_for_the_renewal() {
    Bench::holding()
        .after(2700)
        .renew_due()
        .step(rejected(1))
        .shows("Acquiring", "Rest")
        .step(Event::Demand)
        .shows("Acquiring", "Wait");
}

#[test]
fn refusals_cool_off_thirty_seconds_then_sixty() {
    Bench::new()
        .step(Event::Demand)
        .step(failed(refused()))
        .shows("CoolingOff", "Refuse")
        .after(29)
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse")
        .after(1)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch")
        .step(failed(refused()))
        .after(59)
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse")
        .after(1)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch");
}

#[test]
fn throttling_is_obeyed_to_the_second() {
    let throttled = IssueError::Throttled {
        retry_after: Duration::from_secs(7),
    };
    Bench::new()
        .step(Event::Demand)
        .step(failed(throttled))
        .after(6)
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse")
        .after(1)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch");
}

#[test]
fn what_was_dropped_in_flight_is_fetched_once_more_for_those_who_wait() {
    Bench::new()
        .step(Event::Demand)
        .step(Event::Drop)
        .shows("Acquiring", "Rest")
        .step(issued(1))
        .shows("Acquiring", "Fetch")
        .step(issued(2))
        .shows("Held", "Serve");
    Bench::holding()
        .after(2700)
        .renew_due()
        .step(Event::Drop)
        .shows("Acquiring", "Rest")
        .step(issued(2))
        .shows("Empty", "Rest");
}

#[test]
fn only_what_is_always_kept_comes_back_without_a_request() {
    let cooling = || {
        Bench::new()
            .step(Event::Demand)
            .step(failed(outage()))
            .after(600)
    };
    cooling()
        .renew_due()
        .shows("CoolingOff", "Rest")
        .after(1)
        .renew_due()
        .shows("Empty", "Rest");
    cooling()
        .step(Event::RenewDue(Upkeep::Always))
        .shows("Acquiring", "Fetch");
}

/// One thing that may happen in a random run.
#[derive(Clone, Debug)]
enum Op {
    Blocked(u64),
    Demand,
    Drop,
    Failed(IssueError, u16),
    Renew(u64),
    Issued(u64, u16),
    Rejected(u64),
    RenewDue(Option<u64>),
}

fn op() -> impl Strategy<Value = Op> {
    let error = prop_oneof![
        Just(refused()),
        Just(outage()),
        Just(IssueError::Malformed("x")),
        Just(IssueError::Throttled {
            retry_after: Duration::from_secs(7)
        }),
    ];
    prop_oneof![
        1 => (1_u64..60).prop_map(Op::Blocked),
        6 => Just(Op::Demand),
        1 => Just(Op::Drop),
        1 => (0_u64..3).prop_map(Op::Renew),
        2 => (error, any::<u16>()).prop_map(|(error, jitter)| Op::Failed(error, jitter)),
        4 => (1_u64..4000, any::<u16>()).prop_map(|(life, jitter)| Op::Issued(life, jitter)),
        3 => (0_u64..3).prop_map(Op::Rejected),
        3 => proptest::option::of(0_u64..8000).prop_map(Op::RenewDue),
    ]
}

/// What is known of the past of a slot, to judge its next effect by.
struct Model {
    dropped_below: u64,
    in_flight: bool,
    issued: Vec<Instant>,
    quiet_until: Instant,
    served_until: Vec<Instant>,
}

impl Model {
    fn judge(&mut self, event: &str, effect: &Effect<u64>, now: Instant) {
        match effect {
            Effect::Fetch | Effect::ServeAndFetch(_) => {
                assert!(!self.in_flight, "a second fetch");
                assert!(
                    now >= self.quiet_until,
                    "a fetch within a cooldown, by {event}"
                );
                if let ("Rejected", Some(last)) = (event, self.issued.last()) {
                    assert!(
                        now >= *last + Duration::from_secs(5),
                        "a forced renewal too soon"
                    );
                }
                self.in_flight = true;
            }
            Effect::Wait => assert!(self.in_flight, "a wait for nothing"),
            Effect::Refuse { until, .. } => assert!(*until >= now, "a refusal without a reason"),
            Effect::Rest | Effect::Serve(_) => {}
        }
        if let Effect::Serve(value) | Effect::ServeAndFetch(value) = effect {
            assert!(
                now < self.served_until[*value as usize],
                "served past its end"
            );
            assert!(*value >= self.dropped_below, "served what was dropped");
        }
    }
}

proptest! {
    #[test]
    fn no_run_breaks_a_promise(
        ops in proptest::collection::vec((0_u64..2000, prop::bool::ANY, op()), 1..80),
    ) {
        let policy = RefreshPolicy::default();
        let mut now = Instant::now();
        let mut slot = TestSlot::Empty;
        let mut model = Model {
            dropped_below: 0, in_flight: false, issued: vec![], quiet_until: now,
            served_until: vec![],
        };
        for (wait, long, op) in ops {
            now += Duration::from_secs(if long { wait } else { wait % 8 });
            let next = model.issued.len() as u64;
            let (name, event) = match op {
                // A fetch ends only while there is one.
                Op::Blocked(_) | Op::Failed(..) | Op::Issued(..) if !model.in_flight => continue,
                Op::Blocked(wait) => {
                    model.in_flight = false;
                    model.dropped_below = model.dropped_below.min(next);
                    let until = now + Duration::from_secs(wait);
                    model.quiet_until = until;
                    ("Blocked", Event::Blocked { error: outage(), until })
                }
                Op::Demand => ("Demand", Event::Demand),
                Op::Drop => {
                    // What is in flight may have been issued before, so it is not served either.
                    model.dropped_below = next + u64::from(model.in_flight);
                    model.quiet_until = now;
                    ("Drop", Event::Drop)
                }
                Op::Failed(error, jitter) => {
                    model.in_flight = false;
                    model.dropped_below = model.dropped_below.min(next);
                    model.quiet_until = now + match error {
                        IssueError::Refused { .. } => Duration::from_secs(30),
                        IssueError::Throttled { retry_after } => retry_after,
                        _ => Duration::from_millis(100),
                    };
                    ("Failed", Event::Failed { error, jitter: Jitter(jitter) })
                }
                Op::Renew(ago) => ("Renew", Event::Renew(Generation(next.saturating_sub(ago)))),
                Op::Issued(life, jitter) => {
                    model.in_flight = false;
                    let lifetime = Duration::from_secs(life);
                    let margin = (lifetime / 10).min(Duration::from_secs(30));
                    model.issued.push(now);
                    model.served_until.push(now + lifetime - margin);
                    let generation = Generation(next);
                    ("Issued", Event::Issued {
                        generation, jitter: Jitter(jitter), span: Span::token(lifetime), value: next,
                    })
                }
                Op::Rejected(ago) => {
                    ("Rejected", Event::Rejected(Generation(next.saturating_sub(ago))))
                }
                Op::RenewDue(None) => ("RenewDue", Event::RenewDue(Upkeep::Always)),
                Op::RenewDue(Some(ago)) => {
                    let used = now.checked_sub(Duration::from_secs(ago)).unwrap_or(now);
                    ("RenewDue", Event::RenewDue(Upkeep::UsedAt(used)))
                }
            };
            let effect;
            (slot, effect) = slot.step(event, now, &policy);
            model.judge(name, &effect, now);
            let flies = matches!(slot, Slot::Acquiring { .. } | Slot::Renewing(_));
            prop_assert_eq!(flies, model.in_flight);
            if let Some((_, _, until)) = slot.servable() {
                prop_assert!(until <= slot.serves_until().unwrap());
            }
            if let Some(Timer::Paced { due, not_before, .. }) =
                slot.timer(Upkeep::UsedAt(now), &policy)
            {
                prop_assert!(not_before <= due);
            }
        }
    }
}

#[test]
fn whoever_wants_a_newer_one_waits_for_it_while_the_old_one_is_served() {
    let renew = |generation| Event::Renew(Generation(generation));
    Bench::holding()
        .step(renew(1))
        .shows("Renewing", "Fetch")
        .step(renew(1))
        .shows("Renewing", "Wait")
        .step(Event::Demand)
        .shows("Renewing", "Serve")
        .step(issued(2))
        .step(renew(1))
        .shows("Held", "Serve")
        .step(renew(2))
        .shows("Renewing", "Fetch")
        .step(failed(refused()))
        .shows("Held", "Refuse")
        .step(renew(2))
        .shows("Held", "Refuse")
        .step(Event::Demand)
        .shows("Held", "Serve");
}

#[test]
fn what_an_illness_taught_is_forgotten_when_it_is_over() {
    Bench::new()
        .step(Event::Demand)
        .step(failed(outage()))
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse")
        .step(Event::Recovered)
        .step(Event::Demand)
        .shows("Acquiring", "Fetch")
        .step(failed(refused()))
        .step(Event::Recovered)
        .step(Event::Demand)
        .shows("CoolingOff", "Refuse");
}
