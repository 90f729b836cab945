//! So many in a time.

use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use tokio::time::Instant;

/// How many there may be in a time, and how many at once after a rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate(Quota);

impl Rate {
    /// A rate of `count` in each `span`; after a rest as many at once as in one second, one at
    /// least. None where that is more than one in a nanosecond.
    pub fn new(count: NonZeroU32, span: Duration) -> Option<Self> {
        let interval = span / count.get();
        let quota = Quota::with_period(interval)?;
        let burst = u32::try_from(SECOND.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Some(Self(quota.allow_burst(burst)))
    }

    /// The same, with another number at once after a rest.
    #[must_use]
    pub fn with_burst(self, burst: NonZeroU32) -> Self {
        Self(self.0.allow_burst(burst))
    }

    /// After how much time one more may be.
    pub(super) fn interval(self) -> Duration {
        self.0.replenish_interval()
    }

    pub(super) fn quota(self) -> Quota {
        self.0
    }
}

/// tokio's time, which tests can stop.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tokio;

/// A moment of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(Instant);

impl Clock for Tokio {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

const SECOND: Duration = Duration::from_secs(1);
