//! How often operators may have tokens renewed: a script that goes wrong must not lock the gateway's
//! account out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Name, Picked};

/// Counts renewals by hand: one token at most once in ten seconds, a session that is dropped and so
/// costs a log-in once in a minute, and ten a minute in all.
#[derive(Default)]
pub struct RenewalLimit(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// Until when each is to be left alone.
    rest: HashMap<Name, Instant>,
    recent: VecDeque<Instant>,
}

impl RenewalLimit {
    /// Counts a renewal of what was picked.
    ///
    /// # Errors
    /// Says when it makes sense to ask again. Nothing is counted then.
    pub fn renewal(&self, picked: &Picked) -> Result<(), Duration> {
        self.take(picked, SAME)
    }

    /// Counts a log-in, for the session that is to be dropped.
    ///
    /// # Errors
    /// As [`RenewalLimit::renewal`].
    pub fn login(&self, picked: &Picked) -> Result<(), Duration> {
        self.take(picked, LOGIN)
    }

    fn take(&self, picked: &Picked, rest: Duration) -> Result<(), Duration> {
        let now = Instant::now();
        let mut counted = self.0.lock();
        counted.rest.retain(|_, until| now < *until);
        let is_past = |at: &Instant| now >= *at + WINDOW;
        while counted.recent.front().is_some_and(is_past) {
            counted.recent.pop_front();
        }
        let resting = picked.names().filter_map(|name| counted.rest.get(&name));
        if let Some(until) = resting.max() {
            return Err(*until - now);
        }
        // One that picks more than there may be at once is let through when there was none before.
        let room = MOST.saturating_sub(counted.recent.len());
        if picked.len() > room && !counted.recent.is_empty() {
            let first = counted.recent.front().copied().unwrap_or(now);
            return Err(first + WINDOW - now);
        }
        for name in picked.names() {
            counted.rest.insert(name, now + rest);
            counted.recent.push_back(now);
        }
        Ok(())
    }
}

impl fmt::Debug for RenewalLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewalLimit").finish_non_exhaustive()
    }
}

const SAME: Duration = Duration::from_secs(10);
const LOGIN: Duration = Duration::from_secs(60);
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
