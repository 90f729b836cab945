//! Whether the consoles' own activity logs and the audit log tell the same: what was done by the
//! gateway's accounts past the gateway, and what the gateway did that a console has not logged.

mod compare;
mod ours;
mod report;
mod tell;
mod theirs;

pub use compare::{Bounds, Compared, Done, Logged, What, compare};
pub use report::{Finding, Report};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::{Fault, Named, ReconcileSettings};
use crate::clock::{Clock, Timestamp};
use crate::token::{Broker, Lease, TokenError};
use crate::upstream::{Console, ConsoleId};
use crate::vspc::directory::{Activity, Asker, DirectoryError, Me, User};
use ours::{Act, Ours, Who};
use report::{NOT_LOGGED, PAST_GATEWAY, stamp};
use theirs::Read;

/// Compares the audit log with the consoles' own.
pub struct Reconciler {
    directory: PathBuf,
    settings: ReconcileSettings,
    consoles: BTreeMap<ConsoleId, Reached>,
    broker: Broker,
    clock: Clock,
    last: Arc<Last>,
}

/// What came of the last comparisons. It outlives a configuration.
#[derive(Debug, Default)]
pub struct Last {
    reports: Mutex<BTreeMap<String, (Timestamp, Report)>>,
    /// One at a time: a comparison costs the console some, and the gateway's memory too.
    turn: tokio::sync::Mutex<()>,
    /// What was told already.
    told: Mutex<HashSet<Finding>>,
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
    #[error("the audit log cannot be read: {0}")]
    Log(#[from] Fault),
    /// A fault in the gateway.
    #[error("a fault in the gateway")]
    Internal,
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
        let now = self.clock.now();
        let mut kept = self.last.reports.lock();
        for report in reports {
            kept.insert(report.console.clone(), (now, report.clone()));
        }
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
        if let Some(begin) = begin.filter(|begin| *begin > span.from) {
            let begin = Timestamp(begin.0.saturating_add(micros(self.settings.skew)));
            span.from = begin.min(span.to);
            let since = begin.in_seconds();
            notes.push(format!(
                "the audit log begins later: compared is what happened since {since}"
            ));
        }
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
    let until = Timestamp(span.to.0.saturating_add(span.margin));
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

/// Makes the report of one console.
fn side_by_side(
    console: String,
    ours: &Ours,
    theirs: &Theirs,
    (span, settings): (Span, ReconcileSettings),
) -> Report {
    let acts: Vec<&Act> = ours
        .acts
        .iter()
        .filter(|act| *act.console == *console)
        .collect();
    let done = acts
        .iter()
        .map(|act| done(act, theirs, &settings))
        .collect::<Vec<_>>();
    let (mut entries, mut logged, mut unnamed) = (Vec::new(), Vec::new(), 0_u64);
    for activity in &theirs.activities {
        match theirs::read(activity, theirs.me.uid, settings.impersonation_by) {
            Read::Entry(entry) => {
                entries.push(activity);
                logged.push(entry);
            }
            Read::Other => {}
            Read::Unnamed => unnamed += 1,
        }
    }
    let bounds = Bounds {
        from: span.from.0,
        to: span.to.0,
        skew: micros(settings.skew),
    };
    let compared = compare(&logged, &done, bounds);
    let mut report = Report {
        console,
        account: theirs.me.name.as_deref().map(str::to_owned),
        from: Some(stamp(span.from)),
        to: Some(stamp(span.to)),
        problems: problems(ours, unnamed),
        logged: logged.len(),
        done: done.len(),
        matched: compared.matched,
        ..Report::default()
    };
    if theirs.users.is_none() {
        let note =
            "the users of the console cannot be read: impersonations are compared by time alone";
        report.notes.push(note.to_owned());
    }
    for at in &compared.strangers {
        if let (Some(entry), Some(activity)) = (logged.get(*at), entries.get(*at)) {
            report.count(PAST_GATEWAY, entry.what);
            report.add(stranger(entry.what, activity));
        }
    }
    for at in &compared.unlogged {
        if let (Some(act), Some(done)) = (acts.get(*at), done.get(*at)) {
            report.count(NOT_LOGGED, act.what);
            report.add(unlogged(act, done));
        }
    }
    report.reconciled = report.unreconciled() == 0 && report.problems.is_empty();
    report
}

fn stranger(what: What, activity: &Activity) -> Finding {
    Finding {
        side: PAST_GATEWAY,
        kind: what.as_str(),
        time: stamp(activity.at),
        seq: None,
        request_id: None,
        user: activity.user,
        organization: activity.organization,
        what: format!("{}: {}", activity.kind, activity.message),
    }
}

fn unlogged(act: &Act, done: &Done) -> Finding {
    Finding {
        side: NOT_LOGGED,
        kind: act.what.as_str(),
        time: stamp(act.at),
        seq: Some(act.seq),
        request_id: act.request_id.as_deref().map(str::to_owned),
        user: match act.who {
            Who::As(target) => Some(target),
            Who::Service | Who::Tenant(_) | Who::User(_) => done.by.first().copied(),
        },
        organization: done.organization,
        what: act.operation.to_string(),
    }
}

/// What keeps a comparison from saying that all is well.
fn problems(ours: &Ours, unnamed: u64) -> Vec<String> {
    let mut problems = ours.damage.clone();
    if ours.unreadable > 0 {
        let count = ours.unreadable;
        problems.push(format!(
            "{count} records of the audit log cannot be understood"
        ));
    }
    if unnamed > 0 {
        problems.push(format!(
            "of {unnamed} entries of its own account the console does not say what they are: set a \
             newer client_version"
        ));
    }
    problems
}

/// As whose doing the console may have logged it.
fn done(act: &Act, theirs: &Theirs, settings: &ReconcileSettings) -> Done {
    let service = theirs.me.uid;
    let users = theirs.users.as_ref();
    let organization = match (act.what, &act.who) {
        (What::Impersonation, Who::As(target)) => {
            let target = users.and_then(|users| users.get(target));
            target.and_then(|target| target.organization)
        }
        _ => None,
    };
    let by = match (&act.who, act.what) {
        (Who::As(target), What::Impersonation) => match settings.impersonation_by {
            Named::Impersonator => vec![service],
            Named::Target => vec![*target],
        },
        (Who::As(target), _) => vec![*target, service],
        (Who::Service, _) => vec![service],
        (Who::Tenant(_), _) => Vec::new(),
        (Who::User(name), _) => named(users, name).into_iter().collect(),
    };
    Done {
        what: act.what,
        span: (act.at.0.saturating_sub(act.took), act.at.0),
        by,
        organization,
        is_certain: act.is_certain && !is_by_key(act, theirs),
    }
}

/// Whether the record is that of reading a permanent key, of which a console knows nothing.
fn is_by_key(act: &Act, theirs: &Theirs) -> bool {
    let of = match &act.who {
        Who::Service => None,
        Who::Tenant(tenant) => Some(Arc::from(&**tenant)),
        Who::As(_) | Who::User(_) => return false,
    };
    act.what == What::Login && theirs.keyed.contains(&of)
}

fn named(users: Option<&HashMap<Uuid, User>>, name: &str) -> Option<Uuid> {
    let name = name.to_lowercase();
    let mut users = users?.values();
    let found = users.find(|user| {
        let theirs = user.name.as_ref();
        theirs.is_some_and(|theirs| theirs.to_lowercase() == name)
    });
    found.map(|user| user.uid.0)
}

impl Last {
    /// What came of the last comparison with each console, and when that was.
    pub fn reports(&self) -> Vec<(Timestamp, Report)> {
        self.reports.lock().values().cloned().collect()
    }

    /// Forgets consoles that there are no more.
    pub fn keep(&self, consoles: impl Fn(&str) -> bool) {
        self.reports.lock().retain(|console, _| consoles(console));
    }

    /// Those findings that were not told before.
    pub fn news<'a>(&self, report: &'a Report) -> Vec<&'a Finding> {
        let mut told = self.told.lock();
        if told.len() > MOST_TOLD {
            told.clear();
        }
        let findings = report.findings.iter();
        findings
            .filter(|finding| told.insert((*finding).clone()))
            .collect()
    }
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
/// How many findings are remembered as told.
const MOST_TOLD: usize = 100_000;

#[cfg(test)]
mod tests;
