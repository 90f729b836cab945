//! Runs once against each store: see the module around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

use super::store;
use crate::token::tests::world::*;
use crate::token::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_for_a_cold_key_are_one_login_and_one_as() {
    let world = World::new(store());
    let mut requests = JoinSet::new();
    for _ in 0..10_000 {
        let broker = world.broker.clone();
        requests.spawn(async move {
            broker
                .lease_for(&key(1), soon())
                .await
                .map(|it| bearer(&it))
        });
    }
    let answers = requests.join_all().await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_deref() == Ok("Bearer canary-access-1"))
    );
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
    assert_eq!(
        world.broker.stats(),
        TokenStats {
            held: 1,
            sessions: 1,
            cooling: 0,
            followers: 9_999,
            waiting: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_leaves_the_fetch_to_the_others() {
    let world = World::new(store());
    let leader = tokio::time::timeout(Duration::from_millis(10), world.lease(1));
    assert!(leader.await.is_err());
    assert!(world.lease(1).await.is_ok());
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn users_share_the_session_and_never_a_token() {
    let world = World::new(store());
    let (one, two) = (world.lease(1).await.unwrap(), world.lease(2).await.unwrap());
    assert_ne!(bearer(&one), bearer(&two));
    let read_only = TokenKey {
        access: Access::ReadOnly,
        ..key(1)
    };
    let three = world.broker.lease_for(&read_only, soon()).await.unwrap();
    assert_ne!(bearer(&one), bearer(&three));
    assert_eq!(world.issuer.counts(), [1, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_endpoint_is_an_error_for_all_and_the_next_one_works() {
    let world = World::new(store());
    world.issuer.fail(GrantKind::Impersonate, Fault::Panic);
    let (one, two) = tokio::join!(world.lease(1), world.lease(1));
    assert!(matches!(one, Err(TokenError::Unavailable { .. })));
    assert_eq!(one.as_ref().err(), two.as_ref().err());
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
    world.issuer.heal();
    advance(Duration::from_secs(1)).await;
    assert!(world.lease(1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_panic_beside_the_endpoint_hangs_nobody_either() {
    #[derive(Default)]
    struct Fragile(AtomicUsize);
    impl TokenObserver for Fragile {
        fn observe(&self, _: &TokenEvent<'_>) {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "scripted");
        }
    }
    let kept = store();
    let broker = Broker::new(
        FakeIssuer::new(),
        RefreshPolicy::default(),
        Arc::new(Fragile::default()),
        kept.open(),
    );
    let before = Instant::now();
    let result = broker.lease_for(&key(1), soon()).await;
    assert!(matches!(result, Err(TokenError::Unavailable { .. })));
    assert!(before.elapsed() < Duration::from_secs(1));
    advance(Duration::from_secs(1)).await;
    assert!(broker.lease_for(&key(1), soon()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_get_the_error_of_the_one_attempt() {
    let world = World::new(store());
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(down()));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let broker = world.broker.clone();
        requests.spawn(async move { broker.lease_for(&key(1), soon()).await.unwrap_err() });
    }
    let errors = requests.join_all().await;
    assert!(errors.iter().all(|error| *error == errors[0]));
    assert!(matches!(&errors[0], TokenError::Unavailable { error, .. } if *error == down()));
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_to_its_deadline_and_no_second_fetch_starts() {
    let world = World::new(store());
    *world.issuer.delay.lock() = Duration::from_secs(30);
    let begun = Instant::now();
    let short = Instant::now() + Duration::from_secs(2);
    let result = world.broker.lease_for(&key(1), short).await;
    assert!(matches!(result, Err(TokenError::TimedOut { .. })));
    assert_eq!(begun.elapsed().as_secs(), 2);
    let result = world.broker.lease_for(&key(1), soon() + LIFE).await;
    assert!(matches!(result, Err(TokenError::TimedOut { .. })));
    assert_eq!(begun.elapsed().as_secs(), 12);
    sleep(Duration::from_secs(60)).await;
    world.lease_at_once(1).await;
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_served() {
    let world = World::new(store());
    let old = world.lease(1).await.unwrap();
    advance(Duration::from_secs(3570)).await;
    let new = world.lease(1).await.unwrap();
    assert!(new.generation() > old.generation());
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_renewed_with_no_request_waiting() {
    let world = World::with_renewals(store());
    let first = world.lease(1).await.unwrap();
    sleep(Duration::from_secs(2000)).await;
    assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&first));
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 1);
    sleep(Duration::from_secs(800)).await;
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 2);
    assert!(world.lease_at_once(1).await.generation() > first.generation());
    for _ in 0..24 {
        sleep(Duration::from_secs(1800)).await;
        world.lease_at_once(1).await;
    }
    assert_eq!(world.issuer.count(GrantKind::Login), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_token_is_not_renewed_and_forgotten_at_its_end() {
    let world = World::with_renewals(store());
    world.lease(1).await.unwrap();
    // The renewal at three quarters still sees the use within the last hour.
    sleep(LIFE * 3).await;
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 2);
    assert_eq!(world.broker.stats().held, 0);
    assert_eq!(world.broker.census().0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_kept_alive_at_half_its_life() {
    let (world, main) = (World::with_renewals(store()), ConsoleId::new(MAIN));
    world.broker.warm(&main);
    // The access token ends, and nobody needs one.
    sleep(LIFE * 19).await;
    assert_eq!(world.issuer.counts(), [1, 0, 0]);
    sleep(LIFE * 6).await;
    assert_eq!(world.issuer.counts(), [1, 1, 0]);
    sleep(LIFE * 24 * 30).await;
    let [logins, refreshes, _] = world.issuer.counts();
    assert_eq!(logins, 1);
    assert!((30..40).contains(&refreshes), "{refreshes}");
    assert_eq!(world.broker.census(), (0, 1));
    // A call in its own name has its access token renewed first.
    while world.issuer.counts() == [1, refreshes, 0] {
        sleep(LIFE).await;
    }
    sleep(LIFE * 2).await;
    world.broker.session_lease(&main, soon()).await.unwrap();
    assert_eq!(world.issuer.counts(), [1, refreshes + 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_timer_a_request_has_the_token_renewed_behind_it() {
    let world = World::new(store());
    let first = world.lease(1).await.unwrap();
    advance(Duration::from_secs(3200)).await;
    assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&first));
    world.settle().await;
    assert!(world.lease_at_once(1).await.generation() > first.generation());
}

#[tokio::test(start_paused = true)]
async fn late_rejections_cause_one_renewal() {
    let world = World::new(store());
    let lease = world.lease(1).await.unwrap();
    advance(Duration::from_secs(6)).await;
    for _ in 0..100 {
        world.broker.rejected_for(&key(1), lease.generation());
    }
    let next = world.lease(1).await.unwrap();
    for _ in 0..100 {
        world.broker.rejected_for(&key(1), lease.generation());
    }
    assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&next));
    assert_eq!(world.issuer.counts(), [1, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_second_rejection_within_five_seconds_fetches_nothing() {
    let world = World::new(store());
    let first = world.lease(1).await.unwrap();
    advance(Duration::from_secs(6)).await;
    world.broker.rejected_for(&key(1), first.generation());
    let second = world.lease(1).await.unwrap();
    advance(Duration::from_secs(4)).await;
    world.broker.rejected_for(&key(1), second.generation());
    assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&second));
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 2);
    advance(Duration::from_secs(1)).await;
    world.broker.rejected_for(&key(1), second.generation());
    world.lease(1).await.unwrap();
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 3);
}

#[tokio::test(start_paused = true)]
async fn the_newest_refresh_token_is_the_one_that_is_used() {
    let world = World::with_renewals(store());
    world.lease(1).await.unwrap();
    sleep(LIFE * 50).await;
    world.lease(2).await.unwrap();
    assert!(world.issuer.count(GrantKind::Refresh) >= 2);
    assert_eq!(
        world.issuer.count(GrantKind::Login),
        1,
        "no refresh token was a dead one"
    );
    let used = world.issuer.used_refresh.lock().clone();
    assert!(!used.contains(&"canary-refresh-of-as".to_owned()));
    assert_eq!(used.last(), Some(&*world.issuer.good_refresh.lock()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_leaves_the_old_one() {
    let world = World::with_renewals(store());
    *world.issuer.rotation.lock() = Rotation::NoneInAnswer;
    world.lease(1).await.unwrap();
    sleep(LIFE * 30).await;
    assert_eq!(world.issuer.counts()[..2], [1, 1]);
    // It may have the end that it had: a log-in comes before that.
    sleep(LIFE * 17).await;
    assert_eq!(world.issuer.counts()[..2], [2, 1]);
    assert!(
        world
            .issuer
            .used_refresh
            .lock()
            .iter()
            .all(|used| used == "canary-refresh-0")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_costs_one_login() {
    let world = World::with_renewals(store());
    world.broker.warm(&ConsoleId::new(MAIN));
    world.settle().await;
    world.issuer.kill_session();
    sleep(LIFE * 25).await;
    assert_eq!(world.issuer.counts(), [2, 1, 0]);
    assert!(matches!(
        world.broker.session_state(&ConsoleId::new(MAIN)),
        SessionState::Usable { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_keeps_failing_gives_way_to_a_login() {
    let world = World::with_renewals(store());
    world.broker.warm(&ConsoleId::new(MAIN));
    world.settle().await;
    world.issuer.fail(GrantKind::Refresh, Fault::Error(down()));
    sleep(LIFE * 25).await;
    assert_eq!(world.issuer.counts(), [2, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_as_refused_for_a_dead_session_is_tried_once_more_with_a_new_one() {
    let world = World::new(store());
    world.lease(1).await.unwrap();
    advance(Duration::from_secs(60)).await;
    world.issuer.kill_session();
    let (one, two) = tokio::join!(world.lease(2), world.lease(3));
    assert!(one.is_ok() && two.is_ok());
    let [logins, refreshes, _] = world.issuer.counts();
    assert_eq!([logins, refreshes], [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_refused_costs_one_more_try_and_no_login() {
    let world = World::new(store());
    world.lease(1).await.unwrap();
    advance(Duration::from_secs(60)).await;
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(refused()));
    assert!(matches!(
        world.lease(2).await,
        Err(TokenError::Refused { .. })
    ));
    assert_eq!(world.issuer.counts(), [1, 1, 3]);
    // The session is now too young to be doubted again.
    assert!(matches!(
        world.lease(3).await,
        Err(TokenError::Refused { .. })
    ));
    assert_eq!(world.issuer.counts(), [1, 1, 4]);
    let again = world.lease(2).await.unwrap_err();
    assert!(again.retry_after() > Duration::from_secs(29));
    assert_eq!(world.issuer.counts(), [1, 1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_tried_again_after_thirty_and_sixty_seconds() {
    let world = World::new(store());
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    for (user, wait, logins) in [(1, 0, 1), (2, 29, 1), (3, 1, 2), (4, 59, 2), (5, 1, 3)] {
        sleep(Duration::from_secs(wait)).await;
        let error = world.lease(user).await.unwrap_err();
        assert!(matches!(error, TokenError::Refused { .. }), "{error:?}");
        assert_eq!(world.issuer.counts(), [logins, 0, 0], "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_warmed_comes_back_without_a_request() {
    let (world, main) = (World::with_renewals(store()), ConsoleId::new(MAIN));
    assert_eq!(world.broker.session_state(&main), SessionState::None);
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    world.broker.warm(&main);
    assert_eq!(world.broker.session_state(&main), SessionState::Acquiring);
    world.settle().await;
    match world.broker.session_state(&main) {
        SessionState::CoolingOff { error, retry_in } => {
            assert_eq!(error, refused());
            assert_eq!(retry_in.as_secs(), 29);
        }
        other => panic!("{other:?}"),
    }
    world.issuer.heal();
    sleep(Duration::from_secs(30)).await;
    match world.broker.session_state(&main) {
        SessionState::Usable { expires_in } => assert!(expires_in > LIFE * 9 / 10),
        other => panic!("{other:?}"),
    }
    let lease = world.broker.session_lease(&main, soon()).await.unwrap();
    assert_eq!(bearer(&lease), "Bearer canary-access-0");
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_outlasts_an_endpoint_that_is_down() {
    let world = World::with_renewals(store());
    let first = world.lease(1).await.unwrap();
    let begun = Instant::now();
    for grant in [GrantKind::Impersonate, GrantKind::Login, GrantKind::Refresh] {
        world.issuer.fail(grant, Fault::Error(down()));
    }
    while begun.elapsed() < Duration::from_secs(3569) {
        assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&first));
        sleep(Duration::from_secs(7)).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(
        world.lease(1).await,
        Err(TokenError::Unavailable { .. })
    ));
    let calls = world.issuer.calls.lock().len();
    assert!(calls < 100, "it was asked {calls} times");
    world.issuer.heal();
    sleep(Duration::from_secs(300)).await;
    assert!(world.lease(1).await.is_ok());
}

/// A directory locks an account after some five refusals within half an hour.
#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_tried_until_the_account_is_locked() {
    let world = World::new(store());
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4 * 3600) {
        assert!(world.lease(1).await.is_err());
        sleep(Duration::from_secs(5)).await;
    }
    let tried: Vec<u64> = {
        let calls = world.issuer.calls.lock();
        calls
            .iter()
            .map(|(_, at)| (*at - began).as_secs())
            .collect()
    };
    assert!(tried.len() >= 10, "{tried:?}");
    for start in &tried {
        let within = |length: u64| {
            tried
                .iter()
                .filter(move |at| (*start..start + length).contains(at))
        };
        assert!(within(15 * 60).count() <= 3, "{tried:?}");
        assert!(within(30 * 60).count() <= 4, "{tried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_endpoint_is_left_alone_as_long_as_it_asks() {
    let world = World::new(store());
    let throttled = IssueError::Throttled {
        retry_after: Duration::from_secs(20),
    };
    world.issuer.fail(GrantKind::Login, Fault::Error(throttled));
    let error = world.lease(1).await.unwrap_err();
    assert_eq!(
        error,
        TokenError::Throttled {
            retry_after: Duration::from_secs(20)
        }
    );
    world.issuer.heal();
    sleep(Duration::from_secs(19)).await;
    assert!(world.lease(2).await.is_err());
    sleep(Duration::from_secs(1)).await;
    assert!(world.lease(2).await.is_ok());
    assert!(
        world.lease(1).await.is_ok(),
        "the wait of the session is not doubled by its users"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_four_calls_run_at_once_and_a_session_does_not_queue() {
    let (world, main) = (World::new(store()), ConsoleId::new(MAIN));
    let lease = world.broker.session_lease(&main, soon()).await.unwrap();
    advance(Duration::from_secs(10)).await;
    *world.issuer.rotation.lock() = Rotation::NoneInAnswer;
    *world.issuer.delay.lock() = Duration::from_secs(1);
    for user in 0..400 {
        let broker = world.broker.clone();
        tokio::spawn(async move { broker.lease_for(&key(user), soon()).await.map(drop) });
    }
    sleep(Duration::from_millis(1500)).await;
    world.broker.session_rejected(&main, lease.generation());
    let begun = Instant::now();
    world.broker.session_lease(&main, soon()).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.issuer.most_at_once.load(Ordering::SeqCst), 4);
    assert_eq!(world.broker.stats().held, 400);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_uses_the_session_of_then() {
    let (world, main) = (World::new(store()), ConsoleId::new(MAIN));
    let lease = world.broker.session_lease(&main, soon()).await.unwrap();
    advance(Duration::from_secs(10)).await;
    *world.issuer.delay.lock() = Duration::from_secs(1);
    let mut requests = JoinSet::new();
    for user in 0..12 {
        let broker = world.broker.clone();
        requests.spawn(async move { broker.lease_for(&key(user), soon()).await.map(drop) });
    }
    sleep(Duration::from_millis(500)).await;
    world.broker.session_rejected(&main, lease.generation());
    assert!(requests.join_all().await.iter().all(Result::is_ok));
    // Only the three that were under way beside the refresh may have used the old one.
    let [logins, refreshes, impersonations] = world.issuer.counts();
    assert_eq!([logins, refreshes], [1, 1]);
    assert!(impersonations <= 15, "{impersonations}");
}

#[tokio::test(start_paused = true)]
async fn a_cold_request_does_not_queue_behind_renewals() {
    let world = World::with_renewals(store());
    for user in 0..200 {
        world.lease(user).await.unwrap();
    }
    sleep(Duration::from_secs(2350)).await;
    *world.issuer.delay.lock() = Duration::from_secs(20);
    sleep(Duration::from_secs(200)).await;
    assert!(
        world.lease(999).await.is_err(),
        "the endpoint is too slow for it"
    );
    sleep(Duration::from_secs(60)).await;
    world.lease_at_once(999).await;
}

#[tokio::test(start_paused = true)]
async fn calls_to_all_consoles_together_are_sixteen_at_once() {
    let world = World::new(store());
    for console in 0..40 {
        world
            .broker
            .warm(&ConsoleId::new(&format!("console-{console}")));
    }
    world.settle().await;
    assert_eq!(world.issuer.most_at_once.load(Ordering::SeqCst), 16);
    assert_eq!(world.broker.stats().sessions, 40);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tokens_of_one_age_are_renewed_spread_and_four_at_once() {
    let world = World::with_renewals(store());
    // A session whose refresh token changes while an `as` is under way has that one tried again,
    // which is another test's matter.
    *world.issuer.rotation.lock() = Rotation::NoneInAnswer;
    let mut requests = JoinSet::new();
    for user in 0..1000 {
        let broker = world.broker.clone();
        requests.spawn(async move { broker.lease_for(&key(user), soon()).await.map(drop) });
    }
    // Some gave up waiting; the fetches went on.
    requests.join_all().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 1000);
    world.issuer.calls.lock().clear();
    // All are renewed by three quarters of their life (2,700 s). The first of them were at 30 % of it
    // at the earliest, and their successors are due at 95 % (3,420 s) at the earliest.
    sleep(Duration::from_secs(3200)).await;
    let calls = world.issuer.calls.lock().clone();
    let starts: Vec<_> = calls
        .iter()
        .filter(|(kind, _)| *kind == GrantKind::Impersonate)
        .map(|it| it.1)
        .collect();
    assert_eq!(starts.len(), 1000);
    let busiest = starts
        .windows(3)
        .filter(|w| w[2] - w[0] < Duration::from_secs(1))
        .count();
    assert_eq!(busiest, 0, "more than two started within a second");
    assert_eq!(world.broker.stats().held, 1000);
}

#[tokio::test(start_paused = true)]
async fn replaced_tokens_leave_no_timer() {
    let world = World::with_renewals(store());
    for user in 0..10 {
        world.lease(user).await.unwrap();
    }
    for _ in 0..20 {
        advance(Duration::from_secs(6)).await;
        for user in 0..10 {
            let lease = world.lease(user).await.unwrap();
            world.broker.rejected_for(&key(user), lease.generation());
        }
        world.settle().await;
    }
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 210);
    assert_eq!(world.broker.census(), (10, 11));
}

#[tokio::test(start_paused = true)]
async fn what_is_retired_is_never_served_again() {
    let world = World::new(store());
    let old = world.lease(1).await.unwrap();
    let other = world.lease(2).await.unwrap();
    world.broker.retire(key(1).target);
    assert_eq!(world.broker.stats().held, 1);
    let new = world.lease(1).await.unwrap();
    assert!(new.generation() > old.generation());
    assert_eq!(bearer(&world.lease_at_once(2).await), bearer(&other));
    // In flight: what comes back is thrown away, and fetched once more for those who wait.
    let (lease, ()) = tokio::join!(world.lease(3), async {
        sleep(Duration::from_millis(10)).await;
        world.broker.retire(key(3).target);
    });
    assert_eq!(bearer(&lease.unwrap()), "Bearer canary-access-5");
}

#[tokio::test(start_paused = true)]
async fn a_console_whose_session_is_dropped_logs_in_afresh() {
    let world = World::new(store());
    world.lease(1).await.unwrap();
    let session = Which::Session(ConsoleId::new(MAIN));
    world.broker.to_drop(&session).forget();
    assert_eq!(world.broker.stats(), TokenStats::default());
    world.lease(1).await.unwrap();
    assert_eq!(world.issuer.counts(), [2, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn renewals_stop_when_they_are_told_to() {
    let world = World::new(store());
    world.lease(1).await.unwrap();
    world
        .broker
        .run_renewals(sleep(Duration::from_secs(60)))
        .await;
    sleep(LIFE).await;
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_prints_shows_a_token() {
    let world = World::with_renewals(store());
    let lease = world.lease(1).await.unwrap();
    world.issuer.kill_session();
    sleep(LIFE).await;
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(refused()));
    let error = world.lease(9).await.unwrap_err();
    let mut shown = world.notes.0.lock().clone();
    assert!(shown.len() >= 5);
    shown.push(format!(
        "{lease:?} {:?} {:?}",
        lease.authorization(),
        world.broker
    ));
    shown.push(format!("{error} {error:?} {:?}", world.broker.stats()));
    shown.push(format!(
        "{:?}",
        world.broker.session_state(&ConsoleId::new(MAIN))
    ));
    assert!(
        shown.iter().all(|text| !text.contains("canary")),
        "{shown:?}"
    );
    assert!(
        shown
            .iter()
            .any(|text| text.contains(&lease.fingerprint().to_string()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_ask_and_retire_never_meet_in_two_fetches_for_one_user() {
    let (issuer, kept) = (Arc::new(Watchful::default()), store());
    let broker = Broker::new(
        Arc::clone(&issuer) as _,
        RefreshPolicy::default(),
        Arc::new(Notes::default()),
        kept.open(),
    );
    let mut threads = JoinSet::new();
    for thread in 0..8_u128 {
        let broker = broker.clone();
        threads.spawn(async move {
            for turn in 0..500_u128 {
                let key = key((turn + thread) % 5);
                let lease = broker.lease_for(&key, soon()).await.unwrap();
                assert!(bearer(&lease).starts_with(&format!("Bearer {}/", key.target)));
                if turn % 3 == 0 {
                    broker.retire(key.target);
                }
            }
        });
    }
    threads.join_all().await;
    assert!(issuer.issued.load(Ordering::SeqCst) > 100);
    assert_eq!(issuer.collisions.load(Ordering::SeqCst), 0);
    assert_eq!(broker.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_user_is_never_used() {
    let world = World::new(store());
    let (own, other) = (key(90).target, key(91).target);
    world.issuer.subjects.lock().insert("login", own);
    world.issuer.subjects.lock().insert("as", other);
    let error = world.lease(1).await.unwrap_err();
    assert!(
        matches!(error, TokenError::WrongSubject { .. }),
        "{error:?}"
    );
    assert!(error.retry_after() > Duration::from_secs(29));
    // Nobody asks again before its time, and others are not concerned.
    assert!(world.lease(1).await.is_err());
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
    assert!(world.broker.lease_for(&key(91), soon()).await.is_ok());
    let told = world.notes.0.lock().join("\n");
    assert!(told.contains(&other.to_string()), "{told}");
    // VSPC's own sample names the impersonator: that is believed.
    world.issuer.subjects.lock().insert("as", own);
    sleep(Duration::from_secs(30)).await;
    assert!(world.lease(1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_turns_into_somebody_elses_is_replaced_by_a_log_in() {
    let (world, main) = (World::new(store()), ConsoleId::new(MAIN));
    world.issuer.subjects.lock().insert("login", key(90).target);
    world
        .issuer
        .subjects
        .lock()
        .insert("refresh", key(91).target);
    let lease = world.broker.session_lease(&main, soon()).await.unwrap();
    world.broker.session_rejected(&main, lease.generation());
    world.settle().await;
    sleep(Duration::from_secs(40)).await;
    world.broker.session_rejected(&main, lease.generation());
    world.settle().await;
    assert_eq!(world.issuer.counts(), [2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_asked_by_one_and_not_by_a_thousand() {
    let world = World::new(store());
    world.lease(0).await.unwrap();
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(down()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(600) {
        for user in 1..200 {
            let error = world.lease(user).await.unwrap_err();
            assert!(matches!(error, TokenError::Unavailable { .. }));
        }
        sleep(Duration::from_secs(1)).await;
    }
    let calls = world.issuer.count(GrantKind::Impersonate);
    assert!((10..40).contains(&calls), "{calls}");
    // One finds out that it is well again, and then nobody waits for an old cooldown.
    world.issuer.heal();
    while world.lease(1).await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
    for user in 2..200 {
        world.lease(user).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_changed_is_used_at_once_after_a_refusal() {
    let (world, main) = (World::with_renewals(store()), ConsoleId::new(MAIN));
    *world.issuer.print.lock() = Some(1);
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    world.broker.warm(&main);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(world.issuer.counts(), [3, 0, 0], "the next one is far off");
    world.issuer.heal();
    *world.issuer.print.lock() = Some(2);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.issuer.counts(), [4, 0, 0]);
    world.lease(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_changed_replaces_a_session_that_is_served_until_then() {
    let world = World::with_renewals(store());
    *world.issuer.print.lock() = Some(1);
    let lease = world.lease(1).await.unwrap();
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    *world.issuer.print.lock() = Some(2);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.issuer.count(GrantKind::Login), 2);
    // The new one is wrong: what there is goes on.
    assert_eq!(bearer(&world.lease_at_once(1).await), bearer(&lease));
    world.lease(2).await.unwrap();
    world.issuer.heal();
    *world.issuer.print.lock() = Some(3);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(world.issuer.count(GrantKind::Login), 3);
    world.lease(3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_refused_for_good_does_not_wear_the_session_out() {
    let world = World::new(store());
    world.issuer.barred.lock().push(key(1).target);
    world.lease(2).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12 * 3600) {
        assert!(world.lease(1).await.is_err());
        let state = world.broker.session_state(&ConsoleId::new(MAIN));
        assert!(matches!(state, SessionState::Usable { .. }), "{state:?}");
        sleep(Duration::from_secs(10)).await;
    }
    let [logins, refreshes, _] = world.issuer.counts();
    assert_eq!(logins, 1);
    assert!(refreshes <= 12 * 6 + 1, "{refreshes}");
    // Once allowed, it is found out within the longest cooldown.
    world.issuer.barred.lock().clear();
    sleep(Duration::from_secs(600)).await;
    world.lease(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn users_beyond_the_spare_ones_make_room() {
    let settings = RefreshSettings {
        spare_tokens: 100,
        ..RefreshSettings::default()
    };
    let world = World::new(store());
    let (issuer, kept) = (FakeIssuer::new(), &world.keeping);
    *issuer.delay.lock() = Duration::ZERO;
    let broker = Broker::new(
        Arc::clone(&issuer) as _,
        RefreshPolicy::try_new(settings).unwrap(),
        Arc::new(Notes::default()),
        kept.open(),
    );
    broker.expect_tenants(50);
    for user in 0..3_000 {
        broker.lease_for(&key(user), soon()).await.unwrap();
        // One is used all the time, and stays.
        broker.lease_for(&key(0), soon()).await.unwrap();
        advance(Duration::from_millis(500)).await;
        assert!(broker.census().0 <= 151);
    }
    assert_eq!(broker.census().1, broker.census().0 + 1, "timers were left");
    assert_eq!(issuer.count(GrantKind::Impersonate), 3_000);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_the_gateways_own_account_that_are_revoked_end_its_session() {
    let world = World::new(store());
    world.issuer.subjects.lock().insert("login", key(90).target);
    world.lease(1).await.unwrap();
    world.issuer.kill_session();
    world.broker.retire(key(90).target);
    world.lease(2).await.unwrap();
    assert_eq!(world.issuer.counts()[..2], [2, 1]);
}

/// However far the first one got, the fetch goes on or the next one takes over.
#[tokio::test(start_paused = true)]
async fn a_leader_may_go_away_at_any_point() {
    use futures_util::poll;
    for polls in 0..12 {
        let world = World::new(store());
        let lease = async {
            let mut leader = std::pin::pin!(world.lease(1));
            for _ in 0..polls {
                if poll!(&mut leader).is_ready() {
                    break;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        lease.await;
        let began = Instant::now();
        assert!(world.lease(1).await.is_ok(), "{polls}");
        assert!(began.elapsed() < Duration::from_secs(1), "{polls}");
        assert_eq!(world.issuer.counts(), [1, 0, 1], "{polls}");
        assert_eq!(world.broker.stats().waiting, 0);
    }
}
