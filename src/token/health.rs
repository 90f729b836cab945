//! Whether a token endpoint is to be left alone, for the good of all who would ask it.

use std::time::Duration;

use tokio::time::Instant;

use super::policy::RefreshSettings;
use crate::vspc::grant::{IssueError, Outage};

/// What is known of the health of one token endpoint.
///
/// After some faults in a row it is left alone for a while; then one call finds out whether it is
/// well again. When it throttles, it is left alone for as long as it asks.
#[derive(Debug, Default)]
pub(super) struct Health {
    faults: u32,
    /// Until when nobody calls, and why.
    closed: Option<(Instant, IssueError)>,
    /// A call is finding out.
    is_probing: bool,
    recovered_at: Option<Instant>,
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
        fault: Option<&IssueError>,
        now: Instant,
        settings: &RefreshSettings,
    ) {
        let was_probe = *admission == Admission::Probe;
        if was_probe {
            self.is_probing = false;
        }
        match fault {
            Some(IssueError::Throttled { retry_after }) => {
                let error = IssueError::Throttled {
                    retry_after: *retry_after,
                };
                self.well(now);
                self.close(now + *retry_after, error);
            }
            Some(error) if is_fault(error) => {
                self.faults = self.faults.saturating_add(1);
                if was_probe || self.faults >= settings.breaker_faults {
                    self.close(now + settings.breaker_pause, error.clone());
                }
            }
            // The gateway's own fault says nothing about the endpoint.
            Some(IssueError::Unavailable(Outage::Internal)) => {}
            _ => self.well(now),
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

fn is_fault(error: &IssueError) -> bool {
    match error {
        IssueError::Malformed(_) => true,
        IssueError::Unavailable(outage) => !matches!(outage, Outage::Internal),
        IssueError::Challenge(_)
        | IssueError::Refused { .. }
        | IssueError::Throttled { .. }
        | IssueError::WrongSubject { .. } => false,
    }
}

/// What those are told to wait who come while one call finds out.
const PROBE_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        health: Health,
        now: Instant,
        settings: RefreshSettings,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                health: Health::default(),
                now: Instant::now(),
                settings: RefreshSettings::default(),
            }
        }

        fn call(&mut self, fault: impl Into<Option<IssueError>>) -> bool {
            let fault = fault.into();
            let admission = self.health.admit(self.now);
            if matches!(admission, Admission::Closed(..)) {
                return false;
            }
            self.health
                .ended(&admission, fault.as_ref(), self.now, &self.settings);
            true
        }

        fn after(&mut self, seconds: u64) -> &mut Self {
            self.now += Duration::from_secs(seconds);
            self
        }
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
        bench
            .health
            .ended(&probe, ill().as_ref(), bench.now, &bench.settings);
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
            .ended(&under_way, None, bench.now, &bench.settings);
        assert!(!bench.after(6).call(None));
        assert!(bench.after(1).call(None));
    }
}
