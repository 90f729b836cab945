//! One console, as far as its directory is concerned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::reading::Person;
use super::{Roster, Settings};
use crate::tenant::{Target, Tenant, Whom};
use crate::upstream::{Console, ConsoleId};
use crate::vspc::grant::Subject;

/// A console, and what is known of its directory.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) console: Arc<Console>,
    pub(super) client_version: Option<HeaderValue>,
    pub(super) settings: Settings,
    /// The tenants of the file that are on it.
    pub(super) configured: Vec<Arc<Tenant>>,
    pub(super) asked: Notify,
    progress: watch::Sender<Progress>,
    last_asked: Mutex<Option<Instant>>,
    /// Who acts for its tenants.
    people: ArcSwap<People>,
    report: Mutex<Report>,
}

/// What the console says of those who act for its tenants.
pub(super) type People = HashMap<Subject, Person, RandomState>;

#[derive(Debug, Default)]
struct Progress {
    is_read: bool,
    next: Option<Instant>,
}

/// How the directory of a console stands.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// When it was read last.
    pub read: Option<Instant>,
    /// Why it could not be read since.
    pub error: Option<String>,
    /// How many companies it has, where companies are read.
    pub companies: Option<usize>,
    /// Whether the gateway's account may not read the users that tenants name.
    pub is_unchecked: bool,
    /// How many tenants there are of each state: `ok`, `unknown`, or the code of their refusal.
    pub states: BTreeMap<&'static str, usize>,
    /// The first of the tenants that nobody can act for, and why.
    pub refused: Vec<(Arc<str>, &'static str)>,
    /// The first of the names that several companies have.
    pub ambiguous: Vec<Arc<str>>,
}

impl Report {
    /// Notes how a tenant stands.
    pub(super) fn count(&mut self, tenant: &Tenant) {
        let state = match &**tenant.target() {
            Target::Gone(gone) => {
                if self.refused.len() < FIRST {
                    self.refused.push((Arc::clone(&tenant.name), gone.code()));
                }
                gone.code()
            }
            Target::Account(_) | Target::Known(_) => "ok",
            Target::NotYet => "unknown",
        };
        *self.states.entry(state).or_default() += 1;
    }
}

impl Watched {
    pub(super) fn new(
        console: Arc<Console>,
        client_version: Option<HeaderValue>,
        settings: Settings,
        configured: Vec<Arc<Tenant>>,
    ) -> Self {
        let mut report = Report::default();
        configured.iter().for_each(|tenant| report.count(tenant));
        Self {
            console,
            client_version,
            settings,
            configured,
            asked: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            last_asked: Mutex::new(None),
            people: ArcSwap::default(),
            report: Mutex::new(report),
        }
    }

    /// Whether companies are to be read.
    pub(super) fn needs_companies(&self) -> bool {
        let is_user = |tenant: &Arc<Tenant>| matches!(tenant.whom, Whom::User(_));
        self.settings.all || !self.configured.iter().all(is_user)
    }

    pub(super) fn is_read(&self) -> bool {
        self.progress.borrow().is_read
    }

    /// Waits for the first reading. Else says when it makes sense to ask again.
    pub(super) async fn wait(&self, deadline: Instant) -> Result<(), Duration> {
        let mut progress = self.progress.subscribe();
        let ends = |progress: &Progress| {
            progress.is_read || progress.next.is_some_and(|next| next >= deadline)
        };
        let ended = timeout_at(deadline, progress.wait_for(ends)).await;
        if matches!(&ended, Ok(Ok(progress)) if progress.is_read) {
            return Ok(());
        }
        drop(ended);
        let next = self.progress.borrow().next;
        let now = Instant::now();
        let due = next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        // Whoever asks again then has it read, if it was not.
        Err(due.min(ASKED_EVERY))
    }

    /// Asks for a reading out of turn, unless one was asked for a moment ago.
    pub(super) fn ask(&self) {
        let now = Instant::now();
        let mut last = self.last_asked.lock();
        if last.is_none_or(|last| now.saturating_duration_since(last) >= ASKED_EVERY) {
            *last = Some(now);
            self.asked.notify_one();
        }
    }

    /// What the console says of one who acts for a tenant.
    pub(super) fn person(&self, user: Subject) -> Option<Person> {
        self.people.load().get(&user).cloned()
    }

    /// These act for its tenants.
    pub(super) fn saw_people(&self, people: People) {
        self.people.store(Arc::new(people));
    }

    /// A reading was taken in.
    pub(super) fn was_read(&self, report: Report) {
        *self.report.lock() = report;
        self.progress
            .send_modify(|progress| progress.is_read = true);
    }

    /// Goes on with what the reading before told, if that is all there is to know by now.
    /// `companies` are those that are tenants by themselves.
    pub(super) fn take_over(&self, before: &Self, companies: impl Iterator<Item = Arc<Tenant>>) {
        self.people.store(before.people.load_full());
        let mut report = Report {
            states: BTreeMap::new(),
            refused: Vec::new(),
            ..before.report()
        };
        let companies: Vec<_> = companies.collect();
        let all = || self.configured.iter().chain(&companies);
        all().for_each(|tenant| report.count(tenant));
        let is_known = all().all(|tenant| !matches!(&**tenant.target(), Target::NotYet));
        let was_asked = before.needs_companies() || !self.needs_companies();
        if before.is_read() && was_asked && is_known {
            self.was_read(report);
        }
    }

    /// The next reading is due then.
    pub(super) fn is_due(&self, next: Instant) {
        self.progress
            .send_modify(|progress| progress.next = Some(next));
    }

    /// A reading failed: what is known stays. Tells whether that is news.
    pub(super) fn has_failed(&self, error: String) -> bool {
        let before = self.report.lock().error.replace(error);
        before.is_none()
    }

    pub(super) fn report(&self) -> Report {
        self.report.lock().clone()
    }
}

impl Roster {
    /// What a console says of a user that acts for a tenant, as far as it was read.
    pub fn person(&self, console: &ConsoleId, user: Subject) -> Option<Person> {
        self.watched.get(console)?.person(user)
    }

    /// How the directory of a console stands; `None` where nobody needs it.
    pub fn report(&self, console: &ConsoleId) -> Option<Report> {
        self.watched.get(console).map(Watched::report)
    }
}

/// How often a reading can be asked for.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How many names are told.
pub(super) const FIRST: usize = 20;
