//! The transitions that take more than a line.

use tokio::time::Instant;

use super::super::lease::Generation;
use super::super::policy::{Jitter, RefreshPolicy, Setbacks, Span};
use super::{Cooling, Effect, Event, Fate, Held, Renewal, Slot, Upkeep};
use crate::vspc::grant::IssueError;

pub(super) fn acquiring<V: Clone>(
    fate: Fate,
    mut setbacks: Setbacks,
    event: Event<V>,
    now: Instant,
    policy: &RefreshPolicy,
) -> (Slot<V>, Effect<V>) {
    match event {
        Event::Blocked { error, until } => blocked(error, setbacks, now, until),
        Event::Demand | Event::Renew(_) => {
            let fate = match fate {
                Fate::Discard | Fate::FetchAgain => Fate::FetchAgain,
                Fate::Keep => Fate::Keep,
            };
            (Slot::Acquiring { fate, setbacks }, Effect::Wait)
        }
        Event::Drop => {
            // Whoever made this fetch start is still waiting for a token.
            let fate = match fate {
                Fate::Discard => Fate::Discard,
                Fate::FetchAgain | Fate::Keep => Fate::FetchAgain,
            };
            (Slot::Acquiring { fate, setbacks }, Effect::Rest)
        }
        Event::Failed { error, jitter } => {
            let until = now + policy.cooldown(&error, &mut setbacks, jitter);
            cool_off(error, setbacks, now, until)
        }
        Event::Issued {
            generation,
            jitter,
            span,
            value,
        } => match fate {
            Fate::Discard => (Slot::Empty, Effect::Rest),
            Fate::FetchAgain => acquire(setbacks),
            Fate::Keep => hold((generation, value), now, span, jitter, policy),
        },
        Event::Pardon | Event::Recovered | Event::Rejected(_) | Event::RenewDue(_) => {
            (Slot::Acquiring { fate, setbacks }, Effect::Rest)
        }
    }
}

pub(super) fn renewing<V: Clone>(
    mut held: Held<V>,
    event: Event<V>,
    now: Instant,
    policy: &RefreshPolicy,
) -> (Slot<V>, Effect<V>) {
    let serves = now < held.life.starts_until;
    let waiting = |setbacks| Slot::Acquiring {
        fate: Fate::Keep,
        setbacks,
    };
    match event {
        Event::Demand if serves => {
            let value = held.value.clone();
            (Slot::Renewing(held), Effect::Serve(value))
        }
        Event::Demand => (waiting(held.setbacks), Effect::Wait),
        Event::Drop => (
            Slot::Acquiring {
                fate: Fate::Discard,
                setbacks: held.setbacks,
            },
            Effect::Rest,
        ),
        Event::Issued {
            generation,
            jitter,
            span,
            value,
        } => hold((generation, value), now, span, jitter, policy),
        Event::Rejected(generation) if held.takes(generation, now) => {
            (waiting(held.setbacks), Effect::Rest)
        }
        Event::Pardon | Event::Recovered | Event::Rejected(_) | Event::RenewDue(_) => {
            (Slot::Renewing(held), Effect::Rest)
        }
        // What is awaited is in flight already.
        Event::Renew(_) => (Slot::Renewing(held), Effect::Wait),
        Event::Blocked { error, until } if serves => keep(held, error, until),
        Event::Blocked { error, until } => blocked(error, held.setbacks, now, until),
        Event::Failed { error, jitter } => {
            let until = now + policy.cooldown(&error, &mut held.setbacks, jitter);
            if serves {
                return keep(held, error, until);
            }
            cool_off(error, held.setbacks, now, until)
        }
    }
}

/// Goes on with a token whose renewal failed; whoever wanted the new one is told why.
fn keep<V>(held: Held<V>, error: IssueError, until: Instant) -> (Slot<V>, Effect<V>) {
    let refusal = Effect::Refuse {
        error: error.clone(),
        until,
    };
    let renewal = Renewal::CoolingOff { error, until };
    (Slot::Held { held, renewal }, refusal)
}

/// The last fetch failed, and `until` may not have come yet.
pub(super) fn cooling_off<V>(
    cooling: Cooling,
    event: &Event<V>,
    now: Instant,
    policy: &RefreshPolicy,
) -> (Slot<V>, Effect<V>) {
    let until = cooling.until;
    match event {
        Event::Demand | Event::Renew(_) if now < until => {
            let error = cooling.error.clone();
            (Slot::CoolingOff(cooling), Effect::Refuse { error, until })
        }
        Event::Demand | Event::Renew(_) => acquire(cooling.setbacks),
        Event::Drop | Event::Pardon => (Slot::Empty, Effect::Rest),
        Event::Recovered if cooling.blocked || cooling.error.is_outage() => {
            (Slot::Empty, Effect::Rest)
        }
        Event::RenewDue(Upkeep::Always) if now >= until => acquire(cooling.setbacks),
        Event::RenewDue(Upkeep::UsedAt(_)) if now >= until + policy.forget_after() => {
            (Slot::Empty, Effect::Rest)
        }
        _ => (Slot::CoolingOff(cooling), Effect::Rest),
    }
}

/// Somebody wants a newer token than `generation`, and waits for it.
pub(super) fn renew<V: Clone>(
    held: Held<V>,
    renewal: Renewal,
    generation: Generation,
    now: Instant,
) -> (Slot<V>, Effect<V>) {
    if now >= held.life.starts_until {
        return replace(&held, renewal, now);
    }
    if generation != held.generation {
        let value = held.value.clone();
        return (Slot::Held { held, renewal }, Effect::Serve(value));
    }
    match renewal {
        Renewal::CoolingOff { error, until } if now < until => keep(held, error, until),
        _ => (Slot::Renewing(held), Effect::Fetch),
    }
}

/// There is a reason to renew it at once.
pub(super) fn pardon<V>(held: Held<V>, renewal: Renewal) -> (Slot<V>, Effect<V>) {
    let renewal = match renewal {
        Renewal::CoolingOff { .. } => Renewal::Timed,
        other => other,
    };
    (Slot::Held { held, renewal }, Effect::Rest)
}

/// The endpoint is well again: a renewal that its illness put off comes when it is due.
pub(super) fn recovered<V>(held: Held<V>, renewal: Renewal) -> (Slot<V>, Effect<V>) {
    let renewal = match renewal {
        Renewal::CoolingOff { error, .. } if error.is_outage() => Renewal::Timed,
        other => other,
    };
    (Slot::Held { held, renewal }, Effect::Rest)
}

pub(super) fn demand<V: Clone>(
    held: Held<V>,
    renewal: Renewal,
    now: Instant,
) -> (Slot<V>, Effect<V>) {
    if now >= held.life.starts_until {
        return replace(&held, renewal, now);
    }
    let value = held.value.clone();
    if now < held.wake_at(&renewal) {
        return (Slot::Held { held, renewal }, Effect::Serve(value));
    }
    (Slot::Renewing(held), Effect::ServeAndFetch(value))
}

pub(super) fn renew_due<V>(
    held: Held<V>,
    renewal: Renewal,
    upkeep: Upkeep,
    now: Instant,
) -> (Slot<V>, Effect<V>) {
    let wanted = match upkeep {
        Upkeep::Always => true,
        Upkeep::UsedAt(at) => now.saturating_duration_since(at) <= held.life.lifetime,
    };
    if now >= held.life.starts_until {
        return match upkeep {
            Upkeep::Always => replace(&held, renewal, now),
            Upkeep::UsedAt(_) => (Slot::Empty, Effect::Rest),
        };
    }
    let due = match &renewal {
        Renewal::CoolingOff { until, .. } => now >= *until,
        Renewal::OnDemand => false,
        Renewal::Timed => now >= held.life.early_at,
    };
    match (due, wanted) {
        (false, _) => (Slot::Held { held, renewal }, Effect::Rest),
        (true, false) => (
            Slot::Held {
                held,
                renewal: Renewal::OnDemand,
            },
            Effect::Rest,
        ),
        (true, true) => (Slot::Renewing(held), Effect::Fetch),
    }
}

/// Gives up a token that may not be served and fetches another, unless that has to wait.
pub(super) fn replace<V>(held: &Held<V>, renewal: Renewal, now: Instant) -> (Slot<V>, Effect<V>) {
    match renewal {
        Renewal::CoolingOff { error, until } if now < until => {
            cool_off(error, held.setbacks, now, until)
        }
        Renewal::CoolingOff { .. } | Renewal::OnDemand | Renewal::Timed => acquire(held.setbacks),
    }
}

pub(super) fn acquire<V>(setbacks: Setbacks) -> (Slot<V>, Effect<V>) {
    (
        Slot::Acquiring {
            fate: Fate::Keep,
            setbacks,
        },
        Effect::Fetch,
    )
}

/// As [`cool_off`], where nothing was asked.
fn blocked<V>(
    error: IssueError,
    setbacks: Setbacks,
    since: Instant,
    until: Instant,
) -> (Slot<V>, Effect<V>) {
    let (mut slot, effect) = cool_off(error, setbacks, since, until);
    if let Slot::CoolingOff(cooling) = &mut slot {
        cooling.blocked = true;
    }
    (slot, effect)
}

fn cool_off<V>(
    error: IssueError,
    setbacks: Setbacks,
    since: Instant,
    until: Instant,
) -> (Slot<V>, Effect<V>) {
    let refusal = Effect::Refuse {
        error: error.clone(),
        until,
    };
    (
        Slot::CoolingOff(Cooling {
            blocked: false,
            error,
            setbacks,
            since,
            until,
        }),
        refusal,
    )
}

fn hold<V: Clone>(
    (generation, value): (Generation, V),
    now: Instant,
    span: Span,
    jitter: Jitter,
    policy: &RefreshPolicy,
) -> (Slot<V>, Effect<V>) {
    let life = policy.life(now, span, jitter);
    let setbacks = Setbacks::default();
    let served = value.clone();
    let held = Held {
        forcible_at: now + policy.forced_gap().saturating_sub(span.age),
        generation,
        life,
        setbacks,
        value,
    };
    (
        Slot::Held {
            held,
            renewal: Renewal::Timed,
        },
        Effect::Serve(served),
    )
}
