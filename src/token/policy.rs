//! When tokens are renewed, how long they are served, and how long a failure keeps quiet.

use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::Instant;

use crate::vspc::Expected;
use crate::vspc::grant::IssueError;

/// The numbers that a [`RefreshPolicy`] is made from.
#[derive(Clone, Debug)]
pub struct RefreshSettings {
    /// What is expected of the answers of token endpoints.
    pub expected: Expected,
    /// A call to the token endpoint that takes longer is given up.
    pub call_limit: Duration,
    /// How long a failure is remembered after its cooldown, for the next one to be longer.
    pub forget_after: Duration,
    /// A token younger than this is not renewed because the console rejects it.
    pub forced_gap: Duration,
    /// How long a request waits for a token.
    pub follower_wait: Duration,
    /// Faults of a token endpoint in a row after which it is left alone.
    pub breaker_faults: u32,
    /// For how long.
    pub breaker_pause: Duration,
    /// Calls to the token endpoint of one console that are under way at once.
    pub calls_per_console: usize,
    /// Calls to all token endpoints that are under way at once.
    pub calls: usize,
    /// Refresh tokens live this long where they do not say themselves.
    pub chain_lifetime: Duration,
    /// A refresh token is exchanged after this part of its life, used or not.
    pub keep_alive_percent: u32,
    /// Whether an impersonated token may name the impersonator, as VSPC's own sample does.
    pub own_subject: bool,
    /// No answer of a console makes a token live longer than this.
    pub most_lifetime: Duration,
    /// Impersonated tokens that are kept at most, beside one for each tenant.
    pub spare_tokens: usize,
    /// A renewal starts up to this part of the lifetime earlier, at random.
    pub jitter_percent: u32,
    /// The pacer may start a renewal this part of the lifetime early.
    pub pacing_percent: u32,
    /// Cooldown after the first refusal; it doubles.
    pub refused_first: Duration,
    /// The longest cooldown after refusals.
    pub refused_most: Duration,
    /// A token is renewed from this part of its lifetime on.
    pub renew_percent: u32,
    /// No request starts with a token that ends within this time ...
    pub start_margin: Duration,
    /// ... or within this part of its lifetime, whichever is shorter.
    pub start_margin_percent: u32,
    /// Upper bound of the cooldown after the first outage; it doubles.
    pub unavailable_first: Duration,
    /// Upper bound of the longest cooldown after outages.
    pub unavailable_most: Duration,
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self {
            expected: Expected::default(),
            call_limit: Duration::from_secs(60),
            forget_after: Duration::from_secs(600),
            forced_gap: Duration::from_secs(5),
            follower_wait: Duration::from_secs(10),
            breaker_faults: 5,
            breaker_pause: Duration::from_secs(30),
            calls_per_console: 4,
            calls: 16,
            chain_lifetime: Duration::from_secs(48 * 60 * 60),
            keep_alive_percent: 50,
            most_lifetime: Duration::from_secs(24 * 60 * 60),
            own_subject: true,
            spare_tokens: 10_000,
            jitter_percent: 10,
            pacing_percent: 35,
            refused_first: Duration::from_secs(30),
            refused_most: Duration::from_secs(600),
            renew_percent: 75,
            start_margin: Duration::from_secs(30),
            start_margin_percent: 10,
            unavailable_first: Duration::from_secs(1),
            unavailable_most: Duration::from_secs(300),
        }
    }
}

/// When tokens are renewed, how long they are served, and how long a failure keeps quiet.
#[derive(Clone, Debug, Default)]
pub struct RefreshPolicy(RefreshSettings);

/// Why settings make no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// One answer may take longer than all of a call.
    #[error("answer_timeout must not be longer than call_timeout")]
    Answer,
    /// A cooldown is zero, or its first value is above its last.
    #[error("a cooldown must be above zero and start below its maximum")]
    Cooldown,
    /// The parts of a lifetime do not follow one another.
    #[error(
        "renew_percent and keep_alive_percent must be below 100 less margin_percent, and above \
         jitter_percent (and early_percent)"
    )]
    Order,
    /// A time is beyond all reason.
    #[error("no time may be longer than a year")]
    TooLong,
    /// A number is beyond all reason.
    #[error("no more than 4,096 calls at once, and ten million spare tokens")]
    TooMany,
    /// A limit of time is zero.
    #[error(
        "margin_percent, breaker_faults, calls, calls_per_console and all times but margin and \
         forced_gap must be above zero"
    )]
    Zero,
}

impl RefreshPolicy {
    /// Makes a policy.
    ///
    /// # Errors
    /// Names the rule that the settings break.
    pub fn try_new(settings: RefreshSettings) -> Result<Self, PolicyError> {
        let s = &settings;
        let latest = s.renew_percent.saturating_add(s.start_margin_percent);
        let earliest = s.jitter_percent.saturating_add(s.pacing_percent);
        let kept = s.keep_alive_percent.saturating_add(s.start_margin_percent);
        if latest >= 100 || earliest >= s.renew_percent {
            return Err(PolicyError::Order);
        }
        if kept >= 100 || s.jitter_percent >= s.keep_alive_percent {
            return Err(PolicyError::Order);
        }
        for (first, most) in [
            (s.refused_first, s.refused_most),
            (s.unavailable_first, s.unavailable_most),
        ] {
            if first.is_zero() || first > most {
                return Err(PolicyError::Cooldown);
            }
        }
        let times = [
            s.call_limit,
            s.expected.life,
            s.expected.within,
            s.follower_wait,
            s.breaker_pause,
            s.chain_lifetime,
            s.most_lifetime,
        ];
        let counts = [s.calls, s.calls_per_console, s.breaker_faults as usize];
        let long = [
            s.start_margin,
            s.forced_gap,
            s.refused_most,
            s.unavailable_most,
        ];
        if times.iter().chain(&long).any(|time| *time > YEAR) {
            return Err(PolicyError::TooLong);
        }
        if s.calls.max(s.calls_per_console) > 4096 || s.spare_tokens > 10_000_000 {
            return Err(PolicyError::TooMany);
        }
        if times.iter().any(Duration::is_zero) || counts.contains(&0) || s.start_margin_percent == 0
        {
            return Err(PolicyError::Zero);
        }
        if s.expected.within > s.call_limit {
            return Err(PolicyError::Answer);
        }
        Ok(Self(settings))
    }

    /// What is expected of the answers of token endpoints.
    pub fn expected(&self) -> Expected {
        self.0.expected
    }

    /// The numbers.
    pub(super) fn settings(&self) -> &RefreshSettings {
        &self.0
    }

    pub(super) fn call_limit(&self) -> Duration {
        self.0.call_limit
    }

    pub(super) fn follower_wait(&self) -> Duration {
        self.0.follower_wait
    }

    pub(super) fn forced_gap(&self) -> Duration {
        self.0.forced_gap
    }

    pub(super) fn forget_after(&self) -> Duration {
        self.0.forget_after
    }

    /// Whether a refresh token that was not replaced by its exchange is so near its end that there
    /// is to be a log-in.
    pub(super) fn is_ending(&self, span: Span) -> bool {
        let from = TAIL_PERCENT.saturating_sub(self.0.jitter_percent);
        span.kind == SpanKind::Tail && span.age >= span.lifetime * from / 100
    }

    /// No request starts with a token that has less than this left.
    pub(super) fn margin(&self, lifetime: Duration) -> Duration {
        let part = lifetime * self.0.start_margin_percent / 100;
        self.0.start_margin.min(part)
    }

    /// The turning points in the life of a token that was received at `now`.
    pub(super) fn life(&self, now: Instant, span: Span, jitter: Jitter) -> Life {
        let Span {
            age,
            kind,
            lifetime,
        } = span;
        let part = |percent: u32| lifetime * percent / 100;
        let at = |point: Duration| now + point.saturating_sub(age);
        let margin = self.margin(lifetime);
        let renew_percent = match kind {
            SpanKind::Chain => self.0.keep_alive_percent,
            SpanKind::Tail => TAIL_PERCENT,
            SpanKind::Token => self.0.renew_percent,
        };
        let renew = part(renew_percent).saturating_sub(jitter.of(part(self.0.jitter_percent)));
        let starts_until = at(lifetime.saturating_sub(margin));
        let renew_at = at(renew);
        Life {
            dead_at: at(lifetime),
            early_at: at(renew.saturating_sub(part(self.0.pacing_percent))),
            lifetime,
            overdue_at: renew_at + starts_until.saturating_duration_since(renew_at) / 2,
            renew_at,
            starts_until,
        }
    }

    /// How long to keep quiet after `error`, which is counted in `setbacks`.
    pub(super) fn cooldown(
        &self,
        error: &IssueError,
        setbacks: &mut Setbacks,
        jitter: Jitter,
    ) -> Duration {
        match error {
            IssueError::Challenge(_)
            | IssueError::Refused { .. }
            | IssueError::WrongSubject { .. } => {
                let wait = doubled(self.0.refused_first, setbacks.refused, self.0.refused_most);
                setbacks.refused = setbacks.refused.saturating_add(1);
                wait
            }
            IssueError::Malformed(_) | IssueError::Unavailable(_) => {
                let bound = doubled(
                    self.0.unavailable_first,
                    setbacks.outages,
                    self.0.unavailable_most,
                );
                setbacks.outages = setbacks.outages.saturating_add(1);
                jitter.of(bound).max(LEAST_COOLDOWN.min(bound))
            }
            IssueError::NextCode { retry_after } | IssueError::Throttled { retry_after } => {
                (*retry_after).max(LEAST_COOLDOWN)
            }
        }
    }
}

/// How long a login rests that was refused for the first time after `before` refusals in a row: 30
/// and 60 seconds, since somebody may just be changing the password, then 15 minutes. Directories
/// lock an account after some five refusals within half an hour, and a locked account is worse than
/// a late one.
pub(super) fn login_cooldown(before: u32) -> Duration {
    Duration::from_secs(match before {
        0 => 30,
        1 => 60,
        _ => 15 * 60,
    })
}

/// How long something lives that was obtained, or found in the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// How much of it was over on receipt.
    pub(super) age: Duration,
    pub(super) kind: SpanKind,
    /// The whole of it.
    pub(super) lifetime: Duration,
}

/// What it is that lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SpanKind {
    /// A refresh token, which is exchanged long before its end, or the session is lost.
    Chain,
    /// A refresh token that was exchanged and not replaced: it may end when it would have.
    Tail,
    /// An access token.
    Token,
}

impl Span {
    /// Whether half of it is over.
    pub(super) fn is_half_over(&self) -> bool {
        self.age >= self.lifetime / 2
    }

    /// The life of an access token that was issued just now.
    pub(super) fn token(lifetime: Duration) -> Self {
        Self {
            age: Duration::ZERO,
            kind: SpanKind::Token,
            lifetime,
        }
    }
}

/// The turning points in the life of one token, in the order in which they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// From here on the pacer may renew it.
    pub(super) early_at: Instant,
    /// Here the timer renews it.
    pub(super) renew_at: Instant,
    /// From here on the next request has it renewed, whatever became of the timer.
    pub(super) overdue_at: Instant,
    /// From here on no request starts with it.
    pub(super) starts_until: Instant,
    /// The console takes it no longer.
    pub(super) dead_at: Instant,
    /// The whole of it.
    pub(super) lifetime: Duration,
}

/// Failures since the last success. An outage between two refusals does not make the second one
/// the first: a password must not be tried more often because the endpoint is also ill.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Setbacks {
    outages: u32,
    refused: u32,
}

/// A part of a whole, drawn at random by the caller so that what uses it stays pure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(pub(super) u16);

impl Jitter {
    pub(super) fn draw() -> Self {
        let mut bytes = [0; 2];
        // Without randomness all draws are equal, which spreads nothing and breaks nothing.
        if rand::fill(&mut bytes).is_err() {
            return Self(u16::MAX / 2);
        }
        Self(u16::from_ne_bytes(bytes))
    }

    /// That part of `whole`, from nothing to just under all of it.
    fn of(self, whole: Duration) -> Duration {
        whole * u32::from(self.0) / 65_536
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// After this part of its life a refresh token is given up that no exchange replaces.
const TAIL_PERCENT: u32 = 80;
/// Full jitter may draw nothing at all; an endpoint that is ill still gets a breath.
const LEAST_COOLDOWN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vspc::grant::Outage;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_turning_points_of_an_hour() {
        let (policy, now) = (RefreshPolicy::default(), Instant::now());
        let after = |at: Instant| (at - now).as_secs();
        let life = policy.life(now, Span::token(HOUR), Jitter(0));
        assert_eq!(after(life.renew_at), 2700);
        assert_eq!(after(life.early_at), 1440);
        assert_eq!(after(life.starts_until), 3570);
        assert_eq!(after(life.overdue_at), 3135);
        let earliest = policy.life(now, Span::token(HOUR), Jitter(u16::MAX));
        assert_eq!(after(earliest.renew_at), 2340);
    }

    #[test]
    fn what_was_found_in_the_store_has_aged() {
        let (policy, now) = (RefreshPolicy::default(), Instant::now());
        let aged = |age| {
            let span = Span {
                age: Duration::from_secs(age),
                ..Span::token(HOUR)
            };
            let life = policy.life(now, span, Jitter(0));
            [life.renew_at, life.starts_until].map(|at| (at - now).as_secs())
        };
        assert_eq!(aged(600), [2100, 2970]);
        assert_eq!(aged(3000), [0, 570]);
        assert_eq!(aged(9000), [0, 0]);
    }

    #[test]
    fn a_refresh_token_is_exchanged_at_half_its_life() {
        let (policy, now) = (RefreshPolicy::default(), Instant::now());
        let span = Span {
            kind: SpanKind::Chain,
            ..Span::token(48 * HOUR)
        };
        let life = policy.life(now, span, Jitter(0));
        assert_eq!(life.renew_at - now, 24 * HOUR);
        assert_eq!(life.starts_until - now, 48 * HOUR - Duration::from_secs(30));
    }

    #[test]
    fn a_short_life_keeps_a_tenth_as_margin() {
        let (policy, now) = (RefreshPolicy::default(), Instant::now());
        let life = policy.life(now, Span::token(Duration::from_secs(10)), Jitter(0));
        assert_eq!(life.starts_until - now, Duration::from_secs(9));
    }

    #[test]
    fn refusals_cool_off_doubling_and_outages_do_not_restart_them() {
        let policy = RefreshPolicy::default();
        let mut setbacks = Setbacks::default();
        let refused = IssueError::Refused {
            error: "e".into(),
            description: "".into(),
        };
        let outage = IssueError::Unavailable(Outage::Connection("refused".into()));
        let mut cool = |error| policy.cooldown(error, &mut setbacks, Jitter(0)).as_millis();
        assert_eq!(cool(&refused), 30_000);
        assert_eq!(cool(&outage), 100);
        let waits: Vec<_> = (0..6).map(|_| cool(&refused)).collect();
        assert_eq!(waits, [60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
    }

    #[test]
    fn outages_double_under_full_jitter_to_five_minutes() {
        let policy = RefreshPolicy::default();
        let mut setbacks = Setbacks::default();
        let ill = IssueError::Malformed("x");
        let waits: Vec<_> = (0..40)
            .map(|_| {
                policy
                    .cooldown(&ill, &mut setbacks, Jitter(32_768))
                    .as_millis()
            })
            .collect();
        assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
        assert_eq!(waits[39], 150_000);
    }

    #[test]
    fn settings_that_contradict_themselves_make_no_policy() {
        let with = |change: fn(&mut RefreshSettings)| {
            let mut settings = RefreshSettings::default();
            change(&mut settings);
            RefreshPolicy::try_new(settings).err()
        };
        assert_eq!(with(|_| ()), None);
        assert_eq!(with(|s| s.renew_percent = 90), Some(PolicyError::Order));
        assert_eq!(with(|s| s.jitter_percent = 40), Some(PolicyError::Order));
        assert_eq!(
            with(|s| s.refused_first = Duration::ZERO),
            Some(PolicyError::Cooldown)
        );
        assert_eq!(
            with(|s| s.unavailable_most = Duration::ZERO),
            Some(PolicyError::Cooldown)
        );
        assert_eq!(
            with(|s| s.follower_wait = Duration::ZERO),
            Some(PolicyError::Zero)
        );
        assert_eq!(
            with(|s| s.expected.within = s.call_limit + Duration::from_secs(1)),
            Some(PolicyError::Answer)
        );
        assert_eq!(with(|s| s.calls = 0), Some(PolicyError::Zero));
        assert_eq!(with(|s| s.calls = 5000), Some(PolicyError::TooMany));
        assert_eq!(
            with(|s| s.most_lifetime = Duration::MAX),
            Some(PolicyError::TooLong)
        );
        assert_eq!(
            with(|s| s.keep_alive_percent = 95),
            Some(PolicyError::Order)
        );
    }
}
