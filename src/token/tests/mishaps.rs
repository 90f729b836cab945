//! What must hold when things go wrong: log-ins that are refused or lost, disks that fail, other
//! processes, tokens that hardly live.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::*;
use super::script::*;
use super::world::*;

/// The most calls within any half hour.
fn most_in_half_an_hour(times: &[u64]) -> usize {
    let within = |from: u64| {
        times
            .iter()
            .filter(move |at| (from..from + 1800).contains(*at))
    };
    times
        .iter()
        .map(|at| within(*at).count())
        .max()
        .unwrap_or(0)
}

fn wrong_password(_: &Script, kind: GrantKind, _: Option<&str>, _: Option<Subject>) -> Outcome {
    assert_eq!(kind, GrantKind::Login);
    Script::fail(refused())
}

/// Two deployments that overwrite each other's secret file, both with a wrong password.
#[tokio::test(start_paused = true)]
async fn a_secret_that_flaps_does_not_lock_the_account() {
    let script = Script::new(wrong_password);
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    for turn in 0..300_u64 {
        *script.print.lock() = Some(1 + turn % 2);
        sleep(Duration::from_secs(6)).await;
    }
    renewals.abort();
    let tries = most_in_half_an_hour(&script.times(GrantKind::Login));
    assert!(
        tries <= 5,
        "{tries} passwords were tried within half an hour"
    );
}

/// An operator mistypes the password three times in four minutes.
#[tokio::test(start_paused = true)]
async fn three_wrong_passwords_one_after_another_do_not_lock_the_account() {
    let script = Script::new(wrong_password);
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    for print in 1..4_u64 {
        *script.print.lock() = Some(print);
        sleep(Duration::from_secs(110)).await;
    }
    sleep(Duration::from_secs(1400)).await;
    renewals.abort();
    let tries = most_in_half_an_hour(&script.times(GrantKind::Login));
    assert!(
        tries <= 5,
        "{tries} passwords were tried within half an hour"
    );
}

/// The secret's file is not readable at a start, as while a volume is mounted.
#[tokio::test(start_paused = true)]
async fn a_start_without_its_secret_forgets_no_refusals() {
    let keeping = Keeping::on_disk();
    let script = Script::new(wrong_password);
    for _ in 0..6 {
        *script.print.lock() = Some(1);
        script.then(wrong_password);
        let it = broker(&script, &keeping);
        assert!(it.lease_for(&key(1), soon()).await.is_err());
        drop(it);
        // The next start finds no file, so nothing is sent.
        *script.print.lock() = None;
        script.then(|_, _, _, _| Script::fail(IssueError::Unavailable(Outage::Internal)));
        let it = broker(&script, &keeping);
        assert!(it.lease_for(&key(1), soon()).await.is_err());
        // That one was no password.
        script.calls.lock().pop();
        sleep(Duration::from_secs(10)).await;
    }
    let times = script.times(GrantKind::Login);
    assert!(times.len() <= 3, "tried at {times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_without_its_secret_keeps_the_session_of_before() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    broker(&script, &keeping)
        .lease_for(&key(1), soon())
        .await
        .unwrap();
    *script.print.lock() = None;
    script.then(|_, _, _, _| Script::fail(IssueError::Unavailable(Outage::Internal)));
    assert!(
        broker(&script, &keeping)
            .lease_for(&key(2), soon())
            .await
            .is_err()
    );
    script.calls.lock().pop();
    *script.print.lock() = Some(1);
    script.then(all_well);
    broker(&script, &keeping)
        .lease_for(&key(2), soon())
        .await
        .unwrap();
    let logins = script.times(GrantKind::Login).len();
    assert_eq!(logins, 1, "the session of before was thrown away");
}

/// A second process beside the first, as in an upgrade that takes its time.
#[tokio::test(start_paused = true)]
async fn two_processes_together_do_not_lock_the_account() {
    let keeping = Keeping::on_disk();
    let script = Script::new(wrong_password);
    let both = [broker(&script, &keeping), broker(&script, &keeping)];
    let renewals = both.each_ref().map(renewing);
    both.iter().for_each(|it| it.warm(&main_console()));
    sleep(Duration::from_secs(1790)).await;
    renewals.iter().for_each(|it| it.abort());
    let times = script.times(GrantKind::Login);
    assert!(most_in_half_an_hour(&times) <= 5, "tried at {times:?}");
}

/// The console takes the password, thinks for too long, and answers nobody.
#[tokio::test(start_paused = true)]
async fn passwords_whose_answer_is_lost_are_counted_too() {
    let script = Script::new(|_, _, _, _| {
        let lost = IssueError::Unavailable(Outage::TimedOut);
        (Duration::from_secs(10), Err(lost))
    });
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    sleep(Duration::from_secs(1790)).await;
    renewals.abort();
    let times = script.times(GrantKind::Login);
    assert!(
        times.len() <= 5,
        "{} passwords were sent: {times:?}",
        times.len()
    );
}

#[tokio::test(start_paused = true)]
async fn log_ins_that_went_well_are_no_refusals_after_a_restart() {
    let keeping = Keeping::on_disk();
    // As with an API key.
    let script = Script::new(|s, _, _, _| s.issue(false, 86_400));
    for start in 1..6 {
        let broker = broker(&script, &keeping);
        let lease = broker.session_lease(&main_console(), soon()).await;
        assert!(lease.is_ok(), "start {start}: {lease:?}");
        sleep(Duration::from_secs(120)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_for_a_second_cause_no_endless_log_ins() {
    let script = Script::new(|s, _, _, _| s.issue(false, 1));
    let broker = broker(&script, &Keeping::nowhere());
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    sleep(Duration::from_secs(600)).await;
    renewals.abort();
    let logins = script.times(GrantKind::Login).len();
    assert!(logins <= 60, "{logins} log-ins in ten minutes, for nobody");
}

/// The disk fails just when a new refresh token is kept, and is well again later.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_could_not_be_kept_is_not_replaced_by_the_used_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::state::Settings {
        directory: folder.path().to_owned(),
        key: None,
    };
    let state = Arc::new(crate::state::State::open(&settings).unwrap());
    let store = SessionStore::sealed(state, crate::clock::Clock::System);
    let (database, away) = (folder.path().join("state.redb"), folder.path().join("away"));
    let script = Script::new(all_well);
    let broker = Broker::new(
        Arc::clone(&script) as _,
        RefreshPolicy::default(),
        Arc::new(Notes::default()) as _,
        store,
    );
    let main = main_console();
    broker.session_lease(&main, soon()).await.unwrap();
    let renew = async || {
        let lease = broker.session_lease(&main, soon()).await.unwrap();
        broker.session_rejected(&main, lease.generation());
        sleep(Duration::from_secs(3)).await;
    };
    let (from, to) = (database.clone(), away.clone());
    script.then(move |s, kind, _, _| {
        std::fs::rename(&from, &to).unwrap();
        s.issue(kind != GrantKind::Impersonate, 3600)
    });
    renew().await;
    std::fs::rename(&away, &database).unwrap();
    script.then(all_well);
    for _ in 0..3 {
        renew().await;
    }
    broker.lease_for(&key(1), soon()).await.unwrap();
    let calls = script.calls.lock().clone();
    let first = calls
        .iter()
        .filter(|(.., sent)| sent == "refresh-0")
        .count();
    assert_eq!(first, 1, "a used refresh token was sent again: {calls:?}");
}

/// The console renews for longer than another process looks.
#[tokio::test(start_paused = true)]
async fn a_slow_renewal_of_another_process_is_waited_for() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let lease = one.session_lease(&main_console(), soon()).await.unwrap();
    script.then(|s, kind, _, _| match kind {
        GrantKind::Refresh => (Duration::from_secs(6), s.issue(true, 3600).1),
        _ => s.issue(true, 3600),
    });
    one.session_rejected(&main_console(), lease.generation());
    sleep(Duration::from_secs(1)).await;
    let two = broker(&script, &keeping);
    two.session_lease(&main_console(), soon()).await.unwrap();
    let logins = script.times(GrantKind::Login).len();
    assert_eq!(logins, 1, "logged in while the session was being renewed");
}

#[tokio::test(start_paused = true)]
async fn a_session_dropped_while_it_is_renewed_is_obtained_by_a_log_in() {
    let script = Script::new(all_well);
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let lease = broker.session_lease(&main_console(), soon()).await.unwrap();
    script.then(|s, _, _, _| (Duration::from_secs(2), s.issue(true, 3600).1));
    broker.session_rejected(&main_console(), lease.generation());
    sleep(Duration::from_secs(1)).await;
    broker.to_drop(&Which::Session(main_console())).forget();
    sleep(Duration::from_secs(10)).await;
    let calls = script.calls.lock().clone();
    let logins = script.times(GrantKind::Login).len();
    assert_eq!(logins, 2, "what was dropped goes on: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_dropped_does_not_come_back_with_a_restart() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    one.session_lease(&main_console(), soon()).await.unwrap();
    script.then(wrong_password);
    one.to_drop(&Which::Session(main_console())).forget();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(script.times(GrantKind::Login).len(), 2);
    drop(one);
    script.then(|s, kind, _, _| {
        assert_eq!(kind, GrantKind::Impersonate);
        s.issue(false, 3600)
    });
    let two = broker(&script, &keeping);
    let lease = two.lease_for(&key(1), soon()).await;
    assert!(lease.is_err(), "acted with the session that was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_kept_token_is_not_handed_out_within_its_margin() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    save(&one).await;
    drop(one);
    sleep(Duration::from_secs(3598)).await;
    let two = broker(&script, &keeping);
    let after = two.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(
        bearer(&before),
        bearer(&after),
        "a token with two seconds left"
    );
}

/// The password was wrong three times while the old session is served; now it is right.
#[tokio::test(start_paused = true)]
async fn a_secret_that_was_corrected_is_used_at_once() {
    let script = Script::new(all_well);
    let broker = broker(&script, &Keeping::nowhere());
    let renewals = renewing(&broker);
    broker.session_lease(&main_console(), soon()).await.unwrap();
    script.then(wrong_password);
    *script.print.lock() = Some(2);
    sleep(Duration::from_secs(200)).await;
    let wrong = script.times(GrantKind::Login).len();
    script.then(all_well);
    *script.print.lock() = Some(3);
    sleep(Duration::from_secs(20)).await;
    renewals.abort();
    let now = script.times(GrantKind::Login);
    assert!(now.len() > wrong, "not tried within 20 s: {now:?}");
}

/// One value in the state cannot be opened, since its key is gone.
#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_opened_is_written_over() {
    use redb::ReadableDatabase as _;
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::state::Settings {
        directory: folder.path().to_owned(),
        key: None,
    };
    let open = || {
        let state = Arc::new(crate::state::State::open(&settings).unwrap());
        SessionStore::sealed(state, crate::clock::Clock::System)
    };
    let script = Script::new(all_well);
    let start = || {
        let (script, notes) = (Arc::clone(&script), Arc::new(Notes::default()));
        Broker::new(script as _, RefreshPolicy::default(), notes as _, open())
    };
    start()
        .session_lease(&main_console(), soon())
        .await
        .unwrap();
    {
        let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("chains");
        let mut builder = redb::Builder::new();
        builder.set_concurrency_mode(redb::ConcurrencyMode::MultiWriter);
        let database = builder.open(folder.path().join("state.redb")).unwrap();
        let read = database.begin_read().unwrap().open_table(table).unwrap();
        let name = MAIN.as_bytes();
        let mut value = read.get(name).unwrap().unwrap().value().to_vec();
        drop(read);
        *value.last_mut().unwrap() ^= 1;
        let write = database.begin_write().unwrap();
        write
            .open_table(table)
            .unwrap()
            .insert(name, value.as_slice())
            .unwrap();
        write.commit().unwrap();
    }
    start()
        .session_lease(&main_console(), soon())
        .await
        .unwrap();
    assert_eq!(script.times(GrantKind::Login).len(), 2);
    start()
        .session_lease(&main_console(), soon())
        .await
        .unwrap();
    let logins = script.times(GrantKind::Login).len();
    assert_eq!(logins, 2, "nothing is kept any more");
}

/// Whoever may revoke the tokens of the gateway's own account.
#[tokio::test(start_paused = true)]
async fn revoking_the_gateways_own_tokens_again_and_again_costs_few_log_ins() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let own = Subject(Uuid::from_u128(99));
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{own}"}}"#));
    let script = Script::new(move |s, _, _, _| {
        let (delay, issued) = s.issue(true, 3600);
        let access = Secret::new(format!("a.{payload}.c"));
        (delay, issued.map(|it| Issued { access, ..it }))
    });
    let broker = broker(&script, &Keeping::nowhere());
    broker.session_lease(&main_console(), soon()).await.unwrap();
    for _ in 0..60 {
        broker.retire(own);
        sleep(Duration::from_secs(1)).await;
    }
    let logins = script.times(GrantKind::Login).len();
    assert!(logins <= 10, "{logins} log-ins in a minute");
}

/// A refresh whose answer was lost may have been done.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_whose_exchange_was_cut_is_not_sent_again() {
    let script = Script::new(all_well);
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let renewals = renewing(&broker);
    let lease = broker.session_lease(&main_console(), soon()).await.unwrap();
    script.then(|s, kind, _, _| match kind {
        GrantKind::Refresh => (
            Duration::from_secs(10),
            Err(IssueError::Unavailable(Outage::TimedOut)),
        ),
        kind => s.issue(kind != GrantKind::Impersonate, 3600),
    });
    broker.session_rejected(&main_console(), lease.generation());
    sleep(Duration::from_secs(120)).await;
    renewals.abort();
    let calls = script.calls.lock().clone();
    let sent = calls
        .iter()
        .filter(|(.., sent)| sent == "refresh-0")
        .count();
    assert_eq!(sent, 1, "{calls:?}");
}

/// The password was wrong, the tenants were refused, and the secret is corrected.
#[tokio::test(start_paused = true)]
async fn tenants_are_served_as_soon_as_the_corrected_secret_is_taken() {
    let script = Script::new(wrong_password);
    let keeping = Keeping::on_disk();
    let broker = broker(&script, &keeping);
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    sleep(Duration::from_secs(120)).await;
    assert!(broker.lease_for(&key(1), soon()).await.is_err());
    script.then(all_well);
    *script.print.lock() = Some(2);
    sleep(Duration::from_secs(20)).await;
    let state = broker.session_state(&main_console());
    assert!(matches!(state, SessionState::Usable { .. }), "{state:?}");
    let lease = broker.lease_for(&key(1), soon()).await;
    renewals.abort();
    assert!(lease.is_ok(), "there is a session, and yet: {lease:?}");
}

/// Another process is stopped in the middle of a change, or the disk hangs.
#[tokio::test]
async fn a_state_that_hangs_does_not_keep_the_gateway_from_logging_in() {
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::state::Settings {
        directory: folder.path().to_owned(),
        key: None,
    };
    let state = Arc::new(crate::state::State::open(&settings).unwrap());
    let store = SessionStore::sealed(state, crate::clock::Clock::System);
    let script = Script::new(all_well);
    let notes = Arc::new(Notes::default());
    let broker = Broker::new(
        Arc::clone(&script) as _,
        RefreshPolicy::default(),
        notes as _,
        store,
    );
    let mut builder = redb::Builder::new();
    builder.set_concurrency_mode(redb::ConcurrencyMode::MultiWriter);
    let database = builder.open(folder.path().join("state.redb")).unwrap();
    let held = database.begin_write().unwrap();
    let deadline = Instant::now() + Duration::from_secs(8);
    let lease = broker.session_lease(&main_console(), deadline).await;
    let calls = script.calls.lock().len();
    drop(held);
    assert!(lease.is_ok(), "{lease:?}, after {calls} calls");
}

/// While an operator looks at nothing: a console whose refresh tokens live for two seconds.
#[tokio::test(start_paused = true)]
async fn refresh_tokens_that_live_for_a_second_cause_no_endless_renewals() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = URL_SAFE_NO_PAD.encode(r#"{"iat":100,"exp":101}"#);
    let script = Script::new(move |s, _, _, _| {
        let (delay, issued) = s.issue(true, 3600);
        let number = s.issued.load(Ordering::SeqCst);
        let refresh = Some(Secret::new(format!("{number}.{payload}.c")));
        (delay, issued.map(|it| Issued { refresh, ..it }))
    });
    let broker = broker(&script, &Keeping::nowhere());
    let renewals = renewing(&broker);
    broker.warm(&main_console());
    sleep(Duration::from_secs(600)).await;
    renewals.abort();
    let calls = script.calls.lock().len();
    assert!(calls <= 60, "{calls} calls in ten minutes, for nobody");
}

/// The token that acts as a user is in truth the gateway's own.
#[tokio::test(start_paused = true)]
async fn a_token_of_the_gateways_own_account_is_no_tenants_where_that_is_settled() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let own = Subject(Uuid::from_u128(99));
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{own}"}}"#));
    let script = Script::new(move |s, _, _, _| {
        let (delay, issued) = s.issue(true, 3600);
        let access = Secret::new(format!("a.{payload}.c"));
        (delay, issued.map(|it| Issued { access, ..it }))
    });
    let settings = RefreshSettings {
        own_subject: false,
        ..RefreshSettings::default()
    };
    let broker = Broker::new(
        script,
        RefreshPolicy::try_new(settings).unwrap(),
        Arc::new(Notes::default()),
        Keeping::nowhere().open(),
    );
    let lease = broker.lease_for(&key(1), soon()).await;
    assert!(
        lease.is_err(),
        "a tenant acts as the service provider: {lease:?}"
    );
}

/// The secret lies on a disk that answers after a second, as network disks do.
#[tokio::test]
async fn a_secret_that_is_read_slowly_stops_no_worker() {
    struct Slow(Arc<Script>);
    #[async_trait]
    impl TokenIssuer for Slow {
        async fn login(&self, identity: &IdentityId) -> Result<Issued, IssueError> {
            self.0.login(identity).await
        }
        fn credential_print(&self, _: &IdentityId) -> Option<u64> {
            std::thread::sleep(Duration::from_secs(1));
            Some(1)
        }
        async fn refresh(
            &self,
            console: &ConsoleId,
            it: &Secret,
            access: Access,
        ) -> Result<Issued, IssueError> {
            self.0.refresh(console, it, access).await
        }
        async fn impersonate(
            &self,
            console: &ConsoleId,
            it: &Secret,
            target: Subject,
            access: Access,
        ) -> Result<Issued, IssueError> {
            self.0.impersonate(console, it, target, access).await
        }
    }
    let broker = Broker::new(
        Arc::new(Slow(Script::new(all_well))) as _,
        RefreshPolicy::default(),
        Arc::new(Notes::default()) as _,
        SessionStore::nowhere(),
    );
    let renewals = renewing(&broker);
    let longest = Arc::new(Mutex::new(Duration::ZERO));
    let noted = Arc::clone(&longest);
    let ticking = tokio::spawn(async move {
        loop {
            let before = Instant::now();
            sleep(Duration::from_millis(20)).await;
            let mut longest = noted.lock();
            *longest = before.elapsed().max(*longest);
        }
    });
    broker.lease_for(&key(1), soon()).await.unwrap();
    sleep(Duration::from_secs(6)).await;
    ticking.abort();
    renewals.abort();
    let longest = *longest.lock();
    assert!(
        longest < Duration::from_millis(500),
        "the worker stood still for {longest:?}"
    );
}

/// A process starts while another one logs in, and finds that noted.
#[tokio::test(start_paused = true)]
async fn a_log_in_under_way_elsewhere_is_no_refusal() {
    let keeping = Keeping::on_disk();
    let script = Script::new(|s, kind, _, _| {
        let refresh = kind != GrantKind::Impersonate;
        (Duration::from_secs(1), s.issue(refresh, 3600).1)
    });
    let one = broker(&script, &keeping);
    one.warm(&main_console());
    sleep(Duration::from_millis(500)).await;
    let two = broker(&script, &keeping);
    two.warm(&main_console());
    sleep(Duration::from_secs(3)).await;
    one.session_lease(&main_console(), soon()).await.unwrap();
    let lease = two.lease_for(&key(1), soon()).await;
    assert!(
        lease.is_ok(),
        "the session is in the state, and yet: {lease:?}"
    );
}
