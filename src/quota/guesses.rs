//! How often a source may fail to say who it is.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Source;
use super::rate::{Moment, Rate, Tokio};

/// The credentials that were wrong of late, by where they came from, and by the account that they
/// were tried on.
///
/// No more is remembered than 65,536 of them: who comes when there are so many shares the allowance
/// of all others who do, until some of those that are remembered have been quiet.
pub struct Guesses {
    rate: Rate,
    limiter: RateLimiter<Key, Book, Tokio, NoOpMiddleware<Moment>>,
    book: Book,
    names: RandomState,
}

/// A credential that is being tried, counted as a wrong one until it is known to be none, or nobody
/// will find out: then this is dropped.
#[derive(Debug)]
pub struct Attempt {
    book: Book,
    from: Option<Key>,
    at: Option<Key>,
    interval: Duration,
}

/// Whose guesses they are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key {
    /// Those from one source.
    From(Source),
    /// Those at one account, by a digest of its name.
    At(u64),
    /// Those for whom there is no room.
    Others,
}

impl Guesses {
    /// Nobody has guessed yet.
    pub fn new(rate: Rate) -> Self {
        let book = Book::default();
        Self {
            rate,
            limiter: RateLimiter::new(rate.quota(), book.clone(), Tokio),
            book,
            names: RandomState::default(),
        }
    }

    /// How many there may be.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts a wrong credential.
    ///
    /// # Errors
    /// Says when the source may try again, if there were too many.
    pub fn wrong(&self, from: IpAddr) -> Result<(), Duration> {
        self.count(Key::From(Source::of(from))).map(drop)
    }

    /// Counts a credential that is to be tried on an account, if it is known on which.
    ///
    /// # Errors
    /// Says when the next may be tried, if there were too many wrong ones: this one is not to be.
    pub fn attempt(&self, from: IpAddr, account: Option<&str>) -> Result<Attempt, Duration> {
        let mut attempt = Attempt {
            book: self.book.clone(),
            from: Some(self.count(Key::From(Source::of(from)))?),
            at: None,
            interval: self.rate.interval(),
        };
        if let Some(account) = account {
            let at = Key::At(self.names.hash_one(account.to_lowercase()));
            // Where this fails nothing is tried, and nothing is held against the source.
            attempt.at = Some(self.count(at)?);
        }
        Ok(attempt)
    }

    /// Counts one, and gives what it was counted under.
    fn count(&self, key: Key) -> Result<Key, Duration> {
        if self.book.is_due_for_a_sweep() {
            self.limiter.retain_recent();
            self.book.swept();
        }
        let key = self.book.room_for(key);
        self.limiter
            .check_key(&key)
            .map(|()| key)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.limiter.len()
    }
}

impl Attempt {
    /// It was one of the wrong ones.
    pub fn was_wrong(mut self) {
        (self.from, self.at) = (None, None);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for key in [self.from, self.at].into_iter().flatten() {
            self.book.give_back(key, self.interval);
        }
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guesses")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// When all that each has used will have come back, in time since the limiter was made.
#[derive(Clone, Debug, Default)]
struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    whole: HashMap<Key, Nanos, RandomState>,
    /// At how many those are forgotten that have used nothing of late.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl Book {
    /// A sweep is due when there are twice as many as after the last one, so that each costs little
    /// for each; once there is no room, from time to time.
    fn is_due_for_a_sweep(&self) -> bool {
        let pages = self.0.lock();
        let count = pages.whole.len();
        let is_early = pages.swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY);
        count >= pages.sweep_at.max(FEW) && !(count >= MOST && is_early)
    }

    fn swept(&self) {
        let mut pages = self.0.lock();
        pages.sweep_at = pages.whole.len().saturating_mul(2).min(MOST);
        pages.swept = Some(Instant::now());
    }

    fn room_for(&self, key: Key) -> Key {
        let pages = self.0.lock();
        let is_full = pages.whole.len() >= MOST && !pages.whole.contains_key(&key);
        if is_full { Key::Others } else { key }
    }

    fn give_back(&self, key: Key, time: Duration) {
        if let Some(whole) = self.0.lock().whole.get_mut(&key) {
            *whole = whole.saturating_sub(time.into());
        }
    }
}

impl StateStore for Book {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut pages = self.0.lock();
        let (result, whole) = measure(pages.whole.get(key).copied())?;
        pages.whole.insert(*key, whole);
        Ok(result)
    }
}

impl ShrinkableKeyedStateStore<Key> for Book {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut pages = self.0.lock();
        pages.whole.retain(|_, whole| *whole > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.0.lock().whole.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.lock().whole.len()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().whole.is_empty()
    }
}

/// So few are never swept.
const FEW: usize = 1024;

/// The most that are remembered, at some 50 bytes each.
const MOST: usize = 65_536;

/// How often at most, when there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn guesses(burst: u32) -> Guesses {
        let rate = Rate::new(NonZeroU32::new(60).unwrap(), Duration::from_secs(60)).unwrap();
        Guesses::new(rate.with_burst(NonZeroU32::new(burst).unwrap()))
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_guesses_too_often_is_told_when_to_come_again() {
        let guesses = guesses(3);
        let (one, other) = (address(1), address(2));
        for _ in 0..3 {
            assert_eq!(guesses.wrong(one), Ok(()));
        }
        assert_eq!(guesses.wrong(one), Err(Duration::from_secs(1)));
        assert!(guesses.attempt(one, None).is_err());
        assert_eq!(guesses.wrong(other), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(guesses.wrong(one), Ok(()));
        assert!(guesses.wrong(one).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_spared_whoever_guesses_and_however_it_is_spelled() {
        let guesses = guesses(3);
        for number in 0..3 {
            guesses
                .attempt(address(number), Some("Alice"))
                .unwrap()
                .was_wrong();
        }
        let other = address(9);
        assert!(guesses.attempt(other, Some("aLICE")).is_err());
        // What was not tried is not held against the source.
        for _ in 0..3 {
            guesses.attempt(other, Some("bob")).unwrap().was_wrong();
        }
        assert!(guesses.attempt(other, None).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_not_wrong_uses_nothing_up() {
        let guesses = guesses(1);
        for _ in 0..100 {
            let attempt = guesses.attempt(address(1), Some("alice")).unwrap();
            assert!(guesses.attempt(address(1), None).is_err(), "one at a time");
            drop(attempt);
        }
        let attempt = guesses.attempt(address(1), Some("alice")).unwrap();
        attempt.was_wrong();
        assert!(guesses.attempt(address(1), None).is_err());
        assert!(guesses.attempt(address(2), Some("alice")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_there_is_room_for_and_the_quiet_are_forgotten() {
        let guesses = guesses(2);
        let most = u32::try_from(MOST).unwrap();
        for number in 0..most {
            assert_eq!(guesses.wrong(address(number)), Ok(()));
        }
        // Those who come now share one allowance.
        let crowd = (most..most + 100).filter(|number| guesses.wrong(address(*number)).is_ok());
        assert_eq!(crowd.count(), 2);
        assert!(guesses.remembered() <= MOST + 1);
        assert_eq!(
            guesses.wrong(address(5)),
            Ok(()),
            "one who is known has its own"
        );
        tokio::time::advance(Duration::from_secs(3600)).await;
        for number in 0..2 * most {
            guesses.wrong(address(number / 100)).ok();
        }
        assert!(guesses.remembered() < MOST / 2, "{}", guesses.remembered());
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_room_nobody_pays_for_others() {
        let guesses = guesses(1);
        for round in 0..20 {
            for number in 0..10_000 {
                let from = address(round * 10_000 + number);
                assert_eq!(guesses.wrong(from), Ok(()), "{from}");
            }
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert!(guesses.remembered() <= MOST);
    }
}
