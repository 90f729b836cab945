use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::*;
use crate::clock::Clock;
use crate::state::State;

pub(super) const LIFE: Duration = Duration::from_secs(3600);
pub(super) const MAIN: &str = "main";

/// What the scripted endpoint does instead of issuing a token.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Error(IssueError),
    Panic,
}

/// A token endpoint that counts, rotates refresh tokens, and fails as it is told.
pub(super) struct FakeIssuer {
    pub(super) at_once: AtomicUsize,
    busy: Mutex<HashSet<Option<Subject>>>,
    pub(super) calls: Mutex<Vec<(GrantKind, Instant)>>,
    /// Calls for one identity while another was under way.
    pub(super) collisions: AtomicUsize,
    pub(super) delay: Mutex<Duration>,
    /// When each token was issued, by its number.
    pub(super) dates: Mutex<Vec<Instant>>,
    /// What each grant answers for now instead of a token.
    pub(super) faults: Mutex<HashMap<&'static str, Fault>>,
    /// The refresh token that is good now.
    pub(super) good_refresh: Mutex<String>,
    pub(super) issued: AtomicUsize,
    pub(super) life: Mutex<Duration>,
    pub(super) most_at_once: AtomicUsize,
    pub(super) rotation: Mutex<Rotation>,
    /// Tells where the console is.
    pub(super) place: Mutex<Option<u64>>,
    /// Tells the credentials.
    pub(super) print: Mutex<Option<u64>>,
    /// Users that nobody may act as.
    pub(super) barred: Mutex<Vec<Subject>>,
    /// Whose the tokens of a grant say they are.
    pub(super) subjects: Mutex<HashMap<&'static str, Subject>>,
    pub(super) used_refresh: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rotation {
    NoneInAnswer,
    Rotates,
}

pub(super) fn refused() -> IssueError {
    IssueError::Refused {
        error: "invalid_grant".into(),
        description: "no".into(),
    }
}

pub(super) fn down() -> IssueError {
    IssueError::Unavailable(Outage::Status(520))
}

impl FakeIssuer {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            at_once: AtomicUsize::new(0),
            busy: Mutex::default(),
            calls: Mutex::default(),
            collisions: AtomicUsize::new(0),
            delay: Mutex::new(Duration::from_millis(50)),
            dates: Mutex::default(),
            faults: Mutex::default(),
            good_refresh: Mutex::default(),
            issued: AtomicUsize::new(0),
            life: Mutex::new(LIFE),
            most_at_once: AtomicUsize::new(0),
            rotation: Mutex::new(Rotation::Rotates),
            place: Mutex::default(),
            print: Mutex::default(),
            barred: Mutex::default(),
            subjects: Mutex::default(),
            used_refresh: Mutex::default(),
        })
    }

    pub(super) fn count(&self, grant: GrantKind) -> usize {
        self.calls
            .lock()
            .iter()
            .filter(|(kind, _)| *kind == grant)
            .count()
    }

    /// Calls so far: logins, refreshes, impersonations.
    pub(super) fn counts(&self) -> [usize; 3] {
        [GrantKind::Login, GrantKind::Refresh, GrantKind::Impersonate].map(|kind| self.count(kind))
    }

    pub(super) fn fail(&self, grant: GrantKind, fault: Fault) {
        self.faults.lock().insert(grant.as_str(), fault);
    }

    pub(super) fn heal(&self) {
        self.faults.lock().clear();
    }

    /// Makes the refresh token that the gateway holds a dead one.
    pub(super) fn kill_session(&self) {
        "canary-refresh-unknown".clone_into(&mut self.good_refresh.lock());
    }

    async fn answer(
        &self,
        grant: GrantKind,
        target: Option<Subject>,
        refresh: Option<&Secret>,
    ) -> Result<Issued, IssueError> {
        self.calls.lock().push((grant, Instant::now()));
        if !self.busy.lock().insert(target) {
            self.collisions.fetch_add(1, Ordering::SeqCst);
        }
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let delay = *self.delay.lock();
        sleep(delay).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.busy.lock().remove(&target);
        let fault = self.faults.lock().get(grant.as_str()).cloned();
        match fault {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::Panic) => panic!("scripted"),
            None => {}
        }
        if let Some(refresh) = refresh {
            self.used_refresh.lock().push(refresh.expose().to_owned());
            if refresh.expose() != *self.good_refresh.lock() {
                return Err(refused());
            }
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        self.dates.lock().push(Instant::now());
        let fresh = format!("canary-refresh-{number}");
        let rotation = *self.rotation.lock();
        let refresh = match (grant, rotation) {
            // The real one gives back what was sent; a trap shows whoever uses it.
            (GrantKind::Impersonate, _) => Some("canary-refresh-of-as".to_owned()),
            (GrantKind::Refresh, Rotation::NoneInAnswer) => None,
            (GrantKind::Login | GrantKind::Refresh, _) => {
                fresh.clone_into(&mut self.good_refresh.lock());
                Some(fresh)
            }
        };
        Ok(Issued {
            access: Secret::new(match self.subjects.lock().get(grant.as_str()) {
                None => format!("canary-access-{number}"),
                Some(subject) => jwt(number, *subject),
            }),
            refresh: refresh.map(Secret::new),
            lifetime: *self.life.lock(),
        })
    }
}

/// A token that says whose it is.
fn jwt(number: usize, subject: Subject) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{subject}"}}"#));
    format!("canary-{number}.{payload}.signature")
}

#[async_trait]
impl TokenIssuer for FakeIssuer {
    fn place_print(&self, _: &ConsoleId) -> Option<u64> {
        *self.place.lock()
    }

    fn credential_print(&self, _: &IdentityId) -> Option<u64> {
        *self.print.lock()
    }

    async fn login(&self, _: &IdentityId) -> Result<Issued, IssueError> {
        self.answer(GrantKind::Login, None, None).await
    }

    async fn refresh(
        &self,
        _: &ConsoleId,
        refresh: &Secret,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(GrantKind::Refresh, None, Some(refresh)).await
    }

    async fn impersonate(
        &self,
        _: &ConsoleId,
        refresh: &Secret,
        target: Subject,
        _: Access,
    ) -> Result<Issued, IssueError> {
        if self.barred.lock().contains(&target) {
            self.calls
                .lock()
                .push((GrantKind::Impersonate, Instant::now()));
            return Err(refused());
        }
        self.answer(GrantKind::Impersonate, Some(target), Some(refresh))
            .await
    }
}

/// Keeps the printed form of all events.
#[derive(Default)]
pub(super) struct Notes(pub(super) Mutex<Vec<String>>);

impl TokenObserver for Notes {
    fn observe(&self, event: &TokenEvent<'_>) {
        self.0.lock().push(format!("{event:?}"));
    }
}

/// Where sessions are kept in a test, over the end of a broker.
pub(super) struct Keeping {
    folder: Option<tempfile::TempDir>,
    /// Wall time goes with the test's own.
    origin: Instant,
    /// Added to wall time, in seconds.
    pub(super) jump: Arc<AtomicI64>,
}

impl Keeping {
    pub(super) fn nowhere() -> Self {
        Self {
            folder: None,
            origin: Instant::now(),
            jump: Arc::default(),
        }
    }

    pub(super) fn on_disk() -> Self {
        Self {
            folder: Some(tempfile::tempdir().unwrap()),
            ..Self::nowhere()
        }
    }

    fn clock(&self) -> Clock {
        Clock::Paced(self.origin, Arc::clone(&self.jump))
    }

    pub(super) fn open(&self) -> SessionStore {
        match &self.folder {
            None => SessionStore::nowhere_by(self.clock()),
            Some(folder) => {
                let directory = folder.path().to_owned();
                let settings = crate::state::Settings {
                    directory,
                    key: None,
                };
                let state = Arc::new(State::open(&settings).unwrap());
                SessionStore::sealed(state, self.clock())
            }
        }
    }
}

pub(super) struct World {
    pub(super) keeping: Arc<Keeping>,
    renewals: Option<tokio::task::JoinHandle<()>>,
    pub(super) broker: Broker,
    pub(super) issuer: Arc<FakeIssuer>,
    pub(super) notes: Arc<Notes>,
}

impl World {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self::with(FakeIssuer::new(), Arc::new(keeping))
    }

    pub(super) fn with(issuer: Arc<FakeIssuer>, keeping: Arc<Keeping>) -> Self {
        let notes = Arc::new(Notes::default());
        let broker = Broker::new(
            Arc::clone(&issuer) as _,
            RefreshPolicy::default(),
            Arc::clone(&notes) as _,
            keeping.open(),
        );
        Self {
            keeping,
            renewals: None,
            broker,
            issuer,
            notes,
        }
    }

    pub(super) fn with_renewals(keeping: Keeping) -> Self {
        Self::new(keeping).renewing()
    }

    pub(super) fn renewing(mut self) -> Self {
        let broker = self.broker.clone();
        let renewals = async move { broker.run_renewals(std::future::pending()).await };
        self.renewals = Some(tokio::spawn(renewals));
        self
    }

    /// Nothing is renewed any more.
    pub(super) fn stopped(mut self) -> Self {
        if let Some(renewals) = self.renewals.take() {
            renewals.abort();
        }
        self
    }

    /// The process ends without a word, and another one starts.
    pub(super) fn killed(self) -> Self {
        let renews = self.renewals.is_some();
        if let Some(renewals) = &self.renewals {
            renewals.abort();
        }
        let next = Self::with(Arc::clone(&self.issuer), Arc::clone(&self.keeping));
        if renews { next.renewing() } else { next }
    }

    pub(super) async fn lease(&self, user: u128) -> Result<Lease, TokenError> {
        self.broker.lease_for(&key(user), soon()).await
    }

    /// A lease that must be there already.
    pub(super) async fn lease_at_once(&self, user: u128) -> Lease {
        let before = Instant::now();
        let lease = self.lease(user).await.unwrap();
        assert_eq!(Instant::now(), before, "the request had to wait");
        lease
    }

    /// Lets what was started come to its end.
    pub(super) async fn settle(&self) {
        sleep(Duration::from_secs(1)).await;
    }
}

pub(super) fn key(user: u128) -> TokenKey {
    let target = Subject(Uuid::from_u128(user));
    TokenKey {
        console: ConsoleId::new(MAIN),
        target,
        access: Access::Full,
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

pub(super) fn bearer(lease: &Lease) -> String {
    lease.authorization().to_str().unwrap().to_owned()
}

/// An endpoint that answers at once and notices two calls for one user at the same time.
#[derive(Default)]
pub(super) struct Watchful {
    pub(super) busy: Mutex<HashMap<Option<Subject>, usize>>,
    pub(super) collisions: AtomicUsize,
    pub(super) issued: AtomicUsize,
}

impl Watchful {
    async fn answer(&self, target: Option<Subject>) -> Result<Issued, IssueError> {
        if self.busy.lock().insert(target, 1).is_some() {
            self.collisions.fetch_add(1, Ordering::SeqCst);
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.busy.lock().remove(&target);
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let owner = target.map(|it| it.to_string()).unwrap_or_default();
        Ok(Issued {
            access: Secret::new(format!("{owner}/{number}")),
            refresh: Some(Secret::new("r".to_owned())),
            lifetime: LIFE,
        })
    }
}

#[async_trait]
impl TokenIssuer for Watchful {
    async fn login(&self, _: &IdentityId) -> Result<Issued, IssueError> {
        self.answer(None).await
    }

    async fn refresh(&self, _: &ConsoleId, _: &Secret, _: Access) -> Result<Issued, IssueError> {
        self.answer(None).await
    }

    async fn impersonate(
        &self,
        _: &ConsoleId,
        _: &Secret,
        target: Subject,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(Some(target)).await
    }
}
