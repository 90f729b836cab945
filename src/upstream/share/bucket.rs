//! So many in a second, and when the next one may be.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// How many requests may be sent in a time. After a rest as many go at once as in one second, one
/// at least.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// The time that one request uses up.
    interval: Duration,
    /// What may be used up beforehand.
    tolerance: Duration,
}

impl Rate {
    /// A rate of `count` requests in each `span`; none where that is more than one in a nanosecond.
    pub fn new(count: NonZeroU32, span: Duration) -> Option<Self> {
        let interval = span / count.get();
        if interval.is_zero() {
            return None;
        }
        Some(Self {
            interval,
            tolerance: SECOND.saturating_sub(interval),
        })
    }

    /// Whether this is more in the same time than another.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.interval < other.interval
    }
}

/// What was used of a rate: the generic cell rate algorithm, which keeps one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When all that was used will have come back.
    whole: Option<Instant>,
}

impl Bucket {
    /// When the next request may be sent; `None` when that was possible from the beginning.
    pub(super) fn opens(&self, rate: Option<Rate>) -> Option<Instant> {
        self.whole?.checked_sub(rate?.tolerance)
    }

    /// Uses up one request.
    pub(super) fn take(&mut self, rate: Option<Rate>, now: Instant) {
        if let Some(rate) = rate {
            let whole = self.whole.map_or(now, |whole| whole.max(now));
            self.whole = Some(whole + rate.interval);
        }
    }

    /// Whether nothing is known that matters from now on.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.whole.is_none_or(|whole| whole <= now)
    }
}

#[cfg(test)]
impl Rate {
    pub(super) fn per_second(&self) -> u32 {
        u32::try_from(SECOND.as_nanos() / self.interval.as_nanos()).unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, span: u64) -> Option<Rate> {
        Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(span))
    }

    /// How many of a hundred requests at one moment go through.
    fn at_once(bucket: &mut Bucket, rate: Option<Rate>, now: Instant) -> usize {
        (0..100)
            .filter(|_| {
                let open = bucket.opens(rate).is_none_or(|at| at <= now);
                if open {
                    bucket.take(rate, now);
                }
                open
            })
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_is_saved_up_at_most_and_comes_back_evenly() {
        for (rate, burst) in [(rate(10, 1), 10), (rate(600, 60), 10), (rate(6, 60), 1)] {
            let interval = rate.unwrap().interval;
            let mut bucket = Bucket::default();
            let mut now = Instant::now();
            assert_eq!(at_once(&mut bucket, rate, now), burst);
            now += interval - Duration::from_nanos(1);
            assert_eq!(at_once(&mut bucket, rate, now), 0);
            now += Duration::from_nanos(1);
            assert_eq!(at_once(&mut bucket, rate, now), 1);
            assert!(!bucket.is_whole(now));
            now += Duration::from_secs(3600);
            assert!(bucket.is_whole(now));
            assert_eq!(at_once(&mut bucket, rate, now), burst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_everything_goes() {
        let mut bucket = Bucket::default();
        assert_eq!(at_once(&mut bucket, None, Instant::now()), 100);
        assert!(bucket.is_whole(Instant::now()));
    }

    #[test]
    fn rates_compare_by_what_they_let_through() {
        assert!(rate(101, 1).unwrap().exceeds(&rate(6000, 60).unwrap()));
        assert!(!rate(100, 1).unwrap().exceeds(&rate(6000, 60).unwrap()));
        assert_eq!(rate(u32::MAX, 1), None);
    }
}
