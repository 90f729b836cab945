//! The roster: who acts for whom, kept true in the background by reading the consoles' directories.
//!
//! Each console has one task that reads it at the start, again and again, and when somebody asks
//! for a tenant that is not known. What was known stays while it cannot be read. Requests never
//! wait for a reading but the first.

mod asking;
mod book;
mod pace;
mod reading;
mod succession;
mod tell;
#[cfg(test)]
mod tests;
mod watched;

pub use reading::Person;
pub use watched::Report;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::Auditor;
use crate::telemetry::Telemetry;
use crate::tenant::{Directory, Gone, Names, Tenant};
use crate::token::{Broker, TokenError};
use crate::upstream::{Console, ConsoleId};
use crate::vspc::directory::DirectoryError;
use asking::read;
use book::Book;
use pace::{pause, random};
use reading::Reading;
use tell::Change;
use watched::{FIRST, People, Watched};

/// How the directory of a console is used.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether all its companies are tenants.
    pub all: bool,
    /// How often it is read.
    pub refresh: Duration,
    /// What becomes of a company without REST access.
    pub rest_access: RestAccess,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            all: false,
            refresh: Duration::from_secs(5 * 60),
            rest_access: RestAccess::Require,
        }
    }
}

/// What becomes of a company whose users may not use the REST API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RestAccess {
    /// Its requests go on, and the console decides.
    Ignore,
    /// Its requests are refused.
    Require,
}

/// A console whose directory is read.
#[derive(Debug)]
pub struct Source {
    /// The console.
    pub console: Arc<Console>,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<HeaderValue>,
    /// How its directory is used.
    pub settings: Settings,
}

/// Who acts for whom, on all consoles.
pub struct Roster {
    watched: BTreeMap<ConsoleId, Watched>,
    book: Mutex<Book>,
    found: Arc<ArcSwap<Names>>,
    broker: Broker,
    /// How many tenants the file has.
    configured: usize,
    auditor: Auditor,
    telemetry: Telemetry,
}

/// Why a reading came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("a fault in the gateway")]
    Internal,
    #[error("it took too long")]
    TimedOut,
    #[error("no token: {0}")]
    Token(#[from] TokenError),
}

impl Roster {
    /// Prepares the roster of these tenants; nothing is read yet.
    pub fn new(
        sources: Vec<Source>,
        tenants: &Directory,
        broker: Broker,
        (auditor, telemetry): (Auditor, Telemetry),
    ) -> Self {
        let mut configured: HashMap<&ConsoleId, Vec<Arc<Tenant>>> = HashMap::new();
        // Of a tenant's own account no directory tells.
        let impersonate = |tenant: &&Arc<Tenant>| tenant.account().is_none();
        for tenant in tenants.configured().filter(impersonate) {
            let on = configured.entry(&tenant.console).or_default();
            on.push(Arc::clone(tenant));
        }
        let watch = |source: Source| {
            let id = source.console.id().clone();
            let configured = configured.remove(&id).unwrap_or_default();
            let Source {
                console,
                client_version,
                settings,
            } = source;
            let watched = Watched::new(console, client_version, settings, configured);
            (id, watched)
        };
        let is_needed = |(_, watched): &(ConsoleId, Watched)| {
            watched.settings.all || !watched.configured.is_empty()
        };
        let watched: BTreeMap<_, _> = sources.into_iter().map(watch).filter(is_needed).collect();
        for (id, watched) in &watched {
            count(&telemetry, id, &watched.report());
        }
        Self {
            watched,
            book: Mutex::new(Book::new(tenants.names())),
            configured: tenants.configured().count(),
            found: tenants.found(),
            broker,
            auditor,
            telemetry,
        }
    }

    /// Keeps the roster true until `stop` returns.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut keeping: FuturesUnordered<_> =
            self.watched.values().map(|one| self.keep(one)).collect();
        tokio::select! {
            () = &mut stop => {}
            // They never end; where there are none there is nothing to do.
            Some(()) = keeping.next() => {}
        }
    }

    /// Whether there is a directory whose companies are tenants, and that was never read.
    pub fn leaves_open(&self) -> bool {
        self.of_all().any(|watched| !watched.is_read())
    }

    /// Waits until the directory of a console was read; without a console, all whose companies are
    /// tenants.
    ///
    /// # Errors
    /// Says after how long it makes sense to ask again when `deadline` comes before.
    pub async fn wait(
        &self,
        console: Option<&ConsoleId>,
        deadline: Instant,
    ) -> Result<(), Duration> {
        for watched in self.concerned(console) {
            watched.wait(deadline).await?;
        }
        Ok(())
    }

    /// Has a directory read out of turn, soon: that of a console, or all whose companies are
    /// tenants. Asking often is not reading often.
    pub fn ask(&self, console: Option<&ConsoleId>) {
        self.concerned(console).for_each(Watched::ask);
    }

    fn of_all(&self) -> impl Iterator<Item = &Watched> {
        self.watched.values().filter(|watched| watched.settings.all)
    }

    fn concerned<'a>(
        &'a self,
        console: Option<&'a ConsoleId>,
    ) -> impl Iterator<Item = &'a Watched> {
        self.watched.iter().filter_map(move |(id, watched)| {
            let is_meant = console.map_or(watched.settings.all, |console| console == id);
            is_meant.then_some(watched)
        })
    }

    /// Reads one console for ever.
    async fn keep(&self, watched: &Watched) {
        let mut setbacks = 0;
        if watched.is_read() {
            // By the configuration before: it is looked whether that holds, but not at each of many
            // reloads in a row.
            tokio::time::sleep(TAKEN_OVER).await;
        }
        loop {
            let reading = AssertUnwindSafe(self.refresh(watched)).catch_unwind();
            let outcome = match tokio::time::timeout(READING_TIME, reading).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_panic)) => Err(Failure::Internal),
                Err(_) => Err(Failure::TimedOut),
            };
            let refresh = watched.settings.refresh;
            let pause = pause(outcome.as_ref().err(), &mut setbacks, refresh, random());
            self.note(watched, outcome.as_ref().err(), pause);
            watched.is_due(Instant::now() + pause);
            let throttled = matches!(
                outcome,
                Err(Failure::Directory(DirectoryError::Throttled { .. }))
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = watched.asked.notified(), if !throttled => {}
            }
        }
    }

    /// Reads one console once.
    async fn refresh(&self, watched: &Watched) -> Result<(), Failure> {
        let reading = self.read(watched).await?;
        let changes = self.take(watched, &reading);
        let console = watched.console.id();
        self.broker
            .retire_all(changes.iter().filter_map(Change::retired));
        changes.iter().take(LINES).for_each(|one| one.log(console));
        if let Some(more) = changes.len().checked_sub(LINES).filter(|more| *more > 0) {
            tracing::warn!(%console, more, "more has changed than is told here; see the audit log");
        }
        let (console, auditor) = (console.clone(), self.auditor.clone());
        // A configuration that is replaced meanwhile does not keep them from being recorded.
        let recording = tokio::spawn(async move {
            for change in &changes {
                change.record(&console, &auditor).await;
            }
        });
        drop(recording.await);
        Ok(())
    }

    /// Reads with the gateway's own session, and once more when the console refused its token.
    async fn read(&self, watched: &Watched) -> Result<Reading, Failure> {
        let console = watched.console.id();
        let deadline = || Instant::now() + READING_TIME;
        let lease = self.broker.session_lease(console, deadline()).await?;
        match read(watched, &lease).await {
            Err(DirectoryError::Unauthorized) => {}
            read => return Ok(read?),
        }
        self.broker.session_rejected(console, lease.generation());
        let lease = self.broker.session_lease(console, deadline()).await?;
        Ok(read(watched, &lease).await?)
    }

    /// Takes a reading in: aims tenants, publishes names, and tells what is different.
    fn take(&self, watched: &Watched, reading: &Reading) -> Vec<Change> {
        let rest = watched.settings.rest_access;
        let mut changes = Vec::new();
        let mut report = Report {
            read: Some(Instant::now()),
            companies: reading.companies.as_ref().map(|all| all.by_uid.len()),
            is_unchecked: reading.users.is_none(),
            ..Report::default()
        };
        let mut owned: HashMap<Uuid, Vec<Arc<Tenant>>> = HashMap::new();
        let mut people = People::default();
        let mut aim = |tenant: &Arc<Tenant>, is_configured| {
            let judged = reading.judge(tenant, rest);
            if let Some((now, _)) = judged
                && let Some(before) = tenant.aim(now)
            {
                changes.extend(Change::turned(tenant, before, now, is_configured));
            }
            report.count(tenant);
            if let Some((Ok(user), company)) = judged
                && let Some(person) = reading.person(user, company)
            {
                people.insert(user, person);
            }
            judged.and_then(|(_, company)| company)
        };
        for tenant in &watched.configured {
            if let Some(company) = aim(tenant, true) {
                owned.entry(company).or_default().push(Arc::clone(tenant));
            }
        }
        if let (true, Some(companies)) = (watched.settings.all, &reading.companies) {
            let console = watched.console.id();
            let mut book = self.book.lock();
            let turned = book.turn(console, &companies.by_uid, &owned);
            for tenant in book.tenants(console) {
                aim(tenant, false);
            }
            // Who acts for them is known before their names are.
            if let Some(names) = turned.names {
                self.broker.expect_tenants(self.configured + names.len());
                self.found.store(Arc::new(names));
            }
            changes.extend(turned.renamed.into_iter().map(Change::Renamed));
            changes.extend(turned.ambiguous.into_iter().map(Change::Ambiguous));
            report.ambiguous = book.ambiguous().take(FIRST).cloned().collect();
        }
        watched.saw_people(people);
        self.publish(watched, report);
        changes
    }

    /// Notes that a reading was taken in, and says what about reading itself is different.
    fn publish(&self, watched: &Watched, report: Report) {
        let (console, before) = (watched.console.id(), watched.report());
        if before.error.is_some() {
            tracing::info!(%console, "the directory can be read again");
        }
        if before.read.is_none() {
            let (companies, states) = (report.companies.unwrap_or(0), &report.states);
            tracing::info!(%console, companies, tenants = ?states, "the directory was read");
        }
        if report.is_unchecked && !before.is_unchecked {
            tracing::warn!(%console, "the gateway's account may not read users: tenants that name one are not checked");
        }
        count(&self.telemetry, console, &report);
        watched.was_read(report);
    }

    /// Says once that a directory cannot be read any more.
    fn note(&self, watched: &Watched, failure: Option<&Failure>, pause: Duration) {
        let console = watched.console.id();
        self.telemetry
            .directory_read(console.as_str(), failure.is_none());
        if let Some(error) = failure {
            let retry_in = pause.as_secs();
            if watched.has_failed(error.to_string()) {
                tracing::warn!(%console, %error, retry_in, "the directory cannot be read; what is known of it stays");
            } else {
                tracing::debug!(%console, %error, retry_in, "the directory still cannot be read");
            }
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

fn count(telemetry: &Telemetry, console: &ConsoleId, report: &Report) {
    for state in STATES {
        let count = report.states.get(state).copied().unwrap_or(0);
        telemetry.tenants(console.as_str(), state, count);
    }
}

/// How many changes of one reading are told in the log; all are recorded.
const LINES: usize = 100;
/// The most time for one reading.
const READING_TIME: Duration = Duration::from_secs(5 * 60);
/// How long a reading that was taken over is believed.
const TAKEN_OVER: Duration = Duration::from_secs(1);
/// All states that tenants are counted by.
const STATES: [&str; 8] = [
    "ok",
    "unknown",
    Gone::CompanyAmbiguous.code(),
    Gone::CompanyDisabled.code(),
    Gone::CompanyMissing.code(),
    Gone::RestAccessOff.code(),
    Gone::UserDisabled.code(),
    Gone::UserMissing.code(),
];
