//! Log-ins that an account spent: a directory locks it after some five refusals within half an hour,
//! and a locked account is worse than a late session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::policy::login_cooldown;
use crate::clock::Timestamp;

/// The log-ins of one account that were refused, or may have been. One that goes well clears them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(in super::super) struct Ledger {
    /// The credentials that a log-in last went well with.
    #[serde(default)]
    proved: Option<u64>,
    #[serde(default)]
    spent: Vec<Spent>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Spent {
    /// In microseconds since 1970.
    at: i64,
    print: Option<u64>,
    end: End,
}

/// How a log-in ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum End {
    /// It is under way, in this process.
    Pending(Uuid),
    Refused,
    /// Nobody knows.
    Unclear,
}

/// Whether a log-in may be tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Entry {
    /// It may, and is written down. So many were refused before, in a row.
    Begun(u32),
    /// Another process is at it.
    Elsewhere,
    /// Not before so long.
    Wait(Duration),
}

/// What became of a log-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Came {
    /// A session.
    Well,
    /// A refusal.
    Refused,
    /// Nobody knows: the console may have looked at the secret.
    Unclear,
    /// Nothing was sent, or the console answered with an error of its own: no secret was looked at.
    Uncounted,
}

impl Ledger {
    /// Asks for a log-in. `patience` is how long one may take.
    ///
    /// Other credentials need not wait for the end of a pause, but all of them together are tried no
    /// more often than an account bears.
    pub(in super::super) fn begin(
        &mut self,
        print: Option<u64>,
        now: Timestamp,
        process: Uuid,
        patience: Duration,
    ) -> Entry {
        self.settle(now, process, patience);
        if self
            .spent
            .iter()
            .any(|it| matches!(it.end, End::Pending(by) if by != process))
        {
            return Entry::Elsewhere;
        }
        // What goes wrong with credentials that are known to be right locks nothing.
        let counts = |it: &&Spent| it.end == End::Refused || it.print != self.proved;
        let mut times: Vec<i64> = self.spent.iter().filter(counts).map(|it| it.at).collect();
        times.sort_unstable();
        let is_same = |it: &&Spent| it.print == print;
        let refused = self.spent.iter().filter(is_same).filter(counts).count();
        let budgets: &[_] = match self.spent.iter().any(|it| is_same(&it)) {
            true => &BUDGETS,
            false => &[BUDGET_OF_OTHERS],
        };
        let mut until = now.0;
        if let (Some(before), Some(last)) = (refused.checked_sub(1), times.last()) {
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            until = until.max(last.saturating_add(micros(login_cooldown(before))));
        }
        for (most, window) in budgets.iter().copied() {
            // The one that has to leave the window before there is room for another.
            if let Some(first) = times.len().checked_sub(most).and_then(|at| times.get(at)) {
                until = until.max(first.saturating_add(micros(window)));
            }
        }
        if let Ok(wait @ 1..) = u64::try_from(until.saturating_sub(now.0)) {
            return Entry::Wait(Duration::from_micros(wait));
        }
        self.spent.push(Spent {
            at: now.0,
            print,
            end: End::Pending(process),
        });
        Entry::Begun(u32::try_from(refused).unwrap_or(u32::MAX))
    }

    /// Writes down what became of the log-in of a process.
    pub(in super::super) fn ended(&mut self, print: Option<u64>, process: Uuid, came: Came) {
        let is_it = |it: &Spent| it.end == End::Pending(process);
        match came {
            Came::Well => {
                self.spent.clear();
                self.proved = print;
            }
            Came::Uncounted => self.spent.retain(|it| !is_it(it)),
            Came::Refused | Came::Unclear => {
                if came == Came::Refused && self.proved == print {
                    self.proved = None;
                }
                let end = match came {
                    Came::Refused => End::Refused,
                    _ => End::Unclear,
                };
                for it in self.spent.iter_mut().filter(|it| is_it(it)) {
                    it.end = end;
                }
            }
        }
    }

    /// Forgets what is long over, and takes the end of those for unclear that never ended.
    fn settle(&mut self, now: Timestamp, process: Uuid, patience: Duration) {
        for it in &mut self.spent {
            // A clock that was set back makes it one of just now: too careful, never too bold.
            it.at = it.at.min(now.0);
            let late = now.0.saturating_sub(it.at) >= micros(patience);
            let own = End::Pending(process);
            if matches!(it.end, End::Pending(_)) && (late || it.end == own) {
                it.end = End::Unclear;
            }
        }
        let oldest = now.0.saturating_sub(micros(FORGOTTEN));
        self.spent.retain(|it| it.at > oldest);
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// So many log-ins within such a time, where the secret was tried before ...
const BUDGETS: [(usize, Duration); 2] = [
    (3, Duration::from_secs(15 * 60)),
    (4, Duration::from_secs(30 * 60)),
];
/// ... and where it is another one, which somebody has just put there.
const BUDGET_OF_OTHERS: (usize, Duration) = (5, Duration::from_secs(30 * 60));
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Bench(Ledger, i64);

    impl Bench {
        fn begin(&mut self, print: u64, process: Uuid) -> Entry {
            let now = Timestamp(self.1 * 1_000_000);
            self.0.begin(Some(print), now, process, PATIENCE)
        }

        /// Tries as soon as it may, and says when that was.
        fn refused(&mut self, print: u64) -> i64 {
            loop {
                match self.begin(print, ONE) {
                    Entry::Begun(_) => break,
                    Entry::Wait(wait) => self.1 += i64::try_from(wait.as_secs()).unwrap().max(1),
                    Entry::Elsewhere => panic!("nobody else is there"),
                }
            }
            self.0.ended(Some(print), ONE, Came::Refused);
            self.1
        }
    }

    #[test]
    fn three_tries_and_then_one_in_fifteen_minutes() {
        let mut bench = Bench(Ledger::default(), 1000);
        let times: Vec<_> = (0..6).map(|_| bench.refused(1) - 1000).collect();
        assert_eq!(times, [0, 30, 90, 990, 1890, 2790]);
    }

    #[test]
    fn another_secret_is_tried_at_once_and_not_beyond_what_an_account_bears() {
        let mut bench = Bench(Ledger::default(), 1000);
        let times: Vec<_> = (0..9).map(|print| bench.refused(print) - 1000).collect();
        for from in &times {
            let within = |length| {
                let window = *from..from + length;
                times.iter().filter(|at| window.contains(*at)).count()
            };
            assert!(within(1800) <= 5, "{times:?}");
        }
        assert_eq!(times[..6], [0, 0, 0, 0, 0, 1800]);
    }

    #[test]
    fn whatever_ended_unclearly_counts_unless_the_secret_is_known_to_be_right() {
        let mut bench = Bench(Ledger::default(), 1000);
        for _ in 0..3 {
            assert!(matches!(bench.begin(1, ONE), Entry::Begun(_)));
            bench.0.ended(Some(1), ONE, Came::Unclear);
            bench.1 += 100;
        }
        assert!(matches!(bench.begin(1, ONE), Entry::Wait(_)));
        bench.1 += 3600;
        assert!(matches!(bench.begin(1, ONE), Entry::Begun(_)));
        bench.0.ended(Some(1), ONE, Came::Well);
        for _ in 0..20 {
            assert_eq!(bench.begin(1, ONE), Entry::Begun(0));
            bench.0.ended(Some(1), ONE, Came::Unclear);
        }
    }

    #[test]
    fn one_process_at_a_time_logs_in_and_one_that_died_of_it_counts() {
        let (two, three) = (Uuid::from_u128(2), Uuid::from_u128(3));
        let mut bench = Bench(Ledger::default(), 1000);
        assert_eq!(bench.begin(1, ONE), Entry::Begun(0));
        assert_eq!(bench.begin(1, two), Entry::Elsewhere);
        bench.1 += 60;
        assert_eq!(bench.begin(1, two), Entry::Begun(1));
        bench.0.ended(Some(1), two, Came::Uncounted);
        bench.1 = 0;
        assert!(
            matches!(bench.begin(1, three), Entry::Wait(wait) if wait.as_secs() == 30),
            "the clock was set back"
        );
    }
}
