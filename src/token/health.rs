//! Whether a token endpoint is to be left alone, for the good of all who would ask it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::RefreshSettings;
use crate::vspc::grant::{IssueError, Outage, Subject};

/// What is known of the health of one token endpoint.
///
/// After some faults in a row it is left alone for a while; then one call finds out whether it is
/// well again. When it throttles, it is left alone for as long as it asks.
///
/// A console that cannot be reached is so for all. An error that it answers, or an answer that does
/// not come, may be due to the one account that the call was about, so several of these in a row are
/// one fault: it takes two parties at least, and those do not count whom anybody may bring along.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In a row.
    faults: u32,
    /// Whose the last of them was, where it may be due to them.
    last: Option<Party>,
    /// Until when nobody calls, and why.
    closed: Option<(Instant, IssueError)>,
    /// A call is finding out.
    is_probing: bool,
    recovered_at: Option<Instant>,
}

/// Whom a call is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Party {
    /// The gateway's own account, or the account of that tenant.
    Account(Option<Arc<str>>),
    /// One whom no configuration names: a user that a caller names, or one that acts as itself.
    Other,
    /// The user that a tenant acts as.
    Target(Subject),
}

/// Whom a fault concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    All,
    Nobody,
    /// Perhaps only those whom the call was about.
    Party,
}

/// Whether a call may be made.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// Not before then, and why.
    Closed(Instant, IssueError),
    /// It may.
    Open,
    /// It may, and it is the one that finds out.
    Probe,
}

impl Health {
    /// Asks whether a call may be made now.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match &self.closed {
            None => Admission::Open,
            Some((until, error)) if now < *until => Admission::Closed(*until, error.clone()),
            // A throttled endpoint asked for time, and had it.
            Some((_, IssueError::Throttled { .. })) => {
                self.closed = None;
                Admission::Open
            }
            Some((_, error)) if self.is_probing => {
                Admission::Closed(now + PROBE_WAIT, error.clone())
            }
            Some(_) => {
                self.is_probing = true;
                Admission::Probe
            }
        }
    }

    /// Takes note of how a call ended.
    pub(super) fn ended(
        &mut self,
        admission: &Admission,
        party: &Party,
        fault: Option<&IssueError>,
        now: Instant,
        settings: &RefreshSettings,
    ) {
        let was_probe = *admission == Admission::Probe;
        if was_probe {
            self.is_probing = false;
        }
        let Some(error) = fault else {
            return self.well(now);
        };
        if let IssueError::Throttled { retry_after } = error {
            self.well(now);
            return self.close(now + *retry_after, error.clone());
        }
        let enough = match reach(error) {
            None => return self.well(now),
            Some(Reach::Nobody) => return,
            Some(Reach::Party) if *party == Party::Other => return,
            Some(Reach::Party) => {
                if self.last.as_ref() != Some(party) {
                    self.faults = self.faults.saturating_add(1);
                }
                self.last = Some(party.clone());
                settings.breaker_faults.max(2)
            }
            Some(Reach::All) => {
                self.faults = self.faults.saturating_add(1);
                self.last = None;
                settings.breaker_faults
            }
        };
        if was_probe || self.faults >= enough {
            self.close(now + settings.breaker_pause, error.clone());
        }
    }

    /// A call that was admitted went away without an end.
    pub(super) fn abandoned(&mut self, admission: &Admission) {
        if *admission == Admission::Probe {
            self.is_probing = false;
        }
    }

    /// When the endpoint last came back after faults.
    pub(super) fn recovered_at(&self) -> Option<Instant> {
        self.recovered_at
    }

    fn well(&mut self, now: Instant) {
        if self.faults > 0 {
            self.recovered_at = Some(now);
        }
        self.faults = 0;
        self.last = None;
        // A call that began before the endpoint asked for patience does not undo that.
        if !matches!(self.closed, Some((until, IssueError::Throttled { .. })) if now < until) {
            self.closed = None;
        }
    }

    /// Calls that were under way already do not shorten the pause.
    fn close(&mut self, until: Instant, error: IssueError) {
        if self.closed.as_ref().is_none_or(|(held, _)| *held < until) {
            self.closed = Some((until, error));
        }
    }
}

/// Whom an error concerns; nobody says more of the endpoint than one that is none of its faults.
fn reach(error: &IssueError) -> Option<Reach> {
    match error {
        IssueError::Unavailable(outage) => Some(match outage {
            Outage::Connection(_) | Outage::Tls(_) => Reach::All,
            Outage::Crowded | Outage::Internal => Reach::Nobody,
            // A directory behind the console that knows the one account may be what hangs.
            Outage::Status(_) | Outage::TimedOut => Reach::Party,
        }),
        IssueError::Malformed(_) => Some(Reach::Party),
        // The first step of the log-in went well, the second was never taken.
        IssueError::NextCode { .. } => Some(Reach::Nobody),
        IssueError::Challenge(_)
        | IssueError::Refused { .. }
        | IssueError::Throttled { .. }
        | IssueError::WrongSubject { .. } => None,
    }
}

/// What those are told to wait who come while one call finds out.
const PROBE_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        calls: u128,
        health: Health,
        now: Instant,
        settings: RefreshSettings,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                calls: 0,
                health: Health::default(),
                now: Instant::now(),
                settings: RefreshSettings::default(),
            }
        }

        /// A call for a user of its own.
        fn call(&mut self, fault: impl Into<Option<IssueError>>) -> bool {
            self.calls += 1;
            self.call_for(&target(self.calls), fault)
        }

        fn call_for(&mut self, party: &Party, fault: impl Into<Option<IssueError>>) -> bool {
            let fault = fault.into();
            let admission = self.health.admit(self.now);
            if matches!(admission, Admission::Closed(..)) {
                return false;
            }
            self.health
                .ended(&admission, party, fault.as_ref(), self.now, &self.settings);
            true
        }

        fn after(&mut self, seconds: u64) -> &mut Self {
            self.now += Duration::from_secs(seconds);
            self
        }
    }

    fn target(user: u128) -> Party {
        Party::Target(Subject(uuid::Uuid::from_u128(user)))
    }

    fn ill() -> Option<IssueError> {
        Some(IssueError::Unavailable(Outage::Status(520)))
    }

    fn refused() -> Option<IssueError> {
        Some(IssueError::Refused {
            error: "invalid_grant".into(),
            description: "".into(),
        })
    }

    #[test]
    fn five_faults_in_a_row_close_it_and_one_call_finds_out() {
        let mut bench = Bench::new();
        assert_eq!((0..5).filter(|_| bench.call(ill())).count(), 5);
        assert!(!bench.call(None));
        assert!(!bench.after(29).call(None));
        bench.after(1);
        let probe = bench.health.admit(bench.now);
        assert_eq!(probe, Admission::Probe);
        assert!(!bench.call(None), "two calls find out");
        bench.health.ended(
            &probe,
            &target(0),
            ill().as_ref(),
            bench.now,
            &bench.settings,
        );
        assert!(!bench.after(29).call(None));
        assert!(bench.after(1).call(None));
        assert_eq!(bench.health.recovered_at(), Some(bench.now));
        assert!(bench.call(ill()));
        assert!(bench.call(None), "one fault after it closes nothing");
    }

    #[test]
    fn a_refusal_between_faults_shows_that_the_endpoint_is_well() {
        let mut bench = Bench::new();
        for _ in 0..10 {
            assert!((0..4).all(|_| bench.call(ill())));
            assert!(bench.call(refused()));
        }
    }

    #[test]
    fn it_takes_two_whose_calls_fail_and_nobody_whom_a_caller_brings_along() {
        let account = Party::Account(None);
        let mut bench = Bench::new();
        bench.settings.breaker_faults = 1;
        let late = || Some(IssueError::Unavailable(Outage::TimedOut));
        for party in [&Party::Other, &target(1)] {
            assert!((0..100).all(|_| bench.call_for(party, ill())));
            assert!((0..100).all(|_| bench.call_for(party, late())));
        }
        assert!(bench.call_for(&Party::Other, ill()));
        assert!(bench.call_for(&target(1), ill()));
        assert!(bench.call_for(&account, ill()));
        assert!(!bench.call_for(&account, None));
        // A probe for a user that a caller names tells nothing when it fails ...
        bench.after(30);
        assert!(bench.call_for(&Party::Other, ill()));
        // ... and that all is well when it does not.
        assert!(bench.call_for(&Party::Other, None));
        assert_eq!(bench.health.admit(bench.now), Admission::Open);
    }

    #[test]
    fn a_console_that_cannot_be_reached_is_so_for_all() {
        for unreachable in [Outage::Connection("no".into()), Outage::Tls("no".into())] {
            let mut bench = Bench::new();
            let fault = || Some(IssueError::Unavailable(unreachable.clone()));
            assert!((0..5).all(|_| bench.call_for(&Party::Other, fault())));
            assert!(!bench.call(None));
        }
    }

    #[test]
    fn what_the_gateway_itself_waits_for_says_nothing_of_the_endpoint() {
        let mut bench = Bench::new();
        let retry_after = Duration::from_secs(60);
        assert!((0..10).all(|_| bench.call(Some(IssueError::NextCode { retry_after }))));
        assert!((0..4).all(|_| bench.call(ill())));
        assert!(bench.call(Some(IssueError::NextCode { retry_after })));
        assert!(bench.call(ill()));
        assert!(!bench.call(None));
    }

    #[test]
    fn a_probe_that_goes_away_lets_another_one_find_out() {
        let mut bench = Bench::new();
        assert!((0..5).all(|_| bench.call(ill())));
        bench.after(30);
        let probe = bench.health.admit(bench.now);
        bench.health.abandoned(&probe);
        assert!(bench.call(None));
    }

    #[test]
    fn an_endpoint_that_throttles_is_left_alone_by_all_for_as_long_as_it_asks() {
        let mut bench = Bench::new();
        let under_way = bench.health.admit(bench.now);
        let retry_after = Duration::from_secs(7);
        assert!(bench.call(Some(IssueError::Throttled { retry_after })));
        bench
            .health
            .ended(&under_way, &target(0), None, bench.now, &bench.settings);
        assert!(!bench.after(6).call(None));
        assert!(bench.after(1).call(None));
    }
}
