//! Refused log-ins: a directory locks an account after some five of them within half an hour, and a
//! locked account is worse than a late session.

use std::time::Duration;

use tokio::time::Instant;

use super::super::policy::login_cooldown;
use super::super::store::Refusals;
use crate::clock::Timestamp;
use crate::vspc::grant::IssueError;

/// The refusals of one identity's log-ins in a row, with the same credentials.
#[derive(Debug, Default)]
pub(super) struct Tries {
    known: Refusals,
    last: Option<(Instant, IssueError)>,
    /// Tells the credentials.
    print: Option<u64>,
    was_learnt: bool,
}

impl Tries {
    /// Takes over what the store knows from before the start.
    pub(super) fn learn(
        &mut self,
        print: Option<u64>,
        known: Refusals,
        wall: Timestamp,
        now: Instant,
    ) {
        if self.was_learnt {
            return;
        }
        self.was_learnt = true;
        let Some(last) = known.last.filter(|_| known.count > 0) else {
            return;
        };
        // A clock that was set back makes it a refusal of just now: too careful, never too bold.
        let ago = u64::try_from(wall.0.saturating_sub(last.0)).unwrap_or(0);
        let at = now.checked_sub(Duration::from_micros(ago)).unwrap_or(now);
        if Duration::from_micros(ago) < FORGOTTEN {
            self.known = known;
            self.print = print;
            self.last = Some((at, before_the_start()));
        }
    }

    /// Asks whether a log-in may be tried now.
    ///
    /// # Errors
    /// Says why not and until when.
    pub(super) fn begin(
        &mut self,
        print: Option<u64>,
        now: Instant,
    ) -> Result<Refusals, (IssueError, Instant)> {
        if self.print != print {
            self.forget();
            self.print = print;
        }
        if let (Some((last, error)), Some(before)) = (&self.last, self.known.count.checked_sub(1)) {
            let until = *last + login_cooldown(before);
            if now < until {
                return Err((error.clone(), until));
            }
        }
        Ok(self.known)
    }

    /// Takes note of a refusal. Says until when no log-in is tried.
    pub(super) fn refused(
        &mut self,
        print: Option<u64>,
        error: &IssueError,
        now: Instant,
    ) -> Instant {
        self.print = print;
        let wait = login_cooldown(self.known.count);
        self.known.count = self.known.count.saturating_add(1);
        self.last = Some((now, error.clone()));
        now + wait
    }

    /// Whether the last log-in was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.known.count > 0
    }

    /// Starts to count afresh.
    pub(super) fn forget(&mut self) {
        self.known = Refusals::default();
        self.last = None;
    }
}

impl Refusals {
    /// These and one of now.
    pub(super) fn and_one_more(self, now: Timestamp) -> Self {
        Self {
            count: self.count.saturating_add(1),
            last: Some(now),
        }
    }
}

/// The refusal itself is not known any more.
fn before_the_start() -> IssueError {
    IssueError::Refused {
        error: "refused".into(),
        description: "the last log-in before the start was refused or did not end".into(),
    }
}

const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> IssueError {
        before_the_start()
    }

    #[test]
    fn three_tries_and_then_one_in_fifteen_minutes_until_the_secret_changes() {
        let (mut tries, mut now) = (Tries::default(), Instant::now());
        let mut waits = vec![];
        for _ in 0..5 {
            assert!(tries.begin(Some(1), now).is_ok());
            let until = tries.refused(Some(1), &refused(), now);
            waits.push((until - now).as_secs());
            assert!(
                tries
                    .begin(Some(1), until - Duration::from_secs(1))
                    .is_err()
            );
            now = until;
        }
        assert_eq!(waits, [30, 60, 900, 900, 900]);
        let soon = now - Duration::from_secs(800);
        assert!(tries.begin(Some(1), soon).is_err());
        assert!(tries.begin(Some(2), soon).is_ok(), "the secret is another");
    }

    #[test]
    fn a_start_goes_on_where_the_process_before_ended() {
        let (now, wall) = (Instant::now(), Timestamp(1_000_000_000));
        let known = Refusals {
            count: 3,
            last: Some(Timestamp(wall.0 - 60_000_000)),
        };
        let after = |wall: Timestamp| {
            let mut tries = Tries::default();
            tries.learn(Some(1), known, wall, now);
            tries
                .begin(Some(1), now)
                .map_err(|(_, until)| (until - now).as_secs())
        };
        assert_eq!(after(wall), Err(840));
        assert_eq!(after(Timestamp(0)), Err(900), "the clock was set back");
        let days = Timestamp(wall.0 + 2 * 24 * 3_600_000_000);
        assert_eq!(after(days), Ok(Refusals::default()));
    }
}
