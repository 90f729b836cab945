//! The transitions that take more than a line.

use tokio::time::Instant;

use super::super::lease::Generation;
use super::super::policy::{Life, RefreshPolicy, Setbacks};
use super::{Effect, Event, Fate, Held, Renewal, Slot, Upkeep};
use crate::vspc::grant::IssueError;

pub(super) fn acquiring<V: Clone>(
    fate: Fate,
    mut setbacks: Setbacks,
    event: Event<V>,
    now: Instant,
    policy: &RefreshPolicy,
) -> (Slot<V>, Effect<V>) {
    match event {
        Event::Blocked { error, until } => cool_off(error, setbacks, until),
        Event::Demand => {
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
            cool_off(error, setbacks, until)
        }
        Event::Issued {
            generation,
            jitter,
            lifetime,
            value,
        } => match fate {
            Fate::Discard => (Slot::Empty, Effect::Rest),
            Fate::FetchAgain => acquire(setbacks),
            Fate::Keep => {
                let life = policy.life(now, lifetime, jitter);
                hold(value, generation, now, life)
            }
        },
        Event::Forced | Event::Rejected(_) | Event::RenewDue(_) => {
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
            lifetime,
            value,
        } => hold(value, generation, now, policy.life(now, lifetime, jitter)),
        Event::Rejected(generation) if held.takes(generation, now, policy) => {
            (waiting(held.setbacks), Effect::Rest)
        }
        Event::Forced | Event::Rejected(_) | Event::RenewDue(_) => {
            (Slot::Renewing(held), Effect::Rest)
        }
        Event::Blocked { error, until } if serves => {
            let renewal = Renewal::CoolingOff { error, until };
            (Slot::Held { held, renewal }, Effect::Rest)
        }
        Event::Blocked { error, until } => cool_off(error, held.setbacks, until),
        Event::Failed { error, jitter } => {
            let until = now + policy.cooldown(&error, &mut held.setbacks, jitter);
            if serves {
                let renewal = Renewal::CoolingOff { error, until };
                return (Slot::Held { held, renewal }, Effect::Rest);
            }
            cool_off(error, held.setbacks, until)
        }
    }
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

/// Renews a token that an operator wants renewed; it is served meanwhile. What cools off still does.
pub(super) fn force<V>(held: Held<V>, renewal: Renewal, now: Instant) -> (Slot<V>, Effect<V>) {
    match renewal {
        Renewal::CoolingOff { until, .. } if now < until => {
            (Slot::Held { held, renewal }, Effect::Rest)
        }
        _ if now < held.life.starts_until => (Slot::Renewing(held), Effect::Fetch),
        renewal => replace(&held, renewal, now),
    }
}

/// Gives up a token that may not be served and fetches another, unless that has to wait.
pub(super) fn replace<V>(held: &Held<V>, renewal: Renewal, now: Instant) -> (Slot<V>, Effect<V>) {
    match renewal {
        Renewal::CoolingOff { error, until } if now < until => {
            cool_off(error, held.setbacks, until)
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

fn cool_off<V>(error: IssueError, setbacks: Setbacks, until: Instant) -> (Slot<V>, Effect<V>) {
    let refusal = Effect::Refuse {
        error: error.clone(),
        until,
    };
    (
        Slot::CoolingOff {
            error,
            setbacks,
            until,
        },
        refusal,
    )
}

fn hold<V: Clone>(
    value: V,
    generation: Generation,
    issued: Instant,
    life: Life,
) -> (Slot<V>, Effect<V>) {
    let setbacks = Setbacks::default();
    let served = value.clone();
    let held = Held {
        generation,
        issued,
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
