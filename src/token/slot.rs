//! What may happen to one token: a pure state machine.
//!
//! ```text
//! Empty ─demand─► Acquiring ─issued─► Held ─renewal due─► Renewing ─issued─► Held
//!                     │ failed          ▲ └─ rejected ─► Acquiring   │ failed: the token is
//!                     ▼                 └────────────────────────────┘ kept until its end
//!                CoolingOff ─until passed, demand─► Acquiring
//! ```
//!
//! A fetch is in flight exactly in `Acquiring` and `Renewing`, so there is never a second one.

mod moves;

use tokio::time::Instant;

use super::lease::Generation;
use super::policy::{Jitter, Life, RefreshPolicy, Setbacks, Span};
use super::survey::TokenState;
use crate::vspc::grant::IssueError;

/// The state of one token.
#[derive(Debug, Default)]
pub(super) enum Slot<V> {
    /// Nothing is held that may be served, and a fetch is in flight.
    Acquiring { fate: Fate, setbacks: Setbacks },
    /// The last fetch failed; nobody asks again before `until`.
    CoolingOff(Cooling),
    /// Nothing is known.
    #[default]
    Empty,
    /// A token is held and nothing is in flight.
    Held { held: Held<V>, renewal: Renewal },
    /// A token is held and the fetch of its successor is in flight.
    Renewing(Held<V>),
}

/// What is known of the failure of a fetch.
#[derive(Debug)]
pub(super) struct Cooling {
    /// Nothing was asked: what it needs was missing.
    blocked: bool,
    pub(super) error: IssueError,
    setbacks: Setbacks,
    since: Instant,
    pub(super) until: Instant,
}

/// A token and what is known of it.
#[derive(Debug)]
pub(super) struct Held<V> {
    generation: Generation,
    /// From here on a rejection has it replaced: before, a newer one would fare no better.
    forcible_at: Instant,
    life: Life,
    setbacks: Setbacks,
    value: V,
}

/// What may be told of a slot.
pub(super) struct SlotView<V> {
    pub(super) state: TokenState,
    pub(super) held: Option<HeldView<V>>,
    /// Why the last fetch failed, and when the next may start.
    pub(super) trouble: Option<(IssueError, Instant)>,
}

/// What may be told of a token that is held.
pub(super) struct HeldView<V> {
    pub(super) generation: Generation,
    pub(super) life: Life,
    pub(super) value: V,
}

/// What is to become of the result of a fetch.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was asked for before a `Drop`, and nobody waits for it.
    Discard,
    /// It was asked for before a `Drop`; somebody waits, so fetch once more.
    FetchAgain,
    /// It is wanted.
    Keep,
}

/// What will have a held token renewed.
#[derive(Debug)]
pub(super) enum Renewal {
    /// The last renewal failed; the next one comes after `until`.
    CoolingOff { error: IssueError, until: Instant },
    /// The timer found that nobody used it; the next request has it renewed.
    OnDemand,
    /// The timer.
    Timed,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event<V> {
    /// The fetch could not be tried before `until`, because what it needs is missing.
    Blocked { error: IssueError, until: Instant },
    /// A request needs the token.
    Demand,
    /// What is held, and what is being fetched, is no longer good.
    Drop,
    /// The fetch failed.
    Failed { error: IssueError, jitter: Jitter },
    /// The fetch succeeded.
    Issued {
        generation: Generation,
        jitter: Jitter,
        span: Span,
        value: V,
    },
    /// There is a reason to try again at once, whatever the last attempt taught.
    Pardon,
    /// The endpoint is well again, or what was missing is there: what that taught is forgotten.
    Recovered,
    /// The console rejected this token.
    Rejected(Generation),
    /// Somebody wants a newer one than this, while this one is still served.
    Renew(Generation),
    /// The timer has rung.
    RenewDue(Upkeep),
}

/// Whether a token is kept alive with no request waiting for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upkeep {
    /// Always.
    Always,
    /// As long as its last use is no longer ago than its lifetime.
    UsedAt(Instant),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect<V> {
    /// Start a fetch; whoever asked waits for it.
    Fetch,
    /// Tell whoever asked that there is no token before `until`.
    Refuse { error: IssueError, until: Instant },
    /// Nothing.
    Rest,
    /// Hand this out.
    Serve(V),
    /// Hand this out and start a fetch behind it.
    ServeAndFetch(V),
    /// Wait for the fetch that is in flight.
    Wait,
}

/// When the slot wants to hear `RenewDue` next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Timer {
    /// A renewal that may come as early as `not_before`, to spread many of them.
    Paced {
        due: Instant,
        lifetime: std::time::Duration,
        not_before: Instant,
    },
    /// Exactly then.
    Plain(Instant),
}

impl Timer {
    pub(super) fn due(&self) -> Instant {
        match self {
            Self::Paced { due, .. } | Self::Plain(due) => *due,
        }
    }
}

impl<V: Clone> Slot<V> {
    /// Takes the slot on by one event.
    pub(super) fn step(
        self,
        event: Event<V>,
        now: Instant,
        policy: &RefreshPolicy,
    ) -> (Self, Effect<V>) {
        match self {
            Self::Acquiring { fate, setbacks } => {
                moves::acquiring(fate, setbacks, event, now, policy)
            }
            Self::CoolingOff(cooling) => moves::cooling_off(cooling, &event, now, policy),
            Self::Empty => match event {
                Event::Demand | Event::Renew(_) => moves::acquire(Setbacks::default()),
                _ => (Self::Empty, Effect::Rest),
            },
            Self::Held { held, renewal } => match event {
                Event::Demand => moves::demand(held, renewal, now),
                Event::Drop => (Self::Empty, Effect::Rest),
                Event::Pardon => moves::pardon(held, renewal),
                Event::Recovered => moves::recovered(held, renewal),
                Event::Renew(generation) => moves::renew(held, renewal, generation, now),
                Event::Rejected(generation) if held.takes(generation, now) => {
                    moves::replace(&held, renewal, now)
                }
                Event::RenewDue(upkeep) => moves::renew_due(held, renewal, upkeep, now),
                _ => (Self::Held { held, renewal }, Effect::Rest),
            },
            Self::Renewing(held) => moves::renewing(held, event, now, policy),
        }
    }

    /// What may be handed out without asking the slot, and until when.
    pub(super) fn servable(&self) -> Option<(&V, Generation, Instant)> {
        let (held, until) = match self {
            Self::Acquiring { .. } | Self::CoolingOff(_) | Self::Empty => return None,
            Self::Held { held, renewal } => (held, held.wake_at(renewal)),
            Self::Renewing(held) => (held, held.life.starts_until),
        };
        Some((
            &held.value,
            held.generation,
            until.min(held.life.starts_until),
        ))
    }

    /// Whether the last fetch failed, and nothing is held.
    pub(super) fn is_cooling(&self) -> bool {
        matches!(self, Self::CoolingOff(_))
    }

    /// Whether a fetch is in flight.
    pub(super) fn is_flying(&self) -> bool {
        matches!(self, Self::Acquiring { .. } | Self::Renewing(_))
    }

    /// Whether a fetch failed for an illness of the endpoint that was over at `recovered`.
    pub(super) fn is_ill_since(&self, recovered: Option<Instant>) -> bool {
        match self {
            Self::CoolingOff(cooling) => {
                let is_over = recovered.is_some_and(|recovered| cooling.since <= recovered);
                (cooling.blocked || cooling.error.is_outage()) && is_over
            }
            _ => false,
        }
    }

    /// When the token that is held is no longer handed out.
    pub(super) fn serves_until(&self) -> Option<Instant> {
        match self {
            Self::Acquiring { .. } | Self::CoolingOff(_) | Self::Empty => None,
            Self::Held { held, .. } | Self::Renewing(held) => Some(held.life.starts_until),
        }
    }

    /// What may be told of the slot.
    pub(super) fn view(&self) -> SlotView<V> {
        let (state, held, trouble) = match self {
            Self::Acquiring { .. } => (TokenState::Acquiring, None, None),
            Self::CoolingOff(Cooling { error, until, .. }) => {
                (TokenState::CoolingOff, None, Some((error, *until)))
            }
            Self::Empty => (TokenState::Empty, None, None),
            Self::Held { held, renewal } => {
                let trouble = match renewal {
                    Renewal::CoolingOff { error, until } => Some((error, *until)),
                    Renewal::OnDemand | Renewal::Timed => None,
                };
                (TokenState::Held, Some(held), trouble)
            }
            Self::Renewing(held) => (TokenState::Renewing, Some(held), None),
        };
        SlotView {
            state,
            held: held.map(|held| HeldView {
                generation: held.generation,
                life: held.life,
                value: held.value.clone(),
            }),
            trouble: trouble.map(|(error, until)| (error.clone(), until)),
        }
    }

    /// When the slot wants to hear `RenewDue` next.
    pub(super) fn timer(&self, upkeep: Upkeep, policy: &RefreshPolicy) -> Option<Timer> {
        match (self, upkeep) {
            (Self::Acquiring { .. } | Self::Empty | Self::Renewing(_), _) => None,
            (Self::CoolingOff(cooling), Upkeep::Always) => Some(Timer::Plain(cooling.until)),
            (Self::CoolingOff(cooling), Upkeep::UsedAt(_)) => {
                Some(Timer::Plain(cooling.until + policy.forget_after()))
            }
            (Self::Held { held, renewal }, upkeep) => {
                let life = &held.life;
                let (due, not_before) = match renewal {
                    Renewal::CoolingOff { until, .. } => (*until, *until),
                    Renewal::OnDemand => return Some(Timer::Plain(life.starts_until)),
                    Renewal::Timed => (life.renew_at, life.early_at),
                };
                Some(match upkeep {
                    // However short it lives: nobody may be asking for it.
                    Upkeep::Always => Timer::Plain(due.max(held.forcible_at + LEAST_GAP)),
                    Upkeep::UsedAt(_) => Timer::Paced {
                        due,
                        lifetime: life.lifetime,
                        not_before,
                    },
                })
            }
        }
    }
}

impl<V> Held<V> {
    /// Whether a rejection of `generation` is to have this token replaced: not when it means an
    /// older one, and not when this one is so young that a newer one would fare no better.
    fn takes(&self, generation: Generation, now: Instant) -> bool {
        generation == self.generation && now >= self.forcible_at
    }

    /// From when on a request has the token renewed.
    fn wake_at(&self, renewal: &Renewal) -> Instant {
        match renewal {
            Renewal::CoolingOff { until, .. } => self.life.overdue_at.max(*until),
            Renewal::OnDemand => self.life.renew_at,
            Renewal::Timed => self.life.overdue_at,
        }
    }
}

/// Between two renewals of what is always kept.
const LEAST_GAP: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests;
