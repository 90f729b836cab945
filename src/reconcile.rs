//! Whether the consoles' own activity logs and the audit log tell the same: what was done by the
//! gateway's accounts past the gateway, and what the gateway did that a console has not logged.

mod compare;
mod ours;
mod report;
mod side_by_side;
mod tell;
mod theirs;

pub use compare::{Bounds, Compared, Done, Logged, What, compare};
pub use report::{Finding, Report};
pub use tell::Last;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::{Fault, ReconcileSettings};
use crate::clock::{Clock, Timestamp};
use crate::token::{Broker, Lease, TokenError};
use crate::upstream::{Console, ConsoleId};
use crate::vspc::directory::{Activity, Asker, DirectoryError, Me, User};
use ours::Ours;
use side_by_side::side_by_side;

/// Compares the audit log with the consoles' own.
pub struct Reconciler {
    directory: PathBuf,
    settings: ReconcileSettings,
    consoles: BTreeMap<ConsoleId, Reached>,
    broker: Broker,
    clock: Clock,
    last: Arc<Last>,
}

/// A console that is asked.
pub struct Reached {
    /// The console.
    pub console: Arc<Console>,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<HeaderValue>,
    /// Whose accounts there have a permanent key, with which nobody logs in: tenants', and `None`
    /// for the gateway's own.
    pub keyed: HashSet<Option<Arc<str>>>,
}

/// Why nothing can be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The audit log cannot be read.
    #[error(transparent)]
    Log(#[from] Fault),
    /// A fault in the gateway.
    #[error("a fault in the gateway")]
    Internal,
    /// All of the log is too young.
    #[error("the audit log begins at {since}: nothing in it is old enough yet to be compared")]
    TooNew {
        /// When it begins.
        since: String,
    },
    /// All of the window is too young.
    #[error("nothing within the window is old enough: it must be longer than {} s, the time that a console gets to log something", settle.as_secs())]
    TooShort {
        /// The time that a console gets.
        settle: Duration,
    },
}

/// Why a console could not be compared.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its activity log cannot be read: {0}")]
    Activities(DirectoryError),
    #[error("the gateway's own account there cannot be read: {0}")]
    Account(DirectoryError),
    #[error("it took too long; ask for a shorter time")]
    TimedOut,
    #[error("there is no token for the gateway's own account: {0}")]
    Token(#[from] TokenError),
}

/// What a console says.
struct Theirs {
    me: Me,
    activities: Vec<Activity>,
    users: Option<HashMap<Uuid, User>>,
    keyed: HashSet<Option<Arc<str>>>,
}

/// The time that is compared.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    /// How far around it partners are looked for.
    margin: i64,
    /// How much the clocks may differ.
    skew: i64,
}

impl Reconciler {
    /// Prepares comparisons of the log in a directory.
    pub fn new(
        (directory, settings): (PathBuf, ReconcileSettings),
        consoles: BTreeMap<ConsoleId, Reached>,
        broker: Broker,
        clock: Clock,
        last: Arc<Last>,
    ) -> Self {
        Self {
            directory,
            settings,
            consoles,
            broker,
            clock,
            last,
        }
    }

    /// How comparisons are made.
    pub fn settings(&self) -> &ReconcileSettings {
        &self.settings
    }

    /// What outlives a configuration.
    pub fn last(&self) -> Arc<Last> {
        Arc::clone(&self.last)
    }

    /// Whether there is a console of this name.
    pub fn has(&self, console: &str) -> bool {
        self.consoles.keys().any(|id| id.as_str() == console)
    }

    /// Compares what happened within a time before now, at one console or at all. A console that
    /// cannot be read has a report that says so.
    ///
    /// # Errors
    /// Says why nothing can be compared at all.
    pub async fn run(
        &self,
        window: Option<Duration>,
        console: Option<&str>,
    ) -> Result<Vec<Report>, ReconcileError> {
        let _turn = self.last.turn.lock().await;
        let (mut span, mut notes) = (self.span(window)?, Vec::new());
        let ours = Arc::new(self.ours(&mut span, &mut notes).await?);
        let asked = self.consoles.iter();
        let asked = asked.filter(|(id, _)| console.is_none_or(|console| console == id.as_str()));
        let comparing = asked.map(|(id, reached)| {
            let (ours, notes) = (Arc::clone(&ours), notes.clone());
            async move {
                let theirs = tokio::time::timeout(READING_TIME, self.read(id, reached, span)).await;
                let theirs = theirs.unwrap_or(Err(Failure::TimedOut));
                let mut report = match theirs {
                    Ok(theirs) => self.compare(id, &ours, theirs, span).await,
                    Err(failure) => Report::failed(id.as_str(), failure.to_string()),
                };
                report.notes.extend(notes);
                report
            }
        });
        let reports = join_all(comparing).await;
        self.keep(&reports);
        Ok(reports)
    }

    /// The reports of consoles none of which could be compared.
    pub fn failed(&self, error: &ReconcileError) -> Vec<Report> {
        let consoles = self.consoles.keys();
        let reports = consoles.map(|id| Report::failed(id.as_str(), error.to_string()));
        let reports = reports.collect::<Vec<_>>();
        self.keep(&reports);
        reports
    }

    fn keep(&self, reports: &[Report]) {
        self.last.keep_all(reports, self.clock.now());
    }

    fn span(&self, window: Option<Duration>) -> Result<Span, ReconcileError> {
        let settle = self.settings.settle.max(self.settings.skew);
        let window = window.unwrap_or(self.settings.window);
        if window <= settle {
            return Err(ReconcileError::TooShort { settle });
        }
        let now = self.clock.now().0;
        let before = |time: Duration| Timestamp(now.saturating_sub(micros(time)));
        Ok(Span {
            from: before(window),
            to: before(settle),
            margin: micros(self.settings.skew).saturating_add(LONGEST_REQUEST),
            skew: micros(self.settings.skew),
        })
    }

    /// Reads the audit log. What was before its first record cannot be compared.
    async fn ours(&self, span: &mut Span, notes: &mut Vec<String>) -> Result<Ours, ReconcileError> {
        let directory = self.directory.clone();
        let (asked, refreshes) = (*span, self.settings.refreshes);
        let reading = tokio::task::spawn_blocking(move || {
            let begin = ours::begin(&directory)?;
            // What is later than the bounds is a partner too.
            let until = Timestamp(asked.to.0.saturating_add(asked.margin));
            let since = Timestamp(asked.from.0.saturating_sub(asked.margin));
            Ok::<_, Fault>((begin, ours::read(&directory, (since, until), refreshes)?))
        });
        let (begin, ours) = reading.await.map_err(|_| ReconcileError::Internal)??;
        notes.extend(within(span, begin, micros(self.settings.skew))?);
        Ok(ours)
    }

    /// Reads with the gateway's own session, and once more when the console refused its token.
    async fn read(&self, id: &ConsoleId, to: &Reached, span: Span) -> Result<Theirs, Failure> {
        let deadline = || Instant::now() + READING_TIME;
        let lease = self.broker.session_lease(id, deadline()).await?;
        match read(to, &lease, span).await {
            Err(
                Failure::Account(DirectoryError::Unauthorized)
                | Failure::Activities(DirectoryError::Unauthorized),
            ) => {}
            read => return read,
        }
        self.broker.session_rejected(id, lease.generation());
        let lease = self.broker.session_lease(id, deadline()).await?;
        read(to, &lease, span).await
    }

    /// Lays both side by side. That may take a while: not on a thread that serves.
    async fn compare(
        &self,
        id: &ConsoleId,
        ours: &Arc<Ours>,
        theirs: Theirs,
        span: Span,
    ) -> Report {
        let (settings, ours, console) = (self.settings, Arc::clone(ours), id.to_string());
        let failed = Report::failed(&console, "a fault in the gateway".to_owned());
        let working = move || side_by_side(console, &ours, &theirs, (span, settings));
        let report = tokio::task::spawn_blocking(working).await;
        report.unwrap_or(failed)
    }
}

/// Asks a console for all that is compared.
async fn read(to: &Reached, lease: &Lease, span: Span) -> Result<Theirs, Failure> {
    let asker = Asker {
        console: &to.console,
        authorization: lease.authorization(),
        client_version: to.client_version.as_ref(),
    };
    let me = asker.me().await.map_err(Failure::Account)?;
    let from = Timestamp(span.from.0.saturating_sub(span.margin));
    // Not later: what is still being logged would make another list of it while it is read.
    let until = Timestamp(span.to.0.saturating_add(span.skew));
    let mut tries = 1;
    let activities = loop {
        match asker.activities(from, until).await {
            // Something was logged late meanwhile.
            Err(DirectoryError::Changed) if tries < TRIES => tries += 1,
            read => break read.map_err(Failure::Activities)?,
        }
    };
    // Without them it is compared less closely.
    let users = asker.users().await.ok();
    Ok(Theirs {
        me,
        activities,
        users,
        keyed: to.keyed.clone(),
    })
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// How often an activity log is read that changes meanwhile.
const TRIES: usize = 3;
/// The most time for reading one console.
const READING_TIME: Duration = Duration::from_secs(4 * 60);
/// How long before its record a thing may have begun, beyond the skew, in microseconds.
const LONGEST_REQUEST: i64 = 10 * 60 * 1_000_000;

/// Leaves out what was before the log began, and says so.
fn within(
    span: &mut Span,
    begin: Option<Timestamp>,
    skew: i64,
) -> Result<Option<String>, ReconcileError> {
    let Some(begin) = begin.filter(|begin| *begin > span.from) else {
        return Ok(None);
    };
    let begin = Timestamp(begin.0.saturating_add(skew));
    let since = begin.in_seconds();
    if begin >= span.to {
        return Err(ReconcileError::TooNew { since });
    }
    span.from = begin;
    let note = format!("the audit log begins later: compared is what happened since {since}");
    Ok(Some(note))
}

#[cfg(test)]
mod tests;
