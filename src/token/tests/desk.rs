//! What one user, one caller or one console must not cost the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::super::*;
use super::world::*;

type Outcome = (Duration, Result<Issued, IssueError>);
type Answering = dyn Fn(&Script, &Asked<'_>) -> Outcome + Send + Sync;

/// What an endpoint is asked.
struct Asked<'a> {
    console: &'a ConsoleId,
    grant: GrantKind,
    refresh: Option<&'a str>,
    target: Option<Subject>,
}

/// An endpoint whose answers a test makes up.
struct Script {
    answers: Mutex<Arc<Answering>>,
    issued: AtomicUsize,
    log_ins: AtomicUsize,
    print: Mutex<Option<u64>>,
}

impl Script {
    fn new(
        answers: impl Fn(&Self, &Asked<'_>) -> Outcome + Send + Sync + 'static,
    ) -> (Arc<Self>, Broker) {
        let script = Arc::new(Self {
            answers: Mutex::new(Arc::new(answers)),
            issued: AtomicUsize::new(0),
            log_ins: AtomicUsize::new(0),
            print: Mutex::new(Some(1)),
        });
        let broker = Broker::new(
            Arc::clone(&script) as _,
            RefreshPolicy::default(),
            Arc::new(Notes::default()) as _,
            SessionStore::nowhere(),
        );
        (script, broker)
    }

    fn then(&self, answers: impl Fn(&Self, &Asked<'_>) -> Outcome + Send + Sync + 'static) {
        *self.answers.lock() = Arc::new(answers);
    }

    fn issue(&self, asked: &Asked<'_>) -> Outcome {
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let is_session = asked.grant != GrantKind::Impersonate;
        let issued = Issued {
            access: Secret::new(format!("access-{number}")),
            refresh: is_session.then(|| Secret::new(format!("refresh-{number}"))),
            lifetime: LIFE,
        };
        (Duration::from_millis(20), Ok(issued))
    }

    async fn answer(&self, asked: Asked<'_>) -> Result<Issued, IssueError> {
        if asked.grant == GrantKind::Login {
            self.log_ins.fetch_add(1, Ordering::SeqCst);
        }
        let answers = Arc::clone(&*self.answers.lock());
        let (delay, outcome) = answers(self, &asked);
        sleep(delay).await;
        outcome
    }
}

#[async_trait]
impl TokenIssuer for Script {
    async fn login(&self, identity: &IdentityId) -> Result<Issued, IssueError> {
        self.answer(Asked {
            console: identity.console(),
            grant: GrantKind::Login,
            refresh: None,
            target: None,
        })
        .await
    }

    fn credential_print(&self, _: &IdentityId) -> Option<u64> {
        *self.print.lock()
    }

    async fn refresh(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(Asked {
            console,
            grant: GrantKind::Refresh,
            refresh: Some(refresh.expose()),
            target: None,
        })
        .await
    }

    async fn impersonate(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        target: Subject,
        _: Access,
    ) -> Result<Issued, IssueError> {
        self.answer(Asked {
            console,
            grant: GrantKind::Impersonate,
            refresh: Some(refresh.expose()),
            target: Some(target),
        })
        .await
    }
}

fn main_console() -> ConsoleId {
    ConsoleId::new(MAIN)
}

fn renewing(broker: &Broker) -> JoinHandle<()> {
    let broker = broker.clone();
    tokio::spawn(async move { broker.run_renewals(std::future::pending()).await })
}

fn fails(error: IssueError) -> Outcome {
    (Duration::from_millis(20), Err(error))
}

/// Users that nobody knows.
const NOBODY: u128 = 1_000;

fn refuses_nobodies(script: &Script, asked: &Asked<'_>) -> Outcome {
    match asked.target {
        Some(target) if target.0.as_u128() >= NOBODY => {
            (Duration::from_millis(100), Err(refused()))
        }
        _ => script.issue(asked),
    }
}

/// Asks for so many users that nobody knows; the callers go away at once.
async fn name_nobodies(broker: &Broker, count: u128) {
    let mut calls = JoinSet::new();
    for user in NOBODY..NOBODY + count {
        let broker = broker.clone();
        calls.spawn(async move {
            let gone = Instant::now();
            drop(broker.lease_for_named(&key(user), gone).await);
        });
    }
    calls.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn one_user_whose_token_fails_does_not_cost_the_others_theirs() {
    let (_, broker) = Script::new(|script, asked| match asked.target {
        Some(target) if target == key(666).target => fails(down()),
        _ => script.issue(asked),
    });
    broker.session_lease(&main_console(), soon()).await.unwrap();
    for _ in 0..600 {
        drop(broker.lease_for(&key(666), soon()).await);
        sleep(Duration::from_millis(100)).await;
    }
    let lease = broker.lease_for(&key(1), soon()).await;
    assert!(lease.is_ok(), "{lease:?}");
}

#[tokio::test(start_paused = true)]
async fn dead_log_ins_of_users_do_not_cost_the_tenants_their_tokens() {
    let (_, broker) = Script::new(|script, asked| match (asked.grant, asked.refresh) {
        (GrantKind::Refresh, Some("dead")) => fails(down()),
        _ => script.issue(asked),
    });
    broker.session_lease(&main_console(), soon()).await.unwrap();
    for _ in 0..5 {
        let issued = Issued {
            access: Secret::new("visitor".to_owned()),
            refresh: Some(Secret::new("dead".to_owned())),
            lifetime: LIFE,
        };
        let adopted = broker
            .adopt(&main_console(), None, issued, Access::Full)
            .await;
        let (session, _) = adopted.unwrap();
        broker.give_up(&session);
        drop(broker.session_lease_for(&session, soon()).await);
    }
    let lease = broker.lease_for(&key(1), soon()).await;
    assert!(lease.is_ok(), "{lease:?}");
}

#[tokio::test(start_paused = true)]
async fn one_callers_made_up_users_do_not_keep_a_tenant_from_its_token() {
    let (_, broker) = Script::new(refuses_nobodies);
    broker.session_lease(&main_console(), soon()).await.unwrap();
    name_nobodies(&broker, 2_000).await;
    let begun = Instant::now();
    let lease = broker.lease_for(&key(1), soon()).await;
    assert!(lease.is_ok(), "{lease:?}");
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    // Those who could not wait are told so at once.
    name_nobodies(&broker, 2_000).await;
    let begun = Instant::now();
    let error = broker.lease_for_named(&key(500), soon()).await.unwrap_err();
    let crowded = TokenError::Unavailable {
        error: IssueError::Unavailable(Outage::Crowded),
        retry_after: Duration::from_secs(1),
    };
    assert_eq!((error, begun.elapsed()), (crowded, Duration::ZERO));
    // Some of those who waited are served meanwhile.
    sleep(Duration::from_secs(60)).await;
    broker.lease_for_named(&key(500), soon()).await.unwrap();
}

/// A caller names the tenant's own user among many others, before the tenant needs it.
#[tokio::test(start_paused = true)]
async fn a_tenants_user_that_a_caller_names_first_waits_no_longer_for_it() {
    let (_, broker) = Script::new(refuses_nobodies);
    broker.session_lease(&main_console(), soon()).await.unwrap();
    name_nobodies(&broker, 200).await;
    // One that waits, and one that was told to come again.
    drop(broker.lease_for_named(&key(1), Instant::now()).await);
    name_nobodies(&broker, 2_000).await;
    let crowded = broker.lease_for_named(&key(2), soon()).await;
    assert!(crowded.is_err(), "{crowded:?}");
    let begun = Instant::now();
    for user in [1, 2] {
        let lease = broker.lease_for(&key(user), soon()).await;
        assert!(lease.is_ok(), "{user}: {lease:?}");
    }
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_waited_for_closes_no_endpoint() {
    let (script, broker) = Script::new(Script::issue);
    let renewals = renewing(&broker);
    broker.session_lease(&main_console(), soon()).await.unwrap();
    script.then(|script, asked| match asked.grant {
        GrantKind::Login => fails(IssueError::NextCode {
            retry_after: Duration::from_secs(60),
        }),
        _ => script.issue(asked),
    });
    *script.print.lock() = Some(2);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(script.log_ins.load(Ordering::SeqCst), 2);
    let lease = broker.lease_for(&key(1), soon()).await;
    assert!(lease.is_ok(), "the session is good, and yet: {lease:?}");
    // The code is sent when it is good.
    script.then(Script::issue);
    sleep(Duration::from_secs(62)).await;
    renewals.abort();
    assert_eq!(script.log_ins.load(Ordering::SeqCst), 3);
}

/// Four consoles hang; the fifth is well.
#[tokio::test(start_paused = true)]
async fn consoles_that_hang_do_not_keep_another_from_its_session() {
    let (_, broker) = Script::new(|script, asked| {
        let hangs = asked.console.as_str().starts_with("hangs");
        match asked.grant {
            GrantKind::Impersonate if hangs => {
                // As long as the whole exchange may take.
                let late = IssueError::Unavailable(Outage::TimedOut);
                (Duration::from_secs(10), Err(late))
            }
            _ => script.issue(asked),
        }
    });
    for number in 0..4_u128 {
        let console = ConsoleId::new(&format!("hangs-{number}"));
        broker.session_lease(&console, soon()).await.unwrap();
        for user in 0..8 {
            let console = console.clone();
            let key = TokenKey {
                console,
                ..key(user)
            };
            drop(broker.lease_for(&key, Instant::now()).await);
        }
    }
    sleep(Duration::from_millis(100)).await;
    let (began, well) = (Instant::now(), ConsoleId::new("well"));
    let lease = broker.session_lease(&well, soon()).await;
    let waited = began.elapsed();
    assert!(
        lease.is_ok() && waited < Duration::from_secs(1),
        "{lease:?} after {waited:?}"
    );
    let key = TokenKey {
        console: well,
        ..key(1)
    };
    let lease = broker.lease_for(&key, soon()).await;
    let waited = began.elapsed();
    assert!(
        lease.is_ok() && waited < Duration::from_secs(3),
        "{lease:?} after {waited:?}"
    );
}
