//! A token endpoint whose answers a test makes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::super::*;
use super::world::*;

pub(super) type Outcome = (Duration, Result<Issued, IssueError>);
pub(super) type Answering =
    dyn Fn(&Script, GrantKind, Option<&str>, Option<Subject>) -> Outcome + Send + Sync;

/// An endpoint whose answers a test makes up; it notes each call when it begins.
pub(super) struct Script {
    pub(super) answers: Mutex<Arc<Answering>>,
    pub(super) began: Instant,
    pub(super) calls: Mutex<Vec<(GrantKind, u64, String)>>,
    pub(super) issued: AtomicUsize,
    pub(super) print: Mutex<Option<u64>>,
}

impl Script {
    pub(super) fn new(
        answers: impl Fn(&Self, GrantKind, Option<&str>, Option<Subject>) -> Outcome
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(Arc::new(answers)),
            began: Instant::now(),
            calls: Mutex::default(),
            issued: AtomicUsize::new(0),
            print: Mutex::new(Some(1)),
        })
    }

    pub(super) fn then(
        &self,
        answers: impl Fn(&Self, GrantKind, Option<&str>, Option<Subject>) -> Outcome
        + Send
        + Sync
        + 'static,
    ) {
        *self.answers.lock() = Arc::new(answers);
    }

    pub(super) fn issue(&self, refresh: bool, lifetime: u64) -> Outcome {
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let issued = Issued {
            access: Secret::new(format!("access-{number}")),
            refresh: refresh.then(|| Secret::new(format!("refresh-{number}"))),
            lifetime: Duration::from_secs(lifetime),
        };
        (Duration::from_millis(20), Ok(issued))
    }

    pub(super) fn fail(error: IssueError) -> Outcome {
        (Duration::from_millis(20), Err(error))
    }

    /// The seconds at which calls of a kind began.
    pub(super) fn times(&self, kind: GrantKind) -> Vec<u64> {
        let calls = self.calls.lock();
        let of_kind = calls.iter().filter(|(it, ..)| *it == kind);
        of_kind.map(|(_, at, _)| *at).collect()
    }

    async fn answer(
        &self,
        kind: GrantKind,
        refresh: Option<&Secret>,
        target: Option<Subject>,
    ) -> Result<Issued, IssueError> {
        let sent = refresh.map(|it| it.expose().to_owned());
        let at = self.began.elapsed().as_secs();
        let noted = (kind, at, sent.clone().unwrap_or_default());
        self.calls.lock().push(noted);
        let answers = Arc::clone(&*self.answers.lock());
        let (delay, outcome) = answers(self, kind, sent.as_deref(), target);
        sleep(delay).await;
        outcome
    }
}

#[async_trait]
impl TokenIssuer for Script {
    async fn login(&self, _: &IdentityId) -> Result<Issued, IssueError> {
        self.answer(GrantKind::Login, None, None).await
    }

    fn credential_print(&self, _: &IdentityId) -> Option<u64> {
        *self.print.lock()
    }

    async fn refresh(&self, _: &ConsoleId, it: &Secret, _: Access) -> Result<Issued, IssueError> {
        self.answer(GrantKind::Refresh, Some(it), None).await
    }

    async fn impersonate(
        &self,
        _: &ConsoleId,
        it: &Secret,
        target: Subject,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(GrantKind::Impersonate, Some(it), Some(target))
            .await
    }
}

pub(super) fn broker(script: &Arc<Script>, keeping: &Keeping) -> Broker {
    Broker::new(
        Arc::clone(script) as _,
        RefreshPolicy::default(),
        Arc::new(Notes::default()) as _,
        keeping.open(),
    )
}

pub(super) fn renewing(broker: &Broker) -> tokio::task::JoinHandle<()> {
    let broker = broker.clone();
    tokio::spawn(async move { broker.run_renewals(std::future::pending()).await })
}

pub(super) fn main_console() -> ConsoleId {
    ConsoleId::new(MAIN)
}

pub(super) async fn save(broker: &Broker) {
    let broker = broker.clone();
    tokio::task::spawn_blocking(move || broker.save())
        .await
        .unwrap();
}

pub(super) fn all_well(
    s: &Script,
    kind: GrantKind,
    _: Option<&str>,
    _: Option<Subject>,
) -> Outcome {
    s.issue(kind != GrantKind::Impersonate, 3600)
}
